//! What is written down of a removal, in the store itself: that it begins, and that it has ended.
//!
//! Both are created and never replaced. They are for people: no verdict rests on them, and a verifier that shows one says
//! that the store says so.

use std::sync::Arc;

use futures_util::TryStreamExt as _;
use serde::{Deserialize, Serialize};

use super::RetentionError;
use super::plan::{Phase, PlannedObject, Removal};
use crate::digest::Digest;
use crate::id::PackId;
use crate::key::{DeletionObject, Location, ObjectKey};
use crate::store::{
    ArtifactReader, ArtifactSink, Declared, Holding, Housekeeping, ObjectRef, State, StoreError,
    read_capped,
};
use crate::time::{Clock, Timestamp};

/// The largest receipt that is read.
const RECORD_BYTES_MAX: u64 = 128 << 20;
/// How many receipts of a pack are looked for.
const RECORDS_MAX: usize = 1_000;

/// That a removal begins, or with `completed_at` that it has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Intent {
    // In canonical order.
    /// When it began, by the clock of whoever began it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub begun_at: Option<Timestamp>,
    /// Who did it, as they say.
    pub by: String,
    /// When it had ended, by the clock of whoever ended it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub completed_at: Option<Timestamp>,
    format: String,
    /// The plan, by its digest.
    pub plan: Digest,
    /// What goes, or went.
    pub removal: Removal,
    /// Where the manifest stays, and at least until when; none where it is what went.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stays: Option<Left>,
}

/// What stays of a pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Left {
    // In canonical order.
    /// Its manifest.
    pub manifest: String,
    /// What other packs share with it: no plan removes that.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub shared: Vec<String>,
    /// At least until then.
    pub until: Timestamp,
}

/// Whose removal it is, and by what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Actor<'a> {
    pub(super) by: &'a str,
    pub(super) clock: &'a dyn Clock,
    pub(super) plan: Digest,
    pub(super) metadata_seconds: u64,
}

fn key(removal: &Removal, object: DeletionObject) -> Result<ObjectKey, RetentionError> {
    let location = Location::Deletion {
        pack_id: removal.pack_id,
        removal: removal.digest(),
        object,
    };
    Ok(location.key()?)
}

/// Whether this was written down of a removal.
pub(super) async fn is_written(
    store: &dyn ArtifactReader,
    removal: &Removal,
    object: DeletionObject,
) -> Result<bool, RetentionError> {
    let versions = store.versions(&key(removal, object)?).await?;
    Ok(!versions.is_empty())
}

/// Writes down that a removal begins or has ended; what somebody else wrote of the same stays.
pub(super) async fn write(
    sink: &dyn ArtifactSink,
    removal: &Removal,
    object: DeletionObject,
    actor: Actor<'_>,
) -> Result<(), RetentionError> {
    let now = actor.clock.now();
    let is_end = object == DeletionObject::Receipt;
    let stays = match removal.phase {
        Phase::Manifest => None,
        Phase::Artifacts => Some(Left {
            manifest: if removal.manifest.is_empty() {
                key(removal, DeletionObject::Manifest)?.to_string()
            } else {
                removal.key.clone()
            },
            shared: removal.shared.clone(),
            until: now.later(actor.metadata_seconds),
        }),
    };
    let written = Intent {
        begun_at: (!is_end).then_some(now),
        by: actor.by.to_owned(),
        completed_at: is_end.then_some(now),
        format: format(object).to_owned(),
        plan: actor.plan,
        removal: removal.clone(),
        stays,
    };
    // Texts and numbers always serialize.
    let bytes = serde_json::to_vec(&written).unwrap_or_default();
    put(sink, &key(removal, object)?, bytes).await
}

/// Keeps the manifest of a bundle that goes.
pub(super) async fn write_manifest(
    sink: &dyn ArtifactSink,
    removal: &Removal,
    manifest: Vec<u8>,
) -> Result<(), RetentionError> {
    put(sink, &key(removal, DeletionObject::Manifest)?, manifest).await
}

