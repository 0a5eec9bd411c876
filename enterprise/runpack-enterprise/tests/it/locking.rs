//! Locks of packs on a server that enforces them.

use runpack_core::key::Location;
use runpack_core::pin::Pins;
use runpack_core::store::s3::{Lock, LockMode, S3Store};
use runpack_core::store::{ArtifactSink as _, Declared, Housekeeping as _, StoreError};
use runpack_core::time::{Clock as _, FixedClock, Timestamp};
use runpack_core::verify::{Pack, StorePack, Verdict, VerifyOptions};
use runpack_enterprise::audit::Outcome;
use runpack_enterprise::locked::LockedStore;
use runpack_enterprise::status::Code;
use runpack_enterprise::tenure::Tenure;
use runpack_enterprise::terms::{LockTerms, RetainUntil, WritingLock};
use runpack_testing::block_on;
use runpack_testing::conformance::Subject;
use runpack_testing::proxy::{Answer, Fault, FaultProxy, Rule};
use runpack_testing::servers::{BucketKind, Bypass};
use std::sync::Arc;

use crate::support::{MachineClock, Vault, export, terms};

async fn subject() -> Subject {
    let vault = Vault::new().await;
    let store = vault.store(terms(LockMode::Governance, 60, 20)).await;
    Subject::keeping(store, vault)
}

// All but the two races, as in every bucket with versions, and removal, which a lock is there to refuse.
runpack_testing::conformance!(locked, async || subject().await,
    same_bytes_again_are_success
    other_bytes_never_replace
    nothing_before_commit
    nothing_after_drop_or_abort
    declared_is_checked
    many_commits_at_once
    a_dropped_commit_hangs_nobody
    more_than_two_chunks
    no_bytes_at_all
    pieces_of_any_size
    ranges
    what_is_not_there
    stat_and_versions
    listing_is_under_its_prefix
    a_source_is_sent
    a_source_that_changed_is_refused
    what_is_there_is_found
);

fn later(seconds: u64) -> Timestamp {
    Timestamp::from_unix_seconds(MachineClock.now().unix_seconds() + seconds).unwrap()
}

#[test]
fn a_pack_is_locked_read_back_and_receipted_by_version() {
    block_on(async {
        let vault = Vault::new().await;
        let store = vault.store(terms(LockMode::Compliance, 600, 20)).await;
        let before = later(500);
        let manifest = export(&store, "run-1").await.unwrap();
        let receipt = vault.receipt(&manifest).unwrap();
        assert_eq!(receipt.versions.len(), 3);
        assert_eq!(receipt.pack_id, manifest.pack_id());
        let status = vault.status(&manifest).await.unwrap();
        assert!(status.findings.is_empty(), "{:?}", status.findings);
        let weakest = status.weakest.unwrap();
        assert_eq!(weakest.mode, LockMode::Compliance);
        assert!(weakest.until >= before);
        // The manifest's lock is at least as long as every artifact's (L11), and one for all.
        assert!(
            status
                .versions
                .iter()
                .all(|v| v.protection.lock == Some(weakest))
        );
        // Nothing was asked twice, and it was asked with its figures.
        let seen = vault.consent.seen.lock().unwrap().clone();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].objects, 3);
        assert_eq!(seen[0].until, weakest.until);
        assert!(seen[0].bytes > 9 << 20);
        assert_eq!(vault.logged("lock.seal").len(), 1);
        // The receipt is in the store too, and locked as long.
        let raw = vault.bucket.versions_raw("_runpack/receipts/").await;
        assert_eq!(raw.len(), 1);
        let refused = vault
            .bucket
            .delete_version_raw(&raw[0].name, &raw[0].version);
        assert_eq!(refused.await, Err("AccessDenied".to_owned()));
    });
}

