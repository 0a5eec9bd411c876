//! The root directory, and the ways to what lies below it.
//!
//! Invariant: no symbolic link is followed below the root, at any component, and `..` leads nowhere;
//! so nothing outside of the root is read or written, whoever else may write in it. `openat2` sees to
//! that in one call; where it is missing (Linux before 5.6, some sandboxes) each component is opened
//! on its own. The path of the root itself is the caller's and is taken as it is.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::{Errno, Result, retry_on_intr};

use super::sys::{Handle, Sys};
use crate::store::StoreError;

/// How often a resolution is tried that a rename somewhere else made uncertain.
const TRIES_MAX: usize = 16;

/// What a directory is opened with.
const DIRECTORY: OFlags = OFlags::DIRECTORY;

#[derive(Debug)]
pub(super) struct Root {
    handle: Handle,
    /// Absolute.
    path: PathBuf,
    /// Whether `openat2` was found missing.
    walks: AtomicBool,
    /// Whether `syncfs` tells of bytes that could not be written.
    pub(super) syncfs_tells: bool,
    pub(super) sys: Sys,
}

impl Root {
    pub(super) fn open(path: &Path, sys: Sys) -> std::result::Result<Self, StoreError> {
        let unusable = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::Unusable {
                reason: format!(
                    "there is no directory `{}`; create it as a store, or give the path of one",
                    path.display()
                ),
            },
            io::ErrorKind::NotADirectory => StoreError::Unusable {
                reason: format!(
                    "`{}` is not a directory; give the path of one",
                    path.display()
                ),
            },
            _ => StoreError::Io {
                action: "opening the store's directory",
                path: path.display().to_string(),
                source: error,
            },
        };
        let absolute = path.canonicalize().map_err(unusable)?;
        let flags = DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = retry_on_intr(|| rustix::fs::open(&absolute, flags, Mode::empty()))
            .map_err(|errno| unusable(errno.into()))?;
        Ok(Self {
            handle: Handle::new(fd, String::new()),
            path: absolute,
            walks: AtomicBool::new(false),
            syncfs_tells: syncfs_tells(),
            sys,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Walks component by component from now on.
    #[cfg(test)]
    pub(super) fn without_openat2(&self) {
        self.walks.store(true, Ordering::Relaxed);
    }

    /// Opens what stands at `path`. With [`ResolveFlags::NO_XDEV`] it must lie on the root's mount.
    pub(super) fn open_at(&self, path: &str, flags: OFlags, also: ResolveFlags) -> Result<OwnedFd> {
        // A FIFO must not be waited for. `O_PATH` opens nothing and takes no such flag.
        let mut flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        if !flags.contains(OFlags::PATH) {
            flags |= OFlags::NONBLOCK | OFlags::NOCTTY;
        }
        let path = if path.is_empty() { "." } else { path };
        if !self.walks.load(Ordering::Relaxed) {
            let resolve = ResolveFlags::BENEATH
                | ResolveFlags::NO_SYMLINKS
                | ResolveFlags::NO_MAGICLINKS
                | also;
            for _ in 0..TRIES_MAX {
                let opened = rustix::fs::openat2(&self.handle, path, flags, Mode::empty(), resolve);
                match opened {
                    Err(Errno::INTR | Errno::AGAIN) => {}
                    Err(Errno::NOSYS) => self.walks.store(true, Ordering::Relaxed),
                    // A sandbox may answer so for calls that it does not know.
                    Err(Errno::PERM) => return self.walk(path, flags, also),
                    done => return done,
                }
                if self.walks.load(Ordering::Relaxed) {
                    break;
                }
            }
        }
        self.walk(path, flags, also)
    }

    fn walk(&self, path: &str, flags: OFlags, also: ResolveFlags) -> Result<OwnedFd> {
        let (above, last) = path.rsplit_once('/').unwrap_or(("", path));
        let way = OFlags::PATH | DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut at: Option<OwnedFd> = None;
        for name in above.split('/').filter(|name| !name.is_empty()) {
            let directory = at.as_ref().map_or(self.handle.as_fd(), |fd| fd.as_fd());
            at = Some(open_one(directory, name, way)?);
        }
        let directory = at.as_ref().map_or(self.handle.as_fd(), |fd| fd.as_fd());
        let fd = open_one(directory, last, flags)?;
        let crosses = || -> Result<bool> {
            Ok(rustix::fs::fstat(&fd)?.st_dev != rustix::fs::fstat(&self.handle)?.st_dev)
        };
        if also.contains(ResolveFlags::NO_XDEV) && crosses()? {
            return Err(Errno::XDEV);
        }
        Ok(fd)
    }

    /// Opens a directory on the root's mount.
    pub(super) fn open_directory(&self, path: &str) -> Result<Handle> {
        let fd = self.open_at(path, DIRECTORY, ResolveFlags::NO_XDEV)?;
        Ok(Handle::new(fd, path.to_owned()))
    }

    /// Opens a directory, after making it and those above it where they are missing.
    pub(super) fn make_directory(&self, path: &str) -> Result<Handle> {
        match self.open_directory(path) {
            Err(Errno::NOENT) if !path.is_empty() => {}
            done => return done,
        }
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        match self.sys.make_directory(&self.make_directory(above)?, name) {
            Ok(()) | Err(Errno::EXIST) => self.open_directory(path),
            Err(errno) => Err(errno),
        }
    }

    /// The error for a call on `path` that failed.
    pub(super) fn error(&self, action: &'static str, path: &str, errno: Errno) -> StoreError {
        let path = self.path.join(path).display().to_string();
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
}

/// Opens one component. Linux says "not a directory" of a symbolic link too; here it is [`Errno::LOOP`].
fn open_one(directory: BorrowedFd<'_>, name: &str, flags: OFlags) -> Result<OwnedFd> {
    if name == ".." {
        return Err(Errno::XDEV);
    }
    match retry_on_intr(|| rustix::fs::openat(directory, name, flags, Mode::empty())) {
        Err(Errno::NOTDIR) if is_link(directory, name) => Err(Errno::LOOP),
        done => done,
    }
}

fn is_link(directory: BorrowedFd<'_>, name: &str) -> bool {
    rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| file_type(&stat) == FileType::Symlink)
}

pub(super) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The size of a file, as the file system says.
pub(super) fn file_bytes(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Since Linux 5.8 `syncfs` returns an error where bytes of any file could not be written since the
/// descriptor was opened (man page syncfs(2), "Versions"); before, it returned success.
fn syncfs_tells() -> bool {
    let system = rustix::system::uname();
    let release = system.release().to_string_lossy();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(5), Some(8))
}
