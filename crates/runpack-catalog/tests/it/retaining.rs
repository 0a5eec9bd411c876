//! Policies and expiry in the catalog: the same policies, the same catalog.

use std::sync::Arc;

use runpack_catalog::{Catalog, Form, Found, Query};
use runpack_core::key::Location;
use runpack_core::limits::Limits;
use runpack_core::manifest::Manifest;
use runpack_core::retention::{Keep, Policy, RetentionPolicies};
use runpack_core::store::MemoryStore;
use runpack_testing::block_on;

use crate::support::{Both, artifact, commit, exported, manifest, reader, run, store_name};

fn policies(days: u64) -> RetentionPolicies {
    let policy = |name: &str, keep| Policy::new(name.parse().unwrap(), keep).unwrap();
    let acme = policy("acme", Keep::Seconds(days * 86_400));
    RetentionPolicies::new(vec![
        acme.with_tenant(Some("acme".parse().unwrap())),
        policy("rest", Keep::Forever),
    ])
    .unwrap()
}

fn pack(tenant: &str, run_id: &str, made: &str, labels: &[(&str, &str)]) -> Arc<Manifest> {
    let artifacts = vec![artifact("a.csv", run_id.as_bytes())];
    manifest(run(tenant, run_id), made, labels, artifacts)
}

fn packs() -> Vec<Arc<Manifest>> {
    let agent = [("agent", "planner"), ("agent_version", "1.2")];
    let mut packs = vec![
        pack(
            "globex",
            "g",
            "2026-01-01T00:00:00Z",
            &[("agent", "no id at all")],
        ),
        pack("acme", "far", "9999-12-31T23:59:59Z", &[]),
    ];
    for day in 1..=28 {
        let made = format!("2026-02-{day:02}T00:00:00Z");
        packs.push(pack("acme", &format!("r{day}"), &made, &agent));
    }
    packs
}

async fn filled() -> (MemoryStore, Vec<Arc<Manifest>>) {
    let (store, packs) = (MemoryStore::new(), packs());
    for pack in &packs {
        commit(&store, pack).await;
    }
    (store, packs)
}

async fn found(catalog: &Catalog, query: Query) -> Vec<String> {
    let page = catalog.search(&query).await.unwrap();
    let runs = page.hits.iter().map(|hit| hit.subject.fields());
    let runs = runs.map(|fields| fields.into_iter().find(|(name, _)| *name == "run_id"));
    runs.map(|field| field.unwrap().1).collect()
}

#[test]
fn however_policies_came_the_exported_form_is_the_same_to_the_byte() {
    let both = Both::start();
    block_on(async {
        let (store, packs) = filled().await;
        let (name, limits) = (store_name(), Limits::default());
        let mut all = Vec::new();
        // First the policies and then the packs, one at a time; or the other way about, after others.
        for catalog in both.open("before").await {
            assert_eq!(catalog.set_policies(&policies(90)).await.unwrap(), 0);
            for pack in &packs {
                let found = Found {
                    key: Location::manifest(pack.subject()).key().unwrap(),
                    form: Form::Files,
                    manifest: Arc::clone(pack),
                };
                catalog.admit(&name, &[found]).await.unwrap();
            }
            all.push(exported(&catalog).await);
        }
        for catalog in both.open("after").await {
            catalog
                .rebuild(&name, &reader(&store), &limits)
                .await
                .unwrap();
            let without = exported(&catalog).await;
            assert!(!without.contains("expires_at"));
            // What expires in the year 9999 expires then under either.
            assert_eq!(catalog.set_policies(&policies(30)).await.unwrap(), 30);
            assert_eq!(catalog.set_policies(&policies(90)).await.unwrap(), 28);
            assert_eq!(catalog.set_policies(&policies(90)).await.unwrap(), 0);
            assert_eq!(catalog.policies().await.unwrap(), policies(90));
            all.push(exported(&catalog).await);
            let checked = catalog
                .check(&name, &reader(&store), &limits)
                .await
                .unwrap();
            assert_eq!(checked.differences, []);
            catalog
                .rebuild(&name, &reader(&store), &limits)
                .await
                .unwrap();
            all.push(exported(&catalog).await);
            let nothing = RetentionPolicies::default();
            assert_eq!(catalog.set_policies(&nothing).await.unwrap(), 30);
            assert_eq!(exported(&catalog).await, without);
        }
        assert!(all.iter().all(|one| *one == all[0]));
        assert!(all[0].contains("\"expires_at\":\"9999-12-31T23:59:59Z\""));
        assert!(all[0].contains("\"agent\":\"planner\",\"agent_version\":\"1.2\""));
        assert!(!all[0].contains("\"agent\":\"no id at all\",\"policy\""));
    });
}

#[test]
fn what_expires_first_is_found_first_a_page_at_a_time() {
    let both = Both::start();
    block_on(async {
        let (store, _) = filled().await;
        for catalog in both.open("expiry").await {
            catalog.set_policies(&policies(30)).await.unwrap();
            let limits = Limits::default();
            catalog
                .rebuild(&store_name(), &reader(&store), &limits)
                .await
                .unwrap();
            let time = |text: &str| Some(text.parse().unwrap());
            let query = Query {
                tenant: Some("acme".parse().unwrap()),
                expires_after: time("2026-03-10T00:00:00Z"),
                expires_before: time("2026-03-15T00:00:00Z"),
                limit: 2,
                ..Query::default()
            };
            let mut pages = Vec::new();
            let mut start_after = None;
            loop {
                let page = catalog
                    .search(&Query {
                        start_after,
                        ..query.clone()
                    })
                    .await
                    .unwrap();
                pages.push(page.hits.len());
                let next = page.next.map(|next| next.to_string());
                start_after = next.map(|next| next.parse().unwrap());
                if start_after.is_none() {
                    break;
                }
            }
            assert_eq!(pages, [2, 2, 1]);
            let all = Query { limit: 10, ..query };
            assert_eq!(
                found(&catalog, all).await,
                ["r8", "r9", "r10", "r11", "r12"]
            );
            for (query, expected) in [
                (
                    Query {
                        agent: Some("planner".parse().unwrap()),
                        ..Query::default()
                    },
                    28,
                ),
                (
                    Query {
                        agent: Some("planner".parse().unwrap()),
                        agent_version: Some("1.3".parse().unwrap()),
                        ..Query::default()
                    },
                    0,
                ),
                (
                    Query {
                        policy: Some("rest".parse().unwrap()),
                        ..Query::default()
                    },
                    1,
                ),
                (
                    Query {
                        expires_after: time("9999-12-31T23:59:59Z"),
                        ..Query::default()
                    },
                    1,
                ),
                (
                    Query {
                        expires_before: time("2026-03-03T00:00:00Z"),
                        ..Query::default()
                    },
                    0,
                ),
            ] {
                let query = Query {
                    limit: 100,
                    ..query
                };
                assert_eq!(
                    found(&catalog, query.clone()).await.len(),
                    expected,
                    "{query:?}"
                );
            }
        }
    });
}