#[test]
fn the_same_export_again_changes_no_lock() {
    block_on(async {
        let vault = Vault::new().await;
        let until = RetainUntil::For("1d".parse().unwrap());
        let day = LockTerms::new(LockMode::Governance, until);
        let day = day.with_lock_while_writing(WritingLock::seconds(20));
        let store = vault.store(day).await;
        let manifest = export(&store, "run-1").await.unwrap();
        let first = vault.status(&manifest).await.unwrap().weakest.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
        export(&store, "run-1").await.unwrap();
        let again = vault.status(&manifest).await.unwrap().weakest.unwrap();
        assert_eq!(first, again);
    });
}

#[test]
fn what_an_attacker_tries_on_a_locked_pack_is_refused_and_written_down() {
    block_on(async {
        let vault = Vault::new().await;
        let store = vault.store(terms(LockMode::Compliance, 600, 20)).await;
        let manifest = export(&store, "run-1").await.unwrap();
        let guard = vault.guard().await;
        let status = vault.status(&manifest).await.unwrap();
        for pinned in &status.versions {
            let shorter = Lock {
                mode: LockMode::Compliance,
                until: later(60),
            };
            // Never shorter and never weaker by us, whatever is asked.
            let kept = guard.ensure(&pinned.object, shorter).await.unwrap();
            assert_eq!(kept.lock, pinned.protection.lock);
            let (name, version) = (pinned.part.key.as_str(), pinned.object.version.as_ref());
            let version = version.unwrap().as_str();
            let denied = Err("AccessDenied".to_owned());
            assert_eq!(vault.bucket.delete_version_raw(name, version).await, denied);
            for mode in [LockMode::Governance, LockMode::Compliance] {
                for bypass in [Bypass::Not, Bypass::Governance] {
                    let until = later(5);
                    let lock = (mode, until);
                    let raw = vault.bucket.retain_raw(name, version, lock, bypass);
                    assert_eq!(raw.await, denied, "{mode:?} {bypass:?}");
                }
            }
            assert_eq!(
                vault.bucket.bypass_delete_raw(name, version).await,
                Err("AccessDenied".to_owned())
            );
        }
        // Removal through Runpack itself is refused, and the log tells.
        let mut holdings = store.holdings(&Location::pack_prefix(manifest.subject()));
        let mut refused = 0;
        while let Some(holding) = futures_util::StreamExt::next(&mut holdings).await {
            let removed = store.remove(&holding.unwrap()).await;
            assert!(
                matches!(removed, Err(StoreError::Denied { .. })),
                "{removed:?}"
            );
            refused += 1;
        }
        assert_eq!(refused, 3);
        let logged = vault.logged("remove");
        assert_eq!(logged.len(), 3);
        assert!(logged.iter().all(|entry| entry.outcome == Outcome::Refused));
        assert!(vault.status(&manifest).await.unwrap().is_sound());
    });
}

#[test]
fn l05_l06_what_stands_over_evidence_is_found_and_the_evidence_is_read() {
    block_on(async {
        let vault = Vault::new().await;
        let store = vault.store(terms(LockMode::Governance, 600, 20)).await;
        let manifest = export(&store, "run-1").await.unwrap();
        let status = vault.status(&manifest).await.unwrap();
        let key = |name: &str| {
            let is_it =
                |v: &&runpack_enterprise::evidence::Pinned| v.part.key.as_str().ends_with(name);
            status
                .versions
                .iter()
                .find(is_it)
                .unwrap()
                .part
                .key
                .to_string()
        };
        vault.bucket.delete_raw(&key("a.txt")).await;
        vault.bucket.put_raw(&key("b.bin"), "other bytes").await;
        vault.bucket.delete_raw(&key("manifest.json")).await;
        let status = vault.status(&manifest).await.unwrap();
        let codes: Vec<_> = status.findings.iter().map(|finding| finding.code).collect();
        assert_eq!(
            codes
                .iter()
                .filter(|code| **code == Code::DeleteMarker)
                .count(),
            2
        );
        assert_eq!(
            codes
                .iter()
                .filter(|code| **code == Code::NewerVersion)
                .count(),
            1
        );
        assert!(!status.is_sound());
        // Whoever has the receipt reads what was locked.
        let reader = LockedStore::for_reading(vault.raw().await, vault.locking());
        let container = StorePack::new(Arc::new(reader), manifest.subject().clone());
        let pack = Pack::open(
            Arc::new(container),
            &runpack_core::limits::Limits::default(),
        )
        .await
        .unwrap();
        let pins = Pins::pack_id(manifest.pack_id());
        let report = pack.verify(&pins, &VerifyOptions::default()).await;
        assert_eq!(report.verdict, Verdict::Valid, "{report:?}");
    });
}

