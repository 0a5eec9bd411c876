//! `runpack pipeline begin` and `define`: plan and definition, before the first step.

use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use runpack_core::id::{PipelineHash, Tenant};
use runpack_core::pipeline::definition::{self, DefinitionError};
use runpack_core::pipeline::{Begun, Plan, begin, check_agents};
use runpack_core::store::{Outcome, StoreError};
use serde_json::json;

use super::trail_file::{Missing, TrailFile};
use super::{Place, Run, WhichRun, findings, read_document, tenant_of};
use crate::command::Execute;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::Format;
use crate::storage::Storage;
use crate::table::{fields, safe};

/// Begin a run: its plan and definition go to the store, and its trail begins
///
/// The plan is fixed by this, and so is what the pipeline is. The trail is a file on this machine that says whose run it
/// is; give it to the commands that follow.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Begin {
    #[command(flatten)]
    run: WhichRun,
    /// Which steps there are to be: a file (Docs/operations/pipelines.md)
    #[arg(long, value_name = "FILE")]
    plan: PathBuf,
    /// What the pipeline is: a file of any form, of at most 8 MiB, or the hash of one that the store has: sha256:...
    #[arg(long, value_name = "FILE|HASH")]
    definition: String,
    /// The file that the trail is to be
    #[arg(long, value_name = "FILE")]
    trail: PathBuf,
    #[command(flatten)]
    place: Place,
}

const EXAMPLES: &str = "\
Examples:
  runpack pipeline begin --tenant acme --run-id r42 --plan plan.json --definition pipeline.yaml \\
      --trail r42.jsonl --to s3://evidence/ci
  runpack pipeline step ingest work/ingest --trail r42.jsonl --to s3://evidence/ci
  runpack pipeline finish --trail r42.jsonl --to s3://evidence/ci";

/// Keep the definition of a pipeline under its SHA-256
///
/// Runs that begin can name it by its hash. `begin` keeps the definition that it is given too.
#[derive(Debug, Args)]
pub(crate) struct Define {
    /// What the pipeline is: a file of any form, of at most 8 MiB
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Whose pipeline it is [env: RUNPACK_TENANT]
    #[arg(long, value_name = "TENANT")]
    tenant: Option<Tenant>,
    #[command(flatten)]
    place: Place,
}

impl Execute for Begin {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let run = self.run.run(context)?;
        let plan = draft_plan(&self.plan)?;
        let storage = self.place.open(context, &run.subject())?;
        let definition = self.definition(context, &storage, &run)?;
        let mut trail = TrailFile::open(&self.trail, Missing::Make, context)?;
        let (begun, is_new) = begin_in(context, &storage, &run, definition, &plan, &mut trail)?;
        let path = self.trail.to_string_lossy();
        match context.output.format() {
            Format::Json => context.output.print_json(&json!({
                "tenant": begun.tenant,
                "run_id": begun.run_id,
                "pipeline_hash": begun.pipeline_hash,
                "plan_sha256": begun.plan,
                "begun_at": begun.at,
                "trail": path,
                "commit": if is_new { "new" } else { "again" },
            }))?,
            Format::Text => {
                let done = if is_new { "began" } else { "began before:" };
                let facts = fields(&[
                    ("pipeline hash", begun.pipeline_hash.to_string()),
                    ("steps", plan.steps().len().to_string()),
                    ("trail", safe(&path)),
                ]);
                let (tenant, run_id) = (&begun.tenant, &begun.run_id);
                context
                    .output
                    .print(&format!("{done} pipeline run {tenant}/{run_id}\n{facts}"))?;
            }
        }
        Ok(Exit::Success)
    }
}

impl Begin {
    fn definition(
        &self,
        context: &Context,
        storage: &Storage,
        run: &Run,
    ) -> Result<Bytes, Failure> {
        if let Ok(hash) = self.definition.parse::<PipelineHash>() {
            let reader = storage.reader();
            let read = definition::fetch(&*reader, &run.tenant, hash);
            return context.wait(read)?.map_err(|error| explained(&error));
        }
        let path = PathBuf::from(&self.definition);
        read_document(&path, "the definition").map(Bytes::from)
    }
}

