//! The end of a run: its pack, which commits to plan, metadata, trail and the manifest of every step.
//!
//! The trail goes first and by itself. It is create-only, and all else follows from it: of several finishers one writes
//! it, the others learn whose it is and leave no other trace, and whoever has that trail, or takes the one that is there,
//! can finish where the first one died (threats W01 to W09).

use std::sync::Arc;

use bytes::Bytes;

use super::agent::check_agents;
use super::agree::{self, Parts};
use super::definition::{self, DefinitionError};
use super::kept::{self, key_of};
use super::metadata::Metadata;
use super::plan::Plan;
use super::step::Packs;
use super::story::{Begun, Story, StoryError};
use super::trail::{TRAIL_BYTES_MAX, Trail};
use crate::commitment::CHUNK_BYTES;
use crate::digest::Digest;
use crate::finding::Finding;
use crate::id::{PipelineTenant, RunId, StepId};
use crate::limits::Limits;
use crate::manifest::{Labels, Manifest, Producer, RunPart, Subject};
use crate::pack::{BytesSource, CommittedPack, NewArtifact, PackDraft, PackError};
use crate::store::{ArtifactReader, Store, StoreError};

/// Why a run was not finished.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FinishError {
    /// Another trail is there: somebody else finishes the run, or did.
    #[error(
        "another audit trail of this run is there, which stays, ours=`{ours}` theirs=`{theirs}`"
    )]
    OtherTrail {
        /// The commitment to the trail that was to be written.
        ours: Digest,
        /// The commitment to the trail that is there.
        theirs: Digest,
    },
    /// The trail tells no run, or one that has not ended.
    #[error(transparent)]
    Story(#[from] StoryError),
    /// The trail has no end yet.
    #[error("the audit trail has no end yet")]
    NotEnded,
    /// The trail begins with another plan than the run has.
    #[error(
        "the audit trail begins with another plan than the run has, told=`{told}` plan=`{plan}`"
    )]
    OtherPlan {
        /// What the trail tells.
        told: Digest,
        /// The plan's.
        plan: Digest,
    },
    /// A step that the trail tells of has another pack, or none.
    #[error("a step's pack is not the one that the audit trail tells of, step=`{step}`")]
    OtherStep {
        /// Which.
        step: StepId,
    },
    /// The manifests of all steps together are larger than a verifier takes.
    #[error(
        "the manifests of all steps are larger than the limit, bytes=`{bytes}` bytes_max=`{bytes_max}`"
    )]
    Large {
        /// Their size.
        bytes: u64,
        /// [`Limits::manifest_bytes_max`].
        bytes_max: u64,
    },
    /// What is to be committed does not agree, so that a verifier could only call it invalid.
    #[error("plan, audit trail and packs of the steps do not say the same")]
    Disagreeing {
        /// What a verifier would object to.
        findings: Vec<Finding>,
    },
    /// The definition could not be read.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// The run's pack was not made.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The trail that is in the store; `None` where there is none. What it tells was not looked at.
