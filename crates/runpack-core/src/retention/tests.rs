//! Tests of retention: policies as tables, plans and their removal over the reference store.

mod applying;
mod failing;
mod interrupted;
mod keeping;
mod random;
mod recording;

use std::sync::Arc;

use super::*;
use crate::digest::Digest;
use crate::id::PackId;
use crate::key::{Location, ObjectKey};
use crate::limits::Limits;
use crate::manifest::{Input, Manifest, Producer, Subject};
use crate::pack::{BytesSource, NewArtifact, PackDraft};
use crate::store::{Housekeeping, MemoryStore, Store};
use crate::time::{Clock, FixedClock, Timestamp};
use crate::verify::tests::{block_on, subject};

const DAY: u64 = 86_400;
const fn days(number: u64) -> u64 {
    number.saturating_mul(DAY)
}

/// When all packs of these tests are made.
const MADE: &str = "2026-01-01T00:00:00Z";

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn policy(name: &str, kept_for: Option<u64>) -> Policy {
    let keep = kept_for.map_or(Keep::Forever, |number| Keep::Seconds(days(number)));
    Policy::new(name.parse().unwrap(), keep).unwrap()
}

fn run(tenant: &str, namespace: &str, scenario: &str) -> Subject {
    Subject::Run {
        tenant: tenant.parse().unwrap(),
        namespace: namespace.parse().unwrap(),
        scenario: scenario.parse().unwrap(),
        run_id: "r".parse().unwrap(),
        spec_hash: crate::id::SpecHash::new(Digest::of(b"")),
    }
}

#[test]
fn the_first_policy_that_matches_counts() {
    let step = Subject::Step {
        tenant: "acme".parse().unwrap(),
        run_id: "r".parse().unwrap(),
        step_id: "s".parse().unwrap(),
    };
    let execution = Subject::Execution {
        execution_id: "01JD3M7Z9X8QWERTYASDFGHJKM".parse().unwrap(),
    };
    let policies = RetentionPolicies::new(vec![
        policy("audited", None).with_scenario(Some("audit".parse().unwrap())),
        policy("ci", Some(30))
            .with_tenant(Some("acme".parse().unwrap()))
            .with_namespace(Some("ci".parse().unwrap())),
        policy("steps", Some(90))
            .with_tenant(Some("acme".parse().unwrap()))
            .with_kind(Some(SubjectKind::Step)),
        policy("benches", Some(60)).with_kind(Some(SubjectKind::Execution)),
        policy("acme", Some(365)).with_tenant(Some("acme".parse().unwrap())),
    ])
    .unwrap();
    for (subject, expected) in [
        (run("acme", "ci", "audit"), Some(("audited", None))),
        (run("acme", "ci", "x"), Some(("ci", Some(30)))),
        (run("acme", "prod", "x"), Some(("acme", Some(365)))),
        (step, Some(("steps", Some(90)))),
        (execution, Some(("benches", Some(60)))),
        (run("globex", "ci", "x"), None),
    ] {
        let expiry = policies.of(&subject, time(MADE));
        let expected_at = expected
            .and_then(|(_, days)| days)
            .map(|number| time(MADE).later(days(number)));
        assert_eq!(
            expiry.policy.map(ToString::to_string).as_deref(),
            expected.map(|(name, _)| name)
        );
        assert_eq!(expiry.expires_at, expected_at, "{subject:?}");
        if let Some(expires_at) = expected_at {
            let before = Timestamp::from_unix_seconds(expires_at.unix_seconds() - 1).unwrap();
            assert!(expiry.has_expired(expires_at) && !expiry.has_expired(before));
        } else {
            assert!(!expiry.has_expired(Timestamp::MAX));
        }
    }
}

#[test]
fn t02_a_time_at_the_end_of_all_times_expires_no_later_and_overflows_nothing() {
    let policies = RetentionPolicies::new(vec![policy("all", Some(365))]).unwrap();
    let expiry = policies.of(&subject("r"), Timestamp::MAX);
    assert_eq!(expiry.expires_at, Some(Timestamp::MAX));
    assert_eq!(Timestamp::MAX.later(u64::MAX), Timestamp::MAX);
    assert_eq!(Timestamp::EPOCH.later(1).unix_seconds(), 1);
}

