//! The store has other bytes than the spool, or what the spool has is not what it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use runpack_core::key::ObjectKey;
use runpack_core::store::{ArtifactSink as _, Declared, MemoryStore, Outcome, Store, StoreError};
use runpack_server::record::Stored;
use runpack_testing::{block_on, scratch};
use serde_json::json;

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
        // What commits to it is not acknowledged only to be set aside.
        let barred = put(&spool, &manifest, "ours").await;
        assert!(matches!(barred, Err(StoreError::Barred { .. })));
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

const SERVICE: &str = "v1/org=o/project=p/service=s";

/// The claim and the payload of run `r`, as a server writes them at a time of a day.
fn record(day: &str, time: &str, passed: u32) -> [(ObjectKey, Bytes); 2] {
    let body = json!({
        "organization": "o", "project": "p", "service": "s", "run_id": "r", "artifact": {"passed": passed},
        "commit_sha": "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12", "generated_at": "2026-11-20T11:00:00Z",
    });
    let body = Bytes::from(serde_json::to_vec(&body).unwrap());
    // So the same body that came twice makes two objects.
    let received_at = format!("{day}T{time}Z").parse().unwrap();
    let claim = json!({"date": day, "format": "runpack-record-claim/v1"});
    [
        (
            key(&format!("{SERVICE}/runs/r.json")),
            serde_json::to_vec(&claim).unwrap().into(),
        ),
        (
            key(&format!("{SERVICE}/date={day}/run=r/payload.json")),
            Stored::new(received_at, "token:ci", &body).to_bytes(),
        ),
    ]
}

async fn put_all(store: &dyn Store, objects: &[(ObjectKey, Bytes)]) {
    for (key, bytes) in objects {
        let declared = Declared::of(bytes);
        store.put(key, bytes.clone(), declared).await.unwrap();
    }
}

#[test]
fn n04_a_run_has_one_record_whichever_servers_took_it_in_an_outage() {
    const DAYS: [&str; 2] = ["2026-11-20", "2026-11-21"];
    block_on(async {
        for (day, passed, conflicts) in [
            (DAYS[0], 3, 0),
            (DAYS[0], 4, 1),
            (DAYS[1], 3, 0),
            (DAYS[1], 4, 1),
        ] {
            for arrives_late in [false, true] {
                let (dir, memory) = (scratch(), MemoryStore::new());
                let [theirs, ours] = [
                    record(DAYS[0], "12:00:00", 3),
                    record(day, "13:00:00", passed),
                ];
                put_all(&memory, &theirs).await;
                let remote = Arc::new(Outage::of(memory.clone()));
                remote.set(Mode::Away);
                let (spool, mut mirror) = open(dir.path(), remote.clone()).await;
                if arrives_late {
                    // Its claim was judged before it came.
                    put_all(&spool, &ours[..1]).await;
                    remote.set(Mode::Well);
                    assert_empty(&mirror.drain(LONG).await);
                    let (key, bytes) = &ours[1];
                    let put = spool.put(key, bytes.clone(), Declared::of(bytes)).await;
                    let is_refused = matches!(put, Err(StoreError::AlreadyExists { .. }));
                    assert_eq!(is_refused, day == DAYS[0], "{put:?}");
                } else {
                    put_all(&spool, &ours).await;
                    remote.set(Mode::Well);
                }
                assert_empty(&mirror.drain(LONG).await);
                // What was refused needs not be kept.
                let told = if arrives_late && day == DAYS[0] {
                    0
                } else {
                    conflicts
                };
                assert_eq!(spool.backlog().conflicts, told, "{day} {passed}");
                let kept = theirs.map(|(key, bytes)| (key.to_string(), bytes));
                assert_eq!(memory.snapshot(), BTreeMap::from(kept));
            }
        }
    });
}

#[test]
fn n04_a_record_goes_where_the_claim_of_the_store_says() {
    block_on(async {
        let (dir, memory) = (scratch(), MemoryStore::new());
        let [theirs, ours] = [
            record("2026-11-20", "12:00:00", 3),
            record("2026-11-21", "13:00:00", 3),
        ];
        // The other server died after its claim.
        put_all(&memory, &theirs[..1]).await;
        let remote = Arc::new(Outage::of(memory.clone()));
        remote.set(Mode::Away);
        let (spool, mut mirror) = open(dir.path(), remote.clone()).await;
        put_all(&spool, &ours).await;
        remote.set(Mode::Well);
        assert_empty(&mirror.drain(LONG).await);
        assert_eq!(spool.backlog().conflicts, 0);
        let kept = [
            (theirs[0].0.to_string(), theirs[0].1.clone()),
            (theirs[1].0.to_string(), ours[1].1.clone()),
        ];
        assert_eq!(memory.snapshot(), BTreeMap::from(kept));
    });
}

#[test]
fn a_log_that_another_server_wrote_on_is_not_torn() {
    let part = |offset: u64| {
        key(&format!(
            "_runpack/live/01ARZ3NDEKTSV4RRFFQ69G5FAV/logs/stdout/{offset:020}"
        ))
    };
    block_on(async {
        let (dir, memory) = (scratch(), MemoryStore::new());
        let remote = Arc::new(Outage::of(memory.clone()));
        remote.set(Mode::Away);
        let (spool, mut mirror) = open(dir.path(), remote.clone()).await;
        for (offset, bytes) in [(0, "four"), (4, "more"), (8, "last")] {
            put(&spool, &part(offset), bytes).await.unwrap();
        }
        put(&memory, &part(0), "sixsix").await.unwrap();
        remote.set(Mode::Well);
        let backlog = mirror.drain(LONG).await;
        assert_empty(&backlog);
        assert_eq!(backlog.conflicts, 3);
        // Who goes on from where he was is told, and may go on from where the log is.
        let refused = put(&spool, &part(12), "on").await;
        assert!(matches!(refused, Err(StoreError::AlreadyExists { .. })));
        put(&spool, &part(6), "on").await.unwrap();
        assert_eq!(
            listed(&memory).await,
            [part(0).as_str(), part(6).as_str()],
            "nothing else"
        );
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
        let remote = Arc::new(Outage::of(memory.clone()));
        remote.set(Mode::Away);
        let (spool, mut mirror) = open(dir.path(), remote.clone()).await;
        put(&spool, &artifact, "true").await.unwrap();
        put(&spool, &manifest, "manifest").await.unwrap();
        let other = of_execution(1, "metadata.json");
        put(&spool, &other, "long").await.unwrap();
        remote.set(Mode::Well);
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
        let remote = Arc::new(Outage::of(memory.clone()));
        let (spool, mut mirror) = open(dir.path(), remote.clone()).await;
        let keys = [1, 2].map(|number| of_execution(number, "metadata.json"));
        put(&spool, &keys[0], "x").await.unwrap();
        remote.set(Mode::Away);
        put(&spool, &keys[1], "x").await.unwrap();
        remote.set(Mode::Well);
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
