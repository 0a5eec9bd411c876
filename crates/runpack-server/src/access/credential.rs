//! What a request shows to say who sent it: one bearer token, in one header.
//!
//! `Authorization` counts alone where it is there. Only where it is not is the header looked at into which Cloudflare
//! Access puts its assertion, and only where the policy has such an issuer.

use axum::http::header::{AUTHORIZATION, GetAll};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::limits::Limits;
use super::refusal::{Reason, Refusal};

/// Where Cloudflare Access puts its token.
const ASSERTION: HeaderName = HeaderName::from_static("cf-access-jwt-assertion");

/// The header that a JSON Web Token came in. An issuer's tokens come in its own header, and in no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carrier {
    /// `Authorization`.
    Bearer,
    /// `Cf-Access-Jwt-Assertion`.
    Assertion,
}

/// Whether the header of Cloudflare Access is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Assertions {
    /// There is an issuer for it.
    Taken,
    /// Nobody could check it.
    Ignored,
}

/// What was shown. Nothing of it is checked yet.
pub(super) enum Credential<'a> {
    /// A token of our own, by its form.
    Token(&'a str),
    /// A JSON Web Token, by its form.
    Jwt { text: &'a str, carrier: Carrier },
}

impl<'a> Credential<'a> {
    pub(super) fn of(
        headers: &'a HeaderMap,
        assertions: Assertions,
        limits: &Limits,
    ) -> Result<Self, Refusal> {
        if let Some(value) = only(&headers.get_all(AUTHORIZATION), "authorization")? {
            let text = capped(bearer(value)?, limits)?;
            // A full stop is in every JSON Web Token and in none of our tokens.
            return Ok(if text.contains('.') {
                let carrier = Carrier::Bearer;
                Self::Jwt { text, carrier }
            } else {
                Self::Token(text)
            });
        }
        if assertions == Assertions::Taken
            && let Some(value) = only(&headers.get_all(ASSERTION), "cf-access-jwt-assertion")?
        {
            let text = value.to_str().map_err(|_| malformed("not text"))?;
            let carrier = Carrier::Assertion;
            return capped(text, limits).map(|text| Self::Jwt { text, carrier });
        }
        Err(Refusal::new(
            Reason::NoCredentials,
            "no header says who calls",
        ))
    }
}

fn malformed(detail: impl Into<String>) -> Refusal {
    Refusal::new(Reason::BadCredentials, detail)
}

fn only<'a>(all: &GetAll<'a, HeaderValue>, name: &str) -> Result<Option<&'a HeaderValue>, Refusal> {
    let mut all = all.iter();
    let first = all.next();
    if all.next().is_some() {
        return Err(malformed(format!(
            "a header stands more than once, header=`{name}`"
        )));
    }
    Ok(first)
}

/// The token of `Bearer TOKEN` (RFC 6750, section 2.1); the scheme in any case (RFC 9110, section 11.1).
fn bearer(value: &HeaderValue) -> Result<&str, Refusal> {
    let text = value.to_str().map_err(|_| malformed("not text"))?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Err(malformed("the scheme is not Bearer"));
    }
    let is_token = !token.is_empty()
        && token
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte));
    if is_token {
        Ok(token)
    } else {
        Err(malformed("what follows the scheme is not one token"))
    }
}

fn capped<'a>(text: &'a str, limits: &Limits) -> Result<&'a str, Refusal> {
    if text.len() > limits.token_bytes_max {
        return Err(malformed(format!(
            "the token is too long, bytes=`{}` bytes_max=`{}`",
            text.len(),
            limits.token_bytes_max
        )));
    }
    Ok(text)
}
