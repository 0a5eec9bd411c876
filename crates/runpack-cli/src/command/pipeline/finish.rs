//! `runpack pipeline finish`: the end of a run, and its pack.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use runpack_core::id::{PackId, StepId};
use runpack_core::limits::Limits;
use runpack_core::manifest::Manifest;
use runpack_core::pack::CommittedPack;
use runpack_core::pipeline::finish::{FinishError, check, step_manifest, stored_trail};
use runpack_core::pipeline::step::{Packs, agent_of, outcome_of};
use runpack_core::pipeline::{Committed, Ended, Metadata, Outcome, Plan, Story, Trail};
use serde_json::json;

use super::commit::{Kept, Witness};
use super::step::{late, other_pack, packs_of};
use super::trail_file::{Missing, TrailFile};
use super::{Place, Run, WhichRun, findings as lines, plan_of, plan_told};
use crate::command::Execute;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::limits::LimitOptions;
use crate::output::Format;
use crate::receipts::{self, Seen};
use crate::storage::Storage;

/// End a run, and commit its pack: plan, metadata, trail, and the manifest of every step
///
/// Steps that other machines committed are taken by their pack ids, as `step` printed them there: what is in the store and
/// nobody names is not taken for a step. What `verify` would object to is refused, and the trail then stays as it is. It goes
/// to the store first: where another finisher was there before, this one changes nothing. Interrupted, run it again.
#[derive(Debug, Args)]
pub(crate) struct Finish {
    /// The file of the run's trail; it says whose run it is
    #[arg(long, value_name = "FILE", required_unless_present = "adopt", conflicts_with_all = ["tenant", "run_id", "adopt"])]
    trail: Option<PathBuf>,
    /// Finish a run whose finisher died with its trail in the store: by that trail, with --tenant and --run-id. The store
    /// alone tells of such a run, so no receipt is written for it that this machine does not have already
    #[arg(long)]
    adopt: bool,
    #[command(flatten)]
    run: WhichRun,
    /// A step that another machine committed, by its pack id; may be given several times
    #[arg(long = "take", value_name = "STEP=PACK_ID", value_parser = parse_taken, conflicts_with = "adopt")]
    take: Vec<(StepId, PackId)>,
    /// What became of the run [default: succeeded, where every step of the plan did]
    #[arg(long, value_name = "OUTCOME", conflicts_with = "adopt")]
    outcome: Option<Outcome>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    limits: LimitOptions,
}

impl Execute for Finish {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let limits = context.limits(&self.limits)?;
        let end = if let Some(path) = &self.trail {
            let mut trail = TrailFile::open(path, Missing::Refuse, context)?;
            let begun = trail.story()?.begun;
            let storage = self.place.open(context, &Run::of(&begun).subject())?;
            let plan = plan_told(context, &*storage.reader(), &begun)?;
            let ending = Ending {
                outcome: self.outcome,
                take: &self.take,
            };
            ending.end(context, &storage, &plan, &mut trail, &limits)?
        } else {
            let run = self.run.run(context)?;
            let storage = self.place.open(context, &run.subject())?;
            let plan = plan_of(context, &*storage.reader(), &run)?;
            let trail = stored(context, &storage, &run)?.ok_or_else(|| {
                Failure::new(
                    "no finisher left a trail of this run in the store",
                    "finish the run with its own trail, as --trail",
                )
            })?;
            let mut end = commit(context, &storage, &run, (&plan, &trail), &limits, || Ok(()))?;
            end.witness = Witness::Store;
            end
        };
        end.keep(context)
    }
}

/// A run that ended, and its pack.
pub(super) struct End {
    storage: Storage,
    committed: CommittedPack,
    witness: Witness,
    metadata: Metadata,
    /// Whether this machine has a receipt for each step.
    were_seen: bool,
    /// The steps that were taken by their pack ids.
    taken: Vec<(StepId, PackId)>,
}

