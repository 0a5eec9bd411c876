//! `metadata.json`: how an execution ended. It is written once, and it decides.

use std::fmt;

use bytes::Bytes;
use runpack_core::id::ExecutionId;
use runpack_core::manifest::{Artifact, Text};
use runpack_core::name::ArtifactName;
use runpack_core::store::{Declared, StoreError};
use runpack_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::contents::described;
use super::{ExecutionError, Executions, Opening, named};
use crate::bytes_of;
use crate::once::{self, Stands};

const FORMAT: &str = "runpack-execution/v1";
const METADATA_BYTES_MAX: u64 = 256 << 10;
/// How an execution ended, as its client says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionResult {
    /// Everything passed.
    Passed,
    /// Something failed.
    Failed,
    /// It could not be run to its end.
    Error,
    /// Somebody ended it.
    Cancelled,
}

/// What a client says at the end.
#[derive(Debug, Clone)]
pub struct Ending {
    /// How it ended; `None` where its artifacts could not be brought, which is `artifact_error`.
    pub result: Option<ExecutionResult>,
    /// When it ended, as the client says.
    pub ended_at: Option<Timestamp>,
    /// What the client has to say about it.
    pub message: Option<Text<1024>>,
}

/// `metadata.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    format: String,
    /// Which execution.
    pub execution_id: ExecutionId,
    /// What the client said when it opened it, and since when.
    pub opening: Opening,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Who ended it.
    pub ended_by: String,
    /// `complete` or `artifact_error`.
    pub status: Status,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<ExecutionResult>,
    /// What the client had to say about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Text<1024>>,
}

/// What an execution came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Everything that belongs to it is there.
    Complete,
    /// Something that belongs to it is not.
    ArtifactError,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Status {
    /// The name in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ArtifactError => "artifact_error",
        }
    }
}

impl Executions {
    /// What is to be said of an end.
    pub(super) fn metadata_of(
        &self,
        id: &ExecutionId,
        opening: Opening,
        ending: &Ending,
        by: &str,
    ) -> Metadata {
        Metadata {
            format: FORMAT.to_owned(),
            execution_id: id.clone(),
            started_at: opening.started_at(),
            opening,
            ended_at: ending.ended_at.unwrap_or_else(|| self.clock.now()),
            ended_by: by.to_owned(),
            status: match ending.result {
                Some(_) => Status::Complete,
                None => Status::ArtifactError,
            },
            result: ending.result,
            message: ending.message.clone(),
        }
    }

    /// Writes `metadata.json`, once. From then on nothing is added.
    pub(super) async fn decide(
        &self,
        metadata: Metadata,
        ending: &Ending,
    ) -> Result<(Metadata, bool), ExecutionError> {
        let id = &metadata.execution_id;
        let key = Self::artifact(id, &metadata_name()?)?;
        let bytes = to_bytes(&metadata);
        match once::create(&*self.store, self.keeper(), &key, &bytes).await? {
            (Stands::Ours, _) => return Ok((metadata, true)),
            (Stands::Same, _) => return Ok((metadata, false)),
            (Stands::Other, _) => {}
        }
        let there = self
            .metadata(id)
            .await?
            .ok_or_else(|| damaged_metadata(id))?;
        agree(&there, ending)?;
        Ok((there, false))
    }

    /// What was written of an execution's end; `None` while it runs.
    ///
    /// # Errors
    /// What is there is none; as the store fails.
    pub async fn metadata(&self, id: &ExecutionId) -> Result<Option<Metadata>, ExecutionError> {
        let key = Self::artifact(id, &metadata_name()?)?;
        let object = match self.store.oldest(&key).await {
            Ok((object, _)) => object,
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let bytes = bytes_of(&*self.store, &object, METADATA_BYTES_MAX).await?;
        let metadata = bytes.and_then(|bytes| serde_json::from_slice::<Metadata>(&bytes).ok());
        metadata
            .filter(|metadata| metadata.format == FORMAT && metadata.execution_id == *id)
            .map(Some)
            .ok_or_else(|| damaged_metadata(id))
    }

    /// Whether an execution has ended.
    pub(super) async fn has_ended(&self, id: &ExecutionId) -> Result<bool, ExecutionError> {
        Ok(self.metadata(id).await?.is_some())
    }

    /// That an execution is open and has not ended.
    pub(crate) async fn running(&self, id: &ExecutionId) -> Result<(), ExecutionError> {
        match self.metadata(id).await? {
            None => Ok(()),
            Some(metadata) => Err(ExecutionError::Ended {
                execution_id: id.clone(),
                status: metadata.status.as_str(),
            }),
        }
    }
}

fn to_bytes(metadata: &Metadata) -> Bytes {
    // Texts always serialize.
    serde_json::to_vec(metadata).unwrap_or_default().into()
}

fn damaged_metadata(id: &ExecutionId) -> ExecutionError {
    ExecutionError::Damaged {
        key: format!("executions/{id}/metadata.json"),
        reason: "it is no metadata of this execution",
    }
}

/// That an execution that has ended did so as is said now.
pub(super) fn agree(there: &Metadata, ending: &Ending) -> Result<(), ExecutionError> {
    if there.result == ending.result {
        return Ok(());
    }
    Err(ExecutionError::Ended {
        execution_id: there.execution_id.clone(),
        status: there.status.as_str(),
    })
}

fn metadata_name() -> Result<ArtifactName, ExecutionError> {
    named("metadata.json")
}

pub(super) fn metadata_artifact(metadata: &Metadata) -> Result<Artifact, ExecutionError> {
    let declared = Declared::of(&to_bytes(metadata));
    described(metadata_name()?, "metadata", "application/json", &declared)
}
