//! What is proved of servers that enforce locks, and of those that only take them.

use runpack_core::store::StoreError;
use runpack_core::store::s3::{LockMode, S3Store};
use runpack_enterprise::prove::{Attempt, Proof, Result as Outcome, Verdict, prove};
use runpack_testing::block_on;
use runpack_testing::proxy::{Answer, Fault, FaultProxy, Rule};
use runpack_testing::servers::{BucketKind, Kind, TestBucket, shared};

use super::support::{MachineClock, PLACE};

const BOTH: [LockMode; 2] = [LockMode::Governance, LockMode::Compliance];

async fn proof(bucket: &TestBucket, endpoint: Option<&str>) -> Result<Proof, StoreError> {
    let settings = endpoint.map_or_else(|| bucket.settings(), |at| bucket.settings_at(at));
    let store = S3Store::open(settings).await.unwrap();
    prove(&store, PLACE, &BOTH, &MachineClock, 7).await
}

fn result(proof: &Proof, attempt: Attempt, mode: LockMode) -> Outcome {
    let is_it = |tried: &&runpack_enterprise::prove::Tried| {
        tried.attempt == attempt && tried.mode == Some(mode)
    };
    proof.attempts.iter().find(is_it).unwrap().result
}

#[test]
fn l04_a_server_that_enforces_is_proved_and_governance_is_told_apart() {
    block_on(async {
        for kind in [
            BucketKind::Locked,
            BucketKind::LockedByDefault(LockMode::Governance, 1),
        ] {
            let bucket = shared(Kind::Ceph).bucket(kind).await;
            let proof = proof(&bucket, None).await.unwrap();
            assert_eq!(
                proof.verdict(LockMode::Compliance),
                Verdict::Proven,
                "{proof:#?}"
            );
            assert_eq!(
                proof.verdict(LockMode::Governance),
                Verdict::Proven,
                "{proof:#?}"
            );
            // The bucket's owner bypasses governance, and compliance holds against the same right.
            assert!(proof.bypasses_governance());
            let bypassed = result(&proof, Attempt::BypassDelete, LockMode::Compliance);
            assert_eq!(bypassed, Outcome::Enforced);
            // Every attempt has its control.
            assert!(
                proof
                    .attempts
                    .iter()
                    .all(|tried| tried.control_answer == "done")
            );
            assert!(proof.attempts.len() >= 14);
        }
    });
}

#[test]
fn l02_refusals_that_are_only_for_show_are_found() {
    block_on(async {
        let bucket = shared(Kind::Ceph).bucket(BucketKind::Locked).await;
        // It says that it shortened a lock, and did not: an answer alone proves nothing in either direction.
        let proxy = FaultProxy::start(&bucket.server().endpoint);
        proxy.plan(
            Rule::new(Fault::Answer(Answer::status(200)))
                .method("PUT")
                .query("retention")
                .always(),
        );
        let proof = proof(&bucket, Some(&proxy.endpoint())).await.unwrap();
        // The control (making it longer) was answered with success, but the lock is not what was then expected.
        let shortened = result(&proof, Attempt::Shorten, LockMode::Compliance);
        assert_eq!(shortened, Outcome::NotEnforced, "{proof:#?}");
        assert_eq!(proof.verdict(LockMode::Compliance), Verdict::NotEnforced);
    });
}

#[test]
fn l02_a_right_that_is_missing_is_not_taken_for_a_lock() {
    block_on(async {
        let bucket = shared(Kind::Ceph).bucket(BucketKind::Locked).await;
        let proxy = FaultProxy::start(&bucket.server().endpoint);
        proxy.plan(
            Rule::new(Fault::Answer(Answer::error(403, "AccessDenied")))
                .method("DELETE")
                .query("versionId")
                .always(),
        );
        let proof = proof(&bucket, Some(&proxy.endpoint())).await.unwrap();
        let deleted = result(&proof, Attempt::DeleteVersion, LockMode::Compliance);
        assert_eq!(deleted, Outcome::NotProven, "{proof:#?}");
        assert_eq!(proof.verdict(LockMode::Compliance), Verdict::NotProven);
        assert!(!proof.left.is_empty());
    });
}

/// Takes compliance locks, shows them, and keeps governance locks that everybody bypasses: whatever is read back looks
/// right.
pub(super) fn shows_what_it_does_not_enforce(bucket: &TestBucket) -> FaultProxy {
    let proxy = FaultProxy::start(&bucket.server().endpoint);
    let header = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
    let (name, value) = header("x-amz-object-lock-mode", "GOVERNANCE");
    let weaken = Rule::new(Fault::SetRequestHeader(name, value));
    proxy.plan(
        weaken
            .method("PUT")
            .header("x-amz-object-lock-mode")
            .always(),
    );
    let (name, value) = header("x-amz-bypass-governance-retention", "true");
    proxy.plan(
        Rule::new(Fault::SetRequestHeader(name, value))
            .method("DELETE")
            .always(),
    );
    let (name, value) = header("x-amz-object-lock-mode", "COMPLIANCE");
    proxy.plan(
        Rule::new(Fault::SetHeader(name, value))
            .method("HEAD")
            .key_contains("/")
            .always(),
    );
    proxy
}

#[test]
fn l02_a_server_that_takes_locks_and_does_not_keep_them_is_found() {
    block_on(async {
        let bucket = shared(Kind::MiniStack).bucket(BucketKind::Locked).await;
        let proxy = shows_what_it_does_not_enforce(&bucket);
        let settings = bucket.settings_at(&proxy.endpoint());
        let store = S3Store::open(settings).await.unwrap();
        let modes = [LockMode::Compliance];
        let proof = prove(&store, PLACE, &modes, &MachineClock, 7)
            .await
            .unwrap();
        let deleted = result(&proof, Attempt::DeleteVersion, LockMode::Compliance);
        assert_eq!(deleted, Outcome::NotEnforced, "{proof:#?}");
        assert_eq!(proof.verdict(LockMode::Compliance), Verdict::NotEnforced);
    });
}

#[test]
fn a_second_server_that_enforces_is_proved() {
    block_on(async {
        let bucket = shared(Kind::MiniStack).bucket(BucketKind::Locked).await;
        let proof = proof(&bucket, None).await.unwrap();
        assert_eq!(
            proof.verdict(LockMode::Compliance),
            Verdict::Proven,
            "{proof:#?}"
        );
    });
}
