//! The begin of a run: its definition and plan are in the store before its first step.

use std::sync::Arc;

use bytes::Bytes;

use super::definition::{self, DefinitionError};
use super::document::DOCUMENT_BYTES_MAX;
use super::kept::{self, key_of};
use super::plan::Plan;
use super::story::Begun;
use crate::id::{PipelineTenant, RunId};
use crate::manifest::{RunPart, Subject};
use crate::store::{ArtifactReader, Store, StoreError};
use crate::time::Timestamp;

/// Keeps definition and plan of a run that begins, and says how it began. The same again changes nothing.
///
/// # Errors
/// [`StoreError::AlreadyExists`] where the run began with another plan; the definition is too large; as the store fails.
pub async fn begin(
    store: &Arc<dyn Store>,
    tenant: &PipelineTenant,
    run_id: &RunId,
    definition: Bytes,
    plan: &Plan,
    at: Timestamp,
) -> Result<Begun, DefinitionError> {
    store
        .expect(&Subject::Pipeline {
            tenant: tenant.clone(),
            run_id: run_id.clone(),
        })
        .await?;
    let (pipeline_hash, _) = definition::keep(&**store, tenant, definition).await?;
    let key = key_of(tenant, run_id, &RunPart::Plan)?;
    kept::write(&**store, &key, plan.to_bytes().into()).await?;
    Ok(Begun {
        tenant: tenant.clone(),
        run_id: run_id.clone(),
        pipeline_hash,
        plan: plan.sha256(),
        at,
    })
}

/// The bytes of the plan of a run, of which at most a document's are read.
///
/// # Errors
/// [`StoreError::NotFound`] where the run has not begun; as the store fails.
pub async fn plan_bytes(
    store: &dyn ArtifactReader,
    tenant: &PipelineTenant,
    run_id: &RunId,
) -> Result<Option<Vec<u8>>, StoreError> {
    let key = key_of(tenant, run_id, &RunPart::Plan)?;
    kept::read(store, &key, DOCUMENT_BYTES_MAX).await
}
