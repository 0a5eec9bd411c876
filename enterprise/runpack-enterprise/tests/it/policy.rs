//! The policy for Ceph at a real gateway: it is taken, what it denies is denied to the other user and to the owner,
//! and what each role needs stays possible. What the gateway does not evaluate is in the notes, and shown here too.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, BucketVersioningStatus, ChecksumAlgorithm, DefaultRetention,
    ExpirationStatus, LifecycleExpiration, LifecycleRule, LifecycleRuleFilter,
    ObjectLockConfiguration, ObjectLockEnabled, ObjectLockLegalHold, ObjectLockLegalHoldStatus,
    ObjectLockMode, ObjectLockRetention, ObjectLockRetentionMode, ObjectLockRule,
    VersioningConfiguration,
};
use runpack_core::store::s3::{LockMode, S3Store};
use runpack_enterprise::policy::{
    Dialect, Inputs, LintCode, Observed, PolicyInput, PrincipalArn, Severity, StatementKind,
    generate, lint,
};
use runpack_enterprise::prove::{Attempt, Result as Outcome, Verdict, prove};
use runpack_enterprise::retention::RetainFor;
use runpack_testing::block_on;
use runpack_testing::servers::{BucketKind, Kind, Server, TestBucket, shared};

use crate::support::{MachineClock, PLACE};

const ALT: &str = "arn:aws:iam:::user/alt";
const OWNER: &str = "arn:aws:iam:::user/main";
const DENIED: Result<(), &str> = Err("AccessDenied");

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum User {
    Owner,
    Alt,
}

const BOTH: [User; 2] = [User::Owner, User::Alt];

/// A bucket under a policy, and both users at it.
struct Bench {
    bucket: TestBucket,
    server: Server,
}

impl Bench {
    async fn new() -> Self {
        let server = shared(Kind::Ceph);
        Self {
            bucket: server.bucket(BucketKind::Locked).await,
            server,
        }
    }

    fn input(&self, statements: &[StatementKind]) -> PolicyInput {
        let mut input = PolicyInput::new(self.bucket.name.parse().unwrap(), Dialect::Ceph);
        input.statements = statements.iter().copied().collect();
        input.writers = vec![principal(ALT)];
        input
    }

    async fn set(&self, input: &PolicyInput) {
        let policy = generate(input).document.to_string();
        self.bucket.set_policy_raw(&policy).await;
    }

    fn client(&self, user: User) -> Client {
        let server = &self.server;
        let (access, secret) = match user {
            User::Owner => (&server.access_key, &server.secret_key),
            User::Alt => (
                server.alt_access_key.as_ref().unwrap(),
                server.alt_secret_key.as_ref().unwrap(),
            ),
        };
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .credentials_provider(Credentials::new(access, secret, None, None, "test"))
            .endpoint_url(&server.endpoint)
            .region(Region::new(server.region.clone()))
            .force_path_style(true)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .build();
        Client::from_conf(config)
    }

    async fn put(&self, user: User, key: &str) -> Result<String, String> {
        let put = self
            .client(user)
            .put_object()
            .bucket(&self.bucket.name)
            .key(key);
        let put = put.checksum_algorithm(ChecksumAlgorithm::Sha256);
        answer(put.body(ByteStream::from_static(b"evidence")).send().await)
            .map(|put| put.version_id.unwrap())
    }

    /// Writes with a lock in governance mode.
    async fn put_locked(&self, user: User, key: &str, days: u32) -> Result<String, String> {
        let put = self
            .client(user)
            .put_object()
            .bucket(&self.bucket.name)
            .key(key);
        let put = put
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .object_lock_mode(ObjectLockMode::Governance)
            .object_lock_retain_until_date(in_days(days));
        answer(put.body(ByteStream::from_static(b"evidence")).send().await)
            .map(|put| put.version_id.unwrap())
    }

    async fn get(&self, user: User, key: &str) -> Result<(), String> {
        let get = self
            .client(user)
            .get_object()
            .bucket(&self.bucket.name)
            .key(key);
        answer(get.send().await).map(|_| ())
    }

