//! Making a pack: describe the artifacts, stage them, commit the manifest.
//!
//! The order is in the types: only a [`PackDraft`] can be staged, only a [`StagedPack`] can be
//! committed, and only a commit gives a [`CommittedPack`]. Invariants: the manifest is written last,
//! when every artifact was acknowledged as durable and is still there; of several writers of one
//! subject exactly one wins, and the others learn which pack it is; a writer that dies leaves
//! residue that blocks nobody.

mod copy;
mod delivery;
mod recheck;
mod stage;

use std::sync::Arc;

use crate::id::{PackId, StepId};
use crate::key::{KeyTooLong, Location};
use crate::limits::Limits;
use crate::manifest::{
    Input, Kind, Labels, Manifest, ManifestError, MediaType, Producer, Subject, Text,
};
use crate::name::ArtifactName;
use crate::progress::Progress;
use crate::residue::EXPORT_SECONDS_MAX;
use crate::store::{Outcome, Receipt, Store, StoreError, Whole, read_capped};
use crate::time::{Clock, Timestamp};
use crate::workers::WorkerLost;

pub use crate::store::{BytesSource, Source};
pub use copy::copy;

/// An artifact to be, and where its bytes come from.
#[derive(Debug, Clone)]
pub struct NewArtifact {
    /// The name within the pack.
    pub name: ArtifactName,
    /// What kind of artifact it is.
    pub kind: Kind,
    /// The media type.
    pub media_type: MediaType,
    /// The original file name, where it differs.
    pub title: Option<Text<1024>>,
    /// The step that made it.
    pub step: Option<StepId>,
    /// What it was made from.
    pub inputs: Vec<Input>,
    /// Its bytes.
    pub source: Arc<dyn Source>,
}

impl NewArtifact {
    /// An artifact with nothing but what it must have.
    pub fn new(
        name: ArtifactName,
        kind: Kind,
        media_type: MediaType,
        source: Arc<dyn Source>,
    ) -> Self {
        Self {
            name,
            kind,
            media_type,
            title: None,
            step: None,
            inputs: Vec::new(),
            source,
        }
    }
}

/// A pack that is being described.
#[derive(Debug)]
pub struct PackDraft {
    subject: Subject,
    created_at: Timestamp,
    producer: Producer,
    labels: Labels,
    limits: Limits,
    progress: Arc<Progress>,
    artifacts: Vec<NewArtifact>,
}

/// Why a pack could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// What was described is no pack.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// An id or name makes a key that is too long.
    #[error(transparent)]
    Key(#[from] KeyTooLong),
    /// An artifact is larger than the caller allows.
    #[error(
        "an artifact is larger than the limit, raise MAX_RUNPACK_ARTIFACT_BYTES to take it, name=`{name}` bytes=`{bytes}` bytes_max=`{bytes_max}`"
    )]
    ArtifactSize {
        /// The artifact.
        name: String,
        /// Its size.
        bytes: u64,
        /// [`Limits::artifact_bytes_max`].
        bytes_max: u64,
    },
    /// An artifact's source could not be read.
    #[error("an artifact could not be read, name=`{name}`")]
    Source {
        /// The artifact.
        name: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The store did not take something.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another pack was committed for this subject.
    #[error(
        "this run already has another pack, which stays: choose another run id, or export what was exported before, ours=`{ours}` theirs=`{theirs}`"
    )]
    Conflict {
        /// The pack that was to be committed.
        ours: PackId,
        /// The pack that is there.
        theirs: PackId,
    },
    /// Something that is no manifest stands in the manifest's place.
    #[error("what stands in the manifest's place is no manifest of this subject, key=`{key}`")]
    Foreign {
        /// The key.
        key: String,
    },
    /// It took so long that its first artifacts may have been removed as residue.
    #[error(
        "the export took too long to be committed safely, run it again: what is there is not sent again, seconds=`{seconds}`"
    )]
    TooLate {
        /// How long it took.
        seconds: u64,
    },
    /// A worker thread was lost.
    #[error(
        "a worker thread ended without a result, which is a bug in Runpack; nothing was committed"
    )]
    WorkerLost,
}

impl From<WorkerLost> for PackError {
    fn from(_: WorkerLost) -> Self {
        Self::WorkerLost
    }
}

impl PackDraft {
    /// A pack about `subject` with nothing in it yet.
    pub fn new(subject: Subject, created_at: Timestamp, producer: Producer) -> Self {
        Self {
            subject,
            created_at,
            producer,
            labels: Labels::new(),
            limits: Limits::default(),
            progress: Arc::default(),
            artifacts: Vec::new(),
        }
    }

    /// Whose pack it will be.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// With these labels.
    #[must_use]
    pub fn with_labels(mut self, labels: Labels) -> Self {
        self.labels = labels;
        self
    }

