//! What the store in front and the mirror behind share: the directory, the index, and how it is with the store.

use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use runpack_core::display::{Printable, chain};
use runpack_core::key::{KeyPrefix, Location, ObjectKey, RecordObject};
use runpack_core::store::{FileStore, Holding, Housekeeping as _, Store, StoreError};
use runpack_core::time::Clock;
use tokio::runtime::Handle;
use tokio::sync::{Notify, RwLock};

use super::directory::Directory;
use super::index::{Index, Item};
use super::order::{After, after};
use super::{Backlog, SpoolError, SpoolFull, SpoolSettings, Standing};

/// Keys are spread over so many locks.
const TURNS: usize = 256;
/// After so many removals the directories that they left empty are removed although something stands in the spool.
const REMOVALS_BEFORE_TIDYING: u64 = 4_096;
/// The slowest line over which a large object is waited for, in bytes a second.
const BYTES_PER_SECOND_MIN: u64 = 256 << 10;
/// What a small write is, for telling whether one would find room.
const SMALL_BYTES: u64 = 1 << 20;
/// The longest text of an error that is kept.
const ERROR_CHARS_MAX: usize = 600;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) directory: Directory,
    /// Whoever writes holds a read lock until the write has ended; see [`Shared::tidy`].
    pub(super) local: Arc<RwLock<FileStore>>,
    pub(super) remote: Arc<dyn Store>,
    pub(super) settings: SpoolSettings,
    pub(super) clock: Arc<dyn Clock>,
    /// Writes are ended on it, so that whoever asked for one may go away in the middle.
    pub(super) runtime: Handle,
    state: Mutex<State>,
    /// Told of when something may be sent.
    pub(super) written: Notify,
    /// Told of when something need not be sent any more.
    pub(super) settled: Notify,
    /// Who writes an object here reads its key's lock meanwhile, and who takes one away writes it: so what was found here is
    /// still here when the write ends.
    turns: Box<[Arc<RwLock<()>>]>,
    hashing: RandomState,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) index: Index,
    store: Standing,
    last_error: Option<Arc<str>>,
    removals: u64,
    /// Whether the store has had another claim than one of ours, so that a record may be on its way here whose day is not
    /// the run's. From then on every claim is read before a record goes.
    was_overruled: bool,
}

/// How a write goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// To the store.
    Through,
    /// To the store, after a look whether it still has a place there.
    Checked,
    /// To the spool.
    Spooled,
}

