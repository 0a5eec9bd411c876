//! One of the stores that are read through: whether it is asked now, and what came from it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::SourceAccount;
use crate::store::{ArtifactReader, StoreError};

/// What a source is to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// What is written goes here, and its word counts.
    Primary,
    /// A copy, perhaps an old one.
    Replica,
}

/// A store to read through, by a name for people.
pub struct Source {
    pub(super) name: Arc<str>,
    pub(super) role: Role,
    reader: Option<Arc<dyn ArtifactReader>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Until when it is left alone, and why.
    left_alone: Option<(Instant, Arc<str>)>,
    /// Why it is not read any more.
    set_aside: Option<Arc<str>>,
    objects: u64,
    bytes: u64,
    listings: u64,
    failures: u64,
    last_failure: Option<Arc<str>>,
}

/// Whether a source is asked now.
pub(super) enum Standing {
    Asked(Arc<dyn ArtifactReader>),
    LeftAlone(Arc<str>),
}

impl Source {
    /// The store itself.
    pub fn primary(name: &str, reader: Arc<dyn ArtifactReader>) -> Self {
        Self::new(name, Role::Primary, Some(reader))
    }

    /// A copy of it.
    pub fn replica(name: &str, reader: Arc<dyn ArtifactReader>) -> Self {
        Self::new(name, Role::Replica, Some(reader))
    }

    /// One that could not even be opened: it never answers.
    pub fn away(name: &str, role: Role, why: &StoreError) -> Self {
        let source = Self::new(name, role, None);
        source.count_failure(why);
        source
    }

    fn new(name: &str, role: Role, reader: Option<Arc<dyn ArtifactReader>>) -> Self {
        Self {
            name: name.into(),
            role,
            reader,
            state: Mutex::default(),
        }
    }

    /// The same, known not to answer now: it is asked again after a while.
    #[must_use]
    pub fn left_alone(self, why: &StoreError, wait: Duration) -> Self {
        self.failed(why, wait);
        self
    }

    pub(super) fn reader(&self) -> Option<&Arc<dyn ArtifactReader>> {
        self.reader.as_ref()
    }

    pub(super) fn shown(&self) -> String {
        match self.role {
            Role::Primary => format!("primary `{}`", self.name),
            Role::Replica => format!("replica `{}`", self.name),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Numbers and texts, each put there whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is asked now. When the while is over, one caller finds out for all.
    pub(super) fn standing(&self, wait: Duration) -> Standing {
        let mut state = self.state();
        if let Some(why) = &state.set_aside {
            return Standing::LeftAlone(Arc::clone(why));
        }
        let Some(reader) = &self.reader else {
            let why = state.last_failure.clone();
            return Standing::LeftAlone(why.unwrap_or_else(|| "not opened".into()));
        };
        let now = Instant::now();
        if let Some((until, why)) = &mut state.left_alone {
            if now < *until {
                return Standing::LeftAlone(Arc::clone(why));
            }
            *until = now.checked_add(wait).unwrap_or(now);
        }
        Standing::Asked(Arc::clone(reader))
    }

    pub(super) fn answered(&self) {
        self.state().left_alone = None;
    }

    pub(super) fn failed(&self, error: &StoreError, wait: Duration) {
        let why = self.count_failure(error);
        let now = Instant::now();
        self.state().left_alone = Some((now.checked_add(wait).unwrap_or(now), why));
    }

    fn count_failure(&self, error: &StoreError) -> Arc<str> {
        let why: Arc<str> = crate::display::chain(error).into();
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        state.last_failure = Some(Arc::clone(&why));
        why
    }

    pub(super) fn set_aside(&self, why: &str) {
        self.state().set_aside = Some(why.into());
    }

    pub(super) fn opened(&self) {
        let mut state = self.state();
        state.objects = state.objects.saturating_add(1);
    }

    pub(super) fn listed(&self) {
        let mut state = self.state();
        state.listings = state.listings.saturating_add(1);
    }

    pub(super) fn gave(&self, bytes: u64) {
        let mut state = self.state();
        state.bytes = state.bytes.saturating_add(bytes);
    }

    pub(super) fn account(&self) -> SourceAccount {
        let state = self.state();
        SourceAccount {
            name: Arc::clone(&self.name),
            role: self.role,
            objects: state.objects,
            bytes: state.bytes,
            listings: state.listings,
            failures: state.failures,
            last_failure: state.last_failure.clone(),
            set_aside: state.set_aside.clone(),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("name", &self.name)
            .field("role", &self.role)
            .field("reader", &self.reader)
            .finish_non_exhaustive()
    }
}
