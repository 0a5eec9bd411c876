//! Group commit: what is committed at about the same time is made durable together.
//!
//! A commit puts its entry in a queue. While the queue has entries, one thread takes all that are
//! there as a batch, makes the batch durable, answers, and looks again; when there are none, it ends.
//! The longer a batch takes, the more entries wait for the next one, so the batches find their size by
//! themselves and a lone commit waits for nobody. The thread belongs to no caller: a caller's future
//! that is dropped leaves an entry that is published, or not, but nothing that hangs.
//!
//! The order within a batch is the store's promise (threats W04, W05, W08):
//!
//! 1. the bytes of all files are durable;
//! 2. the files get their names, none that exists ([`Temp::publish`]);
//! 3. all directories from each object up to the root are durable;
//! 4. only then is anybody answered.
//!
//! **Errors of syncing** (W07). Linux tells of bytes that it could not write once for each open
//! descriptor (`errseq_t`), and forgets the bytes. So nothing is ever synced again after an error: the
//! batch fails, and with it everything that was staged or compared before the error was seen, since
//! the one answer may have been about its bytes too ([`Shared::epoch`]). A small batch of files that
//! stayed open syncs each; any other syncs the whole file system through the root's descriptor, opened
//! before anything was written. Before Linux 5.8 that tells of no errors, and each file is synced.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::{Errno, Result};
use tokio::sync::oneshot;

use super::staging::Temp;
use super::{Shared, read};
use crate::key::ObjectKey;
use crate::store::{Declared, Outcome, Receipt, StoreError};

/// The largest batch whose files are synced one by one. From about here on one sync of everything is
/// faster; below, it would make a lone commit wait for what other programs have written.
pub(super) const BATCH_SMALL_MAX: usize = 4;
/// How many directories are remembered as durable before all are forgotten.
const DURABLE_MAX: usize = 4_096;

/// What is to be made durable.
#[derive(Debug)]
pub(super) enum Work {
    /// A staged file is to get its name.
    Publish(Temp),
    /// The object was there, and was compared in this epoch. Whoever wrote it may have been killed
    /// before it was durable.
    Keep { epoch: u64 },
}

impl Work {
    fn epoch(&self) -> u64 {
        match self {
            Self::Publish(temp) => temp.epoch,
            Self::Keep { epoch } => *epoch,
        }
    }
}

#[derive(Debug)]
struct Entry {
    key: ObjectKey,
    declared: Declared,
    work: Work,
    answer: Answer,
}

type Answer = oneshot::Sender<std::result::Result<Receipt, StoreError>>;

#[derive(Debug, Default)]
pub(super) struct Group(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    entries: Vec<Entry>,
    is_served: bool,
    /// Whether a test gathers a batch.
    #[cfg(test)]
    is_held: bool,
}

impl Queue {
    /// Whether the queue must be served and is not; from now on it is.
    fn starts(&mut self) -> bool {
        #[cfg(test)]
        if self.is_held {
            return false;
        }
        !self.entries.is_empty() && !std::mem::replace(&mut self.is_served, true)
    }
}

impl Group {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Every change is one assignment or one push, so a panic leaves nothing half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that waits; or none, and then the queue is served no more.
    fn take(&self) -> Option<Vec<Entry>> {
        let mut queue = self.lock();
        let entries = std::mem::take(&mut queue.entries);
        queue.is_served = !entries.is_empty();
        (!entries.is_empty()).then_some(entries)
    }
}

/// Waits until the work is done durably, together with other work.
pub(super) async fn commit(
    shared: &Arc<Shared>,
    key: ObjectKey,
    declared: Declared,
    work: Work,
) -> std::result::Result<Receipt, StoreError> {
    let (answer, answered) = oneshot::channel();
    let path = key.to_string();
    let starts = {
        let mut queue = shared.group.lock();
        queue.entries.push(Entry {
            key,
            declared,
            work,
            answer,
        });
        queue.starts()
    };
    if starts {
        start(shared);
    }
    answered.await.unwrap_or_else(|_| {
        Err(StoreError::Io {
            action: "committing",
            path,
            source: std::io::Error::other("the thread that commits ended early"),
        })
    })
}

