//! Reading objects: what is opened is looked at, and no size is believed.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use rustix::buffer::spare_capacity;
use rustix::fs::{FileType, OFlags, ResolveFlags};
use rustix::io::{Errno, retry_on_intr};

use super::root::{Root, file_bytes, file_type};
use super::sys::Handle;
use crate::blocking;
use crate::commitment::{ChunkHasher, len_u64};
use crate::store::{Declared, ObjectBody, ObjectStat, StoreError};

/// The most bytes that are read at once.
const PIECE_BYTES_MAX: u64 = 256 * 1024;

/// Opens a regular file, and says how large it claims to be.
pub(super) fn open_file(
    root: &Root,
    key: &str,
    flags: OFlags,
    also: ResolveFlags,
) -> Result<(Handle, u64), StoreError> {
    let fd = root
        .open_at(key, flags, also)
        .map_err(|errno| refusal(root, key, errno))?;
    let stat = rustix::fs::fstat(&fd).map_err(|errno| root.error("looking", key, errno))?;
    if file_type(&stat) != FileType::RegularFile {
        return Err(refusal(root, key, Errno::LOOP));
    }
    Ok((Handle::new(fd, key.to_owned()), file_bytes(&stat)))
}

/// The error for an object that could not be opened.
fn refusal(root: &Root, key: &str, errno: Errno) -> StoreError {
    match errno {
        // A name that the file system cannot have is one that it does not have.
        Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG => StoreError::NotFound {
            key: key.to_owned(),
        },
        errno => root.error("opening", key, errno),
    }
}

/// What the file system says of an object.
pub(super) fn stat(root: &Root, key: &str) -> Result<ObjectStat, StoreError> {
    // Nothing is opened, so that no device notices.
    let (_, bytes) = open_file(root, key, OFlags::PATH, ResolveFlags::empty())?;
    Ok(ObjectStat::new(bytes, None))
}

/// A range of an open object, read up to some place.
#[derive(Debug)]
struct Reading {
    root: Arc<Root>,
    file: Handle,
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
                .map_err(|errno| self.root.error("reading", self.file.path(), errno))?;
        piece.truncate(room);
        self.at = self.at.saturating_add(len_u64(&piece));
        let is_short = piece.len() < room && self.at >= self.bytes_claimed;
        let more = read > 0 && !is_short && self.at < self.end;
        Ok((Bytes::from(piece), more))
    }
}

/// An object with its first piece read, and what is left to be read, if anything.
pub(super) struct Opened {
    bytes_claimed: u64,
    first: Bytes,
    rest: Option<Reading>,
}

/// Opens a range of an object and reads its first piece.
pub(super) fn open(root: Arc<Root>, key: &str, range: Range<u64>) -> Result<Opened, StoreError> {
    let (file, bytes_claimed) = open_file(&root, key, OFlags::RDONLY, ResolveFlags::empty())?;
    let mut reading = Reading {
        root,
        file,
        bytes_claimed,
        at: range.start,
        end: range.end,
    };
    let (first, more) = if range.start < bytes_claimed {
        reading.piece()?
    } else {
        (Bytes::new(), false)
    };
    Ok(Opened {
        bytes_claimed,
        first,
        rest: more.then_some(reading),
    })
}

impl Opened {
    pub(super) fn into_body(self) -> ObjectBody {
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

/// What is in a file, all of it read.
pub(super) fn content(root: &Root, file: &Handle) -> Result<Declared, StoreError> {
    let mut hasher = ChunkHasher::new();
    let mut piece = Vec::with_capacity(usize::try_from(PIECE_BYTES_MAX).unwrap_or(0));
    let mut at = 0_u64;
    loop {
        piece.clear();
        let read = retry_on_intr(|| rustix::io::pread(file, spare_capacity(&mut piece), at))
            .map_err(|errno| root.error("reading", file.path(), errno))?;
        if read == 0 {
            let (content, bytes) = hasher.finish();
            return Ok(Declared::new(bytes, content));
        }
        hasher.update(&piece);
        at = at.saturating_add(len_u64(&piece));
    }
}
