//! One upload in parts: begun, its parts sent, completed where nothing is there, or given up.

use std::time::Duration;

use aws_sdk_s3::operation::complete_multipart_upload::CompleteMultipartUploadOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart};
use aws_smithy_types::body::SdkBody;

use super::body::Spoiled;
use super::fault::{Answer, Fault};
use super::write::{After, PUTTING, Write, encryption};
use super::{S3Store, checksum, metadata, policy};
use crate::count::len_u64;
use crate::digest::Digest;
use crate::key::ObjectKey;
use crate::store::{Receipt, StoreError};

/// For giving an upload up.
const ABORT: Duration = Duration::from_secs(10);
/// What a store is given to put one part into place.
const COMPLETE_BYTES_PER_PART: u64 = 1 << 12;

/// An upload under way.
#[derive(Debug)]
pub(super) struct Upload {
    store: S3Store,
    key: ObjectKey,
    id: String,
    /// Whether there is nothing to give up any more.
    is_over: bool,
}

/// A part that the store has.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    /// From 0.
    pub(super) part: u64,
    pub(super) digest: Digest,
    pub(super) e_tag: String,
}

/// Why a part did not arrive.
pub(super) enum PartFault {
    /// The upload is gone: a new one may do better.
    Lost(Fault),
    Failed(StoreError),
}

impl From<StoreError> for PartFault {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl Upload {
    pub(super) async fn begin(write: &Write<'_>) -> Result<Self, StoreError> {
        const BEGINNING: &str = "beginning an upload";
        let store = write.store;
        let (encryption, key_id) = encryption(store);
        let (lock_mode, locked_until) = policy::lock(store, write.key)?;
        let begun = store
            .client()?
            .create_multipart_upload()
            .bucket(store.bucket())
            .key(store.name(write.key.as_str()))
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .checksum_type(ChecksumType::Composite)
            .set_metadata(Some(metadata::of(write.key, &write.declared, &write.name)))
            .set_server_side_encryption(encryption)
            .set_ssekms_key_id(key_id)
            .set_object_lock_mode(lock_mode)
            .set_object_lock_retain_until_date(locked_until)
            .set_expected_bucket_owner(store.owner())
            .send()
            .await;
        let key = write.key.as_str();
        let begun = begun.map_err(|error| Fault::from(error).into_error(store, BEGINNING, key))?;
        let id = begun.upload_id().ok_or_else(|| {
            let answer = Answer::nonsense("the answer names no upload: this is no object store");
            Fault::Answer(answer).into_error(store, BEGINNING, key)
        })?;
        Ok(Self {
            store: store.clone(),
            key: write.key.clone(),
            id: id.to_owned(),
            is_over: false,
        })
    }

    /// Sends one part, whose digest is known.
    pub(super) async fn send(
        &self,
        part: u64,
        digest: Digest,
        bytes: u64,
        body: impl Fn() -> (SdkBody, Spoiled),
    ) -> Result<Sent, PartFault> {
        let (store, key) = (&self.store, self.key.as_str());
        let mut damaged = 0;
        loop {
            let (body, spoiled) = body();
            let sent = store
                .client()?
                .upload_part()
                .bucket(store.bucket())
                .key(store.name(key))
                .upload_id(&self.id)
                .part_number(number(part))
                .body(ByteStream::new(body))
                .content_length(i64::try_from(bytes).unwrap_or(i64::MAX))
                .checksum_algorithm(ChecksumAlgorithm::Sha256)
                .checksum_sha256(checksum::text(&digest))
                .set_expected_bucket_owner(store.owner())
                .customize()
                .config_override(store.allowance(bytes))
                .send()
                .await;
            if let Some(error) = spoiled.take() {
                return Err(error.into());
            }
            let nonsense = |message| {
                let fault = Fault::Answer(Answer::nonsense(message));
                PartFault::Failed(fault.into_error(store, PUTTING, key))
            };
            match sent {
                Ok(answer) => {
                    let theirs = answer.checksum_sha256();
                    if theirs.is_some_and(|theirs| theirs != checksum::text(&digest)) {
                        return Err(nonsense(
                            "the store's checksum of a part is not that of what was sent",
                        ));
                    }
                    let e_tag = answer.e_tag().map(str::to_owned).ok_or_else(|| {
                        nonsense("the answer has no entity tag: this is no object store")
                    })?;
                    return Ok(Sent {
                        part,
                        digest,
                        e_tag,
                    });
                }
                Err(error) => {
                    let fault = Fault::from(error);
                    if fault.is_lost_upload() {
                        return Err(PartFault::Lost(fault));
                    }
                    damaged = u32::saturating_add(damaged, u32::from(fault.is_damage()));
                    if !fault.is_damage() || damaged >= store.settings().deadlines.attempts {
                        return Err(fault.into_error(store, PUTTING, key).into());
                    }
                }
            }
        }
    }

