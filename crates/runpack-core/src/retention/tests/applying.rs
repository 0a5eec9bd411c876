//! What a plan names goes, and nothing else.

use super::*;
use crate::key::DeletionObject;
use crate::store::{ArtifactSink as _, ObjectRef, Protection, VersionId};

#[test]
fn w23_artifacts_go_first_and_the_manifest_later() {
    block_on(async {
        let place = Place::short();
        let pack = place.pack("old", Vec::new()).await;
        let young = place
            .pack_made("young", "2027-12-30T00:00:00Z", Vec::new())
            .await;
        place.memory.tamper("somebody/elses", Some("file".into()));
        let plan = place.plan().await;
        assert_eq!(planned(&plan), [pack.pack_id()]);
        assert_eq!(plan.removals[0].objects.len(), 2);
        assert_eq!(plan.bytes(), pack.artifact_bytes());
        let before = place.memory.snapshot();
        let (applied, _) = place.apply(&plan).await.unwrap();
        assert_eq!((applied.packs, applied.objects, applied.kept), (1, 2, 0));
        let after = place.memory.snapshot();
        // Two artifacts less, an intent and a receipt more.
        assert_eq!(after.len(), before.len());
        assert!(after.contains_key(manifest_key(&pack).as_str()));
        for artifact in pack.artifacts() {
            let commitment = artifact.commitment();
            let key = Location::artifact(pack.subject(), artifact.name(), commitment);
            assert!(!after.contains_key(key.key().unwrap().as_str()));
        }
        let told = removed(&place.memory, pack.pack_id(), None).await.unwrap();
        assert_eq!(
            (told.by.as_str(), told.policy.as_str()),
            ("tester", "short")
        );
        assert!(
            removed(&place.memory, young.pack_id(), None)
                .await
                .is_none()
        );
        // The same again changes nothing.
        let (applied, told) = place.apply(&plan).await.unwrap();
        assert_eq!((applied.packs, applied.objects), (1, 0));
        assert!(told[0].ends_with("done"), "{told:?}");
        assert_eq!(place.memory.snapshot(), after);

        // The manifest stays for its time, and then goes alone.
        let plan = place.plan().await;
        assert_eq!(kept(&plan), [(manifest_key(&pack).to_string(), "metadata")]);
        place.memory.pass(METADATA_SECONDS);
        let plan = place.plan().await;
        let of_old = plan
            .removals
            .iter()
            .find(|one| one.pack_id == pack.pack_id());
        assert_eq!(of_old.unwrap().phase, Phase::Manifest);
        place.apply(&plan).await.unwrap();
        let left = place.keys("tenant/");
        assert!(!left.contains(&manifest_key(&pack).to_string()), "{left:?}");
        assert!(place.memory.snapshot().contains_key("somebody/elses"));
        // What was written down stays.
        assert_eq!(place.keys("_runpack/audit/deletions/").len(), 6);
    });
}

#[test]
fn l15_what_is_held_or_locked_stays() {
    block_on(async {
        for (protection, why) in [
            (Protection::Held, "held"),
            (
                Protection::LockedUntil(time("2028-01-02T00:00:00Z")),
                "locked",
            ),
        ] {
            let place = Place::short();
            let pack = place.pack("old", Vec::new()).await;
            let plan = place.plan().await;
            let object = &plan.removals[0].objects[1];
            let object = ObjectRef {
                key: Location::parse(&object.key).unwrap().key().unwrap(),
                version: object.version.as_deref().map(VersionId::new),
            };
            // One version of one artifact is enough, before the plan and after it.
            place.memory.protect(&object, Some(protection));
            let before = place.memory.snapshot();
            let (applied, told) = place.apply(&plan).await.unwrap();
            assert_eq!((applied.kept, applied.objects), (1, 0));
            assert!(told[0].ends_with(why), "{told:?}");
            assert_eq!(place.memory.snapshot(), before);
            assert_eq!(kept(&place.plan().await)[0].1, why);
            // So is the manifest's.
            place.memory.protect(&object, None);
            let manifest = &plan.removals[0].manifest[0];
            let manifest = ObjectRef {
                key: manifest_key(&pack),
                version: manifest.version.as_deref().map(VersionId::new),
            };
            place.memory.protect(&manifest, Some(protection));
            assert_eq!(kept(&place.plan().await)[0].1, why);
            // A lock that is over keeps nothing.
            place.memory.pass(DAY);
            let is_over = why == "locked";
            assert_eq!(planned(&place.plan().await).len(), usize::from(is_over));
        }
    });
}

