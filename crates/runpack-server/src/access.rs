//! Who calls, and what they may do: bearer tokens and JSON Web Tokens against a policy file.
//!
//! A token of our own is known by its SHA-256 alone. A JSON Web Token ([RFC 7519]) is believed for what an issuer of the
//! policy signed, and gets what the rules of that issuer grant to its claims. Nothing else authenticates anybody: no
//! query, no body, no network address. Invariants: the only address that is ever asked for anything is the `jwks` of the
//! policy (threat C36); a policy that does not hold is never in force, not even in part; a token is in no message.
//!
//! [RFC 7519]: https://www.rfc-editor.org/rfc/rfc7519

mod caller;
mod credential;
mod fetch;
mod issuer;
mod jwk;
mod jwt;
mod keys;
mod limits;
mod policy;
mod refusal;
mod rule;
mod token;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use axum::http::HeaderMap;
use runpack_core::time::Clock;

pub use caller::{Caller, Grant, Scope, Verb};
pub use limits::Limits;
pub use policy::PolicyError;
pub use refusal::{Reason, Refusal};
pub use token::{GenerateError, NewToken};

use credential::Credential;
use policy::Policy;

/// Who may do what, as a policy file says.
///
/// ```yaml
/// tokens:
///   - name: ci                        # two of one name while one is replaced by the other
///     sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"   # of the token, which stands nowhere
///     expires: "2027-01-01T00:00:00Z" # may be left out
///     grants: [{organization: acme, project: web, may: [read, write]}]
/// issuers:
///   - name: github
///     kind: github-actions            # or `oidc`, or `cloudflare-access`
///     issuer: "https://token.actions.githubusercontent.com"
///     audience: "https://runpack.example.org"
///     jwks: "https://token.actions.githubusercontent.com/.well-known/jwks"
///     algorithms: [RS256]             # or `ES256`, or both
///     typ: JWT                        # may be left out; `at+jwt` for issuers that mark their tokens so
///     ca_file: ca.pem                 # may be left out; for an issuer with certificates of its own
///     rules:                          # what all rules that are met grant counts together
///       - claims: {repository_id: "123", repository_owner_id: "45", event_name: push, ref: "refs/tags/v*"}
///         grants: [{organization: acme, project: "*", may: [write]}]
/// ```
#[derive(Debug)]
pub struct Access {
    path: Option<PathBuf>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    policy: RwLock<Arc<Policy>>,
}

impl Access {
    /// By the policy file at `path`. Keys of issuers are fetched when somebody comes with a token of theirs.
    ///
    /// # Errors
    /// It cannot be read, or is no policy.
    pub fn load(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, PolicyError> {
        Self::load_with(path, clock, Limits::default())
    }

    /// As [`Access::load`], with limits of the caller's.
    ///
    /// # Errors
    /// As there.
    pub fn load_with(
        path: &Path,
        clock: Arc<dyn Clock>,
        limits: Limits,
    ) -> Result<Self, PolicyError> {
        let policy = Policy::load(path, &limits, None)?;
        Ok(Self {
            path: Some(path.to_owned()),
            clock,
            limits,
            policy: RwLock::new(Arc::new(policy)),
        })
    }

    /// By the text of a policy. A relative `ca_file` is relative to the current directory.
    ///
    /// # Errors
    /// It is no policy.
    pub fn parse(text: &str, clock: Arc<dyn Clock>, limits: Limits) -> Result<Self, PolicyError> {
        let policy = Policy::parse(text, Path::new(""), &limits, None)?;
        Ok(Self {
            path: None,
            clock,
            limits,
            policy: RwLock::new(Arc::new(policy)),
        })
    }

    /// Reads the file again. Keys of issuers that stay are kept. What came from a text has nothing to be read again.
    ///
    /// # Errors
    /// As [`Access::load`]; the policy that was in force stays so.
    pub fn reload(&self) -> Result<(), PolicyError> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let policy = Policy::load(path, &self.limits, Some(&self.policy()))?;
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
        Ok(())
    }

    /// Who sent a request with these headers.
    ///
    /// # Errors
    /// Nobody whom the policy knows; or the keys of their issuer cannot be had, and nobody can tell.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let policy = self.policy();
        let now = self.clock.now();
        match Credential::of(headers, policy.takes_assertions(), &self.limits)? {
            Credential::Token(token) => policy.tokens.authenticate(token, now),
            Credential::Jwt { text, carrier } => {
                let jwt = jwt::Jwt::read(text)?;
                let issuer = policy.issuer_of(&jwt, carrier)?;
                issuer.authenticate(&jwt, now, &self.limits).await
            }
        }
    }

    fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }
}
