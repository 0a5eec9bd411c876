//! Filling: the same packs, the same catalog.

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use runpack_catalog::{Catalog, CatalogError, Difference, Form, Found, Gone, SurveyError};
use runpack_core::id::PackId;
use runpack_core::key::{Location, ObjectKey};
use runpack_core::limits::Limits;
use runpack_core::manifest::{Manifest, Subject};
use runpack_core::store::{ArtifactReader, ListEntry, MemoryStore};
use runpack_testing::{Lie, LyingStore, block_on};
use std::sync::Arc;

use crate::support::{
    Both, artifact, commit, exported, input, kind, manifest, reader, run, store_name,
};

fn packs() -> Vec<Arc<Manifest>> {
    let step = Subject::Step {
        tenant: "lab".parse().unwrap(),
        run_id: "r9".parse().unwrap(),
        step_id: "clean".parse().unwrap(),
    };
    let execution = Subject::Execution {
        execution_id: "01JD3M7Z9X8QWERTYASDFGHJKM".parse().unwrap(),
    };
    let source = manifest(
        run("acme", "r1"),
        "2026-11-20T12:00:00Z",
        &[("commit_sha", "2fd4e1c"), ("team", "\u{df}- \"quoted\"")],
        vec![
            artifact("source.csv", b"one,two"),
            kind("spec.json", b"spec", "spec", "application/json"),
        ],
    );
    let cleaned = artifact("inputs/clean.csv", b"one")
        .with_title("S\u{e4}uberung.csv".parse().unwrap())
        .with_inputs(vec![
            input(source.pack_id(), "source.csv", b"one,two"),
            input(source.pack_id(), "spec.json", b"spec"),
        ]);
    vec![
        manifest(step, "2026-11-20T12:30:00Z", &[], vec![cleaned]),
        manifest(
            execution,
            "2026-11-21T00:00:00Z",
            &[],
            vec![artifact("artifacts/trace.bin", &[7; 100])],
        ),
        source,
    ]
}

async fn filled() -> (MemoryStore, Vec<Arc<Manifest>>) {
    let (store, packs) = (MemoryStore::new(), packs());
    for pack in &packs {
        commit(&store, pack).await;
    }
    (store, packs)
}

fn found(pack: &Arc<Manifest>) -> Found {
    Found {
        key: Location::manifest(pack.subject()).key().unwrap(),
        form: Form::Files,
        manifest: Arc::clone(pack),
    }
}

#[test]
fn however_it_is_filled_the_exported_form_is_the_same_to_the_byte() {
    let both = Both::start();
    block_on(async {
        let (store, packs) = filled().await;
        let (name, limits) = (store_name(), Limits::default());
        let mut all = Vec::new();
        for catalog in both.open("admitted").await {
            for pack in packs.iter().rev() {
                catalog.admit(&name, &[found(pack)]).await.unwrap();
                catalog.admit(&name, &[found(pack)]).await.unwrap();
            }
            all.push(exported(&catalog).await);
        }
        for catalog in both.open("caught_up").await {
            catalog.admit(&name, &[found(&packs[1])]).await.unwrap();
            let filled = catalog
                .catch_up(&name, &reader(&store), &limits)
                .await
                .unwrap();
            assert_eq!((filled.added, filled.known, filled.removed), (2, 1, 0));
            assert_eq!(filled.artifacts, 3);
            all.push(exported(&catalog).await);
        }
        for catalog in both.open("rebuilt").await {
            for _ in 0..2 {
                let filled = catalog
                    .rebuild(&name, &reader(&store), &limits)
                    .await
                    .unwrap();
                assert_eq!((filled.added, filled.artifacts), (3, 4));
                all.push(exported(&catalog).await);
            }
        }
        assert!(all.iter().all(|one| *one == all[0]));
        insta::assert_snapshot!(all[0]);
    });
}

