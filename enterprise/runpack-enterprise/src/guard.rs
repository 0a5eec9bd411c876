//! What a store says of the lock and the hold of one version, and how both are changed.
//!
//! Every call names a version: a lock is on a version and never on a key. Invariants: a lock that cannot be read is an
//! error and never "none", for a store answers without the headers where the right to see them is missing (Amazon S3
//! API, `HeadObject`); a lock is never shortened here, and no request carries the bypass of governance.

use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{
    ChecksumMode, ObjectLockLegalHold, ObjectLockLegalHoldStatus, ObjectLockRetention,
    ObjectLockRetentionMode,
};
use runpack_core::store::s3::{Lock, S3Store};
use runpack_core::store::{ObjectRef, StoreError, VersionId};
use runpack_core::time::Timestamp;
use serde::{Deserialize, Serialize};

const READING: &str = "reading the lock of a version";
const LOCKING: &str = "locking a version";
const HOLDING: &str = "changing the legal hold of a version";

/// The legal hold of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hold {
    /// Nothing removes the version.
    On,
    /// The lock alone decides.
    Off,
}

/// What a store says of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protection {
    /// The size.
    pub bytes: u64,
    /// The store's SHA-256 of it (base64), composite for what came in parts.
    pub checksum: Option<String>,
    /// The lock; `None` where there is none, or none any more that the store tells of.
    pub lock: Option<Lock>,
    /// The hold.
    pub hold: Hold,
    /// How far it is copied to another bucket, in the store's words.
    pub replication: Option<String>,
    /// Where it lies, where that is told.
    pub storage_class: Option<String>,
    /// How it is encrypted, and with which key of a key service.
    pub encryption: (Option<String>, Option<String>),
}

/// What a store says of a version, to somebody who may not be allowed to see its lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glimpse {
    /// The size.
    pub bytes: u64,
    /// The store's SHA-256 of it (base64), composite for what came in parts.
    pub checksum: Option<String>,
    /// Lock and hold; `None` where they could not be looked at.
    pub lock: Option<(Option<Lock>, Hold)>,
}

/// The locks of a bucket's versions.
#[derive(Debug, Clone)]
pub struct Guard {
    store: S3Store,
}

impl Guard {
    /// Those of the bucket of this store.
    pub fn new(store: S3Store) -> Self {
        Self { store }
    }

    /// The store.
    pub fn store(&self) -> &S3Store {
        &self.store
    }

    /// What the store says of a version.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Denied`] where lock or hold cannot be read (`s3:GetObjectRetention`,
    /// `s3:GetObjectLegalHold`); as the store fails.
    pub async fn inspect(&self, object: &ObjectRef) -> Result<Protection, StoreError> {
        let head = self.head(object).await?;
        let (lock, hold) = self.locked(object, &head).await?;
        Ok(Protection {
            bytes: size(&head),
            checksum: head.checksum_sha256().map(str::to_owned),
            lock,
            hold,
            replication: head.replication_status().map(|s| s.as_str().to_owned()),
            storage_class: head.storage_class().map(|c| c.as_str().to_owned()),
            encryption: (
                head.server_side_encryption().map(|e| e.as_str().to_owned()),
                head.ssekms_key_id().map(str::to_owned),
            ),
        })
    }