///
/// # Errors
/// As the store fails.
pub async fn stored_trail(
    store: &dyn ArtifactReader,
    tenant: &PipelineTenant,
    run_id: &RunId,
) -> Result<Option<Vec<u8>>, StoreError> {
    let key = key_of(tenant, run_id, &RunPart::AuditTrail)?;
    match kept::read(store, &key, TRAIL_BYTES_MAX).await {
        Ok(bytes) => Ok(Some(bytes.unwrap_or_default())),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The manifest of a step's pack, as far as it is there and one of this step. Nothing of the pack was verified.
///
/// # Errors
/// As the store fails.
pub async fn step_manifest(
    store: &dyn ArtifactReader,
    tenant: &PipelineTenant,
    run_id: &RunId,
    step_id: &StepId,
    limits: &Limits,
) -> Result<Option<Arc<Manifest>>, StoreError> {
    let key = key_of(tenant, run_id, &RunPart::Step(step_id.clone()))?;
    // The run's pack lists it, and its commitment there is the pack id only within one chunk.
    let bytes_max = limits.manifest_bytes_max.min(CHUNK_BYTES);
    let bytes = match kept::read(store, &key, bytes_max).await {
        Ok(bytes) => bytes,
        Err(StoreError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let manifest = bytes.and_then(|bytes| Manifest::parse(&bytes, limits).ok());
    let subject = Subject::Step {
        tenant: tenant.clone(),
        run_id: run_id.clone(),
        step_id: step_id.clone(),
    };
    Ok(manifest
        .filter(|manifest| *manifest.subject() == subject)
        .map(Arc::new))
}

/// A run that can be finished: a verifier would object to nothing of it.
#[derive(Debug)]
pub struct Checked<'a> {
    plan: &'a Plan,
    trail: &'a Trail,
    packs: &'a Packs,
    limits: &'a Limits,
    begun: Begun,
    metadata: Metadata,
    labels: Labels,
    definition: Bytes,
}

/// Looks whether a run whose trail has its end can be finished. `packs` are those of the steps that the trail tells of.
/// Nothing is written, so whoever asks need not have written that end yet.
///
/// # Errors
/// The trail does not tell of this plan and these packs, or [`PipelineRun`](super::PipelineRun) would object to them, or to
/// the entries of the registry that the plan names by their SHA-256; the store fails.
pub async fn check<'a>(
    store: &Arc<dyn Store>,
    plan: &'a Plan,
    trail: &'a Trail,
    packs: &'a Packs,
    limits: &'a Limits,
) -> Result<Checked<'a>, FinishError> {
    let told = Story::of(trail)?;
    let metadata = Metadata::of(&told, plan, trail.head()).ok_or(FinishError::NotEnded)?;
    check_told(&told, plan, packs)?;
    check_size(packs, limits)?;
    let begun = told.begun;
    store.expect(&subject(&begun)).await?;
    let definition = definition::fetch(&**store, &begun.tenant, begun.pipeline_hash).await?;
    let labels = metadata.labels(plan);
    let mut findings = agree::findings(&Parts {
        tenant: &begun.tenant,
        run_id: &begun.run_id,
        pipeline_hash: begun.pipeline_hash,
        plan,
        trail,
        metadata: &metadata,
        labels: &labels,
        packs,
    });
    findings.extend(check_agents(&**store, plan).await?);
    if !findings.is_empty() {
        return Err(FinishError::Disagreeing { findings });
    }
    Ok(Checked {
        plan,
        trail,
        packs,
        limits,
        begun,
        metadata,
        labels,
        definition,
    })
}

impl Checked<'_> {
    /// What became of the run.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Commits the run's pack to the store that was asked.
    ///
    /// # Errors
    /// [`FinishError::OtherTrail`] where somebody else finishes it; the store fails. The same again goes on where it ended.
    pub async fn commit(
        self,
        store: &Arc<dyn Store>,
        producer: Producer,
    ) -> Result<CommittedPack, FinishError> {
        claim(store, &self.begun, self.trail).await?;
        let mut parts: Vec<(RunPart, Bytes)> = vec![
            (RunPart::Definition, self.definition),
            (RunPart::Plan, self.plan.to_bytes().into()),
            (RunPart::Metadata, self.metadata.to_bytes().into()),
            (RunPart::AuditTrail, self.trail.bytes().to_vec().into()),
        ];
        for (step, manifest) in self.packs {
            parts.push((RunPart::Step(step.clone()), manifest.to_bytes().into()));
        }
        // The time is the trail's: whoever finishes the same run makes the same pack.
        let mut draft = PackDraft::new(subject(&self.begun), self.metadata.finished_at, producer)
            .with_labels(self.labels)
            .with_limits(self.limits.clone());
        for (part, bytes) in parts {
            draft.add(artifact(&part, bytes)?);
        }
        Ok(draft.stage(Arc::clone(store)).await?.commit().await?)
    }
}

/// Checks a run whose trail has its end, and commits its pack.
///
/// # Errors
/// As [`check`], before anything is written, and as [`Checked::commit`].
pub async fn finish(
    store: &Arc<dyn Store>,
    plan: &Plan,
    trail: &Trail,
    packs: &Packs,
    producer: Producer,
    limits: &Limits,
) -> Result<CommittedPack, FinishError> {
    let checked = check(store, plan, trail, packs, limits).await?;
    checked.commit(store, producer).await
}

fn subject(begun: &Begun) -> Subject {
    Subject::Pipeline {
        tenant: begun.tenant.clone(),
        run_id: begun.run_id.clone(),
    }
}

/// The trail tells of this plan, and of these packs and no others.
fn check_told(story: &Story, plan: &Plan, packs: &Packs) -> Result<(), FinishError> {
    let (told, plan) = (story.begun.plan, plan.sha256());
    if told != plan {
        return Err(FinishError::OtherPlan { told, plan });
    }
    for step in story.steps.keys().chain(packs.keys()) {
        let told = story.steps.get(step).map(|committed| committed.pack);
        if told.is_none() || packs.get(step).map(|pack| pack.pack_id()) != told {
            return Err(FinishError::OtherStep { step: step.clone() });
        }
    }
    Ok(())
}

/// What a verifier holds the manifests of all steps to, of which each has at most a chunk.
fn check_size(packs: &Packs, limits: &Limits) -> Result<(), FinishError> {
    let sizes = packs.values().map(|pack| pack.bytes());
    let bytes = sizes.fold(0_u64, u64::saturating_add);
    let bytes_max = limits.manifest_bytes_max;
    if bytes > bytes_max {
        return Err(FinishError::Large { bytes, bytes_max });
    }
    Ok(())
}

/// Writes the trail before all else. Where several writes of it win, the oldest is the finisher's whose run it is.
async fn claim(store: &Arc<dyn Store>, begun: &Begun, trail: &Trail) -> Result<(), FinishError> {
    let key = key_of(&begun.tenant, &begun.run_id, &RunPart::AuditTrail)?;
    let bytes = Bytes::copy_from_slice(trail.bytes());
    match kept::write(&**store, &key, bytes).await {
        Ok(_) => Ok(()),
        Err(StoreError::AlreadyExists { ours, theirs, .. }) => {
            Err(FinishError::OtherTrail { ours, theirs })
        }
        Err(error) => Err(error.into()),
    }
}

fn artifact(part: &RunPart, bytes: Bytes) -> Result<NewArtifact, StoreError> {
    let name = part.name();
    let unnamed = || StoreError::NotDeclared { key: name.clone() };
    Ok(NewArtifact::new(
        name.parse().map_err(|_| unnamed())?,
        part.kind().parse().map_err(|_| unnamed())?,
        part.media_type().parse().map_err(|_| unnamed())?,
        Arc::new(BytesSource(bytes)),
    ))
}
