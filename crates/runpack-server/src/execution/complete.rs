//! The end of an execution: logs put together, `metadata.json`, and the manifest over all of it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, future, stream};
use runpack_core::commitment::{ChunkHasher, Content};
use runpack_core::digest::{Digest, Hasher};
use runpack_core::display::chain;
use runpack_core::id::{ExecutionId, PackId};
use runpack_core::key::{Location, Log};
use runpack_core::manifest::{Artifact, Labels, Manifest, Text};
use runpack_core::name::ArtifactName;
use runpack_core::pack::{self, CommittedPack};
use runpack_core::progress::Progress;
use runpack_core::reference;
use runpack_core::store::{Declared, Housekeeping, StoreError};
use runpack_core::time::Timestamp;
use runpack_core::verify::{Container, StorePack};
use serde::{Deserialize, Serialize};

use super::log::{PARTS_IN_FLIGHT, Part};
use super::memory::lock;
use super::{ExecutionError, Executions, Expected, Opening, Uploaded};
use crate::bytes_of;
use crate::once::{self, Stands};
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

/// What belongs to an execution, as it is now.
#[derive(Debug, Default)]
struct Contents {
    uploads: Vec<Uploaded>,
    logs: Vec<Composed>,
    /// Artifacts whose bytes were held against what was expected, by their commitments.
    proven: BTreeSet<Digest>,
}

/// A log in one piece.
#[derive(Debug)]
struct Composed {
    log: Log,
    parts: Vec<Part>,
    staged: Staged,
}

impl Contents {
    fn artifacts(&self) -> Result<Vec<Artifact>, ExecutionError> {
        let uploads = self.uploads.iter().map(|upload| {
            upload.to_artifact().ok_or_else(|| ExecutionError::Damaged {
                key: upload.name.to_string(),
                reason: "its note cannot be right",
            })
        });
        let logs = self
            .logs
            .iter()
            .map(|one| log_artifact(one.log, &one.staged));
        uploads.chain(logs).collect()
    }
}

impl Executions {
    /// Ends an execution. The same end again is success and goes on where an earlier call stopped.
    ///
    /// # Errors
    /// [`ExecutionError::Ended`] where it ended otherwise; [`ExecutionError::Unexpected`] where what was uploaded is not
    /// what `expected` says, or makes no pack, and then it stays open; as the store fails.
    pub async fn end(
        self: &Arc<Self>,
        id: &ExecutionId,
        ending: &Ending,
        expected: &Expected,
        by: &str,
    ) -> Result<Completed, ExecutionError> {
        let remembered = self.memory.of(id);
        let _one = remembered.ending.lock().await;
        let opening = self.opening(id).await?;
        let earlier = self.metadata(id).await?;
        if let Some(earlier) = &earlier {
            agree(earlier, ending)?;
            if let Some(manifest) = self.manifest(id).await? {
                let mut proven = BTreeSet::new();
                self.check(id, expected, manifest.artifacts(), &mut proven)
                    .await?;
                self.settle(id, &manifest).await;
                return Ok(Completed {
                    metadata: earlier.clone(),
                    pack_id: Some(manifest.pack_id()),
                    is_new: false,
                });
            }
        }
        let mut contents = Contents::default();
        let (metadata, is_new) = if let Some(earlier) = earlier {
            (earlier, false)
        } else {
            let metadata = self.metadata_of(id, opening, ending, by);
            if ending.result.is_some() {
                // Before the end is written: what can be no pack stays open.
                contents = self.gather(id, contents).await?;
                self.draft(id, &metadata, expected, &mut contents).await?;
            }
            self.decide(metadata, ending).await?
        };
        if ending.result.is_none() {
            return Ok(Completed {
                metadata,
                pack_id: None,
                is_new,
            });
        }
        // What came meanwhile is a part of it: whoever was told so wrote it before the end was there.
        let mut contents = self.gather(id, contents).await?;
        for composed in &mut contents.logs {
            self.place(id, composed).await?;
        }
        let manifest = self.draft(id, &metadata, expected, &mut contents).await?;
        let manifest = self.commit(id, manifest).await?;
        self.settle(id, &manifest).await;
        Ok(Completed {
            metadata,
            pack_id: Some(manifest.pack_id()),
            is_new,
        })
    }

