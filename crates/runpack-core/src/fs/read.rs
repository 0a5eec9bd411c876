//! Reading regular files: what is opened is looked at, and no size is believed.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use rustix::buffer::spare_capacity;
use rustix::fs::{FileType, OFlags, ResolveFlags};
use rustix::io::{Errno, retry_on_intr};

use super::{Below, file_bytes, file_type};
use crate::blocking;
use crate::count::len_u64;
use crate::store::{ObjectBody, StoreError};

/// The most bytes that are read at once.
pub(crate) const PIECE_BYTES_MAX: u64 = 96 * 1024;

/// Opens a regular file, and says how large it claims to be.
///
/// # Errors
/// [`StoreError::NotFound`]; [`StoreError::Unsafe`] for whatever is no regular file.
pub(crate) fn open_file(
    below: &Below,
    path: &[u8],
    flags: OFlags,
    also: ResolveFlags,
) -> Result<(OwnedFd, u64), StoreError> {
    let opened = below.open_at(path, flags, also);
    let fd = opened.map_err(|errno| below.refusal(path, errno))?;
    let stat = rustix::fs::fstat(&fd).map_err(|errno| below.error("looking", path, errno))?;
    if file_type(&stat) != FileType::RegularFile {
        return Err(below.refusal(path, Errno::LOOP));
    }
    Ok((fd, file_bytes(&stat)))
}

/// The size of a regular file. Nothing is opened, so that no device notices.
///
/// # Errors
/// As [`open_file`].
pub(crate) fn stat(below: &Below, path: &[u8]) -> Result<u64, StoreError> {
    open_file(below, path, OFlags::PATH, ResolveFlags::empty()).map(|(_, bytes)| bytes)
}

/// Opens a range of a file and reads its first piece, so that a small file is one step.
///
/// # Errors
/// As [`open_file`].
pub(crate) async fn open(
    below: Arc<Below>,
    path: Arc<[u8]>,
    range: Range<u64>,
) -> Result<ObjectBody, StoreError> {
    blocking::run(move || Opened::new(below, path, range))
        .await
        .map(Opened::into_body)
}

/// A range of an open file, read up to some place.
#[derive(Debug)]
struct Reading {
    below: Arc<Below>,
    path: Arc<[u8]>,
    file: OwnedFd,
    bytes_claimed: u64,
    at: u64,
    end: u64,
}

impl Reading {
    /// The next bytes, which are none at the end, and whether more may follow.
    fn piece(&mut self) -> Result<(Bytes, bool), StoreError> {
        let wanted = self.end.saturating_sub(self.at).min(PIECE_BYTES_MAX);
        // One byte more than claimed: to come back short of it shows the end without another call.
        let there = match self.bytes_claimed.checked_sub(self.at) {
            Some(left) => left.saturating_add(1),
            None => PIECE_BYTES_MAX,
        };
        let room = usize::try_from(wanted.min(there)).unwrap_or(0);
        if room == 0 {
            return Ok((Bytes::new(), false));
        }
        let mut piece = Vec::with_capacity(room);
        let read =
            retry_on_intr(|| rustix::io::pread(&self.file, spare_capacity(&mut piece), self.at))
                .map_err(|errno| self.below.error("reading", &self.path, errno))?;
        piece.truncate(room);
        self.at = self.at.saturating_add(len_u64(&piece));
        let is_short = piece.len() < room && self.at >= self.bytes_claimed;
        let more = read > 0 && !is_short && self.at < self.end;
        Ok((Bytes::from(piece), more))
    }
}

/// A file with its first piece read, and what is left to be read, if anything.
struct Opened {
    bytes_claimed: u64,
    first: Bytes,
    rest: Option<Reading>,
}

impl Opened {
    fn new(below: Arc<Below>, path: Arc<[u8]>, range: Range<u64>) -> Result<Self, StoreError> {
        let (file, bytes_claimed) =
            open_file(&below, &path, OFlags::RDONLY, ResolveFlags::empty())?;
        let Range { start: at, end } = range;
        let mut reading = Reading {
            below,
            path,
            file,
            bytes_claimed,
            at,
            end,
        };
        let (first, more) = if at < bytes_claimed {
            reading.piece()?
        } else {
            (Bytes::new(), false)
        };
        Ok(Self {
            bytes_claimed,
            first,
            rest: more.then_some(reading),
        })
    }

    fn into_body(self) -> ObjectBody {
        let first = (!self.first.is_empty()).then_some(self.first);
        let pieces = stream::unfold((first, self.rest), |(first, rest)| async {
            if let Some(first) = first {
                return Some((Ok(first), (None, rest)));
            }
            let mut reading = rest?;
            let read = blocking::run(move || {
                let (piece, more) = reading.piece()?;
                Ok((piece, more.then_some(reading)))
            });
            match read.await {
                Ok((piece, _)) if piece.is_empty() => None,
                Ok((piece, rest)) => Some((Ok(piece), (None, rest))),
                Err(error) => Some((Err(error), (None, None))),
            }
        });
        ObjectBody {
            bytes_claimed: self.bytes_claimed,
            stream: Box::pin(pieces),
        }
    }
}
