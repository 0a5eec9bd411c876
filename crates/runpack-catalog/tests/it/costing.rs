//! What packs cost, the same in either database.

use runpack_catalog::Catalog;
use runpack_catalog::cost::{Cost, CostBy, CostQuery, Lying, Measured, Money, Prices, Window};
use runpack_core::commitment::Content;
use runpack_core::digest::Digest;
use runpack_core::id::{PipelineTenant, RunId, StepId};
use runpack_core::key::Location;
use runpack_core::lifecycle::{Lifecycle, Rule, StorageClass, Transition};
use runpack_core::limits::Limits;
use runpack_core::manifest::{Artifact, RunPart, Subject};
use runpack_core::store::MemoryStore;
use runpack_testing::block_on;

use crate::support::{Both, artifact, commit, kind, manifest, reader, run, store_name};

const AT: &str = "2026-11-20T00:00:00Z";

/// An artifact that is larger than anybody has ever stored, and one of so many chunks.
fn large(name: &str, chunks: u64) -> Artifact {
    let digests = vec![Digest::of(b"x"); usize::try_from(chunks).unwrap()];
    Artifact::new(
        name.parse().unwrap(),
        "trace".parse().unwrap(),
        "application/octet-stream".parse().unwrap(),
        chunks * (8 << 20),
        Content::Chunks(digests.into()),
    )
    .unwrap()
}

/// 12 packs of two tenants and an execution: of some ages, one of a year that is not yet.
async fn filled(catalog: &Catalog) -> MemoryStore {
    let store = MemoryStore::new();
    for number in 0..12u32 {
        let tenant = if number % 3 == 0 { "acme" } else { "globex" };
        let made = match number {
            11 => "9999-12-31T23:59:59Z".to_owned(),
            _ => format!("2026-{:02}-01T00:00:00Z", number + 1),
        };
        let artifacts = vec![
            artifact("small.csv", &[1; 1_000]),
            large("large.bin", u64::from(number) + 2),
        ];
        let pack = manifest(run(tenant, &format!("r{number:02}")), &made, &[], artifacts);
        commit(&store, &pack).await;
    }
    let execution = Subject::Execution {
        execution_id: "01JD3M7Z9X8QWERTYASDFGHJKM".parse().unwrap(),
    };
    let pack = manifest(execution, AT, &[], vec![large("artifacts/video.bin", 20)]);
    commit(&store, &pack).await;
    let filled = catalog
        .rebuild(&store_name(), &reader(&store), &Limits::default())
        .await;
    assert_eq!(filled.unwrap().added, 13);
    store
}

fn query(by: CostBy) -> CostQuery {
    CostQuery {
        by,
        store: None,
        tenant: None,
        namespace: None,
        scenario: None,
        run_id: None,
        execution_id: None,
        after: None,
        before: None,
        at: AT.parse().unwrap(),
        window: Window {
            days: 365,
            verifications: 2,
        },
    }
}

fn cold() -> Vec<Rule> {
    let wishes = Lifecycle {
        transitions: vec![
            Transition {
                after_days: 30,
                to: StorageClass::GlacierInstant,
            },
            Transition {
                after_days: 200,
                to: StorageClass::DeepArchive,
            },
        ],
        ..Lifecycle::default()
    };
    wishes.rules("").unwrap()
}

async fn costs(catalog: &Catalog, query: &CostQuery, measured: Option<Measured>) -> Vec<Cost> {
    let prices = Prices::amazon().unwrap();
    let sets = [Vec::new(), cold()];
    catalog.cost(query, &prices, &sets, measured).await.unwrap()
}

#[test]
fn costs_are_the_same_in_either_database_and_add_up() {
    let both = Both::start();
    block_on(async {
        let [sqlite, postgres] = both.open("costs").await;
        filled(&sqlite).await;
        filled(&postgres).await;
        for by in [
            CostBy::Store,
            CostBy::Tenant,
            CostBy::Namespace,
            CostBy::Scenario,
            CostBy::Run,
            CostBy::Execution,
        ] {
            let found = costs(&sqlite, &query(by), None).await;
            assert_eq!(found, costs(&postgres, &query(by), None).await, "{by:?}");
            for cost in &found {
                let sum: Money = cost.groups.iter().map(|one| one.bill.total).sum();
                assert_eq!(sum, cost.total.total, "{by:?}");
                let objects: u64 = cost.groups.iter().map(|one| one.bill.objects).sum();
                assert_eq!((objects, cost.total.packs), (12 * 3 + 2, 13));
                assert!(
                    cost.groups
                        .is_sorted_by(|a, b| a.bill.total >= b.bill.total)
                );
            }
            let [warm, cold] = &found[..] else { panic!() };
            assert!(cold.total.storage < warm.total.storage);
            assert!(cold.total.moving.requests > 0 && warm.total.moving.requests == 0);
        }
        let groups = |costs: Vec<Cost>| {
            let names = costs[0].groups.iter().map(|one| one.group.clone());
            names.collect::<Vec<_>>()
        };
        let tenants = groups(costs(&sqlite, &query(CostBy::Tenant), None).await);
        assert_eq!(tenants, ["globex", "acme", "-"]);
        let by_run = groups(costs(&sqlite, &query(CostBy::Run), None).await);
        assert!(
            by_run.contains(&"acme/prod/training/r00".to_owned()),
            "{by_run:?}"
        );
    });
}

