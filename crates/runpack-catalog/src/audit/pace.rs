//! How fast an audit goes at most: so many packs and so many bytes a second.
//!
//! Each program keeps to its own rates; several of them take several times as much. What one second allows may come at
//! once.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

/// Bytes are paid for in units of so many, a part of one as a whole.
const UNIT_BYTES: u64 = 1_024;

/// How fast an audit goes at most; without more, as fast as it can.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Places looked at each second.
    pub packs_per_second: Option<NonZeroU32>,
    /// Bytes read each second; at least 1 KiB.
    pub bytes_per_second: Option<NonZeroU64>,
}

/// Holds an audit to its rates.
pub(super) struct Pace<C: Clock = MonotonicClock> {
    packs: Option<Limiter<C>>,
    bytes: Option<Limiter<C>>,
}

/// So much each second, and as much at once.
struct Limiter<C: Clock> {
    bucket: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
    at_once: NonZeroU32,
    clock: C,
}

impl Pace {
    pub(super) fn new(rates: Rates) -> Self {
        Self::by(rates, &MonotonicClock)
    }

    /// Waits for the turn of another place.
    pub(super) async fn pack(&self) {
        if let Some(packs) = &self.packs {
            packs.take(1, tokio::time::sleep).await;
        }
    }

    /// Waits until so many bytes may have been read.
    pub(super) async fn bytes(&self, bytes: u64) {
        if let Some(limiter) = &self.bytes {
            let units = bytes.div_ceil(UNIT_BYTES);
            limiter.take(units, tokio::time::sleep).await;
        }
    }
}

impl<C: Clock + Clone> Pace<C> {
    fn by(rates: Rates, clock: &C) -> Self {
        let units = |bytes: NonZeroU64| {
            let units = bytes.get().checked_div(UNIT_BYTES).unwrap_or(1);
            NonZeroU32::new(u32::try_from(units).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN)
        };
        let limiter = |at_once: NonZeroU32| Limiter {
            bucket: RateLimiter::direct_with_clock(Quota::per_second(at_once), clock.clone()),
            at_once,
            clock: clock.clone(),
        };
        Self {
            packs: rates.packs_per_second.map(limiter),
            bytes: rates.bytes_per_second.map(units).map(limiter),
        }
    }
}

impl<C: Clock> Limiter<C> {
    async fn take(&self, units: u64, wait: impl AsyncFn(Duration)) {
        let mut left = units;
        while left > 0 {
            let some = u32::try_from(left).unwrap_or(u32::MAX);
            let some = self
                .at_once
                .min(NonZeroU32::new(some).unwrap_or(NonZeroU32::MIN));
            match self.bucket.check_n(some) {
                Ok(Ok(())) => left = left.saturating_sub(u64::from(some.get())),
                Ok(Err(early)) => wait(early.wait_time_from(self.clock.now())).await,
                // No more than fits is asked for.
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "what overflows fails the test"
)]
mod tests {
    use std::cell::Cell;

    use governor::clock::FakeRelativeClock;

    use super::*;

    /// Takes things of this size until so much time has passed, and tells how many units came through.
    fn taken(units_each: u64, per_second: u32, seconds: u64) -> u64 {
        let clock = FakeRelativeClock::default();
        let rates = Rates {
            packs_per_second: NonZeroU32::new(per_second),
            bytes_per_second: None,
        };
        let pace = Pace::by(rates, &clock);
        let (waited, taken) = (Cell::new(Duration::ZERO), Cell::new(0u64));
        let end = Duration::from_secs(seconds);
        runpack_testing::block_on(async {
            while waited.get() < end {
                let limiter = pace.packs.as_ref().unwrap();
                let wait = async |for_so_long: Duration| {
                    assert!(for_so_long > Duration::ZERO);
                    clock.advance(for_so_long);
                    waited.set(waited.get() + for_so_long);
                };
                limiter.take(units_each, wait).await;
                taken.set(taken.get() + units_each);
            }
        });
        taken.get()
    }

    #[test]
    fn no_more_than_the_rate_comes_through() {
        for (units_each, per_second, seconds) in [
            (1, 10, 60),
            (3, 10, 60),
            (1, 1, 30),
            (250, 100, 40),
            (7, 1_000, 5),
        ] {
            let taken = taken(units_each, per_second, seconds);
            let allowed = u64::from(per_second) * (seconds + 1);
            // One more is what the last wait was for.
            assert!(
                taken <= allowed + units_each.max(u64::from(per_second)),
                "{taken} of {allowed}"
            );
            assert!(
                taken + units_each.max(u64::from(per_second)) >= u64::from(per_second) * seconds,
                "{taken}"
            );
        }
    }

    #[test]
    fn bytes_are_never_counted_as_less() {
        let rates = Rates {
            packs_per_second: None,
            bytes_per_second: NonZeroU64::new(10 * UNIT_BYTES),
        };
        let clock = FakeRelativeClock::default();
        let pace = Pace::by(rates, &clock);
        let limiter = pace.bytes.as_ref().unwrap();
        assert_eq!(limiter.at_once.get(), 10);
        let tiny = Rates {
            bytes_per_second: NonZeroU64::new(1),
            ..rates
        };
        assert_eq!(Pace::by(tiny, &clock).bytes.unwrap().at_once.get(), 1);
    }
}
