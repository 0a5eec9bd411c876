//! A spool in front of a store: what the store does not take now is durable here at once, and there later.
//!
//! A [`SpoolStore`] writes through: while the store answers, its answer is the write's, so that what other servers write is
//! met at once. What it does not answer in time is acknowledged when it is durable in a directory of this machine, and a
//! [`Mirror`] brings it to the store; until then whatever has to come after it waits here too. There is no queue that could
//! be torn: an object that stands in the spool is one that the store has not confirmed, so whatever kills the process at
//! whatever moment, the next one goes on from what stands there (threats W15, W17). Invariants:
//!
//! - what was acknowledged is in the spool, in the store, or among the conflicts, with its bytes;
//! - an object leaves the spool only after the store has said that it has the same bytes; of a record, the same body, and of
//!   the claim that says a record's day, any: the store's holds, and the record goes where it says (`spool/place.rs`);
//! - in the store, nothing comes before what it needs there (`spool/order.rs`);
//! - what the store has under a key stays: other bytes go to `conflicts/`, where nothing is lost or replaced, and are told
//!   of ([`Backlog::conflicts`]);
//! - nothing that is removed here is removed there (W16).
//!
//! The directory: `objects/`, a [`FileStore`] with the same keys as the store; `conflicts/`, plain files; `lock`.
//!
//! Somebody looks at a conflict, moves the file elsewhere, and starts the server again: until then nothing that commits to
//! it is mirrored.
//!
//! A store that seals what it is given, as one with locks does, cannot be mirrored to: a write would be acknowledged long
//! before it is locked.

mod directory;
mod index;
mod mirror;
mod order;
mod place;
mod sending;
mod shared;
mod writing;

use std::collections::HashSet;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, future, stream};
use runpack_core::key::{KeyPrefix, ObjectKey};
use runpack_core::manifest::Subject;
use runpack_core::store::{
    ArtifactReader, ArtifactSink, ArtifactWriter, Declared, FileStore, ListEntry, ListStream,
    ObjectBody, ObjectRef, ObjectStat, Receipt, Source, Store, StoreError, Whole,
};
use runpack_core::time::{Clock, Timestamp};

pub use mirror::Mirror;

use self::shared::Shared;
use self::writing::Given;

/// How much a spool holds, and how its mirror behaves.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SpoolSettings {
    /// The most bytes in the directory, conflicts among them. Stops a store that stays away from filling the disk.
    pub bytes_max: u64,
    /// The most objects, conflicts among them. Each takes about 300 bytes of memory.
    pub objects_max: u64,
    /// How much of the file system stays free, in bytes.
    pub reserve_bytes: u64,
    /// How often an object is tried before the others go on without it for a while.
    pub attempts: u32,
    /// The first pause after the store took nothing; it doubles up to `backoff_max`, and a random part of it is waited.
    pub backoff: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
    /// How many objects are on their way at once.
    pub in_flight: usize,
    /// How long an object is kept here after the store has it. Given up when the spool is half full.
    pub keep: Duration,
    /// How long a write waits for the store before it is the spool's, and a second more for each MiB.
    pub ask_within: Duration,
    /// How long sending an object may take, and a second more for each 256 KiB.
    pub send_within: Duration,
    /// What the pauses are drawn from; `None` for the system's randomness.
    pub seed: Option<u64>,
}

impl Default for SpoolSettings {
    fn default() -> Self {
        Self {
            bytes_max: 64 << 30,
            objects_max: 1_000_000,
            reserve_bytes: 1 << 30,
            attempts: 5,
            backoff: Duration::from_millis(250),
            backoff_max: Duration::from_mins(1),
            in_flight: 8,
            keep: Duration::ZERO,
            ask_within: Duration::from_secs(2),
            send_within: Duration::from_mins(1),
            seed: None,
        }
    }
}

