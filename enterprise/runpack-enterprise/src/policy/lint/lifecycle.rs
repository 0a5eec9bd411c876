//! Lifecycle rules: they run whatever a policy denies, and wait for locks, not for people.

use super::finding::{LintCode, LintFinding, Severity};
use super::inputs::{
    Expiration, Inputs, LifecycleFilter, LifecycleRule, Observed, VersioningState,
};
use crate::retention::shown;

/// Fewer days than a slow upload may take.
const ABORT_DAYS_MIN: u32 = 7;

/// Classes in which evidence can be read at once.
const READABLE_AT_ONCE: [&str; 6] = [
    "STANDARD",
    "STANDARD_IA",
    "ONEZONE_IA",
    "GLACIER_IR",
    "REDUCED_REDUNDANCY",
    "INTELLIGENT_TIERING",
];

pub(super) fn judge(inputs: &Inputs, findings: &mut Vec<LintFinding>) {
    let rules = match &inputs.lifecycle {
        Observed::Found(rules) => rules,
        Observed::Absent => return,
        Observed::NotObserved { why } => {
            findings.push(LintFinding::not_observed(
                LintCode::LifecycleNotObserved,
                "the lifecycle",
                why,
                "grant s3:GetLifecycleConfiguration",
            ));
            return;
        }
    };
    for (index, rule) in rules.iter().enumerate() {
        if rule.is_enabled && overlaps(&rule.filter, inputs) {
            let name = rule
                .id
                .as_deref()
                .map_or_else(|| format!("number {}", index.saturating_add(1)), shown);
            judge_rule(inputs, rule, &name, findings);
        }
    }
}

/// Whether the rule is about anything that can be evidence. What narrows it further counts for nothing.
pub(super) fn overlaps(filter: &LifecycleFilter, inputs: &Inputs) -> bool {
    let prefix = inputs.path_prefix.as_str();
    // Probes are there to be removed.
    let is_probes = filter
        .prefix
        .strip_prefix(prefix)
        .is_some_and(|rest| rest.starts_with("_runpack/probe/"));
    !is_probes && (filter.prefix.starts_with(prefix) || prefix.starts_with(filter.prefix.as_str()))
}

fn judge_rule(inputs: &Inputs, rule: &LifecycleRule, name: &str, findings: &mut Vec<LintFinding>) {
    let keeps_versions = matches!(inputs.versioning, Observed::Found(VersioningState::Enabled));
    let when = match rule.expiration {
        Some(Expiration::Days(days)) => Some(format!("after {days} days")),
        Some(Expiration::Date) => Some("at a date".to_owned()),
        Some(Expiration::ExpiredMarkersOnly) | None => None,
    };
    if let Some(when) = when {
        let (severity, does) = if keeps_versions {
            (
                Severity::High,
                "hides evidence behind delete markers, which no lock prevents",
            )
        } else {
            (
                Severity::Critical,
                "deletes evidence, as far as versions are not known to be kept",
            )
        };
        let text = format!("a rule {does}, rule=`{name}` when=`{when}`");
        findings.push(LintFinding::configured(
            LintCode::LifecycleExpires,
            severity,
            text,
            "remove the rule, or its expiration, for evidence",
        ));
    }
    if let Some(noncurrent) = rule.noncurrent_expiration {
        // Whoever hides a version makes it noncurrent; from then on its lock is all that keeps it.
        let has_default =
            matches!(&inputs.object_lock, Observed::Found(state) if state.default.is_some());
        let severity = if has_default {
            Severity::High
        } else {
            Severity::Critical
        };
        let text = format!(
            "a rule deletes a version that another or a marker lies over, as soon as no lock keeps it, rule=`{name}` days=`{}`",
            noncurrent.days
        );
        findings.push(LintFinding::configured(LintCode::LifecycleRemovesVersions, severity, text, "remove the rule for evidence; residue is removed by gc, which looks at what it removes"));
    }
    for transition in &rule.transitions {
        let class = shown(&transition.storage_class);
        if READABLE_AT_ONCE.contains(&transition.storage_class.as_str()) {
            continue;
        }
        let text = format!(
            "a rule moves evidence to where it may not be readable at once: verify says undecided until it is restored, rule=`{name}` class=`{class}`"
        );
        findings.push(LintFinding::configured(
            LintCode::LifecycleArchives,
            Severity::Medium,
            text,
            "choose a class that is read at once, or plan for restoring",
        ));
    }
    if let Some(days) = rule
        .abort_incomplete_days
        .filter(|days| *days < ABORT_DAYS_MIN)
    {
        let text =
            format!("a rule ends uploads that may still be under way, rule=`{name}` days=`{days}`");
        findings.push(LintFinding::configured(
            LintCode::LifecycleAbortsSoon,
            Severity::Low,
            text,
            "give unfinished uploads seven days or more",
        ));
    }
}
