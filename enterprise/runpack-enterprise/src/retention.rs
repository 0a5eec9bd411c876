//! How long and how hard a version is locked.
//!
//! A retention is a whole number of days or of calendar years. It is never rounded to something shorter, and
//! never longer than the 100 years that Amazon S3 takes (S3 user guide, "Locking objects with Object Lock").

use std::fmt;
use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::{SignedDuration, Span};
use runpack_core::time::Timestamp;
use serde::{Serialize, Serializer};

pub use runpack_core::store::s3::LockMode;

/// Why a retention is none, or ends nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RetentionError {
    /// Not a number of days or years.
    #[error(
        "a retention is a whole number of days or years without a leading zero, such as 90d or 7y, found=`{0}`"
    )]
    Grammar(String),
    /// Nothing, or longer than a store takes.
    #[error(
        "a retention is at least 1d and at most 36500d or 100y, choose one between, found=`{0}`"
    )]
    Range(String),
    /// Past the last time that can be written.
    #[error(
        "the retention ends after the year 9999, look at the clock, now=`{now}` for=`{wanted}`"
    )]
    End {
        /// When it begins.
        now: Timestamp,
        /// How long it is.
        wanted: RetainFor,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Unit {
    Days,
    Years,
}

/// How long a version is locked: `90d`, `7y`.
///
/// ```
/// use runpack_enterprise::retention::RetainFor;
///
/// let seven: RetainFor = "7y".parse().unwrap();
/// let until = seven.until("2026-11-20T12:00:00Z".parse().unwrap()).unwrap();
/// assert_eq!(until.to_string(), "2033-11-20T12:00:00Z");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RetainFor {
    count: u16,
    unit: Unit,
}

const DAYS_MAX: u16 = 36_500;
const YEARS_MAX: u16 = 100;

impl RetainFor {
    /// So many days.
    ///
    /// # Errors
    /// None, or more than 36,500.
    pub fn days(count: u32) -> Result<Self, RetentionError> {
        Self::new(count, Unit::Days, DAYS_MAX)
    }

    /// So many calendar years.
    ///
    /// # Errors
    /// None, or more than 100.
    pub fn years(count: u32) -> Result<Self, RetentionError> {
        Self::new(count, Unit::Years, YEARS_MAX)
    }

    fn new(count: u32, unit: Unit, max: u16) -> Result<Self, RetentionError> {
        let found = u16::try_from(count).ok();
        match found.filter(|count| (1..=max).contains(count)) {
            Some(count) => Ok(Self { count, unit }),
            None => Err(RetentionError::Range(format!("{count}{}", unit.letter()))),
        }
    }

    /// When a retention ends that begins at `now`. A year later is the same day of the next year, and the last
    /// of February where the 29th is missing.
    ///
    /// # Errors
    /// That is after the year 9999.
    pub fn until(self, now: Timestamp) -> Result<Timestamp, RetentionError> {
        let error = RetentionError::End { now, wanted: self };
        let span = match self.unit {
            Unit::Days => Span::new().try_days(i64::from(self.count)),
            Unit::Years => Span::new().try_years(i64::from(self.count)),
        };
        let end = span.ok().and_then(|span| {
            let since = SignedDuration::from_secs(i64::try_from(now.unix_seconds()).ok()?);
            let begin = EPOCH.checked_add(since).ok()?;
            let seconds = begin
                .checked_add(span)
                .ok()?
                .duration_since(EPOCH)
                .as_secs();
            Timestamp::from_unix_seconds(u64::try_from(seconds).ok()?).ok()
        });
        end.ok_or(error)
    }

    /// The fewest whole days that it can be, whenever it begins.
    pub fn days_min(self) -> u32 {
        let count = u32::from(self.count);
        match self.unit {
            Unit::Days => count,
            // No leap day at all: seven years around a century's end have none.
            Unit::Years => count.saturating_mul(365),
        }
    }

    /// The most days that it can be, whenever it begins.
    pub fn days_max(self) -> u32 {
        let count = u32::from(self.count);
        match self.unit {
            Unit::Days => count,
            Unit::Years => count.saturating_mul(365).saturating_add(count.div_ceil(4)),
        }
    }

    /// Whether it is certainly as long as `other`, whenever both begin.
    pub fn covers(self, other: Self) -> bool {
        if self.unit == other.unit {
            self.count >= other.count
        } else {
            self.days_min() >= other.days_max()
        }
    }
}

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

impl Unit {
    const fn letter(self) -> char {
        match self {
            Self::Days => 'd',
            Self::Years => 'y',
        }
    }
}

impl FromStr for RetainFor {
    type Err = RetentionError;

    fn from_str(text: &str) -> Result<Self, RetentionError> {
        let grammar = || RetentionError::Grammar(shown(text));
        let (digits, unit, max) = match (text.strip_suffix('d'), text.strip_suffix('y')) {
            (Some(digits), _) => (digits, Unit::Days, DAYS_MAX),
            (_, Some(digits)) => (digits, Unit::Years, YEARS_MAX),
            _ => return Err(grammar()),
        };
        let is_number = !digits.is_empty()
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && (digits == "0" || !digits.starts_with('0'));
        if !is_number {
            return Err(grammar());
        }
        let range = || RetentionError::Range(shown(text));
        let count = digits.parse().map_err(|_| range())?;
        Self::new(count, unit, max).map_err(|_| range())
    }
}

impl fmt::Display for RetainFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.count, self.unit.letter())
    }
}

impl fmt::Debug for RetainFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for RetainFor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An offender as it may be shown: escaped, and cut where it is long.
pub(crate) fn shown(text: &str) -> String {
    let cut = text.chars().take(160);
    cut.flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests;
