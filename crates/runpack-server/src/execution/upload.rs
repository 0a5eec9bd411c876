//! Artifacts of an execution that runs: each goes to its place in the store at once, with a note of what it is.
//!
//! The note is what the manifest is made from, so that nothing has to be hashed again. An artifact without its note (a server
//! died in between) is found to be there when it is sent again.

use bytes::Bytes;
use futures_util::StreamExt as _;
use runpack_core::commitment::Content;
use runpack_core::digest::Digest;
use runpack_core::id::ExecutionId;
use runpack_core::key::{LiveObject, Location};
use runpack_core::manifest::{Artifact, Kind, MediaType, Text};
use runpack_core::name::ArtifactName;
use runpack_core::store::{Declared, ObjectRef, Outcome, StoreError};
use serde::{Deserialize, Serialize};

use super::{ExecutionError, Executions};
use crate::bytes_of;
use crate::staging::Staged;

const FORMAT: &str = "runpack-execution-upload/v1";
/// A note has the digests of the chunks of a large artifact: 65 bytes for each 8 MiB.
const NOTE_BYTES_MAX: u64 = 256 << 20;

/// An artifact to be.
#[derive(Debug, Clone)]
pub struct NewUpload {
    /// The name in the pack; it begins with `artifacts/`.
    pub name: ArtifactName,
    /// The original file name, where it differs.
    pub title: Option<Text<1024>>,
    /// What kind of artifact it is.
    pub kind: Kind,
    /// The media type.
    pub media_type: MediaType,
}

/// A note of an artifact that was uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uploaded {
    format: String,
    /// The name in the pack.
    pub name: ArtifactName,
    /// The original file name, where it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<Text<1024>>,
    /// What kind of artifact it is.
    pub kind: Kind,
    /// The media type.
    pub media_type: MediaType,
    /// The size.
    pub bytes: u64,
    /// The SHA-256 of all of it.
    pub sha256: Digest,
    /// The SHA-256 of each 8 MiB, where it has more than one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    chunks: Vec<Digest>,
}

impl Uploaded {
    fn new(upload: NewUpload, staged: &Staged) -> Self {
        let chunks = match &staged.declared.content {
            Content::Whole(_) => Vec::new(),
            content @ Content::Chunks(_) => content.chunks().to_vec(),
        };
        Self {
            format: FORMAT.to_owned(),
            name: upload.name,
            title: upload.title,
            kind: upload.kind,
            media_type: upload.media_type,
            bytes: staged.declared.bytes,
            sha256: staged.sha256,
            chunks,
        }
    }

    fn content(&self) -> Content {
        if self.chunks.is_empty() {
            Content::Whole(self.sha256)
        } else {
            Content::from_chunks(self.chunks.clone())
        }
    }

    /// The artifact as the manifest lists it; `None` where the note cannot be right.
    pub(super) fn to_artifact(&self) -> Option<Artifact> {
        let (name, kind, media) = (
            self.name.clone(),
            self.kind.clone(),
            self.media_type.clone(),
        );
        let made = Artifact::new(name, kind, media, self.bytes, self.content()).ok()?;
        let made = match &self.title {
            Some(title) => made.with_title(title.clone()),
            None => made,
        };
        Some(if self.chunks.is_empty() {
            made
        } else {
            made.with_claimed_sha256(self.sha256)
        })
    }
}

impl Executions {
    /// Brings an artifact to its place. The same bytes again are success.
    ///
    /// # Errors
    /// [`ExecutionError::Uploaded`] where other bytes are there; the execution has ended; as the store fails.
    pub async fn upload(
        &self,
        id: &ExecutionId,
        upload: NewUpload,
        staged: &Staged,
    ) -> Result<(Uploaded, Outcome), ExecutionError> {
        self.running(id).await?;
        let name = upload.name.clone();
        let taken = |error| match error {
            StoreError::AlreadyExists { .. } => ExecutionError::Uploaded(name.clone()),
            error => error.into(),
        };
        let note = Uploaded::new(upload, staged);
        staged
            .send(&*self.store, &Self::artifact(id, &name)?)
            .await
            .map_err(taken)?;
        let key = Self::live(
            id,
            LiveObject::Upload {
                name: Digest::of(name.as_str().as_bytes()),
            },
        )?;
        // Texts and numbers always serialize.
        let bytes = Bytes::from(serde_json::to_vec(&note).unwrap_or_default());
        let declared = Declared::of(&bytes);
        let receipt = self.store.put(&key, bytes, declared).await.map_err(taken)?;
        Ok((note, receipt.outcome))
    }

    /// What was uploaded, by name.
    pub(super) async fn uploads(&self, id: &ExecutionId) -> Result<Vec<Uploaded>, ExecutionError> {
        let mut keys = Vec::new();
        let mut entries = self.store.list(&Location::live_uploads_prefix(id));
        while let Some(entry) = entries.next().await {
            let location = Location::parse(&entry?.key);
            let Some(Location::Live {
                object: LiveObject::Upload { name },
                ..
            }) = location
            else {
                continue;
            };
            keys.push((name, Self::live(id, LiveObject::Upload { name })?));
            if keys.len() > self.limits.artifacts_max {
                return Err(ExecutionError::TooMuch(format!(
                    "an execution has at most {} artifacts",
                    self.limits.artifacts_max
                )));
            }
        }
        let notes = futures_util::stream::iter(keys).map(|(name, key)| async move {
            let object = ObjectRef::from(key.clone());
            let bytes = bytes_of(&*self.store, &object, NOTE_BYTES_MAX).await?;
            let note = bytes.and_then(|bytes| serde_json::from_slice::<Uploaded>(&bytes).ok());
            note.filter(|note| {
                note.format == FORMAT && Digest::of(note.name.as_str().as_bytes()) == name
            })
            .ok_or_else(|| ExecutionError::Damaged {
                key: key.to_string(),
                reason: "it is no note of an upload",
            })
        });
        let mut notes: Vec<Uploaded> =
            futures_util::TryStreamExt::try_collect(notes.buffer_unordered(16)).await?;
        notes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(notes)
    }
}