/// Why there is no spool.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// The store seals what it is given.
    #[error(
        "a spool acknowledges before the store has locked anything: serve a store with locks without a spool"
    )]
    Seals,
    /// Another process has it.
    #[error("another process uses this spool, give each its own directory, path=`{}`", path.display())]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// The file system failed.
    #[error("{action} failed, path=`{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// How it failed.
        #[source]
        source: io::Error,
    },
    /// The directory cannot hold objects.
    #[error("the spool cannot be used")]
    Objects(#[from] StoreError),
}

/// Why a spool takes nothing now: the source of a [`StoreError::Unavailable`]. Nothing of the write is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolFull {
    /// It has as many objects as it may.
    #[error("the spool is full until the store takes what waits, objects_max=`{max}`")]
    Objects {
        /// How many.
        max: u64,
    },
    /// It has as many bytes as it may.
    #[error("the spool is full until the store takes what waits, bytes_max=`{max}`")]
    Bytes {
        /// How many.
        max: u64,
    },
    /// Too little of its file system is free.
    #[error("the spool's file system is full, free some of it, reserve_bytes=`{reserve}`")]
    Disk {
        /// How much has to stay free.
        reserve: u64,
    },
}

impl SpoolFull {
    /// As what a caller of the store is told.
    fn refusing(self, key: &ObjectKey) -> StoreError {
        StoreError::Unavailable {
            action: "a write to the spool",
            key: key.to_string(),
            source: Box::new(self),
        }
    }
}

/// What waits for the store, and how it is with the store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backlog {
    /// How many objects the store has not confirmed.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the first of them was written.
    pub oldest: Option<Timestamp>,
    /// How long ago that was.
    pub waited: Duration,
    /// Whether the spool would take a small write now.
    pub has_room: bool,
    /// How many objects lie in `conflicts/`, for somebody to look at.
    pub conflicts: u64,
    /// Whether the store answers.
    pub store: Standing,
    /// What the store said last when it did not take an object; escaped, to be shown.
    pub last_error: Option<Arc<str>>,
}

/// How it is with the store, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It answered when it was last asked, or was not asked yet.
    Reachable,
    /// It did not.
    Away {
        /// Since when.
        since: Timestamp,
        /// How it failed; escaped, to be shown.
        error: Arc<str>,
    },
}

/// What a listing does when the store is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listing {
    /// It fails: what it shows is all that there is.
    Whole,
    /// It ends: it is a hint.
    Hint,
}

/// A store whose writes are durable here where the store does not take them. Clones are the same spool.
#[derive(Debug, Clone)]
pub struct SpoolStore {
    shared: Arc<Shared>,
    listing: Listing,
}

impl SpoolStore {
    /// Opens the spool in `dir`, which is made where it is not there, in front of `remote`; and what mirrors it. Runs in a
    /// runtime, which makes the writes from then on.
    ///
    /// # Errors
    /// The store seals; another process has the spool; as the file system fails.
    pub async fn open(
        dir: &Path,
        remote: Arc<dyn Store>,
        settings: SpoolSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Mirror), SpoolError> {
        if remote.seals() {
            return Err(SpoolError::Seals);
        }
        let shared = Arc::new(Shared::open(dir, remote, settings, clock).await?);
        let spool = Self {
            shared: Arc::clone(&shared),
            listing: Listing::Whole,
        };
        Ok((spool, Mirror::new(shared)))
    }

    /// The same spool for whoever writes packs: while the store is away, its listings show what is here and end, where
    /// others fail. A writer takes a listing for a hint.
    #[must_use]
    pub fn for_writing(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            listing: Listing::Hint,
        }
    }

    /// What waits for the store. Costs a look at how full the file system is.
    pub fn backlog(&self) -> Backlog {
        self.shared.backlog()
    }

    fn remote(&self) -> &dyn Store {
        &*self.shared.remote
    }

    async fn local(&self) -> FileStore {
        self.shared.local.read().await.clone()
    }
}

#[async_trait]
impl ArtifactReader for SpoolStore {
    async fn open(&self, object: &ObjectRef, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        match self.local().await.open(object, range.clone()).await {
            // What has left the spool in the meantime is in the store.
            Err(StoreError::NotFound { .. }) => self.remote().open(object, range).await,
            opened => opened,
        }
    }

