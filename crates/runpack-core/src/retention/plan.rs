//! The plan: what would go, object by object, and what stays although it has expired.
//!
//! A plan is a document that people read and hand on. It is canonical JSON with the digest of itself, so that what is
//! carried out is what was read; it names a store, the policies it was made by, and every version that is to go.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::count::len_u64;
use crate::digest::Digest;
use crate::id::{PackId, PolicyName};
use crate::json;
use crate::time::Timestamp;

/// The only format of this version.
const FORMAT: &str = "runpack-retention-plan/v1";
/// How long a plan may be carried out: 7 days, in seconds.
pub const PLAN_SECONDS: u64 = 7 * 24 * 60 * 60;
/// The largest plan that is read. Stops a file made to exhaust memory.
pub const PLAN_BYTES_MAX: u64 = 512 << 20;
/// What of it is for what goes; the rest is for what stays.
pub(super) const REMOVALS_BYTES_MAX: u64 = 384 << 20;
/// A plan ends after the pack with which it names so many objects, or before that with which it would be too large; what is
/// left is for the next one.
pub const OBJECTS_MAX: usize = 200_000;
const DEPTH_MAX: u32 = 16;

/// Which part of a pack goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Its artifacts, or its bundle; the manifest stays.
    Artifacts,
    /// Its manifest, whose artifacts went before.
    Manifest,
}

/// What an object is to its pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// An artifact; its digest is the commitment.
    Artifact,
    /// The pack in one object; its digest is that of the manifest in it.
    Bundle,
    /// The manifest; its digest is the pack id's.
    Manifest,
}

/// One version of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedObject {
    // In canonical order.
    /// The size, as the store says.
    pub bytes: u64,
    /// What it is, by its manifest.
    pub digest: Digest,
    /// The key.
    pub key: String,
    /// When it was written, by the store's clock.
    pub modified: Timestamp,
    /// What it is to its pack.
    pub part: Part,
    /// The version, where the store names versions.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<String>,
}

/// A pack of which something goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Removal {
    // In canonical order.
    /// When the pack was made, as its maker says.
    pub created_at: Timestamp,
    /// When it expired.
    pub expires_at: Timestamp,
    /// Where its manifest or its bundle lies.
    pub key: String,
    /// The versions of the manifest, which are all the same: what goes goes only while they are these. None of a bundle.
    pub manifest: Vec<PlannedObject>,
    /// What goes, by key and version.
    pub objects: Vec<PlannedObject>,
    /// The pack.
    pub pack_id: PackId,
    /// Which part of it goes.
    pub phase: Phase,
    /// By which policy.
    pub policy: PolicyName,
    /// Keys that the pack lists and other packs share: they stay.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub shared: Vec<String>,
    /// Whose it is.
    pub subject: serde_json::Value,
}

impl Removal {
    /// The bytes of what goes.
    pub fn bytes(&self) -> u64 {
        let bytes = self.objects.iter().map(|object| object.bytes);
        bytes.fold(0, u64::saturating_add)
    }

    /// What stands for it: the SHA-256 of its canonical form.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.canonical())
    }

    fn canonical(&self) -> Vec<u8> {
        // Texts and numbers always serialize.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// How many bytes of a plan it takes.
    pub(super) fn planned_bytes(&self) -> u64 {
        len_u64(&self.canonical()).saturating_add(1)
    }
}

/// Why something stays that has expired, or may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum WhyKept {
    // In canonical order.
    /// It is not what the plan says: something came, or went, since.
    Changed,
    /// The store has more than one manifest for it.
    Equivocal,
    /// A legal matter, or a hold of the store, holds it; or nobody can tell whether one does.
    Held,
    /// A lock of the store is in force; or nobody can tell whether one is.
    Locked,
    /// It is a manifest whose artifacts went, and stays for a while.
    Metadata,
    /// A pack that stays was made from it; or nobody can tell whether one was.
    Needed,
    /// The policies keep it.
    Unexpired,
    /// It could not be read or looked at.
    Unreadable,
    /// It is not what its manifest says: look at it before it goes.
    Unsound,
}

impl WhyKept {
    /// The name in results.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Locked => "locked",
            Self::Needed => "needed",
            Self::Equivocal => "equivocal",
            Self::Unreadable => "unreadable",
            Self::Unsound => "unsound",
            Self::Metadata => "metadata",
            Self::Changed => "changed",
            Self::Unexpired => "unexpired",
        }
    }
}

/// Something that stays although it has expired, or may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Kept {
    // In canonical order.
    /// What that rests on: untrusted text in part.
    pub detail: String,
    /// When it expired, where that is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expires_at: Option<Timestamp>,
    /// Where its manifest or its bundle lies.
    pub key: String,
    /// The pack, where it is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pack_id: Option<PackId>,
    /// Why.
    pub why: WhyKept,
}

