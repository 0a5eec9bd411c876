//! A tree of files that others write: looked at and read without ever following a link, removed file by file.
//!
//! Every path is walked component by component from a directory that is held open, so nothing outside of it is reached,
//! whoever may write in it. A file is what it was looked at as, or the read fails with [`Problem::SourceChanged`] (W16).
//! This is not the core's way of reading (`openat2`), for that one is the core's own, and does not remove.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use runpack_core::digest::{Digest, Hasher};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

use super::problem::Problem;

/// How much is read at once.
const PIECE_BYTES: u64 = 1 << 20;

/// A directory of the tree, held open.
#[derive(Debug)]
pub(super) struct Folder {
    fd: OwnedFd,
    /// For messages.
    path: PathBuf,
}

/// What a file is taken by: when any of it differs, the file may be another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) bytes: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What was seen below a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// Regular files by their paths, as raw bytes.
    pub(super) files: BTreeMap<Vec<u8>, Stamp>,
    /// Directories likewise.
    pub(super) directories: BTreeSet<Vec<u8>>,
    /// Whatever is neither, and what it is: a run that is under way may have pipes that are gone when it ends.
    pub(super) specials: BTreeMap<Vec<u8>, &'static str>,
    /// The latest change of any of it, in seconds since 1970 by the clock of the file system. Not only of the content:
    /// a copy that keeps the times of its original sets those at will, and cannot set this.
    pub(super) newest: i64,
}

impl Look {
    /// The same for as long as nothing changes.
    pub(super) fn fingerprint(&self) -> Digest {
        Digest::of(format!("{self:?}").as_bytes())
    }

    /// That there are directories and regular files, and nothing else.
    pub(super) fn check(&self) -> Result<(), Problem> {
        match self.specials.first_key_value() {
            None => Ok(()),
            Some((path, what)) => Err(Problem::Special {
                path: join(path, b""),
                what,
            }),
        }
    }
}

impl Stamp {
    fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            bytes: metadata.len(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Folder {
    /// The directory at `path`, which is the caller's and is taken as it is.
    pub(super) fn open(path: &Path) -> Result<Self, Problem> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(CWD, path, flags, Mode::empty());
        Ok(Self {
            fd: opened.map_err(|errno| failed("opening a directory", path.to_owned(), errno))?,
            path: path.to_owned(),
        })
    }

    /// A directory below this one.
    pub(super) fn below(&self, path: &Path) -> Result<Self, Problem> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let opened = self.at(path.as_os_str().as_bytes(), flags);
        Ok(Self {
            fd: opened.map_err(|errno| failed("opening a directory", path.to_owned(), errno))?,
            path: self.path.join(path),
        })
    }

    /// Its path, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory itself.
    pub(super) fn descriptor(&self) -> &OwnedFd {
        &self.fd
    }

    /// Opens what stands at `path` below; empty is the folder itself.
    fn at(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        // A FIFO must not be waited for, and no device made ours.
        let last = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let way = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut names = path
            .split(|&byte| byte == b'/')
            .filter(|name| !name.is_empty())
            .peekable();
        if names.peek().is_none() {
            return openat(&self.fd, ".", last, Mode::empty());
        }
        let mut at: Option<OwnedFd> = None;
        while let Some(name) = names.next() {
            if name == b".." {
                return Err(Errno::XDEV);
            }
            let directory = at.as_ref().map_or(self.fd.as_fd(), |fd| fd.as_fd());
            let flags = if names.peek().is_some() { way } else { last };
            at = Some(openat(directory, name, flags, Mode::empty())?);
        }
        at.ok_or(Errno::NOENT)
    }

    /// What is in the folder itself, in order.
    pub(super) fn entries(&self) -> Result<Vec<(Vec<u8>, FileType)>, Problem> {
        self.entries_of(b"")
    }

