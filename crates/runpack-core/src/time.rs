//! Times as the format writes them, and the clock as something that is handed in.
//!
//! Core reads no wall clock: whoever wants "now" passes a [`Clock`].

use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use jiff::civil::DateTime;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A time of the format: `YYYY-MM-DDTHH:MM:SSZ`, from 1970-01-01 to 9999-12-31 (specification, section 2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    seconds: u64,
}

/// 9999-12-31T23:59:59Z.
const SECONDS_MAX: u64 = 253_402_300_799;

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

const FORMAT: &str = "%Y-%m-%dT%H:%M:%SZ";

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self { seconds: 0 };

    /// 9999-12-31T23:59:59Z.
    pub const MAX: Self = Self {
        seconds: SECONDS_MAX,
    };

    /// The time `seconds` after 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    /// Past the year 9999.
    pub fn from_unix_seconds(seconds: u64) -> Result<Self, TimestampError> {
        if seconds > SECONDS_MAX {
            return Err(TimestampError);
        }
        Ok(Self { seconds })
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub const fn unix_seconds(self) -> u64 {
        self.seconds
    }

    /// So many seconds later; nothing is later than [`Timestamp::MAX`].
    #[must_use]
    pub const fn later(self, seconds: u64) -> Self {
        let seconds = self.seconds.saturating_add(seconds);
        if seconds > SECONDS_MAX {
            return Self::MAX;
        }
        Self { seconds }
    }

    /// As a civil date and time. Instants of the library end some hours before the year 9999 does,
    /// so the arithmetic stays with civil time, which is UTC here.
    fn civil(self) -> Option<DateTime> {
        let since = SignedDuration::from_secs(i64::try_from(self.seconds).ok()?);
        EPOCH.checked_add(since).ok()
    }

    /// `(year, month, day)` in UTC.
    pub fn date(self) -> (i16, i8, i8) {
        self.civil()
            .map_or((1970, 1, 1), |at| (at.year(), at.month(), at.day()))
    }
}

/// Not a time of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a time is written YYYY-MM-DDTHH:MM:SSZ, from 1970 to 9999, for example 2026-11-20T12:00:00Z"
)]
pub struct TimestampError;

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let civil = DateTime::strptime(FORMAT, text).map_err(|_| TimestampError)?;
        let since = civil.duration_since(EPOCH).as_secs();
        let seconds = u64::try_from(since).map_err(|_| TimestampError)?;
        let time = Self::from_unix_seconds(seconds)?;
        // The library also reads other spellings (leap seconds, short fields): only ours counts.
        if time.to_string() == text {
            Ok(time)
        } else {
            Err(TimestampError)
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let civil = self.civil().ok_or(fmt::Error)?;
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            civil.year(),
            civil.month(),
            civil.day(),
            civil.hour(),
            civil.minute(),
            civil.second()
        )
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::json::from_string(deserializer)
    }
}

/// Where the present time comes from.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The present time, whole seconds.
    fn now(&self) -> Timestamp;
}

/// A clock that stands still, for tests and for exports that must be repeatable.
#[derive(Debug, Clone, Copy)]
pub struct FixedClock(pub Timestamp);

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t02_one_spelling_and_an_exact_round_trip() {
        for good in [
            "1970-01-01T00:00:00Z",
            "2024-02-29T23:59:59Z",
            "2026-11-20T12:00:00Z",
            "9999-12-31T23:59:59Z",
        ] {
            let time: Timestamp = good.parse().unwrap();
            assert_eq!(time.to_string(), good);
            assert_eq!(Timestamp::from_unix_seconds(time.unix_seconds()), Ok(time));
        }
    }

    #[test]
    fn t02_everything_else_is_refused() {
        for bad in [
            "",
            "2026-11-20",
            "2026-11-20T12:00:00",
            "2026-11-20T12:00:00z",
            "2026-11-20t12:00:00Z",
            "2026-11-20 12:00:00Z",
            "2026-11-20T12:00:00+00:00",
            "2026-11-20T12:00:00.0Z",
            "2026-11-20T12:00:60Z",
            "2016-12-31T23:59:60Z",
            "2026-11-20T24:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "-001-01-01T00:00:00Z",
            "10000-01-01T00:00:00Z",
            "+2026-11-20T12:00:00Z",
            "2026-1-20T12:00:00Z",
            " 2026-11-20T12:00:00Z",
            "2026-11-20T12:00:00Z ",
        ] {
            assert_eq!(bad.parse::<Timestamp>(), Err(TimestampError), "{bad:?}");
        }
        assert!(Timestamp::from_unix_seconds(SECONDS_MAX + 1).is_err());
    }
}
