//! What is printed: help, errors and results as snapshots; colour; the page for people.

use std::fs;
use std::process::Stdio;

use crate::support::{Desk, EXPORT, KEY, said, text};

/// A text without what differs from machine to machine and version to version: paths, digests (numbered as
/// they come), and the version itself.
fn normal(desk: &Desk, text: &str) -> String {
    let text = text
        .replace(desk.root().to_str().unwrap(), "[DIR]")
        .replace(
            concat!("runpack ", env!("CARGO_PKG_VERSION")),
            "runpack [VERSION]",
        );
    let mut seen: Vec<&str> = Vec::new();
    let mut normal = String::new();
    let mut rest = text.as_str();
    while let Some(start) = rest.find(|found: char| found.is_ascii_hexdigit()) {
        let (before, from) = rest.split_at(start);
        let end = from
            .find(|found: char| !found.is_ascii_hexdigit())
            .unwrap_or(from.len());
        let (word, after) = from.split_at(end);
        normal.push_str(before);
        if matches!(word.len(), 64 | 12) {
            let known = seen.iter().position(|known| known.starts_with(word));
            let at = known.unwrap_or_else(|| {
                seen.push(word);
                seen.len() - 1
            });
            normal.push_str(&format!("[DIGEST {}]", at + 1));
        } else {
            normal.push_str(word);
        }
        rest = after;
    }
    normal.push_str(rest);
    normal
}

#[test]
fn help_texts() {
    let desk = Desk::new();
    insta::assert_snapshot!("help", desk.line("--help").expect(0).out);
    for command in [
        "export",
        "verify",
        "sign",
        "bundle",
        "unbundle",
        "push",
        "pull",
        "lineage export",
        "list",
        "show",
        "diff",
        "mirror",
        "restore",
        "presign",
        "gc",
        "retention",
        "retention plan",
        "retention apply",
        "pipeline",
        "pipeline begin",
        "pipeline step",
        "pipeline finish",
        "pipeline export",
        "pipeline verify",
        "store status",
        "store baseline",
        "lifecycle",
        "failover test",
        "config show",
        "serve",
        "server token",
        "server check-audit",
        "audit run",
        "audit report",
        "ship",
        "logs",
        "mcp",
        "completions",
        "man",
    ] {
        let help = desk.line(&format!("{command} --help")).expect(0);
        insta::assert_snapshot!(format!("help-{}", command.replace(' ', "-")), help.out);
        assert!(
            help.out.lines().all(|line| line.chars().count() <= 100),
            "{}",
            help.out
        );
        assert_eq!(help.err, "");
    }
    assert!(desk.line("--version").expect(0).out.starts_with("runpack "));
}

#[test]
fn results_for_people() {
    let desk = Desk::with_run();
    let mut all = String::new();
    let exported = desk.export("--run-id run-41 --bundle a.tar.gz");
    let pack = text(&exported, "pack");
    let spec = text(&exported["subject"], "spec_hash");
    for (line, code) in [
        (format!("{EXPORT} --bundle b.tar.gz"), 0),
        (format!("{EXPORT} --bundle b.tar.gz"), 0),
        (EXPORT.replace("T12", "T13"), 0),
        ("verify b.tar.gz".to_owned(), 0),
        ("verify b.tar.gz --no-receipts".to_owned(), 3),
        ("verify b.tar.gz --presence".to_owned(), 3),
        (format!("verify b.tar.gz --expect-pack-id {spec}"), 1),
        ("sign b.tar.gz --key key.pem".to_owned(), 0),
        ("verify b.tar.gz --key key.pub.pem".to_owned(), 0),
        ("unbundle b.tar.gz out".to_owned(), 0),
        ("bundle out b.tar.gz".to_owned(), 0),
        ("push out --to file:remote".to_owned(), 0),
        ("push out --to file:remote".to_owned(), 0),
        ("push b.tar.gz --to file:remote".to_owned(), 0),
        ("push a.tar.gz --to file:remote".to_owned(), 0),
        (
            "pull pulled --from file:remote --tenant acme --namespace prod --scenario loan-approval --run-id run-42"
                .to_owned(),
            0,
        ),
        ("mirror file:store file:remote".to_owned(), 0),
        ("mirror file:store file:remote".to_owned(), 0),
        ("list file:remote".to_owned(), 0),
        ("list file:remote --limit 1".to_owned(), 0),
        ("gc file:remote".to_owned(), 0),
        ("list file:store".to_owned(), 0),
        ("show b.tar.gz".to_owned(), 0),
        ("diff a.tar.gz b.tar.gz".to_owned(), 1),
        ("diff out b.tar.gz".to_owned(), 0),
        ("verify file:store --tenant acme --namespace prod --scenario loan-approval --run-id run-42".to_owned(), 0),
    ] {
        let said = desk.line(&line).expect(code);
        assert_eq!(said.err, "", "{line}");
        // How small a bundle gets is the compressor's affair.
        let bytes = fs::metadata(desk.path("b.tar.gz")).unwrap().len();
        let out = said.out.replace(&format!(", {bytes} B"), ", [SIZE]");
        all.push_str(&format!("$ runpack {line}\n{out}(exit code {code})\n\n"));
    }
    desk.write("out/logs/run.log", "other\n");
    fs::remove_file(desk.path("out/model.bin")).unwrap();
    desk.write("out/stranger", "x");
    fs::write(std::path::Path::new(pack).join("extra"), "x").unwrap();
    for (line, code) in [
        ("verify out", 1),
        (
            "verify file:store --tenant acme --namespace prod --scenario loan-approval --run-id run-41",
            0,
        ),
        ("verify run", 1),
    ] {
        let said = desk.line(line).expect(code);
        all.push_str(&format!(
            "$ runpack {line}\n{}(exit code {code})\n\n",
            said.out
        ));
    }
    insta::assert_snapshot!("results", normal(&desk, &all));
}

