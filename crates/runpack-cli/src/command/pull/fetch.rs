//! A bundle of a store becomes a file, byte by byte as it is, if it verifies.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runpack_core::bundle::verify_bundle;
use runpack_core::key::Location;
use runpack_core::limits::Limits;
use runpack_core::store::{StoreError, Stored};
use runpack_core::verify::{Level, Pack, Verdict, VerifyReport};

use crate::check;
use crate::context::Context;
use crate::failure::Failure;
use crate::file;
use crate::pins::Known;
use crate::storage::Storage;
use crate::target::{BundleTarget, FilesTarget};

/// The bundle of a pack whose files are in the store, if it is there too.
pub(super) fn existing(
    context: &Context,
    files: &FilesTarget,
    storage: &Storage,
    known: &Known,
    limits: &Limits,
) -> Result<Option<BundleTarget>, Failure> {
    let pack = context.wait(Pack::open(Arc::clone(&files.container), limits))?;
    // Whatever is wrong with it, verifying says so.
    let Ok(pack) = pack else { return Ok(None) };
    let manifest = pack.manifest();
    if !known.pins(manifest)?.check(manifest).1.is_empty() {
        return Ok(None);
    }
    let Some(Ok(key)) = Location::bundle(manifest).map(|location| location.key()) else {
        return Ok(None);
    };
    match context.wait(Stored::find(storage.reader(), &key))? {
        Ok(object) => Ok(Some(BundleTarget::Stored {
            storage: Box::new(storage.clone()),
            object,
            placed: manifest.pack_id(),
            asked: None,
        })),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Copies the bundle to a file that gets its name when all of it has come and holds.
pub(super) fn bundle(
    context: &Context,
    bundle: &BundleTarget,
    known: &Known,
    out: &Path,
    limits: &Limits,
) -> Result<(VerifyReport, Option<PathBuf>), Failure> {
    let mut report = None;
    let written = file::create(out, |file| {
        let kept = file.get_mut().try_clone();
        let kept = kept.map_err(|error| {
            Failure::new("the file could not be written", "try again").because(&error)
        })?;
        let bounds = limits.clone();
        let (outcome, fault) = bundle.read(context, "pulling", move |source| {
            let mut copying = Copying {
                source,
                out: io::BufWriter::with_capacity(1 << 20, kept),
                fault: None,
            };
            let outcome = verify_bundle(&mut copying, &bounds, Level::Full);
            let flushed = copying.out.flush();
            (outcome, copying.fault.or(flushed.err()))
        })?;
        if let Some(fault) = fault {
            return Err(Failure::new(
                format!("the file could not be written, path=`{}`", out.display()),
                "check that there is space, then try again",
            )
            .because(&fault));
        }
        let found = check::report_of(outcome, known, Level::Full)?;
        let may_stay = matches!(found.verdict, Verdict::Valid | Verdict::Consistent);
        report = Some(found);
        if may_stay {
            Ok(())
        } else {
            Err(Failure::new(
                "the bundle does not verify",
                "take another copy of it",
            ))
        }
    });
    match (report, written) {
        (Some(report), Ok(())) => Ok((report, Some(out.to_owned()))),
        (Some(report), Err(_))
            if !matches!(report.verdict, Verdict::Valid | Verdict::Consistent) =>
        {
            Ok((report, None))
        }
        (_, Err(failure)) => Err(failure),
        (None, Ok(())) => Err(Failure::new(
            "nothing was read",
            "this is a bug in Runpack: report it",
        )),
    }
}

/// Keeps what is read.
struct Copying<R> {
    source: R,
    out: io::BufWriter<std::fs::File>,
    fault: Option<io::Error>,
}

impl<R: Read> Read for Copying<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        if self.fault.is_none() {
            let piece = buffer.get(..read).unwrap_or_default();
            self.fault = self.out.write_all(piece).err();
        }
        match &self.fault {
            None => Ok(read),
            // There is no use in reading on.
            Some(fault) => Err(io::Error::other(fault.to_string())),
        }
    }
}
