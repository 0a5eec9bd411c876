//! What is tried on a canary, and what came of it.

use std::fmt;

use runpack_core::store::s3::LockMode;
use serde::{Deserialize, Serialize};

use super::Bypass;

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attempt {
    /// The version is deleted.
    DeleteVersion,
    /// The version is deleted with the right to bypass governance.
    BypassDelete,
    /// The version is deleted by the request that deletes many.
    DeleteMany,
    /// The same with the right to bypass governance.
    BypassDeleteMany,
    /// The end of the lock is brought forward.
    Shorten,
    /// The same with the right to bypass governance.
    BypassShorten,
    /// The lock is taken away.
    Unlock,
    /// The same with the right to bypass governance.
    BypassUnlock,
    /// The mode is changed to the weaker one.
    WeakenMode,
    /// The same with the right to bypass governance.
    BypassWeakenMode,
    /// Other bytes are written under the key.
    Overwrite,
    /// The key is deleted, which puts a marker over the version.
    DeleteKey,
    /// A version that is held and not locked is deleted.
    DeleteHeld,
}

impl Attempt {
    /// What must be in a transcript before it proves anything of governance.
    const OF_GOVERNANCE: [Self; 11] = [
        Self::DeleteVersion,
        Self::BypassDelete,
        Self::DeleteMany,
        Self::BypassDeleteMany,
        Self::Shorten,
        Self::BypassShorten,
        Self::Unlock,
        Self::BypassUnlock,
        Self::Overwrite,
        Self::DeleteKey,
        Self::DeleteHeld,
    ];
    /// The same of compliance, beside what is above.
    const OF_COMPLIANCE: [Self; 2] = [Self::WeakenMode, Self::BypassWeakenMode];

    /// Everything that is tried on locks of this mode, and on holds.
    pub(super) fn all(mode: LockMode) -> impl Iterator<Item = Self> {
        let others: &[Self] = match mode {
            LockMode::Governance => &[],
            LockMode::Compliance => &Self::OF_COMPLIANCE,
        };
        Self::OF_GOVERNANCE.iter().chain(others).copied()
    }

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DeleteVersion => "delete-version",
            Self::BypassDelete => "bypass-delete",
            Self::DeleteMany => "delete-many",
            Self::BypassDeleteMany => "bypass-delete-many",
            Self::Shorten => "shorten",
            Self::BypassShorten => "bypass-shorten",
            Self::Unlock => "unlock",
            Self::BypassUnlock => "bypass-unlock",
            Self::WeakenMode => "weaken-mode",
            Self::BypassWeakenMode => "bypass-weaken-mode",
            Self::Overwrite => "overwrite",
            Self::DeleteKey => "delete-key",
            Self::DeleteHeld => "delete-held",
        }
    }

    /// With which right it is sent.
    pub(super) const fn bypass(self) -> Bypass {
        match self {
            Self::BypassDelete
            | Self::BypassDeleteMany
            | Self::BypassShorten
            | Self::BypassUnlock
            | Self::BypassWeakenMode => Bypass::Governance,
            Self::DeleteVersion
            | Self::DeleteMany
            | Self::Shorten
            | Self::Unlock
            | Self::WeakenMode
            | Self::Overwrite
            | Self::DeleteKey
            | Self::DeleteHeld => Bypass::Not,
        }
    }

    /// Whether its control needs the right to bypass governance, which who keeps evidence need not have.
    pub(super) const fn has_control_by_bypass(self) -> bool {
        matches!(self.bypass(), Bypass::Governance) || matches!(self, Self::Unlock)
    }

    /// Whether a store may do without the request: what it does not take, nobody removes a version with.
    pub(super) const fn is_optional(self) -> bool {
        matches!(
            self,
            Self::Unlock | Self::BypassUnlock | Self::DeleteMany | Self::BypassDeleteMany
        )
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Result {
    /// The canary is as it was, and the control shows that only the lock did it.
    Enforced,
    /// The canary is gone, changed, or not locked as it was.
    NotEnforced,
    /// It cannot be told: the control did not work, or nobody knows what became of the request.
    NotProven,
    /// The canary is as it was, and nothing is shown by that: these credentials have no right to bypass governance, or
    /// the store takes no such request, as the control shows.
    NothingShown,
}

/// An attempt, and all that was seen of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tried {
    /// What was tried.
    pub attempt: Attempt,
    /// On a canary of this mode; none where nothing is locked but held.
    pub mode: Option<LockMode>,
    /// What was done to see that these credentials can do it at all.
    pub control: String,
    /// What the store answered to that.
    pub control_answer: String,
    /// What the store answered to the attempt.
    pub answer: String,
    /// What the canary was found to be afterwards.
    pub after: String,
    /// What that proves.
    pub result: Result,
}

impl Tried {
    /// Whether it tells of locks of this mode. What governance allows to who has the right to bypass it is a fact about
    /// these credentials and not about the lock.
    pub fn counts_for(&self, mode: LockMode) -> bool {
        let is_allowed =
            mode == LockMode::Governance && self.attempt.bypass() == Bypass::Governance;
        let is_of = self.mode.is_none_or(|of| of == mode);
        let is_shown = match self.result {
            Result::NothingShown => false,
            Result::NotEnforced => !is_allowed,
            Result::Enforced | Result::NotProven => true,
        };
        is_of && is_shown
    }
}
