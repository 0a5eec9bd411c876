//! Bundles as files: read with progress, written whole or not at all.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::ValueEnum;
use runpack_core::bundle::{BundleWriter, Compression, verify_bundle};
use runpack_core::limits::Limits;
use runpack_core::manifest::Manifest;
use runpack_core::verify::{Container, Level};

use crate::context::Context;
use crate::failure::Failure;
use crate::file;
use crate::progress::Meter;

/// How a bundle is compressed. No verifier cares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum CompressionOption {
    /// Not at all: for what is compressed already
    Stored,
    /// Quickly
    Fast,
    /// As gzip does by itself
    #[default]
    Balanced,
    /// As small as it gets
    Best,
}

impl From<CompressionOption> for Compression {
    fn from(option: CompressionOption) -> Self {
        match option {
            CompressionOption::Stored => Self::Stored,
            CompressionOption::Fast => Self::Fast,
            CompressionOption::Balanced => Self::Balanced,
            CompressionOption::Best => Self::Best,
        }
    }
}

/// A stream that counts what was read from it.
pub(crate) struct Counted<R> {
    pub(crate) inner: R,
    pub(crate) bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let bytes = u64::try_from(read).unwrap_or(u64::MAX);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(read)
    }
}

/// Whether a bundle was made or found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// It is new.
    New,
    /// The same pack was there as a bundle already.
    Again,
}

impl Made {
    /// The name in results.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Again => "again",
        }
    }
}

/// Writes the pack in `container` as a bundle to `path`, unless that very pack is there already.
///
/// # Errors
/// Something else is there; the pack's bytes are not those committed to; the file system failed.
pub fn write(
    context: &Context,
    container: &Arc<dyn Container>,
    manifest: &Arc<Manifest>,
    path: &Path,
    compression: Compression,
    limits: &Limits,
) -> Result<Made, Failure> {
    if is_there(context, manifest, path, limits)? {
        return Ok(Made::Again);
    }
    let done = Arc::new(AtomicU64::new(0));
    let _meter = Meter::of_bytes(
        &context.output,
        "bundling",
        &done,
        manifest.artifact_bytes(),
    );
    file::create(path, |out| {
        let mut writer = BundleWriter::new(out, manifest, compression)?;
        context.wait(copy(container, manifest, &mut writer, &done))??;
        writer.finish()?;
        Ok(Made::New)
    })
}

async fn copy<W: Write>(
    container: &Arc<dyn Container>,
    manifest: &Arc<Manifest>,
    writer: &mut BundleWriter<'_, W>,
    done: &AtomicU64,
) -> Result<(), Failure> {
    for artifact in manifest.artifacts() {
        // One byte more shows an artifact that is longer than it should be.
        let range = 0..artifact.bytes().saturating_add(1);
        let mut body = container.open(artifact, range).await?;
        while let Some(piece) = body.next().await {
            let piece = piece?;
            writer.write(&piece)?;
            let bytes = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            done.fetch_add(bytes, Ordering::Relaxed);
        }
    }
    Ok(())
}

fn is_there(
    context: &Context,
    manifest: &Manifest,
    path: &Path,
    limits: &Limits,
) -> Result<bool, Failure> {
    let file = match file::open_regular(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            file::check_free(path)?;
            return Ok(false);
        }
        Err(_) => return file::check_free(path).map(|()| false),
    };
    let bytes = Arc::new(AtomicU64::new(0));
    let total = file.metadata().map_or(0, |metadata| metadata.len());
    let meter = Meter::of_bytes(&context.output, "comparing", &bytes, total);
    let outcome = verify_bundle(Counted { inner: file, bytes }, limits, Level::Full);
    drop(meter);
    let is_same = outcome.is_sound()
        && outcome
            .manifest
            .is_some_and(|there| there.pack_id() == manifest.pack_id());
    if is_same {
        return Ok(true);
    }
    Err(Failure::new(
        format!(
            "something else than this pack is there, and is not replaced, path=`{}`",
            path.display()
        ),
        "give another path, or move away what is there",
    ))
}
