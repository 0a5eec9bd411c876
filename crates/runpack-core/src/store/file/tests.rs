//! What is the file store's own: links, strangers, staging, faults.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::{Arc, Mutex};

use futures_util::StreamExt as _;
use futures_util::future::{join, join_all};
use rustix::io::Errno;
use tempfile::TempDir;

use super::sys::record::{Call, Event, Kind, Recorder};
use super::*;
use crate::key::Location;
use crate::store::Outcome;

const ABOVE: &str = "executions/01ARZ3NDEKTSV4RRFFQ69G5FAV/artifacts";

fn scratch() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

fn key(name: &str) -> ObjectKey {
    Location::parse(&format!("{ABOVE}/{name}"))
        .unwrap()
        .key()
        .unwrap()
}

fn recording(root: &Path, recorder: Recorder) -> (FileStore, Arc<Recorder>) {
    let recorder = Arc::new(recorder);
    let sys = Sys {
        recorder: Some(Arc::clone(&recorder)),
    };
    let shared = Arc::new(Shared::new(root, sys).unwrap());
    (FileStore { shared }, recorder)
}

async fn put(store: &FileStore, name: &str, bytes: &'static [u8]) -> Result<Receipt, StoreError> {
    let bytes = Bytes::from_static(bytes);
    let declared = Declared::of(&bytes);
    ArtifactSink::put(store, &key(name), bytes, declared).await
}

/// Puts these in one batch.
async fn put_together(store: &FileStore, names: &[String]) -> Vec<Result<Receipt, StoreError>> {
    group::gather::hold(&store.shared);
    let puts = join_all(names.iter().map(|name| put(store, name, b"bytes")));
    let release = async {
        while group::gather::waiting(&store.shared) < names.len() {
            tokio::task::yield_now().await;
        }
        group::gather::release(&store.shared);
    };
    join(puts, release).await.0
}

async fn read(store: &FileStore, name: &str) -> Result<Vec<u8>, StoreError> {
    let mut body = ArtifactReader::open(store, &key(name).into(), 0..u64::MAX).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes)
}

async fn listed(store: &FileStore, prefix: &KeyPrefix) -> BTreeSet<String> {
    let entries = store.list(prefix);
    entries.map(|entry| entry.unwrap().key).collect().await
}

/// What is in the staging directories, by path below `_runpack/tmp`.
fn staged(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for directory in fs::read_dir(root.join(staging::DIRECTORY))
        .into_iter()
        .flatten()
    {
        let directory = directory.unwrap();
        let name = directory.file_name().into_string().unwrap();
        for file in fs::read_dir(directory.path()).unwrap() {
            let file = file.unwrap().file_name().into_string().unwrap();
            found.push(format!("{name}/{file}"));
        }
        found.push(name);
    }
    found.sort();
    found
}

fn calls(recorder: &Recorder) -> Vec<Call> {
    let calls = recorder
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Call(call) => Some(call),
            Event::Mark(_) => None,
        });
    calls.collect()
}

/// A root with an object beside which stands all that is no object, and a secret outside of it.
async fn among_strangers() -> (TempDir, FileStore) {
    let outside = scratch();
    let root = outside.path().join("root");
    let store = FileStore::create(&root).await.unwrap();
    put(&store, "true.bin", b"true").await.unwrap();
    fs::create_dir(outside.path().join("artifacts")).unwrap();
    fs::write(outside.path().join("artifacts/secret.bin"), "secret").unwrap();
    let above = root.join(ABOVE);
    symlink("true.bin", above.join("link.bin")).unwrap();
    symlink(
        outside.path().join("artifacts/secret.bin"),
        above.join("absolute.bin"),
    )
    .unwrap();
    symlink("nowhere", above.join("dangling.bin")).unwrap();
    symlink(".", above.join("loop")).unwrap();
    symlink(outside.path().join("artifacts"), above.join("outside")).unwrap();
    fs::create_dir(above.join("directory.bin")).unwrap();
    let fifo = std::process::Command::new("mkfifo")
        .arg(above.join("fifo.bin"))
        .status();
    assert!(fifo.unwrap().success());
    std::os::unix::net::UnixListener::bind(above.join("socket.bin")).unwrap();
    (outside, store)
}

