//! Attestations that count, forged and replayed ones that do not, and drift.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::pkcs8::{EncodePrivateKey as _, LineEnding};
use serde_json::{Value, json};

use super::*;
use crate::commitment::Content;
use crate::key::Location;
use crate::limits::Limits;
use crate::manifest::{Artifact, Labels, Producer, Subject as Of};
use crate::sign::SigningKey;
use crate::time::Timestamp;

mod drifts;

fn key_of(scalar: [u8; 32]) -> SigningKey {
    let secret = p256::SecretKey::from_slice(&scalar).unwrap();
    SigningKey::from_pem(&secret.to_pkcs8_pem(LineEnding::LF).unwrap()).unwrap()
}

fn key() -> SigningKey {
    key_of(*b"a scalar for tests and no secret")
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn manifest_of(run: &str, artifacts: usize) -> Manifest {
    let subject = Of::Run {
        tenant: "acme".parse().unwrap(),
        namespace: "prod".parse().unwrap(),
        scenario: "loans".parse().unwrap(),
        run_id: run.parse().unwrap(),
        spec_hash: format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
    };
    let artifacts = (0..artifacts)
        .map(|number| {
            Artifact::new(
                format!("logs/{number:06}.json").parse().unwrap(),
                "log".parse().unwrap(),
                "application/json".parse().unwrap(),
                7,
                Content::Whole(Digest::of(number.to_string().as_bytes())),
            )
            .unwrap()
        })
        .collect();
    let producer = Producer {
        name: "tests".parse().unwrap(),
        version: "1".parse().unwrap(),
    };
    Manifest::new(
        subject,
        at("2026-11-20T12:00:00Z"),
        producer,
        artifacts,
        Labels::new(),
        &Limits::default(),
    )
    .unwrap()
}

fn manifest() -> Manifest {
    manifest_of("run-1", 2)
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
        retain_until: Some(at("2033-11-20T12:00:00Z")),
        role,
        shadowed_by: Vec::new(),
        version_id: Some("v1".to_owned()),
    }
}

fn predicate_of(manifest: &Manifest) -> Predicate {
    let subject = manifest.subject();
    let mut objects: Vec<_> = manifest
        .artifacts()
        .iter()
        .map(|artifact| {
            let commitment = artifact.commitment();
            let place = Location::artifact(subject, artifact.name(), commitment);
            object(&place, artifact.bytes(), commitment, Role::Artifact)
        })
        .collect();
    objects.push(object(
        &Location::manifest(subject),
        manifest.bytes(),
        *manifest.pack_id().digest(),
        Role::Manifest,
    ));
    objects.sort_by(|one, other| one.key.cmp(&other.key));
    let attempt = Attempt {
        answer: Some("403 AccessDenied".to_owned()),
        attempt: "delete-version".to_owned(),
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
            replication: Claim::not_observed(),
            versioning: Claim::measured("enabled".to_owned()),
        },
        enforcement: Claim::measured(Enforcement {
            attempts: vec![attempt],
            proved_at: at("2026-11-20T12:30:00Z"),
            transcript_sha256: Digest::of(b"transcript"),
            verdict: Verdict::Proven,
        }),
        findings: vec![Finding {
            code: "example".to_owned(),
            key: None,
            text: "an umlaut \u{fc}, a tab \t and a \u{1} too".to_owned(),
        }],
        holds: Claim::measured(Holds {
            ledger_head_sha256: Some(Digest::of(b"head")),
            ledger_sequence: 4,
            matters: vec!["case-1".to_owned(), "case-2".to_owned()],
        }),
        non_claims: vec!["legal compliance".to_owned()],
        nonce: Nonce::from_bytes([7; 16]),
        retained_until: Predicate::least_retention(&objects),
        objects,
        observed_at: at("2026-11-20T13:00:00Z"),
        observer: Observer {
            name: "runpack-enterprise".to_owned(),
            operator: Some("records team".to_owned()),
            version: "0.1.0".to_owned(),
        },
        residual_risks: vec!["the account may be closed".to_owned()],
        store: Store {
            bucket: "evidence".to_owned(),
            endpoint: "https://s3.example".to_owned(),
            expected_owner: None,
            prefix: "evidence/".to_owned(),
            region: Claim::configured("eu-1".to_owned()),
        },
        store_time: Claim::measured(at("2026-11-20T13:00:01Z")),
    }
}

