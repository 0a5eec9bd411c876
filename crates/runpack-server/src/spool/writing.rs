//! Writing: to the store while it answers, and else to the spool, bounded and create-only.
//!
//! A write that the store did not answer may have been done there all the same. It is written here too, and the mirror
//! finds that the store has it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use runpack_core::key::{Location, ObjectKey};
use runpack_core::store::{
    ArtifactReader as _, ArtifactSink as _, ArtifactWriter, Declared, FileStore, Receipt, Source,
    StoreError,
};
use tokio::sync::OwnedRwLockReadGuard;
use tokio::time::timeout;

use super::SpoolFull;
use super::place::{self, Place};
use super::shared::{Reservation, Shared, Way};

/// The slowest line over which a small object is waited for, in bytes a second.
const SMALL_BYTES_PER_SECOND_MIN: u64 = 1 << 20;

/// What is to be written, as often as it takes.
#[derive(Debug, Clone)]
pub(super) enum Given {
    Bytes(Bytes),
    Source(Arc<dyn Source>),
}

/// Writes an object.
pub(super) async fn write(
    shared: &Arc<Shared>,
    key: &ObjectKey,
    declared: Declared,
    given: Given,
) -> Result<Receipt, StoreError> {
    let (writing, owned) = (Arc::clone(shared), key.clone());
    run(shared, key, async move {
        let way = writing.way(owned.as_str())?;
        let within = patience(&writing, &declared, &given);
        if way != Way::Spooled {
            let direct = direct(&writing, &owned, &declared, given.clone(), way);
            if let Some(receipt) = through(&writing, &owned, within, direct).await? {
                return Ok(receipt);
            }
        }
        spool(&writing, &owned, declared, given).await
    })
    .await
}

/// Does something on the runtime of the spool: whoever waits for it may go away, and what is then there is known all the
/// same.
async fn run<T: Send + 'static>(
    shared: &Shared,
    key: &ObjectKey,
    work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    shared.runtime.spawn(work).await.unwrap_or_else(|gone| {
        Err(StoreError::Io {
            action: "writing to the spool",
            path: key.to_string(),
            source: io::Error::other(gone),
        })
    })
}

/// How long a write waits for the store.
fn patience(shared: &Shared, declared: &Declared, given: &Given) -> Duration {
    match given {
        Given::Bytes(_) => {
            let seconds = declared.bytes / SMALL_BYTES_PER_SECOND_MIN;
            let within = shared.settings.ask_within;
            within.saturating_add(Duration::from_secs(seconds))
        }
        Given::Source(_) => shared.send_within(declared.bytes),
    }
}

/// What the store answers; `None` where it does not, or not in time, and for what is none of its answers.
async fn through<T>(
    shared: &Shared,
    key: &ObjectKey,
    within: Duration,
    asked: impl Future<Output = Result<Option<T>, StoreError>>,
) -> Result<Option<T>, StoreError> {
    let error = match timeout(within, asked).await {
        Ok(Err(error)) if error.is_retryable() => error,
        Ok(answer) => {
            if answer.is_ok() {
                shared.reached();
            }
            return answer;
        }
        Err(elapsed) => StoreError::Unavailable {
            action: "anything in time",
            key: key.to_string(),
            source: Box::new(elapsed),
        },
    };
    shared.lost(&error);
    Ok(None)
}

/// Writes to the store. `None` where the object has another place there: the mirror brings it.
async fn direct(
    shared: &Shared,
    key: &ObjectKey,
    declared: &Declared,
    given: Given,
    way: Way,
) -> Result<Option<Receipt>, StoreError> {
    if way == Way::Checked
        && let Some(location) = Location::parse(key.as_str())
    {
        match place::find(shared, &location).await? {
            Place::At(place) if place == *key => {}
            Place::At(_) => return Ok(None),
            Place::Taken => return Err(place::taken(key, declared)),
        }
    }
    let declared = declared.clone();
    let receipt = match given {
        Given::Bytes(bytes) => shared.remote.put(key, bytes, declared).await,
        Given::Source(source) => shared.remote.send(key, declared, source).await,
    };
    receipt.map(Some)
}

/// Writes to the spool.
async fn spool(
    shared: &Arc<Shared>,
    key: &ObjectKey,
    declared: Declared,
    given: Given,
) -> Result<Receipt, StoreError> {
    let local = Arc::clone(&shared.local).read_owned().await;
    let _turn = shared.turn(key.as_str()).read_owned().await;
    let _room = room(shared, &local, key, declared.bytes).await?;
    let written = match given {
        Given::Bytes(bytes) => local.put(key, bytes, declared).await,
        Given::Source(source) => local.send(key, declared, source).await,
    };
    admit(shared, &local, key, written).await
}

