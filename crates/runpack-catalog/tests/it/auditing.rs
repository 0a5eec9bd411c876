//! Audits: every place once, whoever dies meanwhile, and whatever the store leaves out.

use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::{Either, join3, pending, select};
use runpack_catalog::Catalog;
use runpack_catalog::audit::{
    Audit, AuditError, AuditId, AuditOptions, AuditedPlace, Auditor, BoxError, PinSource, Scope,
    Standing, Which,
};
use runpack_core::key::{Location, ObjectKey};
use runpack_core::manifest::{Manifest, Subject};
use runpack_core::pin::Pins;
use runpack_core::store::{ArtifactReader, MemoryStore};
use runpack_core::verify::Level;
use runpack_testing::{Lie, LyingStore, block_on};

use crate::gate::Gate;
use crate::support::{Both, committed, reader, run, store_name};

/// Every pack is known from elsewhere.
pub(crate) struct AllKnown;

impl PinSource for AllKnown {
    fn pins(&self, _: &ObjectKey, manifest: &Manifest) -> Result<Pins, BoxError> {
        Ok(Pins::pack_id(manifest.pack_id()))
    }
}

/// Nobody knows anything.
pub(crate) struct NothingKnown;

impl PinSource for NothingKnown {
    fn pins(&self, _: &ObjectKey, _: &Manifest) -> Result<Pins, BoxError> {
        Ok(Pins::none())
    }
}

/// What knows packs is damaged.
pub(crate) struct Unreadable;

impl PinSource for Unreadable {
    fn pins(&self, _: &ObjectKey, _: &Manifest) -> Result<Pins, BoxError> {
        Err("a receipt is damaged".into())
    }
}

pub(crate) fn id(number: u64) -> AuditId {
    format!("01JD3M7Z9X8QWERTYASD{number:06}").parse().unwrap()
}

pub(crate) async fn begun(catalog: &Catalog, number: u64, scope: &Scope) -> Audit {
    let id = id(number);
    let store = store_name().place;
    catalog
        .begin_audit(&id, &store, Level::Full, scope)
        .await
        .unwrap();
    catalog.audit(&id).await.unwrap().unwrap()
}

pub(crate) fn options(worker: &str) -> AuditOptions {
    let mut options = AuditOptions::new(worker);
    options.pause = Duration::from_millis(1);
    options
}

pub(crate) fn auditor(
    catalog: &Catalog,
    audit: &Audit,
    reader: Arc<dyn ArtifactReader>,
    options: AuditOptions,
) -> Auditor {
    Auditor::new(catalog, audit.clone(), reader, Arc::new(AllKnown), options)
}

/// A whole audit by one worker.
pub(crate) async fn audited(
    catalog: &Catalog,
    number: u64,
    scope: &Scope,
    reader: Arc<dyn ArtifactReader>,
) -> Standing {
    let audit = begun(catalog, number, scope).await;
    let auditor = auditor(catalog, &audit, reader, options("w"));
    auditor.run(pending()).await.unwrap()
}

pub(crate) async fn places(catalog: &Catalog, audit: &AuditId) -> Vec<AuditedPlace> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = catalog
            .audit_places(audit, Which::All, &after, 7)
            .await
            .unwrap();
        let Some(last) = page.last() else { return all };
        after.clone_from(&last.key);
        all.extend(page);
    }
}

/// `key code` of every finding.
pub(crate) async fn findings(catalog: &Catalog, number: u64) -> Vec<String> {
    let mut all = Vec::new();
    for place in places(catalog, &id(number)).await {
        let run = place.key.split('/').nth(7).unwrap_or(&place.key).to_owned();
        all.extend(
            place
                .findings
                .iter()
                .map(|one| format!("{run} {}", one.code)),
        );
    }
    all
}

pub(crate) fn subject(number: u32) -> Subject {
    run("acme", &format!("r{number:05}"))
}

