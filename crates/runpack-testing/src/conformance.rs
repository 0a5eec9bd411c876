//! What every store must do, whatever it keeps its objects in (`runpack_core::store`).
//!
//! [`conformance!`](crate::conformance!) makes a module of named tests of one store. Each test gets a
//! store of its own that is empty. It is a test of the seam, not of a kind of store: what one of them
//! adds (a staging directory, versions) has its tests beside it.

mod keeping;
mod reading;
mod writing;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use runpack_core::key::{KeyPrefix, Location, ObjectKey};
use runpack_core::store::{Declared, Housekeeping, ObjectRef, Outcome, Receipt, Store, StoreError};

pub use keeping::*;
pub use reading::*;
pub use writing::*;

/// An empty store to be tested, and what it needs to stay alive.
pub struct Subject {
    store: Arc<dyn Store>,
    keeper: Arc<dyn Housekeeping>,
    _keeping: Box<dyn Any + Send + Sync>,
}

impl Subject {
    /// A store that needs nothing.
    pub fn new(store: impl Store + Housekeeping + 'static) -> Self {
        Self::keeping(store, ())
    }

    /// A store that needs `keeping`, its directory for one.
    pub fn keeping(
        store: impl Store + Housekeeping + 'static,
        keeping: impl Any + Send + Sync,
    ) -> Self {
        let store = Arc::new(store);
        Self {
            keeper: store.clone(),
            store,
            _keeping: Box::new(keeping),
        }
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

/// Makes a module `$name` with all tests, each against a [`Subject`] from `$make`, an async closure.
#[macro_export]
macro_rules! conformance {
    ($name:ident, $make:expr) => {
        $crate::conformance!($name, $make,
            same_bytes_again_are_success
            other_bytes_never_replace
            nothing_before_commit
            nothing_after_drop_or_abort
            declared_is_checked
            one_winner_among_equal_writers
            one_winner_among_different_writers
            many_commits_at_once
            a_dropped_commit_hangs_nobody
            more_than_two_chunks
            no_bytes_at_all
            pieces_of_any_size
            ranges
            what_is_not_there
            stat_and_versions
            listing_is_under_its_prefix
            a_source_is_sent
            a_source_that_changed_is_refused
            what_is_there_is_found
            holdings_are_told_and_removed
        );
    };
    ($name:ident, $make:expr, $($case:ident)*) => {
        mod $name {
            #[allow(unused_imports, reason = "what the closure needs")]
            use super::*;

            $(#[test]
            fn $case() {
                $crate::block_on(async {
                    let make = $make;
                    $crate::conformance::$case(make().await).await;
                });
            })*
        }
    };
}

/// The key of an artifact of an execution.
fn key(name: &str) -> ObjectKey {
    literal_key(&format!(
        "executions/01ARZ3NDEKTSV4RRFFQ69G5FAV/artifacts/{name}"
    ))
}

fn literal_key(key: &str) -> ObjectKey {
    Location::parse(key).unwrap().key().unwrap()
}

/// Bytes that differ everywhere: no two blocks and no two seeds are the same.
fn noise(seed: u64, bytes: usize) -> Bytes {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut noise = Vec::with_capacity(bytes.next_multiple_of(8));
    while noise.len() < bytes {
        // SplitMix64 (Steele, Lea, Flood 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        noise.extend((word ^ (word >> 31)).to_le_bytes());
    }
    noise.truncate(bytes);
    noise.into()
}

async fn put(store: &dyn Store, key: &ObjectKey, bytes: &Bytes) -> Result<Receipt, StoreError> {
    store.put(key, bytes.clone(), Declared::of(bytes)).await
}

/// Writes through a writer, in pieces of `piece` bytes.
async fn write(
    store: &dyn Store,
    key: &ObjectKey,
    bytes: &Bytes,
    declared: Declared,
    piece: usize,
) -> Result<Receipt, StoreError> {
    let mut writer = store.create(key, declared).await?;
    for piece in bytes.chunks(piece) {
        writer.write(Bytes::copy_from_slice(piece)).await?;
    }
    writer.commit().await
}

/// The bytes of a range, and the size that the store claims for the whole.
async fn read(
    store: &dyn Store,
    key: &ObjectKey,
    range: std::ops::Range<u64>,
) -> Result<(Vec<u8>, u64), StoreError> {
    let mut body = store.open(&ObjectRef::from(key.clone()), range).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok((bytes, body.bytes_claimed))
}

async fn assert_holds(store: &dyn Store, key: &ObjectKey, bytes: &Bytes) {
    let (found, claimed) = read(store, key, 0..u64::MAX).await.unwrap();
    assert!(found == *bytes, "`{key}` has other bytes");
    assert_eq!(claimed, Declared::of(bytes).bytes);
}

async fn assert_absent(store: &dyn Store, key: &ObjectKey) {
    let opened = read(store, key, 0..1).await;
    assert!(
        matches!(&opened, Err(StoreError::NotFound { key: absent }) if absent == key.as_str()),
        "{opened:?}"
    );
    let stat = store.stat(&key.clone().into()).await;
    assert!(matches!(stat, Err(StoreError::NotFound { .. })), "{stat:?}");
    assert_eq!(store.versions(key).await.unwrap(), []);
    let keys = listed(store, &KeyPrefix::all()).await;
    assert!(!keys.iter().any(|(listed, _)| listed == key.as_str()));
}

/// What is listed, sorted.
async fn listed(store: &dyn Store, prefix: &KeyPrefix) -> Vec<(String, u64)> {
    let entries = store.list(prefix);
    let mut keys: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.key, entry.bytes)
        })
        .collect()
        .await;
    keys.sort();
    keys
}

fn created(outcome: &Result<Receipt, StoreError>) -> bool {
    matches!(outcome, Ok(receipt) if receipt.outcome == Outcome::Created)
}
