//! Tests of rules as the store tells them.

use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, DeleteMarkerReplication, LifecycleRuleAndOperator,
    LifecycleRuleFilter, NoncurrentVersionExpiration, NoncurrentVersionTransition,
    ReplicationRuleFilter, Tag, Transition as TheirTransition,
};

use super::*;

fn rule() -> aws_sdk_s3::types::builders::LifecycleRuleBuilder {
    TheirLifecycle::builder().status(ExpirationStatus::Enabled)
}

fn in_days(days: i32) -> LifecycleExpiration {
    LifecycleExpiration::builder().days(days).build()
}

#[test]
fn l10_expirations_are_read_and_none_is_guessed() {
    let date = aws_sdk_s3::primitives::DateTime::from_secs(1);
    let with = LifecycleExpiration::builder;
    for (expiration, found) in [
        (in_days(30), Some(Expiration::Days(30))),
        (in_days(-1), None),
        (with().date(date).build(), Some(Expiration::Date)),
        (
            with().expired_object_delete_marker(true).build(),
            Some(Expiration::ExpiredMarkersOnly),
        ),
        (with().expired_object_delete_marker(false).build(), None),
        (with().build(), None),
    ] {
        let read = lifecycle(rule().expiration(expiration.clone()).build().unwrap());
        assert_eq!(
            read.and_then(|rule| rule.expiration),
            found,
            "{expiration:?}"
        );
    }
    // A rule whose only action the service does not have either.
    assert_eq!(lifecycle(rule().build().unwrap()), None);
}

#[test]
fn l10_a_rule_acts_unless_it_is_disabled() {
    for (status, is_enabled) in [
        (ExpirationStatus::Enabled, true),
        (ExpirationStatus::Disabled, false),
        (ExpirationStatus::from("enabled-of-ours"), true),
    ] {
        let read = rule().status(status).expiration(in_days(1)).build();
        assert_eq!(lifecycle(read.unwrap()).unwrap().is_enabled, is_enabled);
    }
}

#[test]
fn l10_what_a_rule_is_about() {
    let tag = Tag::builder().key("a").value("b").build().unwrap();
    let filter = LifecycleRuleFilter::builder;
    let and = LifecycleRuleAndOperator::builder().prefix("p/");
    for (filter, prefix, is_narrowed) in [
        (filter().build(), "", false),
        (filter().prefix("p/").build(), "p/", false),
        (filter().tag(tag.clone()).build(), "", true),
        (filter().object_size_greater_than(1).build(), "", true),
        (filter().object_size_less_than(1).build(), "", true),
        (filter().and(and.clone().build()).build(), "p/", false),
        (
            filter().and(and.clone().tags(tag).build()).build(),
            "p/",
            true,
        ),
        (
            filter().and(and.object_size_less_than(1).build()).build(),
            "p/",
            true,
        ),
    ] {
        let read = rule().filter(filter.clone()).expiration(in_days(1)).build();
        let found = lifecycle(read.unwrap()).unwrap().filter;
        let (prefix, is_narrowed) = (prefix.to_owned(), is_narrowed);
        assert_eq!(
            found,
            LifecycleFilter {
                prefix,
                is_narrowed
            },
            "{filter:?}"
        );
    }
    let first_version = rule().prefix("old/").expiration(in_days(1)).build();
    let found = lifecycle(first_version.unwrap()).unwrap().filter;
    assert_eq!(found.prefix, "old/");
}

#[test]
fn l10_versions_transitions_and_uploads() {
    let abort = AbortIncompleteMultipartUpload::builder().days_after_initiation(3);
    let cold = TransitionStorageClass::DeepArchive;
    let noncurrent = NoncurrentVersionTransition::builder().storage_class(cold);
    let by_number = NoncurrentVersionExpiration::builder().newer_noncurrent_versions(2);
    let read = rule()
        .noncurrent_version_expiration(by_number.build())
        .transitions(TheirTransition::builder().days(1).build())
        .noncurrent_version_transitions(noncurrent.build())
        .abort_incomplete_multipart_upload(abort.build())
        .build();
    let read = lifecycle(read.unwrap()).unwrap();
    let days = read.noncurrent_expiration.map(|found| found.days);
    assert_eq!((days, read.abort_incomplete_days), (Some(0), Some(3)));
    let classes = read.transitions.iter().map(|to| to.storage_class.as_str());
    assert_eq!(classes.collect::<Vec<_>>(), ["(not told)", "DEEP_ARCHIVE"]);
}

#[test]
fn l12_a_replication_is_one_only_if_it_is_said_to_be() {
    let there = aws_sdk_s3::types::Destination::builder()
        .bucket("arn:aws:s3:::second")
        .account("111111111111")
        .build()
        .unwrap();
    let rule = |status: &str| TheirReplication::builder().status(status.into());
    assert_eq!(replication(rule("Enabled").build().unwrap()), None);
    for (status, is_enabled) in [("Enabled", true), ("Disabled", false), ("On", false)] {
        let read = rule(status).destination(there.clone()).build().unwrap();
        let read = replication(read).unwrap();
        assert_eq!(read.is_enabled, is_enabled, "{status}");
        // Without a filter it is of the first version.
        assert!(read.has_markers);
        assert_eq!(read.destination.bucket, "arn:aws:s3:::second");
        assert!(matches!(
            read.destination.object_lock,
            Observed::NotObserved { .. }
        ));
    }
    let markers = |status: &str| {
        DeleteMarkerReplication::builder()
            .status(status.into())
            .build()
    };
    for (status, has_markers) in [("Enabled", true), ("Disabled", false)] {
        let read = rule("Enabled")
            .destination(there.clone())
            .filter(ReplicationRuleFilter::builder().prefix("p/").build())
            .delete_marker_replication(markers(status))
            .build();
        let read = replication(read.unwrap()).unwrap();
        assert_eq!(
            (read.has_markers, read.filter.prefix.as_str()),
            (has_markers, "p/")
        );
    }
}
