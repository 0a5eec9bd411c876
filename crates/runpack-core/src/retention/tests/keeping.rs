//! What keeps a pack although it has expired: what was made from it, whoever cannot be understood, clocks that go apart.

use super::super::survey::{Bounds, KEPT_MAX, Survey, Told};
use super::*;
use crate::key::DeletionObject;
use crate::manifest::RunPart;
use crate::retention::judge::Judge;
use crate::store::{ArtifactSink as _, Declared, ObjectRef, Protection, VersionId};

const YOUNG: &str = "2027-12-30T00:00:00Z";

/// An old pack, and a young one that was made from it.
async fn made_from() -> (Place, Arc<Manifest>, Arc<Manifest>) {
    let place = Place::short();
    let source = place.pack("source", Vec::new()).await;
    let product = place
        .pack_made("product", YOUNG, vec![input(&source)])
        .await;
    (place, source, product)
}

fn whys(plan: &Plan) -> Vec<&'static str> {
    kept(plan).into_iter().map(|(_, why)| why).collect()
}

#[test]
fn w23_what_somebody_elses_manifest_was_made_from_stays() {
    block_on(async {
        // Two manifests that both can be understood: nobody can tell which was made, so both count.
        let (place, source, product) = made_from().await;
        let other = Place::short();
        let other = other.pack_made("product", MADE, Vec::new()).await;
        let bytes = other.to_bytes();
        let declared = Declared::of(&bytes);
        let key = manifest_key(&product);
        place
            .memory
            .put(&key, bytes.into(), declared)
            .await
            .unwrap();
        let plan = place.plan().await;
        assert_eq!(planned(&plan), []);
        assert_eq!(whys(&plan), ["equivocal", "needed"]);
        assert!(plan.kept[1].detail.contains(&product.pack_id().to_string()));

        // One that stands in another's place.
        let (place, _, product) = made_from().await;
        let elsewhere = Location::manifest(&subject("other")).key().unwrap();
        let bytes = product.to_bytes();
        place.memory.tamper(elsewhere.as_str(), Some(bytes.into()));
        place.memory.tamper(manifest_key(&product).as_str(), None);
        assert_eq!(whys(&place.plan().await), ["unsound", "needed"]);
        drop(source);
    });
}

#[test]
fn w23_where_a_manifest_cannot_be_understood_everything_stays() {
    block_on(async {
        let bundle = format!("2026/01/r/{}.tar.gz", PackId::of(b"x").digest());
        let broken = manifest_key(&made_from().await.2).to_string();
        for (key, bytes) in [(&broken, "garbage"), (&broken, ""), (&bundle, "garbage")] {
            let (mut place, source, product) = made_from().await;
            let plan = place
                .plan_of(&place.policies.clone().letting_inputs_go())
                .await;
            assert_eq!(planned(&plan), [source.pack_id()]);
            // What it was made from would stay for it, if it were there.
            let product = manifest_key(&product);
            place.memory.tamper(product.as_str(), None);
            place.memory.tamper(key, Some(bytes.into()));
            let plan = place.plan().await;
            assert_eq!(whys(&plan), ["unsound", "needed"], "{key}");
            assert!(plan.kept[1].detail.contains("is not known"), "{plan:?}");
            // Where inputs may go, only that one stays.
            place.policies = place.policies.clone().letting_inputs_go();
            let plan = place.plan().await;
            assert_eq!(planned(&plan), [source.pack_id()], "{key}");
            assert_eq!(whys(&plan), ["unsound"], "{key}");
        }
        // One of two versions.
        let (place, _, product) = made_from().await;
        let (key, bytes) = (manifest_key(&product), b"garbage".to_vec());
        let declared = Declared::of(&bytes);
        place
            .memory
            .put(&key, bytes.into(), declared)
            .await
            .unwrap();
        assert_eq!(whys(&place.plan().await), ["equivocal", "needed"]);
    });
}