#[test]
fn l01_a_bucket_without_locks_is_refused_before_anything_is_written() {
    for kind in [BucketKind::Plain, BucketKind::Versioned] {
        block_on(async {
            let vault = Vault::of(kind).await;
            let terms = terms(LockMode::Governance, 600, 20);
            let tenure = Tenure::of_terms(terms);
            let opened = LockedStore::open(vault.raw().await, tenure, vault.locking()).await;
            assert!(
                matches!(opened, Err(StoreError::Unusable { .. })),
                "{opened:?}"
            );
            assert!(vault.bucket.versions_raw("").await.is_empty());
        });
    }
}

#[test]
fn a_default_retention_is_no_floor_and_no_obstacle() {
    block_on(async {
        let vault = Vault::of(BucketKind::LockedByDefault(LockMode::Governance, 1)).await;
        let store = vault.store(terms(LockMode::Compliance, 600, 20)).await;
        let before = later(500);
        let manifest = export(&store, "run-1").await.unwrap();
        let status = vault.status(&manifest).await.unwrap();
        let weakest = status.weakest.unwrap();
        assert_eq!(weakest.mode, LockMode::Compliance);
        assert!(weakest.until >= before && weakest.until < later(86_000));
        assert!(status.is_sound());
    });
}

#[test]
fn without_consent_nothing_is_locked_for_long_and_nothing_is_acknowledged() {
    block_on(async {
        let mut vault = Vault::new().await;
        vault.consent = Arc::new(crate::support::Asked {
            refuses: true,
            ..Default::default()
        });
        let store = vault.store(terms(LockMode::Compliance, 600, 5)).await;
        let failed = export(&store, "run-1").await;
        assert!(failed.is_err(), "{failed:?}");
        assert_eq!(vault.logged("lock.seal")[0].outcome, Outcome::Refused);
        vault.wait_past(later(6)).await;
        // The short lock has ended: everything can be removed again.
        for version in vault.bucket.versions_raw("").await {
            vault
                .bucket
                .delete_version_raw(&version.name, &version.version)
                .await
                .unwrap();
        }
    });
}

