//! A store that is read through its replicas where it is away.

use std::io::ErrorKind;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use runpack_core::commitment::CHUNK_BYTES;
use runpack_core::key::{KeyPrefix, Location, ObjectKey};
use runpack_core::limits::Limits;
use runpack_core::manifest::Manifest;
use runpack_core::pin::Pins;
use runpack_core::store::failover::{FailoverReader, FailoverSettings, Role, Source};
use runpack_core::store::{
    ArtifactReader, ArtifactSink, ArtifactWriter, Declared, Holding, HoldingStream, Housekeeping,
    ListStream, MemoryStore, ObjectBody, ObjectRef, ObjectStat, Protection, Receipt, StoreError,
};
use runpack_core::time::Timestamp;
use runpack_core::verify::{Code, Pack, StorePack, Verdict, VerifyOptions, VerifyReport};
use runpack_testing::conformance::Subject;
use runpack_testing::{Lie, LyingStore, block_on, conformance};

use super::bucket::{export, subject};

/// How a store is away.
#[derive(Debug, Clone, Copy)]
enum Away {
    Unreachable,
    /// It takes requests and never answers.
    Silent,
    Denied,
}

/// A store that is away, and counts who asks.
#[derive(Debug)]
struct AwayStore {
    how: Away,
    asked: AtomicU64,
}

impl AwayStore {
    fn new(how: Away) -> Arc<Self> {
        Arc::new(Self {
            how,
            asked: AtomicU64::new(0),
        })
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    async fn fail<T>(&self, key: &str) -> Result<T, StoreError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match self.how {
            Away::Silent => std::future::pending().await,
            Away::Unreachable => Err(StoreError::Unreachable {
                reason: "nothing listens".to_owned(),
            }),
            Away::Denied => Err(StoreError::Denied {
                action: "reading",
                key: key.to_owned(),
                code: "AccessDenied".to_owned(),
            }),
        }
    }
}

#[async_trait]
impl ArtifactReader for AwayStore {
    async fn open(&self, object: &ObjectRef, _: Range<u64>) -> Result<ObjectBody, StoreError> {
        self.fail(object.key.as_str()).await
    }

    async fn stat(&self, object: &ObjectRef) -> Result<ObjectStat, StoreError> {
        self.fail(object.key.as_str()).await
    }

    fn list(&self, prefix: &KeyPrefix) -> ListStream {
        let (how, prefix) = (self.how, prefix.as_str().to_owned());
        self.asked.fetch_add(1, Ordering::SeqCst);
        let failed = async move {
            let store = AwayStore::new(how);
            store.fail(&prefix).await
        };
        stream::once(failed).boxed()
    }

    async fn versions(&self, key: &ObjectKey) -> Result<Vec<ObjectStat>, StoreError> {
        self.fail(key.as_str()).await
    }

    fn storage_uri(&self, key: &ObjectKey) -> String {
        format!("away://{key}")
    }
}

fn impatient() -> FailoverSettings {
    let mut settings = FailoverSettings::default();
    settings.answer_within = Duration::from_millis(200);
    settings.leave_alone_for = Duration::from_hours(1);
    settings
}

/// Written to `sink`, read through a failover: what the conformance suite can be run against.
#[derive(Debug)]
struct ReadThrough {
    sink: MemoryStore,
    reader: FailoverReader,
}

impl ReadThrough {
    /// The store is the primary, and its replica has nothing.
    fn of_primary() -> Self {
        let sink = MemoryStore::new();
        let sources = vec![
            Source::primary("eu", Arc::new(sink.clone())),
            Source::replica("us", Arc::new(MemoryStore::new())),
        ];
        Self {
            reader: FailoverReader::new(sources, impatient()),
            sink,
        }
    }

    /// The store is the replica of a primary that is away.
    fn of_replica(how: Away) -> Self {
        let sink = MemoryStore::new();
        let sources = vec![
            Source::primary("eu", AwayStore::new(how)),
            Source::replica("us", Arc::new(sink.clone())),
        ];
        Self {
            reader: FailoverReader::new(sources, impatient()),
            sink,
        }
    }
}

#[async_trait]
impl ArtifactReader for ReadThrough {
    async fn open(&self, object: &ObjectRef, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        self.reader.open(object, range).await
    }

    async fn stat(&self, object: &ObjectRef) -> Result<ObjectStat, StoreError> {
        self.reader.stat(object).await
    }

    fn list(&self, prefix: &KeyPrefix) -> ListStream {
        self.reader.list(prefix)
    }

