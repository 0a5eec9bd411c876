//! What brings the spool to the store: in order, several at once, with pauses that grow while the store is away.

use std::hash::{BuildHasher as _, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use runpack_core::store::StoreError;
use tokio::time::{Instant, sleep_until, timeout};

use super::Backlog;
use super::index::{Item, Next};
use super::sending::{self, Sent};
use super::shared::Shared;

/// How many objects that were kept are removed at once.
const REMOVALS_MAX: usize = 32;

/// Brings what stands in a spool to its store.
#[derive(Debug)]
pub struct Mirror {
    shared: Arc<Shared>,
    jitter: Jitter,
    /// How often in a row the store took nothing.
    failures: u32,
    /// Nothing is sent before this.
    resume: Option<Instant>,
}

impl Mirror {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let seed = shared.settings.seed;
        Self {
            shared,
            jitter: Jitter(seed.unwrap_or_else(|| RandomState::new().hash_one(0))),
            failures: 0,
            resume: None,
        }
    }

    /// Mirrors until `shutdown`, and then stops at once: what was on its way stays in the spool and is sent again, where
    /// the store finds that it has it. May be run again.
    pub async fn run(&mut self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let shared = Arc::clone(&self.shared);
        let mut sending = FuturesUnordered::new();
        let mut under_way = Vec::new();
        loop {
            let now = Instant::now();
            shared.state().index.rouse(now);
            self.resume = self.resume.filter(|resume| *resume > now);
            // After a failure one object goes ahead and sees whether the store is back.
            let max = match self.failures {
                0 => shared.settings.in_flight.max(1),
                _ => 1,
            };
            while self.resume.is_none()
                && sending.len() < max
                && let Some(next) = { shared.state().index.next() }
            {
                let (Next::Send(item) | Next::SetAside(item)) = &next;
                under_way.push(item.clone());
                sending.push(begin(Arc::clone(&shared), next));
            }
            self.remove_expired(now).await;
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some((item, ended)) = sending.next() => {
                    under_way.retain(|other| *other != item);
                    self.ended(&item, ended);
                }
                () = shared.written.notified() => {}
                () = wait_until(self.due()) => {}
            }
        }
        drop(sending);
        for item in under_way {
            shared.state().index.again(&item);
        }
    }

    /// Tries to empty the spool for as long as `within`. Returns what is left.
    pub async fn drain(&mut self, within: Duration) -> Backlog {
        let shared = Arc::clone(&self.shared);
        self.resume = None;
        let emptied = async {
            loop {
                let settled = shared.settled.notified();
                if shared.state().index.objects() == 0 {
                    break;
                }
                settled.await;
            }
        };
        self.run(async {
            // What is left after that is told by the backlog.
            let _ = timeout(within, emptied).await;
        })
        .await;
        shared.backlog()
    }

    /// When to look again, if nothing happens before.
    fn due(&self) -> Option<Instant> {
        let due = self.shared.state().index.due();
        self.resume.into_iter().chain(due).min()
    }

    fn ended(&mut self, item: &Item, ended: Result<(), StoreError>) {
        match ended {
            Ok(()) => {
                self.shared.answered();
                (self.failures, self.resume) = (0, None);
            }
            Err(error) => self.failed(item, &error),
        }
    }

    /// What the store took nothing of is tried again, all of it after a pause. An object that fails while others may not
    /// rests for longer and holds nobody up.
    fn failed(&mut self, item: &Item, error: &StoreError) {
        let now = Instant::now();
        let is_away = error.is_retryable();
        let settings = &self.shared.settings;
        let (first, longest, in_flight) =
            (settings.backoff, settings.backoff_max, settings.in_flight);
        let attempts = settings.attempts.max(1);
        if is_away {
            self.shared.lost(error);
        } else {
            self.shared.refused(&item.key, error);
        }
        let rest = self.jitter.up_to(longest);
        {
            let mut state = self.shared.state();
            let failures = state.index.failed(item);
            if is_away && failures.checked_rem(attempts) != Some(0) {
                state.index.again(item);
            } else {
                state.index.hold(item, now.checked_add(rest).unwrap_or(now));
            }
        }
        if self.resume.is_some() {
            // It was under way when the pause began.
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if is_away || usize::try_from(self.failures).unwrap_or(usize::MAX) > in_flight {
            let doublings = self.failures.saturating_sub(1).min(20);
            let pause = first.saturating_mul(1 << doublings).min(longest);
            self.resume = now.checked_add(self.jitter.up_to(pause));
        }
    }

    async fn remove_expired(&self, now: Instant) {
        let shared = &self.shared;
        let expired = {
            let mut state = shared.state();
            state.index.expired(now, &shared.settings, REMOVALS_MAX)
        };
        let removals = expired.into_iter().map(|item| async move {
            if let Err(error) = shared.remove(&item).await {
                shared.refused(&item.key, &error);
                let later = now.checked_add(shared.settings.backoff_max);
                shared.state().index.keep(item, later.unwrap_or(now));
            }
        });
        join_all(removals).await;
        if let Err(error) = shared.tidy().await {
            shared.refused("", &error);
        }
    }
}

async fn begin(shared: Arc<Shared>, next: Next) -> (Item, Result<(), StoreError>) {
    match next {
        Next::Send(item) => {
            let ended = sending::send(&shared, &item).await;
            (item, ended)
        }
        Next::SetAside(item) => {
            let ended = sending::settle(&shared, &item, Sent::Conflict).await;
            (item, ended)
        }
    }
}

async fn wait_until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Pauses of random length, so that many servers do not come back at once. `SplitMix64` (Steele, Lea, Flood 2014).
#[derive(Debug)]
struct Jitter(u64);

impl Jitter {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = self.0;
        let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Some time, at most `max`.
    fn up_to(&mut self, max: Duration) -> Duration {
        let nanos = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX);
        let drawn = self.next().checked_rem(nanos.saturating_add(1));
        Duration::from_nanos(drawn.unwrap_or(nanos))
    }
}
