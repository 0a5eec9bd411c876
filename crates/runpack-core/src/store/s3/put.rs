//! Objects of at most one chunk: one request each.

use std::sync::Arc;

use aws_sdk_s3::operation::put_object::PutObjectOutput;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumAlgorithm;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;

use super::body::Spoiled;
use super::fault::Fault;
use super::write::{After, PUTTING, Write, encryption, not_declared};
use super::{S3Store, checksum, metadata, policy};
use crate::commitment::Content;
use crate::digest::Digest;
use crate::key::ObjectKey;
use crate::store::{Declared, Receipt, Source, StoreError};

/// Bodies up to this size need no time beyond that of a request.
const QUICK_BYTES_MAX: u64 = 64 << 10;

impl Write<'_> {
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
        let (lock_mode, locked_until) = policy::lock(self.store, self.key)?;
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
            .set_object_lock_mode(lock_mode)
            .set_object_lock_retain_until_date(locked_until)
            .set_expected_bucket_owner(self.store.owner()))
    }

    fn put(&self, output: &PutObjectOutput, digest: &Digest) -> Result<Receipt, StoreError> {
        self.acknowledged(
            PUTTING,
            output.e_tag(),
            output.checksum_sha256(),
            &checksum::text(digest),
        )?;
        self.created(output.version_id())
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
