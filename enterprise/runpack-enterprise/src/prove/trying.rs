//! The attempts, each on a canary of its own, with its control.

use runpack_core::key::ObjectKey;
use runpack_core::store::StoreError;
use runpack_core::store::s3::{Lock, LockMode};
use runpack_core::time::Timestamp;

use super::answer::Answer;
use super::attempt::{Attempt, Result, Tried};
use super::canary::{Canaries, Canary, How};
use super::{Bypass, LOCK_SECONDS, MARGIN_SECONDS};
use crate::guard::{Guard, Hold, Protection};

type Outcome<T> = std::result::Result<T, StoreError>;

pub(super) struct Proving<'a> {
    pub(super) canaries: Canaries<'a>,
    pub(super) guard: Guard,
    pub(super) attempts: Vec<Tried>,
    /// The canary that is held and could not be let go.
    pub(super) held: Option<ObjectKey>,
}

/// A control: what was done, and what came of it.
struct Control {
    what: &'static str,
    answer: Answer,
}

impl Control {
    fn works(&self) -> bool {
        self.answer == Answer::Done
    }
}

/// What is asked of a lock.
#[derive(Clone, Copy)]
enum Change {
    Shorten,
    Unlock,
    Weaken,
}

impl Proving<'_> {
    pub(super) async fn of_mode(&mut self, mode: LockMode) -> Outcome<()> {
        for (attempt, how) in [
            (Attempt::DeleteVersion, How::One),
            (Attempt::BypassDelete, How::One),
            (Attempt::DeleteMany, How::Many),
            (Attempt::BypassDeleteMany, How::Many),
        ] {
            let control = match attempt.bypass() {
                Bypass::Not => self.delete_free(attempt, mode, how).await?,
                Bypass::Governance => self.delete_bypassing(attempt, mode, how).await?,
            };
            let canary = self.locked(attempt, mode).await?;
            let answer = self.canaries.remove(&canary, how, attempt.bypass()).await;
            self.note(attempt, &canary, &control, &answer).await;
        }
        for (attempt, change) in [
            (Attempt::Shorten, Change::Shorten),
            (Attempt::BypassShorten, Change::Shorten),
            (Attempt::Unlock, Change::Unlock),
            (Attempt::BypassUnlock, Change::Unlock),
            (Attempt::WeakenMode, Change::Weaken),
            (Attempt::BypassWeakenMode, Change::Weaken),
        ] {
            if Attempt::all(mode).any(|one| one == attempt) {
                self.change(attempt, mode, change).await?;
            }
        }
        // These two are allowed, and must leave the version as it was.
        let canary = self.locked(Attempt::Overwrite, mode).await?;
        let answer = self.canaries.overwrite(&canary, mode).await;
        let same = same_request(&answer);
        self.note(Attempt::Overwrite, &canary, &same, &answer).await;
        let canary = self.locked(Attempt::DeleteKey, mode).await?;
        let answer = self.canaries.delete_key(&canary).await;
        let same = same_request(&answer);
        self.note(Attempt::DeleteKey, &canary, &same, &answer).await;
        Ok(())
    }

    /// A canary that is locked from now on, by the store's clock.
    async fn locked(&self, attempt: Attempt, mode: LockMode) -> Outcome<Canary> {
        self.canaries
            .locked(&format!("{}-{attempt}", word(mode)), mode)
            .await
    }

    /// A canary of governance for the control of an attempt.
    async fn governed(&self, attempt: Attempt, mode: LockMode) -> Outcome<Canary> {
        let name = format!("{}-{attempt}-control", word(mode));
        self.canaries.locked(&name, LockMode::Governance).await
    }

    /// Shows that these credentials delete a version that nothing protects.
    async fn delete_free(&self, attempt: Attempt, mode: LockMode, how: How) -> Outcome<Control> {
        let name = format!("{}-{attempt}-control", word(mode));
        let lock = self.canaries.shortest(mode).await?;
        let free = self.canaries.write(&name, lock).await?;
        self.canaries.wait_for_end(lock).await?;
        let answer = self.canaries.remove(&free, how, Bypass::Not).await;
        Ok(Control {
            what: match how {
                How::One => "a version that is not locked is deleted",
                How::Many => {
                    "a version that is not locked is deleted by the request that deletes many"
                }
            },
            answer: self.is_gone(&free, answer).await?,
        })
    }

    /// Shows that these credentials delete a version against a lock of governance.
    async fn delete_bypassing(
        &self,
        attempt: Attempt,
        mode: LockMode,
        how: How,
    ) -> Outcome<Control> {
        let free = self.governed(attempt, mode).await?;
        let answer = self.canaries.remove(&free, how, Bypass::Governance).await;
        Ok(Control {
            what: match how {
                How::One => {
                    "a version locked in governance mode is deleted with the right to bypass it"
                }
                How::Many => {
                    "a version locked in governance mode is deleted with the right to bypass it, by the request that deletes many"
                }
            },
            answer: self.is_gone(&free, answer).await?,
        })
    }

    async fn is_gone(&self, canary: &Canary, answer: Answer) -> Outcome<Answer> {
        Ok(
            if answer == Answer::Done && self.canaries.is_there(canary).await? {
                Answer::Other("done, and it is still there".to_owned())
            } else {
                answer
            },
        )
    }

    /// Tries to make a lock less than it is.
    async fn change(&mut self, attempt: Attempt, mode: LockMode, change: Change) -> Outcome<()> {
        let bypass = attempt.bypass();
        let (canary, control) = match (change, bypass) {
            (Change::Unlock, _) => {
                let control = self.unlock_bypassing(attempt, mode).await?;
                (self.locked(attempt, mode).await?, control)
            }
            (Change::Shorten | Change::Weaken, Bypass::Governance) => {
                let control = self.shorten_bypassing(attempt, mode).await?;
                (self.locked(attempt, mode).await?, control)
            }
            (Change::Shorten | Change::Weaken, Bypass::Not) => {
                let canary = self.locked(attempt, mode).await?;
                self.lengthen(canary).await
            }
        };
        let answer = match (change, canary.lock) {
            (Change::Unlock, _) | (_, None) => self.canaries.unlock(&canary, bypass).await,
            (Change::Shorten, Some(lock)) => {
                let shorter = self.shorter(lock).await?;
                self.canaries.retain(&canary, shorter, bypass).await
            }
            (Change::Weaken, Some(lock)) => {
                let mode = LockMode::Governance;
                let weaker = Lock { mode, ..lock };
                self.canaries.retain(&canary, weaker, bypass).await
            }
        };
        self.note(attempt, &canary, &control, &answer).await;
        Ok(())
    }

    /// What brings the end of a lock forward is the request that puts it off: that must work, and counts from then on.
    async fn lengthen(&self, mut canary: Canary) -> (Canary, Control) {
        let later = canary.lock.map(|lock| Lock {
            until: plus(lock.until, LOCK_SECONDS),
            ..lock
        });
        let answer = match later {
            Some(later) => self.canaries.retain(&canary, later, Bypass::Not).await,
            None => Answer::Unknown("nothing is locked".to_owned()),
        };
        if answer == Answer::Done {
            canary.lock = later;
        }
        let what = "the lock is made longer";
        (canary, Control { what, answer })
    }

    async fn shorten_bypassing(&self, attempt: Attempt, mode: LockMode) -> Outcome<Control> {
        let free = self.governed(attempt, mode).await?;
        let mut answer = Answer::Unknown("nothing is locked".to_owned());
        if let Some(lock) = free.lock {
            let shorter = self.shorter(lock).await?;
            let bypass = Bypass::Governance;
            answer = self.canaries.retain(&free, shorter, bypass).await;
            let after = self.guard.inspect(&free.object).await?.lock;
            if answer == Answer::Done && after.is_some_and(|after| after.until >= lock.until) {
                answer = Answer::Other("done, and it is as long as before".to_owned());
            }
        }
        Ok(Control {
            what: "a lock of governance is made shorter with the right to bypass it",
            answer,
        })
    }

    async fn unlock_bypassing(&self, attempt: Attempt, mode: LockMode) -> Outcome<Control> {
        let free = self.governed(attempt, mode).await?;
        let mut answer = self.canaries.unlock(&free, Bypass::Governance).await;
        if answer == Answer::Done && self.guard.inspect(&free.object).await?.lock.is_some() {
            answer = Answer::Other("done, and it is still locked".to_owned());
        }
        Ok(Control {
            what: "the same request takes a lock of governance away with the right to bypass it",
            answer,
        })
    }

    /// An end between now and that of the lock.
    async fn shorter(&self, lock: Lock) -> Outcome<Lock> {
        let now = self.canaries.now().await?.unix_seconds();
        let left = lock.until.unix_seconds().saturating_sub(now);
        let until = Timestamp::from_unix_seconds(now.saturating_add(left.div_ceil(2)));
        let until = until.unwrap_or(lock.until);
        Ok(Lock { until, ..lock })
    }

    pub(super) async fn of_hold(&mut self) -> Outcome<()> {
        let lock = self.canaries.shortest(LockMode::Governance).await?;
        let held = self.canaries.write("held", lock).await?;
        let what = "the hold is cleared and the version deleted";
        if let Err(error) = self.guard.set_hold(&held.object, Hold::On).await {
            let answer = Answer::Unknown("not tried: no hold was placed".to_owned());
            let control = Control {
                what: "a legal hold is placed",
                answer: Answer::Other(error.to_string()),
            };
            // It may have been placed all the same.
            self.let_go(&held).await;
            self.judge(Attempt::DeleteHeld, None, &control, &answer, Ok(()));
            return Ok(());
        }
        self.canaries.wait_for_end(lock).await?;
        let answer = self.canaries.remove(&held, How::One, Bypass::Not).await;
        let after = self.canaries.compare(&held).await;
        let cleared = match after {
            Ok(()) | Err(Answer::Unknown(_)) => self.let_go(&held).await,
            Err(_) => None,
        };
        let removed = match cleared {
            None => self.canaries.remove(&held, How::One, Bypass::Not).await,
            Some(why) => Answer::Other(format!("the hold could not be cleared: {why}")),
        };
        let control = Control {
            what,
            answer: removed,
        };
        self.judge(Attempt::DeleteHeld, None, &control, &answer, after);
        Ok(())
    }

    /// Clears the hold of a canary; why not, which is told of what is left as well.
    async fn let_go(&mut self, canary: &Canary) -> Option<String> {
        let error = self.guard.set_hold(&canary.object, Hold::Off).await.err()?;
        self.held = Some(canary.object.key.clone());
        Some(error.to_string())
    }

    /// Looks at the canary, and writes down what an attempt came to.
    async fn note(
        &mut self,
        attempt: Attempt,
        canary: &Canary,
        control: &Control,
        answer: &Answer,
    ) {
        let mut after = self.canaries.compare(canary).await;
        if after.is_ok() {
            after = match self.guard.inspect(&canary.object).await {
                Ok(found) => as_locked(canary, &found),
                Err(StoreError::NotFound { .. }) => Err(Answer::Other("is gone".to_owned())),
                Err(error) => Err(Answer::Unknown(error.to_string())),
            };
        }
        if let (Err(Answer::Other(found)), Some(lock)) = (&after, canary.lock) {
            after = Err(match self.canaries.now().await {
                Ok(now) => while_locked(found, lock, now),
                Err(error) => {
                    Answer::Unknown(format!("{found}, and it is not known when: {error}"))
                }
            });
        }
        self.judge(attempt, canary.lock, control, answer, after);
    }

    fn judge(
        &mut self,
        attempt: Attempt,
        lock: Option<Lock>,
        control: &Control,
        answer: &Answer,
        after: std::result::Result<(), Answer>,
    ) {
        self.attempts.push(Tried {
            attempt,
            mode: lock.map(|lock| lock.mode),
            control: control.what.to_owned(),
            control_answer: control.answer.to_string(),
            answer: answer.to_string(),
            result: result(attempt, control, answer, &after),
            after: match after {
                Ok(()) => "as it was".to_owned(),
                Err(found) => found.to_string(),
            },
        });
    }
}

