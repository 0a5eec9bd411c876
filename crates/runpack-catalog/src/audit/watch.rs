//! The store as one verification sees it: at the pace of the audit, and with an eye on what fails.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use runpack_core::key::{KeyPrefix, ObjectKey};
use runpack_core::store::{
    ArtifactReader, ListStream, ObjectBody, ObjectRef, ObjectStat, StoreError,
};

use super::pace::Pace;

/// A store, read at a pace. It remembers whether anything failed that may succeed later.
pub(super) struct Watch {
    inner: Arc<dyn ArtifactReader>,
    pace: Arc<Pace>,
    may_succeed: Arc<AtomicBool>,
}

impl Watch {
    pub(super) fn new(inner: Arc<dyn ArtifactReader>, pace: Arc<Pace>) -> Self {
        Self {
            inner,
            pace,
            may_succeed: Arc::default(),
        }
    }

    /// Whether something failed that may succeed when it is tried again.
    pub(super) fn is_worth_another_try(&self) -> bool {
        self.may_succeed.load(Ordering::Relaxed)
    }

    fn see<T>(&self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        note(&self.may_succeed, outcome)
    }
}

fn note<T>(may_succeed: &AtomicBool, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
    outcome.inspect_err(|error| {
        if error.is_retryable() {
            may_succeed.store(true, Ordering::Relaxed);
        }
    })
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ArtifactReader for Watch {
    async fn open(&self, object: &ObjectRef, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        let body = self.see(self.inner.open(object, range).await)?;
        let (pace, may_succeed) = (Arc::clone(&self.pace), Arc::clone(&self.may_succeed));
        let stream = body.stream.then(move |piece| {
            let (pace, may_succeed) = (Arc::clone(&pace), Arc::clone(&may_succeed));
            async move {
                let piece = note(&may_succeed, piece)?;
                pace.bytes(u64::try_from(piece.len()).unwrap_or(u64::MAX))
                    .await;
                Ok(piece)
            }
        });
        Ok(ObjectBody {
            bytes_claimed: body.bytes_claimed,
            stream: Box::pin(stream),
        })
    }

    async fn stat(&self, object: &ObjectRef) -> Result<ObjectStat, StoreError> {
        self.see(self.inner.stat(object).await)
    }

    fn list(&self, prefix: &KeyPrefix) -> ListStream {
        self.inner.list(prefix)
    }

    async fn versions(&self, key: &ObjectKey) -> Result<Vec<ObjectStat>, StoreError> {
        self.see(self.inner.versions(key).await)
    }

    async fn oldest(&self, key: &ObjectKey) -> Result<(ObjectRef, u64), StoreError> {
        self.see(self.inner.oldest(key).await)
    }

    fn requests_in_flight(&self) -> usize {
        self.inner.requests_in_flight()
    }

    fn storage_uri(&self, key: &ObjectKey) -> String {
        self.inner.storage_uri(key)
    }
}
