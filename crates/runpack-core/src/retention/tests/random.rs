//! Whatever lies in a store: what goes is what the policies say, and never what is held, locked or needed.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::store::{ObjectRef, Protection, VersionId};

#[derive(Debug, Clone)]
struct Made {
    day: u64,
    inputs: Vec<usize>,
    protection: Option<Protection>,
}

fn packs() -> impl Strategy<Value = Vec<Made>> {
    let protection = prop_oneof![
        4 => Just(None),
        1 => Just(Some(Protection::Held)),
        1 => (0u64..120).prop_map(|day| Some(Protection::LockedUntil(
            time("2027-11-01T00:00:00Z").later(days(day))))),
    ];
    let one = (
        0u64..800,
        prop::collection::vec(0usize..8, 0..3),
        protection,
    );
    let one = one.prop_map(|(day, inputs, protection)| Made {
        day,
        inputs,
        protection,
    });
    prop::collection::vec(one, 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn w23_what_goes_is_what_policies_say_and_nothing_that_is_kept(
        packs in packs(),
        kept_for in 30u64..=365,
        is_versioned in any::<bool>(),
    ) {
        block_on(async {
            let memory = if is_versioned { MemoryStore::versioned() } else { MemoryStore::new() };
            let policies = RetentionPolicies::new(vec![policy("all", Some(kept_for))]).unwrap();
            let place = Place::new(memory, policies);
            let now = place.now().await;
            let (mut manifests, mut free) = (Vec::<Arc<Manifest>>::new(), Vec::new());
            for (at, made) in packs.iter().enumerate() {
                let created = time(MADE).later(days(made.day));
                let inputs = made.inputs.iter().filter_map(|of| manifests.get(*of));
                let inputs: Vec<_> = inputs.map(|of| input(of)).collect();
                let manifest = place
                    .pack_made(&format!("r{at}"), &created.to_string(), inputs)
                    .await;
                let is_kept = match made.protection {
                    None => false,
                    Some(Protection::Held) => true,
                    Some(Protection::LockedUntil(until)) => until > now,
                };
                let has_expired = created.later(days(kept_for)) <= now;
                free.push(has_expired && !is_kept);
                if let Some(protection) = made.protection {
                    let artifact = &manifest.artifacts()[0];
                    let location = Location::artifact(
                        manifest.subject(), artifact.name(), artifact.commitment());
                    let key = location.key().unwrap();
                    let (oldest, _) =
                        crate::store::ArtifactReader::oldest(&place.memory, &key).await.unwrap();
                    let version = oldest.version.map(|v| VersionId::new(v.as_str()));
                    place.memory.protect(&ObjectRef { key, version }, Some(protection));
                }
                manifests.push(manifest);
            }
            // By the definition: what stays keeps what it was made from.
            let mut goes: BTreeSet<usize> = (0..packs.len()).filter(|at| free[*at]).collect();
            loop {
                let before = goes.len();
                for (at, made) in packs.iter().enumerate() {
                    if !goes.contains(&at) {
                        for of in made.inputs.iter().filter(|of| **of < at) {
                            goes.remove(of);
                        }
                    }
                }
                if goes.len() == before {
                    break;
                }
            }
            let expected: BTreeSet<_> = goes.iter().map(|at| manifests[*at].pack_id()).collect();
            let plan = place.plan().await;
            let found: BTreeSet<_> = planned(&plan).into_iter().collect();
            assert_eq!(found, expected);
            let (applied, told) = place.apply(&plan).await.unwrap();
            assert_eq!(applied.packs, u64::try_from(expected.len()).unwrap(), "{told:?}");
            assert_eq!((applied.kept, applied.failed), (0, 0), "{told:?}");
            for (at, manifest) in manifests.iter().enumerate() {
                let prefix = Location::pack_prefix(manifest.subject());
                let left = place.keys(prefix.as_str()).len();
                assert_eq!(left, if goes.contains(&at) { 1 } else { 3 });
            }
        });
    }
}
