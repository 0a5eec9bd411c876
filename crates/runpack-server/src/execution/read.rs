//! What is to be seen of executions: their state, their artifacts, their logs, and which there are.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use runpack_core::commitment::{CHUNK_BYTES, Content};
use runpack_core::digest::Digest;
use runpack_core::id::{ExecutionId, PackId};
use runpack_core::key::{KeyPrefix, LiveObject, Location, Log, ObjectKey};
use runpack_core::manifest::Manifest;
use runpack_core::name::ArtifactName;
use runpack_core::pin::Pins;
use runpack_core::read::{PinnedPack, ReadError};
use runpack_core::store::StoreError;
use runpack_core::verify::{Pack, StorePack};

use super::log::{Follow, log_name};
use super::{ExecutionError, Executions, Metadata, Opening};
use crate::bytes_of;

/// How many openings are read at once for a list.
const OPENINGS_IN_FLIGHT: usize = 16;

/// How far an execution is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Open,
    /// How it ended is written, and its manifest is not: the call that ended it is to be made again.
    Completing,
    /// It is this pack.
    Complete(PackId),
    /// Something that belongs to it could not be brought.
    ArtifactError,
}

impl State {
    /// The name in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Completing => "completing",
            Self::Complete(_) => "complete",
            Self::ArtifactError => "artifact_error",
        }
    }
}

/// What is known of an execution.
#[derive(Debug, Clone)]
pub struct Status {
    /// Which one.
    pub execution_id: ExecutionId,
    /// How far it is.
    pub state: State,
    /// What was said when it was opened.
    pub opening: Opening,
    /// What was said when it ended.
    pub metadata: Option<Metadata>,
}

/// An artifact of an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The name in the pack.
    pub name: ArtifactName,
    /// Its size.
    pub bytes: u64,
    /// What kind of artifact it is.
    pub kind: String,
    /// The media type.
    pub media_type: String,
    /// The SHA-256 of all of it, where it is known.
    pub sha256: Option<Digest>,
    /// Where it is.
    pub key: ObjectKey,
}

/// A part of a list of executions, in the order in which they were opened.
#[derive(Debug, Clone)]
pub struct ExecutionPage {
    /// What was found.
    pub executions: Vec<(ExecutionId, Opening)>,
    /// After which to go on; `None` at the end.
    pub next: Option<ExecutionId>,
}

impl Executions {
    /// What is known of an execution.
    ///
    /// # Errors
    /// [`ExecutionError::NotFound`]; as the store fails.
    pub async fn status(&self, id: &ExecutionId) -> Result<Status, ExecutionError> {
        let opening = self.opening(id).await?;
        let metadata = self.metadata(id).await?;
        let state = match &metadata {
            None => State::Open,
            Some(metadata) if metadata.result.is_none() => State::ArtifactError,
            Some(_) => match self.manifest(id).await? {
                None => State::Completing,
                Some(manifest) => State::Complete(manifest.pack_id()),
            },
        };
        Ok(Status {
            execution_id: id.clone(),
            state,
            opening,
            metadata,
        })
    }

    /// The manifest; `None` where there is none yet.
    pub(super) async fn manifest(
        &self,
        id: &ExecutionId,
    ) -> Result<Option<Manifest>, ExecutionError> {
        let subject = Self::subject(id);
        let key = Location::manifest(&subject).key()?;
        let object = match self.store.oldest(&key).await {
            Ok((object, _)) => object,
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let bytes_max = self.pack_limits.manifest_bytes_max;
        let bytes = bytes_of(&*self.store, &object, bytes_max).await?;
        let manifest = bytes.and_then(|bytes| Manifest::parse(&bytes, &self.pack_limits).ok());
        manifest
            .filter(|manifest| *manifest.subject() == subject)
            .map(Some)
            .ok_or_else(|| ExecutionError::Damaged {
                key: key.to_string(),
                reason: "it is no manifest of this execution",
            })
    }

    /// The artifacts: of the manifest where it is there, else what was uploaded until now.
    ///
    /// # Errors
    /// As the store fails, or what is there cannot be right.
    pub async fn items(&self, id: &ExecutionId) -> Result<Vec<Item>, ExecutionError> {
        if let Some(manifest) = self.manifest(id).await? {
            let items = manifest.artifacts().iter().map(|artifact| {
                let whole = match artifact.content() {
                    Content::Whole(digest) => Some(*digest),
                    Content::Chunks(_) => artifact.claimed_sha256().copied(),
                };
                Ok(Item {
                    name: artifact.name().clone(),
                    bytes: artifact.bytes(),
                    kind: artifact.kind().to_string(),
                    media_type: artifact.media_type().to_string(),
                    sha256: whole,
                    key: Self::artifact(id, artifact.name())?,
                })
            });
            return items.collect();
        }
        let items = self
            .uploads(id, Vec::new())
            .await?
            .into_iter()
            .map(|upload| {
                Ok(Item {
                    key: Self::artifact(id, &upload.name)?,
                    name: upload.name,
                    bytes: upload.bytes,
                    kind: upload.kind.to_string(),
                    media_type: upload.media_type.to_string(),
                    sha256: Some(upload.sha256),
                })
            });
        items.collect()
    }

    /// The pack that an execution became, for verified reading; `None` while it is none.
    ///
    /// # Errors
    /// As the store fails, or what is there is no manifest.
    pub async fn pack(&self, id: &ExecutionId) -> Result<Option<PinnedPack>, ExecutionError> {
        let Some(manifest) = self.manifest(id).await? else {
            return Ok(None);
        };
        let key = Location::manifest(manifest.subject()).key()?.to_string();
        let reader = Arc::clone(&self.store);
        let container = Arc::new(StorePack::new(reader, Self::subject(id)));
        let opened = Pack::open(container, &self.pack_limits).await;
        let pinned = opened
            .ok()
            .and_then(|pack| pack.pinned(&Pins::pack_id(manifest.pack_id())).ok());
        pinned.map(Some).ok_or(ExecutionError::Damaged {
            key,
            reason: "it is another manifest now",
        })
    }

    /// A log from `from` on. Of a pack it is verified as it is read; while the execution runs it is what the store has.
    ///
    /// # Errors
    /// [`ExecutionError::NotFound`]; as the store fails.
    pub async fn log(
        self: Arc<Self>,
        id: &ExecutionId,
        log: Log,
        from: u64,
        follow: Follow,
    ) -> Result<BoxStream<'static, Result<Bytes, ExecutionError>>, ExecutionError> {
        self.opening(id).await?;
        let Some(pack) = self.pack(id).await? else {
            return Ok(self.live_log(id.clone(), log, from, follow));
        };
        let name = log_name(log)?.to_string();
        if pack.manifest().artifact(&name).is_none() {
            // Nothing was ever written to it, as while the execution ran.
            return Ok(stream::empty().boxed());
        }
        Ok(verified(pack, name, from)
            .map_err(ExecutionError::from)
            .boxed())
    }

