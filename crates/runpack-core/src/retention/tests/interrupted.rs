//! A removal that ends at any of its steps, before or after it was done, and one that is done by two at once.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use super::*;
use crate::key::KeyPrefix;
use crate::store::{
    ArtifactReader, ArtifactSink, ArtifactWriter, Declared, Holding, HoldingStream, ListStream,
    ObjectBody, ObjectRef, ObjectStat, Protection, Receipt, StoreError,
};

/// A store of which nothing is heard any more from the given step that changes something.
#[derive(Debug, Clone)]
struct Dying<S> {
    store: S,
    steps: Arc<AtomicU64>,
    dies_at: u64,
    is_done: bool,
    is_dead: Arc<AtomicBool>,
}

impl<S: Clone> Dying<S> {
    fn new(store: &S, dies_at: u64, is_done: bool) -> Self {
        Self {
            store: store.clone(),
            steps: Arc::default(),
            dies_at,
            is_done,
            is_dead: Arc::default(),
        }
    }

    fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::SeqCst)
    }

    fn alive(&self) -> Result<(), StoreError> {
        if self.is_dead() {
            return Err(StoreError::Unreachable {
                reason: "it is dead".to_owned(),
            });
        }
        Ok(())
    }

    /// Whether a step that changes something is done, and whether it is heard of.
    fn step(&self) -> (bool, bool) {
        let dies = self.steps.fetch_add(1, Ordering::SeqCst) == self.dies_at;
        if dies {
            self.is_dead.store(true, Ordering::SeqCst);
        }
        (!dies || self.is_done, !dies)
    }
}

#[async_trait]
impl<S: ArtifactReader + Clone> ArtifactReader for Dying<S> {
    async fn open(&self, object: &ObjectRef, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        self.alive()?;
        self.store.open(object, range).await
    }

    async fn stat(&self, object: &ObjectRef) -> Result<ObjectStat, StoreError> {
        self.alive()?;
        self.store.stat(object).await
    }

    fn list(&self, prefix: &KeyPrefix) -> ListStream {
        self.store.list(prefix)
    }

    async fn versions(&self, key: &ObjectKey) -> Result<Vec<ObjectStat>, StoreError> {
        self.alive()?;
        self.store.versions(key).await
    }

    fn storage_uri(&self, key: &ObjectKey) -> String {
        self.store.storage_uri(key)
    }
}

#[async_trait]
impl<S: ArtifactSink + Clone> ArtifactSink for Dying<S> {
    async fn create(
        &self,
        key: &ObjectKey,
        declared: Declared,
    ) -> Result<Box<dyn ArtifactWriter>, StoreError> {
        self.store.create(key, declared).await
    }

    async fn put(
        &self,
        key: &ObjectKey,
        bytes: Bytes,
        declared: Declared,
    ) -> Result<Receipt, StoreError> {
        self.alive()?;
        let (is_done, is_heard) = self.step();
        let put = if is_done {
            self.store.put(key, bytes, declared).await
        } else {
            self.alive().map(|()| unreachable!())
        };
        if is_heard { put } else { self.alive().and(put) }
    }

    async fn find(
        &self,
        key: &ObjectKey,
        declared: &Declared,
    ) -> Result<Option<Receipt>, StoreError> {
        self.alive()?;
        self.store.find(key, declared).await
    }
}

#[async_trait]
impl<S: Housekeeping + Clone> Housekeeping for Dying<S> {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.alive()?;
        self.store.now().await
    }

    fn holdings(&self, prefix: &KeyPrefix) -> HoldingStream {
        match self.alive() {
            Ok(()) => self.store.holdings(prefix),
            Err(error) => Box::pin(futures_util::stream::iter([Err(error)])),
        }
    }

    async fn remove(&self, holding: &Holding) -> Result<(), StoreError> {
        self.alive()?;
        let (is_done, _) = self.step();
        if is_done {
            self.store.remove(holding).await?;
        }
        self.alive()
    }

    async fn protected(
        &self,
        objects: &[ObjectRef],
        now: Timestamp,
    ) -> Result<Option<(ObjectRef, Protection)>, StoreError> {
        self.alive()?;
        self.store.protected(objects, now).await
    }
}

