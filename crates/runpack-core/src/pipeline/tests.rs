//! Tests of runs of pipelines: made in a store in memory, which an enemy then changes.

mod documents;
mod ending;
#[cfg(any(feature = "file", feature = "s3"))]
mod lost;
mod versions;

use std::sync::Arc;

use bytes::Bytes;

use super::begin::begin;
use super::finish::{FinishError, finish, step_manifest, stored_trail};
use super::kept::key_of;
use super::step::{Packs, StepError, agent_of, labels, link};
use super::*;
use crate::digest::Digest;
use crate::id::{PackId, PipelineTenant, RunId, StepId};
use crate::limits::Limits;
use crate::manifest::{Labels, Manifest, Producer, RunPart, Subject};
use crate::pack::{BytesSource, Commit, CommittedPack, NewArtifact, PackDraft, PackError, copy};
use crate::pin::Pins;
use crate::store::{ArtifactReader as _, MemoryStore, Outcome as Written, Store, StoreError};
use crate::time::Timestamp;
use crate::verify::tests::block_on;
use crate::verify::{Container, StorePack, Verdict, VerifyOptions};

const PLAN: &str = r#"{
  "format": "runpack/pipeline-plan/v1",
  "steps": [
    {"step_id": "ingest", "inputs": [{"name": "inputs/raw.csv"}], "outputs": ["outputs/rows.csv"]},
    {"step_id": "train", "after": ["ingest"], "outputs": ["outputs/model.bin"],
     "agent": {"name": "trainer", "version": "1.2.0"}},
    {"step_id": "report", "after": ["ingest", "train"],
     "inputs": [{"name": "inputs/m.bin", "step": "train", "artifact": "outputs/model.bin"}]}
  ]
}"#;

fn at(second: u64) -> Timestamp {
    Timestamp::from_unix_seconds(1_795_000_000_u64.saturating_add(second)).unwrap()
}

fn tenant() -> PipelineTenant {
    "acme".parse().unwrap()
}

fn run_id() -> RunId {
    "r1".parse().unwrap()
}

fn step_id(id: &str) -> StepId {
    id.parse().unwrap()
}

fn producer() -> Producer {
    Producer {
        name: "test".parse().unwrap(),
        version: "1".parse().unwrap(),
    }
}

fn subject(step: &str) -> Subject {
    Subject::Step {
        tenant: tenant(),
        run_id: run_id(),
        step_id: step_id(step),
    }
}

/// A run under way.
struct Run {
    store: MemoryStore,
    plan: Plan,
    trail: Trail,
    packs: Packs,
}

impl Run {
    fn begin() -> Self {
        Self::begin_in(MemoryStore::new())
    }

    fn begin_in(store: MemoryStore) -> Self {
        Self::begin_by(store, PLAN)
    }

    fn begin_by(store: MemoryStore, plan: &str) -> Self {
        let plan = Plan::draft(plan.as_bytes()).unwrap();
        let shared: Arc<dyn Store> = Arc::new(store.clone());
        let definition = Bytes::from_static(b"steps: [ingest, train, report]\n");
        let begun = block_on(begin(
            &shared,
            &tenant(),
            &run_id(),
            definition,
            &plan,
            at(0),
        ))
        .unwrap();
        let mut trail = Trail::default();
        trail.append(begun.event()).unwrap();
        Self {
            store,
            plan,
            trail,
            packs: Packs::new(),
        }
    }

    fn draft(&self, step: &str, files: &[(&str, &[u8])]) -> Result<PackDraft, StepError> {
        let planned = self.plan.step(&step_id(step)).unwrap();
        let mut artifacts: Vec<NewArtifact> = files
            .iter()
            .map(|(name, bytes)| file(name, bytes))
            .collect();
        block_on(link(
            planned,
            Outcome::Succeeded,
            &mut artifacts,
            &self.packs,
        ))?;
        let agent = planned.agent.as_ref().map(PlannedAgent::agent);
        let mut draft = PackDraft::new(subject(step), at(1), producer()).with_labels(labels(
            Outcome::Succeeded,
            agent.as_ref(),
            self.plan.pipeline(),
        ));
        for artifact in artifacts {
            draft.add(artifact);
        }
        Ok(draft)
    }

    fn step(&mut self, step: &str, files: &[(&str, &[u8])]) {
        let draft = self.draft(step, files).unwrap();
        self.commit(step, draft);
    }

