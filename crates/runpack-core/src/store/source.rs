//! Where the bytes of an artifact to be come from.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;

use super::{ObjectBody, StoreError};
use crate::count::len_u64;

/// Bytes that can be read more than once: hashing comes first, sending second.
#[async_trait]
pub trait Source: Send + Sync + fmt::Debug {
    /// Opens a range; a range beyond the end gives the bytes that there are.
    ///
    /// # Errors
    /// The source cannot be read.
    async fn open(&self, range: Range<u64>) -> Result<ObjectBody, StoreError>;

    /// The size now. If it changes until the bytes are written, the export fails.
    ///
    /// # Errors
    /// The source cannot be read.
    async fn bytes(&self) -> Result<u64, StoreError>;
}

/// Bytes in memory.
#[derive(Debug, Clone)]
pub struct BytesSource(pub Bytes);

#[async_trait]
impl Source for BytesSource {
    async fn open(&self, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        let bytes_claimed = len_u64(&self.0);
        let at = |offset: u64| usize::try_from(offset.min(bytes_claimed)).unwrap_or(self.0.len());
        let (start, end) = (at(range.start), at(range.end));
        let part = if start < end {
            self.0.slice(start..end)
        } else {
            Bytes::new()
        };
        let pieces = (!part.is_empty()).then_some(Ok(part));
        Ok(ObjectBody {
            bytes_claimed,
            stream: Box::pin(stream::iter(pieces)),
        })
    }

    async fn bytes(&self) -> Result<u64, StoreError> {
        Ok(len_u64(&self.0))
    }
}
