//! The end of a run: its pack, which commits to plan, metadata, trail and the manifest of every step.
//!
//! The trail goes first and by itself. It is create-only, and all else follows from it: of several finishers one writes
//! it, the others learn whose it is and leave no other trace, and whoever has that trail, or takes the one that is there,
//! can finish where the first one died (threats W01 to W09).

use std::sync::Arc;

use bytes::Bytes;

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
use crate::manifest::{Manifest, Producer, RunPart, Subject};
use crate::pack::{BytesSource, CommittedPack, NewArtifact, PackDraft, PackError};
use crate::store::{ArtifactReader, Declared, Store, StoreError};

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

/// Commits the pack of a run whose trail has its end. `packs` are those of the steps that the trail tells of.
///
/// # Errors
/// [`FinishError::OtherTrail`] where somebody else finishes it; the trail does not tell of this plan and these packs, or
/// [`PipelineRun`](super::PipelineRun) would object to them, which is found before anything is written; the store fails. The same again goes on where it ended.
pub async fn finish(
    store: &Arc<dyn Store>,
    plan: &Plan,
    trail: &Trail,
    packs: &Packs,
    producer: Producer,
    limits: &Limits,
) -> Result<CommittedPack, FinishError> {
    let told = Story::of(trail)?;
    let metadata = Metadata::of(&told, plan, trail.head()).ok_or(FinishError::NotEnded)?;
    check(&told, plan, packs)?;
    check_size(packs, limits)?;
    let begun = &told.begun;
    let subject = Subject::Pipeline {
        tenant: begun.tenant.clone(),
        run_id: begun.run_id.clone(),
    };
    store.expect(&subject).await?;
    let definition = definition::fetch(&**store, &begun.tenant, begun.pipeline_hash).await?;
    let labels = metadata.labels(plan);
    let findings = agree::findings(&Parts {
        tenant: &begun.tenant,
        run_id: &begun.run_id,
        pipeline_hash: begun.pipeline_hash,
        plan,
        trail,
        metadata: &metadata,
        labels: &labels,
        packs,
    });
    if !findings.is_empty() {
        return Err(FinishError::Disagreeing { findings });
    }
    claim(store, begun, trail).await?;
    let mut parts: Vec<(RunPart, Bytes)> = vec![
        (RunPart::Definition, definition),
        (RunPart::Plan, plan.to_bytes().into()),
        (RunPart::Metadata, metadata.to_bytes().into()),
        (RunPart::AuditTrail, trail.bytes().to_vec().into()),
    ];
    for (step, manifest) in packs {
        parts.push((RunPart::Step(step.clone()), manifest.to_bytes().into()));
    }
    // The time is the trail's: whoever finishes the same run makes the same pack.
    let mut draft = PackDraft::new(subject, metadata.finished_at, producer)
        .with_labels(labels)
        .with_limits(limits.clone());
    for (part, bytes) in parts {
        draft.add(artifact(&part, bytes)?);
    }
    Ok(draft.stage(Arc::clone(store)).await?.commit().await?)
}

/// The trail tells of this plan, and of these packs and no others.
fn check(story: &Story, plan: &Plan, packs: &Packs) -> Result<(), FinishError> {
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

/// Writes the trail before all else.
async fn claim(store: &Arc<dyn Store>, begun: &Begun, trail: &Trail) -> Result<(), FinishError> {
    let key = key_of(&begun.tenant, &begun.run_id, &RunPart::AuditTrail)?;
    let declared = Declared::of(trail.bytes());
    let bytes = Bytes::copy_from_slice(trail.bytes());
    match store
        .send(&key, declared, Arc::new(BytesSource(bytes)))
        .await
    {
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