    async fn hide(&self, user: User, key: &str) -> Result<(), String> {
        let delete = self
            .client(user)
            .delete_object()
            .bucket(&self.bucket.name)
            .key(key);
        answer(delete.send().await).map(|_| ())
    }

    async fn delete(&self, user: User, key: &str, version: &str) -> Result<(), String> {
        let delete = self
            .client(user)
            .delete_object()
            .bucket(&self.bucket.name)
            .key(key);
        answer(delete.version_id(version).send().await).map(|_| ())
    }

    async fn bypass(&self, user: User, key: &str, version: &str) -> Result<(), String> {
        let delete = self
            .client(user)
            .delete_object()
            .bucket(&self.bucket.name)
            .key(key);
        let delete = delete.version_id(version).bypass_governance_retention(true);
        answer(delete.send().await).map(|_| ())
    }

    async fn retain(&self, user: User, key: &str, version: &str, days: u32) -> Result<(), String> {
        let retention = ObjectLockRetention::builder()
            .mode(ObjectLockRetentionMode::Governance)
            .retain_until_date(in_days(days))
            .build();
        let set = self
            .client(user)
            .put_object_retention()
            .bucket(&self.bucket.name)
            .key(key);
        answer(set.version_id(version).retention(retention).send().await).map(|_| ())
    }

    async fn hold(
        &self,
        user: User,
        key: &str,
        version: &str,
        status: ObjectLockLegalHoldStatus,
    ) -> Result<(), String> {
        let hold = ObjectLockLegalHold::builder().status(status).build();
        let set = self
            .client(user)
            .put_object_legal_hold()
            .bucket(&self.bucket.name)
            .key(key);
        answer(set.version_id(version).legal_hold(hold).send().await).map(|_| ())
    }

    async fn suspend_versions(&self, user: User) -> Result<(), String> {
        let status = BucketVersioningStatus::Suspended;
        let versioning = VersioningConfiguration::builder().status(status).build();
        let set = self
            .client(user)
            .put_bucket_versioning()
            .bucket(&self.bucket.name);
        answer(set.versioning_configuration(versioning).send().await).map(|_| ())
    }

    async fn expire_all(&self, user: User) -> Result<(), String> {
        let rule = LifecycleRule::builder()
            .id("all")
            .status(ExpirationStatus::Enabled)
            .filter(LifecycleRuleFilter::builder().prefix("").build())
            .expiration(LifecycleExpiration::builder().days(1).build())
            .build()
            .unwrap();
        let rules = BucketLifecycleConfiguration::builder()
            .rules(rule)
            .build()
            .unwrap();
        let set = self
            .client(user)
            .put_bucket_lifecycle_configuration()
            .bucket(&self.bucket.name);
        let set = set.checksum_algorithm(ChecksumAlgorithm::Sha256);
        answer(set.lifecycle_configuration(rules).send().await).map(|_| ())
    }

    async fn lock_by_default(&self, user: User) -> Result<(), String> {
        let retention = DefaultRetention::builder()
            .mode(ObjectLockRetentionMode::Governance)
            .days(1)
            .build();
        let lock = ObjectLockConfiguration::builder()
            .object_lock_enabled(ObjectLockEnabled::Enabled)
            .rule(
                ObjectLockRule::builder()
                    .default_retention(retention)
                    .build(),
            )
            .build();
        let set = self
            .client(user)
            .put_object_lock_configuration()
            .bucket(&self.bucket.name);
        answer(set.object_lock_configuration(lock).send().await).map(|_| ())
    }

    async fn delete_bucket(&self, user: User) -> Result<(), String> {
        let delete = self.client(user).delete_bucket().bucket(&self.bucket.name);
        answer(delete.send().await).map(|_| ())
    }

    async fn delete_policy(&self, user: User) -> Result<(), String> {
        let delete = self
            .client(user)
            .delete_bucket_policy()
            .bucket(&self.bucket.name);
        answer(delete.send().await).map(|_| ())
    }
}

