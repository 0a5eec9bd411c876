//! Keys that are taken, and all the others.

use ring::signature::{RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RsaPublicKeyComponents};
use serde_json::json;

use super::*;

/// A key of 1,024 bits and what it signed, made with `openssl`.
const SHORT_N: &str = "s-NxyORR1ggH18--D1JM0QcodfWvdmYg-IxtAi7dZP_P0j5AqWHAo23bEbAaxU4POyNTmD0tqWXOA0p11dtqpUmnh9mjqlEUU0rE4FDnqWT3BZg4MlRBgcBpuxlQy9fKLEbAjyslpnY_ayhoS30n6ZFnwtnQRBL0Ho24d0oZc00";
const SHORT_SIGNATURE: &str = "aGmtWBLKWjh1NWG3ZJSHP0EZYlGL_12dQFesVME9NItuXt59w2ih2czDMXIAJoO8PRLSQobKgS-Dj2azZpvVQzTbyQC-l_jNX0vMcyTKn4bYZcU6pgdtXaygS-HBvVuVWtLUAeRo9h5tvAzKawn1fIQ7eoDuhcO_qJ-wek-Mv1Y";
const SHORT_SIGNED: &[u8] = b"signed with a short key";

#[test]
fn k03_this_build_checks_signatures() {
    assert!(works());
}

fn set(keys: &Value) -> Result<KeySet, KeySetError> {
    KeySet::read(json!({"keys": keys}).to_string().as_bytes())
}

fn known(at: usize) -> Value {
    let set: Value = serde_json::from_str(known::EXAMPLES[at].keys).unwrap();
    set["keys"][0].clone()
}

#[test]
fn c20_a_short_key_is_none_though_its_signature_holds() {
    let decode = |text| BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
    let (n, e) = (decode(SHORT_N), vec![1, 0, 1]);
    let holds = RsaPublicKeyComponents { n: &n, e: &e }.verify(
        &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
        SHORT_SIGNED,
        &decode(SHORT_SIGNATURE),
    );
    assert!(holds.is_ok());
    let short = json!({"kid": "short", "kty": "RSA", "n": SHORT_N, "e": "AQAB"});
    assert!(matches!(set(&json!([short])), Err(KeySetError::Empty)));
    let keys = set(&json!([short, known(0)])).unwrap();
    assert!(keys.find("short").is_none() && keys.find("known").is_some());
    // And if it were taken, nothing would verify with it.
    assert!(!PublicKey::Rsa { n, e }.verifies(SHORT_SIGNED, &decode(SHORT_SIGNATURE)));
}

#[test]
fn a_key_that_is_not_for_signatures_of_tokens_is_passed_over() {
    let (rsa, ec) = (known(0), known(1));
    let modulus = BASE64_URL_SAFE_NO_PAD
        .decode(rsa["n"].as_str().unwrap())
        .unwrap();
    let bytes = |bytes: &[u8]| json!(BASE64_URL_SAFE_NO_PAD.encode(bytes));
    let with_zero = [&[0][..], &modulus].concat();
    let one_bit_less = {
        let mut bytes = modulus.clone();
        bytes[0] &= 0x7f;
        bytes
    };
    for (base, member, value) in [
        (&rsa, "use", json!("enc")),
        (&rsa, "use", json!(null)),
        (&rsa, "key_ops", json!(["sign"])),
        (&rsa, "key_ops", json!("verify")),
        (&rsa, "alg", json!("RS512")),
        (&rsa, "alg", json!("ES256")),
        (&rsa, "alg", json!(["RS256"])),
        (&rsa, "kty", json!("oct")),
        (&rsa, "kty", json!("EC")),
        (&rsa, "d", json!("AQAB")),
        (&rsa, "kid", json!(7)),
        (&rsa, "n", bytes(&with_zero)),
        (&rsa, "n", bytes(&one_bit_less)),
        (&rsa, "n", bytes(&[0xff; 1025])),
        (&rsa, "n", json!("not base64")),
        (&rsa, "e", json!("AQ")),
        (&rsa, "e", json!("Ag")),
        (&rsa, "e", json!("AAEAAQ")),
        (&rsa, "e", json!("AQAAAAAB")),
        (&rsa, "e", json!("")),
        (&ec, "crv", json!("P-384")),
        (&ec, "crv", json!("secp256k1")),
        (&ec, "x", bytes(&[1; 31])),
        (&ec, "y", bytes(&[1; 33])),
        (&ec, "alg", json!("RS256")),
        (&ec, "d", json!("AQAB")),
    ] {
        let mut changed = base.clone();
        changed[member] = value.clone();
        let outcome = set(&json!([changed]));
        assert!(
            matches!(outcome, Err(KeySetError::Empty)),
            "{member} {value}"
        );
    }
    for (base, member, value) in [
        (&rsa, "use", json!("sig")),
        (&rsa, "alg", json!("RS256")),
        (&rsa, "key_ops", json!(["verify"])),
        (&rsa, "x5c", json!(["MIIB"])),
        (&rsa, "e", json!("Aw")),
        (&ec, "alg", json!("ES256")),
    ] {
        let mut changed = base.clone();
        changed[member] = value;
        assert!(set(&json!([changed])).unwrap().find("known").is_some());
    }
}

#[test]
fn a_point_that_is_not_on_the_curve_verifies_nothing() {
    let mut point = known(1);
    point["x"] = json!(BASE64_URL_SAFE_NO_PAD.encode([1; 32]));
    let key = set(&json!([point])).unwrap().find("known").unwrap();
    let example = &known::EXAMPLES[1];
    let signature = BASE64_URL_SAFE_NO_PAD.decode(example.signature).unwrap();
    assert!(!key.verifies(example.signed.as_bytes(), &signature));
}

#[test]
fn c20_two_keys_of_one_id_and_too_many_keys_are_no_set() {
    let mut other = known(1);
    other["use"] = json!("enc");
    let outcome = set(&json!([known(0), other]));
    assert!(matches!(outcome, Err(KeySetError::DuplicateId)));
    let many: Vec<_> = (0..=KEYS_MAX)
        .map(|at| {
            let mut key = known(0);
            key["kid"] = json!(at.to_string());
            key
        })
        .collect();
    assert!(set(&json!(many[1..])).is_ok());
    assert!(matches!(set(&json!(many)), Err(KeySetError::Many(257))));
}