/// A plan as a person wrote it.
pub(super) fn draft_plan(path: &std::path::Path) -> Result<Plan, Failure> {
    Plan::draft(&read_document(path, "the plan")?).map_err(|error| {
        Failure::new(
            format!("this is no plan of a pipeline, path=`{}`", path.display()),
            "correct it: Docs/operations/pipelines.md has one to begin with",
        )
        .because(&error)
    })
}

/// Begins a run, or finds that it has begun by this plan and definition; tells how, and whether it is new.
pub(super) fn begin_in(
    context: &Context,
    storage: &Storage,
    run: &Run,
    definition: Bytes,
    plan: &Plan,
    trail: &mut TrailFile,
) -> Result<(Begun, bool), Failure> {
    let is_new = trail.trail().lines().is_empty();
    let hash = definition::hash(&definition).map_err(|error| explained(&error))?;
    if !is_new {
        let told = trail.story()?.begun;
        let expected = Begun {
            tenant: run.tenant.clone(),
            run_id: run.run_id.clone(),
            pipeline_hash: hash,
            plan: plan.sha256(),
            at: told.at,
        };
        if told != expected {
            return Err(Failure::new(
                format!(
                    "this trail is of another run, plan or definition, path=`{}` run_id=`{}`",
                    trail.path().display(),
                    told.run_id
                ),
                "give another file as --trail, or the plan and definition that the run began with",
            ));
        }
    }
    let lacking = context.wait(check_agents(&*storage.reader(), plan))??;
    if !lacking.is_empty() {
        return Err(Failure::new(
            "the registry does not have the agents that the plan names by their SHA-256",
            "register them first, with `runpack pipeline agent register`; a version that is something else there already \
             stays, so give the agent another version, and the plan that one; the run has not begun",
        )
        .with_details(findings(&lacking)));
    }
    let at = context.now.time;
    let store = storage.store();
    let begun = begin::begin(&store, &run.tenant, &run.run_id, definition, plan, at);
    let begun = context.wait(begun)?.map_err(|error| explained(&error))?;
    if is_new {
        trail.append(begun.event())?;
        return Ok((begun, true));
    }
    Ok((trail.story()?.begun, false))
}

impl Execute for Define {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let run = Run {
            tenant: tenant_of(context, self.tenant.as_ref())?,
            // A definition belongs to no run, and lies where those of its tenant do, whichever they are.
            run_id: "none"
                .parse()
                .map_err(|error| Failure::new("no run", "report it").because(&error))?,
        };
        let bytes = read_document(&self.file, "the definition")?;
        let storage = self.place.open(context, &run.subject())?;
        let store = storage.store();
        let kept = definition::keep(&*store, &run.tenant, bytes.into());
        let (hash, outcome) = context.wait(kept)?.map_err(|error| explained(&error))?;
        let done = outcome_name(outcome);
        match context.output.format() {
            Format::Json => context
                .output
                .print_json(&json!({"pipeline_hash": hash, "outcome": done}))?,
            Format::Text => context.output.print(&format!("{hash}\n"))?,
        }
        Ok(Exit::Success)
    }
}

/// Whether something was written, in JSON.
pub(super) const fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Created => "created",
        Outcome::AlreadyThere => "there",
    }
}

fn explained(error: &DefinitionError) -> Failure {
    let (help, exit) = match error {
        DefinitionError::Size { .. } => (
            "give a smaller file, one that names the large one by its SHA-256",
            Exit::Trouble,
        ),
        DefinitionError::Damaged { .. } => (
            "somebody changed the store: restore it from a copy that verifies",
            Exit::Invalid,
        ),
        DefinitionError::Store(StoreError::NotFound { .. }) => (
            "keep it first, with `runpack pipeline define`, or give the file",
            Exit::Trouble,
        ),
        DefinitionError::Store(StoreError::AlreadyExists { .. }) => (
            "the run began with another plan, which stays: give that plan, or begin another run",
            Exit::Trouble,
        ),
        _ => ("check the store, then run the same again", Exit::Trouble),
    };
    Failure::new("plan and definition could not be kept or read", help)
        .because(error)
        .with_exit(exit)
}
