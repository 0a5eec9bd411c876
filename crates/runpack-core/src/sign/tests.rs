//! Signatures that count, signatures that do not, and OpenSSL as a witness in both directions.

#![expect(clippy::string_slice, reason = "the texts are ASCII")]

use std::fs;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::Signature;
use p256::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, LineEnding};
use serde_json::{Value, json};

use super::*;

/// The scalar of the key that signs here.
const SCALAR: [u8; 32] = *b"a scalar for tests and no secret";

/// Private and public key of a scalar.
fn pem_of(scalar: [u8; 32]) -> (String, String) {
    let secret = p256::SecretKey::from_slice(&scalar).unwrap();
    let public = secret.public_key();
    (
        secret.to_pkcs8_pem(LineEnding::LF).unwrap().to_string(),
        public.to_public_key_pem(LineEnding::LF).unwrap(),
    )
}

fn private_pem() -> String {
    pem_of(SCALAR).0
}

fn public_pem() -> String {
    pem_of(SCALAR).1
}

const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

fn key() -> SigningKey {
    SigningKey::from_pem(&private_pem()).unwrap()
}

fn trusted() -> VerifyingKey {
    VerifyingKey::from_pem(&public_pem()).unwrap()
}

fn pack() -> PackId {
    PackId::of(b"a manifest")
}

fn signed() -> Value {
    let envelope = sign(pack(), "pack", &key()).unwrap();
    serde_json::from_slice(&envelope.to_bytes()).unwrap()
}

fn judged(envelope: &Value) -> Result<(), SignatureError> {
    judged_bytes(envelope.to_string().as_bytes())
}

fn judged_bytes(envelope: &[u8]) -> Result<(), SignatureError> {
    Envelope::parse(envelope)?.verify(&trusted(), pack())
}

fn statement() -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "pack", "digest": {"sha256": pack().digest().to_string()}}],
        "predicateType": "urn:runpack:pack:v1",
        "predicate": {"format": "runpack/v1"},
    })
}

fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    );
    [head.as_bytes(), payload].concat()
}

/// An envelope around any payload, soundly signed.
fn around(payload: &[u8]) -> Value {
    enveloped(payload, &key().sign(&pae(PAYLOAD_TYPE, payload)).unwrap())
}

fn enveloped(payload: &[u8], der: &[u8]) -> Value {
    json!({
        "payload": STANDARD.encode(payload),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"sig": STANDARD.encode(der)}],
    })
}

