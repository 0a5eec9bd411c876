//! The GitHub Action, its steps run as a runner runs them: `.github/actions/runpack`.

mod runner;

use std::fs;
use std::path::{Path, PathBuf};

use runpack_testing::servers::{self, BucketKind, Kind};

use crate::support::Desk;
use runner::{Action, Job, home};

const FILE_STORE: [(&str, &str); 3] = [("push", "true"), ("store", "file"), ("root", "packs")];

fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    FILE_STORE.iter().chain(more).copied().collect()
}

/// How the summary spells a text.
fn spelled(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() || c == '-' || c == ' ' => c.to_string(),
            c => format!("&#{};", u32::from(c)),
        })
        .collect()
}

fn find(directory: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(directory).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, name)
        } else {
            (path.file_name().unwrap() == name).then_some(path)
        }
    })
}

#[test]
fn a_pack_is_made_verified_pushed_and_summed_up() {
    let desk = Desk::with_run();
    let labels = "commit=4f2a\n\nworkflow=nightly build\n";
    let job = Job::new(
        &desk,
        &with(&[("labels", labels), ("bundle", "run.tar.gz")]),
    )
    .run();
    let job = job.expect(0);
    let pack_id = job.output("pack-id");
    assert_eq!(job.output("verdict"), "valid");
    assert_eq!(job.output("diff"), "");
    let at = job.output("storage-uri");
    assert!(at.contains("/run/4711-1/"), "{at}");

    let found = desk.line(&format!(
        "verify file:packs --tenant acme --namespace ci --scenario nightly --run-id 4711-1 --no-receipts \
         --expect-pack-id {pack_id}"
    ));
    found.expect(0);
    desk.line(&format!(
        "verify run.tar.gz --no-receipts --expect-pack-id {pack_id}"
    ))
    .expect(0);
    let shown = desk.line("show run.tar.gz --json").expect(0).json();
    assert_eq!(shown["labels"]["commit"], "4f2a", "{shown}");
    assert_eq!(shown["labels"]["workflow"], "nightly build");

    let summary = job.summary();
    for text in [&pack_id, "valid", &at, "4711-1"] {
        let cell = format!("<code>{}</code>", spelled(text));
        assert!(summary.contains(&cell), "{cell} in\n{summary}");
    }
}

#[test]
fn nothing_is_pushed_or_summed_up_unless_asked_for() {
    let desk = Desk::with_run();
    let inputs = [
        ("verify", "false"),
        ("summary", "false"),
        ("store", "file"),
        ("root", "packs"),
    ];
    let job = Job::new(&desk, &inputs).run().expect(0);
    assert_eq!(job.output("verdict"), "skipped");
    assert_eq!(job.output("storage-uri"), "");
    assert!(!desk.path("packs").exists());
    assert!(!desk.path("summary.md").exists());
}

#[test]
fn a_baseline_is_the_same_or_different() {
    let desk = Desk::with_run();
    let first = Job::new(&desk, &with(&[("run-id", "first")]))
        .run()
        .expect(0);
    let first = first.output("pack-id");

    let same = with(&[
        ("run-id", "second"),
        ("baseline", &first),
        ("fail-on-diff", "true"),
    ]);
    let same = Job::new(&desk, &same).run().expect(0);
    assert_eq!(same.output("diff"), "same");
    assert_ne!(same.output("pack-id"), first);

    desk.write("run/decisions.json", "{\"approve\":false}");
    desk.write("run/<b>extra</b>.log", "more");
    let told = with(&[("run-id", "third"), ("baseline", "first")]);
    let told = Job::new(&desk, &told).run().expect(0);
    assert_eq!(told.output("diff"), "different");
    let summary = told.summary();
    assert!(summary.contains(&spelled("decisions.json")), "{summary}");
    assert!(!summary.contains("<b>"), "{summary}");

    let strict = with(&[
        ("run-id", "fourth"),
        ("baseline", &first),
        ("fail-on-diff", "true"),
    ]);
    let strict = Job::new(&desk, &strict).run().expect(1);
    assert_eq!(strict.output("diff"), "different");
    assert!(strict.output("storage-uri").contains("/run/fourth/"));

    let missing = with(&[("run-id", "fifth"), ("baseline", "sixth")]);
    let missing = Job::new(&desk, &missing).run().expect(2);
    assert_eq!(missing.output("diff"), "");
}

