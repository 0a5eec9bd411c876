//! A step's pack: what its inputs were made by, and who made it.
//!
//! [`link`] says of each input which output of an earlier step, or which artifact of a named pack, it is: by its bytes,
//! and by what the plan says. `super::run` holds the same against the plan again. Invariant: nothing is linked that was
//! not found to be those bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::agent::AgentName;
use super::agree;
use super::metadata::Outcome;
use super::plan::{PlannedInput, PlannedStep, Whence};
use crate::commitment::ChunkHasher;
use crate::digest::Digest;
use crate::finding::Finding;
use crate::id::{PackId, PipelineName, StepId};
use crate::manifest::{Artifact, Input, LabelKey, Labels, Manifest, Text};
use crate::name::ArtifactName;
use crate::pack::{NewArtifact, Source};
use crate::store::StoreError;

/// The label of a step's pack that says what became of it.
pub const OUTCOME_LABEL: &str = "outcome";
/// The label of a step's pack that names the agent.
pub const AGENT_LABEL: &str = "agent";
/// The label of a step's pack that says which version of the agent.
pub const AGENT_VERSION_LABEL: &str = "agent_version";

/// The label of the packs of a run and its steps that says which pipeline it is.
pub const PIPELINE_LABEL: &str = "pipeline";

/// Outputs name the sources of their step as long as that takes no more bytes of the manifest than these, half of what it
/// may have: what is left out is found by way of the step's inputs all the same.
pub const OUTPUT_LINKS_BYTES_MAX: usize = 4 << 20;
/// The most sources that one output names: what a verifier takes by default.
const SOURCES_MAX: usize = 1_024;

/// The packs of steps by the steps.
pub type Packs = BTreeMap<StepId, Arc<Manifest>>;

/// Why a step cannot be committed as it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// An input could not be read.
    #[error("an input could not be read, name=`{name}`")]
    Source {
        /// Which.
        name: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// Inputs or outputs that are not as planned.
    #[error("inputs or outputs of the step are not as planned, step=`{step}`")]
    NotAsPlanned {
        /// Which step.
        step: StepId,
        /// One line for each.
        faults: Vec<String>,
    },
}

/// What the labels of a step's pack say of it.
pub fn labels(
    outcome: Outcome,
    agent: Option<&AgentName>,
    pipeline: Option<&PipelineName>,
) -> Labels {
    let mut labels = Labels::new();
    labels.insert(LabelKey::known(OUTCOME_LABEL), Text::known(&outcome));
    if let Some(agent) = agent {
        labels.insert(LabelKey::known(AGENT_LABEL), Text::known(&agent.name));
        labels.insert(
            LabelKey::known(AGENT_VERSION_LABEL),
            Text::known(&agent.version),
        );
    }
    labels.extend(pipeline.map(|name| (LabelKey::known(PIPELINE_LABEL), Text::known(name))));
    labels
}

/// The label of this name.
pub(super) fn label<'a>(labels: &'a Labels, name: &str) -> Option<&'a str> {
    let found = labels.iter().find(|(key, _)| key.as_str() == name);
    found.map(|(_, value)| value.as_str())
}

/// What the labels of a step's pack say became of it.
pub fn outcome_of(manifest: &Manifest) -> Option<Outcome> {
    label(manifest.labels(), OUTCOME_LABEL)?.parse().ok()
}

/// The agent that the labels of a step's pack name; `None` also where they are none that can be one.
pub fn agent_of(manifest: &Manifest) -> Option<AgentName> {
    Some(AgentName {
        name: label(manifest.labels(), AGENT_LABEL)?.parse().ok()?,
        version: label(manifest.labels(), AGENT_VERSION_LABEL)?
            .parse()
            .ok()?,
    })
}

/// Says of each input where it comes from, and of each output what it was made from. `packs` are those of the steps that
/// `step` comes after.
///
/// # Errors
/// An input that comes from nowhere, or not from where the plan says; something that the plan names and is not there.
pub async fn link(
    step: &PlannedStep,
    outcome: Outcome,
    artifacts: &mut [NewArtifact],
    packs: &Packs,
) -> Result<(), StepError> {
    let mut faults = missing(step, outcome, artifacts);
    let sources = Sources::of(step, packs);
    let mut seen: BTreeSet<(PackId, ArtifactName)> = BTreeSet::new();
    let mut links: Vec<Input> = Vec::new();
    for artifact in artifacts
        .iter_mut()
        .filter(|one| is_input(one.name.as_str()))
    {
        let name = artifact.name.to_string();
        let commitment =
            commitment(&*artifact.source)
                .await
                .map_err(|source| StepError::Source {
                    name: name.clone(),
                    source,
                })?;
        match sources.find(&name, commitment) {
            Ok(Some(link)) => {
                if seen.insert((link.pack, link.name.clone())) {
                    links.push(link.clone());
                }
                artifact.inputs = vec![link];
            }
            Ok(None) => {}
            Err(fault) => faults.push(format!("{name}: {fault}")),
        }
    }
    if !faults.is_empty() {
        return Err(StepError::NotAsPlanned {
            step: step.step_id.clone(),
            faults,
        });
    }
    let outputs = artifacts.iter().filter(|one| !is_input(one.name.as_str()));
    // Texts always become JSON.
    let spelled = serde_json::to_vec(&links).unwrap_or_default();
    let all = outputs.count().saturating_mul(spelled.len());
    if links.len() <= SOURCES_MAX && all <= OUTPUT_LINKS_BYTES_MAX {
        for artifact in artifacts
            .iter_mut()
            .filter(|one| !is_input(one.name.as_str()))
        {
            artifact.inputs.clone_from(&links);
        }
    }
    Ok(())
}

