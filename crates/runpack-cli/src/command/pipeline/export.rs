//! `runpack pipeline export`: a directory in which an engine has laid out a whole run.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use runpack_core::id::StepId;
use runpack_core::pipeline::{Outcome, Plan};

use super::begin::{begin_in, draft_plan};
use super::finish;
use super::step::Made;
use super::trail_file::{Missing, TrailFile};
use super::{Place, WhichRun, read_document};
use crate::command::Execute;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::limits::LimitOptions;

/// Keep a whole run at once, from a directory in which everything is laid out
///
/// DIR holds `definition.yaml`, `plan.json`, and `steps/STEP/inputs` and `steps/STEP/outputs` for each step that was done.
/// The trail is `events/audit_trail.jsonl` in it, which is made, or continued if the run was begun there. Interrupted, run
/// it again.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Export {
    /// The directory of the run
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    #[command(flatten)]
    run: WhichRun,
    /// A step that failed; may be given several times
    #[arg(long = "failed", value_name = "STEP")]
    failed: Vec<StepId>,
    /// What became of the run [default: succeeded, where every step of the plan did]
    #[arg(long, value_name = "OUTCOME")]
    outcome: Option<Outcome>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    limits: LimitOptions,
}

const EXAMPLES: &str = "\
Examples:
  runpack pipeline export run-42/ --tenant acme --run-id r42 --to s3://evidence/ci
  runpack pipeline verify s3://evidence/ci --tenant acme --run-id r42";

impl Execute for Export {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let limits = context.limits(&self.limits)?;
        let run = self.run.run(context)?;
        let plan = draft_plan(&self.directory.join("plan.json"))?;
        let definition = read_document(&self.directory.join("definition.yaml"), "the definition")?;
        let done = self.steps(&plan)?;
        let storage = self.place.open(context, &run.subject())?;
        let events = self.directory.join("events");
        fs::create_dir_all(&events).map_err(|error| unread(&events, &error))?;
        let trail = events.join("audit_trail.jsonl");
        let mut trail = TrailFile::open(&trail, Missing::Make, context)?;
        begin_in(
            context,
            &storage,
            &run,
            definition.into(),
            &plan,
            &mut trail,
        )?;
        let has_ended = trail.story()?.finished.is_some();
        for step_id in plan.in_order().map(|step| &step.step_id) {
            // After the end nothing can be told any more: what was to be committed, was.
            if has_ended || !done.contains(step_id) {
                continue;
            }
            let outcome = if self.failed.contains(step_id) {
                Outcome::Failed
            } else {
                Outcome::Succeeded
            };
            let directory = self.directory.join("steps").join(step_id.as_str());
            let made = Made {
                directory: &directory,
                step_id,
                outcome,
                agent: None,
            };
            let kept = made.commit(context, &storage, &run, &plan, &limits)?;
            made.tell(context, &kept, &plan, &mut trail)?;
        }
        finish::end(
            context,
            &storage,
            &run,
            &plan,
            self.outcome,
            &mut trail,
            &limits,
        )?
        .keep(context)
    }
}

impl Export {
    /// The steps that were done, all of which are planned.
    fn steps(&self, plan: &Plan) -> Result<BTreeSet<StepId>, Failure> {
        let steps = self.directory.join("steps");
        let mut done = BTreeSet::new();
        let mut strays = Vec::new();
        for entry in fs::read_dir(&steps).map_err(|error| unread(&steps, &error))? {
            let name = entry.map_err(|error| unread(&steps, &error))?.file_name();
            let planned = name.to_str().and_then(|name| name.parse().ok());
            match planned.filter(|step| plan.step(step).is_some()) {
                Some(step) => drop(done.insert(step)),
                None => strays.push(OsStr::to_string_lossy(&name).into_owned()),
            }
        }
        let unknown = self.failed.iter().filter(|step| !done.contains(step));
        strays.extend(unknown.map(ToString::to_string));
        if strays.is_empty() {
            return Ok(done);
        }
        Err(Failure::new(
            format!(
                "these are no steps of the plan that were done, path=`{}`",
                steps.display()
            ),
            "add them to the plan, or take them away",
        )
        .with_details(strays))
    }
}

fn unread(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        format!(
            "a directory of the run could not be read or made, path=`{}`",
            path.display()
        ),
        "lay the run out as `runpack pipeline export --help` says, and check permissions",
    )
    .because(error)
}
