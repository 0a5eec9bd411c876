//! Attestations of real storage: made, verified offline, held against the store later, and read by a rule.

use std::process::Command;

use runpack_core::store::s3::LockMode;
use runpack_core::time::Timestamp;
use runpack_testing::block_on;
use runpack_testing::servers::{BucketKind, Bypass, Kind};
use serde_json::Value;

use crate::support::{Desk, RUN};

/// A pack that is locked for a day, with an attestation beside it.
fn attested(mode: &str) -> Desk {
    let desk = Desk::new(Kind::Ceph, BucketKind::Locked);
    desk.configure(&format!("{{mode: {mode}, retain_for: 1d}}"), "");
    desk.export("--yes-irrevocable").expect(0);
    let line = format!("attest create @ {RUN} --signing-key key.pem --out attestation.json");
    let created = desk.json(&line, 0);
    assert_eq!(created["objects"], 3);
    assert_eq!(created["enforcement"], "proven");
    desk
}

fn pack_id(desk: &Desk) -> String {
    let status = desk.line(&format!("lock status @ {RUN} --json"));
    status.json()["pack_id"].as_str().unwrap().to_owned()
}

fn verified(desk: &Desk, more: &str, code: i32) -> Value {
    let id = pack_id(desk);
    let line = format!(
        "attest verify attestation.json --pack-id {id} --trusted-key key.pub.pem {more} --json"
    );
    let said = desk.line(&line).expect(code);
    if code == 0 { said.json() } else { Value::Null }
}

fn kinds(drift: &Value) -> Vec<&str> {
    let list = drift["drift"].as_array().unwrap().iter();
    list.map(|one| one["kind"].as_str().unwrap()).collect()
}

fn drift(desk: &Desk, code: i32) -> Value {
    let line =
        format!("attest drift @ {RUN} --attestation attestation.json --trusted-key key.pub.pem");
    desk.json(&line, code)
}

#[test]
fn what_is_attested_is_verified_offline_and_for_this_pack_alone() {
    let desk = attested("compliance");
    let seen = verified(&desk, "", 0);
    assert_eq!(seen["mode"], "compliance");
    assert_eq!(seen["immutable"], true);
    assert!(seen["retained_until"].is_string());
    // By the manifest, so that no artifact can be missing.
    let id = pack_id(&desk);
    desk.line(&format!("pull {id} pulled --from @")).expect(0);
    let line =
        "attest verify attestation.json --manifest pulled/manifest.json --trusted-key key.pub.pem";
    desk.line(line).expect(0);
    // With the OSS command too.
    let line = format!("verify-attestation attestation.json --key key.pub.pem --pack-id {id}");
    desk.line(&line).expect(0);
    // For another pack, and by another key.
    let other = format!("sha256:{}", "0".repeat(64));
    let line = format!("verify-attestation attestation.json --key key.pub.pem --pack-id {other}");
    desk.line(&line).expect(1);
    let line = format!("verify-attestation attestation.json --key other.pub.pem --pack-id {id}");
    desk.line(&line).expect(1);
    assert_eq!(desk.audited("attest.create").len(), 1);
}

#[test]
fn l13_an_attestation_with_any_byte_changed_does_not_count() {
    let desk = attested("governance");
    let whole = std::fs::read(desk.path("attestation.json")).unwrap();
    let id = pack_id(&desk);
    let verify = |name: &str, bytes: &[u8]| {
        desk.write("changed.json", bytes);
        let line = format!("verify-attestation changed.json --key key.pub.pem --pack-id {id}");
        let code = desk.line(&line).code;
        assert!(matches!(code, Some(1 | 2)), "{name}: {code:?}");
    };
    // Spread over the file: every field of the statement is in it.
    let step = whole.len() / 60;
    for at in (0..whole.len()).step_by(step) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        verify(&format!("byte {at}"), &bytes);
    }
    let text = String::from_utf8(whole).unwrap();
    let bundle: Value = serde_json::from_str(&text).unwrap();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut bundle = bundle.clone();
        change(&mut bundle);
        serde_json::to_vec(&bundle).unwrap()
    };
    let signatures =
        |bundle: &mut Value, of: Vec<Value>| bundle["dsseEnvelope"]["signatures"] = of.into();
    let one = bundle["dsseEnvelope"]["signatures"][0].clone();
    verify(
        "no signature",
        &with(&|bundle| signatures(bundle, Vec::new())),
    );
    verify(
        "twice",
        &with(&|bundle| signatures(bundle, vec![one.clone(), one.clone()])),
    );
}

#[test]
fn l07_l08_drift_is_found_live() {
    let desk = attested("governance");
    assert!(kinds(&drift(&desk, 0)).is_empty());
    let versions = block_on(desk.bucket.versions_raw("tenant/"));
    let (first, second) = (&versions[0], &versions[1]);
    // Shortened by somebody with the right to bypass governance.
    let soon: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let now = soon.unix_seconds().max(now());
    let soon = Timestamp::from_unix_seconds(now + 600).unwrap();
    let shorter = (LockMode::Governance, soon);
    let raw = desk
        .bucket
        .retain_raw(&first.name, &first.version, shorter, Bypass::Governance);
    block_on(raw).unwrap();
    // Hidden by a marker; another one gone for good.
    block_on(desk.bucket.delete_raw(&first.name));
    block_on(desk.bucket.bypass_delete_raw(&second.name, &second.version)).unwrap();
    let found = drift(&desk, 1);
    for kind in ["retention-shortened", "shadowed", "version-gone"] {
        assert!(kinds(&found).contains(&kind), "{kind}: {found}");
    }
    assert_eq!(desk.audited("attest.drift").len(), 2);
}

