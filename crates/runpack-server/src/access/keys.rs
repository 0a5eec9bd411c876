//! The keys of one issuer, as they were when they were fetched last, and when they are fetched again.
//!
//! Invariants: whatever tokens ask for, keys are fetched by one at a time and at most once in
//! [`Limits::keys_refetch_after`] (threat C19); ages are measured by the monotonic clock, so that a wall clock that jumps
//! makes no key younger (threat T01); keys that are too old are none (threat C20).

use std::sync::{Arc, PoisonError, RwLock};

use runpack_core::display::chain;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;

use super::fetch::{FetchError, Fetcher};
use super::jwk::{KeySet, KeySetError, PublicKey};
use super::limits::Limits;
use crate::remote::{Remote, RemoteError};

/// Why there is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoKey {
    /// The issuer has none with this id.
    Unknown,
    /// It could not be asked, and what it said last is too old, or does not have it.
    Unavailable,
}

/// Keys that are fetched as they are needed.
#[derive(Debug)]
pub(super) struct Keys {
    fetcher: Fetcher,
    limits: Limits,
    state: RwLock<State>,
    /// Held by whoever fetches.
    fetching: Arc<Mutex<()>>,
}

/// What is known of an issuer.
#[derive(Debug, Clone, Default)]
struct State {
    keys: Arc<KeySet>,
    fetched: Option<Instant>,
    tried: Option<Instant>,
}

/// What is to be done about a key.
#[derive(Debug)]
enum Look {
    /// Use it.
    Fresh(Arc<PublicKey>),
    /// Use it, if the keys cannot be fetched now.
    Aged(Arc<PublicKey>),
    /// Fetch the keys, or give up.
    Missing(NoKey),
}

impl State {
    fn look(&self, kid: &str, now: Instant, limits: &Limits) -> Look {
        let age = self.fetched.map(|at| now.saturating_duration_since(at));
        let Some(age) = age.filter(|age| *age < limits.keys_usable_for) else {
            return Look::Missing(NoKey::Unavailable);
        };
        let is_fresh = age < limits.keys_refresh_after;
        match self.keys.find(kid) {
            Some(key) if is_fresh => Look::Fresh(key),
            Some(key) => Look::Aged(key),
            None if self.fetched == self.tried => Look::Missing(NoKey::Unknown),
            // It may be a new one that we could not hear of.
            None => Look::Missing(NoKey::Unavailable),
        }
    }

    fn may_fetch(&self, now: Instant, limits: &Limits) -> bool {
        self.tried
            .is_none_or(|at| now.saturating_duration_since(at) >= limits.keys_refetch_after)
    }
}

/// Why keys were not taken over.
#[derive(Debug, thiserror::Error)]
enum RefreshError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("the document of keys is refused")]
    Document(#[from] KeySetError),
}

impl Keys {
    pub(super) fn new(source: Remote, limits: &Limits) -> Result<Self, RemoteError> {
        Ok(Self {
            fetcher: Fetcher::new(source)?,
            limits: limits.clone(),
            state: RwLock::default(),
            fetching: Arc::default(),
        })
    }

    pub(super) fn source(&self) -> &Remote {
        self.fetcher.source()
    }

    /// The key with this id.
    pub(super) async fn find(self: &Arc<Self>, kid: &str) -> Result<Arc<PublicKey>, NoKey> {
        let guard = match self.look(kid) {
            Look::Fresh(key) => return Ok(key),
            Look::Aged(key) => match Arc::clone(&self.fetching).try_lock_owned() {
                Ok(guard) => guard,
                Err(_) => return Ok(key),
            },
            Look::Missing(why) if !self.may_fetch() => return Err(why),
            Look::Missing(_) => Arc::clone(&self.fetching).lock_owned().await,
        };
        if self.may_fetch() {
            // A task of its own: a client that goes away takes no fetch with it.
            let keys = Arc::clone(self);
            if let Err(error) = tokio::spawn(keys.refresh(guard)).await {
                tracing::error!(error = chain(&error), "a fetch of keys did not end");
            }
        }
        match self.look(kid) {
            Look::Fresh(key) | Look::Aged(key) => Ok(key),
            Look::Missing(why) => Err(why),
        }
    }

    fn look(&self, kid: &str) -> Look {
        self.state().look(kid, Instant::now(), &self.limits)
    }

    fn may_fetch(&self) -> bool {
        self.state().may_fetch(Instant::now(), &self.limits)
    }

    fn state(&self) -> State {
        self.state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner));
    }

    async fn refresh(self: Arc<Self>, _guard: OwnedMutexGuard<()>) {
        let now = Instant::now();
        self.change(|state| state.tried = Some(now));
        match self.fetched().await {
            Ok(keys) => self.change(|state| {
                state.keys = Arc::new(keys);
                state.fetched = Some(now);
            }),
            Err(error) => tracing::warn!(
                source = ?self.fetcher,
                error = chain(&error),
                "keys of an issuer could not be fetched"
            ),
        }
    }

    async fn fetched(&self) -> Result<KeySet, RefreshError> {
        let limits = &self.limits;
        let bytes = self
            .fetcher
            .fetch(limits.keys_deadline, limits.keys_bytes_max)
            .await?;
        Ok(KeySet::read(&bytes)?)
    }
}

#[cfg(test)]
mod tests;
