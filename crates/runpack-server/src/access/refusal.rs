//! Why somebody was not authenticated: a code for programs, a message for the client, a detail for the audit log.
//!
//! Invariants: until a token has proved to be genuine, the client is told the same whatever is wrong with it, so that
//! nobody learns from an answer how to make a better one; no part of this repeats a token.

use std::fmt;

use axum::http::StatusCode;

use crate::problem::Problem;

/// Seconds after which somebody may come back whose issuer's keys could not be had.
const RETRY_SECONDS: u32 = 60;

/// What kind of refusal it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Nothing that could tell who calls.
    NoCredentials,
    /// Not exactly one header `Authorization: Bearer TOKEN`, or a token that is too long.
    BadCredentials,
    /// Not a token that anybody here or an issuer of the policy made.
    BadToken,
    /// A genuine token whose time is over.
    Expired,
    /// A genuine token whose time has not come.
    NotYetValid,
    /// A genuine token that is made for something else.
    WrongAudience,
    /// A genuine token whose claims are not what they must be.
    BadClaims,
    /// A genuine token of somebody whom no rule grants anything.
    NoRule,
    /// The keys of the issuer cannot be had, so that nobody can tell.
    KeysUnavailable,
}

impl Reason {
    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoCredentials => "no-credentials",
            Self::BadCredentials => "bad-credentials",
            Self::BadToken => "bad-token",
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
            Self::WrongAudience => "wrong-audience",
            Self::BadClaims => "bad-claims",
            Self::NoRule => "no-rule",
            Self::KeysUnavailable => "keys-unavailable",
        }
    }

    /// What the client may know.
    pub const fn message(self) -> &'static str {
        match self {
            Self::NoCredentials => "no credentials were sent",
            Self::BadCredentials => {
                "the credentials are not one header `Authorization: Bearer TOKEN`"
            }
            Self::BadToken => "this token is not accepted here",
            Self::Expired => "the token has expired",
            Self::NotYetValid => "the token is not valid yet: compare the clocks",
            Self::WrongAudience => "the token was made for another audience",
            Self::BadClaims => "the claims of the token are not what is expected here",
            Self::NoRule => "the token is genuine, and no rule grants it anything here",
            Self::KeysUnavailable => "the keys of the token's issuer cannot be had at the moment",
        }
    }
}

/// Nobody was authenticated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    reason: Reason,
    claimed: Option<Box<str>>,
    detail: String,
}

impl Refusal {
    pub(super) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            claimed: None,
            detail: detail.into(),
        }
    }

    /// The same, of a genuine token that names somebody.
    pub(super) fn claimed_by(mut self, name: &str) -> Self {
        self.claimed = Some(name.into());
        self
    }

    /// What kind it is.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The stable code, for the audit log and for programs.
    pub fn code(&self) -> &'static str {
        self.reason.code()
    }

    /// What the client is told.
    pub fn message(&self) -> &'static str {
        self.reason.message()
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self.reason {
            Reason::KeysUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNAUTHORIZED,
        }
    }

    /// Whose genuine token it was, where it was one: the name that a [`Caller`](super::Caller) would have had.
    pub fn claimed(&self) -> Option<&str> {
        self.claimed.as_deref()
    }

    /// What exactly is wrong, for the audit log and not for the client.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, code=`{}`", self.detail, self.code())
    }
}

impl From<&Refusal> for Problem {
    fn from(refusal: &Refusal) -> Self {
        match refusal.reason {
            Reason::KeysUnavailable => {
                Self::unavailable(refusal.message()).retry_after(RETRY_SECONDS)
            }
            _ => Self::unauthenticated(refusal.message()),
        }
    }
}

/// A text of a stranger's as it may stand in a detail: escaped, and cut where it is long.
pub(super) fn shown(text: &str) -> String {
    text.chars()
        .take(160)
        .flat_map(char::escape_default)
        .collect()
}
