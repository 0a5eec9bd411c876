//! How fast bytes come, or are taken: what was waited for longer than it is worth is cut (threat C04).
//!
//! Only waiting counts. Each byte is worth a little of it, so that a large body on a slow line may take hours, and one
//! that comes byte by byte may not.

use std::time::Duration;

use super::ListenSettings;

#[derive(Debug)]
pub(super) struct Pace {
    idle: Duration,
    grace: Duration,
    bytes_per_second: u64,
    bytes: u64,
    waited: Duration,
}

impl Pace {
    pub(super) fn new(idle: Duration, settings: &ListenSettings) -> Self {
        Self {
            idle,
            grace: settings.body_rate_grace,
            bytes_per_second: settings.body_rate_min,
            bytes: 0,
            waited: Duration::ZERO,
        }
    }

    pub(super) fn came(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub(super) fn waited(&mut self, time: Duration) {
        self.waited = self.waited.saturating_add(time);
    }

    /// How long the bytes that came may have been waited for, in all.
    fn worth(&self) -> Duration {
        // Without a floor any pace is good.
        let seconds = self.bytes.checked_div(self.bytes_per_second);
        seconds.map_or(Duration::MAX, |seconds| {
            self.grace.max(Duration::from_secs(seconds))
        })
    }

    /// How long the next byte is waited for.
    pub(super) fn patience(&self) -> Duration {
        self.idle.min(self.worth().saturating_sub(self.waited))
    }

    /// Whether it is not that nothing comes, but that all of it came too slowly.
    pub(super) fn is_too_slow(&self) -> bool {
        self.waited >= self.worth()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(bytes: usize, waited: u64) -> Pace {
        let mut pace = Pace::new(Duration::from_secs(20), &ListenSettings::default());
        pace.came(bytes);
        pace.waited(Duration::from_secs(waited));
        pace
    }

    #[test]
    fn c04_a_body_is_waited_for_as_long_as_its_bytes_are_worth() {
        for (bytes, waited, patience) in [
            (0, 0, 20),
            // 30 seconds are given to every body, and 20 at a time.
            (1, 5, 20),
            (1, 29, 1),
            (1, 30, 0),
            (31 << 10, 30, 1),
            (100 << 10, 30, 20),
            (100 << 10, 90, 10),
            (100 << 10, 200, 0),
        ] {
            let found = pace(bytes, waited).patience();
            assert_eq!(found, Duration::from_secs(patience), "{bytes} {waited}");
        }
        assert!(!pace(7, 29).is_too_slow() && pace(7, 30).is_too_slow());
    }

    #[test]
    fn a_floor_of_zero_is_none() {
        let mut pace = pace(0, 1 << 40);
        pace.bytes_per_second = 0;
        assert_eq!(pace.patience(), Duration::from_secs(20));
    }
}