#[test]
fn l15_a_store_with_a_ledger_that_cannot_be_read_lets_nothing_go() {
    block_on(async {
        let place = Place::short();
        place.pack("old", Vec::new()).await;
        let plan = place.plan().await;
        let hold = Location::Hold { sequence: 0 }.key().unwrap();
        place.memory.tamper(hold.as_str(), Some("an entry".into()));
        let before = place.memory.snapshot();
        let (applied, told) = place.apply(&plan).await.unwrap();
        assert_eq!((applied.kept, applied.objects), (1, 0));
        assert!(told[0].ends_with("held"), "{told:?}");
        assert_eq!(place.memory.snapshot(), before);
        let again = place.plan().await;
        assert!(again.removals.is_empty());
        assert!(
            again.kept[0].detail.contains("enterprise build"),
            "{again:?}"
        );
    });
}

#[test]
fn what_a_pack_that_stays_was_made_from_stays_too() {
    block_on(async {
        let mut place = Place::short();
        let source = place.pack("source", Vec::new()).await;
        let middle = place.pack("middle", vec![input(&source)]).await;
        let made = "2027-12-30T00:00:00Z";
        let product = place.pack_made("product", made, vec![input(&middle)]).await;
        let other = place.pack("other", Vec::new()).await;
        let plan = place.plan().await;
        assert_eq!(planned(&plan), [other.pack_id()]);
        assert_eq!(plan.kept_counts[&WhyKept::Needed], 2);
        assert!(plan.kept[0].detail.contains("pack_id="), "{plan:?}");
        // By choice they go on their own.
        let letting = place.policies.clone().letting_inputs_go();
        assert_eq!(planned(&place.plan_of(&letting).await).len(), 3);
        // A product that is held keeps them as well as one that is young.
        place.memory.pass(60 * DAY);
        assert_eq!(planned(&place.plan().await).len(), 4);
        let plan = place.plan().await;
        let of_product = plan
            .removals
            .iter()
            .find(|one| one.pack_id == product.pack_id());
        let manifest = &of_product.unwrap().manifest[0];
        let manifest = ObjectRef {
            key: manifest_key(&product),
            version: manifest.version.as_deref().map(VersionId::new),
        };
        place.memory.protect(&manifest, Some(Protection::Held));
        assert_eq!(planned(&place.plan().await), [other.pack_id()]);
        let (applied, _) = place.apply(&plan).await.unwrap();
        assert_eq!((applied.packs, applied.kept), (1, 3));
        // A manifest that cannot be read may need anything.
        place.memory.protect(&manifest, None);
        place.policies = place.policies.clone().with_metadata_seconds(0);
        assert!(!planned(&place.plan().await).is_empty());
    });
}

#[test]
fn w23_what_changed_since_the_plan_stays() {
    block_on(async {
        let place = Place::short();
        let pack = place.pack("old", Vec::new()).await;
        let plan = place.plan().await;
        // The same artifact comes again, in another version, though its bytes are the same.
        let object = Location::parse(&plan.removals[0].objects[0].key).unwrap();
        let key = object.key().unwrap();
        let bytes = place.memory.snapshot()[key.as_str()].clone();
        place.memory.pass(1);
        place.memory.tamper(key.as_str(), Some(bytes));
        let before = place.memory.snapshot();
        let (applied, told) = place.apply(&plan).await.unwrap();
        assert_eq!((applied.kept, applied.objects), (1, 0));
        assert!(told[0].ends_with("changed"), "{told:?}");
        assert_eq!(place.memory.snapshot(), before);

        // Another manifest comes: nobody can tell which was made.
        let plan = place.plan().await;
        let other = place
            .pack_made("old", "2026-01-02T00:00:00Z", Vec::new())
            .await;
        assert_eq!(other.pack_id(), pack.pack_id());
        let mut bytes = pack.to_bytes();
        bytes.push(b'\n');
        let declared = crate::store::Declared::of(&bytes);
        let key = manifest_key(&pack);
        place
            .memory
            .put(&key, bytes.into(), declared)
            .await
            .unwrap();
        let before = place.memory.snapshot();
        let (applied, told) = place.apply(&plan).await.unwrap();
        assert_eq!((applied.kept, applied.objects), (1, 0));
        assert!(told[0].ends_with("equivocal"), "{told:?}");
        assert_eq!(place.memory.snapshot(), before);
        assert_eq!(kept(&place.plan().await)[0].1, "equivocal");
    });
}

