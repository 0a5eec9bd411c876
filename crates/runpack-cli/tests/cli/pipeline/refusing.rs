//! What a run is not continued with: a file that is no trail, a store that shows something else, a step that comes late.

use super::*;

/// A trail on which `ingest` stands.
fn begun() -> Desk {
    let desk = laid_out();
    begin(&desk, "r42.jsonl");
    step(&desk, "ingest", "--trail r42.jsonl");
    desk
}

const AT: &str = "--trail r42.jsonl --to file:store";

#[test]
fn a_file_that_is_no_trail_is_left_as_it_is() {
    let desk = begun();
    let trail = fs::read_to_string(desk.path("r42.jsonl")).unwrap();
    // A document of one line or several, with or without its line feed; a piece of a first line.
    for other in [
        "{\"format\":\"runpack/pipeline-plan/v1\"}",
        "{\n  \"steps\": []\n}",
        "{\n  \"steps\": []\n}\n",
        &trail[..40],
        "\n",
        // Lines that hold and are not whole, of which the last one is a stranger's.
        &format!("{}{{\"action\":\"no", trail.replacen("acme", "evil", 1)),
    ] {
        desk.write("other", other);
        for line in [
            format!(
                "pipeline begin {RUN} --plan work/plan.json --definition work/definition.yaml --trail other --to file:store"
            ),
            "pipeline event note --trail other".to_owned(),
            "pipeline step train work/steps/train --trail other --to file:store".to_owned(),
            "pipeline finish --trail other --to file:store".to_owned(),
        ] {
            let said = desk.line(&line);
            assert_ne!(said.code, Some(0), "{other}: {line}");
            assert!(said.err.contains("trail"), "{}", said.err);
            let after = fs::read_to_string(desk.path("other")).unwrap();
            assert_eq!(after, other, "{line}");
        }
    }
    // Over the bound, nothing is known of its end.
    desk.write("large", &trail);
    let large = fs::File::options()
        .write(true)
        .open(desk.path("large"))
        .unwrap();
    large.set_len((64 << 20) + 1).unwrap();
    let said = desk.line("pipeline event note --trail large").expect(2);
    assert!(said.err.contains("not the trail of a run"), "{}", said.err);
    assert_eq!(large.metadata().unwrap().len(), (64 << 20) + 1);
}

#[test]
fn a_trail_that_lost_its_last_line_feed_lost_no_line() {
    let desk = begun();
    let trail = fs::read_to_string(desk.path("r42.jsonl")).unwrap();
    desk.write("r42.jsonl", trail.trim_end());
    let told = desk
        .line("pipeline event note --trail r42.jsonl --json")
        .expect(0)
        .json();
    assert_eq!(told["entries"], 3);
    let now = fs::read_to_string(desk.path("r42.jsonl")).unwrap();
    assert!(now.starts_with(&trail), "{now}");
}

/// The same run elsewhere, whose files are others.
fn elsewhere() -> Desk {
    let desk = laid_out();
    desk.write("work/steps/ingest/outputs/rows.csv", "x,y\n");
    desk.write("work/steps/train/inputs/rows.csv", "x,y\n");
    begin(&desk, "r42.jsonl");
    step(&desk, "ingest", "--trail r42.jsonl");
    step(&desk, "train", "--trail r42.jsonl");
    desk
}

fn plant(from: &Desk, to: &Desk, key: &str) {
    let key = format!("store/acme/runs/r42/{key}");
    to.write(&key, fs::read(from.path(&key)).unwrap());
}

