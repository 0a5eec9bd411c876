//! Everything that a directory holds, with its age, and removing one file of it.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use rustix::fs::{FileType, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::staging::Temp;
use super::{FileStore, Shared, list};
use crate::blocking;
use crate::fs::{file_bytes, file_type};
use crate::key::KeyPrefix;
use crate::store::{Holding, HoldingStream, Housekeeping, ObjectRef, Protection, StoreError};
use crate::time::Timestamp;

/// When a file was changed last, as the file system's clock has it; what is before 1970 counts as young, so
/// that a broken clock removes nothing.
fn modified(stat: &rustix::fs::Stat) -> Timestamp {
    u64::try_from(stat.st_mtime)
        .ok()
        .and_then(|seconds| Timestamp::from_unix_seconds(seconds).ok())
        .unwrap_or(Timestamp::MAX)
}

/// What stands at `key`; `None` where nothing does.
fn look(shared: &Shared, key: String) -> Result<Option<Holding>, StoreError> {
    let root = &shared.root;
    let opened = root.open_at(&key, OFlags::PATH, ResolveFlags::empty());
    let stat = match opened.and_then(|fd| rustix::fs::fstat(&fd)) {
        Ok(stat) => stat,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        // Links and what is behind them are none of ours, and never old.
        Err(Errno::LOOP) => return Ok(Some(Holding::object(key, 0, Timestamp::MAX))),
        Err(errno) => return Err(root.error("looking", &key, errno)),
    };
    Ok(match file_type(&stat) {
        FileType::RegularFile => Some(Holding::object(key, file_bytes(&stat), modified(&stat))),
        FileType::Directory => None,
        _ => Some(Holding::object(key, 0, Timestamp::MAX)),
    })
}

#[async_trait]
impl Housekeeping for FileStore {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        let shared = Arc::clone(&self.shared);
        blocking::run(move || {
            // The clock that dates files is the file system's, which may be another machine's.
            let temp = Temp::new(&shared)?;
            let path = temp.path();
            let failed = |errno| shared.root.error("asking for the time", &path, errno);
            let fd = shared
                .root
                .open_at(&path, OFlags::PATH, ResolveFlags::empty())
                .map_err(failed)?;
            Ok(modified(&rustix::fs::fstat(&fd).map_err(failed)?))
        })
        .await
    }

    fn holdings(&self, prefix: &KeyPrefix) -> HoldingStream {
        let is_one = !prefix.as_str().is_empty() && !prefix.as_str().ends_with('/');
        let keys = if is_one {
            let key = prefix.as_str().to_owned();
            stream::iter([Ok(key)]).boxed()
        } else {
            let entries = list::list(&self.shared.root, prefix);
            entries.map(|entry| entry.map(|entry| entry.key)).boxed()
        };
        let shared = Arc::clone(&self.shared);
        let holdings = keys.filter_map(move |key| {
            let shared = Arc::clone(&shared);
            async move {
                let looked = match key {
                    Ok(key) => blocking::run(move || look(&shared, key)).await,
                    Err(error) => Err(error),
                };
                looked.transpose()
            }
        });
        holdings.boxed()
    }

    async fn remove(&self, holding: &Holding) -> Result<(), StoreError> {
        let (shared, key) = (Arc::clone(&self.shared), holding.key.clone());
        blocking::run(move || {
            let root = &shared.root;
            let (above, name) = key.rsplit_once('/').unwrap_or(("", &key));
            let removed = root.open_directory(above).and_then(|directory| {
                root.sys.unlink(&directory, name)?;
                root.sys.sync_directory(&directory)
            });
            match removed {
                Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
                Err(errno) => Err(root.error("removing", &key, errno)),
            }
        })
        .await
    }

    /// A directory has neither locks nor holds.
    async fn protected(
        &self,
        _: &[ObjectRef],
        _: Timestamp,
    ) -> Result<Option<(ObjectRef, Protection)>, StoreError> {
        Ok(None)
    }
}