#[test]
fn what_is_no_policy_is_refused() {
    let name = || "p".parse().unwrap();
    for seconds in [0, 1, 30 * DAY - 1, 365 * DAY + 1, u64::MAX] {
        let refused = Policy::new(name(), Keep::Seconds(seconds));
        assert!(
            matches!(refused, Err(PolicyError::Keep { .. })),
            "{seconds}"
        );
    }
    let twice = RetentionPolicies::new(vec![policy("p", None), policy("p", Some(30))]);
    assert!(matches!(twice, Err(PolicyError::Twice { .. })));
    let many = (0..1_001).map(|at| policy(&format!("p{at}"), None));
    assert_eq!(
        RetentionPolicies::new(many.collect()),
        Err(PolicyError::TooMany)
    );
    let good = RetentionPolicies::new(vec![policy("p", Some(30))]).unwrap();
    let bytes = good.to_bytes();
    assert_eq!(RetentionPolicies::parse(&bytes).unwrap(), good);
    let text = String::from_utf8(bytes).unwrap();
    for (from, to) in [
        ("2592000", "1"),
        ("\"name\"", "\"nam\""),
        (",", ", "),
        ("\"policies\"", "\"more\":1,\"policies\""),
        ("true", "null"),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        assert!(
            RetentionPolicies::parse(changed.as_bytes()).is_err(),
            "{changed}"
        );
    }
}

#[test]
fn the_same_policies_have_one_digest_and_others_another() {
    let of = |policies: Vec<Policy>| RetentionPolicies::new(policies).unwrap();
    let one = of(vec![policy("a", Some(30)), policy("b", None)]);
    let all = [
        one.clone(),
        of(vec![policy("b", None), policy("a", Some(30))]),
        of(vec![policy("a", Some(31)), policy("b", None)]),
        one.clone().letting_inputs_go(),
        one.clone().with_metadata_seconds(1),
    ];
    let digests: std::collections::BTreeSet<_> =
        all.iter().map(RetentionPolicies::digest).collect();
    assert_eq!(digests.len(), all.len());
    assert_eq!(one.digest(), one.clone().digest());
    let canonical = serde_json_canonicalizer::to_vec(&one).unwrap();
    assert_eq!(one.to_bytes(), canonical);
}

/// A store with a clock in the year 2028, and its parts.
#[derive(Debug)]
struct Place {
    memory: MemoryStore,
    store: Arc<dyn Housekeeping>,
    policies: RetentionPolicies,
}

const PLACE: &str = "memory:///";

impl Place {
    fn new(memory: MemoryStore, policies: RetentionPolicies) -> Self {
        memory.pass(time("2028-01-01T00:00:00Z").unix_seconds());
        Self {
            store: Arc::new(memory.clone()),
            memory,
            policies,
        }
    }

    /// All packs for 30 days.
    fn short() -> Self {
        let policies = RetentionPolicies::new(vec![policy("short", Some(30))]).unwrap();
        Self::new(MemoryStore::versioned(), policies)
    }

    async fn pack(&self, run_id: &str, inputs: Vec<Input>) -> Arc<Manifest> {
        self.pack_made(run_id, MADE, inputs).await
    }

    async fn pack_made(&self, run_id: &str, made: &str, inputs: Vec<Input>) -> Arc<Manifest> {
        self.pack_of(subject(run_id), run_id, made, inputs).await
    }