    /// What belongs to it now. Of what was gathered before, what has not changed is not read again.
    async fn gather(
        self: &Arc<Self>,
        id: &ExecutionId,
        before: Contents,
    ) -> Result<Contents, ExecutionError> {
        let uploads = self.uploads(id, before.uploads).await?;
        self.check_there(id, &uploads).await?;
        let mut composed = before.logs;
        let mut logs = Vec::new();
        for log in Log::ALL {
            let parts = self.log_parts(id, log).await?;
            if parts.is_empty() {
                continue;
            }
            let known = composed
                .iter()
                .position(|one| one.log == log && one.parts == parts);
            logs.push(match known {
                Some(at) => composed.swap_remove(at),
                None => self.compose(id, log, parts).await?,
            });
        }
        Ok(Contents {
            uploads,
            logs,
            proven: before.proven,
        })
    }

    /// The manifest of what was gathered, which is what was expected.
    async fn draft(
        &self,
        id: &ExecutionId,
        metadata: &Metadata,
        expected: &Expected,
        contents: &mut Contents,
    ) -> Result<Manifest, ExecutionError> {
        let mut artifacts = contents.artifacts()?;
        self.check(id, expected, &artifacts, &mut contents.proven)
            .await?;
        artifacts.push(metadata_artifact(metadata)?);
        self.manifest_of(id, metadata.ended_at, artifacts)
    }

    pub(super) fn manifest_of(
        &self,
        id: &ExecutionId,
        created_at: Timestamp,
        mut artifacts: Vec<Artifact>,
    ) -> Result<Manifest, ExecutionError> {
        artifacts.sort_by(|a, b| a.name().cmp(b.name()));
        Ok(Manifest::new(
            Self::subject(id),
            created_at,
            self.producer.clone(),
            artifacts,
            Labels::new(),
            &self.pack_limits,
        )?)
    }

