//! What others do between two steps: parts and artifacts that come while an execution ends, other servers, lost races.

use std::fmt;
use std::ops::Range;
use std::sync::Mutex;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use runpack_core::id::PackId;
use runpack_core::key::KeyPrefix;
use runpack_core::store::{
    ArtifactReader, ArtifactSink, ArtifactWriter, Declared, ListStream, ObjectBody, ObjectStat,
    Receipt,
};

use super::*;

type Meanwhile = Box<dyn FnOnce() -> BoxFuture<'static, Result<(), StoreError>> + Send>;

/// A store in which something happens right before a certain key is written, once.
struct Between {
    inner: Arc<MemoryStore>,
    meanwhile: Mutex<Option<(&'static str, Meanwhile)>>,
}

impl fmt::Debug for Between {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Between")
    }
}

impl Between {
    async fn write(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let found = {
            let mut meanwhile = self.meanwhile.lock().unwrap();
            let is_it = matches!(&*meanwhile, Some((part, _)) if key.as_str().contains(part));
            if is_it { meanwhile.take() } else { None }
        };
        match found {
            Some((_, meanwhile)) => meanwhile().await,
            None => Ok(()),
        }
    }
}

#[async_trait]
impl ArtifactReader for Between {
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

    fn storage_uri(&self, key: &ObjectKey) -> String {
        self.inner.storage_uri(key)
    }
}

#[async_trait]
impl ArtifactSink for Between {
    async fn create(
        &self,
        key: &ObjectKey,
        declared: Declared,
    ) -> Result<Box<dyn ArtifactWriter>, StoreError> {
        self.write(key).await?;
        self.inner.create(key, declared).await
    }

    async fn find(
        &self,
        key: &ObjectKey,
        declared: &Declared,
    ) -> Result<Option<Receipt>, StoreError> {
        self.inner.find(key, declared).await
    }
}

/// Two servers in front of one store. At the first one something happens before it writes.
struct Two {
    one: Arc<Executions>,
    other: Arc<Executions>,
    between: Arc<Between>,
    store: Arc<MemoryStore>,
    id: ExecutionId,
    _directories: [TempDir; 2],
}

impl Two {
    async fn over(store: MemoryStore) -> Self {
        let store = Arc::new(store);
        let directories = [scratch(), scratch()];
        let between = Arc::new(Between {
            inner: Arc::clone(&store),
            meanwhile: Mutex::default(),
        });
        let one = made(between.clone(), &store, &directories[0]);
        let other = made(store.clone(), &store, &directories[1]);
        let opened = one.open(open(), "token:bench").await.unwrap();
        Self {
            one,
            other,
            between,
            store,
            id: opened.execution_id,
            _directories: directories,
        }
    }

