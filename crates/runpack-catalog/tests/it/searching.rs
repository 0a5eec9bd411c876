//! Search and duplicates.

use runpack_catalog::{Catalog, Query};
use runpack_core::digest::Digest;
use runpack_core::limits::Limits;
use runpack_core::retention::{Keep, Policy, RetentionPolicies};
use runpack_core::store::MemoryStore;
use runpack_testing::block_on;

use crate::support::{Both, artifact, commit, kind, manifest, reader, run, store_name};

type Change = fn(&mut Query);

/// 60 packs of two tenants, of three artifacts each, two of which lie in all of them.
async fn filled(catalog: &Catalog) {
    let store = MemoryStore::new();
    for number in 0..60u32 {
        let tenant = if number % 3 == 0 { "acme" } else { "globex" };
        let own = format!("{number}").repeat(10);
        let pack = manifest(
            run(tenant, &format!("r{number:03}")),
            &format!("2026-11-20T12:{:02}:00Z", number / 2),
            &[("team", if number < 30 { "red" } else { "blue" })],
            vec![
                artifact("common.csv", &[1; 1_000]),
                kind(
                    "model.bin",
                    &[2; 5_000],
                    "model",
                    "application/octet-stream",
                ),
                kind("own.txt", own.as_bytes(), "log", "text/plain"),
            ],
        );
        commit(&store, &pack).await;
    }
    let filled = catalog
        .rebuild(&store_name(), &reader(&store), &Limits::default())
        .await;
    assert_eq!(filled.unwrap().added, 60);
}

fn query() -> Query {
    Query {
        limit: 10_000,
        ..Query::default()
    }
}

#[test]
fn each_condition_narrows_and_all_of_them_together() {
    let both = Both::start();
    block_on(async {
        for catalog in both.open("conditions").await {
            filled(&catalog).await;
            let count = async |query: Query| catalog.search(&query).await.unwrap().hits.len();
            let with = |change: fn(&mut Query)| {
                let mut query = query();
                change(&mut query);
                query
            };
            for (query, expected) in [
                (query(), 180),
                (with(|q| q.tenant = Some("acme".parse().unwrap())), 60),
                (with(|q| q.tenant = Some("nobody".parse().unwrap())), 0),
                (with(|q| q.namespace = Some("prod".parse().unwrap())), 180),
                (with(|q| q.scenario = Some("other".parse().unwrap())), 0),
                (with(|q| q.run_id = Some("r007".parse().unwrap())), 3),
                (with(|q| q.kind = Some("model".to_owned())), 60),
                (with(|q| q.media_type = Some("text/plain".to_owned())), 60),
                (with(|q| q.commitment = Some(Digest::of(&[2; 5_000]))), 60),
                (with(|q| q.commitment = Some(Digest::of(b"nobody's"))), 0),
                (
                    with(|q| q.labels = vec![("team".to_owned(), "red".to_owned())]),
                    90,
                ),
                (
                    with(|q| q.labels = vec![("team".to_owned(), "Red".to_owned())]),
                    0,
                ),
                (
                    with(|q| q.after = Some("2026-11-20T12:29:00Z".parse().unwrap())),
                    6,
                ),
                (
                    with(|q| q.before = Some("2026-11-20T12:01:00Z".parse().unwrap())),
                    6,
                ),
                (with(|q| q.bytes_min = Some(5_000)), 60),
                (with(|q| q.bytes_max = Some(999)), 60),
                (with(|q| q.step = Some("clean".parse().unwrap())), 0),
                (
                    with(|q| {
                        q.tenant = Some("acme".parse().unwrap());
                        q.labels = vec![("team".to_owned(), "red".to_owned())];
                        q.kind = Some("model".to_owned());
                        q.bytes_min = Some(1);
                    }),
                    10,
                ),
            ] {
                assert_eq!(count(query.clone()).await, expected, "{query:?}");
            }
            let found = catalog
                .search(&with(|q| q.run_id = Some("r007".parse().unwrap())))
                .await;
            insta::assert_snapshot!(serde_json::to_string_pretty(&found.unwrap().hits).unwrap());
        }
    });
}

