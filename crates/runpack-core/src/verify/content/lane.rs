//! One chunk as it comes in.

use bytes::Bytes;

use super::super::Container;
use super::Slice;
use super::fault::Fault;
use crate::commitment::{CHUNK_BYTES, Content, chunk_count, chunk_len};
use crate::count::len_u64;
use crate::digest::Hasher;
use crate::manifest::Artifact;
use crate::store::ObjectBody;

/// How often a chunk whose bytes stopped coming is read again from its first byte. What reads on several stores gives it
/// from another one then.
const RESTARTS_MAX: u32 = 2;

/// A chunk being hashed, or about to be.
pub(super) struct Lane<'a> {
    pub(super) slice: Slice,
    pub(super) hasher: Hasher,
    /// What has come and is not hashed yet.
    pub(super) piece: Bytes,
    artifact: &'a Artifact,
    bytes: u64,
    seen: u64,
    /// Opened with the first piece.
    body: Option<ObjectBody>,
    restarts_left: u32,
}

impl<'a> Lane<'a> {
    pub(super) fn new(slice: Slice, artifact: &'a Artifact) -> Self {
        Self {
            slice,
            hasher: Hasher::new(),
            piece: Bytes::new(),
            artifact,
            bytes: chunk_len(artifact.bytes(), slice.chunk),
            seen: 0,
            body: None,
            restarts_left: RESTARTS_MAX,
        }
    }

    /// A chunk whose pieces somebody else sees too: it cannot begin again.
    pub(super) fn seen_once(slice: Slice, artifact: &'a Artifact) -> Self {
        Self {
            restarts_left: 0,
            ..Self::new(slice, artifact)
        }
    }

    // Not `&self`: a lane can be sent to another thread, and not be shared between two, and neither could whoever waits.
    async fn open(&mut self, container: &dyn Container) -> Result<ObjectBody, Fault> {
        let start = self.slice.chunk.saturating_mul(CHUNK_BYTES);
        let is_last = self.slice.chunk.saturating_add(1) == chunk_count(self.artifact.bytes());
        // One byte past the last chunk shows an artifact that is longer than declared.
        let end = start
            .saturating_add(self.bytes)
            .saturating_add(u64::from(is_last));
        let opened = container.open(self.artifact, start..end).await;
        let body = opened.map_err(|error| Fault::from(&error))?;
        if body.bytes_claimed == self.artifact.bytes() {
            Ok(body)
        } else {
            Err(Fault::size(body.bytes_claimed))
        }
    }

    /// The next piece, or a fault as soon as there is more than there should be.
    pub(super) async fn next(&mut self, container: &dyn Container) -> Result<Option<Bytes>, Fault> {
        loop {
            let mut body = match self.body.take() {
                Some(body) => body,
                None => self.open(container).await?,
            };
            match body.next().await {
                Some(Ok(piece)) => {
                    self.body = Some(body);
                    self.seen = self.seen.saturating_add(len_u64(&piece));
                    if self.seen > self.bytes {
                        return Err(Fault::Size { found: None });
                    }
                    return Ok(Some(piece));
                }
                Some(Err(error)) if error.is_retryable() && self.restarts_left > 0 => {
                    self.restarts_left = self.restarts_left.saturating_sub(1);
                    self.hasher = Hasher::new();
                    self.seen = 0;
                }
                Some(Err(error)) => return Err(Fault::from(&error)),
                None => {
                    self.body = Some(body);
                    return Ok(None);
                }
            }
        }
    }

    /// What is wrong with the chunk, when its bytes have ended.
    pub(super) fn finish(&mut self) -> Option<Fault> {
        if self.seen < self.bytes {
            return Some(Fault::Size { found: None });
        }
        let at = usize::try_from(self.slice.chunk).unwrap_or(usize::MAX);
        let expected = self.artifact.content().chunks().get(at);
        if expected == Some(&std::mem::take(&mut self.hasher).finish()) {
            return None;
        }
        let is_one_of_many = matches!(self.artifact.content(), Content::Chunks(_));
        let damaged = is_one_of_many
            .then_some(self.slice.chunk)
            .into_iter()
            .collect();
        Some(Fault::Digest { damaged, more: 0 })
    }
}
