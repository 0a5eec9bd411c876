//! Residue: what is swept, and everything that must not be.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use super::*;
use crate::key::ObjectKey;
use crate::pack::{PackError, StagedPack};
use crate::store::{
    ArtifactReader, ArtifactSink as _, Declared, HoldingStream, ListStream, MemoryStore,
    ObjectBody, ObjectStat, Protection, Store,
};
use crate::verify::tests::{block_on, draft};

const DAY: u64 = AGE_SECONDS_MIN;
const _: () = assert!(EXPORT_SECONDS_MAX < AGE_SECONDS_MIN);

/// An export that has everything but its manifest in the store.
async fn staged(store: &Arc<dyn Store>, run_id: &str, text: &str) -> StagedPack {
    let artifacts = ["a.log", "b.log"].map(|name| (name, format!("{name} {text}").into_bytes()));
    let draft = draft(run_id, "2026-11-20T12:00:00Z", &artifacts);
    draft.stage(Arc::clone(store)).await.unwrap()
}

async fn swept(store: &dyn Housekeeping, mode: Mode) -> (Swept, Vec<(String, Why)>) {
    let mut told = Vec::new();
    let mut tell = |residue: Residue| told.push((residue.holding.key, residue.why));
    let swept = sweep(store, DAY, mode, &Limits::default(), &mut tell).await;
    (swept.unwrap(), told)
}

#[test]
fn w22_only_old_residue_is_swept_and_never_what_a_manifest_lists() {
    block_on(async {
        let memory = MemoryStore::new();
        let store: Arc<dyn Store> = Arc::new(memory.clone());
        staged(&store, "crashed", "x").await;
        let winner = staged(&store, "raced", "winner").await;
        let loser = staged(&store, "raced", "loser").await;
        winner.commit().await.unwrap();
        assert!(matches!(
            loser.commit().await,
            Err(PackError::Conflict { .. })
        ));
        memory.tamper("_runpack/probe/p-1", Some("probe".into()));
        memory.tamper("somebody/elses", Some("file".into()));
        let before = memory.snapshot();

        // Young, nothing is residue.
        assert_eq!(swept(&memory, Mode::Remove).await.0.residue, 0);
        memory.pass(DAY + 1);
        let (dry, told) = swept(&memory, Mode::DryRun).await;
        assert_eq!((dry.residue, dry.removed), (5, 0));
        assert_eq!(memory.snapshot(), before);
        let count = |why| told.iter().filter(|(_, told)| *told == why).count();
        assert_eq!(count(Why::NotCommitted), 2);
        assert_eq!(count(Why::NotListed), 2);
        assert_eq!(count(Why::Probe), 1);

        let (done, _) = swept(&memory, Mode::Remove).await;
        assert_eq!((done.removed, done.failed), (5, 0));
        let after = memory.snapshot();
        assert_eq!(after.len(), before.len() - 5);
        assert!(after.contains_key("somebody/elses"));
        // The pack that is there is whole, and a second export of the crashed one completes.
        staged(&store, "raced", "winner")
            .await
            .commit()
            .await
            .unwrap();
        staged(&store, "crashed", "x").await.commit().await.unwrap();
        assert_eq!(swept(&memory, Mode::Remove).await.0.residue, 0);
    });
}

#[test]
fn w22_a_run_in_which_something_is_young_stays() {
    block_on(async {
        let memory = MemoryStore::new();
        let store: Arc<dyn Store> = Arc::new(memory.clone());
        staged(&store, "slow", "first").await;
        memory.pass(DAY + 1);
        let at_work = staged(&store, "slow", "second").await;
        let (kept, _) = swept(&memory, Mode::Remove).await;
        assert_eq!((kept.residue, kept.runs_kept), (0, 1));
        at_work.commit().await.unwrap();
    });
}

#[test]
fn w22_a_manifest_that_cannot_be_understood_keeps_its_run() {
    block_on(async {
        let memory = MemoryStore::new();
        let store: Arc<dyn Store> = Arc::new(memory.clone());
        let pack = staged(&store, "damaged", "x").await;
        let key = Location::manifest(pack.manifest().subject()).key().unwrap();
        memory.tamper(key.as_str(), Some("{not a manifest".into()));
        memory.pass(DAY + 1);
        let (kept, _) = swept(&memory, Mode::Remove).await;
        assert_eq!((kept.residue, kept.runs_kept), (0, 1));
    });
}

#[test]
fn w22_every_version_of_a_manifest_protects_what_it_lists() {
    block_on(async {
        let memory = MemoryStore::versioned();
        let store: Arc<dyn Store> = Arc::new(memory.clone());
        let (one, other) = (
            staged(&store, "raced", "one").await,
            staged(&store, "raced", "other").await,
        );
        one.commit().await.unwrap();
        assert!(other.commit().await.is_err());
        memory.pass(DAY + 1);
        assert_eq!(swept(&memory, Mode::Remove).await.0.residue, 0);
        // Versions of what nobody lists go one by one.
        let key = Location::parse(&format!(
            "tenant/acme/namespace/prod/scenario/loan/run/raced/{}/{}/stray.log",
            "0".repeat(64),
            "1".repeat(64)
        ));
        let key = key.unwrap().key().unwrap();
        for text in ["a", "b"] {
            let bytes = bytes::Bytes::from(text);
            let declared = Declared::of(&bytes);
            memory.put(&key, bytes, declared).await.unwrap();
        }
        memory.pass(DAY + 1);
        assert_eq!(swept(&memory, Mode::Remove).await.0.removed, 2);
        staged(&store, "raced", "one").await.commit().await.unwrap();
    });
}

