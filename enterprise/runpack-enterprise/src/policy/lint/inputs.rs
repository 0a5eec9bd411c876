//! What a bucket is judged by: the documents of a store as they were found, absent, or not observed.

use std::collections::BTreeSet;

use runpack_core::store::s3::{BucketName, PathPrefix};

use super::super::generate::{Dialect, PrincipalArn};
use crate::retention::{LockMode, RetainFor};

/// What became of the question for a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed<T> {
    /// It is there.
    Found(T),
    /// The store says that there is none.
    Absent,
    /// Nobody knows: a refusal (403) or a failure. Never taken for absent.
    NotObserved {
        /// What the store answered, or why it was not asked.
        why: String,
    },
}

/// Everything that a bucket is judged by.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// The bucket.
    pub bucket: BucketName,
    /// Below what the evidence lies.
    pub path_prefix: PathPrefix,
    /// Whose server it is.
    pub dialect: Dialect,
    /// The account that the bucket belongs to.
    pub account: Option<String>,
    /// What packs are locked with.
    pub wanted: Option<(LockMode, RetainFor)>,
    /// Who is meant to be able to do what.
    pub roles: Roles,
    /// The bucket policy, as text.
    pub policy: Observed<String>,
    /// The rules of the lifecycle.
    pub lifecycle: Observed<Vec<LifecycleRule>>,
    /// Where the bucket is replicated to.
    pub replication: Observed<Replication>,
    /// Whether versions are kept. `Absent` where they never were.
    pub versioning: Observed<VersioningState>,
    /// The lock of the bucket.
    pub object_lock: Observed<ObjectLockState>,
    /// How objects are encrypted.
    pub encryption: Observed<BucketEncryption>,
    /// What blocks public access.
    pub public_access_block: Observed<PublicAccessBlock>,
    /// Where requests are logged.
    pub logging: Observed<Logging>,
}

impl Inputs {
    /// Nothing observed yet.
    pub fn new(bucket: BucketName, path_prefix: PathPrefix, dialect: Dialect) -> Self {
        fn unasked<T>() -> Observed<T> {
            Observed::NotObserved {
                why: "nobody asked".to_owned(),
            }
        }
        Self {
            bucket,
            path_prefix,
            dialect,
            account: None,
            wanted: None,
            roles: Roles::default(),
            policy: unasked(),
            lifecycle: unasked(),
            replication: unasked(),
            versioning: unasked(),
            object_lock: unasked(),
            encryption: unasked(),
            public_access_block: unasked(),
            logging: unasked(),
        }
    }
}

/// Who is meant to be able to do what, so that it is no finding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roles {
    /// Who clears legal holds.
    pub holders: BTreeSet<PrincipalArn>,
    /// Who removes what is not locked.
    pub cleaners: BTreeSet<PrincipalArn>,
    /// Who changes settings and policy.
    pub administrators: BTreeSet<PrincipalArn>,
}

/// Whether versions are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersioningState {
    /// They are.
    Enabled,
    /// They were: what is written now has none.
    Suspended,
}

/// The lock of a bucket that has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectLockState {
    /// What a write without a lock gets.
    pub default: Option<DefaultRetention>,
}

/// What a write without a lock gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultRetention {
    /// How hard.
    pub mode: LockMode,
    /// For how long.
    pub retain_for: RetainFor,
}

/// One rule of a lifecycle.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LifecycleRule {
    /// Its name.
    pub id: Option<String>,
    /// Whether it acts.
    pub is_enabled: bool,
    /// What it is about.
    pub filter: LifecycleFilter,
    /// What happens to current versions.
    pub expiration: Option<Expiration>,
    /// What happens to versions that others lie over.
    pub noncurrent_expiration: Option<NoncurrentExpiration>,
    /// Where versions are moved, current ones and others.
    pub transitions: Vec<Transition>,
    /// After how many days unfinished uploads are ended.
    pub abort_incomplete_days: Option<u32>,
}

/// What a rule is about. Tags and sizes narrow it; they can be changed or chosen by a writer, so nothing rests on them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LifecycleFilter {
    /// How names begin; empty for all.
    pub prefix: String,
    /// Whether there is more to it: tags, sizes.
    pub is_narrowed: bool,
}

/// What happens to current versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiration {
    /// They expire after so many days.
    Days(u32),
    /// They expire at a date.
    Date,
    /// Delete markers without versions below them are removed: nothing else.
    ExpiredMarkersOnly,
}

/// What happens to versions that others lie over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoncurrentExpiration {
    /// After how many days they are deleted.
    pub days: u32,
}

/// Where versions are moved to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The storage class, as the store names it.
    pub storage_class: String,
}

/// Where a bucket is replicated to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replication {
    /// Its rules.
    pub rules: Vec<ReplicationRule>,
    /// How many versions of evidence are known to have failed.
    pub failed: Observed<u64>,
}

/// One rule of a replication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicationRule {
    /// Its name.
    pub id: Option<String>,
    /// Whether it acts.
    pub is_enabled: bool,
    /// What it is about.
    pub filter: LifecycleFilter,
    /// Whether delete markers are replicated.
    pub has_markers: bool,
    /// Where to.
    pub destination: Destination,
}

/// Where a rule replicates to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The bucket, by name or ARN.
    pub bucket: String,
    /// The account that it belongs to.
    pub account: Option<String>,
    /// Its lock.
    pub object_lock: Observed<ObjectLockState>,
}

/// How objects are encrypted at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BucketEncryption {
    /// With keys of the store.
    StoreKeys,
    /// With a key of the key service.
    KeyService {
        /// Which, where it is told.
        key: Option<String>,
        /// Its state.
        state: Observed<KeyState>,
    },
}

/// The state of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// It works.
    Enabled,
    /// It does not work now.
    Disabled,
    /// It will be gone.
    PendingDeletion,
}

/// What blocks public access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the four switches of the service, by its names"
)]
pub struct PublicAccessBlock {
    /// `BlockPublicAcls`
    pub block_public_acls: bool,
    /// `IgnorePublicAcls`
    pub ignore_public_acls: bool,
    /// `BlockPublicPolicy`
    pub block_public_policy: bool,
    /// `RestrictPublicBuckets`
    pub restrict_public_buckets: bool,
}

/// Where requests are logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logging {
    /// The bucket that the log goes to.
    pub target_bucket: String,
}