    async fn stat(&self, object: &ObjectRef) -> Result<ObjectStat, StoreError> {
        match self.local().await.stat(object).await {
            Err(StoreError::NotFound { .. }) => self.remote().stat(object).await,
            stat => stat,
        }
    }

    /// What is in the spool, then what is in the store and was not in the spool. Memory: the keys of the spool.
    fn list(&self, prefix: &KeyPrefix) -> ListStream {
        let here = self.shared.state().index.listed(prefix);
        let keys: HashSet<Arc<str>> = here.iter().map(|(key, _)| Arc::clone(key)).collect();
        let here = here
            .into_iter()
            .map(|(key, bytes)| Ok(ListEntry::new(key.to_string(), bytes)));
        let here = stream::iter(here);
        if self.listing == Listing::Hint && self.shared.is_away() {
            return here.boxed();
        }
        let (shared, listing) = (Arc::clone(&self.shared), self.listing);
        let there = self.remote().list(prefix).filter(move |entry| {
            let is_told = match entry {
                Ok(entry) => !keys.contains(entry.key.as_str()),
                Err(error) if listing == Listing::Hint && error.is_retryable() => {
                    shared.lost(error);
                    false
                }
                Err(_) => true,
            };
            future::ready(is_told)
        });
        here.chain(there).boxed()
    }

    async fn versions(&self, key: &ObjectKey) -> Result<Vec<ObjectStat>, StoreError> {
        match self.local().await.stat(&key.clone().into()).await {
            Ok(stat) => Ok(vec![stat]),
            Err(StoreError::NotFound { .. }) => self.remote().versions(key).await,
            Err(error) => Err(error),
        }
    }

    async fn oldest(&self, key: &ObjectKey) -> Result<(ObjectRef, u64), StoreError> {
        let object = ObjectRef::from(key.clone());
        match self.local().await.stat(&object).await {
            Ok(stat) => Ok((object, stat.bytes)),
            Err(StoreError::NotFound { .. }) => self.remote().oldest(key).await,
            Err(error) => Err(error),
        }
    }

    fn requests_in_flight(&self) -> usize {
        self.remote().requests_in_flight()
    }

    /// Where it will be.
    fn storage_uri(&self, key: &ObjectKey) -> String {
        self.remote().storage_uri(key)
    }
}

#[async_trait]
impl ArtifactSink for SpoolStore {
    async fn create(
        &self,
        key: &ObjectKey,
        declared: Declared,
    ) -> Result<Box<dyn ArtifactWriter>, StoreError> {
        writing::create(&self.shared, key, declared).await
    }

    async fn put(
        &self,
        key: &ObjectKey,
        bytes: Bytes,
        declared: Declared,
    ) -> Result<Receipt, StoreError> {
        writing::write(&self.shared, key, declared, Given::Bytes(bytes)).await
    }

    async fn send(
        &self,
        key: &ObjectKey,
        declared: Declared,
        source: Arc<dyn Source>,
    ) -> Result<Receipt, StoreError> {
        writing::write(&self.shared, key, declared, Given::Source(source)).await
    }

    /// Looks here, then in the store. While the store cannot be asked, what is not here is to be sent again, which does no
    /// harm.
    async fn find(
        &self,
        key: &ObjectKey,
        declared: &Declared,
    ) -> Result<Option<Receipt>, StoreError> {
        match self.local().await.find(key, declared).await? {
            Some(receipt) => Ok(Some(receipt)),
            None => writing::find(&self.shared, key, declared).await,
        }
    }

    async fn expect(&self, subject: &Subject) -> Result<(), StoreError> {
        self.remote().expect(subject).await
    }

    fn seals(&self) -> bool {
        false
    }

    /// A store that seals has no spool.
    async fn seal(&self, _whole: Whole<'_>) -> Result<(), StoreError> {
        Ok(())
    }

    fn writes_in_flight(&self) -> usize {
        self.remote().writes_in_flight()
    }
}

#[cfg(test)]
mod tests;
