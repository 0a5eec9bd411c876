//! Tests of what is refused before it is committed, of what a verifier says of what cannot be read, and of labels.

use std::ops::Range;

use async_trait::async_trait;

use super::super::step::link;
use super::*;
use crate::commitment::{CHUNK_BYTES, Content};
use crate::key::{KeyPrefix, Location, ObjectKey};
use crate::manifest::{Artifact, Text};
use crate::store::{
    ArtifactReader, ArtifactSink as _, Declared, ListStream, ObjectBody, ObjectRef, ObjectStat,
};

fn refused(run: &Run, limits: &Limits) -> FinishError {
    let store: Arc<dyn Store> = Arc::new(run.store.clone());
    let before = run.store.snapshot();
    let (plan, trail) = (&run.plan, &run.trail);
    let finished = finish(&store, plan, trail, &run.packs, producer(), limits);
    let refused = block_on(finished).unwrap_err();
    assert_eq!(
        run.store.snapshot(),
        before,
        "not even the trail was written"
    );
    refused
}

#[test]
fn what_a_verifier_would_object_to_is_not_finished() {
    let mut run = Run::begin();
    run.step(
        "ingest",
        &[("inputs/raw.csv", b"a,b"), ("outputs/rows.csv", b"1,2")],
    );
    // Committed by something else than `link` allows: an input that comes from nowhere.
    let agent = Some("trainer@1.2.0".parse().unwrap());
    let mut draft = PackDraft::new(subject("train"), at(1), producer()).with_labels(labels(
        Outcome::Succeeded,
        agent.as_ref(),
        None,
    ));
    draft.add(file("inputs/rows.csv", b"other"));
    draft.add(file("outputs/model.bin", b"model"));
    run.commit("train", draft);
    run.step(
        "report",
        &[("inputs/m.bin", b"model"), ("outputs/report.html", b"<p>")],
    );
    let run = run.end();
    assert_eq!(objected(&run), ["pipeline.input"]);
}

fn objected(run: &Run) -> Vec<&'static str> {
    match refused(run, &Limits::default()) {
        FinishError::Disagreeing { findings } => {
            findings.iter().map(|found| found.code.as_str()).collect()
        }
        error => panic!("{error}"),
    }
}

#[test]
fn an_agent_that_the_registry_does_not_have_as_planned_is_not_finished_with() {
    let right = AgentEntry::new("a@1".parse().unwrap(), at(0));
    let other = AgentEntry::new("a@1".parse().unwrap(), at(1));
    let sha256 = Digest::of(&right.to_bytes());
    let plan = format!(
        r#"{{"format": "runpack/pipeline-plan/v1", "steps": [
            {{"step_id": "ingest", "agent": {{"name": "a", "version": "1", "sha256": "{sha256}"}}}}]}}"#
    );
    let mut run = Run::begin_by(MemoryStore::new(), &plan);
    run.step("ingest", &[("outputs/rows.csv", b"1")]);
    let run = run.end();
    assert_eq!(objected(&run), ["pipeline.agent"], "none");
    block_on(register_agent(&run.store, &other)).unwrap();
    assert_eq!(objected(&run), ["pipeline.agent"], "another");
    let checked = block_on(check_agents(&run.store, &run.plan)).unwrap();
    assert!(checked[0].detail.contains("another entry"), "{checked:?}");
    let key = other.name().key().unwrap();
    run.store.tamper(key.as_str(), None);
    block_on(register_agent(&run.store, &right)).unwrap();
    let pins = Pins::pack_id(run.finish().unwrap().manifest.pack_id());
    assert_eq!(run.verify(&pins).verdict, Verdict::Valid);
}

#[test]
fn half_the_name_of_an_agent_is_held_against_the_trail() {
    let plan = r#"{"format": "runpack/pipeline-plan/v1", "steps": [{"step_id": "ingest"}]}"#;
    for agent in [
        &[("agent", "auditor-bot")][..],
        &[("agent_version", "3")],
        &[("agent", "auditor-bot"), ("agent_version", "of last week")],
    ] {
        let mut run = Run::begin_by(MemoryStore::new(), plan);
        let mut labels = labels(Outcome::Succeeded, None, None);
        for (name, value) in agent {
            labels.insert(name.parse().unwrap(), value.parse().unwrap());
        }
        let mut draft = PackDraft::new(subject("ingest"), at(1), producer()).with_labels(labels);
        draft.add(file("outputs/rows.csv", b"1"));
        run.commit("ingest", draft);
        let run = run.end();
        assert_eq!(objected(&run), ["pipeline.agent"], "{agent:?}");
        let (plan, metadata, trail) = documents(&run);
        assert_eq!(
            forged(&run, &plan, &metadata.to_bytes(), &trail),
            ["pipeline.agent steps/ingest/manifest.json"]
        );
    }
}