/// The DER of the only signature, changed.
fn with_der(change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Value {
    let mut envelope = signed();
    let der = STANDARD
        .decode(envelope["signatures"][0]["sig"].as_str().unwrap())
        .unwrap();
    envelope["signatures"][0]["sig"] = STANDARD.encode(change(der)).into();
    envelope
}

fn is_schema(result: &Result<(), SignatureError>) -> bool {
    matches!(result, Err(SignatureError::Schema(_)))
}

#[test]
fn what_is_signed_verifies_and_has_one_spelling() {
    let envelope = sign(pack(), "pack", &key()).unwrap();
    let bytes = envelope.to_bytes();
    let parsed = Envelope::parse(&bytes).unwrap();
    assert_eq!(parsed, envelope);
    assert_eq!(parsed.to_bytes(), bytes);
    assert_eq!(parsed.verify(&trusted(), pack()), Ok(()));
    assert_eq!(parsed.statement().name(), "pack");
    assert_eq!(parsed.statement().predicate_type(), "urn:runpack:pack:v1");
    let id = trusted().key_id().to_string();
    assert_eq!(parsed.key_ids().collect::<Vec<_>>(), [Some(id.as_str())]);
    // Deterministic (RFC 6979).
    assert_eq!(sign(pack(), "pack", &key()).unwrap().to_bytes(), bytes);
    let payload: Value = serde_json::from_slice(parsed.statement().payload()).unwrap();
    assert_eq!(payload, statement());
}

#[test]
fn another_spelling_of_the_json_still_counts() {
    let pretty = serde_json::to_vec_pretty(&signed()).unwrap();
    assert_eq!(judged_bytes(&pretty), Ok(()));
    let mut without_key_id = signed();
    without_key_id["signatures"][0]
        .as_object_mut()
        .unwrap()
        .remove("keyid");
    assert_eq!(judged(&without_key_id), Ok(()));
    let free = json!({"any": [1.5, -2, null, true, {"deep": "er"}]});
    let statement = Statement::with_predicate(pack(), "x", "urn:x", &free).unwrap();
    let envelope = Envelope::sign(&statement, &key()).unwrap();
    assert_eq!(judged_bytes(&envelope.to_bytes()), Ok(()));
}

#[test]
fn b17_the_payload_type_is_signed_and_fixed() {
    let mut other = signed();
    other["payloadType"] = "application/json".into();
    assert!(is_schema(&judged(&other)));

    let payload = statement().to_string().into_bytes();
    for message in [
        payload.clone(),
        pae("application/json", &payload),
        [b"DSSEv1 28 application/vnd.in-toto+json ", &*payload].concat(),
        pae(PAYLOAD_TYPE, STANDARD.encode(&payload).as_bytes()),
    ] {
        let der = key().sign(&message).unwrap();
        assert!(matches!(
            judged(&enveloped(&payload, &der)),
            Err(SignatureError::NotVerified { .. })
        ));
    }
    assert_eq!(judged(&around(&payload)), Ok(()));
}

#[test]
fn b18_signatures_are_counted_once_and_key_ids_prove_nothing() {
    let mut none = signed();
    none["signatures"] = json!([]);
    assert_eq!(judged(&none), Err(SignatureError::Count { found: 0 }));

    let mut twice = signed();
    let mut again = twice["signatures"][0].clone();
    again["keyid"] = "other".into();
    twice["signatures"].as_array_mut().unwrap().push(again);
    assert_eq!(judged(&twice), Err(SignatureError::Duplicate));

    let other = VerifyingKey::from_pem(&pem_of([3; 32]).1).unwrap();
    let mut claimed = signed();
    claimed["signatures"][0]["keyid"] = other.key_id().to_string().into();
    let envelope = Envelope::parse(claimed.to_string().as_bytes()).unwrap();
    assert_eq!(envelope.verify(&trusted(), pack()), Ok(()));
    assert_eq!(
        envelope.verify(&other, pack()),
        Err(SignatureError::NotVerified {
            key_id: other.key_id()
        })
    );

    let mut many = signed();
    many["signatures"] = (0..17u8)
        .map(|n| json!({"sig": STANDARD.encode(key().sign(&[n]).unwrap())}))
        .collect();
    assert_eq!(judged(&many), Err(SignatureError::Count { found: 17 }));
    // One of many is enough, wherever it stands.
    let own = signed()["signatures"][0].clone();
    many["signatures"].as_array_mut().unwrap()[9] = own;
    many["signatures"].as_array_mut().unwrap().pop();
    assert_eq!(judged(&many), Ok(()));
}

#[test]
fn b18_members_of_the_envelope() {
    for (name, change) in [
        ("extra", json!({"extra": 1})),
        ("payload", json!({"payload": 7})),
        ("payload type", json!({"payloadType": null})),
        ("signatures", json!({"signatures": {}})),
        ("text", json!({"signatures": ["x"]})),
        ("no sig", json!({"signatures": [{"keyid": "x"}]})),
        ("null", json!({"signatures": [{"keyid": null, "sig": ""}]})),
        ("more", json!({"signatures": [{"sig": "", "cert": ""}]})),
    ] {
        let mut envelope = signed();
        for (member, value) in change.as_object().unwrap() {
            envelope[member] = value.clone();
        }
        assert!(is_schema(&judged(&envelope)), "{name}");
    }
    for member in ["payload", "payloadType", "signatures"] {
        let mut envelope = signed();
        envelope.as_object_mut().unwrap().remove(member);
        assert!(is_schema(&judged(&envelope)), "{member}");
    }
}

#[test]
fn b01_b02_b07_b08_envelope_and_statement_are_strict_json() {
    let good = signed().to_string();
    let twice = good.replacen('{', "{\"payloadType\":\"application/vnd.in-toto+json\",", 1);
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(16), "]".repeat(16));
    let bomb = "[".repeat(500_000);
    let array = "[\"payload\",\"type\",[]]";
    for bad in [
        "",
        "{}x",
        array,
        "null",
        &twice,
        &deep,
        &bomb,
        &format!("{good}{good}"),
        &format!("\u{feff}{good}"),
    ] {
        let judged = judged_bytes(bad.as_bytes());
        assert!(
            matches!(judged, Err(SignatureError::Json { .. })),
            "{judged:?}"
        );
    }
    let statement = statement().to_string();
    let twice = statement.replacen('{', "{\"predicate\":{},", 1);
    let inside = statement.replacen("\"format\":", "\"format\":1,\"format\":", 1);
    for bad in ["", "[]", &twice, &inside, &deep, &format!("{statement}\0")] {
        let judged = judged(&around(bad.as_bytes()));
        assert!(
            matches!(
                judged,
                Err(SignatureError::Json {
                    part: "statement",
                    ..
                })
            ),
            "{bad}: {judged:?}"
        );
    }
    let large = vec![b' '; ENVELOPE_BYTES_MAX + 1];
    assert_eq!(
        judged_bytes(&large),
        Err(SignatureError::Size {
            bytes_max: ENVELOPE_BYTES_MAX
        })
    );
}