    fn commit(&mut self, step: &str, draft: PackDraft) {
        let store = Arc::new(self.store.clone());
        let committed = block_on(async { draft.stage(store).await?.commit().await }).unwrap();
        self.tell(step, committed.manifest);
    }

    fn tell(&mut self, step: &str, manifest: Arc<Manifest>) {
        let committed = Committed {
            pack: manifest.pack_id(),
            outcome: Outcome::Succeeded,
            agent: agent_of(&manifest),
        };
        let event = committed.event(&step_id(step), at(2));
        self.trail.append(event).unwrap();
        self.packs.insert(step_id(step), manifest);
    }

    fn all_steps(mut self) -> Self {
        self.step(
            "ingest",
            &[
                ("inputs/raw.csv", b"a,b"),
                ("outputs/rows.csv", b"1,2"),
                ("outputs/log", b"x"),
            ],
        );
        self.step(
            "train",
            &[("inputs/rows.csv", b"1,2"), ("outputs/model.bin", b"model")],
        );
        self.step(
            "report",
            &[("inputs/m.bin", b"model"), ("outputs/report.html", b"<p>")],
        );
        self
    }

    fn end(mut self) -> Self {
        let outcome = Outcome::Succeeded;
        let event = Ended { at: at(9), outcome }.event();
        self.trail.append(event).unwrap();
        self
    }

    fn finish(&self) -> Result<CommittedPack, FinishError> {
        let store: Arc<dyn Store> = Arc::new(self.store.clone());
        let (plan, trail) = (&self.plan, &self.trail);
        block_on(finish(
            &store,
            plan,
            trail,
            &self.packs,
            producer(),
            &Limits::default(),
        ))
    }

    fn verify(&self, pins: &Pins) -> RunReport {
        let run = PipelineRun::new(Arc::new(self.store.clone()), tenant(), run_id());
        let options = VerifyOptions::default();
        block_on(async {
            match run.open(&options).await {
                Ok(pack) => run.verify(&pack, pins, &options).await,
                Err(report) => RunReport::without_manifest(*report),
            }
        })
    }
}

fn file(name: &str, bytes: &[u8]) -> NewArtifact {
    let source = Arc::new(BytesSource(Bytes::copy_from_slice(bytes)));
    let (kind, media_type) = (
        "file".parse().unwrap(),
        "application/octet-stream".parse().unwrap(),
    );
    NewArtifact::new(name.parse().unwrap(), kind, media_type, source)
}

/// All codes, those of the run's own pack among them, and what they are about.
fn codes(report: &RunReport) -> Vec<String> {
    let findings = report.run.findings.iter().chain(&report.findings);
    let told = findings.map(|finding| {
        format!(
            "{} {}",
            finding.code,
            finding.about.as_deref().unwrap_or("-")
        )
    });
    told.collect()
}

#[test]
fn a_run_is_valid_by_its_own_pack_id_and_consistent_without() {
    let run = Run::begin().all_steps().end();
    let committed = run.finish().unwrap();
    assert_eq!(committed.commit, Commit::New);
    let pack_id = committed.manifest.pack_id();
    let report = run.verify(&Pins::pack_id(pack_id));
    assert_eq!((report.verdict, codes(&report)), (Verdict::Valid, vec![]));
    assert_eq!(report.steps.len(), 3);
    assert!(
        report
            .steps
            .iter()
            .all(|step| step.verdict == Verdict::Valid)
    );
    let told = report.metadata.unwrap();
    assert_eq!(
        (told.outcome, told.finished_at, told.started_at),
        (Outcome::Succeeded, at(9), at(0))
    );
    assert_eq!(run.verify(&Pins::none()).verdict, Verdict::Consistent);
    assert_eq!(
        run.verify(&Pins::pack_id(PackId::of(b"another"))).verdict,
        Verdict::Invalid
    );
    // What the run is made of lies where the layout says, each object once.
    let keys: Vec<String> = run.store.snapshot().into_keys().collect();
    let hash = Digest::of(b"steps: [ingest, train, report]\n");
    assert!(
        keys.contains(&format!("acme/pipelines/{hash}/definition.yaml")),
        "{keys:?}"
    );
    assert_eq!(
        keys.iter().filter(|key| key.ends_with("plan.json")).count(),
        1
    );
}

