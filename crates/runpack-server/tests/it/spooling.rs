//! What the store does not take now is taken later, and nothing is lost.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a failed assertion is how a test speaks, and what was counted is printed"
)]

mod conflicts;
mod lives;
pub(crate) mod outage;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use runpack_core::key::{KeyPrefix, Location, ObjectKey};
use runpack_core::limits::Limits;
use runpack_core::manifest::{Producer, Subject};
use runpack_core::pack::{NewArtifact, PackDraft};
use runpack_core::pin::Pins;
use runpack_core::store::{
    ArtifactReader as _, ArtifactSink as _, BytesSource, Declared, FileStore, MemoryStore, Outcome,
    Receipt, Store, StoreError,
};
use runpack_core::time::{Clock, FixedClock, Timestamp};
use runpack_core::verify::{Pack, StorePack, Verdict, VerifyOptions};
use runpack_server::spool::{
    Backlog, Mirror, SpoolError, SpoolFull, SpoolSettings, SpoolStore, Standing,
};
use runpack_testing::{block_on, conformance, scratch};

use self::outage::{Mode, Outage};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_mins(2);

fn settings() -> SpoolSettings {
    let mut settings = SpoolSettings::default();
    settings.backoff = Duration::from_millis(1);
    settings.backoff_max = Duration::from_millis(8);
    settings.reserve_bytes = 0;
    settings.ask_within = LONG;
    settings.send_within = LONG;
    settings.seed = Some(7);
    settings
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(FixedClock("2026-11-20T12:00:00Z".parse().unwrap()))
}

async fn open(dir: &Path, remote: Arc<dyn Store>) -> (SpoolStore, Mirror) {
    open_with(dir, remote, settings()).await
}

async fn open_with(
    dir: &Path,
    remote: Arc<dyn Store>,
    settings: SpoolSettings,
) -> (SpoolStore, Mirror) {
    SpoolStore::open(dir, remote, settings, clock())
        .await
        .unwrap()
}

fn key(text: &str) -> ObjectKey {
    Location::parse(text).unwrap().key().unwrap()
}

/// An object of an execution.
fn of_execution(number: u64, name: &str) -> ObjectKey {
    key(&format!(
        "executions/01ARZ3NDEKTSV4RRFFQ69{number:05}/{name}"
    ))
}

async fn put(
    store: &dyn Store,
    key: &ObjectKey,
    bytes: &'static str,
) -> Result<Receipt, StoreError> {
    let bytes = Bytes::from_static(bytes.as_bytes());
    let declared = Declared::of(&bytes);
    store.put(key, bytes, declared).await
}

async fn read(store: &dyn Store, key: &ObjectKey) -> Result<Bytes, StoreError> {
    let mut body = store.open(&key.clone().into(), 0..u64::MAX).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes.into())
}

/// The next of a series of numbers that look random.
fn draw(state: &mut u64, below: u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % below
}

fn assert_empty(backlog: &Backlog) {
    assert_eq!(
        (backlog.objects, backlog.bytes, backlog.oldest),
        (0, 0, None),
        "{backlog:?}"
    );
}

macro_rules! conforming {
    ($name:ident, $make:expr) => {
        // Without `holdings_are_told_and_removed`: a spool tells no holdings and removes nothing for anybody, since what
        // is removed in the store would come back from the spool.
        conformance!($name, $make,
            same_bytes_again_are_success other_bytes_never_replace nothing_before_commit
            nothing_after_drop_or_abort declared_is_checked one_winner_among_equal_writers
            one_winner_among_different_writers many_commits_at_once a_dropped_commit_hangs_nobody
            more_than_two_chunks no_bytes_at_all pieces_of_any_size ranges what_is_not_there
            stat_and_versions listing_is_under_its_prefix a_source_is_sent
            a_source_that_changed_is_refused what_is_there_is_found);
    };
}

conforming!(spool_that_waits, async || {
    let dir = scratch();
    let (spool, mirror) = open(dir.path(), Arc::new(MemoryStore::new())).await;
    conformance::Subject::keeping(Outage::of(spool), (dir, mirror))
});

