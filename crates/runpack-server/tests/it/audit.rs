//! The audit log: what was acknowledged is there, and what was changed is found.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed assertion is how a test speaks"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use runpack_core::time::FixedClock;
use runpack_server::audit::{
    AuditError, AuditLog, Entry, Event, Outcome, check, check_each, expect,
};
use runpack_testing::{block_on, scratch};

/// What a child of these tests is told to work on.
const CHILD: &str = "RUNPACK_TEST_AUDIT_DIRECTORY";

fn open(dir: &Path) -> Result<AuditLog, AuditError> {
    let clock = FixedClock("2026-11-20T12:00:00Z".parse().unwrap());
    AuditLog::open(dir, "replica-1", Arc::new(clock))
}

fn event(object: impl Into<String>) -> Event {
    Event {
        request: Some("01JD0000000000000000000000".to_owned()),
        caller: Some("token:ci".into()),
        action: "record.write",
        object: object.into(),
        outcome: Outcome::Accepted,
        status: 201,
        detail: BTreeMap::new(),
    }
}

/// A log of one file with these objects.
fn write(dir: &Path, objects: &[&str]) {
    let log = open(dir).unwrap();
    block_on(async {
        for object in objects {
            log.record(event(*object)).await.unwrap();
        }
        log.close().await;
    });
}

fn entries(dir: &Path) -> Vec<Entry> {
    let mut entries = Vec::new();
    check_each(dir, |entry, _| entries.push(entry.clone())).unwrap();
    entries
}

/// The files of lines, in order.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "jsonl")
        })
        .collect();
    files.sort();
    files
}

/// The same log in three files.
fn in_three_files(dir: &Path) {
    write(dir, &["0", "1", "2", "3", "4", "5"]);
    let [path] = files(dir).try_into().unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    for (number, lines) in lines.chunks(2).enumerate() {
        let name = format!("audit-{:020}.jsonl", number * 2);
        fs::write(dir.join(name), lines.concat()).unwrap();
    }
}

#[test]
fn every_kind_of_tampering_is_found() {
    type Tamper = fn(&mut Vec<Vec<String>>);
    let cases: [(&str, Tamper); 13] = [
        ("a line changed", |f| {
            f[0][1] = f[0][1].replace("token:ci", "token:me");
        }),
        ("a space put in", |f| {
            f[1][0] = f[1][0].replace('{', "{ ");
        }),
        ("a line removed", |f| drop(f[1].remove(0))),
        ("the first line removed", |f| drop(f[0].remove(0))),
        ("a line twice", |f| {
            let line = f[1][0].clone();
            f[1].insert(0, line);
        }),
        ("lines swapped", |f| f[0].swap(0, 1)),
        ("a file cut at a line", |f| drop(f[0].pop())),
        ("a file cut in a line", |f| {
            let cut = f[1][1].len() - 9;
            f[1][1].truncate(cut);
        }),
        ("a file emptied", |f| f[1].clear()),
        ("files swapped", |f| f.swap(0, 1)),
        ("a line of zeros", |f| f[0][1] = "\0".repeat(300)),
        ("another replica's line", |f| {
            f[2][0] = f[2][0].replace("replica-1", "replica-2");
        }),
        ("a line of another form", |f| {
            f[1][1] = f[1][1].replace('{', r#"{"more":1,"#);
        }),
    ];
    for (what, tamper) in cases {
        let dir = scratch();
        in_three_files(dir.path());
        assert_eq!(check(dir.path()).unwrap().files, 3);
        let paths = files(dir.path());
        let mut lines: Vec<Vec<String>> = paths
            .iter()
            .map(|path| {
                let text = fs::read_to_string(path).unwrap();
                text.split_inclusive('\n').map(str::to_owned).collect()
            })
            .collect();
        tamper(&mut lines);
        for (path, lines) in paths.iter().zip(lines) {
            fs::write(path, lines.concat()).unwrap();
        }
        let error = check(dir.path()).expect_err(what);
        assert!(
            matches!(error, AuditError::Changed { .. }),
            "{what}: {error}"
        );
    }
    for removed in [0, 1] {
        let dir = scratch();
        in_three_files(dir.path());
        fs::remove_file(&files(dir.path())[removed]).unwrap();
        let error = check(dir.path()).unwrap_err();
        assert!(matches!(error, AuditError::Changed { .. }), "{error}");
    }
}

#[test]
fn a_log_that_was_changed_at_its_end_is_not_written_on() {
    let dir = scratch();
    in_three_files(dir.path());
    let last = files(dir.path()).pop().unwrap();
    let text = fs::read_to_string(&last).unwrap();
    fs::write(&last, text.replacen("token:ci", "token:me", 1)).unwrap();
    let error = open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("line=`2`"), "{error}");
    assert!(
        error.contains("audit-00000000000000000004.jsonl"),
        "{error}"
    );
}