#[test]
fn links_say_where_inputs_come_from() {
    let run = Run::begin().all_steps();
    let links = |step: &str, name: &str| {
        let pack = &run.packs[&step_id(step)];
        let artifact = pack.artifact(name).unwrap();
        artifact
            .inputs()
            .iter()
            .map(|link| (link.pack, link.name.to_string()))
            .collect::<Vec<_>>()
    };
    let rows = (
        run.packs[&step_id("ingest")].pack_id(),
        "outputs/rows.csv".to_owned(),
    );
    assert_eq!(
        links("train", "inputs/rows.csv"),
        std::slice::from_ref(&rows)
    );
    assert_eq!(links("train", "outputs/model.bin"), [rows]);
    assert_eq!(links("ingest", "inputs/raw.csv"), []);
    let model = (
        run.packs[&step_id("train")].pack_id(),
        "outputs/model.bin".to_owned(),
    );
    assert_eq!(links("report", "inputs/m.bin"), [model]);
}

#[test]
fn a_step_that_is_not_as_planned_is_not_committed() {
    let mut run = Run::begin();
    let faults = |refused: Result<PackDraft, StepError>| match refused.unwrap_err() {
        StepError::NotAsPlanned { faults, .. } => faults,
        other => panic!("{other}"),
    };
    // From outside, and not planned so.
    let stray = run.draft(
        "ingest",
        &[
            ("inputs/raw.csv", b"a"),
            ("inputs/b.csv", b"b"),
            ("outputs/rows.csv", b"1"),
        ],
    );
    assert!(faults(stray)[0].starts_with("inputs/b.csv: no output of a step before it"));
    let less = run.draft("ingest", &[("inputs/raw.csv", b"a")]);
    assert_eq!(
        faults(less),
        ["outputs/rows.csv: the plan names it, and it is not there"]
    );
    run.step(
        "ingest",
        &[
            ("inputs/raw.csv", b"a"),
            ("outputs/rows.csv", b"1"),
            ("outputs/model.bin", b"m"),
        ],
    );
    run.step(
        "train",
        &[("inputs/rows.csv", b"1"), ("outputs/model.bin", b"other")],
    );
    // The bytes are there, and are another step's.
    let swapped = run.draft("report", &[("inputs/m.bin", b"m")]);
    assert!(faults(swapped)[0].contains("not those of the output that the plan names"));
    // An input of a step is no output of it.
    let input = run.draft(
        "train",
        &[("inputs/rows.csv", b"a"), ("outputs/model.bin", b"m")],
    );
    assert!(faults(input)[0].starts_with("inputs/rows.csv: no output"));
}

#[test]
fn s01_s07_every_object_that_is_changed_or_taken_is_found() {
    let run = Run::begin().all_steps().end();
    let pack_id = run.finish().unwrap().manifest.pack_id();
    let kept = run.store.snapshot();
    assert!(kept.len() >= 4 + 3 + 7, "{:?}", kept.keys());
    for (key, bytes) in &kept {
        let mut flipped = bytes.to_vec();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        for bytes_now in [Some(Bytes::from(flipped)), None] {
            run.store.tamper(key, bytes_now);
            let report = run.verify(&Pins::pack_id(pack_id));
            assert_eq!(report.verdict, Verdict::Invalid, "{key}");
            assert!(!codes(&report).is_empty(), "{key}");
            run.store.tamper(key, Some(bytes.clone()));
        }
    }
    assert_eq!(run.verify(&Pins::pack_id(pack_id)).verdict, Verdict::Valid);
}

#[test]
fn w02_a_run_that_ended_nowhere_verifies_as_nothing_and_goes_on() {
    // What there is after each object that a finisher wrote: a crash at each write.
    let whole = Run::begin().all_steps();
    let before: Vec<String> = whole.store.snapshot().into_keys().collect();
    let whole = whole.end();
    let pack_id = whole.finish().unwrap().manifest.pack_id();
    let after = whole.store.snapshot();
    let written: Vec<&String> = after.keys().filter(|key| !before.contains(key)).collect();
    assert_eq!(written.len(), 3, "{written:?}");
    for mask in 0..8_u8 {
        let lost = written.iter().zip([1, 2, 4]);
        let lost = lost.filter(|(_, bit)| mask & bit != 0);
        let lost: Vec<&&String> = lost.map(|(key, _)| key).collect();
        for key in &lost {
            whole.store.tamper(key, None);
        }
        let manifest_is_lost = lost.iter().any(|key| key.ends_with("r1/manifest.json"));
        let report = whole.verify(&Pins::pack_id(pack_id));
        assert_eq!(
            report.verdict == Verdict::Valid,
            lost.is_empty(),
            "{lost:?}"
        );
        if manifest_is_lost {
            assert_eq!(codes(&report), ["manifest.missing -"]);
        }
        // The manifest comes last, so a crash takes it first; whatever is lost besides comes again.
        assert_eq!(
            whole.finish().unwrap().manifest.pack_id(),
            pack_id,
            "{lost:?}"
        );
        assert_eq!(
            whole.verify(&Pins::pack_id(pack_id)).verdict,
            Verdict::Valid
        );
    }
}