/// What is wrong with the pack of a step: with its agent, and with what it was made from. Before a commit this finds files
/// that changed after they were linked.
pub fn check(step: &PlannedStep, pack: &Manifest, packs: &Packs) -> Vec<Finding> {
    let mut found = Vec::new();
    agree::of_step(step, pack, packs, &mut found);
    found
}

pub(super) fn is_input(name: &str) -> bool {
    name.starts_with("inputs/")
}

/// What the plan names and the step does not have.
fn missing(step: &PlannedStep, outcome: Outcome, artifacts: &[NewArtifact]) -> Vec<String> {
    if outcome != Outcome::Succeeded {
        return Vec::new();
    }
    let there: BTreeSet<&ArtifactName> = artifacts.iter().map(|artifact| &artifact.name).collect();
    let inputs = step.inputs.iter().map(|input| &input.name);
    inputs
        .chain(&step.outputs)
        .filter(|name| !there.contains(name))
        .map(|name| format!("{name}: the plan names it, and it is not there"))
        .collect()
}

/// The packs of the steps that a step comes after.
pub(super) struct Upstream<'a> {
    by_step: BTreeMap<&'a StepId, &'a Arc<Manifest>>,
    by_pack: BTreeMap<PackId, &'a Arc<Manifest>>,
}

impl<'a> Upstream<'a> {
    pub(super) fn of(step: &'a PlannedStep, packs: &'a Packs) -> Self {
        let before = step.after.iter();
        let by_step: BTreeMap<_, _> = before
            .filter_map(|before| Some((before, packs.get(before)?)))
            .collect();
        let by_pack = by_step
            .values()
            .map(|pack| (pack.pack_id(), *pack))
            .collect();
        Self { by_step, by_pack }
    }

    /// Whether a link leads to an output of such a step.
    pub(super) fn has(&self, link: &Input) -> bool {
        let pack = self.by_pack.get(&link.pack);
        let found = pack.and_then(|pack| pack.artifact(link.name.as_str()));
        !is_input(link.name.as_str())
            && found.is_some_and(|found| found.commitment() == link.commitment)
    }

    /// The output of this name of a step, as a link.
    pub(super) fn output(&self, step: &StepId, name: &str) -> Option<Input> {
        let pack = self.by_step.get(step)?;
        Some(link_to(pack, pack.artifact(name)?))
    }
}

fn link_to(pack: &Manifest, artifact: &Artifact) -> Input {
    Input {
        commitment: artifact.commitment(),
        name: artifact.name().clone(),
        pack: pack.pack_id(),
    }
}

/// Where inputs come from.
struct Sources<'a> {
    step: &'a PlannedStep,
    upstream: Upstream<'a>,
    /// The outputs of the steps before, by their bytes.
    outputs: BTreeMap<Digest, Vec<Input>>,
}

impl<'a> Sources<'a> {
    fn of(step: &'a PlannedStep, packs: &'a Packs) -> Self {
        let upstream = Upstream::of(step, packs);
        let mut outputs: BTreeMap<Digest, Vec<Input>> = BTreeMap::new();
        for pack in upstream.by_step.values() {
            let artifacts = pack.artifacts().iter();
            for output in artifacts.filter(|artifact| !is_input(artifact.name().as_str())) {
                let same = outputs.entry(output.commitment()).or_default();
                same.push(link_to(pack, output));
            }
        }
        Self {
            step,
            upstream,
            outputs,
        }
    }

    /// Where an input with these bytes comes from; `None` where it is from outside.
    fn find(&self, name: &str, commitment: Digest) -> Result<Option<Input>, &'static str> {
        let Some(planned) = planned(self.step, name) else {
            return self.by_bytes(name, commitment).map(Some);
        };
        match planned.whence() {
            Some(Whence::Outside) => Ok(None),
            Some(Whence::Pack(pack, artifact)) => Ok(Some(Input {
                commitment,
                name: artifact.clone(),
                pack,
            })),
            Some(Whence::Step(from, artifact)) => {
                let link = self.upstream.output(from, artifact.as_str());
                let link = link.ok_or("the step that it comes from has no such output")?;
                if link.commitment != commitment {
                    return Err("its bytes are not those of the output that the plan names");
                }
                Ok(Some(link))
            }
            None => Err("the plan does not say where it comes from"),
        }
    }

    /// The output with these bytes, by preference the one of the same name.
    fn by_bytes(&self, name: &str, commitment: Digest) -> Result<Input, &'static str> {
        let same = self.outputs.get(&commitment);
        let same = same.map(Vec::as_slice).unwrap_or_default();
        let below = |name: &str| name.split_once('/').map(|(_, below)| below.to_owned());
        let namesake = same
            .iter()
            .find(|link| below(link.name.as_str()) == below(name));
        namesake.or(same.first()).cloned().ok_or(
            "no output of a step before it has these bytes, and the plan does not name it as an input from outside",
        )
    }
}

/// What the plan says of an input.
pub(super) fn planned<'a>(step: &'a PlannedStep, name: &str) -> Option<&'a PlannedInput> {
    step.inputs.iter().find(|input| input.name.as_str() == name)
}

async fn commitment(source: &dyn Source) -> Result<Digest, StoreError> {
    let bytes = source.bytes().await?;
    let mut body = source.open(0..bytes).await?;
    let mut hasher = ChunkHasher::new();
    while let Some(piece) = body.next().await {
        hasher.update(&piece?);
    }
    let (content, bytes) = hasher.finish();
    Ok(content.commitment(bytes))
}
