//! Replication as it is configured: whether there is a second copy, of all evidence, and locked like the first.

use super::super::generate::Dialect;
use super::finding::{LintCode, LintFinding, Severity};
use super::inputs::{Inputs, Observed, ReplicationRule};
use super::lifecycle::overlaps;
use crate::retention::shown;

pub(super) fn judge(inputs: &Inputs, findings: &mut Vec<LintFinding>) {
    let replication = match &inputs.replication {
        Observed::Found(replication) => replication,
        Observed::Absent => {
            absent(findings, "the bucket is replicated nowhere");
            return;
        }
        Observed::NotObserved { why } => {
            findings.push(LintFinding::not_observed(
                LintCode::ReplicationNotObserved,
                "the replication",
                why,
                "grant s3:GetReplicationConfiguration",
            ));
            return;
        }
    };
    let rules: Vec<_> = replication
        .rules
        .iter()
        .filter(|rule| rule.is_enabled && overlaps(&rule.filter, inputs))
        .collect();
    if rules.is_empty() {
        absent(findings, "no rule that acts replicates evidence");
        return;
    }
    let prefix = inputs.path_prefix.as_str();
    let is_whole = rules
        .iter()
        .any(|rule| prefix.starts_with(rule.filter.prefix.as_str()) && !rule.filter.is_narrowed);
    if !is_whole {
        let text = "no rule replicates all evidence: prefixes, tags or sizes narrow each";
        findings.push(LintFinding::configured(
            LintCode::ReplicationPartial,
            Severity::Medium,
            text,
            "replicate all that lies below the prefix",
        ));
    }
    match &replication.failed {
        Observed::Found(0) => {}
        Observed::Found(failed) => {
            let text = format!("versions of evidence were not replicated, failed=`{failed}`");
            findings.push(LintFinding::configured(
                LintCode::ReplicationFailing,
                Severity::High,
                text,
                "look at the role and the destination, then replicate them again",
            ));
        }
        Observed::Absent | Observed::NotObserved { .. } => {
            let why = "the status of the versions";
            findings.push(LintFinding::not_observed(
                LintCode::ReplicationNotObserved,
                "whether replication works",
                why,
                "look at the replication status of each version",
            ));
        }
    }
    for rule in rules {
        judge_rule(inputs, rule, findings);
    }
}

fn absent(findings: &mut Vec<LintFinding>, text: &str) {
    let text = format!("{text}: there is no second copy that survives the loss of this one");
    findings.push(LintFinding::configured(
        LintCode::ReplicationAbsent,
        Severity::Medium,
        text,
        "replicate or mirror to a locked bucket in another account",
    ));
}

fn judge_rule(inputs: &Inputs, rule: &ReplicationRule, findings: &mut Vec<LintFinding>) {
    let destination = &rule.destination;
    let bucket = shown(&destination.bucket);
    match &destination.object_lock {
        Observed::Found(_) => {}
        Observed::Absent => {
            let text = format!("the copies are not locked, destination=`{bucket}`");
            findings.push(LintFinding::configured(
                LintCode::ReplicationUnlocked,
                Severity::High,
                text,
                "replicate to a bucket with Object Lock",
            ));
        }
        Observed::NotObserved { why } => {
            let what = format!("the lock of the destination {bucket}");
            findings.push(LintFinding::not_observed(
                LintCode::ReplicationNotObserved,
                &what,
                why,
                "grant s3:GetBucketObjectLockConfiguration there",
            ));
        }
    }
    let is_same_account = inputs.account.is_some() && inputs.account == destination.account;
    if is_same_account && inputs.dialect == Dialect::Aws {
        let text =
            format!("the copies are in the same account, and go with it, destination=`{bucket}`");
        findings.push(LintFinding::configured(
            LintCode::ReplicationSameAccount,
            Severity::Low,
            text,
            "replicate to another account",
        ));
    }
    if rule.has_markers {
        let text = format!(
            "delete markers are replicated, so what hides evidence here hides it there, destination=`{bucket}`"
        );
        findings.push(LintFinding::configured(
            LintCode::ReplicationMarkers,
            Severity::Low,
            text,
            "disable the replication of delete markers",
        ));
    }
}
