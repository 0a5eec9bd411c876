//! Writing objects: staged, held against what was declared, then committed with others.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::Shared;
use super::group::{self, Work};
use super::staging::Temp;
use crate::blocking;
use crate::commitment::ChunkHasher;
use crate::count::len_u64;
use crate::key::ObjectKey;
use crate::store::{ArtifactWriter, Declared, Receipt, StoreError};

fn not_declared(key: &ObjectKey) -> StoreError {
    StoreError::NotDeclared {
        key: key.to_string(),
    }
}

/// Looks whether the object is there already, which costs little and saves writing it; else stages a
/// file for it.
fn begin(shared: &Arc<Shared>, key: &ObjectKey, declared: &Declared) -> Result<Work, StoreError> {
    let epoch = shared.epoch();
    if group::is_there(shared, key, declared)? {
        Ok(Work::Keep { epoch })
    } else {
        Ok(Work::Publish(Temp::new(shared)?))
    }
}

/// Writes a small object.
pub(super) async fn put(
    shared: &Arc<Shared>,
    key: ObjectKey,
    bytes: Bytes,
    declared: Declared,
) -> Result<Receipt, StoreError> {
    let staging = Arc::clone(shared);
    let (key, declared, work) = blocking::run(move || {
        if len_u64(&bytes) != declared.bytes || Declared::of(&bytes) != declared {
            return Err(not_declared(&key));
        }
        let mut work = begin(&staging, &key, &declared)?;
        if let Work::Publish(temp) = &mut work {
            temp.write_at(&bytes, 0)?;
            temp.rest();
        }
        Ok((key, declared, work))
    })
    .await?;
    group::commit(shared, key, declared, work).await
}

/// A write under way.
#[derive(Debug)]
pub(super) struct FileWriter {
    shared: Arc<Shared>,
    key: ObjectKey,
    declared: Declared,
    /// `None` after a call that failed, or was dropped before it was done: the write is lost then.
    progress: Option<Progress>,
}

#[derive(Debug)]
struct Progress {
    work: Work,
    hasher: ChunkHasher,
    bytes: u64,
}

impl FileWriter {
    pub(super) async fn new(
        shared: &Arc<Shared>,
        key: ObjectKey,
        declared: Declared,
    ) -> Result<Self, StoreError> {
        let shared = Arc::clone(shared);
        blocking::run(move || {
            if !declared.content.fits(declared.bytes) {
                return Err(not_declared(&key));
            }
            let mut work = begin(&shared, &key, &declared)?;
            if let Work::Publish(temp) = &mut work {
                temp.rest();
            }
            Ok(Self {
                shared,
                key,
                declared,
                progress: Some(Progress {
                    work,
                    hasher: ChunkHasher::new(),
                    bytes: 0,
                }),
            })
        })
        .await
    }

    fn take(&mut self) -> Result<Progress, StoreError> {
        self.progress.take().ok_or_else(|| StoreError::Io {
            action: "writing",
            path: self.key.to_string(),
            source: std::io::Error::other("an earlier part of this write failed"),
        })
    }
}

#[async_trait]
impl ArtifactWriter for FileWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        let mut progress = self.take()?;
        let at = progress.bytes;
        progress.bytes = at.saturating_add(len_u64(&bytes));
        if progress.bytes > self.declared.bytes {
            return Err(not_declared(&self.key));
        }
        let progress = blocking::run(move || {
            progress.hasher.update(&bytes);
            if let Work::Publish(temp) = &mut progress.work {
                temp.write_at(&bytes, at)?;
                temp.rest();
            }
            Ok(progress)
        });
        self.progress = Some(progress.await?);
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> Result<Receipt, StoreError> {
        let Progress { work, hasher, .. } = self.take()?;
        let (content, bytes) = hasher.finish();
        if Declared::new(bytes, content) != self.declared {
            return Err(not_declared(&self.key));
        }
        let Self {
            shared,
            key,
            declared,
            ..
        } = *self;
        group::commit(&shared, key, declared, work).await
    }

    async fn abort(self: Box<Self>) -> Result<(), StoreError> {
        blocking::run(move || {
            drop(self);
            Ok(())
        })
        .await
    }
}
