//! `--json` of every command against its schema.

use std::fs;

use serde_json::Value;

use crate::schema::check;
use crate::support::{Desk, EXPORT, NO_PACK, text};

#[test]
fn every_command_writes_what_its_schema_says() {
    let desk = Desk::with_run();
    desk.write("run/Über.bin", vec![1; (8 << 20) + 1]);
    let json = |line: &str, code: i32| desk.line(&format!("{line} --json")).expect(code).json();
    let exported = json(&format!("{EXPORT} --bundle b.tar.gz"), 0);
    check("export", &exported);
    check("export", &json(EXPORT, 0));
    let pack = text(&exported, "pack");
    for (line, code) in [
        (format!("verify {pack}"), 0),
        (format!("verify {pack} --deep"), 0),
        (format!("verify {pack} --presence"), 3),
        (format!("verify {pack} --no-receipts"), 3),
        (format!("verify {pack} --expect-pack-id {NO_PACK}"), 1),
        ("verify run".to_owned(), 1),
        ("verify b.tar.gz".to_owned(), 0),
    ] {
        check("verify", &json(&line, code));
    }
    check("sign", &json("sign b.tar.gz --key key.pem", 0));
    check("bundle", &json(&format!("bundle {pack} c.tar.gz"), 0));
    check("unbundle", &json("unbundle b.tar.gz out", 0));
    check(
        "unbundle",
        &json(
            &format!("unbundle b.tar.gz no --expect-pack-id {NO_PACK}"),
            1,
        ),
    );
    fs::write(desk.path("out/Stranger"), "x").unwrap();
    let mut large = fs::read(desk.path("out/%C3%9Cber.bin")).unwrap();
    large[8 << 20] = 2;
    fs::write(desk.path("out/%C3%9Cber.bin"), large).unwrap();
    let report = json("verify out", 1);
    check("verify", &report);
    assert_eq!(
        report["findings"][0]["damaged_chunks"],
        serde_json::json!([1])
    );
    check("show", &json("show b.tar.gz", 0));
    check("show", &json(&format!("show {pack}"), 0));
    check("diff", &json(&format!("diff {pack} b.tar.gz"), 0));
    desk.write("run/model.bin", "other");
    desk.export("--run-id other --label z=z --bundle other.tar.gz");
    check("diff", &json("diff b.tar.gz other.tar.gz", 1));
    fs::create_dir_all(desk.path("store/executions/01JD3M7Z9X8QWERTYASDFGHJKM")).unwrap();
    desk.write(
        "store/executions/01JD3M7Z9X8QWERTYASDFGHJKM/manifest.json",
        "{}",
    );
    let listed = desk.line("list file:store --json").expect(0);
    let lines: Vec<Value> = listed
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3);
    for line in &lines {
        check("list", line);
    }
    assert!(lines.iter().any(|line| line.get("fault").is_some()));
    check("push", &json(&format!("push {pack} --to file:remote"), 0));
    check("push", &json("push b.tar.gz --to file:remote", 0));
    let id = text(&exported, "pack_id");
    check(
        "pull",
        &json(&format!("pull {id} pulled --from file:remote"), 0),
    );
    let no = format!("pull {id} no --from file:remote --expect-tenant other");
    check("pull", &json(&no, 1));
    check("mirror", &json("mirror file:remote file:copy", 0));
    check("config", &json("config show", 0));
    let more = desk.line("list file:remote --limit 1 --json").expect(0);
    for line in more.out.lines() {
        check("list", &serde_json::from_str(line).unwrap());
    }
    assert_eq!(more.out.lines().count(), 2);
    check("gc", &json("gc file:remote", 0));
    check("completions", &json("completions bash", 0));
    check("man", &json("man", 0));
    check("man", &json("man --out man", 0));
}

#[test]
fn every_schema_is_closed_and_says_which_dialect() {
    fn is_closed(schema: &Value) -> bool {
        let own =
            schema.get("properties").is_none() || schema.get("additionalProperties").is_some();
        own && match schema {
            Value::Object(members) => members.values().all(is_closed),
            Value::Array(items) => items.iter().all(is_closed),
            _ => true,
        }
    }
    for name in [
        "export",
        "verify",
        "verify-attestation",
        "sign",
        "bundle",
        "unbundle",
        "push",
        "pull",
        "mirror",
        "restore",
        "presign",
        "gc",
        "retention",
        "config",
        "store",
        "lifecycle",
        "list",
        "show",
        "diff",
        "completions",
        "man",
        "pipeline",
        "server",
        "ship",
        "audit",
        "failover",
        "error",
    ] {
        let schema = crate::schema::load(name);
        assert_eq!(
            schema["$schema"], "https://json-schema.org/draft/2020-12/schema",
            "{name}"
        );
        assert!(is_closed(&schema), "{name}");
    }
}
