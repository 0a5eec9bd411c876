//! Odd file names, all the way through (B13, B29).

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use crate::support::{Desk, text};

fn names() -> Vec<OsString> {
    let mut names: Vec<OsString> = [
        "with space.txt",
        "Übersicht 漢字.json",
        "new\nline.log",
        "-rf",
        "--help",
        "100%.csv",
        "a%2Fb",
        "back\\slash",
        "star*?.txt",
        "trailing.",
        " leading",
        "trailing ",
        "...",
        "aux.txt",
        "NUL",
        ".hidden",
        "~tilde",
        "<script>alert(1)<script>.html",
        "esc\u{1b}[31mred",
        "gpj.\u{202e}exe",
        "'quote\"s",
        "$(touch pwned)",
    ]
    .into_iter()
    .map(OsString::from)
    .collect();
    names.push(OsString::from_vec(b"not-utf8-\xff\xfe.bin".to_vec()));
    names.push("x".repeat(255).into());
    names.push("ü".repeat(120).into());
    names
}

#[test]
fn b13_odd_names_go_through_export_bundle_unbundle_and_verify() {
    let desk = Desk::with_run();
    for (at, name) in names().into_iter().enumerate() {
        let path = desk.path("run/odd").join(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("content {at}")).unwrap();
    }
    let exported = desk.export("--bundle b.tar.gz");
    let pack = text(&exported, "pack");
    desk.line(&format!("verify {pack}")).expect(0);
    desk.line("verify b.tar.gz").expect(0);
    desk.line("unbundle b.tar.gz out").expect(0);
    desk.line("verify out").expect(0);
    let mut contents: Vec<String> = fs::read_dir(desk.path("out/odd"))
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    contents.sort_unstable();
    let mut expected: Vec<String> = (0..names().len())
        .map(|at| format!("content {at}"))
        .collect();
    expected.sort_unstable();
    assert_eq!(contents, expected);
    for line in [
        "show out",
        "diff out b.tar.gz",
        "verify out",
        "list file:store",
    ] {
        let said = desk.line(line).expect(0);
        assert!(is_harmless(&said.out), "{line}: {:?}", said.out);
    }
    assert!(!desk.path("pwned").exists());
}

/// No control character but the end of a line, and nothing that turns text around.
fn is_harmless(text: &str) -> bool {
    text.chars()
        .all(|found| found == '\n' || !found.is_control() && found != '\u{202e}')
}

#[test]
fn b29_strangers_are_shown_escaped() {
    let desk = Desk::with_run();
    desk.export("--bundle b.tar.gz");
    desk.line("unbundle b.tar.gz out").expect(0);
    desk.write("out/evil\u{1b}]0;title\u{7}\n\u{202e}", "x");
    let path = desk.path("out").join(OsStr::from_bytes(b"\xff"));
    fs::write(path, "x").unwrap();
    for line in ["verify out", "verify out --json"] {
        let said = desk.line(line).expect(1);
        assert!(is_harmless(&said.out), "{line}: {:?}", said.out);
        assert!(said.out.contains("container.stranger"));
    }
    let said = desk.run(["verify", "no\u{1b}[31m\nwhere"]).expect(2);
    assert_eq!(said.err.lines().count(), 2, "{:?}", said.err);
    assert!(is_harmless(&said.err), "{:?}", said.err);
}

#[test]
fn names_that_no_artifact_can_have_are_listed_together() {
    let desk = Desk::with_run();
    desk.write("run/manifest.json", "{}");
    let long = ["x".repeat(200), "y".repeat(200), "z".repeat(200)].join("/");
    desk.write(format!("run/{long}"), "x");
    let said = desk.line(crate::support::EXPORT).expect(2);
    assert!(said.err.contains("\n  manifest.json: "), "{}", said.err);
    assert!(said.err.contains("\n  xxxx"), "{}", said.err);
    desk.write(
        "map.yaml",
        format!("artifacts:\n  - {{path: manifest.json, name: inner/manifest.json}}\n  - {{path: {long}, name: long}}\n"),
    );
    let exported = desk.export("--map map.yaml");
    desk.line(&format!("verify {}", text(&exported, "pack")))
        .expect(0);
}
