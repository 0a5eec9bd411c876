//! What this machine records of a run of which others tell, and what stays open when the end of a run is refused.

use super::*;

/// The run of somebody else, or of nobody, whose finisher died with its trail in the store.
fn dead() -> Desk {
    let desk = laid_out();
    desk.line(&format!("pipeline export work {RUN} --to file:store"))
        .expect(0);
    for part in ["manifest.json", "metadata.json"] {
        fs::remove_file(desk.path("store/acme/runs/r42").join(part)).unwrap();
    }
    desk
}

#[test]
fn s07_a_run_of_which_the_store_alone_tells_gets_no_receipt() {
    let (enemy, desk) = (dead(), Desk::new());
    let store = format!("file:{}", enemy.path("store").display());
    let adopt = format!("pipeline finish --adopt {RUN} --to {store}");
    let verify = format!("pipeline verify {store} {RUN} --json");
    let told = desk.line(&format!("{adopt} --json")).expect(0).json();
    check("pipeline", &told);
    assert_eq!(
        (text(&told, "commit"), &told["receipt"]),
        ("new", &Value::Null)
    );
    assert_eq!(
        text(&desk.line(&verify).expect(3).json(), "verdict"),
        "consistent"
    );
    let again = desk.line(&adopt).expect(0);
    assert!(
        again
            .out
            .contains("none: of this run the store alone tells"),
        "{}",
        again.out
    );
    desk.line(&verify).expect(3);
    let pinned = format!("{verify} --expect-pack-id {}", text(&told, "pack_id"));
    desk.line(&pinned).expect(0);
    // One that knows of another pack of that run says so.
    let knows = laid_out();
    knows.write("work/steps/report/outputs/report.html", "<p>better</p>");
    let export = format!("pipeline export work {RUN} --to file:store");
    knows.line(&export).expect(0);
    let said = knows.line(&adopt).expect(1);
    assert!(said.err.contains("no receipt was written"), "{}", said.err);
}

#[test]
fn an_end_that_is_refused_leaves_the_trail_open() {
    let desk = laid_out();
    begin(&desk, "r42.jsonl");
    step(&desk, "ingest", "--trail r42.jsonl");
    // A step of the same run by another plan, which says of which pipeline it is.
    let other = laid_out();
    let plan = PLAN.replacen('{', r#"{"pipeline": "nightly","#, 1);
    other.write("work/plan.json", plan);
    begin(&other, "r42.jsonl");
    step(&other, "ingest", "--trail r42.jsonl");
    let train = step(&other, "train", RUN);
    let manifest = "store/acme/runs/r42/steps/train/manifest.json";
    desk.write(manifest, fs::read(other.path(manifest)).unwrap());
    let kept = fs::read(desk.path("r42.jsonl")).unwrap();
    let at = "--trail r42.jsonl --to file:store";
    let take = format!("--take train={}", text(&train, "pack_id"));
    let said = desk
        .line(&format!("pipeline finish --outcome failed {take} {at}"))
        .expect(1);
    assert!(said.err.contains("the trail is as it was"), "{}", said.err);
    assert!(
        said.err.contains("its labels name another pipeline"),
        "{}",
        said.err
    );
    assert_eq!(fs::read(desk.path("r42.jsonl")).unwrap(), kept);
    assert!(!desk.path("store/acme/runs/r42/events").exists());
    // So the run goes on.
    fs::remove_dir_all(desk.path("store/acme/runs/r42/steps/train")).unwrap();
    step(&desk, "train", "--trail r42.jsonl");
    desk.line(&format!("pipeline finish --outcome failed {at}"))
        .expect(0);
    verify(&desk, "", 0);
}

#[test]
fn an_agent_that_is_not_registered_as_planned_begins_no_run() {
    let desk = laid_out();
    let pinned = format!(r#""version": "1.2.0", "sha256": "{}""#, "0".repeat(64));
    let plan = PLAN.replacen(r#""version": "1.2.0""#, &pinned, 1);
    desk.write("work/plan.json", plan);
    let export = format!("pipeline export work {RUN} --to file:store");
    let said = desk.line(&export).expect(2);
    assert!(
        said.err
            .contains("agent trainer@1.2.0: the registry does not have it"),
        "{}",
        said.err
    );
    desk.write("agent.json", r#"{"agent":"trainer","version":"1.2.0","format":"runpack/agent/v1","created_at":"2026-11-20T12:00:00Z"}"#);
    desk.line("pipeline agent register agent.json --to file:store")
        .expect(0);
    let said = desk.line(&export).expect(2);
    assert!(said.err.contains("another entry"), "{}", said.err);
    assert!(!desk.path("store/acme/runs").exists());
}

#[test]
fn a_receipt_that_knows_better_stands_however_often_finish_is_run() {
    let desk = laid_out();
    desk.write("work/steps/report/outputs/report.html", "<p>before</p>");
    let before = desk
        .line(&format!(
            "pipeline export work {RUN} --to file:store --json"
        ))
        .expect(0)
        .json();
    for part in ["store", "work/events"] {
        fs::remove_dir_all(desk.path(part)).unwrap();
    }
    begin(&desk, "r42.jsonl");
    step(&desk, "ingest", "--trail r42.jsonl");
    let other = laid_out();
    let store = desk.path("store").display().to_string();
    let mut take = String::new();
    for one in ["train", "report"] {
        let line = format!("pipeline step {one} work/steps/{one} {RUN} --to file:{store} --json");
        let made = other.line(&line).expect(0).json();
        take.push_str(&format!(" --take {one}={}", text(&made, "pack_id")));
    }
    let finish = "pipeline finish --trail r42.jsonl --to file:store";
    // With what is taken, again, and when the steps are in the trail already and the run's pack is new all the same.
    for (how, is_new) in [(&*take, true), (&take, false), (&take, true), ("", true)] {
        if is_new {
            let _ = fs::remove_file(desk.path("store/acme/runs/r42/manifest.json"));
        }
        let said = desk.line(&format!("{finish} {how}")).expect(1);
        let recorded = format!("recorded: {}", text(&before, "pack_id"));
        assert!(said.err.contains(&recorded), "{how}: {}", said.err);
    }
    verify(&desk, "", 1);
}
