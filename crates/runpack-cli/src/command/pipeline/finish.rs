//! `runpack pipeline finish`: the end of a run, and its pack.

use std::path::PathBuf;

use clap::Args;
use runpack_core::limits::Limits;
use runpack_core::pack::CommittedPack;
use runpack_core::pipeline::finish::{FinishError, finish, step_manifest, stored_trail};
use runpack_core::pipeline::step::{agent_of, outcome_of};
use runpack_core::pipeline::{Committed, Ended, Metadata, Outcome, Plan, Story, Trail};
use serde_json::json;

use super::commit::Kept;
use super::step::{packs_of, run_of};
use super::trail_file::{Missing, TrailFile};
use super::{Place, Run, WhichRun, plan_of};
use crate::command::Execute;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::limits::LimitOptions;
use crate::output::Format;
use crate::receipts::Seen;
use crate::storage::Storage;

/// End a run, and commit its pack: plan, metadata, trail, and the manifest of every step
///
/// Steps that other machines committed are found in the store, and told of in the trail. The trail goes to the store
/// first: where another finisher was there before, this one changes nothing. Interrupted, run it again.
#[derive(Debug, Args)]
pub(crate) struct Finish {
    /// The file of the run's trail; it says whose run it is
    #[arg(long, value_name = "FILE", required_unless_present = "adopt", conflicts_with_all = ["tenant", "run_id", "adopt"])]
    trail: Option<PathBuf>,
    /// Finish a run whose finisher died with its trail in the store: by that trail, with --tenant and --run-id
    #[arg(long)]
    adopt: bool,
    #[command(flatten)]
    run: WhichRun,
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
            let run = run_of(&trail)?;
            let storage = self.place.open(context, &run.subject())?;
            let plan = plan_of(context, &*storage.reader(), &run)?;
            end(
                context,
                &storage,
                &run,
                &plan,
                self.outcome,
                &mut trail,
                &limits,
            )?
        } else {
            let run = self.run.run(context)?;
            let storage = self.place.open(context, &run.subject())?;
            let plan = plan_of(context, &*storage.reader(), &run)?;
            let trail = adopted(context, &storage, &run)?;
            let mut end = commit(context, &storage, &run, &plan, &trail, &limits)?;
            // The trail came from the store: whoever can write there must not get a receipt for it.
            end.seen = Seen::Found;
            end
        };
        end.keep(context)
    }
}

/// A run that ended, and its pack.
pub(super) struct End {
    storage: Storage,
    committed: CommittedPack,
    seen: Seen,
    metadata: Metadata,
}

impl End {
    /// Records it on this machine, and says so.
    pub(super) fn keep(self, context: &Context) -> Result<Exit, Failure> {
        let kept = Kept::record(context, &self.storage, self.committed, self.seen)?;
        let told = &self.metadata;
        match context.output.format() {
            Format::Json => {
                let more = json!({
                    "outcome": told.outcome,
                    "steps": told.steps,
                    "trail": told.trail,
                });
                context.output.print_json(&kept.json(more))?;
            }
            Format::Text => {
                let done = told.steps.iter().filter(|step| step.pack.is_some()).count();
                let more = vec![
                    ("outcome", told.outcome.to_string()),
                    ("steps", format!("{done} of {}", told.steps.len())),
                ];
                context.output.print(&kept.text("finished", more))?;
            }
        }
        Ok(Exit::Success)
    }
}

/// Brings the trail to its end and the run's pack to the store.
pub(super) fn end(
    context: &Context,
    storage: &Storage,
    run: &Run,
    plan: &Plan,
    outcome: Option<Outcome>,
    trail: &mut TrailFile,
    limits: &Limits,
) -> Result<End, Failure> {
    let ended = trail.story()?.finished;
    match (ended, outcome) {
        (Some(ended), Some(asked)) if ended.outcome != asked => {
            return Err(Failure::new(
                format!(
                    "the trail tells of another end, outcome=`{}` asked=`{asked}`",
                    ended.outcome
                ),
                "leave --outcome out: how a run ended is told once",
            ));
        }
        (Some(_), _) => {}
        (None, asked) => {
            find_steps(context, storage, run, plan, trail, limits)?;
            let outcome = conclude(plan, &trail.story()?, asked)?;
            let at = context.now.time;
            trail.append(Ended { at, outcome }.event())?;
        }
    }
    commit(context, storage, run, plan, trail.trail(), limits)
}

