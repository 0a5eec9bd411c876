//! The order in which a spool is emptied, without a store; and a disk that fails.

use runpack_core::key::Location;
use runpack_core::time::FixedClock;
use runpack_testing::{block_on, scratch};

use super::index::{Index, Item, Next};
use super::*;

const EXECUTION: &str = "executions/01ARZ3NDEKTSV4RRFFQ69G5FAV/";
const RECORD: &str = "v1/org=o/project=p/service=s/";

fn index(keys: &[&str]) -> Index {
    let mut index = Index::default();
    for key in keys {
        index.admit(key, 10, Timestamp::EPOCH);
    }
    index
}

/// All that may go now.
fn sendable(index: &mut Index) -> Vec<Item> {
    let next = std::iter::from_fn(|| index.next());
    next.map(|next| match next {
        Next::Send(item) => item,
        Next::SetAside(item) => panic!("{item:?}"),
    })
    .collect()
}

fn keys(items: &[Item]) -> Vec<&str> {
    items.iter().map(|item| &*item.key).collect()
}

#[test]
fn a_commit_goes_after_everything_below_it() {
    let (manifest, one) = (
        format!("{EXECUTION}manifest.json"),
        format!("{EXECUTION}metadata.json"),
    );
    let two = format!("{EXECUTION}artifacts/a");
    let elsewhere = "executions/01ARZ3NDEKTSV4RRFFQ69G5FAW/metadata.json";
    // As a scan finds them when clocks went wrong: the manifest before its artifacts.
    let mut index = index(&[&manifest, &one, elsewhere, &two]);
    let items = sendable(&mut index);
    assert_eq!(keys(&items), [&one, elsewhere, &two]);
    for item in &items {
        assert_eq!(index.next(), None);
        index.confirm(item);
        index.forget(item);
    }
    assert_eq!(keys(&sendable(&mut index)), [&manifest]);
}

#[test]
fn a_record_goes_after_its_claim_and_a_run_after_its_steps() {
    let claim = format!("{RECORD}runs/r.json");
    let payload = format!("{RECORD}date=2026-11-20/run=r/payload.json");
    let mut index = index(&[
        &payload,
        &claim,
        "t/runs/r/manifest.json",
        "t/runs/r/steps/s/manifest.json",
        "t/runs/r/steps/s/outputs/o",
    ]);
    let first = sendable(&mut index);
    assert_eq!(keys(&first), [&claim, "t/runs/r/steps/s/outputs/o"]);
    for item in &first {
        index.confirm(item);
    }
    let second = sendable(&mut index);
    assert_eq!(keys(&second), [&payload, "t/runs/r/steps/s/manifest.json"]);
    for item in &second {
        index.confirm(item);
    }
    assert_eq!(keys(&sendable(&mut index)), ["t/runs/r/manifest.json"]);
}

#[test]
fn a_part_of_a_log_goes_after_the_one_before() {
    let part = |log: &str, offset: u64| {
        format!("_runpack/live/01ARZ3NDEKTSV4RRFFQ69G5FAV/logs/{log}/{offset:020}")
    };
    let (one, two, three) = (part("stdout", 0), part("stdout", 9), part("stdout", 10));
    let other = part("stderr", 5);
    let mut index = index(&[&three, &two, &other, &one]);
    for expected in [vec![&other, &one], vec![&two], vec![&three]] {
        let items = sendable(&mut index);
        assert_eq!(keys(&items), expected);
        // While it waits, nothing goes past it.
        assert!(!index.is_free(&part("stdout", 11)));
        assert!(index.is_free(&part("runner", 11)));
        for item in &items {
            index.confirm(item);
        }
    }
    assert!(index.is_free(&part("stdout", 11)));
}

#[test]
fn what_commits_to_a_conflict_is_set_aside_with_it() {
    let (manifest, artifact) = (
        format!("{EXECUTION}manifest.json"),
        format!("{EXECUTION}metadata.json"),
    );
    let mut index = index(&[&artifact, &manifest]);
    let items = sendable(&mut index);
    index.note_aside(&items[0].key, 10);
    index.forget(&items[0]);
    let Some(Next::SetAside(item)) = index.next() else {
        panic!("it commits to something that the store cannot have");
    };
    assert_eq!(&*item.key, manifest);
    assert!(index.is_hopeless(&manifest));
    index.note_aside(&item.key, 10);
    index.forget(&item);
    assert_eq!((index.conflicts(), index.objects()), (2, 0));
    // Conflicts take room until somebody has looked at them.
    let settings = SpoolSettings {
        objects_max: 2,
        ..SpoolSettings::default()
    };
    let full = index.room(1, &settings);
    assert_eq!(full, Err(SpoolFull::Objects { max: 2 }));
}

#[test]
fn an_object_that_came_again_is_another() {
    let key = format!("{EXECUTION}metadata.json");
    let mut index = index(&[&key]);
    let first = sendable(&mut index).remove(0);
    index.confirm(&first);
    index.forget(&first);
    index.admit(&key, 11, Timestamp::EPOCH);
    // What is still said of the first does not touch the second.
    index.confirm(&first);
    index.forget(&first);
    assert_eq!((index.objects(), index.unconfirmed_bytes()), (1, 11));
}

#[test]
fn w07_a_write_that_got_its_name_and_then_failed_is_brought_like_any_other() {
    block_on(async {
        let (dir, memory) = (scratch(), runpack_core::store::MemoryStore::new());
        let clock = Arc::new(FixedClock(Timestamp::EPOCH));
        let remote = Arc::new(memory.clone());
        let opened = SpoolStore::open(dir.path(), remote, SpoolSettings::default(), clock);
        let (spool, mut mirror) = opened.await.unwrap();
        let key = Location::parse(&format!("{EXECUTION}metadata.json")).unwrap();
        let (key, bytes) = (key.key().unwrap(), Bytes::from_static(b"x"));
        let local = spool.local().await;
        let declared = Declared::of(&bytes);
        local.put(&key, bytes.clone(), declared).await.unwrap();
        // As when its directory could not be made durable.
        let failed = || StoreError::Io {
            action: "syncing",
            path: key.to_string(),
            source: io::Error::other("the disk"),
        };
        let told = writing::admit(&spool.shared, &local, &key, Err(failed())).await;
        assert!(matches!(told, Err(StoreError::Io { .. })));
        assert_eq!(spool.backlog().objects, 1);
        assert_eq!(mirror.drain(Duration::from_mins(1)).await.objects, 0);
        assert_eq!(memory.snapshot(), [(key.to_string(), bytes)].into());
    });
}
