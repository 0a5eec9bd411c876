//! `metadata.json`: what became of a run and its steps (specification, section 14).
//!
//! Invariant: it follows from plan and trail ([`Metadata::of`]), so nothing can be said in it that they do not say; and it
//! holds the trail's head, so that the end of the trail cannot be cut off or written again unseen.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::document::{self, DocumentError};
use super::plan::Plan;
use super::step::{OUTCOME_LABEL, PIPELINE_LABEL};
use super::story::Story;
use super::trail::Head;
use crate::id::{PackId, PipelineHash, PipelineTenant, RunId, StepId};
use crate::manifest::{LabelKey, Labels, Text};
use crate::time::Timestamp;

/// The label of a run's pack that says when the run began.
pub(super) const STARTED_AT_LABEL: &str = "started_at";

/// What became of a run, or of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It did what it was to do.
    Succeeded,
    /// It did not.
    Failed,
    /// It was ended.
    Cancelled,
}

impl Outcome {
    const ALL: [Self; 3] = [Self::Succeeded, Self::Failed, Self::Cancelled];

    /// The name in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Not an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an outcome is `succeeded`, `failed` or `cancelled`")]
pub struct OutcomeError;

impl FromStr for Outcome {
    type Err = OutcomeError;

    fn from_str(text: &str) -> Result<Self, OutcomeError> {
        let found = Self::ALL
            .into_iter()
            .find(|outcome| outcome.as_str() == text);
        found.ok_or(OutcomeError)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Format {
    #[serde(rename = "runpack/pipeline-metadata/v1")]
    V1,
}

/// What became of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// When it ended, as its trail says.
    pub finished_at: Timestamp,
    format: Format,
    /// How it ended.
    pub outcome: Outcome,
    /// What the pipeline is.
    pub pipeline_hash: PipelineHash,
    /// Which run.
    pub run_id: RunId,
    /// When it began, as its trail says.
    pub started_at: Timestamp,
    /// Every step of the plan, in the plan's order.
    pub steps: Vec<StepOutcome>,
    /// Whose pipeline it is.
    pub tenant: PipelineTenant,
    /// Where the trail ends.
    pub trail: Head,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepOutcome {
    /// How it ended; absent where it was not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Its pack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack: Option<PackId>,
    /// Which step.
    pub step_id: StepId,
}

impl Metadata {
    /// What plan and trail give; `None` while the run has not ended.
    pub fn of(story: &Story, plan: &Plan, trail: Head) -> Option<Self> {
        let ended = story.finished?;
        let steps = plan.steps().iter().map(|step| {
            let committed = story.steps.get(&step.step_id);
            StepOutcome {
                outcome: committed.map(|committed| committed.outcome),
                pack: committed.map(|committed| committed.pack),
                step_id: step.step_id.clone(),
            }
        });
        Some(Self {
            finished_at: ended.at,
            format: Format::V1,
            outcome: ended.outcome,
            pipeline_hash: story.begun.pipeline_hash,
            run_id: story.begun.run_id.clone(),
            started_at: story.begun.at,
            steps: steps.collect(),
            tenant: story.begun.tenant.clone(),
            trail,
        })
    }

    /// What the labels of the run's pack say, for those who read no more of it than its manifest.
    pub fn labels(&self, plan: &Plan) -> Labels {
        let mut labels: Labels = [
            (LabelKey::known(OUTCOME_LABEL), Text::known(&self.outcome)),
            (
                LabelKey::known(STARTED_AT_LABEL),
                Text::known(&self.started_at),
            ),
        ]
        .into();
        let pipeline = plan.pipeline();
        labels.extend(pipeline.map(|name| (LabelKey::known(PIPELINE_LABEL), Text::known(name))));
        labels
    }

    /// Reads metadata in its one spelling.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        document::parse(bytes)
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        document::to_bytes(self)
    }
}