fn principal(arn: &str) -> PrincipalArn {
    arn.parse().unwrap()
}

/// A day is long: no test waits for one, and no machine is as slow.
fn in_days(days: u32) -> DateTime {
    let days: RetainFor = RetainFor::days(days).unwrap();
    let now = present();
    let until = days.until(now).unwrap();
    DateTime::from_secs(i64::try_from(until.unix_seconds()).unwrap())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a server locks by its own clock, which is the machine's"
)]
fn present() -> runpack_core::time::Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    runpack_core::time::Timestamp::from_unix_seconds(since.unwrap().as_secs()).unwrap()
}

fn answer<T, E, R>(answer: Result<T, SdkError<E, R>>) -> Result<T, String>
where
    SdkError<E, R>: ProvideErrorMetadata + std::error::Error,
{
    answer.map_err(|error| match error.code() {
        Some(code) => code.to_owned(),
        None => DisplayErrorContext(&error).to_string(),
    })
}

/// The same, with the code borrowed for comparing.
fn code<T>(answer: &Result<T, String>) -> Result<(), &str> {
    answer.as_ref().map(|_| ()).map_err(String::as_str)
}

#[test]
fn every_statement_is_taken_or_left_out_with_a_note() {
    block_on(async {
        let bench = Bench::new().await;
        for kind in StatementKind::ALL {
            for prefix in ["", "team/a"] {
                let mut input = bench.input(&[kind]);
                input.path_prefix = prefix.parse().unwrap();
                input.retention_days_min = Some(30);
                bench.set(&input).await;
            }
        }
        let mut all = bench.input(&StatementKind::ALL);
        all.holders = vec![principal(OWNER)];
        all.auditors = vec![principal(ALT)];
        all.cleaners = vec![principal(OWNER)];
        all.administrators = vec![principal(OWNER)];
        bench.set(&all).await;
        let notes = generate(&all).notes;
        for left_out in [
            StatementKind::UnconditionalObjectCreation,
            StatementKind::ShortRetention,
        ] {
            assert!(
                notes.iter().any(|note| note.starts_with(left_out.sid())),
                "{notes:?}"
            );
        }
    });
}

#[test]
fn without_a_deny_the_other_user_can_do_what_it_was_allowed() {
    block_on(async {
        let bench = Bench::new().await;
        bench.set(&bench.input(&[])).await;
        let version = bench.put_locked(User::Alt, "tenant/x", 2).await.unwrap();
        assert_eq!(bench.get(User::Alt, "tenant/x").await, Ok(()));
        assert_eq!(
            bench.retain(User::Alt, "tenant/x", &version, 3).await,
            Ok(())
        );
        // Nothing allows it to delete, and the owner needs no permission.
        assert_eq!(code(&bench.hide(User::Alt, "tenant/x").await), DENIED);
        assert_eq!(
            bench.bypass(User::Owner, "tenant/x", &version).await,
            Ok(())
        );
    });
}

#[test]
fn l05_deletion_is_denied_to_all_but_cleaners_and_probes_can_go() {
    block_on(async {
        let bench = Bench::new().await;
        let mut input = bench.input(&[StatementKind::ObjectDeletion]);
        input.cleaners = Vec::new();
        bench.set(&input).await;
        let version = bench.put(User::Alt, "tenant/x").await.unwrap();
        let probe = bench.put(User::Alt, "_runpack/probe/x").await.unwrap();
        for user in BOTH {
            assert_eq!(
                code(&bench.hide(user, "tenant/x").await),
                DENIED,
                "{user:?}"
            );
            assert_eq!(
                code(&bench.delete(user, "tenant/x", &version).await),
                DENIED,
                "{user:?}"
            );
        }
        assert_eq!(
            bench.delete(User::Owner, "_runpack/probe/x", &probe).await,
            Ok(())
        );
        assert_eq!(bench.get(User::Alt, "tenant/x").await, Ok(()));

        input.cleaners = vec![principal(ALT)];
        bench.set(&input).await;
        assert_eq!(
            code(&bench.delete(User::Owner, "tenant/x", &version).await),
            DENIED
        );
        assert_eq!(bench.delete(User::Alt, "tenant/x", &version).await, Ok(()));
    });
}