type Change = fn(&mut CostQuery);

#[test]
fn each_condition_narrows() {
    let both = Both::start();
    block_on(async {
        for catalog in both.open("narrow").await {
            filled(&catalog).await;
            let cases: [(Change, u64); 10] = [
                (|_| (), 13),
                (|q| q.tenant = Some("acme".parse().unwrap()), 4),
                (|q| q.namespace = Some("prod".parse().unwrap()), 12),
                (|q| q.scenario = Some("other".parse().unwrap()), 0),
                (|q| q.run_id = Some("r07".parse().unwrap()), 1),
                (
                    |q| q.execution_id = Some("01JD3M7Z9X8QWERTYASDFGHJKM".parse().unwrap()),
                    1,
                ),
                (
                    |q| q.after = Some("2026-06-01T00:00:00Z".parse().unwrap()),
                    8,
                ),
                (
                    |q| q.before = Some("2026-06-01T00:00:00Z".parse().unwrap()),
                    5,
                ),
                (|q| q.store = Some("s3://elsewhere/x".to_owned()), 0),
                (|q| q.store = Some(store_name().place), 13),
            ];
            for (change, packs) in cases {
                let mut narrow = query(CostBy::Tenant);
                change(&mut narrow);
                assert_eq!(costs(&catalog, &narrow, None).await[0].total.packs, packs);
            }
        }
    });
}

#[test]
fn what_was_seen_counts_and_what_was_not_is_told() {
    let both = Both::start();
    block_on(async {
        let [catalog, _] = both.open("seen").await;
        filled(&catalog).await;
        let mut measured = Measured::default();
        let lying = |bytes, class| Lying {
            bytes,
            class,
            since: AT.parse().unwrap(),
        };
        let subject = run("acme", "r00");
        let manifest = Location::manifest(&subject).key().unwrap();
        measured.add(manifest.as_str(), lying(777, StorageClass::Standard));
        let name = "large.bin".parse().unwrap();
        let content = Content::Chunks(vec![Digest::of(b"x"); 2].into());
        let commitment = content.commitment(16 << 20);
        let key = Location::artifact(&subject, &name, commitment)
            .key()
            .unwrap();
        measured.add(key.as_str(), lying(16 << 20, StorageClass::Glacier));
        measured.add("_runpack/refs/x", lying(100, StorageClass::Standard));
        let found = costs(&catalog, &query(CostBy::Run), Some(measured)).await;
        let cost = &found[0];
        assert_eq!(cost.total.objects, 2);
        assert_eq!(cost.total.bytes, (16 << 20) + 777);
        assert_eq!(cost.missing, 12 * 3 + 2 - 2);
        assert_eq!(cost.others.as_ref().unwrap().bytes, 100);
        let classes: Vec<_> = cost
            .total
            .classes
            .iter()
            .map(|one| (one.class, one.objects))
            .collect();
        assert_eq!(
            classes,
            [(StorageClass::Standard, 1), (StorageClass::Glacier, 1)]
        );
    });
}