#[test]
fn pages_of_any_size_give_everything_once_and_newest_first() {
    let both = Both::start();
    block_on(async {
        let mut orders = Vec::new();
        for catalog in both.open("pages").await {
            filled(&catalog).await;
            let whole = catalog.search(&query()).await.unwrap();
            assert!(whole.next.is_none());
            let times = whole.hits.iter().map(|hit| hit.artifact.created_at);
            assert!(times.is_sorted_by(|a, b| a >= b));
            for limit in [1, 7, 180, 181] {
                let mut query = query();
                query.limit = limit;
                let mut hits = Vec::new();
                loop {
                    let page = catalog.search(&query).await.unwrap();
                    hits.extend(page.hits);
                    let Some(next) = page.next else { break };
                    // As somebody gives it back.
                    query.start_after = Some(next.to_string().parse().unwrap());
                }
                assert_eq!(hits, whole.hits, "{limit}");
            }
            orders.push(whole.hits);
        }
        assert_eq!(orders[0], orders[1], "the same order in both databases");
    });
    for text in [
        "",
        "x",
        "2026-11-20T12:00:00Z",
        "2026-11-20T12:00:00Z/ab/x",
        "a/b/c",
    ] {
        assert!(text.parse::<runpack_catalog::Cursor>().is_err(), "{text}");
    }
}

#[test]
fn what_is_held_more_than_once_is_told_with_what_it_costs() {
    let both = Both::start();
    block_on(async {
        for catalog in both.open("duplicates").await {
            filled(&catalog).await;
            let duplicates = catalog.duplicates(10).await.unwrap();
            let told: Vec<_> = duplicates
                .costliest
                .iter()
                .map(|one| (one.bytes, one.copies, one.wasted_bytes))
                .collect();
            assert_eq!(told, [(5_000, 60, 295_000), (1_000, 60, 59_000)]);
            let own: u64 = (0..60)
                .map(|number| if number < 10 { 10 } else { 20 })
                .sum();
            assert_eq!(duplicates.objects, 180);
            assert_eq!(duplicates.bytes, 60 * 6_000 + own);
            assert_eq!(duplicates.bytes_once, 6_000 + own);
            assert_eq!(catalog.duplicates(1).await.unwrap().costliest.len(), 1);
        }
    });
}

#[test]
fn questions_are_answered_by_an_index() {
    let both = Both::start();
    block_on(async {
        let [sqlite, postgres] = both.open("plans").await;
        let keep = Keep::Seconds(30 * 86_400);
        let policies = vec![Policy::new("all".parse().unwrap(), keep).unwrap()];
        let policies = RetentionPolicies::new(policies).unwrap();
        for catalog in [&sqlite, &postgres] {
            catalog.set_policies(&policies).await.unwrap();
            filled(catalog).await;
        }
        // So few artifacts would rather be read through; it shall not be possible.
        both.postgres
            .ask("plans", "ALTER DATABASE plans SET enable_seqscan = off");
        let postgres = Catalog::open(postgres.address()).await.unwrap();
        let changes: [(Change, &str); 10] = [
            (|_| {}, "artifacts_time"),
            (
                |q| q.tenant = Some("acme".parse().unwrap()),
                "artifacts_tenant",
            ),
            (|q| q.kind = Some("model".to_owned()), "artifacts_kind"),
            (
                |q| q.commitment = Some(Digest::of(b"x")),
                "artifacts_commitment",
            ),
            (|q| q.run_id = Some("r007".parse().unwrap()), "packs_run"),
            (
                |q| q.media_type = Some("text/csv".to_owned()),
                "artifacts_media_type",
            ),
            (
                |q| q.agent = Some("planner".parse().unwrap()),
                "packs_agent",
            ),
            (
                |q| {
                    q.tenant = Some("acme".parse().unwrap());
                    q.expires_after = Some("2026-12-01T00:00:00Z".parse().unwrap());
                    q.expires_before = Some("2027-01-01T00:00:00Z".parse().unwrap());
                },
                "artifacts_tenant_expiry",
            ),
            (
                |q| q.expires_before = Some("2027-01-01T00:00:00Z".parse().unwrap()),
                "artifacts_expiry",
            ),
            (
                |q| q.policy = Some("ci".parse().unwrap()),
                "artifacts_policy",
            ),
        ];
        for (change, index) in changes {
            let mut query = query();
            query.limit = 100;
            change(&mut query);
            let plan = sqlite.plan(&query).await.unwrap().lines.join("\n");
            assert!(plan.contains(index) && !plan.contains("SCAN a\n"), "{plan}");
            let plan = postgres.plan(&query).await.unwrap().lines.join("\n");
            assert!(
                plan.contains("Index") && !plan.contains("Seq Scan"),
                "{plan}"
            );
        }
    });
}
