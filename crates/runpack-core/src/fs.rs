//! Opening files below a directory without ever following a link, at any component.
//!
//! Both the file store and pack directories read through here. `openat2` (Linux 5.6) resolves a whole
//! path in one call; where a kernel or sandbox does not have it, the path is walked one component at a
//! time, with the same refusals.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags, openat, openat2, statat,
};
use rustix::io::Errno;

use crate::store::StoreError;

/// How much is read in one call.
pub(crate) const PIECE_BYTES: usize = 256 * 1024;

/// How much of a listing is read in one call.
const LISTING_BYTES: usize = 16 * 1024;

/// A directory that everything below is relative to. Links in `path` itself are followed: it is the
/// user's own.
pub(crate) fn open_root(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}

/// Opens what is at `relative` (components joined by `/`) below `root`, which may be anything but a link
/// or behind one.
pub(crate) fn open_below(
    root: impl AsFd,
    relative: &[u8],
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(&root, relative, flags, Mode::empty(), resolve) {
        // EPERM comes from sandboxes that do not know the call.
        Err(Errno::NOSYS | Errno::PERM) => walk_below(root, relative, flags),
        opened => opened,
    }
}

/// As `open_below`, one component at a time.
fn walk_below(root: impl AsFd, relative: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let on_the_way = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut components = relative.split(|&byte| byte == b'/').peekable();
    let mut at: Option<OwnedFd> = None;
    while let Some(component) = components.next() {
        if component == b".." {
            return Err(Errno::XDEV);
        }
        let is_last = components.peek().is_none();
        let below = at.as_ref().map_or(root.as_fd(), AsFd::as_fd);
        let flags = if is_last { flags } else { on_the_way };
        at = Some(openat(below, component, flags, Mode::empty())?);
    }
    at.ok_or(Errno::NOENT)
}

/// A regular file and its size.
pub(crate) struct OpenFile {
    pub(crate) file: File,
    pub(crate) bytes: u64,
}

/// Opens the regular file at `relative` below `root` for reading.
///
/// # Errors
/// [`StoreError::NotFound`]; [`StoreError::Unsafe`] for whatever is no regular file.
pub(crate) fn open_file(root: impl AsFd, relative: &[u8]) -> Result<OpenFile, StoreError> {
    let shown = || String::from_utf8_lossy(relative).into_owned();
    // O_NONBLOCK: opening a FIFO must not wait for a writer.
    let opened = open_below(
        root,
        relative,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY,
    );
    let file = File::from(opened.map_err(|errno| error_of(errno, "opening a file", &shown()))?);
    let metadata = file
        .metadata()
        .map_err(|source| io_error(source, "reading a size", &shown()))?;
    if !metadata.is_file() {
        return Err(StoreError::Unsafe { path: shown() });
    }
    Ok(OpenFile {
        file,
        bytes: metadata.len(),
    })
}

/// Reads at most one piece at `offset`, before `end`. Empty at the end of the file.
pub(crate) fn read_piece(file: &File, offset: u64, end: u64, size_hint: u64) -> io::Result<Bytes> {
    // The hint only keeps the buffer of a small file small: one byte more shows that it has grown.
    let wanted = end
        .min(size_hint.saturating_add(1))
        .saturating_sub(offset)
        .max(1);
    let wanted = wanted.min(end.saturating_sub(offset));
    let len = usize::try_from(wanted)
        .unwrap_or(PIECE_BYTES)
        .min(PIECE_BYTES);
    let mut buffer = BytesMut::zeroed(len);
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let at = offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
        match file.read_at(rest, at) {
            Ok(0) => break,
            Ok(read) => filled = filled.saturating_add(read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(buffer.freeze())
}

/// What an error number means for whoever asked for an object.
pub(crate) fn error_of(errno: Errno, action: &'static str, path: &str) -> StoreError {
    match errno {
        Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG => StoreError::NotFound {
            key: path.to_owned(),
        },
        // ELOOP: a link. ENXIO: a socket, or a FIFO nobody reads. EXDEV: out of the root.
        Errno::LOOP | Errno::NXIO | Errno::XDEV | Errno::MLINK => StoreError::Unsafe {
            path: path.to_owned(),
        },
        errno => io_error(errno.into(), action, path),
    }
}

pub(crate) fn io_error(source: io::Error, action: &'static str, path: &str) -> StoreError {
    StoreError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// One entry of a directory: its name and what it is, links not followed.
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: FileType,
}

impl Entry {
    pub(crate) fn is_directory(&self) -> bool {
        self.kind == FileType::Directory
    }
}

/// Tells `found` every entry of an opened directory but `.` and `..`.
pub(crate) fn for_each_entry(
    directory: impl AsFd,
    mut found: impl FnMut(Entry),
) -> Result<(), Errno> {
    let mut buffer = Vec::with_capacity(LISTING_BYTES);
    let mut entries = RawDir::new(&directory, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => {
                let stat = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
                FileType::from_raw_mode(stat.st_mode)
            }
            known => known,
        };
        found(Entry {
            name: name.to_bytes().to_vec(),
            kind,
        });
    }
    Ok(())
}
