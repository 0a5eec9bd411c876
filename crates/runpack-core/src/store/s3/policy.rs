//! What writes ask for beside being written: the one seam for storage that locks what it gets.

use std::fmt;
use std::str::FromStr;

use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::ObjectLockMode;
use serde::{Deserialize, Serialize};

use super::{S3Store, SettingError};
use crate::key::ObjectKey;
use crate::store::StoreError;
use crate::time::Timestamp;

/// How hard a lock is (Amazon S3 user guide, "Object Lock retention modes").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum LockMode {
    /// Whoever has the right to bypass it can.
    Governance,
    /// Nobody can, and it is never shortened.
    Compliance,
}

impl LockMode {
    /// The store's own word, in upper case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance => "COMPLIANCE",
        }
    }
}

/// As configuration and reports write it: in lower case.
impl fmt::Display for LockMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Governance => "governance",
            Self::Compliance => "compliance",
        })
    }
}

impl FromStr for LockMode {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        match text {
            "governance" => Ok(Self::Governance),
            "compliance" => Ok(Self::Compliance),
            _ => Err(SettingError::new(
                "a lock's mode is `governance` or `compliance`, in lower case",
                text,
            )),
        }
    }
}

/// A lock on one version of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// How hard it is.
    pub mode: LockMode,
    /// Until when, by the store's clock.
    pub until: Timestamp,
}

impl Lock {
    /// A lock in the store's words: its mode, and the seconds since 1970 at which it ends. `None` where they say none.
    pub fn told(mode: &str, until_seconds: i64) -> Option<Self> {
        let mode = match mode {
            "GOVERNANCE" => LockMode::Governance,
            "COMPLIANCE" => LockMode::Compliance,
            _ => return None,
        };
        let seconds = u64::try_from(until_seconds).ok()?;
        let until = Timestamp::from_unix_seconds(seconds).ok()?;
        Some(Self { mode, until })
    }

    /// Whether this one keeps at least as hard and as long as `asked`.
    pub fn covers(&self, asked: &Self) -> bool {
        self.mode >= asked.mode && self.until >= asked.until
    }
}

/// What every write of a store asks for. Mode and date go together, and a legal hold is never sent with a write: some
/// stores take its absence for one that is off.
pub trait PutPolicy: Send + Sync + fmt::Debug {
    /// The lock that a new version under `key` gets from its first moment; `None` leaves it to the bucket.
    ///
    /// # Errors
    /// It must not be written here: nothing is sent.
    fn lock(&self, key: &ObjectKey) -> Result<Option<Lock>, StoreError>;
}

/// The lock of a new version, as a request has it.
pub(super) fn lock(
    store: &S3Store,
    key: &ObjectKey,
) -> Result<(Option<ObjectLockMode>, Option<DateTime>), StoreError> {
    let policy = store.policy.as_ref();
    let lock = policy.map(|policy| policy.lock(key)).transpose()?.flatten();
    Ok(lock.map_or((None, None), |lock| {
        // Timestamps end with the year 9999.
        let seconds = i64::try_from(lock.until.unix_seconds()).unwrap_or(i64::MAX);
        let mode = ObjectLockMode::from(lock.mode.as_str());
        (Some(mode), Some(DateTime::from_secs(seconds)))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_covers_what_is_weaker_and_shorter() {
        let lock = |mode, seconds| Lock {
            mode,
            until: Timestamp::from_unix_seconds(seconds).unwrap(),
        };
        let asked = lock(LockMode::Governance, 100);
        for (found, covers) in [
            (lock(LockMode::Governance, 100), true),
            (lock(LockMode::Compliance, 101), true),
            (lock(LockMode::Governance, 99), false),
            (lock(LockMode::Compliance, 99), false),
        ] {
            assert_eq!(found.covers(&asked), covers, "{found:?}");
        }
        assert!(!asked.covers(&lock(LockMode::Compliance, 50)));
    }
}
