//! The end of an execution: logs put together, `metadata.json`, and the manifest over all of it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, future};
use runpack_core::commitment::Content;
use runpack_core::id::{ExecutionId, PackId};
use runpack_core::key::{Location, Log};
use runpack_core::manifest::{Artifact, Labels, Manifest, Text};
use runpack_core::name::ArtifactName;
use runpack_core::pack::{self, CommittedPack};
use runpack_core::progress::Progress;
use runpack_core::store::{Declared, StoreError};
use runpack_core::time::Timestamp;
use runpack_core::verify::{Container, StorePack};
use serde::{Deserialize, Serialize};

use super::{ExecutionError, Executions, Expected, Follow, Opening, Uploaded};
use crate::bytes_of;
use crate::staging::{ReceiveError, Staged};

const FORMAT: &str = "runpack-execution/v1";
const METADATA_BYTES_MAX: u64 = 256 << 10;
/// How many artifacts are looked at together.
const LOOKED_AT_ONCE: usize = 32;

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

/// An execution that has ended.
#[derive(Debug, Clone)]
pub struct Completed {
    /// What was written of its end, by this call or an earlier one.
    pub metadata: Metadata,
    /// The pack, unless it ended as `artifact_error`.
    pub pack_id: Option<PackId>,
    /// Whether this call ended it.
    pub is_new: bool,
}

impl Executions {
    /// Ends an execution. The same end again is success and goes on where an earlier call stopped.
    ///
    /// # Errors
    /// [`ExecutionError::Ended`] where it ended otherwise; [`ExecutionError::Unexpected`] where what was uploaded is not
    /// what `expected` says, and then nothing is written; as the store fails.
    pub async fn end(
        self: &Arc<Self>,
        id: &ExecutionId,
        ending: &Ending,
        expected: &Expected,
        by: &str,
    ) -> Result<Completed, ExecutionError> {
        let opening = self.opening(id).await?;
        let earlier = self.metadata(id).await?;
        if let Some(earlier) = &earlier {
            agree(earlier, ending)?;
            if let Some(manifest) = self.manifest(id).await? {
                check(expected, &manifest)?;
                self.clear(id).await;
                return Ok(Completed {
                    metadata: earlier.clone(),
                    pack_id: Some(manifest.pack_id()),
                    is_new: false,
                });
            }
        }
        if ending.result.is_none() {
            let (metadata, is_new) = self.decide(id, &opening, ending, by).await?;
            return Ok(Completed {
                metadata,
                pack_id: None,
                is_new,
            });
        }
        let uploads = self.uploads(id).await?;
        let logs = self.compose_logs(id).await?;
        self.check_there(id, &uploads).await?;
        let mut artifacts = Vec::new();
        for upload in &uploads {
            let artifact = upload
                .to_artifact()
                .ok_or_else(|| ExecutionError::Damaged {
                    key: upload.name.to_string(),
                    reason: "its note cannot be right",
                })?;
            artifacts.push(artifact);
        }
        for (log, staged) in &logs {
            artifacts.push(log_artifact(*log, staged)?);
        }
        check_artifacts(expected, &artifacts)?;
        for (log, staged) in &logs {
            let name = log_name(*log)?;
            staged
                .send(&*self.store, &Self::artifact(id, &name)?)
                .await?;
        }
        let (metadata, is_new) = match earlier {
            Some(earlier) => (earlier, false),
            None => self.decide(id, &opening, ending, by).await?,
        };
        artifacts.push(metadata_artifact(&metadata)?);
        let pack_id = self.commit(id, artifacts, &metadata).await?;
        self.clear(id).await;
        Ok(Completed {
            metadata,
            pack_id: Some(pack_id),
            is_new,
        })
    }

    async fn commit(
        &self,
        id: &ExecutionId,
        mut artifacts: Vec<Artifact>,
        metadata: &Metadata,
    ) -> Result<PackId, ExecutionError> {
        artifacts.sort_by(|a, b| a.name().cmp(b.name()));
        let subject = Self::subject(id);
        let manifest = Arc::new(Manifest::new(
            subject.clone(),
            metadata.ended_at,
            self.producer.clone(),
            artifacts,
            Labels::new(),
            &self.pack_limits,
        )?);
        // Everything is in its place: the copy finds each artifact to be what it must be, and sends nothing.
        let reader = Arc::clone(&self.store);
        let container: Arc<dyn Container> = Arc::new(StorePack::new(reader, subject));
        let progress = Arc::new(Progress::default());
        let staged = pack::copy(
            &container,
            &manifest,
            &self.store,
            &self.pack_limits,
            &progress,
        )
        .await?;
        let CommittedPack { manifest, .. } = staged.commit().await?;
        Ok(manifest.pack_id())
    }

