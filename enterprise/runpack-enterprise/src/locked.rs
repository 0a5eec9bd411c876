//! The locked store: what is written is locked from its first moment, read back, and locked for its full time once it is
//! whole.
//!
//! It is the store of a bucket with three things more: every new version asks for a short lock (so that what a crash
//! leaves is not locked for years), every write is read back by its version id and fails if the store shows less, and
//! [`ArtifactSink::seal`] gives all versions of a pack one full lock, the manifest first, before anybody is told that it is
//! committed. What was receipted is read by version, whatever stands over it now (threats L01, L03, L05 to L07, L11).

mod brief;
mod held;
mod pins;
mod seal;

pub use seal::Sealed;

use brief::Brief;

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use runpack_core::display;
use runpack_core::key::{KeyPrefix, ObjectKey};
use runpack_core::manifest::Subject;
use runpack_core::sign::{Signer, VerifyingKey};
use runpack_core::store::s3::{Lock, PutPolicy, S3Store};
use runpack_core::store::{
    ArtifactReader, ArtifactSink, ArtifactWriter, Declared, Holding, HoldingStream, Holds,
    Housekeeping, ListEntry, ListStream, ObjectBody, ObjectRef, ObjectStat, Outcome, Protection,
    Receipt, Source, State, StoreError, VersionId, Whole,
};
use runpack_core::time::{Clock, Timestamp};
use serde_json::json;

use crate::audit::{self, AuditLog};
use crate::bucket::{Lockable, barred, unusable};
use crate::guard::Guard;
use crate::ledger::HeadBook;
use crate::receipt::LockBook;
use crate::tenure::Tenure;
use crate::terms::{LockTerms, RetainUntil};

/// What cannot be undone, before it is done: a compliance lock that nobody takes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Irrevocable {
    /// Where.
    pub place: String,
    /// How many versions.
    pub objects: u64,
    /// Of how many bytes.
    pub bytes: u64,
    /// Until when nobody can remove them.
    pub until: Timestamp,
}

/// Whoever says whether something irrevocable is done.
pub trait Consent: Send + Sync + fmt::Debug {
    /// Says so.
    ///
    /// # Errors
    /// It is not to be done.
    fn to(&self, what: &Irrevocable) -> Result<(), StoreError>;
}

/// What a locked store is made of.
#[derive(Debug, Clone)]
pub struct Locking {
    /// Where the store is: it tells services apart.
    pub place: String,
    /// The lock receipts of this machine.
    pub book: LockBook,
    /// Where actions and refusals are written down.
    pub audit: AuditLog,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Says whether a compliance lock is placed.
    pub consent: Arc<dyn Consent>,
    /// Signs entries of the ledger of holds; needed where terms ask for a hold.
    pub signer: Option<Arc<dyn Signer>>,
    /// The keys whose entries of the ledger count; without one a ledger that is there is not believed.
    pub trusted: Vec<VerifyingKey>,
    /// The heads of ledgers that this machine knows.
    pub heads: HeadBook,
}

/// A store whose evidence is locked.
#[derive(Debug, Clone)]
pub struct LockedStore {
    /// Writes with locks.
    store: S3Store,
    /// Asks and changes locks.
    guard: Guard,
    locking: Locking,
    /// Under which terms things are kept; none in a store that is only read.
    brief: Option<Arc<Brief>>,
    pins: Arc<Mutex<HashMap<ObjectKey, Option<Arc<Pins>>>>>,
}

/// Packs whose versions are kept at hand.
const PACKS_KNOWN_MAX: usize = 16;

/// The version of each key.
pub type Pins = HashMap<ObjectKey, VersionId>;

impl LockedStore {
    /// A store for writing: looks first whether the bucket can keep anything locked, if something is to be.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] where it cannot ([`Lockable::check`]); as the store fails.
    pub async fn open(
        store: S3Store,
        tenure: Tenure,
        locking: Locking,
    ) -> Result<Self, StoreError> {
        let mut ahead = 0;
        if tenure.all().next().is_some() {
            let lockable = Lockable::check(&store, &*locking.clock).await?;
            let ours = locking.clock.now().unix_seconds();
            ahead = lockable.now.unix_seconds().saturating_sub(ours);
            // What cannot be locked at the end is not begun.
            for terms in tenure.all() {
                until(terms, lockable.now)?;
                if terms.legal_hold().is_some() && locking.signer.is_none() {
                    return Err(barred(
                        "packs are held for a legal matter, which a signed entry of the ledger says: name a key to sign with",
                    ));
                }
            }
        }
        let brief = Arc::new(Brief {
            tenure,
            clock: Arc::clone(&locking.clock),
            ahead,
        });
        let policy: Arc<dyn PutPolicy> = brief.clone();
        Ok(Self {
            guard: Guard::new(store.clone()),
            store: store.with_policy(policy),
            locking,
            brief: Some(brief),
            pins: Arc::default(),
        })
    }

