//! One entry of the ledger.

use runpack_core::digest::Digest;
use runpack_core::id::PackId;
use runpack_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::matter::Matter;

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
    /// No matter was left, and the holds of the versions are off.
    Clear,
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