#[test]
fn an_artifact_that_is_not_what_the_manifest_says_is_looked_at_first() {
    block_on(async {
        let place = Place::short();
        place.pack("old", Vec::new()).await;
        let key = place.plan().await.removals[0].objects[0].key.clone();
        place.memory.tamper(&key, Some("tampered".into()));
        assert_eq!(kept(&place.plan().await)[0].1, "unsound");
        // Both are gone, and no plan was it.
        for key in place.keys("tenant/") {
            if !key.ends_with("manifest.json") {
                place.memory.tamper(&key, None);
            }
        }
        let plan = place.plan().await;
        assert_eq!(kept(&plan)[0].1, "unsound");
        assert!(plan.kept[0].detail.contains("no receipt"), "{plan:?}");
    });
}

#[test]
fn a_bundle_goes_whole_and_its_manifest_stays_beside_the_receipt() {
    block_on(async {
        let place = Place::short();
        let pack = place.pack("old", Vec::new()).await;
        place.bundled(&pack);
        let plan = place.plan().await;
        assert_eq!(plan.removals[0].objects[0].part, Part::Bundle);
        place.apply(&plan).await.unwrap();
        assert!(place.keys("2026/").is_empty());
        let removal = plan.removals[0].digest();
        let kept_at = Location::Deletion {
            pack_id: pack.pack_id(),
            removal,
            object: DeletionObject::Manifest,
        };
        let kept_at = kept_at.key().unwrap();
        let stays = place.memory.snapshot()[kept_at.as_str()].clone();
        assert_eq!(stays, pack.to_bytes());
        assert!(removed(&place.memory, pack.pack_id(), None).await.is_some());
        assert_eq!(kept(&place.plan().await)[0].1, "metadata");
        place.memory.pass(METADATA_SECONDS);
        let plan = place.plan().await;
        assert_eq!(plan.removals[0].objects[0].key, kept_at.as_str());
        place.apply(&plan).await.unwrap();
        assert!(!place.memory.snapshot().contains_key(kept_at.as_str()));
    });
}

#[test]
fn w23_a_plan_is_of_one_store_one_time_and_one_set_of_policies() {
    block_on(async {
        let mut place = Place::short();
        place.pack("old", Vec::new()).await;
        let plan = place.plan().await;
        let (here, digest, now) = (PLACE, place.policies.digest(), place.now().await);
        plan.check(here, digest, now).unwrap();
        plan.check(here, digest, now.later(PLAN_SECONDS)).unwrap();
        let expired = plan.check(here, digest, now.later(PLAN_SECONDS + 1));
        assert!(matches!(expired, Err(PlanError::Expired { .. })));
        let early = plan.check(here, digest, time(MADE));
        assert!(matches!(early, Err(PlanError::Early { .. })));
        let other = plan.check("memory:///other", digest, now);
        assert!(matches!(other, Err(PlanError::Store { .. })));
        // A plan that gives itself more time has no more.
        let mut longer = plan.clone();
        longer.expires_at = Timestamp::MAX;
        let expired = longer.check(here, digest, now.later(PLAN_SECONDS + 1));
        assert!(matches!(expired, Err(PlanError::Expired { .. })));

        let before = place.memory.snapshot();
        place.policies = RetentionPolicies::new(vec![policy("short", Some(31))]).unwrap();
        let refused = place.apply(&plan).await;
        assert!(matches!(
            refused,
            Err(RetentionError::Plan(PlanError::Policies { .. }))
        ));
        assert_eq!(place.memory.snapshot(), before);
    });
}