    /// With these limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Counting what is done in `progress`.
    #[must_use]
    pub fn with_progress(mut self, progress: Arc<Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// Adds an artifact.
    pub fn add(&mut self, artifact: NewArtifact) {
        self.artifacts.push(artifact);
    }

    /// Hashes every artifact and writes it to the store, many at once, until all are durable.
    ///
    /// # Errors
    /// The first that occurs; what was written stays as residue, which the next export uses.
    pub async fn stage(mut self, store: Arc<dyn Store>) -> Result<StagedPack, PackError> {
        store.expect(&self.subject).await?;
        let staged = stage::stage(&mut self, &store).await?;
        let manifest = Manifest::new(
            self.subject,
            self.created_at,
            self.producer,
            staged,
            self.labels,
            &self.limits,
        )?;
        Ok(StagedPack {
            store,
            manifest: Arc::new(manifest),
            limits: self.limits,
            deadline: None,
        })
    }
}

/// A pack whose artifacts are durable in a store and whose manifest is not there yet.
#[derive(Debug)]
pub struct StagedPack {
    store: Arc<dyn Store>,
    manifest: Arc<Manifest>,
    limits: Limits,
    deadline: Option<(Arc<dyn Clock>, Timestamp)>,
}

/// How a commit ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// The pack is new.
    New,
    /// The very same pack was there.
    Again,
    /// A pack with the same evidence was there, made at another time or by another producer.
    /// It is the pack of this run.
    SameEvidence,
}

/// A pack that is in a store.
#[derive(Debug)]
pub struct CommittedPack {
    /// The manifest of the pack that is there: the winner's, which is ours or says the same.
    pub manifest: Arc<Manifest>,
    /// How the commit ended.
    pub commit: Commit,
    /// What the store answered for the manifest; `None` where the winner is another's.
    pub receipt: Option<Receipt>,
    /// Where the manifest is, for people.
    pub storage_uri: String,
}

impl StagedPack {
    /// The manifest to be.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// The same, which began at `begun` by `clock` and gives up when it is not committed
    /// [`EXPORT_SECONDS_MAX`] later: whoever removes residue relies on it. For stores that somebody cleans.
    #[must_use]
    pub fn with_deadline(mut self, clock: Arc<dyn Clock>, begun: Timestamp) -> Self {
        self.deadline = Some((clock, begun));
        self
    }

    fn check_deadline(&self) -> Result<(), PackError> {
        let Some((clock, begun)) = &self.deadline else {
            return Ok(());
        };
        let now = clock.now().unix_seconds();
        let seconds = now.saturating_sub(begun.unix_seconds());
        if seconds > EXPORT_SECONDS_MAX {
            return Err(PackError::TooLate { seconds });
        }
        Ok(())
    }

    /// Makes sure that every artifact is still there, and writes the manifest; then looks once more, for
    /// somebody may have cleaned up in between, and lets the store seal the pack.
    ///
    /// # Errors
    /// [`PackError::Conflict`] where another pack was committed for this subject; an artifact that
    /// vanished; [`PackError::TooLate`]; as the store fails.
    pub async fn commit(self) -> Result<CommittedPack, PackError> {
        let store = Arc::clone(&self.store);
        let committed = self.commit_manifest().await?;
        recheck::recheck(&store, &committed.manifest).await?;
        store.seal(Whole::Pack(&committed.manifest)).await?;
        Ok(committed)
    }

    async fn commit_manifest(self) -> Result<CommittedPack, PackError> {
        self.check_deadline()?;
        recheck::recheck(&self.store, &self.manifest).await?;
        let key = Location::manifest(self.manifest.subject()).key()?;
        let bytes = self.manifest.to_bytes();
        let declared = crate::store::Declared::of(&bytes);
        let put = self.store.put(&key, bytes.into(), declared).await;
        let storage_uri = self.store.storage_uri(&key);
        let receipt = match put {
            Ok(receipt) => Some(receipt),
            Err(StoreError::AlreadyExists { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        // Where a versioned store lets several creates win, the oldest surviving version is the
        // commit. So the answer to a write settles nothing: only a look at the versions does.
        let (object, _) = self.store.oldest(&key).await?;
        let foreign = || PackError::Foreign {
            key: key.to_string(),
        };
        let there = read_capped(&*self.store, &object, self.limits.manifest_bytes_max)
            .await?
            .ok_or_else(foreign)?;
        let winner = Manifest::parse(&there, &self.limits).map_err(|_| foreign())?;
        let (manifest, commit) = if winner == *self.manifest {
            let is_new = receipt
                .as_ref()
                .is_some_and(|r| r.outcome == Outcome::Created);
            (
                self.manifest,
                if is_new { Commit::New } else { Commit::Again },
            )
        } else if winner.same_evidence(&self.manifest) {
            (Arc::new(winner), Commit::SameEvidence)
        } else {
            return Err(PackError::Conflict {
                ours: self.manifest.pack_id(),
                theirs: winner.pack_id(),
            });
        };
        let receipt = receipt.filter(|_| commit != Commit::SameEvidence);
        Ok(CommittedPack {
            manifest,
            commit,
            receipt,
            storage_uri,
        })
    }
}

#[cfg(test)]
mod tests;
