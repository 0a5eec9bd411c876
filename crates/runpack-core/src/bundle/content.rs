//! One artifact's bytes against its commitment, chunk by chunk and in order, as they pass.

use std::io;

use super::BundleSink;
use crate::commitment::{CHUNK_BYTES, chunk_count, chunk_len};
use crate::count::len_u64;
use crate::digest::{Digest, Hasher};
use crate::finding::{Code, Finding};
use crate::level::Level;
use crate::manifest::Artifact;

/// How many damaged chunks a finding lists; it counts the rest.
const DAMAGED_LISTED_MAX: usize = 100;

/// An artifact that is being read.
#[derive(Debug)]
pub(super) struct ContentCheck {
    position: usize,
    bytes_left: u64,
    hashed: Option<Hashed>,
}

/// What there is only where content is looked at.
#[derive(Debug)]
struct Hashed {
    chunk: u64,
    chunk_left: u64,
    hasher: Hasher,
    /// The whole, where a claim about it is to be checked.
    whole: Option<Hasher>,
    damaged: Vec<u64>,
    damaged_count: u64,
    /// The chunk so far, where a sink waits for it and it did not come in one piece.
    pending: Vec<u8>,
}

impl ContentCheck {
    /// Starts with the artifact at `position`. `pending` is an empty buffer to use.
    pub(super) fn new(
        artifact: &Artifact,
        position: usize,
        level: Level,
        pending: Vec<u8>,
    ) -> Self {
        let hashed = (level != Level::Presence).then(|| Hashed {
            chunk: 0,
            chunk_left: chunk_len(artifact.bytes(), 0),
            hasher: Hasher::new(),
            whole: (level == Level::Deep && artifact.claimed_sha256().is_some()).then(Hasher::new),
            damaged: Vec::new(),
            damaged_count: 0,
            pending,
        });
        Self {
            position,
            bytes_left: artifact.bytes(),
            hashed,
        }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn is_complete(&self) -> bool {
        self.bytes_left == 0
    }

    /// Whether a chunk was damaged so far.
    pub(super) fn is_damaged(&self) -> bool {
        self.hashed
            .as_ref()
            .is_some_and(|hashed| hashed.damaged_count > 0)
    }

    /// Takes this artifact's bytes from the front of `input`; gives how many there were.
    pub(super) fn take<S: BundleSink>(
        &mut self,
        artifact: &Artifact,
        input: &mut &[u8],
        sink: &mut Option<S>,
    ) -> io::Result<u64> {
        let mut taken: u64 = 0;
        while self.bytes_left > 0 && !input.is_empty() {
            let piece_max = match &self.hashed {
                Some(hashed) => hashed.chunk_left,
                None => self.bytes_left,
            };
            let length = usize::try_from(piece_max).map_or(input.len(), |max| max.min(input.len()));
            let (piece, rest) = input.split_at(length);
            if let Some(hashed) = &mut self.hashed {
                hashed.update(artifact, self.position, piece, sink)?;
            }
            *input = rest;
            let bytes = len_u64(piece);
            self.bytes_left = self.bytes_left.saturating_sub(bytes);
            taken = taken.saturating_add(bytes);
        }
        Ok(taken)
    }

    /// Judges an artifact that was read to its end, and gives the buffer back.
    pub(super) fn finish<S: BundleSink>(
        self,
        artifact: &Artifact,
        sink: &mut Option<S>,
    ) -> io::Result<(Option<Finding>, Vec<u8>)> {
        let Some(mut hashed) = self.hashed else {
            return Ok((None, Vec::new()));
        };
        if artifact.bytes() == 0 {
            hashed.close_chunk(artifact, self.position, &[], sink)?;
        }
        let pending = std::mem::take(&mut hashed.pending);
        Ok((hashed.judge(artifact), pending))
    }
}

impl Hashed {
    /// Advances by a piece that does not go beyond the chunk.
    fn update<S: BundleSink>(
        &mut self,
        artifact: &Artifact,
        position: usize,
        piece: &[u8],
        sink: &mut Option<S>,
    ) -> io::Result<()> {
        self.hasher.update(piece);
        if let Some(whole) = &mut self.whole {
            whole.update(piece);
        }
        self.chunk_left = self.chunk_left.saturating_sub(len_u64(piece));
        let in_one_piece = self.pending.is_empty() && self.chunk_left == 0;
        if sink.is_some() && !in_one_piece {
            self.pending.extend_from_slice(piece);
        }
        if self.chunk_left == 0 {
            self.close_chunk(artifact, position, piece, sink)?;
        }
        Ok(())
    }

    /// Judges a chunk that is complete: `piece`, or what is pending and ends with it.
    fn close_chunk<S: BundleSink>(
        &mut self,
        artifact: &Artifact,
        position: usize,
        piece: &[u8],
        sink: &mut Option<S>,
    ) -> io::Result<()> {
        let found = std::mem::take(&mut self.hasher).finish();
        if self.expected(artifact) == Some(&found) {
            if let Some(sink) = sink {
                let bytes = if self.pending.is_empty() {
                    piece
                } else {
                    &self.pending
                };
                sink.chunk(position, self.chunk.saturating_mul(CHUNK_BYTES), bytes)?;
            }
        } else {
            self.damaged_count = self.damaged_count.saturating_add(1);
            if self.damaged.len() < DAMAGED_LISTED_MAX {
                self.damaged.push(self.chunk);
            }
        }
        self.pending.clear();
        self.chunk = self.chunk.saturating_add(1);
        self.chunk_left = chunk_len(artifact.bytes(), self.chunk);
        Ok(())
    }

    fn expected<'a>(&self, artifact: &'a Artifact) -> Option<&'a Digest> {
        artifact
            .content()
            .chunks()
            .get(usize::try_from(self.chunk).ok()?)
    }

    fn judge(self, artifact: &Artifact) -> Option<Finding> {
        let chunks = chunk_count(artifact.bytes());
        if self.damaged_count > 0 {
            let detail = if chunks == 1 {
                "the bytes are not those committed to".to_owned()
            } else {
                format!(
                    "the bytes are not those committed to, damaged 8 MiB chunks={}",
                    self.damaged_count
                )
            };
            let listed = if chunks == 1 {
                Vec::new()
            } else {
                self.damaged
            };
            return Some(
                Finding::new(Code::ArtifactDigest, detail)
                    .about(artifact.name().as_str())
                    .with_damaged_chunks(listed),
            );
        }
        let found = self.whole?.finish();
        let claimed = artifact.claimed_sha256()?;
        (found != *claimed).then(|| {
            Finding::new(
                Code::ArtifactClaimed,
                "the bytes are those committed to, but not of the digest that the producer claims for the whole",
            )
            .about(artifact.name().as_str())
        })
    }
}
