//! `runpack pipeline`: the run of a pipeline, step by step or at once.
//!
//! The trail is a local file, and the handle of a run: it says whose run it is, and every command that does something
//! appends to it under a lock. What other machines do comes into it when the run is finished.

mod agent;
mod begin;
mod commit;
mod event;
mod export;
mod finish;
mod show;
mod step;
mod trail_file;
mod verify;

use std::path::Path;

use clap::{Args, Subcommand};
use runpack_core::id::{PipelineTenant, RunId, Tenant};
use runpack_core::manifest::Subject;
use runpack_core::pipeline::{Begun, DOCUMENT_BYTES_MAX, Plan};
use runpack_core::store::ArtifactReader;
use runpack_core::verify::Finding;

use super::Execute;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::file;
use crate::identity::RunOptions;
use crate::storage::{Storage, StoreAddress, parse_store};
use crate::target::pipeline_tenant;

/// How many of the things that do not agree are shown.
const FINDINGS_SHOWN_MAX: usize = 100;

/// Keep the run of a pipeline: its plan, a pack for each step, and one pack that commits to all of it
///
/// A run is begun with its plan, each step is committed as a pack of its own, and `finish` commits the pack of the run,
/// whose id stands for all of it: `verify` proves the run by it. `export` does all that with a directory in which an
/// engine has laid out everything.
#[derive(Debug, Args)]
pub(crate) struct PipelineCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Begin(Box<begin::Begin>),
    Step(Box<step::Step>),
    Event(event::EventCommand),
    Finish(finish::Finish),
    Export(Box<export::Export>),
    Verify(Box<verify::Verify>),
    Show(show::Show),
    Define(begin::Define),
    Agent(agent::AgentCommand),
}

impl Execute for PipelineCommand {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        match self.what {
            What::Begin(command) => command.execute(context),
            What::Step(command) => command.execute(context),
            What::Event(command) => command.execute(context),
            What::Finish(command) => command.execute(context),
            What::Export(command) => command.execute(context),
            What::Verify(command) => command.execute(context),
            What::Show(command) => command.execute(context),
            What::Define(command) => command.execute(context),
            What::Agent(command) => command.execute(context),
        }
    }
}

/// Whose run.
#[derive(Debug, Clone, Args)]
struct WhichRun {
    /// Whose pipeline it is [env: RUNPACK_TENANT]
    #[arg(long, value_name = "TENANT")]
    tenant: Option<Tenant>,
    /// Which run
    #[arg(long, value_name = "ID")]
    run_id: Option<RunId>,
}

/// A run of a pipeline.
#[derive(Debug, Clone)]
struct Run {
    tenant: PipelineTenant,
    run_id: RunId,
}

impl WhichRun {
    fn run(&self, context: &Context) -> Result<Run, Failure> {
        let run_id = self.run_id.clone().ok_or_else(|| {
            Failure::new(
                "which run is not said",
                "give --run-id, or the file of its trail as --trail",
            )
        })?;
        Ok(Run {
            tenant: tenant_of(context, self.tenant.as_ref())?,
            run_id,
        })
    }
}

/// Whose pipeline it is.
fn tenant_of(context: &Context, given: Option<&Tenant>) -> Result<PipelineTenant, Failure> {
    let options = RunOptions {
        tenant: given.cloned(),
        namespace: None,
        scenario: None,
        run_id: None,
    };
    let tenant = options.whose(context)?.tenant.ok_or_else(|| {
        Failure::new(
            "a pipeline belongs to somebody, and --tenant is not given",
            "give --tenant, or write it as RUNPACK_TENANT",
        )
    })?;
    pipeline_tenant(&tenant)
}

impl Run {
    /// The run that a trail is of.
    fn of(begun: &Begun) -> Self {
        Self {
            tenant: begun.tenant.clone(),
            run_id: begun.run_id.clone(),
        }
    }

    fn subject(&self) -> Subject {
        Subject::Pipeline {
            tenant: self.tenant.clone(),
            run_id: self.run_id.clone(),
        }
    }
}

/// Where it is kept.
#[derive(Debug, Clone, Args)]
struct Place {
    /// The store: file:PATH or s3://BUCKET/PREFIX [env: RUNPACK_STORE_ROOT, RUNPACK_STORE_BUCKET]
    /// [default: file:./runpacks]
    #[arg(long, value_name = "STORE", value_parser = parse_store)]
    to: Option<StoreAddress>,
}

impl Place {
    fn open(&self, context: &Context, subject: &Subject) -> Result<Storage, Failure> {
        Storage::open_for(context, subject, self.to.as_ref(), |settings| {
            settings.address()
        })
    }
}

/// The plan of a run that has begun.
fn plan_of(context: &Context, reader: &dyn ArtifactReader, run: &Run) -> Result<Plan, Failure> {
    let read = runpack_core::pipeline::begin::plan_bytes(reader, &run.tenant, &run.run_id);
    let bytes = context.wait(read)?.map_err(|error| {
        Failure::new(
            format!("the store has no plan of this run, tenant=`{}` run_id=`{}`", run.tenant, run.run_id),
            "begin the run with `runpack pipeline begin`, and check --tenant, --run-id and the store",
        )
        .because(&error)
    })?;
    Plan::parse(&bytes.unwrap_or_default()).map_err(|error| {
        Failure::new(
            "what the store has as the plan of this run is none",
            "somebody changed the store: restore it from a copy that verifies",
        )
        .because(&error)
        .with_exit(Exit::Invalid)
    })
}

/// The plan of the run that a trail is of: the one that it began with, whatever the store says.
fn plan_told(
    context: &Context,
    reader: &dyn ArtifactReader,
    begun: &Begun,
) -> Result<Plan, Failure> {
    let plan = plan_of(context, reader, &Run::of(begun))?;
    let found = plan.sha256();
    if found == begun.plan {
        return Ok(plan);
    }
    Err(Failure::new(
        format!(
            "the store has another plan than the run began with, told=`{}` found=`{found}`",
            begun.plan
        ),
        "somebody changed the store: restore it from a copy that verifies",
    )
    .with_exit(Exit::Invalid))
}

/// What does not agree, as lines.
fn findings(found: &[Finding]) -> Vec<String> {
    let lines = found.iter().take(FINDINGS_SHOWN_MAX).map(|finding| {
        let about = finding.about.as_deref().unwrap_or("the run");
        format!("{} {about}: {}", finding.code, finding.detail)
    });
    lines.collect()
}

/// A document that a person wrote.
fn read_document(path: &Path, what: &str) -> Result<Vec<u8>, Failure> {
    let help = "give the path of a regular file of at most 8 MiB";
    file::read_capped(path, DOCUMENT_BYTES_MAX, what, help)
}
