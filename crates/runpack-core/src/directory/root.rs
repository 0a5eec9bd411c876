//! A directory that somebody opened to others: what lies below it can be named by a path, and nothing else can.
//!
//! For paths that come from elsewhere, such as from an agent. Invariants: no link is followed at any component, `..` and an
//! absolute path lead nowhere, and what was opened once stays that directory, whatever is renamed around it.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustix::fs::{OFlags, ResolveFlags};

use super::{FileSource, PackDirectory};
use crate::blocking;
use crate::fs::{self, Below};
use crate::store::StoreError;

/// The root of such paths.
#[derive(Debug, Clone)]
pub struct Root(Arc<Below>);

/// A pack below a [`Root`].
#[derive(Debug)]
pub enum FoundPack {
    /// As a directory.
    Directory(PackDirectory),
    /// As one file, which may be a bundle.
    File(File),
}

impl Root {
    /// The directory at `path`, where links are followed: it is the caller's own.
    ///
    /// # Errors
    /// There is no directory, or it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Below::open_named(path).map(|below| Self(Arc::new(below)))
    }

    /// The regular file at `path`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Unsafe`] for a path that leads out of the root, through a link, or to what
    /// is no regular file.
    pub async fn file(&self, path: &str) -> Result<FileSource, StoreError> {
        check(path)?;
        let (root, path) = (Arc::clone(&self.0), Arc::<[u8]>::from(path.as_bytes()));
        blocking::run(move || {
            fs::stat(&root, &path)?;
            Ok(FileSource { root, path })
        })
        .await
    }

    /// The pack at `path`.
    ///
    /// # Errors
    /// As [`Root::file`].
    pub async fn pack(&self, path: &str) -> Result<FoundPack, StoreError> {
        check(path)?;
        let (root, path) = (Arc::clone(&self.0), path.to_owned());
        blocking::run(move || {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            if let Ok(fd) = root.open_at(path.as_bytes(), flags, ResolveFlags::empty()) {
                return Ok(FoundPack::Directory(PackDirectory {
                    root: Arc::new(Below::opened(fd, root.path().join(path))),
                    form: OnceLock::new(),
                }));
            }
            let opened = fs::open_file(
                &root,
                path.as_bytes(),
                OFlags::RDONLY,
                ResolveFlags::empty(),
            );
            opened.map(|(fd, _)| FoundPack::File(fd.into()))
        })
        .await
    }
}

/// That a path is written as one below a root.
fn check(path: &str) -> Result<(), StoreError> {
    let is_plain = |part: &str| !matches!(part, "" | "." | "..");
    if path.split('/').all(is_plain) && !path.contains('\0') {
        return Ok(());
    }
    Err(StoreError::Unsafe {
        path: path.escape_default().to_string(),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn b11_no_path_leads_out_of_a_root() {
        let scratch = tempfile::tempdir().unwrap();
        let inside = scratch.path().join("root");
        std::fs::create_dir_all(inside.join("a")).unwrap();
        std::fs::write(inside.join("a/file"), b"in").unwrap();
        std::fs::write(scratch.path().join("secret"), b"out").unwrap();
        symlink(scratch.path().join("secret"), inside.join("link")).unwrap();
        symlink(scratch.path(), inside.join("up")).unwrap();
        symlink("file", inside.join("a/near")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        for walks in [false, true] {
            let root = Root::open(&inside).unwrap();
            if walks {
                root.0.without_openat2();
            }
            runtime.block_on(async {
                assert!(root.file("a/file").await.is_ok());
                for bad in [
                    "../secret",
                    "a/../../secret",
                    "a/../a/file",
                    "link",
                    "up/secret",
                    "a/near",
                    "/etc/passwd",
                    "/proc/self/environ",
                    "",
                    ".",
                    "a",
                    "a//file",
                    "a/file/",
                    "a\0",
                ] {
                    assert!(root.file(bad).await.is_err(), "{bad:?}");
                    if bad != "a" {
                        assert!(root.pack(bad).await.is_err(), "{bad:?}");
                    }
                }
            });
        }
    }
}
