//! `runpack verify`: whether a pack is the one that was made.

use std::path::{Path, PathBuf};

use clap::Args;
use runpack_core::verify::{Level, Verdict, VerifyReport};
use serde_json::json;

use super::Execute;
use crate::check;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::file;
use crate::limits::LimitOptions;
use crate::output::Format;
use crate::pins::{Known, PinOptions};
use crate::report::{html, text};
use crate::sources;
use crate::target::{Target, TargetOptions};

/// Prove that a pack is the one that was made, and that nothing was changed, added or removed
///
/// Every byte is hashed and compared with what the manifest commits to. That shows a pack to be consistent; that it is
/// the one that was made only something outside of it can show: its pack id, a signature, or the receipt that `export`
/// recorded on this machine, which is consulted without being asked for.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Verify {
    /// Also check the digests that producers claim for files over 8 MiB as a whole
    #[arg(long, conflicts_with = "presence")]
    deep: bool,
    /// Only look whether everything is there with its size: proves no content, and is never valid
    #[arg(long)]
    presence: bool,
    /// Write a report for people: one HTML page that needs nothing else
    #[arg(long, value_name = "OUT.html")]
    report: Option<PathBuf>,
    #[command(flatten)]
    limits: LimitOptions,
    #[command(flatten)]
    target: TargetOptions,
    #[command(flatten)]
    pins: PinOptions,
}

const EXAMPLES: &str = "\
Examples:
  runpack verify run-42.tar.gz                                    # by the receipt of this machine
  runpack verify run-42.tar.gz --expect-pack-id sha256:9f2c...    # by its pack id
  runpack verify run-42.tar.gz --key signer.pub.pem               # by the signature beside it
  runpack verify file:/srv/packs --tenant acme --namespace prod --scenario loan --run-id run-42
  curl https://... | runpack verify - --expect-pack-id sha256:9f2c...

Exit codes: 0 valid, 1 invalid, 2 undecided or misuse, 3 consistent (0 with --allow-unpinned)";

impl Execute for Verify {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let limits = context.limits(&self.limits)?;
        if let Some(path) = &self.report {
            file::check_free(path)?;
        }
        let level = match (self.deep, self.presence) {
            (true, _) => Level::Deep,
            (false, true) => Level::Presence,
            (false, false) => Level::Full,
        };
        let target = Target::open(&self.target, context)?;
        if let Some(path) = &self.report {
            target.check_outside("report", path)?;
        }
        let known = Known::gather(&self.pins, &target, context)?;
        let report = check::verify(context, &target, &known, level, &limits)?;
        match context.output.format() {
            Format::Json => {
                let mut result = json!(report);
                sources::add_to(&mut result, target.failover());
                context.output.print_json(&result)?;
            }
            Format::Text => context
                .output
                .print(&text::render(&report, &context.output))?,
        }
        if let Some(path) = &self.report {
            self.write_page(path, &report, context)?;
        }
        Ok(check::exit_of(report.verdict, self.pins.allows_unpinned()))
    }
}

impl Verify {
    fn write_page(
        &self,
        path: &Path,
        report: &VerifyReport,
        context: &Context,
    ) -> Result<(), Failure> {
        let shown = self.target.target.to_string_lossy();
        let mut command = format!(
            "runpack verify {}",
            html::shell_word(Path::new(&self.target.target))
        );
        // Only an id that something vouched for: the one that was found may be a forger's.
        match report.pack_id() {
            Some(pack_id) if report.verdict == Verdict::Valid => {
                add!(command, " --expect-pack-id {pack_id}");
            }
            _ => command.push_str(" --expect-pack-id PACK_ID_FROM_WHOEVER_MADE_IT"),
        }
        let page = html::Page::new(
            &shown,
            context.now.time,
            &command,
            context.producer.version.as_str(),
        );
        file::create(path, |out| {
            html::render(report, &page, out).map_err(|error| {
                Failure::new(
                    "the report could not be written",
                    "check that there is space",
                )
                .because(&error)
            })
        })
    }
}
