//! The main job, and every exit code.

use std::fs;

use crate::support::{Desk, EXPORT, NO_PACK, text};

#[test]
fn export_then_verify_by_receipt_pack_id_and_signature() {
    let desk = Desk::with_run();
    let exported = desk.export("--bundle run-42.tar.gz");
    let (pack, id) = (text(&exported, "pack"), text(&exported, "pack_id"));
    assert_eq!(exported["commit"], "new");
    assert_eq!(exported["artifacts"], 4);
    assert!(pack.starts_with(desk.root().to_str().unwrap()), "{pack}");
    assert_eq!(
        text(&exported, "bundle"),
        desk.root().join("run-42.tar.gz").to_str().unwrap()
    );
    assert!(fs::metadata(text(&exported, "receipt")).unwrap().is_file());
    let store =
        "file:store --tenant acme --namespace prod --scenario loan-approval --run-id run-42";
    let spec = text(&exported["subject"], "spec_hash");
    let targets = [
        pack.to_owned(),
        "run-42.tar.gz".to_owned(),
        store.to_owned(),
        format!("{store} --spec-hash {spec}"),
    ];
    for target in &targets {
        let by_receipt = desk.line(&format!("verify {target}")).expect(0);
        assert!(by_receipt.out.starts_with("valid: "), "{}", by_receipt.out);
        assert!(
            by_receipt.out.contains("a local receipt says"),
            "{}",
            by_receipt.out
        );
        desk.line(&format!("verify {target} --deep")).expect(0);
        let by_id = format!("verify {target} --no-receipts --expect-pack-id {id}");
        assert!(
            desk.line(&by_id)
                .expect(0)
                .out
                .contains("the expected pack id says")
        );
        desk.line(&format!(
            "verify {target} --no-receipts --expect-pack-id {NO_PACK}"
        ))
        .expect(1);
        desk.line(&format!("verify {target} --no-receipts"))
            .expect(3);
        desk.line(&format!("verify {target} --no-receipts --allow-unpinned"))
            .expect(0);
        let presence = desk.line(&format!("verify {target} --presence")).expect(3);
        assert!(
            presence.out.contains("contents were not read"),
            "{}",
            presence.out
        );
    }
    desk.line(&format!("sign {pack} --key key.pem")).expect(0);
    desk.line("sign run-42.tar.gz --key key.pem").expect(0);
    for target in &targets {
        let line = format!("verify {target} --no-receipts --key key.pub.pem");
        assert!(desk.line(&line).expect(0).out.contains("a signature says"));
    }
    let bundle = fs::read(desk.path("run-42.tar.gz")).unwrap();
    desk.line_with_input("verify -", &bundle).expect(0);
    let line = "verify - --no-receipts --key key.pub.pem --signature run-42.tar.gz.sig.json";
    desk.line_with_input(line, &bundle).expect(0);
}

#[test]
fn s09_an_expected_identity_narrows_and_proves_nothing() {
    let desk = Desk::with_run();
    let exported = desk.export("");
    let pack = text(&exported, "pack");
    let all = "--expect-tenant acme --expect-namespace prod --expect-scenario loan-approval --expect-run-id run-42";
    desk.line(&format!("verify {pack} {all}")).expect(0);
    desk.line(&format!("verify {pack} {all} --no-receipts"))
        .expect(3);
    for wrong in [
        "--expect-tenant other",
        "--expect-namespace other",
        "--expect-scenario other",
        "--expect-run-id other",
        "--expect-step-id any",
        "--expect-execution-id 01JD3M7Z9X8QWERTYASDFGHJKM",
    ] {
        let said = desk.line(&format!("verify {pack} {wrong}")).expect(1);
        assert!(said.out.contains("pin.identity"), "{wrong}: {}", said.out);
    }
}

#[test]
fn s09_a_pack_of_another_run_in_this_runs_place() {
    let desk = Desk::with_run();
    let ours = desk.export("");
    let theirs = desk.export("--run-id run-43");
    let id = text(&theirs, "pack_id");
    fs::remove_dir_all(text(&ours, "pack")).unwrap();
    crate::manipulate::copy(text(&theirs, "pack").as_ref(), text(&ours, "pack").as_ref());
    let store =
        "file:store --tenant acme --namespace prod --scenario loan-approval --run-id run-42";
    // Also if the pack id is that of the stranger: what was asked for is run-42.
    let line = format!("verify {store} --no-receipts --expect-pack-id {id}");
    let said = desk.line(&line).expect(1);
    assert!(said.out.contains("pin.identity"), "{}", said.out);
    desk.line(&format!("show {store}")).expect(1);
    desk.line(&format!(
        "bundle {} out.tar.gz {}",
        "file:store",
        &store["file:store".len()..]
    ))
    .expect(1);
    let listed = desk.line("list file:store").expect(0);
    assert!(
        listed.out.contains("the manifest of another subject"),
        "{}",
        listed.out
    );
}