pub(crate) async fn filled(packs: u32) -> MemoryStore {
    let store = MemoryStore::new();
    for number in 0..packs {
        committed(&store, subject(number), &number.to_string()).await;
    }
    store
}

pub(crate) fn manifest_key(number: u32) -> ObjectKey {
    Location::manifest(&subject(number)).key().unwrap()
}

#[test]
fn many_workers_conclude_every_place_once() {
    let both = Both::start();
    block_on(async {
        let store = filled(90).await;
        for catalog in both.open("many").await {
            let audit = begun(&catalog, 1, &Scope::default()).await;
            let (one, two, three) = (options("one"), options("two"), options("three"));
            let progress = [&one, &two, &three].map(|options| Arc::clone(&options.progress));
            let [one, two, three] =
                [one, two, three].map(|options| auditor(&catalog, &audit, reader(&store), options));
            let all = join3(one.run(pending()), two.run(pending()), three.run(pending()));
            let (one, two, three) = Box::pin(all).await;
            for standing in [one.unwrap(), two.unwrap(), three.unwrap()] {
                assert!(standing.complete, "{standing:?}");
                assert_eq!((standing.valid, standing.concluded()), (90, 90));
            }
            let count = |progress: &Arc<runpack_catalog::audit::AuditProgress>| {
                (
                    progress.places.load(Ordering::SeqCst),
                    progress.late.load(Ordering::SeqCst),
                )
            };
            let counted = progress.each_ref().map(count);
            assert_eq!(counted.iter().map(|one| one.0).sum::<u64>(), 90);
            assert!(counted.iter().all(|one| one.1 == 0), "{counted:?}");
            let places = places(&catalog, &audit.id).await;
            assert_eq!(places.len(), 90);
            assert!(places.iter().all(|one| one.attempts == 1 && one.listed));
            assert!(places.iter().all(|one| one.pinned_by == ["pack_id"]));
        }
    });
}

/// A worker stands still for longer than its lease, and goes on when another has its place.
#[test]
fn a_worker_that_comes_back_from_the_dead_writes_nothing() {
    let both = Both::start();
    block_on(async {
        let store = filled(5).await;
        for catalog in both.open("dead").await {
            let audit = begun(&catalog, 1, &Scope::default()).await;
            let gate = Arc::new(Gate::new(reader(&store)).stopping_at("r00003"));
            let mut dead = options("dead");
            dead.lease = Duration::from_secs(2);
            dead.workers = NonZeroUsize::MIN;
            let progress = Arc::clone(&dead.progress);
            let through: Arc<dyn ArtifactReader> = gate.clone();
            let dead = auditor(&catalog, &audit, through, dead);
            let mut running = Box::pin(dead.run(pending()));
            match select(&mut running, pin!(gate.reached())).await {
                Either::Left((ended, _)) => panic!("it ended: {ended:?}"),
                Either::Right(_) => {}
            }
            // It holds this place alone, and is in the middle of no transaction, which would keep SQLite from others.
            while !catalog.audit(&audit.id).await.unwrap().unwrap().is_planned {
                let _ = select(&mut running, pin!(tokio::task::yield_now())).await;
            }
            // From here on it is not asked for anything: it keeps nothing.
            let alive = auditor(&catalog, &audit, reader(&store), options("alive"));
            let standing = alive.run(pending()).await.unwrap();
            assert_eq!((standing.complete, standing.valid), (true, 5));
            let before = places(&catalog, &audit.id).await;
            gate.open();
            let standing = running.await.unwrap();
            assert_eq!(standing.valid, 5);
            assert_eq!(places(&catalog, &audit.id).await, before);
            assert_eq!(progress.late.load(Ordering::SeqCst), 1);
            let fought_for = before.iter().find(|one| one.key.contains("r00003"));
            let fought_for = fought_for.unwrap();
            assert_eq!(fought_for.worker.as_deref(), Some("alive"));
            assert_eq!(fought_for.attempts, 2);
        }
    });
}