    async fn pack_of(
        &self,
        subject: Subject,
        run_id: &str,
        made: &str,
        inputs: Vec<Input>,
    ) -> Arc<Manifest> {
        let store: Arc<dyn Store> = Arc::new(self.memory.clone());
        let producer = Producer {
            name: "test".parse().unwrap(),
            version: "1".parse().unwrap(),
        };
        let mut draft = PackDraft::new(subject, time(made), producer);
        for name in ["a.log", "b.log"] {
            let source = Arc::new(BytesSource(
                format!("{name} of {run_id}").into_bytes().into(),
            ));
            let (kind, media) = ("data".parse().unwrap(), "a/b".parse().unwrap());
            let mut artifact = NewArtifact::new(name.parse().unwrap(), kind, media, source);
            artifact.inputs.clone_from(&inputs);
            draft.add(artifact);
        }
        let committed = draft.stage(store).await.unwrap().commit().await.unwrap();
        committed.manifest
    }

    /// Leaves nothing of a pack but its bundle.
    fn bundled(&self, pack: &Manifest) {
        let mut bundle = Vec::new();
        let compression = crate::bundle::Compression::Stored;
        let mut writer = crate::bundle::BundleWriter::new(&mut bundle, pack, compression).unwrap();
        for artifact in pack.artifacts() {
            let key = Location::artifact(pack.subject(), artifact.name(), artifact.commitment());
            let bytes = self.memory.snapshot()[key.key().unwrap().as_str()].clone();
            writer.write(&bytes).unwrap();
        }
        writer.finish().unwrap();
        for key in self.keys("tenant/") {
            self.memory.tamper(&key, None);
        }
        let key = Location::bundle(pack).unwrap().key().unwrap();
        self.memory.tamper(key.as_str(), Some(bundle.into()));
    }

    async fn now(&self) -> Timestamp {
        self.memory.now().await.unwrap()
    }

    async fn plan(&self) -> Plan {
        self.plan_of(&self.policies).await
    }

    async fn plan_of(&self, policies: &RetentionPolicies) -> Plan {
        let asked = Asked {
            place: PLACE,
            tenant: None,
            at: None,
            now: self.now().await,
            limits: &Limits::default(),
        };
        make_plan(&self.store, policies, &asked).await.unwrap()
    }

    async fn apply(&self, plan: &Plan) -> Result<(Applied, Vec<String>), RetentionError> {
        let clock = FixedClock(self.now().await);
        self.apply_by(&clock, &self.store, plan).await
    }

    async fn apply_by(
        &self,
        clock: &dyn Clock,
        store: &Arc<dyn Housekeeping>,
        plan: &Plan,
    ) -> Result<(Applied, Vec<String>), RetentionError> {
        let limits = Limits::default();
        let removing = Removing {
            store,
            sink: &self.memory,
            policies: &self.policies,
            place: PLACE,
            by: "tester",
            clock,
            limits: &limits,
        };
        let mut told = Vec::new();
        let mut tell = |removal: &Removal, outcome: &Outcome| {
            let why = match outcome {
                Outcome::Kept(why, ..) => why.as_str(),
                _ => outcome.as_str(),
            };
            told.push(format!("{} {why}", removal.pack_id));
        };
        let applied = removing.apply(plan, &mut tell).await?;
        Ok((applied, told))
    }

    /// The record that is written down under this name, of one removal.
    fn record(&self, name: &str) -> Intent {
        let mut all = self.memory.snapshot().into_iter();
        let (_, bytes) = all.find(|(key, _)| key.ends_with(name)).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    fn keys(&self, start: &str) -> Vec<String> {
        let keys = self.memory.snapshot().into_keys();
        keys.filter(|key| key.starts_with(start)).collect()
    }
}

fn manifest_key(manifest: &Manifest) -> ObjectKey {
    Location::manifest(manifest.subject()).key().unwrap()
}

fn input(of: &Manifest) -> Input {
    let artifact = &of.artifacts()[0];
    Input {
        commitment: artifact.commitment(),
        name: artifact.name().clone(),
        pack: of.pack_id(),
    }
}

fn planned(plan: &Plan) -> Vec<PackId> {
    let mut ids: Vec<_> = plan.removals.iter().map(|one| one.pack_id).collect();
    ids.sort_unstable();
    ids
}

fn kept(plan: &Plan) -> Vec<(String, &'static str)> {
    let kept = plan.kept.iter();
    kept.map(|kept| (kept.key.clone(), kept.why.as_str()))
        .collect()
}
