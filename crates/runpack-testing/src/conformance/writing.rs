//! Writing: create-only, nothing before commit, declared is checked.

use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures_util::future::{join_all, poll_immediate};
use runpack_core::commitment::{CHUNK_BYTES, Content};
use runpack_core::digest::Digest;
use runpack_core::store::{Declared, Outcome, Receipt, StoreError};

use super::{Subject, assert_absent, assert_holds, created, key, noise, put, read, write};

/// The same bytes under the same key are success, and say that they were there.
pub async fn same_bytes_again_are_success(subject: Subject) {
    let store = &*subject.store;
    let (key, bytes) = (key("a.bin"), noise(1, 1_000));
    let declared = Declared::of(&bytes);
    let first = put(store, &key, &bytes).await.unwrap();
    assert_eq!(first.outcome, Outcome::Created);
    assert_eq!((&first.key, first.bytes), (&key, 1_000));
    assert_eq!(first.commitment, declared.commitment());
    let again = put(store, &key, &bytes).await.unwrap();
    assert_eq!(again.outcome, Outcome::AlreadyThere);
    assert_eq!(again.commitment, first.commitment);
    let written = write(store, &key, &bytes, declared, 300).await.unwrap();
    assert_eq!(written.outcome, Outcome::AlreadyThere);
    assert_holds(store, &key, &bytes).await;
}

/// Other bytes under the same key fail with both digests, and what is there stays.
pub async fn other_bytes_never_replace(subject: Subject) {
    let store = &*subject.store;
    let (key, bytes) = (key("a.bin"), noise(1, 1_000));
    put(store, &key, &bytes).await.unwrap();
    // Of the same size, shorter, longer, none.
    for other in [
        noise(2, 1_000),
        noise(1, 999),
        noise(1, 1_001),
        Bytes::new(),
    ] {
        let declared = Declared::of(&other);
        for refused in [
            put(store, &key, &other).await,
            write(store, &key, &other, declared.clone(), 100).await,
        ] {
            let Err(StoreError::AlreadyExists {
                key: taken,
                ours,
                theirs,
            }) = refused
            else {
                panic!("{refused:?}");
            };
            assert_eq!(taken, key.as_str());
            assert_eq!(ours, declared.commitment());
            assert_eq!(theirs, Declared::of(&bytes).commitment());
        }
        assert_holds(store, &key, &bytes).await;
    }
}

/// An object under way is not there.
pub async fn nothing_before_commit(subject: Subject) {
    let store = &*subject.store;
    let (key, bytes) = (key("a.bin"), noise(1, 100_000));
    let mut writer = store.create(&key, Declared::of(&bytes)).await.unwrap();
    assert_absent(store, &key).await;
    writer.write(bytes.slice(..60_000)).await.unwrap();
    assert_absent(store, &key).await;
    writer.write(bytes.slice(60_000..)).await.unwrap();
    assert_absent(store, &key).await;
    assert!(created(&writer.commit().await));
    assert_holds(store, &key, &bytes).await;
}

/// A write that is given up leaves nothing, and the key is free.
pub async fn nothing_after_drop_or_abort(subject: Subject) {
    let store = &*subject.store;
    let (key, bytes) = (key("a.bin"), noise(1, 100_000));
    for written in [0, 60_000, 100_000] {
        let mut writer = store.create(&key, Declared::of(&bytes)).await.unwrap();
        writer.write(bytes.slice(..written)).await.unwrap();
        drop(writer);
        assert_absent(store, &key).await;
        let mut writer = store.create(&key, Declared::of(&bytes)).await.unwrap();
        writer.write(bytes.slice(..written)).await.unwrap();
        writer.abort().await.unwrap();
        assert_absent(store, &key).await;
    }
    let other = noise(2, 10);
    assert!(created(&put(store, &key, &other).await));
    assert_holds(store, &key, &other).await;
}

/// Bytes that are not those declared fail, and leave nothing.
pub async fn declared_is_checked(subject: Subject) {
    let store = &*subject.store;
    let (key, bytes) = (key("a.bin"), noise(1, 1_000));
    let declared = Declared::of(&bytes);
    let digest = Digest::of(&bytes);
    let declarations = [
        declared.clone(),
        // A number of digests that does not fit the size.
        Declared::new(1_000, Content::Chunks([digest].into())),
        Declared::new(1_000, Content::Chunks([digest, digest].into())),
        Declared::new(1_000, Content::Chunks([].into())),
        Declared::new(CHUNK_BYTES + 1_000, Content::Whole(digest)),
        Declared::new(u64::MAX, Content::Whole(digest)),
    ];
    let mut changed = bytes.to_vec();
    changed.truncate(999);
    changed.push(!bytes.last().copied().unwrap_or_default());
    let others: [Bytes; 4] = [
        bytes.slice(..999),
        noise(1, 1_001),
        changed.into(),
        Bytes::new(),
    ];
    let with_others = others.iter().map(|other| (other, &declarations[..1]));
    for (given, declarations) in with_others.chain([(&bytes, &declarations[1..])]) {
        for declared in declarations {
            let refusals = [
                store.put(&key, given.clone(), declared.clone()).await,
                write(store, &key, given, declared.clone(), 400).await,
            ];
            for refused in refusals {
                assert!(
                    matches!(&refused, Err(StoreError::NotDeclared { key: refused }) if refused == key.as_str()),
                    "{refused:?}"
                );
            }
            assert_absent(store, &key).await;
        }
    }
    assert!(created(&store.put(&key, bytes, declared).await));
}