    async fn versions(&self, key: &ObjectKey) -> Result<Vec<ObjectStat>, StoreError> {
        self.reader.versions(key).await
    }

    fn storage_uri(&self, key: &ObjectKey) -> String {
        self.reader.storage_uri(key)
    }
}

#[async_trait]
impl ArtifactSink for ReadThrough {
    async fn create(
        &self,
        key: &ObjectKey,
        declared: Declared,
    ) -> Result<Box<dyn ArtifactWriter>, StoreError> {
        self.sink.create(key, declared).await
    }

    async fn find(
        &self,
        key: &ObjectKey,
        declared: &Declared,
    ) -> Result<Option<Receipt>, StoreError> {
        self.sink.find(key, declared).await
    }
}

#[async_trait]
impl Housekeeping for ReadThrough {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.sink.now().await
    }

    fn holdings(&self, prefix: &KeyPrefix) -> HoldingStream {
        self.sink.holdings(prefix)
    }

    async fn remove(&self, holding: &Holding) -> Result<(), StoreError> {
        self.sink.remove(holding).await
    }

    async fn protected(
        &self,
        objects: &[ObjectRef],
        now: Timestamp,
    ) -> Result<Option<(ObjectRef, Protection)>, StoreError> {
        self.sink.protected(objects, now).await
    }
}

conformance!(failover, async || Subject::new(ReadThrough::of_primary()));

// Of a replica only what is there can be told: the cases about what is not there have their own test below.
conformance!(
    failover_of_one_that_is_unreachable,
    async || Subject::new(ReadThrough::of_replica(Away::Unreachable)),
    ranges
    pieces_of_any_size
    listing_is_under_its_prefix
);
conformance!(
    failover_of_one_that_is_silent,
    async || Subject::new(ReadThrough::of_replica(Away::Silent)),
    ranges
    pieces_of_any_size
    listing_is_under_its_prefix
);

async fn pack_in(stores: &[&MemoryStore]) -> Arc<Manifest> {
    let mut manifest = None;
    for store in stores {
        let store = Arc::new((*store).clone());
        manifest = Some(export(store, "run", 1).await.unwrap());
    }
    manifest.unwrap()
}

async fn verify(reader: &FailoverReader, pins: &Pins) -> VerifyReport {
    let place = Arc::new(StorePack::new(Arc::new(reader.clone()), subject("run")));
    match Pack::open(place, &Limits::default()).await {
        Ok(pack) => pack.verify(pins, &VerifyOptions::default()).await,
        Err(report) => *report,
    }
}

fn primary(store: impl ArtifactReader + 'static) -> Source {
    Source::primary("eu", Arc::new(store))
}

fn replica(name: &str, store: impl ArtifactReader + 'static) -> Source {
    Source::replica(name, Arc::new(store))
}

#[test]
fn a_primary_that_answers_is_the_only_one_that_is_read() {
    block_on(async {
        let (eu, us) = (MemoryStore::new(), MemoryStore::new());
        let manifest = pack_in(&[&eu, &us]).await;
        let reader = FailoverReader::new(vec![primary(eu), replica("us", us)], impatient());
        let report = verify(&reader, &Pins::pack_id(manifest.pack_id())).await;
        assert_eq!(report.verdict, Verdict::Valid, "{:?}", report.findings);
        let account = reader.account();
        assert!(account[0].bytes > 2 * CHUNK_BYTES);
        assert!(!account[1].gave_something());
    });
}

#[test]
fn one_that_is_away_costs_one_deadline_and_not_one_for_each_object() {
    for how in [Away::Unreachable, Away::Silent] {
        block_on(async {
            let us = MemoryStore::new();
            let manifest = pack_in(&[&us]).await;
            let away = AwayStore::new(how);
            let sources = vec![Source::primary("eu", away.clone()), replica("us", us)];
            let reader = FailoverReader::new(sources, impatient());
            let pins = Pins::pack_id(manifest.pack_id());
            for _ in 0..3 {
                let report = verify(&reader, &pins).await;
                assert_eq!(report.verdict, Verdict::Valid, "{:?}", report.findings);
            }
            assert_eq!(away.asked(), 1, "{how:?}");
            let account = reader.account();
            assert_eq!((account[0].bytes, account[0].failures), (0, 1));
            assert_eq!(account[1].role, Role::Replica);
            assert!(account[1].bytes > 6 * CHUNK_BYTES);
        });
    }
}