impl End {
    /// Records it on this machine, and says so.
    pub(super) fn keep(self, context: &Context) -> Result<Exit, Failure> {
        let kept = Kept::record(context, &self.storage, self.committed, self.witness)?;
        let told = &self.metadata;
        match context.output.format() {
            Format::Json => {
                let taken: Vec<_> = self
                    .taken
                    .iter()
                    .map(|(step, pack)| json!({"step_id": step, "pack": pack}))
                    .collect();
                let more = json!({
                    "outcome": told.outcome,
                    "steps": told.steps,
                    "taken": taken,
                    "trail": told.trail,
                });
                context.output.print_json(&kept.json(more))?;
            }
            Format::Text => {
                let done = told.steps.iter().filter(|step| step.pack.is_some()).count();
                let mut more = vec![
                    ("outcome", told.outcome.to_string()),
                    ("steps", format!("{done} of {}", told.steps.len())),
                ];
                let taken = self.taken.iter();
                more.extend(taken.map(|(step, pack)| ("taken", format!("{step} {pack}"))));
                context.output.print(&kept.text("finished", more))?;
            }
        }
        Ok(Exit::Success)
    }
}

fn parse_taken(text: &str) -> Result<(StepId, PackId), String> {
    let (step, pack) = text
        .split_once('=')
        .ok_or("a step that is taken is written STEP=PACK_ID")?;
    let step = step.parse().map_err(|error| format!("{error}"))?;
    let pack = pack.parse().map_err(|error| format!("{error}"))?;
    Ok((step, pack))
}

/// How a run is to end.
pub(super) struct Ending<'a> {
    /// What became of it, where that is said.
    pub(super) outcome: Option<Outcome>,
    /// Steps that other machines committed.
    pub(super) take: &'a [(StepId, PackId)],
}