#[test]
fn what_is_gone_is_forgotten_and_what_is_none_is_a_fault() {
    let both = Both::start();
    block_on(async {
        let (store, packs) = filled().await;
        let (name, limits) = (store_name(), Limits::default());
        let gone = Location::manifest(packs[0].subject()).key().unwrap();
        let broken = Location::manifest(packs[1].subject()).key().unwrap();
        for catalog in both.open("gone").await {
            catalog
                .rebuild(&name, &reader(&store), &limits)
                .await
                .unwrap();
            let (good, bad) = (store.clone(), MemoryStore::new());
            for (key, bytes) in good.snapshot() {
                bad.tamper(&key, Some(bytes));
            }
            bad.tamper(gone.as_str(), None);
            bad.tamper(broken.as_str(), Some(Bytes::from_static(b"{}")));
            let checked = catalog.check(&name, &reader(&bad), &limits).await.unwrap();
            let expected =
                [(&broken, &packs[1]), (&gone, &packs[0])].map(|(key, pack)| Difference::Gone {
                    key: key.to_string(),
                    pack_id: pack.pack_id(),
                });
            assert_eq!(checked.differences, expected);
            assert_eq!(checked.odd.faults.len(), 1, "{:?}", checked.odd.faults);
            assert_eq!(checked.odd.faults[0].key, broken.as_str());
            let filled = catalog
                .catch_up(&name, &reader(&bad), &limits)
                .await
                .unwrap();
            assert_eq!((filled.added, filled.removed), (0, 1));
            let named = |key: &ObjectKey, pack: &Manifest| Gone {
                key: key.to_string(),
                pack_id: pack.pack_id(),
            };
            assert_eq!(filled.gone, [named(&gone, &packs[0])]);
            let told = exported(&catalog).await;
            assert!(!told.contains(&packs[0].pack_id().to_string()), "{told}");
            // A rebuild also forgets what is no pack any more.
            let filled = catalog
                .rebuild(&name, &reader(&bad), &limits)
                .await
                .unwrap();
            assert_eq!((filled.added, filled.odd.faults.len()), (1, 1));
            assert_eq!((filled.known, filled.removed), (1, 1));
            assert_eq!(filled.gone, [named(&broken, &packs[1])]);
            let checked = catalog.check(&name, &reader(&bad), &limits).await.unwrap();
            assert_eq!((checked.packs, checked.differences.len()), (1, 0));
        }
    });
}

/// However much junk a store shows first, of which not all is named.
#[test]
fn s16_junk_does_not_hide_that_a_pack_was_replaced() {
    let both = Both::start();
    block_on(async {
        let (store, packs) = filled().await;
        let (name, limits) = (store_name(), Limits::default());
        let junk = Bytes::from_static(b"{}");
        for catalog in both.open("junk").await {
            let whole = reader(&store);
            let taken = catalog.take_up(&name, &whole, &limits).await.unwrap();
            assert_eq!(taken.added, 3);
            let bad = MemoryStore::new();
            for (key, _) in store.snapshot() {
                bad.tamper(&key, Some(junk.clone()));
            }
            for number in 0..1_100 {
                let place = Location::manifest(&run("aaa", &format!("r{number}")));
                bad.tamper(place.key().unwrap().as_str(), Some(junk.clone()));
            }
            let checked = catalog.check(&name, &reader(&bad), &limits).await.unwrap();
            assert_eq!((checked.packs, checked.odd.faults_unlisted), (0, 103));
            let mut gone: Vec<_> = packs.iter().map(|pack| pack.pack_id()).collect();
            gone.sort();
            let mut told: Vec<_> = checked
                .differences
                .iter()
                .map(|one| match one {
                    Difference::Gone { pack_id, .. } => *pack_id,
                    other => panic!("{other:?}"),
                })
                .collect();
            told.sort();
            assert_eq!(told, gone);
        }
    });
}

/// As a server fills it: nobody has said that what is gone may be forgotten.
#[test]
fn s11_what_a_store_hides_stays_known_to_whoever_only_takes_up() {
    let both = Both::start();
    block_on(async {
        let (store, packs) = filled().await;
        let (name, limits) = (store_name(), Limits::default());
        for catalog in both.open("hidden").await {
            let (whole, empty) = (reader(&store), reader(&MemoryStore::new()));
            let taken = catalog.take_up(&name, &whole, &limits);
            assert_eq!(taken.await.unwrap().added, 3);
            let before = exported(&catalog).await;
            let taken = catalog.take_up(&name, &empty, &limits);
            let taken = taken.await.unwrap();
            assert_eq!((taken.added, taken.removed), (0, 0));
            assert_eq!(exported(&catalog).await, before);
            assert!(before.contains(&packs[0].pack_id().to_string()));
        }
    });
}

