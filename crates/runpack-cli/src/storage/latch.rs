//! A store that was away when a server opened it to write: nothing is asked of it before it was looked at again.
//!
//! Invariant: until [`Storage::catch_up`] has found the bucket where it must be and written to as it was measured, every
//! request is answered with [`StoreError::Unreachable`], which is what a spool waits for. What is asked of the bucket as
//! such, to find that out, does not come this way.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use runpack_core::key::{KeyPrefix, ObjectKey};
use runpack_core::manifest::Subject;
use runpack_core::store::{
    ArtifactReader, ArtifactSink, ArtifactWriter, Declared, Holding, HoldingStream, Holds,
    Housekeeping, ListStream, ObjectBody, ObjectRef, ObjectStat, Protection, Receipt, Source,
    Store, StoreError, Whole,
};
use runpack_core::time::Timestamp;

use super::{Asked, Backend, Storage, regional};
use crate::context::Context;
use crate::failure::Failure;
use crate::profiles;

/// How often a bucket that was away at the start is asked.
const ASKED_EVERY: Duration = Duration::from_secs(5);

/// What keeps a store shut, for all who have it.
#[derive(Debug, Clone, Default)]
pub(super) struct Latch(Arc<AtomicBool>);

impl Latch {
    fn lift(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.0.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(StoreError::Unreachable {
            reason: "it was away, and where it is and how to write to it is asked again first"
                .to_owned(),
        })
    }
}

impl Storage {
    /// The same, shut until it has caught up ([`Storage::catch_up`]), if it was away when it was opened.
    pub(super) fn latched(mut self) -> Self {
        if self.was_away() {
            let latched = Arc::new(Latched {
                store: self.store,
                keeper: self.keeper,
                latch: self.latch.clone(),
            });
            (self.store, self.keeper) = (latched.clone(), latched);
        }
        self
    }

    /// Waits until the bucket answers, if it was away when it was opened ([`Access::WriteLater`]), and asks what was not
    /// asked then. Before that nothing is written to it.
    ///
    /// # Errors
    /// How to write to it was measured again and is not how it is written to: it has to be opened anew. As a region, it is
    /// not where it must be.
    ///
    /// [`Access::WriteLater`]: super::Access::WriteLater
    pub async fn catch_up(&self, context: &Context) -> Result<(), Failure> {
        let Backend::S3(store, Asked::Away(_)) = &self.backend else {
            return Ok(());
        };
        loop {
            match store.check().await {
                Ok(()) | Err(StoreError::Denied { .. }) => break,
                Err(StoreError::Unreachable { .. }) => {}
                Err(error) => tracing::error!(%error, "the store is back, and cannot be used"),
            }
            tokio::time::sleep(ASKED_EVERY).await;
        }
        if let Some(residency) = &self.residency {
            regional::check_place(context, store, residency.region(), Asked::Answered).await?;
        }
        if context.settings()?.create_only.value.is_none()
            && profiles::writing(context, store).await? != store.settings().create_only
        {
            return Err(Failure::new(
                "how this store is to be written to has changed since it was measured last",
                "start again: it is measured anew then",
            ));
        }
        self.latch.lift();
        Ok(())
    }
}

struct Latched {
    store: Arc<dyn Store>,
    keeper: Arc<dyn Housekeeping>,
    latch: Latch,
}

impl fmt::Debug for Latched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latched")
            .field("store", &self.store)
            .field("latch", &self.latch)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl ArtifactReader for Latched {
    async fn open(&self, object: &ObjectRef, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        self.latch.check()?;
        self.store.open(object, range).await
    }

    async fn stat(&self, object: &ObjectRef) -> Result<ObjectStat, StoreError> {
        self.latch.check()?;
        self.store.stat(object).await
    }

    fn list(&self, prefix: &KeyPrefix) -> ListStream {
        match self.latch.check() {
            Ok(()) => self.store.list(prefix),
            Err(error) => Box::pin(stream::iter([Err(error)])),
        }
    }

    async fn versions(&self, key: &ObjectKey) -> Result<Vec<ObjectStat>, StoreError> {
        self.latch.check()?;
        self.store.versions(key).await
    }

    async fn oldest(&self, key: &ObjectKey) -> Result<(ObjectRef, u64), StoreError> {
        self.latch.check()?;
        self.store.oldest(key).await
    }

    fn requests_in_flight(&self) -> usize {
        self.store.requests_in_flight()
    }

    fn storage_uri(&self, key: &ObjectKey) -> String {
        self.store.storage_uri(key)
    }
}

#[async_trait]
impl ArtifactSink for Latched {
    async fn create(
        &self,
        key: &ObjectKey,
        declared: Declared,
    ) -> Result<Box<dyn ArtifactWriter>, StoreError> {
        self.latch.check()?;
        self.store.create(key, declared).await
    }

    async fn put(
        &self,
        key: &ObjectKey,
        bytes: Bytes,
        declared: Declared,
    ) -> Result<Receipt, StoreError> {
        self.latch.check()?;
        self.store.put(key, bytes, declared).await
    }

    async fn send(
        &self,
        key: &ObjectKey,
        declared: Declared,
        source: Arc<dyn Source>,
    ) -> Result<Receipt, StoreError> {
        self.latch.check()?;
        self.store.send(key, declared, source).await
    }

    async fn find(
        &self,
        key: &ObjectKey,
        declared: &Declared,
    ) -> Result<Option<Receipt>, StoreError> {
        self.latch.check()?;
        self.store.find(key, declared).await
    }

    /// Announces are taken: what must not come is refused while the store is away too.
    async fn expect(&self, subject: &Subject) -> Result<(), StoreError> {
        self.store.expect(subject).await
    }

    fn seals(&self) -> bool {
        self.store.seals()
    }

    async fn seal(&self, whole: Whole<'_>) -> Result<(), StoreError> {
        self.latch.check()?;
        self.store.seal(whole).await
    }

    fn writes_in_flight(&self) -> usize {
        self.store.writes_in_flight()
    }
}

#[async_trait]
impl Housekeeping for Latched {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.latch.check()?;
        self.keeper.now().await
    }

    fn holdings(&self, prefix: &KeyPrefix) -> HoldingStream {
        match self.latch.check() {
            Ok(()) => self.keeper.holdings(prefix),
            Err(error) => Box::pin(stream::iter([Err(error)])),
        }
    }

    fn versions_below(&self, prefix: &KeyPrefix) -> HoldingStream {
        match self.latch.check() {
            Ok(()) => self.keeper.versions_below(prefix),
            Err(error) => Box::pin(stream::iter([Err(error)])),
        }
    }

    async fn remove(&self, holding: &Holding) -> Result<(), StoreError> {
        self.latch.check()?;
        self.keeper.remove(holding).await
    }

    async fn protected(
        &self,
        objects: &[ObjectRef],
        now: Timestamp,
    ) -> Result<Option<(ObjectRef, Protection)>, StoreError> {
        self.latch.check()?;
        self.keeper.protected(objects, now).await
    }

    async fn holds(&self) -> Result<Holds, StoreError> {
        self.latch.check()?;
        self.keeper.holds().await
    }
}
