//! A store that lies: what a verifier reads when the store is the adversary's (threats, group S).

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use runpack_core::key::{KeyPrefix, ObjectKey};
use runpack_core::store::{
    ArtifactReader, ArtifactSink, ArtifactWriter, Declared, ListEntry, ListStream, ObjectBody,
    ObjectRef, ObjectStat, Receipt, Source, Store, StoreError,
};

/// The size of the pieces in which lies are told.
const PIECE_BYTES: usize = 64 * 1024;

/// How a [`LyingStore`] lies about the objects that it lies about.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Lie {
    /// Only the first bytes are there, and that is the size it claims (S02).
    Truncate(u64),
    /// The true size is claimed, and only so many bytes come.
    CutOff(u64),
    /// Zeros follow the true bytes for as long as the range goes, under the true size (S03).
    Extend,
    /// The same, and no range stops it: asked for one byte it never ends (S03).
    ExtendBeyondRange,
    /// One bit of the object is wrong, counted from its first byte's lowest; beyond its end, from its
    /// beginning again (S01).
    FlipBit(u64),
    /// Two objects in each other's place (S07). It lies about these two, whatever else was asked.
    Swap(ObjectKey, ObjectKey),
    /// Another object's bytes, from the same store (S08, S09).
    Impersonate(ObjectKey),
    /// Other bytes (S20).
    Serve(Bytes),
    /// The truth once, other bytes from the second time on (S19).
    ServeLater(Bytes),
    /// True bytes under a false size (S05, S18).
    Claim(u64),
    /// There is no such object (S13, S14).
    Hide,
    /// Opening fails.
    Fail(io::ErrorKind),
    /// So many true bytes, then a failure.
    FailAfter(u64, io::ErrorKind),
    /// These are listed before what is there (S17).
    List(Vec<ListEntry>),
    /// Nothing is listed (S16).
    ListNothing,
    /// The listing never ends: it begins again (S16).
    ListForever,
}

impl Lie {
    /// A listing of keys that are none.
    pub fn list_garbage() -> Self {
        let keys = [
            "",
            "/",
            ".",
            "..",
            "../../etc/passwd",
            "/etc/passwd",
            "executions//manifest.json",
            "executions/../manifest.json",
            "executions/01ARZ3NDEKTSV4RRFFQ69G5FAV/",
            "nul\0in/the/middle",
            "line\nbreak",
            "\u{1b}[2Jescape",
            "\u{202e}nosj.tsefinam",
            "replaced/\u{fffd}/manifest.json",
            "v1/org=a/project=b/service=c/date=2026-02-30/run=r/payload.json",
        ];
        let long = "x/".repeat(2_000);
        let entry = |key: &str| ListEntry::new(key.to_owned(), u64::MAX);
        // Each twice.
        let entries = keys.into_iter().chain([long.as_str()]);
        Self::List(entries.flat_map(|key| [entry(key), entry(key)]).collect())
    }
}

type Target = Box<dyn Fn(&ObjectKey) -> bool + Send + Sync>;

/// A store that tells the truth about most objects, and lies about some.
pub struct LyingStore {
    inner: Arc<dyn Store>,
    lie: Lie,
    target: Target,
    opened: Mutex<HashMap<ObjectKey, u64>>,
    served: Arc<AtomicU64>,
}

impl LyingStore {
    /// Lies about every object of `inner`.
    pub fn new(inner: Arc<dyn Store>, lie: Lie) -> Self {
        Self {
            inner,
            lie,
            target: Box::new(|_| true),
            opened: Mutex::default(),
            served: Arc::default(),
        }
    }

    /// Lies about these only.
    #[must_use]
    pub fn about(mut self, target: impl Fn(&ObjectKey) -> bool + Send + Sync + 'static) -> Self {
        self.target = Box::new(target);
        self
    }

