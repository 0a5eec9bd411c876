//! What `runpacks.s3.object_lock` asks for: how hard, how long, and for which matter.
//!
//! ```yaml
//! object_lock:
//!   mode: compliance            # or governance
//!   retain_for: 7y              # or retain_until: "2033-01-01T00:00:00Z"
//!   legal_hold: {matter: smith-v-acme}
//!   lock_while_writing: 1d
//! ```
//!
//! Invariant: terms always have a mode and exactly one end. Nothing here is a default that somebody did not write,
//! except how long artifacts are locked before their pack is committed.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use runpack_core::time::Timestamp;
use serde_json::Value;

use crate::matter::Matter;
use crate::retention::{LockMode, RetainFor, RetentionError, shown};
use crate::section::{ConfigError, Section};

/// Where the section stands in the configuration.
pub const PATH: &str = "runpacks.s3.object_lock";

/// When a lock ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetainUntil {
    /// So long after the commit.
    For(RetainFor),
    /// At a time.
    At(Timestamp),
}

/// What every pack is locked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockTerms {
    mode: LockMode,
    until: RetainUntil,
    legal_hold: Option<Matter>,
    lock_while_writing: WritingLock,
}

impl LockTerms {
    /// Terms without a hold, and the usual lock while a pack is written.
    pub fn new(mode: LockMode, until: RetainUntil) -> Self {
        Self {
            mode,
            until,
            legal_hold: None,
            lock_while_writing: WritingLock::default(),
        }
    }

    /// The same, with a hold for this matter on every pack.
    #[must_use]
    pub fn with_legal_hold(mut self, matter: Matter) -> Self {
        self.legal_hold = Some(matter);
        self
    }

    /// The same, with another lock while a pack is written.
    #[must_use]
    pub fn with_lock_while_writing(mut self, lock: WritingLock) -> Self {
        self.lock_while_writing = lock;
        self
    }

    /// Reads the section `runpacks.s3.object_lock`.
    ///
    /// # Errors
    /// It cannot be meant as it is written; the error names the key and what to write.
    pub fn parse(value: &Value) -> Result<Self, ConfigError> {
        let mut section = Section::new(PATH, value)?;
        let mode = section.required("mode")?;
        let retain_for: Option<RetainFor> = section.parsed("retain_for")?;
        let retain_until: Option<Timestamp> = section.parsed("retain_until")?;
        let until = match (retain_for, retain_until) {
            (Some(wanted), None) => RetainUntil::For(wanted),
            (None, Some(at)) => RetainUntil::At(at),
            (None, None) => {
                return Err(section.error_here(
                    "say how long: retain_for, such as 7y, or retain_until, such as 2033-01-01T00:00:00Z",
                ));
            }
            (Some(_), Some(_)) => {
                return Err(section
                    .error_here("retain_for and retain_until exclude each other, remove one"));
            }
        };
        let legal_hold = legal_hold(&mut section)?;
        let while_writing: Option<WritingLock> = section.parsed("lock_while_writing")?;
        let lock_while_writing = while_writing.unwrap_or_default();
        if let RetainUntil::For(wanted) = until
            && u64::from(wanted.days_min()).saturating_mul(86_400) < lock_while_writing.seconds
        {
            return Err(section.error(
                "lock_while_writing",
                format!("a pack is not locked longer while it is written than when it is there, make it at most the retention, retain_for=`{wanted}` lock_while_writing=`{lock_while_writing}`"),
            ));
        }
        section.finish("mode, retain_for, retain_until, legal_hold and lock_while_writing")?;
        Ok(Self {
            mode,
            until,
            legal_hold,
            lock_while_writing,
        })
    }

    /// How hard.
    pub fn mode(&self) -> LockMode {
        self.mode
    }

    /// When the lock ends, as it was written.
    pub fn until(&self) -> RetainUntil {
        self.until
    }

    /// The matter that every pack is held for.
    pub fn legal_hold(&self) -> Option<&Matter> {
        self.legal_hold.as_ref()
    }

