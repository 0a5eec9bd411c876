//! Copying a tree of files to a store under the canonical keys: verified there, and only then cleaned by age.
//!
//! A tree is what a bench or a service writes to a shared mount (EFS, NFS):
//!
//! | layout | an item | becomes |
//! |---|---|---|
//! | [`Layout::Executions`] | `{bench_id}/{execution_id}/raw/...` | an execution and its pack |
//! | [`Layout::Records`] | `{organization}/{project}/{service}/{run_id}/payload.json` | a record |
//!
//! Of an execution, `raw/{runner,bench,stdout,stderr}.log` and the same below `raw/logs` are its logs, everything else below
//! `raw` is `artifacts/...`; `metadata.json`, in `raw` or beside it, says how it ended. A payload is the body that a client
//! would have sent. Names that begin with `.` above an item are passed over. Invariants:
//!
//! - **shipped is verified**: an item is marked when the store gave all of it back as it was sent, not before;
//! - **again is the same**: two shippers, or one that was killed anywhere, come to the same objects, each there once;
//! - **what changes is not shipped**: an item that is not at rest waits, one that changes meanwhile is told and left (W16);
//! - **the tree is never believed against the store, nor the store against the tree**: what differs is told, and stays;
//! - **deleting goes nowhere**: nothing that is removed from the tree is removed from the store.

mod backoff;
mod clean;
mod execution;
mod marker;
mod plan;
mod problem;
mod record;
mod tree;
mod visit;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use runpack_core::digest::Digest;
use runpack_core::manifest::{Producer, Text};
use runpack_core::store::{Housekeeping, Store};
use runpack_core::time::Clock;
use tokio::time::Instant;

pub use backoff::Retry;
pub use marker::{COMPLETE, Kept, MARKER, Marker, Markers, ShippedFile};
pub use problem::Problem;

use crate::execution::{ExecutionResult, Executions, Owner};
use crate::record::Records;
use crate::staging::Staging;
use backoff::Backoff;
use execution::ToExecutions;
use record::ToRecords;
use tree::{Folder, blocking};
use visit::Fate;

/// Media type and kind of a file with this name, given as raw bytes.
pub type Kinds = fn(&[u8]) -> (&'static str, &'static str);

/// How a tree is laid out, and what it does not say.
#[derive(Debug, Clone)]
pub enum Layout {
    /// `{bench_id}/{execution_id}/raw/...`
    Executions(Benches),
    /// `{organization}/{project}/{service}/{run_id}/payload.json`
    Records,
}

/// What a tree of executions does not say.
#[derive(Debug, Clone)]
pub struct Benches {
    /// Whose the executions are.
    pub owner: Owner,
    /// What runs them, where `metadata.json` does not say it.
    pub runner_type: Text<128>,
    /// How an execution ended whose `metadata.json` does not say it. Nobody said that it passed: by default
    /// [`ExecutionResult::Error`].
    pub result_unsaid: ExecutionResult,
    /// What becomes of an execution that can never be shipped as it is.
    pub on_failure: OnFailure,
}

impl Benches {
    /// Executions of `owner` on benches of this type, all else by default.
    pub fn new(owner: Owner, runner_type: Text<128>) -> Self {
        Self {
            owner,
            runner_type,
            result_unsaid: execution::RESULT_UNSAID,
            on_failure: OnFailure::default(),
        }
    }
}

/// What becomes of an execution that can never be shipped as it is, through a fault of the tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// It is told, round after round, until somebody mends it.
    #[default]
    Tell,
    /// After so many rounds ([`Settings::rounds_until_marked`]) it ends as `artifact_error`, for good.
    Mark,
}

/// Where a tree is shipped to.
#[derive(Debug, Clone)]
pub struct To {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Removes what was live of an execution when its pack is made.
    pub keeper: Option<Arc<dyn Housekeeping>>,
    /// Where files wait while they are hashed. No two processes share one.
    pub staging: Staging,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Who makes the packs.
    pub producer: Producer,
}

/// What a caller may choose.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// As whom it ships. Two shippers of one tree are the same one.
    pub by: String,
    /// Items under way at once.
    pub in_flight: usize,
    /// How long nothing of an item may have changed before it is shipped. [`COMPLETE`] beside it says it at once.
    pub settle: Duration,
    /// How long after it was shipped an item is removed from the tree; `None` for never.
    pub clean_after: Option<Duration>,
    /// Where it is noted what was shipped.
    pub markers: Markers,
    /// What a file is, told from its name.
    pub kinds: Kinds,
    /// How often the store is tried.
    pub retry: Retry,
    /// In which round of one failure after another an execution is marked ([`OnFailure::Mark`]).
    pub rounds_until_marked: u32,
    /// Files and directories of one item. Stops a tree made to exhaust memory.
    pub entries_max: usize,
}

impl Settings {
    /// The defaults for a layout.
    pub fn of(layout: &Layout) -> Self {
        let settle = match layout {
            Layout::Executions(_) => Duration::from_mins(5),
            Layout::Records => Duration::from_secs(5),
        };
        Self {
            by: "ship".to_owned(),
            in_flight: 2,
            settle,
            clean_after: None,
            markers: Markers::default(),
            kinds: |_| ("application/octet-stream", "file"),
            retry: Retry::default(),
            rounds_until_marked: 3,
            entries_max: 100_000,
        }
    }
}

