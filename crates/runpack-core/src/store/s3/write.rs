//! What is written under one key, and what became of it: whatever a store answers, or does not, a look at what is there
//! decides.
//!
//! What is there is known by the store's own checksum where that covers the bytes, else by reading them.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::types::ServerSideEncryption;

use super::body::Passage;
use super::fault::{Answer, Fault, Met};
use super::open::unusable;
use super::settings::{BACKOFF_FIRST, BACKOFF_MAX, CreateOnly, Encryption};
use super::{S3Store, checksum, head};
use crate::commitment::Content;
use crate::digest::Digest;
use crate::key::ObjectKey;
use crate::store::plan::Plan;
use crate::store::{Declared, ObjectRef, Outcome, Receipt, Source, StoreError, VersionId};

/// What the store is being asked to do, in errors.
pub(super) const PUTTING: &str = "writing an object";

/// What is there and not ours is read so far, to be named by its commitment.
const COMPARED_BYTES_MAX: u64 = 64 << 20;

/// One object to be written.
#[derive(Debug, Clone)]
pub(super) struct Write<'a> {
    pub(super) store: &'a S3Store,
    pub(super) key: &'a ObjectKey,
    pub(super) declared: Arc<Declared>,
    /// The name of this write, which the object carries.
    pub(super) name: String,
}

/// What to do after a fault.
pub(super) enum After {
    /// It ended well.
    There(Receipt),
    /// The same again.
    Again(Fault),
}

impl<'a> Write<'a> {
    /// # Errors
    /// The declaration contradicts itself.
    pub(super) fn new(
        store: &'a S3Store,
        key: &'a ObjectKey,
        declared: Declared,
    ) -> Result<Self, StoreError> {
        if !declared.content.fits(declared.bytes) {
            return Err(not_declared(key));
        }
        Ok(Self {
            store,
            key,
            declared: Arc::new(declared),
            name: store.shared.writes.name(),
        })
    }

    pub(super) fn receipt(&self, outcome: Outcome, version: Option<VersionId>) -> Receipt {
        Receipt {
            version,
            ..Receipt::new(self.key.clone(), &self.declared, outcome)
        }
    }

    /// A part of what `source` has, on its way to the store.
    pub(super) fn passage(&self, source: Arc<dyn Source>, range: Range<u64>) -> Passage {
        Passage {
            source,
            declared: Arc::clone(&self.declared),
            range,
            key: self.key.as_str().into(),
        }
    }

    /// As [`condition`].
    pub(super) fn condition(&self) -> Option<String> {
        condition(self.store)
    }

    /// Looks first where nothing else keeps an object from being replaced.
    pub(super) async fn look_first(&self) -> Result<Option<Receipt>, StoreError> {
        match self.store.settings().create_only {
            CreateOnly::Conditional => Ok(None),
            CreateOnly::OldestVersion | CreateOnly::DangerouslyCheckFirst => self.find(None).await,
        }
    }

    /// What is under the key: `None` where nothing is, an error where it is something else. `parts` are the
    /// digests of the parts, where they are not those of the chunks.
    pub(super) async fn find(
        &self,
        parts: Option<&[Digest]>,
    ) -> Result<Option<Receipt>, StoreError> {
        let found = self.compare(&self.key.clone().into(), parts).await;
        match (&found, self.store.settings().create_only) {
            (Err(StoreError::AlreadyExists { .. }), CreateOnly::OldestVersion) => {}
            _ => return found,
        }
        // Nothing stopped somebody from writing after it: the oldest version is the object.
        let versions = self.store.versions_of(self.key).await?;
        let Some(oldest) = versions.into_iter().next() else {
            return Ok(None);
        };
        let object = ObjectRef {
            key: self.key.clone(),
            version: oldest.version,
        };
        self.compare(&object, parts).await
    }

