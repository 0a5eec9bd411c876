//! Reading what was written down of removals.
//!
//! Whoever may write to a store can write any of it, and as much as they like: each record is read and let go before the
//! next, and all of a pack's are read within one bound ([`Budget`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use serde::Serialize;

use super::plan::Phase;
use super::record::{self, Intent, RECORD_BYTES_MAX};
use crate::count::len_u64;
use crate::digest::Digest;
use crate::id::PackId;
use crate::key::{DeletionObject, Location, ObjectKey};
use crate::store::{
    ArtifactReader, Holding, Housekeeping, ObjectRef, State, StoreError, read_capped,
};
use crate::time::Timestamp;

/// How many bytes of a pack's records are read.
const RECORDS_BYTES_MAX: u64 = 128 << 20;
/// What the reading of one counts beside its bytes: so no more than 1,024 are read.
const RECORD_BYTES_MIN: u64 = 128 << 10;
/// How many objects are looked at among which the records of a pack are.
const LISTED_MAX: usize = 20_000;
/// How many pages of a pack's records are read, and how many versions of one.
const PAGES_MAX: usize = 5_000;
const PAGE_VERSIONS_MAX: usize = 2;

/// How much is still read of a pack's records.
#[derive(Debug)]
struct Budget(u64);

impl Budget {
    const fn new() -> Self {
        Self(RECORDS_BYTES_MAX)
    }

    const fn is_spent(&self) -> bool {
        self.0 == 0
    }

    /// `Ok(None)` where it is larger than any record.
    async fn read(
        &mut self,
        reader: &dyn ArtifactReader,
        object: &ObjectRef,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.0 = self.0.saturating_sub(RECORD_BYTES_MIN);
        let read = read_capped(reader, object, RECORD_BYTES_MAX).await?;
        let bytes = read.as_ref().map_or(RECORD_BYTES_MAX, |read| len_u64(read));
        self.0 = self.0.saturating_sub(bytes);
        Ok(read)
    }
}

/// What was written down of the removals of a pack's artifacts.
#[derive(Debug, Default)]
pub(super) struct Noted {
    /// When the last of them had ended, of what the store and whoever did it say the later; `None` where none has.
    pub(super) removed_at: Option<Timestamp>,
    /// The first of what is missing that none of them names.
    pub(super) unnamed: Option<String>,
}

/// What was written down of removals of the artifacts of a pack in this place, and whether they name what is missing;
/// `None` where that is more than anybody reads. What is no record says nothing.
pub(super) async fn noted(
    store: &Arc<dyn Housekeeping>,
    place: &ObjectKey,
    pack_id: PackId,
    missing: &[String],
) -> Result<Option<Noted>, StoreError> {
    // The manifest of a bundle that went lies beside what was written down of its removal.
    let beside = match Location::parse(place.as_str()) {
        Some(Location::Deletion { removal, .. }) => Some(removal),
        _ => None,
    };
    let mut unnamed: BTreeSet<&str> = missing.iter().map(String::as_str).collect();
    let (mut removed_at, mut paged) = (None, BTreeMap::new());
    let mut budget = Budget::new();
    let mut holdings = store.versions_below(&Location::deletions_prefix(Some(pack_id)));
    let mut listed = 0usize;
    while let Some(found) = holdings.try_next().await? {
        listed = listed.saturating_add(1);
        if listed > LISTED_MAX || budget.is_spent() {
            return Ok(None);
        }
        let Some((removal, object, at)) = place_of_record(&found) else {
            continue;
        };
        let read = budget.read(&**store, &at).await?;
        let Some(record) = read.and_then(|bytes| of_artifacts(&bytes, object, pack_id)) else {
            continue;
        };
        let is_here = match beside {
            Some(beside) => removal == beside,
            None => record.removal.key == place.as_str(),
        };
        if !is_here {
            continue;
        }
        if object == DeletionObject::Receipt {
            let completed_at = record.completed_at.map(|at| at.max(found.modified));
            removed_at = removed_at.max(completed_at);
        }
        for object in &record.removal.objects {
            unnamed.remove(object.key.as_str());
        }
        if record.pages > 0 {
            paged.insert(removal, record.pages);
        }
    }
    strike_pages(&**store, pack_id, &paged, &mut unnamed).await?;
    Ok(Some(Noted {
        removed_at,
        unnamed: unnamed.first().map(|key| (*key).to_owned()),
    }))
}

