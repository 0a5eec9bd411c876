//! What audits conclude: of damage, of what the store hides, of what is older, and of what a plan removed.

use std::num::NonZeroU64;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::pending;
use runpack_catalog::audit::{Auditor, BoxError, PinSource, Scope};
use runpack_core::bundle::{BundleWriter, Compression};
use runpack_core::id::PackId;
use runpack_core::key::{Location, ObjectKey};
use runpack_core::limits::Limits;
use runpack_core::manifest::Manifest;
use runpack_core::pin::Pins;
use runpack_core::store::{ArtifactReader, MemoryStore};
use runpack_testing::{Lie, LyingStore, block_on};

use crate::auditing::{
    NothingKnown, Unreadable, audited, begun, filled, findings, id, manifest_key, options, places,
    subject,
};
use crate::gate::Gate;
use crate::support::{Both, artifact, committed, exported, manifest, reader, run, store_name};

#[test]
fn what_is_damaged_missing_swapped_or_misplaced_is_named() {
    let both = Both::start();
    block_on(async {
        let store = filled(6).await;
        let data = |number: u32| {
            let bytes = runpack_core::digest::Digest::of(number.to_string().as_bytes());
            let name = "data.csv".parse().unwrap();
            let place = Location::artifact(&subject(number), &name, bytes);
            place.key().unwrap()
        };
        for catalog in both.open("wrong").await {
            for (number, lie, target, expected) in [
                (1, Lie::FlipBit(3), data(0), "r00000 artifact.digest"),
                (2, Lie::Hide, data(1), "r00001 artifact.missing"),
                (3, Lie::Truncate(0), data(2), "r00002 artifact.size"),
                (
                    4,
                    Lie::Impersonate(manifest_key(4)),
                    manifest_key(3),
                    "r00003 pin.identity",
                ),
                (
                    5,
                    Lie::Serve("{}".into()),
                    manifest_key(5),
                    "r00005 manifest.format",
                ),
            ] {
                let lying = LyingStore::new(Arc::new(store.clone()), lie);
                let lying: Arc<dyn ArtifactReader> =
                    Arc::new(lying.about(move |key| *key == target));
                let standing = audited(&catalog, number, &Scope::default(), lying).await;
                assert_eq!((standing.invalid, standing.valid), (1, 5), "{expected}");
                let found = findings(&catalog, number).await;
                assert!(found.iter().any(|one| one == expected), "{found:?}");
            }
            // Two in each other's place: both are named.
            let lie = Lie::Swap(data(0), data(1));
            let lying: Arc<dyn ArtifactReader> =
                Arc::new(LyingStore::new(Arc::new(store.clone()), lie));
            let standing = audited(&catalog, 6, &Scope::default(), lying).await;
            assert_eq!((standing.invalid, standing.valid), (2, 4));
        }
    });
}

#[test]
fn s11_packs_that_were_known_and_are_not_shown_any_more_are_found() {
    let both = Both::start();
    block_on(async {
        let (name, limits) = (store_name(), Limits::default());
        for catalog in both.open("hidden").await {
            let store = filled(4).await;
            catalog
                .catch_up(&name, &reader(&store), &limits)
                .await
                .unwrap();
            let standing = audited(&catalog, 1, &Scope::default(), reader(&store)).await;
            assert_eq!((standing.valid, standing.known), (4, 4));

            // Pack 0 is gone, 1 is not listed, another lies where 2 lay, 3 is as it was, and 9 is new.
            let later = MemoryStore::new();
            for (number, says) in [(1, "1"), (2, "rewritten"), (3, "3"), (9, "9")] {
                committed(&later, subject(number), says).await;
            }
            let hiding = Gate::new(reader(&later)).hiding("r00001");
            let hiding: Arc<dyn ArtifactReader> = Arc::new(hiding);
            let standing = audited(&catalog, 2, &Scope::default(), Arc::clone(&hiding)).await;
            assert_eq!((standing.invalid, standing.valid), (3, 2), "{standing:?}");
            let expected = [
                "r00000 manifest.missing",
                "r00000 place.vanished",
                "r00001 place.hidden",
                "r00002 place.changed",
            ];
            let mut found = findings(&catalog, 2).await;
            found.sort();
            assert_eq!(found, expected);
        }
    });
}