#[test]
fn b15_the_manifests_of_all_steps_are_bounded_when_finishing_and_when_verifying() {
    let run = Run::begin().all_steps().end();
    let sum: u64 = run.packs.values().map(|pack| pack.bytes()).sum();
    let limits = Limits {
        manifest_bytes_max: sum - 1,
        ..Limits::default()
    };
    match refused(&run, &limits) {
        FinishError::Large { bytes, bytes_max } => assert_eq!((bytes, bytes_max), (sum, sum - 1)),
        error => panic!("{error}"),
    }
    let pack = run.finish().unwrap().manifest;
    assert!(pack.bytes() < sum, "{} {sum}", pack.bytes());
    let store: Arc<dyn ArtifactReader> = Arc::new(run.store.clone());
    let report = verify(&run, store, &limits);
    // Of the step that was not looked at nothing else is said.
    assert_eq!(
        (report.verdict, codes(&report)),
        (
            Verdict::Invalid,
            vec!["manifest.limit steps/train/manifest.json".to_owned()]
        )
    );
    assert!(report.findings[0].detail.contains("none was looked at"));
}

fn verify(run: &Run, reader: Arc<dyn ArtifactReader>, limits: &Limits) -> RunReport {
    let of = PipelineRun::new(reader, tenant(), run_id());
    let options = VerifyOptions {
        limits: limits.clone(),
        ..VerifyOptions::default()
    };
    block_on(async {
        let pack = of.open(&options).await.unwrap();
        let pins = Pins::pack_id(pack.manifest().pack_id());
        assert!(run.store.snapshot().contains_key("acme/runs/r1/plan.json"));
        of.verify(&pack, &pins, &options).await
    })
}

/// A store of which some objects cannot be read now.
#[derive(Debug)]
struct Unread(MemoryStore, &'static str);

#[async_trait]
impl ArtifactReader for Unread {
    async fn open(&self, object: &ObjectRef, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        if object.key.as_str().contains(self.1) {
            return Err(StoreError::Barred {
                reason: "not now".to_owned(),
            });
        }
        self.0.open(object, range).await
    }

    async fn stat(&self, object: &ObjectRef) -> Result<ObjectStat, StoreError> {
        self.0.stat(object).await
    }

    fn list(&self, prefix: &KeyPrefix) -> ListStream {
        self.0.list(prefix)
    }

    async fn versions(&self, key: &ObjectKey) -> Result<Vec<ObjectStat>, StoreError> {
        self.0.versions(key).await
    }

    fn storage_uri(&self, key: &ObjectKey) -> String {
        self.0.storage_uri(key)
    }
}

#[test]
fn what_could_not_be_read_of_a_step_leaves_its_run_undecided_however_much_it_is() {
    let run = Run::begin().all_steps().end();
    run.finish().unwrap();
    let reader = Arc::new(Unread(run.store.clone(), "/steps/ingest/outputs/"));
    for findings_max in [1_000, 1, 0] {
        let limits = Limits {
            findings_max,
            ..Limits::default()
        };
        let reader: Arc<dyn ArtifactReader> = Arc::<Unread>::clone(&reader);
        let report = verify(&run, reader, &limits);
        assert_eq!(report.verdict, Verdict::Undecided, "{findings_max}");
        assert_eq!(report.steps[0].verdict, Verdict::Undecided);
        let all = u64::try_from(report.findings.len()).unwrap() + report.findings_unlisted;
        assert_eq!(all, 2, "{findings_max}");
    }
}

#[test]
fn the_pack_of_a_run_alone_is_said_to_prove_no_step() {
    let run = Run::begin().all_steps().end();
    let pins = Pins::pack_id(run.finish().unwrap().manifest.pack_id());
    let of = PipelineRun::new(Arc::new(run.store.clone()), tenant(), run_id());
    let options = VerifyOptions::default();
    let own = block_on(async {
        let pack = of.open(&options).await.unwrap();
        pack.verify(&pins, &options).await
    });
    let is_unproven = |note: &String| note.starts_with("pipeline unproven");
    assert_eq!(own.verdict, Verdict::Valid);
    assert!(own.notes.iter().any(is_unproven), "{:?}", own.notes);
    let whole = run.verify(&pins);
    assert!(
        !whole.run.notes.iter().any(is_unproven),
        "{:?}",
        whole.run.notes
    );
}

fn label<'a>(manifest: &'a Manifest, name: &str) -> Option<&'a str> {
    step::label(manifest.labels(), name)
}