    /// The same, where a lock that cannot be looked at is no failure but not observed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Denied`] where not even the version may be seen; as the store fails.
    pub async fn glimpse(&self, object: &ObjectRef) -> Result<Glimpse, StoreError> {
        let head = self.head(object).await?;
        let lock = match self.locked(object, &head).await {
            Ok(found) => Some(found),
            Err(StoreError::Denied { .. } | StoreError::Refused { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(Glimpse {
            bytes: size(&head),
            checksum: head.checksum_sha256().map(str::to_owned),
            lock,
        })
    }

    async fn locked(
        &self,
        object: &ObjectRef,
        head: &HeadObjectOutput,
    ) -> Result<(Option<Lock>, Hold), StoreError> {
        let lock = match (
            head.object_lock_mode(),
            head.object_lock_retain_until_date(),
        ) {
            (Some(mode), Some(until)) => Some(self.lock_of(object, mode.as_str(), until)?),
            // Not told is not the same as not there.
            _ => self.retention(object).await?,
        };
        let hold = match head.object_lock_legal_hold_status() {
            Some(ObjectLockLegalHoldStatus::On) => Hold::On,
            Some(ObjectLockLegalHoldStatus::Off) => Hold::Off,
            _ => self.hold(object).await?,
        };
        Ok((lock, hold))
    }

    async fn head(&self, object: &ObjectRef) -> Result<HeadObjectOutput, StoreError> {
        let key = object.key.as_str();
        let store = &self.store;
        let asked = store
            .client()?
            .head_object()
            .bucket(store.settings().bucket.as_str())
            .key(store.name(key))
            .set_version_id(version(object))
            .checksum_mode(ChecksumMode::Enabled)
            .set_expected_bucket_owner(store.owner())
            .send()
            .await;
        asked.map_err(|error| {
            let status = error.raw_response().map(|raw| raw.status().as_u16());
            // 405 is a delete marker that is asked for by its version.
            if matches!(status, Some(404 | 405)) && error.code() != Some("NoSuchBucket") {
                return not_found(key);
            }
            store.error(error, READING, key)
        })
    }

    /// The lock, asked for by itself: here a missing right is told from a missing lock.
    async fn retention(&self, object: &ObjectRef) -> Result<Option<Lock>, StoreError> {
        self.store.lock_of(object).await
    }

    async fn hold(&self, object: &ObjectRef) -> Result<Hold, StoreError> {
        let is_held = self.store.is_held(object).await?;
        Ok(if is_held { Hold::On } else { Hold::Off })
    }

    fn lock_of(
        &self,
        object: &ObjectRef,
        mode: &str,
        until: &DateTime,
    ) -> Result<Lock, StoreError> {
        Lock::told(mode, until.secs())
            .ok_or_else(|| self.senseless(object, "the lock is of no mode or time"))
    }

    fn senseless(&self, object: &ObjectRef, what: &str) -> StoreError {
        StoreError::Refused {
            action: READING,
            key: object.key.to_string(),
            status: 200,
            code: "(success)".to_owned(),
            message: format!("{what}, at {}", self.store.storage_uri_of_prefix()),
        }
    }

    /// Makes sure that a version is locked at least so, and reads back that it is.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] where the store then says less than was asked; as [`Guard::inspect`]; as the store
    /// fails.
    pub async fn ensure(&self, object: &ObjectRef, asked: Lock) -> Result<Protection, StoreError> {
        let found = self.inspect(object).await?;
        self.raise(object, found, asked).await
    }

    /// As [`Guard::ensure`], of a version that was looked at a moment ago.
    ///
    /// # Errors
    /// As there.
    pub async fn raise(
        &self,
        object: &ObjectRef,
        found: Protection,
        asked: Lock,
    ) -> Result<Protection, StoreError> {
        if found.lock.is_some_and(|lock| lock.covers(&asked)) {
            return Ok(found);
        }
        // Neither mode nor date ever gets less than it is.
        let asked = found.lock.map_or(asked, |found| Lock {
            mode: asked.mode.max(found.mode),
            until: asked.until.max(found.until),
        });
        let hardens = found.lock.is_some_and(|lock| lock.mode < asked.mode);
        match self.retain(object, asked).await {
            Err(StoreError::Denied { key, .. }) if hardens => Err(StoreError::Barred {
                reason: format!(
                    "the store lets nobody turn a lock in governance mode into one in compliance mode who may not bypass governance, and nothing here asks for that: choose the mode before the export, key=`{key}`"
                ),
            }),
            Err(error) => Err(error),
            Ok(()) => self.kept(object, asked).await,
        }
    }

    /// Reads back that a version is locked at least so.
    ///
    /// # Errors
    /// As [`Guard::ensure`].
    pub async fn kept(&self, object: &ObjectRef, asked: Lock) -> Result<Protection, StoreError> {
        let found = self.inspect(object).await?;
        if found.lock.is_some_and(|lock| lock.covers(&asked)) {
            return Ok(found);
        }
        let said = found.lock.map_or_else(
            || "no lock".to_owned(),
            |lock| format!("{} until {}", lock.mode.as_str(), lock.until),
        );
        Err(StoreError::Unusable {
            reason: format!(
                "it took a lock and does not show it, run `runpack-enterprise prove` to see what it enforces, key=`{}` asked=`{} until {}` found=`{said}`",
                object.key,
                asked.mode.as_str(),
                asked.until
            ),
        })
    }

    /// Locks a version, or makes its lock longer.
    async fn retain(&self, object: &ObjectRef, lock: Lock) -> Result<(), StoreError> {
        let (store, key) = (&self.store, object.key.as_str());
        let retention = ObjectLockRetention::builder()
            .mode(ObjectLockRetentionMode::from(lock.mode.as_str()))
            .retain_until_date(date(lock.until))
            .build();
        store
            .client()?
            .put_object_retention()
            .bucket(store.settings().bucket.as_str())
            .key(store.name(key))
            .set_version_id(version(object))
            .retention(retention)
            .set_expected_bucket_owner(store.owner())
            .send()
            .await
            .map(drop)
            .map_err(|error| store.error(error, LOCKING, key))
    }

    /// Turns the legal hold of a version on or off, and reads it back.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] where it is not as asked afterwards; as the store fails.
    pub async fn set_hold(&self, object: &ObjectRef, asked: Hold) -> Result<(), StoreError> {
        if self.hold(object).await? == asked {
            return Ok(());
        }
        let (store, key) = (&self.store, object.key.as_str());
        let status = match asked {
            Hold::On => ObjectLockLegalHoldStatus::On,
            Hold::Off => ObjectLockLegalHoldStatus::Off,
        };
        store
            .client()?
            .put_object_legal_hold()
            .bucket(store.settings().bucket.as_str())
            .key(store.name(key))
            .set_version_id(version(object))
            .legal_hold(ObjectLockLegalHold::builder().status(status).build())
            .set_expected_bucket_owner(store.owner())
            .send()
            .await
            .map_err(|error| store.error(error, HOLDING, key))?;
        if self.hold(object).await? == asked {
            return Ok(());
        }
        Err(StoreError::Unusable {
            reason: format!("it took a legal hold and shows another, key=`{key}`"),
        })
    }
}

fn size(head: &HeadObjectOutput) -> u64 {
    let bytes = head.content_length();
    bytes.and_then(|b| u64::try_from(b).ok()).unwrap_or(0)
}

fn not_found(key: &str) -> StoreError {
    StoreError::NotFound {
        key: key.to_owned(),
    }
}

fn version(object: &ObjectRef) -> Option<String> {
    object
        .version
        .as_ref()
        .map(VersionId::as_str)
        .map(str::to_owned)
}

/// A time as the store takes it.
pub(crate) fn date(time: Timestamp) -> DateTime {
    // Timestamps end with the year 9999.
    DateTime::from_secs(i64::try_from(time.unix_seconds()).unwrap_or(i64::MAX))
}