#[test]
fn w23_what_a_delete_marker_hides_keeps_what_it_was_made_from() {
    block_on(async {
        let (place, source, product) = made_from().await;
        let letting = place.policies.clone().letting_inputs_go();
        assert_eq!(planned(&place.plan_of(&letting).await), [source.pack_id()]);
        place.memory.mark_deleted(manifest_key(&product).as_str());
        let plan = place.plan().await;
        assert_eq!((planned(&plan), whys(&plan)), (vec![], vec!["needed"]));
        // What has expired under one goes all the same, by version.
        let (place, source, product) = made_from().await;
        place.memory.tamper(manifest_key(&product).as_str(), None);
        place.memory.mark_deleted(manifest_key(&source).as_str());
        let plan = place.plan().await;
        assert_eq!(planned(&plan), [source.pack_id()]);
        assert_eq!(place.apply(&plan).await.unwrap().0.packs, 1);
    });
}

#[test]
fn w23_what_packs_of_other_tenants_were_made_from_stays() {
    block_on(async {
        let place = Place::short();
        let source = place.pack("source", Vec::new()).await;
        let other = place.pack("other", Vec::new()).await;
        let theirs = run("globex", "prod", "loan");
        place
            .pack_of(theirs, "theirs", MADE, vec![input(&source)])
            .await;
        let tenant = "acme".parse().unwrap();
        let asked = Asked {
            place: PLACE,
            tenant: Some(&tenant),
            at: None,
            now: place.now().await,
            limits: &Limits::default(),
        };
        let plan = make_plan(&place.store, &place.policies, &asked).await;
        let plan = plan.unwrap();
        assert_eq!(planned(&plan), [other.pack_id()]);
        // All of what a plan promises is done.
        let (applied, told) = place.apply(&plan).await.unwrap();
        assert_eq!((applied.packs, applied.kept), (1, 0), "{told:?}");
    });
}

#[test]
fn w23_a_manifest_that_is_left_of_a_product_keeps_nothing() {
    block_on(async {
        let place = Place::short();
        let source = place.pack("source", Vec::new()).await;
        place.pack("product", vec![input(&source)]).await;
        let object = ObjectRef {
            key: manifest_key(&source),
            version: Some(VersionId::new("3")),
        };
        place.memory.protect(&object, Some(Protection::Held));
        let plan = place.plan().await;
        assert_eq!((plan.removals.len(), whys(&plan)), (1, vec!["held"]));
        place.apply(&plan).await.unwrap();
        place.memory.protect(&object, None);
        // Now the source: its product's manifest is not in the plan, and does not need it.
        let plan = place.plan().await;
        assert_eq!(planned(&plan), [source.pack_id()]);
        let (applied, told) = place.apply(&plan).await.unwrap();
        assert_eq!((applied.packs, applied.kept), (1, 0), "{told:?}");
    });
}

#[test]
fn t04_a_lock_is_over_by_the_later_of_two_clocks() {
    block_on(async {
        let place = Place::short();
        place.pack("old", Vec::new()).await;
        let ours = place.now().await;
        let plan = place.plan().await;
        let object = &plan.removals[0].objects[0];
        let object = ObjectRef {
            key: Location::parse(&object.key).unwrap().key().unwrap(),
            version: object.version.as_deref().map(VersionId::new),
        };
        let until = Protection::LockedUntil(ours.later(DAY));
        place.memory.protect(&object, Some(until));
        // The store's clock says that the lock is over, and ours that it is not; and the other way round.
        for (passed, at) in [(2 * DAY, ours), (0, ours.later(5 * DAY))] {
            place.memory.pass(passed);
            let asked = Asked {
                place: PLACE,
                tenant: None,
                at: None,
                now: at.min(place.now().await),
                limits: &Limits::default(),
            };
            let planned = make_plan(&place.store, &place.policies, &asked).await;
            let is_over = asked.now > ours.later(DAY);
            let expected: &[&str] = if is_over { &[] } else { &["locked"] };
            assert_eq!(whys(&planned.unwrap()), expected);
        }
        let (_, told) = place
            .apply_by(&FixedClock(ours), &place.store, &plan)
            .await
            .unwrap();
        assert!(told[0].ends_with("locked"), "{told:?}");
    });
}

