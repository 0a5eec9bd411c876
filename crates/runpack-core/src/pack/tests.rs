//! Tests of the pack writer.

use async_trait::async_trait;
use bytes::Bytes;

use super::*;
use crate::store::{MemoryStore, ObjectBody};
use crate::verify::tests::{block_on, draft};

const AT: &str = "2026-11-20T12:00:00Z";

fn export(store: &MemoryStore, created_at: &str, byte: u8) -> Result<CommittedPack, PackError> {
    let artifacts = [("a", vec![byte]), ("b", vec![0; 3 << 20])];
    let draft = draft("r1", created_at, &artifacts);
    block_on(async { draft.stage(Arc::new(store.clone())).await?.commit().await })
}

#[test]
fn w09_w10_the_same_again_is_success() {
    let store = MemoryStore::new();
    let first = export(&store, AT, 1).unwrap();
    let again = export(&store, AT, 1).unwrap();
    assert_eq!((first.commit, again.commit), (Commit::New, Commit::Again));
    assert_eq!(first.manifest, again.manifest);
}

#[test]
fn w14_one_winner_and_the_losers_learn_which() {
    let store = MemoryStore::new();
    let first = export(&store, AT, 1).unwrap().manifest.pack_id();
    let later = export(&store, "2026-11-21T00:00:00Z", 1).unwrap();
    assert_eq!(
        (later.commit, later.manifest.pack_id()),
        (Commit::SameEvidence, first)
    );
    match export(&store, AT, 2).unwrap_err() {
        PackError::Conflict { ours, theirs } => assert!(theirs == first && ours != first),
        other => panic!("{other}"),
    }
    // What the loser wrote is residue under its own commitment: the winner's pack is whole.
    assert_eq!(export(&store, AT, 1).unwrap().commit, Commit::Again);
}

#[test]
fn w14_a_race_has_one_winner() {
    let store = MemoryStore::new();
    let threads: Vec<_> = (0..8u8)
        .map(|byte| {
            let store = store.clone();
            std::thread::spawn(move || export(&store, AT, byte).is_ok())
        })
        .collect();
    let won = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .filter(|won| *won)
        .count();
    assert_eq!(won, 1);
}

#[test]
fn w02_an_artifact_that_vanished_stops_the_commit() {
    let store = MemoryStore::new();
    block_on(async {
        let staged = draft("r1", AT, &[("a", vec![1])])
            .stage(Arc::new(store.clone()))
            .await
            .unwrap();
        let key = store.snapshot().keys().next().unwrap().clone();
        store.tamper(&key, None);
        assert!(matches!(
            staged.commit().await,
            Err(PackError::Store(StoreError::NotFound { .. }))
        ));
        assert!(store.snapshot().is_empty());
    });
}

/// A source whose bytes are others at every reading.
#[derive(Debug)]
struct Changing(std::sync::atomic::AtomicU8, usize);

#[async_trait]
impl Source for Changing {
    async fn open(&self, range: std::ops::Range<u64>) -> Result<ObjectBody, StoreError> {
        let byte = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        BytesSource(Bytes::from(vec![byte; self.1]))
            .open(range)
            .await
    }

    async fn bytes(&self) -> Result<u64, StoreError> {
        Ok(u64::try_from(self.1).unwrap())
    }
}

#[test]
fn w16_a_source_that_changes_is_refused() {
    let store = MemoryStore::new();
    let mut draft = draft("r1", AT, &[]);
    let source = Arc::new(Changing(0.into(), 2 << 20));
    draft.add(NewArtifact::new(
        "a".parse().unwrap(),
        "x".parse().unwrap(),
        "a/b".parse().unwrap(),
        source,
    ));
    let refused = block_on(draft.stage(Arc::new(store.clone()))).unwrap_err();
    assert!(
        matches!(refused, PackError::Store(StoreError::NotDeclared { .. })),
        "{refused}"
    );
    assert!(store.snapshot().is_empty());
}

#[test]
fn nothing_and_too_much_are_no_packs() {
    let store = Arc::new(MemoryStore::new());
    let empty = block_on(draft("r1", AT, &[]).stage(store.clone()));
    assert!(matches!(
        empty,
        Err(PackError::Manifest(ManifestError::Schema(_)))
    ));
    let twice = draft("r1", AT, &[("a", vec![1]), ("a", vec![2])]);
    assert!(matches!(
        block_on(twice.stage(store.clone())),
        Err(PackError::Manifest(ManifestError::Order { .. }))
    ));
    let limits = Limits {
        artifact_bytes_max: 2,
        ..Limits::default()
    };
    let large = draft("r1", AT, &[("a", vec![1; 3])]).with_limits(limits);
    assert!(matches!(
        block_on(large.stage(store)),
        Err(PackError::ArtifactSize {
            bytes: 3,
            bytes_max: 2,
            ..
        })
    ));
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let (one, two) = (MemoryStore::new(), MemoryStore::new());
    export(&one, AT, 1).unwrap();
    export(&two, AT, 1).unwrap();
    assert_eq!(one.snapshot(), two.snapshot());
}