    fn before<F>(&self, key: &'static str, meanwhile: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = Result<(), StoreError>> + Send + 'static,
    {
        let meanwhile: Meanwhile = Box::new(move || Box::pin(meanwhile()));
        *self.between.meanwhile.lock().unwrap() = Some((key, meanwhile));
    }

    async fn complete(&self, by: &Arc<Executions>) -> Result<Completed, ExecutionError> {
        end(by, &self.id, &Expected::new()).await
    }

    /// The pack verifies, as a reader finds it who knows of no versions.
    async fn expect_valid(&self, pack_id: PackId) {
        let container = StorePack::new(self.store.clone(), Executions::subject(&self.id));
        let pack = Pack::open(Arc::new(container), &Limits::default()).await;
        let (pins, options) = (Pins::pack_id(pack_id), VerifyOptions::default());
        let report = pack.unwrap().verify(&pins, &options).await;
        assert_eq!(report.verdict, Verdict::Valid, "{:?}", report.findings);
    }
}

fn stores() -> [MemoryStore; 2] {
    [MemoryStore::new(), MemoryStore::versioned()]
}

async fn end(
    by: &Arc<Executions>,
    id: &ExecutionId,
    expected: &Expected,
) -> Result<Completed, ExecutionError> {
    by.end(id, &passed(), expected, "token:bench").await
}

async fn append(by: &Executions, id: &ExecutionId, text: &str) -> Result<Appended, ExecutionError> {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    by.append(id, Log::Stdout, None, bytes).await
}

#[test]
fn w15_what_is_acknowledged_while_an_execution_ends_is_in_its_pack() {
    block_on(async {
        for store in stores() {
            let two = Two::over(store).await;
            append(&two.one, &two.id, "one\n").await.unwrap();
            let (other, id) = (Arc::clone(&two.other), two.id.clone());
            two.before("/metadata.json", move || async move {
                append(&other, &id, "two\n").await.unwrap();
                let body = staged(&other, b"late").await;
                let upload = upload("artifacts/late.txt");
                other.upload(&id, upload, &body).await.unwrap();
                Ok(())
            });
            let done = two.complete(&two.one).await.unwrap();
            two.expect_valid(done.pack_id.unwrap()).await;
            assert_eq!(text(&two.other, &two.id, Log::Stdout).await, "one\ntwo\n");
            let names = two.other.items(&two.id).await.unwrap();
            assert!(
                names
                    .iter()
                    .any(|item| item.name.as_str() == "artifacts/late.txt")
            );
        }
    });
}

#[test]
fn w15_what_comes_after_the_end_is_not_acknowledged() {
    block_on(async {
        for (key, is_upload) in [("/logs/", false), ("/uploads/", true)] {
            let two = Two::over(MemoryStore::new()).await;
            append(&two.other, &two.id, "one\n").await.unwrap();
            let (other, id) = (Arc::clone(&two.other), two.id.clone());
            two.before(key, move || async move {
                end(&other, &id, &Expected::new()).await.unwrap();
                Ok(())
            });
            let late = if is_upload {
                let body = staged(&two.one, b"late").await;
                let upload = upload("artifacts/late.txt");
                let upload = two.one.upload(&two.id, upload, &body).await;
                upload.map(drop)
            } else {
                append(&two.one, &two.id, "late\n").await.map(drop)
            };
            assert!(
                matches!(late, Err(ExecutionError::Ended { .. })),
                "{late:?}"
            );
            let again = two.complete(&two.one).await.unwrap();
            two.expect_valid(again.pack_id.unwrap()).await;
            assert_eq!(text(&two.other, &two.id, Log::Stdout).await, "one\n");
        }
    });
}

#[test]
fn w15_a_part_that_lands_after_an_interrupted_end_stops_nobody() {
    block_on(async {
        let two = Two::over(MemoryStore::new()).await;
        append(&two.one, &two.id, "one\n").await.unwrap();
        let fails = || async {
            Err(StoreError::Unavailable {
                action: "a write",
                key: String::new(),
                source: "away".into(),
            })
        };
        two.before("/manifest.json", fails);
        two.complete(&two.one).await.unwrap_err();
        // A writer that was under way when the end was written. It is told that it came too late.
        let part = LiveObject::LogPart {
            log: Log::Stdout,
            offset: 4,
        };
        let key = Executions::live(&two.id, part).unwrap();
        two.store
            .tamper(key.as_str(), Some(Bytes::from_static(b"late\n")));
        let done = two.complete(&two.other).await.unwrap();
        two.expect_valid(done.pack_id.unwrap()).await;
        assert_eq!(text(&two.one, &two.id, Log::Stdout).await, "one\n");
    });
}

#[test]
fn p01_of_two_creates_that_both_win_the_older_one_stands() {
    block_on(async {
        for store in stores() {
            let two = Two::over(store).await;
            append(&two.one, &two.id, "first\n").await.unwrap();
            append(&two.other, &two.id, "").await.unwrap();
            let (other, id) = (Arc::clone(&two.other), two.id.clone());
            two.before("/logs/", move || async move {
                append(&other, &id, "theirs, longer\n").await.unwrap();
                Ok(())
            });
            append(&two.one, &two.id, "ours\n").await.unwrap();
            append(&two.other, &two.id, "last\n").await.unwrap();
            let whole = "first\ntheirs, longer\nours\nlast\n";
            assert_eq!(text(&two.one, &two.id, Log::Stdout).await, whole);

            let (other, id) = (Arc::clone(&two.other), two.id.clone());
            two.before("/artifacts/", move || async move {
                let body = staged(&other, b"theirs").await;
                let upload = upload("artifacts/a.txt");
                other.upload(&id, upload, &body).await.unwrap();
                Ok(())
            });
            let body = staged(&two.one, b"ours").await;
            let lost = two.one.upload(&two.id, upload("artifacts/a.txt"), &body);
            let lost = lost.await.unwrap_err();
            assert!(matches!(lost, ExecutionError::Uploaded(_)), "{lost}");
            let done = two.complete(&two.one).await.unwrap();
            two.expect_valid(done.pack_id.unwrap()).await;
            assert_eq!(text(&two.other, &two.id, Log::Stdout).await, whole);
        }
    });
}

#[test]
fn the_same_words_of_two_writers_are_in_the_log_twice() {
    block_on(async {
        let two = Two::over(MemoryStore::new()).await;
        append(&two.one, &two.id, "").await.unwrap();
        append(&two.other, &two.id, "tick\n").await.unwrap();
        // This server does not know of that yet.
        append(&two.one, &two.id, "tick\n").await.unwrap();
        assert_eq!(text(&two.one, &two.id, Log::Stdout).await, "tick\ntick\n");
        // With an offset it is one part that was sent again.
        let bytes = Bytes::from_static(b"tick\n");
        let again = two.one.append(&two.id, Log::Stdout, Some(5), bytes).await;
        assert!(!again.unwrap().is_new);
        assert_eq!(text(&two.one, &two.id, Log::Stdout).await, "tick\ntick\n");
    });
}

#[test]
fn what_can_be_no_pack_is_told_before_the_end_is_written() {
    block_on(async {
        let two = Two::over(MemoryStore::new()).await;
        for name in ["artifacts/report.txt", "artifacts/Report.txt"] {
            let body = staged(&two.one, b"a").await;
            two.one.upload(&two.id, upload(name), &body).await.unwrap();
        }
        let refused = two.complete(&two.one).await.unwrap_err();
        assert!(matches!(refused, ExecutionError::Manifest(_)), "{refused}");
        let status = two.one.status(&two.id).await.unwrap();
        assert_eq!(status.state, State::Open);
        let body = staged(&two.one, b"a").await;
        let spec = NewUpload {
            kind: "spec".parse().unwrap(),
            ..upload("artifacts/spec.json")
        };
        let refused = two.one.upload(&two.id, spec, &body).await.unwrap_err();
        assert!(matches!(refused, ExecutionError::Manifest(_)), "{refused}");
    });
}

#[test]
fn a_log_and_a_list_that_are_full_take_no_more_and_still_make_a_pack() {
    block_on(async {
        let (store, directory) = (Arc::new(MemoryStore::new()), scratch());
        let executions = executions(&store, &directory);
        let limits = ExecutionLimits {
            log_parts_max: 2,
            artifacts_max: 2,
            ..ExecutionLimits::default()
        };
        let executions = Arc::into_inner(executions).unwrap();
        let executions = Arc::new(executions.with_limits(limits, Limits::default()));
        let id = executions.open(open(), "token:bench").await.unwrap();
        let id = id.execution_id;
        for number in 0..3 {
            let appended = append(&executions, &id, "line\n").await;
            let body = staged(&executions, b"a").await;
            let name = format!("artifacts/{number}");
            let uploaded = executions.upload(&id, upload(&name), &body).await;
            assert_eq!(appended.is_ok(), number < 2, "{appended:?}");
            assert_eq!(uploaded.is_ok(), number < 2, "{uploaded:?}");
        }
        let done = end(&executions, &id, &Expected::new()).await;
        assert!(done.unwrap().pack_id.is_some());
    });
}

#[test]
fn s07_a_large_artifact_is_held_against_its_own_bytes_and_not_against_the_stores_word() {
    block_on(async {
        let two = Two::over(MemoryStore::new()).await;
        let (sent, forged) = (vec![7u8; 9 << 20], vec![8u8; 9 << 20]);
        let name = "artifacts/large.bin";
        let body = staged(&two.one, &sent).await;
        let (note, _) = two.one.upload(&two.id, upload(name), &body).await.unwrap();
        // The store gives other bytes, and a note with their digests that names ours for the whole.
        let other = staged(&two.one, &forged).await;
        let mut lie = serde_json::to_value(Uploaded::new(upload(name), &other)).unwrap();
        lie["sha256"] = serde_json::to_value(note.sha256).unwrap();
        let key = LiveObject::Upload {
            name: Digest::of(name.as_bytes()),
        };
        let key = Executions::live(&two.id, key).unwrap();
        two.store.tamper(key.as_str(), Some(lie.to_string().into()));
        let at = Executions::artifact(&two.id, &name.parse().unwrap()).unwrap();
        two.store.tamper(at.as_str(), Some(forged.into()));
        let expected = Expected::from([(name.parse().unwrap(), note.sha256)]);
        let refused = end(&two.one, &two.id, &expected).await.unwrap_err();
        assert!(
            matches!(refused, ExecutionError::Unexpected(_)),
            "{refused}"
        );
        assert_eq!(two.one.status(&two.id).await.unwrap().state, State::Open);
        // With the right bytes back it is what was expected.
        two.store.tamper(at.as_str(), Some(sent.into()));
        let note = serde_json::to_vec(&note).unwrap();
        two.store.tamper(key.as_str(), Some(note.into()));
        let done = end(&two.one, &two.id, &expected).await;
        two.expect_valid(done.unwrap().pack_id.unwrap()).await;
    });
}

#[test]
fn s03_what_the_store_added_is_not_taken_for_the_clients() {
    block_on(async {
        let two = Two::over(MemoryStore::new()).await;
        for name in ["artifacts/ours.txt", "artifacts/added.txt"] {
            let body = staged(&two.one, b"a").await;
            two.one.upload(&two.id, upload(name), &body).await.unwrap();
        }
        let expected = Expected::from([("artifacts/ours.txt".parse().unwrap(), Digest::of(b"a"))]);
        let refused = end(&two.one, &two.id, &expected).await.unwrap_err();
        assert!(refused.to_string().contains("added.txt"), "{refused}");
    });
}

#[test]
fn what_was_live_stays_until_the_manifest_is_in_the_store_itself() {
    block_on(async {
        // Behind a spool the keeper is another store than the one that is written to.
        let (front, behind) = (Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()));
        let directory = scratch();
        let executions = made(front.clone(), &behind, &directory);
        let id = executions.open(open(), "token:bench").await.unwrap();
        let id = id.execution_id;
        append(&executions, &id, "one\n").await.unwrap();
        let mirror = |only: &str| {
            for (key, bytes) in front.snapshot() {
                if key.contains(only) {
                    behind.tamper(&key, Some(bytes));
                }
            }
        };
        mirror("_runpack/live/");
        end(&executions, &id, &Expected::new()).await.unwrap();
        let live = || {
            let keys = behind.snapshot().into_keys();
            keys.filter(|key| key.contains("/logs/")).count()
        };
        executions.sweep().await;
        assert_eq!(live(), 1);
        mirror("/manifest.json");
        executions.sweep().await;
        assert_eq!(live(), 0);
    });
}
