//! The bucket itself: versions, lock, encryption, public access, logging, and what nothing in it can change.

use super::super::generate::Dialect;
use super::finding::{LintCode, LintFinding, Severity};
use super::inputs::{
    BucketEncryption, Inputs, KeyState, ObjectLockState, Observed, PublicAccessBlock,
    VersioningState,
};
use crate::retention::{LockMode, shown};

pub(super) fn judge(inputs: &Inputs, findings: &mut Vec<LintFinding>) {
    versioning(inputs, findings);
    object_lock(inputs, findings);
    encryption(inputs, findings);
    if inputs.dialect != Dialect::MinIo {
        public_access(inputs, findings);
    }
    logging(inputs, findings);
    residual(inputs, findings);
}

fn versioning(inputs: &Inputs, findings: &mut Vec<LintFinding>) {
    let state = match &inputs.versioning {
        Observed::Found(VersioningState::Enabled) => return,
        Observed::Found(VersioningState::Suspended) => {
            "suspended: what is written now replaces what is there"
        }
        Observed::Absent => "off: what is overwritten or deleted is gone",
        Observed::NotObserved { why } => {
            findings.push(LintFinding::not_observed(
                LintCode::VersioningNotObserved,
                "versioning",
                why,
                "grant s3:GetBucketVersioning",
            ));
            return;
        }
    };
    let text = format!("versioning is {state}");
    findings.push(LintFinding::configured(
        LintCode::VersioningOff,
        Severity::Critical,
        text,
        "enable versioning; Object Lock needs it",
    ));
}

fn object_lock(inputs: &Inputs, findings: &mut Vec<LintFinding>) {
    let state = match &inputs.object_lock {
        Observed::Found(state) => state,
        Observed::Absent => {
            let text =
                "the bucket has no Object Lock: whoever may delete versions can remove evidence";
            findings.push(LintFinding::configured(LintCode::LockAbsent, Severity::Critical, text, "enable Object Lock, or make a new bucket with it where the server cannot do that later"));
            return;
        }
        Observed::NotObserved { why } => {
            findings.push(LintFinding::not_observed(
                LintCode::LockNotObserved,
                "the lock of the bucket",
                why,
                "grant s3:GetBucketObjectLockConfiguration",
            ));
            return;
        }
    };
    default_retention(inputs, *state, findings);
    if let Some((LockMode::Governance, _)) = inputs.wanted {
        let text = "packs are locked in governance mode: whoever has s3:BypassGovernanceRetention can remove them, and some consoles bypass without asking";
        findings.push(LintFinding::configured(
            LintCode::LockGovernance,
            Severity::High,
            text,
            "use compliance mode where nobody may be able to",
        ));
    }
}

fn default_retention(inputs: &Inputs, state: ObjectLockState, findings: &mut Vec<LintFinding>) {
    let Some(default) = state.default else {
        let text = "the bucket has no default retention: what is written without a lock, by mistake or by another tool, has none";
        findings.push(LintFinding::configured(LintCode::LockNoDefault, Severity::Low, text, "set a default if the bucket is for evidence alone; it locks probes and unfinished exports too, and is no floor: an explicit shorter lock wins"));
        return;
    };
    let Some((mode, wanted)) = inputs.wanted else {
        return;
    };
    if default.mode < mode || !default.retain_for.covers(wanted) {
        let text = format!(
            "the default retention is weaker than what packs are locked with, default=`{} {}` wanted=`{mode} {wanted}`",
            default.mode, default.retain_for
        );
        findings.push(LintFinding::configured(
            LintCode::LockWeakDefault,
            Severity::Medium,
            text,
            "raise the default, or rest on explicit locks and read them back",
        ));
    }
}

fn encryption(inputs: &Inputs, findings: &mut Vec<LintFinding>) {
    let (key, state) = match &inputs.encryption {
        Observed::Found(BucketEncryption::StoreKeys) | Observed::Absent => return,
        Observed::Found(BucketEncryption::KeyService { key, state }) => (key, state),
        Observed::NotObserved { why } => {
            findings.push(LintFinding::not_observed(
                LintCode::EncryptionNotObserved,
                "the encryption of the bucket",
                why,
                "grant s3:GetEncryptionConfiguration (s3:GetBucketEncryption at Ceph)",
            ));
            return;
        }
    };
    let key = key
        .as_deref()
        .map_or_else(|| "the service's default".to_owned(), shown);
    let going = match state {
        Observed::Found(KeyState::Enabled) => None,
        Observed::Found(KeyState::Disabled) => {
            Some("is disabled: what it encrypted cannot be read")
        }
        Observed::Found(KeyState::PendingDeletion) => {
            Some("is about to be deleted: what it encrypted will never be read again")
        }
        Observed::Absent => Some("is not there: what it encrypted cannot be read"),
        Observed::NotObserved { why } => {
            findings.push(LintFinding::not_observed(
                LintCode::EncryptionNotObserved,
                "the state of the key",
                why,
                "grant kms:DescribeKey",
            ));
            None
        }
    };
    if let Some(going) = going {
        let text = format!("the key of the bucket {going}, key=`{key}`");
        findings.push(LintFinding::configured(
            LintCode::EncryptionKeyGoing,
            Severity::Critical,
            text,
            "enable the key or cancel its deletion, now",
        ));
    }
    let text = format!(
        "whoever may disable or delete the key makes all evidence unreadable, and Object Lock does not see it, key=`{key}`"
    );
    findings.push(LintFinding::configured(LintCode::EncryptionKey, Severity::Medium, text, "deny kms:ScheduleKeyDeletion and kms:DisableKey in the key's policy, or use keys of the store"));
}

