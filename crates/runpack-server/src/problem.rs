//! What a client is told when something was not done: a problem of RFC 9457, with a stable code and what to do next.
//!
//! Invariants: a problem repeats no body, no credential, and no text of the store beyond what [`StoreError`] itself shows;
//! whatever is not the client's fault says when to come back.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use runpack_core::display::chain;
use runpack_core::store::StoreError;
use serde::Serialize;

/// What was not done, and why.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// What kind of problem it is, as a reference into the documentation.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The HTTP status.
    status: u16,
    /// A stable code, for programs.
    #[schema(example = "run-conflict")]
    code: &'static str,
    /// What it is, in a few words; the same for every problem of this code.
    title: &'static str,
    /// What it is in this case.
    #[schema(value_type = String)]
    detail: Box<str>,
    /// What to do next.
    next: &'static str,
    /// The place in the body, such as `metadata.build`.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Box<str>>,
    /// In how many seconds to come back.
    #[serde(skip)]
    retry_after: Option<u32>,
}

/// Seconds after which somebody may come back whom the store, the disk or the log turned away.
const RETRY_SECONDS: u32 = 5;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident: $status:ident, $code:literal, $title:literal, $next:literal;)*) => {
        impl Problem {$(
            $(#[$doc])*
            pub fn $name(detail: impl Into<String>) -> Self {
                Self {
                    kind: concat!("/docs#", $code),
                    status: StatusCode::$status.as_u16(),
                    code: $code,
                    title: $title,
                    detail: detail.into().into_boxed_str(),
                    next: $next,
                    at: None,
                    retry_after: None,
                }
            }
        )*

            /// Every code, with its status, its title and what to do, for the documentation.
            pub const CODES: &[(&str, u16, &str, &str)] = &[
                $(($code, StatusCode::$status.as_u16(), $title, $next),)*
            ];
        }
    };
}

codes! {
    /// The body is not what is expected there.
    bad_body: BAD_REQUEST, "bad-body", "the body is not what is expected", "correct what stands at the place named";
    /// A part of the path, the query or a header is not what is expected.
    bad_request: BAD_REQUEST, "bad-request", "the request is not what is expected", "correct it; /docs shows each request";
    /// Nobody was authenticated.
    unauthenticated: UNAUTHORIZED, "unauthenticated", "who calls is not known", "send one header `Authorization: Bearer TOKEN` with a token that is valid now";
    /// Somebody may not do this there.
    forbidden: FORBIDDEN, "forbidden", "this caller may not do that there", "ask whoever keeps the access policy for a grant";
    /// There is no such thing.
    not_found: NOT_FOUND, "not-found", "there is no such thing", "check the id; what a caller may not see is told as not there";
    /// There is no such method of this.
    no_method: METHOD_NOT_ALLOWED, "no-such-method", "this cannot be done with that", "/docs shows what can";
    /// The client took too long.
    too_slow: REQUEST_TIMEOUT, "too-slow", "the body came too slowly", "send it again, in smaller parts where the line is slow";
    /// Another body was kept under this run id.
    conflict: CONFLICT, "run-conflict", "something else was kept under this id, and stays", "send what was sent before, or choose another id";
    /// The state of the thing does not allow it.
    state: CONFLICT, "wrong-state", "this cannot be done any more, or not yet", "look at its state first";
    /// An upload goes on at another offset.
    offset: CONFLICT, "wrong-offset", "the upload goes on elsewhere", "ask for the offset and send from there";
    /// No length where one must be told.
    too_large: PAYLOAD_TOO_LARGE, "too-large", "the body is larger than is taken here", "send less, or have the limit raised";
    /// Not a media type or coding that is taken.
    media_type: UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "this kind of body is not taken here", "send the media type that is named, without a content coding";
    /// The bytes are not those that were announced.
    digest: UNPROCESSABLE_ENTITY, "digest-mismatch", "the bytes are not those that were announced", "send them again";
    /// It is a pack that does not verify.
    unsound: UNPROCESSABLE_ENTITY, "unsound-pack", "what was sent does not verify as a pack", "`runpack verify` lists what is wrong with it";
    /// Too many requests.
    rate: TOO_MANY_REQUESTS, "too-many-requests", "this caller sends more than it may", "come back later";
    /// What the store gave is not what was kept.
    damaged: BAD_GATEWAY, "damaged", "what the store gave is not what was kept", "take another copy; `runpack verify` says what differs";
    /// The store took or gave nothing.
    unavailable: SERVICE_UNAVAILABLE, "unavailable", "it could not be done now, and nothing was acknowledged", "send the same again later";
    /// Something that is our fault.
    bug: INTERNAL_SERVER_ERROR, "bug", "the server failed", "report it with the request id";
}

impl Problem {
    /// The same, saying where in the body.
    #[must_use]
    pub fn at(mut self, path: String) -> Self {
        self.at = Some(path.into());
        self
    }

    /// The same, saying when to come back.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// What to do next.
    pub fn next(&self) -> &'static str {
        self.next
    }

    /// The place in the body.
    pub fn place(&self) -> Option<&str> {
        self.at.as_deref()
    }

    /// What it is in this case.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl From<crate::json::JsonError> for Problem {
    fn from(error: crate::json::JsonError) -> Self {
        Self::bad_body(error.reason).at(error.path)
    }
}

/// What a store did not do. Its own words go to the log, not to the client: they name buckets and hosts.
impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::NotFound { .. } => Self::not_found("it is not in the store"),
            StoreError::AlreadyExists { ours, theirs, .. } => {
                Self::conflict(format!("ours=`{ours}` theirs=`{theirs}`"))
            }
            StoreError::Archived { tier, .. } => Self::state(format!(
                "it lies in an archive tier, and must be restored before it can be read, tier=`{}`",
                tier.escape_default()
            )),
            StoreError::Unsafe { .. } => Self::damaged("something stands there that is no object"),
            StoreError::Barred { .. } => {
                Self::state("a rule of this server keeps it from being written there")
            }
            _ => {
                tracing::error!(error = chain(&error), "the store failed");
                Self::unavailable("the store did not take or give it").retry_after(RETRY_SECONDS)
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // Texts and numbers always serialize.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED.as_u16() {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // For whoever writes the audit line.
        response.extensions_mut().insert(self);
        response
    }
}
