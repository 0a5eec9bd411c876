//! A store that fails while it is asked: what stays because of it, and what is worth another try.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use super::*;
use crate::key::KeyPrefix;
use crate::store::{
    ArtifactReader, Holding, HoldingStream, Holds, ListStream, ObjectBody, ObjectRef, ObjectStat,
    Protection, StoreError,
};

/// What is asked of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asking {
    Open,
    Protected,
    Holds,
}

/// How it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Denied,
    Unavailable,
    NotFound,
}

/// A store that fails wherever one thing is asked of it, of keys with this part.
#[derive(Debug, Clone)]
struct Failing {
    memory: MemoryStore,
    fails: Option<(Asking, How)>,
    part: &'static str,
    holds_read: Arc<AtomicU64>,
    /// From which time on that it is asked everything is held.
    held_from: u64,
    protected_asked: Arc<AtomicU64>,
}

impl Failing {
    fn new(memory: &MemoryStore, fails: Option<(Asking, How)>) -> Self {
        Self {
            memory: memory.clone(),
            fails,
            part: "",
            holds_read: Arc::default(),
            held_from: u64::MAX,
            protected_asked: Arc::default(),
        }
    }

    fn ask(&self, asking: Asking, key: &str) -> Result<(), StoreError> {
        let (action, key) = ("asking", key.to_owned());
        match self.fails {
            Some((fails, how)) if fails == asking && key.contains(self.part) => Err(match how {
                How::Denied => StoreError::Denied {
                    action,
                    key,
                    code: "AccessDenied".to_owned(),
                },
                How::Unavailable => StoreError::Unavailable {
                    action,
                    key,
                    source: "503".into(),
                },
                How::NotFound => StoreError::NotFound { key },
            }),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl ArtifactReader for Failing {
    async fn open(&self, object: &ObjectRef, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        self.ask(Asking::Open, object.key.as_str())?;
        self.memory.open(object, range).await
    }

    async fn stat(&self, object: &ObjectRef) -> Result<ObjectStat, StoreError> {
        self.memory.stat(object).await
    }

    fn list(&self, prefix: &KeyPrefix) -> ListStream {
        self.memory.list(prefix)
    }

    async fn versions(&self, key: &ObjectKey) -> Result<Vec<ObjectStat>, StoreError> {
        self.memory.versions(key).await
    }

    fn storage_uri(&self, key: &ObjectKey) -> String {
        self.memory.storage_uri(key)
    }
}

#[async_trait]
impl Housekeeping for Failing {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.memory.now().await
    }

    fn holdings(&self, prefix: &KeyPrefix) -> HoldingStream {
        self.memory.holdings(prefix)
    }

    async fn remove(&self, holding: &Holding) -> Result<(), StoreError> {
        self.memory.remove(holding).await
    }

    async fn protected(
        &self,
        objects: &[ObjectRef],
        now: Timestamp,
    ) -> Result<Option<(ObjectRef, Protection)>, StoreError> {
        self.ask(Asking::Protected, "")?;
        let asked = self.protected_asked.fetch_add(1, Ordering::SeqCst);
        if asked >= self.held_from {
            let first = objects.first().cloned();
            return Ok(first.map(|object| (object, Protection::Held)));
        }
        self.memory.protected(objects, now).await
    }

    async fn holds(&self) -> Result<Holds, StoreError> {
        self.holds_read.fetch_add(1, Ordering::SeqCst);
        self.ask(Asking::Holds, "")?;
        self.memory.holds().await
    }
}

async fn plan_of(place: &Place, store: &Failing) -> Result<Plan, RetentionError> {
    let store: Arc<dyn Housekeeping> = Arc::new(store.clone());
    let asked = Asked {
        place: PLACE,
        tenant: None,
        at: None,
        now: place.now().await,
        limits: &Limits::default(),
    };
    make_plan(&store, &place.policies, &asked).await
}

async fn applied(
    place: &Place,
    store: &Failing,
    plan: &Plan,
) -> Result<(Applied, Vec<String>), RetentionError> {
    let clock = FixedClock(place.now().await);
    let store: Arc<dyn Housekeeping> = Arc::new(store.clone());
    place.apply_by(&clock, &store, plan).await
}

#[test]
fn l15_a_refusal_to_say_is_a_lock_and_a_store_that_is_away_is_not() {
    block_on(async {
        for (asking, why) in [(Asking::Protected, "locked"), (Asking::Holds, "held")] {
            let place = Place::short();
            place.pack("old", Vec::new()).await;
            let plan = place.plan().await;
            let before = place.memory.snapshot();
            let denied = Failing::new(&place.memory, Some((asking, How::Denied)));
            let again = plan_of(&place, &denied).await.unwrap();
            assert_eq!(kept(&again)[0].1, why);
            let (applied_to, told) = applied(&place, &denied, &plan).await.unwrap();
            assert_eq!((applied_to.kept, applied_to.failed), (1, 0));
            assert!(told[0].ends_with(why), "{told:?}");

            let away = Failing::new(&place.memory, Some((asking, How::Unavailable)));
            match plan_of(&place, &away).await {
                Ok(plan) => assert_eq!(kept(&plan)[0].1, "unreadable"),
                // Of the ledger nothing is known for any pack.
                Err(error) => assert!(asking == Asking::Holds, "{error}"),
            }
            let (applied_to, told) = applied(&place, &away, &plan).await.unwrap();
            assert_eq!((applied_to.kept, applied_to.failed), (0, 1), "{told:?}");
            assert_eq!(place.memory.snapshot(), before);
        }
    });
}

#[test]
fn w23_a_manifest_that_the_store_does_not_give_keeps_everything() {
    block_on(async {
        for how in [How::Denied, How::Unavailable, How::NotFound] {
            let place = Place::short();
            place.pack("old", Vec::new()).await;
            place.pack("broken", Vec::new()).await;
            let plan = place.plan().await;
            let before = place.memory.snapshot();
            let failing = Failing {
                part: "/run/broken/",
                ..Failing::new(&place.memory, Some((Asking::Open, how)))
            };
            // A version that is listed and not there is no pack that went.
            let again = plan_of(&place, &failing).await.unwrap();
            let mut whys: Vec<_> = kept(&again).into_iter().map(|(_, why)| why).collect();
            whys.sort_unstable();
            assert_eq!(whys, ["needed", "unreadable"], "{how:?}");
            let applied = applied(&place, &failing, &plan).await;
            if how == How::Unavailable {
                // The same again may do it.
                assert!(matches!(applied, Err(RetentionError::Store(_))));
            } else {
                let (applied, told) = applied.unwrap();
                assert_eq!((applied.kept, applied.failed), (2, 0), "{told:?}");
            }
            assert_eq!(place.memory.snapshot(), before, "{how:?}");
        }
    });
}

#[test]
fn a_ledger_is_read_once_for_a_plan_and_once_for_each_pack_that_goes() {
    block_on(async {
        let place = Place::short();
        for run_id in ["one", "two", "three"] {
            place.pack(run_id, Vec::new()).await;
        }
        let store = Failing::new(&place.memory, None);
        let plan = plan_of(&place, &store).await.unwrap();
        assert_eq!(plan.removals.len(), 3);
        assert_eq!(store.holds_read.load(Ordering::SeqCst), 1);
        applied(&place, &store, &plan).await.unwrap();
        assert_eq!(store.holds_read.load(Ordering::SeqCst), 4);
    });
}

/// A clock that goes on by an hour whenever it is looked at.
#[derive(Debug)]
struct Going(AtomicU64);

impl Clock for Going {
    fn now(&self) -> Timestamp {
        let seconds = self.0.fetch_add(3_600, Ordering::SeqCst);
        Timestamp::from_unix_seconds(seconds).unwrap()
    }
}

#[test]
fn what_is_written_down_has_the_time_at_which_it_is_written() {
    block_on(async {
        let place = Place::short();
        place.pack("old", Vec::new()).await;
        let plan = place.plan().await;
        let clock = Going(AtomicU64::new(place.now().await.unix_seconds()));
        place.apply_by(&clock, &place.store, &plan).await.unwrap();
        let begun_at = place.record("intent.json").begun_at.unwrap();
        let receipt = place.record("receipt.json");
        let completed_at = receipt.completed_at.unwrap();
        assert!(begun_at > place.now().await && completed_at > begun_at);
        let until = completed_at.later(METADATA_SECONDS);
        assert_eq!(receipt.stays.unwrap().until, until);
    });
}

#[test]
fn l15_what_went_before_a_hold_came_is_told() {
    block_on(async {
        let place = Place::short();
        let pack = place.pack("old", Vec::new()).await;
        let plan = place.plan().await;
        // Asked for all at once, then for each: the hold comes between two artifacts.
        let store = Failing {
            held_from: 2,
            ..Failing::new(&place.memory, None)
        };
        let (applied, told) = applied(&place, &store, &plan).await.unwrap();
        assert!(told[0].ends_with("held"), "{told:?}");
        assert_eq!((applied.kept, applied.objects), (1, 1));
        let left = place.keys("tenant/").len();
        assert_eq!(left, 2, "{:?}", place.keys(""));
        let bytes = plan.removals[0].objects[0].bytes;
        assert_eq!(applied.bytes, bytes);
        // It goes on where it stopped.
        let (applied, _) = place.apply(&plan).await.unwrap();
        assert_eq!((applied.packs, applied.objects), (1, 1));
        drop(pack);
    });
}
