//! The store has other bytes than the spool, or what the spool has is not what it was.

use std::sync::Arc;

use runpack_core::key::ObjectKey;
use runpack_core::store::{Declared, MemoryStore, Outcome, StoreError};
use runpack_testing::{block_on, scratch};

use super::outage::{Mode, Outage};
use super::{LONG, assert_empty, key, listed, of_execution, open, put, read};
use std::time::Duration;

#[test]
fn w10_w16_other_bytes_in_the_store_are_a_conflict_and_ours_are_kept() {
    block_on(async {
        let (dir, memory) = (scratch(), MemoryStore::new());
        let remote = Arc::new(Outage::of(memory.clone()));
        remote.set(Mode::Away);
        let (spool, mut mirror) = open(dir.path(), remote.clone()).await;
        let taken = of_execution(1, "metadata.json");
        let (free, manifest) = (
            of_execution(1, "artifacts/a"),
            of_execution(1, "manifest.json"),
        );
        for key in [&taken, &free, &manifest] {
            put(&spool, key, "ours").await.unwrap();
        }
        put(&memory, &taken, "theirs").await.unwrap();
        remote.set(Mode::Well);
        let backlog = mirror.drain(LONG).await;
        assert_empty(&backlog);
        // The manifest commits to what the store does not have, so it went aside too.
        assert_eq!(backlog.conflicts, 2);
        assert_eq!(listed(&memory).await, [free.as_str(), taken.as_str()]);
        assert_eq!(read(&spool, &taken).await.unwrap(), "theirs");
        let conflict = |key: &ObjectKey, above: &str| {
            std::fs::read_to_string(dir.path().join("conflicts").join(above).join(key.as_str()))
        };
        assert_eq!(conflict(&taken, "").unwrap(), "ours");
        assert_eq!(conflict(&manifest, "").unwrap(), "ours");
        // Now the store can be asked.
        let refused = put(&spool, &taken, "ours").await;
        assert!(matches!(refused, Err(StoreError::AlreadyExists { .. })));
        let same = put(&spool, &taken, "theirs").await.unwrap();
        assert_eq!(same.outcome, Outcome::AlreadyThere);
        // A second conflict takes nobody's place.
        remote.set(Mode::Away);
        mirror.drain(Duration::ZERO).await;
        put(&spool, &of_execution(2, "metadata.json"), "x")
            .await
            .unwrap();
        put(&spool, &taken, "ours again").await.unwrap();
        remote.set(Mode::Well);
        assert_eq!(mirror.drain(LONG).await.conflicts, 3);
        assert_eq!(conflict(&taken, "").unwrap(), "ours");
        assert_eq!(conflict(&taken, ".2").unwrap(), "ours again");
        // They are counted again by the next process.
        drop((spool, mirror));
        let (spool, _mirror) = open(dir.path(), remote).await;
        assert_eq!(spool.backlog().conflicts, 3);
    });
}

#[test]
fn n04_two_replicas_with_one_record_agree_and_with_two_bodies_keep_both() {
    const CLAIM: &str = "v1/org=o/project=p/service=s/runs/r.json";
    let payload = |day: &str| {
        key(&format!(
            "v1/org=o/project=p/service=s/date={day}/run=r/payload.json"
        ))
    };
    block_on(async {
        for (days, bodies, conflicts) in [
            (["2026-11-20"; 2], ["same"; 2], 0),
            (["2026-11-20"; 2], ["one", "other"], 1),
            // The second claim is not the run's, so neither is what was filed under it.
            (["2026-11-20", "2026-11-21"], ["same"; 2], 2),
        ] {
            let memory = MemoryStore::new();
            let mut replicas = Vec::new();
            for at in 0..2 {
                let dir = scratch();
                let remote = Arc::new(Outage::of(memory.clone()));
                remote.set(Mode::Away);
                let (spool, mirror) = open(dir.path(), remote.clone()).await;
                put(&spool, &key(CLAIM), days[at]).await.unwrap();
                put(&spool, &payload(days[at]), bodies[at]).await.unwrap();
                replicas.push((dir, remote, spool, mirror));
            }
            let mut found = 0;
            for (_dir, remote, spool, mirror) in &mut replicas {
                remote.set(Mode::Well);
                assert_empty(&mirror.drain(LONG).await);
                found += spool.backlog().conflicts;
            }
            assert_eq!(found, conflicts, "{days:?} {bodies:?}");
            let there = memory.snapshot();
            assert_eq!(there.len(), 2, "{there:?}");
            assert_eq!(there[payload(days[0]).as_str()], bodies[0]);
            let (.., spool, _) = &replicas[1];
            assert_eq!(read(spool, &payload(days[0])).await.unwrap(), bodies[0]);
        }
    });
}