/// With a lease of an hour, nobody would finish in time what was not given back.
#[test]
fn what_is_stopped_gives_its_places_back() {
    let both = Both::start();
    block_on(async {
        let store = filled(5).await;
        for catalog in both.open("stopped").await {
            let audit = begun(&catalog, 1, &Scope::default()).await;
            let gate = Arc::new(Gate::new(reader(&store)).stopping_at("r00002"));
            let hour = || {
                let mut options = options("w");
                options.lease = Duration::from_hours(1);
                options
            };
            let through: Arc<dyn ArtifactReader> = gate.clone();
            let stopped = auditor(&catalog, &audit, through, hour());
            let standing = stopped.run(gate.reached()).await.unwrap();
            assert!(!standing.complete && standing.open > 0, "{standing:?}");
            let next = auditor(&catalog, &audit, reader(&store), hour());
            let standing = next.run(pending()).await.unwrap();
            assert_eq!((standing.complete, standing.valid), (true, 5));
            let places = places(&catalog, &audit.id).await;
            assert!(places.iter().all(|one| one.attempts == 1), "{places:?}");
        }
    });
}

/// A worker that is dropped gives nothing back, as one that is killed.
#[test]
fn a_place_that_takes_its_workers_with_it_is_given_up() {
    let both = Both::start();
    block_on(async {
        let store = filled(3).await;
        for catalog in both.open("poison").await {
            let audit = begun(&catalog, 1, &Scope::default()).await;
            let short = || {
                let mut options = options("w");
                options.lease = Duration::from_millis(500);
                options.attempts_max = 3;
                // One at a time: what is looked at beside it would die with it.
                options.workers = NonZeroUsize::MIN;
                options
            };
            for _ in 0..3 {
                let gate = Arc::new(Gate::new(reader(&store)).stopping_at("r00001"));
                let through: Arc<dyn ArtifactReader> = gate.clone();
                let killed = auditor(&catalog, &audit, through, short());
                let running = Box::pin(killed.run(pending()));
                match select(running, pin!(gate.reached())).await {
                    Either::Left((ended, _)) => panic!("it ended: {ended:?}"),
                    Either::Right(((), running)) => drop(running),
                }
            }
            let last = auditor(&catalog, &audit, reader(&store), short());
            let standing = last.run(pending()).await.unwrap();
            assert_eq!((standing.valid, standing.undecided), (2, 1));
            assert_eq!(findings(&catalog, 1).await, ["r00001 place.given_up"]);
        }
    });
}

#[test]
fn a_store_that_fails_is_tried_again_and_not_for_ever() {
    let both = Both::start();
    block_on(async {
        let store = filled(3).await;
        for (at, catalog) in both.open("failing").await.into_iter().enumerate() {
            let lie = || Lie::Fail(std::io::ErrorKind::ConnectionReset);
            let lying = Arc::new(
                LyingStore::new(Arc::new(store.clone()), lie())
                    .about(|key| key.as_str().contains("r00001") && key.as_str().contains("data")),
            );
            let through: Arc<dyn ArtifactReader> = lying.clone();
            let standing = audited(&catalog, 1, &Scope::default(), through).await;
            assert_eq!((standing.valid, standing.undecided), (2, 1), "{at}");
            let found = places(&catalog, &id(1)).await;
            let failed = found.iter().find(|one| one.key.contains("r00001")).unwrap();
            assert_eq!(failed.attempts, 5);
            assert_eq!(failed.findings[0].code, "artifact.unread");
            // What will fail again is not tried again.
            let lie = Lie::Fail(std::io::ErrorKind::PermissionDenied);
            let lying = LyingStore::new(Arc::new(store.clone()), lie)
                .about(|key| key.as_str().contains("r00001"));
            let standing = audited(&catalog, 2, &Scope::default(), Arc::new(lying)).await;
            assert_eq!((standing.valid, standing.undecided), (2, 1));
            let found = places(&catalog, &id(2)).await;
            assert!(found.iter().all(|one| one.attempts == 1));
            // What fails at first is valid in the end.
            let gate = Gate::new(reader(&store)).failing_first(3);
            let standing = audited(&catalog, 3, &Scope::default(), Arc::new(gate)).await;
            assert_eq!((standing.valid, standing.complete), (3, true));
        }
    });
}

