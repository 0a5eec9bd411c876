//! Tests of the parts of shipping; whole trees are shipped in `tests/it/shipping.rs`.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::atomic::{AtomicU32, Ordering};

use runpack_core::key::Log;
use runpack_core::store::{MemoryStore, StoreError};
use runpack_core::time::{FixedClock, Timestamp};
use runpack_testing::{block_on, scratch};
use tempfile::TempDir;

use super::marker::{Place, is_ours};
use super::plan::{Becomes, Said, plan};
use super::*;

const ID: &str = "01JD3M7Z9X8QWERTYASDFGHJKM";

fn unavailable() -> StoreError {
    StoreError::Unavailable {
        action: "writing",
        key: "k".to_owned(),
        source: "away".into(),
    }
}

fn retry(attempts: u32, budget: u32) -> Backoff {
    Backoff::new(Retry {
        first: Duration::from_micros(1),
        longest: Duration::from_micros(10),
        attempts,
        budget,
    })
}

#[test]
fn n02_n03_a_call_is_tried_so_often_and_a_round_has_a_budget() {
    block_on(async {
        let calls = AtomicU32::new(0);
        let away = || async {
            calls.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>(unavailable())
        };
        let backoff = retry(3, 3);
        for expected in [3, 5, 6] {
            // Three attempts, then the two that the budget has left of it, then one.
            let problem = backoff.tries(away).await.unwrap_err();
            assert!(matches!(problem, Problem::Store(_)), "{problem}");
            assert_eq!(calls.load(Ordering::Relaxed), expected);
        }
        backoff.refill();
        backoff.tries(away).await.unwrap_err();
        assert_eq!(calls.load(Ordering::Relaxed), 9);
        // What will not pass is not tried again.
        let barred = || async {
            calls.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>(StoreError::Barred {
                reason: "no".to_owned(),
            })
        };
        backoff.tries(barred).await.unwrap_err();
        assert_eq!(calls.load(Ordering::Relaxed), 10);
        let left = AtomicU32::new(2);
        let back = || async {
            match left.fetch_sub(1, Ordering::Relaxed) {
                0 => Ok(7),
                _ => Err(unavailable()),
            }
        };
        assert_eq!(retry(3, 3).tries(back).await.unwrap(), 7);
    });
}

fn executions(directory: &TempDir) -> (Executions, Producer) {
    let producer = Producer {
        name: "runpack".parse().unwrap(),
        version: "0.1.0".parse().unwrap(),
    };
    let made = Executions::new(
        Arc::new(MemoryStore::new()),
        None,
        Staging::open(directory.path()).unwrap(),
        Arc::new(FixedClock(Timestamp::EPOCH)),
        producer.clone(),
    );
    (made, producer)
}

fn look(tree: &TempDir) -> (Arc<Folder>, tree::Look) {
    let folder = Arc::new(Folder::open(tree.path()).unwrap());
    let look = folder.look(is_ours, 1_000).unwrap();
    (folder, look)
}