async fn apply_by<S>(place: &Place, by: &str, store: &Dying<S>, plan: &Plan) -> Applied
where
    S: Housekeeping + ArtifactSink + Clone + 'static,
{
    let limits = Limits::default();
    let keeper: Arc<dyn Housekeeping> = Arc::new(store.clone());
    let removing = Removing {
        store: &keeper,
        sink: store,
        policies: &place.policies,
        place: PLACE,
        by,
        clock: &FixedClock(plan.made_at),
        limits: &limits,
    };
    removing.apply(plan, &mut |_, _| {}).await.unwrap()
}

#[test]
fn w23_a_removal_goes_on_after_it_was_cut_at_any_step() {
    block_on(async {
        let mut steps = 0;
        loop {
            for is_done in [false, true] {
                let place = Place::short();
                let pack = place.pack("old", Vec::new()).await;
                let stays = place
                    .pack_made("young", "2027-12-30T00:00:00Z", Vec::new())
                    .await;
                let plan = place.plan().await;
                let dying = Dying::new(&place.memory, steps, is_done);
                let applied = apply_by(&place, "first", &dying, &plan).await;
                let was_cut = dying.is_dead();
                assert_eq!(applied.failed, u64::from(was_cut), "{steps} {is_done}");
                let artifacts = place.keys("tenant/").len();
                // Nothing goes before there is an intent.
                let records = place.keys("_runpack/audit/deletions/").len();
                assert!(artifacts == 6 || records > 0, "{steps} {is_done}");
                let (applied, _) = place.apply(&plan).await.unwrap();
                assert_eq!((applied.packs, applied.failed, applied.kept), (1, 0, 0));
                let keys = place.keys("");
                assert_eq!(place.keys("_runpack/audit/deletions/").len(), 2, "{keys:?}");
                assert!(removed(&place.memory, pack.pack_id(), None).await.is_some());
                assert!(
                    removed(&place.memory, stays.pack_id(), None)
                        .await
                        .is_none()
                );
                // The pack that stays is whole.
                assert_eq!(place.keys("tenant/").len(), 4, "{keys:?}");
                if !was_cut {
                    // An intent, two artifacts and a receipt.
                    assert_eq!(steps, 4);
                    return;
                }
            }
            steps += 1;
        }
    });
}

#[test]
fn w23_two_carry_out_one_plan_at_once() {
    block_on(async {
        let place = Place::short();
        for at in 0..20 {
            place.pack(&format!("old-{at}"), Vec::new()).await;
        }
        let plan = place.plan().await;
        assert_eq!(plan.removals.len(), 20);
        let store = Dying::new(&place.memory, u64::MAX, true);
        let (one, two) = futures_util::future::join(
            apply_by(&place, "one", &store, &plan),
            apply_by(&place, "two", &store, &plan),
        )
        .await;
        assert_eq!((one.packs, one.failed, one.kept), (20, 0, 0));
        assert_eq!((two.packs, two.failed, two.kept), (20, 0, 0));
        assert_eq!(place.keys("tenant/").len(), 20);
    });
}

#[test]
fn w23_two_remove_one_bundle_at_once() {
    block_on(async {
        // One of them has done everything when the other reads the bundle for the last time, or before.
        for read in 0.. {
            let place = Place::short();
            let pack = place.pack("old", Vec::new()).await;
            place.bundled(&pack);
            let plan = place.plan().await;
            let other = Overtaken {
                dying: Dying::new(&place.memory, u64::MAX, true),
                left: Arc::new(AtomicU64::new(read)),
                place: Arc::new(Place {
                    memory: place.memory.clone(),
                    store: Arc::clone(&place.store),
                    policies: place.policies.clone(),
                }),
                plan: plan.clone(),
            };
            let clock = FixedClock(place.now().await);
            let keeper: Arc<dyn Housekeeping> = Arc::new(other.clone());
            let (applied, told) = place.apply_by(&clock, &keeper, &plan).await.unwrap();
            assert_eq!((applied.packs, applied.kept), (1, 0), "{read} {told:?}");
            assert!(place.keys("2026/").is_empty());
            assert!(removed(&place.memory, pack.pack_id(), None).await.is_some());
            if other.left.load(Ordering::SeqCst) < u64::MAX / 2 {
                // Never overtaken: there were fewer looks than that.
                assert!(read > 3, "{read}");
                return;
            }
        }
    });
}

/// A store in which somebody else carries out the plan right before a look at the versions of something.
#[derive(Debug, Clone)]
struct Overtaken {
    dying: Dying<MemoryStore>,
    left: Arc<AtomicU64>,
    place: Arc<Place>,
    plan: Plan,
}

#[async_trait]
impl ArtifactReader for Overtaken {
    async fn open(&self, object: &ObjectRef, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        self.overtake().await;
        self.dying.open(object, range).await
    }

