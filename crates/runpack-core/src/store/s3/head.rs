//! What a store says of an object.

use aws_sdk_s3::types::{ChecksumMode, StorageClass};

use super::S3Store;
use super::fault::Fault;
use super::metadata::WRITE;
use crate::commitment::ChunkHasher;
use crate::store::{ArtifactReader as _, Declared, ObjectRef, StoreError, VersionId};

/// What a store says of an object.
pub(super) struct Head {
    pub(super) bytes: u64,
    pub(super) version: Option<VersionId>,
    pub(super) storage_class: Option<StorageClass>,
    pub(super) checksum: Option<String>,
    /// The name of the write that made it.
    pub(super) write: Option<String>,
}

/// A version's name; `null` is the store's word for there being no versions.
pub(super) fn version(name: Option<&str>) -> Option<VersionId> {
    name.filter(|name| *name != "null" && !name.is_empty())
        .map(VersionId::new)
}

impl S3Store {
    pub(super) async fn head(&self, object: &ObjectRef) -> Result<Head, StoreError> {
        let key = object.key.as_str();
        let asked = self
            .client()?
            .head_object()
            .bucket(self.bucket())
            .key(self.name(key))
            .set_version_id(object.version.as_ref().map(|v| v.as_str().to_owned()))
            .checksum_mode(ChecksumMode::Enabled)
            .set_expected_bucket_owner(self.owner())
            .send();
        match asked.await {
            Ok(head) => Ok(Head {
                bytes: head
                    .content_length()
                    .and_then(|bytes| u64::try_from(bytes).ok())
                    .unwrap_or(0),
                version: version(head.version_id()),
                storage_class: head.storage_class().cloned(),
                checksum: head.checksum_sha256().map(str::to_owned),
                write: head
                    .metadata()
                    .and_then(|metadata| metadata.get(WRITE).cloned()),
            }),
            Err(error) => {
                let fault = Fault::from(error);
                if fault.is_missing_version(object.version.as_ref()) {
                    return Err(StoreError::NotFound {
                        key: key.to_owned(),
                    });
                }
                Err(fault.into_error(self, "looking at an object", key))
            }
        }
    }

    /// The digests of what is there, as far as `bytes_max`.
    pub(super) async fn hash(
        &self,
        object: &ObjectRef,
        bytes_max: u64,
    ) -> Result<Declared, StoreError> {
        let mut body = self.open(object, 0..bytes_max).await?;
        let mut hasher = ChunkHasher::new();
        while let Some(piece) = body.next().await {
            hasher.update(&piece?);
        }
        let (content, bytes) = hasher.finish();
        Ok(Declared::new(bytes, content))
    }
}