// The cases that never ask for what is not there: while the store is away nobody can tell.
conformance!(spool_of_a_store_that_is_away, async || {
    let dir = scratch();
    let remote = Outage::of(MemoryStore::new());
    remote.set(Mode::Away);
    let (spool, mirror) = open(dir.path(), Arc::new(remote)).await;
    conformance::Subject::keeping(Outage::of(spool), (dir, mirror))
}, same_bytes_again_are_success other_bytes_never_replace one_winner_among_equal_writers
    one_winner_among_different_writers many_commits_at_once a_dropped_commit_hangs_nobody
    more_than_two_chunks no_bytes_at_all pieces_of_any_size ranges a_source_is_sent);

conforming!(spool_that_is_mirrored, async || {
    let dir = scratch();
    let (spool, mut mirror) = open(dir.path(), Arc::new(MemoryStore::new())).await;
    tokio::spawn(async move { mirror.run(std::future::pending()).await });
    conformance::Subject::keeping(Outage::of(spool), dir)
});

#[test]
fn c32_n01_n02_a_store_that_is_away_for_all_writes_gets_them_in_order() {
    block_on(async {
        let (dir, memory) = (scratch(), MemoryStore::new());
        let remote = Arc::new(Outage::of(memory.clone()));
        remote.set(Mode::Away);
        let (spool, mut mirror) = open(dir.path(), remote.clone()).await;
        let mut written = BTreeMap::new();
        for number in 0..40 {
            for name in [
                "metadata.json",
                "artifacts/a",
                "artifacts/b",
                "manifest.json",
            ] {
                let key = of_execution(number, name);
                let receipt = put(&spool, &key, name).await.unwrap();
                assert_eq!(receipt.outcome, Outcome::Created);
                written.insert(key.to_string(), Bytes::from(name));
            }
        }
        // One write asked the store, and learned that it is away; the others cost nothing.
        assert_eq!(remote.calls(), 1);
        let backlog = spool.backlog();
        assert_eq!((backlog.objects, backlog.conflicts), (160, 0));
        assert_eq!(backlog.oldest, Some(clock().now()));
        assert!(matches!(&backlog.store, Standing::Away { error, .. } if error.contains("out")));
        // It is served meanwhile.
        let some = of_execution(3, "artifacts/a");
        assert_eq!(read(&spool, &some).await.unwrap(), "artifacts/a");
        // The mirror tries, and nothing is lost by that.
        let backlog = mirror.drain(Duration::from_millis(50)).await;
        assert_eq!(backlog.objects, 160);
        remote.set(Mode::Well);
        let backlog = mirror.drain(LONG).await;
        assert_empty(&backlog);
        assert_eq!(backlog.store, Standing::Reachable);
        assert_eq!(backlog.last_error, None);
        assert_eq!(memory.snapshot(), written);
        assert_commits_last(&remote.writes());
        assert_eq!(read(&spool, &some).await.unwrap(), "artifacts/a");
        let left = FileStore::open(&dir.path().join("objects")).await.unwrap();
        assert_eq!(listed(&left).await, Vec::<String>::new());
    });
}

async fn listed(store: &dyn Store) -> Vec<String> {
    use futures_util::StreamExt as _;
    let entries = store.list(&KeyPrefix::all());
    let mut keys: Vec<String> = entries.map(|entry| entry.unwrap().key).collect().await;
    keys.sort();
    keys
}

/// In the order of `writes`, every manifest comes after all else below its directory.
fn assert_commits_last(writes: &[String]) {
    for (at, key) in writes.iter().enumerate() {
        if let Some(below) = key.strip_suffix("manifest.json") {
            let late = writes[at..]
                .iter()
                .find(|other| other.starts_with(below) && *other != key);
            assert_eq!(late, None, "after `{key}`");
        }
    }
}

fn subject() -> Subject {
    Subject::Run {
        tenant: "acme".parse().unwrap(),
        namespace: "prod".parse().unwrap(),
        scenario: "loan-approval".parse().unwrap(),
        run_id: "run-1".parse().unwrap(),
        spec_hash: format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
    }
}