/// Takes up what was written, for whoever reads the key's lock. A write that failed may have got its name before: then it is
/// taken up too, for else it would stand here in the way of others and never leave.
pub(super) async fn admit(
    shared: &Shared,
    local: &FileStore,
    key: &ObjectKey,
    written: Result<Receipt, StoreError>,
) -> Result<Receipt, StoreError> {
    let bytes = match &written {
        Ok(receipt) => Some(receipt.bytes),
        Err(_) => here(local, key).await.ok().flatten(),
    };
    if let Some(bytes) = bytes {
        let now = shared.clock.now();
        shared.state().index.admit(key.as_str(), bytes, now);
        shared.written.notify_one();
    }
    written.map_err(|error| full(shared, key, error))
}

/// Room for an object; what stands there already needs none.
async fn room(
    shared: &Arc<Shared>,
    local: &FileStore,
    key: &ObjectKey,
    bytes: u64,
) -> Result<Option<Reservation>, StoreError> {
    if here(local, key).await?.is_some() {
        return Ok(None);
    }
    let reserved = shared.reserve(bytes);
    reserved.map(Some).map_err(|full| full.refusing(key))
}

/// The size of what stands under a key, if anything does.
async fn here(local: &FileStore, key: &ObjectKey) -> Result<Option<u64>, StoreError> {
    match local.stat(&key.clone().into()).await {
        Ok(stat) => Ok(Some(stat.bytes)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Starts a write of bytes that come once. So where the store fails in the middle, the write fails, and is the spool's when
/// it begins again.
pub(super) async fn create(
    shared: &Arc<Shared>,
    key: &ObjectKey,
    declared: Declared,
) -> Result<Box<dyn ArtifactWriter>, StoreError> {
    let (creating, owned) = (Arc::clone(shared), key.clone());
    run(shared, key, async move {
        let (shared, key) = (&creating, &owned);
        if shared.way(key.as_str())? == Way::Through {
            let created = async {
                let created = shared.remote.create(key, declared.clone()).await;
                created.map(Some)
            };
            let within = shared.settings.ask_within;
            if let Some(writer) = through(shared, key, within, created).await? {
                return Ok(writer);
            }
        }
        let local = Arc::clone(&shared.local).read_owned().await;
        // First, for it knows whether the declaration makes sense.
        let created = local.create(key, declared.clone()).await;
        let writer = created.map_err(|error| full(shared, key, error))?;
        let room = room(shared, &local, key, declared.bytes).await?;
        let writer: Box<dyn ArtifactWriter> = Box::new(SpoolWriter {
            shared: Arc::clone(shared),
            key: key.clone(),
            local,
            room,
            writer,
        });
        Ok(writer)
    })
    .await
}

/// A write under way.
#[derive(Debug)]
struct SpoolWriter {
    shared: Arc<Shared>,
    key: ObjectKey,
    local: OwnedRwLockReadGuard<FileStore>,
    room: Option<Reservation>,
    writer: Box<dyn ArtifactWriter>,
}

#[async_trait]
impl ArtifactWriter for SpoolWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        let written = self.writer.write(bytes).await;
        written.map_err(|error| full(&self.shared, &self.key, error))
    }

    async fn commit(self: Box<Self>) -> Result<Receipt, StoreError> {
        let Self {
            shared,
            key,
            local,
            room,
            writer,
        } = *self;
        let (committing, owned) = (Arc::clone(&shared), key.clone());
        run(&shared, &key, async move {
            let _room = room;
            let _turn = committing.turn(owned.as_str()).read_owned().await;
            let written = writer.commit().await.map_err(|error| left(&owned, error));
            admit(&committing, &local, &owned, written).await
        })
        .await
    }

    async fn abort(self: Box<Self>) -> Result<(), StoreError> {
        self.writer.abort().await
    }
}

/// What stood here with the same bytes when the write began was not staged, and has left since: it is sent again.
fn left(key: &ObjectKey, error: StoreError) -> StoreError {
    match error {
        StoreError::NotFound { .. } => StoreError::Unavailable {
            action: "a write to the spool",
            key: key.to_string(),
            source: "the object left the spool meanwhile".into(),
        },
        error => error,
    }
}

/// Looks whether the store has the object, if it answers soon; whether it has another may else come out later.
pub(super) async fn find(
    shared: &Arc<Shared>,
    key: &ObjectKey,
    declared: &Declared,
) -> Result<Option<Receipt>, StoreError> {
    if shared.is_away() {
        return Ok(None);
    }
    let (asking, owned, declared) = (Arc::clone(shared), key.clone(), declared.clone());
    run(shared, key, async move {
        let within = asking.settings.ask_within;
        through(
            &asking,
            &owned,
            within,
            asking.remote.find(&owned, &declared),
        )
        .await
    })
    .await
}

/// A file system without space is a spool that is full.
fn full(shared: &Shared, key: &ObjectKey, error: StoreError) -> StoreError {
    match &error {
        StoreError::Io { source, .. }
            if matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ) =>
        {
            let reserve = shared.settings.reserve_bytes;
            SpoolFull::Disk { reserve }.refusing(key)
        }
        _ => error,
    }
}