    /// Writes `metadata.json`, once.
    async fn decide(
        &self,
        id: &ExecutionId,
        opening: &Opening,
        ending: &Ending,
        by: &str,
    ) -> Result<(Metadata, bool), ExecutionError> {
        let metadata = Metadata {
            format: FORMAT.to_owned(),
            execution_id: id.clone(),
            opening: opening.clone(),
            started_at: opening.started_at(),
            ended_at: ending.ended_at.unwrap_or_else(|| self.clock.now()),
            ended_by: by.to_owned(),
            status: match ending.result {
                Some(_) => Status::Complete,
                None => Status::ArtifactError,
            },
            result: ending.result,
            message: ending.message.clone(),
        };
        let bytes = to_bytes(&metadata);
        let declared = Declared::of(&bytes);
        let key = Self::artifact(id, &metadata_name()?)?;
        match self.store.put(&key, bytes, declared).await {
            Ok(_) | Err(StoreError::AlreadyExists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let there = self
            .metadata(id)
            .await?
            .ok_or_else(|| damaged_metadata(id))?;
        agree(&there, ending)?;
        let is_new = there == metadata;
        Ok((there, is_new))
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
    pub(super) async fn running(&self, id: &ExecutionId) -> Result<(), ExecutionError> {
        match self.metadata(id).await? {
            None => Ok(()),
            Some(metadata) => Err(ExecutionError::Ended {
                execution_id: id.clone(),
                status: metadata.status.as_str(),
            }),
        }
    }

    /// That what was uploaded is still there, of its size.
    async fn check_there(
        &self,
        id: &ExecutionId,
        uploads: &[Uploaded],
    ) -> Result<(), ExecutionError> {
        for some in uploads.chunks(LOOKED_AT_ONCE) {
            let looked = some.iter().map(|upload| self.look(id, upload));
            future::try_join_all(looked).await?;
        }
        Ok(())
    }

    async fn look(&self, id: &ExecutionId, upload: &Uploaded) -> Result<(), ExecutionError> {
        let key = Self::artifact(id, &upload.name)?;
        let stat = self.store.stat(&key.into()).await?;
        if stat.bytes == upload.bytes {
            return Ok(());
        }
        Err(ExecutionError::Damaged {
            key: upload.name.to_string(),
            reason: "it is not of its size any more",
        })
    }

    /// The logs that were written, each in one piece.
    async fn compose_logs(
        self: &Arc<Self>,
        id: &ExecutionId,
    ) -> Result<Vec<(Log, Staged)>, ExecutionError> {
        let mut logs = Vec::new();
        for log in Log::ALL {
            if self.log_parts(id, log).await?.is_empty() {
                continue;
            }
            let pieces = Arc::clone(self).live_log(id.clone(), log, 0, Follow::No);
            let received = self.staging.receive(pieces, self.limits.log_bytes_max);
            let staged = received.await.map_err(|error| match error {
                ReceiveError::Body(error) => error,
                ReceiveError::Staging(error) => error.into(),
                ReceiveError::TooLarge { bytes_max } => {
                    ExecutionError::TooMuch(format!("a log has at most {bytes_max} bytes"))
                }
            })?;
            logs.push((log, staged));
        }
        Ok(logs)
    }

    /// Removes what was live and is in the pack now. The opening stays: it says whose the execution is.
    async fn clear(&self, id: &ExecutionId) {
        let Some(keeper) = &self.keeper else { return };
        let prefix = Location::live_prefix(Some(id));
        let mut holdings = keeper.holdings(&prefix);
        while let Some(holding) = holdings.next().await {
            let Ok(holding) = holding else { return };
            if holding.key.starts_with(prefix.as_str()) && !holding.key.ends_with("/opening.json") {
                // What stays harms nobody.
                let _ = keeper.remove(&holding).await;
            }
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
fn agree(there: &Metadata, ending: &Ending) -> Result<(), ExecutionError> {
    if there.result == ending.result {
        return Ok(());
    }
    Err(ExecutionError::Ended {
        execution_id: there.execution_id.clone(),
        status: there.status.as_str(),
    })
}

fn check(expected: &Expected, manifest: &Manifest) -> Result<(), ExecutionError> {
    check_artifacts(expected, manifest.artifacts())
}

fn check_artifacts(expected: &Expected, artifacts: &[Artifact]) -> Result<(), ExecutionError> {
    for (name, sha256) in expected {
        let artifact = artifacts.iter().find(|artifact| artifact.name() == name);
        let found = artifact.map(|artifact| match artifact.content() {
            Content::Whole(digest) => Some(*digest),
            Content::Chunks(_) => artifact.claimed_sha256().copied(),
        });
        match found {
            Some(Some(found)) if found == *sha256 => {}
            Some(_) => {
                return Err(ExecutionError::Unexpected(format!(
                    "it has other bytes, name=`{name}`"
                )));
            }
            None => {
                return Err(ExecutionError::Unexpected(format!(
                    "it was not uploaded, name=`{name}`"
                )));
            }
        }
    }
    Ok(())
}

fn named(text: &str) -> Result<ArtifactName, ExecutionError> {
    text.parse()
        .map_err(|_| ExecutionError::Unexpected(format!("it is no artifact name, name=`{text}`")))
}

fn metadata_name() -> Result<ArtifactName, ExecutionError> {
    named("metadata.json")
}

pub(super) fn log_name(log: Log) -> Result<ArtifactName, ExecutionError> {
    named(&format!("logs/{}", log.file_name()))
}

fn log_artifact(log: Log, staged: &Staged) -> Result<Artifact, ExecutionError> {
    let made = described(log_name(log)?, "log", "text/plain", &staged.declared)?;
    Ok(match staged.declared.content {
        Content::Whole(_) => made,
        Content::Chunks(_) => made.with_claimed_sha256(staged.sha256),
    })
}

fn metadata_artifact(metadata: &Metadata) -> Result<Artifact, ExecutionError> {
    let declared = Declared::of(&to_bytes(metadata));
    described(metadata_name()?, "metadata", "application/json", &declared)
}

fn described(
    name: ArtifactName,
    kind: &str,
    media_type: &str,
    declared: &Declared,
) -> Result<Artifact, ExecutionError> {
    let wrong =
        |error: runpack_core::manifest::GrammarError| ExecutionError::Unexpected(error.to_string());
    let (kind, media_type) = (
        kind.parse().map_err(wrong)?,
        media_type.parse().map_err(wrong)?,
    );
    Artifact::new(
        name,
        kind,
        media_type,
        declared.bytes,
        declared.content.clone(),
    )
    .map_err(wrong)
}
