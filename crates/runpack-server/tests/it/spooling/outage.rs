//! A store that goes away and comes back as a test wants, and tells what it was asked.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use runpack_core::key::{KeyPrefix, ObjectKey};
use runpack_core::store::{
    ArtifactReader, ArtifactSink, ArtifactWriter, Declared, Holding, HoldingStream, Housekeeping,
    ListStream, ObjectBody, ObjectRef, ObjectStat, Protection, Receipt, Source, Store, StoreError,
};
use runpack_core::time::Timestamp;

use crate::support::until;

/// How the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It does what it is asked.
    Well,
    /// It does nothing.
    Away,
    /// It writes, and says that it did not.
    AnswersLost,
    /// It does not allow writes of keys that contain this.
    Denies(&'static str),
    /// It answers nothing, ever.
    Hangs,
    /// It writes nothing until it is something else.
    WritesLater,
    /// It says that it seals.
    Seals,
}

#[derive(Debug)]
pub(crate) struct Outage {
    inner: Arc<dyn Store>,
    mode: Mutex<Mode>,
    calls: AtomicU64,
    waited: AtomicU64,
    writes: Mutex<Vec<String>>,
}

impl Outage {
    pub(crate) fn of(inner: impl Store + 'static) -> Self {
        Self {
            inner: Arc::new(inner),
            mode: Mutex::new(Mode::Well),
            calls: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            writes: Mutex::default(),
        }
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    /// How often it was asked for anything.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// The keys that were written, in the order in which the writes were done.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.writes.lock().unwrap().clone()
    }

    async fn before(&self, key: &str) -> Result<(), StoreError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let mode = self.mode.lock().unwrap().clone();
        match mode {
            Mode::Away => Err(away(key)),
            Mode::Hangs => std::future::pending().await,
            _ => Ok(()),
        }
    }

    /// How many writes were begun that were to wait.
    pub(crate) fn waited(&self) -> u64 {
        self.waited.load(Ordering::SeqCst)
    }

    async fn allowed(&self, key: &str) -> Result<(), StoreError> {
        let is_later = || *self.mode.lock().unwrap() == Mode::WritesLater;
        if is_later() {
            self.waited.fetch_add(1, Ordering::SeqCst);
            until(|| !is_later()).await;
        }
        match *self.mode.lock().unwrap() {
            Mode::Denies(part) if key.contains(part) => Err(StoreError::Denied {
                action: "a write",
                key: key.to_owned(),
                code: "AccessDenied\u{1b}[2J".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    fn after(
        &self,
        key: &str,
        written: Result<Receipt, StoreError>,
    ) -> Result<Receipt, StoreError> {
        let receipt = written?;
        self.writes.lock().unwrap().push(key.to_owned());
        match *self.mode.lock().unwrap() {
            Mode::AnswersLost => Err(away(key)),
            _ => Ok(receipt),
        }
    }
}

fn away(key: &str) -> StoreError {
    StoreError::Unavailable {
        action: "anything",
        key: key.to_owned(),
        source: "out for a walk".into(),
    }
}

#[async_trait]
impl ArtifactReader for Outage {
    async fn open(&self, object: &ObjectRef, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        self.before(object.key.as_str()).await?;
        self.inner.open(object, range).await
    }

    async fn stat(&self, object: &ObjectRef) -> Result<ObjectStat, StoreError> {
        self.before(object.key.as_str()).await?;
        self.inner.stat(object).await
    }

    fn list(&self, prefix: &KeyPrefix) -> ListStream {
        if *self.mode.lock().unwrap() == Mode::Away {
            return Box::pin(stream::iter([Err(away(prefix.as_str()))]));
        }
        self.inner.list(prefix)
    }

    async fn versions(&self, key: &ObjectKey) -> Result<Vec<ObjectStat>, StoreError> {
        // A spool of a store that is away knows its own; whether there are others is not asked here.
        match self.before(key.as_str()).await {
            Ok(()) => self.inner.versions(key).await,
            Err(error) => Err(error),
        }
    }

    fn requests_in_flight(&self) -> usize {
        self.inner.requests_in_flight()
    }

    fn storage_uri(&self, key: &ObjectKey) -> String {
        self.inner.storage_uri(key)
    }
}

#[async_trait]
impl ArtifactSink for Outage {
    async fn create(
        &self,
        key: &ObjectKey,
        declared: Declared,
    ) -> Result<Box<dyn ArtifactWriter>, StoreError> {
        self.before(key.as_str()).await?;
        self.inner.create(key, declared).await
    }

    async fn put(
        &self,
        key: &ObjectKey,
        bytes: Bytes,
        declared: Declared,
    ) -> Result<Receipt, StoreError> {
        self.before(key.as_str()).await?;
        self.allowed(key.as_str()).await?;
        let written = self.inner.put(key, bytes, declared).await;
        self.after(key.as_str(), written)
    }

    async fn send(
        &self,
        key: &ObjectKey,
        declared: Declared,
        source: Arc<dyn Source>,
    ) -> Result<Receipt, StoreError> {
        self.before(key.as_str()).await?;
        self.allowed(key.as_str()).await?;
        let written = self.inner.send(key, declared, source).await;
        self.after(key.as_str(), written)
    }

    async fn find(
        &self,
        key: &ObjectKey,
        declared: &Declared,
    ) -> Result<Option<Receipt>, StoreError> {
        self.before(key.as_str()).await?;
        self.inner.find(key, declared).await
    }

    fn seals(&self) -> bool {
        *self.mode.lock().unwrap() == Mode::Seals
    }

    fn writes_in_flight(&self) -> usize {
        self.inner.writes_in_flight()
    }
}

/// For the type alone: the conformance suite asks for it, and no case that is run here uses it.
#[async_trait]
impl Housekeeping for Outage {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        Err(away(""))
    }

    fn holdings(&self, _prefix: &KeyPrefix) -> HoldingStream {
        Box::pin(stream::iter([Err(away(""))]))
    }

    async fn remove(&self, holding: &Holding) -> Result<(), StoreError> {
        Err(away(&holding.key))
    }

    async fn protected(
        &self,
        _: &[ObjectRef],
        _: Timestamp,
    ) -> Result<Option<(ObjectRef, Protection)>, StoreError> {
        Err(away(""))
    }
}
