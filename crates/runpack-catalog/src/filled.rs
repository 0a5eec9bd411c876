//! What filling found, and the packs of a store in batches.

use futures_util::TryStreamExt as _;
use futures_util::stream::BoxStream;
use runpack_core::id::PackId;

use crate::fill::Found;
use crate::read::PlaceEntry;
use crate::survey::{Fault, SurveyError, Surveyed};

/// Packs are written together until they have so many artifacts, are so many, or their manifests so long.
const ARTIFACTS_AT_ONCE: usize = 10_000;
const PACKS_AT_ONCE: usize = 500;
const MANIFEST_BYTES_AT_ONCE: u64 = 64 << 20;
/// How many manifests may be unread, while the others are taken up.
const UNREAD_MAX: usize = 1_000;
/// How many faults, and places that are gone, are named. More are counted.
const NAMED_MAX: usize = 1_000;

/// What filling found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filled {
    /// Packs that were written.
    pub added: u64,
    /// Their artifacts.
    pub artifacts: u64,
    /// Places that were known.
    pub known: u64,
    /// Places that are gone from the store, and from the catalog now.
    pub removed: u64,
    /// Those places, at most 1,000 of them.
    pub gone: Vec<Gone>,
    /// What stands where a pack should, and is none, and what could not be read.
    pub odd: Odd,
}

/// A place of a pack that the store has no more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gone {
    /// Where it lay.
    pub key: String,
    /// The pack.
    pub pack_id: PackId,
}

/// Places that give no pack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Odd {
    /// What stands where a pack should, and is none; at most 1,000 of them.
    pub faults: Vec<Fault>,
    /// How many more there are.
    pub faults_unlisted: u64,
    /// What could not be read: an object in an archive, one that may not be read. The next time it is tried again.
    pub unread: Vec<Fault>,
}

impl Odd {
    fn fault(&mut self, fault: Fault) {
        if self.faults.len() < NAMED_MAX {
            self.faults.push(fault);
        } else {
            self.faults_unlisted = self.faults_unlisted.saturating_add(1);
        }
    }

    pub(crate) fn sort(&mut self) {
        let by_key = |a: &Fault, b: &Fault| a.key.cmp(&b.key);
        self.faults.sort_unstable_by(by_key);
        self.unread.sort_unstable_by(by_key);
    }
}

impl Filled {
    /// Counts what was added besides.
    pub fn add(&mut self, other: &Self) {
        self.added = self.added.saturating_add(other.added);
        self.artifacts = self.artifacts.saturating_add(other.artifacts);
    }

    pub(crate) fn count(&mut self, batch: &[Found]) {
        for found in batch {
            let artifacts = u64::try_from(found.manifest.artifacts().len()).unwrap_or(u64::MAX);
            self.added = self.added.saturating_add(1);
            self.artifacts = self.artifacts.saturating_add(artifacts);
        }
    }

    /// Counts what is gone, and names some of it.
    pub(crate) fn remove(&mut self, gone: Vec<PlaceEntry>) {
        let all = u64::try_from(gone.len()).unwrap_or(u64::MAX);
        self.removed = self.removed.saturating_add(all);
        let room = NAMED_MAX.saturating_sub(self.gone.len());
        self.gone
            .extend(gone.into_iter().take(room).map(Gone::from));
    }
}

impl From<PlaceEntry> for Gone {
    fn from(place: PlaceEntry) -> Self {
        Self {
            key: place.key,
            pack_id: place.pack_id,
        }
    }
}

/// The next packs to be written together; none at the end.
pub(crate) async fn batch(
    found: &mut BoxStream<'static, Result<Surveyed, SurveyError>>,
    odd: &mut Odd,
) -> Result<Vec<Found>, SurveyError> {
    let (mut batch, mut artifacts, mut bytes) = (Vec::new(), 0usize, 0u64);
    while batch.len() < PACKS_AT_ONCE
        && artifacts < ARTIFACTS_AT_ONCE
        && bytes < MANIFEST_BYTES_AT_ONCE
    {
        match found.try_next().await? {
            None => break,
            Some(Surveyed::Found(pack)) => {
                artifacts = artifacts.saturating_add(pack.manifest.artifacts().len());
                bytes = bytes.saturating_add(pack.manifest.bytes());
                batch.push(pack);
            }
            Some(Surveyed::Fault(fault)) => odd.fault(fault),
            Some(Surveyed::Unread(fault)) => odd.unread.push(fault),
        }
        // So many that the store is what is wrong.
        if odd.unread.len() > UNREAD_MAX
            && let Some(Fault { key, reason }) = odd.unread.pop()
        {
            return Err(SurveyError::Unread { key, reason });
        }
    }
    Ok(batch)
}