#[test]
fn s11_a_narrow_audit_misses_all_that_it_is_about_and_nothing_else() {
    let both = Both::start();
    block_on(async {
        let (name, limits) = (store_name(), Limits::default());
        let store = filled(600).await;
        committed(&store, run("aaa", "r1"), "before").await;
        committed(&store, run("globex", "r1"), "after").await;
        for catalog in both.open("narrow").await {
            let whole = reader(&store);
            let taken = catalog.take_up(&name, &whole, &limits).await.unwrap();
            assert_eq!(taken.added, 602);
            let scope = Scope {
                tenant: Some("acme".parse().unwrap()),
                namespace: Some("prod".parse().unwrap()),
                ..Scope::default()
            };
            let empty = reader(&MemoryStore::new());
            let standing = audited(&catalog, 1, &scope, empty).await;
            assert_eq!((standing.complete, standing.invalid), (true, 600));
            assert_eq!((standing.concluded(), standing.known), (600, 600));
        }
    });
}

#[test]
fn s11_what_the_catalog_forgot_an_earlier_audit_remembers() {
    let both = Both::start();
    block_on(async {
        let (name, limits) = (store_name(), Limits::default());
        for catalog in both.open("forgotten").await {
            let store = filled(3).await;
            // Nothing was known: nothing can be said of what is hidden.
            let standing = audited(&catalog, 1, &Scope::default(), reader(&store)).await;
            assert_eq!((standing.valid, standing.known), (3, 0));
            let smaller = filled(2).await;
            catalog
                .rebuild(&name, &reader(&smaller), &limits)
                .await
                .unwrap();
            let standing = audited(&catalog, 2, &Scope::default(), reader(&smaller)).await;
            assert_eq!((standing.valid, standing.invalid), (2, 1));
            let found = findings(&catalog, 2).await;
            assert!(
                found.iter().any(|one| one == "r00002 place.vanished"),
                "{found:?}"
            );
            // It was told, and the next one begins from there.
            let standing = audited(&catalog, 3, &Scope::default(), reader(&smaller)).await;
            assert_eq!((standing.valid, standing.invalid), (2, 0));
        }
    });
}

#[test]
fn results_are_no_index_and_outlive_a_rebuild() {
    let both = Both::start();
    block_on(async {
        let (name, limits) = (store_name(), Limits::default());
        let store = filled(5).await;
        for catalog in both.open("rebuilt").await {
            catalog
                .rebuild(&name, &reader(&store), &limits)
                .await
                .unwrap();
            let before = exported(&catalog).await;
            let standing = audited(&catalog, 1, &Scope::default(), reader(&store)).await;
            let told = places(&catalog, &id(1)).await;
            assert_eq!(exported(&catalog).await, before);
            catalog
                .rebuild(&name, &reader(&store), &limits)
                .await
                .unwrap();
            assert_eq!(catalog.audit_standing(&id(1)).await.unwrap(), standing);
            assert_eq!(places(&catalog, &id(1)).await, told);
            assert_eq!(catalog.audits(10).await.unwrap().len(), 1);
        }
    });
}

#[test]
fn what_vouches_and_cannot_be_read_leaves_packs_undecided() {
    let both = Both::start();
    block_on(async {
        let store = filled(2).await;
        for catalog in both.open("pins").await {
            let audit = begun(&catalog, 1, &Scope::default()).await;
            let source = Arc::new(Unreadable);
            let auditor = Auditor::new(&catalog, audit, reader(&store), source, options("w"));
            let standing = auditor.run(pending()).await.unwrap();
            assert_eq!((standing.undecided, standing.concluded()), (2, 2));
            let audit = begun(&catalog, 2, &Scope::default()).await;
            let source = Arc::new(NothingKnown);
            let auditor = Auditor::new(&catalog, audit, reader(&store), source, options("w"));
            let standing = auditor.run(pending()).await.unwrap();
            assert_eq!((standing.consistent, standing.concluded()), (2, 2));
        }
    });
}

#[test]
fn a_scope_narrows_and_a_lot_cannot_be_told_beforehand() {
    let both = Both::start();
    block_on(async {
        let store = filled(60).await;
        committed(&store, run("globex", "r1"), "other").await;
        for catalog in both.open("scope").await {
            let scope = Scope {
                tenant: Some("globex".parse().unwrap()),
                ..Scope::default()
            };
            let standing = audited(&catalog, 1, &scope, reader(&store)).await;
            assert_eq!((standing.complete, standing.valid), (true, 1));
            let scope = Scope {
                since: Some("2026-11-20T12:00:01Z".parse().unwrap()),
                ..Scope::default()
            };
            let standing = audited(&catalog, 2, &scope, reader(&store)).await;
            assert_eq!((standing.older, standing.valid), (61, 0));
            let scope = Scope {
                one_of: NonZeroU64::new(3),
                ..Scope::default()
            };
            let mut drawn = Vec::new();
            for number in [3, 4] {
                let standing = audited(&catalog, number, &scope, reader(&store)).await;
                assert!(standing.complete && (5..=40).contains(&standing.valid));
                assert_eq!(standing.concluded(), standing.valid);
                let keys = places(&catalog, &id(number)).await.into_iter();
                drawn.push(keys.map(|place| place.key).collect::<Vec<_>>());
            }
            assert_ne!(drawn[0], drawn[1]);
            // A scope is read back as it was.
            let audit = catalog.audit(&id(3)).await.unwrap().unwrap();
            assert_eq!(audit.scope, scope);
        }
    });
}