#[test]
fn a_pack_that_was_committed_while_the_store_was_away_is_valid_there() {
    block_on(async {
        let dir = scratch();
        let memory = Arc::new(MemoryStore::new());
        let remote = Arc::new(Outage::of((*memory).clone()));
        remote.set(Mode::Away);
        let (spool, mut mirror) = open(dir.path(), remote.clone()).await;
        let producer = Producer {
            name: "test".parse().unwrap(),
            version: "1".parse().unwrap(),
        };
        let mut draft = PackDraft::new(subject(), clock().now(), producer);
        for (name, bytes) in [("a.json", 10), ("b.bin", 3 << 20), ("c.bin", (8 << 20) + 9)] {
            let source = Arc::new(BytesSource(vec![5; bytes].into()));
            let (kind, media_type) = ("trace", "application/octet-stream");
            draft.add(NewArtifact::new(
                name.parse().unwrap(),
                kind.parse().unwrap(),
                media_type.parse().unwrap(),
                source,
            ));
        }
        let staged = draft.stage(Arc::new(spool.for_writing())).await.unwrap();
        let committed = staged.commit().await.unwrap();
        // What lists for people does not take a hint for an answer.
        let mut listing = spool.list(&KeyPrefix::all());
        let mut last = None;
        while let Some(entry) = futures_util::StreamExt::next(&mut listing).await {
            last = Some(entry);
        }
        assert!(matches!(last, Some(Err(StoreError::Unavailable { .. }))));
        assert_eq!(memory.snapshot().len(), 0);
        remote.set(Mode::Well);
        assert_empty(&mirror.drain(LONG).await);
        let place = Arc::new(StorePack::new(memory, subject()));
        let pack = Pack::open(place, &Limits::default()).await.unwrap();
        let pins = Pins::pack_id(committed.manifest.pack_id());
        let report = pack.verify(&pins, &VerifyOptions::default()).await;
        assert_eq!(report.verdict, Verdict::Valid, "{:?}", report.findings);
    });
}

#[test]
fn w10_n04_n05_an_answer_that_was_lost_is_found_out_to_have_been_a_success() {
    block_on(async {
        let (dir, memory) = (scratch(), MemoryStore::new());
        let remote = Arc::new(Outage::of(memory.clone()));
        let (spool, mut mirror) = open(dir.path(), remote.clone()).await;
        let key = of_execution(1, "metadata.json");
        remote.set(Mode::AnswersLost);
        put(&spool, &key, "once").await.unwrap();
        let backlog = mirror.drain(Duration::from_millis(30)).await;
        // It is there, and nobody says so before the store does.
        assert_eq!((memory.snapshot().len(), backlog.objects), (1, 1));
        assert!(remote.writes().len() > 1);
        remote.set(Mode::Well);
        assert_empty(&mirror.drain(LONG).await);
        assert_eq!(memory.snapshot()[key.as_str()], "once");
    });
}

