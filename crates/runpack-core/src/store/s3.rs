//! A store in a bucket of any S3-compatible service.
//!
//! Create-only is the store's own condition (`If-None-Match: *`), at a put and at the completion of an upload in
//! parts; what is there already is compared, never taken for ours. Every body goes with its SHA-256, declared so
//! that the store checks it, and signed by the same digest. An answer that was lost is found out by looking
//! (threats W10, N05). What the store says when reading is bounded and never believed (threats S03 to S06, S16 to
//! S20). What it may do wrong is measured elsewhere (`runpack store status`).
//!
//! See also: `Docs/adr/0010-s3-through-the-sdk.md`.

mod baseline;
mod body;
mod check;
mod checksum;
mod client;
mod fault;
mod head;
mod housekeeping;
mod lifecycle;
mod list;
mod location;
mod lock;
mod metadata;
mod multipart;
mod open;
mod policy;
mod presign;
mod probe;
mod profile;
mod put;
mod read;
mod restore;
mod sdk;
mod settings;
mod upload;
mod versions;
mod watch;
mod write;
mod writer;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_s3::config::{Builder, Region};
use bytes::Bytes;
use tokio::sync::Semaphore;

pub use baseline::{
    AccessLog, Baseline, BaselineFinding, Setting, Standing, TlsVersion, transport_statements,
};
pub use lifecycle::{BucketLifecycle, LIFECYCLE_RULES_MAX, LifecycleFault, LiveRule};
pub use list::{ClassedObject, ClassedStream};
pub use location::BucketLocation;
pub use policy::{Lock, LockMode, PutPolicy};
pub use presign::{Presigned, SignedUrl};
pub use probe::{ClassKept, Leaving};
pub use profile::{
    Enforcement, ObjectLock, PROFILE_SECONDS_MAX, Profile, Right, Rights, SKEW_SECONDS_MAX, Told,
    Versioning, WritingRules, is_stale,
};
pub use restore::Restore;
pub use sdk::AnswerBody;
pub use settings::{
    Addressing, BucketName, CreateOnly, Credentials, Deadlines, Encryption, Endpoint, PathPrefix,
    PlainHttp, S3Settings, Secret, SettingError,
};

use super::{
    ArtifactReader, ArtifactSink, ArtifactWriter, BytesSource, Declared, ListStream, ObjectBody,
    ObjectRef, ObjectStat, Receipt, Source, StoreError,
};
use crate::commitment::CHUNK_BYTES;
use crate::key::{KeyPrefix, ObjectKey};

/// Parts that are on their way at once, over all writes: what bounds memory.
const PARTS_IN_FLIGHT: usize = 16;

/// Requests that a caller keeps under way at once on each of its workers.
const IN_FLIGHT: usize = 16;

/// A store in a bucket. Clones share it.
#[derive(Clone)]
pub struct S3Store {
    shared: Arc<Shared>,
    policy: Option<Arc<dyn PutPolicy>>,
}

struct Shared {
    settings: S3Settings,
    region: Region,
    clients: client::Clients,
    writes: metadata::Writes,
    parts: Semaphore,
}

impl S3Store {
    /// Looks at the settings and prepares to sign. Nothing is asked of the bucket yet.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] where a setting is wrong by itself.
    pub async fn open(settings: S3Settings) -> Result<Self, StoreError> {
        let (clients, region) = open::clients(&settings).await?;
        let shared = Shared {
            settings,
            region,
            clients,
            writes: metadata::Writes::new(),
            parts: Semaphore::new(PARTS_IN_FLIGHT),
        };
        Ok(Self {
            shared: Arc::new(shared),
            policy: None,
        })
    }

    /// The same store, whose writes ask for what `policy` says.
    #[must_use]
    pub fn with_policy(mut self, policy: Arc<dyn PutPolicy>) -> Self {
        self.policy = Some(policy);
        self
    }

    /// The settings.
    pub fn settings(&self) -> &S3Settings {
        &self.shared.settings
    }

    /// Where the store is, for people: `s3://BUCKET/PREFIX`.
    pub fn storage_uri_of_prefix(&self) -> String {
        let settings = self.settings();
        let uri = format!("s3://{}/{}", settings.bucket, settings.path_prefix.as_str());
        uri.trim_end_matches('/').to_owned()
    }

    fn bucket(&self) -> &str {
        self.settings().bucket.as_str()
    }

    fn region(&self) -> &Region {
        &self.shared.region
    }

    fn endpoint_text(&self) -> String {
        match &self.settings().endpoint {
            Some(endpoint) => endpoint.to_string(),
            None => format!("(Amazon S3 in {})", self.region()),
        }
    }

    /// What a request that moves `bytes` bytes needs beyond the usual, if anything.
    fn allowance(&self, bytes: u64) -> Builder {
        Builder::new().timeout_config(client::timeouts(&self.settings().deadlines, bytes))
    }
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store")
            .field("settings", self.settings())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl ArtifactReader for S3Store {
    async fn open(&self, object: &ObjectRef, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        self.read(object, range).await
    }

    async fn stat(&self, object: &ObjectRef) -> Result<ObjectStat, StoreError> {
        let head = self.head(object).await?;
        Ok(ObjectStat::new(head.bytes, head.version))
    }

    fn list(&self, prefix: &KeyPrefix) -> ListStream {
        self.objects(prefix)
    }

    async fn versions(&self, key: &ObjectKey) -> Result<Vec<ObjectStat>, StoreError> {
        self.versions_of(key).await
    }

    fn requests_in_flight(&self) -> usize {
        IN_FLIGHT
    }

    fn storage_uri(&self, key: &ObjectKey) -> String {
        format!("s3://{}/{}", self.bucket(), self.name(key.as_str()))
    }
}

#[async_trait]
impl ArtifactSink for S3Store {
    async fn create(
        &self,
        key: &ObjectKey,
        declared: Declared,
    ) -> Result<Box<dyn ArtifactWriter>, StoreError> {
        Ok(Box::new(writer::S3Writer::new(self, key, declared)?))
    }

    async fn put(
        &self,
        key: &ObjectKey,
        bytes: Bytes,
        declared: Declared,
    ) -> Result<Receipt, StoreError> {
        if declared.bytes > CHUNK_BYTES {
            return self.send(key, declared, Arc::new(BytesSource(bytes))).await;
        }
        self.put_bytes(key, bytes, declared).await
    }

    async fn send(
        &self,
        key: &ObjectKey,
        declared: Declared,
        source: Arc<dyn Source>,
    ) -> Result<Receipt, StoreError> {
        if declared.bytes > CHUNK_BYTES {
            self.send_in_parts(key, declared, source).await
        } else {
            self.send_whole(key, declared, source).await
        }
    }

    async fn find(
        &self,
        key: &ObjectKey,
        declared: &Declared,
    ) -> Result<Option<Receipt>, StoreError> {
        let write = write::Write::new(self, key, declared.clone())?;
        write.find(None).await
    }

    fn writes_in_flight(&self) -> usize {
        IN_FLIGHT
    }
}

#[cfg(test)]
mod tests;
