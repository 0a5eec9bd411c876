//! What stands under a key already: by the store's own checksum where that covers the bytes, else by reading.

use aws_sdk_s3::types::ChecksumMode;

use super::fault::Fault;
use super::metadata::WRITE;
use super::put::Write;
use super::settings::CreateOnly;
use super::{S3Store, checksum};
use crate::commitment::{ChunkHasher, Content};
use crate::digest::Digest;
use crate::store::{
    ArtifactReader as _, Declared, ObjectRef, Outcome, Receipt, StoreError, VersionId,
};

/// What a store says of an object.
pub(super) struct Head {
    pub(super) bytes: u64,
    pub(super) version: Option<VersionId>,
    checksum: Option<String>,
    write: Option<String>,
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
                checksum: head.checksum_sha256().map(str::to_owned),
                write: head
                    .metadata()
                    .and_then(|metadata| metadata.get(WRITE).cloned()),
            }),
            Err(error) => {
                let fault = Fault::from(error);
                if fault.is_missing() {
                    return Err(StoreError::NotFound {
                        key: key.to_owned(),
                    });
                }
                Err(fault.into_error(self, "looking at an object", key))
            }
        }
    }

    /// The digests of all bytes that are there.
    async fn hash(&self, object: &ObjectRef) -> Result<Declared, StoreError> {
        let mut body = self.open(object, 0..u64::MAX).await?;
        let mut hasher = ChunkHasher::new();
        while let Some(piece) = body.next().await {
            hasher.update(&piece?);
        }
        let (content, bytes) = hasher.finish();
        Ok(Declared::new(bytes, content))
    }
}

impl Write<'_> {
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
            let theirs = match self.store.hash(&pinned).await {
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
                let plan = super::multipart::Plan::of(self.declared.bytes)?;
                plan.is_by_chunk().then(|| checksum::composite(chunks))
            }
        }
    }
}
