//! The store's directory: what lies below it, and the calls that change it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{OFlags, ResolveFlags};
use rustix::io::{Errno, Result};

use super::sys::{Handle, Sys};
use crate::fs::Below;
use crate::store::StoreError;

#[derive(Debug)]
pub(super) struct Root {
    below: Arc<Below>,
    /// The same directory, for the calls that change it.
    handle: Handle,
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
        let below = Below::open(&absolute).map_err(unusable)?;
        let fd = below.descriptor().map_err(unusable)?;
        Ok(Self {
            below: Arc::new(below),
            handle: Handle::new(fd, String::new()),
            syncfs_tells: syncfs_tells(),
            sys,
        })
    }

    pub(super) fn path(&self) -> &Path {
        self.below.path()
    }

    pub(super) fn below(&self) -> &Arc<Below> {
        &self.below
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Opens what stands at `path`. With [`ResolveFlags::NO_XDEV`] it must lie on the root's mount.
    pub(super) fn open_at(&self, path: &str, flags: OFlags, also: ResolveFlags) -> Result<OwnedFd> {
        self.below.open_at(path.as_bytes(), flags, also)
    }

    /// Opens a directory on the root's mount.
    pub(super) fn open_directory(&self, path: &str) -> Result<Handle> {
        let fd = self.open_at(path, OFlags::DIRECTORY, ResolveFlags::NO_XDEV)?;
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
        self.below.error(action, path.as_bytes(), errno)
    }
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