#[test]
fn s07_the_store_is_held_to_what_the_trail_tells() {
    let (desk, other) = (begun(), elsewhere());
    let lie = |key: &str, line: &str, says: &str| {
        let path = desk.path("store/acme/runs/r42").join(key);
        let kept = fs::read(&path).unwrap();
        plant(&other, &desk, key);
        let trail = fs::read(desk.path("r42.jsonl")).unwrap();
        let said = desk.line(&format!("pipeline {line} {AT}")).expect(1);
        assert!(said.err.contains(says), "{line}: {}", said.err);
        assert_eq!(fs::read(desk.path("r42.jsonl")).unwrap(), trail);
        fs::write(&path, kept).unwrap();
    };
    // A plan that lets the step be anything.
    other.write(
        "store/acme/runs/r42/plan.json",
        r#"{"format":"runpack/pipeline-plan/v1","steps":[{"step_id":"ingest"},{"inputs":[{"name":"inputs/rows.csv"}],"step_id":"train"}]}"#,
    );
    for line in [
        "step train work/steps/train",
        "finish",
        "finish --outcome failed",
    ] {
        lie(
            "plan.json",
            line,
            "the store has another plan than the run began with",
        );
    }
    desk.write("work/steps/train/inputs/rows.csv", "x,y\n");
    lie(
        "steps/ingest/manifest.json",
        "step train work/steps/train",
        "the store has another pack of a step than was told, step=`ingest`",
    );
    // And the definition, which has its hash for a name.
    let definitions = desk.path("store/acme/pipelines");
    let definition = fs::read_dir(definitions).unwrap().next().unwrap().unwrap();
    fs::write(definition.path().join("definition.yaml"), "evil").unwrap();
    let begin = format!(
        "pipeline begin {RUN} --plan work/plan.json --definition work/definition.yaml --trail r42.jsonl --to file:store"
    );
    let said = desk.line(&begin).expect(1);
    assert!(
        said.err.contains("somebody changed the store"),
        "{}",
        said.err
    );
}

