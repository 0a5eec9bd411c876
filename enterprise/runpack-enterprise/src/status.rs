//! What is true of a pack's versions now: held against its receipt and against what a lock should be.
//!
//! Everything here is read from the store at the moment it is asked for (threat L14); what was asked for at some other
//! time decides nothing (L07).

use std::collections::HashMap;

use runpack_core::id::PackId;
use runpack_core::key::ObjectKey;
use runpack_core::store::s3::{Lock, LockMode};
use runpack_core::store::{State, StoreError, VersionId};
use runpack_core::time::Timestamp;
use serde::{Serialize, Serializer};

use crate::evidence::{Evidence, Pinned, Role};
use crate::guard::{Guard, Hold};
use crate::receipt::LockReceipt;

/// What one thing that is wrong is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// A version is not locked.
    NotLocked,
    /// The lock has ended.
    LockEnded,
    /// It is locked in governance mode, which some may bypass (threat L04).
    Governance,
    /// It is locked for less than its receipt says, or not as hard (threat L07).
    LessThanReceipt,
    /// The manifest is locked for less than an artifact (threat L11).
    ManifestShorter,
    /// A delete marker stands over it (threat L05).
    DeleteMarker,
    /// A newer version stands over it (threat L06).
    NewerVersion,
    /// No receipt on this machine says which versions are the evidence.
    NoReceipt,
    /// The receipt is of another pack.
    OtherPack,
}

/// One thing that is wrong, or that one should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is called.
    pub code: Code,
    /// On which object.
    pub key: String,
    /// What was seen.
    pub text: String,
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Code {
    /// As reports write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotLocked => "not-locked",
            Self::LockEnded => "lock-ended",
            Self::Governance => "governance",
            Self::LessThanReceipt => "less-than-receipt",
            Self::ManifestShorter => "manifest-shorter",
            Self::DeleteMarker => "delete-marker",
            Self::NewerVersion => "newer-version",
            Self::NoReceipt => "no-receipt",
            Self::OtherPack => "other-pack",
        }
    }

    /// Whether the evidence may be lost or hidden by it; others are to be known.
    pub const fn is_fault(self) -> bool {
        !matches!(self, Self::Governance | Self::NoReceipt)
    }
}

/// The versions of a pack.
#[derive(Debug)]
pub struct Status {
    /// Which pack.
    pub pack_id: PackId,
    /// The versions, the commit first.
    pub versions: Vec<Pinned>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// The weakest lock over all versions; `None` where one has none.
    pub weakest: Option<Lock>,
}

impl Status {
    /// Looks at every version now.
    ///
    /// # Errors
    /// A version is gone, or has other bytes; a lock cannot be read; as the store fails.
    pub async fn of(
        guard: &Guard,
        evidence: &Evidence,
        receipt: Option<&LockReceipt>,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let pins = receipt.map(LockReceipt::pins).unwrap_or_default();
        let versions = evidence.find(guard, &pins).await?;
        Ok(Self::judged(evidence, versions, receipt, now))
    }

    /// The same of versions that are known from somewhere else than the receipt; those that are gone are left out.
    ///
    /// # Errors
    /// A lock cannot be read; as the store fails.
    pub async fn of_present(
        guard: &Guard,
        evidence: &Evidence,
        pins: &HashMap<ObjectKey, VersionId>,
        receipt: Option<&LockReceipt>,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let versions = evidence.find_present(guard, pins).await?;
        Ok(Self::judged(evidence, versions, receipt, now))
    }

    fn judged(
        evidence: &Evidence,
        versions: Vec<Pinned>,
        receipt: Option<&LockReceipt>,
        now: Timestamp,
    ) -> Self {
        let mut status = Self {
            pack_id: evidence.pack_id,
            weakest: weakest(&versions),
            findings: Vec::new(),
            versions,
        };
        status.judge(receipt, now);
        status
    }

    /// Whether nothing is wrong that could lose or hide the evidence.
    pub fn is_sound(&self) -> bool {
        !self.findings.iter().any(|finding| finding.code.is_fault())
    }

    /// How many versions are held.
    pub fn held(&self) -> usize {
        let is_held = |pinned: &&Pinned| pinned.protection.hold == Hold::On;
        self.versions.iter().filter(is_held).count()
    }

    fn judge(&mut self, receipt: Option<&LockReceipt>, now: Timestamp) {
        let mut findings = Vec::new();
        let mut find = |code, key: &str, text: String| {
            findings.push(Finding {
                code,
                key: key.to_owned(),
                text,
            });
        };
        let commit = self.versions.first();
        let commit_key = commit.map_or("", |commit| commit.part.key.as_str());
        match receipt {
            None => find(
                Code::NoReceipt,
                commit_key,
                "no receipt on this machine says which versions were locked".to_owned(),
            ),
            Some(receipt) if receipt.pack_id != self.pack_id => find(
                Code::OtherPack,
                commit_key,
                format!("the receipt is of {}", receipt.pack_id),
            ),
            Some(_) => {}
        }
        let receipted: HashMap<&str, Option<Lock>> = receipt
            .iter()
            .flat_map(|receipt| &receipt.versions)
            .map(|locked| (locked.key.as_str(), locked.lock))
            .collect();
        for pinned in &self.versions {
            let key = pinned.part.key.as_str();
            match pinned.protection.lock {
                None => find(Code::NotLocked, key, "the store shows no lock".to_owned()),
                Some(lock) if lock.until <= now => {
                    find(Code::LockEnded, key, format!("it ended {}", lock.until));
                }
                Some(_) => {}
            }
            if let Some(Some(asked)) = receipted.get(key)
                && !pinned.protection.lock.is_some_and(|l| l.covers(asked))
            {
                let text = format!("receipted: {} until {}", asked.mode.as_str(), asked.until);
                find(Code::LessThanReceipt, key, text);
            }
            for shadow in &pinned.shadows {
                let (code, what) = match shadow.state {
                    State::DeleteMarker => (Code::DeleteMarker, "a delete marker"),
                    State::Object | State::Upload => (Code::NewerVersion, "a newer version"),
                };
                let version = shadow.version.as_str();
                let text = format!("{what} of {} stands over it, {version}", shadow.modified);
                find(code, key, text);
            }
            if let Some(commit) = commit.filter(|commit| commit.part.role == Role::Manifest)
                && commit.protection.lock.map(|l| l.until) < pinned.protection.lock.map(|l| l.until)
            {
                let text = "it is locked for longer than the manifest".to_owned();
                find(Code::ManifestShorter, key, text);
            }
        }
        // Once for all: it is rarely of one version alone.
        let is_governed = |pinned: &&Pinned| {
            let lock = pinned.protection.lock;
            lock.is_some_and(|lock| lock.mode == LockMode::Governance && lock.until > now)
        };
        let governed = self.versions.iter().filter(is_governed).count();
        if governed > 0 {
            findings.push(Finding {
                code: Code::Governance,
                key: commit_key.to_owned(),
                text: format!(
                    "whoever has the right to bypass governance can remove {governed} of {} versions",
                    self.versions.len()
                ),
            });
        }
        self.findings = findings;
    }
}

fn weakest(versions: &[Pinned]) -> Option<Lock> {
    let mut locks = versions.iter().map(|pinned| pinned.protection.lock);
    let first = locks.next()??;
    locks.try_fold(first, |weakest, lock| {
        let lock = lock?;
        Some(Lock {
            mode: weakest.mode.min(lock.mode),
            until: weakest.until.min(lock.until),
        })
    })
}