#[test]
fn b20_high_s_and_what_to_do() {
    let high = with_der(|der| {
        let (r, s) = Signature::from_der(&der).unwrap().split_scalars();
        let high = Signature::from_scalars(r, -s).unwrap();
        high.to_der().as_bytes().to_vec()
    });
    assert_eq!(judged(&high), Err(SignatureError::HighS));
    assert!(SignatureError::HighS.to_string().contains("runpack sign"));
    // Also beside a sound one.
    let mut both = signed();
    let bad = high["signatures"][0].clone();
    both["signatures"].as_array_mut().unwrap().push(bad);
    assert_eq!(judged(&both), Err(SignatureError::HighS));
}

#[test]
fn b20_der_has_one_spelling() {
    let order = "00ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551".to_owned();
    let order: Vec<u8> = (0..order.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&order[at..at + 2], 16).unwrap())
        .collect();
    let integer = |value: &[u8]| [&[2, u8::try_from(value.len()).unwrap()], value].concat();
    let sequence = |body: Vec<u8>| [vec![0x30, u8::try_from(body.len()).unwrap()], body].concat();
    let of = |r: &[u8], s: &[u8]| sequence([integer(r), integer(s)].concat());
    let sound = STANDARD
        .decode(signed()["signatures"][0]["sig"].as_str().unwrap())
        .unwrap();
    let body = sound[2..].to_vec();
    let mut cases = vec![
        ("empty", vec![]),
        ("raw", vec![7; 64]),
        ("r zero", of(&[0], &[1])),
        ("s zero", of(&[1], &[0])),
        ("both zero", of(&[0], &[0])),
        ("r is n", of(&order, &[1])),
        ("s is n", of(&[1], &order)),
        ("negative", of(&[0x80], &[1])),
        ("padded", of(&[0, 1], &[1])),
        ("no bytes", of(&[], &[1])),
        ("trailing", [&*sound, &[0]].concat()),
        ("inner trailing", sequence([&*body, &[5, 0]].concat())),
        ("one integer", sequence(integer(&[1]))),
        ("long length", [&[0x30, 0x81, sound[1]], &*body].concat()),
        ("indefinite", [&[0x30, 0x80], &*body, &[0, 0]].concat()),
        ("set", [&[0x31, sound[1]], &*body].concat()),
    ];
    for length in 1..sound.len() {
        cases.push(("truncated", sound[..length].to_vec()));
    }
    for (name, der) in cases {
        assert_eq!(
            judged(&with_der(|_| der)),
            Err(SignatureError::Der),
            "{name}"
        );
    }
    // Every bit of a sound one.
    for at in 0..sound.len() * 8 {
        let mut der = sound.clone();
        der[at / 8] ^= 1 << (at % 8);
        assert!(judged(&with_der(|_| der)).is_err(), "{at}");
    }
}

