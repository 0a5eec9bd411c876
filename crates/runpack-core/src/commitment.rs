//! The commitment: the digest that stands for an artifact's bytes (specification, section 4).
//!
//! A chunk is always 8 MiB. An artifact of at most one chunk is committed to by its digest, a larger
//! one by a digest over its size and the digests of its chunks. So every 8 MiB can be checked, sent
//! and repaired on its own, and one large artifact keeps all cores busy.

use crate::count::len_u64;
use crate::digest::{Digest, Hasher};

/// The size of a chunk: 8 MiB.
pub const CHUNK_BYTES: u64 = 8 * 1024 * 1024;

/// [`CHUNK_BYTES`] for buffers.
pub(crate) const CHUNK_LEN: usize = 8 * 1024 * 1024;

/// What a manifest says of an artifact's bytes: the digest of the only chunk, or of each of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// At most 8 MiB: the digest of all bytes.
    Whole(Digest),
    /// More than 8 MiB: the digest of each chunk in order.
    Chunks(Box<[Digest]>),
}

impl Content {
    /// Puts the digests of all chunks, in order, into the form that fits their number.
    /// An artifact without bytes still has one chunk, the empty one.
    pub fn from_chunks(digests: Vec<Digest>) -> Self {
        match digests.as_slice() {
            [only] => Self::Whole(*only),
            _ => Self::Chunks(digests.into_boxed_slice()),
        }
    }

    /// The digest of each chunk in order.
    pub fn chunks(&self) -> &[Digest] {
        match self {
            Self::Whole(digest) => std::slice::from_ref(digest),
            Self::Chunks(digests) => digests,
        }
    }

    /// The commitment to `bytes` bytes of this content.
    pub fn commitment(&self, bytes: u64) -> Digest {
        match self {
            Self::Whole(digest) => *digest,
            Self::Chunks(digests) => {
                let mut hasher = Hasher::new();
                hasher.update(b"runpack/chunks/v1\0");
                hasher.update(&bytes.to_be_bytes());
                hasher.update(&CHUNK_BYTES.to_be_bytes());
                for digest in digests {
                    hasher.update(digest.as_bytes());
                }
                hasher.finish()
            }
        }
    }

    /// Whether the number of digests fits `bytes`.
    pub(crate) fn fits(&self, bytes: u64) -> bool {
        match self {
            Self::Whole(_) => bytes <= CHUNK_BYTES,
            Self::Chunks(digests) => {
                bytes > CHUNK_BYTES && u64::try_from(digests.len()) == Ok(chunk_count(bytes))
            }
        }
    }
}

/// How many chunks `bytes` bytes have; at least one.
pub const fn chunk_count(bytes: u64) -> u64 {
    if bytes == 0 {
        1
    } else {
        bytes.div_ceil(CHUNK_BYTES)
    }
}

/// The length of chunk `index` of an artifact of `bytes` bytes; zero past its end.
pub const fn chunk_len(bytes: u64, index: u64) -> u64 {
    let rest = bytes.saturating_sub(index.saturating_mul(CHUNK_BYTES));
    if rest < CHUNK_BYTES {
        rest
    } else {
        CHUNK_BYTES
    }
}

/// Hashes one stream of bytes chunk by chunk.
#[derive(Debug, Default)]
pub struct ChunkHasher {
    done: Vec<Digest>,
    current: Hasher,
    filled: usize,
    bytes: u64,
}

impl ChunkHasher {
    /// A hasher that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Advances by `bytes`.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.bytes = self.bytes.saturating_add(len_u64(bytes));
        while !bytes.is_empty() {
            if self.filled == CHUNK_LEN {
                self.done.push(std::mem::take(&mut self.current).finish());
                self.filled = 0;
            }
            let take = bytes.len().min(CHUNK_LEN.saturating_sub(self.filled));
            let (head, tail) = bytes.split_at(take);
            self.current.update(head);
            self.filled = self.filled.saturating_add(take);
            bytes = tail;
        }
    }

    /// The content and the number of bytes seen.
    pub fn finish(mut self) -> (Content, u64) {
        self.done.push(self.current.finish());
        (Content::from_chunks(self.done), self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashed(bytes: &[u8], piece: usize) -> (Content, u64) {
        let mut hasher = ChunkHasher::new();
        bytes.chunks(piece).for_each(|piece| hasher.update(piece));
        hasher.finish()
    }

    #[test]
    fn at_most_one_chunk_is_its_own_digest() {
        for len in [0, 1, CHUNK_LEN] {
            let bytes = vec![7; len];
            let (content, seen) = hashed(&bytes, 1 << 20);
            assert_eq!(content, Content::Whole(Digest::of(&bytes)));
            assert_eq!(content.commitment(seen), Digest::of(&bytes));
            assert!(content.fits(seen));
        }
    }

    #[test]
    fn more_is_a_digest_over_size_and_chunks() {
        let bytes = vec![7; CHUNK_LEN + 1];
        let (content, seen) = hashed(&bytes, 3_000_001);
        let (first, second) = bytes.split_at(CHUNK_LEN);
        assert_eq!(content.chunks(), [Digest::of(first), Digest::of(second)]);
        let mut spelled = b"runpack/chunks/v1\0".to_vec();
        spelled.extend(seen.to_be_bytes());
        spelled.extend(8_388_608u64.to_be_bytes());
        spelled.extend(Digest::of(first).as_bytes());
        spelled.extend(Digest::of(second).as_bytes());
        assert_eq!(content.commitment(seen), Digest::of(&spelled));
        assert!(content.fits(seen) && !content.fits(CHUNK_BYTES) && !content.fits(3 * CHUNK_BYTES));
    }

    #[test]
    fn chunk_arithmetic_at_its_edges() {
        let cases = [
            (0, 1),
            (1, 1),
            (CHUNK_BYTES, 1),
            (CHUNK_BYTES + 1, 2),
            (u64::MAX, 1 << 41),
        ];
        for (bytes, count) in cases {
            assert_eq!(chunk_count(bytes), count, "{bytes}");
        }
        assert_eq!(chunk_len(CHUNK_BYTES + 5, 1), 5);
        assert_eq!(chunk_len(CHUNK_BYTES + 5, 2), 0);
        assert_eq!(chunk_len(u64::MAX, u64::MAX), 0);
    }
}
