//! The ledger of legal holds: which matter holds which pack, as signed entries in the bucket itself.
//!
//! A store knows one bit for each version, whoever wants it held. So every placing and release is an entry of its own:
//! numbered without a gap, signed, with the SHA-256 and the version of the entry before it, itself under a legal hold.
//! The last entry is the head; it is pinned on this machine, so that a ledger that was cut at its end or taken back is
//! refused ([`LedgerError::RolledBack`]). Invariants: nothing is believed of a ledger of which one entry is missing,
//! changed, or signed by no trusted key; entries are read by version, the oldest, so that nothing written over them counts.

mod entry;
mod pin;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt as _;
use runpack_core::digest::Digest;
use runpack_core::id::PackId;
use runpack_core::key::{Location, ObjectKey};
use runpack_core::sign::{SignError, SignedDocument, Signer, VerifyingKey};
use runpack_core::store::s3::Lock;
use runpack_core::store::{
    ArtifactReader as _, ArtifactSink as _, Declared, Housekeeping as _, ObjectRef, State,
    StoreError, VersionId,
};

pub use entry::{Act, Entry, Format, Previous};
pub use pin::{HeadBook, HeadPin};

use crate::batch;
use crate::guard::{Guard, Hold};
use crate::matter::Matter;
use entry::{ENTRY_BYTES_MAX, ENTRY_TYPE};

/// The most entries: reading them all is what proves a ledger.
const ENTRIES_MAX: u32 = 1_000_000;
/// How often an entry is tried that others get in before.
const ATTEMPTS: u32 = 24;

/// Why a ledger is not believed, or was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// An entry is not what was written.
    #[error(
        "the ledger of holds does not prove what it says, so no hold is cleared: look at its entries and their versions, entry=`{sequence}`: {fault}"
    )]
    Unproven {
        /// Which entry.
        sequence: u32,
        /// What is wrong.
        fault: String,
    },
    /// It ends before, or has another entry, than this machine knows.
    #[error(
        "the ledger of holds is older than, or another than, what this machine saw before: it was cut, or taken back, known=`{known}` entries=`{entries}`"
    )]
    RolledBack {
        /// The entry that this machine pinned.
        known: u32,
        /// How many entries there are.
        entries: u32,
    },
    /// Nothing on this machine says where the ledger ends.
    #[error(
        "this machine has not seen the ledger of holds before, so it cannot tell one that was cut: say what its last entry is with --expect-head, from the machine that wrote it"
    )]
    Unpinned,
    /// Others kept writing.
    #[error("others kept writing to the ledger of holds, try again")]
    Busy,
    /// The local pin cannot be read or written.
    #[error("the pin of the ledger's head could not be read or written, path=`{path}`")]
    Pin {
        /// The file.
        path: PathBuf,
        /// How.
        #[source]
        source: io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The entry was not signed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// A ledger that was read whole, every entry signed and chained.
#[derive(Debug, Clone)]
pub struct Ledger {
    entries: Vec<Signed>,
}

/// An entry, and where it stands.
#[derive(Debug, Clone)]
struct Signed {
    entry: Entry,
    sha256: Digest,
    version: Option<VersionId>,
}

/// Who holds a pack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// The matters that hold it now.
    pub matters: BTreeSet<Matter>,
    /// Whether a version was held before any matter of the ledger was placed: such a hold is not the ledger's to clear.
    pub was_held_before: bool,
    /// The versions that are held: the digest of their list, from the last placing.
    pub versions: Option<Digest>,
    /// Whether holds may be on that the ledger placed and has not cleared yet.
    pub is_ours: bool,
}

impl Held {
    fn take(&mut self, entry: &Entry) {
        match entry.act {
            Act::Place => {
                if !self.is_ours {
                    self.was_held_before = entry.was_held;
                }
                self.is_ours = true;
                self.matters.insert(entry.matter.clone());
                self.versions = Some(entry.versions_sha256);
            }
            Act::Release => {
                self.matters.remove(&entry.matter);
            }
            Act::Clear => *self = Self::default(),
        }
    }
}

/// How to come to a ledger.
#[derive(Debug, Clone)]
pub struct Ledgers<'a> {
    /// The bucket.
    pub guard: &'a Guard,
    /// Where the store is: it tells services apart.
    pub place: &'a str,
    /// The keys whose entries count.
    pub trusted: &'a [VerifyingKey],
    /// The heads that this machine knows.
    pub book: &'a HeadBook,
    /// The lock of new entries, beside their own hold.
    pub lock: Option<Lock>,
}