const STRANGERS: [&str; 7] = [
    "link.bin",
    "absolute.bin",
    "dangling.bin",
    "loop/true.bin",
    "outside/secret.bin",
    "fifo.bin",
    "socket.bin",
];

#[test]
fn no_link_is_followed_and_nothing_is_waited_for() {
    block_on(async {
        let (_outside, store) = among_strangers().await;
        for with_openat2 in [true, false] {
            if !with_openat2 {
                store.shared.root.below().without_openat2();
            }
            for name in STRANGERS.into_iter().chain(["directory.bin"]) {
                let opened = read(&store, name).await;
                assert!(
                    matches!(opened, Err(StoreError::Unsafe { .. })),
                    "{name}: {opened:?}"
                );
                let stat = store.stat(&key(name).into()).await;
                assert!(
                    matches!(stat, Err(StoreError::Unsafe { .. })),
                    "{name}: {stat:?}"
                );
                let written = put(&store, name, b"mine").await;
                assert!(
                    matches!(written, Err(StoreError::Unsafe { .. })),
                    "{name}: {written:?}"
                );
            }
            for name in ["absent.bin", "true.bin/below.bin", "absent/below.bin"] {
                let opened = read(&store, name).await;
                assert!(
                    matches!(opened, Err(StoreError::NotFound { .. })),
                    "{name}: {opened:?}"
                );
            }
            assert_eq!(read(&store, "true.bin").await.unwrap(), b"true");
            let created = put(&store, &format!("new/{with_openat2}.bin"), b"new").await;
            assert_eq!(created.unwrap().outcome, Outcome::Created);
        }
        let root = store.root().to_owned();
        assert_eq!(
            fs::read(root.join("../artifacts/secret.bin")).unwrap(),
            b"secret"
        );
        assert_eq!(fs::read_dir(root.join("../artifacts")).unwrap().count(), 1);
    });
}

#[test]
fn a_write_below_a_link_goes_nowhere() {
    block_on(async {
        for with_openat2 in [true, false] {
            let (outside, elsewhere) = (scratch(), scratch());
            symlink(elsewhere.path(), outside.path().join("executions")).unwrap();
            let store = FileStore::open(outside.path()).await.unwrap();
            if !with_openat2 {
                store.shared.root.below().without_openat2();
            }
            let written = put(&store, "a.bin", b"a").await;
            assert!(
                matches!(written, Err(StoreError::Unsafe { .. })),
                "{written:?}"
            );
            let entries = store.list(&KeyPrefix::all());
            let entries: Vec<_> = entries.map(Result::unwrap).collect().await;
            assert_eq!(
                entries,
                [crate::store::ListEntry::new("executions".to_owned(), 0)]
            );
            assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
        }
    });
}

