//! Every system call by which the log changes a file system, each as one function; in tests each can be made to fail.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

#[cfg(test)]
pub(super) mod faults;

/// The kinds of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Create,
    Write,
    Sync,
    SyncDirectory,
    Truncate,
    Allocate,
    Unlink,
}

/// The way to the system. It holds nothing, except in tests the faults.
#[derive(Debug, Clone, Default)]
pub(super) struct Sys {
    #[cfg(test)]
    pub(super) faults: Option<std::sync::Arc<faults::Faults>>,
}

impl Sys {
    #[cfg_attr(
        not(test),
        expect(
            clippy::unused_self,
            clippy::unnecessary_wraps,
            reason = "in tests it fails as it is told"
        )
    )]
    fn before(&self, call: Call) -> io::Result<()> {
        #[cfg(test)]
        if let Some(faults) = &self.faults {
            faults.meet(call)?;
        }
        let _ = call;
        Ok(())
    }

    /// Makes a new file, which nothing had the name of.
    pub(super) fn create(&self, path: &Path) -> io::Result<File> {
        self.before(Call::Create)?;
        open(path, OFlags::CREATE | OFlags::EXCL)
    }

    /// Opens a file for writing, which is made where it is not there.
    pub(super) fn open_or_create(&self, path: &Path) -> io::Result<File> {
        self.before(Call::Create)?;
        open(path, OFlags::CREATE)
    }

    pub(super) fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        self.before(Call::Write)?;
        file.write_all_at(bytes, at)
    }

    /// Makes a file's bytes and length durable. What failed must not be called again on the same file: the kernel may
    /// have dropped what it could not write, and would say that all is well.
    pub(super) fn sync(&self, file: &File) -> io::Result<()> {
        self.before(Call::Sync)?;
        file.sync_data()
    }

    pub(super) fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.before(Call::SyncDirectory)?;
        File::open(path)?.sync_all()
    }

    pub(super) fn truncate(&self, file: &File, bytes: u64) -> io::Result<()> {
        self.before(Call::Truncate)?;
        file.set_len(bytes)
    }

    /// Takes space for the first `bytes` of a file; where the file system cannot, by writing zeros.
    pub(super) fn allocate(&self, file: &File, bytes: u64) -> io::Result<()> {
        self.before(Call::Allocate)?;
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            done => return Ok(done?),
        }
        let zeros = [0; 4 << 10];
        let step = u64::try_from(zeros.len()).unwrap_or(1);
        let mut at = 0_u64;
        while at < bytes {
            file.write_all_at(&zeros, at)?;
            at = at.saturating_add(step);
        }
        file.sync_data()
    }

    pub(super) fn unlink(&self, path: &Path) -> io::Result<()> {
        self.before(Call::Unlink)?;
        std::fs::remove_file(path)
    }
}

fn open(path: &Path, also: OFlags) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | also;
    Ok(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// Whether the disk, or what we may have of it, is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
