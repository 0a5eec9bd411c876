//! A store in a directory.
//!
//! Each object is a regular file whose path below the root is its key. Invariants, beside those of
//! every store:
//!
//! - **nothing outside**: below the root no symbolic link is followed, at no component; what is not a
//!   regular file is [`StoreError::Unsafe`], and nothing is waited for (a FIFO, a device);
//! - **acknowledged is durable**: an object's bytes are durable before it has its name, and its name
//!   and all directories above it before it is acknowledged (`file/group.rs`). Every state that a
//!   power cut may leave is enumerated in `file/crash.rs`;
//!   Directories are never removed, except empty staging directories: a name that was made durable is
//!   not looked at again;
//! - **one spelling**: a root that does not distinguish upper and lower case is refused for writing;
//! - **nothing left behind**: a writer that died leaves files that only the next writer sees, who
//!   removes them (`file/staging.rs`).
//!
//! A store that is only read is not changed at all, so it may lie on a medium that cannot be written.

mod group;
mod housekeeping;
mod list;
mod read;
mod root;
mod staging;
mod sys;
mod write;

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use self::root::Root;
use self::staging::Staging;
use self::sys::Sys;
use self::write::FileWriter;
use super::{
    ArtifactReader, ArtifactSink, ArtifactWriter, Declared, ListStream, ObjectBody, ObjectRef,
    ObjectStat, Outcome, Receipt, StoreError,
};
use crate::blocking;
use crate::fs;
use crate::key::{KeyPrefix, ObjectKey};

/// Commits that a caller keeps pending on each worker: one batch of them is made durable at once, and a
/// pending one holds no bytes and seldom a descriptor.
const WRITES_IN_FLIGHT: usize = 1_024;

/// A store in a directory. Clones share its staging directory and its batches.
///
/// When the last clone is dropped, the staging directory is removed, in place: a few calls.
#[derive(Debug, Clone)]
pub struct FileStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    root: Arc<Root>,
    /// Made by the first write.
    staging: Mutex<Option<Arc<Staging>>>,
    group: group::Group,
    /// Raised by every error of syncing: what was staged or compared in an earlier epoch may be lost.
    epoch: AtomicU64,
    /// Staged files that are kept open.
    slots: AtomicU64,
    /// Directories whose own names are durable, up to the root.
    durable: Mutex<HashSet<Box<str>>>,
}

impl Shared {
    fn new(root: &Path, sys: Sys) -> Result<Self, StoreError> {
        Ok(Self {
            root: Arc::new(Root::open(root, sys)?),
            staging: Mutex::default(),
            group: group::Group::default(),
            epoch: AtomicU64::new(0),
            slots: AtomicU64::new(0),
            durable: Mutex::default(),
        })
    }

    fn staging(&self) -> Result<Arc<Staging>, StoreError> {
        // What is there was put there whole.
        let mut staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(staging) = &*staging {
            return Ok(Arc::clone(staging));
        }
        let made = Arc::new(Staging::new(&self.root)?);
        Ok(Arc::clone(staging.insert(made)))
    }

    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    fn next_epoch(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }
}

impl FileStore {
    /// Opens the directory `root` as a store, after making it durably where it is not there.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] if it cannot be one; as the file system fails.
    pub async fn create(root: &Path) -> Result<Self, StoreError> {
        Self::create_with(root.to_owned(), Sys::default()).await
    }

    /// Opens the directory `root` as a store. Nothing is written until an object is.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] if there is no such directory; as the file system fails.
    pub async fn open(root: &Path) -> Result<Self, StoreError> {
        Self::open_with(root.to_owned(), Sys::default()).await
    }

    /// The directory, absolute.
    pub fn root(&self) -> &Path {
        self.shared.root.path()
    }

    async fn create_with(root: PathBuf, sys: Sys) -> Result<Self, StoreError> {
        blocking::run(move || {
            Sys::make_root(&root).map_err(|source| StoreError::Io {
                action: "making the store's directory",
                path: root.display().to_string(),
                source,
            })?;
            let shared = Shared::new(&root, sys)?;
            shared.staging()?;
            // Makes the directories above durable too: those that were made are on one file system.
            let handle = shared.root.handle();
            let synced = shared.root.sys.sync_everything(handle);
            synced.map_err(|errno| shared.root.error("syncing", "", errno))?;
            Ok(Self {
                shared: Arc::new(shared),
            })
        })
        .await
    }

    async fn open_with(root: PathBuf, sys: Sys) -> Result<Self, StoreError> {
        blocking::run(move || {
            Ok(Self {
                shared: Arc::new(Shared::new(&root, sys)?),
            })
        })
        .await
    }
}

/// A store without versions has none that could be named.
fn present(object: &ObjectRef) -> Result<String, StoreError> {
    match object.version {
        None => Ok(object.key.to_string()),
        Some(_) => Err(StoreError::NotFound {
            key: object.key.to_string(),
        }),
    }
}

#[async_trait]
impl ArtifactReader for FileStore {
    async fn open(&self, object: &ObjectRef, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        let key = present(object)?;
        let below = Arc::clone(self.shared.root.below());
        fs::open(below, key.as_bytes().into(), range).await
    }

    async fn stat(&self, object: &ObjectRef) -> Result<ObjectStat, StoreError> {
        let key = present(object)?;
        let below = Arc::clone(self.shared.root.below());
        let bytes = blocking::run(move || fs::stat(&below, key.as_bytes())).await?;
        Ok(ObjectStat::new(bytes, None))
    }

    fn list(&self, prefix: &KeyPrefix) -> ListStream {
        list::list(&self.shared.root, prefix)
    }

    async fn versions(&self, key: &ObjectKey) -> Result<Vec<ObjectStat>, StoreError> {
        match self.stat(&key.clone().into()).await {
            Ok(stat) => Ok(vec![stat]),
            Err(StoreError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn storage_uri(&self, key: &ObjectKey) -> String {
        use std::fmt::Write as _;
        use std::os::unix::ffi::OsStrExt as _;
        let path = self.root().join(key.as_str());
        let mut uri = "file://".to_owned();
        for &byte in path.as_os_str().as_bytes() {
            // RFC 3986, section 2.3, and the slash.
            if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
                uri.push(char::from(byte));
            } else {
                // Writing to a string does not fail.
                let _ = write!(uri, "%{byte:02X}");
            }
        }
        uri
    }
}

#[async_trait]
impl ArtifactSink for FileStore {
    async fn create(
        &self,
        key: &ObjectKey,
        declared: Declared,
    ) -> Result<Box<dyn ArtifactWriter>, StoreError> {
        let writer = FileWriter::new(&self.shared, key.clone(), declared).await?;
        Ok(Box::new(writer))
    }

    async fn put(
        &self,
        key: &ObjectKey,
        bytes: Bytes,
        declared: Declared,
    ) -> Result<Receipt, StoreError> {
        write::put(&self.shared, key.clone(), bytes, declared).await
    }

    async fn find(
        &self,
        key: &ObjectKey,
        declared: &Declared,
    ) -> Result<Option<Receipt>, StoreError> {
        let (shared, key, declared) = (Arc::clone(&self.shared), key.clone(), declared.clone());
        blocking::run(move || {
            let is_there = group::is_there(&shared, &key, &declared)?;
            Ok(is_there.then(|| Receipt::new(key, &declared, Outcome::AlreadyThere)))
        })
        .await
    }

    fn writes_in_flight(&self) -> usize {
        WRITES_IN_FLIGHT
    }
}

#[cfg(test)]
mod crash;
#[cfg(test)]
mod tests;