    fn entries_of(&self, path: &[u8]) -> Result<Vec<(Vec<u8>, FileType)>, Problem> {
        let failed = |errno| failed("listing", join(path, b""), errno);
        let fd = self
            .at(path, OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(failed)?;
        let mut entries = Vec::new();
        for entry in Dir::read_from(&fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => {
                    let stat = rustix::fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW);
                    FileType::from_raw_mode(stat.map_err(failed)?.st_mode)
                }
                known => known,
            };
            entries.push((name.to_vec(), kind));
        }
        entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Ok(entries)
    }

    /// Everything below the folder, but what `is_ours` says of what stands right in it.
    ///
    /// # Errors
    /// More than `entries_max`; what cannot be looked at.
    pub(super) fn look(
        &self,
        is_ours: fn(&[u8]) -> bool,
        entries_max: usize,
    ) -> Result<Look, Problem> {
        let mut look = Look::default();
        let mut to_do = vec![Vec::new()];
        let mut count = 0usize;
        while let Some(directory) = to_do.pop() {
            for (name, _) in self.entries_of(&directory)? {
                if directory.is_empty() && is_ours(&name) {
                    continue;
                }
                count = count.saturating_add(1);
                if count > entries_max {
                    let text = format!("it has more than {entries_max} files and directories");
                    return Err(Problem::NoPack(text));
                }
                let path = join(&directory, &name)
                    .into_os_string()
                    .into_encoded_bytes();
                let metadata = self.metadata(&path)?;
                look.newest = look.newest.max(metadata.mtime()).max(metadata.ctime());
                if metadata.is_dir() {
                    look.directories.insert(path.clone());
                    to_do.push(path);
                } else if metadata.is_file() {
                    look.files.insert(path, Stamp::of(&metadata));
                } else {
                    look.specials.insert(path, describe(metadata.file_type()));
                }
            }
        }
        Ok(look)
    }

    /// What stands there now; nothing is opened, so that no device notices, and no link is followed.
    fn metadata(&self, path: &[u8]) -> Result<std::fs::Metadata, Problem> {
        let failed = |errno| failed("looking", join(path, b""), errno);
        let file = File::from(self.at(path, OFlags::PATH).map_err(failed)?);
        file.metadata().map_err(|source| Problem::Tree {
            action: "looking",
            path: join(path, b""),
            source,
        })
    }

    /// The bytes of a file that is still what it was looked at as, when they begin and when they end.
    pub(super) fn read(
        self: &Arc<Self>,
        path: &[u8],
        stamp: Stamp,
    ) -> BoxStream<'static, Result<Bytes, Problem>> {
        let reading = Reading {
            folder: Arc::clone(self),
            path: path.to_vec(),
            stamp,
            file: None,
        };
        stream::try_unfold(reading, |reading| async {
            blocking(move || reading.next()).await
        })
        .boxed()
    }

    /// A whole file of at most `bytes_max` bytes; `None` where it is larger.
    pub(super) async fn read_whole(
        self: &Arc<Self>,
        path: &[u8],
        stamp: Stamp,
        bytes_max: u64,
    ) -> Result<Option<Bytes>, Problem> {
        if stamp.bytes > bytes_max {
            return Ok(None);
        }
        let pieces: Vec<Bytes> = self.read(path, stamp).try_collect().await?;
        Ok(Some(pieces.concat().into()))
    }

    /// A small file right in the folder, as it is now; `None` where there is none, or it is larger.
    pub(super) fn read_small(
        &self,
        name: &str,
        bytes_max: u64,
    ) -> Result<Option<Vec<u8>>, Problem> {
        let path = || self.path.join(name);
        let file = match self.at(name.as_bytes(), OFlags::RDONLY) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(failed("opening", path(), errno)),
        };
        let read = || -> io::Result<Option<Vec<u8>>> {
            let mut bytes = Vec::new();
            if !file.metadata()?.is_file() {
                return Ok(None);
            }
            (&file)
                .take(bytes_max.saturating_add(1))
                .read_to_end(&mut bytes)?;
            let is_whole = u64::try_from(bytes.len()).is_ok_and(|read| read <= bytes_max);
            Ok(is_whole.then_some(bytes))
        };
        read().map_err(|source| Problem::Tree {
            action: "reading",
            path: path(),
            source,
        })
    }

    /// The SHA-256 of a file.
    pub(super) async fn hash(
        self: &Arc<Self>,
        path: &[u8],
        stamp: Stamp,
    ) -> Result<Digest, Problem> {
        let mut pieces = self.read(path, stamp);
        let mut hasher = Hasher::new();
        while let Some(piece) = pieces.try_next().await? {
            hasher.update(&piece);
        }
        Ok(hasher.finish())
    }

    /// Removes a file that is still what it was looked at as; one that is gone is gone.
    pub(super) fn remove_file(&self, path: &[u8], stamp: Stamp) -> Result<(), Problem> {
        match self.metadata(path) {
            Ok(metadata) if Stamp::of(&metadata) == stamp => self.remove(path, AtFlags::empty()),
            Ok(_) => Err(Problem::SourceChanged(join(path, b""))),
            Err(error) => Err(error),
        }
    }

    /// Removes an empty directory.
    pub(super) fn remove_directory(&self, path: &[u8]) -> Result<(), Problem> {
        self.remove(path, AtFlags::REMOVEDIR)
    }

    /// Removes what stands right in the folder under this name.
    pub(super) fn remove(&self, path: &[u8], flags: AtFlags) -> Result<(), Problem> {
        let (directory, name) = match path.iter().rposition(|&byte| byte == b'/') {
            Some(at) => (
                path.get(..at).unwrap_or_default(),
                path.get(at.saturating_add(1)..).unwrap_or_default(),
            ),
            None => (&b""[..], path),
        };
        let removed = self
            .at(directory, OFlags::RDONLY | OFlags::DIRECTORY)
            .and_then(|parent| unlinkat(parent, name, flags));
        match removed {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(Problem::Tree {
                action: "removing",
                path: join(path, b""),
                source: errno.into(),
            }),
        }
    }
}

