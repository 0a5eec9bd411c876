//! Looking through the store for a pack that no reference leads to: whose turn it is, and what was not found just now.
//!
//! A search reads up to a hundred thousand keys and the manifests among them, and anybody who may read anything can ask for
//! an id that nobody has. So one is under way at a time, and the same is not looked for twice in a minute.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use runpack_core::id::PackId;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

use super::PacksError;

/// How long somebody waits for their turn.
const WAIT: Duration = Duration::from_secs(5);
/// How long what was not found is not looked for again.
const MISSED_FOR: Duration = Duration::from_mins(1);
/// How many of those are remembered.
const MISSED_MAX: usize = 1_000;

#[derive(Debug)]
pub(super) struct Search {
    turn: Semaphore,
    missed: Mutex<HashMap<PackId, Instant>>,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            turn: Semaphore::new(1),
            missed: Mutex::default(),
        }
    }
}

impl Search {
    /// The turn to look for this pack; `None` where it was looked for just now and is not there.
    ///
    /// # Errors
    /// [`PacksError::Busy`] where others take longer.
    pub(super) async fn begin(
        &self,
        pack_id: PackId,
    ) -> Result<Option<SemaphorePermit<'_>>, PacksError> {
        if self.is_missed(pack_id) {
            return Ok(None);
        }
        let turn = timeout(WAIT, self.turn.acquire()).await;
        let turn = turn.ok().and_then(Result::ok).ok_or(PacksError::Busy)?;
        // Whoever had the turn may have looked for the same.
        Ok(Some(turn).filter(|_| !self.is_missed(pack_id)))
    }

    /// It was looked for and is not there.
    pub(super) fn missed(&self, pack_id: PackId) {
        let now = Instant::now();
        self.with(|missed| {
            if missed.len() >= MISSED_MAX {
                missed.retain(|_, at| is_fresh(*at, now));
            }
            if missed.len() >= MISSED_MAX {
                missed.clear();
            }
            missed.insert(pack_id, now);
        });
    }

    /// It came.
    pub(super) fn came(&self, pack_id: PackId) {
        self.with(|missed| missed.remove(&pack_id));
    }

    fn is_missed(&self, pack_id: PackId) -> bool {
        let now = Instant::now();
        self.with(|missed| missed.get(&pack_id).is_some_and(|at| is_fresh(*at, now)))
    }

    fn with<T>(&self, work: impl FnOnce(&mut HashMap<PackId, Instant>) -> T) -> T {
        // What is in the map is whole.
        work(&mut self.missed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn is_fresh(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < MISSED_FOR
}
