//! Trees to be shipped, a store that fails or kills at a call, and what is to be seen in a store afterwards.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use runpack_core::id::PackId;
use runpack_core::key::{KeyPrefix, ObjectKey};
use runpack_core::manifest::{Manifest, Producer, Subject};
use runpack_core::pin::Pins;
use runpack_core::store::{
    ArtifactReader, ArtifactSink, ArtifactWriter, Declared, Housekeeping, ListStream, ObjectBody,
    ObjectRef, ObjectStat, Receipt, Source, Store, StoreError,
};
use runpack_core::time::{FixedClock, Timestamp};
use runpack_core::verify::{Pack, StorePack, Verdict, VerifyOptions};
use runpack_server::execution::{Executions, Metadata, Owner};
use runpack_server::record::{Records, Stream};
use runpack_server::ship::{Benches, Kept, Layout, MARKER, Marker, Settings, Ship, To};
use runpack_server::staging::Staging;
use runpack_testing::scratch;
use tempfile::TempDir;

pub(super) const ID: &str = "01JD3M7Z9X8QWERTYASDFGHJKM";
pub(super) const OTHER_ID: &str = "01JD3M7Z9X8QWERTYASDFGHJKN";
pub(super) const NOW: &str = "2026-11-20T12:00:00Z";
/// What is in `raw/a.bin`.
pub(super) const A: &[u8] = b"some measured values";

/// A tree, and beside it a place for a store and for staging.
pub(super) struct Desk(TempDir);

impl Desk {
    pub(super) fn new() -> Self {
        let desk = Self(scratch());
        for name in ["tree", "store"] {
            fs::create_dir(desk.path().join(name)).unwrap();
        }
        desk
    }

