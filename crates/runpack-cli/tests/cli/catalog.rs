//! The catalog as somebody uses it: on this machine, and in PostgreSQL.

mod keeping_up;

use runpack_core::commitment::Content;
use runpack_core::digest::Digest;
use runpack_core::id::SpecHash;
use runpack_core::key::Location;
use runpack_core::limits::Limits;
use runpack_core::manifest::{Artifact, Input, Labels, Manifest, Producer, Subject};
use runpack_testing::servers::PrivatePostgres;
use runpack_testing::validators;
use serde_json::{Value, json};

use crate::schema::check;
use crate::support::{Desk, Said, text};

/// Three runs of one tenant and one of another, which share an artifact.
fn filled() -> Desk {
    let desk = Desk::with_run();
    for (tenant, run_id) in [
        ("acme", "r1"),
        ("acme", "r2"),
        ("acme", "r3"),
        ("globex", "r4"),
    ] {
        desk.write("run/result.txt", format!("result of {run_id}"));
        desk.export(&format!("--tenant {tenant} --run-id {run_id}"));
    }
    desk
}

fn lines(said: &Said) -> Vec<Value> {
    let lines = said.out.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn packs_are_found_by_what_is_known_of_them_in_either_database() {
    let desk = filled();
    let postgres = PrivatePostgres::start();
    let url = postgres.database("packs");
    let mut exported = Vec::new();
    for catalog in [
        String::new(),
        format!("--catalog {url}"),
        "--catalog sqlite:other/c.db".to_owned(),
    ] {
        let line = |line: &str| desk.line(&format!("{line} {catalog}"));
        // Nobody is answered from a catalog that was made for the question; a database has to be there.
        if catalog.contains("postgres") {
            assert_eq!(line("catalog search").expect(0).out, "no artifacts\n");
        } else {
            let said = line("catalog search").expect(2);
            assert!(said.err.contains("catalog update STORE"), "{}", said.err);
            assert!(!desk.path("other").exists());
        }
        let filled = line("catalog update file:store --json").expect(0).json();
        check("catalog", &filled);
        assert_eq!(
            filled,
            json!({"added": 4, "artifacts": 20, "known": 0, "removed": 0, "gone": [], "faults": [],
                   "faults_unlisted": 0, "unread": []})
        );
        let again = line("catalog update file:store --json").expect(0).json();
        assert_eq!((&again["added"], &again["known"]), (&json!(0), &json!(4)));
        let rebuilt = line("catalog rebuild file:store --json").expect(0).json();
        assert_eq!(rebuilt["added"], 4);
        let checked = line("catalog check file:store --json").expect(0).json();
        check("catalog", &checked);
        let found = lines(&line("catalog search --tenant acme --limit 4 --json").expect(0));
        assert_eq!(found.len(), 5);
        for one in &found {
            check("catalog", one);
        }
        let next = text(&found[4], "start_after");
        let rest = line(&format!(
            "catalog search --tenant acme --start-after {next} --json"
        ))
        .expect(0);
        assert_eq!(lines(&rest).len(), 11);
        let label = lines(&line("catalog search --label a=b --run-id r4 --json").expect(0));
        assert_eq!(label.len(), 5);
        let uri = label[0]["uris"][0].as_str().unwrap();
        let path = uri.strip_prefix("file://").unwrap();
        assert!(std::path::Path::new(path).is_file(), "{uri}");
        let plan = line("catalog search --tenant acme --explain --json")
            .expect(0)
            .json();
        check("catalog", &plan);
        let duplicates = line("catalog duplicates --json").expect(0).json();
        check("catalog", &duplicates);
        assert_eq!(duplicates["objects"], 20);
        assert_eq!(duplicates["costliest"][0]["copies"], 4);
        assert_eq!(duplicates["costliest"][0]["bytes"], 3_000);
        exported.push(line("catalog export").expect(0).out);
        for line in exported[0].lines() {
            check("catalog", &serde_json::from_str(line).unwrap());
        }
        for command in [
            "update file:store",
            "rebuild file:store",
            "check file:store",
            "duplicates",
        ] {
            assert!(!line(&format!("catalog {command}")).expect(0).out.is_empty());
        }
    }
    assert!(exported.iter().all(|one| *one == exported[0]));
}

#[test]
fn a_catalog_that_does_not_say_what_is_there_is_told_and_mended() {
    let desk = filled();
    // Not the one that commits keep up.
    let line = |line: &str| desk.line(&format!("catalog {line} file:store --catalog sqlite:c.db"));
    line("update").expect(0);
    let pack = desk.export("--tenant acme --run-id r5");
    let manifest = format!("{}/manifest.json", text(&pack, "pack"));
    let checked = line("check --json").expect(1).json();
    check("catalog", &checked);
    assert_eq!(checked["differences"][0]["difference"], "missing");
    assert_eq!(checked["differences"][0]["pack_id"], pack["pack_id"]);
    line("update").expect(0);
    line("check").expect(0);
    std::fs::write(&manifest, "{}").unwrap();
    let checked = line("check --json").expect(1).json();
    check("catalog", &checked);
    assert_eq!(checked["differences"][0]["difference"], "gone");
    assert_eq!(checked["faults"].as_array().unwrap().len(), 1);
    std::fs::remove_file(&manifest).unwrap();
    let said = line("check").expect(1);
    assert!(
        said.out.contains("not in the store any more"),
        "{}",
        said.out
    );
    line("update").expect(0);
    line("check").expect(0);
}

#[test]
fn where_things_came_from_is_traced() {
    let desk = Desk::with_run();
    let raw = desk.export("--run-id raw");
    let raw_id = text(&raw, "pack_id").to_owned();
    let model = lines(&desk.line("show file:store --run-id raw --tenant acme --namespace prod --scenario loan-approval --json"));
    let model = model[0]["artifacts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == "model.bin");
    let digest = text(model.unwrap(), "commitment").to_owned();
    desk.line("catalog update file:store").expect(0);
    for (start, nodes) in [
        (raw_id.clone(), 4),
        (format!("{raw_id}/model.bin"), 1),
        (format!("sha256:{digest}"), 1),
    ] {
        let up = desk
            .line(&format!("lineage up {start} --json"))
            .expect(0)
            .json();
        check("lineage", &up);
        assert_eq!(up["nodes"].as_array().unwrap().len(), nodes);
    }
    let said = desk
        .line(&format!("lineage down {raw_id}/model.bin"))
        .expect(0);
    assert!(said.out.contains("model.bin"), "{}", said.out);
    for (format, begins) in [
        ("mermaid", "flowchart LR\n"),
        ("graphviz", "digraph lineage {\n"),
    ] {
        let said = desk
            .line(&format!("lineage up {raw_id} --format {format}"))
            .expect(0);
        assert!(said.out.starts_with(begins), "{}", said.out);
    }
    let unknown = desk
        .line(&format!("lineage up sha256:{}", "0".repeat(64)))
        .expect(2);
    assert!(unknown.err.contains("catalog update"), "{}", unknown.err);
}

#[test]
fn k01_what_is_wrong_with_a_catalog_is_told_without_its_password() {
    let desk = filled();
    desk.write(
        "none.db",
        "this is no database, and has been here for a long time",
    );
    desk.line("catalog update file:store").expect(0);
    for (line, says) in [
        (
            "catalog search --catalog postgres//me:secret@host",
            "sqlite:PATH or postgres://",
        ),
        (
            "catalog search --catalog mysql://host/db",
            "sqlite:PATH or postgres://",
        ),
        (
            "catalog search --catalog postgres://me:secret@127.0.0.1:9/db",
            "cannot be reached",
        ),
        ("catalog search --catalog sqlite:none.db", "damaged"),
        (
            "catalog search --catalog sqlite:store/../run/spec.json/c.db",
            "catalog",
        ),
        ("catalog search --start-after x", "where a page ended"),
        (
            "catalog search --expired --start-after 2026-11-20T12:00:00Z/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855/a",
            "of another order",
        ),
        ("catalog search --digest e3b0", "64 hex digits"),
        ("catalog search --kind Model", "kind"),
        ("catalog search --media-type text", "media type"),
        ("catalog search --label x", "KEY=VALUE"),
        ("catalog update file:nowhere", "nowhere"),
        ("lineage up model.bin", "sha256:HEX"),
    ] {
        let said = desk.line(line).expect(2);
        assert!(said.err.contains(says), "{line}: {}", said.err);
        assert!(!said.err.contains("secret"), "{}", said.err);
    }
    let mut command = desk.command();
    command
        .env("RUNPACK_CATALOG", "postgres//me:secret@host")
        .args(["catalog", "search"]);
    let said = crate::support::said(&mut command).expect(2);
    assert!(
        said.err.contains("RUNPACK_CATALOG") && !said.err.contains("secret"),
        "{}",
        said.err
    );
}

/// What somebody does with a crate and with events: all of it is taken by the tools that are made for it.
#[test]
fn lineage_leaves_for_other_systems() {
    let desk = Desk::with_run();
    let labels = "--label outcome=failed --label agent=nightly";
    let pack = desk.export(&format!("--run-id r1 --bundle r1.tar.gz {labels}"));
    let id = text(&pack, "pack_id").to_owned();
    desk.line("catalog update file:store").expect(0);
    let schema = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../Docs/spec/openlineage-integrity-v1.schema.json");
    let export = |what: &str| desk.line(&format!("lineage export {what}")).expect(0).out;
    for ways in ["", "--up", "--down --up --depth 3 --json"] {
        let events = export(&format!("{id} --format openlineage {ways}"));
        validators::openlineage(&events, &schema).unwrap();
        assert!(events.contains("\"eventType\":\"FAIL\""), "{events}");
        validators::prov_json(&export(&format!("{id} --format prov-json {ways}"))).unwrap();
    }
    // The same without the catalog, from wherever it lies: there is nothing to compare.
    let directory = text(&pack, "pack");
    let (_, within) = directory.split_once("store/").unwrap();
    for target in ["r1.tar.gz", directory, &format!("file:store/{within}")] {
        for format in ["openlineage", "prov-json", "ro-crate"] {
            let from_catalog = export(&format!("{id} --format {format}"));
            assert_eq!(
                export(&format!("{target} --format {format}")),
                from_catalog,
                "{target}"
            );
        }
    }
    let early = export("r1.tar.gz --format openlineage --started-at 2026-11-20T11:00:00Z");
    assert!(
        early.contains("\"eventTime\":\"2026-11-20T11:00:00Z\""),
        "{early}"
    );

    std::fs::create_dir(desk.path("crate")).unwrap();
    desk.line("unbundle r1.tar.gz crate/pack").expect(0);
    desk.write(
        "crate/ro-crate-metadata.json",
        export("crate/pack --format ro-crate"),
    );
    validators::ro_crate(&desk.path("crate")).unwrap();
    // The pack in there is what it was.
    desk.line(&format!("verify crate/pack --expect-pack-id {id}"))
        .expect(0);
}

#[test]
fn what_cannot_be_exported_is_told_with_what_to_do() {
    let desk = Desk::with_run();
    desk.export("--run-id r1 --bundle r1.tar.gz");
    let unknown = format!("sha256:{}", "0".repeat(64));
    for (line, says) in [
        (format!("{unknown} --format openlineage"), "catalog update"),
        ("sha256:9f2c --format openlineage".to_owned(), "sha256:HEX"),
        (format!("{unknown}/a --format openlineage"), "sha256:HEX"),
        (
            "nowhere --format prov-json".to_owned(),
            "nothing at this path",
        ),
        (
            "r1.tar.gz --format prov-json --up".to_owned(),
            "as the catalog knows it",
        ),
        (
            format!("{unknown} --format ro-crate --down"),
            "a crate for each pack",
        ),
        (
            "r1.tar.gz --format openlineage --started-at 2026-11-20T12:00:01Z".to_owned(),
            "does not begin after its pack was made",
        ),
        ("r1.tar.gz --format dot".to_owned(), "openlineage"),
    ] {
        let said = desk.line(&format!("lineage export {line}")).expect(2);
        assert!(said.err.contains(says), "{line}: {}", said.err);
        assert_eq!(said.out, "", "{line}");
    }
}

/// What a forger says of a pack that is known is nowhere in what other systems are told, and the exit code says so.
#[test]
fn b15_forged_lineage_does_not_leave() {
    let desk = Desk::with_run();
    let raw = desk.export("--run-id raw");
    let raw = text(&raw, "pack_id").to_owned();
    let nothing = Digest::of(b"");
    let source = Input {
        commitment: nothing,
        name: "model.bin".parse().unwrap(),
        pack: raw.parse().unwrap(),
    };
    let (kind, media_type) = ("file".parse().unwrap(), "text/plain".parse().unwrap());
    let made = Artifact::new(
        "made".parse().unwrap(),
        kind,
        media_type,
        0,
        Content::Whole(nothing),
    );
    let forged = Manifest::new(
        Subject::Run {
            tenant: "acme".parse().unwrap(),
            namespace: "prod".parse().unwrap(),
            scenario: "forging".parse().unwrap(),
            run_id: "r1".parse().unwrap(),
            spec_hash: SpecHash::new(nothing),
        },
        "2026-11-20T12:00:00Z".parse().unwrap(),
        Producer {
            name: "forger".parse().unwrap(),
            version: "1".parse().unwrap(),
        },
        vec![made.unwrap().with_inputs(vec![source])],
        Labels::new(),
        &Limits::default(),
    );
    let forged = forged.unwrap();
    let key = Location::manifest(forged.subject()).key().unwrap();
    desk.write(format!("store/{key}"), forged.to_bytes());
    desk.line("catalog update file:store").expect(0);
    let forged = forged.pack_id();
    for format in ["openlineage", "prov-json", "ro-crate"] {
        let said = desk
            .line(&format!("lineage export {forged} --format {format}"))
            .expect(1);
        assert!(
            !said.out.contains("model.bin") && !said.out.contains(&raw),
            "{}",
            said.out
        );
        assert!(
            said.err
                .starts_with("finding: a source that is not as it is named"),
            "{}",
            said.err
        );
    }
}
