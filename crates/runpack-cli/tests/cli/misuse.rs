//! Every misuse: one clear line, what to do, exit code 2, and nothing made.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::{Desk, EXPORT, said};

/// What is prepared, the line that is run, what its error says, what its help says.
type Case = (
    &'static str,
    fn(&Desk),
    &'static str,
    &'static str,
    &'static str,
);

fn nothing(_: &Desk) {}

fn packed(desk: &Desk) {
    desk.export("--bundle b.tar.gz");
}

const CASES: &[Case] = &[
    ("no command", nothing, "", "a command is missing", "--help"),
    (
        "unknown command",
        nothing,
        "verfy x",
        "unrecognized subcommand 'verfy'",
        "'verify'",
    ),
    (
        "unknown flag",
        nothing,
        "verify x --depe",
        "unexpected argument '--depe'",
        "'--deep'",
    ),
    (
        "unknown flag of a command below another",
        nothing,
        "store status --nothing",
        "unexpected argument '--nothing'",
        "`runpack store status --help`",
    ),
    (
        "no such directory",
        nothing,
        "export nowhere --tenant a --namespace b --scenario c --spec key.pem",
        "there is no directory to export",
        "outputs of the run",
    ),
    (
        "no spec flag",
        nothing,
        "export run --tenant a --namespace b --scenario c",
        "--spec",
        "runpack export --help",
    ),
    (
        "no such spec",
        nothing,
        "export run --tenant a --namespace b --scenario c --spec nowhere.json",
        "the spec could not be read",
        "--spec FILE",
    ),
    (
        "no tenant",
        nothing,
        "export run --namespace b --scenario c --spec run/spec.json",
        "--tenant is not given",
        "RUNPACK_TENANT",
    ),
    (
        "no namespace",
        nothing,
        "export run --tenant b --scenario c --spec run/spec.json",
        "--namespace is not given",
        "RUNPACK_NAMESPACE",
    ),
    (
        "no scenario",
        nothing,
        "export run --tenant b --namespace c --spec run/spec.json",
        "--scenario is not given",
        "runpack.yaml",
    ),
    (
        "bad tenant",
        nothing,
        "export run --tenant a/b --namespace b --scenario c --spec run/spec.json",
        "an id is 1 to 128 letters",
        "--help",
    ),
    (
        "bad run id",
        nothing,
        "export run --tenant a --namespace b --scenario c --run-id .. --spec run/spec.json",
        "an id is 1 to 128 letters",
        "--help",
    ),
    (
        "bad time",
        nothing,
        "export run --tenant a --namespace b --scenario c --spec run/spec.json --created-at yesterday",
        "YYYY-MM-DDTHH:MM:SSZ",
        "--help",
    ),
    (
        "bad label",
        nothing,
        "export run --tenant a --namespace b --scenario c --spec run/spec.json --label novalue",
        "KEY=VALUE",
        "--help",
    ),
    (
        "label twice",
        nothing,
        "export run --tenant a --namespace b --scenario c --spec run/spec.json --label a=1 --label a=2",
        "a label is given twice",
        "once",
    ),
    (
        "bad store",
        nothing,
        "export run --tenant a --namespace b --scenario c --spec run/spec.json --to ./store",
        "file:./store",
        "--help",
    ),
    (
        "other store",
        nothing,
        "export run --tenant a --namespace b --scenario c --spec run/spec.json --to gs://bucket",
        "file:PATH or s3://BUCKET/PREFIX",
        "--help",
    ),
    (
        "bad bucket",
        nothing,
        "list s3://b",
        "a bucket's name has 3 to 63",
        "--help",
    ),
    (
        "bucket without a name",
        |desk| desk.write("runpack.yaml", "runpacks: {store: s3, s3: {region: x}}\n"),
        "list",
        "the store is a bucket (file runpack.yaml), and none is named",
        "RUNPACK_STORE_BUCKET",
    ),
    (
        "nowhere to push to",
        packed,
        "push b.tar.gz",
        "there is no store to push to",
        "s3://BUCKET/PREFIX",
    ),
    (
        "push standard input",
        nothing,
        "push - --to file:store",
        "standard input cannot be pushed",
        "file",
    ),
    (
        "pull without a place",
        packed,
        "pull out --from file:store",
        "only one of the two is given",
        "PACK_ID OUT",
    ),
    (
        "pull twice named",
        packed,
        "pull x out --from file:store --run-id run-42",
        "named twice",
        "--expect-tenant",
    ),
    (
        "pull no pack id",
        packed,
        "pull 123 out --from file:store",
        "this is no pack id",
        "sha256:",
    ),
    (
        "pull a pack that is not there",
        packed,
        "pull sha256:0000000000000000000000000000000000000000000000000000000000000000 out --from file:store",
        "the store has no pack with this id",
        "runpack list",
    ),
    (
        "pull over something",
        packed,
        "pull run --from file:store --tenant acme --namespace prod --scenario loan-approval --run-id run-42",
        "something is there already",
        "another path",
    ),
    (
        "two ids at once",
        packed,
        "verify file:store --pack-id sha256:0000000000000000000000000000000000000000000000000000000000000000 --run-id x",
        "cannot be used with",
        "--help",
    ),
    (
        "mirror onto itself",
        packed,
        "mirror file:store file:store",
        "the two stores are one",
        "another",
    ),
    (
        "a service for a directory",
        packed,
        "mirror file:store file:copy --from-config other.yaml",
        "FROM is a directory",
        "leave it out",
    ),
    (
        "residue too young",
        packed,
        "gc file:store --older-than 1h",
        "at least 24 hours old",
        "--older-than",
    ),
    (
        "no age",
        packed,
        "gc file:store --older-than soon",
        "a length of time",
        "--help",
    ),
    (
        "presign a directory",
        packed,
        "presign run",
        "only what is in a bucket has URLs",
        "s3://",
    ),
    (
        "presign for too long",
        packed,
        "presign run --expires 8d",
        "good for 1s to 7d",
        "--expires",
    ),
    (
        "restore a directory",
        packed,
        "restore run",
        "archive tier",
        "s3://",
    ),
    (
        "measure a directory",
        packed,
        "store status file:store",
        "only buckets are measured",
        "s3://",
    ),
    (
        "push to nowhere by itself",
        |desk| desk.write("runpack.yaml", "runpacks: {auto_push: true}\n"),
        "export run --tenant a --namespace b --scenario c --spec run/spec.json --to file:store",
        "there is no store to push to",
        "runpack.yaml",
    ),
    (
        "credentials in the configuration",
        |desk| {
            desk.write(
                "runpack.yaml",
                "runpacks: {s3: {bucket: abc, secret_key: x}}\n",
            );
        },
        "list",
        "credentials never stand in a file",
        "RUNPACK_STORE_SECRET_KEY",
    ),
    (
        "store inside",
        nothing,
        "export run --tenant a --namespace b --scenario c --spec run/spec.json --to file:run/store",
        "the store would lie inside",
        "--to file:PATH",
    ),
    (
        "bundle inside",
        nothing,
        "export run --tenant a --namespace b --scenario c --spec run/spec.json --to file:store --bundle run/b.tar.gz",
        "the bundle would lie inside",
        "somewhere else",
    ),
    (
        "store is a file",
        |desk| desk.write("store", "x"),
        "export run --tenant a --namespace b --scenario c --spec run/spec.json --to file:store",
        "store",
        "permissions",
    ),
    (
        "empty directory",
        |desk| fs::create_dir(desk.path("empty")).unwrap(),
        "export empty --tenant a --namespace b --scenario c --spec run/spec.json --to file:store",
        "no files to export",
        "outputs of the run",
    ),
    (
        "links in the directory",
        |desk| {
            symlink("spec.json", desk.path("run/one")).unwrap();
            symlink("nowhere", desk.path("run/logs/two")).unwrap();
        },
        "export run --tenant a --namespace b --scenario c --spec run/spec.json --to file:store",
        "2 of them\n  logs/two: a symbolic link\n  one: a symbolic link\n",
        "copy",
    ),
    (
        "names that differ in case",
        |desk| desk.write("run/SPEC.json", "x"),
        "export run --tenant a --namespace b --scenario c --spec run/spec.json --to file:store",
        "letter case",
        "--map",
    ),
    (
        "spec that clashes",
        |desk| desk.write("other/spec.json", "x"),
        "export run --tenant a --namespace b --scenario c --spec other/spec.json --to file:store",
        "two artifacts would have one name",
        "--map",
    ),
    (
        "large spec",
        |desk| desk.write("run/spec.json", vec![b' '; (8 << 20) + 1]),
        "export run --tenant a --namespace b --scenario c --spec run/spec.json --to file:store",
        "at most 8 MiB",
        "smaller",
    ),
    (
        "large artifact",
        nothing,
        "export run --tenant a --namespace b --scenario c --spec run/spec.json --to file:store --max-artifact-bytes 2KiB",
        "larger than the limit",
        "--max-artifact-bytes",
    ),
    (
        "bad limit",
        nothing,
        "export run --tenant a --namespace b --scenario c --spec run/spec.json --max-artifact-bytes 2kb",
        "units are KiB",
        "--help",
    ),
    (
        "no mapping",
        nothing,
        "export run --tenant a --namespace b --scenario c --spec run/spec.json --map nowhere.yaml",
        "no mapping file",
        "--map",
    ),
    (
        "mapping for nothing",
        |desk| desk.write("m.yaml", "artifacts:\n  - {path: modle.bin, kind: x}\n"),
        "export run --tenant a --namespace b --scenario c --spec run/spec.json --map m.yaml",
        "for no file (the first entry that fits a file counts)\n  modle.bin\n",
        "correct",
    ),
    (
        "mapping with a wrong kind",
        |desk| {
            desk.write(
                "m.yaml",
                "artifacts:\n  - {path: model.bin, kind: Big Model}\n",
            );
        },
        "export run --tenant a --namespace b --scenario c --spec run/spec.json --map m.yaml",
        "wrong `kind`",
        "example",
    ),
    (
        "mapping with an unknown key",
        |desk| {
            desk.write(
                "m.yaml",
                "artifacts:\n  - {path: model.bin, mediatype: a/b}\n",
            );
        },
        "export run --tenant a --namespace b --scenario c --spec run/spec.json --map m.yaml",
        "unknown key, key=`mediatype`",
        "`media_type`",
    ),
    (
        "mapping a spec",
        |desk| desk.write("m.yaml", "artifacts:\n  - {path: model.bin, kind: spec}\n"),
        "export run --tenant a --namespace b --scenario c --spec run/spec.json --map m.yaml",
        "makes a file the spec",
        "--spec",
    ),
    (
        "one name for many",
        |desk| desk.write("m.yaml", "artifacts:\n  - {path: '*.bin', name: a}\n"),
        "export run --tenant a --namespace b --scenario c --spec run/spec.json --map m.yaml",
        "one name to a pattern",
        "single",
    ),
    (
        "unknown key in the configuration",
        |desk| desk.write("runpack.yaml", "tenent: a\n"),
        "export run --tenant a --namespace b --scenario c --spec run/spec.json",
        "unknown key, key=`tenent` path=`runpack.yaml` line=`1`",
        "did you mean `tenant`?",
    ),
    (
        "no such configuration",
        nothing,
        "list --config nowhere.yaml",
        "no configuration file",
        "--config",
    ),
    (
        "locks in the configuration",
        |desk| {
            desk.write(
                "runpack.yaml",
                "runpacks: {s3: {object_lock: {mode: compliance}}}\n",
            );
        },
        "list",
        "locked storage",
        "enterprise build",
    ),
    (
        "bundle taken",
        |desk| desk.write("b.tar.gz", "mine"),
        "export run --tenant a --namespace b --scenario c --spec run/spec.json --to file:store --bundle b.tar.gz",
        "something else than this pack is there",
        "another path",
    ),
    (
        "verify nothing",
        nothing,
        "verify nowhere",
        "there is nothing at this path",
        "runpack list",
    ),
    (
        "verify a url",
        nothing,
        "verify https://bucket/x",
        "there are no other targets",
        "pack directory",
    ),
    (
        "bad pack id",
        packed,
        "verify b.tar.gz --expect-pack-id 123",
        "a pack id is `sha256:`",
        "--help",
    ),
    (
        "no such key",
        packed,
        "verify b.tar.gz --key nowhere.pem",
        "the public key could not be read",
        "--key",
    ),
    (
        "private key to verify",
        packed,
        "verify b.tar.gz --key key.pem",
        "this is a private key",
        "public key",
    ),
    (
        "no signature",
        packed,
        "verify b.tar.gz --key key.pub.pem",
        "the signature could not be read",
        "runpack sign",
    ),
    (
        "signature without key",
        packed,
        "verify b.tar.gz --signature s.json",
        "--key",
        "--help",
    ),
    (
        "signature of standard input",
        packed,
        "verify - --key key.pub.pem",
        "standard input has no signature",
        "--signature",
    ),
    (
        "deep and presence",
        packed,
        "verify b.tar.gz --deep --presence",
        "cannot be used with",
        "--help",
    ),
    (
        "report taken",
        |desk| {
            packed(desk);
            desk.write("r.html", "mine");
        },
        "verify b.tar.gz --report r.html",
        "something is there already",
        "another path",
    ),
    (
        "report nowhere",
        packed,
        "verify b.tar.gz --report no/where/r.html",
        "there is no directory for it",
        "make the directory",
    ),
    (
        "identity of no store",
        packed,
        "verify b.tar.gz --run-id run-42",
        "the target is no store",
        "--expect-run-id",
    ),
    (
        "store without identity",
        packed,
        "verify file:store",
        "--tenant is not given",
        "--run-id",
    ),
    (
        "run that is not there",
        packed,
        "verify file:store --tenant acme --namespace prod --scenario loan-approval --run-id other",
        "no pack of this run",
        "runpack list",
    ),
    (
        "no such store",
        nothing,
        "list file:nowhere",
        "there is no directory",
        "file:PATH",
    ),
    (
        "sign without key",
        packed,
        "sign b.tar.gz",
        "--key",
        "runpack sign --help",
    ),
    (
        "sign with public key",
        packed,
        "sign b.tar.gz --key key.pub.pem",
        "this is a public key",
        "--help",
    ),
    (
        "sign with no key at all",
        packed,
        "sign b.tar.gz --key b.tar.gz",
        "this is no private key",
        "--help",
    ),
    (
        "signature taken",
        |desk| {
            packed(desk);
            desk.write("b.tar.gz.sig.json", "mine");
        },
        "sign b.tar.gz --key key.pem",
        "something is there already",
        "another path",
    ),
    (
        "sign standard input",
        packed,
        "sign - --key key.pem",
        "nothing beside it",
        "--out",
    ),
    (
        "bundle of a bundle",
        packed,
        "bundle b.tar.gz c.tar.gz",
        "a bundle already",
        "pack directory",
    ),
    (
        "unbundle a directory",
        packed,
        "unbundle store out",
        "a directory, not a bundle",
        ".tar.gz",
    ),
    (
        "unbundle over something",
        |desk| {
            packed(desk);
            desk.write("out/x", "mine");
        },
        "unbundle b.tar.gz out",
        "something is there already",
        "another path",
    ),
    (
        "unbundle into nowhere",
        packed,
        "unbundle b.tar.gz no/where/out",
        "there is no directory for it",
        "make the directory",
    ),
    (
        "diff with nothing",
        packed,
        "diff b.tar.gz nowhere",
        "there is nothing at this path",
        "pack directory",
    ),
    (
        "diff of no pack",
        packed,
        "diff b.tar.gz run",
        "this is no pack",
        "verify",
    ),
    (
        "diff of two inputs",
        nothing,
        "diff - -",
        "only one standard input",
        "path",
    ),
    (
        "unknown shell",
        nothing,
        "completions cmd",
        "invalid value 'cmd'",
        "--help",
    ),
];