#[test]
fn c32_a_full_spool_refuses_and_leaves_nothing_half_written() {
    let full = |refused: Result<Receipt, StoreError>| {
        let Err(StoreError::Unavailable { source, .. }) = refused else {
            panic!("{refused:?}");
        };
        *source.downcast::<SpoolFull>().unwrap()
    };
    block_on(async {
        let (mut few_bytes, mut few_objects) = (settings(), settings());
        few_bytes.bytes_max = 9;
        few_objects.objects_max = 2;
        for (settings, expected) in [
            (few_bytes, SpoolFull::Bytes { max: 9 }),
            (few_objects, SpoolFull::Objects { max: 2 }),
        ] {
            let dir = scratch();
            let remote = Arc::new(Outage::of(MemoryStore::new()));
            remote.set(Mode::Away);
            let (spool, mut mirror) = open_with(dir.path(), remote.clone(), settings).await;
            let keys = [1, 2, 3].map(|number| of_execution(number, "metadata.json"));
            put(&spool, &keys[0], "four").await.unwrap();
            put(&spool, &keys[1], "four").await.unwrap();
            let refused = full(put(&spool, &keys[2], "four").await);
            assert_eq!(refused, expected);
            assert!(!spool.backlog().has_room);
            // A write whose size is only declared is counted from its beginning.
            let declared = Declared::of(b"four");
            let refused = spool.create(&keys[2], declared).await;
            assert!(matches!(refused, Err(StoreError::Unavailable { .. })));
            assert!(!dir.path().join("objects").join(keys[2].as_str()).exists());
            // What is there already may be said again.
            let again = put(&spool, &keys[0], "four").await.unwrap();
            assert_eq!(again.outcome, Outcome::AlreadyThere);
            remote.set(Mode::Well);
            assert_empty(&mirror.drain(LONG).await);
            put(&spool, &keys[2], "four").await.unwrap();
        }
        let (dir, mut settings) = (scratch(), settings());
        settings.reserve_bytes = u64::MAX;
        let remote = Arc::new(Outage::of(MemoryStore::new()));
        let (spool, _mirror) = open_with(dir.path(), remote.clone(), settings).await;
        assert!(!spool.backlog().has_room);
        remote.set(Mode::Away);
        let refused = full(put(&spool, &of_execution(1, "metadata.json"), "x").await);
        assert_eq!(refused, SpoolFull::Disk { reserve: u64::MAX });
        // It needs no room while the store answers, and the first write finds out that it does.
        remote.set(Mode::Well);
        put(&spool, &of_execution(1, "metadata.json"), "x")
            .await
            .unwrap();
    });
}

#[test]
fn c32_a_store_that_hangs_costs_one_write_its_patience_and_the_others_nothing() {
    block_on(async {
        let (dir, memory) = (scratch(), MemoryStore::new());
        let remote = Arc::new(Outage::of(memory.clone()));
        remote.set(Mode::Hangs);
        let mut settings = settings();
        settings.ask_within = Duration::from_millis(5);
        settings.send_within = Duration::from_millis(5);
        let (spool, mut mirror) = open_with(dir.path(), remote.clone(), settings).await;
        for number in 0..50 {
            put(&spool, &of_execution(number, "metadata.json"), "x")
                .await
                .unwrap();
        }
        assert_eq!(remote.calls(), 1);
        assert_eq!(mirror.drain(Duration::from_millis(60)).await.objects, 50);
        remote.set(Mode::Well);
        assert_empty(&mirror.drain(LONG).await);
        assert_eq!(memory.snapshot().len(), 50);
    });
}

#[test]
fn n03_an_object_that_the_store_refuses_holds_up_no_other_and_is_told() {
    block_on(async {
        let (dir, memory) = (scratch(), MemoryStore::new());
        let remote = Arc::new(Outage::of(memory.clone()));
        let (spool, mut mirror) = open(dir.path(), remote.clone()).await;
        remote.set(Mode::Away);
        let (poison, manifest) = (
            of_execution(0, "artifacts/poison"),
            of_execution(0, "manifest.json"),
        );
        put(&spool, &poison, "x").await.unwrap();
        put(&spool, &manifest, "x").await.unwrap();
        for number in 1..50 {
            put(&spool, &of_execution(number, "metadata.json"), "x")
                .await
                .unwrap();
        }
        remote.set(Mode::Denies("artifacts/poison"));
        let until = async {
            while memory.snapshot().len() < 49 {
                tokio::task::yield_now().await;
            }
        };
        mirror.run(until).await;
        // What is refused waits, and so does what commits to it.
        let backlog = mirror.drain(Duration::from_millis(30)).await;
        assert_eq!((backlog.objects, backlog.conflicts), (2, 0));
        assert_eq!(backlog.store, Standing::Reachable);
        let told = backlog.last_error.unwrap();
        assert!(
            told.contains("does not allow a write") && !told.contains('\u{1b}'),
            "{told}"
        );
        // Neither has anything to do with another write, which goes to the store at once.
        let other = of_execution(50, "metadata.json");
        put(&spool, &other, "x").await.unwrap();
        assert_eq!((memory.snapshot().len(), spool.backlog().objects), (50, 2));
        remote.set(Mode::Well);
        assert_empty(&mirror.drain(LONG).await);
        assert_commits_last(&remote.writes());
    });
}

