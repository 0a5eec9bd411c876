//! `runpack gc`: residue of exports that ended before their commit.

use clap::Args;
use runpack_core::residue::{self, Mode, Residue, SweepError, Swept};
use runpack_core::store::VersionId;
use serde_json::{Value, json};

use super::Execute;
use crate::context::Context;
use crate::duration::{DurationArgument, parse_duration};
use crate::failure::{Exit, Failure};
use crate::limits::LimitOptions;
use crate::output::Format;
use crate::storage::{Access, Storage, StoreAddress, parse_store};
use crate::table::{count, safe, size};

/// Remove what interrupted exports left in a store; without --yes only show it
///
/// Residue harms nobody, it only takes space: artifacts of runs that were never committed or that lost against another
/// export, and uploads in parts that were never completed. What a manifest lists is never touched, nor is anything in a
/// run in which something is younger than the age, by the store's own clock.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Gc {
    /// The store: file:PATH or s3://BUCKET/PREFIX
    #[arg(value_name = "STORE", value_parser = parse_store)]
    store: StoreAddress,
    /// How old residue must be, at least 1d: 36h, 7d, 2w
    #[arg(long, value_name = "AGE", default_value = "7d", value_parser = parse_duration)]
    older_than: DurationArgument,
    /// Remove it
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    limits: LimitOptions,
}

const EXAMPLES: &str = "\
Examples:
  runpack gc s3://evidence/ci                       # shows what would be removed
  runpack gc s3://evidence/ci --older-than 30d --yes

Exit codes: 0 done, 2 something could not be removed";

/// How many pieces are named in text.
const NAMED_MAX: usize = 50;

impl Execute for Gc {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let limits = context.limits(&self.limits)?;
        let mode = if self.yes { Mode::Remove } else { Mode::DryRun };
        let storage = Storage::open(context, &self.store, Access::Read)?;
        let keeper = storage.housekeeping();
        let is_json = context.output.format() == Format::Json;
        let (mut named, mut unwritten) = (Vec::new(), None);
        let mut tell = |residue: Residue| {
            if is_json {
                // One line for each as it comes: there may be millions.
                unwritten = context.output.print_json(&to_json(&residue)).err();
            } else if named.len() < NAMED_MAX {
                named.push(line(&residue));
            }
        };
        let seconds = self.older_than.seconds();
        let ended = context.wait(residue::sweep(&*keeper, seconds, mode, &limits, &mut tell))?;
        let swept = ended.map_err(not_swept)?;
        if let Some(failure) = unwritten {
            return Err(failure);
        }
        match context.output.format() {
            Format::Json => context.output.print_json(&summary_json(&swept, mode))?,
            Format::Text => context.output.print(&text(&swept, &named, mode))?,
        }
        Ok(if swept.failed == 0 {
            Exit::Success
        } else {
            Exit::Trouble
        })
    }
}

fn not_swept(error: SweepError) -> Failure {
    match error {
        SweepError::Store(error) => error.into(),
        error @ SweepError::TooYoung { .. } => Failure::new(
            error.to_string(),
            "give a longer --older-than: an export that is at work must not be hit",
        ),
        error => Failure::new("the store could not be looked through", "try again").because(&error),
    }
}

fn to_json(residue: &Residue) -> Value {
    let holding = &residue.holding;
    let (removed, fault) = match &residue.removed {
        Ok(removed) => (*removed, None),
        Err(error) => (false, Some(runpack_core::display::chain(error))),
    };
    json!({
        "key": holding.key,
        "version": holding.version.as_ref().map(VersionId::as_str),
        "bytes": holding.bytes,
        "modified": holding.modified,
        "why": residue.why.as_str(),
        "removed": removed,
        "fault": fault,
    })
}

fn line(residue: &Residue) -> String {
    let holding = &residue.holding;
    let mut line = format!(
        "  {}  {}  {}  {}",
        holding.modified,
        size(holding.bytes),
        residue.why.as_str(),
        safe(&holding.key)
    );
    if let Err(error) = &residue.removed {
        add!(
            line,
            "\n      {}",
            safe(&runpack_core::display::chain(error))
        );
    }
    line
}

fn summary_json(swept: &Swept, mode: Mode) -> Value {
    json!({
        "dry_run": mode == Mode::DryRun,
        "looked": swept.looked,
        "residue": swept.residue,
        "residue_bytes": swept.residue_bytes,
        "removed": swept.removed,
        "failed": swept.failed,
        "runs_kept": swept.runs_kept,
    })
}

fn text(swept: &Swept, named: &[String], mode: Mode) -> String {
    let mut said = named.join("\n");
    if !named.is_empty() {
        said.push('\n');
        let unnamed = usize::try_from(swept.residue)
            .unwrap_or(usize::MAX)
            .saturating_sub(named.len());
        if unnamed > 0 {
            add!(said, "  and {unnamed} more\n");
        }
        said.push('\n');
    }
    add!(
        said,
        "{} looked at, {} of residue ({}), {} removed, {} failed, {} kept because of what is young in them\n",
        count(swept.looked, "object"),
        count(swept.residue, "piece"),
        size(swept.residue_bytes),
        swept.removed,
        swept.failed,
        count(swept.runs_kept, "run")
    );
    if mode == Mode::DryRun && swept.residue > 0 {
        said.push_str("nothing was removed: add --yes to remove it\n");
    }
    said
}
