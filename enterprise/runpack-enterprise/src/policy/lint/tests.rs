//! One finding for each way to lose evidence, none where there is none, and never silence about what nobody saw.

use runpack_core::store::s3::PathPrefix;
use serde_json::{Value, json};

use super::*;
use crate::policy::Dialect;
use crate::retention::LockMode;

const ACCOUNT: &str = "111111111111";

/// A bucket at which there is nothing to find but what nothing can change.
fn clean() -> Inputs {
    let mut inputs = Inputs::new(
        "evidence".parse().unwrap(),
        "p".parse().unwrap(),
        Dialect::Aws,
    );
    inputs.account = Some(ACCOUNT.to_owned());
    inputs.wanted = Some((LockMode::Compliance, "7y".parse().unwrap()));
    inputs.policy = Observed::Found(
        json!({"Statement": [
            {"Effect": "Deny", "Principal": "*", "Action": ["s3:Delete*", "s3:BypassGovernanceRetention", "s3:PutObjectLegalHold", "s3:PutObjectRetention", "s3:PutBucket*", "s3:PutLifecycleConfiguration", "s3:PutReplicationConfiguration", "s3:Replicate*", "s3:PutObject", "s3:UpdateObjectEncryption"], "Resource": ["arn:aws:s3:::evidence", "arn:aws:s3:::evidence/*"]},
            {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*", "Condition": {"BoolIfExists": {"aws:SecureTransport": "false"}}},
        ]})
        .to_string(),
    );
    inputs.lifecycle = Observed::Absent;
    inputs.versioning = Observed::Found(VersioningState::Enabled);
    inputs.object_lock = Observed::Found(lock(LockMode::Compliance, "7y"));
    inputs.encryption = Observed::Found(BucketEncryption::StoreKeys);
    inputs.public_access_block = Observed::Found(PublicAccessBlock {
        block_public_acls: true,
        ignore_public_acls: true,
        block_public_policy: true,
        restrict_public_buckets: true,
    });
    inputs.logging = Observed::Found(Logging {
        target_bucket: "logs".to_owned(),
    });
    inputs.replication = Observed::Found(Replication {
        rules: vec![rule()],
        failed: Observed::Found(0),
    });
    inputs
}

fn lock(mode: LockMode, retain_for: &str) -> ObjectLockState {
    ObjectLockState {
        default: Some(DefaultRetention {
            mode,
            retain_for: retain_for.parse().unwrap(),
        }),
    }
}

fn rule() -> ReplicationRule {
    ReplicationRule {
        id: None,
        is_enabled: true,
        filter: LifecycleFilter::default(),
        has_markers: false,
        destination: Destination {
            bucket: "arn:aws:s3:::copy".to_owned(),
            account: Some("222222222222".to_owned()),
            object_lock: Observed::Found(lock(LockMode::Compliance, "7y")),
        },
    }
}

/// The findings that can be helped.
fn found(inputs: &Inputs) -> Vec<(LintCode, Severity)> {
    let findings = lint(inputs).into_iter();
    let findings = findings.filter(|finding| finding.severity != Severity::Residual);
    findings
        .map(|finding| (finding.code, finding.severity))
        .collect()
}

/// What is found after this change, at a bucket that was clean before.
fn after(change: impl FnOnce(&mut Inputs)) -> Vec<(LintCode, Severity)> {
    let mut inputs = clean();
    change(&mut inputs);
    found(&inputs)
}

fn with_policy(statements: &Value) -> Vec<(LintCode, Severity)> {
    after(|inputs| inputs.policy = Observed::Found(json!({"Statement": statements}).to_string()))
}

#[test]
fn a_clean_bucket_has_only_what_nothing_can_change() {
    assert_eq!(found(&clean()), []);
    let residual: Vec<_> = lint(&clean())
        .into_iter()
        .map(|finding| (finding.code, finding.basis))
        .collect();
    assert_eq!(
        residual,
        [
            (LintCode::RiskRoot, Basis::ProviderAsserted),
            (LintCode::RiskAccount, Basis::ProviderAsserted)
        ]
    );
}

#[test]
fn what_was_not_observed_is_never_clean() {
    type Change = fn(&mut Inputs, String);
    fn hidden<T>(why: String) -> Observed<T> {
        Observed::NotObserved { why }
    }
    let changes: [(Change, LintCode); 10] = [
        (
            |inputs, why| inputs.policy = hidden(why),
            LintCode::PolicyNotObserved,
        ),
        (
            |inputs, why| inputs.lifecycle = hidden(why),
            LintCode::LifecycleNotObserved,
        ),
        (
            |inputs, why| inputs.replication = hidden(why),
            LintCode::ReplicationNotObserved,
        ),
        (
            |inputs, why| inputs.versioning = hidden(why),
            LintCode::VersioningNotObserved,
        ),
        (
            |inputs, why| inputs.object_lock = hidden(why),
            LintCode::LockNotObserved,
        ),
        (
            |inputs, why| inputs.encryption = hidden(why),
            LintCode::EncryptionNotObserved,
        ),
        (
            |inputs, why| inputs.public_access_block = hidden(why),
            LintCode::PublicAccessNotObserved,
        ),
        (
            |inputs, why| inputs.logging = hidden(why),
            LintCode::LoggingNotObserved,
        ),
        (
            |inputs, why| {
                inputs.replication = Observed::Found(Replication {
                    rules: vec![rule()],
                    failed: hidden(why),
                });
            },
            LintCode::ReplicationNotObserved,
        ),
        (
            |inputs, why| {
                inputs.encryption = Observed::Found(BucketEncryption::KeyService {
                    key: None,
                    state: hidden(why),
                });
            },
            LintCode::EncryptionNotObserved,
        ),
    ];
    for (change, code) in changes {
        let mut inputs = clean();
        change(&mut inputs, "AccessDenied".to_owned());
        let findings = lint(&inputs);
        let finding = findings
            .iter()
            .find(|finding| finding.code == code)
            .unwrap();
        assert_eq!(finding.basis, Basis::NotObserved, "{code:?}");
    }
    let mut nothing = Inputs::new(
        "evidence".parse().unwrap(),
        PathPrefix::default(),
        Dialect::Aws,
    );
    nothing.account = None;
    let unseen = lint(&nothing)
        .iter()
        .filter(|finding| finding.basis == Basis::NotObserved)
        .count();
    assert_eq!(unseen, 8);
}

#[test]
fn l01_no_lock_or_no_versions_is_critical() {
    assert_eq!(
        after(|inputs| inputs.object_lock = Observed::Absent),
        [(LintCode::LockAbsent, Severity::Critical)]
    );
    for state in [
        Observed::Absent,
        Observed::Found(VersioningState::Suspended),
    ] {
        assert_eq!(
            after(|inputs| inputs.versioning = state),
            [(LintCode::VersioningOff, Severity::Critical)]
        );
    }
}

#[test]
fn l04_defaults_and_modes() {
    let with = |lock: Option<(LockMode, &str)>| {
        after(|inputs| {
            inputs.object_lock = Observed::Found(ObjectLockState {
                default: lock.map(|(mode, retain_for)| DefaultRetention {
                    mode,
                    retain_for: retain_for.parse().unwrap(),
                }),
            });
        })
    };
    assert_eq!(with(None), [(LintCode::LockNoDefault, Severity::Low)]);
    assert_eq!(with(Some((LockMode::Compliance, "8y"))), []);
    for weak in [
        (LockMode::Governance, "7y"),
        (LockMode::Compliance, "6y"),
        (LockMode::Compliance, "2556d"),
    ] {
        assert_eq!(
            with(Some(weak)),
            [(LintCode::LockWeakDefault, Severity::Medium)],
            "{weak:?}"
        );
    }
    let governance =
        after(|inputs| inputs.wanted = Some((LockMode::Governance, "7y".parse().unwrap())));
    assert_eq!(governance, [(LintCode::LockGovernance, Severity::High)]);
}

#[test]
fn l09_keys() {
    let with = |state: KeyState| {
        after(|inputs| {
            inputs.encryption = Observed::Found(BucketEncryption::KeyService {
                key: Some("arn:aws:kms:x".to_owned()),
                state: Observed::Found(state),
            });
        })
    };
    let (going, key) = (
        (LintCode::EncryptionKeyGoing, Severity::Critical),
        (LintCode::EncryptionKey, Severity::Medium),
    );
    assert_eq!(with(KeyState::Enabled), [key]);
    assert_eq!(with(KeyState::Disabled), [going, key]);
    assert_eq!(with(KeyState::PendingDeletion), [going, key]);
}

#[test]
fn public_access_and_logging() {
    let open = (LintCode::PublicAccessOpen, Severity::Medium);
    assert_eq!(
        after(|inputs| inputs.public_access_block = Observed::Absent),
        [open]
    );
    let mut inputs = clean();
    if let Observed::Found(block) = &mut inputs.public_access_block {
        block.restrict_public_buckets = false;
    }
    assert_eq!(found(&inputs), [open]);
    assert!(
        lint(&inputs)
            .iter()
            .any(|finding| finding.text.contains("off=`RestrictPublicBuckets`"))
    );
    assert_eq!(
        after(|inputs| inputs.logging = Observed::Absent),
        [(LintCode::LoggingAbsent, Severity::Low)]
    );
    let itself = Logging {
        target_bucket: "evidence".to_owned(),
    };
    assert_eq!(
        after(|inputs| inputs.logging = Observed::Found(itself)),
        [(LintCode::LoggingIntoItself, Severity::Medium)]
    );
}

#[test]
fn l10_lifecycle_rules_that_lose_evidence() {
    let enabled = || LifecycleRule {
        is_enabled: true,
        ..LifecycleRule::default()
    };
    let with = |rule: LifecycleRule| after(|inputs| inputs.lifecycle = Observed::Found(vec![rule]));
    let expires = LifecycleRule {
        expiration: Some(Expiration::Days(30)),
        ..enabled()
    };
    assert_eq!(
        with(expires.clone()),
        [(LintCode::LifecycleExpires, Severity::High)]
    );
    assert_eq!(
        with(LifecycleRule {
            is_enabled: false,
            ..expires.clone()
        }),
        []
    );
    assert_eq!(
        with(LifecycleRule {
            expiration: Some(Expiration::ExpiredMarkersOnly),
            ..enabled()
        }),
        []
    );
    let noncurrent = LifecycleRule {
        noncurrent_expiration: Some(NoncurrentExpiration { days: 3_650 }),
        ..enabled()
    };
    assert_eq!(
        with(noncurrent.clone()),
        [(LintCode::LifecycleRemovesVersions, Severity::High)]
    );
    let without_default = after(|inputs| {
        inputs.lifecycle = Observed::Found(vec![noncurrent]);
        inputs.object_lock = Observed::Found(ObjectLockState { default: None });
    });
    assert_eq!(
        without_default,
        [
            (LintCode::LifecycleRemovesVersions, Severity::Critical),
            (LintCode::LockNoDefault, Severity::Low)
        ]
    );
    for (class, is_found) in [
        ("STANDARD_IA", false),
        ("GLACIER_IR", false),
        ("GLACIER", true),
        ("DEEP_ARCHIVE", true),
        ("COLD-OF-OURS", true),
    ] {
        let rule = LifecycleRule {
            transitions: vec![Transition {
                storage_class: class.to_owned(),
            }],
            ..enabled()
        };
        assert_eq!(!with(rule).is_empty(), is_found, "{class}");
    }
    for (days, is_found) in [(1, true), (6, true), (7, false)] {
        let rule = LifecycleRule {
            abort_incomplete_days: Some(days),
            ..enabled()
        };
        assert_eq!(
            with(rule) == [(LintCode::LifecycleAbortsSoon, Severity::Low)],
            is_found,
            "{days}"
        );
    }
    for (prefix, is_found) in [
        ("", true),
        ("p", true),
        ("p/", true),
        ("p/tenant/acme", true),
        ("p/_runpack/", true),
        ("p/_runpack/probe/", false),
        ("p/_runpack/probe/x", false),
        ("q/", false),
        ("p2/", false),
        ("P/", false),
    ] {
        for is_narrowed in [false, true] {
            let filter = LifecycleFilter {
                prefix: prefix.to_owned(),
                is_narrowed,
            };
            assert_eq!(
                !with(LifecycleRule {
                    filter,
                    ..expires.clone()
                })
                .is_empty(),
                is_found,
                "{prefix}"
            );
        }
    }
}

#[test]
fn l12_replication_without_a_lock_or_not_at_all() {
    let with = |change: fn(&mut ReplicationRule)| {
        let mut rule = rule();
        change(&mut rule);
        after(|inputs| {
            inputs.replication = Observed::Found(Replication {
                rules: vec![rule],
                failed: Observed::Found(0),
            });
        })
    };
    let absent = (LintCode::ReplicationAbsent, Severity::Medium);
    let partial = (LintCode::ReplicationPartial, Severity::Medium);
    assert_eq!(
        after(|inputs| inputs.replication = Observed::Absent),
        [absent]
    );
    assert_eq!(with(|rule| rule.is_enabled = false), [absent]);
    assert_eq!(with(|rule| rule.filter.prefix = "q/".to_owned()), [absent]);
    assert_eq!(
        with(|rule| rule.filter.prefix = "p/tenant/acme".to_owned()),
        [partial]
    );
    assert_eq!(with(|rule| rule.filter.is_narrowed = true), [partial]);
    assert_eq!(with(|rule| rule.filter.prefix = "p/".to_owned()), []);
    assert_eq!(
        with(|rule| rule.destination.object_lock = Observed::Absent),
        [(LintCode::ReplicationUnlocked, Severity::High)]
    );
    assert_eq!(
        with(|rule| rule.destination.account = Some(ACCOUNT.to_owned())),
        [(LintCode::ReplicationSameAccount, Severity::Low)]
    );
    assert_eq!(
        with(|rule| rule.has_markers = true),
        [(LintCode::ReplicationMarkers, Severity::Low)]
    );
    let failing = after(|inputs| {
        inputs.replication = Observed::Found(Replication {
            rules: vec![rule()],
            failed: Observed::Found(3),
        });
    });
    assert_eq!(failing, [(LintCode::ReplicationFailing, Severity::High)]);
}

#[test]
fn a_policy_that_is_absent_or_not_understood() {
    let absent = after(|inputs| inputs.policy = Observed::Absent);
    for code in [
        LintCode::PolicyAbsent,
        LintCode::PolicyBypass,
        LintCode::PolicyVersionDeletion,
        LintCode::PolicyChange,
        LintCode::PolicyIdentitiesNotObserved,
    ] {
        assert!(absent.iter().any(|(found, _)| *found == code), "{code:?}");
    }
    let malformed = after(|inputs| {
        inputs.policy = Observed::Found(r#"{"Statement":[],"Statement":[]}"#.to_owned());
    });
    assert_eq!(malformed, [(LintCode::PolicyMalformed, Severity::High)]);
}

#[test]
fn l04_l08_whoever_is_allowed_is_named() {
    let statements = json!([
        {"Sid": "Ops", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111111111111:role/ops"}, "Action": "s3:*", "Resource": "*"},
        {"Effect": "Deny", "NotPrincipal": {"AWS": ["arn:aws:iam::111111111111:role/ops", "arn:aws:iam::111111111111:role/quiet"]}, "Action": "s3:*", "Resource": "*"},
    ]);
    let mut inputs = clean();
    inputs.policy = Observed::Found(json!({"Statement": statements}).to_string());
    let findings = lint(&inputs);
    let bypass = findings
        .iter()
        .find(|finding| finding.code == LintCode::PolicyBypass)
        .unwrap();
    assert_eq!(bypass.severity, Severity::Critical);
    assert_eq!(
        bypass.text,
        "the bucket policy lets arn:aws:iam::111111111111:role/ops: a lock in governance mode can be bypassed, actions=`s3:BypassGovernanceRetention`"
    );
    // Whoever is meant to, is no finding; the other exception still is one, for what else allows it.
    inputs.roles.holders = ["arn:aws:iam::111111111111:role/ops".parse().unwrap()].into();
    let findings = lint(&inputs);
    let hold = findings
        .iter()
        .find(|finding| finding.code == LintCode::PolicyHoldRelease)
        .unwrap();
    assert_eq!(
        (hold.severity, hold.text.contains("role/quiet")),
        (Severity::Medium, true),
        "{}",
        hold.text
    );
}

#[test]
fn broad_allows_are_found() {
    let broad = |statement: Value| {
        let mut codes = with_policy(&json!([statement]));
        codes.retain(|(code, _)| {
            matches!(
                code,
                LintCode::PolicyWildcardAllow | LintCode::PolicyNegatedAllow
            )
        });
        codes
    };
    let everybody = json!({"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "s3:GetObject", "Resource": "*"});
    assert_eq!(
        broad(everybody.clone()),
        [(LintCode::PolicyWildcardAllow, Severity::High)]
    );
    let mut conditional = everybody;
    conditional["Condition"] = json!({"StringEquals": {"aws:PrincipalOrgID": "o-1"}});
    assert_eq!(
        broad(conditional),
        [(LintCode::PolicyWildcardAllow, Severity::Medium)]
    );
    let joe = json!({"AWS": "arn:aws:iam::111111111111:user/joe"});
    for negated in [
        json!({"Effect": "Allow", "NotPrincipal": joe, "Action": "s3:GetObject", "Resource": "*"}),
        json!({"Effect": "Allow", "Principal": joe, "NotAction": "s3:GetObject", "Resource": "*"}),
        json!({"Effect": "Allow", "Principal": joe, "Action": "s3:GetObject", "NotResource": "arn:aws:s3:::x"}),
    ] {
        assert_eq!(
            broad(negated.clone()),
            [(LintCode::PolicyNegatedAllow, Severity::High)],
            "{negated}"
        );
    }
    assert_eq!(
        broad(
            json!({"Effect": "Allow", "Principal": joe, "Action": "s3:GetObject", "Resource": "*"})
        ),
        []
    );
}

#[test]
fn a_deny_with_a_gap_counts_for_nothing() {
    let bypass = |statement: Value| {
        let codes = with_policy(&json!([statement]));
        codes
            .iter()
            .any(|(code, _)| *code == LintCode::PolicyBypass)
    };
    let deny = json!({"Effect": "Deny", "Principal": "*", "Action": "s3:BypassGovernanceRetention", "Resource": "arn:aws:s3:::evidence/p/*"});
    assert!(!bypass(deny.clone()));
    for (member, value) in [
        ("Resource", json!("arn:aws:s3:::evidence/p/tenant/*")),
        ("Resource", json!("arn:aws:s3:::evidence")),
        (
            "Principal",
            json!({"AWS": "arn:aws:iam::111111111111:user/joe"}),
        ),
        (
            "Condition",
            json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}),
        ),
        (
            "Condition",
            json!({"Bool": {"aws:MultiFactorAuthPresent": "false"}}),
        ),
        (
            "Condition",
            json!({"StringNotLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/break-glass"}}),
        ),
        ("Action", json!("s3:BypassGovernance")),
    ] {
        let mut gap = deny.clone();
        gap[member] = value;
        assert!(bypass(gap.clone()), "{gap}");
    }
}

#[test]
fn minio_bucket_policies_bind_nobody_with_credentials() {
    let mut inputs = clean();
    inputs.dialect = Dialect::MinIo;
    let codes = found(&inputs);
    assert_eq!(
        codes,
        [(LintCode::PolicyIdentitiesNotObserved, Severity::Medium)]
    );
}

#[test]
fn findings_come_worst_first_and_each_says_what_to_do() {
    let findings = lint(&Inputs::new(
        "evidence".parse().unwrap(),
        PathPrefix::default(),
        Dialect::Ceph,
    ));
    assert!(findings.is_sorted_by_key(|finding| finding.severity));
    assert!(
        findings
            .iter()
            .all(|finding| !finding.what_to_do.is_empty() && !finding.text.is_empty())
    );
    let json = serde_json::to_value(findings.first().unwrap()).unwrap();
    assert_eq!(
        (&json["severity"], &json["basis"]),
        (&json!("high"), &json!("not-observed"))
    );
}

#[test]
fn what_a_store_says_is_shown_escaped() {
    let mut inputs = clean();
    inputs.policy = Observed::Found(json!({"Statement": [{"Sid": "a\n\u{1b}[2J", "Effect": "Allow", "Principal": "*", "Action": "s3:x\n", "Resource": "*", "Condition": {"Bool": {"k\n": "true"}}}]}).to_string());
    inputs.lifecycle = Observed::NotObserved {
        why: "x\u{1b}\n".to_owned(),
    };
    for finding in lint(&inputs) {
        assert!(
            !finding.text.chars().any(char::is_control),
            "{}",
            finding.text
        );
    }
}
