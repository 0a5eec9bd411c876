//! Proving that a bucket enforces what it accepts: canaries are written, what an attacker would try is tried on them, and
//! what became of them is looked at.
//!
//! An answer proves nothing by itself. A refusal counts only with a positive control, the same request by the same
//! credentials where nothing is locked, which must work: a right that is missing is not a lock. And whatever was answered,
//! the canary is read again, every byte. Some servers accept Object Lock and ignore it (threats L02, L03); of governance
//! it is told whether these credentials bypass it (L04).

mod book;
mod canary;

use std::fmt;

use runpack_core::store::s3::{Lock, LockMode, S3Store};
use runpack_core::store::{Housekeeping as _, StoreError};
use runpack_core::time::{Clock, Timestamp};
use serde::{Deserialize, Serialize};

pub use book::{PROOF_SECONDS_MAX, ProofBook};
use canary::{Answer, Canaries, Canary};

use crate::guard::{Guard, Hold};

/// How long a canary is locked, in seconds: longer than all attempts on it take.
pub const LOCK_SECONDS: u64 = 60;

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attempt {
    /// The version is deleted.
    DeleteVersion,
    /// The version is deleted with the right to bypass governance.
    BypassDelete,
    /// The end of the lock is brought forward.
    Shorten,
    /// The lock is taken away.
    Unlock,
    /// The mode is changed to the weaker one.
    WeakenMode,
    /// Other bytes are written under the key.
    Overwrite,
    /// The key is deleted, which puts a marker over the version.
    DeleteKey,
    /// A version that is held and not locked is deleted.
    DeleteHeld,
}

