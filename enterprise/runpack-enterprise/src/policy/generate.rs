//! Policies that keep evidence where it is, in the language of each server.
//!
//! The statements of `Deny*` take away what could remove or lose evidence, from everybody; those of `Allow*` give
//! each role what it needs, where it was named. What a server does not understand is left out and noted: a statement
//! that is accepted and never acts is worse than none.
//!
//! Sources: Amazon S3 user guide ("Bucket policies", "Object Lock", "Conditional writes"); Ceph measured on 20.2; MinIO
//! by its source (`policy/s3-action.go`).

mod principal;
mod roles;
mod statements;

use std::collections::{BTreeMap, BTreeSet};

use runpack_core::store::s3::{BucketName, PathPrefix};
use serde_json::{Value, json};

pub use principal::{PrincipalArn, PrincipalError};

/// Whose language a policy is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Amazon S3: a bucket policy.
    Aws,
    /// Ceph's gateway: a bucket policy. It takes conditions that it does not understand, and then never acts on them.
    Ceph,
    /// MinIO: a policy to attach to users and groups. Its bucket policies concern requests without signature alone.
    MinIo,
}

/// What a statement is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum StatementKind {
    /// No object is written unless its key is free.
    UnconditionalObjectCreation,
    /// No version is deleted, and none is hidden by a marker.
    ObjectDeletion,
    /// No other bucket replicates over this one.
    ReplicationIntoStore,
    /// Versioning, lifecycle, replication, lock, encryption and access stay as they are.
    StoreReconfiguration,
    /// TLS only.
    InsecureTransport,
    /// No retention shorter than the least that is wanted.
    ShortRetention,
    /// Nobody bypasses governance.
    Bypass,
    /// No legal hold is cleared, but by its holders.
    HoldRelease,
}

impl StatementKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::UnconditionalObjectCreation,
        Self::ObjectDeletion,
        Self::ReplicationIntoStore,
        Self::StoreReconfiguration,
        Self::InsecureTransport,
        Self::ShortRetention,
        Self::Bypass,
        Self::HoldRelease,
    ];

    /// The statement's name in the document.
    pub const fn sid(self) -> &'static str {
        match self {
            Self::UnconditionalObjectCreation => "DenyUnconditionalObjectCreation",
            Self::ObjectDeletion => "DenyObjectDeletion",
            Self::ReplicationIntoStore => "DenyReplicationIntoStore",
            Self::StoreReconfiguration => "DenyStoreReconfiguration",
            Self::InsecureTransport => "DenyInsecureTransport",
            Self::ShortRetention => "DenyShortRetention",
            Self::Bypass => "DenyBypass",
            Self::HoldRelease => "DenyHoldRelease",
        }
    }
}

/// How objects are locked when they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WriteLock {
    /// Shortly, and for the full time when their pack is committed.
    #[default]
    ShortFirst,
    /// For the full time at once.
    FullAtOnce,
}

/// What a policy is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyInput {
    /// The bucket.
    pub bucket: BucketName,
    /// Below what the evidence lies.
    pub path_prefix: PathPrefix,
    /// Whose language.
    pub dialect: Dialect,
    /// The statements that are wanted.
    pub statements: BTreeSet<StatementKind>,
    /// Who writes packs and locks them.
    pub writers: Vec<PrincipalArn>,
    /// Who places and clears legal holds.
    pub holders: Vec<PrincipalArn>,
    /// Who reads everything, and changes nothing.
    pub auditors: Vec<PrincipalArn>,
    /// Who removes what is not locked: residue of exports that broke off. Locks bind them too.
    pub cleaners: Vec<PrincipalArn>,
    /// Who may change the bucket's settings and this policy.
    pub administrators: Vec<PrincipalArn>,
    /// The least retention in days. A lock of 90 days has less than 90 left when the store counts: take one day off.
    pub retention_days_min: Option<u32>,
    /// How objects are locked when they are written.
    pub write_lock: WriteLock,
}

impl PolicyInput {
    /// Every statement, for nobody in particular.
    pub fn new(bucket: BucketName, dialect: Dialect) -> Self {
        Self {
            bucket,
            path_prefix: PathPrefix::default(),
            dialect,
            statements: StatementKind::ALL.into(),
            writers: Vec::new(),
            holders: Vec::new(),
            auditors: Vec::new(),
            cleaners: Vec::new(),
            administrators: Vec::new(),
            retention_days_min: None,
            write_lock: WriteLock::default(),
        }
    }
}

/// A policy, and what it does not do.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// The document: for the bucket, or with MinIO for its users.
    pub document: Value,
    /// What was left out, or remains to be done, each with its reason.
    pub notes: Vec<String>,
}

/// The longest bucket policy of Amazon S3 (user guide, "Bucket policies").
const AWS_BYTES_MAX: usize = 20 * 1024;
/// The longest policy of a user of MinIO.
const MINIO_CHARS_MAX: usize = 2_048;

/// Makes a policy.
pub fn generate(input: &PolicyInput) -> Generated {
    let mut draft = statements::Draft::new(input);
    for kind in &input.statements {
        draft.deny(*kind);
    }
    draft.allow();
    let (statements, mut notes) = draft.finish();
    let document = json!({"Version": "2012-10-17", "Statement": statements});
    let bytes = document.to_string().len();
    let longest = BTreeMap::from([
        ("Amazon S3 takes", AWS_BYTES_MAX),
        ("MinIO takes for a user", MINIO_CHARS_MAX),
    ]);
    let limit = match input.dialect {
        Dialect::Aws => longest.get_key_value("Amazon S3 takes"),
        Dialect::MinIo => longest.get_key_value("MinIO takes for a user"),
        Dialect::Ceph => None,
    };
    if let Some((who, max)) = limit.filter(|(_, max)| bytes > **max) {
        notes.push(format!("the document is longer than {who}: choose fewer statements or split it, bytes=`{bytes}` max=`{max}`"));
    }
    Generated { document, notes }
}

#[cfg(test)]
mod tests;
