//! By-id references: where the pack with an id lies, written beside the packs.
//!
//! A reference is a convenience and is never believed: what it leads to is a pack with this id or it counts
//! for nothing, and where it is absent or wrong the store is looked through, up to a bound.

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::PackId;
use crate::key::{KeyPrefix, KeyTooLong, Location, ObjectKey};
use crate::limits::Limits;
use crate::manifest::{Manifest, Subject};
use crate::store::{
    ArtifactReader, ArtifactSink, Declared, Housekeeping, ObjectRef, Outcome, StoreError,
    read_capped,
};

const FORMAT: &str = "runpack-ref/v1";
/// Two keys and their names.
const REFERENCE_BYTES_MAX: u64 = 4 << 10;
/// How many manifests are read at once in a scan.
const SCAN_IN_FLIGHT: usize = 16;

/// The document. Its bytes follow from the pack alone, so that everybody writes the same.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    // In the order of RFC 8785.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    bundle: Option<String>,
    format: String,
    manifest: String,
}

impl Document {
    fn of(manifest: &Manifest) -> Result<Self, KeyTooLong> {
        let bundle = Location::bundle(manifest);
        Ok(Self {
            bundle: bundle
                .map(|location| location.key())
                .transpose()?
                .map(|key| key.to_string()),
            format: FORMAT.to_owned(),
            manifest: Location::manifest(manifest.subject()).key()?.to_string(),
        })
    }

