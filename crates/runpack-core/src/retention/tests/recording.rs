//! What is written down of removals: whoever else writes there, and however much it is.

use super::super::planning::make_plan_within;
use super::*;
use crate::key::DeletionObject;
use crate::lifecycle::ARCHIVE_BYTES_FLOOR;

/// A store without versions: who comes second to a key is told so.
fn unversioned() -> Place {
    let policies = RetentionPolicies::new(vec![policy("short", Some(30))]).unwrap();
    Place::new(MemoryStore::new(), policies)
}

fn record_key(removal: &Removal, object: DeletionObject) -> String {
    let location = Location::Deletion {
        pack_id: removal.pack_id,
        removal: removal.digest(),
        object,
    };
    location.key().unwrap().to_string()
}

#[test]
fn w23_a_bundle_stays_where_something_else_lies_for_its_manifest_or_intent() {
    block_on(async {
        for object in [DeletionObject::Manifest, DeletionObject::Intent] {
            for junk in ["", "junk", "{}"] {
                let place = unversioned();
                let pack = place.pack("old", Vec::new()).await;
                place.bundled(&pack);
                let plan = place.plan().await;
                let key = record_key(&plan.removals[0], object);
                place.memory.tamper(&key, Some(junk.into()));
                let (applied, told) = place.apply(&plan).await.unwrap();
                assert_eq!((applied.kept, applied.objects), (1, 0), "{object}");
                assert!(told[0].ends_with("unsound"), "{told:?}");
                assert_eq!(place.keys("2026/").len(), 1, "{object}");
                // Without it the same plan goes on.
                place.memory.tamper(&key, None);
                let (applied, told) = place.apply(&plan).await.unwrap();
                assert_eq!((applied.packs, applied.kept), (1, 0), "{told:?}");
                let kept = record_key(&plan.removals[0], DeletionObject::Manifest);
                assert_eq!(place.memory.snapshot()[&kept], pack.to_bytes());
            }
        }
    });
}

#[test]
fn w23_what_is_no_receipt_says_of_no_removal_that_it_is_done() {
    block_on(async {
        let place = unversioned();
        let pack = place.pack("old", Vec::new()).await;
        let plan = place.plan().await;
        let receipt = record_key(&plan.removals[0], DeletionObject::Receipt);
        place.memory.tamper(&receipt, Some("junk".into()));
        let (applied, told) = place.apply(&plan).await.unwrap();
        assert_eq!((applied.failed, applied.objects), (1, 2), "{told:?}");
        let (applied, told) = place.apply(&plan).await.unwrap();
        assert_eq!((applied.failed, applied.packs), (1, 0), "{told:?}");
        place.memory.tamper(&receipt, None);
        assert_eq!(place.apply(&plan).await.unwrap().0.packs, 1);
        assert!(removed(&place.memory, pack.pack_id(), None).await.is_some());
    });
}

/// A pack whose artifacts a plan removed, and its receipt.
async fn gone() -> (Place, Arc<Manifest>, Intent) {
    let place = Place::short();
    let pack = place.pack("old", Vec::new()).await;
    let plan = place.plan().await;
    place.apply(&plan).await.unwrap();
    let receipt = place.record("receipt.json");
    (place, pack, receipt)
}

fn forged(pack: &Manifest, number: u32) -> String {
    let removal = Digest::of(&number.to_be_bytes());
    let location = Location::Deletion {
        pack_id: pack.pack_id(),
        removal,
        object: DeletionObject::Receipt,
    };
    location.key().unwrap().to_string()
}

#[test]
fn w23_what_a_writer_puts_among_records_is_read_within_one_bound() {
    block_on(async {
        // As large as a record may be, and many of them.
        let (place, pack, _) = gone().await;
        let junk = bytes::Bytes::from(vec![b' '; 1 << 20]);
        for number in 0..200 {
            let key = forged(&pack, number);
            place.memory.tamper(&key, Some(junk.clone()));
        }
        let plan = place.plan().await;
        assert_eq!(kept(&plan)[0].1, "unsound");
        assert!(plan.kept[0].detail.contains("than the limit"), "{plan:?}");
        assert_eq!(removed(&place.memory, pack.pack_id(), None).await, None);

        // One that is larger than any is none.
        let (place, pack, mut receipt) = gone().await;
        let honest = removed(&place.memory, pack.pack_id(), None).await;
        receipt.by = "x".repeat(1 << 20);
        receipt.completed_at = Some(Timestamp::MAX);
        let large = serde_json::to_vec(&receipt).unwrap();
        place.memory.tamper(&forged(&pack, 0), Some(large.into()));
        assert_eq!(removed(&place.memory, pack.pack_id(), None).await, honest);
        place.memory.pass(METADATA_SECONDS);
        assert_eq!(planned(&place.plan().await), [pack.pack_id()]);
    });
}

