//! `runpack pipeline step`: a directory with `inputs/` and `outputs/` becomes the pack of a step.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use runpack_core::commitment::CHUNK_BYTES;
use runpack_core::directory::{FoundFile, scan};
use runpack_core::id::{PackId, StepId};
use runpack_core::limits::Limits;
use runpack_core::manifest::Subject;
use runpack_core::pack::{NewArtifact, PackDraft, PackError};
use runpack_core::pipeline::finish::step_manifest;
use runpack_core::pipeline::step::{Packs, StepError, agent_of, check, labels, link, outcome_of};
use runpack_core::pipeline::{
    AgentName, Committed, Outcome, Plan, PlannedAgent, PlannedStep, Story,
};
use runpack_core::progress::Progress;
use runpack_core::store::{ArtifactReader, StoreError};
use serde_json::json;

use super::commit::{Kept, Witness};
use super::finish::stored;
use super::trail_file::{Missing, TrailFile};
use super::{Place, Run, WhichRun, plan_of, plan_told};
use crate::clock::SystemClock;
use crate::command::Execute;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::kinds;
use crate::limits::LimitOptions;
use crate::output::Format;
use crate::progress::Meter;
use crate::receipts::Seen;
use crate::storage::Storage;

/// Commit a step: what went in and what came out become a pack of its own
///
/// DIR holds `inputs/` and `outputs/`. Each input must be an output of a step that this one comes after, which is found by
/// its bytes, or be named in the plan; the pack says of each where it comes from. On another machine than the trail's,
/// leave --trail out, and give the pack id that is printed to `finish --take`.
#[derive(Debug, Args)]
pub(crate) struct Step {
    /// Which step of the plan
    #[arg(value_name = "STEP")]
    id: StepId,
    /// The directory that holds `inputs/` and `outputs/`
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The file of the run's trail; it says whose run it is
    #[arg(long, value_name = "FILE", conflicts_with_all = ["tenant", "run_id"])]
    trail: Option<PathBuf>,
    #[command(flatten)]
    run: WhichRun,
    /// What became of the step: succeeded, failed or cancelled
    #[arg(long, value_name = "OUTCOME", default_value = "succeeded")]
    outcome: Outcome,
    /// Who did it [default: the agent that the plan names]
    #[arg(long, value_name = "NAME@VERSION")]
    agent: Option<AgentName>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    limits: LimitOptions,
}

impl Execute for Step {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let limits = context.limits(&self.limits)?;
        let story = match &self.trail {
            // The lock is not held while a step is sent: others may tell of theirs meanwhile.
            Some(path) => Some(TrailFile::open(path, Missing::Refuse, context)?.story()?),
            None => None,
        };
        let run = match &story {
            Some(story) => Run::of(&story.begun),
            None => self.run.run(context)?,
        };
        let subject = subject(&run, &self.id);
        let storage = self.place.open(context, &subject)?;
        let plan = match &story {
            Some(story) => plan_told(context, &*storage.reader(), &story.begun)?,
            None => plan_of(context, &*storage.reader(), &run)?,
        };
        self.is_in_time(context, &storage, &run, story.as_ref())?;
        let told = story.map(|story| story.steps).unwrap_or_default();
        let made = Made {
            directory: &self.directory,
            step_id: &self.id,
            outcome: self.outcome,
            agent: self.agent.as_ref(),
            told: &told,
        };
        let kept = made.commit(context, &storage, &run, &plan, &limits)?;
        if let Some(path) = &self.trail {
            let mut trail = TrailFile::open(path, Missing::Refuse, context)?;
            made.tell(context, &kept, &mut trail)?;
        }
        let agent = made.agent(&plan)?;
        match context.output.format() {
            Format::Json => {
                let agent = agent.map(|agent| agent.to_string());
                let more = json!({"outcome": self.outcome, "agent": agent});
                context.output.print_json(&kept.json(more))?;
            }
            Format::Text => {
                let mut more = vec![("outcome", self.outcome.to_string())];
                more.extend(agent.map(|agent| ("agent", agent.to_string())));
                context.output.print(&kept.text("committed", more))?;
            }
        }
        Ok(Exit::Success)
    }
}

impl Step {
    /// A run that has ended has no more steps. Without a trail here, the one that a finisher brought to the store tells.
    fn is_in_time(
        &self,
        context: &Context,
        storage: &Storage,
        run: &Run,
        story: Option<&Story>,
    ) -> Result<(), Failure> {
        let stored = match story {
            Some(_) => None,
            None => stored(context, storage, run)?.and_then(|trail| Story::of(&trail).ok()),
        };
        let story = story.or(stored.as_ref());
        let is_late = story
            .is_some_and(|story| story.finished.is_some() && !story.steps.contains_key(&self.id));
        if is_late {
            return Err(late(&self.id, "nothing was committed"));
        }
        Ok(())
    }
}

