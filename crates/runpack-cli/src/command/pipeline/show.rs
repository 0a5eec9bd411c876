//! `runpack pipeline show`: how far a run has come, as the store says.

use clap::Args;
use runpack_core::pipeline::finish::step_manifest;
use runpack_core::pipeline::step::{agent_of, outcome_of};
use runpack_core::pipeline::{Outcome, PipelineRun, PlannedAgent, PlannedStep};
use runpack_core::verify::VerifyOptions;
use serde_json::{Value, json};

use super::{Run, WhichRun, plan_of};
use crate::command::Execute;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::limits::LimitOptions;
use crate::output::Format;
use crate::storage::{Access, Storage, StoreAddress, parse_store};
use crate::table::{Align, columns};

/// Show how far a run has come, without verifying anything
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The store: file:PATH or s3://BUCKET/PREFIX
    #[arg(value_name = "STORE", value_parser = parse_store)]
    store: StoreAddress,
    #[command(flatten)]
    run: WhichRun,
    #[command(flatten)]
    limits: LimitOptions,
}

/// A step, as the store has it.
struct Row {
    step_id: String,
    agent: Option<String>,
    outcome: Option<&'static str>,
    pack_id: Option<String>,
}

impl Execute for Show {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let limits = context.limits(&self.limits)?;
        let run = self.run.run(context)?;
        let storage = Storage::open(context, &self.store, Access::Read)?;
        let reader = storage.reader();
        let plan = plan_of(context, &*reader, &run)?;
        let mut rows = Vec::new();
        for step in plan.in_order() {
            let read = step_manifest(&*reader, &run.tenant, &run.run_id, &step.step_id, &limits);
            let manifest = context.wait(read)??;
            rows.push(Row::of(step, manifest.as_deref()));
        }
        let mut options = VerifyOptions::default();
        options.limits = limits;
        let own = PipelineRun::new(reader, run.tenant.clone(), run.run_id.clone());
        // Without a manifest the run has not ended, or what is there is none: `verify` says which.
        let pack = context.wait(own.open(&options))?.ok();
        let pack_id = pack.map(|pack| pack.manifest().pack_id().to_string());
        match context.output.format() {
            Format::Json => context
                .output
                .print_json(&to_json(&run, pack_id.as_deref(), &rows))?,
            Format::Text => context
                .output
                .print(&text(&run, pack_id.as_deref(), &rows))?,
        }
        Ok(Exit::Success)
    }
}

impl Row {
    fn of(step: &PlannedStep, manifest: Option<&runpack_core::manifest::Manifest>) -> Self {
        let done_by = manifest.and_then(agent_of);
        let planned = step.agent.as_ref().map(PlannedAgent::agent);
        Self {
            step_id: step.step_id.to_string(),
            agent: done_by.or(planned).map(|agent| agent.to_string()),
            outcome: manifest.and_then(outcome_of).map(Outcome::as_str),
            pack_id: manifest.map(|manifest| manifest.pack_id().to_string()),
        }
    }
}

fn to_json(run: &Run, pack_id: Option<&str>, rows: &[Row]) -> Value {
    let steps: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({"step_id": row.step_id, "agent": row.agent, "outcome": row.outcome, "pack_id": row.pack_id})
        })
        .collect();
    json!({"tenant": run.tenant, "run_id": run.run_id, "pack_id": pack_id, "steps": steps})
}

fn text(run: &Run, pack_id: Option<&str>, rows: &[Row]) -> String {
    let state = pack_id.map_or_else(
        || "not finished".to_owned(),
        |id| format!("finished, pack id {id}"),
    );
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                format!("  {}", row.step_id),
                row.outcome.unwrap_or("-").to_owned(),
                row.agent.clone().unwrap_or_else(|| "-".to_owned()),
                row.pack_id.clone().unwrap_or_else(|| "-".to_owned()),
            ]
        })
        .collect();
    let table = columns(&[Align::Left; 4], &cells);
    format!(
        "pipeline run {}/{}: {state}\n{table}nothing was verified\n",
        run.tenant, run.run_id
    )
}