#[test]
fn a_baseline_that_nothing_vouches_for_is_told_as_such() {
    let desk = Desk::with_run();
    Job::new(&desk, &with(&[("run-id", "first")]))
        .run()
        .expect(0);
    fs::remove_dir_all(desk.path("state")).unwrap();
    let next = with(&[("run-id", "second"), ("baseline", "first")]);
    let next = Job::new(&desk, &next).run().expect(0);
    assert_eq!(next.output_of("baseline", "baseline-verdict"), "consistent");
    assert_eq!(next.output("diff"), "same");
    assert!(next.summary().contains("<code>consistent</code>"));
}

#[test]
fn a_damaged_pack_fails_the_step_and_is_not_pushed() {
    let desk = Desk::with_run();
    let mut job = Job::new(&desk, &FILE_STORE);
    job.step();
    let store = PathBuf::from(job.output_of("export", "work")).join("store");
    fs::write(find(&store, "model.bin").unwrap(), [8; 3_000]).unwrap();
    let job = job.run().expect(1);
    assert_eq!(job.output("verdict"), "invalid");
    assert_eq!(job.output("storage-uri"), "");
    assert!(!desk.path("packs").exists());
    assert!(job.summary().contains("<code>invalid</code>"));
}

#[test]
fn a_damaged_pack_is_not_pushed_either_where_it_was_not_verified() {
    let desk = Desk::with_run();
    let mut job = Job::new(&desk, &with(&[("verify", "false")]));
    job.step();
    let store = PathBuf::from(job.output_of("export", "work")).join("store");
    fs::write(find(&store, "model.bin").unwrap(), [8; 3_000]).unwrap();
    let job = job.run().expect(1);
    assert_eq!(job.output("storage-uri"), "");
}

#[test]
fn a_damaged_baseline_fails_the_step() {
    let desk = Desk::with_run();
    let first = Job::new(&desk, &with(&[("run-id", "first")]))
        .run()
        .expect(0);
    let first = first.output("pack-id");
    fs::write(find(&desk.path("packs"), "model.bin").unwrap(), [8; 3_000]).unwrap();
    for baseline in [&first[..], "first"] {
        let next = [
            ("baseline", baseline),
            ("push", "false"),
            ("store", "file"),
            ("root", "packs"),
        ];
        let next = Job::new(&desk, &next).run().expect(1);
        assert_eq!(next.output("diff"), "");
    }
}

#[test]
fn names_are_never_commands_or_markup() {
    let names = [
        "$(touch pwned).json",
        "`touch pwned`.log",
        "; touch pwned;.log",
        "-rf",
        "a | b <script>alert(1)</script> **c** [d](e).log",
    ];
    let desk = Desk::with_run();
    for name in names {
        desk.write(Path::new("run").join(name), name);
    }
    desk.write("run/line\n::error::broken\n.log", "x");
    let labels = "note=$(touch pwned) `touch pwned` | <img src=x> \"'";
    let hostile = with(&[
        ("labels", labels),
        ("root", "packs $(touch pwned) | <b>\nverdict=forged"),
    ]);
    let job = Job::new(&desk, &hostile).run().expect(0);
    assert_eq!(job.output("verdict"), "valid");
    assert!(
        job.output("storage-uri").contains("packs"),
        "{}",
        job.output("storage-uri")
    );
    assert!(!desk.path("pwned").exists());

    // Where the program refuses, it shows what it refuses.
    for bad in [
        "a|b",
        "<script>x</script>",
        "x\n::set-env name=A::b",
        "--help",
        "$(touch pwned)",
    ] {
        let job = Job::new(&desk, &[("tenant", bad), ("run-id", bad)])
            .run()
            .expect(2);
        assert_eq!(job.output("pack-id"), "");
    }
    assert!(!desk.path("pwned").exists());
    let summary = fs::read_to_string(desk.path("summary.md")).unwrap();
    for mark in ["<script", "<img", "<b>", "`", "**", "$(", "::"] {
        assert!(!summary.contains(mark), "{mark} in\n{summary}");
    }
    for line in summary.lines().filter(|line| line.starts_with('|')) {
        assert_eq!(line.matches('|').count(), 3, "{line}");
    }
}