#[test]
fn the_labels_of_a_run_say_what_became_of_it_and_are_held_to_that() {
    let named = PLAN.replacen('{', r#"{"pipeline": "nightly","#, 1);
    let mut run = Run::begin_by(MemoryStore::new(), &named).all_steps();
    let (ended, outcome) = (at(9), Outcome::Failed);
    run.trail
        .append(Ended { at: ended, outcome }.event())
        .unwrap();
    let pack = run.finish().unwrap().manifest;
    assert_eq!(
        ["outcome", "started_at", "pipeline"].map(|name| label(&pack, name)),
        [Some("failed"), Some(&*at(0).to_string()), Some("nightly")]
    );
    for step in run.packs.values() {
        assert_eq!(label(step, "pipeline"), Some("nightly"));
    }
    assert_eq!(
        run.verify(&Pins::pack_id(pack.pack_id())).verdict,
        Verdict::Valid
    );
    let (plan, metadata, trail) = documents(&run);
    let told = metadata.to_bytes();
    let right = labels_of(&run);
    let succeeded: Text<1024> = "succeeded".parse().unwrap();
    for (name, other) in [
        ("outcome", Some(succeeded.clone())),
        ("started_at", None),
        ("pipeline", None),
        ("pipeline", Some(succeeded)),
    ] {
        let mut labels = right.clone();
        labels.retain(|key, _| key.as_str() != name);
        labels.extend(other.map(|other| (name.parse().unwrap(), other)));
        let pack_id = forge_with(&run, labels, &plan, &told, &trail);
        let found = codes(&run.verify(&Pins::pack_id(pack_id)));
        assert_eq!(found, ["pipeline.metadata -"], "{name}");
    }
    // A step that says that it is of another pipeline.
    let mut other = Run::begin_by(MemoryStore::new(), &named);
    let unnamed = labels(Outcome::Succeeded, None, None);
    let mut draft = PackDraft::new(subject("ingest"), at(1), producer()).with_labels(unnamed);
    draft.add(file("outputs/rows.csv", b"1,2"));
    draft.add(file("inputs/raw.csv", b"1"));
    other.commit("ingest", draft);
    other
        .trail
        .append(Ended { at: ended, outcome }.event())
        .unwrap();
    match refused(&other, &Limits::default()) {
        FinishError::Disagreeing { findings } => {
            assert!(findings[0].detail.contains("another pipeline"));
        }
        error => panic!("{error}"),
    }
}

#[test]
fn the_trail_names_the_agent_that_the_step_does() {
    let run = Run::begin().all_steps();
    for other in [None, Some("other@1".parse().unwrap())] {
        let mut trail = Trail::default();
        for line in run.trail.lines() {
            let mut agent = line.agent.clone();
            if line.step == Some(step_id("train")) {
                assert_eq!(agent.as_ref().unwrap().to_string(), "trainer@1.2.0");
                agent.clone_from(&other);
            }
            let (action, detail) = (line.action.clone(), line.detail.clone());
            let (at, step) = (line.at, line.step.clone());
            let event = Event {
                action,
                at,
                step,
                agent,
                detail,
            };
            trail.append(event).unwrap();
        }
        let run = Run {
            store: run.store.clone(),
            plan: run.plan.clone(),
            trail,
            packs: run.packs.clone(),
        }
        .end();
        let (plan, metadata, trail) = documents(&run);
        let found = forged(&run, &plan, &metadata.to_bytes(), &trail);
        assert_eq!(found, ["pipeline.agent steps/train/manifest.json"]);
    }
}

#[test]
fn what_was_written_over_a_document_later_is_not_read() {
    let run = Run::begin_in(MemoryStore::versioned()).all_steps().end();
    run.finish().unwrap();
    let write_over = |key: &ObjectKey| {
        let other = Bytes::from_static(b"{}");
        let declared = Declared::of(&other);
        // The store lets it in, whatever it says.
        let _ = block_on(run.store.put(key, other.clone(), declared));
        assert_eq!(run.store.snapshot()[key.as_str()], other, "{key}");
    };
    for part in [RunPart::Plan, RunPart::AuditTrail] {
        write_over(&key_of(&tenant(), &run_id(), &part).unwrap());
    }
    for artifact in run.packs[&step_id("train")].artifacts() {
        let (name, commitment) = (artifact.name(), artifact.commitment());
        let place = Location::artifact(&subject("train"), name, commitment);
        write_over(&place.key().unwrap());
    }
    let report = run.verify(&Pins::none());
    assert_eq!(
        (report.verdict, codes(&report)),
        (Verdict::Consistent, vec![])
    );
    let manifest = RunPart::Step(step_id("train"));
    write_over(&key_of(&tenant(), &run_id(), &manifest).unwrap());
    let (tenant, run_id) = (tenant(), run_id());
    let plan = begin::plan_bytes(&run.store, &tenant, &run_id);
    assert_eq!(block_on(plan).unwrap().unwrap(), run.plan.to_bytes());
    let trail = block_on(stored_trail(&run.store, &tenant, &run_id));
    assert_eq!(trail.unwrap().unwrap(), run.trail.bytes());
    let limits = Limits::default();
    let of = step_id("train");
    let read = step_manifest(&run.store, &tenant, &run_id, &of, &limits);
    let read = block_on(read).unwrap().unwrap();
    assert_eq!(read.pack_id(), run.packs[&of].pack_id());
}

#[test]
fn outputs_name_no_sources_where_the_manifest_would_have_no_room_for_them() {
    let plan = r#"{"format":"runpack/pipeline-plan/v1","steps":[{"step_id":"ingest"},{"step_id":"train","after":["ingest"]}]}"#;
    let mut run = Run::begin_by(MemoryStore::new(), plan);
    let names: Vec<String> = (0..300)
        .map(|at| format!("outputs/rows-{at}.csv"))
        .collect();
    let rows: Vec<(&str, &[u8])> = names
        .iter()
        .map(|name| (&**name, name.as_bytes()))
        .collect();
    run.step("ingest", &rows);
    for (outputs, are_linked) in [(20, true), (200, false)] {
        let inputs = rows.iter().map(|(name, bytes)| {
            let name = name.replacen("outputs", "inputs", 1);
            file(&name, bytes)
        });
        let outputs = (0..outputs).map(|at| file(&format!("outputs/{at}"), b"x"));
        let mut artifacts: Vec<NewArtifact> = inputs.chain(outputs).collect();
        let planned = run.plan.step(&step_id("train")).unwrap();
        block_on(link(
            planned,
            Outcome::Succeeded,
            &mut artifacts,
            &run.packs,
        ))
        .unwrap();
        for artifact in &artifacts {
            let links = artifact.inputs.len();
            let expected = match (artifact.name.as_str().starts_with("inputs/"), are_linked) {
                (true, _) => 1,
                (false, true) => 300,
                (false, false) => 0,
            };
            assert_eq!(links, expected, "{}", artifact.name);
        }
    }
}

#[test]
fn the_manifest_of_a_step_is_read_up_to_a_chunk() {
    let run = Run::begin();
    let title: Text<1024> = "t".repeat(1_000).parse().unwrap();
    let artifact = |at: usize| {
        let (kind, media_type) = ("file".parse().unwrap(), "a/b".parse().unwrap());
        let name = format!("outputs/{at}").parse().unwrap();
        let content = Content::Whole(Digest::of(b"x"));
        let artifact = Artifact::new(name, kind, media_type, 1, content).unwrap();
        artifact.with_title(title.clone())
    };
    for (artifacts, is_read) in [(10, true), (8_500, false)] {
        let artifacts = (0..artifacts).map(artifact).collect();
        let limits = Limits::default();
        let manifest = Manifest::new(
            subject("ingest"),
            at(1),
            producer(),
            artifacts,
            labels(Outcome::Succeeded, None, None),
            &limits,
        )
        .unwrap();
        assert_eq!(manifest.bytes() <= CHUNK_BYTES, is_read);
        let key = "acme/runs/r1/steps/ingest/manifest.json";
        run.store.tamper(key, Some(manifest.to_bytes().into()));
        let ingest = step_id("ingest");
        let (tenant, run_id) = (tenant(), run_id());
        let read = step_manifest(&run.store, &tenant, &run_id, &ingest, &limits);
        assert_eq!(block_on(read).unwrap().is_some(), is_read);
    }
}
