//! How far a long job has come, for whoever shows it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters that a job advances and a display reads. Shared by `Arc`.
#[derive(Debug, Default)]
pub struct Progress {
    bytes: AtomicU64,
    bytes_total: AtomicU64,
    artifacts: AtomicU64,
    artifacts_total: AtomicU64,
}

/// A reading of the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProgressReading {
    /// Bytes done.
    pub bytes: u64,
    /// Bytes in all, or 0 while unknown.
    pub bytes_total: u64,
    /// Artifacts done.
    pub artifacts: u64,
    /// Artifacts in all, or 0 while unknown.
    pub artifacts_total: u64,
}

impl Progress {
    /// The counters now.
    pub fn read(&self) -> ProgressReading {
        ProgressReading {
            bytes: self.bytes.load(Ordering::Relaxed),
            bytes_total: self.bytes_total.load(Ordering::Relaxed),
            artifacts: self.artifacts.load(Ordering::Relaxed),
            artifacts_total: self.artifacts_total.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn expect(&self, artifacts: u64, bytes: u64) {
        self.artifacts_total.store(artifacts, Ordering::Relaxed);
        self.bytes_total.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn add_artifact(&self) {
        self.artifacts.fetch_add(1, Ordering::Relaxed);
    }
}