fn start(shared: &Arc<Shared>) {
    let served = Arc::clone(shared);
    let thread = std::thread::Builder::new().name("runpack-commit".to_owned());
    if thread.spawn(move || serve(served)).is_err() {
        // No thread is to be had; better slow than not at all.
        serve(Arc::clone(shared));
    }
}

/// Serves the queue until it is empty. The store is let go before the last answers are given, so that
/// whoever drops it then drops the last of it, and finds the staging directory gone.
fn serve(shared: Arc<Shared>) {
    /// Should a panic end the service, those who wait are told, and the next commit starts it again.
    struct Service(Arc<Shared>);
    impl Drop for Service {
        fn drop(&mut self) {
            if std::thread::panicking() {
                self.0.group.take();
                self.0.group.lock().is_served = false;
            }
        }
    }
    let service = Service(shared);
    let mut last = Answers::default();
    while let Some(batch) = service.0.group.take() {
        std::mem::take(&mut last).give();
        last = serve_batch(&service.0, batch);
    }
    drop(service);
    last.give();
}

/// Answers that were not given yet.
#[derive(Default)]
struct Answers(Vec<(Answer, std::result::Result<Receipt, StoreError>)>);

impl Answers {
    fn give(self) {
        for (to, answer) in self.0 {
            // Nobody may wait any more.
            let _ = to.send(answer);
        }
    }

    fn fail(&mut self, shared: &Shared, batch: Vec<Entry>, errno: Errno) {
        for entry in batch {
            let error = shared.root.error("syncing", entry.key.as_str(), errno);
            // The staged file goes first, so that who is told finds nothing left.
            drop(entry.work);
            self.0.push((entry.answer, Err(error)));
        }
    }
}

fn serve_batch(shared: &Shared, batch: Vec<Entry>) -> Answers {
    let mut answers = Answers::default();
    let epoch = shared.epoch();
    let (mut batch, stale): (Vec<_>, Vec<_>) = batch
        .into_iter()
        .partition(|entry| entry.work.epoch() == epoch);
    answers.fail(shared, stale, Errno::IO);
    let syncing = Syncing::of(shared, &batch);
    if let Err(errno) = syncing.files(shared, &mut batch) {
        shared.next_epoch();
        answers.fail(shared, batch, errno);
        return answers;
    }
    let mut published = Vec::with_capacity(batch.len());
    for entry in batch {
        let Entry {
            key,
            declared,
            work,
            answer,
        } = entry;
        match syncing.publish(shared, &key, &declared, work) {
            Ok(outcome) => published.push((key, declared, outcome, answer)),
            Err(error) => answers.0.push((answer, Err(error))),
        }
    }
    let keys = published.iter().map(|(key, ..)| key.as_str());
    let durable = syncing.directories(shared, keys);
    if durable.is_err() {
        shared.next_epoch();
    }
    for (key, declared, outcome, answer) in published {
        let answered = match durable {
            Ok(()) => Ok(Receipt::new(key, &declared, outcome)),
            Err(errno) => Err(shared.root.error("syncing", key.as_str(), errno)),
        };
        answers.0.push((answer, answered));
    }
    answers
}

/// How a batch is made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Syncing {
    Everything,
    Each,
}

impl Syncing {
    fn of(shared: &Shared, batch: &[Entry]) -> Self {
        let is_small = batch.len() <= BATCH_SMALL_MAX;
        let all_open = batch.iter().all(|entry| match &entry.work {
            Work::Publish(temp) => temp.stayed_open(),
            Work::Keep { .. } => true,
        });
        if shared.root.syncfs_tells && !(is_small && all_open) {
            Self::Everything
        } else {
            Self::Each
        }
    }