    /// With one execution: two artifacts, a log, and what its bench says of it.
    pub(super) fn with_execution() -> Self {
        let desk = Self::new();
        let said = br#"{"result":"passed","started_at":"2026-11-20T11:00:00Z","ended_at":"2026-11-20T11:30:00Z","suite":"smoke"}"#;
        for (path, bytes) in [
            ("raw/a.bin", A),
            ("raw/deep/Übersicht.txt", b"two"),
            ("raw/logs/stdout.log", b"one\ntwo\n"),
            ("metadata.json", said),
        ] {
            desk.write(&format!("bench-1/{ID}/{path}"), bytes);
        }
        desk
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn tree(&self) -> PathBuf {
        self.path().join("tree")
    }

    pub(super) fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.tree().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Every path of the tree, with the bytes of what is a file.
    pub(super) fn tree_now(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let mut found = BTreeMap::new();
        let mut to_do = vec![self.tree()];
        while let Some(directory) = to_do.pop() {
            for entry in fs::read_dir(&directory).unwrap() {
                let entry = entry.unwrap();
                let kind = entry.file_type().unwrap();
                let bytes = kind.is_file().then(|| fs::read(entry.path()).unwrap());
                let path = entry.path().strip_prefix(self.tree()).unwrap().to_owned();
                found.insert(path, bytes);
                if kind.is_dir() {
                    to_do.push(entry.path());
                }
            }
        }
        found
    }

    pub(super) fn ship(
        &self,
        store: &Arc<dyn Store>,
        layout: Layout,
        choose: impl FnOnce(&mut Settings),
    ) -> Ship {
        self.ship_at(NOW, store, layout, choose)
    }

    pub(super) fn ship_at(
        &self,
        now: &str,
        store: &Arc<dyn Store>,
        layout: Layout,
        choose: impl FnOnce(&mut Settings),
    ) -> Ship {
        // No two shippers share a place for staging.
        let staging = format!("staging-{}", ulid::Ulid::generate());
        ship(self.path(), &staging, now, (store, None), layout, choose)
    }
}

/// As whom a store is also cleaned.
pub(super) type Keeper = Arc<dyn Housekeeping>;

/// A shipper that takes everything for settled and waits for nothing.
pub(super) fn ship(
    desk: &Path,
    staging: &str,
    now: &str,
    (store, keeper): (&Arc<dyn Store>, Option<Keeper>),
    layout: Layout,
    choose: impl FnOnce(&mut Settings),
) -> Ship {
    let mut settings = Settings::of(&layout);
    settings.settle = Duration::ZERO;
    settings.retry.first = Duration::from_micros(10);
    settings.retry.longest = Duration::from_micros(100);
    settings.retry.attempts = 3;
    choose(&mut settings);
    let to = To {
        store: Arc::clone(store),
        keeper,
        staging: Staging::open(&desk.join(staging)).unwrap(),
        clock: Arc::new(FixedClock(now.parse::<Timestamp>().unwrap())),
        producer: producer(),
    };
    Ship::open(&desk.join("tree"), layout, to, settings).unwrap()
}

fn producer() -> Producer {
    Producer {
        name: "runpack".parse().unwrap(),
        version: "0.1.0".parse().unwrap(),
    }
}

pub(super) fn benches() -> Benches {
    let owner = Owner {
        organization: "acme".parse().unwrap(),
        project: "bench".parse().unwrap(),
    };
    Benches::new(owner, "hil-bench".parse().unwrap())
}

/// The body of a record of `acme`, `prod`.
pub(super) fn payload(service: &str, run_id: &str) -> Vec<u8> {
    format!(
        "{{\"organization\":\"acme\",\"project\":\"prod\",\"service\":\"{service}\",\"run_id\":\"{run_id}\",\n \
         \"artifact\":{{\"passed\": 3}},\"commit_sha\":\"{}\",\"generated_at\":\"2026-11-20T11:59:00Z\"}}\n",
        "a".repeat(40)
    )
    .into_bytes()
}

pub(super) fn fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

/// Moves a directory within a test's own tree.
pub(super) fn moved(from: &Path, to: &Path) {
    let done = Command::new("mv").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

fn executions(store: &Arc<dyn Store>, staging: &TempDir) -> Arc<Executions> {
    let clock = Arc::new(FixedClock(NOW.parse::<Timestamp>().unwrap()));
    let staging = Staging::open(staging.path()).unwrap();
    Arc::new(Executions::new(
        Arc::clone(store),
        None,
        staging,
        clock,
        producer(),
    ))
}

/// The pack that an execution became, every byte of it checked.
pub(super) async fn verified(store: &Arc<dyn Store>, id: &str, pack_id: PackId) -> Arc<Manifest> {
    let subject = Subject::Execution {
        execution_id: id.parse().unwrap(),
    };
    let options = VerifyOptions::default();
    let container = Arc::new(StorePack::new(Arc::clone(store) as _, subject));
    let pack = Pack::open(container, &options.limits).await.unwrap();
    let report = pack.verify(&Pins::pack_id(pack_id), &options).await;
    assert_eq!(report.verdict, Verdict::Valid, "{:?}", report.findings);
    Arc::clone(pack.manifest())
}

pub(super) async fn ended(store: &Arc<dyn Store>, id: &str) -> Option<Metadata> {
    let staging = scratch();
    let executions = executions(store, &staging);
    executions.metadata(&id.parse().unwrap()).await.unwrap()
}

pub(super) async fn metadata(store: &Arc<dyn Store>, id: &str) -> Metadata {
    ended(store, id).await.unwrap()
}

/// An object of an execution.
pub(super) async fn log(store: &Arc<dyn Store>, id: &str, name: &str) -> Vec<u8> {
    let key = runpack_core::key::Location::Execution {
        execution_id: id.parse().unwrap(),
        artifact: Some(name.parse().unwrap()),
    };
    let object = ObjectRef::from(key.key().unwrap());
    let body = store.open(&object, 0..u64::MAX).await.unwrap();
    let pieces: Vec<Bytes> = body.stream.try_collect().await.unwrap();
    pieces.concat()
}

/// The body of a record of `acme`, `prod`.
pub(super) async fn body(store: &Arc<dyn Store>, service: &str, run_id: &str) -> Vec<u8> {
    let stream = Stream {
        organization: "acme".parse().unwrap(),
        project: "prod".parse().unwrap(),
        service: service.parse().unwrap(),
    };
    let clock = Arc::new(FixedClock(NOW.parse::<Timestamp>().unwrap()));
    let records = Records::new(Arc::clone(store), clock);
    let stored = records
        .read(&stream, &run_id.parse().unwrap())
        .await
        .unwrap();
    stored.body().to_vec()
}

/// The pack that an item's marker names.
pub(super) fn marked(item: &Path) -> PackId {
    let bytes = fs::read(item.join(MARKER)).unwrap();
    let marker: Marker = serde_json::from_slice(&bytes).unwrap();
    match marker.kept {
        Kept::PackId(pack_id) => pack_id,
        Kept::BodySha256(_) => panic!("{marker:?}"),
    }
}

pub(super) async fn keys(store: &Arc<dyn Store>) -> Vec<String> {
    let entries: Vec<_> = store.list(&KeyPrefix::all()).try_collect().await.unwrap();
    entries.into_iter().map(|entry| entry.key).collect()
}

/// What is done once, when a key with this in it is written.
type Once = Option<(String, Box<dyn FnOnce() + Send>)>;

/// A store that is away when it is told to be, fails at one call, does something at another, or ends the process.
pub(super) struct Shaky {
    inner: Arc<dyn Store>,
    pub(super) away: AtomicBool,
    pub(super) calls: AtomicU64,
    pub(super) fail_at: AtomicU64,
    pub(super) die_at: AtomicU64,
    once: Mutex<Once>,
}

impl fmt::Debug for Shaky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shaky").finish_non_exhaustive()
    }
}

