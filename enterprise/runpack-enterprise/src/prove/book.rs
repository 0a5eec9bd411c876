//! The last transcript of each store, kept on this machine: what says that a bucket may be written to under locks.

use std::io;
use std::path::PathBuf;

use runpack_core::digest::Digest;
use runpack_core::store::StoreError;
use runpack_core::time::Timestamp;

use super::Proof;
use crate::durable;

/// How long a transcript counts, in seconds: a week. Every write is read back besides.
pub const PROOF_SECONDS_MAX: u64 = 7 * 24 * 60 * 60;
/// The largest transcript.
const BYTES_MAX: u64 = 1 << 20;

/// The transcripts of this machine.
#[derive(Debug, Clone)]
pub struct ProofBook {
    root: PathBuf,
}

impl ProofBook {
    /// Those kept below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn path(&self, place: &str) -> PathBuf {
        self.root
            .join(format!("{}.json", Digest::of(place.as_bytes())))
    }

    /// Keeps a transcript in place of the one before it, and says where.
    ///
    /// # Errors
    /// It could not be written.
    pub fn keep(&self, proof: &Proof) -> Result<PathBuf, StoreError> {
        let path = self.path(&proof.place);
        let written = durable::replace(&path, &proof.to_bytes());
        written.map_err(|source| StoreError::Io {
            action: "writing a transcript",
            path: path.display().to_string(),
            source,
        })?;
        Ok(path)
    }

    /// The last transcript of a store, whatever its age.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn last(&self, place: &str) -> Result<Option<Proof>, StoreError> {
        let path = self.path(place);
        let failed = |source| StoreError::Io {
            action: "reading a transcript",
            path: path.display().to_string(),
            source,
        };
        let Some(bytes) = durable::read(&path, BYTES_MAX).map_err(failed)? else {
            return Ok(None);
        };
        let proof: Option<Proof> = serde_json::from_slice(&bytes).ok();
        proof
            .filter(|proof| proof.place == place)
            .map(Some)
            .ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))
    }

    /// The last transcript, if it still counts at `now`.
    ///
    /// # Errors
    /// As [`ProofBook::last`].
    pub fn fresh(&self, place: &str, now: Timestamp) -> Result<Option<Proof>, StoreError> {
        let is_fresh = |proof: &Proof| {
            let (now, then) = (now.unix_seconds(), proof.proved_at.unix_seconds());
            then <= now && now.saturating_sub(then) < PROOF_SECONDS_MAX
        };
        Ok(self.last(place)?.filter(is_fresh))
    }
}
