//! Bringing one object from the spool to the store, and what becomes of it then.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use runpack_core::commitment::{CHUNK_BYTES, ChunkHasher};
use runpack_core::key::{Location, ObjectKey, RecordObject};
use runpack_core::store::{
    ArtifactReader, Declared, FileStore, ObjectBody, ObjectRef, Source, StoreError, confirm_oldest,
};
use tokio::time::{Instant, timeout};

use super::index::Item;
use super::order::after;
use super::place::{self, Place, Record};
use super::shared::{Shared, object_key};
use crate::record::Head;

/// How it went.
#[derive(Debug)]
pub(super) enum Sent {
    /// The store has it.
    Confirmed,
    /// It cannot be in the store: other bytes have its key there, or it is not what was written.
    Conflict,
    /// It is in the spool no more.
    Gone,
}

/// Sends an object and settles what became of it. May be dropped at any time.
pub(super) async fn send(shared: &Arc<Shared>, item: &Item) -> Result<(), StoreError> {
    let sent = bring(shared, item).await?;
    settle(shared, item, sent).await
}

/// Settles what became of an object. Begun, it is ended, whether anybody waits or not.
pub(super) async fn settle(
    shared: &Arc<Shared>,
    item: &Item,
    sent: Sent,
) -> Result<(), StoreError> {
    let (settling, settled) = (Arc::clone(shared), item.clone());
    let ending = shared.runtime.spawn(async move {
        match sent {
            Sent::Confirmed => confirm(&settling, &settled).await,
            Sent::Conflict => set_aside(&settling, &settled).await?,
            Sent::Gone => miss(&settling, &settled).await?,
        }
        settling.settled.notify_waiters();
        settling.written.notify_one();
        Ok(())
    });
    ending
        .await
        .unwrap_or_else(|gone| Err(lost(&item.key, gone)))
}

async fn confirm(shared: &Shared, item: &Item) {
    let mut keep = shared.settings.keep;
    if keep.is_zero() {
        let Err(error) = shared.remove(item).await else {
            return;
        };
        shared.refused(&item.key, &error);
        keep = shared.settings.backoff_max;
    }
    let now = Instant::now();
    let until = now.checked_add(keep).unwrap_or(now);
    let mut state = shared.state();
    state.index.confirm(item);
    state.index.keep(item.clone(), until);
}

/// Nothing stands under the key of an object.
async fn miss(shared: &Shared, item: &Item) -> Result<(), StoreError> {
    let _turn = shared.turn(&item.key).write_owned().await;
    let Some((_, key)) = object_key(&item.key) else {
        return Ok(());
    };
    let local = shared.local.read().await.clone();
    let is_gone = matches!(
        local.stat(&key.into()).await,
        Err(StoreError::NotFound { .. })
    );
    let mut state = shared.state();
    // Else an earlier sending, which nobody waited for, has seen to it.
    if is_gone && state.index.has(item) {
        tracing::error!(key = %item.key, "somebody took an object from the spool that the store had not confirmed");
        state.index.forget(item);
    }
    Ok(())
}

/// Sets an object aside.
async fn set_aside(shared: &Arc<Shared>, item: &Item) -> Result<(), StoreError> {
    let _turn = shared.turn(&item.key).write_owned().await;
    if !shared.state().index.has(item) {
        return Ok(());
    }
    let (moving, key) = (Arc::clone(shared), Arc::clone(&item.key));
    let moved = shared
        .runtime
        .spawn_blocking(move || moving.directory.set_aside(&key));
    let moved = moved.await.map_err(|gone| lost(&item.key, gone))?;
    let is_new = moved.map_err(|source| StoreError::Io {
        action: "setting a conflict aside",
        path: item.key.to_string(),
        source,
    })?;
    shared.unlink(&item.key).await?;
    {
        let mut state = shared.state();
        if is_new {
            state.index.note_aside(&item.key, item.bytes);
        }
        state.index.forget(item);
    }
    tracing::error!(key = %item.key, "the store cannot have this object; it lies among the spool's conflicts");
    Ok(())
}

fn lost(key: &str, gone: tokio::task::JoinError) -> StoreError {
    StoreError::Io {
        action: "settling an object of the spool",
        path: key.to_owned(),
        source: io::Error::other(gone),
    }
}

