//! Copies in a second store, judged version by version: there, the same, and locked no less than the first (L12).
//!
//! What the source says of a replication (`COMPLETED`) is a claim; what was found at the replica decides. Nothing here
//! asks a store: whoever did hands over what was found, and what could not be looked at stays visible as such.

mod finding;

use runpack_core::digest::Digest;
use runpack_core::key::ObjectKey;
use runpack_core::time::Timestamp;

pub use finding::{Bearing, ReplicaCode, ReplicaFinding};

use crate::retention::LockMode;

/// What the source says became of a version's replication (`x-amz-replication-status`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplicationStatus {
    /// It says nothing: no rule was about the version.
    None,
    /// It is under way.
    Pending,
    /// It is done.
    Completed,
    /// It went wrong, and is not tried again by itself.
    Failed,
    /// The version is itself a copy of another's.
    Replica,
}

/// The commitment to a version's bytes, and how it is known. At both places it is the same kind of digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bytes {
    /// They were read and hashed.
    Measured(Digest),
    /// The store says this of them.
    ProviderAsserted(Digest),
    /// Nobody knows.
    NotObserved,
}

impl Bytes {
    const fn digest(self) -> Option<Digest> {
        match self {
            Self::Measured(digest) | Self::ProviderAsserted(digest) => Some(digest),
            Self::NotObserved => None,
        }
    }
}

/// The lock of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FoundLock {
    /// Nobody could look: a header that is absent for lack of rights is no answer.
    NotObserved,
    /// It was looked at.
    Observed {
        /// Mode and date; none where there is no retention.
        retention: Option<(LockMode, Timestamp)>,
        /// Whether a legal hold is on it.
        is_held: bool,
    },
}

/// What was found of a version in one store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundVersion {
    /// Its size in bytes.
    pub size: u64,
    /// Its bytes.
    pub bytes: Bytes,
    /// Its lock.
    pub lock: FoundLock,
}

/// What was found at the replica under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AtReplica {
    /// The version is there.
    Present {
        /// What it is.
        version: FoundVersion,
        /// What lies over it.
        above: Above,
    },
    /// It is not.
    Missing,
    /// Nobody could look: why.
    NotObserved {
        /// What the store answered.
        why: String,
    },
}

/// What lies over a version: what a reader gets who names none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Above {
    /// Nothing: it is the current one.
    Nothing,
    /// A newer version.
    Version,
    /// A delete marker.
    Marker,
}

/// One version of a pack, at its source and at the replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The key.
    pub key: ObjectKey,
    /// The version at the source.
    pub version: String,
    /// When it was written there.
    pub written_at: Timestamp,
    /// What the source says of its replication.
    pub status: ReplicationStatus,
    /// What was found at the source.
    pub source: FoundVersion,
    /// What was found at the replica.
    pub replica: AtReplica,
}

impl Pair {
    /// Whether the copy is not there, and the source says that it is on its way: nothing is known of it yet.
    pub fn is_under_way(&self) -> bool {
        self.status == ReplicationStatus::Pending && self.replica == AtReplica::Missing
    }
}

/// What a judgement rests on besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaRules {
    /// The present time.
    pub now: Timestamp,
    /// How long a replication may be under way.
    pub pending_seconds_max: u64,
}

/// Judges every version's copy. No finding means that each was found, is the same, and is locked no less.
pub fn judge(pairs: &[Pair], rules: &ReplicaRules) -> Vec<ReplicaFinding> {
    let mut findings = Vec::new();
    for pair in pairs {
        let mut judgement = Judgement {
            pair,
            findings: &mut findings,
        };
        judgement.status(rules);
        match &pair.replica {
            AtReplica::Present { version, above } => {
                judgement.bytes(version);
                judgement.lock(version);
                judgement.above(*above);
            }
            // What is under way is not there yet, and said to be so.
            AtReplica::Missing if judgement.is_under_way(rules) => {}
            AtReplica::Missing => judgement.push(
                ReplicaCode::Missing,
                "the copy is not there: replicate the version again, or mirror the pack",
            ),
            AtReplica::NotObserved { why } => {
                let why = crate::retention::shown(why);
                judgement.push(ReplicaCode::NotObserved, format!("nobody could look at the copy, so nothing is known of it: grant reading there, why=`{why}`"));
            }
        }
    }
    findings
}

/// One pair, and where its findings go.
struct Judgement<'a> {
    pair: &'a Pair,
    findings: &'a mut Vec<ReplicaFinding>,
}

