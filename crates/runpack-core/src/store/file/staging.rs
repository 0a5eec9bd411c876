//! Where objects are written before they have their names: `_runpack/tmp/N/`, one directory for each
//! open store that writes.
//!
//! Its owner holds a lock on the file `lock` in it (flock(2)), which the system lets go when the owner
//! is gone, however it went. So whoever takes the lock knows without any clock that nobody writes
//! there any more, and removes the directory (threats W03, W21, W22). Invariants:
//!
//! - a name in `_runpack/tmp` is removed only by the holder of the lock of the directory that bears it;
//! - a file here has no name anywhere else, or was published by a rename that a crash half kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Dir, FlockOperation, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};

use super::Shared;
use super::root::Root;
use super::sys::{Handle, Sys};
use crate::store::StoreError;

/// The directory of staging directories. No listing shows what is below it.
pub(super) const DIRECTORY: &str = "_runpack/tmp";
const LOCK: &str = "lock";
/// How many staging directories of writers at work are passed over before giving up.
const WRITERS_MAX: u32 = 65_536;
/// How often somebody may remove `_runpack/tmp` between its making and its use.
const TRIES_MAX: u32 = 64;

#[derive(Debug)]
pub(super) struct Staging {
    sys: Sys,
    /// `_runpack/tmp`
    above: Handle,
    /// The name in it.
    name: String,
    directory: Handle,
    /// Locked until this is dropped.
    _lock: Handle,
    next: AtomicU64,
}

impl Staging {
    /// Makes a staging directory, after removing those whose owners are gone.
    pub(super) fn new(root: &Root) -> std::result::Result<Self, StoreError> {
        let failed = |errno| root.error("making the staging directory", DIRECTORY, errno);
        let mut tries = 0;
        let above = loop {
            match root.make_directory(DIRECTORY) {
                // Another store's last act was to remove it.
                Err(Errno::NOENT) if tries < TRIES_MAX => tries = tries.saturating_add(1),
                made => break made.map_err(failed)?,
            }
        };
        refuse_folded_case(root)?;
        sweep(root, &above).map_err(failed)?;
        for number in 0..WRITERS_MAX {
            let name = number.to_string();
            match root.sys.make_directory(&above, &name) {
                Ok(()) => {}
                Err(Errno::EXIST) => continue,
                Err(Errno::NOENT) => return Self::new(root),
                Err(errno) => return Err(failed(errno)),
            }
            if let Some((directory, lock)) = lock(root, &above, &name).map_err(failed)? {
                return Ok(Self {
                    sys: root.sys.clone(),
                    above,
                    name,
                    directory,
                    _lock: lock,
                    next: AtomicU64::new(0),
                });
            }
        }
        Err(StoreError::Unusable {
            reason: format!("`{DIRECTORY}` is full; remove what is in it when nobody writes"),
        })
    }
}

/// Best effort: what stays is removed by the next writer.
impl Drop for Staging {
    fn drop(&mut self) {
        let _ = self.sys.unlink(&self.directory, LOCK);
        let _ = self.sys.remove_directory(&self.above, &self.name);
    }
}

/// Takes the lock of a staging directory; `None` if another has it, or the directory is gone.
fn lock(root: &Root, above: &Handle, name: &str) -> Result<Option<(Handle, Handle)>> {
    let opened = (|| {
        let directory = root.open_directory(&above.join(name))?;
        let lock = match root.sys.create_file(&directory, LOCK) {
            Err(Errno::EXIST) => {
                let path = directory.join(LOCK);
                let fd = root.open_at(&path, OFlags::RDWR, ResolveFlags::NO_XDEV)?;
                Handle::new(fd, path)
            }
            made => made?,
        };
        Ok((directory, lock))
    })();
    let (directory, lock) = match opened {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        opened => opened?,
    };
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Ok(None),
        locked => locked?,
    }
    // What was locked may have been removed, and made again, before it was locked.
    let mine = rustix::fs::fstat(&lock)?;
    let named = rustix::fs::statat(above, format!("{name}/{LOCK}"), AtFlags::SYMLINK_NOFOLLOW);
    let is_mine =
        named.is_ok_and(|named| (named.st_dev, named.st_ino) == (mine.st_dev, mine.st_ino));
    Ok(is_mine.then_some((directory, lock)))
}

/// Removes the staging directories whose owners are gone.
fn sweep(root: &Root, above: &Handle) -> Result<()> {
    for name in names(root, above)? {
        let Some((directory, _lock)) = lock(root, above, &name)? else {
            continue;
        };
        for file in names(root, &directory)? {
            if file != LOCK {
                // What cannot be removed makes the directory stay, and hurts nobody.
                let _ = root.sys.unlink(&directory, &file);
            }
        }
        let _ = root.sys.unlink(&directory, LOCK);
        let _ = root.sys.remove_directory(above, &name);
    }
    Ok(())
}