#[test]
fn s07_a_step_that_was_planted_is_not_taken_for_one() {
    let (desk, other) = (begun(), elsewhere());
    plant(&other, &desk, "steps/train/manifest.json");
    let planted = format!(
        "--take train={}",
        text(&step(&other, "train", "--trail r42.jsonl"), "pack_id")
    );
    let finish = |how: &str, code: i32| {
        desk.line(&format!("pipeline finish {how} {AT}"))
            .expect(code)
    };
    for how in ["", "--outcome failed"] {
        let said = finish(how, 2);
        assert!(
            said.err
                .contains("the store has packs of steps that the trail does not tell of"),
            "{}",
            said.err
        );
        assert!(said.err.contains(&planted), "{}", said.err);
    }
    // What another machine committed is known by its pack id.
    let right = begun();
    let train = step(&right, "train", RUN);
    let id = text(&train, "pack_id").to_owned();
    let said = finish(&format!("--outcome failed --take train={id}"), 1);
    assert!(said.err.contains("another pack of a step"), "{}", said.err);
    let lines = fs::read_to_string(desk.path("r42.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 2, "nothing of it was told");
    for (take, says) in [
        ("--take nothing=1".to_owned(), "a pack id is"),
        (format!("--take other={id}"), "is not of the plan"),
        (
            format!("--take train={id} --take train={id}"),
            "taken twice",
        ),
        (
            format!("--take train={id} --take report={id}"),
            "has no pack",
        ),
        (
            format!("--take ingest={id}"),
            "the trail tells of another pack",
        ),
    ] {
        let line = format!("pipeline finish --outcome failed {take} {AT}");
        let said = right.line(&line).expect(2);
        assert!(said.err.contains(says), "{take}: {}", said.err);
    }
    let line = format!("pipeline finish --outcome failed --take train={id} {AT}");
    let said = right.line(&line).expect(0);
    assert!(said.out.contains(&format!("train {id}")), "{}", said.out);
    let again = right.line(&format!("{line} --json")).expect(0).json();
    check("pipeline", &again);
    assert_eq!(again["steps"][1]["pack"], *id);
    verify(&right, "", 0);
}

#[test]
fn a_step_that_comes_after_the_end_is_refused_and_leaves_the_run_whole() {
    let desk = begun();
    step(&desk, "train", "--trail r42.jsonl");
    desk.line(&format!("pipeline finish --outcome failed {AT}"))
        .expect(0);
    let trail = fs::read(desk.path("r42.jsonl")).unwrap();
    for how in ["--trail r42.jsonl", RUN] {
        let line = format!("pipeline step report work/steps/report {how} --to file:store");
        let late = desk.line(&line).expect(2);
        assert!(late.err.contains("the run has ended"), "{}", late.err);
        // What is of the run may be said again.
        step(&desk, "train", how);
    }
    assert!(!desk.path("store/acme/runs/r42/steps/report").exists());
    assert_eq!(fs::read(desk.path("r42.jsonl")).unwrap(), trail);
    verify(&desk, "", 0);
}

#[test]
fn an_export_takes_all_that_lies_in_the_directory_or_says_what_not() {
    let desk = laid_out();
    let export = format!("pipeline export work {RUN} --to file:store");
    for stray in ["notes.txt", "step/x", "events/other.jsonl"] {
        desk.write(format!("work/{stray}"), "x");
        let said = desk.line(&export).expect(2);
        assert!(said.err.contains("would not be kept"), "{}", said.err);
        let first = stray.split('/').next().unwrap();
        if first == "events" {
            assert!(said.err.contains(stray), "{}", said.err);
            fs::remove_file(desk.path("work/events/other.jsonl")).unwrap();
        } else if stray.contains('/') {
            fs::remove_dir_all(desk.path("work/step")).unwrap();
        } else {
            fs::remove_file(desk.path("work/notes.txt")).unwrap();
        }
    }
    fs::remove_dir_all(desk.path("work/steps/report")).unwrap();
    desk.line(&format!("{export} --outcome failed")).expect(0);
    // A step that comes to be there afterwards, and one that is another now.
    desk.write("work/steps/report/outputs/report.html", "<p>late</p>");
    let said = desk.line(&export).expect(0);
    assert!(
        said.err.contains("which is not taken, step=`report`"),
        "{}",
        said.err
    );
    desk.write("work/steps/ingest/outputs/rows.csv", "changed");
    let said = desk.line(&export).expect(2);
    assert!(
        said.err.contains("the place of this step has other bytes"),
        "{}",
        said.err
    );
}

#[test]
fn a_mirror_brings_the_agents_that_a_plan_names() {
    let desk = laid_out();
    let entry = r#"{"agent":"trainer","version":"1.2.0","format":"runpack/agent/v1","created_at":"2026-11-20T12:00:00Z"}"#;
    desk.write("agent.json", entry);
    let register = "pipeline agent register agent.json --to file:store --json";
    let sha256 = desk.line(register).expect(0).json();
    let pinned = format!(
        r#""version": "1.2.0", "sha256": "{}""#,
        text(&sha256, "sha256")
    );
    let plan = PLAN.replacen(r#""version": "1.2.0""#, &pinned, 1);
    desk.write(
        "work/plan.json",
        plan.replacen('{', r#"{"pipeline": "nightly","#, 1),
    );
    let export = format!("pipeline export work {RUN} --to file:store --json");
    let id = desk.line(&export).expect(0).json();
    let id = text(&id, "pack_id");
    desk.line("mirror file:store file:copy").expect(0);
    let verify = format!("pipeline verify file:copy {RUN} --no-receipts --expect-pack-id {id}");
    desk.line(&verify).expect(0);
    // Again, and where the copy has lost it.
    let key = "registry/agents/trainer/1.2.0/manifest.json";
    fs::remove_file(desk.path("copy").join(key)).unwrap();
    desk.line(&verify).expect(1);
    desk.line("mirror file:store file:copy").expect(0);
    desk.line(&verify).expect(0);
    // Another entry is never replaced; one that is not there is told.
    desk.write(format!("copy/{key}"), "{}");
    let said = desk.line("mirror file:store file:copy").expect(2);
    assert!(
        said.out.contains("agents that its plan names are not"),
        "{} {}",
        said.out,
        said.err
    );
    fs::remove_file(desk.path("store").join(key)).unwrap();
    let said = desk.line("mirror file:store file:other").expect(1);
    assert!(
        said.out.contains("does not have the entry"),
        "{} {}",
        said.out,
        said.err
    );
    assert!(desk.path("other/acme/runs/r42/manifest.json").exists());
}

#[test]
fn what_was_looked_at_is_said_by_each_verify() {
    let desk = laid_out();
    desk.line(&format!("pipeline export work {RUN} --to file:store"))
        .expect(0);
    let own = desk
        .line(&format!("verify file:store {RUN} --pipeline"))
        .expect(0);
    assert!(own.out.contains("pipeline unproven"), "{}", own.out);
    let whole = desk
        .line(&format!("pipeline verify file:store {RUN}"))
        .expect(0);
    assert!(!whole.out.contains("unproven"), "{}", whole.out);
}
