//! `runpack mirror`: what one store has and the other has not.

mod job;

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Execute;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::identity::RunOptions;
use crate::limits::LimitOptions;
use crate::output::Format;
use crate::settings::Settings;
use crate::storage::{Access, Storage, StoreAddress, parse_store};
use crate::table::{count, safe, size};

/// Copy every pack and bundle of one store that another has not
///
/// Every byte is held against its manifest on the way, and a pack appears in TO only whole. What is there is compared by
/// its manifest and not copied again, so a mirror that was interrupted goes on: run it again. A pack that cannot be
/// copied does not stop the others. Receipts are recorded as `push` does.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[command(mut_arg("tenant", |arg| arg.help("Only packs of this tenant")))]
#[command(mut_arg("namespace", |arg| arg.help("Only packs of this namespace")))]
#[command(mut_arg("scenario", |arg| arg.help("Only packs of this scenario")))]
#[command(mut_arg("run_id", |arg| arg.help("Only packs of this run")))]
pub(crate) struct Mirror {
    /// The store to copy from: file:PATH or s3://BUCKET/PREFIX
    #[arg(value_name = "FROM", value_parser = parse_store)]
    from: StoreAddress,
    /// The store to copy to
    #[arg(value_name = "TO", value_parser = parse_store)]
    to: StoreAddress,
    /// The configuration file of FROM's service, where that is another than TO's
    ///
    /// All that counts for FROM stands below `runpacks.s3` in it, and in RUNPACK_FROM_ACCESS_KEY and
    /// RUNPACK_FROM_SECRET_KEY or the standard AWS chain. All else (runpack.yaml, RUNPACK_STORE_*, --endpoint,
    /// --region) counts for TO.
    #[arg(long, value_name = "FILE")]
    from_config: Option<PathBuf>,
    #[command(flatten)]
    run: RunOptions,
    #[command(flatten)]
    limits: LimitOptions,
}

const EXAMPLES: &str = "\
Examples:
  runpack mirror file:/srv/packs s3://evidence/ci
  runpack mirror s3://evidence/ci file:/mnt/copy --tenant acme
  runpack mirror s3://evidence/ci s3://second-site --from-config first-site.yaml

With --tenant and --namespace only their part of FROM is looked through, in which there are no bundles and no pipelines.

Exit codes: 0 all of it is there, 1 something in FROM does not verify, 2 something could not be copied";

impl Execute for Mirror {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let limits = context.limits(&self.limits)?;
        crate::receipts::book(context)?;
        let from = match (&self.from, &self.from_config) {
            (StoreAddress::S3(bucket), Some(file)) => {
                let settings = Settings::of_source(context, file)?;
                Storage::open_bucket(context, &settings, bucket, Access::Read)?
            }
            (StoreAddress::File(_), Some(_)) => {
                return Err(Failure::new(
                    "--from-config says how to reach a service, and FROM is a directory",
                    "leave it out",
                ));
            }
            (StoreAddress::Region(_), Some(_)) => {
                return Err(Failure::new(
                    "--from-config says how to reach a service, and FROM is a region, which says it itself",
                    "leave it out",
                ));
            }
            (_, None) if self.from == self.to => return Err(one_store()),
            (_, None) => Storage::open(context, &self.from, Access::Read)?,
        };
        let to = Storage::open(context, &self.to, Access::Write)?;
        if from.place() == to.place() {
            return Err(one_store());
        }
        let summary = job::run(context, &self.run, &from, &to, &limits)?;
        match context.output.format() {
            Format::Json => context.output.print_json(&json!({
                "from": from.shown(),
                "to": to.shown(),
                "copied": summary.copied,
                "copied_bytes": summary.copied_bytes,
                "there": summary.there,
                "invalid": summary.invalid,
                "failed": summary.failed,
                "faults": summary.faults,
                "faults_unlisted": summary.faults_unlisted,
            }))?,
            Format::Text => context.output.print(&text(&summary, &from, &to))?,
        }
        Ok(match (summary.invalid, summary.failed) {
            (0, 0) => Exit::Success,
            (0, _) => Exit::Trouble,
            _ => Exit::Invalid,
        })
    }
}

fn one_store() -> Failure {
    Failure::new(
        "the two stores are one",
        "name the store to copy from, and another one to copy to",
    )
}

fn text(summary: &job::Summary, from: &Storage, to: &Storage) -> String {
    let mut text = format!(
        "mirrored {} to {}\n\n  {} copied ({}), {} there, {} invalid, {} failed\n",
        safe(&from.shown()),
        safe(&to.shown()),
        count(summary.copied, "pack"),
        size(summary.copied_bytes),
        summary.there,
        summary.invalid,
        summary.failed
    );
    if !summary.faults.is_empty() {
        text.push('\n');
    }
    for fault in &summary.faults {
        add!(
            text,
            "  {}: {}\n      {}\n",
            fault.what,
            safe(&fault.key),
            safe(&fault.detail)
        );
    }
    if summary.faults_unlisted > 0 {
        add!(text, "  and {} more\n", summary.faults_unlisted);
    }
    text
}