#[test]
fn s17_a_listing_shows_strangers_and_follows_none() {
    block_on(async {
        let (_outside, store) = among_strangers().await;
        let above = store.root().join(ABOVE);
        let not_utf8 = std::ffi::OsStr::from_bytes(b"not\xffutf8.bin");
        fs::write(above.join(not_utf8), "").unwrap();
        fs::write(above.join("line\nbreak"), "").unwrap();
        let mut expected: BTreeSet<_> = STRANGERS
            .into_iter()
            .map(|name| name.split('/').next().unwrap())
            .chain(["true.bin", "not\u{fffd}utf8.bin", "line\nbreak"])
            .map(|name| format!("{ABOVE}/{name}"))
            .collect();
        assert_eq!(listed(&store, &KeyPrefix::all()).await, expected);
        // A directory that lies deeper than any key.
        let mut deep = above.join("deep");
        for _ in 0..5 {
            deep.push("d".repeat(250));
        }
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("object"), "").unwrap();
        let found = listed(&store, &KeyPrefix::all()).await;
        let strange: Vec<_> = found.difference(&expected).collect();
        assert!(
            matches!(strange.as_slice(), [deep] if deep.ends_with("d/")),
            "{strange:?}"
        );
        assert!(
            found
                .iter()
                .filter(|key| Location::parse(key).is_none())
                .count()
                >= 3
        );
        // A listing of a part shows that part; one that is behind a link is refused.
        let part = Location::pack_prefix(&crate::manifest::Subject::Execution {
            execution_id: "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(),
        });
        assert_eq!(listed(&store, &part).await, found);
        let executions = store.root().join("executions");
        let moved = store.root().join("moved");
        rustix::fs::rename(&executions, &moved).unwrap();
        symlink(&moved, &executions).unwrap();
        for with_openat2 in [true, false] {
            if !with_openat2 {
                store.shared.root.below().without_openat2();
            }
            let refused = store.list(&part).next().await;
            assert!(
                matches!(refused, Some(Err(StoreError::Unsafe { .. }))),
                "{refused:?}"
            );
        }
        fs::remove_file(&executions).unwrap();
        symlink(&moved, executions.with_file_name("other")).unwrap();
        assert_eq!(listed(&store, &part).await, BTreeSet::new());
        expected.clear();
    });
}

#[test]
fn w03_torn_temp_is_ignored_and_swept() {
    block_on(async {
        let root = scratch();
        let store = FileStore::create(root.path()).await.unwrap();
        put(&store, "a.bin", b"a").await.unwrap();
        drop(store);
        assert_eq!(staged(root.path()), [""; 0]);
        // A writer was killed: in the middle of a file, before its lock, after its file had its name.
        let staging = root.path().join(staging::DIRECTORY);
        for (directory, files) in [("0", &["lock", "0", "17"][..]), ("3", &[]), ("x", &["0"])] {
            fs::create_dir_all(staging.join(directory)).unwrap();
            for file in files {
                fs::write(staging.join(directory).join(file), "torn").unwrap();
            }
        }
        fs::hard_link(root.path().join(ABOVE).join("a.bin"), staging.join("0/18")).unwrap();
        let store = FileStore::open(root.path()).await.unwrap();
        let only = BTreeSet::from([format!("{ABOVE}/a.bin")]);
        assert_eq!(listed(&store, &KeyPrefix::all()).await, only);
        // Nobody removes anything for reading.
        assert_eq!(staged(root.path()).len(), 8);
        put(&store, "b.bin", b"b").await.unwrap();
        assert_eq!(staged(root.path()), ["0", "0/lock"]);
        assert_eq!(read(&store, "a.bin").await.unwrap(), b"a");
        drop(store);
        assert_eq!(staged(root.path()), [""; 0]);
    });
}

#[test]
fn w22_a_slow_writer_is_not_swept() {
    block_on(async {
        let root = scratch();
        let slow = FileStore::create(root.path()).await.unwrap();
        let bytes = Bytes::from_static(b"slow");
        let mut writer = ArtifactSink::create(&slow, &key("slow.bin"), Declared::of(&bytes))
            .await
            .unwrap();
        writer.write(bytes.slice(..2)).await.unwrap();
        for number in 0..3 {
            let quick = FileStore::open(root.path()).await.unwrap();
            put(&quick, ["a.bin", "b.bin", "c.bin"][number], b"quick")
                .await
                .unwrap();
            assert_eq!(staged(root.path()), ["0", "0/0", "0/lock", "1", "1/lock"]);
        }
        writer.write(bytes.slice(2..)).await.unwrap();
        writer.commit().await.unwrap();
        assert_eq!(read(&slow, "slow.bin").await.unwrap(), b"slow");
    });
}

