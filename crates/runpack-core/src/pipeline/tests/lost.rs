//! Tests of runs in stores that are away in the middle of a verification.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures_util::stream;

use super::*;
use crate::commitment::CHUNK_BYTES;
use crate::key::{KeyPrefix, ObjectKey};
use crate::store::failover::{FailoverReader, FailoverSettings, Source};
use crate::store::{ArtifactReader, ListStream, ObjectBody, ObjectRef, ObjectStat};

/// How a store is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lost {
    BetweenAnswers,
    /// What it gives breaks off.
    AmidAnswer,
}

/// A store that answers so often, and then never again.
#[derive(Debug)]
struct Dying {
    store: MemoryStore,
    answers: AtomicU64,
    answers_max: u64,
    lost: Lost,
    versions_asked: Mutex<BTreeMap<String, u64>>,
}

impl Dying {
    fn new(store: &MemoryStore, answers_max: u64, lost: Lost) -> Self {
        Self {
            store: store.clone(),
            answers: AtomicU64::new(0),
            answers_max,
            lost,
            versions_asked: Mutex::default(),
        }
    }

    fn count(&self, key: &ObjectKey) {
        let mut asked = self.versions_asked.lock().unwrap();
        let count = asked.entry(key.to_string()).or_default();
        *count = count.saturating_add(1);
    }

    fn answer(&self) -> Result<u64, StoreError> {
        let answered = self.answers.fetch_add(1, Ordering::SeqCst);
        if answered < self.answers_max {
            return Ok(self.answers_max.saturating_sub(answered));
        }
        Err(gone())
    }
}

fn gone() -> StoreError {
    StoreError::Unreachable {
        reason: "nothing listens".to_owned(),
    }
}

#[async_trait]
impl ArtifactReader for Dying {
    async fn open(&self, object: &ObjectRef, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        let left = self.answer()?;
        let mut body = self.store.open(object, range).await?;
        if left == 1 && self.lost == Lost::AmidAnswer {
            body.stream = Box::pin(stream::iter([Err(gone())]));
        }
        Ok(body)
    }

    async fn stat(&self, object: &ObjectRef) -> Result<ObjectStat, StoreError> {
        self.answer()?;
        self.store.stat(object).await
    }

    fn list(&self, prefix: &KeyPrefix) -> ListStream {
        match self.answer() {
            Ok(_) => self.store.list(prefix),
            Err(error) => Box::pin(stream::iter([Err(error)])),
        }
    }

    async fn versions(&self, key: &ObjectKey) -> Result<Vec<ObjectStat>, StoreError> {
        self.answer()?;
        self.count(key);
        self.store.versions(key).await
    }

    fn storage_uri(&self, key: &ObjectKey) -> String {
        self.store.storage_uri(key)
    }
}

fn verify(reader: Arc<dyn ArtifactReader>, pins: &Pins) -> RunReport {
    let run = PipelineRun::new(reader, tenant(), run_id());
    let options = VerifyOptions::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        match run.open(&options).await {
            Ok(pack) => run.verify(&pack, pins, &options).await,
            Err(report) => RunReport::without_manifest(*report),
        }
    })
}

/// A copy of what is in a store.
fn replica_of(store: &MemoryStore) -> MemoryStore {
    let replica = MemoryStore::versioned();
    for (key, bytes) in store.snapshot() {
        replica.add_version(&key, bytes);
    }
    replica
}

#[test]
fn a_store_that_is_lost_at_any_moment_is_followed_by_its_replica() {
    let plan = r#"{"format": "runpack/pipeline-plan/v1", "steps": [
        {"step_id": "ingest", "agent": {"name": "a", "version": "1", "sha256": "SHA256"}}]}"#;
    let store = MemoryStore::versioned();
    let entry = AgentEntry::new("a@1".parse().unwrap(), at(0));
    let registered = block_on(register_agent(&store, &entry)).unwrap();
    let plan = plan.replace("SHA256", &registered.sha256.to_string());
    let mut run = Run::begin_by(store, &plan);
    run.step("ingest", &[("outputs/rows.csv", b"1,2")]);
    let run = run.end();
    let pins = Pins::pack_id(run.finish().unwrap().manifest.pack_id());
    let replica = replica_of(&run.store);
    for lost in [Lost::BetweenAnswers, Lost::AmidAnswer] {
        let mut answers = 0;
        loop {
            let dying = Arc::new(Dying::new(&run.store, answers, lost));
            let sources = vec![
                Source::primary("eu", Arc::<Dying>::clone(&dying)),
                Source::replica("us", Arc::new(replica.clone())),
            ];
            let reader = FailoverReader::new(sources, FailoverSettings::default());
            let report = verify(Arc::new(reader), &pins);
            let told = (report.verdict, codes(&report));
            assert_eq!(told, (Verdict::Valid, vec![]), "{lost:?} after {answers}");
            if dying.answers.load(Ordering::SeqCst) < answers {
                break;
            }
            answers += 1;
        }
        assert!(answers > 20, "{answers}");
    }
}

#[test]
fn the_version_of_an_artifact_is_looked_for_once() {
    let mut run = Run::begin_in(MemoryStore::versioned());
    let rows = vec![7; usize::try_from(2 * CHUNK_BYTES + 1).unwrap()];
    run.step(
        "ingest",
        &[("inputs/raw.csv", b"a"), ("outputs/rows.csv", &rows)],
    );
    let counted = Arc::new(Dying::new(&run.store, u64::MAX, Lost::BetweenAnswers));
    let reader: Arc<dyn ArtifactReader> = Arc::<Dying>::clone(&counted);
    let container = StorePack::new(reader, subject("ingest"));
    let artifact = run.packs[&step_id("ingest")].artifact("outputs/rows.csv");
    for chunk in 0..3 {
        let start = chunk * CHUNK_BYTES;
        let opened = container.open(artifact.unwrap(), start..start + CHUNK_BYTES);
        block_on(opened).unwrap();
    }
    let rows = "acme/runs/r1/steps/ingest/outputs/rows.csv";
    assert_eq!(counted.versions_asked.lock().unwrap()[rows], 1);
}