    /// A store for reading: versions that were receipted are read as such, and nothing is written.
    pub fn for_reading(store: S3Store, locking: Locking) -> Self {
        Self {
            guard: Guard::new(store.clone()),
            store,
            locking,
            brief: None,
            pins: Arc::default(),
        }
    }

    /// A store to lock with what is there already; receipts that it writes are locked as asked too.
    pub fn for_locking(store: S3Store, asked: Lock, locking: Locking) -> Self {
        let brief = Arc::new(Brief {
            tenure: Tenure::of_terms(LockTerms::new(asked.mode, RetainUntil::At(asked.until))),
            clock: Arc::clone(&locking.clock),
            ahead: 0,
        });
        let policy: Arc<dyn PutPolicy> = brief.clone();
        Self {
            guard: Guard::new(store.clone()),
            store: store.with_policy(policy),
            locking,
            brief: Some(brief),
            pins: Arc::default(),
        }
    }

    fn brief(&self) -> Result<&Brief, StoreError> {
        self.brief
            .as_deref()
            .ok_or_else(|| barred("the store was opened to be read, and not to be written"))
    }

    /// The short lock of what has this key; none where it is not to be locked.
    fn lock_of_new(&self, key: &ObjectKey) -> Result<Option<Lock>, StoreError> {
        self.brief()?.lock(key)
    }

    /// The bucket, whose writes ask for locks.
    pub fn bucket(&self) -> &S3Store {
        &self.store
    }

    /// Asks and changes locks.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// What it is made of.
    pub fn locking(&self) -> &Locking {
        &self.locking
    }

    /// Reads back what was just written with `asked`, and locks so what was found there without.
    async fn read_back(
        &self,
        receipt: Receipt,
        asked: Option<Lock>,
    ) -> Result<Receipt, StoreError> {
        let Some(asked) = asked else {
            return Ok(receipt);
        };
        let Some(version) = receipt.version.clone() else {
            return Err(unusable(format!(
                "it keeps no version of what was written, so nothing is locked, key=`{}`",
                receipt.key
            )));
        };
        let object = ObjectRef {
            key: receipt.key.clone(),
            version: Some(version),
        };
        let kept = match receipt.outcome {
            Outcome::Created => self.guard.kept(&object, asked).await,
            Outcome::AlreadyThere => self.guard.ensure(&object, asked).await,
        };
        match kept {
            Ok(_) => Ok(receipt),
            Err(error) => Err(self.refused("lock.read-back", error, receipt.key.as_str())),
        }
    }

    /// Writes a refusal down; what stops that is told in its place.
    fn refused(&self, action: &str, error: StoreError, key: &str) -> StoreError {
        let detail = json!({
            "place": self.locking.place,
            "key": key,
            "error": display::chain(&error),
        });
        match self.logged(action, audit::Outcome::Refused, detail) {
            Ok(()) => error,
            Err(unlogged) => unlogged,
        }
    }

    /// Writes an action down.
    fn logged(
        &self,
        action: &str,
        outcome: audit::Outcome,
        detail: serde_json::Value,
    ) -> Result<(), StoreError> {
        let locking = &self.locking;
        let written = locking
            .audit
            .append(&*locking.clock, action, outcome, detail);
        written.map(drop).map_err(|error| {
            barred(format!(
                "what is done is written down, and it could not be: {}",
                display::chain(&error)
            ))
        })
    }
}

pub(crate) fn until(terms: &LockTerms, now: Timestamp) -> Result<Timestamp, StoreError> {
    terms
        .retain_until(now)
        .map_err(|error| barred(error.to_string()))
}

#[async_trait]
impl ArtifactReader for LockedStore {
    async fn open(&self, object: &ObjectRef, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        self.store.open(&self.pinned(object)?, range).await
    }

    async fn stat(&self, object: &ObjectRef) -> Result<ObjectStat, StoreError> {
        self.store.stat(&self.pinned(object)?).await
    }

    /// With what a delete marker hides: it is there, and read by version.
    fn list(&self, prefix: &KeyPrefix) -> ListStream {
        let mut last = None;
        let entries = self
            .store
            .versions_below(prefix)
            .try_filter_map(move |held| {
                let is_new = held.state == State::Object && last.as_ref() != Some(&held.key);
                if is_new {
                    last = Some(held.key.clone());
                }
                let entry = is_new.then(|| ListEntry::new(held.key, held.bytes));
                futures_util::future::ready(Ok(entry))
            });
        Box::pin(entries)
    }