#[test]
fn w14_one_finisher_wins_and_the_other_leaves_nothing() {
    let run = Run::begin().all_steps();
    let mut other = Run {
        store: run.store.clone(),
        plan: run.plan.clone(),
        trail: run.trail.clone(),
        packs: run.packs.clone(),
    };
    let outcome = Outcome::Failed;
    other
        .trail
        .append(Ended { at: at(8), outcome }.event())
        .unwrap();
    let run = run.end();
    let pack_id = run.finish().unwrap().manifest.pack_id();
    let before = run.store.snapshot();
    match other.finish().unwrap_err() {
        FinishError::OtherTrail { ours, theirs } => {
            assert_eq!(ours, Digest::of(other.trail.bytes()));
            assert_eq!(theirs, Digest::of(run.trail.bytes()));
        }
        error => panic!("{error}"),
    }
    assert_eq!(run.store.snapshot(), before);
    // Whoever takes the trail that is there finishes the same run.
    let stored = block_on(stored_trail(&run.store, &tenant(), &run_id()))
        .unwrap()
        .unwrap();
    other.trail = Trail::parse(&stored).unwrap();
    let again = other.finish().unwrap();
    assert_eq!(
        (again.commit, again.manifest.pack_id()),
        (Commit::Again, pack_id)
    );
}

#[test]
fn w14_finishers_in_a_race_leave_one_whole_run() {
    let stores = [MemoryStore::new, MemoryStore::versioned];
    for round in 0..40_usize {
        // With versions each finisher's trail is taken, and the oldest counts.
        let run = Run::begin_in(stores[round % 2]()).all_steps();
        let finishers: Vec<_> = (0..4_u64)
            .map(|second| {
                let mut one = Run {
                    store: run.store.clone(),
                    plan: run.plan.clone(),
                    trail: run.trail.clone(),
                    packs: run.packs.clone(),
                };
                let outcome = Outcome::Succeeded;
                let at = at(second.saturating_add(10));
                one.trail.append(Ended { at, outcome }.event()).unwrap();
                std::thread::spawn(move || one.finish().ok().map(|pack| pack.manifest.pack_id()))
            })
            .collect();
        let won: Vec<PackId> = finishers
            .into_iter()
            .filter_map(|one| one.join().unwrap())
            .collect();
        assert_eq!(won.len(), 1);
        assert_eq!(run.verify(&Pins::pack_id(won[0])).verdict, Verdict::Valid);
    }
}

#[test]
fn a_run_begins_once() {
    let run = Run::begin();
    let store: Arc<dyn Store> = Arc::new(run.store.clone());
    let begin_with = |plan: &Plan| {
        block_on(begin(
            &store,
            &tenant(),
            &run_id(),
            Bytes::from_static(b"d"),
            plan,
            at(5),
        ))
    };
    assert!(begin_with(&run.plan).is_ok());
    let other = Plan::new(run.plan.steps()[..1].to_vec()).unwrap();
    let refused = begin_with(&other).unwrap_err();
    assert!(
        refused.to_string().contains("already has other bytes"),
        "{refused}"
    );
}

#[test]
fn a_finisher_whose_trail_tells_something_else_commits_nothing() {
    let run = Run::begin().all_steps();
    assert!(matches!(run.finish(), Err(FinishError::NotEnded)));
    let mut run = run.end();
    let before = run.store.snapshot();
    let train = run.packs.remove(&step_id("train")).unwrap();
    assert!(matches!(run.finish(), Err(FinishError::OtherStep { .. })));
    run.packs.insert(step_id("train"), train);
    let plan = run.plan.clone();
    run.plan = Plan::new(plan.steps()[..1].to_vec()).unwrap();
    assert!(matches!(run.finish(), Err(FinishError::OtherPlan { .. })));
    run.plan = plan;
    assert_eq!(run.store.snapshot(), before);
    run.finish().unwrap();
}

