//! Tests of runs in stores that keep versions, of which the oldest counts.

use super::*;

const ROWS: &str = "acme/runs/r1/steps/ingest/outputs/rows.csv";

/// Somebody wrote it, and somebody cleaned up.
fn hide(store: &MemoryStore, key: &str, bytes: &[u8]) {
    store.add_version(key, Bytes::copy_from_slice(bytes));
    store.mark_deleted(key);
}

#[test]
fn s07_nothing_is_acknowledged_over_an_older_version_that_a_delete_marker_hides() {
    // A small artifact, and one that is streamed.
    for rows in [b"1,2".to_vec(), vec![7; (1 << 20) + 1]] {
        let mut run = Run::begin_in(MemoryStore::versioned());
        hide(&run.store, ROWS, b"foreign");
        let files: [(&str, &[u8]); 2] = [("inputs/raw.csv", b"a"), ("outputs/rows.csv", &rows)];
        let draft = run.draft("ingest", &files).unwrap();
        let store = Arc::new(run.store.clone());
        let refused = block_on(draft.stage(store)).unwrap_err();
        assert!(
            matches!(&refused, PackError::Store(StoreError::AlreadyExists { key, .. }) if key == ROWS),
            "{refused}"
        );
        // Removed for good, or the very same, it is in nobody's way.
        run.store.tamper(ROWS, None);
        hide(&run.store, ROWS, &rows);
        run.step("ingest", &files);
        run.step(
            "train",
            &[("inputs/rows.csv", &rows), ("outputs/model.bin", b"model")],
        );
        run.step("report", &[("inputs/m.bin", b"model")]);
        let run = run.end();
        let pins = Pins::pack_id(run.finish().unwrap().manifest.pack_id());
        let report = run.verify(&pins);
        assert_eq!((report.verdict, codes(&report)), (Verdict::Valid, vec![]));
    }
}

#[test]
fn s07_plan_and_registry_are_not_written_over_an_older_version() {
    let store = MemoryStore::versioned();
    let other = br#"{"format":"runpack/pipeline-plan/v1","steps":[{"step_id":"evil"}]}"#;
    hide(&store, "acme/runs/r1/plan.json", other);
    let plan = Plan::draft(PLAN.as_bytes()).unwrap();
    let shared: Arc<dyn Store> = Arc::new(store.clone());
    let (tenant, run_id) = (tenant(), run_id());
    let begun = begin(&shared, &tenant, &run_id, Bytes::new(), &plan, at(0));
    let refused = block_on(begun).unwrap_err();
    assert!(
        refused.to_string().contains("already has other bytes"),
        "{refused}"
    );
    let name: AgentName = "trainer@1.2.0".parse().unwrap();
    hide(&store, name.key().unwrap().as_str(), b"{}");
    let refused = block_on(register_agent(&store, &AgentEntry::new(name, at(0)))).unwrap_err();
    assert!(
        matches!(refused, StoreError::AlreadyExists { .. }),
        "{refused}"
    );
}

#[test]
fn w14_who_wrote_the_oldest_trail_finishes_whatever_was_written_over_it() {
    let run = Run::begin_in(MemoryStore::versioned()).all_steps();
    let mut other = Run {
        store: run.store.clone(),
        plan: run.plan.clone(),
        trail: run.trail.clone(),
        packs: run.packs.clone(),
    };
    let outcome = Outcome::Cancelled;
    let ended = Ended { at: at(8), outcome }.event();
    other.trail.append(ended).unwrap();
    let run = run.end();
    // Both were told that they wrote it; then one dies, and the other goes on and is refused.
    let key = "acme/runs/r1/events/audit_trail.jsonl";
    for trail in [&run.trail, &other.trail] {
        let bytes = Bytes::copy_from_slice(trail.bytes());
        run.store.add_version(key, bytes);
    }
    assert!(matches!(
        other.finish(),
        Err(FinishError::OtherTrail { theirs, .. }) if theirs == Digest::of(run.trail.bytes())
    ));
    let pins = Pins::pack_id(run.finish().unwrap().manifest.pack_id());
    let report = run.verify(&pins);
    assert_eq!((report.verdict, codes(&report)), (Verdict::Valid, vec![]));
}
