//! A store in memory: the reference model that the other stores are tested against.
//!
//! It can stand for a versioned bucket in which several conditional creates win
//! ([`MemoryStore::versioned`]), as real servers let them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;

use super::{
    ArtifactReader, ArtifactSink, ArtifactWriter, Declared, Holding, HoldingStream, Housekeeping,
    ListEntry, ListStream, ObjectBody, ObjectRef, ObjectStat, Outcome, Protection, Receipt, State,
    StoreError, VersionId,
};
use crate::count::len_u64;
use crate::key::{KeyPrefix, ObjectKey};
use crate::time::Timestamp;

/// One version of an object.
#[derive(Debug, Clone)]
struct Version {
    number: u64,
    bytes: Bytes,
    modified: Timestamp,
}

/// The objects, each with its versions, oldest first, and the time.
#[derive(Debug, Default)]
struct Contents {
    objects: BTreeMap<String, Vec<Version>>,
    numbers: u64,
    seconds: u64,
    /// By key and version.
    protections: BTreeMap<(String, Option<String>), Protection>,
    /// Keys over which a delete marker stands.
    markers: BTreeSet<String>,
}

impl Contents {
    fn now(&self) -> Timestamp {
        // Nobody's test goes past the year 9999.
        Timestamp::from_unix_seconds(self.seconds).unwrap_or(Timestamp::EPOCH)
    }

    fn version(&mut self, bytes: Bytes) -> Version {
        self.numbers = self.numbers.saturating_add(1);
        Version {
            number: self.numbers,
            bytes,
            modified: self.now(),
        }
    }
}

