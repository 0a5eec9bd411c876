//! The bytes of a source as the body of a request, held against the declared digests on the way.
//!
//! Invariant: the last piece is handed on only when the source has ended and every chunk is as declared, so
//! that no store ever has all bytes of a body that is not. A body can be sent again: it opens its range anew.

use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream;
use http_body::{Frame, SizeHint};

use crate::commitment::{CHUNK_BYTES, chunk_len};
use crate::count::len_u64;
use crate::digest::Hasher;
use crate::store::{Declared, ObjectBody, Source, StoreError};

/// A range of a source, of whole chunks or up to its end.
#[derive(Debug, Clone)]
pub(super) struct Passage {
    pub(super) source: Arc<dyn Source>,
    pub(super) declared: Arc<Declared>,
    pub(super) range: Range<u64>,
    pub(super) key: Arc<str>,
}

/// Why a body could not be sent to its end: the source's fault, and none of the store's.
#[derive(Debug, Clone, Default)]
pub(super) struct Spoiled(Arc<Mutex<Option<StoreError>>>);

impl Spoiled {
    /// The fault, once.
    pub(super) fn take(&self) -> Option<StoreError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, error: StoreError) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

/// What the HTTP client is told instead.
#[derive(Debug, thiserror::Error)]
#[error("the source failed or changed")]
struct SourceFailed;

impl Passage {
    pub(super) fn bytes(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
    }

    /// The range as a body.
    pub(super) fn body(&self) -> (SdkBody, Spoiled) {
        let (passage, spoiled) = (self.clone(), Spoiled::default());
        let tell = spoiled.clone();
        let body =
            SdkBody::retryable(move || SdkBody::from_body_1_x(passage.streamed(tell.clone())));
        (body, spoiled)
    }

    fn streamed(&self, spoiled: Spoiled) -> Streamed {
        let reading = Reading {
            passage: self.clone(),
            body: None,
            held: None,
            hasher: Hasher::new(),
            position: self.range.start,
            has_ended: false,
        };
        let pieces = stream::try_unfold(reading, Reading::step);
        Streamed {
            left: self.bytes(),
            pieces: Mutex::new(Box::pin(pieces)),
            spoiled,
        }
    }

    /// Reads the whole range, holding it against the declared digests, and gives the digest of all of it.
    pub(super) async fn digest(&self) -> Result<crate::digest::Digest, StoreError> {
        let mut whole = Hasher::new();
        let mut pieces = self.streamed(Spoiled::default()).pieces.into_inner();
        let pieces = pieces
            .as_mut()
            .unwrap_or_else(|poisoned| poisoned.get_mut());
        while let Some(piece) = futures_util::StreamExt::next(pieces).await {
            whole.update(&piece?);
        }
        Ok(whole.finish())
    }

    async fn open(&self) -> Result<ObjectBody, StoreError> {
        // One byte more at the end shows a source that has grown.
        let more = u64::from(self.range.end >= self.declared.bytes);
        let range = self.range.start..self.range.end.saturating_add(more);
        self.source.open(range).await
    }

    fn not_declared(&self) -> StoreError {
        StoreError::NotDeclared {
            key: self.key.to_string(),
        }
    }
}

struct Reading {
    passage: Passage,
    body: Option<ObjectBody>,
    /// The piece before the one that comes next.
    held: Option<Bytes>,
    hasher: Hasher,
    position: u64,
    has_ended: bool,
}

impl Reading {
    async fn step(mut self) -> Result<Option<(Bytes, Self)>, StoreError> {
        if self.has_ended {
            return Ok(None);
        }
        loop {
            let body = if let Some(body) = &mut self.body {
                body
            } else {
                let body = self.passage.open().await?;
                self.body.insert(body)
            };
            if let Some(piece) = body.next().await {
                let piece = piece?;
                if piece.is_empty() {
                    continue;
                }
                self.check(&piece)?;
                if let Some(ready) = self.held.replace(piece) {
                    return Ok(Some((ready, self)));
                }
                continue;
            }
            if self.position != self.passage.range.end {
                return Err(self.passage.not_declared());
            }
            self.has_ended = true;
            return Ok(self.held.take().map(|last| (last, self)));
        }
    }

    /// Advances by a piece and compares each chunk that ends in it.
    fn check(&mut self, piece: &[u8]) -> Result<(), StoreError> {
        let Passage {
            declared, range, ..
        } = &self.passage;
        let mut rest = piece;
        while !rest.is_empty() {
            let chunk = self.position.checked_div(CHUNK_BYTES).unwrap_or(0);
            let start = chunk.saturating_mul(CHUNK_BYTES);
            let end = start.saturating_add(chunk_len(declared.bytes, chunk));
            let end = end.min(range.end);
            let room = usize::try_from(end.saturating_sub(self.position)).unwrap_or(usize::MAX);
            if room == 0 {
                return Err(self.passage.not_declared());
            }
            let (head, tail) = rest.split_at(room.min(rest.len()));
            self.hasher.update(head);
            self.position = self.position.saturating_add(len_u64(head));
            if self.position == end {
                let expected = usize::try_from(chunk)
                    .ok()
                    .and_then(|at| declared.content.chunks().get(at));
                if Some(&std::mem::take(&mut self.hasher).finish()) != expected {
                    return Err(self.passage.not_declared());
                }
            }
            rest = tail;
        }
        Ok(())
    }
}

type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, StoreError>> + Send>>;

/// A body of known length.
struct Streamed {
    left: u64,
    /// The lock is never taken: it makes the body `Sync`, which the HTTP client asks for.
    pieces: Mutex<Pieces>,
    spoiled: Spoiled,
}

impl http_body::Body for Streamed {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let pieces = self
            .pieces
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        match pieces.as_mut().poll_next(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Ok(piece))) => {
                self.left = self.left.saturating_sub(len_u64(&piece));
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Poll::Ready(Some(Err(error))) => {
                self.spoiled.set(error);
                Poll::Ready(Some(Err(SourceFailed.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
