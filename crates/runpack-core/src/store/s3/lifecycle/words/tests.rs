//! Rules there and back, and rules that our words do not say.

use aws_sdk_s3::types::Tag;

use super::*;
use crate::lifecycle::Lifecycle;

#[test]
fn our_rules_come_back_as_they_went() {
    let to = |to, after_days| Transition { after_days, to };
    for prefix in ["", "ci/", "a/b/"] {
        let wishes = Lifecycle {
            transitions: vec![
                to(StorageClass::StandardIa, 30),
                to(StorageClass::DeepArchive, 90),
            ],
            noncurrent: vec![to(StorageClass::GlacierInstant, 1)],
            dangerous_noncurrent_expiry_days: Some(400),
            aborted_uploads_days: Some(7),
            ..Lifecycle::default()
        };
        let rules = wishes.rules(prefix).unwrap();
        assert_eq!(rules.len(), 3);
        for rule in rules {
            let live = LiveRule::of(&theirs(&rule).unwrap());
            assert_eq!(live.removes, rule.noncurrent_expiry_days.is_some());
            assert_eq!(live.deeds, rule.deeds());
            assert_eq!(live.rule, Some(rule));
        }
    }
    let mut open = Rule::new("x", "");
    open.larger_than = Some(5);
    assert_eq!(filter(&open).unwrap().and, None);
    assert_eq!(filter(&open).unwrap().prefix, None);
}

#[test]
fn l10_what_our_words_do_not_say_is_told_and_is_no_rule_of_ours() {
    let base = || {
        let mut rule = Rule::new("x", "p/");
        rule.aborted_uploads_days = Some(9);
        theirs(&rule).unwrap()
    };
    assert!(LiveRule::of(&base()).rule.is_some());
    let removing = |expiration: LifecycleExpiration| {
        let mut rule = base();
        rule.expiration = Some(expiration);
        let live = LiveRule::of(&rule);
        assert_eq!(live.rule, None);
        (live.removes, live.deeds)
    };
    let expiration = LifecycleExpiration::builder;
    let (removes, deeds) = removing(expiration().days(1).build());
    assert!(removes && deeds[0].contains("REMOVES objects after 1 days"));
    assert!(removing(expiration().build()).0);
    assert!(!removing(expiration().expired_object_delete_marker(true).build()).0);

    let mut tagged = base();
    let tag = Tag::builder().key("a").value("b").build().unwrap();
    tagged.filter = Some(LifecycleRuleFilter::builder().tag(tag).build());
    assert_eq!(LiveRule::of(&tagged).rule, None);

    let mut counted = base();
    let expiry = NoncurrentVersionExpiration::builder()
        .noncurrent_days(1)
        .newer_noncurrent_versions(3);
    counted.noncurrent_version_expiration = Some(expiry.build());
    let live = LiveRule::of(&counted);
    assert!(live.rule.is_none() && live.removes);

    let mut elsewhere = base();
    let to = TheirTransition::builder()
        .days(3)
        .storage_class(TransitionStorageClass::from("MY-TIER"));
    elsewhere.transitions = Some(vec![to.build()]);
    let live = LiveRule::of(&elsewhere);
    assert!(live.rule.is_none() && live.deeds[0].contains("MY-TIER"));

    // The first version of the API has its prefix beside the filter.
    let mut old = base();
    (old.filter, old.prefix) = (None, Some("old/".to_owned()));
    assert_eq!(LiveRule::of(&old).prefix, "old/");
}