#[test]
fn a_cut_end_holds_and_a_head_kept_elsewhere_tells() {
    let dir = scratch();
    let log = open(dir.path()).unwrap();
    block_on(async {
        log.record(event("0")).await.unwrap();
        log.record(event("1")).await.unwrap();
    });
    let head = log.head().unwrap();
    block_on(log.close());
    assert_eq!(check(dir.path()).unwrap().last, Some(head));
    assert_eq!(expect(dir.path(), head).unwrap().entries, 2);
    write(dir.path(), &["2"]);
    assert_eq!(expect(dir.path(), head).unwrap().entries, 3);

    let [path] = files(dir.path()).try_into().unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let first = text.split_inclusive('\n').next().unwrap();
    fs::write(&path, first).unwrap();
    assert_eq!(check(dir.path()).unwrap().entries, 1);
    let error = expect(dir.path(), head).unwrap_err();
    assert!(matches!(error, AuditError::Missing { .. }), "{error}");
}

#[test]
fn w03_a_torn_last_line_is_kept_beside_and_told_of() {
    let dir = scratch();
    for (number, torn) in ["{\"sequence\":2,\"prev", "{\"sequence\"\n", "x"]
        .iter()
        .enumerate()
    {
        write(dir.path(), &["whole"]);
        let path = files(dir.path()).pop().unwrap();
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(torn.as_bytes()).unwrap();
        let bytes = u64::try_from(torn.len()).unwrap();
        assert_eq!(check(dir.path()).unwrap().torn_bytes, bytes);

        write(dir.path(), &[]);
        let kept = format!("audit-torn-{}", number + 1);
        assert_eq!(fs::read_to_string(dir.path().join(&kept)).unwrap(), *torn);
        let entries = entries(dir.path());
        let [.., whole, told] = &entries[..] else {
            panic!("{entries:?}");
        };
        assert_eq!(whole.object, "whole");
        assert_eq!((&*told.action, &*told.object), ("audit.recovered", &*kept));
        assert_eq!(told.detail["bytes"], torn.len().to_string());
        assert_eq!(check(dir.path()).unwrap().torn_bytes, 0);
    }
}

#[test]
fn c31_what_a_client_sends_stays_one_line_of_printable_ascii() {
    let dir = scratch();
    let hostile = "a\r\n{\"sequence\":9}\u{1b}[2J\u{9b}31m\u{7f}\u{202e}\u{2028}\0\"\\\u{1f600}";
    let log = open(dir.path()).unwrap();
    let mut sent = event(hostile);
    sent.caller = Some(hostile.into());
    sent.request = Some(hostile.to_owned());
    sent.detail.insert("path", hostile.repeat(100));
    block_on(async {
        log.record(sent).await.unwrap();
        log.close().await;
    });
    let [path] = files(dir.path()).try_into().unwrap();
    let bytes = fs::read(path).unwrap();
    let (last, line) = bytes.split_last().unwrap();
    assert_eq!(*last, b'\n');
    assert!(line.iter().all(|byte| (b' '..=b'~').contains(byte)));
    let [entry] = entries(dir.path()).try_into().unwrap();
    assert_eq!(entry.object, hostile);
    assert_eq!(entry.caller.as_deref(), Some(hostile));
    let cut = &entry.detail["path"];
    assert!(cut.len() < 1200 && cut.contains("sha256="), "{cut}");
}

#[test]
fn one_process_writes_one_chain_of_one_replica() {
    let dir = scratch();
    let log = open(dir.path()).unwrap();
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, AuditError::Locked { .. }), "{error}");
    block_on(async {
        log.record(event("a")).await.unwrap();
        log.close().await;
    });
    let clock = Arc::new(FixedClock("2026-11-20T12:00:00Z".parse().unwrap()));
    let error = AuditLog::open(dir.path(), "replica-2", clock.clone()).unwrap_err();
    assert!(error.to_string().contains("replica=`replica-1`"), "{error}");
    for id in ["", "-a", "a b", "ü", "a\n", &"a".repeat(129)] {
        let error = AuditLog::open(dir.path(), id, clock.clone()).unwrap_err();
        assert!(matches!(error, AuditError::ReplicaId), "{error}");
    }
    assert!(open(dir.path()).is_ok());
}

