//! What packs cost, the same in either database.

use runpack_catalog::Catalog;
use runpack_catalog::cost::{Cost, CostBy, CostQuery, Lying, Measured, Money, Prices, Window};
use runpack_core::commitment::Content;
use runpack_core::digest::Digest;
use runpack_core::key::Location;
use runpack_core::lifecycle::{Lifecycle, Rule, StorageClass, Transition};
use runpack_core::limits::Limits;
use runpack_core::manifest::{Artifact, Subject};
use runpack_core::store::MemoryStore;
use runpack_testing::block_on;

use crate::support::{Both, artifact, commit, manifest, reader, run, store_name};

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