#[test]
fn an_age_that_an_export_may_reach_is_refused() {
    block_on(async {
        let swept = sweep(
            &MemoryStore::new(),
            EXPORT_SECONDS_MAX,
            Mode::Remove,
            &Limits::default(),
            &mut |_| {},
        )
        .await;
        assert!(matches!(swept, Err(SweepError::TooYoung { .. })));
    });
}

#[derive(Debug)]
struct Later(u64);

impl crate::time::Clock for Later {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_seconds(self.0).unwrap()
    }
}

#[test]
fn w22_an_export_gives_up_before_its_artifacts_are_old() {
    block_on(async {
        let memory = MemoryStore::new();
        let store: Arc<dyn Store> = Arc::new(memory.clone());
        let late = staged(&store, "late", "x").await;
        let late = late.with_deadline(Arc::new(Later(EXPORT_SECONDS_MAX + 1)), Timestamp::EPOCH);
        let gave_up = late.commit().await;
        assert!(
            matches!(gave_up, Err(PackError::TooLate { .. })),
            "{gave_up:?}"
        );
        let in_time = staged(&store, "late", "x").await;
        let in_time = in_time.with_deadline(Arc::new(Later(EXPORT_SECONDS_MAX)), Timestamp::EPOCH);
        in_time.commit().await.unwrap();
    });
}

/// A store in which a manifest appears with the first removal, and which counts how often something is read.
#[derive(Debug)]
struct Busy {
    memory: MemoryStore,
    manifest: (String, bytes::Bytes),
    removed: AtomicU64,
    read: AtomicU64,
}

#[async_trait]
impl ArtifactReader for Busy {
    async fn open(&self, object: &ObjectRef, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        self.read.fetch_add(1, Ordering::Relaxed);
        self.memory.open(object, range).await
    }

    async fn stat(&self, object: &ObjectRef) -> Result<ObjectStat, StoreError> {
        self.memory.stat(object).await
    }

    fn list(&self, prefix: &KeyPrefix) -> ListStream {
        self.memory.list(prefix)
    }

    async fn versions(&self, key: &ObjectKey) -> Result<Vec<ObjectStat>, StoreError> {
        self.memory.versions(key).await
    }

    fn storage_uri(&self, key: &ObjectKey) -> String {
        self.memory.storage_uri(key)
    }
}

#[async_trait]
impl Housekeeping for Busy {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.memory.now().await
    }

    fn holdings(&self, prefix: &KeyPrefix) -> HoldingStream {
        self.memory.holdings(prefix)
    }

    async fn remove(&self, holding: &Holding) -> Result<(), StoreError> {
        if self.removed.fetch_add(1, Ordering::Relaxed) == 0 {
            let (key, bytes) = self.manifest.clone();
            self.memory.tamper(&key, Some(bytes));
        }
        self.memory.remove(holding).await
    }

    async fn protected(
        &self,
        objects: &[ObjectRef],
        now: Timestamp,
    ) -> Result<Option<(ObjectRef, Protection)>, StoreError> {
        self.memory.protected(objects, now).await
    }
}

#[test]
fn w22_a_manifest_that_comes_meanwhile_saves_what_is_left() {
    block_on(async {
        let memory = MemoryStore::new();
        let store: Arc<dyn Store> = Arc::new(memory.clone());
        let names: Vec<String> = (0..1_000).map(|at| format!("{at}.log")).collect();
        let artifacts: Vec<(&str, Vec<u8>)> = names
            .iter()
            .map(|name| (name.as_str(), name.clone().into_bytes()))
            .collect();
        let staged = draft("late", "2026-11-20T12:00:00Z", &artifacts)
            .stage(Arc::clone(&store))
            .await
            .unwrap();
        let key = Location::manifest(staged.manifest().subject()).key();
        let manifest = staged.manifest().to_bytes();
        memory.pass(DAY + 1);
        let busy = Busy {
            memory: memory.clone(),
            manifest: (key.unwrap().to_string(), manifest.into()),
            removed: AtomicU64::new(0),
            read: AtomicU64::new(0),
        };
        let swept = swept(&busy, Mode::Remove).await.0;
        assert_eq!(swept.removed, 1);
        assert_eq!(memory.snapshot().len(), 1_000);
        assert_eq!(busy.read.load(Ordering::Relaxed), 1);
        // Where there is nothing to remove, the manifest of a run is read once, however much it lists.
        memory.pass(DAY + 1);
        let swept = self::swept(&busy, Mode::Remove).await.0;
        assert_eq!((swept.looked, swept.residue), (1_000, 0));
        assert_eq!(busy.read.load(Ordering::Relaxed), 2);
    });
}
