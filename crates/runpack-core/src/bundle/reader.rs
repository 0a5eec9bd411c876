//! The reader of bundles: compressed bytes in, findings and verified chunks out, no input or output of
//! its own.

use std::io::{self, Read};
use std::sync::Arc;

use super::archive::{Archive, Stop};
use super::gzip::{Gunzip, Step};
use super::{BundleError, BundleOutcome, BundleSink, Flow, NoSink};
use crate::finding::{Code, Finding};
use crate::level::Level;
use crate::limits::Limits;
use crate::manifest::Manifest;

/// How much the std helpers read at once.
const READ_BYTES: usize = 256 * 1024;

/// Verifies a bundle as it comes, and with a sink hands out what it has verified.
///
/// ```
/// use runpack_core::bundle::{BundleReader, Flow};
/// use runpack_core::limits::Limits;
/// use runpack_core::verify::Level;
///
/// let mut reader = BundleReader::new(Limits::default(), Level::Full);
/// for piece in [&b"\x1f\x8b"[..], b"\x08"] {
///     if reader.push(piece)? == Flow::Done {
///         break;
///     }
/// }
/// assert_eq!(reader.finish().findings.len(), 1);
/// # Ok::<(), runpack_core::bundle::BundleError>(())
/// ```
#[derive(Debug)]
pub struct BundleReader<S = NoSink> {
    gunzip: Gunzip,
    archive: Archive<S>,
    done: bool,
}

impl BundleReader {
    /// A reader that hands nothing out.
    pub fn new(limits: Limits, level: Level) -> Self {
        Self::start(limits, level, None)
    }
}

impl<S: BundleSink> BundleReader<S> {
    /// A reader that hands to `sink` what it has verified. Without a look at content nothing would
    /// be verified, so [`Level::Presence`] is [`Level::Full`] here.
    pub fn with_sink(limits: Limits, level: Level, sink: S) -> Self {
        let level = match level {
            Level::Presence | Level::Full => Level::Full,
            Level::Deep => Level::Deep,
        };
        Self::start(limits, level, Some(sink))
    }

    fn start(limits: Limits, level: Level, sink: Option<S>) -> Self {
        Self {
            gunzip: Gunzip::new(),
            archive: Archive::new(limits, level, sink),
            done: false,
        }
    }

    /// The manifest, once it has been read and is one.
    pub fn manifest(&self) -> Option<&Arc<Manifest>> {
        self.archive.manifest()
    }

    /// Advances by the next bytes of the bundle, however many they are.
    ///
    /// # Errors
    /// The sink failed. The reader is then done, and its outcome is not sound.
    pub fn push(&mut self, compressed: &[u8]) -> Result<Flow, BundleError> {
        if self.done {
            return Ok(Flow::Done);
        }
        let mut input = compressed;
        loop {
            let stop = match self.gunzip.step(&mut input) {
                Ok(Step::NeedInput) => return Ok(Flow::More),
                Ok(Step::Output(bytes)) => self.archive.push(bytes),
                Ok(Step::ArchiveEnd) if self.archive.is_complete() => Ok(()),
                Ok(Step::ArchiveEnd) => Err(Stop::Broken(Finding::new(
                    Code::BundleTruncated,
                    "the deflate data ends before the archive does",
                ))),
                Err(finding) => Err(Stop::Broken(finding)),
            };
            match stop {
                Ok(()) => {}
                Err(Stop::Broken(finding)) => {
                    self.done = true;
                    self.archive.push_finding(finding);
                    return Ok(Flow::Done);
                }
                Err(Stop::Failed(error)) => {
                    self.fail("what was verified could not be stored");
                    return Err(error);
                }
            }
        }
    }

    /// Ends the input.
    pub fn finish(mut self) -> BundleOutcome {
        if !self.done
            && let Err(finding) = self.gunzip.finish()
        {
            self.archive.push_finding(finding);
        }
        self.archive.into_outcome()
    }

    /// Ends the input where its source failed: what is missing is undecided and not invalid.
    pub fn finish_unread(mut self, error: &io::Error) -> BundleOutcome {
        if !self.done {
            self.fail(&format!("the bundle could not be read: {error}"));
        }
        self.archive.into_outcome()
    }

    fn fail(&mut self, detail: &str) {
        self.done = true;
        let finding = self.archive.unread(detail);
        self.archive.push_finding(finding);
    }
}

/// The manifest of a bundle, from no more of it than that takes. Nothing after it is looked at.
///
/// # Errors
/// What is wrong with the bundle as far as it was read.
pub fn first_manifest(
    mut source: impl Read,
    limits: Limits,
) -> Result<Arc<Manifest>, Box<BundleOutcome>> {
    let mut reader = BundleReader::new(limits, Level::Presence);
    let mut buffer = vec![0u8; 1 << 16];
    loop {
        if let Some(manifest) = reader.manifest() {
            return Ok(Arc::clone(manifest));
        }
        let outcome = match source.read(&mut buffer) {
            Ok(0) => reader.finish(),
            Ok(read) => {
                let flow = reader.push(buffer.get(..read).unwrap_or_default());
                match flow {
                    Ok(Flow::More) => continue,
                    _ => reader.finish(),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => reader.finish_unread(&error),
        };
        // The first piece may hold a whole small bundle.
        return match outcome.manifest.clone() {
            Some(manifest) => Ok(manifest),
            None => Err(Box::new(outcome)),
        };
    }
}

/// Verifies a bundle from its bytes. A source that fails is a finding (`manifest.unread`,
/// `artifact.unread`); after a break nothing more is read.
pub fn verify_bundle(source: impl Read, limits: &Limits, level: Level) -> BundleOutcome {
    let (outcome, _) = drive(source, BundleReader::new(limits.clone(), level));
    outcome
}

/// As [`verify_bundle`], and hands to `sink` what it has verified.
///
/// # Errors
/// The sink failed.
pub fn extract_bundle(
    source: impl Read,
    limits: &Limits,
    level: Level,
    sink: impl BundleSink,
) -> Result<BundleOutcome, BundleError> {
    let reader = BundleReader::with_sink(limits.clone(), level, sink);
    match drive(source, reader) {
        (outcome, None) => Ok(outcome),
        (_, Some(error)) => Err(error),
    }
}

fn drive<S: BundleSink>(
    mut source: impl Read,
    mut reader: BundleReader<S>,
) -> (BundleOutcome, Option<BundleError>) {
    let mut buffer = vec![0u8; READ_BYTES];
    loop {
        let piece = match source.read(&mut buffer) {
            Ok(0) => return (reader.finish(), None),
            Ok(length) => buffer.get(..length).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return (reader.finish_unread(&error), None),
        };
        match reader.push(piece) {
            Ok(Flow::More) => {}
            Ok(Flow::Done) => return (reader.finish(), None),
            Err(error) => return (reader.finish(), Some(error)),
        }
    }
}
