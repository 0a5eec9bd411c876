//! What cleaning up needs of a store beyond reading and writing: everything that it holds, with ages by
//! its own clock, and removing exactly one thing.
//!
//! Nothing but `crate::residue` and `crate::retention` removes anything, and no writer or verifier needs this.

use std::collections::BTreeMap;
use std::pin::Pin;

use async_trait::async_trait;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, future};

use super::{ArtifactReader, ObjectRef, StoreError, VersionId};
use crate::id::PackId;
use crate::key::{KeyPrefix, Location};
use crate::time::Timestamp;

/// What stands under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// An object, or a version of one.
    Object,
    /// A marker that hides the versions before it.
    DeleteMarker,
    /// An upload in parts that was begun and not completed; its parts are stored and seen by no reader.
    Upload,
}

/// One thing that a store holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holding {
    /// The key as the store spells it, without the store's own prefix: untrusted, perhaps none of ours.
    pub key: String,
    /// The version, or for an upload its id.
    pub version: Option<VersionId>,
    /// The size; 0 where it is not known.
    pub bytes: u64,
    /// When it was written or begun, by the store's clock.
    pub modified: Timestamp,
    /// What it is.
    pub state: State,
    /// Whether the store says that it is what a reader gets who names no version.
    pub is_latest: bool,
}

impl Holding {
    /// An object without versions.
    pub fn object(key: String, bytes: u64, modified: Timestamp) -> Self {
        Self {
            key,
            version: None,
            bytes,
            modified,
            state: State::Object,
            is_latest: true,
        }
    }

    /// The same, in a version.
    #[must_use]
    pub fn with_version(mut self, version: VersionId) -> Self {
        self.version = Some(version);
        self
    }

    /// The same, being the latest or not.
    #[must_use]
    pub fn with_latest(mut self, is_latest: bool) -> Self {
        self.is_latest = is_latest;
        self
    }

    /// The same, being something else.
    #[must_use]
    pub fn with_state(mut self, state: State) -> Self {
        self.state = state;
        self
    }
}

/// What a store holds, page by page, in no order.
pub type HoldingStream = Pin<Box<dyn Stream<Item = Result<Holding, StoreError>> + Send>>;

/// What of a store keeps a version from being removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// A legal hold.
    Held,
    /// A lock, until this time by the store's clock.
    LockedUntil(Timestamp),
}

/// Which packs a ledger of holds keeps, and for whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holds(BTreeMap<PackId, String>);

impl Holds {
    /// Those packs are held, for whom is said of each.
    pub fn new(held: BTreeMap<PackId, String>) -> Self {
        Self(held)
    }

    /// Who holds a pack; `None` where nobody does.
    pub fn of(&self, pack_id: PackId) -> Option<&str> {
        self.0.get(&pack_id).map(String::as_str)
    }
}

/// Looking at everything, and removing.
#[async_trait]
pub trait Housekeeping: ArtifactReader {
    /// The time by the store's own clock: ages are never told by ours.
    ///
    /// # Errors
    /// As the store fails.
    async fn now(&self) -> Result<Timestamp, StoreError>;

    /// Every version, marker and unfinished upload whose key starts with `prefix`.
    fn holdings(&self, prefix: &KeyPrefix) -> HoldingStream;

    /// The same without unfinished uploads: for whoever need not be allowed to see them.
    fn versions_below(&self, prefix: &KeyPrefix) -> HoldingStream {
        let all = self.holdings(prefix);
        Box::pin(all.try_filter(|held| future::ready(held.state != State::Upload)))
    }

    /// Removes exactly this version, marker or upload; what is gone already counts as removed. In a
    /// store without versions, the object.
    ///
    /// # Errors
    /// [`StoreError::Denied`] where it is locked; as the store fails.
    async fn remove(&self, holding: &Holding) -> Result<(), StoreError>;

    /// The first of these versions that a lock in force at this time, or a hold, keeps; `None` where nothing keeps any of
    /// them. What is not there is kept by nothing.
    ///
    /// # Errors
    /// [`StoreError::Denied`] where a lock or hold may not be looked at: that is never "none"; as the store fails.
    async fn protected(
        &self,
        objects: &[ObjectRef],
        now: Timestamp,
    ) -> Result<Option<(ObjectRef, Protection)>, StoreError>;

    /// Which packs are held, by the ledger of holds in the store. A store that cannot read its ledger answers for an empty
    /// one alone.
    ///
    /// # Errors
    /// [`StoreError::Barred`] where there is a ledger that cannot be read, or does not prove what it says; as the store
    /// fails.
    async fn holds(&self) -> Result<Holds, StoreError> {
        // Hidden entries count too: whoever hides one wants something to go.
        match self.versions_below(&Location::holds_prefix()).next().await {
            None => Ok(Holds::default()),
            Some(Err(error)) => Err(error),
            Some(Ok(_)) => Err(StoreError::Barred {
                reason: "this store keeps legal holds, and this program cannot read which packs are held: use the \
                         enterprise build of runpack, which can"
                    .to_owned(),
            }),
        }
    }
}
