//! Definitions of pipelines, by their hash: `{tenant}/pipelines/{hash}/definition.yaml`.
//!
//! A definition is bytes: Runpack does not read it. Invariants: it lies where its SHA-256 says, is never replaced, and
//! what is read back is held against its hash.

use bytes::Bytes;

use super::document::DOCUMENT_BYTES_MAX;
use super::kept::{self, too_long};
use crate::count::len_u64;
use crate::digest::Digest;
use crate::id::{PipelineHash, PipelineTenant};
use crate::key::{Location, ObjectKey};
use crate::store::{ArtifactReader, Outcome, Store, StoreError};

/// Why a definition could not be kept or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DefinitionError {
    /// Larger than a definition.
    #[error("a definition has at most 8 MiB, bytes=`{bytes}`")]
    Size {
        /// Its size.
        bytes: u64,
    },
    /// What lies in its place is something else.
    #[error("what lies in the definition's place has another digest, key=`{key}`")]
    Damaged {
        /// The key.
        key: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The hash of a definition.
///
/// # Errors
/// [`DefinitionError::Size`].
pub fn hash(definition: &[u8]) -> Result<PipelineHash, DefinitionError> {
    let bytes = len_u64(definition);
    if bytes > DOCUMENT_BYTES_MAX {
        return Err(DefinitionError::Size { bytes });
    }
    Ok(PipelineHash::new(Digest::of(definition)))
}

fn key(tenant: &PipelineTenant, hash: PipelineHash) -> Result<ObjectKey, StoreError> {
    let location = Location::PipelineDefinition {
        tenant: tenant.clone(),
        definition: *hash.digest(),
    };
    location.key().map_err(|error| too_long(&error))
}

/// Keeps a definition, and tells whether it is new.
///
/// # Errors
/// It is too large; [`DefinitionError::Damaged`] where the store has other bytes in its place; the store fails.
pub async fn keep(
    store: &dyn Store,
    tenant: &PipelineTenant,
    definition: Bytes,
) -> Result<(PipelineHash, Outcome), DefinitionError> {
    let hash = hash(&definition)?;
    let key = key(tenant, hash)?;
    match kept::write(store, &key, definition).await {
        Ok(receipt) => Ok((hash, receipt.outcome)),
        // The key is the hash: no other definition belongs there.
        Err(StoreError::AlreadyExists { .. }) => Err(DefinitionError::Damaged {
            key: key.to_string(),
        }),
        Err(error) => Err(error.into()),
    }
}

/// Reads a definition.
///
/// # Errors
/// It is not there; [`DefinitionError::Damaged`]; the store fails.
pub async fn fetch(
    store: &dyn ArtifactReader,
    tenant: &PipelineTenant,
    hash: PipelineHash,
) -> Result<Bytes, DefinitionError> {
    let key = key(tenant, hash)?;
    match kept::read(store, &key, DOCUMENT_BYTES_MAX).await? {
        Some(bytes) if Digest::of(&bytes) == *hash.digest() => Ok(bytes.into()),
        _ => Err(DefinitionError::Damaged {
            key: key.to_string(),
        }),
    }
}