/// A file that is being read.
struct Reading {
    folder: Arc<Folder>,
    path: Vec<u8>,
    stamp: Stamp,
    file: Option<File>,
}

impl Reading {
    fn next(mut self) -> Result<Option<(Bytes, Self)>, Problem> {
        let path = || join(&self.path, b"");
        let failed_io = |source| Problem::Tree {
            action: "reading",
            path: path(),
            source,
        };
        let mut file = if let Some(file) = self.file.take() {
            file
        } else {
            let opened = self.folder.at(&self.path, OFlags::RDONLY);
            File::from(opened.map_err(|errno| failed("opening", path(), errno))?)
        };
        let is_same = |file: &File| -> Result<(), Problem> {
            let metadata = file.metadata().map_err(failed_io)?;
            if metadata.is_file() && Stamp::of(&metadata) == self.stamp {
                Ok(())
            } else {
                Err(Problem::SourceChanged(path()))
            }
        };
        is_same(&file)?;
        let mut piece = Vec::new();
        let mut part = (&mut file).take(PIECE_BYTES);
        part.read_to_end(&mut piece).map_err(failed_io)?;
        if piece.is_empty() {
            is_same(&file)?;
            return Ok(None);
        }
        self.file = Some(file);
        Ok(Some((piece.into(), self)))
    }
}

/// The error for a call on something of the tree.
fn failed(action: &'static str, path: PathBuf, errno: Errno) -> Problem {
    match errno {
        // It was there when it was looked for.
        Errno::NOENT => Problem::SourceChanged(path),
        Errno::LOOP | Errno::NOTDIR | Errno::XDEV | Errno::NXIO | Errno::NODEV => {
            Problem::Special {
                path,
                what: "no regular file or directory",
            }
        }
        errno => Problem::Tree {
            action,
            path,
            source: errno.into(),
        },
    }
}

fn describe(kind: std::fs::FileType) -> &'static str {
    if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_block_device() || kind.is_char_device() {
        "a device"
    } else {
        "of unknown type"
    }
}

/// A path as it is shown and compared.
fn join(directory: &[u8], name: &[u8]) -> PathBuf {
    let directory = Path::new(OsStr::from_bytes(directory));
    if name.is_empty() {
        directory.to_owned()
    } else {
        directory.join(OsStr::from_bytes(name))
    }
}

/// Runs what waits for a file system where waiting stops nobody.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(Problem::staging(io::Error::other(
            "a thread for blocking work was lost",
        ))),
    }
}