#[test]
fn t04_a_manifest_stays_by_the_later_of_two_clocks() {
    block_on(async {
        let place = Place::short();
        let pack = place.pack("old", Vec::new()).await;
        let plan = place.plan().await;
        // Whoever removes is six days ahead of the store.
        let ahead = FixedClock(place.now().await.later(days(6)));
        place.apply_by(&ahead, &place.store, &plan).await.unwrap();
        place.memory.pass(METADATA_SECONDS);
        assert_eq!(whys(&place.plan().await), ["metadata"]);
        place.memory.pass(days(6));
        assert_eq!(planned(&place.plan().await), [pack.pack_id()]);
    });
}

#[test]
fn w23_a_pack_that_lost_something_otherwise_is_looked_at_first() {
    block_on(async {
        let place = Place::short();
        place.pack("old", Vec::new()).await;
        let before = place.plan().await;
        place
            .memory
            .tamper(&before.removals[0].objects[0].key, None);
        let plan = place.plan().await;
        assert_eq!((planned(&plan), whys(&plan)), (vec![], vec!["unsound"]));
        assert!(
            plan.kept[0].detail.contains("no plan removed it"),
            "{plan:?}"
        );
        let (applied, told) = place.apply(&before).await.unwrap();
        assert_eq!((applied.packs, applied.kept), (0, 1), "{told:?}");
        assert!(place.keys("_runpack/").is_empty());
    });
}

#[test]
fn a_marker_where_a_receipt_would_be_is_none() {
    block_on(async {
        let place = Place::short();
        let pack = place.pack("old", Vec::new()).await;
        for key in place.keys("tenant/") {
            if !key.ends_with("manifest.json") {
                place.memory.tamper(&key, None);
            }
        }
        let receipt = Location::Deletion {
            pack_id: pack.pack_id(),
            removal: Digest::of(b"removal"),
            object: DeletionObject::Receipt,
        };
        let receipt = receipt.key().unwrap();
        place.memory.mark_deleted(receipt.as_str());
        place.memory.pass(METADATA_SECONDS);
        assert_eq!(whys(&place.plan().await), ["unsound"]);
        // Nor is what somebody else put there.
        place.memory.tamper(receipt.as_str(), Some("{}".into()));
        place.memory.pass(METADATA_SECONDS);
        assert_eq!(whys(&place.plan().await), ["unsound"]);
    });
}

#[test]
fn w23_a_listing_without_end_is_refused() {
    block_on(async {
        let place = Place::short();
        place.pack("one", Vec::new()).await;
        place.pack("two", Vec::new()).await;
        let judge = Judge {
            store: &place.store,
            policies: &place.policies,
            now: place.now().await,
            unlocked_at: place.now().await,
            holds: None,
            limits: &Limits::default(),
        };
        for (entries_max, places_max, is_refused) in [(6, 2, false), (5, 2, true), (6, 1, true)] {
            let bounds = Bounds {
                entries_max,
                places_max,
            };
            let survey = Survey::of(&judge, bounds, Told::First).await;
            let found = matches!(survey, Err(RetentionError::Listing { .. }));
            assert_eq!(found, is_refused, "{entries_max} {places_max}");
        }
    });
}

#[test]
fn of_what_stays_the_first_is_named_and_the_rest_counted() {
    block_on(async {
        let place = Place::short();
        let old = place.pack("old", Vec::new()).await;
        for at in 0..=KEPT_MAX {
            let key = Location::manifest(&subject(&format!("r{at:05}"))).key();
            place
                .memory
                .tamper(key.unwrap().as_str(), Some("garbage".into()));
        }
        let plan = place.plan().await;
        assert_eq!(plan.kept.len(), KEPT_MAX);
        assert_eq!(plan.kept_counts[&WhyKept::Unsound], 10_001);
        assert_eq!(plan.kept_counts[&WhyKept::Needed], 1);
        // What a plan names is told of, wherever it stands.
        let letting = place.policies.clone().letting_inputs_go();
        assert_eq!(planned(&place.plan_of(&letting).await), [old.pack_id()]);
    });
}

