//! Objects of pipelines that lie under names and not under commitments: where they are, and how they are read.
//!
//! Invariants: what is read is the oldest version that survives, as it is of a manifest; what somebody wrote over it later
//! is neither taken for it nor hides it; what is written is acknowledged only where it is what is read.

use std::sync::Arc;

use bytes::Bytes;

use crate::id::{PipelineTenant, RunId};
use crate::key::{KeyTooLong, Location, ObjectKey, PipelineObject};
use crate::manifest::RunPart;
use crate::name::NameError;
use crate::store::{
    ArtifactReader, BytesSource, Declared, Receipt, Store, StoreError, read_oldest,
    settle_by_oldest,
};

/// Where a part of a run lies that is named by the run alone.
pub(super) fn key_of(
    tenant: &PipelineTenant,
    run_id: &RunId,
    part: &RunPart,
) -> Result<ObjectKey, StoreError> {
    let object = match part {
        RunPart::Step(step_id) => PipelineObject::StepManifest {
            step_id: step_id.clone(),
        },
        other => PipelineObject::Artifact {
            name: other
                .name()
                .parse()
                .map_err(|error: NameError| StoreError::NotFound {
                    key: format!("({error})"),
                })?,
        },
    };
    let location = Location::Pipeline {
        tenant: tenant.clone(),
        run_id: run_id.clone(),
        object,
    };
    location.key().map_err(|error| too_long(&error))
}

/// A key that cannot be has nothing.
pub(super) fn too_long(error: &KeyTooLong) -> StoreError {
    StoreError::NotFound {
        key: format!("({error})"),
    }
}

/// The bytes of an object; `None` where it is larger than it may be.
pub(super) async fn read(
    store: &dyn ArtifactReader,
    key: &ObjectKey,
    bytes_max: u64,
) -> Result<Option<Vec<u8>>, StoreError> {
    read_oldest(store, key, bytes_max).await
}

/// Writes an object.
///
/// # Errors
/// [`StoreError::AlreadyExists`] where other bytes are what is read of it; as the store fails.
pub(super) async fn write(
    store: &dyn Store,
    key: &ObjectKey,
    bytes: Bytes,
) -> Result<Receipt, StoreError> {
    let declared = Declared::of(&bytes);
    let source = Arc::new(BytesSource(bytes));
    let written = store.send(key, declared.clone(), source).await;
    settle_by_oldest(store, key, &declared, written).await
}
