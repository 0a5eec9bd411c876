//! Tests of executions over the model of a store; what HTTP adds is tested from outside.

mod races;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use runpack_core::key::Log;
use runpack_core::pin::Pins;
use runpack_core::store::{ArtifactReader as _, MemoryStore, ObjectRef, Outcome};
use runpack_core::time::{FixedClock, Timestamp};
use runpack_core::verify::{Pack, StorePack, Verdict, VerifyOptions};
use runpack_testing::{block_on, scratch};
use tempfile::TempDir;

use super::*;
use crate::staging::Staged;

const NOW: &str = "2026-11-20T12:00:00Z";

fn executions(store: &Arc<MemoryStore>, directory: &TempDir) -> Arc<Executions> {
    made(store.clone(), store, directory)
}

fn made(store: Arc<dyn Store>, keeper: &Arc<MemoryStore>, directory: &TempDir) -> Arc<Executions> {
    let clock = Arc::new(FixedClock(NOW.parse::<Timestamp>().unwrap()));
    let producer = Producer {
        name: "runpack-server".parse().unwrap(),
        version: "0.1.0".parse().unwrap(),
    };
    let staging = Staging::open(directory.path()).unwrap();
    let keeper: Arc<dyn Housekeeping> = keeper.clone();
    let limits = Limits::default();
    Arc::new(
        Executions::new(store, Some(keeper), staging, clock, producer)
            .with_limits(ExecutionLimits::default(), limits),
    )
}

fn open() -> Open {
    serde_json::from_value(serde_json::json!({
        "execution_id": "01JD3M7Z9X8QWERTYASDFGHJKM", "organization": "acme", "project": "bench",
        "runner_type": "hil-bench", "suite": "smoke",
    }))
    .unwrap()
}

fn upload(name: &str) -> NewUpload {
    NewUpload {
        name: name.parse().unwrap(),
        title: None,
        kind: "trace".parse().unwrap(),
        media_type: "application/octet-stream".parse().unwrap(),
    }
}

async fn staged(executions: &Executions, bytes: &[u8]) -> Staged {
    let pieces: Vec<_> = bytes
        .chunks(100_000)
        .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)))
        .collect();
    executions
        .staging
        .receive(futures_util::stream::iter(pieces), 1 << 30)
        .await
        .unwrap()
}

fn passed() -> Ending {
    Ending {
        result: Some(ExecutionResult::Passed),
        ended_at: None,
        message: None,
    }
}

async fn text(executions: &Arc<Executions>, id: &ExecutionId, log: Log) -> String {
    let stream = Arc::clone(executions)
        .log(id, log, 0, Follow::No)
        .await
        .unwrap();
    let pieces: Vec<Bytes> = stream.try_collect().await.unwrap();
    String::from_utf8(pieces.concat()).unwrap()
}

#[expect(
    clippy::too_many_lines,
    reason = "one life, from its opening to its pack"
)]
#[test]
fn an_execution_becomes_a_pack_that_verifies() {
    block_on(async {
        let (store, directory) = (Arc::new(MemoryStore::new()), scratch());
        let executions = executions(&store, &directory);
        let opened = executions.open(open(), "token:bench").await.unwrap();
        assert!(opened.is_new);
        let again = executions.open(open(), "token:bench").await.unwrap();
        assert_eq!(
            (again.execution_id.clone(), again.is_new),
            (opened.execution_id.clone(), false)
        );
        let other = Open {
            suite: None,
            ..open()
        };
        let error = executions.open(other, "token:bench").await.unwrap_err();
        assert!(
            matches!(error, ExecutionError::OpenedOtherwise(_)),
            "{error}"
        );
        let id = opened.execution_id;
        // One of three chunks, from a file; one small, from memory.
        let large = vec![7u8; 20 << 20];
        for (name, bytes) in [
            ("artifacts/trace.bin", &large[..]),
            ("artifacts/a/b.txt", b"small"),
        ] {
            let body = staged(&executions, bytes).await;
            assert_eq!(body.path().is_some(), bytes.len() > 1 << 20);
            let (note, outcome) = executions.upload(&id, upload(name), &body).await.unwrap();
            assert_eq!(
                (note.bytes, outcome),
                (u64::try_from(bytes.len()).unwrap(), Outcome::Created)
            );
            let (_, outcome) = executions.upload(&id, upload(name), &body).await.unwrap();
            assert_eq!(outcome, Outcome::AlreadyThere);
        }
        let other = staged(&executions, b"other").await;
        let error = executions
            .upload(&id, upload("artifacts/a/b.txt"), &other)
            .await
            .unwrap_err();
        assert!(matches!(error, ExecutionError::Uploaded(_)), "{error}");
        executions
            .append(&id, Log::Stdout, None, "one\n".into())
            .await
            .unwrap();
        executions
            .append(&id, Log::Stdout, Some(4), "two\n".into())
            .await
            .unwrap();
        assert_eq!(text(&executions, &id, Log::Stdout).await, "one\ntwo\n");
        assert_eq!(executions.status(&id).await.unwrap().state, State::Open);
        let mut expected = Expected::new();
        expected.insert("artifacts/trace.bin".parse().unwrap(), Digest::of(&large));
        expected.insert("artifacts/a/b.txt".parse().unwrap(), Digest::of(b"small"));
        expected.insert(
            "logs/stdout.log".parse().unwrap(),
            Digest::of(b"one\ntwo\n"),
        );
        let mut wrong = expected.clone();
        wrong.insert("artifacts/missing".parse().unwrap(), Digest::of(b""));
        let error = executions
            .end(&id, &passed(), &wrong, "token:bench")
            .await
            .unwrap_err();
        assert!(matches!(error, ExecutionError::Unexpected(_)), "{error}");
        assert_eq!(
            executions.status(&id).await.unwrap().state,
            State::Open,
            "nothing was decided"
        );
        let done = executions
            .end(&id, &passed(), &expected, "token:bench")
            .await
            .unwrap();
        let pack_id = done.pack_id.unwrap();
        let again = executions
            .end(&id, &passed(), &expected, "token:bench")
            .await
            .unwrap();
        assert_eq!((again.pack_id, again.is_new), (Some(pack_id), false));
        let failed = Ending {
            result: Some(ExecutionResult::Failed),
            ..passed()
        };
        let error = executions
            .end(&id, &failed, &expected, "token:bench")
            .await
            .unwrap_err();
        assert!(matches!(error, ExecutionError::Ended { .. }), "{error}");
        let error = executions
            .append(&id, Log::Stdout, None, "late".into())
            .await
            .unwrap_err();
        assert!(matches!(error, ExecutionError::Ended { .. }), "{error}");
        assert_eq!(
            executions.status(&id).await.unwrap().state,
            State::Complete(pack_id)
        );
        assert_eq!(
            text(&executions, &id, Log::Stdout).await,
            "one\ntwo\n",
            "from the pack"
        );
        let names: Vec<_> = executions
            .items(&id)
            .await
            .unwrap()
            .into_iter()
            .map(|item| item.name.to_string())
            .collect();
        assert_eq!(
            names,
            [
                "artifacts/a/b.txt",
                "artifacts/trace.bin",
                "logs/stdout.log",
                "metadata.json"
            ]
        );
        let subject = Subject::Execution {
            execution_id: id.clone(),
        };
        let pack = Pack::open(
            Arc::new(StorePack::new(store.clone(), subject)),
            &Limits::default(),
        )
        .await
        .unwrap();
        let report = pack
            .verify(&Pins::pack_id(pack_id), &VerifyOptions::default())
            .await;
        assert_eq!(report.verdict, Verdict::Valid, "{:?}", report.findings);
        let left: Vec<_> = store
            .list(&Location::live_prefix(Some(&id)))
            .try_collect()
            .await
            .unwrap();
        assert_eq!(left.len(), 1, "only the opening is left: {left:?}");
    });
}