/// A writer that ended as a killed one does, without any clean-up, blocks nobody.
#[test]
fn w21_a_killed_writer_is_swept_at_once() {
    block_on(async {
        let root = scratch();
        let killed = Arc::new(Mutex::new(false));
        let is_killed = Arc::clone(&killed);
        let (store, _) = recording(
            root.path(),
            Recorder::failing(move |_, _| is_killed.lock().unwrap().then_some(Errno::IO)),
        );
        let bytes = Bytes::from_static(b"bytes");
        let mut writer = ArtifactSink::create(&store, &key("a.bin"), Declared::of(&bytes))
            .await
            .unwrap();
        writer.write(bytes.slice(..2)).await.unwrap();
        *killed.lock().unwrap() = true;
        drop(writer);
        drop(store);
        assert_eq!(staged(root.path()), ["0", "0/0", "0/lock"]);
        let store = FileStore::open(root.path()).await.unwrap();
        put(&store, "a.bin", b"bytes").await.unwrap();
        assert_eq!(staged(root.path()), ["0", "0/lock"]);
    });
}

#[test]
fn w06_nothing_is_replaced_without_a_rename_that_refuses() {
    block_on(async {
        for errno in [Errno::INVAL, Errno::NOSYS] {
            let root = scratch();
            let old = move |kind, _| (kind == Kind::Rename).then_some(errno);
            let (store, recorder) = recording(root.path(), Recorder::failing(old));
            // Both see no object when they begin.
            let writer = |bytes: &'static [u8]| {
                let store = store.clone();
                async move {
                    let bytes = Bytes::from_static(bytes);
                    let declared = Declared::of(&bytes);
                    let mut writer = ArtifactSink::create(&store, &key("a.bin"), declared)
                        .await
                        .unwrap();
                    writer.write(bytes).await.unwrap();
                    writer
                }
            };
            let (one, same, other) = (writer(b"1").await, writer(b"1").await, writer(b"2").await);
            assert_eq!(one.commit().await.unwrap().outcome, Outcome::Created);
            assert_eq!(same.commit().await.unwrap().outcome, Outcome::AlreadyThere);
            let refused = other.commit().await;
            assert!(
                matches!(refused, Err(StoreError::AlreadyExists { .. })),
                "{refused:?}"
            );
            assert_eq!(read(&store, "a.bin").await.unwrap(), b"1");
            let links = calls(&recorder);
            let links = links
                .iter()
                .filter(|call| matches!(call, Call::Link { .. }));
            assert_eq!(links.count(), 1);
            assert_eq!(staged(root.path()), ["0", "0/lock"]);
        }
    });
}

/// An error of syncing fails all that it may be about, once, and nothing is synced a second time.
#[test]
fn w07_failed_sync_is_not_tried_again() {
    for at_once in [1, 3, 9] {
        for failing in 0..4 {
            block_on(async {
                let root = scratch();
                let mut syncs = 0;
                let fault = move |kind, _| {
                    syncs += usize::from(kind == Kind::Sync);
                    (kind == Kind::Sync && syncs == failing + 1).then_some(Errno::IO)
                };
                let (store, recorder) = recording(root.path(), Recorder::failing(fault));
                let names: Vec<_> = (0..at_once).map(|number| format!("{number}.bin")).collect();
                // Begun before the error, committed after it.
                let bytes = Bytes::from_static(b"late");
                let mut late = ArtifactSink::create(&store, &key("late.bin"), Declared::of(&bytes))
                    .await
                    .unwrap();
                late.write(bytes).await.unwrap();
                let outcomes = put_together(&store, &names).await;
                let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
                let has_failed = store.shared.epoch() > 0;
                assert_eq!(failed, if has_failed { at_once } else { 0 }, "{outcomes:?}");
                let committed = late.commit().await;
                assert_eq!(committed.is_err(), store.shared.epoch() > 0);
                assert!(!(has_failed && committed.is_ok()));
                let synced: Vec<_> = calls(&recorder)
                    .into_iter()
                    .filter(|call| matches!(call, Call::SyncFile(_)))
                    .collect();
                let once: BTreeSet<_> = synced.iter().collect();
                assert_eq!(once.len(), synced.len());
                assert_eq!(staged(root.path()), ["0", "0/lock"]);
                // What comes later is written, and synced, anew.
                for name in &names {
                    put(&store, name, b"bytes").await.unwrap();
                    assert_eq!(read(&store, name).await.unwrap(), b"bytes");
                }
            });
        }
    }
}

