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
struct Dying {
    memory: MemoryStore,
    steps: Arc<AtomicU64>,
    dies_at: u64,
    is_done: bool,
    is_dead: Arc<AtomicBool>,
}

impl Dying {
    fn new(memory: &MemoryStore, dies_at: u64, is_done: bool) -> Self {
        Self {
            memory: memory.clone(),
            steps: Arc::default(),
            dies_at,
            is_done,
            is_dead: Arc::default(),
        }
    }

    fn alive(&self) -> Result<(), StoreError> {
        if self.is_dead.load(Ordering::SeqCst) {
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
impl ArtifactReader for Dying {
    async fn open(&self, object: &ObjectRef, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        self.alive()?;
        self.memory.open(object, range).await
    }

    async fn stat(&self, object: &ObjectRef) -> Result<ObjectStat, StoreError> {
        self.alive()?;
        self.memory.stat(object).await
    }

    fn list(&self, prefix: &KeyPrefix) -> ListStream {
        self.memory.list(prefix)
    }

    async fn versions(&self, key: &ObjectKey) -> Result<Vec<ObjectStat>, StoreError> {
        self.alive()?;
        self.memory.versions(key).await
    }

    fn storage_uri(&self, key: &ObjectKey) -> String {
        self.memory.storage_uri(key)
    }
}

#[async_trait]
impl ArtifactSink for Dying {
    async fn create(
        &self,
        key: &ObjectKey,
        declared: Declared,
    ) -> Result<Box<dyn ArtifactWriter>, StoreError> {
        self.memory.create(key, declared).await
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
            self.memory.put(key, bytes, declared).await
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
        self.memory.find(key, declared).await
    }
}

#[async_trait]
impl Housekeeping for Dying {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.alive()?;
        self.memory.now().await
    }

    fn holdings(&self, prefix: &KeyPrefix) -> HoldingStream {
        match self.alive() {
            Ok(()) => self.memory.holdings(prefix),
            Err(error) => Box::pin(futures_util::stream::iter([Err(error)])),
        }
    }

    async fn remove(&self, holding: &Holding) -> Result<(), StoreError> {
        self.alive()?;
        let (is_done, _) = self.step();
        if is_done {
            self.memory.remove(holding).await?;
        }
        self.alive()
    }

    async fn protected(
        &self,
        objects: &[ObjectRef],
        now: Timestamp,
    ) -> Result<Option<(ObjectRef, Protection)>, StoreError> {
        self.alive()?;
        self.memory.protected(objects, now).await
    }
}

async fn apply_by(place: &Place, by: &str, store: &Dying, plan: &Plan) -> Applied {
    let limits = Limits::default();
    let keeper: Arc<dyn Housekeeping> = Arc::new(store.clone());
    let removing = Removing {
        store: &keeper,
        sink: store,
        policies: &place.policies,
        place: PLACE,
        by,
        now: place.now().await,
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
                let was_cut = dying.is_dead.load(Ordering::SeqCst);
                assert_eq!(applied.failed, u64::from(was_cut), "{steps} {is_done}");
                let artifacts = place.keys("tenant/").len();
                // Nothing goes before there is an intent.
                let records = place.keys("_runpack/audit/deletions/").len();
                assert!(artifacts == 6 || records > 0, "{steps} {is_done}");
                let (applied, _) = place.apply(&plan).await.unwrap();
                assert_eq!((applied.packs, applied.failed, applied.kept), (1, 0, 0));
                let keys = place.keys("");
                assert_eq!(place.keys("_runpack/audit/deletions/").len(), 2, "{keys:?}");
                assert!(removed(&place.memory, pack.pack_id()).await.is_some());
                assert!(removed(&place.memory, stays.pack_id()).await.is_none());
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