impl Shaky {
    pub(super) fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            away: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            fail_at: AtomicU64::new(0),
            die_at: AtomicU64::new(0),
            once: Mutex::new(None),
        }
    }

    /// Does this before a key with `part` in it is written, once.
    pub(super) fn once_at(&self, part: &str, work: impl FnOnce() + Send + 'static) {
        *self.once.lock().unwrap() = Some((part.to_owned(), Box::new(work)));
    }

    fn call(&self, key: &str) -> Result<(), StoreError> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if number == self.die_at.load(Ordering::SeqCst) {
            let pid = std::process::id().to_string();
            // It does not come back from here.
            Command::new("kill").args(["-KILL", &pid]).status().unwrap();
        }
        let is_away = self.away.load(Ordering::SeqCst);
        if is_away || number == self.fail_at.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable {
                action: "a call",
                key: key.to_owned(),
                source: "away".into(),
            });
        }
        Ok(())
    }

    fn write(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let mut once = self.once.lock().unwrap();
        if once
            .as_ref()
            .is_some_and(|(part, _)| key.as_str().contains(part))
        {
            let (_, work) = once.take().unwrap();
            work();
        }
        drop(once);
        self.call(key.as_str())
    }
}

#[async_trait]
impl ArtifactReader for Shaky {
    async fn open(&self, object: &ObjectRef, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        self.call(object.key.as_str())?;
        self.inner.open(object, range).await
    }

    async fn stat(&self, object: &ObjectRef) -> Result<ObjectStat, StoreError> {
        self.call(object.key.as_str())?;
        self.inner.stat(object).await
    }

    fn list(&self, prefix: &KeyPrefix) -> ListStream {
        match self.call(prefix.as_str()) {
            Ok(()) => self.inner.list(prefix),
            Err(error) => futures_util::stream::iter([Err(error)]).boxed(),
        }
    }

    async fn versions(&self, key: &ObjectKey) -> Result<Vec<ObjectStat>, StoreError> {
        self.call(key.as_str())?;
        self.inner.versions(key).await
    }

    fn storage_uri(&self, key: &ObjectKey) -> String {
        self.inner.storage_uri(key)
    }
}

#[async_trait]
impl ArtifactSink for Shaky {
    async fn create(
        &self,
        key: &ObjectKey,
        declared: Declared,
    ) -> Result<Box<dyn ArtifactWriter>, StoreError> {
        self.write(key)?;
        self.inner.create(key, declared).await
    }

    async fn put(
        &self,
        key: &ObjectKey,
        bytes: Bytes,
        declared: Declared,
    ) -> Result<Receipt, StoreError> {
        self.write(key)?;
        self.inner.put(key, bytes, declared).await
    }

    async fn send(
        &self,
        key: &ObjectKey,
        declared: Declared,
        source: Arc<dyn Source>,
    ) -> Result<Receipt, StoreError> {
        self.write(key)?;
        self.inner.send(key, declared, source).await
    }

    async fn find(
        &self,
        key: &ObjectKey,
        declared: &Declared,
    ) -> Result<Option<Receipt>, StoreError> {
        self.call(key.as_str())?;
        self.inner.find(key, declared).await
    }
}