/// A receipt says that another pack was made here than whatever lies there.
struct Otherwise;

impl PinSource for Otherwise {
    fn pins(&self, _: &ObjectKey, _: &Manifest) -> Result<Pins, BoxError> {
        let mut pins = Pins::none();
        pins.recorded
            .push(vec![PackId::new(runpack_core::digest::Digest::of(
                b"what was made",
            ))]);
        Ok(pins)
    }
}

#[test]
fn what_is_put_in_place_of_a_pack_is_not_left_out_as_older() {
    let both = Both::start();
    block_on(async {
        let store = filled(2).await;
        let bundled = bundle(&store, "r9");
        let scope = Scope {
            since: Some("2026-11-20T12:00:01Z".parse().unwrap()),
            ..Scope::default()
        };
        for catalog in both.open("older").await {
            let audit = begun(&catalog, 1, &scope).await;
            let auditor = Auditor::new(
                &catalog,
                audit,
                reader(&store),
                Arc::new(Otherwise),
                options("w"),
            );
            let standing = auditor.run(pending()).await.unwrap();
            assert_eq!((standing.older, standing.invalid), (0, 3), "{standing:?}");
            // Nor is a pack in the place of another, which nobody knew.
            let lie = Lie::Impersonate(manifest_key(0));
            let lying = LyingStore::new(Arc::new(store.clone()), lie);
            let lying: Arc<dyn ArtifactReader> =
                Arc::new(lying.about(|key| *key == manifest_key(1)));
            let standing = audited(&catalog, 2, &scope, lying).await;
            assert_eq!((standing.older, standing.invalid), (2, 1), "{standing:?}");
            let other = bundled
                .as_str()
                .replace(&pack_of(&bundled), &"0".repeat(64));
            let moved = store.clone();
            let bytes = store.snapshot().remove(bundled.as_str()).unwrap();
            moved.tamper(&other, Some(bytes));
            let standing = audited(&catalog, 3, &scope, reader(&moved)).await;
            assert_eq!((standing.older, standing.invalid), (3, 1), "{standing:?}");
            moved.tamper(&other, None);
        }
    });
}

/// A bundle of one artifact in its place.
fn bundle(store: &MemoryStore, run_id: &str) -> ObjectKey {
    let artifacts = vec![artifact("a.csv", b"one,two")];
    let pack = manifest(run("acme", run_id), "2026-11-20T12:00:00Z", &[], artifacts);
    let mut writer = BundleWriter::new(Vec::new(), &pack, Compression::default()).unwrap();
    writer.write(b"one,two").unwrap();
    let key = Location::bundle(&pack).unwrap().key().unwrap();
    store.tamper(key.as_str(), Some(Bytes::from(writer.finish().unwrap())));
    key
}

fn pack_of(bundle: &ObjectKey) -> String {
    match Location::parse(bundle.as_str()) {
        Some(Location::Bundle { pack_id, .. }) => pack_id.digest().to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn damage_is_told_although_what_vouches_cannot_be_read() {
    let both = Both::start();
    block_on(async {
        let store = MemoryStore::new();
        let key = bundle(&store, "r1");
        let bytes = store.snapshot().remove(key.as_str()).unwrap();
        store.tamper(key.as_str(), Some(bytes.slice(..bytes.len() - 20)));
        for catalog in both.open("unread_damage").await {
            let audit = begun(&catalog, 1, &Scope::default()).await;
            let pins = Arc::new(Unreadable);
            let auditor = Auditor::new(&catalog, audit, reader(&store), pins, options("w"));
            let standing = auditor.run(pending()).await.unwrap();
            assert_eq!((standing.invalid, standing.undecided), (1, 0));
            assert_eq!(
                places(&catalog, &id(1)).await[0].findings[0].code,
                "pins.unread"
            );
        }
    });
}