#[test]
fn w23_what_is_said_of_one_place_says_nothing_of_another() {
    block_on(async {
        let (place, pack, _) = gone().await;
        let (here, id) = (manifest_key(&pack), pack.pack_id());
        let elsewhere = Location::bundle(&pack).unwrap().key().unwrap();
        assert!(removed(&place.memory, id, Some(&here)).await.is_some());
        assert_eq!(removed(&place.memory, id, Some(&elsewhere)).await, None);
    });
}

/// A pack of so many artifacts.
async fn large(place: &Place, artifacts: usize) -> Arc<Manifest> {
    let store: Arc<dyn Store> = Arc::new(place.memory.clone());
    let producer = Producer {
        name: "test".parse().unwrap(),
        version: "1".parse().unwrap(),
    };
    let mut draft = PackDraft::new(subject("large"), time(MADE), producer);
    for number in 0..artifacts {
        let source = Arc::new(BytesSource(number.to_string().into_bytes().into()));
        let (kind, media) = ("data".parse().unwrap(), "a/b".parse().unwrap());
        let name = format!("{number:05}-{}", "x".repeat(200)).parse().unwrap();
        draft.add(NewArtifact::new(name, kind, media, source));
    }
    let staged = draft.stage(store).await.unwrap();
    staged.commit().await.unwrap().manifest
}

#[test]
fn l10_no_record_of_a_removal_is_as_large_as_what_rules_may_archive() {
    block_on(async {
        let place = Place::short();
        let pack = large(&place, 2_001).await;
        let plan = place.plan().await;
        let (applied, told) = place.apply(&plan).await.unwrap();
        assert_eq!((applied.packs, applied.objects), (1, 2_001), "{told:?}");
        let mut named = 0;
        for (key, bytes) in place.memory.snapshot() {
            if !key.starts_with("_runpack/audit/") {
                continue;
            }
            let bytes_max = usize::try_from(ARCHIVE_BYTES_FLOOR).unwrap();
            assert!(bytes.len() <= bytes_max, "{key} {}", bytes.len());
            if key.contains("/objects/") {
                let page: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
                let canonical = serde_json_canonicalizer::to_vec(&page).unwrap();
                assert_eq!(canonical, bytes);
                named += page["objects"].as_array().unwrap().len();
            }
        }
        assert_eq!(named, 2_001);
        assert_eq!(place.record("receipt.json").pages, 11);
        // The same again, and what is left of it goes in its time.
        assert!(place.apply(&plan).await.unwrap().1[0].ends_with("done"));
        place.memory.pass(METADATA_SECONDS);
        assert_eq!(planned(&place.plan().await), [pack.pack_id()]);
    });
}

#[test]
fn w23_what_pages_name_was_to_go() {
    block_on(async {
        let place = Place::short();
        let pack = large(&place, 450).await;
        let plan = place.plan().await;
        let removal = &plan.removals[0];
        let first = &removal.objects[0].key;
        let bytes = place.memory.snapshot()[first].clone();
        place.apply(&plan).await.unwrap();
        // As if it had been cut: one artifact is still there, and no receipt.
        place.memory.tamper(first, Some(bytes));
        let receipt = record_key(removal, DeletionObject::Receipt);
        place.memory.tamper(&receipt, None);
        let again = place.plan().await;
        assert_eq!(planned(&again), [pack.pack_id()], "{again:?}");
        assert_eq!(again.removals[0].objects.len(), 1);
        // What no page names was lost otherwise.
        let page = DeletionObject::Objects { page: 1 };
        place.memory.tamper(&record_key(removal, page), None);
        let again = place.plan().await;
        assert_eq!(kept(&again)[0].1, "unsound");
        assert!(again.kept[0].detail.contains("no plan removed it"));
    });
}

#[test]
fn a_plan_is_no_larger_than_what_is_read_of_one() {
    block_on(async {
        let place = Place::short();
        for run_id in ["one", "two", "three"] {
            place.pack(run_id, Vec::new()).await;
        }
        let all = place.plan().await;
        let asked = Asked {
            place: PLACE,
            tenant: None,
            at: None,
            now: place.now().await,
            limits: &Limits::default(),
        };
        let largest = all.removals.iter().map(Removal::planned_bytes).max();
        let largest = largest.unwrap();
        for (bytes_max, planned, kept, more) in [
            (largest * 3, 3, 0, false),
            (largest, 1, 0, true),
            (largest / 2, 0, 3, false),
        ] {
            let plan = make_plan_within(&place.store, &place.policies, &asked, bytes_max).await;
            let plan = plan.unwrap();
            assert_eq!(plan.removals.len(), planned);
            let unsound = plan.kept_counts.get(&WhyKept::Unsound).copied();
            assert_eq!((unsound.unwrap_or(0), plan.more), (kept, more));
        }
    });
}
