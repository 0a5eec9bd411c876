//! Sigstore's own verifier (the crate `sigstore-verify`) as a witness: it takes our file with a public
//! key, and the time stamp in it with the authority's certificates. A bundle without log entry and time
//! stamp it does not take at all. Hashing and ECDSA are lent to it from `ring`, so that no second library has to be
//! built; what it parses, encodes and compares is its own.

use std::fs;
use std::path::Path;
use std::sync::Once;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, signature};
use runpack_core::sign::{Envelope, SigningKey, Statement};
use serde_json::{Value, json};
use sigstore_crypto::error::{Error, Result};
use sigstore_crypto::{CryptoProvider, HashContext, SigningScheme, install_default_provider};
use sigstore_trust_root::TrustedRoot;
use sigstore_types::{Bundle, DerPublicKey, HashAlgorithm};
use sigstore_verify::{PublicKeyVerificationPolicy, Verifier};

use crate::authority::{run, stamped};
use crate::sample;

#[derive(Debug)]
struct Ring;

struct Stream(digest::Context);

impl HashContext for Stream {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finalize(self: Box<Self>) -> Vec<u8> {
        self.0.finish().as_ref().to_vec()
    }
}

impl CryptoProvider for Ring {
    fn hash(&self, algorithm: HashAlgorithm) -> Result<Box<dyn HashContext>> {
        let algorithm = match algorithm {
            HashAlgorithm::Sha2256 => &digest::SHA256,
            HashAlgorithm::Sha2384 => &digest::SHA384,
            HashAlgorithm::Sha2512 => &digest::SHA512,
            other => return Err(Error::Verification(format!("{other:?}"))),
        };
        Ok(Box::new(Stream(digest::Context::new(algorithm))))
    }

    fn verify_raw(
        &self,
        scheme: SigningScheme,
        key: &[u8],
        data: &[u8],
        signed: &[u8],
    ) -> Result<()> {
        assert_eq!(scheme, SigningScheme::EcdsaP256Sha256);
        signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, key)
            .verify(data, signed)
            .map_err(|_| Error::Verification("ECDSA".to_owned()))
    }

    fn verify_prehashed(&self, scheme: SigningScheme, _: &[u8], _: &[u8], _: &[u8]) -> Result<()> {
        panic!("a statement is never signed by its digest: {scheme:?}");
    }
}

/// Trusts the authority of this directory, and nobody else.
fn trusted_root(directory: &Path) -> TrustedRoot {
    let certificate = |name: &str| {
        let pem = fs::read_to_string(directory.join(name)).unwrap();
        let lines = pem.lines().filter(|line| !line.starts_with("--"));
        json!({"rawBytes": lines.collect::<String>()})
    };
    let chain = json!([certificate("tsa.pem"), certificate("tsa-roots.pem")]);
    let root = json!({
        "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "tlogs": [], "certificateAuthorities": [], "ctlogs": [],
        "timestampAuthorities": [{"certChain": {"certificates": chain}}]
    });
    TrustedRoot::from_json(&root.to_string()).unwrap()
}

fn judged(directory: &Path, file: &[u8], blob: &[u8]) -> std::result::Result<(), String> {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| assert!(install_default_provider(&Ring).is_ok()));
    let bundle =
        Bundle::from_json(std::str::from_utf8(file).unwrap()).map_err(|error| error.to_string())?;
    fs::write(directory.join("key.pem"), include_bytes!("key.pem")).unwrap();
    run(
        directory,
        "openssl pkey -in key.pem -pubout -out public.pem",
    );
    let public = fs::read_to_string(directory.join("public.pem")).unwrap();
    let key = DerPublicKey::from_pem(&public).unwrap();
    let policy = PublicKeyVerificationPolicy::new(key).skip_tlog_unsafe();
    Verifier::new(&trusted_root(directory))
        .unwrap()
        .verify(blob, &bundle, &policy)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

fn without(file: &Value, member: &str) -> Value {
    let mut file = file.clone();
    let material = file["verificationMaterial"].as_object_mut().unwrap();
    material.remove(member).unwrap();
    file
}

#[test]
fn l13_sigstores_verifier_takes_an_attestation_and_no_forged_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let manifest = sample::manifest().to_bytes();
    let file = stamped(path).to_bytes();
    let judge = |file: &Value| judged(path, file.to_string().as_bytes(), &manifest);
    assert_eq!(judged(path, &file, &manifest), Ok(()));
    assert!(judged(path, &file, b"another manifest").is_err());
    let file: Value = serde_json::from_slice(&file).unwrap();
    assert_eq!(judge(&file), Ok(()));
    assert!(judge(&without(&file, "publicKey")).is_err());
    let bare = judge(&without(&file, "timestampVerificationData")).unwrap_err();
    assert!(
        bare.contains("at least one tlog entry or timestamp"),
        "{bare}"
    );

    let mut longer = file.clone();
    let payload = file["dsseEnvelope"]["payload"].as_str().unwrap();
    let payload = String::from_utf8(STANDARD.decode(payload).unwrap()).unwrap();
    let changed = STANDARD.encode(payload.replacen("2033", "2034", 1));
    longer["dsseEnvelope"]["payload"] = changed.into();
    assert!(judge(&longer).is_err());

    // Signed by somebody else, and stamped by an authority that nobody trusts.
    let stranger = SigningKey::from_pem(include_str!("other.pem")).unwrap();
    let statement = Statement::parse(payload.as_bytes()).unwrap();
    let envelope = Envelope::sign(&statement, &stranger).unwrap();
    let mut signed = file.clone();
    signed["dsseEnvelope"] = serde_json::from_slice(&envelope.to_bytes()).unwrap();
    assert!(judge(&signed).is_err());
    let elsewhere = tempfile::tempdir().unwrap();
    let foreign: Value = serde_json::from_slice(&stamped(elsewhere.path()).to_bytes()).unwrap();
    assert!(judge(&foreign).is_err());
}
