//! `runpack pipeline verify`: whether a run and all its steps are what was made.

use clap::Args;
use runpack_core::pipeline::{Outcome, PipelineRun, RunReport};
use runpack_core::verify::{Level, VerifyOptions};
use serde_json::{Value, json};

use super::WhichRun;
use crate::check;
use crate::command::Execute;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::limits::LimitOptions;
use crate::output::Format;
use crate::pins::{Known, PinOptions};
use crate::progress::Meter;
use crate::report::text;
use crate::storage::{Access, Storage, StoreAddress, parse_store};
use crate::table::{Align, columns, count, grouped, safe};
use crate::target::Target;

/// Prove a run: its own pack, the pack of every step, and that they tell the same
///
/// The pack id of the run stands for all of it, so it is what `--expect-pack-id`, a signature, or the receipt of the
/// machine that finished the run must be of. An input must be an output of a step before it, or be named by the plan;
/// trail and metadata must tell of these steps and no others.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 valid, 1 invalid, 2 undecided or misuse, 3 consistent (0 with --allow-unpinned)"
)]
pub(crate) struct Verify {
    /// The store: file:PATH or s3://BUCKET/PREFIX
    #[arg(value_name = "STORE", value_parser = parse_store)]
    store: StoreAddress,
    #[command(flatten)]
    run: WhichRun,
    /// Also check the digests that producers claim for files over 8 MiB as a whole
    #[arg(long)]
    deep: bool,
    #[command(flatten)]
    limits: LimitOptions,
    #[command(flatten)]
    pins: PinOptions,
}

impl Execute for Verify {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let limits = context.limits(&self.limits)?;
        let which = self.run.run(context)?;
        let storage = Storage::open(context, &self.store, Access::Read)?;
        let run = PipelineRun::new(storage.reader(), which.tenant, which.run_id);
        let target = Target::in_place(storage, run.subject());
        let known = Known::gather(&self.pins, &target, context)?;
        let mut options = VerifyOptions::level(if self.deep { Level::Deep } else { Level::Full });
        options.limits = limits;
        let meter = Meter::of(&context.output, "verifying", &options.progress);
        let report = context.wait(async {
            Ok::<_, Failure>(match run.open(&options).await {
                Ok(pack) => {
                    let pins = known.pins(pack.manifest())?;
                    run.verify(&pack, &pins, &options).await
                }
                Err(report) => RunReport::without_manifest(*report),
            })
        })??;
        drop(meter);
        match context.output.format() {
            Format::Json => context.output.print_json(&to_json(&report))?,
            Format::Text => context.output.print(&render(&report, context))?,
        }
        Ok(check::exit_of(report.verdict, self.pins.allows_unpinned()))
    }
}

fn to_json(report: &RunReport) -> Value {
    let steps: Vec<Value> = report
        .steps
        .iter()
        .map(|step| {
            json!({
                "step_id": step.step_id,
                "pack_id": step.pack_id,
                "verdict": step.verdict.as_str(),
                "artifacts_proven": step.artifacts_proven,
                "bytes_read": step.bytes_read,
            })
        })
        .collect();
    json!({
        "verdict": report.verdict.as_str(),
        "outcome": report.metadata.as_ref().map(|told| told.outcome),
        "run": report.run,
        "steps": steps,
        "findings": report.findings,
        "findings_unlisted": report.findings_unlisted,
        "notes": report.notes,
    })
}

fn render(report: &RunReport, context: &Context) -> String {
    let outcome = report.metadata.as_ref().map(|told| told.outcome);
    let steps = u64::try_from(report.steps.len()).unwrap_or(u64::MAX);
    let mut page = format!(
        "{}: the run and {}; what became of it: {}\n\nthe run's own pack\n",
        text::verdict(report.verdict, &context.output),
        count(steps, "step"),
        outcome.map_or("unknown", Outcome::as_str)
    );
    page.push_str(&text::render(&report.run, &context.output));
    let rows: Vec<Vec<String>> = report
        .steps
        .iter()
        .map(|step| {
            vec![
                format!("  {}", step.step_id),
                step.verdict.to_string(),
                count(step.artifacts_proven, "artifact"),
                step.pack_id.to_string(),
            ]
        })
        .collect();
    if !rows.is_empty() {
        let align = [Align::Left, Align::Left, Align::Right, Align::Left];
        add!(page, "\nsteps\n{}", columns(&align, &rows));
    }
    if !report.findings.is_empty() {
        page.push_str("\nfindings in the steps, and in what they tell together\n");
        for finding in &report.findings {
            page.push_str(&text::finding_lines(finding));
        }
    }
    if report.findings_unlisted > 0 {
        add!(page, "  and {} more\n", grouped(report.findings_unlisted));
    }
    for note in &report.notes {
        add!(page, "  note: {}\n", safe(note));
    }
    page
}
