//! A pack, and what was seen of it in a store.

use runpack_core::attestation::{
    Attempt, AttemptResult, Basis, Bucket, Claim, Control, Enforcement, Expected, Finding, Holds,
    LegalHold, Mode, Nonce, Object, Observer, Predicate, Role, Store, Verdict, sign,
};
use runpack_core::commitment::Content;
use runpack_core::digest::Digest;
use runpack_core::key::Location;
use runpack_core::limits::Limits;
use runpack_core::manifest::{Artifact, Labels, Manifest, Producer, Subject};
use runpack_core::sign::bundle::SigstoreBundle;
use runpack_core::sign::{Signer as _, SigningKey, VerifyingKey};

/// Made by `openssl genpkey` for tests; no secret.
const KEY: &str = include_str!("key.pem");

pub(crate) fn key() -> SigningKey {
    SigningKey::from_pem(KEY).unwrap()
}

pub(crate) fn trusted() -> VerifyingKey {
    key().public_key()
}

pub(crate) fn manifest() -> Manifest {
    let artifacts = ["decisions.json", "logs/run.log"].map(|name| {
        Artifact::new(
            name.parse().unwrap(),
            "log".parse().unwrap(),
            "application/json".parse().unwrap(),
            u64::try_from(name.len()).unwrap(),
            Content::Whole(Digest::of(name.as_bytes())),
        )
        .unwrap()
    });
    let subject = Subject::Run {
        tenant: "acme".parse().unwrap(),
        namespace: "prod".parse().unwrap(),
        scenario: "loan-approval".parse().unwrap(),
        run_id: "run-1".parse().unwrap(),
        spec_hash: format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
    };
    let producer = Producer {
        name: "my-service".parse().unwrap(),
        version: "1.0".parse().unwrap(),
    };
    Manifest::new(
        subject,
        "2026-11-20T12:00:00Z".parse().unwrap(),
        producer,
        artifacts.to_vec(),
        Labels::new(),
        &Limits::default(),
    )
    .unwrap()
}

fn object(place: &Location, bytes: u64, commitment: Digest, role: Role) -> Object {
    Object {
        bytes,
        commitment,
        content: Basis::Measured,
        key: place.key().unwrap().as_str().to_owned(),
        legal_hold: LegalHold::On,
        lock_basis: Basis::Measured,
        mode: Mode::Compliance,
        retain_until: Some("2033-11-20T12:00:00Z".parse().unwrap()),
        role,
        shadowed_by: Vec::new(),
        version_id: Some("3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY".to_owned()),
    }
}

pub(crate) fn predicate() -> Predicate {
    let manifest = manifest();
    let subject = manifest.subject();
    let mut objects = vec![object(
        &Location::manifest(subject),
        manifest.bytes(),
        *manifest.pack_id().digest(),
        Role::Manifest,
    )];
    for artifact in manifest.artifacts() {
        let commitment = artifact.commitment();
        let place = Location::artifact(subject, artifact.name(), commitment);
        objects.push(object(&place, artifact.bytes(), commitment, Role::Artifact));
    }
    objects.sort_by(|one, other| one.key.cmp(&other.key));
    let attempt = |attempt: &str| Attempt {
        answer: Some("403 AccessDenied".to_owned()),
        attempt: attempt.to_owned(),
        control: Control::Allowed,
        result: AttemptResult::Refused,
    };
    Predicate {
        bucket: Bucket {
            default_retention: Claim::measured_absent(),
            encryption: Claim::provider_asserted("AES256".to_owned()),
            lifecycle_sha256: Claim::measured_absent(),
            object_lock: Claim::measured("enabled".to_owned()),
            policy_sha256: Claim::measured(Digest::of(b"policy")),
            replication: Claim::measured_absent(),
            versioning: Claim::measured("enabled".to_owned()),
        },
        enforcement: Claim::measured(Enforcement {
            attempts: vec![attempt("delete-version"), attempt("shorten-retention")],
            proved_at: "2026-11-20T12:30:00Z".parse().unwrap(),
            transcript_sha256: Digest::of(b"transcript"),
            verdict: Verdict::Proven,
        }),
        findings: vec![Finding {
            code: "bucket.no-default-retention".to_owned(),
            key: None,
            text: "objects that others write here are not locked".to_owned(),
        }],
        holds: Claim::measured(Holds {
            ledger_head_sha256: Some(Digest::of(b"head")),
            ledger_sequence: 4,
            matters: vec!["case-2026-17".to_owned()],
        }),
        non_claims: vec!["that any rule is complied with".to_owned()],
        nonce: Nonce::from_bytes([7; 16]),
        retained_until: Predicate::least_retention(&objects),
        objects,
        observed_at: "2026-11-20T13:00:00Z".parse().unwrap(),
        observer: Observer {
            name: "runpack-enterprise".to_owned(),
            operator: Some("records team".to_owned()),
            version: "0.1.0".to_owned(),
        },
        residual_risks: vec!["the account may be closed".to_owned()],
        store: Store {
            bucket: "evidence".to_owned(),
            endpoint: "https://s3.example".to_owned(),
            expected_owner: Some("111122223333".to_owned()),
            prefix: "packs/".to_owned(),
            region: Claim::configured("eu-central-1".to_owned()),
        },
        store_time: Claim::measured("2026-11-20T13:00:01Z".parse().unwrap()),
    }
}

pub(crate) fn attested() -> SigstoreBundle {
    sign(
        Expected::Manifest(&manifest()),
        "run-1",
        &predicate(),
        &key(),
    )
    .unwrap()
}
