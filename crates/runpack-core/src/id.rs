//! Identities: who made what. Each is parsed once, never repaired, and cannot be anything but valid.
//!
//! Every identity is an *id* of the specification (section 2), `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`,
//! except [`ExecutionId`] (a ULID), [`PipelineTenant`] (an id that is no reserved first segment,
//! section 6) and [`PackId`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Digest;

/// What is wrong with an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// Not in the alphabet, empty, or too long.
    #[error(
        "an id is 1 to 128 letters, digits and `.` `_` `-`, and starts with a letter or digit, id=`{}`",
        escape(.0)
    )]
    Grammar(String),
    /// A pipeline tenant that would spell another layout's keys.
    #[error("this name is reserved for another layout, choose another tenant, tenant=`{0}`")]
    Reserved(String),
    /// Not a ULID.
    #[error(
        "an execution id is a ULID, 26 characters of Crockford's base 32 in upper case, id=`{}`",
        escape(.0)
    )]
    Ulid(String),
    /// Not the name and version of an agent.
    #[error("an agent is written NAME@VERSION, agent=`{}`", escape(.0))]
    Agent(String),
    /// Not a pack id.
    #[error("a pack id is `sha256:` and 64 lower-case hexadecimal digits, id=`{}`", escape(.0))]
    Pack(String),
}

/// An offender as it may be shown: escaped, and cut where it is long.
fn escape(text: &str) -> String {
    text.chars()
        .take(160)
        .flat_map(char::escape_default)
        .collect()
}

fn is_id(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 128
        && bytes
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

macro_rules! text_id {
    ($($(#[$doc:meta])* $name:ident($check:path);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                $check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::json::from_string(deserializer)
            }
        }
    )*};
}

text_id! {
    /// A tenant of the run layout.
    Tenant(check_id);
    /// A tenant of the pipeline layout: no name that another layout starts its keys with.
    PipelineTenant(check_pipeline_tenant);
    /// A namespace of a tenant.
    Namespace(check_id);
    /// What kind of run it is.
    Scenario(check_id);
    /// One run.
    RunId(check_id);
    /// A pipeline, from run to run.
    PipelineName(check_id);
    /// One step of a run.
    StepId(check_id);
    /// An object that shows what a store does.
    ProbeId(check_id);
    /// One execution: a ULID (github.com/ulid/spec).
    ExecutionId(check_ulid);
    /// An organization of the record layout.
    Organization(check_id);
    /// A project of the record layout.
    Project(check_id);
    /// A service of the record layout.
    Service(check_id);
    /// An agent of the registry.
    AgentId(check_id);
    /// A version of an agent.
    AgentVersion(check_id);
    /// A policy of retention.
    PolicyName(check_id);
    /// The name of the program that made a pack.
    ProducerName(check_id);
}

fn check_id(text: &str) -> Result<(), IdError> {
    if is_id(text) {
        Ok(())
    } else {
        Err(IdError::Grammar(text.to_owned()))
    }
}

fn check_pipeline_tenant(text: &str) -> Result<(), IdError> {
    check_id(text)?;
    let year = text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    if year || ["tenant", "v1", "executions", "registry"].contains(&text) {
        return Err(IdError::Reserved(text.to_owned()));
    }
    Ok(())
}

fn check_ulid(text: &str) -> Result<(), IdError> {
    let alphabet = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let small = text.bytes().next().is_some_and(|first| first <= b'7');
    if text.len() == 26 && small && text.bytes().all(|byte| alphabet.contains(&byte)) {
        Ok(())
    } else {
        Err(IdError::Ulid(text.to_owned()))
    }
}

/// The id of a pack: the SHA-256 of its manifest's bytes, written `sha256:<hex>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackId(Digest);

/// The SHA-256 of the specification that a run was made by, written `sha256:<hex>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpecHash(Digest);

/// The SHA-256 of a pipeline's definition, written `sha256:<hex>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PipelineHash(Digest);

macro_rules! prefixed_digest {
    ($($name:ident),*) => {$(
        impl $name {
            /// From the digest.
            pub const fn new(digest: Digest) -> Self {
                Self(digest)
            }

            /// The digest without the algorithm's name.
            pub const fn digest(&self) -> &Digest {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix("sha256:")
                    .and_then(|hex| hex.parse().ok())
                    .map(Self)
                    .ok_or_else(|| IdError::Pack(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "sha256:{}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::json::from_string(deserializer)
            }
        }
    )*};
}

prefixed_digest!(PackId, SpecHash, PipelineHash);

impl PackId {
    /// The id of the pack with these manifest bytes.
    pub fn of(manifest: &[u8]) -> Self {
        Self(Digest::of(manifest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c26_ids_are_refused_never_repaired() {
        let long = "a".repeat(129);
        let cases: &[&str] = &[
            "", ".", "..", ".a", "-a", "_a", "a/b", "a\\b", "a b", " a", "a\n", "a\0", "ä", "ａ",
            "a:b", "a%2f", "../a", &long,
        ];
        for bad in cases {
            assert!(bad.parse::<Tenant>().is_err(), "{bad:?}");
            assert!(bad.parse::<RunId>().is_err(), "{bad:?}");
        }
        for good in ["a", "0", "Acme", "a.b_c-d", "A..", &"a".repeat(128)] {
            assert_eq!(good.parse::<Tenant>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn reserved_first_segments_are_no_pipeline_tenants() {
        for bad in [
            "tenant",
            "v1",
            "executions",
            "registry",
            "_runpack",
            "2026",
            "0000",
        ] {
            assert!(bad.parse::<PipelineTenant>().is_err(), "{bad}");
        }
        for good in ["Tenant", "v2", "20260", "202", "acme"] {
            assert!(good.parse::<PipelineTenant>().is_ok(), "{good}");
        }
    }

    #[test]
    fn executions_are_ulids() {
        assert!("01JD3M7Z9X8QWERTYASDFGHJKM".parse::<ExecutionId>().is_ok());
        for bad in [
            "81JD3M7Z9X8QWERTYASDFGHJKM",
            "01jd3m7z9x8qwertyasdfghjkm",
            "01JD3M7Z9X8QWERTYASDFGHJKL",
            "01JD3M7Z9X8QWERTYASDFGHJK",
            "",
        ] {
            assert!(bad.parse::<ExecutionId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn s24_pack_ids_name_their_only_algorithm() {
        let hex = Digest::of(b"").to_string();
        assert!(format!("sha256:{hex}").parse::<PackId>().is_ok());
        for bad in [
            hex.clone(),
            format!("sha512:{hex}"),
            format!("SHA256:{hex}"),
            format!("sha1:{hex}"),
        ] {
            assert!(bad.parse::<PackId>().is_err(), "{bad}");
        }
    }
}