#[test]
fn s16_a_listing_that_repeats_or_never_ends_is_bounded() {
    let both = Both::start();
    block_on(async {
        let store = filled(40).await;
        for catalog in both.open("endless").await {
            let lying = LyingStore::new(Arc::new(store.clone()), Lie::ListForever);
            let audit = begun(&catalog, 1, &Scope::default()).await;
            let endless = auditor(&catalog, &audit, Arc::new(lying), options("w"));
            let refused = endless.run(pending()).await.unwrap_err();
            let AuditError::Listing { reason, shown } = refused else {
                panic!("{refused:?}");
            };
            assert!(
                reason.contains("again and again") && shown < 10_000,
                "{shown}"
            );
            assert!(places(&catalog, &audit.id).await.len() <= 40);
            // Not complete, and never said to be.
            let standing = catalog.audit_standing(&audit.id).await.unwrap();
            assert!(!standing.complete);
            // Once the store lists as it should, the same audit is taken up again.
            let again = auditor(&catalog, &audit, reader(&store), options("w"));
            let standing = again.run(pending()).await.unwrap();
            assert_eq!((standing.complete, standing.valid), (true, 40));

            // Each page twice is no fault.
            let keys = (0..40).map(|number| {
                let key = manifest_key(number).to_string();
                runpack_core::store::ListEntry::new(key, 1)
            });
            let lying = LyingStore::new(Arc::new(store.clone()), Lie::List(keys.collect()));
            let standing = audited(&catalog, 2, &Scope::default(), Arc::new(lying)).await;
            assert_eq!((standing.complete, standing.valid), (true, 40));

            for (number, entries_max, places_max) in [(3, 20, 1_000), (4, 1_000, 20)] {
                let audit = begun(&catalog, number, &Scope::default()).await;
                let mut options = options("w");
                options.entries_max = entries_max;
                options.places_max = places_max;
                let bounded = auditor(&catalog, &audit, reader(&store), options);
                let refused = bounded.run(pending()).await.unwrap_err();
                assert!(matches!(refused, AuditError::Listing { .. }), "{refused:?}");
            }
        }
    });
}

#[test]
fn w19_a_database_that_is_killed_in_the_middle_is_waited_for() {
    let both = Both::start();
    let [_, address] = both.addresses("killed");
    block_on(async move {
        let store = filled(30).await;
        let catalog = Catalog::open(&address).await.unwrap();
        let audit = begun(&catalog, 1, &Scope::default()).await;
        let gate = Arc::new(Gate::new(reader(&store)).stopping_at("r00015"));
        let through: Arc<dyn ArtifactReader> = gate.clone();
        let auditor = auditor(&catalog, &audit, through, options("w"));
        let mut running = Box::pin(auditor.run(pending()));
        match select(&mut running, pin!(gate.reached())).await {
            Either::Left((ended, _)) => panic!("it ended: {ended:?}"),
            Either::Right(_) => {}
        }
        let mut postgres = both.postgres;
        postgres.kill();
        gate.open();
        // While it starts, the audit goes on asking. It ends with the thread that started it.
        let (done, is_done) = std::sync::mpsc::channel::<()>();
        let keeper = std::thread::spawn(move || {
            postgres.start_again();
            let _ = is_done.recv();
        });
        let standing = running.await.unwrap();
        assert_eq!((standing.complete, standing.valid), (true, 30));
        drop(done);
        keeper.join().unwrap();
    });
}
