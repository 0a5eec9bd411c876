//! The policy file: tokens, issuers, and what each grants.
//!
//! Read strictly: unknown and duplicate keys, several documents, merge keys and unknown tags are refused, and a text is
//! taken as it is written. Invariants: a token stands in the file as its SHA-256 only, and what is refused is never
//! repeated where it could be a token; a policy is whole or none.

mod document;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runpack_core::digest::Digest;
use runpack_core::id::{Organization, Project};
use runpack_core::time::Timestamp;
use serde_saphyr::{Error as YamlError, MergeKeyPolicy};

use super::caller::{Grant, Verb};
use super::credential::{Assertions, Carrier};
use super::issuer::Issuer;
use super::jwk;
use super::jwt::Jwt;
use super::keys::Keys;
use super::limits::Limits;
use super::refusal::{Reason, Refusal, shown};
use super::rule::{Kind, Rule};
use super::token::{TokenEntry, Tokens};
use crate::remote::{Remote, RemoteError};
use document::{Document, GrantSection, IssuerSection, RuleSection, Section, TokenSection};

/// The largest policy file, and the largest file of certificates.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// What is compared exactly and shown in messages is not longer.
const TEXT_BYTES_MAX: usize = 1024;

/// Why there is no policy, or no new one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A file could not be read.
    #[error(
        "a file of the access policy could not be read, check the path and its permissions, path=`{path}`"
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// How.
        #[source]
        source: io::Error,
    },
    /// It is no document of the form that is expected.
    #[error("the access policy is not what is expected: {reason}{place}")]
    Form {
        /// What is wrong. It repeats no value.
        reason: String,
        /// Where, as `line=` and `column=`; empty where nobody knows.
        place: String,
    },
    /// A value is not what is expected.
    #[error("a value of the access policy is refused: {rule}, at=`{at}`")]
    Value {
        /// The place, such as `issuers[0].rules[1].claims`.
        at: String,
        /// What is expected there.
        rule: String,
    },
    /// Known signatures were not told from others.
    #[error("this build does not check signatures as it should: do not use it, report it")]
    Cryptography,
}

/// A policy that holds.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) tokens: Tokens,
    issuers: Vec<Issuer>,
}

impl Policy {
    /// The policy in the file at `path`. What `before` knows of issuers that stay is kept.
    pub(super) fn load(
        path: &Path,
        limits: &Limits,
        before: Option<&Self>,
    ) -> Result<Self, PolicyError> {
        let text = String::from_utf8(read(path)?).map_err(|_| PolicyError::Form {
            reason: "it is not text, write it as UTF-8".to_owned(),
            place: String::new(),
        })?;
        Self::parse(
            &text,
            path.parent().unwrap_or(Path::new("")),
            limits,
            before,
        )
    }

