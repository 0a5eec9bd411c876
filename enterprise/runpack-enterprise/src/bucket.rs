//! Whether a bucket can keep evidence locked: looked at before anything is written (threats L01, L03, T04).

use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::types::{BucketVersioningStatus, ObjectLockEnabled, ObjectLockRetentionMode};
use runpack_core::store::s3::{LockMode, S3Store, SKEW_SECONDS_MAX};
use runpack_core::store::{Housekeeping as _, StoreError};
use runpack_core::time::{Clock, Timestamp};

use crate::routing::Region;

/// What a bucket locks new versions with by itself. It is no floor: what a write asks for counts in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultRetention {
    /// How hard.
    pub mode: LockMode,
    /// For how many days, years as 365 of them.
    pub days: u32,
}

/// A bucket that keeps versions and locks them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lockable {
    /// What it locks new versions with by itself.
    pub default_retention: Option<DefaultRetention>,
    /// The later of this machine's time and the store's.
    pub now: Timestamp,
    /// The store's time.
    pub store_now: Timestamp,
}

impl Lockable {
    /// Looks whether the bucket keeps versions, locks them, and has a clock like ours.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] with what to do; [`StoreError::Denied`] where it may not be asked, which is not taken
    /// for an answer; as the store fails.
    pub async fn check(store: &S3Store, clock: &dyn Clock) -> Result<Self, StoreError> {
        let versioning = versioning(store).await?;
        if versioning != Some(BucketVersioningStatus::Enabled) {
            return Err(unusable(format!(
                "the bucket does not keep versions, so nothing in it can be locked: make a bucket with Object Lock, bucket=`{}`",
                store.settings().bucket
            )));
        }
        let default_retention = object_lock(store).await?;
        let (ours, theirs) = (clock.now(), store.now().await?);
        let skew = ours.unix_seconds().abs_diff(theirs.unix_seconds());
        if skew > SKEW_SECONDS_MAX {
            return Err(unusable(format!(
                "its clock and this machine's differ by more than {SKEW_SECONDS_MAX} s, so the end of a lock is not known: set the clock, ours=`{ours}` theirs=`{theirs}`"
            )));
        }
        Ok(Self {
            default_retention,
            now: ours.max(theirs),
            store_now: theirs,
        })
    }
}

async fn versioning(store: &S3Store) -> Result<Option<BucketVersioningStatus>, StoreError> {
    let asked = store
        .client()?
        .get_bucket_versioning()
        .bucket(store.settings().bucket.as_str())
        .set_expected_bucket_owner(store.owner())
        .send()
        .await;
    asked
        .map(|found| found.status)
        .map_err(|error| store.error(error, "asking whether the bucket keeps versions", ""))
}

async fn object_lock(store: &S3Store) -> Result<Option<DefaultRetention>, StoreError> {
    const ASKING: &str = "asking whether the bucket locks versions";
    let none = || {
        unusable(format!(
            "the bucket has no Object Lock: turn it on, or make a bucket with it, bucket=`{}`",
            store.settings().bucket
        ))
    };
    let asked = store
        .client()?
        .get_object_lock_configuration()
        .bucket(store.settings().bucket.as_str())
        .set_expected_bucket_owner(store.owner())
        .send()
        .await;
    let found = match asked {
        Ok(found) => found.object_lock_configuration,
        Err(error) if error.code() == Some("ObjectLockConfigurationNotFoundError") => None,
        Err(error) => return Err(store.error(error, ASKING, "")),
    };
    let found = found
        .filter(|found| found.object_lock_enabled == Some(ObjectLockEnabled::Enabled))
        .ok_or_else(none)?;
    let Some(retention) = found.rule.and_then(|rule| rule.default_retention) else {
        return Ok(None);
    };
    let positive = |number: Option<i32>| number.and_then(|n| u32::try_from(n).ok());
    let days = positive(retention.days).unwrap_or(0);
    let years = positive(retention.years).unwrap_or(0).saturating_mul(365);
    let mode = match retention.mode.as_ref().map(ObjectLockRetentionMode::as_str) {
        Some("COMPLIANCE") => LockMode::Compliance,
        _ => LockMode::Governance,
    };
    Ok(Some(DefaultRetention {
        mode,
        days: days.saturating_add(years),
    }))
}

/// The region that the service says the bucket is in; `None` where it does not say.
///
/// # Errors
/// The service cannot be asked.
pub async fn region(store: &S3Store) -> Result<Option<Region>, StoreError> {
    let found = store.location().await?;
    Ok(found.told().and_then(|told| told.parse().ok()))
}

/// What this program does not do, whatever the store would let it.
pub(crate) fn barred(reason: impl Into<String>) -> StoreError {
    StoreError::Barred {
        reason: reason.into(),
    }
}

pub(crate) fn unusable(reason: impl Into<String>) -> StoreError {
    StoreError::Unusable {
        reason: reason.into(),
    }
}