#[test]
fn l04_nobody_bypasses_governance() {
    block_on(async {
        let bench = Bench::new().await;
        let mut input = bench.input(&[StatementKind::Bypass]);
        input.cleaners = vec![principal(ALT)];
        bench.set(&input).await;
        let version = bench.put_locked(User::Alt, "tenant/x", 2).await.unwrap();
        for user in BOTH {
            assert_eq!(
                code(&bench.bypass(user, "tenant/x", &version).await),
                DENIED,
                "{user:?}"
            );
        }
        // The control: an unlocked version goes, and without the statement the owner bypasses.
        let unlocked = bench.put(User::Alt, "tenant/y").await.unwrap();
        assert_eq!(bench.delete(User::Alt, "tenant/y", &unlocked).await, Ok(()));
        bench.set(&bench.input(&[])).await;
        assert_eq!(
            bench.bypass(User::Owner, "tenant/x", &version).await,
            Ok(())
        );
    });
}

#[test]
fn l08_holds_are_placed_and_cleared_by_their_holders_alone() {
    block_on(async {
        let bench = Bench::new().await;
        let mut input = bench.input(&[StatementKind::HoldRelease]);
        input.holders = vec![principal(ALT)];
        bench.set(&input).await;
        let version = bench.put(User::Alt, "tenant/x").await.unwrap();
        let (on, off) = (
            ObjectLockLegalHoldStatus::On,
            ObjectLockLegalHoldStatus::Off,
        );
        assert_eq!(
            bench
                .hold(User::Alt, "tenant/x", &version, on.clone())
                .await,
            Ok(())
        );
        // What a proof tries with its canaries is denied to nobody.
        let probe = bench.put(User::Owner, "_runpack/probe/x").await.unwrap();
        for status in [on.clone(), off.clone()] {
            let held = bench.hold(User::Owner, "_runpack/probe/x", &probe, status);
            assert_eq!(held.await, Ok(()));
        }
        for status in [off.clone(), on] {
            assert_eq!(
                code(&bench.hold(User::Owner, "tenant/x", &version, status).await),
                DENIED
            );
        }
        assert_eq!(
            bench.hold(User::Alt, "tenant/x", &version, off).await,
            Ok(())
        );
    });
}

#[test]
fn settings_are_changed_by_administrators_alone() {
    block_on(async {
        let bench = Bench::new().await;
        bench
            .set(&bench.input(&[StatementKind::StoreReconfiguration]))
            .await;
        for user in BOTH {
            assert_eq!(
                code(&bench.suspend_versions(user).await),
                DENIED,
                "{user:?}"
            );
            assert_eq!(code(&bench.expire_all(user).await), DENIED, "{user:?}");
            assert_eq!(code(&bench.lock_by_default(user).await), DENIED, "{user:?}");
            assert_eq!(code(&bench.delete_bucket(user).await), DENIED, "{user:?}");
        }
        let mut input = bench.input(&[StatementKind::StoreReconfiguration]);
        input.administrators = vec![principal(OWNER)];
        bench.set(&input).await;
        assert_eq!(bench.lock_by_default(User::Owner).await, Ok(()));
        assert_eq!(code(&bench.lock_by_default(User::Alt).await), DENIED);
        assert_eq!(code(&bench.delete_policy(User::Alt).await), DENIED);
        // The residual risk that the notes name: no deny binds the owner here.
        input.administrators = vec![principal(ALT)];
        bench.set(&input).await;
        assert_eq!(bench.delete_policy(User::Owner).await, Ok(()));
    });
}

#[test]
fn plain_requests_are_denied_to_everybody_where_that_is_asked_for() {
    block_on(async {
        let bench = Bench::new().await;
        bench.put(User::Owner, "tenant/x").await.unwrap();
        bench
            .set(&bench.input(&[StatementKind::InsecureTransport]))
            .await;
        for user in BOTH {
            assert_eq!(code(&bench.get(user, "tenant/x").await), DENIED, "{user:?}");
            assert_eq!(code(&bench.put(user, "tenant/y").await), DENIED, "{user:?}");
        }
    });
}