    /// Puts the parts together, all of them and in order.
    pub(super) async fn complete(
        mut self,
        write: &Write<'_>,
        sent: &[Sent],
    ) -> Result<After, StoreError> {
        let store = write.store;
        let parts = sent.iter().map(|sent| {
            CompletedPart::builder()
                .part_number(number(sent.part))
                .e_tag(&sent.e_tag)
                .checksum_sha256(checksum::text(&sent.digest))
                .build()
        });
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(parts.collect()))
            .build();
        let digests: Vec<Digest> = sent.iter().map(|sent| sent.digest).collect();
        // Somebody may have written it while the parts were sent.
        if write.condition().is_none()
            && let Some(receipt) = write.find(Some(&digests)).await?
        {
            self.abort().await;
            return Ok(After::There(receipt));
        }
        let completed = store
            .client()?
            .complete_multipart_upload()
            .bucket(store.bucket())
            .key(store.name(write.key.as_str()))
            .upload_id(&self.id)
            .multipart_upload(parts)
            .checksum_type(ChecksumType::Composite)
            .mpu_object_size(i64::try_from(write.declared.bytes).unwrap_or(i64::MAX))
            .set_if_none_match(write.condition())
            .set_expected_bucket_owner(store.owner())
            .customize()
            .config_override(store.allowance(len_u64(sent).saturating_mul(COMPLETE_BYTES_PER_PART)))
            .send()
            .await;
        let fault = match completed {
            Ok(output) => {
                self.is_over = true;
                return completed_as(write, &output, &digests).map(After::There);
            }
            Err(error) => Fault::from(error),
        };
        // An upload that is gone was completed by an attempt whose answer was lost, or somebody removed it.
        let was_lost = fault.is_lost_upload();
        let after = if was_lost {
            match write.find(Some(&digests)).await? {
                Some(receipt) => Ok(After::There(receipt)),
                None => Ok(After::Again(fault)),
            }
        } else {
            write.after(fault, Some(&digests)).await
        };
        if was_lost {
            self.is_over = true;
        } else {
            self.abort().await;
        }
        after
    }

    /// Gives the upload up, as far as the store lets us.
    pub(super) async fn abort(mut self) {
        self.is_over = true;
        // What cannot be aborted now is found by housekeeping.
        let _ = tokio::time::timeout(ABORT, abort(&self.store, &self.key, &self.id)).await;
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (store, key, id) = (self.store.clone(), self.key.clone(), self.id.clone());
            runtime.spawn(async move {
                let _ = tokio::time::timeout(ABORT, abort(&store, &key, &id)).await;
            });
        }
    }
}

async fn abort(store: &S3Store, key: &ObjectKey, id: &str) -> Result<(), StoreError> {
    store.abort_upload(&store.name(key.as_str()), id).await
}

fn completed_as(
    write: &Write<'_>,
    output: &CompleteMultipartUploadOutput,
    digests: &[Digest],
) -> Result<Receipt, StoreError> {
    let ours = checksum::composite(digests);
    // Some stores leave the number of parts out.
    let theirs = output.checksum_sha256().map(|theirs| {
        if theirs.contains('-') || !ours.starts_with(theirs) {
            theirs
        } else {
            ours.as_str()
        }
    });
    write.acknowledged(PUTTING, output.e_tag(), theirs, &ours)?;
    write.created(output.version_id())
}

/// Parts are counted from 1.
fn number(part: u64) -> i32 {
    i32::try_from(part.saturating_add(1)).unwrap_or(i32::MAX)
}