async fn put(
    sink: &dyn ArtifactSink,
    key: &ObjectKey,
    bytes: Vec<u8>,
) -> Result<(), RetentionError> {
    let declared = Declared::of(&bytes);
    match sink.put(key, bytes.into(), declared).await {
        Ok(_) | Err(StoreError::AlreadyExists { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

const fn format(object: DeletionObject) -> &'static str {
    match object {
        DeletionObject::Receipt => "runpack-deletion-receipt/v1",
        _ => "runpack-deletion-intent/v1",
    }
}

/// What was written down of one removal of a pack's artifacts.
#[derive(Debug)]
pub(super) struct Noted {
    object: DeletionObject,
    modified: Timestamp,
    record: Intent,
}

impl Noted {
    /// When it had ended, of what the store and whoever did it say the later; `None` of one that has only begun.
    pub(super) fn removed_at(&self) -> Option<Timestamp> {
        let is_receipt = self.object == DeletionObject::Receipt;
        let completed_at = self.record.completed_at.filter(|_| is_receipt)?;
        Some(completed_at.max(self.modified))
    }

    /// What went, or was to go.
    pub(super) fn objects(&self) -> &[PlannedObject] {
        &self.record.removal.objects
    }
}

/// What was written down of removals of the artifacts of a pack in this place; `None` where that is more than anybody reads.
/// What is no record says nothing.
pub(super) async fn noted(
    store: &Arc<dyn Housekeeping>,
    place: &ObjectKey,
    pack_id: PackId,
) -> Result<Option<Vec<Noted>>, StoreError> {
    // The manifest of a bundle that went lies beside what was written down of its removal.
    let beside = match Location::parse(place.as_str()) {
        Some(Location::Deletion { removal, .. }) => Some(removal),
        _ => None,
    };
    let mut noted = Vec::new();
    let mut holdings = store.versions_below(&Location::deletions_prefix(Some(pack_id)));
    let mut shown = 0usize;
    while let Some(found) = holdings.try_next().await? {
        shown = shown.saturating_add(1);
        if shown > RECORDS_MAX {
            return Ok(None);
        }
        let Some((removal, one)) = read_noted(&**store, found, pack_id).await? else {
            continue;
        };
        let is_here = match beside {
            Some(beside) => removal == beside,
            None => one.record.removal.key == place.as_str(),
        };
        if is_here {
            noted.push(one);
        }
    }
    Ok(Some(noted))
}

async fn read_noted(
    reader: &dyn ArtifactReader,
    found: Holding,
    pack_id: PackId,
) -> Result<Option<(Digest, Noted)>, StoreError> {
    let Some(
        location @ Location::Deletion {
            removal,
            object: object @ (DeletionObject::Intent | DeletionObject::Receipt),
            ..
        },
    ) = Location::parse(&found.key)
    else {
        return Ok(None);
    };
    let (State::Object, Ok(key)) = (found.state, location.key()) else {
        return Ok(None);
    };
    let version = found.version;
    let read = read_capped(reader, &ObjectRef { key, version }, RECORD_BYTES_MAX).await?;
    let record = read.and_then(|bytes| parse(&bytes, object, pack_id));
    Ok(record.map(|record| {
        let noted = Noted {
            object,
            modified: found.modified,
            record,
        };
        (removal, noted)
    }))
}

/// What is written down of the removal of a pack's artifacts, if these bytes are that.
fn parse(bytes: &[u8], object: DeletionObject, pack_id: PackId) -> Option<Intent> {
    let record: Intent = serde_json::from_slice(bytes).ok()?;
    let is_that = record.format == format(object)
        && record.removal.pack_id == pack_id
        && record.removal.phase == Phase::Artifacts;
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
/// writes to the store could have written it. What cannot be read or is no receipt says nothing.
pub async fn removed(reader: &dyn ArtifactReader, pack_id: PackId) -> Option<Removed> {
    let mut latest: Option<Removed> = None;
    let mut entries = reader.list(&Location::deletions_prefix(Some(pack_id)));
    for _ in 0..RECORDS_MAX {
        let Ok(Some(entry)) = entries.try_next().await else {
            break;
        };
        let Some(location @ Location::Deletion { object, .. }) = Location::parse(&entry.key) else {
            continue;
        };
        let (DeletionObject::Receipt, Ok(key)) = (object, location.key()) else {
            continue;
        };
        if let Some(found) = read(reader, key, pack_id).await
            && latest
                .as_ref()
                .is_none_or(|known| known.completed_at < found.completed_at)
        {
            latest = Some(found);
        }
    }
    latest
}

async fn read(reader: &dyn ArtifactReader, key: ObjectKey, pack_id: PackId) -> Option<Removed> {
    let (object, _) = reader.oldest(&key).await.ok()?;
    let bytes = read_capped(reader, &object, RECORD_BYTES_MAX)
        .await
        .ok()??;
    let receipt = parse(&bytes, DeletionObject::Receipt, pack_id)?;
    Some(Removed {
        receipt: key.to_string(),
        completed_at: receipt.completed_at?,
        by: receipt.by,
        policy: receipt.removal.policy.to_string(),
    })
}
