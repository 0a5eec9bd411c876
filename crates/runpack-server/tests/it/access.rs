//! Who may do what: tokens, JSON Web Tokens, scopes.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a failed assertion is how a test speaks"
)]

mod bearer;
mod host;
mod issuer_keys;
mod scopes;
mod web_tokens;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use runpack_core::time::{Clock, Timestamp};
use runpack_server::access::{Access, Caller, Refusal};

/// 2026-11-20T12:00:00Z.
const NOW: u64 = 1_795_176_000;

/// A clock that is set by the test.
#[derive(Debug)]
struct SetClock(AtomicU64);

impl SetClock {
    fn new(seconds: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(seconds)))
    }

    fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_seconds(self.0.load(Ordering::SeqCst)).unwrap()
    }
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(
            HeaderName::from_static(name),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    headers
}

async fn with_bearer(access: &Access, token: &str) -> Result<Caller, Refusal> {
    let value = format!("Bearer {token}");
    access
        .authenticate(&headers(&[("authorization", &value)]))
        .await
}
