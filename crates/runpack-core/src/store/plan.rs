//! How an object of more than one chunk is cut into parts.
//!
//! A part is the smallest power-of-two number of chunks of which at most 10,000 make the object, so its checksum
//! is the chunk's own digest up to 80 GiB, and the store's composite checksum follows from the manifest.

#![cfg_attr(
    not(any(feature = "s3", test)),
    expect(dead_code, reason = "only a bucket has parts")
)]

use std::ops::Range;

use crate::commitment::{CHUNK_BYTES, chunk_count};

/// The most parts of an upload (Amazon S3 user guide, "Multipart upload limits").
pub(crate) const PARTS_MAX: u64 = 10_000;
/// The most chunks in a part: 4 GiB, of the 5 that a part may have.
pub(crate) const PART_CHUNKS_MAX: u64 = 512;

/// How many parts an object of more than one chunk is sent in; `None` where it is too large for any number.
pub fn part_count(bytes: u64) -> Option<u64> {
    Plan::of(bytes).map(|plan| plan.parts)
}

/// How an object is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    bytes: u64,
    part_bytes: u64,
    pub(crate) parts: u64,
}

impl Plan {
    /// `None` where the object is too large for any number of parts.
    pub(crate) fn of(bytes: u64) -> Option<Self> {
        let chunks = chunk_count(bytes);
        let part_chunks = chunks.div_ceil(PARTS_MAX).checked_next_power_of_two()?;
        (part_chunks <= PART_CHUNKS_MAX).then(|| Self {
            bytes,
            part_bytes: part_chunks.saturating_mul(CHUNK_BYTES),
            parts: chunks.div_ceil(part_chunks),
        })
    }

    /// Whether each part is one chunk.
    pub(crate) fn is_by_chunk(self) -> bool {
        self.part_bytes == CHUNK_BYTES
    }

    /// The bytes of a part, counted from 0.
    pub(crate) fn range(self, part: u64) -> Range<u64> {
        let start = part.saturating_mul(self.part_bytes);
        start..start.saturating_add(self.part_bytes).min(self.bytes)
    }
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
