//! What is written down of a removal, in the store itself: that it begins, and that it has ended.
//!
//! Both are created and never replaced. They are for people: no verdict rests on them, and a verifier that shows one says
//! that the store says so. Invariant: none is larger than [`RECORD_BYTES_MAX`], so that every one that is written is read,
//! and that no lifecycle rule archives one; what goes in many objects is named in pages beside the intent.
//!
//! See also: `noted.rs`, which reads them.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::RetentionError;
use super::plan::{Phase, PlannedObject, Removal};
use crate::count::len_u64;
use crate::digest::Digest;
use crate::id::PackId;
use crate::key::{DeletionObject, Location, ObjectKey};
use crate::lifecycle::ARCHIVE_BYTES_FLOOR;
use crate::store::{ArtifactReader, ArtifactSink, Declared, ObjectRef, StoreError, read_capped};
use crate::time::{Clock, Timestamp};

/// The largest record or page of one.
pub(super) const RECORD_BYTES_MAX: u64 = ARCHIVE_BYTES_FLOOR;
/// How many objects a record or a page names: with keys of 1,024 bytes, and versions as long, a page has half a MiB.
pub(super) const PAGE_OBJECTS: usize = 200;
/// How many versions under one key are looked at for the record that should be there.
const VERSIONS_READ_MAX: usize = 16;

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
    /// In how many pages beside it the objects are named, where they are not named here.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub pages: u32,
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

/// Some of the objects that go.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page<'a> {
    // In canonical order.
    format: Cow<'a, str>,
    pub(super) objects: Cow<'a, [PlannedObject]>,
}

/// Whose removal it is, and by what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Actor<'a> {
    pub(super) by: &'a str,
    pub(super) clock: &'a dyn Clock,
    pub(super) plan: Digest,
    pub(super) metadata_seconds: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
const fn is_zero(pages: &u32) -> bool {
    *pages == 0
}

pub(super) fn key(
    pack_id: PackId,
    removal: Digest,
    object: DeletionObject,
) -> Result<ObjectKey, RetentionError> {
    let location = Location::Deletion {
        pack_id,
        removal,
        object,
    };
    Ok(location.key()?)
}

/// Whether bytes are what should be there.
type IsThat<'a> = &'a (dyn Fn(&[u8]) -> bool + Send + Sync);

fn key_of(removal: &Removal, object: DeletionObject) -> Result<ObjectKey, RetentionError> {
    key(removal.pack_id, removal.digest(), object)
}

/// A removal as a record has it, and the pages that its objects are named in where the record does not.
fn paged(removal: &Removal) -> (Removal, Vec<&[PlannedObject]>) {
    if removal.objects.len() <= PAGE_OBJECTS {
        return (removal.clone(), Vec::new());
    }
    let recorded = Removal {
        manifest: removal.manifest.clone(),
        objects: Vec::new(),
        policy: removal.policy.clone(),
        key: removal.key.clone(),
        shared: removal.shared.clone(),
        subject: removal.subject.clone(),
        ..*removal
    };
    (recorded, removal.objects.chunks(PAGE_OBJECTS).collect())
}

/// Whether this was written down of a removal.
pub(super) async fn is_written(
    store: &dyn ArtifactReader,
    removal: &Removal,
    object: DeletionObject,
) -> Result<bool, RetentionError> {
    let key = key_of(removal, object)?;
    let is_that = is_record_of(removal, object);
    Ok(has(store, &key, RECORD_BYTES_MAX, &is_that).await?)
}

/// Writes down that a removal begins or has ended; what somebody else wrote of the same stays.
///
/// # Errors
/// [`RetentionError::Record`] where it cannot be written; the store failed.
pub(super) async fn write(
    store: &dyn ArtifactReader,
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
                key_of(removal, DeletionObject::Manifest)?.to_string()
            } else {
                removal.key.clone()
            },
            shared: removal.shared.clone(),
            until: now.later(actor.metadata_seconds),
        }),
    };
    let (recorded, pages) = paged(removal);
    let written = Intent {
        begun_at: (!is_end).then_some(now),
        by: actor.by.to_owned(),
        completed_at: is_end.then_some(now),
        format: format(object).to_owned(),
        pages: u32::try_from(pages.len()).unwrap_or(u32::MAX),
        plan: actor.plan,
        removal: recorded,
        stays,
    };
    if !is_end {
        write_pages(store, sink, removal, &pages).await?;
    }
    // Texts and numbers always serialize.
    let bytes = serde_json::to_vec(&written).unwrap_or_default();
    let key = key_of(removal, object)?;
    check_size(&key, &bytes)?;
    let is_that = is_record_of(removal, object);
    put(store, sink, &key, bytes, RECORD_BYTES_MAX, &is_that).await
}

