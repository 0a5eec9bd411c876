//! Artifacts of an execution that runs: each goes to its place in the store at once, with a note of what it is.
//!
//! The note is what the manifest is made from, so that nothing has to be hashed again. An artifact without its note (a server
//! died in between) is found to be there when it is sent again.

use std::collections::HashMap;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use runpack_core::commitment::Content;
use runpack_core::digest::Digest;
use runpack_core::id::ExecutionId;
use runpack_core::key::{LiveObject, Location};
use runpack_core::manifest::{Artifact, Kind, MediaType, Text};
use runpack_core::name::ArtifactName;
use runpack_core::store::{Outcome, StoreError};
use runpack_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ExecutionError, Executions, memory};
use crate::bytes_of;
use crate::once::{self, Stands};
use crate::staging::Staged;

const FORMAT: &str = "runpack-execution-upload/v1";
/// A note has the digests of the chunks of a large artifact: 65 bytes for each 8 MiB.
const NOTE_BYTES_MAX: u64 = 256 << 20;

const NOTES_IN_FLIGHT: usize = 16;

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
    pub(super) fn new(upload: NewUpload, staged: &Staged) -> Self {
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
    /// [`ExecutionError::Uploaded`] where other bytes are there; the execution has ended, perhaps while it was brought; as
    /// the store fails.
    pub async fn upload(
        &self,
        id: &ExecutionId,
        upload: NewUpload,
        staged: &Staged,
    ) -> Result<(Uploaded, Outcome), ExecutionError> {
        self.running(id).await?;
        let name = upload.name.clone();
        let key = Self::live(
            id,
            LiveObject::Upload {
                name: Digest::of(name.as_str().as_bytes()),
            },
        )?;
        self.may_add(id, &upload, staged).await?;
        let taken = || ExecutionError::Uploaded(name.clone());
        let note = Uploaded::new(upload, staged);
        let at = Self::artifact(id, &name)?;
        once::send(&*self.store, self.keeper(), &at, staged)
            .await
            .map_err(|error| match error {
                StoreError::AlreadyExists { .. } => taken(),
                error => error.into(),
            })?;
        // Texts and numbers always serialize.
        let bytes = Bytes::from(serde_json::to_vec(&note).unwrap_or_default());
        let (stands, _) = once::create(&*self.store, self.keeper(), &key, &bytes).await?;
        let outcome = match stands {
            Stands::Ours => {
                self.memory.of(id).count_artifact();
                Outcome::Created
            }
            Stands::Same => Outcome::AlreadyThere,
            Stands::Other => return Err(taken()),
        };
        // Whoever ends it looks for artifacts after he has written the end: one of the two sees the other.
        self.running(id).await?;
        Ok((note, outcome))
    }

    /// That an artifact may become a part of the pack, as far as it can be told from itself.
    async fn may_add(
        &self,
        id: &ExecutionId,
        upload: &NewUpload,
        staged: &Staged,
    ) -> Result<(), ExecutionError> {
        let limits = &self.pack_limits;
        if staged.declared.bytes > limits.artifact_bytes_max {
            return Err(ExecutionError::TooMuch(format!(
                "an artifact has at most {} bytes",
                limits.artifact_bytes_max
            )));
        }
        let content = staged.declared.content.clone();
        let (name, kind, media) = (&upload.name, &upload.kind, &upload.media_type);
        let (name, kind, media) = (name.clone(), kind.clone(), media.clone());
        let artifact = Artifact::new(name, kind, media, staged.declared.bytes, content);
        let artifact = artifact.map_err(|error| ExecutionError::Unexpected(error.to_string()))?;
        // Alone it makes a manifest: its kind is none that a pack of an execution does not have.
        self.manifest_of(id, Timestamp::EPOCH, vec![artifact])?;
        if self.artifacts(id).await? >= self.limits.artifacts_max {
            return Err(ExecutionError::TooMuch(format!(
                "an execution has at most {} artifacts",
                self.limits.artifacts_max
            )));
        }
        Ok(())
    }

    /// How many artifacts there are, as far as this server knows.
    async fn artifacts(&self, id: &ExecutionId) -> Result<usize, ExecutionError> {
        let remembered = self.memory.of(id);
        if let Some(count) = *memory::lock(&remembered.artifacts) {
            return Ok(count);
        }
        let count = self
            .upload_names(id, self.limits.artifacts_max)
            .await?
            .len();
        *memory::lock(&remembered.artifacts) = Some(count);
        Ok(count)
    }

    /// The digests of the names of what was uploaded; not more than `max` of them.
    async fn upload_names(
        &self,
        id: &ExecutionId,
        max: usize,
    ) -> Result<Vec<Digest>, ExecutionError> {
        let mut names = Vec::new();
        let mut entries = self.store.list(&Location::live_uploads_prefix(id));
        while names.len() < max
            && let Some(entry) = entries.next().await
        {
            if let Some(Location::Live {
                object: LiveObject::Upload { name },
                ..
            }) = Location::parse(&entry?.key)
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// What was uploaded, by name. Notes that are `known` are not read again: they never change.
    pub(super) async fn uploads(
        &self,
        id: &ExecutionId,
        known: Vec<Uploaded>,
    ) -> Result<Vec<Uploaded>, ExecutionError> {
        // Servers that do not know of each other may each have let one in that was too much: it is kept all the same.
        let bound = self.limits.artifacts_max.saturating_mul(2);
        let names = self.upload_names(id, bound).await?;
        let mut known: HashMap<Digest, Uploaded> = known
            .into_iter()
            .map(|note| (Digest::of(note.name.as_str().as_bytes()), note))
            .collect();
        let notes = names.into_iter().map(|name| (name, known.remove(&name)));
        let notes: Vec<_> = notes.collect();
        let notes = futures_util::stream::iter(notes).map(|(name, known)| async move {
            match known {
                Some(note) => Ok(note),
                None => self.note(id, name).await,
            }
        });
        let mut notes: Vec<Uploaded> = notes
            .buffer_unordered(NOTES_IN_FLIGHT)
            .try_collect()
            .await?;
        notes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(notes)
    }

    async fn note(&self, id: &ExecutionId, name: Digest) -> Result<Uploaded, ExecutionError> {
        let key = Self::live(id, LiveObject::Upload { name })?;
        let (object, _) = self.store.oldest(&key).await?;
        let bytes = bytes_of(&*self.store, &object, NOTE_BYTES_MAX).await?;
        let note = bytes.and_then(|bytes| serde_json::from_slice::<Uploaded>(&bytes).ok());
        note.filter(|note| {
            note.format == FORMAT && Digest::of(note.name.as_str().as_bytes()) == name
        })
        .ok_or_else(|| ExecutionError::Damaged {
            key: key.to_string(),
            reason: "it is no note of an upload",
        })
    }
}
