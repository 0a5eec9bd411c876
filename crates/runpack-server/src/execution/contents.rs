//! What belongs to an execution: artifacts as their notes say, and logs in one piece.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::{StreamExt as _, future, stream};
use runpack_core::commitment::{ChunkHasher, Content};
use runpack_core::digest::{Digest, Hasher};
use runpack_core::id::ExecutionId;
use runpack_core::key::Log;
use runpack_core::manifest::Artifact;
use runpack_core::name::ArtifactName;
use runpack_core::store::{Declared, StoreError};

use super::log::{PARTS_IN_FLIGHT, Part, log_name};
use super::{ExecutionError, Executions, Expected, Uploaded};
use crate::staging::{ReceiveError, Staged};

/// How many artifacts are looked at together.
const LOOKED_AT_ONCE: usize = 32;

/// What belongs to an execution, as it is now.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) uploads: Vec<Uploaded>,
    pub(super) logs: Vec<Composed>,
    /// Artifacts whose bytes were held against what was expected, by their commitments.
    pub(super) proven: BTreeSet<Digest>,
}

/// A log in one piece.
#[derive(Debug)]
pub(super) struct Composed {
    pub(super) log: Log,
    pub(super) parts: Vec<Part>,
    pub(super) staged: Staged,
}

impl Contents {
    pub(super) fn artifacts(&self) -> Result<Vec<Artifact>, ExecutionError> {
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
    /// What belongs to it now. Of what was gathered before, what has not changed is not read again.
    pub(super) async fn gather(
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
    pub(super) async fn compose(
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

    /// That artifacts are what was expected. Where an artifact is named all artifacts are, and likewise logs: what the
    /// store added is not taken for the client's.
    pub(super) async fn check(
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

fn log_artifact(log: Log, staged: &Staged) -> Result<Artifact, ExecutionError> {
    let made = described(log_name(log)?, "log", "text/plain", &staged.declared)?;
    Ok(match staged.declared.content {
        Content::Whole(_) => made,
        Content::Chunks(_) => made.with_claimed_sha256(staged.sha256),
    })
}

pub(super) fn described(
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
