//! References: written once, repaired, followed, and done without.

use std::sync::Arc;

use super::*;
use crate::store::MemoryStore;
use crate::verify::tests::{block_on, draft};

/// A pack of a run in the store.
async fn pack(store: &MemoryStore, run_id: &str) -> Arc<Manifest> {
    let artifacts = [("a.log", run_id.as_bytes().to_vec())];
    let draft = draft(run_id, "2026-11-20T12:00:00Z", &artifacts);
    let staged = draft.stage(Arc::new(store.clone())).await.unwrap();
    staged.commit().await.unwrap().manifest
}

async fn resolved(store: &MemoryStore, pack_id: PackId) -> Result<Found, ReferenceError> {
    let reader: Arc<dyn ArtifactReader> = Arc::new(store.clone());
    resolve(&reader, pack_id, &Limits::default(), 10_000).await
}

fn reference_key(pack_id: PackId) -> String {
    Location::Reference { pack_id }.key().unwrap().to_string()
}

#[test]
fn a_reference_is_written_once_and_repaired() {
    block_on(async {
        let store = MemoryStore::new();
        let manifest = pack(&store, "run-1").await;
        let ensured = async || ensure(&store, &store, &manifest).await.unwrap();
        assert_eq!(ensured().await, Ensured::Written);
        assert_eq!(ensured().await, Ensured::There);
        let key = reference_key(manifest.pack_id());
        let written = store.snapshot().get(&key).unwrap().clone();
        let text = String::from_utf8(written.to_vec()).unwrap();
        assert!(text.starts_with(r#"{"bundle":"2026/11/run-1/"#), "{text}");
        store.tamper(&key, Some("{}".into()));
        assert_eq!(ensured().await, Ensured::Repaired);
        assert_eq!(store.snapshot().get(&key), Some(&written));
    });
}

#[test]
fn a_pack_is_found_by_its_reference_and_without_it() {
    block_on(async {
        let store = MemoryStore::new();
        let (one, other) = (pack(&store, "run-1").await, pack(&store, "run-2").await);
        let found = resolved(&store, one.pack_id()).await.unwrap();
        assert_eq!(found.subject.as_ref(), Some(one.subject()));
        assert_eq!(found.bundle, None);
        ensure(&store, &store, &one).await.unwrap();
        assert_eq!(resolved(&store, one.pack_id()).await.unwrap(), found);
        // A reference that leads to another pack, or to nothing, is not followed.
        let misleading = Document::of(&other).unwrap().to_bytes();
        let key = reference_key(one.pack_id());
        store.tamper(&key, Some(misleading.into()));
        assert_eq!(resolved(&store, one.pack_id()).await.unwrap(), found);
        store.tamper(
            &key,
            Some(r#"{"format":"runpack-ref/v1","manifest":"../x"}"#.into()),
        );
        assert_eq!(resolved(&store, one.pack_id()).await.unwrap(), found);
    });
}

#[test]
fn a_bundle_is_found_by_its_name() {
    block_on(async {
        let store = MemoryStore::new();
        let manifest = pack(&store, "run-1").await;
        let key = Location::bundle(&manifest).unwrap().key().unwrap();
        store.tamper(key.as_str(), Some("a bundle".into()));
        for _ in 0..2 {
            let found = resolved(&store, manifest.pack_id()).await.unwrap();
            assert_eq!(found.bundle.as_ref(), Some(&key));
            ensure(&store, &store, &manifest).await.unwrap();
        }
    });
}

#[test]
fn what_is_not_there_is_not_found() {
    block_on(async {
        let store = MemoryStore::new();
        let manifest = pack(&store, "run-1").await;
        let other = MemoryStore::new();
        ensure(&other, &other, &manifest).await.unwrap();
        let missing = resolved(&other, manifest.pack_id()).await;
        let Err(ReferenceError::Store(StoreError::NotFound { key })) = missing else {
            panic!("{missing:?}");
        };
        assert_eq!(key, manifest.pack_id().to_string());
        // A scan is bounded.
        let reader: Arc<dyn ArtifactReader> = Arc::new(store.clone());
        let bounded = resolve(&reader, manifest.pack_id(), &Limits::default(), 0).await;
        assert!(matches!(bounded, Err(ReferenceError::Store(_))));
    });
}
