//! Tests of settings as the store tells them.

use aws_sdk_s3::types::{DefaultRetention as Theirs, ObjectLockRule};

use super::*;

fn with(default: Option<Theirs>) -> Observed<ObjectLockState> {
    let rule = ObjectLockRule::builder().set_default_retention(default);
    let found = ObjectLockConfiguration::builder()
        .object_lock_enabled(ObjectLockEnabled::Enabled)
        .rule(rule.build());
    lock(found.build())
}

#[test]
fn l01_a_lock_is_there_only_where_it_is_said_to_be() {
    let nothing = ObjectLockConfiguration::builder();
    assert_eq!(lock(nothing.clone().build()), Observed::Absent);
    let off = nothing.clone().object_lock_enabled("Disabled".into());
    assert_eq!(lock(off.build()), Observed::Absent);
    let on = nothing.object_lock_enabled(ObjectLockEnabled::Enabled);
    let found = ObjectLockState { default: None };
    assert_eq!(lock(on.build()), Observed::Found(found));
}

#[test]
fn l07_a_default_retention_is_understood_whole_or_not_observed() {
    let default = |mode: &str, days: Option<i32>, years: Option<i32>| {
        let built = Theirs::builder().mode(mode.into());
        with(Some(built.set_days(days).set_years(years).build()))
    };
    let found = |mode: LockMode, retain_for: &str| {
        Observed::Found(ObjectLockState {
            default: Some(DefaultRetention {
                mode,
                retain_for: retain_for.parse().unwrap(),
            }),
        })
    };
    let (governance, compliance) = (LockMode::Governance, LockMode::Compliance);
    assert_eq!(
        default("GOVERNANCE", Some(30), None),
        found(governance, "30d")
    );
    assert_eq!(
        default("COMPLIANCE", None, Some(7)),
        found(compliance, "7y")
    );
    for (mode, days, years) in [
        ("ETERNAL", Some(30), None),
        ("COMPLIANCE", None, None),
        ("COMPLIANCE", Some(0), None),
        ("COMPLIANCE", Some(-1), None),
        ("COMPLIANCE", Some(1), Some(1)),
    ] {
        let read = default(mode, days, years);
        assert!(
            matches!(read, Observed::NotObserved { .. }),
            "{mode} {days:?} {years:?}"
        );
    }
    assert!(matches!(with(None), Observed::NotObserved { .. }));
}

#[test]
fn l09_how_a_bucket_encrypts() {
    let by = |algorithm: &str| {
        let built = ServerSideEncryptionByDefault::builder();
        encryption(built.sse_algorithm(algorithm.into()).build().unwrap())
    };
    assert_eq!(by("AES256"), Observed::Found(BucketEncryption::StoreKeys));
    for algorithm in ["aws:kms", "aws:kms:dsse"] {
        let Observed::Found(BucketEncryption::KeyService { key: None, state }) = by(algorithm)
        else {
            panic!("{algorithm}");
        };
        // Nobody asks the key service, so nothing is known of the key.
        assert!(matches!(state, Observed::NotObserved { .. }));
    }
    assert!(matches!(by("rot13"), Observed::NotObserved { .. }));
}

#[test]
fn a_switch_that_is_not_told_is_off() {
    let block = PublicAccessBlockConfiguration::builder().block_public_acls(true);
    let found = switches(&block.build());
    assert!(found.block_public_acls);
    assert!(!found.ignore_public_acls && !found.block_public_policy);
    assert!(!found.restrict_public_buckets);
}