#[test]
fn absence_in_a_replica_is_not_absence() {
    block_on(async {
        let sources = vec![
            Source::primary("eu", AwayStore::new(Away::Unreachable)),
            replica("us", MemoryStore::new()),
        ];
        let reader = FailoverReader::new(sources, impatient());
        let report = verify(&reader, &Pins::none()).await;
        assert_eq!(report.verdict, Verdict::Undecided, "{:?}", report.findings);
        assert_eq!(report.findings[0].code, Code::ManifestUnread);
        // Nor is it where nobody knows the primary.
        let alone = FailoverReader::new(vec![replica("us", MemoryStore::new())], impatient());
        assert_eq!(
            verify(&alone, &Pins::none()).await.verdict,
            Verdict::Undecided
        );
        // An artifact that only the replica lacks makes nothing invalid either.
        let us = MemoryStore::new();
        let manifest = pack_in(&[&us]).await;
        let lacking = LyingStore::new(Arc::new(us), Lie::Hide).about_suffix("middle.bin");
        let sources = vec![
            Source::primary("eu", AwayStore::new(Away::Unreachable)),
            replica("us", lacking),
        ];
        let reader = FailoverReader::new(sources, impatient());
        let report = verify(&reader, &Pins::pack_id(manifest.pack_id())).await;
        assert_eq!(report.verdict, Verdict::Undecided, "{:?}", report.findings);
        assert!(
            report.findings[0].detail.contains("replica `us`"),
            "{:?}",
            report.findings
        );
    });
}

#[test]
fn what_the_primary_says_stands_unless_a_caller_says_otherwise() {
    block_on(async {
        let us = MemoryStore::new();
        let manifest = pack_in(&[&us]).await;
        let pins = Pins::pack_id(manifest.pack_id());
        let denied = || Source::primary("eu", AwayStore::new(Away::Denied));
        let missing = || primary(MemoryStore::new());
        let none = impatient();
        let (mut where_denied, mut where_missing) = (impatient(), impatient());
        where_denied.where_denied = true;
        where_missing.where_missing = true;
        for (source, settings, verdict) in [
            (denied(), none.clone(), Verdict::Undecided),
            (denied(), where_missing.clone(), Verdict::Undecided),
            (denied(), where_denied.clone(), Verdict::Valid),
            (missing(), none, Verdict::Invalid),
            (missing(), where_denied, Verdict::Invalid),
            (missing(), where_missing.clone(), Verdict::Valid),
        ] {
            let sources = vec![source, replica("us", us.clone())];
            let reader = FailoverReader::new(sources, settings.clone());
            let report = verify(&reader, &pins).await;
            assert_eq!(
                report.verdict, verdict,
                "{settings:?} {:?}",
                report.findings
            );
        }
        // "Not there" that no replica contradicts stays what it is.
        let sources = vec![missing(), replica("us", MemoryStore::new())];
        let reader = FailoverReader::new(sources, where_missing);
        assert_eq!(verify(&reader, &pins).await.verdict, Verdict::Invalid);
    });
}

#[test]
fn a_chunk_that_breaks_off_comes_whole_from_a_replica() {
    block_on(async {
        let (eu, us) = (MemoryStore::new(), MemoryStore::new());
        let manifest = pack_in(&[&eu, &us]).await;
        let broken = Lie::FailAfter(300_000, ErrorKind::ConnectionReset);
        let broken = LyingStore::new(Arc::new(eu), broken).about_suffix("large.bin");
        let reader = FailoverReader::new(vec![primary(broken), replica("us", us)], impatient());
        let report = verify(&reader, &Pins::pack_id(manifest.pack_id())).await;
        assert_eq!(report.verdict, Verdict::Valid, "{:?}", report.findings);
        let account = reader.account();
        assert!(
            account[0].failures > 0 && account[1].bytes >= CHUNK_BYTES,
            "{account:?}"
        );
    });
}