fn predicate() -> Predicate {
    predicate_of(&manifest())
}

fn file_of(predicate: &Predicate) -> Vec<u8> {
    let manifest = manifest();
    let bundle = sign(Expected::Manifest(&manifest), "pack", predicate, &key());
    bundle.unwrap().to_bytes()
}

fn judged(file: &[u8]) -> Result<Attestation, AttestationError> {
    let manifest = manifest();
    let trusted = key().public_key();
    let by_id = verify(file, &trusted, Expected::PackId(manifest.pack_id()));
    let by_manifest = verify(file, &trusted, Expected::Manifest(&manifest))?;
    assert_eq!(by_id.unwrap(), by_manifest);
    Ok(by_manifest)
}

/// A sound envelope around a statement that no honest signer would make.
fn signed_anyway(statement: &Statement) -> Vec<u8> {
    let envelope = Envelope::sign_within(statement.clone(), &key(), ATTESTATION_BYTES_MAX).unwrap();
    let bundle = SigstoreBundle::new(envelope, &key().public_key()).unwrap();
    bundle.to_bytes()
}

fn signed_value(predicate: &Value) -> Vec<u8> {
    let pack_id = manifest().pack_id();
    let statement = Statement::with_predicate(pack_id, "pack", PREDICATE_TYPE, predicate);
    signed_anyway(&statement.unwrap())
}

/// Refused by the verifier, and by whoever would sign it.
#[track_caller]
fn is_refused(change: impl FnOnce(&mut Predicate)) -> AttestationError {
    let mut predicate = predicate();
    change(&mut predicate);
    let signed = signed_value(&serde_json::to_value(&predicate).unwrap());
    let manifest = manifest();
    let made = sign(Expected::Manifest(&manifest), "pack", &predicate, &key());
    let refused = judged_by_manifest(&signed).unwrap_err();
    assert_eq!(made.unwrap_err().to_string(), refused.to_string());
    refused
}

fn judged_by_manifest(file: &[u8]) -> Result<Attestation, AttestationError> {
    verify(file, &key().public_key(), Expected::Manifest(&manifest()))
}

#[test]
fn b22_times_that_do_not_fit_are_refused() {
    let refused = is_refused(|predicate| {
        let tested = predicate.enforcement.value.as_mut().unwrap();
        tested.proved_at = at("2026-11-20T13:00:01Z");
    });
    assert!(refused.to_string().contains("proved_at"), "{refused}");
    for far in ["2026-11-20T12:54:59Z", "2026-11-20T13:05:01Z"] {
        let refused = is_refused(|predicate| predicate.store_time = Claim::measured(at(far)));
        assert!(refused.to_string().contains("store_time"), "{refused}");
    }
}

#[test]
fn what_is_attested_verifies_as_bundle_and_as_envelope() {
    let file = file_of(&predicate());
    let attestation = judged(&file).unwrap();
    assert_eq!(*attestation.predicate(), predicate());
    assert_eq!(attestation.pack_id(), manifest().pack_id());
    assert_eq!(attestation.key_id(), key().public_key().key_id());
    let mut bundle = SigstoreBundle::parse(&file, ATTESTATION_BYTES_MAX).unwrap();
    assert_eq!(bundle.to_bytes(), file);
    assert_eq!(bundle.signature(), attestation.signature());
    let bare = judged(&bundle.envelope().to_bytes()).unwrap();
    assert_eq!(bare, attestation);
    bundle.attach_timestamp(vec![1, 2, 3]).unwrap();
    assert!(bundle.attach_timestamp(vec![1, 2, 3]).is_err());
    let stamped = judged(&bundle.to_bytes()).unwrap();
    assert_eq!(stamped.timestamps(), [vec![1, 2, 3]]);
    assert!(predicate().is_immutable());
}

