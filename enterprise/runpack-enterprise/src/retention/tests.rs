//! Durations: their one spelling, where they end, and which covers which.

use proptest::prelude::*;

use super::*;

fn retain(text: &str) -> RetainFor {
    text.parse().unwrap()
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn a_retention_has_one_spelling() {
    for good in ["1d", "30d", "36500d", "1y", "7y", "100y"] {
        assert_eq!(retain(good).to_string(), good);
    }
    for bad in [
        "", "d", "y", "7", "07y", "00d", "+7y", "-7y", "7 y", " 7y", "7y ", "7Y", "7D", "1.5y",
        "18m", "2w", "36h", "7y1d", "٧y", "7years", "P7Y",
    ] {
        let error = bad.parse::<RetainFor>();
        assert!(
            matches!(error, Err(RetentionError::Grammar(_))),
            "{bad:?} {error:?}"
        );
    }
    for far in [
        "0d",
        "0y",
        "36501d",
        "101y",
        "65536d",
        "99999999999999999999d",
    ] {
        let error = far.parse::<RetainFor>();
        assert!(
            matches!(error, Err(RetentionError::Range(_))),
            "{far:?} {error:?}"
        );
    }
    assert!(RetainFor::days(0).is_err() && RetainFor::years(101).is_err());
    assert!(RetainFor::days(u32::MAX).is_err());
}

#[test]
fn modes_are_lower_case() {
    for mode in [LockMode::Governance, LockMode::Compliance] {
        assert_eq!(mode.to_string().parse(), Ok(mode));
    }
    for bad in ["", "COMPLIANCE", "Governance", "none"] {
        assert!(bad.parse::<LockMode>().is_err(), "{bad:?}");
    }
}

#[test]
fn years_are_those_of_the_calendar() {
    for (wanted, begin, end) in [
        ("1d", "2026-12-31T23:59:59Z", "2027-01-01T23:59:59Z"),
        ("90d", "2026-11-20T12:00:00Z", "2027-02-18T12:00:00Z"),
        ("365d", "2027-03-01T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("1y", "2027-03-01T00:00:00Z", "2028-03-01T00:00:00Z"),
        ("7y", "2028-02-29T06:07:08Z", "2035-02-28T06:07:08Z"),
        ("4y", "2028-02-29T06:07:08Z", "2032-02-29T06:07:08Z"),
        ("7y", "2097-01-01T00:00:00Z", "2104-01-01T00:00:00Z"),
        ("100y", "2000-02-29T00:00:00Z", "2100-02-28T00:00:00Z"),
    ] {
        assert_eq!(
            retain(wanted).until(time(begin)),
            Ok(time(end)),
            "{wanted} from {begin}"
        );
    }
}

#[test]
fn a_retention_that_ends_nowhere_is_an_error() {
    let error = retain("1y")
        .until(time("9999-06-01T00:00:00Z"))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the retention ends after the year 9999, look at the clock, now=`9999-06-01T00:00:00Z` for=`1y`"
    );
    assert!(retain("1d").until(Timestamp::MAX).is_err());
}

#[test]
fn only_what_is_certainly_as_long_covers() {
    for (longer, shorter) in [
        ("7y", "7y"),
        ("8y", "7y"),
        ("90d", "90d"),
        ("2557d", "7y"),
        ("7y", "2555d"),
    ] {
        assert!(retain(longer).covers(retain(shorter)), "{longer} {shorter}");
    }
    for (shorter, longer) in [
        ("6y", "7y"),
        ("89d", "90d"),
        ("2556d", "7y"),
        ("7y", "2556d"),
        ("1d", "1y"),
    ] {
        assert!(
            !retain(shorter).covers(retain(longer)),
            "{shorter} {longer}"
        );
    }
}

proptest! {
    #[test]
    fn days_are_between_the_bounds(count in 1_u32..=100, begin in 0_u64..40_000_000_000) {
        let begin = Timestamp::from_unix_seconds(begin).unwrap();
        let wanted = RetainFor::years(count).unwrap();
        let seconds = wanted.until(begin).unwrap().unix_seconds().abs_diff(begin.unix_seconds());
        // From a 29th of February to a 28th is a day less than the years say.
        prop_assert!(seconds / 86_400 >= u64::from(wanted.days_min()));
        prop_assert!(seconds <= u64::from(wanted.days_max()) * 86_400);
    }

    #[test]
    fn covering_is_never_wrong(left in 1_u32..=100, right in 1_u32..=36_500, begin in 0_u64..40_000_000_000) {
        let begin = Timestamp::from_unix_seconds(begin).unwrap();
        let (years, days) = (RetainFor::years(left).unwrap(), RetainFor::days(right).unwrap());
        for (one, other) in [(years, days), (days, years)] {
            if one.covers(other) {
                prop_assert!(one.until(begin).unwrap() >= other.until(begin).unwrap());
            }
        }
    }
}