/// Where a record may be.
fn place_of_record(found: &Holding) -> Option<(Digest, DeletionObject, ObjectRef)> {
    let location = Location::parse(&found.key)?;
    let Location::Deletion {
        removal,
        object: object @ (DeletionObject::Intent | DeletionObject::Receipt),
        ..
    } = location
    else {
        return None;
    };
    let at = ObjectRef {
        key: location.key().ok()?,
        version: found.version.clone(),
    };
    (found.state == State::Object).then_some((removal, object, at))
}

/// Strikes what pages name, as long as there is something to strike.
async fn strike_pages(
    reader: &dyn ArtifactReader,
    pack_id: PackId,
    counted: &BTreeMap<Digest, u32>,
    unnamed: &mut BTreeSet<&str>,
) -> Result<(), StoreError> {
    let pages = counted
        .iter()
        .flat_map(|(removal, pages)| (0..*pages).map(|page| (*removal, page)));
    for (removal, page) in pages.take(PAGES_MAX) {
        if unnamed.is_empty() {
            break;
        }
        let object = DeletionObject::Objects { page };
        let Ok(key) = record::key(pack_id, removal, object) else {
            continue;
        };
        for there in (reader.versions(&key).await?)
            .into_iter()
            .take(PAGE_VERSIONS_MAX)
        {
            let at = ObjectRef {
                key: key.clone(),
                version: there.version,
            };
            let read = read_capped(reader, &at, RECORD_BYTES_MAX).await?;
            for object in read.iter().filter_map(|bytes| record::parse_page(bytes)) {
                for object in object {
                    unnamed.remove(object.key.as_str());
                }
            }
        }
    }
    Ok(())
}

/// What is written down of the removal of a pack's artifacts, if these bytes are that.
fn of_artifacts(bytes: &[u8], object: DeletionObject, pack_id: PackId) -> Option<Intent> {
    let record = record::parse(bytes, object)?;
    let is_that = record.removal.pack_id == pack_id && record.removal.phase == Phase::Artifacts;
    is_that.then_some(record)
}

/// That a plan removed a pack's artifacts, as its store says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Removed {
    /// Where the receipt lies.
    pub receipt: String,
    /// When, as the receipt says.
    pub completed_at: Timestamp,
    /// Who did it, as the receipt says: untrusted text.
    pub by: String,
    /// By which policy, as the receipt says.
    pub policy: String,
}

/// What a store says of the removal of a pack's artifacts; the latest, where there were several. It proves nothing: whoever
/// writes to the store could have written it. What cannot be read or is no receipt says nothing, nor do more receipts than
/// anybody reads.
///
/// A pack may lie in several places, and what is said of one says nothing of another: with `place`, the key of a manifest or
/// a bundle, only that one counts.
pub async fn removed(
    reader: &dyn ArtifactReader,
    pack_id: PackId,
    place: Option<&ObjectKey>,
) -> Option<Removed> {
    let mut latest: Option<Removed> = None;
    let mut budget = Budget::new();
    let mut entries = reader.list(&Location::deletions_prefix(Some(pack_id)));
    for _ in 0..LISTED_MAX {
        let Ok(Some(entry)) = entries.try_next().await else {
            return latest;
        };
        let Some(location @ Location::Deletion { object, .. }) = Location::parse(&entry.key) else {
            continue;
        };
        let (DeletionObject::Receipt, Ok(key)) = (object, location.key()) else {
            continue;
        };
        if budget.is_spent() {
            return None;
        }
        if let Some((removed_from, found)) = read(reader, key, pack_id, &mut budget).await
            && place.is_none_or(|place| place.as_str() == removed_from)
            && latest
                .as_ref()
                .is_none_or(|known| known.completed_at < found.completed_at)
        {
            latest = Some(found);
        }
    }
    None
}

/// A receipt, and the place that it is of.
async fn read(
    reader: &dyn ArtifactReader,
    key: ObjectKey,
    pack_id: PackId,
    budget: &mut Budget,
) -> Option<(String, Removed)> {
    let (object, _) = reader.oldest(&key).await.ok()?;
    let bytes = budget.read(reader, &object).await.ok()??;
    let receipt = of_artifacts(&bytes, DeletionObject::Receipt, pack_id)?;
    let removed = Removed {
        receipt: key.to_string(),
        completed_at: receipt.completed_at?,
        by: receipt.by,
        policy: receipt.removal.policy.to_string(),
    };
    Some((receipt.removal.key, removed))
}
