//! What audits conclude of a pack of which a plan removed one copy, and somebody else another.

use std::sync::Arc;

use bytes::Bytes;
use runpack_catalog::audit::Scope;
use runpack_core::bundle::{BundleWriter, Compression};
use runpack_core::key::{Location, ObjectKey};
use runpack_core::limits::Limits;
use runpack_core::manifest::Manifest;
use runpack_core::retention::{Asked, Keep, Policy, Removing, RetentionPolicies, Went, make_plan};
use runpack_core::store::{Housekeeping, MemoryStore};
use runpack_core::time::{FixedClock, Timestamp};
use runpack_testing::block_on;

use crate::auditing::{audited, findings};
use crate::support::{Both, committed, reader, run, store_name};

/// A pack as files and as a bundle.
struct Twice {
    store: MemoryStore,
    manifest: ObjectKey,
    artifact: ObjectKey,
    bundle: ObjectKey,
    bundled: Bytes,
}

impl Twice {
    async fn new() -> Self {
        let store = MemoryStore::new();
        committed(&store, run("acme", "r1"), "data").await;
        let manifest = Location::manifest(&run("acme", "r1")).key().unwrap();
        let bytes = store.snapshot().remove(manifest.as_str()).unwrap();
        let pack = Manifest::parse(&bytes, &Limits::default()).unwrap();
        let artifact = &pack.artifacts()[0];
        let artifact = Location::artifact(pack.subject(), artifact.name(), artifact.commitment());
        let mut writer = BundleWriter::new(Vec::new(), &pack, Compression::Stored).unwrap();
        writer.write(b"data").unwrap();
        let bundled = Bytes::from(writer.finish().unwrap());
        let bundle = Location::bundle(&pack).unwrap().key().unwrap();
        store.tamper(bundle.as_str(), Some(bundled.clone()));
        Self {
            store,
            manifest,
            artifact: artifact.key().unwrap(),
            bundle,
            bundled,
        }
    }

    /// A plan takes the bundle, and nothing else.
    async fn remove_bundle(&self) {
        let made: Timestamp = "2028-01-01T00:00:00Z".parse().unwrap();
        self.store.pass(made.unix_seconds());
        let keeper: Arc<dyn Housekeeping> = Arc::new(self.store.clone());
        let now = keeper.now().await.unwrap();
        let policy = Policy::new("all".parse().unwrap(), Keep::Seconds(30 * 86_400));
        let policies = RetentionPolicies::new(vec![policy.unwrap()]).unwrap();
        let limits = Limits::default();
        let asked = Asked {
            place: "memory:///",
            tenant: None,
            at: None,
            now,
            limits: &limits,
        };
        let mut plan = make_plan(&keeper, &policies, &asked).await.unwrap();
        plan.removals.retain(|one| one.key == self.bundle.as_str());
        let removing = Removing {
            store: &keeper,
            sink: &self.store,
            policies: &policies,
            place: "memory:///",
            by: "tester",
            clock: &FixedClock(now),
            limits: &limits,
        };
        let mut went = Went::default();
        let mut tell = |_: &_, outcome: &runpack_core::retention::Outcome| went = outcome.went();
        removing.apply(&plan, &mut tell).await.unwrap();
        assert_eq!(went.objects, 1);
    }
}

#[test]
fn w23_the_receipt_of_one_copy_excuses_the_loss_of_no_other() {
    let both = Both::start();
    block_on(async {
        for catalog in both.open("copies").await {
            let (twice, scope) = (Twice::new().await, Scope::default());
            let (name, limits) = (store_name(), Limits::default());
            let seen = reader(&twice.store);
            catalog.catch_up(&name, &seen, &limits).await.unwrap();
            let standing = audited(&catalog, 1, &scope, Arc::clone(&seen)).await;
            assert_eq!((standing.valid, standing.known), (2, 2));
            twice.remove_bundle().await;
            // What is lost of the files, and then all of them.
            twice.store.tamper(twice.artifact.as_str(), None);
            let standing = audited(&catalog, 2, &scope, Arc::clone(&seen)).await;
            assert_eq!((standing.removed, standing.invalid), (1, 1), "{standing:?}");
            twice.store.tamper(twice.manifest.as_str(), None);
            let standing = audited(&catalog, 3, &scope, Arc::clone(&seen)).await;
            assert_eq!((standing.removed, standing.invalid), (1, 1), "{standing:?}");
            let found = findings(&catalog, 3).await;
            assert!(
                found.iter().any(|one| one == "r1 place.vanished"),
                "{found:?}"
            );
        }
    });
}

#[test]
fn w23_what_lies_in_the_place_of_a_bundle_that_went_is_not_removed() {
    let both = Both::start();
    block_on(async {
        for catalog in both.open("replaced").await {
            let (twice, scope) = (Twice::new().await, Scope::default());
            let (name, limits) = (store_name(), Limits::default());
            let seen = reader(&twice.store);
            catalog.catch_up(&name, &seen, &limits).await.unwrap();
            twice.remove_bundle().await;
            let other = with_another_name_first(&twice.bundled);
            twice.store.tamper(twice.bundle.as_str(), Some(other));
            let standing = audited(&catalog, 1, &scope, seen).await;
            assert_eq!((standing.removed, standing.invalid), (0, 1), "{standing:?}");
            let found = findings(&catalog, 1).await;
            assert!(
                found.iter().any(|one| one.ends_with(" manifest.missing"))
                    && !found.iter().any(|one| one.contains(" place.")),
                "{found:?}"
            );
        }
    });
}

/// A bundle whose archive does not begin with a manifest.
fn with_another_name_first(bundle: &Bytes) -> Bytes {
    let mut bytes = bundle.to_vec();
    let name = b"manifest.json";
    let at = bytes.windows(name.len()).position(|part| part == name);
    let at = at.unwrap();
    bytes[at] += 1;
    let sum = &mut bytes[at + 148..at + 154];
    let number = u32::from_str_radix(std::str::from_utf8(sum).unwrap(), 8).unwrap();
    sum.copy_from_slice(format!("{:06o}", number + 1).as_bytes());
    Bytes::from(bytes)
}
