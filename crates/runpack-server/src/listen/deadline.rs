//! A time at which a wait ends, set and lifted many times with one timer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

#[derive(Debug, Default)]
pub(super) struct Deadline {
    at: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// It ends this long after a time; never, if there is no such time.
    pub(super) fn set(&mut self, from: Instant, after: Duration) {
        self.at = from.checked_add(after);
    }

    /// It does not end.
    pub(super) fn lift(&mut self) {
        self.at = None;
    }

    /// Ready once the time has come. Wakes the task then.
    pub(super) fn poll_passed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else {
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        ready!(timer.as_mut().poll(cx));
        self.at = None;
        Poll::Ready(())
    }
}
