//! What counts: flags over environment over file over default, and who says so.

use serde_json::Value;

use crate::support::{Desk, said};

/// `config show` under these variables.
fn shown(desk: &Desk, arguments: &[&str], variables: &[(&str, &str)]) -> Value {
    let mut command = desk.command();
    command
        .args(["config", "show", "--json"])
        .args(arguments)
        .envs(variables.iter().copied());
    said(&mut command).expect(0).json()
}

#[track_caller]
fn is(shown: &Value, key: &str, value: Option<&str>, origin: &str, name: Option<&str>) {
    let settings = shown["settings"].as_array().unwrap();
    let setting = settings
        .iter()
        .find(|setting| setting["key"] == key)
        .unwrap_or_else(|| panic!("no {key} in {shown}"));
    let expected = serde_json::json!({"key": key, "value": value, "origin": origin, "name": name});
    assert_eq!(*setting, expected);
}

const FILE: &str = "tenant: acme\nrunpacks:\n  store: s3\n  verify_on_push: false\n  s3:\n    endpoint: https://file.example\n    \
                    bucket: from-file\n    region: file-1\n    path_prefix: from/file\n    sse: aws:kms\n    sse_kms_key: key-1\n";

#[test]
fn flags_over_environment_over_file_over_default() {
    let desk = Desk::new();
    let nothing = shown(&desk, &[], &[]);
    assert_eq!(nothing["file"], Value::Null);
    is(&nothing, "runpacks.store", Some("file"), "default", None);
    is(
        &nothing,
        "runpacks.file.root",
        Some("runpacks"),
        "default",
        None,
    );
    is(&nothing, "runpacks.s3.endpoint", None, "default", None);
    is(
        &nothing,
        "runpacks.verify_on_push",
        Some("true"),
        "default",
        None,
    );
    is(
        &nothing,
        "credentials",
        Some("the standard AWS chain"),
        "default",
        None,
    );

    desk.write("runpack.yaml", FILE);
    let file = shown(&desk, &[], &[]);
    let from = ("file", Some("runpack.yaml"));
    is(&file, "tenant", Some("acme"), from.0, from.1);
    is(&file, "runpacks.store", Some("s3"), from.0, from.1);
    is(
        &file,
        "runpacks.s3.endpoint",
        Some("https://file.example"),
        from.0,
        from.1,
    );
    is(
        &file,
        "runpacks.s3.bucket",
        Some("from-file"),
        from.0,
        from.1,
    );
    is(
        &file,
        "runpacks.s3.path_prefix",
        Some("from/file/"),
        from.0,
        from.1,
    );
    is(&file, "runpacks.s3.sse", Some("aws:kms"), from.0, from.1);
    is(
        &file,
        "runpacks.s3.sse_kms_key",
        Some("key-1"),
        from.0,
        from.1,
    );
    is(
        &file,
        "runpacks.verify_on_push",
        Some("false"),
        from.0,
        from.1,
    );

    let variables = [
        ("RUNPACK_TENANT", "other"),
        ("RUNPACK_STORE_ENDPOINT", "https://environment.example"),
        ("RUNPACK_STORE_BUCKET", "from-environment"),
        ("RUNPACK_STORE_REGION", "environment-1"),
        ("RUNPACK_STORE_PATH_PREFIX", "from/environment"),
    ];
    let environment = shown(&desk, &[], &variables);
    for (key, value, name) in [
        ("tenant", "other", variables[0].0),
        ("runpacks.s3.endpoint", variables[1].1, variables[1].0),
        ("runpacks.s3.bucket", variables[2].1, variables[2].0),
        ("runpacks.s3.region", variables[3].1, variables[3].0),
        (
            "runpacks.s3.path_prefix",
            "from/environment/",
            variables[4].0,
        ),
    ] {
        is(&environment, key, Some(value), "environment", Some(name));
    }
    flags_come_first(&desk, &variables);
}

fn flags_come_first(desk: &Desk, variables: &[(&str, &str)]) {
    let flags = ["--endpoint", "https://flag.example", "--region", "flag-1"];
    let flagged = shown(desk, &flags, variables);
    is(
        &flagged,
        "runpacks.s3.endpoint",
        Some(flags[1]),
        "flag",
        Some("--endpoint"),
    );
    is(
        &flagged,
        "runpacks.s3.region",
        Some(flags[3]),
        "flag",
        Some("--region"),
    );

    // A directory in the environment comes before a bucket in the file.
    let root = shown(desk, &[], &[("RUNPACK_STORE_ROOT", "/srv/packs")]);
    is(
        &root,
        "runpacks.store",
        Some("file"),
        "environment",
        Some("RUNPACK_STORE_ROOT"),
    );
    is(
        &root,
        "runpacks.file.root",
        Some("/srv/packs"),
        "environment",
        Some("RUNPACK_STORE_ROOT"),
    );
}