impl Shared {
    pub(super) async fn open(
        dir: &Path,
        remote: Arc<dyn Store>,
        settings: SpoolSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SpoolError> {
        let io = |action: &'static str| {
            let path = dir.to_owned();
            move |source| SpoolError::Io {
                action,
                path,
                source,
            }
        };
        let runtime = Handle::try_current()
            .map_err(|error| io("finding the runtime")(std::io::Error::other(error)))?;
        let path = dir.to_owned();
        let opened = runtime.spawn_blocking(move || Directory::open(&path)).await;
        let (directory, conflicts) =
            opened.map_err(|gone| io("opening the spool")(std::io::Error::other(gone)))??;
        let local = FileStore::create(&directory.objects()).await?;
        let mut index = Index::default();
        for (key, bytes) in conflicts {
            index.note_aside(&key, bytes);
        }
        take_up(&local, &mut index).await?;
        Ok(Self {
            directory,
            local: Arc::new(RwLock::new(local)),
            remote,
            settings,
            clock,
            runtime,
            state: Mutex::new(State {
                index,
                store: Standing::Reachable,
                last_error: None,
                removals: 0,
                was_overruled: false,
            }),
            written: Notify::new(),
            settled: Notify::new(),
            turns: (0..TURNS).map(|_| Arc::default()).collect(),
            hashing: RandomState::new(),
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // No code that holds it calls anything that panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock of a key.
    pub(super) fn turn(&self, key: &str) -> Arc<RwLock<()>> {
        let hash = usize::try_from(self.hashing.hash_one(key) & 0xffff_ffff).unwrap_or(0);
        let at = hash.checked_rem(self.turns.len()).unwrap_or(0);
        self.turns.get(at).map(Arc::clone).unwrap_or_default()
    }

    pub(super) fn backlog(&self) -> Backlog {
        let has_room = self.room(SMALL_BYTES).is_ok();
        let now = self.clock.now();
        let state = self.state();
        let oldest = state.index.oldest();
        let waited = oldest.map_or(0, |oldest| {
            now.unix_seconds().saturating_sub(oldest.unix_seconds())
        });
        Backlog {
            objects: state.index.objects(),
            bytes: state.index.unconfirmed_bytes(),
            oldest,
            waited: Duration::from_secs(waited),
            has_room,
            conflicts: state.index.conflicts(),
            store: if state.is_away() {
                state.store.clone()
            } else {
                Standing::Reachable
            },
            last_error: state.last_error.clone(),
        }
    }

    /// How a write of `key` goes: to the store, unless something has to be there before it that waits here, or the store
    /// is away. While nothing waits, nobody but a write would find out that it is back.
    ///
    /// # Errors
    /// It commits to something that the store cannot have.
    pub(super) fn way(&self, key: &str) -> Result<Way, StoreError> {
        let location = Location::parse(key);
        let state = self.state();
        if state.index.is_hopeless(key) {
            return Err(StoreError::Barred {
                reason: format!(
                    "what this commits to lies among the spool's conflicts, somebody has to look at them first, key=`{key}`"
                ),
            });
        }
        let is_away = state.is_away();
        Ok(match location.as_ref() {
            _ if is_away || !state.index.is_free(key) => Way::Spooled,
            Some(Location::Record {
                object: RecordObject::Payload { .. },
                ..
            }) if state.was_overruled => Way::Checked,
            Some(location) if state.is_broken_off(location) => Way::Checked,
            _ => Way::Through,
        })
    }

    /// Whether an object is a part of a log of which another part was set aside.
    pub(super) fn is_broken_off(&self, location: &Location) -> bool {
        self.state().is_broken_off(location)
    }

    /// The store has another claim than one of ours, or may have.
    pub(super) fn overruled(&self) {
        self.state().was_overruled = true;
    }

    /// Whether the store did not answer when it was last asked, and the mirror finds out when it does.
    pub(super) fn is_away(&self) -> bool {
        self.state().is_away()
    }

    /// How long sending an object of this size may take.
    pub(super) fn send_within(&self, bytes: u64) -> Duration {
        let seconds = bytes / BYTES_PER_SECOND_MIN;
        let within = self.settings.send_within;
        within.saturating_add(Duration::from_secs(seconds))
    }

    /// The store did not answer.
    pub(super) fn lost(&self, error: &StoreError) {
        let told = told(error);
        let now = self.clock.now();
        let mut state = self.state();
        let since = match state.store {
            Standing::Away { since, .. } => since,
            Standing::Reachable => {
                tracing::warn!(error = %told, "the store is away; writes wait in the spool");
                now
            }
        };
        state.last_error = Some(Arc::clone(&told));
        state.store = Standing::Away { since, error: told };
    }

    /// The store answered, and did not take an object for a reason that may be the object's own.
    pub(super) fn refused(&self, key: &str, error: &StoreError) {
        let told = told(error);
        tracing::warn!(key, error = %told, "the store does not take an object; it stays in the spool");
        self.state().last_error = Some(told);
    }

    /// The store took a write.
    pub(super) fn reached(&self) {
        let mut state = self.state();
        if state.store != Standing::Reachable {
            tracing::info!("the store is back");
            state.store = Standing::Reachable;
        }
    }

    /// The store took an object of the spool, or answered that it has another.
    pub(super) fn answered(&self) {
        self.reached();
        self.state().last_error = None;
    }

    /// Whether a write of so many bytes finds room.
    fn room(&self, bytes: u64) -> Result<MutexGuard<'_, State>, SpoolFull> {
        let reserve = self.settings.reserve_bytes;
        // One call that reads what the kernel has in memory. What cannot be told is not taken for space.
        let free = self.directory.bytes_free().unwrap_or(0);
        let state = self.state();
        let wanted = reserve
            .saturating_add(state.index.bytes_reserved())
            .saturating_add(bytes);
        if free < wanted {
            return Err(SpoolFull::Disk { reserve });
        }
        state.index.room(bytes, &self.settings)?;
        Ok(state)
    }

    /// Makes room for a write, or refuses it.
    pub(super) fn reserve(self: &Arc<Self>, bytes: u64) -> Result<Reservation, SpoolFull> {
        self.room(bytes)?.index.reserve(bytes);
        Ok(Reservation {
            shared: Arc::clone(self),
            bytes,
        })
    }

    /// Takes an object away that the store has.
    pub(super) async fn remove(&self, item: &Item) -> Result<(), StoreError> {
        let _turn = self.turn(&item.key).write_owned().await;
        if self.state().index.has(item) {
            self.unlink(&item.key).await?;
            self.state().index.forget(item);
        }
        Ok(())
    }

    /// Takes a name out of the spool, for whoever has the key's lock.
    pub(super) async fn unlink(&self, key: &str) -> Result<(), StoreError> {
        let local = self.local.read().await.clone();
        let holding = Holding::object(key.to_owned(), 0, self.clock.now());
        local.remove(&holding).await?;
        let mut state = self.state();
        state.removals = state.removals.saturating_add(1);
        Ok(())
    }

    /// Removes the directories that objects left empty: when nothing stands in the spool any more, or many have left it; and
    /// not while anybody writes here, which nobody does but in an outage. A store in a directory never looks again at a name
    /// that it made durable, so it is opened anew.
    pub(super) async fn tidy(&self) -> Result<(), StoreError> {
        let is_due = {
            let state = self.state();
            state.removals >= REMOVALS_BEFORE_TIDYING
                || state.removals > 0 && state.index.is_empty()
        };
        if !is_due {
            return Ok(());
        }
        let Ok(mut local) = self.local.try_write() else {
            return Ok(());
        };
        let fresh = FileStore::open(&self.directory.objects()).await?;
        let pruning = self.directory.pruning();
        // What cannot be removed hurts nobody.
        let _ = self.runtime.spawn_blocking(pruning).await;
        *local = fresh;
        self.state().removals = 0;
        Ok(())
    }
}

impl State {
    fn is_away(&self) -> bool {
        self.index.objects() > 0 && matches!(self.store, Standing::Away { .. })
    }

    fn is_broken_off(&self, location: &Location) -> bool {
        match after(location) {
            After::Earlier(log) => self.index.has_aside(&log, ""),
            _ => false,
        }
    }
}

/// Room for a write under way.
#[derive(Debug)]
pub(super) struct Reservation {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shared.state().index.release(self.bytes);
    }
}

/// Takes up what stands in the spool: by age, and of one second what waits for nothing first.
async fn take_up(local: &FileStore, index: &mut Index) -> Result<(), SpoolError> {
    let mut found = Vec::new();
    let mut holdings = local.holdings(&KeyPrefix::all());
    while let Some(holding) = holdings.next().await {
        let holding = holding?;
        match Location::parse(&holding.key) {
            Some(location) => {
                let commits = !after(&location).is_nothing();
                found.push((holding.modified, commits, holding.key, holding.bytes));
            }
            None => {
                tracing::warn!(key = %Printable(&holding.key), "something in the spool is no object, and stays");
            }
        }
    }
    found.sort_unstable();
    for (modified, _, key, bytes) in found {
        index.admit(&key, bytes, modified);
    }
    Ok(())
}

/// An error as it may be shown.
fn told(error: &StoreError) -> Arc<str> {
    let line: String = Printable(&chain(error)).to_string();
    line.chars()
        .take(ERROR_CHARS_MAX)
        .collect::<String>()
        .into()
}

/// The key of an object of the index, which is one.
pub(super) fn object_key(key: &str) -> Option<(Location, ObjectKey)> {
    let location = Location::parse(key)?;
    let key = location.key().ok()?;
    Some((location, key))
}
