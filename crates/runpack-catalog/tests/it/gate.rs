//! A store in front of which one can be made to wait.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{StreamExt as _, future};
use runpack_core::key::{KeyPrefix, ObjectKey};
use runpack_core::store::{
    ArtifactReader, ListStream, ObjectBody, ObjectRef, ObjectStat, StoreError,
};
use tokio::sync::watch;

/// A store, some of whose objects are opened when the gate is.
pub(crate) struct Gate {
    inner: Arc<dyn ArtifactReader>,
    stops_at: Option<String>,
    hides: Option<String>,
    fails: AtomicU64,
    reached: watch::Sender<bool>,
    is_open: watch::Sender<bool>,
}

impl Gate {
    pub(crate) fn new(inner: Arc<dyn ArtifactReader>) -> Self {
        Self {
            inner,
            stops_at: None,
            hides: None,
            fails: AtomicU64::new(0),
            reached: watch::Sender::new(false),
            is_open: watch::Sender::new(false),
        }
    }

    /// Whoever opens an object whose key contains this waits.
    pub(crate) fn stopping_at(mut self, part: &str) -> Self {
        self.stops_at = Some(part.to_owned());
        self
    }

    /// Keys that contain this are not listed.
    pub(crate) fn hiding(mut self, part: &str) -> Self {
        self.hides = Some(part.to_owned());
        self
    }

    /// The first so many times that something is opened, the connection is reset.
    pub(crate) fn failing_first(self, times: u64) -> Self {
        self.fails.store(times, Ordering::SeqCst);
        self
    }

    /// Waits until somebody waits.
    pub(crate) async fn reached(&self) {
        let mut reached = self.reached.subscribe();
        reached.wait_for(|reached| *reached).await.unwrap();
    }

    /// Nobody waits from now on.
    pub(crate) fn open(&self) {
        self.is_open.send_replace(true);
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

#[async_trait::async_trait]
impl ArtifactReader for Gate {
    async fn open(&self, object: &ObjectRef, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        let key = object.key.as_str();
        if self
            .stops_at
            .as_ref()
            .is_some_and(|part| key.contains(part))
        {
            self.reached.send_replace(true);
            let mut is_open = self.is_open.subscribe();
            is_open.wait_for(|is_open| *is_open).await.unwrap();
        }
        let one_less = |left: u64| left.checked_sub(1);
        let fails = self
            .fails
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
        if fails.is_ok() {
            return Err(StoreError::Io {
                action: "opening",
                path: key.to_owned(),
                source: io::ErrorKind::ConnectionReset.into(),
            });
        }
        self.inner.open(object, range).await
    }

    async fn stat(&self, object: &ObjectRef) -> Result<ObjectStat, StoreError> {
        self.inner.stat(object).await
    }

    fn list(&self, prefix: &KeyPrefix) -> ListStream {
        let hides = self.hides.clone();
        let listing = self.inner.list(prefix);
        Box::pin(listing.filter(move |entry| {
            let hidden = hides.as_ref().zip(entry.as_ref().ok());
            let hidden = hidden.is_some_and(|(part, entry)| entry.key.contains(part));
            future::ready(!hidden)
        }))
    }

    async fn versions(&self, key: &ObjectKey) -> Result<Vec<ObjectStat>, StoreError> {
        self.inner.versions(key).await
    }

    fn storage_uri(&self, key: &ObjectKey) -> String {
        self.inner.storage_uri(key)
    }
}
