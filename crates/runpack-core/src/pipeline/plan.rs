//! `plan.json`: which steps there are to be, what each comes after, and what goes in and out (specification, section 14).
//!
//! A [`Plan`] is valid by construction. Invariants: steps are named once, also where letter case does not count, and by
//! names that the run's pack can hold; they have an order (threat B15: a cycle is refused and named, a chain is bounded).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::agent::AgentName;
use super::document::{self, DocumentError};
use super::order::{self, Disorder};
use crate::digest::Digest;
use crate::id::{AgentId, AgentVersion, PackId, PipelineName, StepId};
use crate::manifest::RunPart;
use crate::name::ArtifactName;

/// The most steps of a plan.
pub const STEPS_MAX: usize = 10_000;
/// The longest chain of steps, each after the one before.
pub const DEPTH_MAX: usize = 1_000;
/// The most inputs, outputs or steps before it that one step names.
const NAMED_MAX: usize = 1_024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Format {
    #[serde(rename = "runpack/pipeline-plan/v1")]
    V1,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: Format,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pipeline: Option<PipelineName>,
    steps: Vec<PlannedStep>,
}

/// Which steps there are to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    document: Document,
    /// Positions of the steps, each after those that it comes after.
    order: Vec<usize>,
    positions: BTreeMap<StepId, usize>,
}

/// One step to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedStep {
    /// The steps whose outputs it may use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<StepId>,
    /// Who is to do it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<PlannedAgent>,
    /// Inputs that there must be, and where they come from. Outputs of the steps before it need not be named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<PlannedInput>,
    /// Outputs that there must be where it succeeds; there may be more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<ArtifactName>,
    /// Which step.
    pub step_id: StepId,
}

/// Who is to do a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedAgent {
    /// Which agent.
    pub name: AgentId,
    /// The SHA-256 of its entry in the registry, where it must be that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// Which version.
    pub version: AgentVersion,
}

impl PlannedAgent {
    /// Its name and version.
    pub fn agent(&self) -> AgentName {
        AgentName {
            name: self.name.clone(),
            version: self.version.clone(),
        }
    }
}

/// An input of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedInput {
    /// Its name in the pack that it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<ArtifactName>,
    /// Its name in the step's pack.
    pub name: ArtifactName,
    /// The pack that it comes from, where that is of no step of this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack: Option<PackId>,
    /// The step that it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepId>,
}

/// Where an input comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whence<'a> {
    /// From outside: nothing vouches for it but the step's own pack.
    Outside,
    /// An output of a step.
    Step(&'a StepId, &'a ArtifactName),
    /// An artifact of a pack of something else.
    Pack(PackId, &'a ArtifactName),
}

impl PlannedInput {
    /// Where it comes from; `None` where it says two things, or half of one.
    pub fn whence(&self) -> Option<Whence<'_>> {
        match (&self.step, self.pack, &self.artifact) {
            (None, None, None) => Some(Whence::Outside),
            (Some(step), None, Some(artifact)) => Some(Whence::Step(step, artifact)),
            (None, Some(pack), Some(artifact)) => Some(Whence::Pack(pack, artifact)),
            _ => None,
        }
    }
}

/// Why a plan is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Not such a document.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// No step, or too many; or too much of something in one.
    #[error("a plan has too much or too little of something, what=`{what}` max=`{max}`")]
    Count {
        /// Of what.
        what: &'static str,
        /// How much is allowed.
        max: usize,
    },
    /// A step's id is there twice, or differs from another in letter case alone, or can be in no name.
    #[error("a step needs an id of its own that a file can be named by, step=`{step}`: {fault}")]
    StepId {
        /// The step.
        step: StepId,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// A step names something that it cannot.
    #[error("a step of the plan is not sound, step=`{step}` named=`{named}`: {fault}")]
    Step {
        /// The step.
        step: StepId,
        /// What it names.
        named: String,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// Steps that wait for each other.
    #[error("steps of the plan wait for each other, so none can be first, cycle=`{cycle}`")]
    Cycle {
        /// Each after the next.
        cycle: String,
    },
    /// A chain of steps over [`DEPTH_MAX`].
    #[error("a chain of steps is longer than it may be, max=`{DEPTH_MAX}`")]
    Deep,
}

impl Plan {
    /// Reads a plan in its one spelling.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn parse(bytes: &[u8]) -> Result<Self, PlanError> {
        Self::of(document::parse(bytes)?)
    }

    /// Reads a plan that a person wrote: white space and the order of members are free.
    ///
    /// # Errors
    /// As [`Plan::parse`].
    pub fn draft(bytes: &[u8]) -> Result<Self, PlanError> {
        Self::of(document::draft(bytes)?)
    }

    /// A plan of these steps.
    ///
    /// # Errors
    /// The first rule that they break.
    pub fn new(steps: Vec<PlannedStep>) -> Result<Self, PlanError> {
        Self::of(Document {
            format: Format::V1,
            pipeline: None,
            steps,
        })
    }

    fn of(document: Document) -> Result<Self, PlanError> {
        let steps = &document.steps;
        count("steps", steps.len(), STEPS_MAX)?;
        if steps.is_empty() {
            let (what, max) = ("steps", STEPS_MAX);
            return Err(PlanError::Count { what, max });
        }
        let positions = positions(steps)?;
        let mut after = Vec::with_capacity(steps.len());
        for step in steps {
            after.push(before(step, &positions)?);
            check_names(step)?;
        }
        let order = order::order(&after, DEPTH_MAX).map_err(|disorder| match disorder {
            Disorder::Deep => PlanError::Deep,
            Disorder::Cycle(round) => PlanError::Cycle {
                cycle: spelled(steps, &round),
            },
        })?;
        let positions = positions.into_iter();
        let positions = positions.map(|(step, at)| (step.clone(), at)).collect();
        Ok(Self {
            document,
            order,
            positions,
        })
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        document::to_bytes(&self.document)
    }

    /// The SHA-256 of the canonical bytes.
    pub fn sha256(&self) -> Digest {
        Digest::of(&self.to_bytes())
    }

    /// Which pipeline it is of, where it says so: the same from run to run, whatever its definition.
    pub fn pipeline(&self) -> Option<&PipelineName> {
        self.document.pipeline.as_ref()
    }

    /// The steps as they are written.
    pub fn steps(&self) -> &[PlannedStep] {
        &self.document.steps
    }

    /// The steps, each after those that it comes after.
    pub fn in_order(&self) -> impl Iterator<Item = &PlannedStep> {
        self.order.iter().filter_map(|at| self.steps().get(*at))
    }

    /// The agents that must be one entry of the registry, and the SHA-256 of that entry, each once.
    pub fn pinned_agents(&self) -> BTreeSet<(AgentName, Digest)> {
        let agents = self.steps().iter().filter_map(|step| step.agent.as_ref());
        agents
            .filter_map(|agent| Some((agent.agent(), agent.sha256?)))
            .collect()
    }

    /// The step of this id.
    pub fn step(&self, step_id: &StepId) -> Option<&PlannedStep> {
        self.steps().get(*self.positions.get(step_id)?)
    }
}

