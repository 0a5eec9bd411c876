//! Canaries: small objects under `_runpack/probe/` that somebody may try to remove.

use std::time::Duration;

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, Delete, ObjectIdentifier, ObjectLockMode, ObjectLockRetention,
    ObjectLockRetentionMode,
};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::TryStreamExt as _;
use runpack_core::digest::Digest;
use runpack_core::key::{Location, ObjectKey};
use runpack_core::store::s3::{Lock, LockMode, S3Store};
use runpack_core::store::{
    ArtifactReader as _, Holding, Housekeeping as _, ObjectRef, State, StoreError, VersionId,
};
use runpack_core::time::{FixedClock, Timestamp};

use super::answer::Answer;
use super::{Bypass, LOCK_SECONDS};
use crate::bucket::{Lockable, unusable};
use crate::guard::date;

const WRITING: &str = "writing a canary";
/// What a canary says.
const SONG: &[u8] = b"this version is evidence of a lock, and nothing else\n";
/// What is written over it.
const OTHER: &[u8] = b"other bytes\n";
/// The shortest lock, where a bucket locks everything by itself.
const SHORTEST_SECONDS: u64 = 3;

/// One canary.
#[derive(Debug, Clone)]
pub(super) struct Canary {
    pub(super) object: ObjectRef,
    /// How it must be locked.
    pub(super) lock: Option<Lock>,
}

/// By which request a version is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// The one for one object.
    One,
    /// The one for many.
    Many,
}

impl Canary {
    fn version(&self) -> Option<String> {
        let version = self.object.version.as_ref();
        version.map(|version| version.as_str().to_owned())
    }
}

/// The canaries of one proof.
#[derive(Debug)]
pub(super) struct Canaries<'a> {
    store: &'a S3Store,
    nonce: u64,
}

impl<'a> Canaries<'a> {
    pub(super) fn new(store: &'a S3Store, nonce: u64) -> Self {
        Self { store, nonce }
    }

    fn key(&self, what: &str) -> Result<ObjectKey, StoreError> {
        let text = format!("{:016x}-{what}", self.nonce);
        let probe = text.parse().map_err(|_| unusable("a canary has no name"))?;
        let key = Location::Probe { probe }.key();
        key.map_err(|error| unusable(error.to_string()))
    }

    fn bucket(&self) -> &str {
        self.store.settings().bucket.as_str()
    }

    async fn put(
        &self,
        key: &ObjectKey,
        bytes: &'static [u8],
        lock: Option<Lock>,
    ) -> Result<
        Result<
            aws_sdk_s3::operation::put_object::PutObjectOutput,
            SdkError<aws_sdk_s3::operation::put_object::PutObjectError>,
        >,
        StoreError,
    > {
        let put = self
            .store
            .client()?
            .put_object()
            .bucket(self.bucket())
            .key(self.store.name(key.as_str()))
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .checksum_sha256(BASE64_STANDARD.encode(Digest::of(bytes).as_bytes()))
            .set_object_lock_mode(lock.map(|lock| ObjectLockMode::from(lock.mode.as_str())))
            .set_object_lock_retain_until_date(lock.map(|lock| date(lock.until)))
            .set_expected_bucket_owner(self.store.owner())
            .body(ByteStream::from_static(bytes));
        Ok(put.send().await)
    }

    /// The store's time.
    pub(super) async fn now(&self) -> Result<Timestamp, StoreError> {
        self.store.now().await
    }

    /// Writes a canary that is locked from now on, by the store's clock.
    pub(super) async fn locked(&self, what: &str, mode: LockMode) -> Result<Canary, StoreError> {
        let now = self.now().await?.unix_seconds();
        let until = Timestamp::from_unix_seconds(now.saturating_add(LOCK_SECONDS));
        let until = until.unwrap_or(Timestamp::MAX);
        self.write(what, Some(Lock { mode, until })).await
    }

