//! Runs of pipelines as somebody uses them: step by step over machines, and at once, in a directory and in a bucket.

use std::fs;

use runpack_testing::servers::{BucketKind, Kind};
use serde_json::{Value, json};

use crate::s3::Remote;
use crate::schema::check;
use crate::support::{Desk, said, text};

mod refusing;
mod witness;

pub(crate) const RUN: &str = "--tenant acme --run-id r42";
const PLAN: &str = r#"{
  "format": "runpack/pipeline-plan/v1",
  "steps": [
    {"step_id": "ingest", "inputs": [{"name": "inputs/raw.csv"}], "outputs": ["outputs/rows.csv"]},
    {"step_id": "train", "after": ["ingest"], "agent": {"name": "trainer", "version": "1.2.0"}, "outputs": ["outputs/model.bin"]},
    {"step_id": "report", "after": ["train"]}
  ]
}"#;

/// A run as an engine lays it out, below `work/`.
pub(crate) fn laid_out() -> Desk {
    let desk = Desk::new();
    desk.write("work/plan.json", PLAN);
    desk.write("work/definition.yaml", "steps: [ingest, train, report]\n");
    desk.write("work/steps/ingest/inputs/raw.csv", "a;b\n");
    desk.write("work/steps/ingest/outputs/rows.csv", "a,b\n");
    desk.write("work/steps/train/inputs/rows.csv", "a,b\n");
    desk.write("work/steps/train/outputs/model.bin", vec![7; (8 << 20) + 5]);
    desk.write("work/steps/report/inputs/model.bin", vec![7; (8 << 20) + 5]);
    desk.write("work/steps/report/outputs/report.html", "<p>good</p>");
    desk
}

fn begin(desk: &Desk, trail: &str) -> Value {
    let line = format!(
        "pipeline begin {RUN} --plan work/plan.json --definition work/definition.yaml --trail {trail} --to file:store --json"
    );
    desk.line(&line).expect(0).json()
}

fn step(desk: &Desk, step: &str, how: &str) -> Value {
    let line = format!("pipeline step {step} work/steps/{step} {how} --to file:store --json");
    desk.line(&line).expect(0).json()
}

fn verify(desk: &Desk, more: &str, code: i32) -> Value {
    let line = format!("pipeline verify file:store {RUN} --json {more}");
    let report = desk.line(&line).expect(code).json();
    check("pipeline", &report);
    report
}

#[test]
fn a_run_step_by_step_on_several_machines() {
    let desk = laid_out();
    let begun = begin(&desk, "r42.jsonl");
    check("pipeline", &begun);
    assert_eq!(text(&begun, "commit"), "new");
    assert_eq!(text(&begin(&desk, "r42.jsonl"), "commit"), "again");
    let ingest = step(&desk, "ingest", "--trail r42.jsonl");
    check("pipeline", &ingest);
    let told = desk
        .line("pipeline event approval.given --trail r42.jsonl --step train --agent trainer@1.2.0 --detail by=ann --json")
        .expect(0)
        .json();
    check("pipeline", &told);
    assert_eq!(told["entries"], 3);
    // Another machine, which has no trail.
    let train = step(&desk, "train", RUN);
    assert_eq!(text(&train, "agent"), "trainer@1.2.0");
    let take = format!("--take train={}", text(&train, "pack_id"));
    let early = desk
        .line(&format!(
            "pipeline finish {take} --trail r42.jsonl --to file:store"
        ))
        .expect(2);
    assert!(early.err.contains("report: no pack"), "{}", early.err);
    let shown = desk
        .line(&format!("pipeline show file:store {RUN} --json"))
        .expect(0)
        .json();
    check("pipeline", &shown);
    assert_eq!(
        (&shown["pack_id"], &shown["steps"][2]["pack_id"]),
        (&Value::Null, &Value::Null)
    );
    let report = step(&desk, "report", RUN);
    let report = text(&report, "pack_id");
    let finish = format!(
        "pipeline finish {take} --take report={report} --trail r42.jsonl --to file:store --json"
    );
    let finished = desk.line(&finish).expect(0).json();
    check("pipeline", &finished);
    assert_eq!(
        finished["taken"],
        json!([{"step_id": "train", "pack": train["pack_id"]}, {"step_id": "report", "pack": report}])
    );
    assert_eq!(
        (text(&finished, "commit"), text(&finished, "outcome")),
        ("new", "succeeded")
    );
    assert_eq!(finished["steps"][1]["pack"], train["pack_id"]);
    let again = desk.line(&finish).expect(0).json();
    assert_eq!(
        (text(&again, "commit"), &again["pack_id"]),
        ("again", &finished["pack_id"])
    );
    assert_eq!(again["taken"], finished["taken"]);
    let late = desk.line("pipeline event note --trail r42.jsonl").expect(2);
    assert!(late.err.contains("the run has ended"), "{}", late.err);

    let id = text(&finished, "pack_id");
    let report = verify(&desk, "", 0);
    assert_eq!(report["run"]["pinned_by"], json!(["receipt"]));
    assert_eq!(report["steps"].as_array().unwrap().len(), 3);
    assert_eq!(
        text(&verify(&desk, "--no-receipts", 3), "verdict"),
        "consistent"
    );
    assert_eq!(
        text(
            &verify(&desk, &format!("--no-receipts --expect-pack-id {id}"), 0),
            "verdict"
        ),
        "valid"
    );
    let shown = desk
        .line(&format!("pipeline verify file:store {RUN}"))
        .expect(0);
    assert!(
        shown
            .out
            .starts_with("valid: the run and 3 steps; what became of it: succeeded\n"),
        "{}",
        shown.out
    );
}