#[test]
fn every_misuse_is_explained_and_changes_nothing() {
    for (what, prepare, line, says, helps) in CASES {
        let desk = Desk::with_run();
        prepare(&desk);
        let said = desk.line(line);
        assert_eq!(said.code, Some(2), "{what}: {} {}", said.out, said.err);
        assert_eq!(said.out, "", "{what}");
        assert!(said.err.starts_with("error: "), "{what}: {}", said.err);
        assert!(said.err.contains(says), "{what}: {}", said.err);
        let (error, help) = said
            .err
            .split_once("\nhelp: ")
            .unwrap_or_else(|| panic!("{what}: {}", said.err));
        assert!(help.contains(helps), "{what}: {}", said.err);
        assert_eq!(help.trim_end().lines().count(), 1, "{what}: {}", said.err);
        assert!(
            error.lines().skip(1).all(|line| line.starts_with("  ")),
            "{what}: {}",
            said.err
        );
        let as_json = desk.line(&format!("{line} --json"));
        assert_eq!(as_json.code, Some(2), "{what}");
        let error: serde_json::Value = serde_json::from_str(&as_json.err).unwrap();
        crate::schema::check("error", &error);
    }
}

#[test]
fn wrong_environment() {
    for (variable, value, says) in [
        ("RUNPACK_TENANT", "a/b", "an id in RUNPACK_TENANT is none"),
        ("RUNPACK_NAMESPACE", "", "--namespace is not given"),
        (
            "MAX_RUNPACK_ARTIFACT_BYTES",
            "lots",
            "MAX_RUNPACK_ARTIFACT_BYTES is no size",
        ),
        ("MAX_RUNPACK_ARTIFACT_BYTES", "100", "larger than the limit"),
    ] {
        let desk = Desk::with_run();
        let mut command = desk.command();
        command
            .args("export run --scenario c --spec run/spec.json --to file:store".split_whitespace())
            .env("RUNPACK_TENANT", "a")
            .env("RUNPACK_NAMESPACE", "b")
            .env(variable, value);
        let said = said(&mut command).expect(2);
        assert!(said.err.contains(says), "{variable}={value}: {}", said.err);
    }
}

