//! Reading a pinned pack: whole artifacts or ranges, and never an unverified byte.
//!
//! Each chunk is read whole, compared with its digest in the pinned manifest, and only then handed
//! out. So a reader holds at most one chunk, and what a store changes between two reads is caught.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::commitment::{CHUNK_BYTES, chunk_count, chunk_len};
use crate::container::Container;
use crate::digest::Digest;
use crate::manifest::{Artifact, Manifest};
use crate::store::{StoreError, collect_capped};

/// A pack whose manifest is pinned.
///
/// ```no_run
/// # async fn example(pack: runpack_core::verify::Pack, pins: runpack_core::pin::Pins) -> Result<(), Box<dyn std::error::Error>> {
/// let pack = pack.pinned(&pins).map_err(|objections| format!("{objections:?}"))?;
/// let mut read = pack.read("traces/large.bin", 5_000_000..6_000_000)?;
/// while let Some(bytes) = read.next().await? {
///     // `bytes` were compared with their commitment.
/// }
/// # Ok(())
/// # }
/// ```
///
/// Comes from [`crate::verify::Pack::pinned`] or a verified pack.
#[derive(Debug, Clone)]
pub struct PinnedPack {
    container: Arc<dyn Container>,
    manifest: Arc<Manifest>,
}

/// Why no verified bytes could be given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The manifest lists no such artifact.
    #[error("the pack has no artifact of this name, `runpack show` lists them, name=`{name}`")]
    NoSuchArtifact {
        /// The name.
        name: String,
    },
    /// The stored bytes are not those committed to.
    #[error(
        "the stored bytes are not those committed to, restore them from another copy, name=`{name}` chunk=`{chunk}`"
    )]
    Damaged {
        /// The artifact.
        name: String,
        /// Which 8 MiB.
        chunk: u64,
    },
    /// The manifest commits to it, and there is nothing.
    #[error("the artifact is not where its pack is, restore it from another copy, name=`{name}`")]
    Lost {
        /// The artifact.
        name: String,
    },
    /// The container failed.
    #[error("the artifact could not be read")]
    Store(#[source] StoreError),
}

impl PinnedPack {
    pub(crate) fn new(container: Arc<dyn Container>, manifest: Arc<Manifest>) -> Self {
        Self {
            container,
            manifest,
        }
    }

    /// The manifest.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// Starts to read the bytes of an artifact from `range.start` to `range.end` or its end.
    ///
    /// # Errors
    /// There is no such artifact.
    pub fn read(&self, name: &str, range: Range<u64>) -> Result<VerifiedRead<'_>, ReadError> {
        let artifact = self
            .manifest
            .artifact(name)
            .ok_or_else(|| ReadError::NoSuchArtifact {
                name: name.to_owned(),
            })?;
        let end = range.end.min(artifact.bytes());
        Ok(VerifiedRead {
            container: &*self.container,
            artifact,
            position: range.start,
            end,
        })
    }

    /// Reads a whole artifact of at most `bytes_max` bytes into memory.
    ///
    /// # Errors
    /// As [`PinnedPack::read`] and [`VerifiedRead::next`]; a larger artifact gives its first `bytes_max` bytes.
    pub async fn read_to_vec(&self, name: &str, bytes_max: u64) -> Result<Vec<u8>, ReadError> {
        let mut read = self.read(name, 0..bytes_max)?;
        let mut bytes = Vec::new();
        while let Some(piece) = read.next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }
}

/// A read under way.
#[derive(Debug)]
pub struct VerifiedRead<'a> {
    container: &'a dyn Container,
    artifact: &'a Artifact,
    position: u64,
    end: u64,
}

impl VerifiedRead<'_> {
    /// The next verified bytes, at most one chunk; `None` at the end.
    ///
    /// # Errors
    /// The stored bytes are not those committed to, or could not be read. Nothing of a chunk that
    /// does not hold is ever given.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        if self.position >= self.end {
            return Ok(None);
        }
        let chunk = self.position.checked_div(CHUNK_BYTES).unwrap_or(0);
        let start = chunk.saturating_mul(CHUNK_BYTES);
        let bytes = self.chunk(chunk, start).await?;
        let at = |position: u64| {
            usize::try_from(position.saturating_sub(start))
                .unwrap_or(bytes.len())
                .min(bytes.len())
        };
        let piece = bytes.slice(at(self.position)..at(self.end));
        self.position = start.saturating_add(CHUNK_BYTES);
        Ok(Some(piece))
    }

    async fn chunk(&self, chunk: u64, start: u64) -> Result<Bytes, ReadError> {
        let damaged = || ReadError::Damaged {
            name: self.artifact.name().to_string(),
            chunk,
        };
        let expected = usize::try_from(chunk)
            .ok()
            .and_then(|at| self.artifact.content().chunks().get(at))
            .ok_or_else(damaged)?;
        let len = chunk_len(self.artifact.bytes(), chunk);
        let is_last = chunk.saturating_add(1) == chunk_count(self.artifact.bytes());
        let end = start.saturating_add(len).saturating_add(u64::from(is_last));
        let failed = |error: StoreError| match error {
            StoreError::NotFound { .. } => ReadError::Lost {
                name: self.artifact.name().to_string(),
            },
            error => ReadError::Store(error),
        };
        let mut is_again = false;
        let bytes = loop {
            let body = self.container.open(self.artifact, start..end).await;
            match collect_capped(body.map_err(failed)?, len).await {
                // Its bytes stopped coming. What reads on several stores gives it from another one then.
                Err(error) if error.is_retryable() && !is_again => is_again = true,
                read => break read.map_err(failed)?.ok_or_else(damaged)?,
            }
        };
        if Digest::of(&bytes) != *expected {
            return Err(damaged());
        }
        Ok(bytes.into())
    }
}
