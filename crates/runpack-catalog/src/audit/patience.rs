//! Waiting for a database that is away, is busy, or stands still.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::error::CatalogError;

/// How long one question to the database may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The shortest and the longest pause before a database is asked again.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

/// Asks the database until it answers, or has been away for `patience`. Whatever is asked may have been done although no
/// answer came.
pub(super) async fn patiently<T>(
    patience: Duration,
    ask: impl AsyncFn() -> Result<T, CatalogError>,
) -> Result<T, CatalogError> {
    let [mut pause, longest] = PAUSES;
    let mut left = patience;
    loop {
        let answer = timeout(ANSWER_WITHIN, ask()).await;
        let error = match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error,
            Err(elapsed) => CatalogError::Unreachable {
                action: "working on an audit",
                source: Box::new(elapsed),
            },
        };
        if !error.is_retryable() || left.is_zero() {
            return Err(error);
        }
        sleep(pause).await;
        left = left.saturating_sub(pause);
        pause = pause.saturating_mul(2).min(longest);
    }
}
