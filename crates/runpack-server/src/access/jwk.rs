//! Public keys of an issuer, as a JSON Web Key Set ([RFC 7517]).
//!
//! Taken are RSA keys of 2,048 to 8,192 bits and P-256 keys that may check signatures. A key of any other kind is passed
//! over: issuers publish them for others. Invariants: no two keys of a set have one id; a set without a key that can be
//! used is none (threat C20).
//!
//! [RFC 7517]: https://www.rfc-editor.org/rfc/rfc7517

mod known;

use std::collections::{HashMap, HashSet};
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::json::{self, JsonError};

/// Stops a set made to be searched for long.
const KEYS_MAX: usize = 256;
/// A 2,048-bit modulus has so many bytes, the first with its highest bit set.
const MODULUS_BYTES_MIN: usize = 256;
const MODULUS_BYTES_MAX: usize = 1024;
/// What `ring` takes: up to 33 bits.
const EXPONENT_BYTES_MAX: usize = 5;

/// How a token is signed. There are two; a symmetric one is not among them, so that no public key is ever a secret (C10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// RSA, PKCS #1 v1.5, SHA-256.
    Rs256,
    /// ECDSA, P-256, SHA-256.
    Es256,
}

/// No algorithm that is taken.
#[derive(Debug)]
pub(super) struct UnknownAlgorithm;

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        match text {
            "RS256" => Ok(Self::Rs256),
            "ES256" => Ok(Self::Es256),
            _ => Err(UnknownAlgorithm),
        }
    }
}

/// A public key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PublicKey {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// The point, uncompressed.
    P256(Vec<u8>),
}

impl PublicKey {
    /// The one algorithm that it is for.
    pub(super) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa { .. } => Algorithm::Rs256,
            Self::P256(_) => Algorithm::Es256,
        }
    }

    /// Whether its owner signed these bytes.
    pub(super) fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        let verified = match self {
            Self::Rsa { n, e } => RsaPublicKeyComponents { n, e }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                signed,
                signature,
            ),
            Self::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature)
            }
        };
        verified.is_ok()
    }

    /// The key of one member of a set; `None` where it is of no use here.
    fn of(jwk: &Map<String, Value>) -> Option<Self> {
        let text = |name| jwk.get(name).and_then(Value::as_str);
        let bytes = |name| BASE64_URL_SAFE_NO_PAD.decode(text(name)?).ok();
        let is_for_signatures = match jwk.get("use") {
            None => true,
            Some(is_for) => is_for == "sig",
        };
        let may_verify = match jwk.get("key_ops") {
            None => true,
            Some(Value::Array(operations)) => operations.iter().any(|one| one == "verify"),
            Some(_) => false,
        };
        // Whoever publishes the private part has no key any more.
        if !is_for_signatures || !may_verify || jwk.contains_key("d") {
            return None;
        }
        let key = match text("kty")? {
            "RSA" => Self::rsa(bytes("n")?, bytes("e")?)?,
            "EC" if text("crv")? == "P-256" => Self::p256(&bytes("x")?, &bytes("y")?)?,
            _ => return None,
        };
        let is_for_it = match jwk.get("alg") {
            None => true,
            Some(alg) => alg
                .as_str()
                .and_then(|alg| alg.parse::<Algorithm>().ok())
                .is_some_and(|alg| alg == key.algorithm()),
        };
        is_for_it.then_some(key)
    }

    fn rsa(n: Vec<u8>, e: Vec<u8>) -> Option<Self> {
        let is_long_enough = match n.len() {
            ..MODULUS_BYTES_MIN => false,
            MODULUS_BYTES_MIN => n.first().is_some_and(|first| *first >= 0x80),
            _ => n.len() <= MODULUS_BYTES_MAX && n.first() != Some(&0),
        };
        let is_odd = e.last().is_some_and(|last| last % 2 == 1);
        let is_exponent =
            is_odd && e != [1] && e.first() != Some(&0) && e.len() <= EXPONENT_BYTES_MAX;
        (is_long_enough && is_exponent).then_some(Self::Rsa { n, e })
    }

    fn p256(x: &[u8], y: &[u8]) -> Option<Self> {
        (x.len() == 32 && y.len() == 32).then(|| Self::P256([&[4], x, y].concat()))
    }
}

/// The keys of an issuer, by their ids.
#[derive(Debug, Default)]
pub(super) struct KeySet(HashMap<String, Arc<PublicKey>>);

/// Why something is no set of keys.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeySetError {
    #[error(transparent)]
    Json(#[from] JsonError),
    #[error("there are too many keys, keys=`{0}` keys_max=`{KEYS_MAX}`")]
    Many(usize),
    #[error("two keys have one id")]
    DuplicateId,
    #[error("no key in it can be used: RSA of 2048 bits or more, or P-256, with an id")]
    Empty,
}

/// Members that are not known are no concern of ours (RFC 7517, section 5).
#[derive(Deserialize)]
struct Document {
    keys: Vec<Map<String, Value>>,
}

impl KeySet {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, KeySetError> {
        let Document { keys } = json::read(bytes)?;
        if keys.len() > KEYS_MAX {
            return Err(KeySetError::Many(keys.len()));
        }
        let mut usable = HashMap::new();
        let mut ids = HashSet::new();
        for jwk in &keys {
            let Some(kid) = jwk.get("kid").and_then(Value::as_str) else {
                continue;
            };
            // Also of two keys of which we use one: the issuer does not know what it says.
            if !ids.insert(kid) {
                return Err(KeySetError::DuplicateId);
            }
            if let Some(key) = PublicKey::of(jwk) {
                usable.insert(kid.to_owned(), Arc::new(key));
            }
        }
        if usable.is_empty() {
            return Err(KeySetError::Empty);
        }
        Ok(Self(usable))
    }

    pub(super) fn find(&self, kid: &str) -> Option<Arc<PublicKey>> {
        self.0.get(kid).cloned()
    }
}

/// Whether signatures are checked as they should: known ones hold, changed ones do not (threat K03). A library that was
/// built without an algorithm is found out before it is needed.
pub(super) fn works() -> bool {
    known::EXAMPLES.iter().all(|example| {
        let Ok(keys) = KeySet::read(example.keys.as_bytes()) else {
            return false;
        };
        let Ok(signature) = BASE64_URL_SAFE_NO_PAD.decode(example.signature) else {
            return false;
        };
        keys.find("known").is_some_and(|key| {
            key.verifies(example.signed.as_bytes(), &signature)
                && !key.verifies(b"something else", &signature)
        })
    })
}

/// A set with one key, `known`.
#[cfg(test)]
pub(super) fn known_keys() -> KeySet {
    KeySet::read(known::EXAMPLES[0].keys.as_bytes()).unwrap()
}

#[cfg(test)]
mod tests;