/// Whatever call fails: what is answered is true, and the next attempt succeeds.
#[test]
fn each_call_may_fail() {
    let names = ["0.bin", "1.bin", "deep/2.bin", "3.bin", "4.bin", "5.bin"];
    for failing in 0.. {
        let done = block_on(async {
            let root = scratch();
            let fault = move |_, call| (call == failing).then_some(Errno::NOSPC);
            let (store, recorder) = recording(root.path(), Recorder::failing(fault));
            let mut results = vec![put(&store, "first.bin", b"bytes").await];
            results.extend(join_all(names.map(|name| put(&store, name, b"bytes"))).await);
            for (name, result) in ["first.bin"].iter().chain(&names).zip(&results) {
                match read(&store, name).await {
                    Ok(bytes) => assert_eq!(bytes, b"bytes"),
                    Err(StoreError::NotFound { .. }) => assert!(result.is_err()),
                    Err(error) => panic!("{error}"),
                }
            }
            drop(store);
            let store = FileStore::open(root.path()).await.unwrap();
            for name in ["first.bin"].iter().chain(&names) {
                put(&store, name, b"bytes").await.unwrap();
            }
            put(&store, "more.bin", b"bytes").await.unwrap();
            drop(store);
            assert_eq!(staged(root.path()), [""; 0], "call {failing}");
            failing >= recorder.attempts()
        });
        if done {
            assert!(failing > 30, "{failing}");
            return;
        }
    }
}

#[test]
fn w14_of_two_stores_on_one_root_one_wins() {
    block_on(async {
        let root = scratch();
        let one = FileStore::create(root.path()).await.unwrap();
        let other = FileStore::open(root.path()).await.unwrap();
        for round in 0..50 {
            let name = format!("{round}.bin");
            let outcomes = join(put(&one, &name, b"one"), put(&other, &name, b"other")).await;
            let (winner, loser) = match outcomes {
                (Ok(_), Err(loser)) => (&b"one"[..], loser),
                (Err(loser), Ok(_)) => (&b"other"[..], loser),
                outcomes => panic!("{outcomes:?}"),
            };
            assert_eq!(read(&one, &name).await.unwrap(), winner);
            assert!(matches!(loser, StoreError::AlreadyExists { theirs, .. }
                if theirs == Declared::of(winner).commitment()));
        }
    });
}

/// How large batches are made durable, and how when `syncfs` tells of no errors.
#[test]
fn batches_are_synced_together() {
    for syncfs_tells in [true, false] {
        block_on(async {
            let root = scratch();
            let recorder = Arc::new(Recorder::default());
            let sys = Sys {
                recorder: Some(Arc::clone(&recorder)),
            };
            let mut shared = Shared::new(root.path(), sys).unwrap();
            Arc::get_mut(&mut shared.root).unwrap().syncfs_tells = syncfs_tells;
            let store = FileStore {
                shared: Arc::new(shared),
            };
            let names: Vec<_> = (0..300).map(|number| format!("{number}.bin")).collect();
            let outcomes = put_together(&store, &names).await;
            assert!(outcomes.iter().all(Result::is_ok));
            let calls = calls(&recorder);
            let count =
                |wanted: fn(&Call) -> bool| calls.iter().filter(|call| wanted(call)).count();
            let everything = count(|call| matches!(call, Call::SyncEverything));
            let files = count(|call| matches!(call, Call::SyncFile(_)));
            let expected = if syncfs_tells { (2, 0) } else { (0, 300) };
            assert_eq!((everything, files), expected);
        });
    }
}

