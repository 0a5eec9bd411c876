//! An object of a store as one stream of bytes, for what reads forward only: bundles.
//!
//! One version is read from beginning to end. A connection that breaks is taken up where it broke, a few
//! times. Nothing is believed of it: whoever reads checks every byte.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::{ArtifactReader, ObjectBody, ObjectRef, Source, StoreError};
use crate::key::ObjectKey;

/// How often a stream is taken up again.
const RESUMED_MAX: u32 = 5;
/// How many pieces wait between the network and whoever hashes.
const PIECES_WAITING: usize = 32;

/// An object of a store.
#[derive(Debug, Clone)]
pub struct Stored {
    reader: Arc<dyn ArtifactReader>,
    object: ObjectRef,
    bytes: u64,
}

impl Stored {
    /// Looks which version is the object, and keeps to it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; as the store fails.
    pub async fn find(
        reader: Arc<dyn ArtifactReader>,
        key: &ObjectKey,
    ) -> Result<Self, StoreError> {
        let (object, bytes) = reader.oldest(key).await?;
        Ok(Self {
            reader,
            object,
            bytes,
        })
    }

    /// This version of an object, which has so many bytes as the store says.
    pub fn of(reader: Arc<dyn ArtifactReader>, object: ObjectRef, bytes: u64) -> Self {
        Self {
            reader,
            object,
            bytes,
        }
    }

    /// The size, as the store says.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The version that is read.
    pub const fn object(&self) -> &ObjectRef {
        &self.object
    }

    /// The key.
    pub const fn key(&self) -> &ObjectKey {
        &self.object.key
    }

    /// The same bytes as a source, to be sent elsewhere.
    pub fn source(&self) -> Arc<StoredSource> {
        Arc::new(StoredSource(self.clone()))
    }

    /// Reads the object on a thread of its own while it comes.
    ///
    /// # Errors
    /// No thread can be started.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(Box<dyn Read>) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let failed = |action| {
            let path = self.object.key.to_string();
            move |source| StoreError::Io {
                action,
                path,
                source,
            }
        };
        let (pieces, coming) = mpsc::channel(PIECES_WAITING);
        let (done, result) = tokio::sync::oneshot::channel();
        std::thread::Builder::new()
            .name("runpack-stream".to_owned())
            .spawn(move || {
                let reader = Box::new(Coming {
                    coming,
                    piece: Bytes::new(),
                });
                let _ = done.send(work(reader));
            })
            .map_err(failed("starting a thread"))?;
        self.pump(&pieces).await;
        drop(pieces);
        // A thread that panicked has said so.
        let gone = failed("reading on a thread");
        result.await.map_err(|error| gone(io::Error::other(error)))
    }

    async fn pump(&self, pieces: &mpsc::Sender<io::Result<Bytes>>) {
        let (mut at, mut resumed) = (0u64, 0u32);
        loop {
            let broken = match self.reader.open(&self.object, at..self.bytes).await {
                Err(error) => error,
                Ok(mut body) => loop {
                    match body.next().await {
                        None => return,
                        Some(Ok(piece)) => {
                            at = at.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
                            // Whoever reads has seen enough.
                            if pieces.send(Ok(piece)).await.is_err() {
                                return;
                            }
                        }
                        Some(Err(error)) => break error,
                    }
                },
            };
            resumed = resumed.saturating_add(1);
            if !broken.is_retryable() || resumed > RESUMED_MAX {
                let text = crate::display::chain(&broken);
                let _ = pieces.send(Err(io::Error::other(text))).await;
                return;
            }
        }
    }
}

/// What comes from the network, as a reader.
struct Coming {
    coming: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Coming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.coming.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.piece = piece?,
            }
        }
        let taken = self.piece.len().min(buffer.len());
        let piece = self.piece.split_to(taken);
        if let Some(place) = buffer.get_mut(..taken) {
            place.copy_from_slice(&piece);
        }
        Ok(taken)
    }
}

/// An object of a store, to be sent to another.
#[derive(Debug)]
pub struct StoredSource(Stored);

#[async_trait]
impl Source for StoredSource {
    async fn open(&self, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        self.0.reader.open(&self.0.object, range).await
    }

    async fn bytes(&self) -> Result<u64, StoreError> {
        Ok(self.0.bytes)
    }
}