#[test]
fn the_definition_of_a_pipeline_stays_and_the_receipt_names_it() {
    block_on(async {
        let place = Place::short();
        let pack = pipeline(&place, MADE, None).await;
        let plan = place.plan().await;
        assert_eq!(planned(&plan), [pack.pack_id()], "{plan:?}");
        let definitions = place.keys("acme/pipelines/");
        assert_eq!(definitions.len(), 1, "{:?}", place.keys(""));
        assert_eq!(plan.removals[0].shared, definitions);
        assert_eq!(place.apply(&plan).await.unwrap().0.packs, 1);
        assert_eq!(place.keys("acme/pipelines/"), definitions);
        let receipt = place.record("receipt.json");
        assert_eq!(receipt.stays.unwrap().shared, definitions);
        assert!(!receipt.removal.objects.is_empty());
    });
}

/// The pack of a pipeline's run, which lists this step.
async fn pipeline(place: &Place, made: &str, step: Option<&Manifest>) -> Arc<Manifest> {
    let run = Subject::Pipeline {
        tenant: "acme".parse().unwrap(),
        run_id: "r".parse().unwrap(),
    };
    let mut parts: Vec<_> = RunPart::REQUIRED
        .map(|part| (part.name().into_bytes(), part))
        .into();
    parts.extend(step.map(|step| {
        let part = RunPart::Step("load".parse().unwrap());
        (step.to_bytes(), part)
    }));
    let mut draft = PackDraft::new(run, time(made), producer());
    for (bytes, part) in parts {
        let source = Arc::new(BytesSource(bytes.into()));
        let kind = part.kind().parse().unwrap();
        let media_type = part.media_type().parse().unwrap();
        let name = part.name().parse().unwrap();
        draft.add(NewArtifact::new(name, kind, media_type, source));
    }
    committed(place, draft).await
}

/// The pack of a step.
async fn step(place: &Place) -> Arc<Manifest> {
    let step = Subject::Step {
        tenant: "acme".parse().unwrap(),
        run_id: "r".parse().unwrap(),
        step_id: "load".parse().unwrap(),
    };
    let mut draft = PackDraft::new(step, time(MADE), producer());
    let source = Arc::new(BytesSource("a,b".into()));
    let (kind, media) = ("data".parse().unwrap(), "text/csv".parse().unwrap());
    let name = "outputs/a.csv".parse().unwrap();
    draft.add(NewArtifact::new(name, kind, media, source));
    committed(place, draft).await
}

fn producer() -> Producer {
    Producer {
        name: "test".parse().unwrap(),
        version: "1".parse().unwrap(),
    }
}

async fn committed(place: &Place, draft: PackDraft) -> Arc<Manifest> {
    let store: Arc<dyn Store> = Arc::new(place.memory.clone());
    let staged = draft.stage(store).await.unwrap();
    staged.commit().await.unwrap().manifest
}

#[test]
fn w23_the_steps_of_a_run_that_stays_stay_too() {
    block_on(async {
        let forever = policy("runs", None).with_kind(Some(SubjectKind::Pipeline));
        let place = Place::new(
            MemoryStore::versioned(),
            RetentionPolicies::new(vec![forever, policy("short", Some(30))]).unwrap(),
        );
        let load = step(&place).await;
        let run = pipeline(&place, MADE, Some(&load)).await;
        let plan = place.plan().await;
        assert_eq!((planned(&plan), whys(&plan)), (vec![], vec!["needed"]));
        let detail = &plan.kept[0].detail;
        assert!(detail.contains(&run.pack_id().to_string()), "{detail}");
        // By choice it goes on its own.
        let letting = place.policies.clone().letting_inputs_go();
        assert_eq!(planned(&place.plan_of(&letting).await), [load.pack_id()]);

        // One policy for both, and a run that took long: its steps expire before it does.
        let place = Place::short();
        let load = step(&place).await;
        let run = pipeline(&place, YOUNG, Some(&load)).await;
        let plan = place.plan().await;
        assert_eq!((planned(&plan), whys(&plan)), (vec![], vec!["needed"]));
        place.memory.pass(days(30));
        let mut both = [run.pack_id(), load.pack_id()];
        both.sort_unstable();
        let plan = place.plan().await;
        assert_eq!(planned(&plan), both);
        let (applied, told) = place.apply(&plan).await.unwrap();
        assert_eq!((applied.packs, applied.kept), (2, 0), "{told:?}");
    });
}