    /// The policy of this text, in a file that would lie in the directory `beside`.
    pub(super) fn parse(
        text: &str,
        beside: &Path,
        limits: &Limits,
        before: Option<&Self>,
    ) -> Result<Self, PolicyError> {
        if !jwk::works() {
            return Err(PolicyError::Cryptography);
        }
        let options = serde_saphyr::options! {
            merge_keys: MergeKeyPolicy::Error,
            reject_unsupported_tags: true,
            with_snippet: false,
        };
        let document: Document = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| malformed(&error))?;
        let build = Build {
            beside,
            limits,
            before,
        };
        let policy = Self {
            tokens: Tokens(each(document.tokens, "tokens", Build::token)?),
            issuers: each(document.issuers, "issuers", |at, issuer| {
                build.issuer(at, issuer)
            })?,
        };
        policy.check()?;
        Ok(policy)
    }

    /// What no entry can know alone.
    fn check(&self) -> Result<(), PolicyError> {
        if self.tokens.0.is_empty() && self.issuers.is_empty() {
            return Err(refused("tokens", "nobody could ever be let in"));
        }
        let mut digests = HashSet::new();
        for (index, token) in self.tokens.0.iter().enumerate() {
            if !digests.insert(token.sha256) {
                let rule = "this token stands in the policy already";
                return Err(refused(format!("tokens[{index}].sha256"), rule));
            }
        }
        let mut names = HashSet::new();
        let mut issuers = HashSet::new();
        for (index, issuer) in self.issuers.iter().enumerate() {
            if !names.insert(&issuer.name) {
                let rule = "another issuer has this name, and their callers would too";
                return Err(refused(format!("issuers[{index}].name"), rule));
            }
            if !issuers.insert(&issuer.iss) {
                let rule = "this issuer stands in the policy already, put its rules together";
                return Err(refused(format!("issuers[{index}].issuer"), rule));
            }
        }
        Ok(())
    }

    /// Whether tokens of Cloudflare Access are looked for.
    pub(super) fn takes_assertions(&self) -> Assertions {
        let mut carriers = self.issuers.iter().map(|issuer| issuer.kind.carrier());
        if carriers.any(|carrier| carrier == Carrier::Assertion) {
            Assertions::Taken
        } else {
            Assertions::Ignored
        }
    }

    /// Who is said to have made this token, which came in this header. Whether they did is not known yet.
    pub(super) fn issuer_of(&self, jwt: &Jwt<'_>, carrier: Carrier) -> Result<&Issuer, Refusal> {
        let named = jwt.issuer()?;
        let mut issuers = self.issuers.iter();
        issuers
            .find(|issuer| &*issuer.iss == named && issuer.kind.carrier() == carrier)
            .ok_or_else(|| {
                Refusal::new(
                    Reason::BadToken,
                    format!(
                        "the policy has no such issuer of tokens in this header, iss=`{}`",
                        shown(named)
                    ),
                )
            })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, PolicyError> {
    let io = |source| PolicyError::Io {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(io)?;
    file.take(FILE_BYTES_MAX.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if u64::try_from(bytes.len()).is_ok_and(|bytes| bytes <= FILE_BYTES_MAX) {
        Ok(bytes)
    } else {
        Err(io(io::ErrorKind::FileTooLarge.into()))
    }
}

fn refused(at: impl Into<String>, rule: impl Into<String>) -> PolicyError {
    PolicyError::Value {
        at: at.into(),
        rule: rule.into(),
    }
}

/// What the library says of a text that is no such document, without any value: one of them may be a token.
fn malformed(error: &YamlError) -> PolicyError {
    let place = error.location().map_or_else(String::new, |at| {
        format!(", line=`{}` column=`{}`", at.line(), at.column())
    });
    let reason = match error.without_snippet() {
        YamlError::SerdeUnknownField { expected, .. } => {
            format!(
                "an unknown key, the keys here are `{}`",
                expected.join("`, `")
            )
        }
        YamlError::SerdeMissingField { field, .. } => format!("the key `{field}` is missing"),
        YamlError::DuplicateMappingKey { .. } => "a key stands twice, keep one".to_owned(),
        YamlError::MultipleDocuments { .. } => {
            "it has more than one document, remove the line `---` and what follows it".to_owned()
        }
        _ => "a key, a text or a list is not where one is expected".to_owned(),
    };
    PolicyError::Form { reason, place }
}

/// Reads every entry of a list, telling each its place.
fn each<T, U>(
    sections: Vec<Section<T>>,
    at: &str,
    mut read: impl FnMut(&str, T) -> Result<U, PolicyError>,
) -> Result<Vec<U>, PolicyError> {
    sections
        .into_iter()
        .enumerate()
        .map(|(index, Section(section))| read(&format!("{at}[{index}]"), section))
        .collect()
}

/// Makes the entries of one policy.
struct Build<'a> {
    beside: &'a Path,
    limits: &'a Limits,
    before: Option<&'a Policy>,
}

impl Build<'_> {
    fn token(at: &str, section: TokenSection) -> Result<TokenEntry, PolicyError> {
        let sha256: Digest = section.sha256.parse().map_err(|_| {
            let rule = "the SHA-256 of the token, 64 lower-case hexadecimal digits; the token itself stands nowhere";
            refused(format!("{at}.sha256"), rule)
        })?;
        let expires = section.expires.map(|text| text.parse::<Timestamp>());
        let expires = expires
            .transpose()
            .map_err(|error| refused(format!("{at}.expires"), error.to_string()))?;
        Ok(TokenEntry {
            name: name(at, &section.name)?,
            sha256,
            expires,
            grants: grants(at, section.grants)?,
        })
    }

    fn issuer(&self, at: &str, section: IssuerSection) -> Result<Issuer, PolicyError> {
        let name = name(at, &section.name)?;
        if &*name == "token" {
            let rule = "choose another name: callers with tokens of our own are named so";
            return Err(refused(format!("{at}.name"), rule));
        }
        let issuer = exact(&section.issuer, &format!("{at}.issuer"))?;
        let kind = Kind::parse(&section.kind, &issuer)
            .map_err(|rule| refused(format!("{at}.kind"), rule))?;
        let algorithms: Result<Vec<_>, _> =
            section.algorithms.iter().map(|text| text.parse()).collect();
        let algorithms = algorithms.ok().filter(|list| !list.is_empty());
        let algorithms = algorithms.ok_or_else(|| {
            refused(
                format!("{at}.algorithms"),
                "an algorithm is `RS256` or `ES256`, and there is at least one",
            )
        })?;
        let rules = each(section.rules, &format!("{at}.rules"), |at, rule| {
            self::rule(kind, at, rule)
        })?;
        if rules.is_empty() {
            let rule = "an issuer without rules lets nobody in";
            return Err(refused(format!("{at}.rules"), rule));
        }
        let typ = section.typ.as_deref();
        Ok(Issuer {
            aud: exact(&section.audience, &format!("{at}.audience"))?,
            typ: typ
                .map(|typ| exact(typ, &format!("{at}.typ")))
                .transpose()?,
            keys: self.keys(at, &section.jwks, section.ca_file.as_deref())?,
            name,
            kind,
            iss: issuer,
            algorithms,
            rules,
        })
    }

    /// The keys from there: those that the policy before has, if it has them.
    fn keys(&self, at: &str, jwks: &str, ca_file: Option<&str>) -> Result<Arc<Keys>, PolicyError> {
        let ca_pem = ca_file.map(|path| read(&self.beside.join(path)));
        let wrong = |error: RemoteError| match error {
            RemoteError::Address => refused(
                format!("{at}.jwks"),
                "an address with `https`, or with `http` and a loopback address, without credentials or fragment",
            ),
            RemoteError::Certificates => refused(
                format!("{at}.ca_file"),
                "a file of certificates in PEM, at least one",
            ),
            RemoteError::NoRoots => refused(
                format!("{at}.jwks"),
                "this machine has no certificates to trust, install its package `ca-certificates` or name a file in `ca_file`",
            ),
            RemoteError::Tls => PolicyError::Cryptography,
        };
        let source = Remote::new(jwks, ca_pem.transpose()?).map_err(wrong)?;
        let before = self.before.map_or(&[][..], |before| &before.issuers);
        match before.iter().find(|issuer| *issuer.keys.source() == source) {
            Some(issuer) => Ok(Arc::clone(&issuer.keys)),
            None => Keys::new(source, self.limits).map(Arc::new).map_err(wrong),
        }
    }
}

fn rule(kind: Kind, at: &str, section: RuleSection) -> Result<Rule, PolicyError> {
    let grants = grants(at, section.grants)?;
    Rule::new(kind, &section.claims, grants).map_err(|rule| refused(format!("{at}.claims"), rule))
}

fn grants(at: &str, sections: Vec<Section<GrantSection>>) -> Result<Arc<[Grant]>, PolicyError> {
    let at = format!("{at}.grants");
    let grants = each(sections, &at, |at, section| grant(at, &section))?;
    if grants.is_empty() {
        return Err(refused(at, "there is at least one grant"));
    }
    Ok(grants.into())
}

fn grant(at: &str, section: &GrantSection) -> Result<Grant, PolicyError> {
    let organization: Organization = section.organization.parse().map_err(|_| {
        let rule = "an organization is an id: letters, digits and `.` `_` `-`";
        refused(format!("{at}.organization"), rule)
    })?;
    let project = match section.project.as_str() {
        "*" => None,
        text => Some(text.parse::<Project>().map_err(|_| {
            let rule = "a project is an id, or `*` for all projects of the organization";
            refused(format!("{at}.project"), rule)
        })?),
    };
    let mut verbs = Vec::new();
    for text in &section.may {
        let verb = match text.as_str() {
            "read" => Verb::Read,
            "write" => Verb::Write,
            _ => {
                let rule = "what somebody may do is `read` or `write`";
                return Err(refused(format!("{at}.may"), rule));
            }
        };
        if verbs.contains(&verb) {
            return Err(refused(format!("{at}.may"), "it stands there twice"));
        }
        verbs.push(verb);
    }
    if verbs.is_empty() {
        return Err(refused(format!("{at}.may"), "there is at least one verb"));
    }
    Ok(Grant {
        organization: organization.as_str().into(),
        project: project.map(|project| project.as_str().into()),
        verbs: verbs.into(),
    })
}

/// A name by the grammar of ids, so that no name of a caller reads as another.
fn name(at: &str, text: &str) -> Result<Box<str>, PolicyError> {
    match text.parse::<Project>() {
        Ok(id) => Ok(id.as_str().into()),
        Err(_) => Err(refused(
            format!("{at}.name"),
            "a name is an id: letters, digits and `.` `_` `-`",
        )),
    }
}

/// A text that is compared exactly.
fn exact(text: &str, at: &str) -> Result<Box<str>, PolicyError> {
    let is_text = (1..=TEXT_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_text {
        Ok(text.into())
    } else {
        Err(refused(
            at,
            "a text without spaces, which is compared exactly",
        ))
    }
}

#[cfg(test)]
mod tests;