#[test]
fn b20_base64_has_one_spelling() {
    for member in ["payload", "sig"] {
        let text = |envelope: &Value| -> String {
            let value = match member {
                "sig" => &envelope["signatures"][0]["sig"],
                _ => &envelope["payload"],
            };
            value.as_str().unwrap().to_owned()
        };
        // Long enough to end in padding, so that there are trailing bits.
        let name = (0..3).map(|length| "n".repeat(length)).find(|name| {
            let envelope = sign(pack(), name, &key()).unwrap().to_bytes();
            let envelope = serde_json::from_slice(&envelope).unwrap();
            text(&envelope).ends_with('=')
        });
        let Some(name) = name else {
            assert_eq!(member, "sig");
            continue;
        };
        let envelope = sign(pack(), &name, &key()).unwrap().to_bytes();
        let envelope: Value = serde_json::from_slice(&envelope).unwrap();
        let good = text(&envelope);
        let bare = good.trim_end_matches('=');
        let (head, last) = bare.split_at(bare.len() - 1);
        let next = char::from(last.as_bytes()[0] + 1);
        for bad in [
            bare.to_owned(),
            format!("{good}="),
            format!("{good}\n"),
            format!(" {good}"),
            format!("{head}\n{last}=="),
            good.replacen(last, &next.to_string(), 0) + "====",
            format!("{head}{next}{}", &good[bare.len()..]),
        ] {
            let mut envelope = envelope.clone();
            match member {
                "sig" => envelope["signatures"][0]["sig"] = bad.clone().into(),
                _ => envelope["payload"] = bad.clone().into(),
            }
            assert_eq!(judged(&envelope), Err(SignatureError::Base64), "{bad}");
        }
    }
    let mut url = signed();
    url["payload"] = "_-8=".into();
    assert_eq!(judged(&url), Err(SignatureError::Base64));
}

#[test]
fn b21_only_for_the_pack_that_is_named() {
    let found = PackId::of(b"another manifest");
    let envelope = sign(pack(), "pack", &key()).unwrap();
    assert_eq!(
        envelope.verify(&trusted(), found),
        Err(SignatureError::OtherPack {
            signed: pack(),
            found
        })
    );
    // Not by changing the statement either.
    let changed = statement()
        .to_string()
        .replace(&pack().digest().to_string(), &found.digest().to_string());
    let der = STANDARD
        .decode(signed()["signatures"][0]["sig"].as_str().unwrap())
        .unwrap();
    let envelope = enveloped(changed.as_bytes(), &der).to_string();
    let envelope = Envelope::parse(envelope.as_bytes()).unwrap();
    assert!(matches!(
        envelope.verify(&trusted(), found),
        Err(SignatureError::NotVerified { .. })
    ));
}

#[test]
fn b21_a_statement_is_about_exactly_one_pack() {
    let subject = statement()["subject"][0].clone();
    let hex = pack().digest().to_string();
    let digest = |digest: Value| json!({"subject": [{"name": "x", "digest": digest}]});
    for (name, change) in [
        ("no subject", json!({"subject": []})),
        ("two", json!({"subject": [subject, subject]})),
        ("object", json!({"subject": subject})),
        ("extra", json!({"extra": 1})),
        (
            "type",
            json!({"_type": "https://in-toto.io/Statement/v0.1"}),
        ),
        ("predicate type", json!({"predicateType": 1})),
        ("digest text", digest(hex.clone().into())),
        (
            "digest extra",
            digest(json!({"sha256": hex, "sha512": hex})),
        ),
        ("digest sha1", digest(json!({"sha1": hex}))),
        ("upper", digest(json!({"sha256": hex.to_uppercase()}))),
        ("prefix", digest(json!({"sha256": format!("sha256:{hex}")}))),
        ("short", digest(json!({"sha256": &hex[1..]}))),
        (
            "name",
            json!({"subject": [{"name": null, "digest": {"sha256": hex}}]}),
        ),
        ("no name", json!({"subject": [{"digest": {"sha256": hex}}]})),
        (
            "uri",
            json!({"subject": [{"name": "x", "uri": "x", "digest": {"sha256": hex}}]}),
        ),
    ] {
        let mut statement = statement();
        for (member, value) in change.as_object().unwrap() {
            statement[member] = value.clone();
        }
        assert!(
            is_schema(&judged(&around(statement.to_string().as_bytes()))),
            "{name}"
        );
    }
    for member in ["_type", "subject", "predicateType", "predicate"] {
        let mut statement = statement();
        statement.as_object_mut().unwrap().remove(member);
        assert!(
            is_schema(&judged(&around(statement.to_string().as_bytes()))),
            "{member}"
        );
    }
}

