//! A store of a region, which takes only what may lie there.
//!
//! Whatever way a destination was named, writes to a region go through this. Whose data it is comes from the subject that
//! is announced and from the key of each object, so that a writer that forgot to announce is refused all the same.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use runpack_core::id::RunId;
use runpack_core::key::{KeyPrefix, Location, ObjectKey};
use runpack_core::manifest::Subject;
use runpack_core::routing::{Attribution, Owner};
use runpack_core::store::{
    ArtifactReader, ArtifactSink, ArtifactWriter, Declared, ListStream, ObjectBody, ObjectRef,
    ObjectStat, Receipt, Source, Store, StoreError, Whole,
};

use super::{Region, RegionError, Regions};

/// How many announced runs are remembered, for bundles, whose keys do not say whose they are. One that is forgotten is
/// refused, and announced again by whoever tries again.
const ANNOUNCED_MAX: usize = 4_096;

/// What may lie in one region.
#[derive(Debug, Clone)]
pub(crate) struct Residency {
    regions: Arc<Regions>,
    region: Region,
}

impl Residency {
    pub(crate) const fn new(regions: Arc<Regions>, region: Region) -> Self {
        Self { regions, region }
    }

    #[cfg(feature = "server")]
    pub(crate) const fn region(&self) -> &Region {
        &self.region
    }

    pub(crate) fn admits(&self, owner: &Owner) -> Result<(), RegionError> {
        self.regions.admits(owner, &self.region)
    }

    /// The same store, which takes only what may lie in the region.
    pub(crate) fn guard(&self, inner: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(Guarded {
            inner,
            residency: self.clone(),
            announced: Mutex::default(),
        })
    }
}

struct Guarded {
    inner: Arc<dyn Store>,
    residency: Residency,
    /// Runs whose bundles may come.
    announced: Mutex<VecDeque<RunId>>,
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded")
            .field("inner", &self.inner)
            .field("region", &self.residency.region.name)
            .finish_non_exhaustive()
    }
}

fn barred(error: &RegionError) -> StoreError {
    StoreError::Barred {
        reason: error.to_string(),
    }
}

impl Guarded {
    fn admit(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let unsaid = || RegionError::Unsaid {
            region: self.residency.region.name.clone(),
            key: key.to_string(),
        };
        let location = Location::parse(key.as_str()).ok_or_else(|| barred(&unsaid()))?;
        let admitted = match (Owner::of_location(&location), &location) {
            (Attribution::To(owner), _) => self.residency.admits(&owner),
            // Nobody's evidence, and what is written of a pack follows it.
            (Attribution::Housekeeping, _) => Ok(()),
            (Attribution::Unsaid, Location::Bundle { run_id, .. }) if self.is_announced(run_id) => {
                Ok(())
            }
            (Attribution::Unsaid, _) => Err(unsaid()),
        };
        admitted.map_err(|error| barred(&error))
    }

    fn is_announced(&self, run_id: &RunId) -> bool {
        let announced = self
            .announced
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        announced.contains(run_id)
    }

    fn announce(&self, subject: &Subject) {
        // Those that have bundles.
        let (Subject::Run { run_id, .. }
        | Subject::Step { run_id, .. }
        | Subject::Pipeline { run_id, .. }) = subject
        else {
            return;
        };
        let mut announced = self
            .announced
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        announced.retain(|known| known != run_id);
        if announced.len() >= ANNOUNCED_MAX {
            announced.pop_front();
        }
        announced.push_back(run_id.clone());
    }
}

#[async_trait]
impl ArtifactReader for Guarded {
    async fn open(&self, object: &ObjectRef, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        self.inner.open(object, range).await
    }

    async fn stat(&self, object: &ObjectRef) -> Result<ObjectStat, StoreError> {
        self.inner.stat(object).await
    }

    fn list(&self, prefix: &KeyPrefix) -> ListStream {
        self.inner.list(prefix)
    }

    async fn versions(&self, key: &ObjectKey) -> Result<Vec<ObjectStat>, StoreError> {
        self.inner.versions(key).await
    }

    async fn oldest(&self, key: &ObjectKey) -> Result<(ObjectRef, u64), StoreError> {
        self.inner.oldest(key).await
    }

    fn requests_in_flight(&self) -> usize {
        self.inner.requests_in_flight()
    }

    fn storage_uri(&self, key: &ObjectKey) -> String {
        self.inner.storage_uri(key)
    }
}

#[async_trait]
impl ArtifactSink for Guarded {
    async fn create(
        &self,
        key: &ObjectKey,
        declared: Declared,
    ) -> Result<Box<dyn ArtifactWriter>, StoreError> {
        self.admit(key)?;
        self.inner.create(key, declared).await
    }

    async fn put(
        &self,
        key: &ObjectKey,
        bytes: Bytes,
        declared: Declared,
    ) -> Result<Receipt, StoreError> {
        self.admit(key)?;
        self.inner.put(key, bytes, declared).await
    }

    async fn send(
        &self,
        key: &ObjectKey,
        declared: Declared,
        source: Arc<dyn Source>,
    ) -> Result<Receipt, StoreError> {
        self.admit(key)?;
        self.inner.send(key, declared, source).await
    }

    async fn find(
        &self,
        key: &ObjectKey,
        declared: &Declared,
    ) -> Result<Option<Receipt>, StoreError> {
        self.admit(key)?;
        self.inner.find(key, declared).await
    }

    async fn expect(&self, subject: &Subject) -> Result<(), StoreError> {
        let admitted = self.residency.admits(&Owner::of(subject));
        admitted.map_err(|error| barred(&error))?;
        self.inner.expect(subject).await?;
        self.announce(subject);
        Ok(())
    }

    fn seals(&self) -> bool {
        self.inner.seals()
    }

    async fn seal(&self, whole: Whole<'_>) -> Result<(), StoreError> {
        self.inner.seal(whole).await
    }

    fn writes_in_flight(&self) -> usize {
        self.inner.writes_in_flight()
    }
}
