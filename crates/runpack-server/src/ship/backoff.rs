//! Trying again what the store did not do: after a random part of a time that doubles, so often and no oftener
//! (threats N02 and N03).

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::problem::Problem;

/// How often something is tried, and how far apart.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Retry {
    /// Before the second attempt it waits at most this long; before each one after it, at most twice as long.
    pub first: Duration,
    /// But never longer than this.
    pub longest: Duration,
    /// Attempts of one call, the first one with them.
    pub attempts: u32,
    /// Further attempts in one round, of all items together. Stops a round over thousands of items that waits for each
    /// of them while the store is away.
    pub budget: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(250),
            longest: Duration::from_secs(30),
            attempts: 5,
            budget: 100,
        }
    }
}

/// The further attempts that are left in a round.
#[derive(Debug)]
pub(super) struct Backoff {
    retry: Retry,
    left: AtomicU32,
}

impl Backoff {
    pub(super) fn new(retry: Retry) -> Self {
        let left = AtomicU32::new(retry.budget);
        Self { retry, left }
    }

    /// Begins another round.
    pub(super) fn refill(&self) {
        self.left.store(self.retry.budget, Ordering::Relaxed);
    }

    /// Does `call` until it succeeds, fails for good, or was tried often enough.
    pub(super) async fn tries<T, E, F>(&self, mut call: impl FnMut() -> F) -> Result<T, Problem>
    where
        Problem: From<E>,
        F: Future<Output = Result<T, E>>,
    {
        let mut attempt = 1u32;
        loop {
            let problem = match call().await {
                Ok(done) => return Ok(done),
                Err(error) => Problem::from(error),
            };
            let is_over = attempt >= self.retry.attempts || !problem.is_retryable();
            if is_over || !self.take() {
                return Err(problem);
            }
            tokio::time::sleep(self.pause(attempt)).await;
            attempt = attempt.saturating_add(1);
        }
    }

    fn take(&self) -> bool {
        let less = |left: u32| left.checked_sub(1);
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_ok()
    }

    /// Full jitter: anything from nothing to the bound.
    fn pause(&self, attempt: u32) -> Duration {
        let doubled = 2u32.saturating_pow(attempt.saturating_sub(1));
        let bound = self.retry.first.saturating_mul(doubled);
        let bound = bound.min(self.retry.longest).as_micros();
        let random = ulid::Ulid::generate().random();
        let micros = random.checked_rem(bound.saturating_add(1)).unwrap_or(0);
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}