/// An item that was shipped and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shipped {
    /// Its path in the tree.
    pub path: PathBuf,
    /// What it is in the store.
    pub kept: Kept,
    /// Where its manifest or payload is.
    pub key: String,
}

/// What one look at the whole tree came to. Paths are below the tree's root.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Round {
    /// Shipped now.
    pub shipped: Vec<Shipped>,
    /// How many were shipped before.
    pub already: u64,
    /// Not at rest yet.
    pub waiting: Vec<PathBuf>,
    /// Not shipped, and why. They are tried again in the next round.
    pub failed: Vec<(PathBuf, Problem)>,
    /// Removed from the tree.
    pub cleaned: Vec<PathBuf>,
    /// Shipped, and the tree has something by now that was not, or they could not be removed; and why.
    pub kept: Vec<(PathBuf, Problem)>,
}

#[derive(Debug)]
enum Target {
    Executions(Box<ToExecutions>),
    Records(ToRecords),
}

/// A tree that is shipped.
#[derive(Debug)]
pub struct Ship {
    root: Arc<Folder>,
    state: Option<Arc<Folder>>,
    target: Target,
    clock: Arc<dyn Clock>,
    settings: Settings,
    backoff: Backoff,
    /// What items were seen as that are not at rest, and since when.
    seen: Mutex<HashMap<PathBuf, (Digest, Instant)>>,
    /// In how many rounds an execution failed through a fault of its own.
    failures: Mutex<HashMap<PathBuf, u32>>,
}

impl Ship {
    /// The tree at `root`.
    ///
    /// # Errors
    /// It is no directory that can be opened, or the directory for markers is none.
    pub fn open(root: &Path, layout: Layout, to: To, settings: Settings) -> Result<Self, Problem> {
        let state = match &settings.markers {
            Markers::InTree => None,
            Markers::In(directory) => {
                std::fs::create_dir_all(directory).map_err(|source| Problem::Local {
                    action: "making a directory",
                    path: directory.clone(),
                    source,
                })?;
                Some(Arc::new(Folder::open(directory)?))
            }
        };
        let clock = Arc::clone(&to.clock);
        Ok(Self {
            root: Arc::new(Folder::open(root)?),
            state,
            target: target(layout, to, &settings),
            clock,
            backoff: Backoff::new(settings.retry.clone()),
            settings,
            seen: Mutex::default(),
            failures: Mutex::default(),
        })
    }

    /// Looks at the whole tree once, and ships and cleans what is ready. One item that fails stops no other.
    pub async fn round(&self) -> Round {
        self.backoff.refill();
        let mut round = Round::default();
        let (root, depth) = (Arc::clone(&self.root), self.depth());
        let found = blocking(move || Ok(visit::items(&root, depth))).await;
        let (items, strangers) = match found {
            Ok(found) => found,
            Err(problem) => (Vec::new(), vec![(PathBuf::new(), problem)]),
        };
        round.failed = strangers;
        self.forget_others(&items);
        let visits = stream::iter(items).map(|item| async move {
            let fate = self.visit(&item).await;
            (item, fate)
        });
        let mut visits = std::pin::pin!(visits.buffer_unordered(self.settings.in_flight.max(1)));
        while let Some((path, fate)) = visits.next().await {
            match fate {
                Fate::Shipped(shipped) => round.shipped.push(shipped),
                Fate::Already => round.already = round.already.saturating_add(1),
                Fate::Waiting => round.waiting.push(path),
                Fate::Cleaned => round.cleaned.push(path),
                Fate::Stays(problem) => {
                    round.already = round.already.saturating_add(1);
                    round.kept.push((path, problem));
                }
                Fate::Failed(problem) => round.failed.push((path, problem)),
            }
        }
        round
    }

    /// Does a round, tells it, waits for `every`, and so on until `shutdown`. A round that is under way then is given up,
    /// which is what a kill would do to it: the next one goes on.
    pub async fn run(
        &self,
        every: Duration,
        shutdown: impl Future<Output = ()>,
        mut tell: impl FnMut(Round),
    ) {
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => return,
                round = self.round() => tell(round),
            }
            tokio::select! {
                () = &mut shutdown => return,
                () = tokio::time::sleep(every) => {}
            }
        }
    }

    fn depth(&self) -> usize {
        match self.target {
            Target::Executions(_) => 2,
            Target::Records(_) => 4,
        }
    }

    /// What is known of items that are not there any more is forgotten.
    fn forget_others(&self, items: &[PathBuf]) {
        let there: std::collections::HashSet<&PathBuf> = items.iter().collect();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|path, _| there.contains(path));
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.retain(|path, _| there.contains(path));
    }
}

fn target(layout: Layout, to: To, settings: &Settings) -> Target {
    let by = settings.by.clone();
    let To {
        store,
        keeper,
        staging,
        clock,
        producer,
    } = to;
    match layout {
        Layout::Records => Target::Records(ToRecords {
            records: Records::new(store, clock),
            by,
        }),
        Layout::Executions(benches) => Target::Executions(Box::new(ToExecutions {
            executions: Arc::new(Executions::new(
                Arc::clone(&store),
                keeper,
                staging.clone(),
                clock,
                producer.clone(),
            )),
            benches,
            store,
            staging,
            producer,
            kinds: settings.kinds,
            by,
        })),
    }
}

#[cfg(test)]
mod tests;