fn write(tree: &TempDir, path: &[u8], bytes: &[u8]) {
    let path = tree.path().join(std::ffi::OsStr::from_bytes(path));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn c26_every_file_has_its_place_and_no_name_leads_out_of_it() {
    let (tree, staging) = (scratch(), scratch());
    let (executions, producer) = executions(&staging);
    for (path, expected) in [
        (&b"raw/runner.log"[..], "logs/runner.log"),
        (b"raw/logs/stdout.log", "logs/stdout.log"),
        (b"raw/logs/other.log", "artifacts/logs/other.log"),
        (b"raw/deep/stdout.log", "artifacts/deep/stdout.log"),
        // Parts of a log have bytes, an empty one has none.
        (b"raw/logs/stderr.log", "artifacts/logs/stderr.log"),
        (b"raw/manifest.json", "artifacts/manifest.json"),
        (b"raw/...", "artifacts/..%2E"),
        (b"raw/..\\..\\x", "artifacts/..%5C..%5Cx"),
        (b"raw/%2e%2e%2fx", "artifacts/%252e%252e%252fx"),
        (b"raw/-rf", "artifacts/%2Drf"),
        (b"raw/aux.txt", "artifacts/%61ux.txt"),
        (b"raw/a\nb", "artifacts/a%0Ab"),
        (b"raw/\xff\xfe", "artifacts/%FF%FE"),
        ("raw/Ü".as_bytes(), "artifacts/%C3%9C"),
        (b"metadata.json", "artifacts/metadata.json"),
        (b"beside.txt", ""),
        (b".complete", ""),
        (b".runpack-shipped.json.01J", ""),
    ] {
        let bytes: &[u8] = if expected == "artifacts/logs/stderr.log" {
            b""
        } else {
            b"{}"
        };
        write(&tree, path, bytes);
    }
    let (_, look) = look(&tree);
    let id = ID.parse().unwrap();
    let kinds: Kinds = |_| ("text/plain", "file");
    let planned = plan(&id, &look, kinds, &producer, &executions).unwrap();
    let shown: Vec<String> = planned
        .iter()
        .map(|file| {
            let log = matches!(file.becomes, Becomes::Log(Log::Runner | Log::Stdout));
            let path = String::from_utf8_lossy(&file.path);
            format!("{path:?} -> {} log={log}", file.artifact)
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn what_makes_no_pack_is_found_before_anything_is_sent() {
    for (paths, why) in [
        (&["raw/A.txt", "raw/a.txt"][..], "letter case"),
        (
            &["raw/runner.log", "raw/logs/runner.log"],
            "the same artifact",
        ),
        (&["raw/a", "raw/A/b"], "directory"),
    ] {
        let (tree, staging) = (scratch(), scratch());
        let (executions, producer) = executions(&staging);
        for path in paths {
            write(&tree, path.as_bytes(), b"x");
        }
        let (_, look) = look(&tree);
        let kinds: Kinds = |_| ("text/plain", "file");
        let refused = plan(&ID.parse().unwrap(), &look, kinds, &producer, &executions);
        let problem = refused.unwrap_err();
        assert!(problem.to_string().contains(why), "{paths:?}: {problem}");
        assert!(problem.is_of_the_tree());
    }
    let (tree, staging) = (scratch(), scratch());
    let (executions, producer) = executions(&staging);
    let long = ["raw", &"d".repeat(250), &"d".repeat(250), "file"].join("/");
    write(&tree, long.as_bytes(), b"x");
    let (_, look) = look(&tree);
    let kinds: Kinds = |_| ("text/plain", "file");
    let refused = plan(&ID.parse().unwrap(), &look, kinds, &producer, &executions);
    assert!(matches!(refused, Err(Problem::Name { .. })));
}

#[test]
fn what_a_bench_says_is_read_strictly() {
    for (text, at) in [
        (r#"{"result":"good"}"#, "result"),
        (r#"{"result":"passed","result":"failed"}"#, "result"),
        (r#"{"started_at":"yesterday"}"#, "started_at"),
        (r#"{"other":1}"#, "other"),
        ("[]", "."),
        ("", "."),
    ] {
        let tree = scratch();
        write(&tree, b"raw/metadata.json", text.as_bytes());
        let (folder, look) = look(&tree);
        match block_on(Said::read(&folder, &look)) {
            Err(Problem::Document { source, .. }) => assert_eq!(source.path, at, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    let tree = scratch();
    write(&tree, b"raw/metadata.json", b"{}");
    write(&tree, b"metadata.json", b"{}");
    let (folder, look) = look(&tree);
    let refused = block_on(Said::read(&folder, &look));
    assert!(matches!(refused, Err(Problem::NoPack(_))), "{refused:?}");
}

#[test]
fn w17_a_marker_that_is_torn_or_anothers_counts_as_none() {
    let tree = scratch();
    let folder = Arc::new(Folder::open(tree.path()).unwrap());
    let place = Place::in_tree(Arc::clone(&folder), "bench/one");
    let kept = Kept::BodySha256(Digest::of(b"x"));
    let marker = Marker::new("bench/one", kept, "k".to_owned(), Timestamp::EPOCH, vec![]);
    assert_eq!(place.read().unwrap(), None);
    place.write(&marker).unwrap();
    assert_eq!(place.read().unwrap(), Some(marker.clone()));
    let other = Place::in_tree(Arc::clone(&folder), "bench/two");
    assert_eq!(other.read().unwrap(), None);
    // One that is sound stays, whoever comes second.
    let later = Timestamp::from_unix_seconds(5).unwrap();
    let second = Marker::new("bench/one", kept, "k".to_owned(), later, vec![]);
    place.write(&second).unwrap();
    assert_eq!(place.read().unwrap(), Some(marker.clone()));
    let path = tree.path().join(MARKER);
    let whole = fs::read(&path).unwrap();
    for torn in [&b""[..], &whole[..whole.len() / 2], b"{}", b"\0\0\0"] {
        fs::write(&path, torn).unwrap();
        assert_eq!(place.read().unwrap(), None);
        place.write(&marker).unwrap();
        assert_eq!(place.read().unwrap(), Some(marker.clone()));
    }
    let names: Vec<_> = fs::read_dir(tree.path()).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}