impl Judgement<'_> {
    fn push(&mut self, code: ReplicaCode, text: impl Into<String>) {
        self.findings.push(ReplicaFinding {
            code,
            key: self.pair.key.as_str().to_owned(),
            version: self.pair.version.clone(),
            text: text.into(),
        });
    }

    fn age_seconds(&self, rules: &ReplicaRules) -> u64 {
        let (now, then) = (
            rules.now.unix_seconds(),
            self.pair.written_at.unix_seconds(),
        );
        now.saturating_sub(then)
    }

    fn is_under_way(&self, rules: &ReplicaRules) -> bool {
        self.pair.status == ReplicationStatus::Pending
            && self.age_seconds(rules) <= rules.pending_seconds_max
    }

    fn status(&mut self, rules: &ReplicaRules) {
        match self.pair.status {
            ReplicationStatus::Completed => {}
            ReplicationStatus::Pending if self.is_under_way(rules) => {}
            ReplicationStatus::Pending => {
                let age = self.age_seconds(rules);
                self.push(ReplicaCode::PendingLong, format!("the replication is under way for too long: look at the role and the destination, seconds=`{age}` most=`{}`", rules.pending_seconds_max));
            }
            ReplicationStatus::Failed => self.push(ReplicaCode::Failed, "the replication failed and is not tried again by itself: look at the role and the destination, then replicate it again"),
            ReplicationStatus::None => self.push(ReplicaCode::NotReplicated, "no rule replicates the version: it is older than the rule, or none is about it"),
            ReplicationStatus::Replica => self.push(ReplicaCode::SourceIsReplica, "what was taken for the source is a copy itself: compare it with its own source"),
        }
    }

    fn bytes(&mut self, replica: &FoundVersion) {
        let source = self.pair.source;
        if source.size != replica.size {
            self.push(
                ReplicaCode::Differs,
                format!(
                    "the copy has another size, source=`{}` replica=`{}`",
                    source.size, replica.size
                ),
            );
            return;
        }
        match (source.bytes.digest(), replica.bytes.digest()) {
            (Some(at_source), Some(at_replica)) if at_source != at_replica => {
                self.push(
                    ReplicaCode::Differs,
                    format!(
                        "the copy has other bytes, source=`{at_source}` replica=`{at_replica}`"
                    ),
                );
            }
            (Some(_), Some(_)) => {}
            _ => self.push(
                ReplicaCode::BytesNotObserved,
                "whether the copy has the same bytes is not known: verify the pack at the replica",
            ),
        }
    }

    fn lock(&mut self, replica: &FoundVersion) {
        let (source, copy) = (self.pair.source.lock, replica.lock);
        let (
            FoundLock::Observed {
                retention: wanted,
                is_held: must_be_held,
            },
            FoundLock::Observed { retention, is_held },
        ) = (source, copy)
        else {
            let which = if source == FoundLock::NotObserved {
                "source"
            } else {
                "copy"
            };
            self.push(ReplicaCode::LockNotObserved, format!("the lock of the {which} could not be looked at: grant s3:GetObjectRetention and s3:GetObjectLegalHold"));
            return;
        };
        match (wanted, retention) {
            (None, _) => {}
            (Some((mode, until)), None) => self.push(ReplicaCode::Unlocked, format!("the copy has no lock, and the source has: lock it, mode=`{mode}` until=`{until}`")),
            (Some((mode, until)), Some((copy_mode, copy_until))) => {
                if copy_until < until {
                    self.push(ReplicaCode::LockShorter, format!("the copy's lock ends earlier: extend it, source=`{until}` replica=`{copy_until}`"));
                }
                if copy_mode < mode {
                    self.push(ReplicaCode::LockSofter, format!("the copy's lock is softer: raise it, source=`{mode}` replica=`{copy_mode}`"));
                }
            }
        }
        if must_be_held && !is_held {
            self.push(
                ReplicaCode::HoldMissing,
                "the source is under a legal hold, and the copy is not: place it there too",
            );
        }
    }

    fn above(&mut self, above: Above) {
        let what = match above {
            Above::Nothing => return,
            Above::Version => "a newer version",
            Above::Marker => "a delete marker",
        };
        self.push(ReplicaCode::Shadowed, format!("{what} lies over the copy, so readers that pin no version do not get it: find out who put it there"));
    }
}

#[cfg(test)]
mod tests;