    /// Step 1.
    fn files(self, shared: &Shared, batch: &mut [Entry]) -> Result<()> {
        let mut temps = batch.iter_mut().filter_map(|entry| match &mut entry.work {
            Work::Publish(temp) => Some(temp),
            Work::Keep { .. } => None,
        });
        match self {
            Self::Each => temps.try_for_each(Temp::sync),
            Self::Everything if temps.next().is_some() => {
                shared.root.sys.sync_everything(shared.root.handle())
            }
            // What is kept has its names already: step 3 makes all of it durable.
            Self::Everything => Ok(()),
        }
    }

    /// Step 2, for one entry.
    fn publish(
        self,
        shared: &Shared,
        key: &ObjectKey,
        declared: &Declared,
        work: Work,
    ) -> std::result::Result<Outcome, StoreError> {
        let root = &shared.root;
        if let Work::Publish(mut temp) = work {
            let (above, name) = key.as_str().rsplit_once('/').unwrap_or(("", key.as_str()));
            let directory = root
                .make_directory(above)
                .map_err(|errno| root.error("making the directory", above, errno))?;
            match temp.publish(&directory, name) {
                Ok(()) => return Ok(Outcome::Created),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(root.error("publishing", key.as_str(), errno)),
            }
            if !is_there(shared, key, declared)? {
                return Err(root.error("publishing", key.as_str(), Errno::EXIST));
            }
        }
        if self == Self::Each {
            let file = read::open_own(root, key.as_str())?;
            if let Err(errno) = root.sys.sync_file(&file) {
                shared.next_epoch();
                return Err(root.error("syncing", key.as_str(), errno));
            }
        }
        Ok(Outcome::AlreadyThere)
    }

    /// Step 3.
    fn directories<'a>(self, shared: &Shared, keys: impl Iterator<Item = &'a str>) -> Result<()> {
        let root = &shared.root;
        let mut keys = keys.peekable();
        if keys.peek().is_none() {
            return Ok(());
        }
        if self == Self::Everything {
            return root.sys.sync_everything(root.handle());
        }
        // Others come here only in the same thread, one batch after the other.
        let mut durable = shared
            .durable
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut changed = BTreeSet::new();
        let mut named = BTreeSet::new();
        for key in keys {
            let mut directory = parent(key);
            changed.insert(directory);
            while !directory.is_empty() && !durable.contains(directory) && named.insert(directory) {
                directory = parent(directory);
                changed.insert(directory);
            }
        }
        for directory in changed {
            root.sys.sync_directory(&root.open_directory(directory)?)?;
        }
        if durable.len() > DURABLE_MAX {
            durable.clear();
        }
        durable.extend(named.into_iter().map(Box::from));
        Ok(())
    }
}

/// The directory that something is in; the root's is empty.
fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(above, _)| above)
}

/// Whether the object is there, with the bytes that are declared; with others it is an error.
pub(super) fn is_there(
    shared: &Shared,
    key: &ObjectKey,
    declared: &Declared,
) -> std::result::Result<bool, StoreError> {
    let root = &shared.root;
    let file = match read::open_own(root, key.as_str()) {
        Err(StoreError::NotFound { .. }) => return Ok(false),
        opened => opened?,
    };
    let theirs = read::content(root, &file)?;
    if theirs == *declared {
        return Ok(true);
    }
    Err(StoreError::AlreadyExists {
        key: key.to_string(),
        ours: declared.commitment(),
        theirs: theirs.commitment(),
    })
}

/// Lets a test say which commits are one batch.
#[cfg(test)]
pub(super) mod gather {
    use super::{Arc, Shared, start};

    pub(in super::super) fn hold(shared: &Shared) {
        shared.group.lock().is_held = true;
    }

    pub(in super::super) fn waiting(shared: &Shared) -> usize {
        shared.group.lock().entries.len()
    }

    pub(in super::super) fn release(shared: &Arc<Shared>) {
        let starts = {
            let mut queue = shared.group.lock();
            queue.is_held = false;
            queue.starts()
        };
        if starts {
            start(shared);
        }
    }
}
