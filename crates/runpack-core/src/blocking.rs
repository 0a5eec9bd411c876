//! Where file-system calls run.
//!
//! Runpack's own worker threads ([`crate::workers`]) may block: there a call runs where it stands,
//! which saves two thread switches for each small file. Anywhere else, in a server's runtime for
//! one, it goes to the runtime's pool for blocking work, so that nobody's reactor stands still.

use std::cell::Cell;

use crate::store::StoreError;

thread_local! {
    static MAY_BLOCK: Cell<bool> = const { Cell::new(false) };
}

/// Marks this thread as one that Runpack started and may block.
pub(crate) fn this_thread_may_block() {
    MAY_BLOCK.set(true);
}

/// Runs `work`, in place or on the pool for blocking work.
pub(crate) async fn run<T, F>(work: F) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, StoreError> + Send + 'static,
{
    if MAY_BLOCK.get() {
        return work();
    }
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => match runtime.spawn_blocking(work).await {
            Ok(done) => done,
            Err(gone) => Err(StoreError::Io {
                action: "running a file-system call",
                path: String::new(),
                source: std::io::Error::other(gone),
            }),
        },
        Err(_) => work(),
    }
}
