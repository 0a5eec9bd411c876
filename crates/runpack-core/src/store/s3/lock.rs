//! The lock and the legal hold of one version, as the store tells them.
//!
//! Invariant: that they may not be looked at is an error and never "none". Each is asked for by itself: an answer to a
//! request for the object leaves both out where the right to see them is missing (Amazon S3 API, `HeadObject`).

use aws_sdk_s3::types::ObjectLockLegalHoldStatus;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::fault::{Answer, Fault};
use super::{IN_FLIGHT, Lock, S3Store};
use crate::store::{ObjectRef, Protection, StoreError, VersionId};
use crate::time::Timestamp;

const READING: &str = "reading the lock of a version";

impl S3Store {
    /// Whether versions in the bucket can be locked at all.
    ///
    /// # Errors
    /// [`StoreError::Denied`]; as the store fails.
    async fn can_lock(&self) -> Result<bool, StoreError> {
        let asked = self
            .client()?
            .get_object_lock_configuration()
            .bucket(self.bucket())
            .set_expected_bucket_owner(self.owner())
            .send()
            .await;
        match asked.map_err(Fault::from) {
            Ok(_) => Ok(true),
            Err(fault) if fault.is_no_lock() || fault.is_unknown_function() => Ok(false),
            Err(fault) => Err(fault.into_error(self, "asking whether a bucket has locks", "")),
        }
    }

    /// The lock of a version, in force or not any more; `None` where it has none.
    ///
    /// # Errors
    /// [`StoreError::Denied`] (`s3:GetObjectRetention`); [`StoreError::NotFound`]; as the store fails.
    pub async fn lock_of(&self, object: &ObjectRef) -> Result<Option<Lock>, StoreError> {
        let asked = self
            .client()?
            .get_object_retention()
            .bucket(self.bucket())
            .key(self.name(object.key.as_str()))
            .set_version_id(version(object))
            .set_expected_bucket_owner(self.owner())
            .send()
            .await;
        let found = match asked.map_err(Fault::from) {
            Ok(found) => found.retention,
            Err(fault) if fault.is_no_lock() => None,
            Err(fault) => return Err(self.not_read(fault, object)),
        };
        let found = found.and_then(|found| Some((found.mode?, found.retain_until_date?)));
        let lock = found.map(|(mode, until)| {
            let lock = Lock::told(mode.as_str(), until.secs());
            lock.ok_or_else(|| self.senseless_lock(object, "the lock is of no mode or time"))
        });
        lock.transpose()
    }

    /// Whether a version is under a legal hold.
    ///
    /// # Errors
    /// [`StoreError::Denied`] (`s3:GetObjectLegalHold`); [`StoreError::NotFound`]; as the store fails.
    pub async fn is_held(&self, object: &ObjectRef) -> Result<bool, StoreError> {
        let asked = self
            .client()?
            .get_object_legal_hold()
            .bucket(self.bucket())
            .key(self.name(object.key.as_str()))
            .set_version_id(version(object))
            .set_expected_bucket_owner(self.owner())
            .send()
            .await;
        match asked.map_err(Fault::from) {
            Ok(found) => match found.legal_hold.and_then(|hold| hold.status) {
                Some(ObjectLockLegalHoldStatus::On) => Ok(true),
                Some(ObjectLockLegalHoldStatus::Off) => Ok(false),
                _ => {
                    let what = "it says neither that it is held nor that it is not";
                    Err(self.senseless_lock(object, what))
                }
            },
            Err(fault) if fault.is_no_lock() => Ok(false),
            Err(fault) => Err(self.not_read(fault, object)),
        }
    }

    pub(super) async fn first_protected(
        &self,
        objects: &[ObjectRef],
        now: Timestamp,
    ) -> Result<Option<(ObjectRef, Protection)>, StoreError> {
        if objects.is_empty() || !self.can_lock().await? {
            return Ok(None);
        }
        let asked = stream::iter(objects).map(|object| async move {
            let protection = self.protection(object, now).await?;
            Ok::<_, StoreError>(protection.map(|protection| (object.clone(), protection)))
        });
        let mut protected = asked
            .buffered(IN_FLIGHT)
            .try_filter_map(async |found| Ok(found))
            .boxed();
        protected.try_next().await
    }

    async fn protection(
        &self,
        object: &ObjectRef,
        now: Timestamp,
    ) -> Result<Option<Protection>, StoreError> {
        let asked = async {
            if self.is_held(object).await? {
                return Ok(Some(Protection::Held));
            }
            let lock = self.lock_of(object).await?;
            let in_force = lock.filter(|lock| lock.until > now);
            Ok(in_force.map(|lock| Protection::LockedUntil(lock.until)))
        };
        match asked.await {
            Err(StoreError::NotFound { .. }) => Ok(None),
            asked => asked,
        }
    }

    fn not_read(&self, fault: Fault, object: &ObjectRef) -> StoreError {
        let key = object.key.as_str();
        if fault.is_missing_version(object.version.as_ref()) {
            return StoreError::NotFound {
                key: key.to_owned(),
            };
        }
        fault.into_error(self, READING, key)
    }

    fn senseless_lock(&self, object: &ObjectRef, what: &str) -> StoreError {
        let answer = Answer::nonsense(&format!("{what}, at {}", self.storage_uri_of_prefix()));
        Fault::Answer(answer).into_error(self, READING, object.key.as_str())
    }
}

fn version(object: &ObjectRef) -> Option<String> {
    let version = object.version.as_ref().map(VersionId::as_str);
    version.map(str::to_owned)
}
