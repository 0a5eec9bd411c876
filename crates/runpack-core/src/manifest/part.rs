//! What the pack of a pipeline's run is made of (specification, section 6): each part has one name and one kind.

use super::{Artifact, Content, Subject};
use crate::id::StepId;

/// An artifact of the pack of a pipeline's run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RunPart {
    /// `definition.yaml`: what the pipeline is. Its commitment is the pipeline's hash.
    Definition,
    /// `plan.json`: which steps there are to be.
    Plan,
    /// `metadata.json`: what became of them.
    Metadata,
    /// `events/audit_trail.jsonl`: what happened, line by line.
    AuditTrail,
    /// `steps/{step_id}/manifest.json`: the manifest of a step's pack. Its commitment is the step's pack id.
    Step(StepId),
}

impl RunPart {
    /// The parts that every such pack has.
    pub const REQUIRED: [Self; 4] = [
        Self::Definition,
        Self::Plan,
        Self::Metadata,
        Self::AuditTrail,
    ];

    /// The part of this name; `None` for a name that no part has.
    pub fn named(name: &str) -> Option<Self> {
        if let Some(part) = Self::REQUIRED.into_iter().find(|part| part.name() == name) {
            return Some(part);
        }
        let step = name
            .strip_prefix("steps/")?
            .strip_suffix("/manifest.json")?;
        step.parse().ok().map(Self::Step)
    }

    /// The artifact's name. A step whose id no artifact name can hold (`CON`, `a.`) is no part of a run.
    pub fn name(&self) -> String {
        match self {
            Self::Definition => "definition.yaml".to_owned(),
            Self::Plan => "plan.json".to_owned(),
            Self::Metadata => "metadata.json".to_owned(),
            Self::AuditTrail => "events/audit_trail.jsonl".to_owned(),
            Self::Step(step_id) => format!("steps/{step_id}/manifest.json"),
        }
    }

    /// The artifact's kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Definition => "pipeline-definition",
            Self::Plan => "pipeline-plan",
            Self::Metadata => "pipeline-metadata",
            Self::AuditTrail => "audit-trail",
            Self::Step(_) => "step-manifest",
        }
    }

    /// The media type that a writer gives it. A verifier takes any.
    pub const fn media_type(&self) -> &'static str {
        match self {
            Self::Definition => "application/yaml",
            Self::Plan | Self::Metadata | Self::Step(_) => "application/json",
            Self::AuditTrail => "application/jsonl",
        }
    }

    /// Whether its commitment stands for something elsewhere, so that it must be the SHA-256 of its bytes.
    const fn is_whole(&self) -> bool {
        matches!(self, Self::Definition | Self::Step(_))
    }
}

/// Objects to the artifacts of a pipeline's run that are not what their names say, and to parts that are missing.
pub(super) fn check(subject: &Subject, artifacts: &[Artifact]) -> Result<(), String> {
    if !matches!(subject, Subject::Pipeline { .. }) {
        return Ok(());
    }
    for artifact in artifacts {
        let name = artifact.name();
        let Some(part) = RunPart::named(name.as_str()) else {
            continue; // No name of this subject: told before.
        };
        if artifact.kind().as_str() != part.kind() {
            let kind = part.kind();
            return Err(format!(
                "this artifact has another kind, name=`{name}` kind=`{kind}`"
            ));
        }
        if part.is_whole() && !matches!(artifact.content(), Content::Whole(_)) {
            return Err(format!("this artifact has at most 8 MiB, name=`{name}`"));
        }
    }
    let has = |part: &RunPart| {
        let name = part.name();
        artifacts
            .iter()
            .any(|artifact| artifact.name().as_str() == name)
    };
    match RunPart::REQUIRED.iter().find(|part| !has(part)) {
        None => Ok(()),
        Some(part) => Err(format!(
            "a pipeline's run has this artifact, name=`{}`",
            part.name()
        )),
    }
}
