//! Sigstore's own verifier (the crate `sigstore-verify`) as a witness: it takes our file with nothing
//! but a public key. Hashing and ECDSA are lent to it from `ring`, so that no second library has to be
//! built; what it parses, encodes and compares is its own.

use std::sync::Once;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, signature};
use runpack_core::sign::{Envelope, Signer as _, Statement};
use serde_json::{Value, json};
use sigstore_crypto::error::{Error, Result};
use sigstore_crypto::{CryptoProvider, HashContext, SigningScheme, install_default_provider};
use sigstore_trust_root::TrustedRoot;
use sigstore_types::{Bundle, DerPublicKey, HashAlgorithm};
use sigstore_verify::{PublicKeyVerificationPolicy, Verifier};

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

    fn verify_prehashed(
        &self,
        scheme: SigningScheme,
        _: &[u8],
        _: &[u8],
        _: &[u8],
    ) -> Result<()> {
        panic!("a statement is never signed by its digest: {scheme:?}");
    }
}

fn trusted_root() -> TrustedRoot {
    let empty = json!({
        "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "tlogs": [], "certificateAuthorities": [], "ctlogs": [], "timestampAuthorities": []
    });
    TrustedRoot::from_json(&empty.to_string()).unwrap()
}

/// The SPKI of a public key that `openssl pkey` can write, as PEM.
fn public_pem() -> String {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    let mut openssl = Command::new("openssl")
        .args(["pkey", "-pubout"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl is needed for this test");
    let mut input = openssl.stdin.take().unwrap();
    input.write_all(include_bytes!("key.pem")).unwrap();
    drop(input);
    String::from_utf8(openssl.wait_with_output().unwrap().stdout).unwrap()
}

fn judged(file: &[u8], blob: &[u8]) -> std::result::Result<(), String> {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| assert!(install_default_provider(&Ring).is_ok()));
    let bundle = Bundle::from_json(std::str::from_utf8(file).unwrap())
        .map_err(|error| error.to_string())?;
    let key = DerPublicKey::from_pem(&public_pem()).unwrap();
    let policy = PublicKeyVerificationPolicy::new(key).skip_tlog_unsafe();
    Verifier::new(&trusted_root())
        .unwrap()
        .verify(blob, &bundle, &policy)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

#[test]
fn sigstores_verifier_takes_an_attestation() {
    let manifest = sample::manifest().to_bytes();
    let file = sample::attested().to_bytes();
    assert_eq!(judged(&file, &manifest), Ok(()));
    assert!(judged(&file, b"another manifest").is_err());
    let mut changed: Value = serde_json::from_slice(&file).unwrap();
    let payload = changed["dsseEnvelope"]["payload"].as_str().unwrap();
    let payload = STANDARD.decode(payload).unwrap();
    let longer = String::from_utf8(payload)
        .unwrap()
        .replacen("2033", "2034", 1);
    changed["dsseEnvelope"]["payload"] = STANDARD.encode(longer).into();
    assert!(judged(changed.to_string().as_bytes(), &manifest).is_err());
}

#[test]
fn l13_sigstores_verifier_refuses_what_others_signed() {
    let other = runpack_core::sign::SigningKey::from_pem(include_str!("other.pem")).unwrap();
    let statement = sample::attested().envelope().statement().clone();
    let statement = Statement::parse(statement.payload()).unwrap();
    let envelope = Envelope::sign(&statement, &other).unwrap();
    let bundle = runpack_core::sign::bundle::SigstoreBundle::new(envelope, &other.public_key());
    let manifest = sample::manifest().to_bytes();
    assert!(judged(&bundle.unwrap().to_bytes(), &manifest).is_err());
}