    async fn versions(&self, key: &ObjectKey) -> Result<Vec<ObjectStat>, StoreError> {
        let versions = self.store.versions(key).await?;
        let pin = self.pins_of(key)?.and_then(|pins| pins.get(key).cloned());
        let Some(pin) = pin else {
            return Ok(versions);
        };
        let is_pin = |stat: &ObjectStat| stat.version.as_ref() == Some(&pin);
        match versions.iter().position(is_pin) {
            // What was receipted is the object, whatever the store calls older.
            Some(at) => {
                let mut versions = versions;
                if let Some(upto) = versions.get_mut(..=at) {
                    upto.rotate_right(1);
                }
                Ok(versions)
            }
            None => Err(StoreError::NotFound {
                key: format!("{key} in the receipted version {}", pin.as_str()),
            }),
        }
    }

    fn requests_in_flight(&self) -> usize {
        self.store.requests_in_flight()
    }

    fn storage_uri(&self, key: &ObjectKey) -> String {
        self.store.storage_uri(key)
    }
}

#[async_trait]
impl ArtifactSink for LockedStore {
    async fn create(
        &self,
        key: &ObjectKey,
        declared: Declared,
    ) -> Result<Box<dyn ArtifactWriter>, StoreError> {
        let asked = self.lock_of_new(key)?;
        let writer = self.store.create(key, declared).await?;
        Ok(Box::new(LockedWriter {
            store: self.clone(),
            asked,
            writer,
        }))
    }

    async fn put(
        &self,
        key: &ObjectKey,
        bytes: Bytes,
        declared: Declared,
    ) -> Result<Receipt, StoreError> {
        let asked = self.lock_of_new(key)?;
        let receipt = self.store.put(key, bytes, declared).await?;
        self.read_back(receipt, asked).await
    }

    async fn send(
        &self,
        key: &ObjectKey,
        declared: Declared,
        source: Arc<dyn Source>,
    ) -> Result<Receipt, StoreError> {
        let asked = self.lock_of_new(key)?;
        let receipt = self.store.send(key, declared, source).await?;
        self.read_back(receipt, asked).await
    }

    async fn find(
        &self,
        key: &ObjectKey,
        declared: &Declared,
    ) -> Result<Option<Receipt>, StoreError> {
        match self.store.find(key, declared).await? {
            Some(receipt) => {
                let asked = self.lock_of_new(key)?;
                self.read_back(receipt, asked).await.map(Some)
            }
            None => Ok(None),
        }
    }

    async fn expect(&self, subject: &Subject) -> Result<(), StoreError> {
        let terms = self.brief()?.tenure.of_subject(subject);
        terms
            .map(drop)
            .map_err(|error| self.refused("residency", error, ""))
    }

    fn seals(&self) -> bool {
        true
    }

    async fn seal(&self, whole: Whole<'_>) -> Result<(), StoreError> {
        let sealed = self.seal_whole(whole).await;
        sealed.map_err(|error| self.refused("lock.seal", error, ""))
    }

    fn writes_in_flight(&self) -> usize {
        self.store.writes_in_flight()
    }
}

#[async_trait]
impl Housekeeping for LockedStore {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.store.now().await
    }

    fn holdings(&self, prefix: &KeyPrefix) -> HoldingStream {
        self.store.holdings(prefix)
    }

    fn versions_below(&self, prefix: &KeyPrefix) -> HoldingStream {
        self.store.versions_below(prefix)
    }

    async fn remove(&self, holding: &Holding) -> Result<(), StoreError> {
        let removed = self.store.remove(holding).await;
        removed.map_err(|error| self.refused("remove", error, &holding.key))?;
        let detail = json!({
            "place": self.locking.place,
            "key": holding.key,
            "version": holding.version.as_ref().map(VersionId::as_str),
        });
        self.logged("remove", audit::Outcome::Done, detail)
    }

    async fn protected(
        &self,
        objects: &[ObjectRef],
        now: Timestamp,
    ) -> Result<Option<(ObjectRef, Protection)>, StoreError> {
        self.store.protected(objects, now).await
    }

    async fn holds(&self) -> Result<Holds, StoreError> {
        self.held_by_ledger().await
    }
}

/// A write into a locked store: as any other, and read back once it is committed.
#[derive(Debug)]
struct LockedWriter {
    store: LockedStore,
    asked: Option<Lock>,
    writer: Box<dyn ArtifactWriter>,
}

#[async_trait]
impl ArtifactWriter for LockedWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.writer.write(bytes).await
    }

    async fn commit(self: Box<Self>) -> Result<Receipt, StoreError> {
        let receipt = self.writer.commit().await?;
        self.store.read_back(receipt, self.asked).await
    }

    async fn abort(self: Box<Self>) -> Result<(), StoreError> {
        self.writer.abort().await
    }
}