/// Commits a run's pack out of any parts: what an enemy, or a broken finisher, makes.
fn forge(run: &Run, plan: &[u8], metadata: &[u8], trail: &[u8]) -> PackId {
    forge_with(run, labels_of(run), plan, metadata, trail)
}

/// The same, with these labels.
fn forge_with(run: &Run, labels: Labels, plan: &[u8], metadata: &[u8], trail: &[u8]) -> PackId {
    let subject = Subject::Pipeline {
        tenant: tenant(),
        run_id: run_id(),
    };
    for part in [RunPart::Plan, RunPart::Metadata, RunPart::AuditTrail] {
        run.store
            .tamper(key_of(&tenant(), &run_id(), &part).unwrap().as_str(), None);
    }
    run.store.tamper("acme/runs/r1/manifest.json", None);
    let mut draft = PackDraft::new(subject, at(9), producer()).with_labels(labels);
    let mut add = |part: RunPart, bytes: &[u8]| {
        let mut new = file(&part.name(), bytes);
        new.kind = part.kind().parse().unwrap();
        draft.add(new);
    };
    add(RunPart::Definition, b"steps: [ingest, train, report]\n");
    add(RunPart::Plan, plan);
    add(RunPart::Metadata, metadata);
    add(RunPart::AuditTrail, trail);
    for (step, manifest) in &run.packs {
        add(RunPart::Step(step.clone()), &manifest.to_bytes());
    }
    let store = Arc::new(run.store.clone());
    let committed = block_on(async { draft.stage(store).await?.commit().await });
    committed
        .map_err(|error: PackError| error.to_string())
        .unwrap()
        .manifest
        .pack_id()
}

/// The labels of a run's pack as they should be.
fn labels_of(run: &Run) -> Labels {
    let story = Story::of(&run.trail).unwrap();
    let metadata = Metadata::of(&story, &run.plan, run.trail.head()).unwrap();
    metadata.labels(&run.plan)
}

/// The documents of a run as it should be.
fn documents(run: &Run) -> (Vec<u8>, Metadata, Vec<u8>) {
    let story = Story::of(&run.trail).unwrap();
    let metadata = Metadata::of(&story, &run.plan, run.trail.head()).unwrap();
    (run.plan.to_bytes(), metadata, run.trail.bytes().to_vec())
}

fn forged(run: &Run, plan: &[u8], metadata: &[u8], trail: &[u8]) -> Vec<String> {
    let pack_id = forge(run, plan, metadata, trail);
    let report = run.verify(&Pins::pack_id(pack_id));
    let codes = codes(&report);
    assert_eq!(report.verdict == Verdict::Valid, codes.is_empty());
    codes
}

#[test]
fn documents_that_do_not_agree_are_found_though_the_pack_is_whole() {
    let run = Run::begin().all_steps().end();
    let (plan, metadata, trail) = documents(&run);
    let told = metadata.to_bytes();
    assert_eq!(forged(&run, &plan, &told, &trail), Vec::<String>::new());
    // Not what they stand for.
    assert_eq!(
        forged(&run, b"{}", &told, &trail),
        ["pipeline.plan plan.json"]
    );
    assert_eq!(
        forged(&run, &plan, b"{}", &trail),
        ["pipeline.metadata metadata.json"]
    );
    assert_eq!(
        forged(&run, &plan, &told, b"{}\n"),
        ["pipeline.trail events/audit_trail.jsonl"]
    );
    // Metadata that say something else.
    let mut other = metadata.clone();
    other.outcome = Outcome::Failed;
    assert_eq!(
        forged(&run, &plan, &other.to_bytes(), &trail),
        ["pipeline.metadata metadata.json", "pipeline.metadata -"]
    );
    let mut other = metadata.clone();
    other.steps.pop();
    assert_eq!(
        forged(&run, &plan, &other.to_bytes(), &trail),
        ["pipeline.metadata metadata.json"]
    );
    // A trail whose last line is another, with the same story.
    let mut moved = run.trail.lines().to_vec();
    let end = moved.pop().unwrap();
    let mut rewritten = Trail::default();
    for line in moved {
        let Line {
            action,
            agent,
            at,
            detail,
            step,
            ..
        } = line;
        rewritten
            .append(Event {
                action,
                at,
                step,
                agent,
                detail,
            })
            .unwrap();
    }
    let note = Event {
        action: "note".parse().unwrap(),
        agent: None,
        at: at(8),
        detail: [("text".parse().unwrap(), "put in later".parse().unwrap())].into(),
        step: None,
    };
    rewritten.append(note).unwrap();
    rewritten
        .append(
            Ended {
                at: end.at,
                outcome: Outcome::Succeeded,
            }
            .event(),
        )
        .unwrap();
    assert_eq!(
        forged(&run, &plan, &told, rewritten.bytes()),
        ["pipeline.trail events/audit_trail.jsonl"]
    );
    // Another plan than the trail began with.
    let other = Plan::new(run.plan.steps().iter().rev().cloned().collect()).unwrap();
    let found = forged(&run, &other.to_bytes(), &told, &trail);
    assert_eq!(
        found,
        [
            "pipeline.trail events/audit_trail.jsonl",
            "pipeline.metadata metadata.json"
        ]
    );
}