#[test]
fn a_bundle_of_the_whole_pack_is_attested_too() {
    let manifest = manifest();
    let mut predicate = predicate();
    let place = Location::bundle(&manifest).unwrap();
    predicate.objects = vec![object(&place, 99, Digest::of(b"tar"), Role::Bundle)];
    let expected = Expected::Manifest(&manifest);
    let file = sign(expected, "pack", &predicate, &key())
        .unwrap()
        .to_bytes();
    assert!(judged(&file).is_ok());
    let other = manifest_of("run-1", 3);
    let refused = sign(Expected::Manifest(&other), "pack", &predicate, &key());
    assert!(matches!(refused, Err(AttestationError::Object { .. })));
}

#[test]
fn l13_every_field_is_signed() {
    fn leaves(value: &Value, at: String, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                for (name, value) in object {
                    leaves(value, format!("{at}/{name}"), found);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    leaves(item, format!("{at}/{index}"), found);
                }
            }
            _ => found.push(at),
        }
    }
    fn spelled(statement: &Value) -> String {
        let subject = &statement["subject"][0];
        format!(
            "{{\"_type\":{},\"subject\":[{{\"name\":{},\"digest\":{}}}],\"predicateType\":{},\"predicate\":{}}}",
            statement["_type"],
            subject["name"],
            subject["digest"],
            statement["predicateType"],
            statement["predicate"]
        )
    }
    let file: Value = serde_json::from_slice(&file_of(&predicate())).unwrap();
    let payload = file["dsseEnvelope"]["payload"].as_str().unwrap();
    let payload = STANDARD.decode(payload).unwrap();
    let statement: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(spelled(&statement).into_bytes(), payload);
    let mut pointers = Vec::new();
    leaves(&statement, String::new(), &mut pointers);
    assert!(pointers.len() > 60, "{}", pointers.len());
    for pointer in pointers {
        let mut statement = statement.clone();
        let leaf = statement.pointer_mut(&pointer).unwrap();
        *leaf = match &*leaf {
            Value::Number(number) => (number.as_u64().unwrap() + 1).into(),
            Value::String(text) => match text.strip_prefix('0') {
                Some(rest) => format!("1{rest}").into(),
                None => text.replacen(|_| true, "0", 1).into(),
            },
            _ => "x".into(),
        };
        let changed = spelled(&statement).into_bytes();
        assert_ne!(changed, payload, "{pointer}");
        let mut file = file.clone();
        file["dsseEnvelope"]["payload"] = STANDARD.encode(changed).into();
        assert!(
            judged_by_manifest(file.to_string().as_bytes()).is_err(),
            "{pointer}"
        );
    }
}

#[test]
fn l13_not_for_another_pack_or_by_another_key() {
    let file = file_of(&predicate());
    let other = manifest_of("run-2", 2);
    let trusted = key().public_key();
    for expected in [
        Expected::Manifest(&other),
        Expected::PackId(other.pack_id()),
    ] {
        assert!(matches!(
            verify(&file, &trusted, expected),
            Err(AttestationError::Signature(
                SignatureError::OtherPack { .. }
            ))
        ));
    }
    // What was said of one pack, signed again for another.
    let replaced = Statement::with_predicate(other.pack_id(), "x", PREDICATE_TYPE, &predicate());
    let again = signed_anyway(&replaced.unwrap());
    for expected in [
        Expected::Manifest(&other),
        Expected::PackId(other.pack_id()),
    ] {
        assert!(matches!(
            verify(&again, &trusted, expected),
            Err(AttestationError::Object { .. })
        ));
    }
    let stranger = key_of([3; 32]).public_key();
    assert!(matches!(
        verify(&file, &stranger, Expected::Manifest(&manifest())),
        Err(AttestationError::Signature(
            SignatureError::NotVerified { .. }
        ))
    ));
}