    /// Executions in the order in which they were opened, after `after`, that `is_wanted` wants; at most `limit`.
    ///
    /// # Errors
    /// As the store fails.
    pub async fn list(
        &self,
        after: Option<&ExecutionId>,
        limit: usize,
        is_wanted: &(dyn Fn(&Opening) -> bool + Sync),
    ) -> Result<ExecutionPage, ExecutionError> {
        let looked_max = self.limits.looked_max;
        let ids = self.ids(after, looked_max.saturating_add(1)).await?;
        let beyond = ids.get(looked_max.saturating_sub(1)).cloned();
        let is_cut = ids.len() > looked_max;
        let openings = stream::iter(ids.into_iter().take(looked_max)).map(|id| async move {
            let opening = self.opening(&id).await;
            (id, opening)
        });
        let mut openings = std::pin::pin!(openings.buffered(OPENINGS_IN_FLIGHT));
        let mut executions: Vec<(ExecutionId, Opening)> = Vec::new();
        while let Some((id, opening)) = openings.next().await {
            match opening {
                Ok(opening) if is_wanted(&opening) => {
                    if executions.len() == limit {
                        let next = executions.last().map(|(id, _)| id.clone());
                        return Ok(ExecutionPage { executions, next });
                    }
                    executions.push((id, opening));
                }
                // One that cannot be read hides no other.
                Ok(_) | Err(ExecutionError::Damaged { .. } | ExecutionError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(ExecutionPage {
            executions,
            next: beyond.filter(|_| is_cut),
        })
    }

    /// The first ids after `after`. Holds no more than `limit`, however many there are.
    async fn ids(
        &self,
        after: Option<&ExecutionId>,
        limit: usize,
    ) -> Result<Vec<ExecutionId>, ExecutionError> {
        let mut first = std::collections::BTreeSet::new();
        let prefix: KeyPrefix = Location::live_prefix(None);
        let mut entries = self.store.list(&prefix);
        while let Some(entry) = entries.try_next().await? {
            if let Some(Location::Live {
                execution_id,
                object: LiveObject::Opening,
            }) = Location::parse(&entry.key)
                && after.is_none_or(|after| execution_id > *after)
            {
                first.insert(execution_id);
                if first.len() > limit {
                    first.pop_last();
                }
            }
        }
        Ok(first.into_iter().collect())
    }
}

impl From<ReadError> for ExecutionError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Store(error) => Self::Store(error),
            ReadError::NoSuchArtifact { name } => Self::Store(StoreError::NotFound { key: name }),
            ReadError::Damaged { name, .. } => Self::Damaged {
                key: name,
                reason: "its bytes are not those committed to",
            },
            ReadError::Lost { name } => Self::Damaged {
                key: name,
                reason: "it is not there any more",
            },
            _ => Self::Unexpected(error.to_string()),
        }
    }
}

/// The bytes of an artifact from `from` on, each chunk verified before any of it is given out.
pub(crate) fn verified(
    pack: PinnedPack,
    name: String,
    from: u64,
) -> BoxStream<'static, Result<Bytes, ReadError>> {
    stream::try_unfold((pack, name, from), async |(pack, name, at)| {
        let end = at
            .saturating_sub(at % CHUNK_BYTES)
            .saturating_add(CHUNK_BYTES);
        let piece = pack.read(&name, at..end)?.next().await?;
        Ok(piece.map(|bytes| (bytes, (pack, name, end))))
    })
    .boxed()
}
