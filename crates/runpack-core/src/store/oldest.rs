//! The oldest version of an object: what the object is where its key says nothing of the bytes under it.
//!
//! Invariants: whoever reads and whoever acknowledges a write look at the same version; a version that cannot be asked for
//! because the store that named it is away is looked for again, as another store may have it under a name of its own.

use std::ops::Range;

use super::{
    ArtifactReader, Declared, ObjectBody, ObjectRef, Outcome, Receipt, StoreError, collect_capped,
};
use crate::commitment::ChunkHasher;
use crate::key::ObjectKey;

/// Opens a range of the oldest version, and says which that is.
///
/// # Errors
/// As [`ArtifactReader::oldest`] and [`ArtifactReader::open`].
pub(crate) async fn open_oldest(
    reader: &dyn ArtifactReader,
    key: &ObjectKey,
    range: Range<u64>,
) -> Result<(ObjectRef, ObjectBody), StoreError> {
    let (object, _) = reader.oldest(key).await?;
    open_named(reader, object, range).await
}

/// Opens a range of what was the oldest version when it was looked for, and says which is.
///
/// # Errors
/// As [`open_oldest`].
pub(crate) async fn open_named(
    reader: &dyn ArtifactReader,
    object: ObjectRef,
    range: Range<u64>,
) -> Result<(ObjectRef, ObjectBody), StoreError> {
    let error = match reader.open(&object, range.clone()).await {
        Ok(body) => return Ok((object, body)),
        Err(error) if error.is_retryable() => error,
        Err(error) => return Err(error),
    };
    let (again, _) = reader.oldest(&object.key).await?;
    if again == object {
        return Err(error);
    }
    let body = reader.open(&again, range).await?;
    Ok((again, body))
}

/// Reads the whole of the oldest version, of at most `bytes_max` bytes. Where its bytes stop coming it is read once more.
///
/// # Errors
/// As [`open_oldest`]. `Ok(None)` where it is larger.
pub(crate) async fn read_oldest(
    reader: &dyn ArtifactReader,
    key: &ObjectKey,
    bytes_max: u64,
) -> Result<Option<Vec<u8>>, StoreError> {
    let range = 0..bytes_max.saturating_add(1);
    let (object, body) = open_oldest(reader, key, range.clone()).await?;
    match collect_capped(body, bytes_max).await {
        Err(error) if error.is_retryable() => {
            let (_, body) = open_named(reader, object, range).await?;
            collect_capped(body, bytes_max).await
        }
        read => read,
    }
}

/// Makes sure that a write which the store took is what is read from now on. In a store with versions several creates may
/// win, and one may have come after a version that a delete marker hides: the oldest counts, so ours does only if that is
/// ours or says the same.
///
/// # Errors
/// [`StoreError::AlreadyExists`] where it says something else; as [`ArtifactReader::oldest`] and [`ArtifactReader::open`].
pub async fn confirm_oldest(
    reader: &dyn ArtifactReader,
    receipt: &Receipt,
    declared: &Declared,
) -> Result<(), StoreError> {
    let (oldest, bytes) = reader.oldest(&receipt.key).await?;
    if oldest.version == receipt.version {
        return Ok(());
    }
    let theirs = measure(reader, &oldest, declared).await?;
    if theirs == *declared && bytes == declared.bytes {
        return Ok(());
    }
    Err(StoreError::AlreadyExists {
        key: receipt.key.to_string(),
        ours: declared.commitment(),
        theirs: theirs.commitment(),
    })
}

/// What became of a write where the oldest version counts: it may have been taken in vain ([`confirm_oldest`]), and it may
/// have been refused for what somebody wrote over the very same.
///
/// # Errors
/// As [`confirm_oldest`], and as the write failed.
pub(crate) async fn settle_by_oldest(
    reader: &dyn ArtifactReader,
    key: &ObjectKey,
    declared: &Declared,
    written: Result<Receipt, StoreError>,
) -> Result<Receipt, StoreError> {
    let refused = match written {
        Ok(receipt) => {
            confirm_oldest(reader, &receipt, declared).await?;
            return Ok(receipt);
        }
        Err(refused @ StoreError::AlreadyExists { .. }) => refused,
        Err(error) => return Err(error),
    };
    let (oldest, bytes) = reader.oldest(key).await?;
    if bytes != declared.bytes || measure(reader, &oldest, declared).await? != *declared {
        return Err(refused);
    }
    Ok(Receipt {
        version: oldest.version,
        ..Receipt::new(key.clone(), declared, Outcome::AlreadyThere)
    })
}

/// What a version is; of one that is larger than declared so much that it shows.
async fn measure(
    reader: &dyn ArtifactReader,
    object: &ObjectRef,
    declared: &Declared,
) -> Result<Declared, StoreError> {
    let range = 0..declared.bytes.saturating_add(1);
    let mut body = reader.open(object, range).await?;
    let mut hasher = ChunkHasher::new();
    while let Some(piece) = body.next().await {
        hasher.update(&piece?);
    }
    let (content, bytes) = hasher.finish();
    Ok(Declared::new(bytes, content))
}
