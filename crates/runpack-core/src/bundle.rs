//! Bundles: a whole pack as one `.tar.gz` that has one spelling below the compression, verified in one
//! forward pass with bounded memory (specification, section 8).
//!
//! [`BundleReader`] takes compressed bytes as they come and does no input or output, so the same code
//! serves files, standard input, async streams and the browser; [`BundleWriter`] is its inverse.
//! Invariants:
//!
//! - the archive is never interpreted: every byte beside the content is made from the manifest and
//!   compared, so no entry type, link, mode or extension can mean anything (B23 to B26, B28);
//! - no unverified byte of content leaves the reader ([`BundleSink`]), and no bundle is made of bytes
//!   that do not verify;
//! - memory is two windows, the manifest, and with a sink one chunk, whatever the input expands to (B27);
//! - the outcome depends on the input alone and not on how it was cut into pieces;
//! - bytes that deviate are findings; only a sink that fails is an error.
//!
//! ```
//! use runpack_core::bundle::verify_bundle;
//! use runpack_core::limits::Limits;
//! use runpack_core::verify::Level;
//!
//! let outcome = verify_bundle(&b"not a bundle"[..], &Limits::default(), Level::Full);
//! assert!(!outcome.is_sound());
//! ```

mod archive;
mod content;
mod gzip;
mod reader;
mod tar;
mod writer;

use std::io;
use std::sync::Arc;

pub use reader::{BundleReader, extract_bundle, first_manifest, verify_bundle};
pub use writer::{BundleWriteError, BundleWriter};

use crate::finding::Finding;
use crate::manifest::Manifest;

/// How a bundle is compressed. No verifier cares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all: for content that is compressed already.
    Stored,
    /// Quickly.
    Fast,
    /// What `gzip` does by itself.
    #[default]
    Balanced,
    /// As small as it gets.
    Best,
}

/// Whether more input can change the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// It can: go on to the end of the input, also where the bundle seems complete.
    More,
    /// It cannot: the reader ignores what follows.
    Done,
}

/// Where verified content goes.
///
/// A bundle may still break after any of these calls: what was taken counts only once
/// [`BundleOutcome::is_sound`] has said so.
pub trait BundleSink {
    /// The manifest, once it and its entry are known to be sound. Called at most once, and first.
    ///
    /// # Errors
    /// As the sink fails; the reader then stops.
    fn manifest(&mut self, manifest: &Arc<Manifest>, bytes: &[u8]) -> io::Result<()>;

    /// One chunk whose digest holds, of the artifact at this position of the manifest.
    ///
    /// Artifacts and chunks come in order. An artifact without bytes has one empty chunk. A damaged
    /// chunk is left out, so the next one's `offset` shows a gap.
    ///
    /// # Errors
    /// As the sink fails; the reader then stops.
    fn chunk(&mut self, artifact: usize, offset: u64, bytes: &[u8]) -> io::Result<()>;
}

impl<S: BundleSink + ?Sized> BundleSink for &mut S {
    fn manifest(&mut self, manifest: &Arc<Manifest>, bytes: &[u8]) -> io::Result<()> {
        (**self).manifest(manifest, bytes)
    }

    fn chunk(&mut self, artifact: usize, offset: u64, bytes: &[u8]) -> io::Result<()> {
        (**self).chunk(artifact, offset, bytes)
    }
}

/// The sink of a reader that has none.
#[derive(Debug)]
pub enum NoSink {}

impl BundleSink for NoSink {
    fn manifest(&mut self, _: &Arc<Manifest>, _: &[u8]) -> io::Result<()> {
        match *self {}
    }

    fn chunk(&mut self, _: usize, _: u64, _: &[u8]) -> io::Result<()> {
        match *self {}
    }
}

/// What a bundle turned out to be. Pins are the caller's to compare.
#[derive(Debug)]
#[non_exhaustive]
pub struct BundleOutcome {
    /// The manifest, if it is one; there may be findings all the same.
    pub manifest: Option<Arc<Manifest>>,
    /// What was found, in order, up to the limit.
    pub findings: Vec<Finding>,
    /// How many more findings there were.
    pub findings_unlisted: u64,
    /// How many artifacts were read to their end.
    pub artifacts_checked: u64,
    /// How many of them have the content that the manifest commits to; none where it was not looked at.
    pub artifacts_proven: u64,
    /// How many bytes of content were read.
    pub bytes_checked: u64,
}

impl BundleOutcome {
    /// Whether this is a whole bundle in which everything holds, at the level that was asked for.
    pub fn is_sound(&self) -> bool {
        self.manifest.is_some() && self.findings.is_empty() && self.findings_unlisted == 0
    }
}

/// Why a bundle was not read to its end, for reasons that are not the bundle's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The sink failed.
    #[error("what was verified could not be stored")]
    Sink(#[source] io::Error),
}

#[cfg(test)]
mod tests;