#[test]
fn parts_of_a_log_follow_each_other_whoever_writes_them() {
    block_on(async {
        let (store, directory, beside) = (Arc::new(MemoryStore::new()), scratch(), scratch());
        let (one, two) = (executions(&store, &directory), executions(&store, &beside));
        let id = one.open(open(), "token:bench").await.unwrap().execution_id;
        let mut written = String::new();
        for n in 0..20u32 {
            let server = if n % 3 == 0 { &two } else { &one };
            let line = format!("line {n}\n");
            let appended = server
                .append(&id, Log::Runner, None, line.clone().into())
                .await
                .unwrap();
            assert_eq!(appended.offset, u64::try_from(written.len()).unwrap());
            written.push_str(&line);
        }
        // The same again is success, other bytes there are not, and a gap is not.
        let end = u64::try_from(written.len()).unwrap();
        let again = two
            .append(&id, Log::Runner, Some(7), "line 1\n".into())
            .await
            .unwrap();
        assert!(!again.is_new);
        for (offset, bytes) in [(7, "line X\n"), (8, "ine 1\n"), (end + 1, "gap")] {
            let error = two
                .append(&id, Log::Runner, Some(offset), bytes.into())
                .await
                .unwrap_err();
            assert!(
                matches!(error, ExecutionError::Offset { offset } if offset == end),
                "{error}"
            );
        }
        assert_eq!(text(&one, &id, Log::Runner).await, written);
        // Somebody follows, another server writes and ends it.
        let follower = Arc::clone(&one)
            .log(&id, Log::Runner, end, Follow::UntilTheEnd)
            .await
            .unwrap();
        let writing = async {
            two.append(&id, Log::Runner, None, "last words\n".into())
                .await
                .unwrap();
            two.end(&id, &passed(), &Expected::new(), "token:bench")
                .await
                .unwrap();
        };
        let (read, ()) = tokio::join!(follower.try_collect::<Vec<Bytes>>(), writing);
        assert_eq!(read.unwrap().concat(), b"last words\n");
    });
}

#[test]
fn what_could_not_be_brought_is_an_artifact_error_and_no_pack() {
    block_on(async {
        let (store, directory) = (Arc::new(MemoryStore::new()), scratch());
        let executions = executions(&store, &directory);
        let id = executions
            .open(open(), "token:bench")
            .await
            .unwrap()
            .execution_id;
        let ending = Ending {
            result: None,
            ended_at: None,
            message: Some("the share was away".parse().unwrap()),
        };
        let done = executions
            .end(&id, &ending, &Expected::new(), "token:bench")
            .await
            .unwrap();
        assert_eq!((done.pack_id, done.is_new), (None, true));
        assert_eq!(
            executions.status(&id).await.unwrap().state,
            State::ArtifactError
        );
        let error = executions
            .end(&id, &passed(), &Expected::new(), "token:bench")
            .await
            .unwrap_err();
        assert!(
            matches!(
                error,
                ExecutionError::Ended {
                    status: "artifact_error",
                    ..
                }
            ),
            "{error}"
        );
        let manifest = Location::manifest(&Subject::Execution { execution_id: id })
            .key()
            .unwrap();
        assert!(store.stat(&ObjectRef::from(manifest)).await.is_err());
    });
}
