//! Rules out of wishes, and wishes that make none.

use super::StorageClass::{DeepArchive, Glacier, GlacierInstant, OneZoneIa, Standard, StandardIa};
use super::*;
use proptest::prelude::*;

fn to(to: StorageClass, after_days: u32) -> Transition {
    Transition { after_days, to }
}

fn moving(transitions: &[Transition]) -> Lifecycle {
    Lifecycle {
        transitions: transitions.to_vec(),
        ..Lifecycle::default()
    }
}

#[test]
fn wishes_that_make_rules() {
    assert_eq!(Lifecycle::default().rules("ci/").unwrap(), []);
    let rules = moving(&[to(StandardIa, 30), to(GlacierInstant, 90)]);
    let rules = rules.rules("ci/").unwrap();
    assert_eq!(rules.len(), 1);
    assert_eq!(rules[0].larger_than, Some(SMALL_BYTES_MAX));
    assert_eq!(rules[0].smaller_than, None);

    let all = Lifecycle {
        noncurrent: vec![to(GlacierInstant, 30)],
        aborted_uploads_days: Some(7),
        ..moving(&[to(StandardIa, 30), to(Glacier, 90), to(DeepArchive, 180)])
    };
    let rules = all.rules("").unwrap();
    let names: Vec<_> = rules.iter().map(|rule| rule.id.as_str()).collect();
    let prefix = rule_prefix("");
    assert_eq!(
        names,
        ["readable", "archive", "uploads"].map(|name| format!("{prefix}{name}"))
    );
    assert_eq!(rules[0].transitions, [to(StandardIa, 30)]);
    assert_eq!(rules[0].smaller_than, Some((64 << 20) + 1));
    assert_eq!(rules[1].larger_than, Some(64 << 20));
    assert_eq!(rules[1].transitions.len(), 3);
    assert_eq!(rules[2].larger_than, None);
    assert_ne!(rule_prefix("ci/"), rule_prefix("prod/"));
    assert!(is_rule_of("", names[0]) && !is_rule_of("ci/", names[0]));
}

#[test]
fn l10_wishes_that_are_refused() {
    for (transitions, reason) in [
        (vec![to(StandardIa, 29)], "30 to"),
        (vec![to(OneZoneIa, 0)], "30 to"),
        (vec![to(Glacier, 0)], "1 to"),
        (vec![to(Glacier, 36_501)], "36500 days"),
        (vec![to(Standard, 30)], "from warm to cold"),
        (
            vec![to(Glacier, 30), to(StandardIa, 200)],
            "from warm to cold",
        ),
        (vec![to(Glacier, 30), to(Glacier, 200)], "from warm to cold"),
        (
            vec![to(OneZoneIa, 30), to(GlacierInstant, 200)],
            "nothing moves from ONEZONE_IA",
        ),
        (vec![to(StandardIa, 30), to(Glacier, 59)], "30 days"),
        (
            vec![to(GlacierInstant, 30), to(DeepArchive, 119)],
            "90 days",
        ),
        (vec![to(Glacier, 1), to(DeepArchive, 90)], "90 days"),
    ] {
        let error = moving(&transitions).rules("").unwrap_err().to_string();
        assert!(error.contains(reason), "{transitions:?}: {error}");
        let noncurrent = Lifecycle {
            noncurrent: transitions,
            ..Lifecycle::default()
        };
        assert_eq!(noncurrent.rules("").unwrap_err().to_string(), error);
    }
    let with = |change: fn(&mut Lifecycle)| {
        let mut wishes = moving(&[to(DeepArchive, 1)]);
        change(&mut wishes);
        wishes.rules("")
    };
    let changes: [fn(&mut Lifecycle); 8] = [
        |w| w.larger_than = SMALL_BYTES_MAX - 1,
        |w| w.archive_larger_than = ARCHIVE_BYTES_FLOOR - 1,
        |w| (w.larger_than, w.archive_larger_than) = (2 << 20, 1 << 20),
        |w| w.archive_larger_than = u64::MAX,
        |w| w.aborted_uploads_days = Some(6),
        |w| w.dangerous_noncurrent_expiry_days = Some(29),
        // The manifest of a large pack would be among what is removed.
        |w| {
            w.archive_larger_than = Lifecycle::default().archive_larger_than - 1;
            w.dangerous_noncurrent_expiry_days = Some(30);
        },
        |w| {
            w.noncurrent = vec![to(DeepArchive, 10)];
            w.dangerous_noncurrent_expiry_days = Some(189);
        },
    ];
    for change in changes {
        assert!(with(change).is_err());
    }
    assert!(with(|w| w.archive_larger_than = ARCHIVE_BYTES_FLOOR).is_ok());
    assert!(with(|w| w.dangerous_noncurrent_expiry_days = Some(30)).is_ok());
}

#[test]
fn classes_are_spelled_one_way() {
    for class in StorageClass::ALL {
        assert_eq!(class.as_str().parse(), Ok(class));
        assert!(!class.goes_to(class));
    }
    for other in ["", "standard_ia", "INTELLIGENT_TIERING", "GLACIER "] {
        assert!(other.parse::<StorageClass>().is_err(), "{other}");
    }
}

fn wishes() -> impl Strategy<Value = Lifecycle> {
    let transition = (0..400u32, 0..StorageClass::ALL.len())
        .prop_map(|(days, class)| to(StorageClass::ALL[class], days));
    let some = || prop::collection::vec(transition.clone(), 0..4);
    (
        some(),
        some(),
        prop::option::of(0..400u32),
        prop::option::of(0..20u32),
        SMALL_BYTES_MAX..(4 << 20),
        ARCHIVE_BYTES_FLOOR..(128 << 20),
    )
        .prop_map(
            |(transitions, noncurrent, expiry, uploads, small, large)| Lifecycle {
                transitions,
                noncurrent,
                dangerous_noncurrent_expiry_days: expiry,
                aborted_uploads_days: uploads,
                larger_than: small,
                archive_larger_than: large,
            },
        )
}

proptest! {
    #[test]
    fn l10_no_rule_archives_what_may_be_a_manifest_and_no_object_has_two(
        wishes in wishes(),
        bytes in 0..(256u64 << 20),
    ) {
        let Ok(rules) = wishes.rules("ci/") else { return Ok(()) };
        let moving = rules.iter().filter(|rule| rule.aborted_uploads_days.is_none());
        let of: Vec<_> = moving.filter(|rule| rule.has("ci/tenant/x", bytes)).collect();
        prop_assert!(of.len() <= 1);
        for rule in of {
            let moves = rule.transitions.iter().chain(&rule.noncurrent_transitions);
            if bytes <= wishes.archive_larger_than {
                prop_assert!(moves.clone().all(|t| t.to.is_read_at_once()));
                prop_assert_eq!(rule.noncurrent_expiry_days, None);
            }
            if bytes <= Limits::default().manifest_bytes_max {
                prop_assert_eq!(rule.noncurrent_expiry_days, None);
            }
            prop_assert!(bytes > wishes.larger_than);
        }
        prop_assert!(rules.iter().all(|rule| !rule.has("prod/x", bytes)));
    }
}
