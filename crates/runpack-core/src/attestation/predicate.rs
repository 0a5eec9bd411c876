//! The predicate `urn:runpack:storage-retention:v1`: what was seen of a pack's objects in a store, and
//! how (specification `Docs/spec/storage-retention-v1.md`).
//!
//! Fields stand in canonical order, and every member is always written. Texts come from stores and
//! people and are untrusted: show them escaped.

mod parts;

use serde::{Deserialize, Serialize};

pub use parts::{
    Attempt, AttemptResult, Bucket, Control, Enforcement, Finding, Holds, LegalHold, Mode, Nonce,
    NonceError, Object, Observer, Role, Store, Verdict,
};

use super::basis::Claim;
use crate::time::Timestamp;

/// What is attested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Predicate {
    /// How the bucket is set up.
    pub bucket: Bucket,
    /// What the store did when somebody tried to break a lock.
    pub enforcement: Claim<Enforcement>,
    /// What the observer objects to.
    pub findings: Vec<Finding>,
    /// The legal matters that hold the pack.
    pub holds: Claim<Holds>,
    /// What this attestation does not say.
    pub non_claims: Vec<String>,
    /// Tells this attestation from every other.
    pub nonce: Nonce,
    /// Every object of the pack, the manifest's own among them, sorted by key.
    pub objects: Vec<Object>,
    /// When, by the observer's own clock: a claim of the signer (T05).
    pub observed_at: Timestamp,
    /// Who looked.
    pub observer: Observer,
    /// What could still lose the objects.
    pub residual_risks: Vec<String>,
    /// The earliest end of retention over all objects; none when one of them has none.
    pub retained_until: Option<Timestamp>,
    /// Where the objects lie.
    pub store: Store,
    /// When, by the store's clock: its `Date` header.
    pub store_time: Claim<Timestamp>,
}

impl Predicate {
    /// What `retained_until` has to be for these objects.
    pub fn least_retention(objects: &[Object]) -> Option<Timestamp> {
        // `None` is less than every time.
        objects.iter().map(|object| object.retain_until).min()?
    }

    /// The least that keeps every object from being removed: `None` when one of them is not locked, or
    /// nobody could tell.
    pub fn least_mode(&self) -> Option<Mode> {
        let modes = self.objects.iter().map(|object| object.mode);
        modes.min().filter(|mode| *mode >= Mode::Governance)
    }

    /// Whether each object is locked so that nobody may lift it before its time. Only compliance mode
    /// counts: governance may be bypassed by whoever holds the permission (L04).
    pub fn is_immutable(&self) -> bool {
        self.least_mode() == Some(Mode::Compliance) && self.retained_until.is_some()
    }
}