#[test]
fn s09_the_trail_of_another_run_is_found() {
    let run = Run::begin().all_steps().end();
    let (plan, mut metadata, _) = documents(&run);
    let mut begun = Story::of(&run.trail).unwrap().begun;
    begun.run_id = "r2".parse().unwrap();
    let mut trail = Trail::default();
    trail.append(begun.event()).unwrap();
    for line in &run.trail.lines()[1..] {
        let Line {
            action,
            agent,
            at,
            detail,
            step,
            ..
        } = line.clone();
        trail
            .append(Event {
                action,
                at,
                step,
                agent,
                detail,
            })
            .unwrap();
    }
    metadata.trail = trail.head();
    let found = forged(&run, &plan, &metadata.to_bytes(), trail.bytes());
    assert_eq!(
        found,
        [
            "pipeline.trail events/audit_trail.jsonl",
            "pipeline.metadata metadata.json"
        ]
    );
}

#[test]
fn a_step_without_a_pack_and_a_pack_without_a_step_are_found() {
    let mut run = Run::begin().all_steps().end();
    let (plan, metadata, trail) = documents(&run);
    let report = run.packs.remove(&step_id("report")).unwrap();
    let found = forged(&run, &plan, &metadata.to_bytes(), &trail);
    assert_eq!(found, ["pipeline.step steps/report/manifest.json"]);
    run.packs.insert(step_id("report"), report);
    // A step that nobody planned, with a pack that is sound.
    let mut draft = PackDraft::new(subject("extra"), at(1), producer()).with_labels(labels(
        Outcome::Succeeded,
        None,
        None,
    ));
    draft.add(file("outputs/x", b"x"));
    let store = Arc::new(run.store.clone());
    let extra = block_on(async { draft.stage(store).await?.commit().await }).unwrap();
    // In the live place of the run it is residue, and told.
    run.store.tamper("acme/runs/r1/manifest.json", None);
    run.finish().unwrap();
    let report = run.verify(&Pins::none());
    assert_eq!(report.verdict, Verdict::Consistent);
    let residue = report
        .run
        .notes
        .iter()
        .find(|note| note.contains("residue"))
        .unwrap();
    assert!(residue.contains('2'), "{residue}");
    run.packs.insert(step_id("extra"), extra.manifest);
    let found = forged(&run, &plan, &metadata.to_bytes(), &trail);
    assert_eq!(found, ["pipeline.step steps/extra/manifest.json"; 2]);
}

#[test]
fn s08_the_pack_of_another_step_in_a_steps_place_is_found() {
    let mut run = Run::begin().all_steps().end();
    let (plan, metadata, trail) = documents(&run);
    let ingest = run.packs[&step_id("ingest")].clone();
    run.store.tamper(
        "acme/runs/r1/steps/train/manifest.json",
        Some(ingest.to_bytes().into()),
    );
    run.packs.insert(step_id("train"), ingest);
    let found = forged(&run, &plan, &metadata.to_bytes(), &trail);
    let about = "pipeline.step steps/train/manifest.json";
    assert!(
        found.iter().filter(|code| *code == about).count() >= 2,
        "{found:?}"
    );
}

