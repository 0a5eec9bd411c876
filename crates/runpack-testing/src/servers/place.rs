//! Directories of servers, which whoever finds their owner gone removes.
//!
//! The owner holds a lock on a file in the directory for as long as it lives. No lock, no owner: not even
//! a power cut leaves one that the next start does not sweep.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use tempfile::TempDir;

const LOCK: &str = "lock";

/// A directory that is removed in the end.
#[derive(Debug)]
pub(super) struct Place {
    directory: TempDir,
    _lock: File,
}

impl Place {
    /// A new one below `parent`, in which those without an owner are removed first.
    pub(super) fn below(parent: &Path) -> io::Result<Self> {
        fs::create_dir_all(parent)?;
        sweep(parent)?;
        let directory = tempfile::Builder::new().prefix("run-").tempdir_in(parent)?;
        // Under its name the file is never seen unlocked while its owner lives.
        let unnamed = directory.path().join("locking");
        let lock = File::create(&unnamed)?;
        lock.lock()?;
        fs::hard_link(&unnamed, directory.path().join(LOCK))?;
        Ok(Self {
            directory,
            _lock: lock,
        })
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Removes the directories that no living process owns.
pub(super) fn sweep(parent: &Path) -> io::Result<()> {
    let Ok(entries) = parent.read_dir() else {
        return Ok(());
    };
    for entry in entries {
        let path = entry?.path();
        if has_no_owner(&path) {
            // Another sweeper may be at it too.
            match fs::remove_dir_all(&path) {
                Err(error) if path.exists() => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

fn has_no_owner(directory: &Path) -> bool {
    File::open(directory.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    use super::{Place, sweep};

    #[test]
    fn only_what_has_no_owner_is_swept() {
        let parent = tempfile::tempdir().unwrap();
        let stranger = parent.path().join("stranger");
        std::fs::create_dir(&stranger).unwrap();
        let abandoned = parent.path().join("run-abandoned");
        std::fs::create_dir(&abandoned).unwrap();
        std::fs::write(abandoned.join("lock"), "").unwrap();

        let place = Place::below(parent.path()).unwrap();
        assert!(!abandoned.exists());
        sweep(parent.path()).unwrap();
        assert!(place.path().exists());
        let path = place.path().to_owned();
        drop(place);
        assert!(!path.exists());
        assert!(stranger.exists());
    }
}