#[test]
fn pending_writes_hold_few_descriptors() {
    block_on(async {
        let root = scratch();
        let store = FileStore::create(root.path()).await.unwrap();
        let bytes = Bytes::from_static(b"bytes");
        let mut writers = Vec::new();
        for number in 0..200 {
            let declared = Declared::of(&bytes);
            let key = key(&format!("{number}.bin"));
            writers.push(ArtifactSink::create(&store, &key, declared).await.unwrap());
        }
        for writer in &mut writers {
            writer.write(bytes.slice(..2)).await.unwrap();
            writer.write(bytes.slice(2..)).await.unwrap();
        }
        let below = store.root().to_owned();
        let open = fs::read_dir("/proc/self/fd").unwrap().filter(|entry| {
            let target = entry.as_ref().map(|entry| fs::read_link(entry.path()));
            matches!(target, Ok(Ok(target)) if target.starts_with(&below))
        });
        let open = open.count();
        assert!((64..80).contains(&open), "{open}");
        let outcomes = join_all(writers.into_iter().map(ArtifactWriter::commit)).await;
        assert!(outcomes.iter().all(Result::is_ok));
        assert_eq!(read(&store, "199.bin").await.unwrap(), b"bytes");
    });
}

#[test]
fn a_root_that_cannot_be_one_is_refused_with_a_way_out() {
    block_on(async {
        let scratch = scratch();
        let absent = scratch.path().join("absent/deeper");
        let told = FileStore::open(&absent).await.unwrap_err().to_string();
        assert!(told.contains("create it"), "{told}");
        let file = scratch.path().join("file");
        fs::write(&file, "").unwrap();
        for told in [FileStore::open(&file).await, FileStore::create(&file).await] {
            assert!(told.is_err());
        }
        let store = FileStore::create(&absent).await.unwrap();
        put(&store, "a.bin", b"a").await.unwrap();
        let again = FileStore::create(&absent).await.unwrap();
        assert_eq!(read(&again, "a.bin").await.unwrap(), b"a");
    });
}

#[test]
fn a_store_that_is_only_read_is_not_changed() {
    block_on(async {
        let root = scratch();
        let store = FileStore::open(root.path()).await.unwrap();
        assert!(read(&store, "a.bin").await.is_err());
        assert_eq!(listed(&store, &KeyPrefix::all()).await, BTreeSet::new());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    });
}

#[test]
fn storage_uris_are_spelled_as_uris() {
    block_on(async {
        let scratch = scratch();
        let store = FileStore::create(&scratch.path().join("a b%ü"))
            .await
            .unwrap();
        let uri = store.storage_uri(&key("my report (1).pdf"));
        let (_, uri) = uri.split_once("/a%20").unwrap();
        let expected = format!("b%25%C3%BC/{ABOVE}/my%20report%20%281%29.pdf");
        assert_eq!(uri, expected);
    });
}

/// A file that shrinks or grows under a reader gives what there is, and never more than was asked for.
#[test]
fn s03_a_file_that_changes_under_its_reader() {
    block_on(async {
        let root = scratch();
        let store = FileStore::create(root.path()).await.unwrap();
        let path = root.path().join(ABOVE).join("a.bin");
        put(&store, "a.bin", b"a").await.unwrap();
        for (bytes, end, expected) in [
            (300_000, u64::MAX, 300_000),
            (
                0,
                u64::MAX,
                usize::try_from(crate::fs::PIECE_BYTES_MAX).unwrap(),
            ),
            (900_000, 600_000, 600_000),
            (900_000, 600_001, 600_001),
            (900_000, u64::MAX, 900_000),
        ] {
            fs::write(&path, vec![7; 600_000]).unwrap();
            let mut body = ArtifactReader::open(&store, &key("a.bin").into(), 0..end)
                .await
                .unwrap();
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_len(bytes).unwrap();
            let mut read = 0;
            while let Some(piece) = body.next().await {
                read += piece.unwrap().len();
            }
            assert_eq!(read, expected, "{bytes} {end}");
        }
    });
}