impl Ending<'_> {
    /// Brings the trail to its end and the run's pack to the store.
    pub(super) fn end(
        &self,
        context: &Context,
        storage: &Storage,
        plan: &Plan,
        trail: &mut TrailFile,
        limits: &Limits,
    ) -> Result<End, Failure> {
        let story = trail.story()?;
        let run = Run::of(&story.begun);
        let mut events = Vec::new();
        match (story.finished, self.outcome) {
            (Some(ended), Some(asked)) if ended.outcome != asked => {
                return Err(Failure::new(
                    format!(
                        "the trail tells of another end, outcome=`{}` asked=`{asked}`",
                        ended.outcome
                    ),
                    "leave --outcome out: how a run ended is told once",
                ));
            }
            (Some(_), _) => self.were_taken(&story)?,
            (None, asked) => {
                let mut story = story;
                let at = context.now.time;
                for (step, committed) in self.take_steps(context, storage, plan, &story, limits)? {
                    events.push(committed.event(&step, at));
                    story.steps.insert(step, committed);
                }
                let outcome = conclude(plan, &story, asked)?;
                events.push(Ended { at, outcome }.event());
            }
        }
        // What is refused is refused before the file says that the run has ended: nothing follows that.
        let ended = trail.with(&events)?;
        let mut end = commit(context, storage, &run, (plan, &ended), limits, || {
            let mut events = events.into_iter();
            events.try_for_each(|event| trail.append(event).map(drop))
        })?;
        if !self.take.is_empty() || !end.were_seen {
            // Others made them.
            end.witness = Witness::Machine(Seen::Found);
        }
        end.taken = self.in_order(plan);
        Ok(end)
    }

    /// What is taken, in the order of the plan.
    fn in_order(&self, plan: &Plan) -> Vec<(StepId, PackId)> {
        let take: BTreeMap<&StepId, PackId> =
            self.take.iter().map(|(step, pack)| (step, *pack)).collect();
        let steps = plan.in_order().map(|step| &step.step_id);
        steps
            .filter_map(|step| Some((step.clone(), *take.get(step)?)))
            .collect()
    }

    /// A run that has ended takes no more steps.
    fn were_taken(&self, story: &Story) -> Result<(), Failure> {
        for (step, pack) in self.take {
            match story.steps.get(step).map(|told| told.pack) {
                Some(told) if told == *pack => {}
                Some(told) => return Err(told_otherwise(step, told)),
                None => return Err(late(step, "it was not taken")),
            }
        }
        Ok(())
    }

    /// The steps that are in the store and not in the trail, each of which must be asked for by its pack id.
    fn take_steps(
        &self,
        context: &Context,
        storage: &Storage,
        plan: &Plan,
        story: &Story,
        limits: &Limits,
    ) -> Result<Vec<(StepId, Committed)>, Failure> {
        let (told, run) = (&story.steps, Run::of(&story.begun));
        let take = self.asked(plan)?;
        let reader = storage.reader();
        let (mut found, mut strangers) = (Vec::new(), Vec::new());
        for step in plan.in_order().map(|step| &step.step_id) {
            let asked = take.get(step).copied();
            if let Some(told) = told.get(step) {
                if asked.is_some_and(|asked| asked != told.pack) {
                    return Err(told_otherwise(step, told.pack));
                }
                continue;
            }
            let read = step_manifest(&*reader, &run.tenant, &run.run_id, step, limits);
            match (context.wait(read)??, asked) {
                (None, None) => {}
                (Some(manifest), Some(asked)) if manifest.pack_id() == asked => {
                    found.push((step.clone(), taken(step, &manifest)?));
                }
                (Some(manifest), Some(asked)) => {
                    return Err(other_pack(step, asked, manifest.pack_id()));
                }
                (Some(manifest), None) => {
                    strangers.push(format!("--take {step}={}", manifest.pack_id()));
                }
                (None, Some(_)) => {
                    return Err(Failure::new(
                        format!(
                            "the store has no pack of a step that is to be taken, step=`{step}`"
                        ),
                        "commit that step first, and check the store",
                    ));
                }
            }
        }
        if !strangers.is_empty() {
            return Err(Failure::new(
                "the store has packs of steps that the trail does not tell of",
                "take those that another machine committed, if these are the ids that `runpack pipeline step` printed there; \
                 what nobody committed somebody else put there, and it is to be removed",
            )
            .with_details(strangers));
        }
        Ok(found)
    }

    /// What is to be taken, each once and a step of the plan.
    fn asked(&self, plan: &Plan) -> Result<BTreeMap<&StepId, PackId>, Failure> {
        let mut take = BTreeMap::new();
        for (step, pack) in self.take {
            let is_new = take.insert(step, *pack).is_none();
            if !is_new || plan.step(step).is_none() {
                return Err(Failure::new(
                    format!("a step is to be taken twice, or is not of the plan, step=`{step}`"),
                    "give each step of the plan once",
                ));
            }
        }
        Ok(take)
    }
}

fn told_otherwise(step: &StepId, told: PackId) -> Failure {
    Failure::new(
        format!(
            "the trail tells of another pack of a step than is to be taken, step=`{step}` told=`{told}`"
        ),
        "leave that --take out: a step is told of once",
    )
}

/// What the pack of a step says of it.
fn taken(step: &StepId, manifest: &Manifest) -> Result<Committed, Failure> {
    let outcome = outcome_of(manifest).ok_or_else(|| {
        Failure::new(
            format!("a step's pack does not say what became of it, step=`{step}`"),
            "commit steps with `runpack pipeline step`; this one stays where it is",
        )
    })?;
    Ok(Committed {
        pack: manifest.pack_id(),
        outcome,
        agent: agent_of(manifest),
    })
}

/// What became of the run.
fn conclude(plan: &Plan, story: &Story, asked: Option<Outcome>) -> Result<Outcome, Failure> {
    let left: Vec<String> = plan
        .in_order()
        .filter_map(|step| match story.steps.get(&step.step_id) {
            Some(committed) if committed.outcome == Outcome::Succeeded => None,
            Some(committed) => Some(format!("{}: {}", step.step_id, committed.outcome)),
            None => Some(format!("{}: no pack", step.step_id)),
        })
        .collect();
    match asked {
        Some(asked) if asked != Outcome::Succeeded => Ok(asked),
        _ if left.is_empty() => Ok(Outcome::Succeeded),
        _ => Err(Failure::new(
            "not every step of the plan has succeeded, so the run has not",
            "commit the steps that are missing, or say what became of the run with --outcome failed or cancelled",
        )
        .with_details(left)),
    }
}