    async fn compare(
        &self,
        object: &ObjectRef,
        parts: Option<&[Digest]>,
    ) -> Result<Option<Receipt>, StoreError> {
        let head = match self.store.head(object).await {
            Ok(head) => head,
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let is_equal = head.bytes == self.declared.bytes
            && head.checksum.is_some()
            && head.checksum == self.checksum(parts);
        if !is_equal {
            let pinned = ObjectRef {
                key: object.key.clone(),
                version: object.version.clone().or_else(|| head.version.clone()),
            };
            // A store may have, or make up, terabytes (threat S03); one byte more than ours tells it apart.
            let bytes_max = self
                .declared
                .bytes
                .max(COMPARED_BYTES_MAX)
                .saturating_add(1);
            let theirs = match self.store.hash(&pinned, bytes_max).await {
                Ok(theirs) => theirs,
                Err(StoreError::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(error),
            };
            if theirs != *self.declared {
                return Err(StoreError::AlreadyExists {
                    key: self.key.to_string(),
                    ours: self.declared.commitment(),
                    theirs: theirs.commitment(),
                });
            }
        }
        // Our own write whose answer was lost (threat W10).
        let is_ours = head.write.as_deref() == Some(&self.name);
        let outcome = if is_ours {
            Outcome::Created
        } else {
            Outcome::AlreadyThere
        };
        Ok(Some(self.receipt(outcome, head.version)))
    }

    /// The checksum that the store has of these bytes, if they came the way that ours go.
    pub(super) fn checksum(&self, parts: Option<&[Digest]>) -> Option<String> {
        match (&self.declared.content, parts) {
            (Content::Whole(digest), _) => Some(checksum::text(digest)),
            (Content::Chunks(_), Some(parts)) => Some(checksum::composite(parts)),
            (Content::Chunks(chunks), None) => {
                let plan = Plan::of(self.declared.bytes)?;
                plan.is_by_chunk().then(|| checksum::composite(chunks))
            }
        }
    }

    /// The receipt of an object that the store says it made.
    ///
    /// # Errors
    /// The oldest version is to be the object, and the store keeps none: then this one replaced what was there.
    pub(super) fn created(&self, version: Option<&str>) -> Result<Receipt, StoreError> {
        let version = head::version(version);
        let create_only = self.store.settings().create_only;
        if create_only == CreateOnly::OldestVersion && version.is_none() {
            return Err(unusable(
                "`create_only: oldest-version` is for a bucket that keeps versions, and this one keeps none: turn versioning on, or use a store with conditional writes".to_owned(),
            ));
        }
        Ok(self.receipt(Outcome::Created, version))
    }

    /// Whether an answer of success is one: a gateway's page is not (threat S20), and what the store says that
    /// it has is what was sent.
    pub(super) fn acknowledged(
        &self,
        action: &'static str,
        e_tag: Option<&str>,
        theirs: Option<&str>,
        ours: &str,
    ) -> Result<(), StoreError> {
        let message = if e_tag.is_none() {
            "the answer has no entity tag: this is no object store"
        } else if theirs.is_some_and(|theirs| theirs != ours) {
            "the store's checksum of what it stored is not that of what was sent"
        } else {
            return Ok(());
        };
        let answer = Answer::nonsense(message);
        Err(Fault::Answer(answer).into_error(self.store, action, self.key.as_str()))
    }

    /// What became of a write that did not end with success.
    pub(super) async fn after(
        &self,
        fault: Fault,
        parts: Option<&[Digest]>,
    ) -> Result<After, StoreError> {
        if fault.is_taken() {
            return Ok(match self.find(parts).await? {
                Some(receipt) => After::There(receipt),
                // It was removed since.
                None => After::Again(fault),
            });
        }
        if fault.is_conflict() || fault.is_damage() {
            return Ok(After::Again(fault));
        }
        if fault.is_ambiguous() {
            // The last attempt may have been done: one look, and no more than that (threat N05).
            match self.find(parts).await {
                Ok(Some(receipt)) => return Ok(After::There(receipt)),
                Err(error @ StoreError::AlreadyExists { .. }) => return Err(error),
                Ok(None) | Err(_) => {}
            }
        }
        Err(fault.into_create_error(self.store, PUTTING, self.key.as_str()))
    }

    /// Waits before the same again, or gives up.
    pub(super) async fn pause(&self, attempt: &mut u32, fault: Fault) -> Result<(), StoreError> {
        *attempt = attempt.saturating_add(1);
        if *attempt >= self.store.settings().deadlines.attempts {
            let key = self.key.as_str();
            if fault.is_damage() {
                return Err(fault.into_error(self.store, PUTTING, key));
            }
            return Err(StoreError::Unavailable {
                action: PUTTING,
                key: key.to_owned(),
                source: Box::new(Met(
                    "others kept writing and removing it at the same time".to_owned()
                )),
            });
        }
        tokio::time::sleep(backoff(*attempt, &self.name)).await;
        Ok(())
    }
}

/// Full jitter, from the name of the write: as random as that is.
fn backoff(attempt: u32, name: &str) -> Duration {
    use std::hash::{BuildHasher as _, RandomState};
    let most = BACKOFF_FIRST
        .saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)))
        .min(BACKOFF_MAX);
    let part = u8::try_from(RandomState::new().hash_one((name, attempt)) & 0xff).unwrap_or(0);
    most.mul_f64(f64::from(part) / 256.0)
}

pub(super) fn not_declared(key: &ObjectKey) -> StoreError {
    StoreError::NotDeclared {
        key: key.to_string(),
    }
}

/// The condition that nothing is there, where the store is trusted with it.
pub(super) fn condition(store: &S3Store) -> Option<String> {
    let create_only = store.settings().create_only;
    (create_only == CreateOnly::Conditional).then(|| "*".to_owned())
}

/// How objects are to be encrypted, and with which key.
pub(super) fn encryption(store: &S3Store) -> (Option<ServerSideEncryption>, Option<String>) {
    match &store.settings().encryption {
        Encryption::OfBucket => (None, None),
        Encryption::SseS3 => (Some(ServerSideEncryption::Aes256), None),
        Encryption::SseKms(key_id) => (Some(ServerSideEncryption::AwsKms), key_id.clone()),
    }
}