#[test]
fn what_the_program_prints_is_no_command_to_the_runner() {
    let desk = Desk::with_run();
    let job = Job::new(&desk, &with(&[("baseline", "none")]))
        .run()
        .expect(2);
    let mut stopped: Option<&str> = None;
    let mut tokens = Vec::new();
    for line in job.log.lines() {
        match (stopped, line.strip_prefix("::")) {
            (None, Some(command)) if command.starts_with("stop-commands::") => {
                stopped = command.strip_prefix("stop-commands::");
                tokens.push(stopped.unwrap());
            }
            (None, Some(command)) => {
                assert!(command.starts_with("error title=Runpack::"), "{line}");
            }
            (None, None) => assert_eq!(line, "", "printed where commands count"),
            (Some(token), Some(command)) if command == format!("{token}::") => stopped = None,
            (Some(_), _) => {}
        }
    }
    assert_eq!(stopped, None);
    assert!(tokens.iter().all(|token| token.len() == 32), "{tokens:?}");
    assert_eq!(tokens.len(), 4, "export, verify, push, pull: {tokens:?}");
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), 4, "a token comes once");
}

#[test]
fn what_is_misspelled_is_refused_before_anything_is_pushed() {
    let desk = Desk::with_run();
    for (wrong, what) in [
        (vec![("verify", "yes")], "the input verify"),
        (vec![("push", "True")], "the input push"),
        (vec![("fail-on-diff", "")], "the input fail-on-diff"),
        (vec![("summary", "no")], "the input summary"),
        (vec![("store", "s4"), ("push", "true")], "the input store"),
        (vec![("store", "s3"), ("push", "true")], "the input bucket"),
        (
            vec![("store", "file"), ("push", "true"), ("root", "")],
            "the input root",
        ),
        (
            vec![("root", "packs"), ("push", "true")],
            "the input store is missing",
        ),
        (vec![("directory", "")], "the input directory"),
        (vec![("runpack", "no-such-program")], "install it first"),
    ] {
        let job = Job::new(&desk, &wrong).run().expect(2);
        assert!(job.log.contains(what), "{what} in\n{}", job.log);
        assert_eq!(job.output("storage-uri"), "");
        assert!(!desk.path("packs").exists());
    }
}

#[test]
fn scripts_hold_no_expressions() {
    for step in &Action::read().runs.steps {
        assert!(!step.run.contains("${{"), "{}", step.run);
    }
    for entry in fs::read_dir(home()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "sh") {
            let script = fs::read_to_string(&path).unwrap();
            assert!(
                !script.contains("${{") && !script.contains("eval "),
                "{}",
                path.display()
            );
        }
    }
}

#[test]
fn k01_a_bucket_is_pushed_to_and_compared_with_and_no_credential_is_shown() {
    let server = servers::shared(Kind::Ceph);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let bucket = runtime.block_on(server.bucket(BucketKind::Versioned));
    let desk = Desk::with_run();
    let job = |more: &[(&str, &str)]| {
        let store = [
            ("push", "true"),
            ("store", "s3"),
            ("bucket", &bucket.name),
            ("path-prefix", "ci/packs"),
            ("endpoint", &server.endpoint),
            ("region", &server.region),
        ];
        let inputs: Vec<(&str, &str)> = store.iter().chain(more).copied().collect();
        Job::new(&desk, &inputs)
            .with("RUNPACK_STORE_ACCESS_KEY", &server.access_key)
            .with("RUNPACK_STORE_SECRET_KEY", &server.secret_key)
            .run()
            .expect(0)
    };
    let first = job(&[("run-id", "first")]);
    let prefix = format!("s3://{}/ci/packs/tenant/acme/", bucket.name);
    assert!(
        first.output("storage-uri").starts_with(&prefix),
        "{}",
        first.output("storage-uri")
    );
    let pack_id = first.output("pack-id");
    let same = job(&[("run-id", "second"), ("baseline", &pack_id)]);
    assert_eq!(same.output("diff"), "same");
    desk.write("run/decisions.json", "{\"approve\":false}");
    let other = job(&[("run-id", "third"), ("baseline", &pack_id)]);
    assert_eq!(other.output("diff"), "different");
    for text in [&first.log, &same.log, &other.log, &other.summary()] {
        assert!(!text.contains(&server.secret_key), "{text}");
        assert!(!text.contains(&server.access_key), "{text}");
    }
}