#[test]
fn the_same_again_the_same_evidence_and_a_conflict() {
    let desk = Desk::with_run();
    let first = desk.export("--bundle b.tar.gz");
    let again = desk.export("--bundle b.tar.gz");
    assert_eq!(again["commit"], "again");
    assert_eq!(again["bundle_commit"], "again");
    assert_eq!(again["pack_id"], first["pack_id"]);
    let line = EXPORT.replace("2026-11-20T12", "2026-11-21T13");
    let later = desk.line(&format!("{line} --json")).expect(0).json();
    assert_eq!(later["commit"], "same_evidence");
    assert_eq!(later["pack_id"], first["pack_id"]);
    assert_eq!(later["created_at"], "2026-11-20T12:00:00Z");
    desk.write("run/decisions.json", "{\"approve\":false}");
    let conflict = desk.line(EXPORT).expect(2);
    assert!(
        conflict.err.contains(text(&first, "pack_id")),
        "{}",
        conflict.err
    );
    assert_eq!(
        conflict.err.matches("sha256:").count(),
        2,
        "{}",
        conflict.err
    );
    // What the beaten export left behind is residue in the store, and a stranger in a closed directory.
    let store =
        "file:store --tenant acme --namespace prod --scenario loan-approval --run-id run-42";
    let said = desk.line(&format!("verify {store}")).expect(0);
    assert!(said.out.contains("residue: objects=1"), "{}", said.out);
    let said = desk
        .line(&format!("verify {}", text(&first, "pack")))
        .expect(1);
    assert!(
        said.out.contains("verify the store (file:ROOT)"),
        "{}",
        said.out
    );
}

#[test]
fn w09_a_receipt_that_was_lost_comes_with_the_next_export() {
    let desk = Desk::with_run();
    desk.export("--bundle b.tar.gz");
    fs::remove_dir_all(desk.path("state")).unwrap();
    desk.line("verify b.tar.gz").expect(3);
    desk.export("--bundle b.tar.gz");
    desk.line("verify b.tar.gz").expect(0);
}

#[test]
fn a_run_id_is_made_where_none_is_given() {
    let desk = Desk::with_run();
    let line = EXPORT.replace("--run-id run-42 ", "");
    let ids: Vec<String> = (0..2)
        .map(|_| {
            let exported = desk.line(&format!("{line} --json")).expect(0).json();
            text(&exported["subject"], "run_id").to_owned()
        })
        .collect();
    assert_ne!(ids[0], ids[1]);
    assert!(ids.iter().all(|id| id.len() == 26), "{ids:?}");
}

#[test]
fn one_run_may_have_packs_by_several_specs() {
    let desk = Desk::with_run();
    desk.export("");
    desk.write("run/spec.json", "{\"test\":\"some\"}");
    let second = desk.export("");
    let store =
        "verify file:store --tenant acme --namespace prod --scenario loan-approval --run-id run-42";
    let said = desk.line(store).expect(2);
    assert_eq!(said.err.matches("\n  sha256:").count(), 2, "{}", said.err);
    let spec = text(&second["subject"], "spec_hash");
    desk.line(&format!("{store} --spec-hash {spec}")).expect(0);
}