#[test]
fn rules_that_come_later_are_charged_for_moving_what_is_old_already() {
    let both = Both::start();
    block_on(async {
        for catalog in both.open("later").await {
            filled(&catalog).await;
            let mut soon = query(CostBy::Tenant);
            soon.window = Window {
                days: 2,
                verifications: 0,
            };
            let prices = Prices::amazon().unwrap();
            let sets = [Vec::new(), cold(), Vec::new()];
            let found = catalog.cost(&soon, &prices, &sets, None).await.unwrap();
            let [warm, moved, again] = &found[..] else {
                panic!()
            };
            // Ten of the large ones are older than 30 days: they move at once, and the move is paid.
            assert_eq!(warm.total.moving.requests, 0);
            assert_eq!(moved.total.moving.requests, 10);
            assert!(moved.total.moving.cost > Money::ZERO);
            assert_eq!(
                moved.total.classes[0].objects,
                warm.total.classes[0].objects
            );
            assert_eq!(warm, again);
            // And what the first rules have moved stays there without them.
            let sets = [cold(), Vec::new()];
            let found = catalog.cost(&soon, &prices, &sets, None).await.unwrap();
            assert_eq!(found[0].total.storage, found[1].total.storage);
        }
    });
}

/// Two runs of one pipeline, each with one step. Returns every key that they have in a store.
async fn piped(catalog: &Catalog) -> Vec<String> {
    let store = MemoryStore::new();
    let part =
        |part: &RunPart, bytes: &[u8]| kind(&part.name(), bytes, part.kind(), part.media_type());
    for run_id in ["p1", "p2"] {
        let tenant: PipelineTenant = "acme".parse().unwrap();
        let run_id: RunId = run_id.parse().unwrap();
        let step_id: StepId = "train".parse().unwrap();
        let step = Subject::Step {
            tenant: tenant.clone(),
            run_id: run_id.clone(),
            step_id: step_id.clone(),
        };
        let model = artifact(
            "outputs/model.bin",
            format!("{run_id}").repeat(99).as_bytes(),
        );
        let step = manifest(step, AT, &[], vec![model]);
        commit(&store, &step).await;
        let own = |what: &str| format!("{what} of {run_id}");
        let artifacts = vec![
            part(&RunPart::Definition, &[7; 500]),
            part(&RunPart::AuditTrail, own("events").as_bytes()),
            part(&RunPart::Metadata, own("metadata").as_bytes()),
            part(&RunPart::Plan, own("plan").as_bytes()),
            part(&RunPart::Step(step_id), &step.to_bytes()),
        ];
        let run = Subject::Pipeline { tenant, run_id };
        commit(&store, &manifest(run, AT, &[], artifacts)).await;
    }
    let filled = catalog
        .rebuild(&store_name(), &reader(&store), &Limits::default())
        .await;
    assert_eq!(filled.unwrap().added, 4);
    let definition = Digest::of(&[7; 500]);
    let mut keys = vec![format!("acme/pipelines/{definition}/definition.yaml")];
    for run in ["p1", "p2"] {
        let each = [
            "manifest.json",
            "plan.json",
            "metadata.json",
            "events/audit_trail.jsonl",
            "steps/train/manifest.json",
            "steps/train/outputs/model.bin",
        ];
        keys.extend(each.map(|name| format!("acme/runs/{run}/{name}")));
    }
    keys
}

#[test]
fn costs_of_what_packs_of_pipelines_share_are_counted_once() {
    let both = Both::start();
    block_on(async {
        for catalog in both.open("piped").await {
            let keys = piped(&catalog).await;
            let cost = &costs(&catalog, &query(CostBy::Run), None).await[0];
            let groups: Vec<_> = cost
                .groups
                .iter()
                .map(|one| (one.group.as_str(), one.bill.packs, one.bill.objects))
                .collect();
            // The definition is the first run's.
            assert_eq!(groups.len(), 2, "{groups:?}");
            assert!(groups.contains(&("acme/-/-/p1", 2, 7)), "{groups:?}");
            assert!(groups.contains(&("acme/-/-/p2", 2, 6)), "{groups:?}");

            let mut measured = Measured::default();
            let lying = |bytes| Lying {
                bytes,
                class: StorageClass::Standard,
                since: AT.parse().unwrap(),
            };
            for key in &keys {
                measured.add(key, lying(10));
            }
            measured.add("acme/else", lying(1_000));
            let seen = &costs(&catalog, &query(CostBy::Tenant), Some(measured)).await[0];
            assert_eq!(seen.missing, 0);
            assert_eq!(seen.total.objects, 13);
            let others = seen.others.as_ref().unwrap();
            assert_eq!((others.objects, others.bytes), (1, 1_000));
            // Nobody verifies what is of no pack.
            assert_eq!(others.verifying.requests, 0);
            assert_eq!(others.verifying.cost, Money::ZERO);

            let duplicates = catalog.duplicates(10).await.unwrap();
            assert_eq!(duplicates.costliest, []);
            assert_eq!(duplicates.objects, 11);
            assert_eq!(duplicates.bytes, duplicates.bytes_once);
        }
    });
}
