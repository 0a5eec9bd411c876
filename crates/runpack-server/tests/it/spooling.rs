//! What the store does not take now is taken later, and nothing is lost.

mod outage;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
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
const LONG: Duration = Duration::from_secs(120);

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
    key(&format!("executions/01ARZ3NDEKTSV4RRFFQ69{number:05}/{name}"))
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
            for name in ["metadata.json", "artifacts/a", "artifacts/b", "manifest.json"] {
                let key = of_execution(number, name);
                let receipt = put(&spool, &key, name_of(name)).await.unwrap();
                assert_eq!(receipt.outcome, Outcome::Created);
                written.insert(key.to_string(), Bytes::from(name_of(name)));
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
        assert_eq!(read(&spool, &some).await.unwrap(), name_of("artifacts/a"));
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
        assert_eq!(read(&spool, &some).await.unwrap(), name_of("artifacts/a"));
        let left = FileStore::open(&dir.path().join("objects")).await.unwrap();
        assert_eq!(listed(&left).await, Vec::<String>::new());
    });
}

fn name_of(name: &'static str) -> &'static str {
    name
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
        put(&spool, &key, "once").await.unwrap();
        remote.set(Mode::AnswersLost);
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
fn w10_w16_other_bytes_in_the_store_are_a_conflict_and_ours_are_kept() {
    block_on(async {
        let (dir, memory) = (scratch(), MemoryStore::new());
        let remote = Arc::new(Outage::of(memory.clone()));
        remote.set(Mode::Away);
        let (spool, mut mirror) = open(dir.path(), remote.clone()).await;
        let taken = of_execution(1, "metadata.json");
        let (free, manifest) = (of_execution(1, "artifacts/a"), of_execution(1, "manifest.json"));
        for key in [&taken, &free, &manifest] {
            put(&spool, key, "ours").await.unwrap();
        }
        put(&memory, &taken, "theirs").await.unwrap();
        remote.set(Mode::Well);
        let backlog = mirror.drain(LONG).await;
        assert_empty(&backlog);
        // The manifest commits to what the store does not have, so it went aside too.
        assert_eq!(backlog.conflicts, 2);
        assert_eq!(listed(&memory).await, [free.as_str(), taken.as_str()]);
        assert_eq!(read(&spool, &taken).await.unwrap(), "theirs");
        let conflict = |key: &ObjectKey, above: &str| {
            std::fs::read_to_string(dir.path().join("conflicts").join(above).join(key.as_str()))
        };
        assert_eq!(conflict(&taken, "").unwrap(), "ours");
        assert_eq!(conflict(&manifest, "").unwrap(), "ours");
        // Now the store can be asked.
        let refused = put(&spool, &taken, "ours").await;
        assert!(matches!(refused, Err(StoreError::AlreadyExists { .. })));
        let same = put(&spool, &taken, "theirs").await.unwrap();
        assert_eq!(same.outcome, Outcome::AlreadyThere);
        // A second conflict takes nobody's place.
        remote.set(Mode::Away);
        mirror.drain(Duration::ZERO).await;
        put(&spool, &of_execution(2, "metadata.json"), "x").await.unwrap();
        put(&spool, &taken, "ours again").await.unwrap();
        remote.set(Mode::Well);
        assert_eq!(mirror.drain(LONG).await.conflicts, 3);
        assert_eq!(conflict(&taken, "").unwrap(), "ours");
        assert_eq!(conflict(&taken, ".2").unwrap(), "ours again");
        // They are counted again by the next process.
        drop((spool, mirror));
        let (spool, _mirror) = open(dir.path(), remote).await;
        assert!(spool.backlog().conflicts >= 2);
    });
}

#[test]
fn n04_two_replicas_with_one_record_agree_and_with_two_bodies_keep_both() {
    const CLAIM: &str = "v1/org=o/project=p/service=s/runs/r.json";
    let payload = |day: &str| key(&format!("v1/org=o/project=p/service=s/date={day}/run=r/payload.json"));
    block_on(async {
        for (days, bodies, conflicts) in [
            (["2026-11-20"; 2], ["same"; 2], 0),
            (["2026-11-20"; 2], ["one", "other"], 1),
            // The second claim is not the run's, so neither is what was filed under it.
            (["2026-11-20", "2026-11-21"], ["same"; 2], 2),
        ] {
            let memory = MemoryStore::new();
            let mut replicas = Vec::new();
            for at in 0..2 {
                let dir = scratch();
                let remote = Arc::new(Outage::of(memory.clone()));
                remote.set(Mode::Away);
                let (spool, mirror) = open(dir.path(), remote.clone()).await;
                put(&spool, &key(CLAIM), days[at]).await.unwrap();
                put(&spool, &payload(days[at]), bodies[at]).await.unwrap();
                replicas.push((dir, remote, spool, mirror));
            }
            let mut found = 0;
            for (_dir, remote, spool, mirror) in &mut replicas {
                remote.set(Mode::Well);
                assert_empty(&mirror.drain(LONG).await);
                found += spool.backlog().conflicts;
            }
            assert_eq!(found, conflicts, "{days:?} {bodies:?}");
            let there = memory.snapshot();
            assert_eq!(there.len(), 2, "{there:?}");
            assert_eq!(there[payload(days[0]).as_str()], bodies[0]);
            let (.., spool, _) = &replicas[1];
            assert_eq!(read(spool, &payload(days[0])).await.unwrap(), bodies[0]);
        }
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
        let limits: [(fn(&mut SpoolSettings), SpoolFull); 2] = [
            (|settings| settings.bytes_max = 9, full_of_bytes()),
            (|settings| settings.objects_max = 2, full_of_objects()),
        ];
        for (limit, expected) in limits {
            let dir = scratch();
            let remote = Arc::new(Outage::of(MemoryStore::new()));
            remote.set(Mode::Away);
            let mut settings = settings();
            limit(&mut settings);
            let (spool, mut mirror) = open_with(dir.path(), remote.clone(), settings).await;
            let keys = [1, 2, 3].map(|number| of_execution(number, "metadata.json"));
            put(&spool, &keys[0], "four").await.unwrap();
            put(&spool, &keys[1], "four").await.unwrap();
            let refused = full(put(&spool, &keys[2], "four").await);
            assert_eq!(refused.to_string(), expected.to_string());
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
        let (spool, _mirror) = open_with(dir.path(), Arc::new(MemoryStore::new()), settings).await;
        let refused = full(put(&spool, &of_execution(1, "metadata.json"), "x").await);
        assert_eq!(refused, SpoolFull::Disk { reserve: u64::MAX });
    });
}

fn full_of_bytes() -> SpoolFull {
    SpoolFull::Bytes { max: 9 }
}

fn full_of_objects() -> SpoolFull {
    SpoolFull::Objects { max: 2 }
}