/// What would go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Plan {
    // In canonical order.
    /// By which time it was judged.
    pub at: Timestamp,
    /// Until when it may be carried out.
    pub expires_at: Timestamp,
    format: String,
    /// What stays although it has expired: the first of it.
    pub kept: Vec<Kept>,
    /// How many stay, by why.
    pub kept_counts: BTreeMap<WhyKept, u64>,
    /// When it was made.
    pub made_at: Timestamp,
    /// Whether more has expired than is in it.
    pub more: bool,
    /// The policies it was made by, by their digest.
    pub policies: Digest,
    /// What goes.
    pub removals: Vec<Removal>,
    /// The store, as receipts name it.
    pub store: String,
}

/// A plan in its file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    plan: Plan,
    sha256: Digest,
}

/// Why a plan is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// It is none, or was changed.
    #[error("this is no plan, or it was changed after it was made: {0}")]
    Form(String),
    /// It is too old.
    #[error("the plan has expired, make another, expires_at=`{expires_at}` now=`{now}`")]
    Expired {
        /// When.
        expires_at: Timestamp,
        /// What time it is.
        now: Timestamp,
    },
    /// It is of a time to come: one of the clocks is wrong.
    #[error("the plan was made later than now: a clock is wrong, made_at=`{made_at}` now=`{now}`")]
    Early {
        /// When it was made.
        made_at: Timestamp,
        /// What time it is.
        now: Timestamp,
    },
    /// It is of another store.
    #[error("the plan is of another store, plan=`{planned}` store=`{found}`")]
    Store {
        /// That of the plan.
        planned: String,
        /// This one.
        found: String,
    },
    /// The policies were changed since.
    #[error(
        "the policies are others than the plan was made by, make another, plan=`{planned}` policies=`{found}`"
    )]
    Policies {
        /// Those of the plan.
        planned: Digest,
        /// Those that count now.
        found: Digest,
    },
}

impl Plan {
    pub(super) fn new(store: String, policies: Digest, made_at: Timestamp, at: Timestamp) -> Self {
        Self {
            at,
            expires_at: made_at.later(PLAN_SECONDS),
            format: FORMAT.to_owned(),
            kept: Vec::new(),
            kept_counts: BTreeMap::new(),
            made_at,
            more: false,
            policies,
            removals: Vec::new(),
            store,
        }
    }

    /// What stands for it: the SHA-256 of its canonical form.
    pub fn digest(&self) -> Digest {
        // Texts and numbers always serialize.
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// The file: canonical JSON with the digest of the plan, and a line end.
    pub fn to_bytes(&self) -> Vec<u8> {
        let file = File {
            sha256: self.digest(),
            plan: self.clone(),
        };
        let mut bytes = serde_json::to_vec(&file).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`PlanError::Form`]
    pub fn parse(bytes: &[u8]) -> Result<Self, PlanError> {
        let wrong = |error: &dyn std::error::Error| PlanError::Form(error.to_string());
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        json::check(bytes, DEPTH_MAX).map_err(|error| wrong(&error))?;
        let file: File = serde_json::from_slice(bytes).map_err(|error| wrong(&error))?;
        if file.plan.format != FORMAT {
            return Err(PlanError::Form("another format".to_owned()));
        }
        if file.plan.digest() != file.sha256 || !json::matches_canonical(&file, bytes) {
            return Err(PlanError::Form("its digest is another".to_owned()));
        }
        Ok(file.plan)
    }

    /// Whether it may be carried out on this store, by these policies, at this time.
    ///
    /// # Errors
    /// It may not.
    pub fn check(&self, store: &str, policies: Digest, now: Timestamp) -> Result<(), PlanError> {
        if self.store != store {
            return Err(PlanError::Store {
                planned: self.store.clone(),
                found: store.to_owned(),
            });
        }
        if self.policies != policies {
            return Err(PlanError::Policies {
                planned: self.policies,
                found: policies,
            });
        }
        // A plan lasts no longer than plans do, whatever it says.
        let expires_at = self.expires_at.min(self.made_at.later(PLAN_SECONDS));
        if now > expires_at {
            return Err(PlanError::Expired { expires_at, now });
        }
        // As far as clocks go apart.
        if self.made_at > now.later(SKEW_SECONDS) {
            return Err(PlanError::Early {
                made_at: self.made_at,
                now,
            });
        }
        Ok(())
    }

    /// What goes, in bytes.
    pub fn bytes(&self) -> u64 {
        let bytes = self.removals.iter().map(Removal::bytes);
        bytes.fold(0, u64::saturating_add)
    }
}

/// How far two clocks may go apart: 5 minutes.
const SKEW_SECONDS: u64 = 300;
