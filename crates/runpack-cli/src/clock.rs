//! The wall clock: the one place that reads it.

use std::time::{SystemTime, UNIX_EPOCH};

use runpack_core::time::{Clock, Timestamp};

use crate::failure::Failure;

/// When the command was started.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Now {
    /// Whole seconds, as packs and receipts have it.
    pub time: Timestamp,
    /// Milliseconds since 1970, for fresh run ids.
    pub unix_millis: u64,
}

/// The machine's clock, for what has to look more than once.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // Outside of the years that a time can have, every deadline has passed.
        Now::read().map_or_else(|_| Timestamp::MAX, |now| now.time)
    }
}

impl Now {
    /// Reads the machine's clock.
    ///
    /// # Errors
    /// It is before 1970 or after 9999.
    pub fn read() -> Result<Self, Failure> {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the one place that reads the wall clock; everything else is given the time"
        )]
        let now = SystemTime::now();
        now.duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|since| {
                Some(Self {
                    time: Timestamp::from_unix_seconds(since.as_secs()).ok()?,
                    unix_millis: u64::try_from(since.as_millis()).ok()?,
                })
            })
            .ok_or_else(|| {
                Failure::new(
                    "this machine's clock is before 1970 or after 9999",
                    "set the clock",
                )
            })
    }
}
