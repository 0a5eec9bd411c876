//! What a predicate is made of.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::super::basis::{Basis, Claim};
use crate::digest::Digest;
use crate::time::Timestamp;

/// How a bucket is set up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bucket {
    /// The retention of objects that are written without one, for example `compliance 7y`.
    pub default_retention: Claim<String>,
    /// How new objects are encrypted, and with which key.
    pub encryption: Claim<String>,
    /// The SHA-256 of the lifecycle configuration as the store gave it.
    pub lifecycle_sha256: Claim<Digest>,
    /// `enabled` where Object Lock is on.
    pub object_lock: Claim<String>,
    /// The SHA-256 of the bucket policy as the store gave it.
    pub policy_sha256: Claim<Digest>,
    /// Where objects are copied to.
    pub replication: Claim<String>,
    /// `enabled` or `suspended`.
    pub versioning: Claim<String>,
}

/// What a store did when it was tested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enforcement {
    /// What was tried.
    pub attempts: Vec<Attempt>,
    /// When, by the observer's clock.
    pub proved_at: Timestamp,
    /// The SHA-256 of the transcript of requests and answers.
    pub transcript_sha256: Digest,
    /// What follows from the attempts: [`Enforcement::follows`].
    pub verdict: Verdict,
}

impl Enforcement {
    /// What follows from these attempts: one that got through shows that nothing is enforced; proven is
    /// only what was refused where the same request without a lock is allowed.
    pub fn follows(attempts: &[Attempt]) -> Verdict {
        let is_proof = |attempt: &Attempt| {
            attempt.result == AttemptResult::Refused && attempt.control == Control::Allowed
        };
        if attempts
            .iter()
            .any(|attempt| attempt.result == AttemptResult::Succeeded)
        {
            Verdict::NotEnforced
        } else if !attempts.is_empty() && attempts.iter().all(is_proof) {
            Verdict::Proven
        } else {
            Verdict::NotProven
        }
    }
}

/// Whether a store enforces its locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every attempt was refused, and each control was allowed.
    Proven,
    /// Not every attempt shows something.
    NotProven,
    /// An attempt got through.
    NotEnforced,
}

impl Verdict {
    /// As the predicate writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::NotProven => "not-proven",
            Self::NotEnforced => "not-enforced",
        }
    }
}

/// One attempt to break a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// What the store answered.
    pub answer: Option<String>,
    /// What was tried, for example `delete-version`.
    pub attempt: String,
    /// The same request by the same credential where no lock is in the way.
    pub control: Control,
    /// How it came out.
    pub result: AttemptResult,
}

/// How the same request went where no lock is in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Control {
    /// Allowed: so it is the lock that refuses.
    Allowed,
    /// Refused too: so a refusal shows nothing of the lock.
    Refused,
    /// Not tried, or no answer.
    NotObserved,
}

/// How an attempt came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttemptResult {
    /// The lock held.
    Refused,
    /// The lock was broken.
    Succeeded,
    /// No answer that says which.
    NotObserved,
}

/// Something that the observer objects to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// What it is, for programs.
    pub code: String,
    /// The object, if it is about one.
    pub key: Option<String>,
    /// What it is, for people.
    pub text: String,
}

/// The legal matters that hold a pack, from the ledger of holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holds {
    /// The SHA-256 of the ledger's last entry.
    pub ledger_head_sha256: Option<Digest>,
    /// The number of the ledger's last entry.
    pub ledger_sequence: u64,
    /// The names of the matters, sorted, none twice.
    pub matters: Vec<String>,
}

/// One object of the pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Object {
    /// The size.
    pub bytes: u64,
    /// The artifact's commitment; of the manifest or a bundle, the SHA-256 of its bytes.
    pub commitment: Digest,
    /// How it is known that the bytes are those of the commitment: measured when they were hashed
    /// again, provider-asserted when the store's own checksum was compared.
    pub content: Basis,
    /// The key as a layout derives it, without the store's prefix.
    pub key: String,
    /// The legal hold.
    pub legal_hold: LegalHold,
    /// How mode and date are known.
    pub lock_basis: Basis,
    /// The mode of the lock.
    pub mode: Mode,
    /// When the retention ends.
    pub retain_until: Option<Timestamp>,
    /// What it is in the pack.
    pub role: Role,
    /// What hides it: newer versions and delete markers, as texts.
    pub shadowed_by: Vec<String>,
    /// The version that was looked at; none where the store keeps no versions.
    pub version_id: Option<String>,
}

/// What an object is in the pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// An artifact.
    Artifact,
    /// The whole pack in one object.
    Bundle,
    /// The manifest.
    Manifest,
}

/// The mode of a lock, from the weakest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Nobody could tell.
    NotObserved,
    /// Not locked.
    None,
    /// Whoever has the permission may lift it.
    Governance,
    /// Nobody may lift it.
    Compliance,
}

impl Mode {
    /// As the predicate writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotObserved => "not-observed",
            Self::None => "none",
            Self::Governance => "governance",
            Self::Compliance => "compliance",
        }
    }
}

/// The legal hold of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LegalHold {
    /// Held.
    On,
    /// Not held.
    Off,
    /// Nobody could tell.
    NotObserved,
}

/// Who looked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observer {
    /// The program.
    pub name: String,
    /// Who ran it, as they say.
    pub operator: Option<String>,
    /// The program's version.
    pub version: String,
}

/// Where the objects lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// The bucket.
    pub bucket: String,
    /// The URL of the service.
    pub endpoint: String,
    /// The account that has to own the bucket, where the requests said so.
    pub expected_owner: Option<String>,
    /// What stands before every key.
    pub prefix: String,
    /// The region.
    pub region: Claim<String>,
}

/// 128 random bits, written as 32 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nonce(u128);

/// Not 32 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a nonce is 32 lower-case hexadecimal digits")]
pub struct NonceError;

impl Nonce {
    /// A nonce of random bytes, which the caller draws.
    pub const fn from_bytes(raw: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(raw))
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for Nonce {
    type Err = NonceError;

    fn from_str(text: &str) -> Result<Self, NonceError> {
        let nonce = Self(u128::from_str_radix(text, 16).map_err(|_| NonceError)?);
        if nonce.to_string() == text {
            Ok(nonce)
        } else {
            Err(NonceError)
        }
    }
}

impl Serialize for Nonce {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Nonce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::json::from_string(deserializer)
    }
}
