//! `runpack pipeline export`: a directory in which an engine has laid out a whole run.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use runpack_core::id::StepId;
use runpack_core::pipeline::{Outcome, Plan};

use super::begin::{begin_in, draft_plan};
use super::finish::Ending;
use super::step::Made;
use super::trail_file::{Missing, TrailFile};
use super::{Place, WhichRun, read_document};
use crate::command::Execute;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::limits::LimitOptions;

/// Keep a whole run at once, from a directory in which everything is laid out
///
/// DIR holds `definition.yaml`, `plan.json`, and `steps/STEP/inputs` and `steps/STEP/outputs` for each step that was done,
/// and nothing else. The trail is `events/audit_trail.jsonl` in it, which is made, or continued if the run was begun there. Interrupted, run
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
        self.has_nothing_else()?;
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
        for step_id in plan.in_order().map(|step| &step.step_id) {
            if !done.contains(step_id) {
                continue;
            }
            let story = trail.story()?;
            // After the end nothing is told any more. What was told is compared with what is there now.
            if story.finished.is_some() && !story.steps.contains_key(step_id) {
                context.output.remark(&format!(
                    "warning: the run ended without this step, which is not taken, step=`{step_id}`"
                ));
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
                told: &story.steps,
            };
            let kept = made.commit(context, &storage, &run, &plan, &limits)?;
            made.tell(context, &kept, &mut trail)?;
        }
        let ending = Ending {
            outcome: self.outcome,
            take: &[],
        };
        let end = ending.end(context, &storage, &plan, &mut trail, &limits)?;
        end.keep(context)
    }
}

impl Export {
    /// The steps that were done, all of which are planned.
    fn steps(&self, plan: &Plan) -> Result<BTreeSet<StepId>, Failure> {
        let steps = self.directory.join("steps");
        let mut done = BTreeSet::new();
        let mut strays = Vec::new();
        for name in names(&steps)? {
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

impl Export {
    /// What is not understood would not be kept, so it is refused.
    fn has_nothing_else(&self) -> Result<(), Failure> {
        let mut strays = Vec::new();
        let events = self.directory.join("events");
        let known: [&OsStr; 4] =
            ["definition.yaml", "plan.json", "steps", "events"].map(OsStr::new);
        for name in names(&self.directory)? {
            if !known.contains(&name.as_os_str()) {
                strays.push(name.to_string_lossy().into_owned());
            }
        }
        if events.exists() {
            for name in names(&events)? {
                if name != "audit_trail.jsonl" {
                    strays.push(format!("events/{}", name.to_string_lossy()));
                }
            }
        }
        if strays.is_empty() {
            return Ok(());
        }
        strays.sort_unstable();
        Err(Failure::new(
            format!(
                "some of what is in the directory of the run has no place in it, and would not be kept, path=`{}`",
                self.directory.display()
            ),
            "lay the run out as `runpack pipeline export --help` says: files belong into a step's `inputs/` or `outputs/`",
        )
        .with_details(strays))
    }
}

fn names(directory: &Path) -> Result<Vec<OsString>, Failure> {
    let entries = fs::read_dir(directory).map_err(|error| unread(directory, &error))?;
    let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
    let names: Result<Vec<OsString>, std::io::Error> = names.collect();
    names.map_err(|error| unread(directory, &error))
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