pub(super) fn late(step: &StepId, what: &str) -> Failure {
    Failure::new(
        format!("the run has ended, and this step is not part of it, step=`{step}`"),
        format!("commit the step to another run; {what}"),
    )
}

fn subject(run: &Run, step_id: &StepId) -> Subject {
    Subject::Step {
        tenant: run.tenant.clone(),
        run_id: run.run_id.clone(),
        step_id: step_id.clone(),
    }
}

/// What a step made.
pub(super) struct Made<'a> {
    pub(super) directory: &'a Path,
    pub(super) step_id: &'a StepId,
    pub(super) outcome: Outcome,
    pub(super) agent: Option<&'a AgentName>,
    /// The steps that the trail of the run tells of.
    pub(super) told: &'a BTreeMap<StepId, Committed>,
}

impl Made<'_> {
    /// Who did it.
    fn agent(&self, plan: &Plan) -> Result<Option<AgentName>, Failure> {
        let planned = self.planned(plan)?.agent.as_ref().map(PlannedAgent::agent);
        match (self.agent, planned) {
            (Some(given), Some(planned)) if *given != planned => Err(Failure::new(
                format!(
                    "the plan has another agent for this step, given=`{given}` planned=`{planned}`"
                ),
                "give the agent that the plan names; another one is another plan, and another run",
            )),
            (Some(given), _) => Ok(Some(given.clone())),
            (None, planned) => Ok(planned),
        }
    }

    fn planned<'p>(&self, plan: &'p Plan) -> Result<&'p PlannedStep, Failure> {
        plan.step(self.step_id).ok_or_else(|| {
            let steps = plan.in_order().map(|step| step.step_id.to_string());
            Failure::new(
                format!("the plan has no such step, step=`{}`", self.step_id),
                "give one of the plan's steps",
            )
            .with_details(steps.take(100).collect())
        })
    }

    /// Commits the pack of the step.
    pub(super) fn commit(
        &self,
        context: &Context,
        storage: &Storage,
        run: &Run,
        plan: &Plan,
        limits: &Limits,
    ) -> Result<Kept, Failure> {
        let planned = self.planned(plan)?;
        let agent = self.agent(plan)?;
        let mut artifacts = gather(self.directory)?;
        let before = packs_of(context, &*storage.reader(), run, &planned.after, limits)?;
        self.are_as_told(&before)?;
        let linked = link(planned, self.outcome, &mut artifacts, &before);
        context.wait(linked)?.map_err(not_as_planned)?;
        let progress = Arc::new(Progress::default());
        let mut draft = PackDraft::new(
            subject(run, self.step_id),
            context.now.time,
            context.producer.clone(),
        )
        .with_labels(labels(self.outcome, agent.as_ref(), plan.pipeline()))
        .with_limits(limits.clone())
        .with_progress(Arc::clone(&progress));
        for artifact in artifacts {
            draft.add(artifact);
        }
        let meter = Meter::of(&context.output, "committing", &progress);
        let staged = context.wait(draft.stage(storage.store()))?;
        let staged = staged.map_err(|error| taken(error, self.step_id))?;
        let bytes = staged.manifest().bytes();
        if bytes > CHUNK_BYTES {
            return Err(Failure::new(
                format!("the manifest of a step has at most 8 MiB, bytes=`{bytes}`"),
                "put many small files into one archive, or make the step two",
            ));
        }
        if let Some(finding) = check(planned, staged.manifest(), &before).first() {
            return Err(Failure::new(
                format!(
                    "the step is not what was looked at before, step=`{}`: {}",
                    self.step_id, finding.detail
                ),
                "wait until nothing writes to the directory any more, then commit the step again; nothing was committed",
            ));
        }
        let staged = staged.with_deadline(Arc::new(SystemClock), context.now.time);
        let committed = context.wait(staged.commit())?;
        let committed = committed.map_err(|error| taken(error, self.step_id))?;
        drop(meter);
        let witness = Witness::Machine(Seen::from(committed.commit));
        Kept::record(context, storage, committed, witness)
    }

    /// What the store has of the steps before is what they were told to be.
    fn are_as_told(&self, before: &Packs) -> Result<(), Failure> {
        for (step, pack) in before {
            let told = self.told.get(step);
            if let Some(told) = told.filter(|told| told.pack != pack.pack_id()) {
                return Err(other_pack(step, told.pack, pack.pack_id()));
            }
        }
        Ok(())
    }

    /// Tells of it in the trail, once.
    pub(super) fn tell(
        &self,
        context: &Context,
        kept: &Kept,
        trail: &mut TrailFile,
    ) -> Result<(), Failure> {
        let manifest = &kept.committed.manifest;
        let pack = manifest.pack_id();
        let story = trail.story()?;
        match story.steps.get(self.step_id) {
            Some(told) if told.pack == pack => return Ok(()),
            Some(told) => return Err(other_pack(self.step_id, told.pack, pack)),
            None => {}
        }
        if story.finished.is_some() {
            let what = "it ended while the step was committed, whose pack stays in the store";
            return Err(late(self.step_id, what));
        }
        let committed = Committed {
            pack,
            outcome: outcome_of(manifest).unwrap_or(self.outcome),
            agent: agent_of(manifest),
        };
        trail
            .append(committed.event(self.step_id, context.now.time))
            .map(drop)
    }
}

