//! Where tests run and write.

use std::path::Path;

use tempfile::TempDir;

/// Runs a future to its end in a runtime of its own, as a server's runtime would: file-system calls go
/// to its pool for blocking work.
pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// A new directory, in memory where the system has a place for that: syncing it costs nothing there,
/// so a test can do it thousands of times.
pub fn scratch() -> TempDir {
    tempfile::tempdir_in(Path::new("/dev/shm")).unwrap_or_else(|_| tempfile::tempdir().unwrap())
}