#[test]
fn a_lock_lasts_as_long_as_it_says_and_is_made_longer() {
    block_on(async {
        let vault = Vault::new().await;
        let store = vault.store(terms(LockMode::Compliance, 10, 10)).await;
        let manifest = export(&store, "run-1").await.unwrap();
        let status = vault.status(&manifest).await.unwrap();
        let commit = &status.versions[0];
        let name = commit.part.key.as_str();
        let version = commit.object.version.as_ref().unwrap().as_str();
        let guard = vault.guard().await;
        // The artifacts' locks end; the manifest's is made longer.
        let longer = Lock {
            mode: LockMode::Compliance,
            until: later(40),
        };
        guard.ensure(&commit.object, longer).await.unwrap();
        let end = status.weakest.unwrap().until;
        while vault.raw().await.now().await.unwrap() <= end {
            assert!(
                vault
                    .bucket
                    .delete_version_raw(name, version)
                    .await
                    .is_err()
            );
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
        let ended = vault.status(&manifest).await.unwrap();
        let ended: Vec<_> = ended.findings.iter().map(|finding| finding.code).collect();
        assert_eq!(
            ended
                .iter()
                .filter(|code| **code == Code::LockEnded)
                .count(),
            2
        );
        assert!(
            vault
                .bucket
                .delete_version_raw(name, version)
                .await
                .is_err()
        );
        for pinned in &status.versions[1..] {
            let version = pinned.object.version.as_ref().unwrap().as_str();
            vault
                .bucket
                .delete_version_raw(pinned.part.key.as_str(), version)
                .await
                .unwrap();
        }
    });
}

#[test]
fn an_artifact_that_was_there_unlocked_is_locked_too() {
    block_on(async {
        let vault = Vault::new().await;
        let raw = vault.raw().await;
        // Somebody exported the same run before, without locks.
        let staged = crate::support::draft("run-1")
            .stage(Arc::new(raw))
            .await
            .unwrap();
        let plain = staged.commit().await.unwrap().manifest;
        assert!(vault.status(&plain).await.unwrap().weakest.is_none());
        let store = vault.store(terms(LockMode::Governance, 600, 20)).await;
        let manifest = export(&store, "run-1").await.unwrap();
        assert_eq!(manifest.pack_id(), plain.pack_id());
        assert!(vault.status(&manifest).await.unwrap().weakest.is_some());
    });
}

#[test]
fn what_runpack_may_have_to_write_anew_is_not_locked() {
    block_on(async {
        let vault = Vault::new().await;
        let store = vault.store(terms(LockMode::Governance, 600, 600)).await;
        let key = Location::parse("_runpack/probe/p1").unwrap().key().unwrap();
        store
            .put(&key, "x".into(), Declared::of(b"x"))
            .await
            .unwrap();
        let raw = vault.bucket.versions_raw("_runpack/probe/").await;
        vault
            .bucket
            .delete_version_raw(&raw[0].name, &raw[0].version)
            .await
            .unwrap();
    });
}

#[test]
fn l03_a_lock_configuration_that_gets_lost_stops_the_commit() {
    block_on(async {
        let vault = Vault::new().await;
        let proxy = FaultProxy::start(&vault.bucket.server().endpoint);
        let settings = vault.bucket.settings_at(&proxy.endpoint());
        let raw = S3Store::open(settings).await.unwrap();
        let tenure = Tenure::of_terms(terms(LockMode::Governance, 600, 20));
        let store = LockedStore::open(raw, tenure, vault.locking())
            .await
            .unwrap();
        // As after a restart that lost it: the bucket says that it has no Object Lock.
        let lost = Answer::error(404, "ObjectLockConfigurationNotFoundError");
        let lost = Rule::new(Fault::Answer(lost)).method("GET");
        proxy.plan(lost.query("object-lock").always());
        let failed = export(&store, "run-1").await;
        assert!(failed.is_err(), "{failed:?}");
        assert_eq!(vault.logged("lock.seal")[0].outcome, Outcome::Refused);
    });
}

#[test]
fn l03_a_write_whose_lock_is_not_kept_fails() {
    block_on(async {
        let vault = Vault::new().await;
        let proxy = FaultProxy::start(&vault.bucket.server().endpoint);
        let settings = vault.bucket.settings_at(&proxy.endpoint());
        let raw = S3Store::open(settings).await.unwrap();
        let tenure = Tenure::of_terms(terms(LockMode::Compliance, 600, 20));
        let store = LockedStore::open(raw, tenure, vault.locking())
            .await
            .unwrap();
        // The server shows less than was asked for.
        let mode = "x-amz-object-lock-mode".to_owned();
        let weaker = Fault::SetHeader(mode, Some("GOVERNANCE".to_owned()));
        proxy.plan(
            Rule::new(weaker)
                .method("HEAD")
                .key_contains("tenant/")
                .always(),
        );
        let failed = export(&store, "run-1").await;
        assert!(failed.is_err(), "{failed:?}");
        assert!(!vault.logged("lock.read-back").is_empty());
        assert!(vault.logged("lock.seal").is_empty());
    });
}

#[test]
fn l14_a_receipt_is_held_against_the_store_and_not_believed() {
    block_on(async {
        let vault = Vault::new().await;
        let store = vault.store(terms(LockMode::Governance, 600, 20)).await;
        let manifest = export(&store, "run-1").await.unwrap();
        let mut receipt = vault.receipt(&manifest).unwrap();
        for locked in &mut receipt.versions {
            locked.lock = Some(Lock {
                mode: LockMode::Compliance,
                until: later(86_400),
            });
        }
        let commit = Location::manifest(manifest.subject()).key().unwrap();
        vault.book().keep(&commit, &receipt).unwrap();
        let status = vault.status(&manifest).await.unwrap();
        let less = status.findings.iter();
        let less = less.filter(|finding| finding.code == Code::LessThanReceipt);
        assert_eq!(less.count(), 3);
        assert!(status.weakest.unwrap().until < later(601));
    });
}

#[test]
fn t04_a_clock_that_is_far_off_locks_nothing() {
    block_on(async {
        let vault = Vault::new().await;
        let mut locking = vault.locking();
        locking.clock = Arc::new(FixedClock(later(3_600)));
        let tenure = Tenure::of_terms(terms(LockMode::Governance, 86_400, 20));
        let opened = LockedStore::open(vault.raw().await, tenure, locking).await;
        let Err(StoreError::Unusable { reason }) = opened else {
            panic!("{opened:?}");
        };
        assert!(reason.contains("set the clock"), "{reason}");
    });
}

#[test]
fn a_seal_that_was_interrupted_is_finished_by_the_same_export() {
    block_on(async {
        let vault = Vault::new().await;
        let proxy = FaultProxy::start(&vault.bucket.server().endpoint);
        let settings = vault.bucket.settings_at(&proxy.endpoint());
        let raw = S3Store::open(settings).await.unwrap();
        let tenure = Tenure::of_terms(terms(LockMode::Governance, 600, 20));
        let store = LockedStore::open(raw, tenure, vault.locking())
            .await
            .unwrap();
        // The manifest is locked for its full time, and then nothing more.
        let denied = Rule::new(Fault::Answer(Answer::error(403, "AccessDenied")));
        proxy.plan(denied.method("PUT").query("retention").nth(2).always());
        let failed = export(&store, "run-1").await;
        assert!(failed.is_err(), "{failed:?}");
        proxy.clear();
        let manifest = export(&store, "run-1").await.unwrap();
        let status = vault.status(&manifest).await.unwrap();
        assert!(status.is_sound(), "{:?}", status.findings);
        let weakest = status.weakest.unwrap();
        assert!(weakest.until > later(300));
        // Not once was the manifest locked for less than an artifact (L11).
        let manifests = status.versions[0].protection.lock.unwrap();
        assert!(manifests.covers(&weakest));
    });
}

#[test]
fn a_manifest_that_somebody_locked_for_longer_does_not_lock_the_artifacts_for_as_long() {
    block_on(async {
        let vault = Vault::new().await;
        let store = vault.store(terms(LockMode::Governance, 600, 20)).await;
        let manifest = export(&store, "run-1").await.unwrap();
        let status = vault.status(&manifest).await.unwrap();
        let longer = Lock {
            mode: LockMode::Governance,
            until: later(86_400),
        };
        let commit = &status.versions[0].object;
        vault.guard().await.ensure(commit, longer).await.unwrap();
        export(&store, "run-1").await.unwrap();
        let status = vault.status(&manifest).await.unwrap();
        assert_eq!(status.versions[0].protection.lock, Some(longer));
        assert!(status.weakest.unwrap().until < later(700));
        assert!(status.is_sound(), "{:?}", status.findings);
    });
}
