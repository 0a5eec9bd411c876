//! What this server remembers of executions that run, so that it need not ask the store at every step.
//!
//! All of it is a hint: another server may have gone on meanwhile, and what is created once at the store decides.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use runpack_core::id::ExecutionId;
use runpack_core::key::Log;
use tokio::sync::Notify;

/// Executions that are remembered. What is forgotten is asked for again.
const EXECUTIONS_MAX: usize = 10_000;

/// Where a log goes on, and how many parts it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogEnd {
    pub(super) bytes: u64,
    pub(super) parts: usize,
}

#[derive(Debug, Default)]
pub(super) struct LogMemory {
    /// Held by whoever appends: of one log on one server, one at a time.
    pub(super) end: tokio::sync::Mutex<Option<LogEnd>>,
    /// Somebody appended.
    pub(super) grown: Notify,
}

#[derive(Debug, Default)]
pub(super) struct Remembered {
    runner: LogMemory,
    bench: LogMemory,
    stdout: LogMemory,
    stderr: LogMemory,
    /// How many artifacts there were when this server looked last.
    pub(super) artifacts: Mutex<Option<usize>>,
    /// Held by whoever ends it: who comes second finds what the first has done.
    pub(super) ending: tokio::sync::Mutex<()>,
}

impl Remembered {
    pub(super) const fn log(&self, log: Log) -> &LogMemory {
        match log {
            Log::Runner => &self.runner,
            Log::Bench => &self.bench,
            Log::Stdout => &self.stdout,
            Log::Stderr => &self.stderr,
        }
    }

    /// Another artifact is there.
    pub(super) fn count_artifact(&self) {
        if let Some(count) = &mut *lock(&self.artifacts) {
            *count = count.saturating_add(1);
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Memory {
    executions: Mutex<HashMap<ExecutionId, Arc<Remembered>>>,
    /// What was live of these is in a pack, and still to be removed.
    pub(super) uncleared: Mutex<BTreeSet<ExecutionId>>,
}

impl Memory {
    pub(super) fn of(&self, id: &ExecutionId) -> Arc<Remembered> {
        let mut executions = lock(&self.executions);
        if let Some(found) = executions.get(id) {
            return Arc::clone(found);
        }
        if executions.len() >= EXECUTIONS_MAX {
            executions.retain(|_, remembered| Arc::strong_count(remembered) > 1);
        }
        let new = Arc::<Remembered>::default();
        executions.insert(id.clone(), Arc::clone(&new));
        new
    }
}

/// What is in there was put there whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
