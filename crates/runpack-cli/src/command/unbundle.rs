//! `runpack unbundle`: a bundle becomes a pack directory, if it verifies.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use runpack_core::bundle::{BundleError, BundleSink, extract_bundle};
use runpack_core::directory::DirectoryWriter;
use runpack_core::limits::Limits;
use runpack_core::manifest::Manifest;
use runpack_core::verify::{Level, Verdict, VerifyReport};

use super::Execute;
use crate::check;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::file;
use crate::limits::LimitOptions;
use crate::pins::{Known, PinOptions};
use crate::target::{BundleTarget, Locate, Target};

/// Write the files of a bundle to a new directory, if it verifies
///
/// The directory appears only when the whole bundle was read and holds, and only if everything that is known
/// beforehand matches. That all of it holds is no reason to trust it: exit codes are those of `verify`, so 3 says that
/// the directory is there and that nothing vouches for it.
#[derive(Debug, Args)]
pub(crate) struct Unbundle {
    /// The bundle, `-` for standard input, or s3://... of one
    #[arg(value_name = "IN.tar.gz")]
    bundle: OsString,
    /// The directory to make; it must not be there yet
    #[arg(value_name = "OUT_DIR")]
    directory: PathBuf,
    #[command(flatten)]
    limits: LimitOptions,
    #[command(flatten)]
    pins: PinOptions,
}

impl Execute for Unbundle {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let limits = context.limits(&self.limits)?;
        file::check_free(&self.directory)?;
        let target = Target::locate(&self.bundle, &Locate::default(), context)?;
        let Target::Bundle(bundle) = &target else {
            return Err(Failure::new(
                "this is a directory, not a bundle",
                "give a .tar.gz that `runpack bundle` or `export --bundle` made",
            ));
        };
        let known = Arc::new(Known::gather(&self.pins, &target, context)?);
        let (report, made) = unpack(context, bundle, &known, &self.directory, &limits)?;
        check::print_copy(context, &report, "directory", made.as_deref(), None)?;
        Ok(check::exit_of(report.verdict, self.pins.allows_unpinned()))
    }
}

/// Writes the directory if the bundle verifies, and gives the report and the directory.
pub(super) fn unpack(
    context: &Context,
    bundle: &BundleTarget,
    known: &Arc<Known>,
    directory: &Path,
    limits: &Limits,
) -> Result<(VerifyReport, Option<PathBuf>), Failure> {
    let not_written = |error: &dyn std::error::Error| not_written(directory, error);
    let mut sink = PinnedSink {
        writer: DirectoryWriter::create(directory).map_err(|error| not_written(&error))?,
        known: Arc::clone(known),
        is_wanted: false,
    };
    let bounds = limits.clone();
    let (extracted, sink) = bundle.read(context, "unbundling", move |source| {
        let extracted = extract_bundle(source, &bounds, Level::Full, &mut sink);
        (extracted, sink)
    })?;
    let outcome = extracted.map_err(|error| match error {
        BundleError::Sink(source) => not_written(
            &Failure::new(
                "the files could not be written",
                "check that there is space",
            )
            .because(&source),
        ),
        other => not_written(&other),
    })?;
    let is_sound = outcome.is_sound();
    let report = check::report_of(outcome, known, Level::Full)?;
    let may_stay = matches!(report.verdict, Verdict::Valid | Verdict::Consistent);
    let made = if is_sound && may_stay && sink.is_wanted {
        let made = sink.writer.finish();
        Some(made.map_err(|error| not_written(&error))?)
    } else {
        None
    };
    Ok((report, made))
}

fn not_written(directory: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::new(
        format!("the directory could not be made, path=`{}`", directory.display()),
        "check that its parent is there and may be written to, that nothing has this name, and that there is space",
    )
    .because(error)
}

/// Writes a directory, but nothing of a pack that is not the one that is wanted.
struct PinnedSink {
    writer: DirectoryWriter,
    known: Arc<Known>,
    is_wanted: bool,
}

impl BundleSink for PinnedSink {
    fn manifest(&mut self, manifest: &Arc<Manifest>, bytes: &[u8]) -> io::Result<()> {
        // A receipt that cannot be read stops the command later, with its own error.
        self.is_wanted = self
            .known
            .pins(manifest)
            .is_ok_and(|pins| pins.check(manifest).1.is_empty());
        if self.is_wanted {
            self.writer.manifest(manifest, bytes)?;
        }
        Ok(())
    }

    fn chunk(&mut self, artifact: usize, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.is_wanted {
            self.writer.chunk(artifact, offset, bytes)?;
        }
        Ok(())
    }
}