/// Objects in memory. Clones share them. Its clock stands still until it is moved.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    contents: Arc<Mutex<Contents>>,
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
        let mut contents = self.lock();
        match bytes {
            Some(bytes) => {
                let version = contents.version(bytes);
                contents.objects.insert(key.to_owned(), vec![version]);
            }
            None => {
                contents.objects.remove(key);
            }
        }
    }

    /// Locks or holds a version, or with `None` frees it. Only [`Housekeeping::protected`] tells: nothing is kept from
    /// being removed by it, so that whoever does not ask is found out.
    pub fn protect(&self, object: &ObjectRef, protection: Option<Protection>) {
        let version = object.version.as_ref().map(VersionId::as_str);
        let of = (object.key.to_string(), version.map(str::to_owned));
        let mut contents = self.lock();
        match protection {
            Some(protection) => contents.protections.insert(of, protection),
            None => contents.protections.remove(&of),
        };
    }

    /// Puts another version under a key, after those that there are.
    pub fn add_version(&self, key: &str, bytes: Bytes) {
        let mut contents = self.lock();
        let version = contents.version(bytes);
        let versions = contents.objects.entry(key.to_owned()).or_default();
        versions.push(version);
    }

    /// Puts a delete marker over a key: it is not listed any more, and read by version alone.
    pub fn mark_deleted(&self, key: &str) {
        self.lock().markers.insert(key.to_owned());
    }

    /// Moves the store's clock forward.
    pub fn pass(&self, seconds: u64) {
        let mut contents = self.lock();
        contents.seconds = contents.seconds.saturating_add(seconds);
    }

    /// All keys and the present bytes under them.
    pub fn snapshot(&self) -> BTreeMap<String, Bytes> {
        let present = |(key, versions): (&String, &Vec<Version>)| {
            versions
                .last()
                .map(|version| (key.clone(), version.bytes.clone()))
        };
        self.lock().objects.iter().filter_map(present).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        // A panic elsewhere cannot leave the map half-changed: every change is one call.
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, object: &ObjectRef) -> Result<(Bytes, Option<VersionId>), StoreError> {
        let not_found = || StoreError::NotFound {
            key: object.key.to_string(),
        };
        let contents = self.lock();
        let versions = contents
            .objects
            .get(object.key.as_str())
            .ok_or_else(not_found)?;
        let found = match &object.version {
            None if contents.markers.contains(object.key.as_str()) => None,
            None => versions.last(),
            Some(version) => versions
                .iter()
                .find(|known| known.number.to_string() == version.as_str()),
        };
        let found = found.ok_or_else(not_found)?;
        Ok((found.bytes.clone(), self.id_of(found)))
    }

    fn id_of(&self, version: &Version) -> Option<VersionId> {
        self.versioned
            .then(|| VersionId::new(&version.number.to_string()))
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
        let mut contents = self.lock();
        let is_there = !contents.markers.contains(key.as_str());
        let there = contents
            .objects
            .get(key.as_str())
            .and_then(|versions| versions.last())
            .filter(|_| is_there);
        if let Some(there) = there {
            if there.bytes == bytes {
                let version = self.id_of(there);
                return Ok(Receipt {
                    version,
                    ..Receipt::new(key, declared, Outcome::AlreadyThere)
                });
            }
            if !self.versioned {
                return Err(StoreError::AlreadyExists {
                    key: key.to_string(),
                    ours: declared.commitment(),
                    theirs: Declared::of(&there.bytes).commitment(),
                });
            }
        }
        let made = contents.version(bytes.into());
        let version = self.id_of(&made);
        contents.markers.remove(key.as_str());
        let versions = contents.objects.entry(key.as_str().to_owned()).or_default();
        versions.push(made);
        Ok(Receipt {
            version,
            ..Receipt::new(key, declared, Outcome::Created)
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
        let (prefix, markers) = (prefix.as_str().to_owned(), self.lock().markers.clone());
        let under =
            move |(key, _): &(String, Bytes)| key.starts_with(&prefix) && !markers.contains(key);
        Box::pin(stream::iter(
            self.snapshot().into_iter().filter(under).map(entry),
        ))
    }

    async fn versions(&self, key: &ObjectKey) -> Result<Vec<ObjectStat>, StoreError> {
        let contents = self.lock();
        let versions = contents.objects.get(key.as_str());
        let stat = |version: &Version| ObjectStat {
            bytes: len_u64(&version.bytes),
            version: self.id_of(version),
        };
        Ok(versions.into_iter().flatten().map(stat).collect())
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

#[async_trait]
impl Housekeeping for MemoryStore {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.lock().now())
    }

    fn holdings(&self, prefix: &KeyPrefix) -> HoldingStream {
        let contents = self.lock();
        let mut holdings = Vec::new();
        for (key, versions) in &contents.objects {
            for version in versions {
                let bytes = len_u64(&version.bytes);
                let mut holding = Holding::object(key.clone(), bytes, version.modified);
                holding.version = self.id_of(version);
                if key.starts_with(prefix.as_str()) {
                    holdings.push(Ok(holding));
                }
            }
        }
        for key in &contents.markers {
            let marker = Holding::object(key.clone(), 0, contents.now());
            if key.starts_with(prefix.as_str()) {
                holdings.push(Ok(marker.with_state(State::DeleteMarker)));
            }
        }
        Box::pin(stream::iter(holdings))
    }

    async fn remove(&self, holding: &Holding) -> Result<(), StoreError> {
        let mut contents = self.lock();
        if let Some(versions) = contents.objects.get_mut(&holding.key) {
            versions.retain(|version| {
                holding.version.is_some() && self.id_of(version) != holding.version
            });
            if versions.is_empty() {
                contents.objects.remove(&holding.key);
            }
        }
        Ok(())
    }

    async fn protected(
        &self,
        objects: &[ObjectRef],
        now: Timestamp,
    ) -> Result<Option<(ObjectRef, Protection)>, StoreError> {
        let contents = self.lock();
        let protected = objects.iter().find_map(|object| {
            let version = object.version.as_ref().map(VersionId::as_str);
            let of = (object.key.to_string(), version.map(str::to_owned));
            let protection = *contents.protections.get(&of)?;
            let is_in_force = match protection {
                Protection::Held => true,
                Protection::LockedUntil(until) => until > now,
            };
            is_in_force.then(|| (object.clone(), protection))
        });
        Ok(protected)
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
