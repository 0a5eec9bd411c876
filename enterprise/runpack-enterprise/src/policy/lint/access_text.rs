//! The questions that a bucket policy is asked: which actions, on what, with what harm.

use super::super::generate::Dialect;
use super::finding::{LintCode, Severity};

/// One question.
pub(super) struct Question {
    pub(super) code: LintCode,
    pub(super) actions: &'static [&'static str],
    pub(super) reach: Reach,
    /// Who is meant to be able to.
    pub(super) role: Option<Role>,
    pub(super) dialects: &'static [Dialect],
    /// How bad it is if the bucket policy allows it.
    pub(super) allowed: Severity,
    /// How bad it is if nothing denies it to everybody.
    pub(super) open: Severity,
    pub(super) harm: &'static str,
    pub(super) what_to_do: &'static str,
}

/// What the actions are about.
#[derive(Clone, Copy)]
pub(super) enum Reach {
    Evidence,
    Bucket,
}

/// Who is meant to be able to do something.
#[derive(Clone, Copy)]
pub(super) enum Role {
    Holder,
    Cleaner,
    Administrator,
}

const ALL: &[Dialect] = &[Dialect::Aws, Dialect::Ceph, Dialect::MinIo];
const AWS: &[Dialect] = &[Dialect::Aws];
/// Where the server understands what the question turns on.
const BUT_CEPH: &[Dialect] = &[Dialect::Aws, Dialect::MinIo];

/// Settings that keep evidence, by the names of each server.
const SETTINGS: &[&str] = &[
    "s3:DeleteBucket",
    "s3:PutBucketObjectLockConfiguration",
    "s3:PutBucketVersioning",
    "s3:PutLifecycleConfiguration",
    "s3:PutReplicationConfiguration",
];

pub(super) const QUESTIONS: &[Question] = &[
    Question {
        code: LintCode::PolicyBypass,
        actions: &["s3:BypassGovernanceRetention"],
        reach: Reach::Evidence,
        role: None,
        dialects: ALL,
        allowed: Severity::Critical,
        open: Severity::Medium,
        harm: "a lock in governance mode can be bypassed",
        what_to_do: "deny s3:BypassGovernanceRetention to everybody, or use compliance mode",
    },
    Question {
        code: LintCode::PolicyVersionDeletion,
        actions: &["s3:DeleteObjectVersion"],
        reach: Reach::Evidence,
        role: Some(Role::Cleaner),
        dialects: ALL,
        allowed: Severity::High,
        open: Severity::Medium,
        harm: "a version can be deleted for good as soon as no lock keeps it",
        what_to_do: "deny s3:DeleteObjectVersion to everybody but a cleaner",
    },
    Question {
        code: LintCode::PolicyMarkers,
        actions: &["s3:DeleteObject"],
        reach: Reach::Evidence,
        role: Some(Role::Cleaner),
        dialects: ALL,
        allowed: Severity::Medium,
        open: Severity::Low,
        harm: "evidence can be hidden behind a delete marker, and no lock prevents that",
        what_to_do: "deny s3:DeleteObject to everybody but a cleaner",
    },
    Question {
        code: LintCode::PolicyHoldRelease,
        actions: &["s3:PutObjectLegalHold"],
        reach: Reach::Evidence,
        role: Some(Role::Holder),
        dialects: ALL,
        allowed: Severity::High,
        open: Severity::Medium,
        harm: "a legal hold can be cleared: it is one bit, whoever set it",
        what_to_do: "deny s3:PutObjectLegalHold to everybody but the holders",
    },
    Question {
        code: LintCode::PolicyShortRetention,
        actions: &["s3:PutObjectRetention"],
        reach: Reach::Evidence,
        role: None,
        dialects: ALL,
        allowed: Severity::Medium,
        open: Severity::Low,
        harm: "a retention shorter than the wanted one can be set, since a default is no floor",
        what_to_do: "deny s3:PutObjectRetention below s3:object-lock-remaining-retention-days where the server understands it, and read locks back",
    },
    Question {
        code: LintCode::PolicyReconfiguration,
        actions: SETTINGS,
        reach: Reach::Bucket,
        role: Some(Role::Administrator),
        dialects: ALL,
        allowed: Severity::High,
        open: Severity::Medium,
        harm: "versioning, lifecycle, replication or the default retention can be changed",
        what_to_do: "deny these to everybody but an administrator",
    },
    Question {
        code: LintCode::PolicyChange,
        actions: &["s3:PutBucketPolicy", "s3:DeleteBucketPolicy"],
        reach: Reach::Bucket,
        role: Some(Role::Administrator),
        dialects: ALL,
        allowed: Severity::High,
        open: Severity::Medium,
        harm: "this policy can be replaced, and with it all that it denies",
        what_to_do: "deny these to everybody but an administrator",
    },
    Question {
        code: LintCode::PolicyInboundReplication,
        actions: &[
            "s3:ReplicateObject",
            "s3:ReplicateDelete",
            "s3:ReplicateTags",
        ],
        reach: Reach::Evidence,
        role: None,
        dialects: ALL,
        allowed: Severity::High,
        open: Severity::Medium,
        harm: "another bucket can replicate over evidence, and a deny of PutObject and DeleteObject does not stop it",
        what_to_do: "deny s3:ReplicateObject, s3:ReplicateDelete and s3:ReplicateTags, unless the bucket is a replica",
    },
    Question {
        code: LintCode::PolicyShadowing,
        actions: &["s3:PutObject"],
        reach: Reach::Evidence,
        role: None,
        dialects: AWS,
        allowed: Severity::Medium,
        open: Severity::Low,
        harm: "another version can be put over evidence: readers that pin no version get that one",
        what_to_do: "deny s3:PutObject without If-None-Match",
    },
    Question {
        code: LintCode::PolicyCustomerKeys,
        actions: &["s3:PutObject"],
        reach: Reach::Evidence,
        role: None,
        dialects: BUT_CEPH,
        allowed: Severity::Medium,
        open: Severity::Low,
        harm: "evidence can be encrypted with a key that only its writer has (SSE-C)",
        what_to_do: "deny s3:PutObject with s3:x-amz-server-side-encryption-customer-algorithm, or block that encryption for the bucket",
    },
    Question {
        code: LintCode::PolicyKeyChange,
        actions: &["s3:UpdateObjectEncryption"],
        reach: Reach::Evidence,
        role: Some(Role::Administrator),
        dialects: AWS,
        allowed: Severity::High,
        open: Severity::Low,
        harm: "evidence can be given another key, which then can be deleted",
        what_to_do: "deny s3:UpdateObjectEncryption to everybody but an administrator",
    },
    Question {
        code: LintCode::PolicyInsecureTransport,
        actions: &["s3:GetObject", "s3:PutObject"],
        reach: Reach::Evidence,
        role: None,
        dialects: ALL,
        allowed: Severity::Medium,
        open: Severity::Low,
        harm: "requests may travel in the clear",
        what_to_do: "deny everything where aws:SecureTransport is false, with BoolIfExists",
    },
];
