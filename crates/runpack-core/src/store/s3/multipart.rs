//! Objects of more than one chunk: an upload in parts, completed only where nothing is there.
//!
//! A part is the smallest power-of-two number of chunks of which at most 10,000 make the object, so its checksum
//! is the chunk's own digest up to 80 GiB, and the store's composite checksum follows from the manifest. Parts are
//! streamed from the source; memory does not grow with the object. Whatever does not end in an object ends in an
//! abort; what no abort reaches is left to housekeeping.

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::S3Store;
use super::open::unusable;
use super::put::{After, Write};
use super::upload::{PartFault, Sent, Upload};
use crate::commitment::{CHUNK_BYTES, chunk_count};
use crate::key::ObjectKey;
use crate::store::{Declared, Receipt, Source, StoreError};

/// The most parts of an upload (Amazon S3 user guide, "Multipart upload limits").
pub(super) const PARTS_MAX: u64 = 10_000;
/// The most chunks in a part: 4 GiB, of the 5 that a part may have.
const PART_CHUNKS_MAX: u64 = 512;
/// Parts of one object on their way at once.
const IN_FLIGHT: usize = 4;

/// How an object is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    bytes: u64,
    part_bytes: u64,
    pub(super) parts: u64,
}

impl Plan {
    /// `None` where the object is too large for any number of parts.
    pub(super) fn of(bytes: u64) -> Option<Self> {
        let chunks = chunk_count(bytes);
        let part_chunks = chunks.div_ceil(PARTS_MAX).checked_next_power_of_two()?;
        (part_chunks <= PART_CHUNKS_MAX).then(|| Self {
            bytes,
            part_bytes: part_chunks.saturating_mul(CHUNK_BYTES),
            parts: chunks.div_ceil(part_chunks),
        })
    }

    /// Whether each part is one chunk.
    pub(super) fn is_by_chunk(self) -> bool {
        self.part_bytes == CHUNK_BYTES
    }

    fn range(self, part: u64) -> std::ops::Range<u64> {
        let start = part.saturating_mul(self.part_bytes);
        start..start.saturating_add(self.part_bytes).min(self.bytes)
    }
}

impl S3Store {
    pub(super) async fn send_in_parts(
        &self,
        key: &ObjectKey,
        declared: Declared,
        source: Arc<dyn Source>,
    ) -> Result<Receipt, StoreError> {
        let write = Write::new(self, key, declared)?;
        let plan = Plan::of(write.declared.bytes).ok_or_else(|| too_large(&write))?;
        // What is there already needs no sending, and what is there as something else no sending either.
        if let Some(receipt) = write.find(None).await? {
            return Ok(receipt);
        }
        let mut attempt = 0;
        loop {
            let upload = Upload::begin(&write).await?;
            let fault = match write.parts(plan, &upload, &source).await {
                Ok(sent) => match upload.complete(&write, &sent).await? {
                    After::There(receipt) => return Ok(receipt),
                    After::Again(fault) => fault,
                },
                Err(PartFault::Failed(error)) => {
                    upload.abort().await;
                    return Err(error);
                }
                Err(PartFault::Lost(fault)) => fault,
            };
            write.pause(&mut attempt, fault).await?;
        }
    }
}

impl Write<'_> {
    async fn parts(
        &self,
        plan: Plan,
        upload: &Upload,
        source: &Arc<dyn Source>,
    ) -> Result<Vec<Sent>, PartFault> {
        let part = |part| {
            let passage = self.passage(Arc::clone(source), plan.range(part));
            async move {
                let _permit = self.store.shared.parts.acquire().await;
                let digest = match usize::try_from(part) {
                    Ok(at) if plan.is_by_chunk() => {
                        passage.declared.content.chunks().get(at).copied()
                    }
                    _ => None,
                };
                let digest = match digest {
                    Some(digest) => digest,
                    None => passage.digest().await?,
                };
                upload
                    .send(part, digest, passage.bytes(), || passage.body())
                    .await
            }
        };
        let mut sent: Vec<Sent> = stream::iter((0..plan.parts).map(part))
            .buffer_unordered(IN_FLIGHT)
            .try_collect()
            .await?;
        sent.sort_unstable_by_key(|sent| sent.part);
        Ok(sent)
    }
}

fn too_large(write: &Write<'_>) -> StoreError {
    unusable(format!(
        "an object may have {} parts of {} MiB, key=`{}` bytes=`{}`",
        PARTS_MAX,
        PART_CHUNKS_MAX.saturating_mul(8),
        write.key,
        write.declared.bytes
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_whole_chunks_and_at_most_ten_thousand() {
        let gib = 1_u64 << 30;
        for (bytes, part_chunks, parts) in [
            (CHUNK_BYTES + 1, 1, 2),
            (gib, 1, 128),
            (10_000 * CHUNK_BYTES, 1, 10_000),
            (10_000 * CHUNK_BYTES + 1, 2, 5_001),
            (20_000 * CHUNK_BYTES + 1, 4, 5_001),
            (40_000 * gib, 512, 10_000),
        ] {
            let plan = Plan::of(bytes).unwrap();
            assert_eq!(plan.part_bytes, part_chunks * CHUNK_BYTES, "{bytes}");
            assert_eq!(plan.parts, parts, "{bytes}");
            assert_eq!(plan.range(parts - 1).end, bytes);
            assert!(plan.range(parts - 1).start < bytes);
            assert_eq!(plan.is_by_chunk(), part_chunks == 1);
        }
        assert_eq!(Plan::of(40_000 * gib + 1), None);
        assert_eq!(Plan::of(u64::MAX), None);
    }
}
