//! Tests of the audit log: what is changed, cut off or torn.

use std::fs;

use runpack_core::sign::SigningKey;
use runpack_core::time::FixedClock;
use serde_json::json;

use super::*;

const KEY: &str = include_str!("../../tests/it/key.pem");

fn log(directory: &Path) -> AuditLog {
    AuditLog::new(directory, "tester")
}

fn clock() -> FixedClock {
    FixedClock("2026-11-20T12:00:00Z".parse().unwrap())
}

fn written(directory: &Path, count: u64) -> AuditLog {
    let log = log(directory);
    for number in 0..count {
        let entry = log
            .append(&clock(), "test.act", Outcome::Done, json!({"n": number}))
            .unwrap();
        assert_eq!(entry.sequence, number);
    }
    log
}

#[test]
fn lines_are_chained_and_every_change_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let log = written(directory.path(), 5);
    assert_eq!(log.verify(&[]).unwrap().entries, 5);
    let whole = fs::read(log.path()).unwrap();
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    let changed = |name: &str, lines: Vec<&[u8]>| {
        fs::write(log.path(), lines.concat()).unwrap();
        let found = log.verify(&[]);
        assert!(
            matches!(found, Err(AuditError::Changed { .. })),
            "{name}: {found:?}"
        );
    };
    changed("removed", [&lines[..2], &lines[3..]].concat());
    changed("first removed", lines[1..].to_vec());
    changed("twice", [&lines[..2], &lines[1..]].concat());
    changed("swapped", vec![lines[0], lines[2], lines[1], lines[3]]);
    // Any byte of any line but the last, which only a head can tell.
    for at in 0..whole.len() - lines[4].len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(log.path(), &bytes).unwrap();
        assert!(log.verify(&[]).is_err(), "byte {at}");
    }
}

#[test]
fn a_log_that_was_cut_is_told_by_a_signed_head() {
    let directory = tempfile::tempdir().unwrap();
    let log = written(directory.path(), 5);
    let key = SigningKey::from_pem(KEY).unwrap();
    let trusted = [key.public_key()];
    assert_eq!(log.sign_head(&clock(), &key).unwrap().unwrap().sequence, 4);
    written_more(&log);
    assert_eq!(log.verify(&trusted).unwrap().heads, 1);
    let whole = fs::read(log.path()).unwrap();
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    fs::write(log.path(), lines[..4].concat()).unwrap();
    assert!(log.verify(&[]).is_ok());
    let found = log.verify(&trusted);
    assert!(
        matches!(found, Err(AuditError::Head { sequence: 4, .. })),
        "{found:?}"
    );
    // A log that was written again from the start has other lines.
    fs::remove_file(log.path()).unwrap();
    written(directory.path(), 5);
    let again = log.append(&clock(), "x", Outcome::Done, json!({})).unwrap();
    assert_eq!(again.sequence, 5);
    fs::write(log.path(), whole).unwrap();
    let other = SigningKey::from_pem(include_str!("../../tests/it/other.pem")).unwrap();
    let found = log.verify(&[other.public_key()]);
    assert!(matches!(found, Err(AuditError::Untrusted { .. })));
}

fn written_more(log: &AuditLog) {
    log.append(&clock(), "test.more", Outcome::Refused, json!({}))
        .unwrap();
}

#[test]
fn what_a_crash_tore_off_is_told_in_the_next_line() {
    let directory = tempfile::tempdir().unwrap();
    let log = written(directory.path(), 2);
    let mut bytes = fs::read(log.path()).unwrap();
    bytes.extend_from_slice(b"{\"sequence\":2,\"prev");
    fs::write(log.path(), bytes).unwrap();
    assert_eq!(log.verify(&[]).unwrap().entries, 2);
    let entry = log
        .append(&clock(), "test.after", Outcome::Done, json!({}))
        .unwrap();
    assert_eq!(entry.sequence, 2);
    assert_eq!(entry.detail["torn_off_before"]["bytes"], 19);
    assert_eq!(log.verify(&[]).unwrap().entries, 3);
}

#[test]
fn many_writers_make_one_chain() {
    let directory = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let log = log(directory.path());
            scope.spawn(move || {
                for _ in 0..10 {
                    log.append(&clock(), "test.race", Outcome::Done, json!({}))
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(log(directory.path()).verify(&[]).unwrap().entries, 40);
}

#[test]
fn nothing_is_signed_that_an_earlier_head_of_the_key_denies() {
    let directory = tempfile::tempdir().unwrap();
    let log = written(directory.path(), 5);
    let key = SigningKey::from_pem(KEY).unwrap();
    log.sign_head(&clock(), &key).unwrap();
    let whole = fs::read(log.path()).unwrap();
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    fs::write(log.path(), lines[..3].concat()).unwrap();
    let found = log.sign_head(&clock(), &key);
    assert!(matches!(found, Err(AuditError::Head { .. })), "{found:?}");
    // Another key has signed nothing yet, and does not judge what this one did.
    let other = SigningKey::from_pem(include_str!("../../tests/it/other.pem")).unwrap();
    assert_eq!(
        log.sign_head(&clock(), &other).unwrap().unwrap().sequence,
        2
    );
}

#[test]
fn a_log_and_its_heads_that_were_both_cut_are_told_by_what_was_kept_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let log = written(directory.path(), 3);
    let key = SigningKey::from_pem(KEY).unwrap();
    let trusted = [key.public_key()];
    let early = (
        fs::read(log.path()).unwrap(),
        log.sign_head(&clock(), &key).unwrap().unwrap(),
    );
    let heads = fs::read(log.heads_path()).unwrap();
    written_more(&log);
    let late = log.sign_head(&clock(), &key).unwrap().unwrap();
    assert_eq!(log.expect(&trusted, late.line).unwrap().entries, 4);
    assert_eq!(log.expect(&trusted, early.1.line).unwrap().entries, 4);
    fs::write(log.path(), early.0).unwrap();
    fs::write(log.heads_path(), heads).unwrap();
    assert!(log.verify(&trusted).is_ok());
    let found = log.expect(&trusted, late.line);
    assert!(
        matches!(found, Err(AuditError::Missing { entries: 3, .. })),
        "{found:?}"
    );
}

#[test]
fn lines_longer_than_what_is_read_first_are_chained_too() {
    let directory = tempfile::tempdir().unwrap();
    let log = log(directory.path());
    for bytes in [10, 70_000, 65_536, 200_000, 10, 10] {
        let detail = json!({"text": "x".repeat(bytes)});
        log.append(&clock(), "test.long", Outcome::Done, detail)
            .unwrap();
    }
    let mut bytes = fs::read(log.path()).unwrap();
    bytes.extend_from_slice("y".repeat(100_000).as_bytes());
    fs::write(log.path(), bytes).unwrap();
    let entry = log
        .append(&clock(), "test.after", Outcome::Done, json!({}))
        .unwrap();
    assert_eq!(entry.detail["torn_off_before"]["bytes"], 100_000);
    assert_eq!(log.verify(&[]).unwrap().entries, 7);
}
