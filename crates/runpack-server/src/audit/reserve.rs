//! Space that is kept for refusals: a file that is removed when the disk is full (threat C32).

use std::io;
use std::path::{Path, PathBuf};

use super::sys::{Sys, is_full};

/// Some thousands of lines.
const RESERVE_BYTES: u64 = 1 << 20;
/// There must be so much before the reserve is taken, so that what was just set free is not taken back at once.
const FREE_BYTES: u64 = 2 * RESERVE_BYTES;

/// The file, which is there or not.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    dir: PathBuf,
    is_held: bool,
}

impl Reserve {
    /// The reserve of a log; it is not held where the disk is full.
    pub(super) fn open(dir: &Path, sys: &Sys) -> io::Result<Self> {
        let mut reserve = Self {
            path: dir.join("reserve"),
            dir: dir.to_owned(),
            is_held: false,
        };
        reserve.hold(sys)?;
        Ok(reserve)
    }

    pub(super) fn is_held(&self) -> bool {
        self.is_held
    }

    /// Takes the space, if there is enough.
    pub(super) fn hold(&mut self, sys: &Sys) -> io::Result<()> {
        match self.allocate(sys) {
            Ok(()) => self.is_held = true,
            Err(error) if is_full(&error) => self.remove(sys)?,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn allocate(&self, sys: &Sys) -> io::Result<()> {
        let file = sys.open_or_create(&self.path)?;
        if file.metadata()?.len() != RESERVE_BYTES {
            sys.allocate(&file, FREE_BYTES)?;
            sys.truncate(&file, RESERVE_BYTES)?;
        }
        sys.allocate(&file, RESERVE_BYTES)?;
        sys.sync(&file)
    }

    /// Sets the space free.
    pub(super) fn release(&mut self, sys: &Sys) -> io::Result<()> {
        self.is_held = false;
        self.remove(sys)?;
        // Some file systems give freed blocks out only after this.
        sys.sync_directory(&self.dir)
    }

    fn remove(&self, sys: &Sys) -> io::Result<()> {
        match sys.unlink(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