#[test]
fn s16_a_listing_that_shows_the_same_again_and_again_ends() {
    let both = Both::start();
    block_on(async {
        let (store, packs) = filled().await;
        let key = Location::manifest(packs[0].subject()).key().unwrap();
        let again = vec![ListEntry::new(key.to_string(), 1); 5_000];
        let lying = LyingStore::new(Arc::new(store), Lie::List(again));
        let lying: Arc<dyn ArtifactReader> = Arc::new(lying);
        let (name, limits) = (store_name(), Limits::default());
        for catalog in both.open("again").await {
            let ended = [
                catalog.take_up(&name, &lying, &limits).await.err(),
                catalog.rebuild(&name, &lying, &limits).await.err(),
                catalog.check(&name, &lying, &limits).await.err(),
            ];
            for error in ended {
                assert!(
                    matches!(error, Some(SurveyError::Listing { .. })),
                    "{error:?}"
                );
            }
        }
    });
}

#[test]
fn a_pack_in_two_stores_is_one_and_stays_until_both_are_without_it() {
    let both = Both::start();
    block_on(async {
        let (store, packs) = filled().await;
        let limits = Limits::default();
        let (here, mut there) = (store_name(), store_name());
        there.place = "file:///srv/copies".to_owned();
        there.region = None;
        let empty = MemoryStore::new();
        for catalog in both.open("stores").await {
            for name in [&here, &there] {
                catalog
                    .rebuild(name, &reader(&store), &limits)
                    .await
                    .unwrap();
            }
            let told = exported(&catalog).await;
            let id = packs[1].pack_id().to_string();
            assert_eq!(told.matches("{\"pack\":{").count(), 3);
            assert_eq!(told.matches("{\"place\":").count(), 6);
            catalog
                .rebuild(&here, &reader(&empty), &limits)
                .await
                .unwrap();
            assert!(exported(&catalog).await.contains(&id));
            catalog
                .catch_up(&there, &reader(&empty), &limits)
                .await
                .unwrap();
            assert_eq!(exported(&catalog).await, "");
        }
    });
}

/// Somebody changes the catalog, each table of it.
#[test]
fn w18_whatever_somebody_changes_in_the_catalog_a_check_finds_and_a_rebuild_mends() {
    let both = Both::start();
    block_on(async {
        let (store, packs) = filled().await;
        let (name, limits) = (store_name(), Limits::default());
        let [_, catalog] = both.open("changed").await;
        let id = packs[2].pack_id();
        for change in [
            "DELETE FROM packs",
            "UPDATE packs SET created_at = created_at + 1",
            "UPDATE packs SET tenant = 'other' WHERE tenant = 'acme'",
            "DELETE FROM artifacts WHERE name = 'spec.json'",
            "UPDATE artifacts SET commitment = decode(repeat('00', 32), 'hex')",
            "UPDATE artifacts SET bytes = 1",
            "DELETE FROM inputs",
            "UPDATE inputs SET source_name = 'other.csv'",
            "UPDATE labels SET value = ''",
            "UPDATE places SET region = 'us-east-1'",
            "UPDATE packs SET agent = 'mallory'",
            "UPDATE packs SET policy = 'mine', expires_at = 0",
            "UPDATE artifacts SET expires_at = 253402300799",
            "UPDATE places SET form = 'bundle'",
            "DELETE FROM places",
        ] {
            catalog
                .rebuild(&name, &reader(&store), &limits)
                .await
                .unwrap();
            let before = exported(&catalog).await;
            both.postgres.ask("changed", change);
            let checked = catalog
                .check(&name, &reader(&store), &limits)
                .await
                .unwrap();
            assert!(!checked.differences.is_empty(), "{change}");
            catalog
                .rebuild(&name, &reader(&store), &limits)
                .await
                .unwrap();
            assert_eq!(exported(&catalog).await, before, "{change}");
        }
        // Policies that are none.
        let before = exported(&catalog).await;
        both.postgres.ask(
            "changed",
            "INSERT INTO retention (policies) VALUES ('no policies')",
        );
        let checked = catalog.check(&name, &reader(&store), &limits).await;
        assert!(
            matches!(
                checked,
                Err(SurveyError::Catalog(CatalogError::Damaged { .. }))
            ),
            "{checked:?}"
        );
        catalog
            .rebuild(&name, &reader(&store), &limits)
            .await
            .unwrap();
        assert_eq!(exported(&catalog).await, before);
        // A pack of nobody's.
        let nobody = format!(
            "INSERT INTO packs SELECT decode(repeat('00', 32), 'hex'), subject, tenant, namespace, scenario, run_id, step_id, \
             execution_id, spec_hash, created_at, producer_name, producer_version, artifacts, artifact_bytes, agent, \
             agent_version, policy, expires_at FROM packs \
             WHERE pack_id = decode('{}', 'hex')",
            id.digest()
        );
        both.postgres.ask("changed", &nobody);
        let checked = catalog
            .check(&name, &reader(&store), &limits)
            .await
            .unwrap();
        assert!(
            matches!(checked.differences[..], [Difference::Placeless { .. }]),
            "{checked:?}"
        );
    });
}

