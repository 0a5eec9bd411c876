//! What an issuer's tokens are worth: rules over claims, and what each kind of issuer makes a rule say.
//!
//! Invariants: a claim counts only as a JSON string, compared exactly; a rule of GitHub Actions names the repository and
//! its owner by their numbers, the event and the ref (threat C23), since a name can be registered again, and an event
//! such as `pull_request_target` runs with the rights of the repository on what a stranger sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::caller::Grant;
use super::credential::Carrier;
use super::jwt::Claims;

/// What kind of issuer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Runs of GitHub Actions.
    GithubActions,
    /// People and services behind Cloudflare Access.
    CloudflareAccess,
    /// Any other provider of OIDC.
    Oidc,
}

/// Where GitHub makes its tokens, also those of enterprises, which come below a path.
const GITHUB_HOST: &str = "token.actions.githubusercontent.com";

impl Kind {
    /// By its name in the policy, for the issuer of this address.
    pub(super) fn parse(text: &str, issuer: &str) -> Result<Self, &'static str> {
        match text {
            "github-actions" => Ok(Self::GithubActions),
            "cloudflare-access" => Ok(Self::CloudflareAccess),
            "oidc" if issuer.contains(GITHUB_HOST) => Err(
                "write `github-actions` for this issuer: its rules have to name the repository by its number",
            ),
            "oidc" => Ok(Self::Oidc),
            _ => Err("a kind is `github-actions`, `cloudflare-access` or `oidc`"),
        }
    }

    /// The header that its tokens come in.
    pub(super) fn carrier(self) -> Carrier {
        match self {
            Self::CloudflareAccess => Carrier::Assertion,
            Self::GithubActions | Self::Oidc => Carrier::Bearer,
        }
    }

    /// Whether a token is made for `audience`. Cloudflare Access names all that a session is for; a token of anybody else
    /// that is for several is one that others hold as well.
    pub(super) fn is_audience(self, claim: Option<&Value>, audience: &str) -> bool {
        match claim {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(many)) => {
                (self == Self::CloudflareAccess || many.len() == 1)
                    && many.iter().all(Value::is_string)
                    && many.iter().any(|one| one == audience)
            }
            _ => false,
        }
    }

    fn check(self, claims: &BTreeMap<String, String>) -> Result<(), &'static str> {
        let names = |name: &&str| claims.contains_key(*name);
        match self {
            Self::GithubActions => {
                let required = ["repository_id", "repository_owner_id", "event_name", "ref"];
                if !required.iter().all(&names) {
                    return Err(
                        "a rule of `github-actions` names `repository_id`, `repository_owner_id`, `event_name` and `ref`: \
                         names alone can be registered again by others, and events and refs are what strangers choose",
                    );
                }
                for id in ["repository_id", "repository_owner_id"] {
                    let id = claims.get(id).map(String::as_str).unwrap_or_default();
                    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
                        return Err("`repository_id` and `repository_owner_id` are numbers");
                    }
                }
                match claims.get("event_name").map(String::as_str) {
                    Some("pull_request_target" | "workflow_run") => Err(
                        "`pull_request_target` and `workflow_run` run with the repository's rights on what strangers sent: no \
                         rule grants them anything",
                    ),
                    _ => Ok(()),
                }
            }
            Self::CloudflareAccess => {
                let known = ["email", "sub", "common_name"];
                if claims.keys().all(|name| known.contains(&name.as_str())) {
                    Ok(())
                } else {
                    Err("a rule of `cloudflare-access` names `email`, `sub` or `common_name`")
                }
            }
            Self::Oidc => {
                let checked = ["iss", "aud", "exp", "nbf", "iat"];
                if checked.iter().any(names) {
                    Err(
                        "`iss`, `aud`, `exp`, `nbf` and `iat` are checked always, and stand in no rule",
                    )
                } else {
                    Ok(())
                }
            }
        }
    }
}

/// What a claim must be.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Exactly(Box<str>),
    /// Only a `ref`: `refs/heads/release/*`.
    Prefix(Box<str>),
}

/// Who gets what.
#[derive(Debug)]
pub(super) struct Rule {
    claims: Vec<(Box<str>, Expected)>,
    is_email_to_be_verified: bool,
    grants: Arc<[Grant]>,
}

impl Rule {
    pub(super) fn new(
        kind: Kind,
        claims: &BTreeMap<String, String>,
        grants: Arc<[Grant]>,
    ) -> Result<Self, &'static str> {
        if claims.is_empty() {
            return Err("a rule names at least one claim");
        }
        kind.check(claims)?;
        let expected = |(name, value): (&String, &String)| {
            expected(kind, name, value).map(|value| (name.as_str().into(), value))
        };
        Ok(Self {
            claims: claims.iter().map(expected).collect::<Result<_, _>>()?,
            is_email_to_be_verified: kind == Kind::Oidc && claims.contains_key("email"),
            grants,
        })
    }

    /// What it grants to whom these claims are about.
    pub(super) fn grants(&self, claims: &Claims) -> &[Grant] {
        let is_met = self.claims.iter().all(|(name, expected)| {
            claims.text(name).is_some_and(|value| match expected {
                Expected::Exactly(text) => value == &**text,
                Expected::Prefix(prefix) => value.starts_with(&**prefix),
            })
        });
        // Many issuers let people enter any address, and say with this claim that they did.
        let is_their_email = !self.is_email_to_be_verified
            || claims.value("email_verified") == Some(&Value::Bool(true));
        if is_met && is_their_email {
            &self.grants
        } else {
            &[]
        }
    }
}

fn expected(kind: Kind, name: &str, value: &str) -> Result<Expected, &'static str> {
    let Some(prefix) = value.strip_suffix('*') else {
        return if value.is_empty() || value.contains('*') {
            Err("a claim is a text without `*`, or a `ref` that ends in one")
        } else {
            Ok(Expected::Exactly(value.into()))
        };
    };
    let is_ref = kind == Kind::GithubActions && name == "ref";
    let is_branch_or_tag = prefix.starts_with("refs/heads/") || prefix.starts_with("refs/tags/");
    if is_ref && is_branch_or_tag && !prefix.contains('*') {
        Ok(Expected::Prefix(prefix.into()))
    } else {
        Err(
            "only the `ref` of a rule of `github-actions` may end in `*`, after `refs/heads/` or `refs/tags/`",
        )
    }
}
