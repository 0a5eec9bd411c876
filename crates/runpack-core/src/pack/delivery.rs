//! Bringing the artifacts of one pack to a store: what is there already is not sent again.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;

use crate::count::len_u64;
use crate::key::{Location, ObjectKey};
use crate::manifest::Subject;
use crate::store::{
    Declared, Receipt, Source, Store, StoreError, collect_capped, settle_by_oldest,
};

/// The largest artifact that is read into memory and put in one call.
pub(super) const BUFFERED_BYTES_MAX: u64 = 1 << 20;

/// A store, and what it says that it has of the pack.
#[derive(Debug)]
pub(super) struct Delivery {
    store: Arc<dyn Store>,
    /// What was listed, as hashes of the keys. The listing is only a hint where to ask: what it hides is sent
    /// and found out to be there, and what it makes up is asked for and sent all the same.
    listed: HashSet<u64>,
    hashing: RandomState,
    /// Whether manifests of other packs are among the artifacts: those of a pipeline's steps.
    lists_manifests: bool,
    /// Whether the oldest version under each key must be the artifact ([`Subject::is_kept_by_oldest`]).
    is_kept_by_oldest: bool,
}

impl Delivery {
    /// Looks what the place of `subject` holds, which in most cases is nothing.
    pub(super) async fn to(
        store: &Arc<dyn Store>,
        subject: &Subject,
        artifacts: usize,
    ) -> Result<Self, StoreError> {
        let entries_max = artifacts.saturating_mul(2).saturating_add(1_000);
        let mut entries = store
            .list(&Location::pack_prefix(subject))
            .take(entries_max);
        let (mut listed, hashing) = (HashSet::new(), RandomState::new());
        while let Some(entry) = entries.next().await {
            match entry {
                Ok(entry) => drop(listed.insert(hashing.hash_one(entry.key.as_str()))),
                // Whoever may write need not be allowed to list; the hint is missing then.
                Err(StoreError::Denied { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        drop(entries);
        Ok(Self {
            store: Arc::clone(store),
            listed,
            hashing,
            lists_manifests: matches!(subject, Subject::Pipeline { .. }),
            is_kept_by_oldest: subject.is_kept_by_oldest(),
        })
    }

    /// How many artifacts to have under way at once on each worker.
    pub(super) fn in_flight(&self) -> usize {
        self.store.writes_in_flight()
    }

    /// What is there already.
    async fn there(
        &self,
        key: &ObjectKey,
        declared: &Declared,
    ) -> Result<Option<Receipt>, StoreError> {
        if self.lists_manifests && is_manifest(key) {
            // A manifest comes after the artifacts of its own pack, and from nobody else.
            return match self.store.find(key, declared).await? {
                Some(receipt) => Ok(Some(receipt)),
                None => Err(StoreError::Barred {
                    reason: format!(
                        "a step of this run has no pack here yet, bring that first, key=`{key}`"
                    ),
                }),
            };
        }
        let is_listed = self.listed.contains(&self.hashing.hash_one(key.as_str()));
        if is_listed {
            self.store.find(key, declared).await
        } else {
            Ok(None)
        }
    }

    /// A verifier must read what was brought.
    async fn settle(
        &self,
        key: &ObjectKey,
        declared: &Declared,
        brought: Result<Receipt, StoreError>,
    ) -> Result<(), StoreError> {
        if self.is_kept_by_oldest {
            let settled = settle_by_oldest(&*self.store, key, declared, brought);
            return settled.await.map(drop);
        }
        brought.map(drop)
    }

    /// Brings a small artifact.
    pub(super) async fn put(
        &self,
        key: &ObjectKey,
        bytes: Bytes,
        declared: Declared,
    ) -> Result<(), StoreError> {
        let brought = match self.there(key, &declared).await.transpose() {
            Some(there) => there,
            None => self.store.put(key, bytes, declared.clone()).await,
        };
        self.settle(key, &declared, brought).await
    }

    /// Brings an artifact of any size.
    pub(super) async fn send(
        &self,
        key: &ObjectKey,
        declared: Declared,
        source: Arc<dyn Source>,
    ) -> Result<(), StoreError> {
        let brought = match self.there(key, &declared).await.transpose() {
            Some(there) => there,
            None => self.store.send(key, declared.clone(), source).await,
        };
        self.settle(key, &declared, brought).await
    }
}

fn is_manifest(key: &ObjectKey) -> bool {
    Location::parse(key.as_str()).is_some_and(|location| location.manifest_subject().is_some())
}

/// All bytes of a small source, which must be as many as it said.
pub(super) async fn read_whole(
    source: &dyn Source,
    bytes: u64,
    name: &str,
) -> Result<Bytes, StoreError> {
    let body = source.open(0..bytes.saturating_add(1)).await?;
    collect_capped(body, bytes)
        .await?
        .filter(|read| len_u64(read) == bytes)
        .map(Bytes::from)
        .ok_or_else(|| StoreError::NotDeclared {
            key: name.to_owned(),
        })
}