async fn bring(shared: &Shared, item: &Item) -> Result<Sent, StoreError> {
    let local = shared.local.read().await.clone();
    // The index takes nothing else.
    let Some((location, key)) = object_key(&item.key) else {
        return Ok(Sent::Gone);
    };
    let spooled = match Spooled::read(local, &key, item.bytes).await {
        Ok(spooled) => spooled,
        Err(StoreError::NotFound { .. }) => return Ok(Sent::Gone),
        Err(error) => return Err(error),
    };
    if spooled.declared.bytes != item.bytes || is_damaged(&location, &spooled.declared) {
        tracing::error!(%key, "an object of the spool is not what was written: it is not sent");
        return Ok(Sent::Conflict);
    }
    let within = shared.send_within(spooled.declared.bytes);
    match timeout(within, offer(shared, &location, spooled)).await {
        Ok(sent) => sent,
        Err(elapsed) => Err(StoreError::Unavailable {
            action: "a write",
            key: key.to_string(),
            source: Box::new(elapsed),
        }),
    }
}

/// Whether the bytes are not those that the key commits to, where it does.
fn is_damaged(location: &Location, declared: &Declared) -> bool {
    match location {
        Location::Run {
            artifact: Some((commitment, _)),
            ..
        } => *commitment != declared.commitment(),
        _ => false,
    }
}

/// Gives an object to the store, where the store has its place, and settles what the store has there instead.
async fn offer(shared: &Shared, location: &Location, spooled: Spooled) -> Result<Sent, StoreError> {
    let Place::At(key) = place::find(shared, location).await? else {
        return Ok(Sent::Conflict);
    };
    let (start, bytes) = (spooled.start.clone(), spooled.declared.bytes);
    match give(shared, location, &key, spooled).await {
        Ok(()) => return Ok(Sent::Confirmed),
        Err(StoreError::AlreadyExists { .. }) => {}
        Err(error) => return Err(error),
    }
    let is_kept = match Record::of(location) {
        None => false,
        // A claim says a day and nothing else. The store's holds, and records follow it.
        Some(record) if is_claim(location) => record.is_claimed(shared).await?,
        Some(record) => record.is_there(shared, &start, bytes).await?,
    };
    Ok(if is_kept {
        Sent::Confirmed
    } else {
        Sent::Conflict
    })
}

fn is_claim(location: &Location) -> bool {
    let Location::Record { object, .. } = location else {
        return false;
    };
    matches!(object, RecordObject::Claim { .. })
}

async fn give(
    shared: &Shared,
    location: &Location,
    key: &ObjectKey,
    spooled: Spooled,
) -> Result<(), StoreError> {
    let declared = spooled.declared.clone();
    let sending = declared.clone();
    let given = if let Some(bytes) = spooled.whole {
        shared.remote.put(key, bytes.into(), sending).await
    } else {
        shared.remote.send(key, sending, Arc::new(spooled)).await
    };
    let is_another = match &given {
        Ok(receipt) => receipt.version.is_some(),
        Err(error) => matches!(error, StoreError::AlreadyExists { .. }),
    };
    if is_another && is_claim(location) {
        // Before it leaves the spool: whoever filed a record under it may be about to write that.
        shared.overruled();
    }
    let receipt = given?;
    if after(location).is_nothing() || receipt.version.is_none() {
        return Ok(());
    }
    confirm_oldest(&*shared.remote, &receipt, &declared).await
}

/// An object of the spool, hashed.
#[derive(Debug)]
struct Spooled {
    local: FileStore,
    object: ObjectRef,
    declared: Declared,
    /// All of it, where it is small.
    whole: Option<Vec<u8>>,
    /// How it begins.
    start: Vec<u8>,
}

impl Spooled {
    async fn read(local: FileStore, key: &ObjectKey, bytes: u64) -> Result<Self, StoreError> {
        let object = ObjectRef::from(key.clone());
        // One byte more shows a file that has grown.
        let range = 0..bytes.saturating_add(1);
        let mut body = local.open(&object, range).await?;
        let mut hasher = ChunkHasher::new();
        let mut whole = (bytes <= CHUNK_BYTES).then(Vec::new);
        let (mut start, start_max) = (Vec::new(), usize::try_from(Head::BYTES_MAX));
        while let Some(piece) = body.next().await {
            let piece = piece?;
            hasher.update(&piece);
            let more = start_max.unwrap_or(0).saturating_sub(start.len());
            start.extend_from_slice(piece.get(..more.min(piece.len())).unwrap_or_default());
            if let Some(whole) = &mut whole {
                whole.extend_from_slice(&piece);
            }
        }
        let (content, bytes) = hasher.finish();
        Ok(Self {
            local,
            object,
            declared: Declared::new(bytes, content),
            whole,
            start,
        })
    }
}

#[async_trait]
impl Source for Spooled {
    async fn open(&self, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        self.local.open(&self.object, range).await
    }

    async fn bytes(&self) -> Result<u64, StoreError> {
        self.local.stat(&self.object).await.map(|stat| stat.bytes)
    }
}