/// The store has another pack of a step than somebody who knows says.
pub(super) fn other_pack(step: &StepId, told: PackId, found: PackId) -> Failure {
    Failure::new(
        format!("the store has another pack of a step than was told, step=`{step}` told=`{told}` found=`{found}`"),
        "somebody changed the store: restore it from a copy that verifies",
    )
    .with_exit(Exit::Invalid)
}

/// The packs of these steps, of which each must be there. Their manifests together are held to the bound of one, as a
/// verifier of the run holds them.
pub(super) fn packs_of<'a>(
    context: &Context,
    reader: &dyn ArtifactReader,
    run: &Run,
    steps: impl IntoIterator<Item = &'a StepId>,
    limits: &Limits,
) -> Result<Packs, Failure> {
    let mut packs = Packs::new();
    let bytes_max = limits.manifest_bytes_max;
    let mut left = bytes_max;
    for step in steps {
        let read = step_manifest(reader, &run.tenant, &run.run_id, step, limits);
        let manifest = context.wait(read)??.ok_or_else(|| {
            Failure::new(
                format!("a step that comes before has no pack yet, step=`{step}`"),
                "commit that step first",
            )
        })?;
        left = left.checked_sub(manifest.bytes()).ok_or_else(|| {
            Failure::new(
                format!(
                    "the manifests of the steps are together larger than a verifier takes, step=`{step}` bytes_max=`{bytes_max}`"
                ),
                "put many small files of a step into one archive, or make the run two",
            )
        })?;
        packs.insert(step.clone(), manifest);
    }
    Ok(packs)
}

/// What a step's directory holds.
fn gather(directory: &Path) -> Result<Vec<NewArtifact>, Failure> {
    if !directory.is_dir() {
        return Err(Failure::new(
            format!(
                "there is no directory of the step, path=`{}`",
                directory.display()
            ),
            "give the directory that holds `inputs/` and `outputs/`",
        ));
    }
    let (mut artifacts, mut refused) = (Vec::new(), Vec::new());
    for file in scan(directory)? {
        let path = String::from_utf8_lossy(&file.path).into_owned();
        match artifact(file) {
            Ok(artifact) => artifacts.push(artifact),
            Err(fault) => refused.push(format!("{path}: {fault}")),
        }
    }
    if !refused.is_empty() {
        return Err(Failure::new(
            "some files of the step can be no artifacts of it",
            "put each below `inputs/` or `outputs/`, under a name that a file can have everywhere",
        )
        .with_details(refused));
    }
    if artifacts.is_empty() {
        return Err(Failure::new(
            format!(
                "the step has neither inputs nor outputs, path=`{}`",
                directory.display()
            ),
            "give the directory that holds `inputs/` and `outputs/`",
        ));
    }
    Ok(artifacts)
}

fn artifact(file: FoundFile) -> Result<NewArtifact, String> {
    let name = file.name.map_err(|error| error.to_string())?;
    if !name.as_str().starts_with("inputs/") && !name.as_str().starts_with("outputs/") {
        return Err("it is neither an input nor an output".to_owned());
    }
    let last = file
        .path
        .rsplit(|&byte| byte == b'/')
        .next()
        .unwrap_or_default();
    let (media_type, kind) = kinds::of_file_name(last);
    let kind = kind.parse().map_err(|error| format!("{error}"))?;
    let media_type = media_type.parse().map_err(|error| format!("{error}"))?;
    let mut artifact = NewArtifact::new(name, kind, media_type, file.source);
    artifact.title = file.title;
    Ok(artifact)
}

fn not_as_planned(error: StepError) -> Failure {
    let help = "name what comes from outside in the plan's `inputs`, and commit the steps that it comes after first; \
                nothing was committed";
    match error {
        StepError::NotAsPlanned { step, faults } => {
            let message =
                format!("inputs or outputs of the step are not as planned, step=`{step}`");
            Failure::new(message, help).with_details(faults)
        }
        other => Failure::new("the step could not be read", help).because(&other),
    }
}

/// A step has one place, and one pack in it.
fn taken(error: PackError, step: &StepId) -> Failure {
    match error {
        PackError::Store(error @ StoreError::AlreadyExists { .. }) => Failure::new(
            format!("the place of this step has other bytes, which stay, step=`{step}`"),
            "commit the same files as before; what a step did anew belongs to another step, or to another run",
        )
        .because(&error),
        other => other.into(),
    }
}
