//! A store in memory: the reference model that the other stores are tested against.
//!
//! It can stand for a versioned bucket in which several conditional creates win
//! ([`MemoryStore::versioned`]), as real servers let them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;

use super::{
    ArtifactReader, ArtifactSink, ArtifactWriter, Declared, ListEntry, ListStream, ObjectBody,
    ObjectRef, ObjectStat, Outcome, Receipt, StoreError, VersionId,
};
use crate::count::len_u64;
use crate::key::{KeyPrefix, ObjectKey};

/// The versions of one object, oldest first.
type Versions = Vec<Bytes>;

/// Objects in memory. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    objects: Arc<Mutex<BTreeMap<String, Versions>>>,
    versioned: bool,
}

impl MemoryStore {
    /// An empty store without versions.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store that keeps versions and, like some servers, does not stop a second create.
    pub fn versioned() -> Self {
        Self {
            versioned: true,
            ..Self::default()
        }
    }

    /// Puts bytes under any key without asking: what an enemy with access to the store does.
    pub fn tamper(&self, key: &str, bytes: Option<Bytes>) {
        let mut objects = self.lock();
        match bytes {
            Some(bytes) => {
                objects.insert(key.to_owned(), vec![bytes]);
            }
            None => {
                objects.remove(key);
            }
        }
    }

    /// All keys and the present bytes under them.
    pub fn snapshot(&self) -> BTreeMap<String, Bytes> {
        let present = |(key, versions): (&String, &Versions)| {
            versions.last().map(|bytes| (key.clone(), bytes.clone()))
        };
        self.lock().iter().filter_map(present).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Versions>> {
        // A panic elsewhere cannot leave the map half-changed: every change is one call.
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, object: &ObjectRef) -> Result<(Bytes, Option<VersionId>), StoreError> {
        let not_found = || StoreError::NotFound {
            key: object.key.to_string(),
        };
        let objects = self.lock();
        let versions = objects.get(object.key.as_str()).ok_or_else(not_found)?;
        let at = match &object.version {
            None => versions.len().checked_sub(1).ok_or_else(not_found)?,
            Some(version) => version.as_str().parse().map_err(|_| not_found())?,
        };
        let bytes = versions.get(at).cloned().ok_or_else(not_found)?;
        Ok((bytes, self.version(at)))
    }

    fn version(&self, at: usize) -> Option<VersionId> {
        self.versioned.then(|| VersionId::new(&at.to_string()))
    }

    fn commit(
        &self,
        key: ObjectKey,
        bytes: Vec<u8>,
        declared: &Declared,
    ) -> Result<Receipt, StoreError> {
        if Declared::of(&bytes) != *declared {
            return Err(StoreError::NotDeclared {
                key: key.to_string(),
            });
        }
        let mut objects = self.lock();
        let versions = objects.entry(key.as_str().to_owned()).or_default();
        let outcome = match versions.last() {
            Some(there) if *there == bytes => Outcome::AlreadyThere,
            Some(there) if !self.versioned => {
                return Err(StoreError::AlreadyExists {
                    key: key.to_string(),
                    ours: declared.commitment(),
                    theirs: Declared::of(there).commitment(),
                });
            }
            _ => {
                versions.push(bytes.into());
                Outcome::Created
            }
        };
        let version = self.version(versions.len().saturating_sub(1));
        Ok(Receipt {
            version,
            ..Receipt::new(key, declared, outcome)
        })
    }
}

#[async_trait]
impl ArtifactReader for MemoryStore {
    async fn open(&self, object: &ObjectRef, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        let (bytes, _) = self.get(object)?;
        let bytes_claimed = len_u64(&bytes);
        let at = |offset: u64| usize::try_from(offset.min(bytes_claimed)).unwrap_or(bytes.len());
        let (start, end) = (at(range.start), at(range.end));
        let part = if start < end {
            bytes.slice(start..end)
        } else {
            Bytes::new()
        };
        let pieces = (!part.is_empty()).then_some(Ok(part));
        Ok(ObjectBody {
            bytes_claimed,
            stream: Box::pin(stream::iter(pieces)),
        })
    }

    async fn stat(&self, object: &ObjectRef) -> Result<ObjectStat, StoreError> {
        let (bytes, version) = self.get(object)?;
        Ok(ObjectStat {
            bytes: len_u64(&bytes),
            version,
        })
    }

    fn list(&self, prefix: &KeyPrefix) -> ListStream {
        let entry = |(key, bytes): (String, Bytes)| {
            Ok(ListEntry {
                key,
                bytes: len_u64(&bytes),
            })
        };
        let prefix = prefix.as_str().to_owned();
        let under = move |(key, _): &(String, Bytes)| key.starts_with(&prefix);
        Box::pin(stream::iter(
            self.snapshot().into_iter().filter(under).map(entry),
        ))
    }

    async fn versions(&self, key: &ObjectKey) -> Result<Vec<ObjectStat>, StoreError> {
        let objects = self.lock();
        let versions = objects
            .get(key.as_str())
            .map(Vec::as_slice)
            .unwrap_or_default();
        Ok(versions
            .iter()
            .enumerate()
            .map(|(at, bytes)| ObjectStat {
                bytes: len_u64(bytes),
                version: self.version(at),
            })
            .collect())
    }

    fn storage_uri(&self, key: &ObjectKey) -> String {
        format!("memory:///{key}")
    }
}

#[async_trait]
impl ArtifactSink for MemoryStore {
    async fn create(
        &self,
        key: &ObjectKey,
        declared: Declared,
    ) -> Result<Box<dyn ArtifactWriter>, StoreError> {
        Ok(Box::new(MemoryWriter {
            store: self.clone(),
            key: key.clone(),
            declared,
            bytes: Vec::new(),
        }))
    }

    async fn find(
        &self,
        key: &ObjectKey,
        declared: &Declared,
    ) -> Result<Option<Receipt>, StoreError> {
        let (bytes, version) = match self.get(&key.clone().into()) {
            Ok(found) => found,
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let theirs = Declared::of(&bytes);
        if theirs != *declared {
            return Err(StoreError::AlreadyExists {
                key: key.to_string(),
                ours: declared.commitment(),
                theirs: theirs.commitment(),
            });
        }
        Ok(Some(Receipt {
            version,
            ..Receipt::new(key.clone(), declared, Outcome::AlreadyThere)
        }))
    }

    fn writes_in_flight(&self) -> usize {
        8
    }
}

#[derive(Debug)]
struct MemoryWriter {
    store: MemoryStore,
    key: ObjectKey,
    declared: Declared,
    bytes: Vec<u8>,
}

#[async_trait]
impl ArtifactWriter for MemoryWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        let total = len_u64(&self.bytes).saturating_add(len_u64(&bytes));
        if total > self.declared.bytes {
            return Err(StoreError::NotDeclared {
                key: self.key.to_string(),
            });
        }
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    async fn commit(self: Box<Self>) -> Result<Receipt, StoreError> {
        self.store.commit(self.key, self.bytes, &self.declared)
    }

    async fn abort(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}
