//! Every system call by which the file store changes a file system, each as one function.
//!
//! Nothing else in the store changes anything on disk, so what goes through here is all that a crash
//! can interrupt. In tests each call that had an effect is recorded, in the order of the effects, and
//! each can be made to fail; the crash states are enumerated from that record.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::{Errno, Result, retry_on_intr};

#[cfg(test)]
pub(super) mod record;

/// An open file or directory, and its path from the root of the store (the root's own is empty).
#[derive(Debug)]
pub(super) struct Handle {
    fd: OwnedFd,
    path: String,
}

impl Handle {
    pub(super) fn new(fd: OwnedFd, path: String) -> Self {
        Self { fd, path }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The path of an entry of this directory.
    pub(super) fn join(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}/{name}", self.path)
        }
    }
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The way to the system. It holds nothing, except in tests the recorder.
#[derive(Debug, Clone, Default)]
pub(super) struct Sys {
    #[cfg(test)]
    pub(super) recorder: Option<std::sync::Arc<record::Recorder>>,
}

/// Makes a call; in tests through the recorder, as `kind`, recorded as what the last closure says.
macro_rules! call {
    ($sys:expr, $kind:ident, $run:expr, $call:expr) => {{
        #[cfg(test)]
        let done = record::through(
            $sys.recorder.as_deref(),
            record::Kind::$kind,
            || $run,
            $call,
        );
        #[cfg(not(test))]
        let done = {
            let _: &Sys = $sys;
            $run
        };
        done
    }};
}

impl Sys {
    /// Makes the directory of a store, and those above it. The one change that is not below the root; it
    /// is not recorded.
    pub(super) fn make_root(path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    /// Makes a new file for writing.
    pub(super) fn create_file(&self, directory: &Handle, name: &str) -> Result<Handle> {
        let flags = OFlags::RDWR
            | OFlags::CREATE
            | OFlags::EXCL
            | OFlags::NOFOLLOW
            | OFlags::CLOEXEC
            | OFlags::NOCTTY;
        let path = directory.join(name);
        let fd = call!(
            self,
            Create,
            retry_on_intr(|| rustix::fs::openat(directory, name, flags, Mode::from(0o666))),
            |_| record::Call::Create(path.clone())
        )?;
        Ok(Handle { fd, path })
    }

    /// Writes all of `bytes`.
    pub(super) fn write_at(&self, file: &Handle, mut bytes: &[u8], mut at: u64) -> Result<()> {
        while !bytes.is_empty() {
            let written = call!(
                self,
                Write,
                retry_on_intr(|| rustix::io::pwrite(file, bytes, at)),
                |written: &usize| record::Call::Write {
                    file: file.path.clone(),
                    offset: at,
                    bytes: bytes[..*written].to_vec(),
                }
            )?;
            if written == 0 {
                return Err(Errno::IO);
            }
            bytes = bytes.get(written..).unwrap_or_default();
            at = at.saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
        }
        Ok(())
    }

    /// Makes a file's bytes durable.
    pub(super) fn sync_file(&self, file: &Handle) -> Result<()> {
        call!(self, Sync, rustix::fs::fsync(file), |()| {
            record::Call::SyncFile(file.path.clone())
        })
    }

    /// Makes a directory's entries durable.
    pub(super) fn sync_directory(&self, directory: &Handle) -> Result<()> {
        call!(self, Sync, rustix::fs::fsync(directory), |()| {
            record::Call::SyncDirectory(directory.path.clone())
        })
    }

    /// Makes everything on the root's file system durable.
    pub(super) fn sync_everything(&self, root: &Handle) -> Result<()> {
        call!(self, Sync, rustix::fs::syncfs(root), |()| {
            record::Call::SyncEverything
        })
    }

    /// Makes a directory.
    pub(super) fn make_directory(&self, directory: &Handle, name: &str) -> Result<()> {
        call!(
            self,
            MakeDirectory,
            rustix::fs::mkdirat(directory, name, Mode::from(0o777)),
            |()| record::Call::MakeDirectory(directory.join(name))
        )
    }

    /// Renames, unless something has the new name.
    pub(super) fn rename_no_replace(
        &self,
        (from, old): (&Handle, &str),
        (to, new): (&Handle, &str),
    ) -> Result<()> {
        call!(
            self,
            Rename,
            rustix::fs::renameat_with(from, old, to, new, RenameFlags::NOREPLACE),
            |()| record::Call::Rename {
                from: from.join(old),
                to: to.join(new),
            }
        )
    }

    /// Gives a file another name, unless something has it.
    pub(super) fn link(
        &self,
        (from, old): (&Handle, &str),
        (to, new): (&Handle, &str),
    ) -> Result<()> {
        call!(
            self,
            Link,
            rustix::fs::linkat(from, old, to, new, AtFlags::empty()),
            |()| record::Call::Link {
                from: from.join(old),
                to: to.join(new),
            }
        )
    }

    /// Removes a name that is not a directory's.
    pub(super) fn unlink(&self, directory: &Handle, name: &str) -> Result<()> {
        call!(
            self,
            Unlink,
            rustix::fs::unlinkat(directory, name, AtFlags::empty()),
            |()| record::Call::Unlink(directory.join(name))
        )
    }

    /// Removes an empty directory.
    pub(super) fn remove_directory(&self, directory: &Handle, name: &str) -> Result<()> {
        call!(
            self,
            RemoveDirectory,
            rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR),
            |()| record::Call::RemoveDirectory(directory.join(name))
        )
    }
}