fn count(what: &'static str, found: usize, max: usize) -> Result<(), PlanError> {
    if found > max {
        return Err(PlanError::Count { what, max });
    }
    Ok(())
}

/// Where each step stands.
fn positions(steps: &[PlannedStep]) -> Result<BTreeMap<&StepId, usize>, PlanError> {
    let mut folded = BTreeSet::new();
    let mut positions = BTreeMap::new();
    for (at, step) in steps.iter().enumerate() {
        let fault = |fault| PlanError::StepId {
            step: step.step_id.clone(),
            fault,
        };
        let name = RunPart::Step(step.step_id.clone()).name();
        if name.parse::<ArtifactName>().is_err() {
            return Err(fault("it ends in a dot, or is the name of a device"));
        }
        if !folded.insert(step.step_id.as_str().to_ascii_lowercase()) {
            return Err(fault("another step has it, letter case aside"));
        }
        positions.insert(&step.step_id, at);
    }
    Ok(positions)
}

/// The positions of the steps that one comes after.
fn before(
    step: &PlannedStep,
    positions: &BTreeMap<&StepId, usize>,
) -> Result<BTreeSet<usize>, PlanError> {
    count("steps before one", step.after.len(), NAMED_MAX)?;
    let mut before = BTreeSet::new();
    for named in &step.after {
        let fault = |fault| fault_of(step, named.as_str(), fault);
        let at = positions
            .get(named)
            .ok_or_else(|| fault("it comes after a step that the plan does not have"))?;
        if !before.insert(*at) {
            return Err(fault("it comes after this step twice"));
        }
    }
    Ok(before)
}

fn check_names(step: &PlannedStep) -> Result<(), PlanError> {
    count("inputs of a step", step.inputs.len(), NAMED_MAX)?;
    count("outputs of a step", step.outputs.len(), NAMED_MAX)?;
    let mut seen = BTreeSet::new();
    for input in &step.inputs {
        let fault = |fault| fault_of(step, input.name.as_str(), fault);
        if !input.name.as_str().starts_with("inputs/") {
            return Err(fault("an input's name starts with `inputs/`"));
        }
        if !seen.insert(&input.name) {
            return Err(fault("it is named twice"));
        }
        match input.whence() {
            None => {
                return Err(fault(
                    "an input has `step` and `artifact`, `pack` and `artifact`, or none of them where it is from outside",
                ));
            }
            Some(Whence::Step(of, artifact)) => {
                if !step.after.contains(of) {
                    return Err(fault(
                        "it comes from a step that this one does not come after",
                    ));
                }
                if !artifact.as_str().starts_with("outputs/") {
                    return Err(fault("only an output of a step can be an input of another"));
                }
            }
            Some(Whence::Pack(..) | Whence::Outside) => {}
        }
    }
    for output in &step.outputs {
        if !output.as_str().starts_with("outputs/") {
            let fault = "an output's name starts with `outputs/`";
            return Err(fault_of(step, output.as_str(), fault));
        }
        if !seen.insert(output) {
            return Err(fault_of(step, output.as_str(), "it is named twice"));
        }
    }
    Ok(())
}

fn fault_of(step: &PlannedStep, named: &str, fault: &'static str) -> PlanError {
    PlanError::Step {
        step: step.step_id.clone(),
        named: named.to_owned(),
        fault,
    }
}

/// `b after a after b`, as far as a line holds it.
fn spelled(steps: &[PlannedStep], round: &[usize]) -> String {
    const SHOWN_MAX: usize = 20;
    let round = round.iter().filter_map(|at| steps.get(*at));
    let mut names: Vec<&str> = round.map(|step| step.step_id.as_str()).collect();
    if names.len() > SHOWN_MAX {
        names.truncate(SHOWN_MAX);
        names.push("...");
    }
    names.join(" after ")
}