#[test]
fn error_texts() {
    let desk = Desk::with_run();
    desk.export("--bundle b.tar.gz");
    desk.write("run/decisions.json", "{}");
    let mut all = String::new();
    for line in [
        EXPORT,
        "export nowhere --tenant a --namespace b --scenario c --spec run/spec.json",
        "export run --namespace b --scenario c --spec run/spec.json",
        "export run --tenant a/b --namespace b --scenario c --spec run/spec.json",
        "verify nowhere",
        "verify b.tar.gz --key nowhere.pem",
        "verify b.tar.gz --key key.pem",
        "verify b.tar.gz --key key.pub.pem",
        "sign b.tar.gz --key key.pub.pem",
        "verify file:store",
        "list file:nowhere",
        "show run",
    ] {
        let said = desk.line(line);
        assert_eq!(said.out, "", "{line}");
        let code = said.code.unwrap();
        all.push_str(&format!(
            "$ runpack {line}\n{}(exit code {code})\n\n",
            said.err
        ));
    }
    insta::assert_snapshot!("errors", normal(&desk, &all));
}

#[test]
fn nothing_is_coloured_where_nobody_sees_it() {
    let desk = Desk::with_run();
    desk.export("--bundle b.tar.gz");
    for line in [
        "verify b.tar.gz",
        "verify nowhere",
        "--help",
        "verify --help",
        "diff b.tar.gz b.tar.gz",
        "verify --bad",
    ] {
        for variables in [
            &[][..],
            &[("NO_COLOR", "1")][..],
            &[("TERM", "xterm-256color")][..],
        ] {
            let mut command = desk.command();
            command
                .args(line.split_whitespace())
                .envs(variables.iter().copied());
            let said = said(&mut command);
            assert!(
                !said.out.contains('\u{1b}') && !said.err.contains('\u{1b}'),
                "{line}"
            );
        }
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let desk = Desk::with_run();
    desk.export("--bundle b.tar.gz");
    for line in [
        "completions bash",
        "show b.tar.gz",
        "verify b.tar.gz",
        "--help",
    ] {
        let mut command = desk.command();
        command
            .args(line.split_whitespace())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{line}");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{line}");
    }
}

#[test]
fn a_result_that_cannot_be_written_is_an_error() {
    let desk = Desk::with_run();
    desk.export("--bundle b.tar.gz");
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut command = desk.command();
    command
        .args(["verify", "b.tar.gz"])
        .stdout(full)
        .stderr(Stdio::piped());
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .starts_with("error: the result could not be written")
    );
}

