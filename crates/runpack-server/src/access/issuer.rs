//! Somebody whose tokens are taken, and the checks that a token of theirs has to pass.
//!
//! The order matters: the algorithm is the policy's before a key is looked for, the signature holds before a claim is
//! believed, and what is refused after that names whom the token was made for.

use std::sync::Arc;

use runpack_core::time::Timestamp;
use serde_json::Value;

use super::caller::{Caller, Grant};
use super::jwk::Algorithm;
use super::jwt::{Claims, Jwt};
use super::keys::{Keys, NoKey};
use super::limits::Limits;
use super::refusal::{Reason, Refusal, shown};
use super::rule::{Kind, Rule};

/// The longest name that an issuer may give to somebody.
const SUBJECT_BYTES_MAX: usize = 256;

/// An issuer of the policy.
#[derive(Debug)]
pub(super) struct Issuer {
    pub(super) name: Box<str>,
    pub(super) kind: Kind,
    /// What `iss` must be, exactly.
    pub(super) iss: Box<str>,
    /// Whom `aud` must name, exactly.
    pub(super) aud: Box<str>,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) typ: Option<Box<str>>,
    pub(super) rules: Vec<Rule>,
    pub(super) keys: Arc<Keys>,
}

impl Issuer {
    /// Who sent this token.
    pub(super) async fn authenticate(
        &self,
        jwt: &Jwt<'_>,
        now: Timestamp,
        limits: &Limits,
    ) -> Result<Caller, Refusal> {
        let claims = self.genuine(jwt).await?;
        let name = self.subject(claims)?;
        let refused = |refusal: Refusal| refusal.claimed_by(&name);
        if !self.kind.is_audience(claims.value("aud"), &self.aud) {
            let detail = "the audience is not the policy's, or not it alone";
            return Err(refused(Refusal::new(Reason::WrongAudience, detail)));
        }
        check_times(claims, now, limits).map_err(refused)?;
        let grants = self.grants(claims);
        if grants.is_empty() {
            let detail = "no rule of the issuer is met";
            return Err(refused(Refusal::new(Reason::NoRule, detail)));
        }
        Ok(Caller::new(&name, grants))
    }

    /// The claims, once the signature has proved that the issuer made them.
    async fn genuine<'a>(&self, jwt: &'a Jwt<'_>) -> Result<&'a Claims, Refusal> {
        let bad = |detail: String| Refusal::new(Reason::BadToken, detail);
        let named = jwt.alg().parse::<Algorithm>().ok();
        let Some(algorithm) = named.filter(|named| self.algorithms.contains(named)) else {
            return Err(bad(format!(
                "the algorithm is none of the issuer's, alg=`{}`",
                shown(jwt.alg())
            )));
        };
        jwt.check_type(self.typ.as_deref())?;
        let kid = shown(jwt.kid());
        let key = self.keys.find(jwt.kid()).await.map_err(|why| match why {
            NoKey::Unknown => bad(format!("the issuer has no key with this id, kid=`{kid}`")),
            NoKey::Unavailable => Refusal::new(
                Reason::KeysUnavailable,
                format!(
                    "the keys of the issuer cannot be had, issuer=`{}`",
                    self.name
                ),
            ),
        })?;
        if key.algorithm() != algorithm {
            return Err(bad(format!(
                "the key is for another algorithm, kid=`{kid}`"
            )));
        }
        jwt.verified(&key)
            .ok_or_else(|| bad(format!("the signature does not hold, kid=`{kid}`")))
    }

    /// As whom we know the subject: `github:repo:acme/web:ref:refs/heads/main`. Escaped, so that two are never one.
    fn subject(&self, claims: &Claims) -> Result<String, Refusal> {
        let bad = |detail| Refusal::new(Reason::BadClaims, detail);
        let text = |name| claims.text(name).filter(|text| !text.is_empty());
        let (is_service, subject) = match (self.kind, text("sub"), text("common_name")) {
            (_, Some(subject), _) => ("", subject),
            // Cloudflare Access leaves the subject of a service empty.
            (Kind::CloudflareAccess, None, Some(name)) => ("common_name:", name),
            _ => return Err(bad("the subject is not a text")),
        };
        if subject.len() > SUBJECT_BYTES_MAX || subject.chars().any(char::is_control) {
            return Err(bad("the subject is too long, or has control characters"));
        }
        Ok(format!(
            "{}:{is_service}{}",
            self.name,
            subject.escape_default()
        ))
    }

    /// What all the rules that are met grant together.
    fn grants(&self, claims: &Claims) -> Arc<[Grant]> {
        self.rules
            .iter()
            .flat_map(|rule| rule.grants(claims))
            .cloned()
            .collect()
    }
}

/// That now is within the token's time, and that its time is short (threats C11 to C13).
fn check_times(claims: &Claims, now: Timestamp, limits: &Limits) -> Result<(), Refusal> {
    let bad = |detail: &str| Refusal::new(Reason::BadClaims, detail);
    let leeway = limits.leeway.as_secs();
    let latest_start = now.unix_seconds().saturating_add(leeway);
    let exp = time(claims, "exp")?.ok_or_else(|| bad("the token has no end, claim=`exp`"))?;
    let iat = time(claims, "iat")?;
    let nbf = time(claims, "nbf")?;
    for (name, start) in [("nbf", nbf), ("iat", iat)] {
        if start.is_some_and(|start| start > latest_start) {
            let detail = format!("the token is not valid yet, claim=`{name}` now=`{now}`");
            return Err(Refusal::new(Reason::NotYetValid, detail));
        }
    }
    if exp.saturating_add(leeway) <= now.unix_seconds() {
        let detail = format!("the token has expired, exp=`{exp}` now=`{now}`");
        return Err(Refusal::new(Reason::Expired, detail));
    }
    // Without a start, it lives for what is left of it at least.
    let start = iat.unwrap_or(now.unix_seconds());
    if exp < start && iat.is_some() {
        return Err(bad("the token ends before it begins"));
    }
    if exp.saturating_sub(start) > limits.lifetime_max.as_secs() {
        return Err(bad("the token lives too long, claim=`exp`"));
    }
    Ok(())
}

/// A time of the token, in whole seconds since 1970 and before the year 10000.
fn time(claims: &Claims, name: &str) -> Result<Option<u64>, Refusal> {
    let Some(value) = claims.value(name) else {
        return Ok(None);
    };
    value
        .as_u64()
        .filter(|seconds| *seconds <= Timestamp::MAX.unix_seconds())
        .map(Some)
        .ok_or_else(|| {
            let given = match value {
                Value::Number(number) => number.to_string(),
                _ => "no number".to_owned(),
            };
            let given = shown(&given);
            Refusal::new(
                Reason::BadClaims,
                format!("a time is not whole seconds since 1970, claim=`{name}` given=`{given}`"),
            )
        })
}