    /// Lies about the objects whose keys end so.
    #[must_use]
    pub fn about_suffix(self, suffix: &str) -> Self {
        let suffix = suffix.to_owned();
        self.about(move |key| key.as_str().ends_with(&suffix))
    }

    /// How many bytes it has told in lies, to see that a reader stopped.
    pub fn bytes_served(&self) -> u64 {
        self.served.load(Ordering::SeqCst)
    }

    /// How often an object was opened.
    pub fn opens(&self, key: &ObjectKey) -> u64 {
        self.opened.lock().unwrap().get(key).copied().unwrap_or(0)
    }

    fn lies_about(&self, key: &ObjectKey) -> bool {
        match &self.lie {
            Lie::Swap(one, other) => key == one || key == other,
            _ => (self.target)(key),
        }
    }

    /// The object whose bytes are told for this one.
    fn told(&self, object: &ObjectRef) -> ObjectRef {
        match &self.lie {
            Lie::Swap(one, other) if object.key == *one => other.clone().into(),
            Lie::Swap(one, _) => one.clone().into(),
            Lie::Impersonate(other) => other.clone().into(),
            _ => object.clone(),
        }
    }

    /// Replaces the bytes of the object of which these are all.
    fn changed(&self, bytes: Bytes, time: u64) -> Bytes {
        let at = |place: u64| usize::try_from(place).map_or(bytes.len(), |at| at.min(bytes.len()));
        match &self.lie {
            Lie::Truncate(kept) | Lie::CutOff(kept) | Lie::FailAfter(kept, _) => {
                bytes.slice(..at(*kept))
            }
            Lie::FlipBit(bit) if !bytes.is_empty() => {
                let mut bytes = bytes.to_vec();
                let place = usize::try_from(bit / 8).unwrap_or(0) % bytes.len();
                if let Some(byte) = bytes.get_mut(place) {
                    *byte ^= 1 << (bit % 8);
                }
                bytes.into()
            }
            Lie::Serve(other) => other.clone(),
            Lie::ServeLater(other) if time > 0 => other.clone(),
            _ => bytes,
        }
    }

    async fn open_lying(
        &self,
        object: &ObjectRef,
        range: Range<u64>,
    ) -> Result<ObjectBody, StoreError> {
        let time = {
            let mut opened = self.opened.lock().unwrap();
            let times = opened.entry(object.key.clone()).or_default();
            *times = times.saturating_add(1);
            times.saturating_sub(1)
        };
        self.refuse(object)?;
        let mut body = self.inner.open(&self.told(object), 0..u64::MAX).await?;
        let mut truth = Vec::new();
        while let Some(piece) = body.next().await {
            truth.extend_from_slice(&piece?);
        }
        let bytes_true = bytes_of(&truth);
        let told = self.changed(truth.into(), time);
        let bytes_claimed = match self.lie {
            Lie::Claim(claim) => claim,
            Lie::CutOff(_) | Lie::FailAfter(..) => bytes_true,
            _ => bytes_of(&told),
        };
        let end = match self.lie {
            Lie::ExtendBeyondRange => u64::MAX,
            _ => range.end,
        };
        let zeros = Bytes::from(vec![0; PIECE_BYTES]);
        let goes_on = matches!(self.lie, Lie::Extend | Lie::ExtendBeyondRange);
        let served = Arc::clone(&self.served);
        let pieces = stream::iter(0..).scan(range.start, move |at, _: u64| {
            let left = usize::try_from(end.saturating_sub(*at)).unwrap_or(usize::MAX);
            let from = usize::try_from(*at).unwrap_or(usize::MAX).min(told.len());
            let to = from.saturating_add(left.min(PIECE_BYTES)).min(told.len());
            let piece = if from == to && goes_on {
                zeros.slice(..left.min(PIECE_BYTES))
            } else {
                told.slice(from..to)
            };
            *at = at.saturating_add(bytes_of(&piece));
            served.fetch_add(bytes_of(&piece), Ordering::SeqCst);
            std::future::ready((!piece.is_empty()).then_some(Ok(piece)))
        });
        let failure = match self.lie {
            Lie::FailAfter(_, kind) => Some(Err(failure(object, kind))),
            _ => None,
        };
        Ok(ObjectBody {
            bytes_claimed,
            stream: Box::pin(pieces.chain(stream::iter(failure))),
        })
    }