#[test]
fn b15_links_that_were_forged_are_found() {
    let forge_step = |step: &str, artifact: NewArtifact, agent: Option<&str>| {
        let mut run = Run::begin();
        run.step(
            "ingest",
            &[("inputs/raw.csv", b"a,b"), ("outputs/rows.csv", b"1,2")],
        );
        let agent = agent.map(|agent| agent.parse().unwrap());
        let mut draft = PackDraft::new(subject(step), at(1), producer()).with_labels(labels(
            Outcome::Succeeded,
            agent.as_ref(),
            None,
        ));
        draft.add(file("outputs/model.bin", b"model"));
        draft.add(artifact);
        run.commit(step, draft);
        let run = run.end();
        let (plan, metadata, trail) = documents(&run);
        let codes = forged(&run, &plan, &metadata.to_bytes(), &trail);
        let report = "pipeline.step steps/report/manifest.json";
        codes
            .into_iter()
            .filter(|code| code != report)
            .collect::<Vec<_>>()
    };
    let right = Run::begin().all_steps();
    let rows = |bytes: &[u8]| crate::manifest::Input {
        commitment: Digest::of(bytes),
        name: "outputs/rows.csv".parse().unwrap(),
        pack: PackId::of(b""),
    };
    let trainer = Some("trainer@1.2.0");
    let stray = "pipeline.input steps/train/inputs/rows.csv";
    // No source; a source that is nowhere; another's bytes.
    assert_eq!(
        forge_step("train", file("inputs/rows.csv", b"1,2"), trainer),
        [stray]
    );
    let mut nowhere = file("inputs/rows.csv", b"1,2");
    nowhere.inputs = vec![rows(b"1,2")];
    assert_eq!(
        forge_step("train", nowhere, trainer),
        ["pipeline.link steps/train/inputs/rows.csv"]
    );
    let mut other_bytes = file("inputs/rows.csv", b"1,3");
    other_bytes.inputs = vec![rows(b"1,2")];
    assert_eq!(
        forge_step("train", other_bytes, trainer),
        ["pipeline.link steps/train/inputs/rows.csv", stray]
    );
    // A step cannot come from one that comes after it.
    let mut from_later = file("outputs/extra", b"x");
    from_later.inputs = vec![crate::manifest::Input {
        commitment: Digest::of(b"model"),
        name: "outputs/model.bin".parse().unwrap(),
        pack: right.packs[&step_id("train")].pack_id(),
    }];
    assert_eq!(
        forge_step("train", from_later, trainer),
        ["pipeline.link steps/train/outputs/extra"]
    );
    let agent = ["pipeline.agent steps/train/manifest.json"];
    assert_eq!(
        forge_step("train", file("outputs/y", b"y"), Some("trainer@1.2.1")),
        agent
    );
    assert_eq!(forge_step("train", file("outputs/y", b"y"), None), agent);
    assert_eq!(
        forge_step("train", file("outputs/y", b"y"), trainer),
        Vec::<String>::new()
    );
}

