//! The liar lies as it says, and only then.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use runpack_core::key::{KeyPrefix, Location, ObjectKey};
use runpack_core::store::{
    ArtifactReader as _, ArtifactSink as _, Declared, MemoryStore, StoreError,
};
use runpack_testing::{Lie, LyingStore, block_on};

fn key(name: &str) -> ObjectKey {
    let key = format!("executions/01ARZ3NDEKTSV4RRFFQ69G5FAV/artifacts/{name}");
    Location::parse(&key).unwrap().key().unwrap()
}

/// What is read of `a` and of `b` in at most `max` bytes each, and the sizes claimed.
async fn told(store: &LyingStore, max: u64) -> Vec<(Result<Vec<u8>, StoreError>, u64)> {
    let mut told = Vec::new();
    for name in ["a", "b"] {
        let mut body = match store.open(&key(name).into(), 0..max).await {
            Ok(body) => body,
            Err(error) => {
                told.push((Err(error), 0));
                continue;
            }
        };
        let mut bytes = Ok(Vec::new());
        while let Some(piece) = body.next().await {
            match (&mut bytes, piece) {
                (Ok(bytes), Ok(piece)) => bytes.extend_from_slice(&piece),
                (_, Err(error)) => bytes = Err(error),
                (Err(_), Ok(_)) => panic!("bytes after an error"),
            }
            if bytes.as_ref().is_ok_and(|bytes| bytes.len() > 1_000_000) {
                break;
            }
        }
        told.push((bytes, body.bytes_claimed));
    }
    told
}

async fn store() -> Arc<MemoryStore> {
    let store = MemoryStore::new();
    for (name, bytes) in [("a", &b"truth of a"[..]), ("b", b"b's")] {
        let bytes = Bytes::from_static(bytes);
        let declared = Declared::of(&bytes);
        store.put(&key(name), bytes, declared).await.unwrap();
    }
    Arc::new(store)
}

#[test]
fn each_lie_about_one_object() {
    let cases: Vec<(Lie, &[u8], u64)> = vec![
        (Lie::Truncate(5), b"truth", 5),
        (Lie::Truncate(0), b"", 0),
        (Lie::CutOff(5), b"truth", 10),
        (Lie::Extend, b"truth of a\0\0", 10),
        (Lie::FlipBit(0), b"uruth of a", 10),
        (Lie::FlipBit(81), b"vruth of a", 10),
        (Lie::Impersonate(key("b")), b"b's", 3),
        (Lie::Serve(Bytes::from_static(b"<Error>")), b"<Error>", 7),
        (Lie::Claim(u64::MAX), b"truth of a", u64::MAX),
        (Lie::Claim(0), b"truth of a", 0),
    ];
    block_on(async {
        for (lie, bytes, claimed) in cases {
            let store = LyingStore::new(store().await, lie.clone()).about_suffix("/a");
            let told = told(&store, 12).await;
            assert_eq!(told[0].0.as_deref().unwrap(), bytes, "{lie:?}");
            assert_eq!(told[0].1, claimed, "{lie:?}");
            assert_eq!(
                (told[1].0.as_deref().unwrap(), told[1].1),
                (&b"b's"[..], 3),
                "{lie:?}"
            );
            assert_eq!((store.opens(&key("a")), store.opens(&key("b"))), (1, 0));
        }
    });
}

#[test]
fn lies_about_two_objects_and_lies_in_time() {
    block_on(async {
        let inner = store().await;
        let store = LyingStore::new(inner.clone(), Lie::Swap(key("a"), key("b")));
        let swapped = told(&store, 99).await;
        assert_eq!(swapped[0].0.as_deref().unwrap(), b"b's");
        assert_eq!(swapped[1].0.as_deref().unwrap(), b"truth of a");

        let store = LyingStore::new(inner.clone(), Lie::ServeLater(Bytes::from_static(b"new")));
        assert_eq!(
            told(&store, 99).await[0].0.as_deref().unwrap(),
            b"truth of a"
        );
        assert_eq!(told(&store, 99).await[0].0.as_deref().unwrap(), b"new");

        let store = LyingStore::new(inner.clone(), Lie::Hide);
        assert!(matches!(
            told(&store, 99).await[0].0,
            Err(StoreError::NotFound { .. })
        ));
        let kind = io::ErrorKind::ConnectionReset;
        for lie in [Lie::Fail(kind), Lie::FailAfter(3, kind)] {
            let store = LyingStore::new(inner.clone(), lie);
            let told = told(&store, 99).await;
            assert!(
                matches!(&told[0].0, Err(StoreError::Io { source, .. }) if source.kind() == kind)
            );
        }

        let store = LyingStore::new(inner, Lie::ExtendBeyondRange);
        assert!(told(&store, 1).await[0].0.as_ref().unwrap().len() > 1_000_000);
        assert!(store.bytes_served() > 2_000_000);
    });
}

#[test]
fn lies_of_listings() {
    block_on(async {
        let inner = store().await;
        let count = async |lie: Lie| {
            let store = LyingStore::new(inner.clone(), lie);
            store.list(&KeyPrefix::all()).take(1_000).count().await
        };
        assert_eq!(count(Lie::Hide).await, 2);
        assert_eq!(count(Lie::ListNothing).await, 0);
        assert_eq!(count(Lie::ListForever).await, 1_000);
        let Lie::List(garbage) = Lie::list_garbage() else {
            panic!("no listing");
        };
        assert!(
            garbage
                .iter()
                .all(|entry| Location::parse(&entry.key).is_none())
        );
        assert_eq!(count(Lie::list_garbage()).await, garbage.len() + 2);
    });
}
