//! When keys are used, and when they are fetched, as time goes by.

use std::time::Duration;

use super::*;
use crate::access::jwk;

fn keys() -> Arc<KeySet> {
    Arc::new(jwk::known_keys())
}

/// Which answer it was.
fn name(look: &Look) -> &'static str {
    match look {
        Look::Fresh(_) => "fresh",
        Look::Aged(_) => "aged",
        Look::Missing(NoKey::Unknown) => "unknown",
        Look::Missing(NoKey::Unavailable) => "unavailable",
    }
}

#[test]
fn c20_keys_age_are_fetched_again_and_end() {
    let limits = Limits::default();
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let fetched = State {
        keys: keys(),
        fetched: Some(start),
        tried: Some(start),
    };
    for (seconds, known, other, may_fetch) in [
        (0, "fresh", "unknown", false),
        (59, "fresh", "unknown", false),
        (60, "fresh", "unknown", true),
        (599, "fresh", "unknown", true),
        (600, "aged", "unknown", true),
        (86_399, "aged", "unknown", true),
        (86_400, "unavailable", "unavailable", true),
        (864_000, "unavailable", "unavailable", true),
    ] {
        let now = after(seconds);
        let look = |kid| name(&fetched.look(kid, now, &limits));
        assert_eq!((look("known"), look("other")), (known, other), "{seconds}");
        assert_eq!(fetched.may_fetch(now, &limits), may_fetch, "{seconds}");
    }

    // The host was asked again and did not answer: a key that we do not know may be a new one.
    let failed = State {
        tried: Some(after(700)),
        ..fetched
    };
    let look = |kid, seconds| name(&failed.look(kid, after(seconds), &limits));
    assert_eq!(look("known", 701), "aged");
    assert_eq!(look("other", 701), "unavailable");
    assert!(!failed.may_fetch(after(759), &limits));
    assert!(failed.may_fetch(after(760), &limits));

    let never = State::default();
    assert_eq!(name(&never.look("known", start, &limits)), "unavailable");
    assert!(never.may_fetch(start, &limits));
}
