//! What no request of ours relies on, seen from the wire; and stores that cannot do what is asked of them.

use std::collections::BTreeMap;

use runpack_core::pack::PackError;
use runpack_core::store::StoreError;
use runpack_core::store::s3::LockMode;
use runpack_core::store::s3::{CreateOnly, Enforcement, Leaving, Versioning};
use runpack_core::time::FixedClock;
use runpack_testing::block_on;
use runpack_testing::proxy::{Answer, Fault, FaultProxy, Rule};
use runpack_testing::servers::{BucketKind, Kind, shared};

use super::bucket::{export, impatient, open};

#[test]
fn p02_p07_p11_no_replacing_no_copying_and_parts_of_one_size() {
    block_on(async {
        let bucket = shared(Kind::Ceph).bucket(BucketKind::Plain).await;
        let proxy = FaultProxy::start(&bucket.server().endpoint);
        export(open(bucket.settings_at(&proxy.endpoint())).await, "run", 1)
            .await
            .unwrap();
        let log = proxy.log();
        let mut parts: BTreeMap<u32, u64> = BTreeMap::new();
        for exchange in &log {
            assert_eq!(exchange.header("x-amz-copy-source"), None, "{exchange:?}");
            let is_write = exchange.method != "GET" && exchange.method != "HEAD";
            assert!(
                !is_write || exchange.header("if-match").is_none(),
                "{exchange:?}"
            );
            // No body in chunks with trailers, which many stores refuse (threat P04).
            assert_eq!(exchange.header("x-amz-trailer"), None, "{exchange:?}");
            let body = exchange.header("x-amz-content-sha256").unwrap_or_default();
            assert!(
                !body.contains("STREAMING") && !body.contains("UNSIGNED"),
                "{exchange:?}"
            );
            if exchange.bytes > 0 && exchange.method == "PUT" {
                assert!(
                    exchange.header("x-amz-checksum-sha256").is_some(),
                    "{exchange:?}"
                );
                assert_eq!(
                    exchange.header("x-amz-sdk-checksum-algorithm"),
                    Some("SHA256")
                );
            }
            if let Some((_, number)) = exchange.part() {
                parts.insert(number.parse().unwrap(), exchange.bytes);
            }
        }
        let sizes: Vec<u64> = parts.into_values().collect();
        assert_eq!(sizes, [8 << 20, 8 << 20, 77]);
    });
}

#[test]
fn p01_p05_a_store_that_knows_no_condition_is_refused_until_somebody_decides() {
    block_on(async {
        for (status, code) in [(501, "NotImplemented"), (400, "InvalidArgument")] {
            let bucket = shared(Kind::Ceph).bucket(BucketKind::Plain).await;
            let proxy = FaultProxy::start(&bucket.server().endpoint);
            let refuse = || Fault::Answer(Answer::error(status, code));
            proxy.plan(Rule::new(refuse()).header("if-none-match").always());
            let mut settings = impatient(bucket.settings_at(&proxy.endpoint()));
            let refused = export(open(settings.clone()).await, "run", 1)
                .await
                .unwrap_err();
            let PackError::Store(error @ StoreError::Unusable { .. }) = refused else {
                panic!("{refused:?}");
            };
            assert!(error.to_string().contains("store status"), "{error}");
            assert!(
                !bucket
                    .list_raw()
                    .await
                    .iter()
                    .any(|name| name.ends_with("manifest.json"))
            );
            settings.create_only = CreateOnly::DangerouslyCheckFirst;
            let first = export(open(settings.clone()).await, "run", 1)
                .await
                .unwrap();
            let again = export(open(settings.clone()).await, "run", 1)
                .await
                .unwrap();
            assert_eq!(first.pack_id(), again.pack_id());
            let other = export(open(settings).await, "run", 2).await.unwrap_err();
            assert!(matches!(other, PackError::Conflict { .. }), "{other:?}");
        }
    });
}

fn clock() -> std::sync::Arc<dyn runpack_core::time::Clock> {
    std::sync::Arc::new(FixedClock("2026-11-20T12:00:00Z".parse().unwrap()))
}

#[test]
fn p01_what_real_stores_do_is_measured() {
    block_on(async {
        let versioned = [
            (BucketKind::Plain, Versioning::Off),
            (BucketKind::Versioned, Versioning::Enabled),
        ];
        for kind in [Kind::Ceph, Kind::MiniStack, Kind::Moto] {
            for (bucket, versioning) in versioned {
                let bucket = shared(kind).bucket(bucket).await;
                let store = open(bucket.settings()).await;
                let profile = store.profile(&clock(), 7, Leaving::Nothing).await.unwrap();
                println!("{kind:?}: {}", serde_json::to_string(&profile).unwrap());
                if kind != Kind::Moto {
                    assert_eq!(profile.versioning, versioning, "{kind:?}");
                }
                if kind == Kind::Ceph {
                    let single = &profile.create_only_put;
                    if versioning == Versioning::Off {
                        assert_eq!(*single, Enforcement::Enforced);
                    } else {
                        // The condition is not atomic there, and by chance it may look as if it were.
                        assert!(matches!(single, Enforcement::Racy | Enforcement::Enforced));
                    }
                    assert_eq!(profile.checksum_put, Enforcement::Enforced);
                    assert_eq!(profile.checksum_part, Enforcement::Enforced);
                    assert_eq!(profile.safe_writing(), Some(CreateOnly::Conditional));
                }
                assert_eq!(profile.left, Vec::<String>::new(), "{kind:?}");
                assert_eq!(
                    bucket.versions_raw("").await,
                    [],
                    "{kind:?}: a probe is left"
                );
                assert_eq!(
                    bucket.uploads_raw().await,
                    [],
                    "{kind:?}: an upload is left"
                );
            }
        }
    });
}

#[test]
fn a_bucket_that_locks_by_itself_is_not_probed_without_leave() {
    block_on(async {
        let how = BucketKind::LockedByDefault(LockMode::Governance, 1);
        let bucket = shared(Kind::Ceph).bucket(how).await;
        let store = open(bucket.settings()).await;
        let profile = store.profile(&clock(), 7, Leaving::Nothing).await.unwrap();
        assert_eq!(bucket.versions_raw("").await, []);
        assert!(
            matches!(profile.create_only_put, Enforcement::Unknown { .. }),
            "{profile:?}"
        );
        assert_eq!(profile.safe_writing(), Some(CreateOnly::Conditional));
        let with_leave = store
            .profile(&clock(), 8, Leaving::LockedObjects)
            .await
            .unwrap();
        assert!(!matches!(
            with_leave.create_only_put,
            Enforcement::Unknown { .. }
        ));
        assert_eq!(with_leave.left.len(), 1, "{:?}", with_leave.left);
        // A pack is kept there all the same.
        export(store, "run", 1).await.unwrap();
    });
}