impl Attempt {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DeleteVersion => "delete-version",
            Self::BypassDelete => "bypass-delete",
            Self::Shorten => "shorten",
            Self::Unlock => "unlock",
            Self::WeakenMode => "weaken-mode",
            Self::Overwrite => "overwrite",
            Self::DeleteKey => "delete-key",
            Self::DeleteHeld => "delete-held",
        }
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
    /// Canaries that could not be removed yet, and until when they are locked.
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
    /// What it proves of locks of this mode. Whether these credentials bypass governance is a fact about them and not
    /// about the lock, so a bypass that could not be tried proves nothing and spoils nothing.
    pub fn verdict(&self, mode: LockMode) -> Verdict {
        let counts = |tried: &&Tried| tried.mode.is_none_or(|of| of == mode);
        let verdicts = self
            .attempts
            .iter()
            .filter(counts)
            .filter_map(|tried| match tried.result {
                Result::NotEnforced
                    if tried.attempt == Attempt::BypassDelete && mode == LockMode::Governance =>
                {
                    None
                }
                Result::NotProven if tried.attempt == Attempt::BypassDelete => None,
                Result::NotEnforced => Some(Verdict::NotEnforced),
                Result::NotProven => Some(Verdict::NotProven),
                Result::Enforced => Some(Verdict::Proven),
            });
        let is_tried = |tried: &Tried| tried.mode == Some(mode);
        if self.attempts.iter().any(is_tried) {
            verdicts.max().unwrap_or(Verdict::NotProven)
        } else {
            Verdict::NotProven
        }
    }

    /// Whether the credentials that proved it bypass governance.
    pub fn bypasses_governance(&self) -> bool {
        self.attempts.iter().any(|tried| {
            tried.attempt == Attempt::BypassDelete
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
    let now = clock.now().max(store_time);
    let mut proving = Proving {
        canaries: Canaries::new(store, nonce),
        guard: Guard::new(store.clone()),
        until: Timestamp::from_unix_seconds(now.unix_seconds().saturating_add(LOCK_SECONDS))
            .unwrap_or(Timestamp::MAX),
        attempts: Vec::new(),
    };
    for mode in modes {
        proving.of_mode(*mode).await?;
    }
    proving.of_hold().await?;
    let left = proving.canaries.clean(proving.until).await;
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

struct Proving<'a> {
    canaries: Canaries<'a>,
    guard: Guard,
    until: Timestamp,
    attempts: Vec<Tried>,
}

/// A control: what was done, what was answered, and whether it worked.
struct Control {
    what: &'static str,
    answer: String,
    works: bool,
}

impl Control {
    fn of(what: &'static str, answer: &Answer) -> Self {
        Self {
            what,
            answer: answer.to_string(),
            works: matches!(answer, Answer::Done),
        }
    }
}

impl Proving<'_> {
    async fn of_mode(&mut self, mode: LockMode) -> std::result::Result<(), StoreError> {
        let lock = Lock {
            mode,
            until: self.until,
        };
        let word = mode.as_str().to_ascii_lowercase();
        let canary = self
            .canaries
            .write(&format!("{word}-locked"), Some(lock))
            .await?;
        // The control of what removes a version: one that is not locked.
        let delete = self.control_of_deleting(&word, mode, Bypass::Not).await?;
        let bypass = self
            .control_of_deleting(&word, mode, Bypass::Governance)
            .await?;
        let answer = self.canaries.delete_version(&canary, Bypass::Not).await;
        self.note(
            Attempt::DeleteVersion,
            Some(lock),
            &canary,
            &delete,
            &answer,
        )
        .await;
        // By itself: where it succeeds, nothing is left for the others.
        let name = format!("{word}-alone");
        let alone = self.canaries.write(&name, Some(lock)).await?;
        let answer = self
            .canaries
            .delete_version(&alone, Bypass::Governance)
            .await;
        self.note(Attempt::BypassDelete, Some(lock), &alone, &bypass, &answer)
            .await;

        // What brings the end of a lock forward is the request that puts it off: that must work.
        let later = Lock {
            until: self.plus(lock.until, 1),
            ..lock
        };
        let answer = self.canaries.retain(&canary, later).await;
        let lengthen = Control::of("the lock is made longer", &answer);
        let lock = if lengthen.works { later } else { lock };
        let shorter = Lock {
            until: self.minus(lock.until, LOCK_SECONDS / 3),
            ..lock
        };
        let answer = self.canaries.retain(&canary, shorter).await;
        self.note(Attempt::Shorten, Some(lock), &canary, &lengthen, &answer)
            .await;
        let answer = self.canaries.unlock(&canary).await;
        self.note(Attempt::Unlock, Some(lock), &canary, &lengthen, &answer)
            .await;
        if mode == LockMode::Compliance {
            let weaker = Lock {
                mode: LockMode::Governance,
                ..lock
            };
            let answer = self.canaries.retain(&canary, weaker).await;
            self.note(Attempt::WeakenMode, Some(lock), &canary, &lengthen, &answer)
                .await;
        }

        // These two are allowed, and must leave the version as it was.
        let answer = self.canaries.overwrite(&canary).await;
        let done = Control::of("the same request", &answer);
        self.note(Attempt::Overwrite, Some(lock), &canary, &done, &answer)
            .await;
        let answer = self.canaries.delete_key(&canary).await;
        let done = Control::of("the same request", &answer);
        self.note(Attempt::DeleteKey, Some(lock), &canary, &done, &answer)
            .await;
        Ok(())
    }

    /// Shows that these credentials can delete a version that nothing protects; with the bypass, one that governance does.
    async fn control_of_deleting(
        &mut self,
        word: &str,
        mode: LockMode,
        bypass: Bypass,
    ) -> std::result::Result<Control, StoreError> {
        let (what, name, lock) = match bypass {
            Bypass::Not => (
                "a version that is not locked is deleted",
                format!("{word}-free"),
                self.canaries.shortest(mode, self.until).await?,
            ),
            Bypass::Governance => (
                "a version locked in governance mode is deleted with the right to bypass it",
                format!("{word}-bypassed"),
                Some(Lock {
                    mode: LockMode::Governance,
                    until: self.until,
                }),
            ),
        };
        let free = self.canaries.write(&name, lock).await?;
        if bypass == Bypass::Not {
            self.canaries.wait_for_end(lock).await?;
        }
        let answer = self.canaries.delete_version(&free, bypass).await;
        let mut control = Control::of(what, &answer);
        if control.works && self.canaries.is_there(&free).await? {
            control.works = false;
            control.answer = format!("{answer}, and it is still there");
        }
        Ok(control)
    }

    async fn of_hold(&mut self) -> std::result::Result<(), StoreError> {
        let lock = self
            .canaries
            .shortest(LockMode::Governance, self.until)
            .await?;
        let held = self.canaries.write("held", lock).await?;
        self.guard.set_hold(&held.object, Hold::On).await?;
        self.canaries.wait_for_end(lock).await?;
        let answer = self.canaries.delete_version(&held, Bypass::Not).await;
        let after = self.canaries.compare(&held).await;
        let cleared = self.guard.set_hold(&held.object, Hold::Off).await;
        let removed = self.canaries.delete_version(&held, Bypass::Not).await;
        let mut control = Control::of("the hold is cleared and the version deleted", &removed);
        control.works &= cleared.is_ok() || after.is_err();
        self.judge(Attempt::DeleteHeld, None, &control, &answer, after);
        Ok(())
    }

    /// Looks at the canary, and writes down what an attempt came to.
    async fn note(
        &mut self,
        attempt: Attempt,
        lock: Option<Lock>,
        canary: &Canary,
        control: &Control,
        answer: &Answer,
    ) {
        let mut after = self.canaries.compare(canary).await;
        if let (Ok(()), Some(lock)) = (&after, lock) {
            after = match self.guard.inspect(&canary.object).await {
                Ok(found) if found.lock == Some(lock) => Ok(()),
                Ok(found) => {
                    let found = found.lock.map_or_else(
                        || "is not locked any more".to_owned(),
                        |lock| format!("is locked as {} until {}", lock.mode.as_str(), lock.until),
                    );
                    Err(Answer::Other(found))
                }
                Err(error) => Err(Answer::Unknown(error.to_string())),
            };
        }
        self.judge(attempt, lock, control, answer, after);
    }

    fn judge(
        &mut self,
        attempt: Attempt,
        lock: Option<Lock>,
        control: &Control,
        answer: &Answer,
        after: std::result::Result<(), Answer>,
    ) {
        let result = match &after {
            Ok(()) if control.works && !matches!(answer, Answer::Unknown(_)) => Result::Enforced,
            Ok(()) | Err(Answer::Unknown(_)) => Result::NotProven,
            Err(_) => Result::NotEnforced,
        };
        self.attempts.push(Tried {
            attempt,
            mode: lock.map(|lock| lock.mode),
            control: control.what.to_owned(),
            control_answer: control.answer.clone(),
            answer: answer.to_string(),
            after: match after {
                Ok(()) => "as it was".to_owned(),
                Err(found) => found.to_string(),
            },
            result,
        });
    }

    fn plus(&self, time: Timestamp, seconds: u64) -> Timestamp {
        Timestamp::from_unix_seconds(time.unix_seconds().saturating_add(seconds))
            .unwrap_or(self.until)
    }

    fn minus(&self, time: Timestamp, seconds: u64) -> Timestamp {
        Timestamp::from_unix_seconds(time.unix_seconds().saturating_sub(seconds))
            .unwrap_or(self.until)
    }
}

/// With which right a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bypass {
    /// As anybody.
    Not,
    /// To bypass governance.
    Governance,
}