/// Why the statement is left out: were it there, it would be taken and never act. If this fails, a newer Ceph
/// understands it, and the generator should use it.
#[test]
fn what_the_notes_say_of_short_retention_and_holds_is_so() {
    block_on(async {
        let bench = Bench::new().await;
        let mut aws = bench.input(&[StatementKind::ShortRetention, StatementKind::HoldRelease]);
        aws.dialect = Dialect::Aws;
        aws.retention_days_min = Some(30);
        aws.holders = vec![principal(OWNER)];
        aws.writers = Vec::new();
        let mut document = generate(&aws).document;
        let allow = bench.input(&[]);
        let allow = generate(&allow).document["Statement"].clone();
        let statements = document["Statement"].as_array_mut().unwrap();
        statements.extend(allow.as_array().unwrap().iter().cloned());
        bench.bucket.set_policy_raw(&document.to_string()).await;
        let version = bench.put(User::Alt, "tenant/x").await.unwrap();
        assert_eq!(
            bench.retain(User::Alt, "tenant/x", &version, 2).await,
            Ok(())
        );
        assert_eq!(
            bench
                .hold(
                    User::Owner,
                    "tenant/x",
                    &version,
                    ObjectLockLegalHoldStatus::Off
                )
                .await,
            Ok(())
        );
    });
}

#[test]
fn the_linter_reads_what_the_gateway_gives_back() {
    block_on(async {
        let bench = Bench::new().await;
        let mut input = bench.input(&StatementKind::ALL);
        input.statements.remove(&StatementKind::InsecureTransport);
        bench.set(&input).await;
        let get = bench
            .client(User::Owner)
            .get_bucket_policy()
            .bucket(&bench.bucket.name);
        let policy = answer(get.send().await).unwrap().policy.unwrap();
        let mut inputs = Inputs::new(
            input.bucket.clone(),
            input.path_prefix.clone(),
            Dialect::Ceph,
        );
        inputs.policy = Observed::Found(policy);
        let findings = lint(&inputs);
        let found = |code: LintCode| findings.iter().find(|finding| finding.code == code);
        assert!(
            found(LintCode::PolicyBypass).is_none()
                && found(LintCode::PolicyVersionDeletion).is_none()
        );
        assert!(found(LintCode::PolicyInsecureTransport).is_some());
        // Nobody was named as an administrator, so the policy itself is open.
        let change = found(LintCode::PolicyChange).unwrap();
        assert_eq!(change.severity, Severity::Medium);
    });
}

#[test]
fn l04_under_every_statement_a_proof_still_proves() {
    block_on(async {
        let bench = Bench::new().await;
        let mut input = bench.input(&StatementKind::ALL);
        input.statements.remove(&StatementKind::InsecureTransport);
        input.holders = vec![principal(ALT)];
        input.cleaners = vec![principal(ALT)];
        bench.set(&input).await;
        let store = S3Store::open(bench.bucket.settings()).await.unwrap();
        let modes = [LockMode::Governance, LockMode::Compliance];
        let proof = prove(&store, PLACE, &modes, &MachineClock, 7)
            .await
            .unwrap();
        for mode in modes {
            assert_eq!(proof.verdict(mode), Verdict::Proven, "{proof:#?}");
        }
        let bypassed = proof.attempts.iter().filter(|tried| {
            tried.mode == Some(LockMode::Governance) && tried.result == Outcome::NotEnforced
        });
        let bypassed: Vec<Attempt> = bypassed.map(|tried| tried.attempt).collect();
        // Ceph 20.2 asks no policy about the bypass of a deletion of many at once.
        assert_eq!(bypassed, [Attempt::BypassDeleteMany]);
        let generated = generate(&input);
        assert!(
            generated
                .notes
                .iter()
                .any(|note| note.contains("many at once")),
            "{:?}",
            generated.notes
        );
    });
}
