//! Sending from a source, finding what is there, and keeping house.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use runpack_core::key::{KeyPrefix, ObjectKey};
use runpack_core::store::{
    BytesSource, Declared, Holding, Housekeeping, Outcome, State, StoreError,
};

use super::{Subject, assert_absent, assert_holds, key, noise, put};

const CHUNK: usize = 8 << 20;

/// Objects of every size that is treated in a way of its own arrive as they are.
pub async fn a_source_is_sent(subject: Subject) {
    let store = &*subject.store;
    for (at, bytes) in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 77]
        .into_iter()
        .enumerate()
    {
        let key = key(&format!("sent-{at}"));
        let bytes = noise(40, bytes);
        let declared = Declared::of(&bytes);
        let source = Arc::new(BytesSource(bytes.clone()));
        let sent = store.send(&key, declared.clone(), source.clone()).await;
        let sent = sent.unwrap();
        assert_eq!(sent.outcome, Outcome::Created);
        assert_eq!(
            (sent.bytes, sent.commitment),
            (declared.bytes, declared.commitment())
        );
        assert_holds(store, &key, &bytes).await;
        let again = store.send(&key, declared, source).await.unwrap();
        assert_eq!(again.outcome, Outcome::AlreadyThere);
    }
}

/// A source that shrank, grew or changed since it was hashed makes no object.
pub async fn a_source_that_changed_is_refused(subject: Subject) {
    let store = &*subject.store;
    for (at, bytes) in [1_000, CHUNK, 2 * CHUNK + 77].into_iter().enumerate() {
        let declared_bytes = noise(41, bytes);
        let mut flipped = declared_bytes.to_vec();
        flipped[bytes - 1] ^= 1;
        let mut grown = declared_bytes.to_vec();
        grown.push(0);
        let changed = [
            flipped,
            declared_bytes[..bytes - 1].to_vec(),
            grown,
            Vec::new(),
        ];
        for (how, changed) in changed.into_iter().enumerate() {
            let key = key(&format!("changed-{at}-{how}"));
            let declared = Declared::of(&declared_bytes);
            let source = Arc::new(BytesSource(changed.into()));
            let sent = store.send(&key, declared, source).await;
            assert!(
                matches!(sent, Err(StoreError::NotDeclared { .. })),
                "{bytes} bytes, {how}: {sent:?}"
            );
            assert_absent(store, &key).await;
        }
    }
}

/// What is there is found, other bytes are told, and what is not there is not.
pub async fn what_is_there_is_found(subject: Subject) {
    let store = &*subject.store;
    for (at, bytes) in [0, 1_000, CHUNK + 5].into_iter().enumerate() {
        let key = key(&format!("found-{at}"));
        let (bytes, others) = (noise(42, bytes), noise(43, bytes.max(1)));
        let declared = Declared::of(&bytes);
        assert_eq!(store.find(&key, &declared).await.unwrap(), None);
        store
            .send(&key, declared.clone(), Arc::new(BytesSource(bytes.clone())))
            .await
            .unwrap();
        let found = store.find(&key, &declared).await.unwrap().unwrap();
        assert_eq!(found.outcome, Outcome::AlreadyThere);
        assert_eq!(found.commitment, declared.commitment());
        let other = Declared::of(&others);
        let refused = store.find(&key, &other).await;
        let Err(StoreError::AlreadyExists { ours, theirs, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!((ours, theirs), (other.commitment(), declared.commitment()));
    }
}

async fn holdings(keeper: &dyn Housekeeping, prefix: &KeyPrefix) -> Vec<Holding> {
    let mut holdings: Vec<_> = keeper
        .holdings(prefix)
        .map(|holding| holding.unwrap())
        .collect()
        .await;
    holdings.sort_by(|a, b| a.key.cmp(&b.key));
    holdings
}

/// Housekeeping sees what was written, with its age, and removes one thing and no other.
pub async fn holdings_are_told_and_removed(subject: Subject) {
    let (store, keeper) = (&*subject.store, &*subject.keeper);
    let before = keeper.now().await.unwrap();
    let keys: Vec<ObjectKey> = ["keep/a", "keep/b", "keep/b2"].map(key).into();
    let bytes: Bytes = noise(44, 3_000);
    for key in &keys {
        put(store, key, &bytes).await.unwrap();
    }
    let all = holdings(keeper, &KeyPrefix::all()).await;
    assert_eq!(all.len(), 3, "{all:?}");
    let after = keeper.now().await.unwrap();
    for (holding, key) in all.iter().zip(&keys) {
        assert_eq!(holding.key, key.as_str());
        assert_eq!((holding.bytes, holding.state), (3_000, State::Object));
        // Clocks of stores tell seconds, and of file systems somewhat less.
        let age = |time: runpack_core::time::Timestamp| time.unix_seconds();
        assert!(age(holding.modified) + 2 >= age(before), "{holding:?}");
        assert!(age(holding.modified) <= age(after) + 2, "{holding:?}");
    }
    let one = holdings(keeper, &KeyPrefix::of(&keys[1])).await;
    let exact: Vec<_> = one
        .iter()
        .filter(|holding| holding.key == keys[1].as_str())
        .collect();
    assert_eq!(exact.len(), 1, "{one:?}");
    keeper.remove(exact[0]).await.unwrap();
    assert_absent(store, &keys[1]).await;
    assert_holds(store, &keys[0], &bytes).await;
    assert_holds(store, &keys[2], &bytes).await;
    // What is gone counts as removed, and the key is free again.
    keeper.remove(exact[0]).await.unwrap();
    put(store, &keys[1], &bytes).await.unwrap();
    assert_eq!(holdings(keeper, &KeyPrefix::all()).await.len(), 3);
}