impl Ledgers<'_> {
    /// Reads the ledger and proves it.
    ///
    /// # Errors
    /// [`LedgerError::Unproven`], [`LedgerError::RolledBack`]; as the store fails.
    pub async fn read(&self) -> Result<Ledger, LedgerError> {
        let versions = self.versions().await?;
        let read = batch::each(versions, |(sequence, version)| async move {
            Ok::<_, LedgerError>((sequence, self.entry(sequence, version).await))
        });
        let mut entries: Vec<Signed> = Vec::new();
        for (place, (sequence, signed)) in read.await?.into_iter().enumerate() {
            let unproven = |fault: &str| LedgerError::Unproven {
                sequence,
                fault: fault.to_owned(),
            };
            if usize::try_from(sequence).ok() != Some(place) {
                return Err(unproven("an entry before it is missing"));
            }
            let signed = signed?;
            let previous = entries.last().map(Signed::as_previous);
            if signed.entry.previous != previous {
                return Err(unproven("the entry before it is another than was written"));
            }
            entries.push(signed);
        }
        let ledger = Ledger { entries };
        if let Some(pin) = self.book.of(self.place)? {
            ledger.holds_to(&pin)?;
            // What was seen is not to be taken back either.
            self.pin(&ledger)?;
        }
        Ok(ledger)
    }

    /// Pins the ledger of a store that this machine has not seen, if its last entry has this digest: whoever wrote it says
    /// so.
    ///
    /// # Errors
    /// As [`Ledgers::read`]; the last entry is another.
    pub async fn adopt(&self, head: Digest) -> Result<Ledger, LedgerError> {
        let ledger = self.read().await?;
        match ledger.entries.last() {
            Some(last) if last.sha256 == head => {
                self.pin(&ledger)?;
                Ok(ledger)
            }
            last => Err(LedgerError::Unproven {
                sequence: last.map_or(0, |last| last.entry.sequence),
                fault: format!("the last entry is another than expected, expected=`{head}`"),
            }),
        }
    }

    /// The oldest version of every entry, by number.
    async fn versions(&self) -> Result<BTreeMap<u32, Option<VersionId>>, LedgerError> {
        let mut versions = BTreeMap::new();
        let prefix = Location::holds_prefix();
        let mut holdings = self.guard.store().versions_below(&prefix);
        while let Some(found) = holdings.next().await {
            let found = found?;
            let Some(Location::Hold { sequence }) = Location::parse(&found.key) else {
                continue;
            };
            if found.state == State::Object {
                // They come newest first: the last one stays.
                versions.insert(sequence, found.version);
            }
            if sequence >= ENTRIES_MAX {
                return Err(LedgerError::Unproven {
                    sequence,
                    fault: "there are more entries than a ledger has".to_owned(),
                });
            }
        }
        Ok(versions)
    }

    async fn entry(
        &self,
        sequence: u32,
        version: Option<VersionId>,
    ) -> Result<Signed, LedgerError> {
        let unproven = |fault: String| LedgerError::Unproven { sequence, fault };
        let object = ObjectRef {
            key: key(sequence)?,
            version: version.clone(),
        };
        let bytes_max = u64::try_from(ENTRY_BYTES_MAX).unwrap_or(u64::MAX);
        let mut body = self
            .guard
            .store()
            .open(&object, 0..bytes_max.saturating_add(1))
            .await?;
        let mut bytes = Vec::new();
        while let Some(piece) = body.next().await {
            bytes.extend_from_slice(&piece?);
        }
        let document = SignedDocument::parse(&bytes, ENTRY_TYPE, ENTRY_BYTES_MAX)
            .map_err(|error| unproven(error.to_string()))?;
        let payload = document
            .verify(self.trusted)
            .map_err(|error| unproven(error.to_string()))?;
        let entry = Entry::parse(payload).ok_or_else(|| unproven("it is no entry".to_owned()))?;
        if entry.sequence != sequence || entry.place != self.place {
            return Err(unproven("it belongs somewhere else".to_owned()));
        }
        Ok(Signed {
            entry,
            sha256: Digest::of(&bytes),
            version,
        })
    }

    /// Adds an entry at the end, made by `make` from its number and what comes before it. `judge` says of the ledger as
    /// it is now whether it is still to be added.
    ///
    /// # Errors
    /// As [`Ledgers::read`]; as `judge` says; [`LedgerError::Busy`]; as store and signer fail.
    pub async fn append<E: From<LedgerError>>(
        &self,
        signer: &dyn Signer,
        make: impl Fn(u32, Option<Previous>) -> Entry,
        judge: impl Fn(&Ledger) -> Result<(), E>,
    ) -> Result<Ledger, E> {
        for attempt in 0..ATTEMPTS {
            // Others who write at the same moment do not wait as long as we do.
            let pause = Duration::from_millis(
                u64::from(attempt).saturating_mul(u64::from(std::process::id() % 64)),
            );
            tokio::time::sleep(pause).await;
            let mut ledger = self.read().await?;
            if !ledger.entries.is_empty() && self.book.of(self.place)?.is_none() {
                return Err(LedgerError::Unpinned.into());
            }
            judge(&ledger)?;
            let sequence = u32::try_from(ledger.entries.len()).unwrap_or(ENTRIES_MAX);
            let entry = make(sequence, ledger.entries.last().map(Signed::as_previous));
            let document = SignedDocument::sign(ENTRY_TYPE, entry.to_bytes(), signer);
            let bytes = document.map_err(LedgerError::from)?.to_bytes();
            let Some(version) = self.write(sequence, &bytes).await? else {
                continue;
            };
            ledger.entries.push(Signed {
                entry,
                sha256: Digest::of(&bytes),
                version,
            });
            self.pin(&ledger)?;
            return Ok(ledger);
        }
        Err(LedgerError::Busy.into())
    }

    /// Writes an entry and holds it; `None` where somebody else's is there.
    async fn write(
        &self,
        sequence: u32,
        bytes: &[u8],
    ) -> Result<Option<Option<VersionId>>, LedgerError> {
        let key = key(sequence)?;
        let store = self.guard.store();
        let put = store.put(&key, bytes.to_vec().into(), Declared::of(bytes));
        let receipt = match put.await {
            Ok(receipt) => receipt,
            Err(StoreError::AlreadyExists { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Where versions are kept several writers may each be told of success: the oldest is the entry.
        let (oldest, _) = store.oldest(&key).await?;
        if oldest.version != receipt.version {
            return Ok(None);
        }
        self.guard.set_hold(&oldest, Hold::On).await?;
        if let Some(lock) = self.lock {
            self.guard.ensure(&oldest, lock).await?;
        }
        Ok(Some(oldest.version))
    }

    /// Pins the ledger's head on this machine.
    ///
    /// # Errors
    /// The pin could not be written.
    pub fn pin(&self, ledger: &Ledger) -> Result<(), LedgerError> {
        match ledger.head() {
            Some(head) => self.book.keep(self.place, head),
            None => Ok(()),
        }
    }
}

fn key(sequence: u32) -> Result<ObjectKey, LedgerError> {
    let key = Location::Hold { sequence }.key();
    Ok(key.map_err(|error| crate::bucket::unusable(error.to_string()))?)
}

impl Signed {
    fn as_previous(&self) -> Previous {
        Previous {
            sha256: self.sha256,
            version: self
                .version
                .as_ref()
                .map(|version| version.as_str().to_owned()),
        }
    }
}

impl Ledger {
    /// The entries, oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter().map(|signed| &signed.entry)
    }

    /// The last entry: what is pinned.
    pub fn head(&self) -> Option<HeadPin> {
        let last = self.entries.last()?;
        Some(HeadPin {
            sequence: last.entry.sequence,
            entry: last.as_previous(),
        })
    }

    /// Whether what was pinned before is in it.
    fn holds_to(&self, pin: &HeadPin) -> Result<(), LedgerError> {
        let there = usize::try_from(pin.sequence)
            .ok()
            .and_then(|at| self.entries.get(at));
        if there.is_some_and(|there| there.as_previous() == pin.entry) {
            return Ok(());
        }
        Err(LedgerError::RolledBack {
            known: pin.sequence,
            entries: u32::try_from(self.entries.len()).unwrap_or(u32::MAX),
        })
    }

    /// Who holds the pack with this commit.
    pub fn held(&self, pack_id: PackId, commit: &ObjectKey) -> Held {
        let mut held = Held::default();
        self.entries()
            .filter(|entry| entry.pack_id == pack_id && entry.commit == commit.as_str())
            .for_each(|entry| held.take(entry));
        held
    }

    /// Whether this matter held the pack once and does not any more.
    pub fn has_released(&self, pack_id: PackId, commit: &ObjectKey, matter: &Matter) -> bool {
        let last = self.entries().rfind(|entry| {
            entry.pack_id == pack_id
                && entry.commit == commit.as_str()
                && entry.matter == *matter
                && entry.act != Act::Clear
        });
        last.is_some_and(|entry| entry.act == Act::Release)
    }

    /// Every pack that is held now, with where it is and by whom.
    pub fn all_held(&self) -> BTreeMap<(String, PackId), Held> {
        let mut all: BTreeMap<(String, PackId), Held> = BTreeMap::new();
        for entry in self.entries() {
            let key = (entry.commit.clone(), entry.pack_id);
            all.entry(key).or_default().take(entry);
        }
        all.retain(|_, held| !held.matters.is_empty());
        all
    }
}
