//! Tests of local receipts.

use std::fs;

use super::*;
use crate::commitment::Content;
use crate::limits::Limits;
use crate::manifest::{Artifact, Labels, Producer};

fn manifest(created_at: &str, run_id: &str) -> Manifest {
    let subject = Subject::Run {
        tenant: "acme".parse().unwrap(),
        namespace: "prod".parse().unwrap(),
        scenario: "loan".parse().unwrap(),
        run_id: run_id.parse().unwrap(),
        spec_hash: format!("sha256:{}", Digest::of(b"spec")).parse().unwrap(),
    };
    let producer = Producer {
        name: "test".parse().unwrap(),
        version: "1".parse().unwrap(),
    };
    let artifact = Artifact::new(
        "a".parse().unwrap(),
        "x".parse().unwrap(),
        "a/b".parse().unwrap(),
        1,
        Content::Whole(Digest::of(b"1")),
    );
    let artifacts = vec![artifact.unwrap()];
    let created_at = created_at.parse().unwrap();
    Manifest::new(
        subject,
        created_at,
        producer,
        artifacts,
        Labels::new(),
        &Limits::default(),
    )
    .unwrap()
}

fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

#[test]
fn a_pack_is_found_by_subject_and_by_place() {
    let home = tempfile::tempdir().unwrap();
    let book = ReceiptBook::new(home.path().join("receipts"));
    let (first, second) = (
        manifest("2026-01-01T00:00:00Z", "r"),
        manifest("2026-01-02T00:00:00Z", "r"),
    );
    assert_eq!(book.of_subject(first.subject()).unwrap(), []);
    assert_eq!(book.of_place("file:///a").unwrap(), None);
    book.record(&first, vec!["file:///a".into()], now())
        .unwrap();
    book.record(&second, vec!["file:///b".into()], now())
        .unwrap();
    let mut both = vec![first.pack_id(), second.pack_id()];
    both.sort_unstable();
    assert_eq!(book.of_subject(first.subject()).unwrap(), both);
    assert_eq!(book.of_place("file:///a").unwrap(), Some(first.pack_id()));
    assert_eq!(
        book.of_subject(manifest("2026-01-01T00:00:00Z", "other").subject())
            .unwrap(),
        []
    );
}

#[test]
fn a_damaged_receipt_stops_the_verifier() {
    let home = tempfile::tempdir().unwrap();
    let book = ReceiptBook::new(home.path());
    let pack = manifest("2026-01-01T00:00:00Z", "r");
    let path = book.record(&pack, vec!["file:///a".into()], now()).unwrap();
    for damage in ["", "{}", "not json", "{\"format\":\"runpack-receipt/v2\"}"] {
        fs::write(&path, damage).unwrap();
        assert!(
            matches!(
                book.of_subject(pack.subject()),
                Err(ReceiptError::Damaged { .. })
            ),
            "{damage}"
        );
    }
    // What a crash leaves half-written has another name, and is no receipt.
    fs::remove_file(&path).unwrap();
    fs::write(path.with_file_name(".receipt-x1y2"), "{").unwrap();
    assert_eq!(book.of_subject(pack.subject()).unwrap(), []);
}
