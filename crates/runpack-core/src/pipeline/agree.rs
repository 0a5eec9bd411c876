//! Whether the documents and step packs of a run say the same (specification, section 14). Pure: everything was read, and
//! held against what the run's pack commits to, before.

use super::metadata::{Metadata, Outcome, STARTED_AT_LABEL};
use super::plan::{Plan, PlannedInput, PlannedStep, Whence};
use super::step::{self, Packs, Upstream, label};
use super::story::Story;
use super::trail::Trail;
use crate::finding::{Code, Finding};
use crate::id::{PackId, PipelineHash, PipelineName, PipelineTenant, RunId};
use crate::manifest::{Artifact, Input, Labels, Manifest, RunPart};

/// What a run's pack holds.
pub(super) struct Parts<'a> {
    pub(super) tenant: &'a PipelineTenant,
    pub(super) run_id: &'a RunId,
    pub(super) pipeline_hash: PipelineHash,
    pub(super) plan: &'a Plan,
    pub(super) trail: &'a Trail,
    pub(super) metadata: &'a Metadata,
    /// The labels of the run's pack.
    pub(super) labels: &'a Labels,
    /// The packs of the steps that the run's pack lists.
    pub(super) packs: &'a Packs,
}

/// What does not agree.
pub(super) fn findings(parts: &Parts<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let name = RunPart::AuditTrail.name();
    if let Err(error) = parts.trail.check(parts.metadata.trail) {
        found.push(Finding::new(Code::PipelineTrail, error.to_string()).about(name.clone()));
    }
    match Story::of(parts.trail) {
        Ok(story) => {
            trail(parts, &story, &mut found);
            metadata(parts, &story, &mut found);
            labels(parts, &mut found);
            steps(parts, &story, &mut found);
            agents(parts, &story, &mut found);
        }
        Err(error) => found.push(Finding::new(Code::PipelineTrail, error.to_string()).about(name)),
    }
    for planned in parts.plan.steps() {
        if let Some(manifest) = parts.packs.get(&planned.step_id) {
            of_step(planned, manifest, parts.packs, &mut found);
        }
    }
    found
}

/// The trail tells of this run, by this plan and definition.
fn trail(parts: &Parts<'_>, story: &Story, found: &mut Vec<Finding>) {
    let begun = &story.begun;
    let differs = [
        (begun.tenant != *parts.tenant, "tenant"),
        (begun.run_id != *parts.run_id, "run id"),
        (begun.plan != parts.plan.sha256(), "plan"),
        (begun.pipeline_hash != parts.pipeline_hash, "definition"),
    ];
    for (_, what) in differs.into_iter().filter(|(differs, _)| *differs) {
        let detail = format!("it begins with another {what} than the run has, line=`1`");
        let finding = Finding::new(Code::PipelineTrail, detail);
        found.push(finding.about(RunPart::AuditTrail.name()));
    }
}

fn metadata(parts: &Parts<'_>, story: &Story, found: &mut Vec<Finding>) {
    // Its head was compared by itself: what is left says what else differs.
    let detail = match Metadata::of(story, parts.plan, parts.metadata.trail) {
        None => "the audit trail has no end, and metadata tell of one",
        Some(expected) if expected != *parts.metadata => "it is not what plan and audit trail give",
        Some(_) => return,
    };
    let finding = Finding::new(Code::PipelineMetadata, detail);
    found.push(finding.about(RunPart::Metadata.name()));
}

/// Whoever reads no more than the manifest of the run's pack reads the same there.
fn labels(parts: &Parts<'_>, found: &mut Vec<Finding>) {
    let expected = parts.metadata.labels(parts.plan);
    for name in [step::OUTCOME_LABEL, STARTED_AT_LABEL, step::PIPELINE_LABEL] {
        if label(parts.labels, name) != label(&expected, name) {
            let detail = format!(
                "a label of the run's pack is not what plan and metadata say, label=`{name}`"
            );
            found.push(Finding::new(Code::PipelineMetadata, detail));
        }
    }
}

/// The run's pack lists the steps that the trail tells of, which are steps of the plan.
fn steps(parts: &Parts<'_>, story: &Story, found: &mut Vec<Finding>) {
    let mut object = |step: &crate::id::StepId, detail: String| {
        let about = RunPart::Step(step.clone()).name();
        found.push(Finding::new(Code::PipelineStep, detail).about(about));
    };
    for (step, manifest) in parts.packs {
        if parts.plan.step(step).is_none() {
            object(step, "the plan has no such step".to_owned());
        }
        let told = story.steps.get(step).map(|committed| committed.pack);
        if told != Some(manifest.pack_id()) {
            let told = told.map_or_else(|| "none".to_owned(), |told: PackId| told.to_string());
            object(
                step,
                format!("the audit trail tells of another pack, told=`{told}`"),
            );
        }
    }
    let pipeline = parts.plan.pipeline().map(PipelineName::as_str);
    for (step, manifest) in parts.packs {
        if label(manifest.labels(), step::PIPELINE_LABEL) != pipeline {
            object(
                step,
                "its labels name another pipeline than the plan".to_owned(),
            );
        }
    }
    for (step, committed) in &story.steps {
        match parts.packs.get(step) {
            None => object(
                step,
                "the audit trail tells of this step, and the run has no pack of it".to_owned(),
            ),
            Some(manifest) if step::outcome_of(manifest) != Some(committed.outcome) => {
                object(
                    step,
                    "the audit trail tells of another outcome than the step's pack".to_owned(),
                );
            }
            Some(_) => {}
        }
    }
    if story.finished.map(|ended| ended.outcome) == Some(Outcome::Succeeded) {
        for planned in parts.plan.steps() {
            let step = &planned.step_id;
            let outcome = story.steps.get(step).map(|committed| committed.outcome);
            if outcome != Some(Outcome::Succeeded) {
                object(
                    step,
                    "the run is said to have succeeded, and this step did not".to_owned(),
                );
            }
        }
    }
}