#[test]
fn l13_an_attestation_and_a_signature_of_the_pack_stand_for_themselves_alone() {
    let file = file_of(&predicate());
    let bundle = SigstoreBundle::parse(&file, ATTESTATION_BYTES_MAX).unwrap();
    let trusted = key().public_key();
    let pack_id = manifest().pack_id();
    assert!(matches!(
        bundle.envelope().verify(&trusted, pack_id),
        Err(SignatureError::Predicate { found }) if found == PREDICATE_TYPE
    ));
    let of_pack = crate::sign::sign(pack_id, "pack", &key()).unwrap();
    of_pack.verify(&trusted, pack_id).unwrap();
    assert!(matches!(
        judged_by_manifest(&of_pack.to_bytes()),
        Err(AttestationError::Signature(
            SignatureError::Predicate { .. }
        ))
    ));
    for (predicate_type, is_free) in [
        ("urn:runpack:later:v1", false),
        ("https://example.com/free", true),
    ] {
        let statement = Statement::with_predicate(pack_id, "x", predicate_type, &json!({}));
        let envelope = Envelope::sign(&statement.unwrap(), &key()).unwrap();
        assert_eq!(envelope.verify(&trusted, pack_id).is_ok(), is_free);
    }
}

#[test]
fn l13_exactly_one_signature() {
    let file: Value = serde_json::from_slice(&file_of(&predicate())).unwrap();
    let one = file["dsseEnvelope"]["signatures"][0].clone();
    let statement = STANDARD.decode(file["dsseEnvelope"]["payload"].as_str().unwrap());
    let statement = Statement::parse(&statement.unwrap()).unwrap();
    let mut two = Envelope::sign(&statement, &key()).unwrap();
    two.countersign(&key_of([3; 32])).unwrap();
    let two: Value = serde_json::from_slice(&two.to_bytes()).unwrap();
    for signatures in [json!([]), json!([one, one]), two["signatures"].clone()] {
        let mut bundle = file.clone();
        bundle["dsseEnvelope"]["signatures"] = signatures;
        for file in [&bundle, &bundle["dsseEnvelope"]] {
            assert!(judged_by_manifest(file.to_string().as_bytes()).is_err());
        }
    }
    assert!(matches!(
        judged_by_manifest(two.to_string().as_bytes()),
        Err(AttestationError::Signatures { found: 2 })
    ));
}

type Change = fn(&mut Predicate);

#[test]
fn l13_exactly_the_objects_of_the_pack() {
    let fault = |error: AttestationError| match error {
        AttestationError::Object { fault, .. } | AttestationError::Contradiction(fault) => fault,
        AttestationError::Missing { .. } => "missing",
        other => panic!("{other}"),
    };
    let cases: [(&str, Change, &str); 10] = [
        ("missing", |p| drop(p.objects.remove(0)), "missing"),
        (
            "no manifest",
            |p| p.objects.retain(|object| object.role != Role::Manifest),
            "not exactly one object is the manifest or a bundle",
        ),
        (
            "two manifests",
            |p| p.objects[0].role = Role::Manifest,
            "not exactly one object is the manifest or a bundle",
        ),
        (
            "other bytes",
            |p| p.objects[0].commitment = Digest::of(b"x"),
            "not the place of an artifact of this pack",
        ),
        (
            "other size",
            |p| p.objects[0].bytes += 1,
            "not as the manifest says",
        ),
        (
            "other tenant",
            |p| p.objects[0].key = p.objects[0].key.replace("acme", "aaaa"),
            "not the place of an artifact of this pack",
        ),
        (
            "foreign",
            |p| {
                let mut more = p.objects[1].clone();
                more.key.push('z');
                p.objects.insert(2, more);
            },
            "no artifact of the manifest lies there",
        ),
        (
            "order",
            |p| p.objects.swap(0, 1),
            "`objects` are not sorted by key, each once",
        ),
        (
            "twice",
            |p| p.objects.insert(0, p.objects[0].clone()),
            "`objects` are not sorted by key, each once",
        ),
        (
            "manifest's size",
            |p| p.objects[2].bytes += 1,
            "not as the manifest says",
        ),
    ];
    for (name, change, expected) in cases {
        assert_eq!(fault(is_refused(change)), expected, "{name}");
    }
}