    /// How long artifacts are locked before the commit.
    pub fn lock_while_writing(&self) -> WritingLock {
        self.lock_while_writing
    }

    /// When the lock of a pack ends that is committed at `now`.
    ///
    /// # Errors
    /// That is past or cannot be written: nothing may be committed under such terms.
    pub fn retain_until(&self, now: Timestamp) -> Result<Timestamp, TermsError> {
        match self.until {
            RetainUntil::For(wanted) => Ok(wanted.until(now)?),
            RetainUntil::At(until) if until <= now => Err(TermsError::Past { until, now }),
            RetainUntil::At(until) => {
                let far = RetainFor::years(100)?.until(now)?;
                if until > far {
                    return Err(TermsError::Far { until, far });
                }
                Ok(until)
            }
        }
    }
}

/// Terms that no pack can be committed under.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TermsError {
    /// The end is past.
    #[error(
        "`retain_until` is past, set a later one or use retain_for, retain_until=`{until}` now=`{now}`"
    )]
    Past {
        /// As configured.
        until: Timestamp,
        /// The present time.
        now: Timestamp,
    },
    /// Further than a store takes.
    #[error(
        "`retain_until` is more than 100 years away, set an earlier one, retain_until=`{until}` latest=`{far}`"
    )]
    Far {
        /// As configured.
        until: Timestamp,
        /// The latest that would do.
        far: Timestamp,
    },
    /// The duration ends nowhere.
    #[error(transparent)]
    Retention(#[from] RetentionError),
}

/// The section `legal_hold: {matter: NAME}` below this one.
pub(crate) fn legal_hold(section: &mut Section<'_>) -> Result<Option<Matter>, ConfigError> {
    let Some(mut hold) = section.section("legal_hold")? else {
        return Ok(None);
    };
    let matter = hold.required("matter")?;
    hold.finish("matter")?;
    Ok(Some(matter))
}

/// How long artifacts are locked while their pack is not there yet: longer than any export takes, and short
/// enough that what a crash leaves can be removed. `1d` unless something else is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WritingLock {
    seconds: u64,
}

impl WritingLock {
    /// So many seconds, whatever configuration may say: a caller knows how long its export takes.
    pub const fn seconds(seconds: u64) -> Self {
        Self { seconds }
    }

    /// As a length of time.
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

impl Default for WritingLock {
    fn default() -> Self {
        Self { seconds: 86_400 }
    }
}

/// More than twice the clock skew that is let pass.
const WRITING_SECONDS_MIN: u64 = 900;
const WRITING_SECONDS_MAX: u64 = 31 * 86_400;
const UNITS: [(char, u64); 3] = [('d', 86_400), ('h', 3_600), ('m', 60)];

/// Not a lock for the time of writing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a lock for the time of writing is between 15m and 31d, a whole number and m, h or d, found=`{0}`"
)]
pub struct WritingLockError(String);

impl FromStr for WritingLock {
    type Err = WritingLockError;

    fn from_str(text: &str) -> Result<Self, WritingLockError> {
        let mut units = UNITS.iter();
        let seconds = units.find_map(|(letter, unit)| {
            let digits = text.strip_suffix(*letter)?;
            let is_number =
                digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
            let number: u64 = digits.parse().ok().filter(|_| is_number)?;
            number.checked_mul(*unit)
        });
        let is_fit = |seconds: &u64| (WRITING_SECONDS_MIN..=WRITING_SECONDS_MAX).contains(seconds);
        match seconds.filter(is_fit) {
            Some(seconds) => Ok(Self { seconds }),
            None => Err(WritingLockError(shown(text))),
        }
    }
}

impl fmt::Display for WritingLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.iter().find_map(|(letter, unit)| {
            let is_whole = self.seconds.checked_rem(*unit) == Some(0);
            let count = self.seconds.checked_div(*unit).filter(|_| is_whole)?;
            Some((count, *letter))
        });
        let (count, letter) = whole.unwrap_or((self.seconds, 's'));
        write!(f, "{count}{letter}")
    }
}

#[cfg(test)]
mod tests;
