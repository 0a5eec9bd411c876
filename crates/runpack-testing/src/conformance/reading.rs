//! Reading: ranges, what is not there, listings.

use runpack_core::key::{KeyPrefix, Location};
use runpack_core::manifest::Subject as About;
use runpack_core::store::{ObjectRef, VersionId};

use super::{Subject, assert_absent, key, listed, literal_key, noise, put, read};

/// A range gives the bytes that there are of it, and never more.
pub async fn ranges(subject: Subject) {
    const BYTES: u64 = 600_000;
    let store = &*subject.store;
    let (key, bytes) = (key("a.bin"), noise(1, 600_000));
    put(store, &key, &bytes).await.unwrap();
    for (start, end) in [
        (0, BYTES),
        (0, BYTES + 1),
        (0, u64::MAX),
        (0, 0),
        (0, 1),
        (7, 7),
        (9, 3),
        (1, BYTES),
        (BYTES - 1, BYTES),
        (BYTES - 1, u64::MAX),
        (BYTES, BYTES),
        (BYTES, u64::MAX),
        (BYTES + 1, BYTES + 2),
        (u64::MAX - 1, u64::MAX),
        (0, 262_144),
        (262_144, 524_288),
        (262_143, 262_145),
        (100_000, 500_000),
    ] {
        let (found, claimed) = read(store, &key, start..end).await.unwrap();
        let at = |place: u64| usize::try_from(place.min(BYTES)).unwrap();
        let expected = bytes.get(at(start)..at(end)).unwrap_or_default();
        assert!(found == expected, "{start}..{end}: {} bytes", found.len());
        assert_eq!(claimed, BYTES, "{start}..{end}");
    }
}

/// What was never written is not found, in whatever way it is asked for.
pub async fn what_is_not_there(subject: Subject) {
    let store = &*subject.store;
    assert_absent(store, &key("a.bin")).await;
    assert_eq!(listed(store, &KeyPrefix::all()).await, []);
    put(store, &key("a.bin"), &noise(1, 10)).await.unwrap();
    for absent in [
        // Beside it, in a directory that is not there, below an object, a directory.
        key("b.bin"),
        key("c/b.bin"),
        key("a.bin/b.bin"),
        literal_key("executions/01ARZ3NDEKTSV4RRFFQ69G5FAV/manifest.json"),
        literal_key("registry/agents/a/1/manifest.json"),
    ] {
        assert_absent(store, &absent).await;
    }
}

/// What a store says of an object.
pub async fn stat_and_versions(subject: Subject) {
    let store = &*subject.store;
    let key = key("a.bin");
    let receipt = put(store, &key, &noise(1, 12_345)).await.unwrap();
    let stat = store.stat(&key.clone().into()).await.unwrap();
    assert_eq!(stat.bytes, 12_345);
    assert_eq!(stat.version, receipt.version);
    assert_eq!(store.versions(&key).await.unwrap(), [stat]);
    let uri = store.storage_uri(&key);
    assert!(
        uri.contains("://") && uri.ends_with("/artifacts/a.bin"),
        "{uri}"
    );
    // A version that there is not.
    let object = ObjectRef {
        key,
        version: Some(VersionId::new("no-such-version")),
    };
    if receipt.version.is_none() {
        assert!(store.stat(&object).await.is_err());
        assert!(store.open(&object, 0..1).await.is_err());
    }
}

/// A listing shows what is under its prefix, all of it, and nothing else.
pub async fn listing_is_under_its_prefix(subject: Subject) {
    let store = &*subject.store;
    let below = "executions/01ARZ3NDEKTSV4RRFFQ69G5FAV/";
    let mut inside: Vec<_> = (0..20)
        .map(|number| format!("{below}artifacts/{number}/{number}.bin"))
        .chain([
            format!("{below}metadata.json"),
            format!("{below}manifest.json"),
        ])
        .collect();
    let outside = [
        "executions/01ARZ3NDEKTSV4RRFFQ69G5FAW/manifest.json",
        "registry/agents/executions/01ARZ3NDEKTSV4RRFFQ69G5FAV/manifest.json",
        "2026/11/r1/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.tar.gz",
        "_runpack/refs/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ];
    let everything = inside.iter().map(String::as_str).chain(outside);
    let mut bytes = 0;
    for key in everything.clone() {
        bytes += 1;
        put(store, &literal_key(key), &noise(1, bytes))
            .await
            .unwrap();
    }
    let mut all: Vec<_> = everything.map(str::to_owned).collect();
    let found = listed(store, &KeyPrefix::all()).await;
    for (key, bytes) in &found {
        let stat = store.stat(&literal_key(key).into()).await.unwrap();
        assert_eq!(stat.bytes, *bytes, "{key}");
    }
    all.sort();
    let keys = |found: Vec<(String, u64)>| found.into_iter().map(|(key, _)| key);
    assert!(keys(found).eq(all));
    let prefix_of = |id: &str| {
        Location::pack_prefix(&About::Execution {
            execution_id: id.parse().unwrap(),
        })
    };
    inside.sort();
    let found = listed(store, &prefix_of("01ARZ3NDEKTSV4RRFFQ69G5FAV")).await;
    assert!(keys(found).eq(inside));
    assert_eq!(
        listed(store, &prefix_of("01ARZ3NDEKTSV4RRFFQ69G5FA0")).await,
        []
    );
}