#[test]
fn an_agent_is_registered_once_and_found_where_it_was_replaced() {
    let store = MemoryStore::new();
    let name: AgentName = "trainer@1.2.0".parse().unwrap();
    let mut entry = AgentEntry::new(name.clone(), at(0));
    entry.model = Some(AgentModel {
        name: "m-1".parse().unwrap(),
        parameters: [("temperature".parse().unwrap(), "0.2".parse().unwrap())].into(),
        provider: "p".parse().unwrap(),
    });
    let first = block_on(register_agent(&store, &entry)).unwrap();
    assert_eq!(first.outcome, Written::Created);
    assert_eq!(
        block_on(register_agent(&store, &entry)).unwrap().outcome,
        Written::AlreadyThere
    );
    let found = block_on(fetch_agent(&store, &name)).unwrap().unwrap();
    assert_eq!(found, (entry.clone(), first.sha256));
    let mut other = entry.clone();
    other.model = None;
    match block_on(register_agent(&store, &other)).unwrap_err() {
        StoreError::AlreadyExists { ours, theirs, .. } => {
            assert_eq!(
                (ours, theirs),
                (Digest::of(&other.to_bytes()), first.sha256)
            );
        }
        error => panic!("{error}"),
    }
    // A run whose plan names the entry is not valid any more when the entry is another.
    let mut steps = Plan::draft(PLAN.as_bytes()).unwrap().steps()[..1].to_vec();
    steps[0].agent = Some(PlannedAgent {
        name: name.name.clone(),
        sha256: Some(first.sha256),
        version: name.version.clone(),
    });
    let plan = Plan::new(steps).unwrap();
    let shared: Arc<dyn Store> = Arc::new(store.clone());
    let begun = block_on(begin(
        &shared,
        &tenant(),
        &run_id(),
        Bytes::new(),
        &plan,
        at(0),
    ))
    .unwrap();
    let mut trail = Trail::default();
    trail.append(begun.event()).unwrap();
    let mut run = Run {
        store,
        plan,
        trail,
        packs: Packs::new(),
    };
    run.step(
        "ingest",
        &[("inputs/raw.csv", b"a"), ("outputs/rows.csv", b"1")],
    );
    let run = run.end();
    let pins = Pins::pack_id(run.finish().unwrap().manifest.pack_id());
    assert_eq!(run.verify(&pins).verdict, Verdict::Valid);
    let key = name.key().unwrap();
    run.store
        .tamper(key.as_str(), Some(other.to_bytes().into()));
    assert_eq!(
        codes(&run.verify(&pins)),
        ["pipeline.agent agent trainer@1.2.0"]
    );
    run.store.tamper(key.as_str(), None);
    assert_eq!(
        codes(&run.verify(&pins)),
        ["pipeline.agent agent trainer@1.2.0"]
    );
    assert!(block_on(run.store.oldest(&key)).is_err());
}

#[test]
fn a_definition_is_found_by_its_hash_and_held_against_it() {
    let store = MemoryStore::new();
    let text = Bytes::from_static(b"steps: []\n");
    let (hash, outcome) = block_on(definition::keep(&store, &tenant(), text.clone())).unwrap();
    assert_eq!(outcome, Written::Created);
    assert_eq!(
        block_on(definition::fetch(&store, &tenant(), hash)).unwrap(),
        text
    );
    let key = format!("acme/pipelines/{}/definition.yaml", hash.digest());
    store.tamper(&key, Some(Bytes::from_static(b"steps: [x]\n")));
    let damaged = block_on(definition::keep(&store, &tenant(), text)).unwrap_err();
    assert!(matches!(
        damaged,
        definition::DefinitionError::Damaged { .. }
    ));
    let damaged = block_on(definition::fetch(&store, &tenant(), hash)).unwrap_err();
    assert!(matches!(
        damaged,
        definition::DefinitionError::Damaged { .. }
    ));
    let large = Bytes::from(vec![b'#'; (8 << 20) + 1]);
    let refused = block_on(definition::keep(&store, &tenant(), large)).unwrap_err();
    assert!(matches!(refused, definition::DefinitionError::Size { .. }));
}

#[test]
fn w08_a_runs_pack_does_not_come_before_those_of_its_steps() {
    let run = Run::begin().all_steps().end();
    let manifest = run.finish().unwrap().manifest;
    let empty = MemoryStore::new();
    let bring = |manifest: &Arc<Manifest>| {
        let from = StorePack::new(Arc::new(run.store.clone()), manifest.subject().clone());
        let (from, to): (Arc<dyn Container>, Arc<dyn Store>) =
            (Arc::new(from), Arc::new(empty.clone()));
        block_on(async {
            let (limits, progress) = (Limits::default(), Arc::default());
            let staged = copy(&from, manifest, &to, &limits, &progress).await?;
            staged.commit().await
        })
    };
    let refused = bring(&manifest).unwrap_err();
    assert!(
        matches!(&refused, PackError::Store(StoreError::Barred { reason }) if reason.contains("bring that first")),
        "{refused}"
    );
    // No manifest of a step is there without the artifacts of the step.
    assert!(
        empty
            .snapshot()
            .keys()
            .all(|key| !key.ends_with("manifest.json"))
    );
    for pack in run.packs.values() {
        bring(pack).unwrap();
    }
    bring(&manifest).unwrap();
    let copied = PipelineRun::new(Arc::new(empty.clone()), tenant(), run_id());
    let (pins, options) = (Pins::pack_id(manifest.pack_id()), VerifyOptions::default());
    let report = block_on(async {
        let pack = copied.open(&options).await.unwrap();
        copied.verify(&pack, &pins, &options).await
    });
    assert_eq!(report.verdict, Verdict::Valid);
}
