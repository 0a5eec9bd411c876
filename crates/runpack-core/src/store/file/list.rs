//! Listing: a walk that follows no symbolic link and holds one open directory for each level.
//!
//! What is no object (a symbolic link, a device, a name that is not UTF-8, a key that is too long) is
//! listed all the same, so that nobody hides anything from whoever looks for strangers (threat S17).
//! A directory without files is nothing.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use futures_util::stream;
use rustix::fs::{AtFlags, Dir, DirEntry, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, Result, retry_on_intr};

use super::root::Root;
use super::staging;
use crate::blocking;
use crate::fs::{file_bytes, file_type};
use crate::key::{KEY_BYTES_MAX, KeyPrefix};
use crate::store::{ListEntry, ListStream, StoreError};

/// How many entries are read at once.
const PAGE_ENTRIES: usize = 256;

pub(super) fn list(root: &Arc<Root>, prefix: &KeyPrefix) -> ListStream {
    let walk = Walk {
        root: Arc::clone(root),
        start: Some(prefix.as_str().trim_end_matches('/').to_owned()),
        levels: Vec::new(),
    };
    let entries = stream::unfold(
        (Some(walk), VecDeque::new()),
        |(mut walk, mut page)| async move {
            loop {
                if let Some(entry) = page.pop_front() {
                    return Some((entry, (walk, page)));
                }
                let mut at = walk.take()?;
                let read = blocking::run(move || {
                    let page = at.page();
                    Ok(((!page.is_empty()).then_some(at), page))
                });
                match read.await {
                    Ok(read) => (walk, page) = read,
                    Err(error) => return Some((Err(error), (None, page))),
                }
            }
        },
    );
    Box::pin(entries)
}

struct Walk {
    root: Arc<Root>,
    /// Where to begin, until begun.
    start: Option<String>,
    levels: Vec<Level>,
}

struct Level {
    directory: Dir,
    /// With a slash at its end, if any; lossy where names are not UTF-8.
    path: String,
}

type Page = VecDeque<std::result::Result<ListEntry, StoreError>>;

impl Walk {
    /// Some entries; none at the end.
    fn page(&mut self) -> Page {
        let mut page = Page::new();
        if let Some(start) = self.start.take() {
            let opened = self
                .root
                .open_at(&start, OFlags::DIRECTORY, ResolveFlags::empty())
                .map_err(|errno| self.as_link(&start, errno))
                .and_then(Dir::new);
            match opened {
                Ok(directory) => self.enter(directory, start),
                Err(Errno::NOENT | Errno::NOTDIR) => return page,
                Err(errno) => page.push_back(Err(self.root.error("listing", &start, errno))),
            }
        }
        while page.len() < PAGE_ENTRIES {
            let Some(level) = self.levels.last_mut() else {
                break;
            };
            match level.directory.read() {
                None => drop(self.levels.pop()),
                Some(Ok(entry)) => self.entry(&entry, &mut page),
                Some(Err(errno)) => {
                    page.push_back(Err(self.root.error("listing", &level.path, errno)));
                    self.levels.pop();
                }
            }
        }
        page
    }

    fn enter(&mut self, directory: Dir, mut path: String) {
        if !path.is_empty() {
            path.push('/');
        }
        self.levels.push(Level { directory, path });
    }

    fn entry(&mut self, entry: &DirEntry, page: &mut Page) {
        let Some(level) = self.levels.last() else {
            return;
        };
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            return;
        }
        let key = format!("{}{}", level.path, name.to_string_lossy());
        if key == staging::DIRECTORY {
            return;
        }
        match look(level, entry) {
            Ok(Found::Directory(_)) if key.len() > KEY_BYTES_MAX => {
                page.push_back(Ok(ListEntry::new(format!("{key}/"), 0)));
            }
            Ok(Found::Directory(fd)) => match Dir::new(fd) {
                Ok(directory) => self.enter(directory, key),
                Err(errno) => page.push_back(Err(self.root.error("listing", &key, errno))),
            },
            Ok(Found::Object { bytes }) => page.push_back(Ok(ListEntry::new(key, bytes))),
            // It was removed in the meantime.
            Err(Errno::NOENT) => {}
            Err(errno) => page.push_back(Err(self.root.error("listing", &key, errno))),
        }
    }

    /// Linux says "not a directory" of a symbolic link where a directory is asked for.
    fn as_link(&self, path: &str, errno: Errno) -> Errno {
        let is_link = || {
            let fd = self
                .root
                .open_at(path, OFlags::PATH, ResolveFlags::empty())?;
            Ok::<_, Errno>(file_type(&rustix::fs::fstat(fd)?) == FileType::Symlink)
        };
        if errno == Errno::NOTDIR && is_link() == Ok(true) {
            Errno::LOOP
        } else {
            errno
        }
    }
}

enum Found {
    Directory(OwnedFd),
    /// Anything else.
    Object {
        bytes: u64,
    },
}

fn look(level: &Level, entry: &DirEntry) -> Result<Found> {
    let above = level.directory.fd()?;
    let name = entry.file_name();
    if matches!(entry.file_type(), FileType::Directory | FileType::Unknown) {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        match retry_on_intr(|| rustix::fs::openat(above, name, flags, Mode::empty())) {
            Err(Errno::NOTDIR | Errno::LOOP) => {}
            opened => return opened.map(Found::Directory),
        }
    }
    let stat = rustix::fs::statat(above, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let bytes = match file_type(&stat) {
        FileType::RegularFile => file_bytes(&stat),
        _ => 0,
    };
    Ok(Found::Object { bytes })
}
