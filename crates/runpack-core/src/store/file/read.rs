//! Objects as files of the store.

use rustix::buffer::spare_capacity;
use rustix::fs::{OFlags, ResolveFlags};
use rustix::io::retry_on_intr;

use super::root::Root;
use super::sys::Handle;
use crate::commitment::ChunkHasher;
use crate::count::len_u64;
use crate::fs::{self, PIECE_BYTES_MAX};
use crate::store::{Declared, StoreError};

/// Opens an object on the store's own mount.
pub(super) fn open_own(root: &Root, key: &str) -> Result<Handle, StoreError> {
    let (fd, _) = fs::open_file(
        root.below(),
        key.as_bytes(),
        OFlags::RDONLY,
        ResolveFlags::NO_XDEV,
    )?;
    Ok(Handle::new(fd, key.to_owned()))
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
