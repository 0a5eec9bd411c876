//! Buckets of real servers under the conformance suite: with versions and without, and by way of TLS.

use std::sync::Barrier;
use std::thread;

use bytes::Bytes;
use runpack_core::key::{Location, ObjectKey};
use runpack_core::store::s3::{Credentials, S3Settings, S3Store, Secret};
use runpack_core::store::{ArtifactSink as _, Declared, Receipt, StoreError};
use runpack_testing::conformance::Subject;
use runpack_testing::null::NullS3;
use runpack_testing::servers::{BucketKind, Kind, TestBucket, shared};
use runpack_testing::{block_on, conformance};

async fn bucket(kind: Kind, how: BucketKind) -> TestBucket {
    shared(kind).bucket(how).await
}

async fn subject(settings: S3Settings) -> Subject {
    Subject::new(S3Store::open(settings).await.unwrap())
}

conformance!(ceph, async || {
    subject(bucket(Kind::Ceph, BucketKind::Plain).await.settings()).await
});

// All but the two races: where versions are kept, Ceph lets several conditional writes win, each with a version
// of its own. What holds instead is below, and what the pack writer makes of it is in `racing`.
conformance!(ceph_with_versions, async || {
    subject(bucket(Kind::Ceph, BucketKind::Versioned).await.settings()).await
},
    same_bytes_again_are_success
    other_bytes_never_replace
    nothing_before_commit
    nothing_after_drop_or_abort
    declared_is_checked
    many_commits_at_once
    a_dropped_commit_hangs_nobody
    more_than_two_chunks
    no_bytes_at_all
    pieces_of_any_size
    ranges
    what_is_not_there
    stat_and_versions
    listing_is_under_its_prefix
    a_source_is_sent
    a_source_that_changed_is_refused
    what_is_there_is_found
    holdings_are_told_and_removed
);

// The server that benchmarks measure clients by does what the store asks of a server.
conformance!(null, async || {
    let server = NullS3::start(1 << 30);
    let mut settings = S3Settings::new("bench".parse().unwrap());
    settings.endpoint = Some(server.endpoint().parse().unwrap());
    settings.credentials = Credentials::Keys {
        access_key: "test".to_owned(),
        secret_key: Secret::new("test"),
        session_token: None,
    };
    Subject::keeping(S3Store::open(settings).await.unwrap(), server)
});

/// Writes these at the same time, from threads of their own.
fn race(
    settings: &S3Settings,
    key: &ObjectKey,
    contents: &[Bytes],
) -> Vec<Result<Receipt, StoreError>> {
    let start = Barrier::new(contents.len());
    let write = |bytes: &Bytes| {
        block_on(async {
            let store = S3Store::open(settings.clone()).await.unwrap();
            start.wait();
            store.put(key, bytes.clone(), Declared::of(bytes)).await
        })
    };
    thread::scope(|scope| {
        let writers: Vec<_> = contents
            .iter()
            .map(|bytes| scope.spawn(|| write(bytes)))
            .collect();
        writers
            .into_iter()
            .map(|writer| writer.join().unwrap())
            .collect()
    })
}

fn raced() -> ObjectKey {
    let key = "executions/01ARZ3NDEKTSV4RRFFQ69G5FAV/artifacts/raced.bin";
    Location::parse(key).unwrap().key().unwrap()
}

#[test]
fn w14_with_versions_all_who_write_the_same_succeed_and_no_version_differs() {
    let bucket = block_on(bucket(Kind::Ceph, BucketKind::Versioned));
    let same = vec![Bytes::from("the same"); 12];
    for outcome in race(&bucket.settings(), &raced(), &same) {
        outcome.unwrap();
    }
    let versions = block_on(bucket.versions_raw(""));
    assert!(!versions.is_empty());
    for version in versions {
        let bytes = block_on(bucket.read_version_raw(&version.name, &version.version));
        assert_eq!(bytes.as_ref(), same.first());
    }
}

#[test]
fn w14_with_versions_whoever_is_told_of_success_finds_its_bytes_under_its_version() {
    let bucket = block_on(bucket(Kind::Ceph, BucketKind::Versioned));
    let contents: Vec<_> = (0..12)
        .map(|number| Bytes::from(format!("written by {number}")))
        .collect();
    let outcomes = race(&bucket.settings(), &raced(), &contents);
    let mut acknowledged = Vec::new();
    for (outcome, bytes) in outcomes.iter().zip(&contents) {
        if let Ok(receipt) = outcome {
            let version = receipt.version.as_ref().unwrap();
            let found = block_on(bucket.read_version_raw(receipt.key.as_str(), version.as_str()));
            assert_eq!(found.as_ref(), Some(bytes));
            acknowledged.push(Declared::of(bytes).commitment());
        }
    }
    assert!(!acknowledged.is_empty(), "{outcomes:?}");
    for outcome in outcomes.into_iter().filter(Result::is_err) {
        assert!(
            matches!(&outcome, Err(StoreError::AlreadyExists { theirs, .. }) if acknowledged.contains(theirs)),
            "{outcome:?}"
        );
    }
}

// Below a prefix, over TLS.
conformance!(ceph_in_tls, async || {
    let bucket = bucket(Kind::Ceph, BucketKind::Plain).await;
    let mut settings = bucket.settings_in_tls();
    settings.path_prefix = bucket.settings_below("team-a/packs").path_prefix;
    subject(settings).await
});

conformance!(ministack, async || {
    subject(bucket(Kind::MiniStack, BucketKind::Plain).await.settings()).await
});

conformance!(moto, async || {
    subject(bucket(Kind::Moto, BucketKind::Plain).await.settings()).await
});