    /// Brings a log to its place. Where an earlier call has put it there, it stays as it is: parts that were under way when
    /// the execution ended, and whose writers were told so, are not in it.
    async fn place(
        self: &Arc<Self>,
        id: &ExecutionId,
        composed: &mut Composed,
    ) -> Result<(), ExecutionError> {
        let key = Self::artifact(id, &log_name(composed.log)?)?;
        match once::send(&*self.store, self.keeper(), &key, &composed.staged).await {
            Ok(_) => return Ok(()),
            Err(StoreError::AlreadyExists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let (_, there) = self.store.oldest(&key).await?;
        let parts = composed.parts.iter().copied();
        let parts: Vec<Part> = parts.take_while(|part| part.end() <= there).collect();
        let shorter = self.compose(id, composed.log, parts).await?;
        once::send(&*self.store, self.keeper(), &key, &shorter.staged)
            .await
            .map_err(|error| match error {
                StoreError::AlreadyExists { .. } => ExecutionError::Damaged {
                    key: key.to_string(),
                    reason: "it is not what its parts make",
                },
                error => error.into(),
            })?;
        *composed = shorter;
        Ok(())
    }

    async fn commit(
        &self,
        id: &ExecutionId,
        manifest: Manifest,
    ) -> Result<Arc<Manifest>, ExecutionError> {
        // Everything is in its place: the copy finds each artifact to be what it must be, and sends nothing.
        let reader = Arc::clone(&self.store);
        let container: Arc<dyn Container> = Arc::new(StorePack::new(reader, Self::subject(id)));
        let progress = Arc::new(Progress::default());
        let staged = pack::copy(
            &container,
            &Arc::new(manifest),
            &self.store,
            &self.pack_limits,
            &progress,
        )
        .await?;
        let CommittedPack { manifest, .. } = staged.commit().await?;
        Ok(manifest)
    }

    /// What is done with a committed pack besides: it is found by its id, and what was live goes.
    async fn settle(&self, id: &ExecutionId, manifest: &Manifest) {
        let Some(keeper) = &self.keeper else { return };
        if let Err(error) = reference::ensure(&*self.store, &**keeper, manifest).await {
            tracing::warn!(
                error = chain(&error),
                "an execution is a pack, and its reference could not be written; a scan finds it"
            );
        }
        self.clear(id, &**keeper).await;
    }

    fn metadata_of(
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
    async fn decide(
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
        let damaged = |reason| ExecutionError::Damaged {
            key: upload.name.to_string(),
            reason,
        };
        match self.store.stat(&key.into()).await {
            Ok(stat) if stat.bytes == upload.bytes => Ok(()),
            Ok(_) => Err(damaged("it is not of its size any more")),
            Err(StoreError::NotFound { .. }) => Err(damaged("it is not there any more")),
            Err(error) => Err(error.into()),
        }
    }

    /// A log in one piece, of these parts.
    async fn compose(
        self: &Arc<Self>,
        id: &ExecutionId,
        log: Log,
        parts: Vec<Part>,
    ) -> Result<Composed, ExecutionError> {
        let each = parts.clone().into_iter().map(|part| {
            let (executions, id) = (Arc::clone(self), id.clone());
            async move { executions.log_part(&id, log, part).await }
        });
        let pieces = stream::iter(each).buffered(PARTS_IN_FLIGHT);
        // What servers that do not know of each other have let in is kept all the same.
        let bytes_max = self.limits.log_bytes_max.saturating_mul(2);
        let staged = self.staging.receive(pieces, bytes_max).await;
        let staged = staged.map_err(|error| match error {
            ReceiveError::Body(error) => error,
            ReceiveError::Staging(error) => error.into(),
            ReceiveError::TooLarge { bytes_max } => {
                ExecutionError::TooMuch(format!("a log has at most {bytes_max} bytes"))
            }
        })?;
        Ok(Composed { log, parts, staged })
    }

    /// Removes what was live and is in the pack now. The opening stays: it says whose the execution is.
    ///
    /// Not before the manifest is in the store itself: behind a spool it may be on its way.
    async fn clear(&self, id: &ExecutionId, keeper: &dyn Housekeeping) {
        let Ok(manifest) = Location::manifest(&Self::subject(id)).key() else {
            return;
        };
        if keeper.oldest(&manifest).await.is_err() {
            lock(&self.memory.uncleared).insert(id.clone());
            return;
        }
        lock(&self.memory.uncleared).remove(id);
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

    /// Removes what was live of executions whose packs had not reached the store when they ended.
    pub async fn sweep(&self) {
        let Some(keeper) = &self.keeper else { return };
        let left: Vec<_> = lock(&self.memory.uncleared).iter().cloned().collect();
        for id in left {
            self.clear(&id, &**keeper).await;
        }
    }

    /// That artifacts are what was expected. Where an artifact is named all artifacts are, and likewise logs: what the
    /// store added is not taken for the client's.
    async fn check(
        &self,
        id: &ExecutionId,
        expected: &Expected,
        artifacts: &[Artifact],
        proven: &mut BTreeSet<Digest>,
    ) -> Result<(), ExecutionError> {
        for (name, sha256) in expected {
            let artifact = artifacts.iter().find(|artifact| artifact.name() == name);
            let artifact = artifact.ok_or_else(|| {
                ExecutionError::Unexpected(format!("it was not uploaded, name=`{name}`"))
            })?;
            let is_it = match artifact.content() {
                Content::Whole(digest) => digest == sha256,
                Content::Chunks(_) if proven.contains(&artifact.commitment()) => true,
                // The digest of the whole is the store's word: the bytes are.
                Content::Chunks(_) => self.has_sha256(id, artifact, sha256).await?,
            };
            if !is_it {
                return Err(ExecutionError::Unexpected(format!(
                    "it has other bytes, name=`{name}`"
                )));
            }
            proven.insert(artifact.commitment());
        }
        for folder in ["artifacts/", "logs/"] {
            let is_in = |name: &ArtifactName| name.as_str().starts_with(folder);
            if !expected.keys().any(is_in) {
                continue;
            }
            let mut names = artifacts.iter().map(Artifact::name);
            if let Some(name) = names.find(|name| is_in(name) && !expected.contains_key(*name)) {
                return Err(ExecutionError::Unexpected(format!(
                    "it was not expected, and others in `{folder}` were, name=`{name}`"
                )));
            }
        }
        Ok(())
    }

    /// Whether the bytes that the manifest commits to have this SHA-256 as a whole.
    async fn has_sha256(
        &self,
        id: &ExecutionId,
        artifact: &Artifact,
        sha256: &Digest,
    ) -> Result<bool, ExecutionError> {
        let (object, _) = self
            .store
            .oldest(&Self::artifact(id, artifact.name())?)
            .await?;
        let range = 0..artifact.bytes().saturating_add(1);
        let mut body = self.store.open(&object, range).await?;
        let (mut chunks, mut whole) = (ChunkHasher::new(), Hasher::new());
        while let Some(piece) = body.next().await {
            let piece = piece?;
            chunks.update(&piece);
            whole.update(&piece);
        }
        let (content, _) = chunks.finish();
        Ok(content == *artifact.content() && whole.finish() == *sha256)
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