#[test]
fn the_pack_of_a_run_is_a_pack_like_any_other() {
    let desk = laid_out();
    let export = format!("pipeline export work {RUN} --to file:store --json");
    let finished = desk.line(&export).expect(0).json();
    let id = text(&finished, "pack_id");
    let own = desk
        .line(&format!("verify file:store {RUN} --pipeline --json"))
        .expect(0)
        .json();
    check("verify", &own);
    check(
        "show",
        &desk
            .line(&format!("show file:store {RUN} --pipeline --json"))
            .expect(0)
            .json(),
    );
    let pulled = desk
        .line(&format!("pull {id} pulled --from file:store --json"))
        .expect(0)
        .json();
    check("pull", &pulled);
    assert!(desk.path("pulled/steps/train/manifest.json").is_file());
    desk.line("bundle pulled r42.tar.gz").expect(0);
    desk.line(&format!("verify r42.tar.gz --expect-pack-id {id}"))
        .expect(0);
    let listed = desk.line("list file:store --json").expect(0);
    let kinds = listed
        .out
        .lines()
        .filter(|line| line.contains(r#""kind":"pipeline""#))
        .count();
    assert_eq!(
        (listed.out.lines().count(), kinds),
        (4, 1),
        "{}",
        listed.out
    );
    for line in listed.out.lines() {
        check("list", &serde_json::from_str(line).unwrap());
    }
    desk.line("catalog update file:store").expect(0);
    desk.line("catalog check file:store").expect(0);
    // A mirror is whole.
    desk.line("mirror file:store file:copy").expect(0);
    desk.line(&format!(
        "pipeline verify file:copy {RUN} --no-receipts --expect-pack-id {id}"
    ))
    .expect(0);
}

#[test]
fn a_whole_tree_at_once_and_again_and_whatever_is_changed_is_found() {
    let desk = laid_out();
    let export = format!("pipeline export work {RUN} --to file:store --json");
    let done = desk.line(&export).expect(0).json();
    check("pipeline", &done);
    let again = desk.line(&export).expect(0).json();
    assert_eq!(
        (text(&again, "commit"), &again["pack_id"]),
        ("again", &done["pack_id"])
    );
    for (key, code) in [
        (
            "acme/runs/r42/steps/train/outputs/model.bin",
            "artifact.digest",
        ),
        (
            "acme/runs/r42/steps/ingest/inputs/raw.csv",
            "artifact.digest",
        ),
        ("acme/runs/r42/events/audit_trail.jsonl", "artifact.digest"),
        ("acme/runs/r42/plan.json", "artifact.digest"),
    ] {
        let path = desk.path("store").join(key);
        let kept = fs::read(&path).unwrap();
        let mut changed = kept.clone();
        changed[1] ^= 1;
        fs::write(&path, &changed).unwrap();
        let report = verify(&desk, "", 1);
        let findings = [&report["findings"], &report["run"]["findings"]];
        let told = findings
            .into_iter()
            .flat_map(|list| list.as_array().unwrap());
        let codes: Vec<&str> = told.map(|finding| text(finding, "code")).collect();
        assert_eq!(codes, [code], "{key}");
        fs::write(&path, &kept).unwrap();
    }
    verify(&desk, "", 0);
}

#[test]
fn one_finisher_wins_and_who_dies_is_followed() {
    let desk = laid_out();
    begin(&desk, "a.jsonl");
    begin(&desk, "b.jsonl");
    let mut take = String::new();
    for one in ["ingest", "train", "report"] {
        let made = step(&desk, one, "--trail a.jsonl");
        take.push_str(&format!(" --take {one}={}", text(&made, "pack_id")));
    }
    desk.line("pipeline event note --trail b.jsonl").expect(0);
    let finish = |trail: &str, code: i32| {
        desk.line(&format!(
            "pipeline finish --trail {trail} --to file:store --json"
        ))
        .expect(code)
    };
    let won = finish("a.jsonl", 0).json();
    let lost = desk
        .line(&format!(
            "pipeline finish --trail b.jsonl --to file:store{take}"
        ))
        .expect(2);
    assert!(
        lost.err.contains("another finisher ended this run"),
        "{}",
        lost.err
    );
    assert_eq!(finish("a.jsonl", 0).json()["pack_id"], won["pack_id"]);
    // The winner died before the manifest was written, and its trail is in the store alone.
    fs::remove_file(desk.path("store/acme/runs/r42/manifest.json")).unwrap();
    fs::remove_file(desk.path("store/acme/runs/r42/metadata.json")).unwrap();
    verify(&desk, "", 1);
    let followed = desk
        .line(&format!(
            "pipeline finish --adopt {RUN} --to file:store --json"
        ))
        .expect(0)
        .json();
    assert_eq!(followed["pack_id"], won["pack_id"]);
    verify(&desk, "", 0);
}

#[test]
fn what_goes_wrong_says_what_to_do() {
    let desk = laid_out();
    begin(&desk, "r42.jsonl");
    let refuse = |line: &str, says: &str| {
        let said = desk.line(line).expect(2);
        assert!(said.err.contains(says), "{line}: {}", said.err);
    };
    let at = "--trail r42.jsonl --to file:store";
    refuse(
        &format!("pipeline step other work/steps/train {at}"),
        "the plan has no such step",
    );
    refuse(
        &format!("pipeline step train work/steps/train {at}"),
        "a step that comes before has no pack yet, step=`ingest`",
    );
    refuse(
        &format!("pipeline step ingest work {at}"),
        "neither an input nor an output",
    );
    refuse(
        &format!("pipeline step ingest work/steps/train {at}"),
        "inputs/rows.csv: no output of a step before it",
    );
    step(&desk, "ingest", "--trail r42.jsonl");
    desk.write("work/steps/ingest/outputs/rows.csv", "changed");
    refuse(
        &format!("pipeline step ingest work/steps/ingest {at}"),
        "the place of this step has other bytes",
    );
    refuse(
        &format!("pipeline step train work/steps/train --agent trainer@2 {at}"),
        "another agent for this step",
    );
    refuse(
        "pipeline event run.finish --trail r42.jsonl",
        "written by runpack alone",
    );
    refuse(
        &format!("pipeline finish --outcome succeeded {at}"),
        "not every step of the plan has succeeded",
    );
    desk.write(
        "cycle.json",
        PLAN.replace(
            r#""step_id": "ingest","#,
            r#""step_id": "ingest", "after": ["report"],"#,
        ),
    );
    refuse(
        &format!(
            "pipeline begin {RUN} --plan cycle.json --definition work/definition.yaml --trail c.jsonl --to file:store"
        ),
        "cycle=`ingest after report after train after ingest`",
    );
    desk.write(
        "short.json",
        r#"{"format":"runpack/pipeline-plan/v1","steps":[{"step_id":"ingest"}]}"#,
    );
    refuse(
        &format!(
            "pipeline begin {RUN} --plan short.json --definition work/definition.yaml --trail c.jsonl --to file:store"
        ),
        "the run began with another plan",
    );
    // A trail that somebody edited is not continued; one that a crash tore is, without what was torn.
    let kept = fs::read_to_string(desk.path("r42.jsonl")).unwrap();
    desk.write("r42.jsonl", kept.replacen("acme", "evil", 1));
    let edited = desk.line("pipeline event note --trail r42.jsonl").expect(1);
    assert!(
        edited.err.contains("the trail was changed"),
        "{}",
        edited.err
    );
    desk.write("r42.jsonl", format!("{kept}{{\"action\":\"no"));
    let torn = desk.line("pipeline event note --trail r42.jsonl").expect(0);
    assert!(torn.err.contains("never finished"), "{}", torn.err);
    assert_eq!(
        fs::read_to_string(desk.path("r42.jsonl"))
            .unwrap()
            .lines()
            .count(),
        3
    );
    let failed = desk
        .line(&format!("pipeline finish --outcome failed {at} --json"))
        .expect(0)
        .json();
    assert_eq!(text(&failed, "outcome"), "failed");
    assert_eq!(text(&verify(&desk, "", 0), "outcome"), "failed");
}

#[test]
fn agents_and_definitions_are_kept_once() {
    let desk = laid_out();
    desk.write("agent.json", r#"{"agent":"trainer","version":"1.2.0","format":"runpack/agent/v1","created_at":"2026-11-20T12:00:00Z","model":{"provider":"p","name":"m"}}"#);
    let register = "pipeline agent register agent.json --to file:store";
    let done = desk.line(&format!("{register} --json")).expect(0).json();
    check("pipeline", &done);
    assert_eq!(text(&done, "outcome"), "created");
    assert_eq!(
        text(
            &desk.line(&format!("{register} --json")).expect(0).json(),
            "outcome"
        ),
        "there"
    );
    let shown = desk
        .line("pipeline agent show trainer@1.2.0 file:store --json")
        .expect(0)
        .json();
    check("pipeline", &shown);
    assert_eq!(shown["sha256"], done["sha256"]);
    desk.line("pipeline agent show trainer@1.2.0 file:store")
        .expect(0);
    let other = fs::read_to_string(desk.path("agent.json"))
        .unwrap()
        .replace("\"m\"", "\"n\"");
    desk.write("agent.json", other);
    let refused = desk.line(register).expect(2);
    assert!(
        refused.err.contains("is something else, which stays"),
        "{}",
        refused.err
    );
    assert!(
        refused.err.contains(text(&done, "sha256")),
        "{}",
        refused.err
    );
    let missing = desk
        .line("pipeline agent show trainer@2 file:store")
        .expect(2);
    assert!(
        missing.err.contains("does not have this agent"),
        "{}",
        missing.err
    );
    let define = "pipeline define work/definition.yaml --tenant acme --to file:store --json";
    let defined = desk.line(define).expect(0).json();
    check("pipeline", &defined);
    let hash = text(&defined, "pipeline_hash");
    let begin = format!(
        "pipeline begin {RUN} --plan work/plan.json --definition {hash} --trail t.jsonl --to file:store --json"
    );
    assert_eq!(
        text(&desk.line(&begin).expect(0).json(), "pipeline_hash"),
        hash
    );
}

#[test]
fn a_run_in_a_bucket_of_a_real_server() {
    for how in [BucketKind::Plain, BucketKind::Versioned] {
        let desk = laid_out();
        let remote = Remote::with_desk(desk, Kind::Moto, how);
        let json = |line: &str, code: i32| {
            let store = format!("s3://{}/ci", remote.bucket.name);
            let mut command = remote.command();
            command.args(
                line.split_whitespace()
                    .map(|word| word.replace('@', &store)),
            );
            said(&mut command).expect(code).json()
        };
        let done = json(&format!("pipeline export work {RUN} --to @ --json"), 0);
        assert_eq!(text(&done, "commit"), "new");
        let id = text(&done, "pack_id");
        let pinned = format!("pipeline verify @ {RUN} --no-receipts --expect-pack-id {id} --json");
        assert_eq!(text(&json(&pinned, 0), "verdict"), "valid");
        let again = json(&format!("pipeline export work {RUN} --to @ --json"), 0);
        assert_eq!(text(&again, "commit"), "again");
        let pulled = json(&format!("pull {id} pulled --from @ --json"), 0);
        check("pull", &pulled);
        let objects = remote.objects();
        assert!(
            objects
                .iter()
                .any(|key| key == "ci/acme/runs/r42/manifest.json"),
            "{objects:?}"
        );
        // A run's pack does not come before those of its steps; a mirror brings them in their order.
        let refused = remote.desk.line("push pulled --to file:other").expect(2);
        assert!(refused.err.contains("bring that first"), "{}", refused.err);
        json("mirror @ file:copy --json", 0);
        let copy = format!("pipeline verify file:copy {RUN} --no-receipts --expect-pack-id {id}");
        remote.desk.line(&copy).expect(0);
        json("push pulled --to file:copy --json", 0);
    }
}