#[test]
fn what_is_kept_is_kept_for_its_time_and_is_no_backlog() {
    block_on(async {
        let (dir, memory) = (scratch(), MemoryStore::new());
        let key = of_execution(1, "metadata.json");
        let file = dir.path().join("objects").join(key.as_str());
        let mut keeping = settings();
        keeping.keep = LONG;
        keeping.bytes_max = 100;
        let remote = Arc::new(Outage::of(memory.clone()));
        let (spool, mut mirror) = open_with(dir.path(), remote.clone(), keeping.clone()).await;
        remote.set(Mode::Away);
        put(&spool, &key, "kept").await.unwrap();
        remote.set(Mode::Well);
        assert_empty(&mirror.drain(LONG).await);
        assert!(file.exists());
        remote.set(Mode::Away);
        assert_eq!(read(&spool, &key).await.unwrap(), "kept");
        assert_eq!(listed(&spool.for_writing()).await, [key.as_str()]);
        // Another process finds it, and that the store has it.
        drop((spool, mirror));
        remote.set(Mode::Well);
        let (spool, mut mirror) = open_with(dir.path(), remote.clone(), keeping).await;
        assert_eq!(spool.backlog().objects, 1);
        assert_empty(&mirror.drain(LONG).await);
        assert!(file.exists());
        // Room is worth more.
        let large = "x".repeat(60).leak();
        remote.set(Mode::Away);
        put(&spool, &of_execution(2, "metadata.json"), large)
            .await
            .unwrap();
        remote.set(Mode::Well);
        let until = async {
            while file.exists() {
                tokio::task::yield_now().await;
            }
        };
        mirror.run(until).await;
        assert_empty(&mirror.drain(LONG).await);
        assert_eq!(read(&spool, &key).await.unwrap(), "kept");
        assert_eq!(memory.snapshot().len(), 2);
    });
}

#[test]
fn directories_that_objects_left_empty_go() {
    block_on(async {
        let (dir, memory) = (scratch(), MemoryStore::new());
        let remote = Arc::new(Outage::of(memory.clone()));
        let (spool, mut mirror) = open(dir.path(), remote.clone()).await;
        let executions = dir.path().join("objects/executions");
        for round in 0..3 {
            remote.set(Mode::Away);
            let keys: Vec<_> = (0..100)
                .map(|number| of_execution(1_000 * round + number, "metadata.json"))
                .collect();
            for key in &keys {
                put(&spool, key, "x").await.unwrap();
            }
            assert_eq!(std::fs::read_dir(&executions).unwrap().count(), 100);
            remote.set(Mode::Well);
            let until = async {
                while executions.exists() {
                    tokio::task::yield_now().await;
                }
            };
            mirror.run(until).await;
        }
        assert_eq!(memory.snapshot().len(), 300);
    });
}

#[test]
fn what_one_server_wrote_another_knows_at_once() {
    block_on(async {
        let memory = MemoryStore::new();
        let mut servers = Vec::new();
        for _ in 0..2 {
            let dir = scratch();
            let (spool, mirror) = open(dir.path(), Arc::new(memory.clone())).await;
            servers.push((dir, spool, mirror));
        }
        let (one, other) = (&servers[0].1, &servers[1].1);
        let part = |offset: u64| {
            key(&format!(
                "_runpack/live/01ARZ3NDEKTSV4RRFFQ69G5FAV/logs/stdout/{offset:020}"
            ))
        };
        put(one, &part(0), "from one").await.unwrap();
        assert_eq!(read(other, &part(0)).await.unwrap(), "from one");
        let refused = put(other, &part(0), "from the other").await;
        assert!(matches!(refused, Err(StoreError::AlreadyExists { .. })));
        put(other, &part(8), "and on").await.unwrap();
        assert_eq!(listed(one).await.len(), 2);
        // Nothing of it is here, and nothing waits.
        for (dir, spool, _) in &servers {
            assert_empty(&spool.backlog());
            let here = FileStore::open(&dir.path().join("objects")).await.unwrap();
            assert_eq!(listed(&here).await, Vec::<String>::new());
        }
    });
}