#[test]
fn w16_an_object_that_is_not_what_was_written_never_reaches_the_store() {
    block_on(async {
        let (dir, memory) = (scratch(), MemoryStore::new());
        let spec = "0".repeat(64);
        let digest = Declared::of(b"true").commitment();
        let run = format!("tenant/t/namespace/n/scenario/s/run/r/{spec}");
        let (artifact, manifest) = (
            key(&format!("{run}/{digest}/a.json")),
            key(&format!("{run}/manifest.json")),
        );
        let (spool, mut mirror) = open(dir.path(), Arc::new(memory.clone())).await;
        put(&spool, &artifact, "true").await.unwrap();
        put(&spool, &manifest, "manifest").await.unwrap();
        let other = of_execution(1, "metadata.json");
        put(&spool, &other, "long").await.unwrap();
        std::fs::write(dir.path().join("objects").join(other.as_str()), "longer").unwrap();
        // A disk that forgets.
        std::fs::write(dir.path().join("objects").join(artifact.as_str()), "rot!").unwrap();
        let backlog = mirror.drain(LONG).await;
        assert_empty(&backlog);
        assert_eq!(backlog.conflicts, 3);
        assert_eq!(memory.snapshot().len(), 0);
        // It is sent again, whole; what is among the conflicts says so until somebody has looked.
        put(&spool, &artifact, "true").await.unwrap();
        mirror.drain(LONG).await;
        assert_eq!(memory.snapshot()[artifact.as_str()], "true");
    });
}

#[test]
fn w16_what_is_removed_here_is_not_removed_there_and_the_other_way_round() {
    block_on(async {
        let (dir, memory) = (scratch(), MemoryStore::new());
        let (spool, mut mirror) = open(dir.path(), Arc::new(memory.clone())).await;
        let keys = [1, 2].map(|number| of_execution(number, "metadata.json"));
        put(&spool, &keys[0], "x").await.unwrap();
        mirror.drain(LONG).await;
        put(&spool, &keys[1], "x").await.unwrap();
        // Somebody removes one that waits.
        std::fs::remove_file(dir.path().join("objects").join(keys[1].as_str())).unwrap();
        assert_empty(&mirror.drain(LONG).await);
        assert_eq!(listed(&memory).await, [keys[0].as_str()]);
        memory.tamper(keys[0].as_str(), None);
        assert_empty(&mirror.drain(LONG).await);
        assert_eq!(listed(&memory).await, Vec::<String>::new());
    });
}

#[test]
fn in_a_store_with_versions_a_commit_that_is_not_the_oldest_is_a_conflict() {
    block_on(async {
        let (dir, memory) = (scratch(), MemoryStore::versioned());
        let remote = Arc::new(Outage::of(memory.clone()));
        remote.set(Mode::Away);
        let (spool, mut mirror) = open(dir.path(), remote.clone()).await;
        let manifests = [1, 2].map(|number| of_execution(number, "manifest.json"));
        for manifest in &manifests {
            put(&spool, manifest, "ours").await.unwrap();
        }
        put(&memory, &manifests[0], "theirs").await.unwrap();
        remote.set(Mode::Well);
        let backlog = mirror.drain(LONG).await;
        assert_empty(&backlog);
        assert_eq!(backlog.conflicts, 1);
    });
}