/// Tells of the steps that are in the store and not in the trail.
fn find_steps(
    context: &Context,
    storage: &Storage,
    run: &Run,
    plan: &Plan,
    trail: &mut TrailFile,
    limits: &Limits,
) -> Result<(), Failure> {
    let told = trail.story()?.steps;
    let reader = storage.reader();
    for step in plan.in_order().map(|step| &step.step_id) {
        if told.contains_key(step) {
            continue;
        }
        let read = step_manifest(&*reader, &run.tenant, &run.run_id, step, limits);
        let Some(manifest) = context.wait(read)?? else {
            continue;
        };
        let outcome = outcome_of(&manifest).ok_or_else(|| {
            Failure::new(
                format!("a step's pack does not say what became of it, step=`{step}`"),
                "commit steps with `runpack pipeline step`; this one stays where it is",
            )
        })?;
        let pack = manifest.pack_id();
        let agent = agent_of(&manifest);
        let event = Committed { pack, outcome }.event(step, agent.as_ref(), context.now.time);
        trail.append(event)?;
    }
    Ok(())
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

/// The trail that a finisher left in the store.
fn adopted(context: &Context, storage: &Storage, run: &Run) -> Result<Trail, Failure> {
    let reader = storage.reader();
    let stored = context.wait(stored_trail(&*reader, &run.tenant, &run.run_id))??;
    let stored = stored.ok_or_else(|| {
        Failure::new(
            "no finisher left a trail of this run in the store",
            "finish the run with its own trail, as --trail",
        )
    })?;
    Trail::parse(&stored).map_err(|error| {
        Failure::new(
            "the trail in the store does not hold",
            "somebody changed the store: restore it from a copy that verifies",
        )
        .because(&error)
        .with_exit(Exit::Invalid)
    })
}

fn commit(
    context: &Context,
    storage: &Storage,
    run: &Run,
    plan: &Plan,
    trail: &Trail,
    limits: &Limits,
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
    let metadata = Metadata::of(&told, plan, trail.head());
    let metadata = metadata.ok_or_else(|| explained(FinishError::NotEnded, run))?;
    let packs = packs_of(context, &*storage.reader(), run, told.steps.keys(), limits)?;
    let store = storage.store();
    let producer = context.producer.clone();
    let committed = context.wait(finish(&store, plan, trail, &packs, producer, limits))?;
    let committed = committed.map_err(|error| explained(error, run))?;
    Ok(End {
        storage: storage.clone(),
        seen: Seen::from(committed.commit),
        committed,
        metadata,
    })
}

fn explained(error: FinishError, run: &Run) -> Failure {
    let failure = |help: String| Failure::new("the run is not finished", help).because(&error);
    match error {
        FinishError::OtherTrail { .. } => failure(format!(
            "another finisher ended this run: see what it did with `runpack pipeline show`; if it died, `runpack pipeline \
             finish --adopt --tenant {} --run-id {}` goes on with its trail",
            run.tenant, run.run_id
        )),
        FinishError::OtherPlan { .. } => failure(
            "begin another run for another plan; this one keeps the plan that it began with"
                .to_owned(),
        ),
        FinishError::OtherStep { .. } => {
            failure("somebody changed the store: restore it from a copy that verifies".to_owned())
                .with_exit(Exit::Invalid)
        }
        FinishError::Pack(error) => error.into(),
        FinishError::Store(error) => error.into(),
        _ => failure(
            "give the trail that `runpack pipeline begin` wrote, and check the store".to_owned(),
        ),
    }
}
