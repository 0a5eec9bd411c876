//! Objects of at most one chunk: one request each, and finding out what became of it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::operation::put_object::PutObjectOutput;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ServerSideEncryption};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;

use super::body::{Passage, Spoiled};
use super::client::{BACKOFF_FIRST, BACKOFF_MAX};
use super::fault::{Answer, Fault, Met};
use super::settings::{CreateOnly, Encryption};
use super::{S3Store, checksum, find, metadata};
use crate::commitment::Content;
use crate::key::ObjectKey;
use crate::store::{Declared, Outcome, Receipt, Source, StoreError, VersionId};

pub(super) const PUTTING: &str = "writing an object";

/// Bodies up to this size need no time beyond that of a request.
const QUICK_BYTES_MAX: u64 = 64 << 10;

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

    /// The condition that nothing is there, where the store is trusted with it.
    pub(super) fn condition(&self) -> Option<String> {
        let create_only = self.store.settings().create_only;
        (create_only == CreateOnly::Conditional).then(|| "*".to_owned())
    }

    /// Looks first where nothing else keeps an object from being replaced.
    pub(super) async fn look_first(&self) -> Result<Option<Receipt>, StoreError> {
        match self.store.settings().create_only {
            CreateOnly::Conditional => Ok(None),
            CreateOnly::OldestVersion | CreateOnly::DangerouslyCheckFirst => self.find(None).await,
        }
    }

    /// Writes an object of at most one chunk.
    async fn whole(&self, body: impl Fn() -> (SdkBody, Spoiled)) -> Result<Receipt, StoreError> {
        let Content::Whole(digest) = &self.declared.content else {
            return Err(not_declared(self.key));
        };
        if let Some(receipt) = self.look_first().await? {
            return Ok(receipt);
        }
        let mut attempt = 0;
        loop {
            let (body, spoiled) = body();
            let sent = self.request(body, &checksum::text(digest))?;
            let sent = match self.declared.bytes {
                0..=QUICK_BYTES_MAX => sent.send().await,
                bytes => {
                    let allowance = self.store.allowance(bytes);
                    sent.customize().config_override(allowance).send().await
                }
            };
            if let Some(error) = spoiled.take() {
                return Err(error);
            }
            let fault = match sent {
                Ok(output) => return self.put(&output, digest),
                Err(error) => Fault::from(error),
            };
            match self.after(fault, None).await? {
                After::There(receipt) => return Ok(receipt),
                After::Again(fault) => self.pause(&mut attempt, fault).await?,
            }
        }
    }

    fn request(&self, body: SdkBody, checksum: &str) -> Result<PutObjectFluentBuilder, StoreError> {
        let (encryption, key_id) = encryption(self.store);
        // The declaration has at most one chunk, which any integer holds.
        let bytes = i64::try_from(self.declared.bytes).unwrap_or(i64::MAX);
        let client = self.store.client()?;
        Ok(client
            .put_object()
            .bucket(self.store.bucket())
            .key(self.store.name(self.key.as_str()))
            .body(ByteStream::new(body))
            .content_length(bytes)
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .checksum_sha256(checksum)
            .set_if_none_match(self.condition())
            .set_metadata(Some(metadata::of(self.key, &self.declared, &self.name)))
            .set_server_side_encryption(encryption)
            .set_ssekms_key_id(key_id)
            .set_expected_bucket_owner(self.store.owner()))
    }

    fn put(
        &self,
        output: &PutObjectOutput,
        digest: &crate::digest::Digest,
    ) -> Result<Receipt, StoreError> {
        self.acknowledged(
            PUTTING,
            output.e_tag(),
            output.checksum_sha256(),
            &checksum::text(digest),
        )?;
        Ok(self.receipt(Outcome::Created, find::version(output.version_id())))
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
        parts: Option<&[crate::digest::Digest]>,
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

/// How objects are to be encrypted, and with which key.
pub(super) fn encryption(store: &S3Store) -> (Option<ServerSideEncryption>, Option<String>) {
    match &store.settings().encryption {
        Encryption::OfBucket => (None, None),
        Encryption::SseS3 => (Some(ServerSideEncryption::Aes256), None),
        Encryption::SseKms(key_id) => (Some(ServerSideEncryption::AwsKms), key_id.clone()),
    }
}

impl S3Store {
    /// Writes bytes in memory, at most one chunk.
    pub(super) async fn put_bytes(
        &self,
        key: &ObjectKey,
        bytes: Bytes,
        declared: Declared,
    ) -> Result<Receipt, StoreError> {
        let write = Write::new(self, key, declared)?;
        if Declared::of(&bytes) != *write.declared {
            return Err(not_declared(key));
        }
        write
            .whole(|| (SdkBody::from(bytes.clone()), Spoiled::default()))
            .await
    }

    /// Writes what a source has, at most one chunk, without holding it in memory.
    pub(super) async fn send_whole(
        &self,
        key: &ObjectKey,
        declared: Declared,
        source: Arc<dyn Source>,
    ) -> Result<Receipt, StoreError> {
        let write = Write::new(self, key, declared)?;
        if write.declared.bytes == 0 {
            if source.bytes().await? != 0 {
                return Err(not_declared(key));
            }
            return self
                .put_bytes(key, Bytes::new(), (*write.declared).clone())
                .await;
        }
        let passage = write.passage(source, 0..write.declared.bytes);
        write.whole(|| passage.body()).await
    }
}
