//! What could still remove evidence from a bucket, or lose it: judged by the documents that a store gave out.
//!
//! Every document is found, absent or not observed, and each that was not observed is a finding: what nobody could
//! look at is not clean. The order of findings is that of severity.

mod access;
mod access_text;
mod bucket;
mod finding;
mod inputs;
mod lifecycle;
mod replication;

pub use finding::{Basis, LintCode, LintFinding, Severity};
pub use inputs::{
    BucketEncryption, DefaultRetention, Destination, Expiration, Inputs, KeyState, LifecycleFilter,
    LifecycleRule, Logging, NoncurrentExpiration, ObjectLockState, Observed, PublicAccessBlock,
    Replication, ReplicationRule, Roles, Transition, VersioningState,
};

/// Judges a bucket by its documents.
pub fn lint(inputs: &Inputs) -> Vec<LintFinding> {
    let mut findings = Vec::new();
    bucket::judge(inputs, &mut findings);
    access::judge(inputs, &mut findings);
    lifecycle::judge(inputs, &mut findings);
    replication::judge(inputs, &mut findings);
    findings.sort_by_key(|finding| (finding.severity, finding.code));
    findings
}

#[cfg(test)]
mod tests;