#[test]
fn l07_the_summary_follows_from_what_was_seen() {
    let later = Some(at("2034-01-01T00:00:00Z"));
    is_refused(|p| p.retained_until = later);
    is_refused(|p| p.retained_until = None);
    is_refused(|p| p.objects[0].retain_until = Some(at("2027-01-01T00:00:00Z")));
    is_refused(|p| p.objects[0].mode = Mode::None);
    is_refused(|p| p.objects[0].retain_until = None);
    is_refused(|p| p.objects[0].lock_basis = Basis::NotObserved);
    is_refused(|p| p.objects[0].mode = Mode::NotObserved);
    is_refused(|p| p.bucket.object_lock.basis = Basis::NotObserved);
    is_refused(|p| p.holds.value.as_mut().unwrap().matters.swap(0, 1));
    let tested = |change: fn(&mut Enforcement)| {
        is_refused(|p| change(p.enforcement.value.as_mut().unwrap()));
    };
    tested(|tested| tested.verdict = Verdict::NotEnforced);
    tested(|tested| tested.attempts.clear());
    tested(|tested| tested.attempts[0].control = Control::Refused);
    tested(|tested| tested.attempts[0].result = AttemptResult::Succeeded);
    tested(|tested| tested.attempts[0].result = AttemptResult::NotObserved);
    // A shorter lock than was asked for is attested as it is.
    let mut short = predicate();
    let soon = Some(at("2026-12-01T00:00:00Z"));
    for object in &mut short.objects {
        object.retain_until = soon;
    }
    short.retained_until = soon;
    assert_eq!(
        judged(&file_of(&short)).unwrap().predicate.retained_until,
        soon
    );
}

#[test]
fn l04_governance_is_not_immutable() {
    let mut one = predicate();
    one.objects[0].mode = Mode::Governance;
    let attested = judged(&file_of(&one)).unwrap();
    assert!(!attested.predicate().is_immutable());
    assert_eq!(attested.predicate().least_mode(), Some(Mode::Governance));
    let mut unknown = predicate();
    unknown.objects[0].mode = Mode::NotObserved;
    assert_eq!(unknown.least_mode(), None);
    assert!(!unknown.is_immutable());
}

#[test]
fn l11_no_artifact_outlives_its_manifest() {
    let refused = is_refused(|p| p.objects[0].retain_until = Some(at("2034-01-01T00:00:00Z")));
    assert!(
        matches!(refused, AttestationError::Object { .. }),
        "{refused}"
    );
    // Nor where only the pack id is known.
    let mut predicate = predicate();
    predicate.objects[1].retain_until = Some(at("2034-01-01T00:00:00Z"));
    let file = signed_value(&serde_json::to_value(&predicate).unwrap());
    let expected = Expected::PackId(manifest().pack_id());
    assert!(verify(&file, &key().public_key(), expected).is_err());
}