#[test]
fn countersigned_by_another_key_and_not_twice() {
    #[derive(Debug)]
    struct Service {
        key: SigningKey,
        answer: fn(Vec<u8>) -> Vec<u8>,
    }
    impl Signer for Service {
        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
            Ok((self.answer)(self.key.sign(message)?))
        }
        fn public_key(&self) -> VerifyingKey {
            self.key.public_key()
        }
    }
    let service = |answer| Service { key: key(), answer };
    let high = service(|der| {
        let (r, s) = Signature::from_der(&der).unwrap().split_scalars();
        let high = Signature::from_scalars(r, -s).unwrap();
        high.to_der().as_bytes().to_vec()
    });
    let mut envelope = sign(pack(), "pack", &high).unwrap();
    assert_eq!(judged_bytes(&envelope.to_bytes()), Ok(()));
    assert!(matches!(
        envelope.countersign(&key()),
        Err(SignError::SignedAlready)
    ));
    let answers: [fn(Vec<u8>) -> Vec<u8>; 3] = [
        |_| Vec::new(),
        |_| vec![0x30, 6, 2, 1, 1, 2, 1, 1],
        |mut der| {
            der.push(0);
            der
        },
    ];
    for answer in answers {
        let unsound = sign(pack(), "pack", &service(answer));
        assert!(matches!(unsound, Err(SignError::Unsound)));
    }
    let statement = Statement::with_predicate(pack(), "x", "x", &"y".repeat(ENVELOPE_BYTES_MAX));
    let too_large = Envelope::sign(&statement.unwrap(), &key());
    assert!(matches!(too_large, Err(SignError::Size { .. })));
}

#[test]
fn keys_of_another_kind_are_refused_with_what_to_do() {
    let (private, public) = pem_of(SCALAR);
    let wrapped = |label: &str| private.replace("PRIVATE KEY", label);
    for (pem, error) in [
        ("", KeyError::Pem),
        ("-----BEGIN", KeyError::Pem),
        (&public, KeyError::NotPrivate),
        (&wrapped("EC PRIVATE KEY"), KeyError::Sec1),
        (&wrapped("ENCRYPTED PRIVATE KEY"), KeyError::Encrypted),
        (&wrapped("CERTIFICATE"), KeyError::Label),
        (&public.replace("PUBLIC", "PRIVATE"), KeyError::Unsupported),
        (&private.replacen('M', "!", 1), KeyError::Pem),
    ] {
        assert_eq!(SigningKey::from_pem(pem).unwrap_err(), error, "{pem}");
    }
    for (pem, error) in [
        ("", KeyError::Pem),
        (&private, KeyError::NotPublic),
        (
            &public.replace("PUBLIC KEY", "CERTIFICATE"),
            KeyError::Label,
        ),
        (&private.replace("PRIVATE", "PUBLIC"), KeyError::Unsupported),
    ] {
        assert_eq!(VerifyingKey::from_pem(pem).unwrap_err(), error, "{pem}");
    }
    assert_eq!(key().public_key(), trusted());
}

#[test]
fn b19_keys_of_another_curve_are_refused() {
    // RFC 8410, an Ed25519 public key: its points of small order never come to be asked about.
    let ed25519 = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAkxe8rwRZ+cUbBPeRdnuuab/RwArqRuBp3YHDmJGrzuM=\n\
        -----END PUBLIC KEY-----\n";
    assert_eq!(
        VerifyingKey::from_pem(ed25519).unwrap_err(),
        KeyError::Unsupported
    );
}

