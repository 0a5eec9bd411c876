//! Verifying a target and saying what was found, for every command that does.

use std::path::Path;
use std::sync::Arc;

use runpack_core::bundle::{BundleOutcome, verify_bundle};
use runpack_core::key::Location;
use runpack_core::limits::Limits;
use runpack_core::manifest::Manifest;
use runpack_core::pin::Pins;
use runpack_core::retention::{Removed, removed};
use runpack_core::store::ArtifactReader;
use runpack_core::store::failover::FailoverReader;
use runpack_core::verify::{Code, Level, Pack, Verdict, VerifyOptions, VerifyReport};
use serde_json::json;

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::Format;
use crate::pins::Known;
use crate::progress::Meter;
use crate::report::text;
use crate::sources;
use crate::table::safe;
use crate::target::Target;

/// Verifies a target against what is known of it.
///
/// # Errors
/// It could not be looked at, or a receipt could not be read. What was found is a report.
pub fn verify(
    context: &Context,
    target: &Target,
    known: &Known,
    level: Level,
    limits: &Limits,
) -> Result<VerifyReport, Failure> {
    let settled = sources::settle(context, target, |target| {
        Ok((once(context, target, known, level, limits)?, ()))
    });
    settled.map(|(report, ())| report)
}

/// As [`verify`], in one reading from wherever it comes.
pub(crate) fn once(
    context: &Context,
    target: &Target,
    known: &Known,
    level: Level,
    limits: &Limits,
) -> Result<VerifyReport, Failure> {
    match target {
        Target::Files(files) => {
            let container = Arc::clone(&files.container);
            let mut options = VerifyOptions::level(level);
            options.limits = limits.clone();
            let _meter = Meter::of(&context.output, "verifying", &options.progress);
            context.wait(async {
                let pack = match Pack::open(container, limits).await {
                    Ok(pack) => pack,
                    Err(report) => return Ok(*report),
                };
                let pins = known.pins(pack.manifest())?;
                let mut report = pack.verify(&pins, &options).await;
                if let Some(storage) = files.storage()
                    && report
                        .findings
                        .iter()
                        .any(|found| found.code == Code::ArtifactMissing)
                {
                    let removed = removed_from(&*storage.reader(), pack.manifest()).await;
                    report.notes.extend(removed.as_ref().map(removed_note));
                }
                Ok(report)
            })?
        }
        Target::Bundle(bundle) => {
            let bounds = limits.clone();
            let outcome = bundle.read(context, "verifying", move |source| {
                verify_bundle(source, &bounds, level)
            })?;
            report_of(outcome, known, level)
        }
    }
}

/// What a store says of the removal of the artifacts of a pack that lies there as files.
pub(crate) async fn removed_from(
    reader: &dyn ArtifactReader,
    manifest: &Manifest,
) -> Option<Removed> {
    let place = Location::manifest(manifest.subject()).key().ok()?;
    removed(reader, manifest.pack_id(), Some(&place)).await
}

/// That artifacts were removed by plan, as the store says: nothing is proved by it, and no verdict changes.
pub(crate) fn removed_note(removed: &Removed) -> String {
    format!(
        "its artifacts were removed by a retention plan, as the store says: policy=`{}` completed_at=`{}` by=`{}` receipt=`{}`",
        removed.policy, removed.completed_at, removed.by, removed.receipt
    )
}

/// The report on a bundle that was read.
///
/// # Errors
/// A receipt could not be read.
pub(crate) fn report_of(
    outcome: BundleOutcome,
    known: &Known,
    level: Level,
) -> Result<VerifyReport, Failure> {
    let pins = match &outcome.manifest {
        Some(manifest) => known.pins(manifest)?,
        None => Pins::none(),
    };
    Ok(VerifyReport::of_bundle(outcome, |_| pins, level))
}

/// The exit code of a verdict.
pub const fn exit_of(verdict: Verdict, allows_unpinned: bool) -> Exit {
    match verdict {
        Verdict::Valid => Exit::Success,
        Verdict::Consistent if allows_unpinned => Exit::Success,
        Verdict::Consistent => Exit::Consistent,
        Verdict::Invalid => Exit::Invalid,
        Verdict::Undecided => Exit::Trouble,
    }
}

/// Says what was found, and where the copy that was made of it is (JSON: as the member `name`).
pub(crate) fn print_copy(
    context: &Context,
    report: &VerifyReport,
    name: &str,
    made: Option<&Path>,
    failover: Option<&FailoverReader>,
) -> Result<(), Failure> {
    let made = made.map(|path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()));
    let made = made.as_deref().map(Path::to_string_lossy);
    match context.output.format() {
        Format::Json => {
            let mut result = json!({ name: made, "report": report });
            sources::add_to(&mut result, failover);
            context.output.print_json(&result)
        }
        Format::Text => {
            let where_to = made.map_or_else(
                || "nothing was written".to_owned(),
                |path| format!("written to {}", safe(&path)),
            );
            let report = text::render(report, &context.output);
            context.output.print(&format!("{report}\n{where_to}\n"))
        }
    }
}