    fn refuse(&self, object: &ObjectRef) -> Result<(), StoreError> {
        match self.lie {
            Lie::Hide => Err(StoreError::NotFound {
                key: object.key.to_string(),
            }),
            Lie::Fail(kind) => Err(failure(object, kind)),
            _ => Ok(()),
        }
    }
}

fn bytes_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn failure(object: &ObjectRef, kind: io::ErrorKind) -> StoreError {
    StoreError::Io {
        action: "reading",
        path: object.key.to_string(),
        source: kind.into(),
    }
}

impl fmt::Debug for LyingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LyingStore")
            .field("lie", &self.lie)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl ArtifactReader for LyingStore {
    async fn open(&self, object: &ObjectRef, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        if self.lies_about(&object.key) {
            self.open_lying(object, range).await
        } else {
            self.inner.open(object, range).await
        }
    }

    async fn stat(&self, object: &ObjectRef) -> Result<ObjectStat, StoreError> {
        if !self.lies_about(&object.key) {
            return self.inner.stat(object).await;
        }
        self.refuse(object)?;
        let stat = self.inner.stat(&self.told(object)).await?;
        let bytes = match &self.lie {
            Lie::Truncate(kept) => stat.bytes.min(*kept),
            Lie::Serve(other) => bytes_of(other),
            Lie::Claim(claim) => *claim,
            _ => stat.bytes,
        };
        Ok(ObjectStat::new(bytes, stat.version))
    }

    fn list(&self, prefix: &KeyPrefix) -> ListStream {
        match &self.lie {
            Lie::List(entries) => {
                let entries = stream::iter(entries.clone()).map(Ok);
                Box::pin(entries.chain(self.inner.list(prefix)))
            }
            Lie::ListNothing => Box::pin(stream::empty()),
            Lie::ListForever => {
                let (inner, prefix) = (Arc::clone(&self.inner), prefix.clone());
                Box::pin(stream::repeat(()).flat_map(move |()| inner.list(&prefix)))
            }
            _ => self.inner.list(prefix),
        }
    }

    async fn versions(&self, key: &ObjectKey) -> Result<Vec<ObjectStat>, StoreError> {
        match self.lie {
            Lie::Hide if self.lies_about(key) => Ok(Vec::new()),
            _ => self.inner.versions(key).await,
        }
    }

    fn requests_in_flight(&self) -> usize {
        self.inner.requests_in_flight()
    }

    fn storage_uri(&self, key: &ObjectKey) -> String {
        self.inner.storage_uri(key)
    }
}

/// Writing it tells the truth.
#[async_trait]
impl ArtifactSink for LyingStore {
    async fn create(
        &self,
        key: &ObjectKey,
        declared: Declared,
    ) -> Result<Box<dyn ArtifactWriter>, StoreError> {
        self.inner.create(key, declared).await
    }

    async fn put(
        &self,
        key: &ObjectKey,
        bytes: Bytes,
        declared: Declared,
    ) -> Result<Receipt, StoreError> {
        self.inner.put(key, bytes, declared).await
    }

    async fn send(
        &self,
        key: &ObjectKey,
        declared: Declared,
        source: Arc<dyn Source>,
    ) -> Result<Receipt, StoreError> {
        self.inner.send(key, declared, source).await
    }

    async fn find(
        &self,
        key: &ObjectKey,
        declared: &Declared,
    ) -> Result<Option<Receipt>, StoreError> {
        self.inner.find(key, declared).await
    }

    fn writes_in_flight(&self) -> usize {
        self.inner.writes_in_flight()
    }
}