    /// Writes a canary.
    pub(super) async fn write(&self, what: &str, lock: Option<Lock>) -> Result<Canary, StoreError> {
        let key = self.key(what)?;
        let put = self.put(&key, SONG, lock).await?;
        let put = put.map_err(|error| self.store.error(error, WRITING, key.as_str()))?;
        let version = put.version_id().filter(|version| *version != "null");
        let version = version.ok_or_else(|| {
            unusable("it keeps no version of a canary, so nothing in it is locked")
        })?;
        Ok(Canary {
            object: ObjectRef {
                key,
                version: Some(VersionId::new(version)),
            },
            lock,
        })
    }

    /// Writes other bytes under the key of a canary: no longer locked than must be, for they stay as long.
    pub(super) async fn overwrite(&self, canary: &Canary, mode: LockMode) -> Answer {
        let put = async {
            let lock = self.shortest(mode).await?;
            self.put(&canary.object.key, OTHER, lock).await
        };
        match put.await {
            Ok(put) => Answer::of(&put),
            Err(error) => Answer::Unknown(error.to_string()),
        }
    }

    /// Deletes the version of a canary.
    pub(super) async fn remove(&self, canary: &Canary, how: How, bypass: Bypass) -> Answer {
        match how {
            How::One => self.delete(canary, canary.version(), bypass).await,
            How::Many => self.delete_many(canary, bypass).await,
        }
    }

    /// Deletes the version of a canary by the request for many, which succeeds whatever came of each.
    async fn delete_many(&self, canary: &Canary, bypass: Bypass) -> Answer {
        let built = ObjectIdentifier::builder()
            .key(self.store.name(canary.object.key.as_str()))
            .set_version_id(canary.version())
            .build()
            .and_then(|one| Delete::builder().objects(one).build());
        let (delete, client) = match (built, self.store.client()) {
            (Ok(delete), Ok(client)) => (delete, client),
            (Err(error), _) => return Answer::Unknown(error.to_string()),
            (_, Err(error)) => return Answer::Unknown(error.to_string()),
        };
        let answered = client
            .delete_objects()
            .bucket(self.bucket())
            .delete(delete)
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .set_bypass_governance_retention((bypass == Bypass::Governance).then_some(true))
            .set_expected_bucket_owner(self.store.owner())
            .send()
            .await;
        let Ok(answered) = &answered else {
            return Answer::of(&answered);
        };
        match (answered.errors(), answered.deleted()) {
            ([], [_]) => Answer::Done,
            ([error, ..], _) => Answer::of_code(200, error.code().unwrap_or("none")),
            ([], _) => Answer::Unknown("it does not say what became of the version".to_owned()),
        }
    }

    pub(super) async fn delete_key(&self, canary: &Canary) -> Answer {
        self.delete(canary, None, Bypass::Not).await
    }

    async fn delete(&self, canary: &Canary, version: Option<String>, bypass: Bypass) -> Answer {
        let client = match self.store.client() {
            Ok(client) => client,
            Err(error) => return Answer::Unknown(error.to_string()),
        };
        let deleted = client
            .delete_object()
            .bucket(self.bucket())
            .key(self.store.name(canary.object.key.as_str()))
            .set_version_id(version)
            .set_bypass_governance_retention((bypass == Bypass::Governance).then_some(true))
            .set_expected_bucket_owner(self.store.owner())
            .send()
            .await;
        Answer::of(&deleted)
    }

    /// Asks for another lock.
    pub(super) async fn retain(&self, canary: &Canary, lock: Lock, bypass: Bypass) -> Answer {
        let retention = ObjectLockRetention::builder()
            .mode(ObjectLockRetentionMode::from(lock.mode.as_str()))
            .retain_until_date(date(lock.until));
        self.put_retention(canary, retention.build(), bypass).await
    }

    /// Asks for no lock.
    pub(super) async fn unlock(&self, canary: &Canary, bypass: Bypass) -> Answer {
        let nothing = ObjectLockRetention::builder().build();
        self.put_retention(canary, nothing, bypass).await
    }