#[test]
fn a_bundle_is_a_place_too_and_is_what_its_key_says_or_nothing() {
    use runpack_core::bundle::{BundleWriter, Compression};
    let both = Both::start();
    block_on(async {
        let store = MemoryStore::new();
        let (name, limits) = (store_name(), Limits::default());
        let pack = manifest(
            run("acme", "r1"),
            "2026-11-20T12:00:00Z",
            &[],
            vec![artifact("source.csv", b"one,two")],
        );
        let mut writer = BundleWriter::new(Vec::new(), &pack, Compression::default()).unwrap();
        writer.write(b"one,two").unwrap();
        let bytes = Bytes::from(writer.finish().unwrap());
        let key = Location::bundle(&pack).unwrap().key().unwrap();
        store.tamper(key.as_str(), Some(bytes.clone()));
        // Under another pack's id, and under a month and a run that are not its own.
        let mut others = [
            (pack.pack_id().digest().to_string(), "0".repeat(64)),
            ("/11/".to_owned(), "/12/".to_owned()),
            ("r1".to_owned(), "r2".to_owned()),
        ]
        .map(|(from, to)| key.as_str().replace(&from, &to));
        others.sort();
        for other in &others {
            store.tamper(other, Some(bytes.clone()));
        }
        for catalog in both.open("bundles").await {
            let filled = catalog
                .catch_up(&name, &reader(&store), &limits)
                .await
                .unwrap();
            assert_eq!(filled.added, 1);
            let faults = filled.odd.faults.iter();
            let faults: Vec<&String> = faults.map(|fault| &fault.key).collect();
            assert_eq!(faults, others.iter().collect::<Vec<_>>());
            let told = exported(&catalog).await;
            assert!(told.contains("\"form\":\"bundle\""), "{told}");
        }
    });
}

#[test]
fn several_programs_may_fill_at_once() {
    let both = Both::start();
    for address in both.addresses("together") {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let address = address.clone();
                std::thread::spawn(move || {
                    block_on(async {
                        let (store, packs) = filled().await;
                        let (name, limits) = (store_name(), Limits::default());
                        let catalog = Catalog::open(&address).await.unwrap();
                        for pack in &packs {
                            // Who adds is told when somebody takes away.
                            while let Err(error) = catalog.admit(&name, &[found(pack)]).await {
                                assert!(matches!(error, CatalogError::Busy { .. }), "{error:?}");
                            }
                        }
                        catalog
                            .rebuild(&name, &reader(&store), &limits)
                            .await
                            .unwrap();
                        catalog.close().await;
                    });
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        block_on(async {
            let (store, packs) = filled().await;
            let (name, limits) = (store_name(), Limits::default());
            let catalog = Catalog::open(&address).await.unwrap();
            let checked = catalog
                .check(&name, &reader(&store), &limits)
                .await
                .unwrap();
            assert_eq!(checked.differences, []);
            let told: Vec<String> = catalog.export().try_collect().await.unwrap();
            let packs = packs.iter().map(|pack| pack.pack_id());
            for pack in packs.collect::<Vec<PackId>>() {
                let line = format!("{{\"pack\":{{\"pack_id\":\"{pack}\"");
                assert_eq!(told.concat().matches(&line).count(), 1);
            }
        });
    }
}
