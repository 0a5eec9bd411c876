//! Opening files below a directory without ever following a link, at any component.
//!
//! The file store, pack directories and exports all read through here. Invariant: below a [`Below`] no
//! symbolic link is followed and `..` leads nowhere, so nothing outside of it is reached, whoever else
//! may write in it. `openat2` (Linux 5.6) sees to that in one call; where it is missing, in some
//! sandboxes too, each component is opened on its own. The path of the directory itself is the
//! caller's and is taken as it is.

mod read;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat, openat, statat,
};
use rustix::io::{Errno, Result, retry_on_intr};

pub(crate) use read::{PIECE_BYTES_MAX, open, open_file, stat};

use crate::store::StoreError;

/// How often a resolution is tried that a rename somewhere else made uncertain.
const TRIES_MAX: usize = 16;

/// How much of a listing is read in one call.
const LISTING_BYTES: usize = 16 * 1024;

/// A directory, and the ways to what lies below it.
#[derive(Debug)]
pub(crate) struct Below {
    fd: OwnedFd,
    /// For messages.
    path: PathBuf,
    /// Whether `openat2` was found missing.
    walks: AtomicBool,
}

impl Below {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = retry_on_intr(|| openat(CWD, path, flags, Mode::empty()))?;
        Ok(Self::opened(fd, path.to_owned()))
    }

    /// A directory that was opened, at `path` for messages.
    pub(crate) fn opened(fd: OwnedFd, path: PathBuf) -> Self {
        Self {
            fd,
            path,
            walks: AtomicBool::new(false),
        }
    }

    /// As [`Below::open`], for a directory that a caller named.
    pub(crate) fn open_named(path: &Path) -> std::result::Result<Self, StoreError> {
        let shown = || path.display().to_string();
        Self::open(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => StoreError::NotFound { key: shown() },
            _ => StoreError::Io {
                action: "opening a directory",
                path: shown(),
                source,
            },
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Another descriptor of the same opened directory.
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }

    /// Walks component by component from now on.
    #[cfg(test)]
    pub(crate) fn without_openat2(&self) {
        self.walks.store(true, Ordering::Relaxed);
    }

    /// Opens what stands at `path`; empty is the directory itself. With [`ResolveFlags::NO_XDEV`] it
    /// must lie on the directory's mount.
    pub(crate) fn open_at(
        &self,
        path: &[u8],
        flags: OFlags,
        also: ResolveFlags,
    ) -> Result<OwnedFd> {
        // A FIFO must not be waited for. `O_PATH` opens nothing and takes no such flag.
        let mut flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        if !flags.contains(OFlags::PATH) {
            flags |= OFlags::NONBLOCK | OFlags::NOCTTY;
        }
        let path = if path.is_empty() { b"." } else { path };
        if !self.walks.load(Ordering::Relaxed) {
            let resolve = ResolveFlags::BENEATH
                | ResolveFlags::NO_SYMLINKS
                | ResolveFlags::NO_MAGICLINKS
                | also;
            for _ in 0..TRIES_MAX {
                match rustix::fs::openat2(&self.fd, path, flags, Mode::empty(), resolve) {
                    Err(Errno::INTR | Errno::AGAIN) => {}
                    Err(Errno::NOSYS) => {
                        self.walks.store(true, Ordering::Relaxed);
                        break;
                    }
                    // A sandbox may answer so for calls that it does not know.
                    Err(Errno::PERM) => break,
                    done => return done,
                }
            }
        }
        self.walk(path, flags, also)
    }

    fn walk(&self, path: &[u8], flags: OFlags, also: ResolveFlags) -> Result<OwnedFd> {
        let way = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut names = path
            .split(|&byte| byte == b'/')
            .filter(|name| !name.is_empty())
            .peekable();
        let mut at: Option<OwnedFd> = None;
        while let Some(name) = names.next() {
            let directory = at.as_ref().map_or(self.fd.as_fd(), AsFd::as_fd);
            let flags = if names.peek().is_some() { way } else { flags };
            at = Some(open_one(directory, name, flags)?);
        }
        let fd = at.ok_or(Errno::NOENT)?;
        let crosses = || -> Result<bool> {
            Ok(rustix::fs::fstat(&fd)?.st_dev != rustix::fs::fstat(&self.fd)?.st_dev)
        };
        if also.contains(ResolveFlags::NO_XDEV) && crosses()? {
            return Err(Errno::XDEV);
        }
        Ok(fd)
    }

    /// The error for a call on `path` that failed.
    pub(crate) fn error(&self, action: &'static str, path: &[u8], errno: Errno) -> StoreError {
        let path = self
            .path
            .join(String::from_utf8_lossy(path).as_ref())
            .display()
            .to_string();
        match errno {
            Errno::LOOP | Errno::NXIO | Errno::NODEV => StoreError::Unsafe { path },
            Errno::XDEV => StoreError::Unusable {
                reason: format!(
                    "`{path}` is on another file system than its store's directory; make it a store of its own"
                ),
            },
            _ => StoreError::Io {
                action,
                path,
                source: errno.into(),
            },
        }
    }

    /// The error for a file that could not be opened.
    pub(crate) fn refusal(&self, path: &[u8], errno: Errno) -> StoreError {
        match errno {
            // A name that the file system cannot have is one that it does not have.
            Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG => StoreError::NotFound {
                key: String::from_utf8_lossy(path).into_owned(),
            },
            errno => self.error("opening", path, errno),
        }
    }
}

impl AsFd for Below {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Opens one component. Linux says "not a directory" of a symbolic link too; here it is [`Errno::LOOP`].
fn open_one(directory: BorrowedFd<'_>, name: &[u8], flags: OFlags) -> Result<OwnedFd> {
    if name == b".." {
        return Err(Errno::XDEV);
    }
    match retry_on_intr(|| openat(directory, name, flags, Mode::empty())) {
        Err(Errno::NOTDIR) if is_link(directory, name) => Err(Errno::LOOP),
        done => done,
    }
}

fn is_link(directory: BorrowedFd<'_>, name: &[u8]) -> bool {
    statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| file_type(&stat) == FileType::Symlink)
}

pub(crate) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The size of a file, as the file system says.
pub(crate) fn file_bytes(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
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
pub(crate) fn for_each_entry(directory: impl AsFd, mut found: impl FnMut(Entry)) -> Result<()> {
    let mut buffer = Vec::with_capacity(LISTING_BYTES);
    let mut entries = RawDir::new(&directory, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => file_type(&statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?),
            known => known,
        };
        found(Entry {
            name: name.to_bytes().to_vec(),
            kind,
        });
    }
    Ok(())
}