    async fn put_retention(
        &self,
        canary: &Canary,
        retention: ObjectLockRetention,
        bypass: Bypass,
    ) -> Answer {
        let client = match self.store.client() {
            Ok(client) => client,
            Err(error) => return Answer::Unknown(error.to_string()),
        };
        let put = client
            .put_object_retention()
            .bucket(self.bucket())
            .key(self.store.name(canary.object.key.as_str()))
            .set_version_id(canary.version())
            .retention(retention)
            .set_bypass_governance_retention((bypass == Bypass::Governance).then_some(true))
            .set_expected_bucket_owner(self.store.owner())
            .send()
            .await;
        Answer::of(&put)
    }

    /// Whether the version is there with all its bytes; what it is instead.
    pub(super) async fn compare(&self, canary: &Canary) -> Result<(), Answer> {
        let read = async {
            let mut body = self.store.open(&canary.object, 0..4_096).await?;
            let mut bytes = Vec::new();
            while let Some(piece) = body.next().await {
                bytes.extend_from_slice(&piece?);
            }
            Ok(bytes)
        };
        match read.await {
            Ok(bytes) if bytes == SONG => Ok(()),
            Ok(_) => Err(Answer::Other("has other bytes".to_owned())),
            Err(StoreError::NotFound { .. }) => Err(Answer::Other("is gone".to_owned())),
            Err(error) => Err(Answer::Unknown(error.to_string())),
        }
    }

    pub(super) async fn is_there(&self, canary: &Canary) -> Result<bool, StoreError> {
        match self.compare(canary).await {
            Ok(()) => Ok(true),
            Err(Answer::Other(_)) => Ok(false),
            Err(_) => Err(unusable("a canary could not be looked at")),
        }
    }

    /// No lock; in a bucket that locks by itself, the shortest there is.
    pub(super) async fn shortest(&self, mode: LockMode) -> Result<Option<Lock>, StoreError> {
        let clock = FixedClock(self.now().await?);
        let lockable = Lockable::check(self.store, &clock).await?;
        if lockable.default_retention.is_none() {
            return Ok(None);
        }
        let now = self.now().await?.unix_seconds();
        let until = Timestamp::from_unix_seconds(now.saturating_add(SHORTEST_SECONDS));
        let until = until.unwrap_or(Timestamp::MAX);
        Ok(Some(Lock { mode, until }))
    }

    /// Waits until a short lock has ended by the store's clock.
    pub(super) async fn wait_for_end(&self, lock: Option<Lock>) -> Result<(), StoreError> {
        let Some(lock) = lock else { return Ok(()) };
        for _ in 0..SHORTEST_SECONDS.saturating_mul(20) {
            if self.store.now().await? > lock.until {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Err(unusable("its clock does not go on"))
    }

    /// Removes what can be removed, and says what is left. `held` may be under a hold that could not be cleared.
    pub(super) async fn clean(&self, held: Option<&ObjectKey>) -> Vec<String> {
        let ours = format!("{}{:016x}-", Location::probes_prefix(), self.nonce);
        let holdings = self.store.holdings(&Location::probes_prefix());
        let holdings: Result<Vec<Holding>, StoreError> = holdings.try_collect().await;
        let Ok(holdings) = holdings else {
            return vec![format!("all canaries: they could not be listed, {ours}*")];
        };
        let mut left = Vec::new();
        for holding in holdings.iter().filter(|one| one.key.starts_with(&ours)) {
            if self.store.remove(holding).await.is_ok() || holding.state != State::Object {
                continue;
            }
            left.push(if held.is_some_and(|held| held.as_str() == holding.key) {
                format!(
                    "{}, under a legal hold that could not be cleared: clear it by hand",
                    holding.key
                )
            } else {
                // A canary is locked once, and once made longer.
                format!("{}, locked for {} s at most", holding.key, 2 * LOCK_SECONDS)
            });
        }
        left
    }
}
