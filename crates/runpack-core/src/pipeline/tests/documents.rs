//! Tests of the documents alone: what is no plan, and what became of a trail.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::order::{Disorder, order};
use super::*;

fn refused(steps: &str) -> String {
    let plan = format!(r#"{{"format":"runpack/pipeline-plan/v1","steps":[{steps}]}}"#);
    let error = Plan::draft(plan.as_bytes()).expect_err(&plan);
    crate::display::chain(&error)
}

#[test]
fn b15_a_cycle_is_refused_and_named() {
    let cycle = refused(
        r#"{"step_id":"a","after":["d"]},{"step_id":"b","after":["a"]},{"step_id":"c","after":["b"]},{"step_id":"d","after":["c"]},{"step_id":"e"}"#,
    );
    assert!(
        cycle.contains("cycle=`a after d after c after b after a`"),
        "{cycle}"
    );
    assert!(refused(r#"{"step_id":"a","after":["a"]}"#).contains("cycle=`a after a`"));
    // One that leads into a cycle is not of it.
    let into = refused(
        r#"{"step_id":"x","after":["a"]},{"step_id":"a","after":["b"]},{"step_id":"b","after":["a"]}"#,
    );
    assert!(into.contains("cycle=`a after b after a`"), "{into}");
}

#[test]
fn b15_depth_is_bounded_and_costs_no_stack() {
    let chain = |length: usize| {
        let after: Vec<BTreeSet<usize>> = (0..length)
            .map(|at| at.checked_sub(1).into_iter().collect())
            .collect();
        order(&after, 1_000)
    };
    assert_eq!(chain(1_000).unwrap().len(), 1_000);
    assert_eq!(chain(1_001), Err(Disorder::Deep));
    assert_eq!(chain(100_000), Err(Disorder::Deep));
    let ring: Vec<BTreeSet<usize>> = (0..100_000_usize)
        .map(|at| [at.wrapping_add(1) % 100_000].into())
        .collect();
    assert!(matches!(order(&ring, 1_000), Err(Disorder::Cycle(round)) if round.len() == 100_001));
}

#[test]
fn what_is_no_plan() {
    for (steps, why) in [
        ("", "too much or too little"),
        (r#"{"step_id":"a"},{"step_id":"A"}"#, "another step has it"),
        (r#"{"step_id":"con"}"#, "name of a device"),
        (r#"{"step_id":"a."}"#, "ends in a dot"),
        (r#"{"step_id":"a/b"}"#, "does not follow its schema"),
        (r#"{"step_id":"a","retries":1}"#, "unknown field"),
        (r#"{"step_id":"a","after":["b"]}"#, "does not have"),
        (
            r#"{"step_id":"a"},{"step_id":"b","after":["a","a"]}"#,
            "twice",
        ),
        (
            r#"{"step_id":"a","agent":null}"#,
            "left out: empty lists and objects, and null, member=`steps[0].agent`",
        ),
        (
            r#"{"step_id":"b"},{"step_id":"a","after":[]}"#,
            "member=`steps[1].after`",
        ),
        (r#"{"step_id":"a","agent":["n",null,"1"]}"#, "canonical"),
        (r#"["a"]"#, "does not follow its schema"),
        (
            r#"{"step_id":"a","inputs":[{"name":"outputs/x"}]}"#,
            "starts with `inputs/`",
        ),
        (
            r#"{"step_id":"a","inputs":[{"name":"inputs/../x"}]}"#,
            "does not follow its schema",
        ),
        (
            r#"{"step_id":"a","inputs":[{"name":"inputs/x"},{"name":"inputs/x"}]}"#,
            "named twice",
        ),
        (
            r#"{"step_id":"a","inputs":[{"name":"inputs/x","step":"a","artifact":"outputs/x"}]}"#,
            "does not come after",
        ),
        (
            r#"{"step_id":"a","inputs":[{"name":"inputs/x","artifact":"outputs/x"}]}"#,
            "none of them",
        ),
        (
            r#"{"step_id":"b"},{"step_id":"a","after":["b"],"inputs":[{"name":"inputs/x","step":"b","artifact":"inputs/x"}]}"#,
            "only an output",
        ),
        (
            r#"{"step_id":"a","outputs":["x"]}"#,
            "starts with `outputs/`",
        ),
        (
            r#"{"step_id":"a","outputs":["outputs/x","outputs/x"]}"#,
            "named twice",
        ),
    ] {
        let error = refused(steps);
        assert!(error.contains(why), "{steps}: {error}");
    }
}

#[test]
fn b06_a_document_has_one_spelling() {
    let plan = Plan::draft(PLAN.as_bytes()).unwrap();
    let bytes = plan.to_bytes();
    assert_eq!(Plan::parse(&bytes).unwrap(), plan);
    assert!(Plan::parse(PLAN.as_bytes()).is_err());
    let text = String::from_utf8(bytes).unwrap();
    for other in [
        format!("{text}\n"),
        format!(" {text}"),
        text.replacen("ingest", "\\u0069ngest", 1),
        text.replacen("\"steps\"", "\"x\":1,\"steps\"", 1),
        text.replacen("plan/v1", "plan/v2", 1),
    ] {
        assert!(Plan::parse(other.as_bytes()).is_err(), "{other}");
    }
    let names: Vec<&str> = plan.in_order().map(|step| step.step_id.as_str()).collect();
    assert_eq!(names, ["ingest", "train", "report"]);
}

/// A line without its place in the chain.
fn event(action: &str, text: &str, second: u64) -> Event {
    Event {
        action: action.parse().unwrap(),
        at: at(second),
        step: Some(step_id("train")),
        agent: Some("trainer@1.2.0".parse().unwrap()),
        detail: [("text".parse().unwrap(), text.parse().unwrap())].into(),
    }
}

fn trail(lines: u64) -> Trail {
    let mut trail = Trail::default();
    for line in 0..lines {
        trail
            .append(event("note", &format!("line {line} \u{1f600}"), line))
            .unwrap();
    }
    trail
}

#[test]
fn every_line_that_was_edited_removed_moved_or_cut_is_named() {
    let trail = trail(5);
    let lines: Vec<&[u8]> = trail
        .bytes()
        .split_inclusive(|byte| *byte == b'\n')
        .collect();
    let found = |order: &[usize]| {
        let bytes: Vec<u8> = order.iter().flat_map(|at| lines[*at]).copied().collect();
        let parsed = Trail::parse(&bytes).and_then(|parsed| parsed.check(trail.head()));
        parsed.map_err(|error| (error.line, error.fault))
    };
    assert_eq!(found(&[0, 1, 2, 3, 4]), Ok(()));
    assert_eq!(found(&[0, 2, 3, 4]), Err((2, TrailFault::Sequence)));
    assert_eq!(found(&[1, 0, 2, 3, 4]), Err((1, TrailFault::Sequence)));
    assert_eq!(found(&[0, 1, 1, 2, 3, 4]), Err((3, TrailFault::Sequence)));
    assert_eq!(found(&[0, 1, 2, 3]), Err((4, TrailFault::Cut)));
    assert_eq!(found(&[]), Err((0, TrailFault::Cut)));
    let edited = String::from_utf8(trail.bytes().to_vec())
        .unwrap()
        .replacen("line 2", "line 9", 1);
    let error = Trail::parse(edited.as_bytes()).unwrap_err();
    assert_eq!((error.line, error.fault), (4, TrailFault::Previous));
    let last = String::from_utf8(trail.bytes().to_vec())
        .unwrap()
        .replacen("line 4", "line 9", 1);
    let error = Trail::parse(last.as_bytes())
        .unwrap()
        .check(trail.head())
        .unwrap_err();
    assert_eq!((error.line, error.fault), (5, TrailFault::Changed));
    let mut longer = trail.clone();
    longer.append(event("note", "more", 9)).unwrap();
    let error = longer.check(trail.head()).unwrap_err();
    assert_eq!((error.line, error.fault), (6, TrailFault::Added));
    let torn = &trail.bytes()[..trail.bytes().len().saturating_sub(3)];
    let error = Trail::parse(torn).unwrap_err();
    assert_eq!((error.line, error.fault), (5, TrailFault::CutOff));
}

#[test]
fn a_line_has_one_spelling_and_bounds() {
    let mut trail = trail(1);
    let line = String::from_utf8(trail.bytes().to_vec()).unwrap();
    for other in [
        line.replacen('{', "{ ", 1),
        line.replacen("\"note\"", "\"Note\"", 1),
        line.replacen("\"sequence\":0", "\"sequence\":0,\"z\":1", 1),
        line.replacen('\n', "\r\n", 1),
        format!("\n{line}"),
        "[]\n".to_owned(),
    ] {
        let error = Trail::parse(other.as_bytes()).unwrap_err();
        assert_eq!(
            (error.line, error.fault),
            (1, TrailFault::NoLine),
            "{other}"
        );
    }
    let mut wide = event("note", "x", 0);
    for at in 0..64 {
        let value = "v".repeat(1_024).parse().unwrap();
        wide.detail.insert(format!("k{at}").parse().unwrap(), value);
    }
    let error = trail.append(wide).unwrap_err();
    assert_eq!((error.line, error.fault), (2, TrailFault::TooLong));
    assert_eq!(trail.lines().len(), 1);
}

#[test]
fn a_trail_that_tells_no_run_is_named_by_its_line() {
    let run = Run::begin().all_steps();
    let told = |trail: &Trail| Story::of(trail).unwrap_err().line;
    assert_eq!(told(&Trail::default()), 1);
    assert_eq!(told(&trail(2)), 1);
    let and = |event: Event| {
        let mut trail = run.trail.clone();
        trail.append(event).unwrap();
        trail
    };
    let again = Committed {
        pack: PackId::of(b""),
        outcome: Outcome::Failed,
        agent: None,
    };
    assert_eq!(told(&and(again.event(&step_id("train"), at(3)))), 5);
    assert_eq!(told(&and(event("step.other", "x", 3))), 5);
    assert_eq!(told(&and(event("run.finish", "x", 3))), 5);
    let ended = Ended {
        at: at(4),
        outcome: Outcome::Failed,
    };
    let mut after = and(ended.event());
    let refused = after.append(event("note", "x", 5)).unwrap_err();
    assert_eq!((refused.line, refused.fault), (6, TrailFault::Ended));
    // Whoever writes it all the same is found.
    let mut late = after.lines()[1].clone();
    late.sequence = 5;
    late.previous = after.head().last;
    let mut bytes = after.bytes().to_vec();
    bytes.extend(serde_json::to_vec(&late).unwrap());
    bytes.push(b'\n');
    assert_eq!(told(&Trail::parse(&bytes).unwrap()), 6);
}

prop_compose! {
    fn any_event()(
        action in "[a-z][a-z.]{0,8}",
        seconds in 0..253_402_300_800_u64,
        step in prop::option::of("[a-zA-Z0-9]{1,8}"),
        detail in prop::collection::btree_map("[a-z]{1,6}", "[^\\p{Cc}]{1,20}", 0..4),
    ) -> Event {
        Event {
            action: action.parse().unwrap(),
            at: Timestamp::from_unix_seconds(seconds).unwrap(),
            step: step.map(|step| step.parse().unwrap()),
            agent: None,
            detail: detail.into_iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect(),
        }
    }
}

proptest! {
    #[test]
    fn a_trail_reads_back_and_any_byte_that_is_changed_is_found(
        events in prop::collection::vec(any_event(), 1..6),
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut trail = Trail::default();
        for event in events {
            trail.append(event).unwrap();
        }
        let read = Trail::parse(trail.bytes()).unwrap();
        prop_assert_eq!(&read, &trail);
        prop_assert!(read.check(trail.head()).is_ok());
        let mut changed = trail.bytes().to_vec();
        let at = place.index(changed.len());
        prop_assume!(changed[at] != byte);
        changed[at] = byte;
        let held = Trail::parse(&changed).and_then(|changed| changed.check(trail.head()));
        prop_assert!(held.is_err());
    }

    #[test]
    fn a_plan_reads_back_in_its_order(edges in prop::collection::vec((0..12_usize, 0..12_usize), 0..30)) {
        let step = |at: usize| PlannedStep {
            // Edges lead to earlier steps alone, so there is an order.
            after: edges.iter().filter(|(of, to)| *of == at && to < of)
                .map(|(_, to)| step_id(&format!("s{to}"))).collect::<BTreeSet<_>>().into_iter().collect(),
            agent: None,
            inputs: Vec::new(),
            outputs: vec![format!("outputs/{at}").parse().unwrap()],
            step_id: step_id(&format!("s{at}")),
        };
        let plan = Plan::new((0..12).rev().map(step).collect()).unwrap();
        prop_assert_eq!(&Plan::parse(&plan.to_bytes()).unwrap(), &plan);
        let mut done = BTreeSet::new();
        for step in plan.in_order() {
            prop_assert!(step.after.iter().all(|before| done.contains(before)));
            done.insert(step.step_id.clone());
        }
        prop_assert_eq!(done.len(), 12);
    }
}