/// Who did a step is the same in the trail and in the labels of the step's pack: each label by itself, as it is written
/// there. Half a name, or one that nobody can have, names somebody all the same.
fn agents(parts: &Parts<'_>, story: &Story, found: &mut Vec<Finding>) {
    for (step, committed) in &story.steps {
        let agent = committed.agent.as_ref();
        let told = [
            (step::AGENT_LABEL, agent.map(|agent| agent.name.as_str())),
            (
                step::AGENT_VERSION_LABEL,
                agent.map(|agent| agent.version.as_str()),
            ),
        ];
        let differs = |pack: &Manifest| {
            let mut told = told.iter();
            told.any(|(name, told)| label(pack.labels(), name) != *told)
        };
        if parts.packs.get(step).is_some_and(|pack| differs(pack)) {
            let detail = "the audit trail names another agent than the labels of the step's pack";
            let about = RunPart::Step(step.clone()).name();
            found.push(Finding::new(Code::PipelineAgent, detail).about(about));
        }
    }
}

/// Whether a step's pack is what the plan says, made from what it may be made from.
pub(super) fn of_step(
    planned: &PlannedStep,
    pack: &Manifest,
    packs: &Packs,
    found: &mut Vec<Finding>,
) {
    let place = |name: &str| format!("steps/{}/{name}", planned.step_id);
    let upstream = Upstream::of(planned, packs);
    if let Some(agent) = &planned.agent
        && step::agent_of(pack) != Some(agent.agent())
    {
        let detail = format!(
            "the plan has another agent for this step, agent=`{}`",
            agent.agent()
        );
        found.push(Finding::new(Code::PipelineAgent, detail).about(place("manifest.json")));
    }
    for artifact in pack.artifacts() {
        let name = artifact.name().as_str();
        let stray = artifact
            .inputs()
            .iter()
            .find(|link| !may_link(planned, &upstream, link));
        if let Some(link) = stray {
            let detail = format!(
                "it names a source that is no output of a step before it, nor of a pack that the plan names, pack=`{}` \
                 name=`{}`",
                link.pack, link.name
            );
            found.push(Finding::new(Code::PipelineLink, detail).about(place(name)));
        }
        if step::is_input(name)
            && let Some(detail) = input(planned, &upstream, artifact)
        {
            found.push(Finding::new(Code::PipelineInput, detail).about(place(name)));
        }
    }
    if step::outcome_of(pack) == Some(Outcome::Succeeded) {
        let has = |name: &str| pack.artifact(name).is_some();
        for input in planned
            .inputs
            .iter()
            .filter(|input| !has(input.name.as_str()))
        {
            let detail = "the plan names this input, and the step does not have it";
            found.push(Finding::new(Code::PipelineInput, detail).about(place(input.name.as_str())));
        }
        for output in planned
            .outputs
            .iter()
            .filter(|output| !has(output.as_str()))
        {
            let detail = "the plan names this output, and the step does not have it";
            found.push(Finding::new(Code::PipelineStep, detail).about(place(output.as_str())));
        }
    }
}

/// Whether a link leads to an output of a step before, or to an artifact of a pack that the plan names.
fn may_link(planned: &PlannedStep, upstream: &Upstream<'_>, link: &Input) -> bool {
    let named = planned
        .inputs
        .iter()
        .any(|input| input.whence() == Some(Whence::Pack(link.pack, &link.name)));
    named || upstream.has(link)
}

/// What is wrong with where an input comes from.
fn input(
    planned: &PlannedStep,
    upstream: &Upstream<'_>,
    artifact: &Artifact,
) -> Option<&'static str> {
    let commitment = artifact.commitment();
    let links = artifact.inputs();
    if links.iter().any(|link| link.commitment != commitment) {
        return Some("its bytes are not those of the source that it names");
    }
    let expected = match step::planned(planned, artifact.name().as_str()).map(PlannedInput::whence)
    {
        None => {
            let detail = "it is no output of a step before it, and the plan does not name it";
            return links.is_empty().then_some(detail);
        }
        Some(Some(Whence::Outside)) => return None,
        Some(Some(Whence::Pack(pack, name))) => Input {
            commitment,
            name: name.clone(),
            pack,
        },
        Some(Some(Whence::Step(step, name))) => match upstream.output(step, name.as_str()) {
            Some(output) => output,
            None => return Some("the step that it comes from has no such output"),
        },
        Some(None) => return Some("the plan does not say where it comes from"),
    };
    (!links.contains(&expected)).then_some("it does not come from where the plan says")
}
