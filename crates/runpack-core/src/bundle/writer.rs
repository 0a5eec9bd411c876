//! The writer of bundles: artifacts' bytes in, a bundle out, and only if every byte is the one that the
//! manifest commits to.

use std::io::{self, Write};

use super::content::ContentCheck;
use super::gzip::Gzip;
use super::{Compression, NoSink, tar};
use crate::count::len_u64;
use crate::level::Level;
use crate::manifest::Manifest;

/// How much is compressed at once, so that the bundle does not depend on how its input was cut.
const PIECE_BYTES: usize = 64 * 1024;

/// Makes a bundle of a manifest and its artifacts' bytes.
///
/// The archive inside is a function of the manifest alone; the compressed bytes are one of the manifest
/// and the compression, in one version of Runpack. A caller that does its own output writes to a
/// `Vec<u8>` and takes from [`BundleWriter::out_mut`] what has come so far.
#[derive(Debug)]
pub struct BundleWriter<'m, W> {
    out: W,
    manifest: &'m Manifest,
    mtime: u64,
    gzip: Gzip,
    /// Archive bytes that wait to be compressed.
    staged: Vec<u8>,
    /// Compressed bytes that wait to be written.
    packed: Vec<u8>,
    /// The artifact that is being written; none after the last one.
    content: Option<ContentCheck>,
    failed: bool,
}

/// Why a bundle was not written. What is in the output is then no bundle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleWriteError {
    /// The bytes are not the artifact's.
    #[error(
        "the bytes are not those that the manifest commits to, so no bundle is made of them, name=`{name}`"
    )]
    NotCommitted {
        /// The artifact.
        name: String,
    },
    /// There are fewer bytes than the manifest says.
    #[error(
        "an artifact has fewer bytes than the manifest says, so no bundle is made of it, name=`{name}`"
    )]
    Incomplete {
        /// The first artifact that is not whole.
        name: String,
    },
    /// There are more bytes than the manifest says.
    #[error("the last artifact has more bytes than the manifest says, so no bundle is made of it")]
    Excess,
    /// An earlier call failed.
    #[error("an earlier write of this bundle failed, start again")]
    Failed,
    /// The output failed.
    #[error("the bundle could not be written")]
    Io(#[from] io::Error),
}

impl<'m, W: Write> BundleWriter<'m, W> {
    /// Starts a bundle.
    ///
    /// # Errors
    /// The output failed.
    pub fn new(
        out: W,
        manifest: &'m Manifest,
        compression: Compression,
    ) -> Result<Self, BundleWriteError> {
        let mut packed = Vec::new();
        let mut writer = Self {
            out,
            manifest,
            mtime: tar::mtime(manifest.created_at()),
            gzip: Gzip::new(compression, &mut packed),
            staged: Vec::with_capacity(PIECE_BYTES),
            packed,
            content: None,
            failed: false,
        };
        let bytes = manifest.to_bytes();
        let size = len_u64(&bytes);
        let mut header = Vec::new();
        tar::prelude(&mut header, tar::MANIFEST_NAME, size, writer.mtime);
        writer.stage(&header)?;
        writer.stage(&bytes)?;
        writer.open(size, 0)?;
        writer.skip_complete()?;
        Ok(writer)
    }

    /// Adds the next bytes of the artifacts, one after the other in the manifest's order, in pieces of
    /// any size.
    ///
    /// # Errors
    /// They are not the artifact's, or the output failed. The bundle cannot be finished then.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), BundleWriteError> {
        if self.failed {
            return Err(BundleWriteError::Failed);
        }
        let written = self.write_content(bytes);
        self.failed = written.is_err();
        written
    }

    /// The output so far. Bytes may still wait inside.
    pub fn out_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// Ends the bundle and gives the output back, which is neither flushed nor synced.
    ///
    /// # Errors
    /// Bytes are missing, an earlier call failed, or the output failed.
    pub fn finish(mut self) -> Result<W, BundleWriteError> {
        if self.failed {
            return Err(BundleWriteError::Failed);
        }
        if let Some(content) = &self.content {
            return Err(BundleWriteError::Incomplete {
                name: self.name(content.position()),
            });
        }
        self.pack()?;
        self.gzip.finish(&mut self.packed)?;
        self.out.write_all(&self.packed)?;
        Ok(self.out)
    }

    fn write_content(&mut self, mut bytes: &[u8]) -> Result<(), BundleWriteError> {
        while !bytes.is_empty() {
            let Some(content) = &mut self.content else {
                return Err(BundleWriteError::Excess);
            };
            let Some(artifact) = self.manifest.artifacts().get(content.position()) else {
                return Err(BundleWriteError::Excess);
            };
            let before = bytes;
            content.take(artifact, &mut bytes, &mut None::<NoSink>)?;
            if content.is_damaged() {
                return Err(BundleWriteError::NotCommitted {
                    name: artifact.name().to_string(),
                });
            }
            let taken = before.len().saturating_sub(bytes.len());
            self.stage(before.get(..taken).unwrap_or_default())?;
            self.skip_complete()?;
        }
        Ok(())
    }

    /// Goes on to the next artifact that has bytes to come.
    fn skip_complete(&mut self) -> Result<(), BundleWriteError> {
        while let Some(content) = self.content.take_if(|content| content.is_complete()) {
            let position = content.position();
            let Some(artifact) = self.manifest.artifacts().get(position) else {
                return Ok(());
            };
            // Damage was seen chunk by chunk, but for the chunk of an artifact without bytes.
            let (finding, _) = content.finish(artifact, &mut None::<NoSink>)?;
            if finding.is_some() {
                return Err(BundleWriteError::NotCommitted {
                    name: artifact.name().to_string(),
                });
            }
            self.open(artifact.bytes(), position.saturating_add(1))?;
        }
        Ok(())
    }

    /// Writes what stands between a content of `bytes` bytes and the artifact at `next`.
    fn open(&mut self, bytes: u64, next: usize) -> Result<(), BundleWriteError> {
        let mut between = Vec::new();
        tar::between(&mut between, self.manifest, bytes, next, self.mtime);
        self.stage(&between)?;
        self.content = self
            .manifest
            .artifacts()
            .get(next)
            .map(|artifact| ContentCheck::new(artifact, next, Level::Full, Vec::new()));
        Ok(())
    }

    fn stage(&mut self, mut bytes: &[u8]) -> Result<(), BundleWriteError> {
        while !bytes.is_empty() {
            let room = PIECE_BYTES.saturating_sub(self.staged.len());
            let (piece, rest) = bytes.split_at(room.min(bytes.len()));
            self.staged.extend_from_slice(piece);
            bytes = rest;
            if self.staged.len() == PIECE_BYTES {
                self.pack()?;
            }
        }
        Ok(())
    }

    fn pack(&mut self) -> Result<(), BundleWriteError> {
        self.gzip.push(&self.staged, &mut self.packed)?;
        self.staged.clear();
        self.out.write_all(&self.packed)?;
        self.packed.clear();
        Ok(())
    }

    fn name(&self, position: usize) -> String {
        self.manifest
            .artifacts()
            .get(position)
            .map(|artifact| artifact.name().to_string())
            .unwrap_or_default()
    }
}