#[test]
fn w23_a_plan_that_somebody_wrote_removes_nothing_that_the_policies_keep() {
    block_on(async {
        let place = Place::short();
        place.pack("old", Vec::new()).await;
        place
            .pack_made("young", "2027-12-30T00:00:00Z", Vec::new())
            .await;
        // As if all had expired: a plan for the year after.
        let asked = Asked {
            place: PLACE,
            tenant: None,
            at: Some(time("2029-01-01T00:00:00Z")),
            now: place.now().await,
            limits: &Limits::default(),
        };
        let ahead = make_plan(&place.store, &place.policies, &asked)
            .await
            .unwrap();
        assert_eq!(ahead.removals.len(), 2);
        let (applied, told) = place.apply(&ahead).await.unwrap();
        assert_eq!((applied.packs, applied.kept), (1, 1));
        assert!(
            told.iter().any(|one| one.ends_with("unexpired")),
            "{told:?}"
        );
        // Foreign keys among the objects of a pack.
        let place = Place::short();
        place.pack("old", Vec::new()).await;
        place.memory.tamper("somebody/elses", Some("file".into()));
        let mut plan = place.plan().await;
        let mut foreign = plan.removals[0].objects[0].clone();
        foreign.key = "somebody/elses".to_owned();
        plan.removals[0].objects.push(foreign);
        place.apply(&plan).await.unwrap();
        assert!(place.memory.snapshot().contains_key("somebody/elses"));
    });
}

#[test]
fn t04_a_clock_that_is_ahead_lets_nothing_go() {
    block_on(async {
        let place = Place::short();
        place
            .pack_made("young", "2027-12-30T00:00:00Z", Vec::new())
            .await;
        for (ours, expected) in [("2999-01-01T00:00:00Z", 0), ("2028-01-01T00:00:00Z", 0)] {
            let asked = Asked {
                place: PLACE,
                tenant: None,
                at: None,
                now: time(ours),
                limits: &Limits::default(),
            };
            let plan = make_plan(&place.store, &place.policies, &asked)
                .await
                .unwrap();
            assert_eq!(plan.removals.len(), expected);
        }
    });
}

#[test]
fn w23_every_change_of_a_plans_file_is_refused() {
    block_on(async {
        let place = Place::short();
        place.pack("old", Vec::new()).await;
        let plan = place.plan().await;
        let bytes = plan.to_bytes();
        assert_eq!(Plan::parse(&bytes).unwrap(), plan);
        let canonical: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let mut canonical = serde_json_canonicalizer::to_vec(&canonical).unwrap();
        canonical.push(b'\n');
        assert_eq!(canonical, bytes);
        for at in 0..bytes.len() {
            for other in [b'0', b'x', b' ', b'"'] {
                let mut changed = bytes.clone();
                if changed[at] == other || at == bytes.len() - 1 {
                    continue;
                }
                changed[at] = other;
                assert!(Plan::parse(&changed).is_err(), "{at}");
            }
        }
        for cut in [0, 1, bytes.len() / 2, bytes.len() - 2] {
            assert!(Plan::parse(&bytes[..cut]).is_err(), "{cut}");
        }
    });
}

#[test]
fn s17_what_a_listing_claims_is_only_where_to_look() {
    block_on(async {
        let place = Place::short();
        let pack = place.pack("old", Vec::new()).await;
        let manifest = pack.to_bytes();
        // In another's place, in no place at all, and in the place of a bundle's manifest.
        let others = Location::manifest(&subject("others")).key().unwrap();
        place
            .memory
            .tamper(others.as_str(), Some(manifest.clone().into()));
        place
            .memory
            .tamper("../x/manifest.json", Some(manifest.clone().into()));
        let deletion = Location::Deletion {
            pack_id: PackId::of(b"another"),
            removal: Digest::of(b"removal"),
            object: DeletionObject::Manifest,
        };
        let key = deletion.key().unwrap();
        place.memory.tamper(key.as_str(), Some(manifest.into()));
        let plan = place.plan().await;
        assert_eq!(planned(&plan), [pack.pack_id()]);
        assert_eq!(plan.kept_counts[&WhyKept::Unsound], 2);
        assert!(
            plan.removals[0].objects.iter().all(|object| {
                object.key.contains("/run/old/") && object.part == Part::Artifact
            })
        );
    });
}
