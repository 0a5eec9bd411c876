//! Findings about copies: stable codes, and what was found.

use std::fmt;

use serde::{Serialize, Serializer};

/// What a finding says of the copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bearing {
    /// The copy is not what it must be.
    Fault,
    /// Whether it is, is not known.
    Open,
    /// It is what it must be, as far as this goes; the rest is to be known.
    Note,
}

/// The stable name of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ReplicaCode {
    /// The copy is not there.
    Missing,
    /// The replication is not done in time.
    PendingLong,
    /// The source says that it went wrong.
    Failed,
    /// The source says nothing of a replication.
    NotReplicated,
    /// What was taken for the source is a copy itself.
    SourceIsReplica,
    /// Size or bytes are others.
    Differs,
    /// Whether the bytes are the same was not observed.
    BytesNotObserved,
    /// The copy has no lock where the source has one.
    Unlocked,
    /// The copy's lock ends earlier.
    LockShorter,
    /// The copy's lock is softer.
    LockSofter,
    /// The source is held and the copy is not.
    HoldMissing,
    /// A lock was not observed.
    LockNotObserved,
    /// Something lies over the copy.
    Shadowed,
    /// Nobody could look at the replica.
    NotObserved,
}

impl ReplicaCode {
    /// As reports write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "replica.missing",
            Self::PendingLong => "replica.pending_long",
            Self::Failed => "replica.failed",
            Self::NotReplicated => "replica.not_replicated",
            Self::SourceIsReplica => "replica.source_is_replica",
            Self::Differs => "replica.differs",
            Self::BytesNotObserved => "replica.bytes_not_observed",
            Self::Unlocked => "replica.unlocked",
            Self::LockShorter => "replica.lock_shorter",
            Self::LockSofter => "replica.lock_softer",
            Self::HoldMissing => "replica.hold_missing",
            Self::LockNotObserved => "replica.lock_not_observed",
            Self::Shadowed => "replica.shadowed",
            Self::NotObserved => "replica.not_observed",
        }
    }
}

impl ReplicaCode {
    /// What it says of the copy. What the source says of a replication that is not there is no fault: a pack that was
    /// mirrored by hand is a copy as good as any.
    pub const fn bearing(self) -> Bearing {
        match self {
            Self::Missing
            | Self::PendingLong
            | Self::Failed
            | Self::Differs
            | Self::Unlocked
            | Self::LockShorter
            | Self::LockSofter
            | Self::HoldMissing
            | Self::Shadowed => Bearing::Fault,
            Self::BytesNotObserved | Self::LockNotObserved | Self::NotObserved => Bearing::Open,
            Self::NotReplicated | Self::SourceIsReplica => Bearing::Note,
        }
    }
}

impl fmt::Display for ReplicaCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for ReplicaCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One thing that is wrong with a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ReplicaFinding {
    /// The stable code.
    pub code: ReplicaCode,
    /// The key.
    pub key: String,
    /// The version at the source. Untrusted text: show it escaped.
    pub version: String,
    /// What was found, for people.
    pub text: String,
}
