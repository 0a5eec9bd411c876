//! Proving that a bucket enforces what it accepts: canaries are written, what an attacker would try is tried on them, and
//! what became of them is looked at.
//!
//! An answer proves nothing by itself. A refusal counts only with a positive control, the same request by the same
//! credentials where nothing is locked, which must work: a right that is missing is not a lock. And whatever was answered,
//! the canary is read again, every byte. Some servers accept Object Lock and ignore it (threats L02, L03); of governance
//! it is told whether these credentials bypass it (L04).

mod answer;
mod attempt;
mod book;
mod canary;
mod trying;

use runpack_core::store::s3::{LockMode, S3Store};
use runpack_core::store::{Housekeeping as _, StoreError};
use runpack_core::time::{Clock, Timestamp};
use serde::{Deserialize, Serialize};

pub use attempt::{Attempt, Result, Tried};
pub use book::{PROOF_SECONDS_MAX, ProofBook};
use canary::Canaries;
use trying::Proving;

use crate::guard::Guard;

/// How long a canary is locked from its writing, in seconds: longer than one attempt on it takes.
pub const LOCK_SECONDS: u64 = 60;
/// What happens so shortly before the end of a lock, in seconds, may have happened after it.
const MARGIN_SECONDS: u64 = 5;

/// What all attempts together prove; what is worse is more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Whatever was tried was refused, each with its control.
    Proven,
    /// Something could not be told.
    NotProven,
    /// Something was not refused.
    NotEnforced,
}

/// A transcript.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// The format.
    pub format: Format,
    /// Which store: it tells services apart.
    pub place: String,
    /// When, by this machine's clock.
    pub proved_at: Timestamp,
    /// When, by the store's clock.
    pub store_time: Timestamp,
    /// The name of the canaries.
    pub nonce: String,
    /// What was tried, in order.
    pub attempts: Vec<Tried>,
    /// Canaries that could not be removed yet, and why.
    pub left: Vec<String>,
}

/// Which format a transcript is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// The first.
    #[serde(rename = "runpack-proof/v1")]
    V1,
}

impl Proof {
    /// What it proves of locks of this mode: nothing, where something was not tried at all.
    pub fn verdict(&self, mode: LockMode) -> Verdict {
        let is_tried = |attempt: Attempt| {
            let is_it =
                |tried: &Tried| tried.attempt == attempt && tried.mode.is_none_or(|of| of == mode);
            self.attempts.iter().any(is_it)
        };
        let counted = self.attempts.iter().filter(|tried| tried.counts_for(mode));
        let verdicts = counted.map(|tried| match tried.result {
            Result::NotEnforced => Verdict::NotEnforced,
            Result::NotProven | Result::NothingShown => Verdict::NotProven,
            Result::Enforced => Verdict::Proven,
        });
        let worst = verdicts.max().unwrap_or(Verdict::NotProven);
        if Attempt::all(mode).all(is_tried) {
            worst
        } else {
            worst.max(Verdict::NotProven)
        }
    }

    /// Whether the credentials that proved it bypass governance.
    pub fn bypasses_governance(&self) -> bool {
        self.attempts.iter().any(|tried| {
            tried.attempt.bypass() == Bypass::Governance
                && tried.mode == Some(LockMode::Governance)
                && tried.result == Result::NotEnforced
        })
    }

    /// The transcript as a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Text in a fixed shape always becomes JSON.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

/// Tries everything on canaries of these modes, and removes what can be removed.
///
/// # Errors
/// No canary could be written, or the store cannot be asked: nothing is proved then.
pub async fn prove(
    store: &S3Store,
    place: &str,
    modes: &[LockMode],
    clock: &dyn Clock,
    nonce: u64,
) -> std::result::Result<Proof, StoreError> {
    let store_time = store.now().await?;
    let mut proving = Proving {
        canaries: Canaries::new(store, nonce),
        guard: Guard::new(store.clone()),
        attempts: Vec::new(),
        held: None,
    };
    for mode in modes {
        proving.of_mode(*mode).await?;
    }
    proving.of_hold().await?;
    let left = proving.canaries.clean(proving.held.as_ref()).await;
    Ok(Proof {
        format: Format::V1,
        place: place.to_owned(),
        proved_at: clock.now(),
        store_time,
        nonce: format!("{nonce:016x}"),
        attempts: proving.attempts,
        left,
    })
}

/// With which right a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bypass {
    /// As anybody.
    Not,
    /// To bypass governance.
    Governance,
}