/// The names in a directory that this store may have given.
fn names(root: &Root, directory: &Handle) -> Result<Vec<String>> {
    let fd = root.open_at(directory.path(), OFlags::DIRECTORY, ResolveFlags::NO_XDEV)?;
    let mut names = Vec::new();
    for entry in Dir::new(fd)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().to_str()
            && !matches!(name, "." | "..")
        {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Refuses a root in which two names that differ in case are one: there one object would hide another.
fn refuse_folded_case(root: &Root) -> std::result::Result<(), StoreError> {
    let look = |name| rustix::fs::statat(root.handle(), name, AtFlags::SYMLINK_NOFOLLOW);
    if let (Ok(one), Ok(other)) = (look("_runpack"), look("_RUNPACK"))
        && (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
    {
        return Err(StoreError::Unusable {
            reason: format!(
                "`{}` does not distinguish upper and lower case; use a directory that does",
                root.path().display()
            ),
        });
    }
    Ok(())
}

/// A file that has no name outside of the staging directory yet. Dropped, it is gone.
#[derive(Debug)]
pub(super) struct Temp {
    shared: Arc<Shared>,
    staging: Arc<Staging>,
    name: String,
    /// Open while it is written, and after that for as long as there is a slot for it.
    file: Option<Handle>,
    has_slot: bool,
    /// See [`Shared::epoch`].
    pub(super) epoch: u64,
    is_published: bool,
}

/// How many files stay open from their first byte until their commit. More than a small batch needs,
/// and little beside the 1,024 descriptors that a process has by default.
const SLOTS: u64 = 64;

impl Temp {
    pub(super) fn new(shared: &Arc<Shared>) -> std::result::Result<Self, StoreError> {
        let staging = shared.staging()?;
        let epoch = shared.epoch();
        let name = staging.next.fetch_add(1, Ordering::Relaxed).to_string();
        let file = shared
            .root
            .sys
            .create_file(&staging.directory, &name)
            .map_err(|errno| {
                let path = staging.directory.join(&name);
                shared.root.error("making a file", &path, errno)
            })?;
        let has_slot = shared.slots.fetch_add(1, Ordering::Relaxed) < SLOTS;
        if !has_slot {
            shared.slots.fetch_sub(1, Ordering::Relaxed);
        }
        Ok(Self {
            shared: Arc::clone(shared),
            staging,
            name,
            file: Some(file),
            has_slot,
            epoch,
            is_published: false,
        })
    }

    /// From the root.
    pub(super) fn path(&self) -> String {
        self.staging.directory.join(&self.name)
    }

    /// Whether it was open all the time, so that syncing it tells of every byte that got lost.
    pub(super) fn stayed_open(&self) -> bool {
        self.has_slot
    }

    pub(super) fn write_at(
        &mut self,
        bytes: &[u8],
        at: u64,
    ) -> std::result::Result<(), StoreError> {
        let root = Arc::clone(&self.shared.root);
        let written = self
            .open()
            .and_then(|file| root.sys.write_at(file, bytes, at));
        written.map_err(|errno| root.error("writing", &self.path(), errno))
    }

    /// Closes the file for now, where there is no slot for it.
    pub(super) fn rest(&mut self) {
        if !self.has_slot {
            self.file = None;
        }
    }

    pub(super) fn sync(&mut self) -> Result<()> {
        let root = Arc::clone(&self.shared.root);
        root.sys.sync_file(self.open()?)
    }

    fn open(&mut self) -> Result<&Handle> {
        let file = if let Some(file) = self.file.take() {
            file
        } else {
            let path = self.path();
            let root = &self.shared.root;
            let fd = root.open_at(&path, OFlags::RDWR, ResolveFlags::NO_XDEV)?;
            Handle::new(fd, path)
        };
        Ok(self.file.insert(file))
    }

    /// Gives it its name, unless something has that name.
    pub(super) fn publish(&mut self, directory: &Handle, name: &str) -> Result<()> {
        let sys = &self.shared.root.sys;
        let (from, to) = (
            (&self.staging.directory, self.name.as_str()),
            (directory, name),
        );
        match sys.rename_no_replace(from, to) {
            // This file system cannot do it in one call, or the system cannot. The second name is given
            // before the first is taken away, so that no crash leaves the file without any.
            Err(Errno::INVAL | Errno::NOSYS) => sys.link(from, to)?,
            done => {
                done?;
                self.is_published = true;
            }
        }
        Ok(())
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        self.file = None;
        if self.has_slot {
            self.shared.slots.fetch_sub(1, Ordering::Relaxed);
        }
        if !self.is_published {
            // What stays is removed with the staging directory, at the latest by the next writer.
            let _ = self
                .shared
                .root
                .sys
                .unlink(&self.staging.directory, &self.name);
        }
    }
}