fn now() -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "locks are compared with the clock of a real server"
    )]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn holds_are_attested_and_their_release_is_drift() {
    let desk = attested("governance");
    let hold = |way: &str| {
        let line = format!("hold {way} @ {RUN} --matter m-1 --signing-key key.pem");
        desk.line(&line).expect(0);
    };
    hold("place");
    std::fs::remove_file(desk.path("attestation.json")).unwrap();
    let line = format!("attest create @ {RUN} --signing-key key.pem --out attestation.json");
    desk.line(&line).expect(0);
    assert!(kinds(&drift(&desk, 0)).is_empty());
    hold("release");
    assert!(kinds(&drift(&desk, 1)).contains(&"hold-removed"));
}

#[test]
fn every_control_of_a_report_points_at_evidence_and_its_basis() {
    let desk = attested("compliance");
    let id = pack_id(&desk);
    for rule in ["sec-17a-4", "finra-4511", "cftc-1-31", "eu-ai-act"] {
        let line = format!(
            "report attestation.json --rule {rule} --pack-id {id} --trusted-key key.pub.pem"
        );
        let report = desk.line(&format!("{line} --as json")).expect(0).json();
        for control in report["controls"].as_array().unwrap() {
            let evidence = &control["evidence"];
            let is_there =
                evidence.as_array().is_some_and(|all| !all.is_empty()) || evidence.is_string();
            assert!(is_there && !control["basis"].is_null(), "{control}");
        }
        let page = desk.line(&line).expect(0).out;
        assert!(
            page.contains("<html") && !page.contains("<script"),
            "{rule}"
        );
        let oscal = desk.line(&format!("{line} --as oscal")).expect(0).json();
        assert!(oscal["assessment-results"]["results"].is_array());
    }
    desk.line(&format!(
        "report attestation.json --rule sec-17a-4 --pack-id {id} --trusted-key other.pub.pem"
    ))
    .expect(1);
}

fn openssl(desk: &Desk, line: &str) {
    let output = Command::new("openssl")
        .args(line.split_whitespace())
        .current_dir(desk.path(""))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn t05_a_time_stamp_is_asked_for_attached_and_verified_offline() {
    let desk = attested("governance");
    // An authority of our own.
    desk.write(
        "tsa.cnf",
        "[req]\ndistinguished_name=dn\n[dn]\n[root]\nbasicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign\n\
         [tsa]\nextendedKeyUsage=critical,timeStamping\nkeyUsage=critical,digitalSignature\n\
         [ts]\ndefault_tsa=t\n[t]\nserial=serial\nsigner_digest=sha256\ndefault_policy=1.2.3.4\ndigests=sha256\ncrypto_device=builtin\n",
    );
    desk.write("serial", "01\n");
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(
        &desk,
        &format!(
            "req -x509 {key} -keyout ca.key -out ca.pem -days 30 -subj /CN=root -config tsa.cnf -extensions root"
        ),
    );
    openssl(
        &desk,
        &format!("req -new {key} -keyout tsa.key -out tsa.csr -subj /CN=tsa -config tsa.cnf"),
    );
    openssl(
        &desk,
        "x509 -req -in tsa.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out tsa.pem -days 30 -extfile tsa.cnf -extensions tsa",
    );
    desk.line("attest stamp attestation.json --request ask.tsq")
        .expect(0);
    openssl(
        &desk,
        "ts -reply -config tsa.cnf -section t -queryfile ask.tsq -inkey tsa.key -signer tsa.pem -chain ca.pem -out answer.tsr",
    );
    desk.line("attest stamp attestation.json --response answer.tsr --out stamped.json")
        .expect(0);
    let id = pack_id(&desk);
    let line = format!(
        "attest verify stamped.json --pack-id {id} --trusted-key key.pub.pem --tsa-roots ca.pem --json"
    );
    let seen = desk.line(&line).expect(0).json();
    assert!(seen["time_stamped_at"].is_string(), "{seen}");
    // Without a stamp, or under another root, it does not count as stamped.
    let line = format!(
        "attest verify attestation.json --pack-id {id} --trusted-key key.pub.pem --tsa-roots ca.pem"
    );
    desk.line(&line).expect(1);
    openssl(
        &desk,
        &format!(
            "req -x509 {key} -keyout other.key -out other.pem -days 30 -subj /CN=other -config tsa.cnf -extensions root"
        ),
    );
    let line = format!(
        "attest verify stamped.json --pack-id {id} --trusted-key key.pub.pem --tsa-roots other.pem"
    );
    desk.line(&line).expect(1);
    // The answer to another attestation is refused.
    let line = format!("attest create @ {RUN} --signing-key key.pem --out second.json");
    desk.line(&line).expect(0);
    desk.line("attest stamp second.json --response answer.tsr --out second-stamped.json")
        .expect(1);
}

#[test]
fn an_encrypted_key_is_opened_by_its_passphrase() {
    let desk = attested("governance");
    openssl(
        &desk,
        "pkcs8 -topk8 -in key.pem -out sealed.pem -passout pass:secret",
    );
    let line = format!("attest create @ {RUN} --signing-key sealed.pem --out sealed.json");
    let refused = desk.line(&line).expect(2);
    assert!(refused.err.contains("passphrase"), "{}", refused.err);
    assert!(!refused.err.contains("secret"));
    let said = desk.line_with(&line, &[("RUNPACK_KEY_PASSPHRASE", "secret")]);
    said.expect(0);
}