#[test]
fn l13_a_statement_has_one_spelling() {
    let good = serde_json::to_value(predicate()).unwrap();
    assert!(judged(&signed_value(&good)).is_ok());
    let object = &good["objects"][0];
    let as_array: Vec<_> = object.as_object().unwrap().values().cloned().collect();
    for (pointer, value) in [
        ("/more", json!(1)),
        ("/objects/0/more", json!(1)),
        ("/objects/0", as_array.into()),
        ("/objects/0/bytes", json!(7.0)),
        ("/objects/0/mode", json!("COMPLIANCE")),
        ("/objects/0/retain_until", json!("2033-11-20T12:00:00.0Z")),
        ("/observed_at", json!("2026-11-20T13:00:00+00:00")),
        ("/nonce", json!("07")),
        ("/nonce", json!("0x070707070707070707070707070707")),
        ("/store/region/basis", json!("guessed")),
        ("/store/region", json!("eu-1")),
    ] {
        let mut bad = good.clone();
        match pointer.rsplit_once('/').unwrap() {
            (above, "more") => bad.pointer_mut(above).unwrap()["more"] = value,
            _ => *bad.pointer_mut(pointer).unwrap() = value,
        }
        let refused = judged_by_manifest(&signed_value(&bad));
        let is_array = matches!(refused, Err(AttestationError::NotCanonical));
        let is_schema = matches!(refused, Err(AttestationError::Schema(_)));
        assert!(
            if pointer == "/objects/0" {
                is_array
            } else {
                is_schema
            },
            "{pointer}"
        );
    }
    for (name, from, to) in [
        ("twice", "\"nonce\":", "\"nonce\":\"07\",\"nonce\":"),
        ("space", "\"nonce\":", "\"nonce\": "),
        ("escape", "evidence", "\\u0065vidence"),
        ("left out", "\"expected_owner\":null,", ""),
    ] {
        let pack_id = manifest().pack_id();
        let sound = Statement::with_predicate(pack_id, "x", PREDICATE_TYPE, &predicate()).unwrap();
        let text = std::str::from_utf8(sound.payload()).unwrap();
        assert!(text.contains(from), "{name}");
        if let Ok(statement) = Statement::parse(text.replacen(from, to, 1).as_bytes()) {
            let refused = judged_by_manifest(&signed_anyway(&statement));
            assert!(
                matches!(refused, Err(AttestationError::NotCanonical)),
                "{name}"
            );
        } else {
            assert_eq!(name, "twice");
        }
    }
    // The order that the fields are written in is RFC 8785.
    let canonical = serde_json_canonicalizer::to_vec(&predicate()).unwrap();
    assert_eq!(canonical, serde_json::to_vec(&predicate()).unwrap());
}

#[test]
fn a_bundle_is_read_strictly() {
    let file: Value = serde_json::from_slice(&file_of(&predicate())).unwrap();
    let material = "/verificationMaterial";
    let stamps = |stamps: Value| json!({"rfc3161Timestamps": stamps});
    let stamp = json!({"signedTimestamp": "AQID"});
    for (pointer, member, value, is_good) in [
        (material, "tlogEntries", json!([]), true),
        (material, "tlogEntries", json!([{}]), false),
        (
            material,
            "timestampVerificationData",
            stamps(json!([stamp])),
            true,
        ),
        (
            material,
            "timestampVerificationData",
            stamps(json!([stamp, stamp])),
            false,
        ),
        (
            material,
            "timestampVerificationData",
            stamps(json!([{"signedTimestamp": "AQ"}])),
            false,
        ),
        (
            material,
            "timestampVerificationData",
            stamps(json!([{"signedTimestamp": ""}])),
            false,
        ),
        (
            material,
            "timestampVerificationData",
            stamps(json!([{}])),
            false,
        ),
        (material, "certificate", json!({}), false),
        (material, "publicKey", json!({}), false),
        (
            "",
            "mediaType",
            json!("application/vnd.dev.sigstore.bundle+json;version=0.2"),
            false,
        ),
        ("", "messageSignature", json!({}), false),
        ("/dsseEnvelope", "more", json!(1), false),
    ] {
        let mut file = file.clone();
        file.pointer_mut(pointer).unwrap()[member] = value.clone();
        let judged = judged_by_manifest(file.to_string().as_bytes());
        assert_eq!(judged.is_ok(), is_good, "{member} {value}");
    }
    let small = SigstoreBundle::parse(file.to_string().as_bytes(), 99);
    assert_eq!(small, Err(BundleError::Size { bytes_max: 99 }));
}

#[test]
fn a_hundred_thousand_objects_fit() {
    let manifest = manifest_of("run-1", 100_000);
    let predicate = predicate_of(&manifest);
    let expected = Expected::Manifest(&manifest);
    let file = sign(expected, "pack", &predicate, &key())
        .unwrap()
        .to_bytes();
    let attestation = verify(&file, &key().public_key(), expected).unwrap();
    assert_eq!(attestation.predicate().objects.len(), 100_001);
    // And is too large to vouch for a pack.
    assert!(Envelope::parse(&file).is_err());
}