#[test]
fn k01_no_key_material_in_messages() {
    let private = private_pem();
    let secret: String = private
        .lines()
        .filter(|line| !line.starts_with("--"))
        .collect();
    let decimal = format!("{}, {}, {}", SCALAR[4], SCALAR[5], SCALAR[6]);
    let scalar = crate::digest::Digest::from_bytes(SCALAR).to_string();
    let mut shown = vec![
        format!("{:?}", key()),
        format!("{:#?}", key()),
        format!("{:?}", sign(pack(), "pack", &key())),
    ];
    for label in [
        "EC PRIVATE KEY",
        "ENCRYPTED PRIVATE KEY",
        "JUNK",
        "PUBLIC KEY",
    ] {
        let pem = private.replace("PRIVATE KEY", label);
        let errors = [
            SigningKey::from_pem(&pem).unwrap_err(),
            VerifyingKey::from_pem(&pem).unwrap_err(),
        ];
        shown.extend(errors.iter().map(|error| format!("{error} {error:?}")));
    }
    for shown in shown {
        let shown = shown.to_lowercase();
        assert!(!shown.contains(&scalar[..16]), "{shown}");
        assert!(!shown.contains(&secret[40..56].to_lowercase()), "{shown}");
        assert!(!shown.contains(&decimal), "{shown}");
    }
}

fn openssl(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("openssl is needed for this test");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn openssl_verifies_what_is_signed_here() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let envelope = signed();
    let payload = STANDARD
        .decode(envelope["payload"].as_str().unwrap())
        .unwrap();
    let sig = envelope["signatures"][0]["sig"].as_str().unwrap();
    fs::write(path.join("message"), pae(PAYLOAD_TYPE, &payload)).unwrap();
    fs::write(path.join("sig"), STANDARD.decode(sig).unwrap()).unwrap();
    fs::write(path.join("public.pem"), public_pem()).unwrap();
    let said = openssl(
        path,
        &[
            "dgst",
            "-sha256",
            "-verify",
            "public.pem",
            "-signature",
            "sig",
            "message",
        ],
    );
    assert_eq!(said.trim(), "Verified OK");
    fs::write(path.join("private.pem"), private_pem()).unwrap();
    openssl(
        path,
        &[
            "pkey",
            "-in",
            "private.pem",
            "-pubout",
            "-outform",
            "DER",
            "-out",
            "spki",
        ],
    );
    let spki = fs::read(path.join("spki")).unwrap();
    assert_eq!(crate::digest::Digest::of(&spki), trusted().key_id());
}

#[test]
fn what_openssl_signs_verifies_here_once_s_is_low() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    openssl(
        path,
        &[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-out",
            "key.pem",
        ],
    );
    openssl(
        path,
        &["pkey", "-in", "key.pem", "-pubout", "-out", "public.pem"],
    );
    let fresh = VerifyingKey::from_pem(&fs::read_to_string(path.join("public.pem")).unwrap());
    let fresh = fresh.unwrap();
    let own = SigningKey::from_pem(&fs::read_to_string(path.join("key.pem")).unwrap()).unwrap();
    assert_eq!(own.public_key(), fresh);
    let payload = statement().to_string().into_bytes();
    fs::write(path.join("message"), pae(PAYLOAD_TYPE, &payload)).unwrap();
    let (mut low, mut high) = (0, 0);
    // Half of what OpenSSL signs has a high S: both kinds come soon.
    for _ in 0..64 {
        openssl(
            path,
            &[
                "dgst", "-sha256", "-sign", "key.pem", "-out", "sig", "message",
            ],
        );
        let der = fs::read(path.join("sig")).unwrap();
        let envelope = enveloped(&payload, &der).to_string();
        match Envelope::parse(envelope.as_bytes()) {
            Ok(envelope) => {
                assert_eq!(envelope.verify(&fresh, pack()), Ok(()));
                low += 1;
            }
            Err(error) => {
                assert_eq!(error, SignatureError::HighS);
                let der = signature::normalized(&der).unwrap().to_der();
                let envelope = enveloped(&payload, der.as_bytes()).to_string();
                let envelope = Envelope::parse(envelope.as_bytes()).unwrap();
                assert_eq!(envelope.verify(&fresh, pack()), Ok(()));
                high += 1;
            }
        }
        if low > 0 && high > 0 {
            return;
        }
    }
    panic!("64 signatures of one kind: {low} low, {high} high");
}

#[test]
fn a_compressed_point_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::write(path.join("public.pem"), public_pem()).unwrap();
    openssl(
        path,
        &[
            "ec",
            "-pubin",
            "-in",
            "public.pem",
            "-conv_form",
            "compressed",
            "-out",
            "small.pem",
        ],
    );
    let pem = fs::read_to_string(path.join("small.pem")).unwrap();
    assert_eq!(VerifyingKey::from_pem(&pem), Err(KeyError::Unsupported));
}