#[test]
fn a_line_has_this_form() {
    let dir = scratch();
    write(dir.path(), &["acme/web/01JD"]);
    let [path] = files(dir.path()).try_into().unwrap();
    insta::assert_snapshot!(fs::read_to_string(path).unwrap().trim_end(), @r#"{"sequence":0,"previous":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","at":"2026-11-20T12:00:00Z","replica":"replica-1","request":"01JD0000000000000000000000","caller":"token:ci","action":"record.write","object":"acme/web/01JD","outcome":"accepted","status":201,"detail":{}}"#);
}

/// This test again, as a child that works on a directory.
#[expect(
    clippy::disallowed_methods,
    reason = "the test runs itself again, and says so to itself"
)]
fn given_directory() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
}

/// The objects of which a child told that they are durable.
fn acknowledged(told: impl Iterator<Item = String>) -> Vec<String> {
    told.filter_map(|line| {
        line.split_once("durable ")
            .map(|(_, object)| object.to_owned())
    })
    .collect()
}

fn assert_there(dir: &Path, acknowledged: &[String]) {
    let mut there: Vec<_> = entries(dir).into_iter().map(|entry| entry.object).collect();
    there.sort_unstable();
    for object in acknowledged {
        assert!(there.binary_search(object).is_ok(), "{object} is lost");
    }
}

#[test]
fn w04_what_was_acknowledged_is_there_after_a_kill() {
    if let Some(dir) = given_directory() {
        let log = Arc::new(open(&dir).unwrap());
        block_on(async {
            let tasks: Vec<_> = (0..50)
                .map(|task| {
                    let log = Arc::clone(&log);
                    tokio::spawn(async move {
                        for number in 0.. {
                            let object = format!("{task}/{number}");
                            log.record(event(&object)).await.unwrap();
                            tell(&format!("durable {object}"));
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
    }
    let dir = scratch();
    for _ in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "audit::w04_what_was_acknowledged_is_there_after_a_kill",
            ])
            .arg("--nocapture")
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut lines: Vec<_> = told.by_ref().take(1000).map(Result::unwrap).collect();
        child.kill().unwrap();
        // The last may have been cut off in the pipe: then it tells of an object that is a prefix of another.
        lines.extend(told.map_while(Result::ok));
        lines.pop();
        child.wait().unwrap();
        let acknowledged = acknowledged(lines.into_iter());
        assert!(acknowledged.len() > 900);
        write(dir.path(), &["after"]);
        assert_there(dir.path(), &acknowledged);
    }
}

#[test]
fn c33_a_disk_that_takes_no_more_fails_the_log_and_loses_nothing() {
    if let Some(dir) = given_directory() {
        let log = open(&dir).unwrap();
        block_on(async {
            let mut refused = 0;
            for number in 0..1_000_000 {
                let object = format!("{number:01000}");
                match log.record(event(&object)).await {
                    Ok(()) => tell(&format!("durable {object}")),
                    Err(AuditError::Failed { .. }) => refused += 1,
                    Err(error) => panic!("{error}"),
                }
                if refused == 3 {
                    return;
                }
            }
            panic!("it was never refused");
        });
        return;
    }
    let dir = scratch();
    let child = Command::new("sh")
        .args(["-c", r#"trap "" XFSZ; ulimit -f 4096; exec "$0" "$@""#])
        .arg(std::env::current_exe().unwrap())
        .arg("--exact")
        .arg("audit::c33_a_disk_that_takes_no_more_fails_the_log_and_loses_nothing")
        .arg("--nocapture")
        .env(CHILD, dir.path())
        .stdout(Stdio::piped())
        .output()
        .unwrap();
    assert!(child.status.success(), "{child:?}");
    let told = String::from_utf8(child.stdout).unwrap();
    let acknowledged = acknowledged(told.lines().map(str::to_owned));
    assert!(acknowledged.len() > 1000);
    write(dir.path(), &["after"]);
    assert_there(dir.path(), &acknowledged);
    let told = entries(dir.path());
    let last: Vec<_> = told
        .iter()
        .rev()
        .take(2)
        .map(|entry| &*entry.action)
        .collect();
    assert_eq!(last, ["record.write", "audit.recovered"]);
}