#[test]
fn a_spec_outside_the_directory_is_added() {
    let desk = Desk::with_run();
    desk.write("plan.yaml", "steps: []\n");
    let line = EXPORT.replace("run/spec.json", "plan.yaml");
    let exported = desk.line(&format!("{line} --json")).expect(0).json();
    assert_eq!(exported["artifacts"], 5);
    let shown = desk
        .line(&format!("show {} --json", text(&exported, "pack")))
        .expect(0)
        .json();
    let kinds: Vec<(&str, &str)> = shown["artifacts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|artifact| (text(artifact, "name"), text(artifact, "kind")))
        .collect();
    let expected = [
        ("decisions.json", "decision-log"),
        ("logs/run.log", "log"),
        ("model.bin", "file"),
        ("plan.yaml", "spec"),
        ("spec.json", "data"),
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn bundle_unbundle_and_diff() {
    let desk = Desk::with_run();
    let exported = desk.export("");
    let (pack, id) = (text(&exported, "pack"), text(&exported, "pack_id"));
    desk.line(&format!("bundle {pack} a.tar.gz")).expect(0);
    let store = "--tenant acme --namespace prod --scenario loan-approval --run-id run-42";
    let line = format!("bundle file:store b.tar.gz {store} --compression stored --json");
    assert_eq!(desk.line(&line).expect(0).json()["bundle_commit"], "new");
    assert_eq!(desk.line(&line).expect(0).json()["bundle_commit"], "again");
    desk.line("unbundle a.tar.gz a").expect(0);
    desk.line("unbundle a.tar.gz b --no-receipts").expect(3);
    desk.line("unbundle a.tar.gz c --no-receipts --allow-unpinned")
        .expect(0);
    desk.line(&format!(
        "unbundle b.tar.gz d --no-receipts --expect-pack-id {id}"
    ))
    .expect(0);
    for directory in ["a", "b", "c", "d"] {
        assert_eq!(
            fs::read(desk.path(directory).join("logs/run.log")).unwrap(),
            b"started\nended\n"
        );
        desk.line(&format!("diff {pack} {directory}")).expect(0);
    }
    let refused = desk
        .line(&format!("unbundle a.tar.gz e --expect-pack-id {NO_PACK}"))
        .expect(1);
    assert!(
        refused.out.contains("nothing was written"),
        "{}",
        refused.out
    );
    assert!(!desk.path("e").exists());
    let bundle = fs::read(desk.path("a.tar.gz")).unwrap();
    desk.line_with_input("unbundle - f", &bundle).expect(0);
    desk.line_with_input("unbundle - g", &bundle[..bundle.len() - 9])
        .expect(1);
    assert!(!desk.path("g").exists());
    let left: Vec<_> = fs::read_dir(desk.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().starts_with(".runpack"))
        .collect();
    assert!(left.is_empty(), "{left:?}");

    desk.write("run/extra.txt", "more");
    desk.write("run/model.bin", [8; 3_000]);
    fs::remove_file(desk.path("run/logs/run.log")).unwrap();
    desk.export("--run-id run-43 --bundle other.tar.gz");
    let said = desk
        .line("diff a.tar.gz other.tar.gz --json")
        .expect(1)
        .json();
    assert_eq!(said["added"], serde_json::json!(["extra.txt"]));
    assert_eq!(said["removed"], serde_json::json!(["logs/run.log"]));
    assert_eq!(
        said["changed"],
        serde_json::json!([{"name": "model.bin", "what": ["content"]}])
    );
    assert_eq!(
        said["members"],
        serde_json::json!([{"member": "subject.run_id", "a": "run-42", "b": "run-43"}])
    );
}

#[test]
fn configuration_environment_and_flags_in_their_order() {
    let desk = Desk::with_run();
    desk.write(
        "runpack.yaml",
        "tenant: no\nnamespace: file-namespace\nscenario: nightly\nrunpacks:\n  store: file\n  file:\n    root: packs\n",
    );
    let plain = "export run --spec run/spec.json --run-id r --json";
    let subject = |more: &[(&str, &str)], flags: &str| {
        let mut command = desk.command();
        command.args(format!("{plain} {flags}").split_whitespace());
        command.envs(more.iter().copied());
        let exported = crate::support::said(&mut command).expect(0).json();
        let of = |member| text(&exported["subject"], member).to_owned();
        let pack = text(&exported, "pack").to_owned();
        (of("tenant"), of("namespace"), of("scenario"), pack)
    };
    let root = desk.root();
    let (tenant, namespace, scenario, pack) = subject(&[], "");
    assert_eq!(
        (&*tenant, &*namespace, &*scenario),
        ("no", "file-namespace", "nightly")
    );
    assert!(pack.starts_with(root.join("packs").to_str().unwrap()));
    let environment = [
        ("RUNPACK_TENANT", "env-tenant"),
        ("RUNPACK_STORE_ROOT", "env-store"),
    ];
    let (tenant, namespace, _, pack) = subject(&environment, "");
    assert_eq!((&*tenant, &*namespace), ("env-tenant", "file-namespace"));
    assert!(pack.starts_with(root.join("env-store").to_str().unwrap()));
    let (tenant, _, _, pack) = subject(&environment, "--tenant flag --to file:flag-store");
    assert_eq!(tenant, "flag");
    assert!(pack.starts_with(root.join("flag-store").to_str().unwrap()));
    let config = fs::read(desk.path("runpack.yaml")).unwrap();
    desk.write("sub/other.yaml", config);
    fs::remove_file(desk.path("runpack.yaml")).unwrap();
    let (tenant, _, _, pack) = subject(&[], "--config sub/other.yaml");
    assert_eq!(tenant, "no");
    assert!(pack.starts_with(root.join("sub/packs").to_str().unwrap()));
    let (.., pack) = subject(&[], "--tenant a --namespace b --scenario c");
    assert!(pack.starts_with(root.join("runpacks").to_str().unwrap()));
}

#[test]
fn a_mapping_says_what_files_are() {
    let desk = Desk::with_run();
    desk.write(
        "map.yaml",
        "artifacts:\n  - {path: 'logs/**', kind: console, step: build}\n  - {path: model.bin, name: renamed/model.bin, media_type: application/x-model}\n",
    );
    let exported = desk.export("--map map.yaml");
    let shown = desk
        .line(&format!("show {} --json", text(&exported, "pack")))
        .expect(0)
        .json();
    let artifacts = shown["artifacts"].as_array().unwrap();
    assert_eq!(artifacts[1]["kind"], "console");
    assert_eq!(artifacts[1]["step"], "build");
    assert_eq!(artifacts[2]["name"], "renamed/model.bin");
    assert_eq!(artifacts[2]["media_type"], "application/x-model");
    assert_eq!(artifacts[2]["kind"], "file");
}

#[test]
fn list_filters_and_limits() {
    let desk = Desk::with_run();
    for run in ["run-1", "run-2", "run-3"] {
        desk.export(&format!("--run-id {run}"));
    }
    desk.export("--tenant other");
    let count = |flags: &str| {
        let said = desk
            .line(&format!("list file:store --json {flags}"))
            .expect(0);
        let packs = said.out.lines().filter(|line| line.contains("pack_id"));
        packs.count()
    };
    assert_eq!(count(""), 4);
    assert_eq!(count("--tenant acme"), 3);
    assert_eq!(
        count("--tenant acme --namespace prod --scenario loan-approval --run-id run-2"),
        1
    );
    assert_eq!(count("--run-id run-2"), 1);
    assert_eq!(count("--namespace nowhere"), 0);
    assert_eq!(count("--limit 2"), 2);
    let limited = desk.line("list --store file:store --limit 2").expect(0);
    assert!(
        limited.out.contains("more: --start-after tenant/"),
        "{}",
        limited.out
    );
}

#[test]
fn a_damaged_receipt_is_no_receipt_to_do_without() {
    let desk = Desk::with_run();
    let exported = desk.export("");
    let pack = text(&exported, "pack");
    fs::write(text(&exported, "receipt"), "{").unwrap();
    let said = desk.line(&format!("verify {pack}")).expect(2);
    assert!(
        said.err.contains("a local receipt is damaged"),
        "{}",
        said.err
    );
    desk.line(&format!("verify {pack} --no-receipts")).expect(3);
}

#[test]
fn a_pack_that_does_not_verify_is_not_signed() {
    let desk = Desk::with_run();
    let exported = desk.export("--bundle b.tar.gz");
    desk.line("unbundle b.tar.gz pack").expect(0);
    desk.write("pack/logs/run.log", "other");
    let said = desk.line("sign pack --key key.pem").expect(1);
    assert!(said.err.contains("artifact.size"), "{}", said.err);
    assert!(!desk.path("pack.sig.json").exists());
    desk.line(&format!(
        "sign b.tar.gz --key key.pem --expect-pack-id {NO_PACK}"
    ))
    .expect(1);
    let id = text(&exported, "pack_id");
    let signed = format!("sign b.tar.gz --key key.pem --expect-pack-id {id} --out s.json");
    desk.line(&signed).expect(0);
    desk.line("verify b.tar.gz --key key.pub.pem --signature s.json --no-receipts")
        .expect(0);
    desk.write("broken.json", "{}");
    let said = desk
        .line("verify b.tar.gz --key key.pub.pem --signature broken.json --no-receipts")
        .expect(1);
    assert!(said.out.contains("pin.signature"), "{}", said.out);
}

#[test]
fn what_cannot_be_read_is_undecided() {
    let desk = Desk::with_run();
    let exported = desk.export("");
    let pack = std::path::Path::new(text(&exported, "pack"));
    // A name over the limit of the file system cannot be looked at, whoever asks.
    let said = desk.run(["verify", &"x/".repeat(3_000)]).expect(2);
    assert!(said.err.starts_with("error: "), "{}", said.err);
    fs::remove_file(pack.join("manifest.json")).unwrap();
    let said = desk.run(["verify".as_ref(), pack.as_os_str()]).expect(1);
    assert!(said.out.contains("manifest.missing"), "{}", said.out);
}