fn public_access(inputs: &Inputs, findings: &mut Vec<LintFinding>) {
    let open: Vec<&str> = match &inputs.public_access_block {
        Observed::Found(block) => open_switches(*block),
        Observed::Absent => vec!["all"],
        Observed::NotObserved { why } => {
            findings.push(LintFinding::not_observed(
                LintCode::PublicAccessNotObserved,
                "what blocks public access",
                why,
                "grant s3:GetBucketPublicAccessBlock",
            ));
            return;
        }
    };
    if open.is_empty() {
        return;
    }
    let text = format!(
        "public access is not blocked whole, off=`{}`",
        open.join(" ")
    );
    findings.push(LintFinding::configured(
        LintCode::PublicAccessOpen,
        Severity::Medium,
        text,
        "block all public access of the bucket",
    ));
}

fn open_switches(block: PublicAccessBlock) -> Vec<&'static str> {
    let switches = [
        (block.block_public_acls, "BlockPublicAcls"),
        (block.ignore_public_acls, "IgnorePublicAcls"),
        (block.block_public_policy, "BlockPublicPolicy"),
        (block.restrict_public_buckets, "RestrictPublicBuckets"),
    ];
    switches
        .into_iter()
        .filter(|(is_on, _)| !is_on)
        .map(|(_, name)| name)
        .collect()
}

fn logging(inputs: &Inputs, findings: &mut Vec<LintFinding>) {
    match &inputs.logging {
        Observed::Found(logging) if logging.target_bucket == inputs.bucket.as_str() => {
            let text = "the bucket is said to receive its own log: one with Object Lock cannot, so there is none";
            findings.push(LintFinding::configured(
                LintCode::LoggingIntoItself,
                Severity::Medium,
                text,
                "log to another bucket",
            ));
        }
        Observed::Found(_) => {}
        Observed::Absent => {
            let text = "the bucket logs no requests: who tried to remove what is seen nowhere, unless the account records data events";
            findings.push(LintFinding::configured(
                LintCode::LoggingAbsent,
                Severity::Low,
                text,
                "log to another bucket, or record data events of the account",
            ));
        }
        Observed::NotObserved { why } => {
            let mut finding = LintFinding::not_observed(
                LintCode::LoggingNotObserved,
                "logging",
                why,
                "grant s3:GetBucketLogging",
            );
            // It removes nothing; it only tells.
            finding.severity = Severity::Low;
            findings.push(finding);
        }
    }
}

fn residual(inputs: &Inputs, findings: &mut Vec<LintFinding>) {
    match inputs.dialect {
        Dialect::Aws => {
            findings.push(LintFinding::residual(
                LintCode::RiskRoot,
                "the root user of the account can read, replace and delete the bucket policy, whatever it denies",
                "guard the root user; deny it by a policy of the organization",
            ));
            findings.push(LintFinding::residual(
                LintCode::RiskAccount,
                "an account that is closed takes its buckets with it, locked or not",
                "replicate to a bucket in another account",
            ));
        }
        Dialect::Ceph => {
            findings.push(LintFinding::residual(
                LintCode::RiskRoot,
                "the owner of the bucket can replace and delete its policy, whatever it denies (measured on 20.2)",
                "keep the owner's keys away from machines that run Runpack",
            ));
            operator(
                findings,
                "whoever runs the cluster can delete pools, and radosgw-admin is bound by no policy",
            );
        }
        Dialect::MinIo => {
            findings.push(LintFinding::residual(
                LintCode::RiskRoot,
                "the root user is bound by no policy",
                "keep its credentials away from machines that run Runpack",
            ));
            operator(
                findings,
                "whoever runs the server can remove its disks' content",
            );
        }
    }
}

fn operator(findings: &mut Vec<LintFinding>, text: &str) {
    findings.push(LintFinding::residual(
        LintCode::RiskOperator,
        text,
        "keep a second copy that somebody else operates",
    ));
}
