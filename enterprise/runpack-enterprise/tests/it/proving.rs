//! What is proved of servers that enforce locks, and of those that only take them.

use runpack_core::key::Location;
use runpack_core::store::s3::{LockMode, S3Store};
use runpack_core::store::{ObjectRef, StoreError, VersionId};
use runpack_enterprise::guard::Guard;
use runpack_enterprise::prove::{Attempt, Proof, Result as Outcome, Verdict, prove};
use runpack_testing::block_on;
use runpack_testing::proxy::{Answer, Fault, FaultProxy, Rule};
use runpack_testing::servers::{BucketKind, Kind, TestBucket, shared};

use crate::support::{MachineClock, PLACE};

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
            // Every attempt has its control; no lock is taken away here by any request.
            for tried in &proof.attempts {
                let is_unlock = matches!(tried.attempt, Attempt::Unlock | Attempt::BypassUnlock);
                let expected = if is_unlock {
                    "not taken, 400 MalformedXML"
                } else {
                    "done"
                };
                assert_eq!(tried.control_answer, expected, "{tried:?}");
                assert_eq!(
                    tried.result == Outcome::NothingShown,
                    is_unlock,
                    "{tried:?}"
                );
            }
            assert_eq!(proof.attempts.len(), 23);
            // A transcript of less proves less.
            let mut less = proof.clone();
            less.attempts
                .retain(|tried| tried.attempt != Attempt::BypassShorten);
            assert_eq!(less.verdict(LockMode::Compliance), Verdict::NotProven);
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
pub(crate) fn shows_what_it_does_not_enforce(bucket: &TestBucket) -> FaultProxy {
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

/// Everything that is sent with the right to bypass governance is answered so.
fn bypass_is_answered(bucket: &TestBucket, answer: Answer) -> FaultProxy {
    let proxy = FaultProxy::start(&bucket.server().endpoint);
    let rule = Rule::new(Fault::Answer(answer)).header("x-amz-bypass-governance-retention");
    proxy.plan(rule.always());
    proxy
}

#[test]
fn l04_a_right_to_bypass_that_is_refused_spoils_nothing_and_one_that_is_unknown_does() {
    block_on(async {
        let bucket = shared(Kind::Ceph).bucket(BucketKind::Locked).await;
        let proxy = bypass_is_answered(&bucket, Answer::error(403, "AccessDenied"));
        let refused = proof(&bucket, Some(&proxy.endpoint())).await.unwrap();
        for attempt in [
            Attempt::BypassDelete,
            Attempt::BypassDeleteMany,
            Attempt::BypassShorten,
            Attempt::BypassWeakenMode,
        ] {
            let found = result(&refused, attempt, LockMode::Compliance);
            assert_eq!(found, Outcome::NothingShown, "{attempt}");
        }
        for mode in BOTH {
            assert_eq!(refused.verdict(mode), Verdict::Proven, "{refused:#?}");
        }
        let bucket = shared(Kind::Ceph).bucket(BucketKind::Locked).await;
        let proxy = bypass_is_answered(&bucket, Answer::error(412, "PreconditionFailed"));
        let unknown = proof(&bucket, Some(&proxy.endpoint())).await.unwrap();
        for mode in BOTH {
            assert_eq!(unknown.verdict(mode), Verdict::NotProven, "{unknown:#?}");
        }
    });
}

#[test]
fn l02_a_lock_that_only_a_bypass_makes_shorter_is_found() {
    block_on(async {
        // Compliance is kept as governance; versions are deleted by nobody, and all that is read back looks right.
        let bucket = shared(Kind::MiniStack).bucket(BucketKind::Locked).await;
        let proxy = FaultProxy::start(&bucket.server().endpoint);
        let mode = "x-amz-object-lock-mode".to_owned();
        let bypass = "x-amz-bypass-governance-retention".to_owned();
        let weaken = Fault::SetRequestHeader(mode.clone(), Some("GOVERNANCE".to_owned()));
        proxy.plan(Rule::new(weaken).method("PUT").header(&mode).always());
        for method in ["DELETE", "POST"] {
            let strip = Fault::SetRequestHeader(bypass.clone(), None);
            proxy.plan(Rule::new(strip).method(method).header(&bypass).always());
        }
        let show = Fault::SetHeader(mode, Some("COMPLIANCE".to_owned()));
        proxy.plan(Rule::new(show).method("HEAD").key_contains("/").always());
        let settings = bucket.settings_at(&proxy.endpoint());
        let store = S3Store::open(settings).await.unwrap();
        let modes = [LockMode::Compliance];
        let proof = prove(&store, PLACE, &modes, &MachineClock, 7)
            .await
            .unwrap();
        for attempt in [Attempt::DeleteVersion, Attempt::Shorten] {
            let found = result(&proof, attempt, LockMode::Compliance);
            assert_eq!(found, Outcome::Enforced, "{proof:#?}");
        }
        let shortened = result(&proof, Attempt::BypassShorten, LockMode::Compliance);
        assert_eq!(shortened, Outcome::NotEnforced, "{proof:#?}");
        assert_eq!(proof.verdict(LockMode::Compliance), Verdict::NotEnforced);
    });
}

#[test]
fn l02_a_lock_that_the_deletion_of_many_does_not_see_is_found() {
    block_on(async {
        let bucket = shared(Kind::MiniStack).bucket(BucketKind::Locked).await;
        let proxy = FaultProxy::start(&bucket.server().endpoint);
        let bypass = "x-amz-bypass-governance-retention".to_owned();
        let add = Fault::SetRequestHeader(bypass, Some("true".to_owned()));
        proxy.plan(Rule::new(add).method("POST").query("delete").always());
        let proof = proof(&bucket, Some(&proxy.endpoint())).await.unwrap();
        let deleted = result(&proof, Attempt::DeleteMany, LockMode::Governance);
        assert_eq!(deleted, Outcome::NotEnforced, "{proof:#?}");
        assert_eq!(proof.verdict(LockMode::Governance), Verdict::NotEnforced);
    });
}

#[test]
fn nothing_that_a_proof_leaves_is_locked_for_long() {
    block_on(async {
        let kind = BucketKind::LockedByDefault(LockMode::Compliance, 30);
        let bucket = shared(Kind::Ceph).bucket(kind).await;
        let proof = proof(&bucket, None).await.unwrap();
        assert_eq!(
            proof.verdict(LockMode::Compliance),
            Verdict::Proven,
            "{proof:#?}"
        );
        let store = S3Store::open(bucket.settings()).await.unwrap();
        let guard = Guard::new(store);
        let versions = bucket.versions_raw("_runpack/probe/").await;
        let mut locked = 0;
        for version in versions.iter().filter(|version| !version.is_marker) {
            let probe = version.name.strip_prefix("_runpack/probe/").unwrap();
            let probe = probe.parse().unwrap();
            let object = ObjectRef {
                key: Location::Probe { probe }.key().unwrap(),
                version: Some(VersionId::new(&version.version)),
            };
            let Some(lock) = guard.inspect(&object).await.unwrap().lock else {
                continue;
            };
            let start = proof.store_time.unix_seconds();
            // An hour is much longer than any proof takes, and much shorter than the bucket's own lock.
            assert!(
                lock.until.unix_seconds() < start + 3_600,
                "{object:?} {lock:?}"
            );
            locked += 1;
        }
        assert!(locked > 0);
    });
}

#[test]
fn a_hold_that_may_not_be_set_or_cleared_is_not_proven_and_told() {
    block_on(async {
        for (number, is_left) in [(1, false), (2, true)] {
            let bucket = shared(Kind::Ceph).bucket(BucketKind::Locked).await;
            let proxy = FaultProxy::start(&bucket.server().endpoint);
            let refuse = Rule::new(Fault::Answer(Answer::error(403, "AccessDenied")));
            let refuse = refuse.method("PUT").query("legal-hold");
            proxy.plan(refuse.nth(number));
            let proof = proof(&bucket, Some(&proxy.endpoint())).await.unwrap();
            let of_hold = proof.attempts.last().unwrap();
            assert_eq!(of_hold.attempt, Attempt::DeleteHeld);
            assert_eq!(of_hold.result, Outcome::NotProven, "{of_hold:?}");
            assert_eq!(proof.verdict(LockMode::Compliance), Verdict::NotProven);
            let told = proof.left.iter().any(|left| left.contains("legal hold"));
            assert_eq!(told, is_left, "{:?}", proof.left);
        }
    });
}