#[test]
fn a_log_goes_in_the_order_of_its_parts() {
    block_on(async {
        let (dir, memory) = (scratch(), MemoryStore::new());
        let remote = Arc::new(Outage::of(memory.clone()));
        remote.set(Mode::Away);
        let (spool, mut mirror) = open(dir.path(), remote.clone()).await;
        let mut parts = Vec::new();
        for offset in 0..100 {
            for log in ["stdout", "stderr"] {
                let part = key(&format!(
                    "_runpack/live/01ARZ3NDEKTSV4RRFFQ69G5FAV/logs/{log}/{offset:020}"
                ));
                put(&spool, &part, "x").await.unwrap();
                parts.push(part.to_string());
            }
        }
        // The second of them is refused: what follows it waits, and the next write of this log too.
        let second = parts[2].clone().leak();
        remote.set(Mode::Denies(second));
        mirror.drain(Duration::from_millis(50)).await;
        let stdout: Vec<_> = memory
            .snapshot()
            .into_keys()
            .filter(|key| key.contains("stdout"))
            .collect();
        assert_eq!(stdout, [parts[0].as_str()]);
        let last = key(&parts[2].replace("0000000001", "0000000100"));
        put(&spool, &last, "x").await.unwrap();
        assert!(!memory.snapshot().contains_key(last.as_str()));
        remote.set(Mode::Well);
        assert_empty(&mirror.drain(LONG).await);
        for log in ["stdout", "stderr"] {
            let sent = remote.writes().into_iter().filter(|key| key.contains(log));
            let sent: Vec<_> = sent.collect();
            assert!(sent.is_sorted() && sent.len() >= 100, "{sent:?}");
        }
    });
}

#[test]
fn a_spool_has_one_process_and_no_store_that_seals() {
    block_on(async {
        let dir = scratch();
        let (_spool, _mirror) = open(dir.path(), Arc::new(MemoryStore::new())).await;
        let second = SpoolStore::open(
            dir.path(),
            Arc::new(MemoryStore::new()),
            settings(),
            clock(),
        );
        assert!(matches!(second.await, Err(SpoolError::Busy { .. })));
        let remote = Outage::of(MemoryStore::new());
        remote.set(Mode::Seals);
        let other = scratch();
        let sealed = SpoolStore::open(other.path(), Arc::new(remote), settings(), clock());
        assert!(matches!(sealed.await, Err(SpoolError::Seals)));
    });
}

/// A clock that goes wherever it wants.
#[derive(Debug)]
struct Wrong(std::sync::Mutex<u64>);

impl Clock for Wrong {
    fn now(&self) -> Timestamp {
        let mut state = self.0.lock().unwrap();
        Timestamp::from_unix_seconds(draw(&mut state, 1 << 31)).unwrap()
    }
}

#[test]
fn t01_a_wall_clock_that_jumps_changes_no_order_and_no_pause() {
    block_on(async {
        let (dir, memory) = (scratch(), MemoryStore::new());
        let remote = Arc::new(Outage::of(memory.clone()));
        remote.set(Mode::Away);
        let clock = Arc::new(Wrong(5.into()));
        let mut settings = settings();
        // Nothing rests on its own, which would change the order.
        settings.attempts = u32::MAX;
        let opened = SpoolStore::open(dir.path(), remote.clone(), settings, clock).await;
        let (spool, mut mirror) = opened.unwrap();
        let mut keys = Vec::new();
        for number in 0..60 {
            let key = of_execution(number * 37 % 61, "metadata.json");
            put(&spool, &key, "x").await.unwrap();
            keys.push(key.to_string());
        }
        mirror.drain(Duration::from_millis(20)).await;
        remote.set(Mode::Well);
        assert_empty(&mirror.drain(LONG).await);
        // Eight are on their way at once.
        let writes = remote.writes();
        for (at, key) in keys.iter().enumerate() {
            let sent = writes.iter().position(|sent| sent == key).unwrap();
            assert!(sent.abs_diff(at) <= 8, "{at} {sent}");
        }
    });
}