/// What an attempt proves.
fn result(
    attempt: Attempt,
    control: &Control,
    answer: &Answer,
    after: &std::result::Result<(), Answer>,
) -> Result {
    match after {
        Err(Answer::Unknown(_)) => return Result::NotProven,
        Err(_) => return Result::NotEnforced,
        Ok(()) => {}
    }
    let is_nothing = match &control.answer {
        Answer::Refused(..) => attempt.has_control_by_bypass(),
        Answer::NotTaken(..) => attempt.is_optional(),
        Answer::Done | Answer::Other(_) | Answer::Unknown(_) => false,
    };
    match answer {
        Answer::Done | Answer::Refused(..) if control.works() => Result::Enforced,
        Answer::Refused(..) | Answer::NotTaken(..) if is_nothing => Result::NothingShown,
        _ => Result::NotProven,
    }
}

/// What was found of a canary at this time of the store: a lock that has ended binds nobody, and says nothing of the
/// store.
fn while_locked(found: &str, lock: Lock, now: Timestamp) -> Answer {
    if plus(now, MARGIN_SECONDS) < lock.until {
        return Answer::Other(found.to_owned());
    }
    Answer::Unknown(format!(
        "{found}, but its lock ended at {} or nearly, and the store's clock says {now}: the store is slow",
        lock.until
    ))
}