/// Before the intent, which says how many there are.
async fn write_pages(
    store: &dyn ArtifactReader,
    sink: &dyn ArtifactSink,
    removal: &Removal,
    pages: &[&[PlannedObject]],
) -> Result<(), RetentionError> {
    let digest = removal.digest();
    for (page, objects) in (0u32..).zip(pages) {
        let object = DeletionObject::Objects { page };
        let written = Page {
            format: format(object).into(),
            objects: (*objects).into(),
        };
        let bytes = serde_json::to_vec(&written).unwrap_or_default();
        let key = key(removal.pack_id, digest, object)?;
        check_size(&key, &bytes)?;
        put_exactly(store, sink, &key, bytes).await?;
    }
    Ok(())
}

/// What is not read is not written either.
fn check_size(key: &ObjectKey, bytes: &[u8]) -> Result<(), RetentionError> {
    if len_u64(bytes) <= RECORD_BYTES_MAX {
        return Ok(());
    }
    Err(RetentionError::Record {
        reason: "what is to be written down of a removal is larger than the limit",
        key: key.to_string(),
    })
}

/// Keeps the manifest of a bundle that goes.
///
/// # Errors
/// As of [`write`].
pub(super) async fn write_manifest(
    store: &dyn ArtifactReader,
    sink: &dyn ArtifactSink,
    removal: &Removal,
    manifest: Vec<u8>,
) -> Result<(), RetentionError> {
    let key = key_of(removal, DeletionObject::Manifest)?;
    put_exactly(store, sink, &key, manifest).await
}

async fn put_exactly(
    store: &dyn ArtifactReader,
    sink: &dyn ArtifactSink,
    key: &ObjectKey,
    bytes: Vec<u8>,
) -> Result<(), RetentionError> {
    let ours = bytes.clone();
    let is_that = move |there: &[u8]| there == ours;
    let bytes_max = len_u64(&bytes);
    put(store, sink, key, bytes, bytes_max, &is_that).await
}

/// Puts this under a key, where there is not already what `is_that`.
async fn put(
    store: &dyn ArtifactReader,
    sink: &dyn ArtifactSink,
    key: &ObjectKey,
    bytes: Vec<u8>,
    bytes_max: u64,
    is_that: IsThat<'_>,
) -> Result<(), RetentionError> {
    let declared = Declared::of(&bytes);
    match sink.put(key, bytes.into(), declared).await {
        Ok(_) => Ok(()),
        Err(StoreError::AlreadyExists { .. }) if has(store, key, bytes_max, is_that).await? => {
            Ok(())
        }
        // Somebody who may write has put it there: taken for ours, it would let the only copy go.
        Err(StoreError::AlreadyExists { .. }) => Err(RetentionError::Record {
            reason: "something else lies where a removal is to be written down",
            key: key.to_string(),
        }),
        Err(error) => Err(error.into()),
    }
}

/// Whether one of the versions under a key is that.
async fn has(
    store: &dyn ArtifactReader,
    key: &ObjectKey,
    bytes_max: u64,
    is_that: IsThat<'_>,
) -> Result<bool, StoreError> {
    let versions = store.versions(key).await?;
    for there in versions.into_iter().take(VERSIONS_READ_MAX) {
        let object = ObjectRef {
            key: key.clone(),
            version: there.version,
        };
        let read = read_capped(store, &object, bytes_max).await?;
        if read.is_some_and(|bytes| is_that(&bytes)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether bytes are what is written down of this removal, whoever wrote it.
fn is_record_of(removal: &Removal, object: DeletionObject) -> impl Fn(&[u8]) -> bool + Send + Sync {
    let (recorded, pages) = paged(removal);
    let pages = pages.len();
    move |bytes| {
        parse(bytes, object).is_some_and(|record| {
            record.removal == recorded && usize::try_from(record.pages) == Ok(pages)
        })
    }
}

const fn format(object: DeletionObject) -> &'static str {
    match object {
        DeletionObject::Receipt => "runpack-deletion-receipt/v1",
        DeletionObject::Objects { .. } => "runpack-deletion-objects/v1",
        DeletionObject::Intent | DeletionObject::Manifest => "runpack-deletion-intent/v1",
    }
}

/// What is written down of a removal, if these bytes are that.
pub(super) fn parse(bytes: &[u8], object: DeletionObject) -> Option<Intent> {
    let record: Intent = serde_json::from_slice(bytes).ok()?;
    (record.format == format(object)).then_some(record)
}

/// The objects that a page names, if these bytes are one.
pub(super) fn parse_page(bytes: &[u8]) -> Option<Vec<PlannedObject>> {
    let read: Page<'_> = serde_json::from_slice(bytes).ok()?;
    let object = DeletionObject::Objects { page: 0 };
    (read.format == format(object)).then(|| read.objects.into_owned())
}