#[test]
fn b29_the_page_holds_no_markup_that_is_not_ours() {
    let desk = Desk::with_run();
    desk.write("run/<script>alert(1)<!-- & \"x\" 'y'.html", "x");
    desk.write("run/gpj.\u{202e}exe", "x");
    let line = format!("{EXPORT} --json --bundle b.tar.gz");
    let mut command = desk.command();
    command
        .args(line.split_whitespace())
        .args(["--label", "evil=<img src=x onerror=alert(1)>\u{202e}"]);
    said(&mut command).expect(0);
    desk.line("unbundle b.tar.gz out").expect(0);
    desk.write("out/<iframe src=javascript:alert(1)>", "x");
    desk.line("verify out --report invalid.html").expect(1);
    desk.line("verify b.tar.gz --report valid.html").expect(0);
    desk.line("verify b.tar.gz --no-receipts --report consistent.html")
        .expect(3);
    desk.line("verify run --report broken.html").expect(1);
    for (page, verdict) in [
        ("invalid", "<h1>Invalid</h1>"),
        ("valid", "<h1>Valid</h1>"),
        ("consistent", "<h1>Consistent</h1>"),
        ("broken", "<h1>Invalid</h1>"),
    ] {
        let page = fs::read_to_string(desk.path(format!("{page}.html"))).unwrap();
        assert!(page.contains(verdict) && page.ends_with("</html>\n"));
        assert!(page.contains("default-src 'none'; style-src 'unsafe-inline'"));
        let lower = page.to_lowercase();
        for never in [
            "<script", "<img", "<iframe", "<link", "<a ", "url(", "http:", "https:", "\u{202e}",
            " on",
        ] {
            let allowed = never == " on" && !lower.contains(" onerror=x");
            assert!(allowed || !lower.contains(never), "{never}");
        }
        let tags = page
            .split('<')
            .skip(1)
            .filter_map(|tag| tag.split(['>', ' ', '\n']).next());
        for tag in tags {
            let known = [
                "!doctype", "html", "head", "meta", "title", "style", "body", "main", "header",
                "section", "h1", "h2", "p", "div", "dl", "dt", "dd", "table", "thead", "tbody",
                "tr", "th", "td", "code", "span", "br", "ul", "li", "pre", "footer",
            ];
            assert!(known.contains(&tag.trim_start_matches('/')), "{tag}");
        }
    }
    let page = fs::read_to_string(desk.path("valid.html")).unwrap();
    assert!(
        page.contains(
            "originally &lt;script&gt;alert(1)&lt;!-- &amp; &quot;x&quot; &#39;y&#39;.html"
        )
    );
    assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;\\u{202e}"));
    let id = text(&desk.line("verify b.tar.gz --json").json(), "pack_id").to_owned();
    assert!(page.contains(&format!("--expect-pack-id {id}")));
    // An id that nothing vouches for is not offered as one to expect.
    let page = fs::read_to_string(desk.path("consistent.html")).unwrap();
    assert!(!page.contains(&format!("--expect-pack-id {id}")));
}

#[test]
fn a_page_of_many_artifacts() {
    let desk = Desk::with_run();
    for at in 0..2_000 {
        desk.write(format!("run/many/{at}.txt"), "x");
    }
    desk.export("--bundle b.tar.gz");
    desk.line("verify b.tar.gz --report r.html").expect(0);
    let page = fs::read_to_string(desk.path("r.html")).unwrap();
    assert_eq!(page.matches("<tr><td>").count(), 2_004);
    assert!(page.len() < 2_000 * 600, "{}", page.len());
}

#[test]
fn k01_no_part_of_a_private_key_is_printed() {
    let desk = Desk::with_run();
    desk.export("--bundle b.tar.gz");
    let secret = KEY.lines().nth(1).unwrap();
    desk.write("broken.pem", KEY.replace("MIG", "MIH"));
    desk.write("cut.pem", &KEY[..120]);
    for line in [
        "sign b.tar.gz --key key.pem",
        "sign b.tar.gz --key broken.pem --out x.json",
        "sign b.tar.gz --key cut.pem --out y.json",
        "verify b.tar.gz --key key.pem",
        "verify b.tar.gz --key broken.pem",
        "verify b.tar.gz --key key.pub.pem --signature key.pem",
    ] {
        for form in ["", "--json"] {
            let said = desk.line(&format!("{line} {form}"));
            for piece in secret.as_bytes().windows(12) {
                let piece = std::str::from_utf8(piece).unwrap();
                let shown = said.out.contains(piece) || said.err.contains(piece);
                assert!(!shown, "{line}: {} {}", said.out, said.err);
            }
        }
    }
}

#[test]
fn completions_and_manual_pages() {
    let desk = Desk::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let said = desk.line(&format!("completions {shell}")).expect(0);
        assert!(said.out.contains("expect-pack-id"), "{shell}");
    }
    assert!(desk.line("man").expect(0).out.contains(".TH RUNPACK 1"));
    desk.line("man --out man").expect(0);
    assert_eq!(fs::read_dir(desk.path("man")).unwrap().count(), 32);
}
