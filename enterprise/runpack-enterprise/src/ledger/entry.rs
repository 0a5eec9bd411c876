//! One entry of the ledger.

use std::fmt;
use std::str::FromStr;

use runpack_core::digest::Digest;
use runpack_core::id::PackId;
use runpack_core::time::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

/// The media type of a signed entry.
pub(super) const ENTRY_TYPE: &str = "application/vnd.runpack.hold.v1+json";
/// The largest signed entry.
pub(super) const ENTRY_BYTES_MAX: usize = 64 << 10;

/// Which format an entry is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// The first.
    #[serde(rename = "runpack-hold/v1")]
    V1,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// The matter holds the pack from now on.
    Place,
    /// The matter does not need it any more.
    Release,
}

/// A matter: the lawsuit, investigation or request that a hold is for. 1 to 128 letters, digits and `._-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Matter(String);

/// Not the name of a matter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a matter is named with 1 to 128 letters, digits, `.`, `_` and `-`, and starts with a letter or digit"
)]
pub struct MatterError;

impl Matter {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Matter {
    type Err = MatterError;

    fn from_str(text: &str) -> Result<Self, MatterError> {
        let is_start = |byte: u8| byte.is_ascii_alphanumeric();
        let is_name = text.len() <= 128
            && text.bytes().next().is_some_and(is_start)
            && text
                .bytes()
                .all(|byte| is_start(byte) || b"._-".contains(&byte));
        is_name.then(|| Self(text.to_owned())).ok_or(MatterError)
    }
}

impl fmt::Display for Matter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<'de> Deserialize<'de> for Matter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The entry before one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Previous {
    /// The SHA-256 of the object's bytes.
    pub sha256: Digest,
    /// Its version.
    pub version: Option<String>,
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The format.
    pub format: Format,
    /// From 0, without a gap.
    pub sequence: u32,
    /// The entry before it; none for the first.
    pub previous: Option<Previous>,
    /// When, by the clock of whoever did it.
    pub at: Timestamp,
    /// Who did it, as their machine says.
    pub by: String,
    /// The store: an entry does not count in another.
    pub place: String,
    /// What was done.
    pub act: Act,
    /// For which matter.
    pub matter: Matter,
    /// Why, in words.
    pub reason: String,
    /// The pack.
    pub pack_id: PackId,
    /// The key of its manifest, or of its bundle.
    pub commit: String,
    /// How many versions the pack has.
    pub versions: u64,
    /// The SHA-256 of the list of them: a line `KEY VERSION` for each, in the order of the manifest.
    pub versions_sha256: Digest,
    /// Whether a version was held already, by nobody in the ledger.
    pub was_held: bool,
}

impl Entry {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let entry: Self = serde_json::from_slice(bytes).ok()?;
        // One spelling: what was signed is what we would write.
        (entry.to_bytes() == bytes).then_some(entry)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // Text in a fixed shape always becomes JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matters_have_plain_names() {
        let long = "a".repeat(128);
        for good in ["a", "case-2026.11_x", "7", &long] {
            assert!(good.parse::<Matter>().is_ok(), "{good}");
        }
        let too_long = "a".repeat(129);
        for bad in ["", "-a", ".", "a b", "a/b", "Ü", "a\n", &too_long] {
            assert_eq!(bad.parse::<Matter>(), Err(MatterError), "{bad:?}");
        }
    }
}
