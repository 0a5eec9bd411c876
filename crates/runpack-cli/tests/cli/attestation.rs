//! Attestations of storage as an auditor checks them who has only the program that everybody has.

use std::fs;

use runpack_core::attestation::{
    Basis, Bucket, Claim, Expected, LegalHold, Mode, Nonce, Object, Observer, Predicate, Role,
    Store, sign,
};
use runpack_core::key::Location;
use runpack_core::limits::Limits;
use runpack_core::manifest::Manifest;
use runpack_core::sign::SigningKey;

use crate::schema::check;
use crate::support::{Desk, KEY, NO_PACK, text};

fn object(
    place: &Location,
    bytes: u64,
    commitment: runpack_core::digest::Digest,
    role: Role,
) -> Object {
    Object {
        bytes,
        commitment,
        content: Basis::Measured,
        key: place.key().unwrap().to_string(),
        legal_hold: LegalHold::Off,
        lock_basis: Basis::ProviderAsserted,
        mode: Mode::Governance,
        retain_until: Some("2033-11-20T12:00:00Z".parse().unwrap()),
        role,
        shadowed_by: Vec::new(),
        version_id: Some("v1".to_owned()),
    }
}

/// What somebody who locked the pack might have seen.
fn predicate(manifest: &Manifest) -> Predicate {
    let subject = manifest.subject();
    let artifacts = manifest.artifacts().iter().map(|artifact| {
        let place = Location::artifact(subject, artifact.name(), artifact.commitment());
        object(
            &place,
            artifact.bytes(),
            artifact.commitment(),
            Role::Artifact,
        )
    });
    let mut objects: Vec<_> = artifacts.collect();
    let place = Location::manifest(subject);
    let pack_id = manifest.pack_id();
    objects.push(object(
        &place,
        manifest.bytes(),
        *pack_id.digest(),
        Role::Manifest,
    ));
    objects.sort_by(|a, b| a.key.cmp(&b.key));
    Predicate {
        bucket: Bucket {
            default_retention: Claim::not_observed(),
            encryption: Claim::not_observed(),
            lifecycle_sha256: Claim::not_observed(),
            object_lock: Claim::provider_asserted("enabled".to_owned()),
            policy_sha256: Claim::not_observed(),
            replication: Claim::not_observed(),
            versioning: Claim::provider_asserted("enabled".to_owned()),
        },
        enforcement: Claim::not_observed(),
        findings: Vec::new(),
        holds: Claim::not_observed(),
        non_claims: Vec::new(),
        nonce: Nonce::from_bytes([7; 16]),
        observed_at: "2026-11-20T12:00:00Z".parse().unwrap(),
        observer: Observer {
            name: "test".to_owned(),
            operator: None,
            version: "1".to_owned(),
        },
        residual_risks: Vec::new(),
        retained_until: Predicate::least_retention(&objects),
        objects,
        store: Store {
            bucket: "evidence".to_owned(),
            endpoint: "https://s3.example.com".to_owned(),
            expected_owner: None,
            prefix: String::new(),
            region: Claim::not_observed(),
        },
        store_time: Claim::not_observed(),
    }
}

#[test]
fn an_attestation_counts_for_its_pack_and_key_alone() {
    let desk = Desk::with_run();
    let exported = desk.export("");
    let manifest = fs::read(desk.path(text(&exported, "pack")).join("manifest.json")).unwrap();
    desk.write("manifest.json", &manifest);
    let manifest = Manifest::parse(&manifest, &Limits::default()).unwrap();
    let key = SigningKey::from_pem(KEY).unwrap();
    let signed = sign(
        Expected::Manifest(&manifest),
        "pack",
        &predicate(&manifest),
        &key,
    )
    .unwrap();
    let file = signed.to_bytes();
    desk.write("attestation.json", &file);
    let line = "verify-attestation attestation.json --key key.pub.pem";
    let seen = desk.line(&format!("{line} --manifest manifest.json --json"));
    let seen = seen.expect(0).json();
    check("verify-attestation", &seen);
    assert_eq!(seen["mode"], "governance");
    assert_eq!(seen["immutable"], false);
    let id = text(&exported, "pack_id");
    let shown = desk.line(&format!("{line} --pack-id {id}")).expect(0);
    assert!(shown.out.contains("governance until 2033"), "{}", shown.out);
    for wrong in [
        format!("{line} --pack-id {NO_PACK}"),
        "verify-attestation cut.json --key key.pub.pem --manifest manifest.json".to_owned(),
    ] {
        desk.write("cut.json", &file[..file.len() / 2]);
        desk.line(&wrong).expect(1);
    }
    desk.line(line).expect(2);
    desk.line("verify-attestation nothing.json --key key.pub.pem --manifest manifest.json")
        .expect(2);
    desk.line("verify-attestation attestation.json --key key.pem --manifest manifest.json")
        .expect(2);
}
