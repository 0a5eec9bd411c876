//! The spool's directory: its lock, its conflicts, the space on its file system.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use runpack_core::commitment::ChunkHasher;
use runpack_core::digest::Digest;

use super::SpoolError;

/// How many objects with different bytes are kept for one key.
const CONFLICTS_MAX: u32 = 1_000;
/// What is read of a file at once.
const PIECE_BYTES: usize = 256 * 1024;

#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Locked until this is dropped, or the process is gone, however it went.
    _lock: File,
}

impl Directory {
    /// Opens it, after making it where it is not there; and what lies among its conflicts, with sizes.
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<(String, u64)>), SpoolError> {
        let failed = |action: &'static str| {
            move |source| SpoolError::Io {
                action,
                path: path.to_owned(),
                source,
            }
        };
        // Evidence of several tenants: for the owner alone.
        let mut builder = DirBuilder::new();
        let built = builder.recursive(true).mode(0o700).create(path);
        built.map_err(failed("making the spool's directory"))?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join("lock"))
            .map_err(failed("opening the spool's lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(SpoolError::Busy {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => {
                return Err(failed("locking the spool")(source));
            }
        }
        let directory = Self {
            path: path.to_owned(),
            _lock: lock,
        };
        let conflicts = directory.open_conflicts();
        let conflicts = conflicts.map_err(failed("reading the spool's conflicts"))?;
        directory.pruning()();
        Ok((directory, conflicts))
    }

    /// Where the objects are.
    pub(super) fn objects(&self) -> PathBuf {
        self.path.join("objects")
    }

    fn conflicts(&self) -> PathBuf {
        self.path.join("conflicts")
    }

    fn open_conflicts(&self) -> io::Result<Vec<(String, u64)>> {
        fs::create_dir_all(self.conflicts())?;
        File::open(&self.path)?.sync_all()?;
        let mut found = Vec::new();
        let root = self.conflicts();
        let mut directories = vec![root.clone()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    directories.push(entry.path());
                    continue;
                }
                let path = entry.path();
                if let Some(name) = path.strip_prefix(&root).ok().and_then(Path::to_str) {
                    found.push((key_of(name).to_owned(), entry.metadata()?.len()));
                }
            }
        }
        Ok(found)
    }

    /// The bytes that a program may still write on its file system.
    pub(super) fn bytes_free(&self) -> io::Result<u64> {
        let told = rustix::fs::statvfs(&self.path)?;
        Ok(told.f_bavail.saturating_mul(told.f_frsize))
    }

    /// Gives an object a second name among the conflicts, durably, which takes no name that something has. Its first name
    /// is then removed by whoever asked for this; a crash in between is told by both, and comes to the same. Whether these
    /// bytes were not among the conflicts before.
    pub(super) fn set_aside(&self, key: &str) -> io::Result<bool> {
        let from = self.objects().join(key);
        for number in 1..=CONFLICTS_MAX {
            let root = match number {
                1 => self.conflicts(),
                // No key begins with a dot.
                _ => self.conflicts().join(format!(".{number}")),
            };
            let to = root.join(key);
            let above = to.parent().unwrap_or(&root);
            match fs::create_dir_all(above).and_then(|()| fs::hard_link(&from, &to)) {
                Ok(()) => return self.sync_up_from(above).map(|()| true),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && to.is_file() => {
                    if digest(&from)? == digest(&to)? {
                        return self.sync_up_from(above).map(|()| false);
                    }
                }
                // Something else is in the way.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory
                    ) => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other(
            "there are too many conflicts about one key",
        ))
    }

    fn sync_up_from(&self, directory: &Path) -> io::Result<()> {
        for directory in directory.ancestors() {
            if !directory.starts_with(&self.path) {
                break;
            }
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    }

    /// What removes the directories of objects that are empty. Nobody writes while it runs.
    pub(super) fn pruning(&self) -> impl FnOnce() + Send + 'static {
        let objects = self.objects();
        move || prune(&objects)
    }
}

/// Removes the empty directories below one; what cannot be removed stays, and hurts nobody.
fn prune(root: &Path) {
    let (mut seen, mut at) = (vec![root.to_owned()], 0_usize);
    while let Some(directory) = seen.get(at) {
        let below: Vec<PathBuf> = fs::read_dir(directory)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect();
        seen.extend(below);
        at = at.saturating_add(1);
    }
    // The deepest come last; the root stays.
    for directory in seen.iter().skip(1).rev() {
        let _ = fs::remove_dir(directory);
    }
}

/// The key of a conflict, by its path below `conflicts/`.
fn key_of(name: &str) -> &str {
    match name.strip_prefix('.').and_then(|name| name.split_once('/')) {
        Some((_, key)) => key,
        None => name,
    }
}

fn digest(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = ChunkHasher::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            let (content, bytes) = hasher.finish();
            return Ok(content.commitment(bytes));
        }
        hasher.update(piece.get(..read).unwrap_or_default());
    }
}