    fn to_bytes(&self) -> Vec<u8> {
        // Text always serializes.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Why a reference could not be written or followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// An id makes a key that is too long.
    #[error(transparent)]
    Key(#[from] KeyTooLong),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What became of a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ensured {
    /// It is new.
    Written,
    /// It was there.
    There,
    /// Something else stood in its place and was replaced.
    Repaired,
}

/// Makes sure that the reference to the pack with this manifest is there.
///
/// # Errors
/// As the store fails: the pack is found all the same, by a scan.
pub async fn ensure(
    sink: &dyn ArtifactSink,
    keeper: &dyn Housekeeping,
    manifest: &Manifest,
) -> Result<Ensured, ReferenceError> {
    let pack_id = manifest.pack_id();
    let key = Location::Reference { pack_id }.key()?;
    let bytes = Document::of(manifest)?.to_bytes();
    let declared = Declared::of(&bytes);
    let put = async || sink.put(&key, bytes.clone().into(), declared.clone()).await;
    match put().await {
        Ok(receipt) if receipt.outcome == Outcome::Created => Ok(Ensured::Written),
        Ok(_) => Ok(Ensured::There),
        Err(StoreError::AlreadyExists { .. }) => {
            let mut there = keeper.holdings(&KeyPrefix::of(&key));
            while let Some(holding) = there.next().await {
                let holding = holding?;
                if holding.key == key.as_str() {
                    keeper.remove(&holding).await?;
                }
            }
            put().await?;
            Ok(Ensured::Repaired)
        }
        Err(error) => Err(error.into()),
    }
}

/// Where a pack was found. Nothing of it is verified but its id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// Whose pack it is, where the store has its files.
    pub subject: Option<Subject>,
    /// Its bundle, where the store has it as one.
    pub bundle: Option<ObjectKey>,
}

impl Found {
    fn is_nothing(&self) -> bool {
        self.subject.is_none() && self.bundle.is_none()
    }
}

/// Finds the pack with this id: by its reference, and else by looking through at most `entries_max` objects.
///
/// # Errors
/// [`StoreError::NotFound`] where it is not there, or not among so many objects; as the store fails.
pub async fn resolve(
    reader: &Arc<dyn ArtifactReader>,
    pack_id: PackId,
    limits: &Limits,
    entries_max: usize,
) -> Result<Found, ReferenceError> {
    let referred = match follow(reader, pack_id, limits).await {
        // A hint that cannot be read is none. A store that is away says so when it is looked through, and a replica that
        // stands in for one cannot tell that it has no reference.
        Err(ReferenceError::Store(error)) if error.is_retryable() => Found::default(),
        referred => referred?,
    };
    if !referred.is_nothing() {
        return Ok(referred);
    }
    let found = scan(reader, pack_id, limits, entries_max).await?;
    if found.is_nothing() {
        return Err(StoreError::NotFound {
            key: pack_id.to_string(),
        }
        .into());
    }
    Ok(found)
}

/// Where the reference to this pack leads; nowhere where there is none, or where it leads to no such pack.
///
/// # Errors
/// As the store fails.
pub async fn follow(
    reader: &Arc<dyn ArtifactReader>,
    pack_id: PackId,
    limits: &Limits,
) -> Result<Found, ReferenceError> {
    let key = Location::Reference { pack_id }.key()?;
    let read = read_capped(&**reader, &key.into(), REFERENCE_BYTES_MAX).await;
    let bytes = match read {
        Ok(bytes) => bytes.unwrap_or_default(),
        Err(StoreError::NotFound { .. } | StoreError::Unsafe { .. }) => return Ok(Found::default()),
        Err(error) => return Err(error.into()),
    };
    let document = serde_json::from_slice::<Document>(&bytes).ok();
    let Some(document) = document.filter(|document| document.format == FORMAT) else {
        return Ok(Found::default());
    };
    let mut found = Found::default();
    if let Some(subject) = Location::parse(&document.manifest).and_then(|l| l.manifest_subject())
        && has_manifest(reader, &subject, pack_id, limits).await?
    {
        found.subject = Some(subject);
    }
    if let Some(location) = document.bundle.as_deref().and_then(Location::parse)
        && matches!(location, Location::Bundle { pack_id: named, .. } if named == pack_id)
    {
        let key = location.key()?;
        match reader.stat(&key.clone().into()).await {
            Ok(_) => found.bundle = Some(key),
            Err(StoreError::NotFound { .. }) => {}
            // Its files are there. A replica that stands in for its store cannot tell that there is no bundle.
            Err(_) if found.subject.is_some() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

/// Whether a version of the manifest of `subject` is the pack's.
async fn has_manifest(
    reader: &Arc<dyn ArtifactReader>,
    subject: &Subject,
    pack_id: PackId,
    limits: &Limits,
) -> Result<bool, ReferenceError> {
    let key = Location::manifest(subject).key()?;
    for version in reader.versions(&key).await? {
        let object = ObjectRef {
            key: key.clone(),
            version: version.version,
        };
        let read = read_capped(&**reader, &object, limits.manifest_bytes_max).await;
        match read {
            Ok(Some(bytes)) if Digest::of(&bytes) == *pack_id.digest() => return Ok(true),
            Ok(_) | Err(StoreError::NotFound { .. } | StoreError::Unsafe { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

/// Looks through at most `entries_max` objects for the pack with this id. It costs what it says: whoever lets others ask
/// for it bounds how often.
///
/// # Errors
/// As the store fails.
pub async fn scan(
    reader: &Arc<dyn ArtifactReader>,
    pack_id: PackId,
    limits: &Limits,
    entries_max: usize,
) -> Result<Found, ReferenceError> {
    let mut found = Found::default();
    let candidates = reader
        .list(&KeyPrefix::all())
        .take(entries_max)
        .try_filter_map(async |entry| Ok(Location::parse(&entry.key)));
    let looked = candidates.map(|location| async {
        let location = location?;
        if let Location::Bundle { pack_id: named, .. } = &location {
            let key = (*named == pack_id).then(|| location.key()).transpose()?;
            return Ok::<_, ReferenceError>((None, key));
        }
        match location.manifest_subject() {
            Some(subject) if has_manifest(reader, &subject, pack_id, limits).await? => {
                Ok((Some(subject), None))
            }
            _ => Ok((None, None)),
        }
    });
    let mut looked = std::pin::pin!(looked.buffer_unordered(SCAN_IN_FLIGHT));
    while let Some(looked) = looked.next().await {
        let (subject, bundle) = looked?;
        found.subject = found.subject.or(subject);
        found.bundle = found.bundle.or(bundle);
        if found.subject.is_some() && found.bundle.is_some() {
            break;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