    async fn stat(&self, object: &ObjectRef) -> Result<ObjectStat, StoreError> {
        self.dying.stat(object).await
    }

    fn list(&self, prefix: &KeyPrefix) -> ListStream {
        self.dying.list(prefix)
    }

    async fn versions(&self, key: &ObjectKey) -> Result<Vec<ObjectStat>, StoreError> {
        self.overtake().await;
        self.dying.versions(key).await
    }

    fn storage_uri(&self, key: &ObjectKey) -> String {
        self.dying.storage_uri(key)
    }
}

impl Overtaken {
    async fn overtake(&self) {
        // Once: beyond zero it wraps, and is never zero again.
        if self.left.fetch_sub(1, Ordering::SeqCst) == 0 {
            let (applied, _) = self.place.apply(&self.plan).await.unwrap();
            assert_eq!(applied.packs, 1);
        }
    }
}

#[async_trait]
impl Housekeeping for Overtaken {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.dying.now().await
    }

    fn holdings(&self, prefix: &KeyPrefix) -> HoldingStream {
        self.dying.holdings(prefix)
    }

    async fn remove(&self, holding: &Holding) -> Result<(), StoreError> {
        self.dying.remove(holding).await
    }

    async fn protected(
        &self,
        objects: &[ObjectRef],
        now: Timestamp,
    ) -> Result<Option<(ObjectRef, Protection)>, StoreError> {
        self.dying.protected(objects, now).await
    }
}

#[test]
fn w23_the_removal_of_a_manifest_in_several_versions_is_gone_on_with() {
    block_on(async {
        for steps in 0..6 {
            let place = Place::short();
            let pack = place.pack("old", Vec::new()).await;
            let key = manifest_key(&pack);
            place
                .memory
                .add_version(key.as_str(), pack.to_bytes().into());
            place.apply(&place.plan().await).await.unwrap();
            place.memory.pass(METADATA_SECONDS);
            let plan = place.plan().await;
            assert_eq!(plan.removals[0].phase, Phase::Manifest);
            assert_eq!(plan.removals[0].objects.len(), 2);
            let dying = Dying::new(&place.memory, steps, true);
            apply_by(&place, "first", &dying, &plan).await;
            let (applied, told) = place.apply(&plan).await.unwrap();
            assert_eq!((applied.packs, applied.kept), (1, 0), "{steps} {told:?}");
            assert!(place.keys("tenant/").is_empty());
        }
    });
}

#[cfg(feature = "file")]
#[test]
fn w23_in_a_directory_a_removal_goes_on_after_it_was_cut_at_any_step() {
    block_on(async {
        for steps in 0.. {
            for is_done in [false, true] {
                let root = tempfile::tempdir().unwrap();
                let directory = crate::store::FileStore::create(root.path()).await.unwrap();
                // Made in memory, so that the pack is the same.
                let place = Place::short();
                place.pack("old", Vec::new()).await;
                for (key, bytes) in place.memory.snapshot() {
                    let declared = Declared::of(&bytes);
                    let key = Location::parse(&key).unwrap().key().unwrap();
                    directory.put(&key, bytes, declared).await.unwrap();
                }
                let keeper: Arc<dyn Housekeeping> = Arc::new(directory.clone());
                let asked = Asked {
                    place: PLACE,
                    tenant: None,
                    at: None,
                    now: directory.now().await.unwrap(),
                    limits: &Limits::default(),
                };
                let plan = make_plan(&keeper, &place.policies, &asked).await.unwrap();
                assert_eq!(plan.removals.len(), 1);
                let dying = Dying::new(&directory, steps, is_done);
                let first = apply_by(&place, "first", &dying, &plan).await;
                assert_eq!(first.failed, u64::from(dying.is_dead()));
                let again = Dying::new(&directory, u64::MAX, true);
                let again = apply_by(&place, "again", &again, &plan).await;
                assert_eq!((again.packs, again.failed, again.kept), (1, 0, 0));
                let mut left = Vec::new();
                let mut held = directory.holdings(&KeyPrefix::all());
                while let Some(found) = futures_util::StreamExt::next(&mut held).await {
                    left.push(found.unwrap().key);
                }
                // The manifest, an intent and a receipt.
                assert_eq!(left.len(), 3, "{steps} {is_done} {left:?}");
                if !dying.is_dead() {
                    assert_eq!(steps, 4);
                    return;
                }
            }
        }
    });
}
