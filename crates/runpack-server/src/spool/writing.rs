//! Writing to the spool: bounded, create-only here and, where the store can be asked, there.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use runpack_core::key::ObjectKey;
use runpack_core::store::{
    ArtifactReader as _, ArtifactSink as _, ArtifactWriter, Declared, FileStore, Receipt,
    StoreError,
};
use tokio::sync::OwnedRwLockReadGuard;
use tokio::time::timeout;

use super::SpoolFull;
use super::shared::{Reservation, Shared};

/// Writes a small object.
pub(super) async fn put(
    shared: &Arc<Shared>,
    key: &ObjectKey,
    bytes: Bytes,
    declared: Declared,
) -> Result<Receipt, StoreError> {
    let local = Arc::clone(&shared.local).read_owned().await;
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let room = room(shared, &local, key, size).await?;
    end(shared, key, declared, local, room, Staged::Bytes(bytes)).await
}

/// Starts a write.
pub(super) async fn create(
    shared: &Arc<Shared>,
    key: &ObjectKey,
    declared: Declared,
) -> Result<Box<dyn ArtifactWriter>, StoreError> {
    let local = Arc::clone(&shared.local).read_owned().await;
    // First, for it knows whether the declaration makes sense.
    let created = local.create(key, declared.clone()).await;
    let writer = created.map_err(|error| full(shared, key, error))?;
    let room = room(shared, &local, key, declared.bytes).await?;
    Ok(Box::new(SpoolWriter {
        shared: Arc::clone(shared),
        key: key.clone(),
        declared,
        local,
        room,
        writer,
    }))
}

/// Room for an object; what stands there already needs none.
async fn room(
    shared: &Arc<Shared>,
    local: &FileStore,
    key: &ObjectKey,
    bytes: u64,
) -> Result<Option<Reservation>, StoreError> {
    if is_here(local, key).await? {
        return Ok(None);
    }
    let reserved = shared.reserve(bytes);
    reserved.map(Some).map_err(|full| full.refusing(key))
}

async fn is_here(local: &FileStore, key: &ObjectKey) -> Result<bool, StoreError> {
    match local.stat(&key.clone().into()).await {
        Ok(_) => Ok(true),
        Err(StoreError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A write under way.
#[derive(Debug)]
struct SpoolWriter {
    shared: Arc<Shared>,
    key: ObjectKey,
    declared: Declared,
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
            declared,
            local,
            room,
            writer,
        } = *self;
        let staged = Staged::Writer(writer);
        end(&shared, &key, declared, local, room, staged).await
    }

    async fn abort(self: Box<Self>) -> Result<(), StoreError> {
        self.writer.abort().await
    }
}

/// What is to get its name.
enum Staged {
    Bytes(Bytes),
    Writer(Box<dyn ArtifactWriter>),
}

/// Ends a write on the runtime of the spool: whoever waits for it may go away, and what is then there is known all the same.
async fn end(
    shared: &Arc<Shared>,
    key: &ObjectKey,
    declared: Declared,
    local: OwnedRwLockReadGuard<FileStore>,
    room: Option<Reservation>,
    staged: Staged,
) -> Result<Receipt, StoreError> {
    let (ending, owned) = (Arc::clone(shared), key.clone());
    let ended = shared.runtime.spawn(async move {
        let receipt = commit(&ending, &owned, declared, &local, staged).await;
        drop(room);
        receipt.map_err(|error| full(&ending, &owned, error))
    });
    ended.await.unwrap_or_else(|gone| {
        Err(StoreError::Io {
            action: "writing to the spool",
            path: key.to_string(),
            source: io::Error::other(gone),
        })
    })
}

async fn commit(
    shared: &Shared,
    key: &ObjectKey,
    declared: Declared,
    local: &FileStore,
    staged: Staged,
) -> Result<Receipt, StoreError> {
    let _turn = shared.turn(key.as_str()).read_owned().await;
    // What stands here was asked for when it came.
    let there = if is_here(local, key).await? {
        None
    } else {
        look(shared, key, &declared).await?
    };
    let receipt = match (staged, there) {
        (Staged::Bytes(bytes), Some(receipt)) if Declared::of(&bytes) == declared => {
            return Ok(receipt);
        }
        (Staged::Bytes(bytes), _) => local.put(key, bytes, declared.clone()).await?,
        // Only the writer knows what it was given. It is written, and the store will say that it has it.
        (Staged::Writer(writer), there) => {
            let committed = match writer.commit().await {
                // It stood here with these bytes when the write began, so they were not staged, and has left since.
                Err(StoreError::NotFound { .. }) => return left(key, there),
                committed => committed?,
            };
            there.unwrap_or(committed)
        }
    };
    let now = shared.clock.now();
    shared
        .state()
        .index
        .admit(key.as_str(), declared.bytes, now);
    shared.written.notify_one();
    Ok(receipt)
}

/// What becomes of a write whose object went to the store in the meantime: the store says that it has it, or it is sent again.
fn left(key: &ObjectKey, there: Option<Receipt>) -> Result<Receipt, StoreError> {
    there.ok_or_else(|| StoreError::Unavailable {
        action: "a write to the spool",
        key: key.to_string(),
        source: "the object has left the spool, and the store cannot be asked".into(),
    })
}

/// [`look`], for a caller in any runtime.
pub(super) async fn ask(
    shared: &Arc<Shared>,
    key: &ObjectKey,
    declared: &Declared,
) -> Result<Option<Receipt>, StoreError> {
    let (asking, key, declared) = (Arc::clone(shared), key.clone(), declared.clone());
    let asked = shared
        .runtime
        .spawn(async move { look(&asking, &key, &declared).await });
    // A runtime that ends has nothing to say.
    asked.await.unwrap_or(Ok(None))
}

/// Looks whether the store has the object, if it answers soon; whether it has another may else come out later.
async fn look(
    shared: &Shared,
    key: &ObjectKey,
    declared: &Declared,
) -> Result<Option<Receipt>, StoreError> {
    if shared.is_away() {
        return Ok(None);
    }
    match timeout(
        shared.settings.ask_within,
        shared.remote.find(key, declared),
    )
    .await
    {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error @ (StoreError::AlreadyExists { .. } | StoreError::Barred { .. }))) => {
            Err(error)
        }
        Ok(Err(error)) => {
            shared.lost(&error);
            Ok(None)
        }
        Err(elapsed) => {
            shared.lost(&StoreError::Unavailable {
                action: "a look whether the key is taken",
                key: key.to_string(),
                source: Box::new(elapsed),
            });
            Ok(None)
        }
    }
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
