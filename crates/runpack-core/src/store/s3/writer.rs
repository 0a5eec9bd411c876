//! Writing what is pushed: at most one chunk is held, and a full one goes on its way as a part.
//!
//! Whoever pushes cannot be asked to push again, so an upload that the store loses is an error that a caller may
//! retry from the start. A large source is better given to [`S3Store::send`](crate::store::ArtifactSink::send).

use std::sync::Arc;

use async_trait::async_trait;
use aws_smithy_types::body::SdkBody;
use bytes::{Bytes, BytesMut};
use tokio::task::JoinSet;

use super::S3Store;
use super::body::Spoiled;
use super::fault::Met;
use super::open::unusable;
use super::upload::{PartFault, Sent, Upload};
use super::write::{After, PUTTING, Write, not_declared};
use crate::commitment::{CHUNK_BYTES, CHUNK_LEN, chunk_count, chunk_len};
use crate::count::len_u64;
use crate::digest::Digest;
use crate::key::ObjectKey;
use crate::store::plan::PARTS_MAX;
use crate::store::{ArtifactWriter, Declared, Receipt, StoreError};

/// Parts on their way while the next one is filled.
const IN_FLIGHT: usize = 3;

/// A write under way.
#[derive(Debug)]
pub(super) struct S3Writer {
    store: S3Store,
    key: ObjectKey,
    declared: Declared,
    written: u64,
    /// The chunk that is not full yet.
    pending: BytesMut,
    upload: Option<Arc<Upload>>,
    sending: JoinSet<Result<Sent, PartFault>>,
    sent: Vec<Sent>,
    begun: u64,
    /// The name of the write, once it has one.
    name: Option<String>,
}

impl S3Writer {
    pub(super) fn new(
        store: &S3Store,
        key: &ObjectKey,
        declared: Declared,
    ) -> Result<Self, StoreError> {
        if !declared.content.fits(declared.bytes) {
            return Err(not_declared(key));
        }
        if chunk_count(declared.bytes) > PARTS_MAX {
            return Err(unusable(format!(
                "an object of more than {PARTS_MAX} chunks is written from a source that can be read again, key=`{key}` bytes=`{}`",
                declared.bytes
            )));
        }
        Ok(Self {
            store: store.clone(),
            key: key.clone(),
            declared,
            written: 0,
            pending: BytesMut::new(),
            upload: None,
            sending: JoinSet::new(),
            sent: Vec::new(),
            begun: 0,
            name: None,
        })
    }

    fn is_in_parts(&self) -> bool {
        self.declared.bytes > CHUNK_BYTES
    }

    fn as_write(&self) -> Result<Write<'_>, StoreError> {
        let mut write = Write::new(&self.store, &self.key, self.declared.clone())?;
        if let Some(name) = &self.name {
            write.name.clone_from(name);
        }
        Ok(write)
    }

    /// Sends the pending chunk, which is full or the last one.
    async fn send_pending(&mut self) -> Result<(), StoreError> {
        let (part, bytes) = (self.begun, self.pending.split().freeze());
        let expected = usize::try_from(part)
            .ok()
            .and_then(|at| self.declared.content.chunks().get(at).copied());
        let digest = Digest::of(&bytes);
        if Some(digest) != expected {
            return Err(not_declared(&self.key));
        }
        let upload = if let Some(upload) = &self.upload {
            Arc::clone(upload)
        } else {
            let write = self.as_write()?;
            let upload = Arc::new(Upload::begin(&write).await?);
            self.name = Some(write.name);
            Arc::clone(self.upload.insert(upload))
        };
        while self.sending.len() >= IN_FLIGHT {
            self.receive().await?;
        }
        self.begun = self.begun.saturating_add(1);
        self.sending.spawn(async move {
            let body = || (SdkBody::from(bytes.clone()), Spoiled::default());
            upload.send(part, digest, len_u64(&bytes), body).await
        });
        Ok(())
    }

    /// Waits for one of the parts on their way.
    async fn receive(&mut self) -> Result<(), StoreError> {
        match self.sending.join_next().await {
            None => Ok(()),
            Some(Ok(Ok(sent))) => {
                self.sent.push(sent);
                Ok(())
            }
            Some(Ok(Err(PartFault::Failed(error)))) => Err(error),
            Some(Ok(Err(PartFault::Lost(_)))) => Err(self.lost("the store lost the upload")),
            Some(Err(_)) => Err(self.lost("the runtime ended while a part was on its way")),
        }
    }

    fn lost(&self, met: &str) -> StoreError {
        StoreError::Unavailable {
            action: PUTTING,
            key: self.key.to_string(),
            source: Box::new(Met(met.to_owned())),
        }
    }

    async fn finish(&mut self) -> Result<Receipt, StoreError> {
        if self.written != self.declared.bytes {
            return Err(not_declared(&self.key));
        }
        if !self.pending.is_empty() {
            self.send_pending().await?;
        }
        while !self.sending.is_empty() {
            self.receive().await?;
        }
        self.sent.sort_unstable_by_key(|sent| sent.part);
        let upload = self.upload.take().and_then(Arc::into_inner);
        let upload =
            upload.ok_or_else(|| self.lost("a part is still on its way, which is a bug"))?;
        match upload.complete(&self.as_write()?, &self.sent).await? {
            After::There(receipt) => Ok(receipt),
            After::Again(_) => Err(self.lost("somebody else wrote or removed it at the same time")),
        }
    }
}

#[async_trait]
impl ArtifactWriter for S3Writer {
    async fn write(&mut self, mut bytes: Bytes) -> Result<(), StoreError> {
        self.written = self.written.saturating_add(len_u64(&bytes));
        if self.written > self.declared.bytes {
            return Err(not_declared(&self.key));
        }
        while !bytes.is_empty() {
            if self.pending.is_empty() {
                // The size of the chunk, which the caller declared and no store.
                let len = chunk_len(self.declared.bytes, self.begun);
                self.pending.reserve(usize::try_from(len).unwrap_or(0));
            }
            let room = CHUNK_LEN.saturating_sub(self.pending.len());
            let head = bytes.split_to(room.min(bytes.len()));
            self.pending.extend_from_slice(&head);
            if self.is_in_parts() && self.pending.len() == CHUNK_LEN {
                self.send_pending().await?;
            }
        }
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> Result<Receipt, StoreError> {
        if !self.is_in_parts() {
            let bytes = self.pending.split().freeze();
            let declared = self.declared.clone();
            return self.store.put_bytes(&self.key, bytes, declared).await;
        }
        let done = self.finish().await;
        if done.is_err() {
            self.give_up().await;
        }
        done
    }

    async fn abort(mut self: Box<Self>) -> Result<(), StoreError> {
        self.give_up().await;
        Ok(())
    }
}

impl S3Writer {
    async fn give_up(&mut self) {
        self.sending.shutdown().await;
        if let Some(upload) = self.upload.take().and_then(Arc::into_inner) {
            upload.abort().await;
        }
    }
}