/// Runs writers in threads of their own.
async fn race(subject: &Subject, contents: Vec<Bytes>) -> Vec<Result<Receipt, StoreError>> {
    let writers = contents.into_iter().enumerate().map(|(number, bytes)| {
        let store = Arc::clone(&subject.store);
        tokio::task::spawn_blocking(move || {
            let (key, declared) = (key("raced.bin"), Declared::of(&bytes));
            crate::block_on(async {
                if number % 2 == 0 {
                    store.put(&key, bytes, declared).await
                } else {
                    write(&*store, &key, &bytes, declared, 700).await
                }
            })
        })
    });
    let ended = join_all(writers).await;
    ended.into_iter().map(Result::unwrap).collect()
}

/// Of many who write the same, one makes the object, and all succeed.
pub async fn one_winner_among_equal_writers(subject: Subject) {
    let bytes = noise(1, 5_000);
    let outcomes = race(&subject, vec![bytes.clone(); 24]).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(
        outcomes.iter().filter(|outcome| created(outcome)).count(),
        1
    );
    assert_holds(&*subject.store, &key("raced.bin"), &bytes).await;
}

/// Of many who write different bytes, one succeeds, and the others learn whose bytes are there.
pub async fn one_winner_among_different_writers(subject: Subject) {
    let contents: Vec<_> = (0..24).map(|seed| noise(seed, 5_000)).collect();
    let outcomes = race(&subject, contents.clone()).await;
    let winner = outcomes.iter().position(created).unwrap();
    let winning = &contents[winner];
    for (number, outcome) in outcomes.iter().enumerate() {
        if number != winner {
            assert!(
                matches!(outcome, Err(StoreError::AlreadyExists { theirs, .. })
                    if *theirs == Declared::of(winning).commitment()),
                "{outcome:?}"
            );
        }
    }
    assert_holds(&*subject.store, &key("raced.bin"), winning).await;
}

/// Many commits that are pending at once all end well.
pub async fn many_commits_at_once(subject: Subject) {
    let store = &*subject.store;
    let objects: Vec<_> = (0..300_u64)
        .map(|seed| (key(&format!("many/{seed}/{seed}.bin")), noise(seed, 100)))
        .collect();
    let puts = objects.iter().map(|(key, bytes)| put(store, key, bytes));
    for outcome in join_all(puts).await {
        assert!(created(&outcome), "{outcome:?}");
    }
    for (key, bytes) in &objects {
        assert_holds(store, key, bytes).await;
    }
}

/// Whoever stops waiting for a commit leaves the object there or not, and nobody waiting for ever.
pub async fn a_dropped_commit_hangs_nobody(subject: Subject) {
    let store = &*subject.store;
    for round in 0..20_u64 {
        let (key, bytes) = (key(&format!("{round}.bin")), noise(round, 5_000));
        let dropped = Box::pin(put(store, &key, &bytes));
        let _: Option<_> = poll_immediate(dropped).await;
        let mut writer = store.create(&key, Declared::of(&bytes)).await.unwrap();
        writer.write(bytes.clone()).await.unwrap();
        let mut dropped = writer.commit();
        let pending = futures_util::poll!(dropped.as_mut());
        assert!(!matches!(pending, Poll::Ready(Err(_))), "{pending:?}");
        drop(dropped);
        put(store, &key, &bytes).await.unwrap();
        assert_holds(store, &key, &bytes).await;
    }
}

/// An object of several chunks, whole and across the border of two.
pub async fn more_than_two_chunks(subject: Subject) {
    let store = &*subject.store;
    let bytes = noise(1, (2 << 23) + 12_345);
    let key = key("large.bin");
    let declared = Declared::of(&bytes);
    assert_eq!(declared.content.chunks().len(), 3);
    let receipt = write(store, &key, &bytes, declared.clone(), 1 << 20)
        .await
        .unwrap();
    assert_eq!(receipt.outcome, Outcome::Created);
    assert_eq!(receipt.commitment, declared.commitment());
    assert_holds(store, &key, &bytes).await;
    let border = CHUNK_BYTES - 70_000..CHUNK_BYTES + 70_000;
    let (found, _) = read(store, &key, border).await.unwrap();
    assert!(found == bytes[(1 << 23) - 70_000..(1 << 23) + 70_000]);
    // One bit in the last chunk makes it another object.
    let mut other = bytes.to_vec();
    *other.last_mut().unwrap() ^= 1;
    let refused = write(store, &key, &other.into(), declared, 1 << 20).await;
    assert!(
        matches!(refused, Err(StoreError::NotDeclared { .. })),
        "{refused:?}"
    );
}

/// An object without bytes is an object.
pub async fn no_bytes_at_all(subject: Subject) {
    let store = &*subject.store;
    let (one, other) = (key("empty.bin"), key("also-empty.bin"));
    let nothing = Bytes::new();
    assert!(created(&put(store, &one, &nothing).await));
    let writer = store.create(&other, Declared::of(&nothing)).await.unwrap();
    assert!(created(&writer.commit().await));
    for key in [&one, &other] {
        assert_holds(store, key, &nothing).await;
    }
}

/// The pieces in which bytes are written make no difference.
pub async fn pieces_of_any_size(subject: Subject) {
    let store = &*subject.store;
    let bytes = noise(1, 10_000);
    for piece in [1_000, 4_096, 9_999, 10_000, 20_000] {
        let key = key(&format!("{piece}.bin"));
        let written = write(store, &key, &bytes, Declared::of(&bytes), piece).await;
        assert!(created(&written), "{written:?}");
        assert_holds(store, &key, &bytes).await;
    }
    let key = key("with-empty-pieces.bin");
    let mut writer = store.create(&key, Declared::of(&bytes)).await.unwrap();
    for piece in [Bytes::new(), bytes.clone(), Bytes::new()] {
        writer.write(piece).await.unwrap();
    }
    assert!(created(&writer.commit().await));
    assert_holds(store, &key, &bytes).await;
}