#[test]
fn what_contradicts_itself_is_refused() {
    let desk = Desk::new();
    for (variables, says) in [
        (
            &[("RUNPACK_STORE_ROOT", "x"), ("RUNPACK_STORE_BUCKET", "abc")][..],
            "nothing says which is the store",
        ),
        (
            &[("RUNPACK_STORE_ACCESS_KEY", "x")][..],
            "RUNPACK_STORE_ACCESS_KEY is set and RUNPACK_STORE_SECRET_KEY is not",
        ),
        (
            &[("RUNPACK_STORE_SECRET_KEY", "x")][..],
            "RUNPACK_STORE_SECRET_KEY is set and RUNPACK_STORE_ACCESS_KEY is not",
        ),
        (
            &[("RUNPACK_STORE_SESSION_TOKEN", "x")][..],
            "RUNPACK_STORE_SESSION_TOKEN is set and RUNPACK_STORE_ACCESS_KEY is not",
        ),
        (
            &[("RUNPACK_STORE_ENDPOINT", "host")][..],
            "name=`RUNPACK_STORE_ENDPOINT`",
        ),
        (
            &[("RUNPACK_STORE_BUCKET", "a/b")][..],
            "name=`RUNPACK_STORE_BUCKET`",
        ),
        (&[("RUNPACK_STORE_REGION", "a b")][..], "this is no region"),
        (
            &[("RUNPACK_STORE_PATH_PREFIX", "..")][..],
            "name=`RUNPACK_STORE_PATH_PREFIX`",
        ),
    ] {
        let mut command = desk.command();
        command
            .args(["config", "show"])
            .envs(variables.iter().copied());
        let said = said(&mut command).expect(2);
        assert!(said.err.contains(says), "{variables:?}: {}", said.err);
        assert_eq!(said.err.lines().count(), 2, "{}", said.err);
    }
}

#[test]
fn k01_no_credential_is_shown_by_anything() {
    let desk = Desk::with_run();
    desk.export("--bundle b.tar.gz");
    let secrets = [
        ("RUNPACK_STORE_ACCESS_KEY", "AKIAHUNTER2HUNTER2"),
        ("RUNPACK_STORE_SECRET_KEY", "verysecretverysecretverysecret"),
        ("RUNPACK_STORE_SESSION_TOKEN", "tokentokentokentokentoken"),
    ];
    // Nothing answers at this endpoint, and nothing is sent in the clear to another.
    for line in [
        "config show",
        "config show --json",
        "list s3://bucket --endpoint http://127.0.0.1:1",
        "list s3://bucket --endpoint http://example.invalid",
        "push b.tar.gz --to s3://bucket/x --endpoint http://127.0.0.1:1 --json",
        "verify s3://bucket --run-id x --endpoint http://127.0.0.1:1",
    ] {
        let mut command = desk.command();
        command.args(line.split_whitespace()).envs(secrets);
        let said = said(&mut command);
        for (_, secret) in secrets {
            for piece in secret.as_bytes().windows(8) {
                let piece = std::str::from_utf8(piece).unwrap();
                let shown = said.out.contains(piece) || said.err.contains(piece);
                assert!(!shown, "{line}: {} {}", said.out, said.err);
            }
        }
    }
    let shown = shown(&desk, &[], &secrets);
    for (key, name) in [
        ("access_key", secrets[0].0),
        ("secret_key", secrets[1].0),
        ("session_token", secrets[2].0),
    ] {
        is(
            &shown,
            key,
            Some("(set, not shown)"),
            "environment",
            Some(name),
        );
    }
}

#[test]
fn k01_a_catalog_is_named_without_its_password() {
    let desk = Desk::with_run();
    desk.export("");
    for (address, told) in [
        (
            "postgres://me:secret@host/db",
            "no password stands in this file",
        ),
        (
            "postgres://host/db?user=me&PassWord=secret",
            "no password stands in this file",
        ),
        ("mysql://me:secret@host/db", "correct it"),
    ] {
        desk.write(
            "runpack.yaml",
            format!("runpacks: {{catalog: '{address}'}}"),
        );
        let said = desk.line("catalog search").expect(2);
        assert!(
            said.err.contains("runpacks.catalog") && said.err.contains(told),
            "{}",
            said.err
        );
        assert!(!said.err.contains("secret"), "{}", said.err);
    }
    // Beside the file, wherever the program is run.
    desk.write(
        "below/runpack.yaml",
        "runpacks: {catalog: 'sqlite:index.db'}",
    );
    let found = desk
        .line("catalog update file:store --config below/runpack.yaml")
        .expect(0);
    assert!(found.out.contains("added"), "{}", found.out);
    assert!(desk.path("below/index.db").exists());
}

#[test]
fn locks_are_refused_whatever_is_done() {
    let desk = Desk::with_run();
    desk.export("--bundle b.tar.gz");
    for lock in ["{mode: compliance, retain_for: 7y}", "false", "", "~"] {
        let yaml = format!("runpacks:\n  s3:\n    bucket: abc\n    object_lock: {lock}\n");
        desk.write("runpack.yaml", yaml);
        for line in [
            "config show",
            "list file:store",
            "list",
            "push b.tar.gz",
            "export run --tenant a --namespace b --scenario c --spec run/spec.json --to file:x",
        ] {
            let said = desk.line(line);
            if line == "list file:store" && said.code == Some(0) {
                // Nothing of the configuration is asked for.
                continue;
            }
            assert_eq!(said.code, Some(2), "{lock} {line}");
            assert!(
                said.err.contains("locked storage"),
                "{lock} {line}: {}",
                said.err
            );
            assert!(said.err.contains("enterprise build"), "{}", said.err);
        }
    }
}