#[test]
fn a_hostile_replica_is_named_and_set_aside() {
    block_on(async {
        let us = MemoryStore::new();
        let manifest = pack_in(&[&us]).await;
        let pins = Pins::pack_id(manifest.pack_id());
        let artifact = |name: &str| {
            let mut artifacts = manifest.artifacts().iter();
            let artifact = artifacts.find(|one| one.name().as_str() == name).unwrap();
            let location =
                Location::artifact(manifest.subject(), artifact.name(), artifact.commitment());
            location.key().unwrap()
        };
        let hostile =
            LyingStore::new(Arc::new(us.clone()), Lie::FlipBit(7)).about_suffix("large.bin");
        let sources = vec![
            Source::primary("eu", AwayStore::new(Away::Unreachable)),
            replica("hostile", hostile),
            replica("honest", us),
        ];
        let reader = FailoverReader::new(sources, impatient());
        let report = verify(&reader, &pins).await;
        assert_eq!(report.verdict, Verdict::Invalid);
        assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
        assert_eq!(report.findings[0].damaged_chunks, [0]);
        assert_eq!(
            reader.blame(&artifact("large.bin"), &[0]),
            [Arc::from("hostile")]
        );
        // The other replica gave nothing, and a chunk that nobody read has no author.
        assert!(reader.blame(&artifact("large.bin"), &[1]).is_empty());
        reader.set_aside("hostile", "artifact.digest large.bin");
        let report = verify(&reader, &pins).await;
        assert_eq!(report.verdict, Verdict::Valid, "{:?}", report.findings);
        let account = reader.account();
        assert_eq!(
            account[1].set_aside.as_deref(),
            Some("artifact.digest large.bin")
        );
        assert!(account[2].bytes > 2 * CHUNK_BYTES);
        // A primary is never set aside.
        reader.set_aside("eu", "x");
        assert_eq!(reader.account()[0].set_aside, None);
    });
}

#[test]
fn a_replicas_oldest_manifest_counts() {
    block_on(async {
        let us = MemoryStore::versioned();
        let manifest = pack_in(&[&us]).await;
        let key = Location::manifest(manifest.subject()).key().unwrap();
        let later = "{\"other\":1}";
        us.put(&key, later.into(), Declared::of(later.as_bytes()))
            .await
            .unwrap();
        assert_eq!(us.versions(&key).await.unwrap().len(), 2);
        let sources = vec![
            Source::primary("eu", AwayStore::new(Away::Unreachable)),
            replica("us", us),
        ];
        let reader = FailoverReader::new(sources, impatient());
        let mut body = reader.open(&key.clone().into(), 0..u64::MAX).await.unwrap();
        let mut read = Vec::new();
        while let Some(piece) = body.next().await {
            read.extend_from_slice(&piece.unwrap());
        }
        assert_eq!(read, *manifest.to_bytes());
        // Its versions are its own: each is asked of it and of no other.
        for stat in reader.versions(&key).await.unwrap() {
            let object = ObjectRef {
                key: key.clone(),
                version: stat.version,
            };
            assert_eq!(reader.stat(&object).await.unwrap().bytes, stat.bytes);
        }
    });
}

#[test]
fn a_bundle_is_of_one_source_from_its_first_byte() {
    block_on(async {
        let key = format!("2026/11/run/{}.tar.gz", "a".repeat(64));
        let key = Location::parse(&key).unwrap().key().unwrap();
        let (eu, us) = (MemoryStore::new(), MemoryStore::new());
        for (store, byte) in [(&eu, b'e'), (&us, b'u')] {
            let bytes = vec![byte; 1_000];
            let declared = Declared::of(&bytes);
            store.put(&key, bytes.into(), declared).await.unwrap();
        }
        let broken = Lie::FailAfter(400, ErrorKind::ConnectionReset);
        let broken = LyingStore::new(Arc::new(eu), broken);
        let reader = FailoverReader::new(vec![primary(broken), replica("us", us)], impatient());
        let object = ObjectRef::from(key);
        let mut body = reader.open(&object, 0..u64::MAX).await.unwrap();
        assert_eq!(body.next().await.unwrap().unwrap()[0], b'e');
        assert!(body.next().await.unwrap().is_err());
        // It does not go on in the middle from another source; it begins again there.
        assert!(reader.open(&object, 400..u64::MAX).await.is_err());
        let mut body = reader.open(&object, 0..u64::MAX).await.unwrap();
        assert_eq!(body.next().await.unwrap().unwrap()[0], b'u');
        assert!(reader.open(&object, 400..u64::MAX).await.is_ok());
    });
}

#[test]
fn a_listing_is_of_one_source_and_said_whose_it_was() {
    block_on(async {
        let us = MemoryStore::new();
        pack_in(&[&us]).await;
        let sources = vec![
            Source::primary("eu", AwayStore::new(Away::Silent)),
            replica("us", us),
        ];
        let reader = FailoverReader::new(sources, impatient());
        let listed: Vec<_> = reader.list(&KeyPrefix::all()).try_collect().await.unwrap();
        assert_eq!(listed.len(), 4);
        assert_eq!(reader.account()[1].listings, 1);
        let none = FailoverReader::new(
            vec![Source::primary("eu", AwayStore::new(Away::Unreachable))],
            impatient(),
        );
        let listed: Result<Vec<_>, _> = none.list(&KeyPrefix::all()).try_collect().await;
        assert!(listed.is_err());
    });
}