#[test]
fn no_place_for_receipts() {
    let desk = Desk::with_run();
    let run = |line: &str| {
        let mut command = desk.command();
        command
            .args(line.split_whitespace())
            .env_remove("RUNPACK_STATE_DIR")
            .env_remove("HOME");
        said(&mut command)
    };
    assert!(
        run(EXPORT)
            .expect(2)
            .err
            .contains("there is no place for receipts")
    );
    assert!(!desk.path("store").exists());
    desk.export("--bundle b.tar.gz");
    assert!(
        run("verify b.tar.gz")
            .expect(2)
            .err
            .contains("--no-receipts")
    );
    run("verify b.tar.gz --no-receipts").expect(3);
}

#[test]
fn the_state_directory_is_found_in_order() {
    let desk = Desk::with_run();
    let receipt = |variables: &[(&str, &str)], run_id: &str| {
        let mut command = desk.command();
        command
            .args(
                format!("{EXPORT} --json")
                    .replace("run-42", run_id)
                    .split_whitespace(),
            )
            .env_remove("RUNPACK_STATE_DIR")
            .env("HOME", desk.root().join("home"));
        for (name, value) in variables {
            command.env(name, desk.root().join(value));
        }
        let exported = said(&mut command).expect(0).json();
        crate::support::text(&exported, "receipt").to_owned()
    };
    for (variables, below) in [
        (&[][..], "home/.local/state/runpack/receipts/"),
        (&[("XDG_STATE_HOME", "xdg")][..], "xdg/runpack/receipts/"),
        (
            &[("XDG_STATE_HOME", "xdg"), ("RUNPACK_STATE_DIR", "own")][..],
            "own/receipts/",
        ),
    ] {
        let receipt = receipt(variables, "run-1");
        let below = desk.root().join(below);
        assert!(receipt.starts_with(below.to_str().unwrap()), "{receipt}");
    }
}
