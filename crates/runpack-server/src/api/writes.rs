//! What goes on when its client is gone: so many at once, and waited for at the end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

/// How many requests that may write are under way at once, with their clients or without. Stops those who ask and hang up.
const UNDER_WAY_MAX: u32 = 4_096;
/// How long those without a client are waited for at the end. With the time that connections have, it is within the minute
/// that a service manager waits.
const GRACE: Duration = Duration::from_secs(25);

/// The requests that may write, until each is written down.
#[derive(Debug)]
pub(crate) struct Writes(Arc<Semaphore>);

impl Default for Writes {
    fn default() -> Self {
        let all = usize::try_from(UNDER_WAY_MAX).unwrap_or(usize::MAX);
        Self(Arc::new(Semaphore::new(all)))
    }
}

impl Writes {
    /// One more, until what it gives is dropped.
    ///
    /// # Errors
    /// There are too many.
    pub(super) fn begin(&self) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        Arc::clone(&self.0).try_acquire_owned()
    }

    /// Waits for those that are under way.
    pub(crate) async fn finish(&self) {
        let all = self.0.acquire_many(UNDER_WAY_MAX);
        if tokio::time::timeout(GRACE, all).await.is_err() {
            tracing::warn!("requests without a client are cut: their time to finish is over");
        }
    }
}
