//! The section as people write it, and every way to write it wrong.

use serde_json::json;

use super::*;

fn refused(value: &Value) -> String {
    LockTerms::parse(value).unwrap_err().to_string()
}

#[test]
fn what_is_written_is_what_is_meant() {
    let terms = LockTerms::parse(&json!({"mode": "compliance", "retain_for": "7y"})).unwrap();
    assert_eq!(terms.mode(), LockMode::Compliance);
    assert_eq!(terms.until(), RetainUntil::For("7y".parse().unwrap()));
    assert_eq!(
        (terms.legal_hold(), terms.lock_while_writing().to_string()),
        (None, "1d".to_owned())
    );

    let terms = LockTerms::parse(&json!({
        "mode": "governance",
        "retain_until": "2033-01-01T00:00:00Z",
        "legal_hold": {"matter": "smith-v-acme"},
        "lock_while_writing": "36h",
    }));
    let terms = terms.unwrap();
    assert_eq!(terms.legal_hold().map(Matter::as_str), Some("smith-v-acme"));
    assert_eq!(
        terms.lock_while_writing().duration(),
        Duration::from_hours(36)
    );
    assert_eq!(terms.lock_while_writing().to_string(), "36h");
}

#[test]
fn errors_name_the_key_and_say_what_to_write() {
    for (value, message) in [
        (
            json!(null),
            "runpacks.s3.object_lock: write keys below this one, found nothing",
        ),
        (
            json!([]),
            "runpacks.s3.object_lock: write keys below this one, found a list",
        ),
        (
            json!({}),
            "runpacks.s3.object_lock.mode: this key is missing, add it",
        ),
        (
            json!({"mode": "COMPLIANCE", "retain_for": "7y"}),
            "runpacks.s3.object_lock.mode: a lock's mode is `governance` or `compliance`, in lower case, found=`COMPLIANCE`",
        ),
        (
            json!({"mode": "compliance"}),
            "runpacks.s3.object_lock: say how long: retain_for, such as 7y, or retain_until, such as 2033-01-01T00:00:00Z",
        ),
        (
            json!({"mode": "compliance", "retain_for": "7y", "retain_until": "2033-01-01T00:00:00Z"}),
            "runpacks.s3.object_lock: retain_for and retain_until exclude each other, remove one",
        ),
        (
            json!({"mode": "compliance", "retain_for": 90}),
            "runpacks.s3.object_lock.retain_for: write a text, in quotes where it looks like something else, found a number",
        ),
        (
            json!({"mode": "compliance", "retain_for": ""}),
            "runpacks.s3.object_lock.retain_for: write a value, or remove the key",
        ),
        (
            json!({"mode": "compliance", "retain_for": "18m"}),
            "runpacks.s3.object_lock.retain_for: a retention is a whole number of days or years without a leading zero, such as 90d or 7y, found=`18m`",
        ),
        (
            json!({"mode": "compliance", "retain_until": "2033-01-01"}),
            "runpacks.s3.object_lock.retain_until: a time is written YYYY-MM-DDTHH:MM:SSZ, from 1970 to 9999, for example 2026-11-20T12:00:00Z",
        ),
        (
            json!({"mode": "compliance", "retain_for": "7y", "days": 7}),
            "runpacks.s3.object_lock.days: no such key here, there are mode, retain_for, retain_until, legal_hold and lock_while_writing",
        ),
        (
            json!({"mode": "compliance", "retain_for": "7y", "legal_hold": true}),
            "runpacks.s3.object_lock.legal_hold: write keys below this one, found true or false",
        ),
        (
            json!({"mode": "compliance", "retain_for": "7y", "legal_hold": {}}),
            "runpacks.s3.object_lock.legal_hold.matter: this key is missing, add it",
        ),
        (
            json!({"mode": "compliance", "retain_for": "7y", "legal_hold": {"matter": "a/b"}}),
            "runpacks.s3.object_lock.legal_hold.matter: a matter is 1 to 128 letters, digits and `.` `_` `-`, and starts with a letter or digit, found=`a/b`",
        ),
        (
            json!({"mode": "compliance", "retain_for": "7y", "legal_hold": {"matter": "a", "since": "b"}}),
            "runpacks.s3.object_lock.legal_hold.since: no such key here, there are matter",
        ),
        (
            json!({"mode": "compliance", "retain_for": "7y", "lock_while_writing": "5m"}),
            "runpacks.s3.object_lock.lock_while_writing: a lock for the time of writing is between 15m and 31d, a whole number and m, h or d, found=`5m`",
        ),
        (
            json!({"mode": "compliance", "retain_for": "1d", "lock_while_writing": "2d"}),
            "runpacks.s3.object_lock.lock_while_writing: a pack is not locked longer while it is written than when it is there, make it at most the retention, retain_for=`1d` lock_while_writing=`2d`",
        ),
    ] {
        assert_eq!(refused(&value), message, "{value}");
    }
}

#[test]
fn a_key_cannot_bring_lines_into_a_message() {
    let message = refused(&json!({"mode": "compliance", "retain_for": "7y", "a\nb": 1}));
    assert!(
        message.starts_with("runpacks.s3.object_lock.a\\nb: "),
        "{message}"
    );
}

#[test]
fn a_date_must_lie_ahead_and_within_a_century() {
    let now: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
    let at =
        |text: &str| LockTerms::new(LockMode::Compliance, RetainUntil::At(text.parse().unwrap()));
    let ahead = "2033-01-01T00:00:00Z";
    assert_eq!(at(ahead).retain_until(now), Ok(ahead.parse().unwrap()));
    for past in ["2026-11-20T12:00:00Z", "1999-01-01T00:00:00Z"] {
        let found = at(past).retain_until(now);
        assert!(
            matches!(found, Err(TermsError::Past { .. })),
            "{past} {found:?}"
        );
    }
    let last = "2126-11-20T12:00:00Z";
    assert_eq!(at(last).retain_until(now), Ok(last.parse().unwrap()));
    let far = at("2126-11-20T12:00:01Z").retain_until(now);
    assert!(matches!(far, Err(TermsError::Far { .. })), "{far:?}");
}

#[test]
fn a_lock_while_writing_has_one_spelling() {
    for good in ["15m", "24h", "1d", "31d", "100m"] {
        let lock: WritingLock = good.parse().unwrap();
        assert_eq!(lock.to_string().parse(), Ok(lock), "{good}");
    }
    for bad in [
        "",
        "m",
        "14m",
        "32d",
        "015m",
        "+1d",
        "1w",
        "1y",
        "90s",
        "1 d",
        "99999999999999999999m",
        "9999999999999999999d",
    ] {
        assert!(bad.parse::<WritingLock>().is_err(), "{bad:?}");
    }
}