/// The trail that a finisher brought to the store, if one did.
pub(super) fn stored(
    context: &Context,
    storage: &Storage,
    run: &Run,
) -> Result<Option<Trail>, Failure> {
    let reader = storage.reader();
    let stored = context.wait(stored_trail(&*reader, &run.tenant, &run.run_id))??;
    let Some(stored) = stored else {
        return Ok(None);
    };
    let trail = Trail::parse(&stored).map_err(|error| {
        Failure::new(
            "the trail in the store does not hold",
            "somebody changed the store: restore it from a copy that verifies",
        )
        .because(&error)
        .with_exit(Exit::Invalid)
    })?;
    Ok(Some(trail))
}

/// Commits the pack of the run that this plan and this trail, which has its end, are of. `tell` is called when nothing is
/// objected to, and before anything is written to the store.
fn commit(
    context: &Context,
    storage: &Storage,
    run: &Run,
    (plan, trail): (&Plan, &Trail),
    limits: &Limits,
    tell: impl FnOnce() -> Result<(), Failure>,
) -> Result<End, Failure> {
    let told = Story::of(trail).map_err(|error| explained(error.into(), run))?;
    if told.begun.tenant != run.tenant || told.begun.run_id != run.run_id {
        return Err(Failure::new(
            format!(
                "the trail in the store is of another run, run_id=`{}`",
                told.begun.run_id
            ),
            "somebody changed the store: restore it from a copy that verifies",
        )
        .with_exit(Exit::Invalid));
    }
    if told.finished.is_none() {
        return Err(explained(FinishError::NotEnded, run));
    }
    let packs = packs_of(context, &*storage.reader(), run, told.steps.keys(), limits)?;
    let store = storage.store();
    let checked = context.wait(check(&store, plan, trail, &packs, limits))?;
    let checked = checked.map_err(|error| explained(error, run))?;
    let were_seen = were_seen(context, &packs)?;
    tell()?;
    let metadata = checked.metadata().clone();
    let committed = context.wait(checked.commit(&store, context.producer.clone()))?;
    let committed = committed.map_err(|error| explained(error, run))?;
    Ok(End {
        storage: storage.clone(),
        witness: Witness::Machine(Seen::from(committed.commit)),
        committed,
        metadata,
        were_seen,
        taken: Vec::new(),
    })
}

/// Whether this machine has a receipt for each of these, so that none was taken from elsewhere.
fn were_seen(context: &Context, packs: &Packs) -> Result<bool, Failure> {
    let book = receipts::book(context)?;
    for pack in packs.values() {
        if !receipts::is_known(&book, pack)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn explained(error: FinishError, run: &Run) -> Failure {
    let failure = |help: String| Failure::new("the run is not finished", help).because(&error);
    match error {
        FinishError::OtherTrail { .. } => failure(format!(
            "another finisher ended this run: see what it did with `runpack pipeline show`; if it died, `runpack pipeline \
             finish --adopt --tenant {} --run-id {}` goes on with its trail",
            run.tenant, run.run_id
        )),
        FinishError::OtherPlan { .. } | FinishError::OtherStep { .. } => {
            failure("somebody changed the store: restore it from a copy that verifies".to_owned())
                .with_exit(Exit::Invalid)
        }
        FinishError::Disagreeing { ref findings } => {
            let help = "a step was not committed by `runpack pipeline step`, an agent that the plan names is not registered, or \
                        somebody changed the store: nothing was committed, and the trail is as it was";
            failure(help.to_owned())
                .with_details(lines(findings))
                .with_exit(Exit::Invalid)
        }
        FinishError::Large { .. } => failure(
            "put many small files of a step into one archive, or make the run two".to_owned(),
        ),
        FinishError::Pack(error) => error.into(),
        FinishError::Store(error) => error.into(),
        _ => failure(
            "give the trail that `runpack pipeline begin` wrote, and check the store".to_owned(),
        ),
    }
}