/// Whether a canary is locked at least as it was.
fn as_locked(canary: &Canary, found: &Protection) -> std::result::Result<(), Answer> {
    match (canary.lock, found.lock) {
        (Some(was), Some(is)) if is.covers(&was) => Ok(()),
        (None, _) => Ok(()),
        (Some(_), Some(is)) => Err(Answer::Other(format!(
            "is locked in {} mode until {}",
            is.mode, is.until
        ))),
        (Some(_), None) => Err(Answer::Other("is not locked".to_owned())),
    }
}

fn same_request(answer: &Answer) -> Control {
    Control {
        what: "the same request",
        answer: answer.clone(),
    }
}

fn word(mode: LockMode) -> String {
    mode.as_str().to_ascii_lowercase()
}

fn plus(time: Timestamp, seconds: u64) -> Timestamp {
    Timestamp::from_unix_seconds(time.unix_seconds().saturating_add(seconds))
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(answer: Answer) -> Control {
        Control {
            what: "a test",
            answer,
        }
    }

    fn refused() -> Answer {
        Answer::Refused(403, "AccessDenied".to_owned())
    }

    fn not_taken() -> Answer {
        Answer::NotTaken(400, "MalformedXML".to_owned())
    }

    fn unknown() -> Answer {
        Answer::Unknown("status 429".to_owned())
    }

    #[test]
    fn what_happens_when_the_lock_has_ended_says_nothing_of_the_store() {
        let time = |seconds| Timestamp::from_unix_seconds(seconds).unwrap();
        let lock = Lock {
            mode: LockMode::Compliance,
            until: time(1_000),
        };
        let other = Answer::Other("is gone".to_owned());
        assert_eq!(while_locked("is gone", lock, time(994)), other);
        for late in [995, 1_000, 2_000] {
            let found = while_locked("is gone", lock, time(late));
            assert!(matches!(found, Answer::Unknown(_)), "{late}");
        }
    }

    #[test]
    fn l02_l03_what_is_as_it_was_proves_only_what_its_control_lets_it() {
        use Attempt::{BypassDelete, BypassUnlock, DeleteMany, DeleteVersion, Shorten, Unlock};
        for (attempt, control_answer, answer, expected) in [
            (DeleteVersion, Answer::Done, refused(), Result::Enforced),
            (DeleteVersion, Answer::Done, unknown(), Result::NotProven),
            (DeleteVersion, Answer::Done, not_taken(), Result::NotProven),
            (DeleteVersion, refused(), refused(), Result::NotProven),
            (DeleteVersion, not_taken(), not_taken(), Result::NotProven),
            (Shorten, refused(), refused(), Result::NotProven),
            (BypassDelete, refused(), refused(), Result::NothingShown),
            (BypassDelete, refused(), unknown(), Result::NotProven),
            (BypassDelete, refused(), Answer::Done, Result::NotProven),
            (BypassDelete, unknown(), refused(), Result::NotProven),
            (Unlock, refused(), refused(), Result::NothingShown),
            (Unlock, not_taken(), not_taken(), Result::NothingShown),
            (Unlock, Answer::Done, not_taken(), Result::NotProven),
            (BypassUnlock, Answer::Done, refused(), Result::Enforced),
            (DeleteMany, refused(), refused(), Result::NotProven),
            (DeleteMany, not_taken(), not_taken(), Result::NothingShown),
        ] {
            let control = control(control_answer);
            let found = result(attempt, &control, &answer, &Ok(()));
            assert_eq!(found, expected, "{attempt} {} {answer}", control.answer);
            let gone = Err(Answer::Other("is gone".to_owned()));
            let found = result(attempt, &control, &answer, &gone);
            assert_eq!(found, Result::NotEnforced);
            let found = result(attempt, &control, &answer, &Err(unknown()));
            assert_eq!(found, Result::NotProven);
        }
    }
}
