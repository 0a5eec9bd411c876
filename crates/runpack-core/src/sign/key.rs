//! Keys as PEM: SPKI to verify, PKCS#8 to sign. P-256 and nothing else.
//!
//! Private keys stay inside [`SigningKey`], are wiped when dropped, and are never printed (K01).

use std::fmt;

use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::ecdsa::{self, Signature};
use p256::pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, Document, EncodePublicKey as _, SecretDocument,
};

use super::{SignError, Signer};
use crate::digest::Digest;

/// A public key that is trusted.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    key: ecdsa::VerifyingKey,
    key_id: Digest,
}

/// A private key.
#[derive(Clone)]
pub struct SigningKey {
    key: ecdsa::SigningKey,
    public_key: VerifyingKey,
}

/// Why a text is not the key that is needed. No part of the text is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not PEM.
    #[error("not a PEM file: it starts with -----BEGIN and ends with -----END")]
    Pem,
    /// A private key where a public one is needed.
    #[error("this is a private key; give its public key: `openssl pkey -in KEY.pem -pubout`")]
    NotPublic,
    /// A public key where a private one is needed.
    #[error("this is a public key; signing needs the private key that belongs to it")]
    NotPrivate,
    /// An encrypted private key.
    #[error(
        "this private key is encrypted, which is not supported; decrypt it for signing: `openssl pkcs8 -in KEY.pem -out PLAIN.pem`"
    )]
    Encrypted,
    /// A private key in the older form of SEC 1.
    #[error(
        "this private key is not PKCS#8; convert it: `openssl pkcs8 -topk8 -nocrypt -in KEY.pem -out KEY.pkcs8.pem`"
    )]
    Sec1,
    /// Another kind of PEM.
    #[error("this PEM file holds no key in SPKI or PKCS#8 form")]
    Label,
    /// Another algorithm, curve or form.
    #[error(
        "not a P-256 key in its usual form; make one: `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out KEY.pem`"
    )]
    Unsupported,
}

impl VerifyingKey {
    /// Reads a public key, SPKI in PEM.
    ///
    /// # Errors
    /// It is something else; the error says what to do.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        // Never the text of what may be a private key: the label alone decides.
        match label(pem)? {
            "PUBLIC KEY" => {}
            "PRIVATE KEY" | "EC PRIVATE KEY" | "ENCRYPTED PRIVATE KEY" => {
                return Err(KeyError::NotPublic);
            }
            _ => return Err(KeyError::Label),
        }
        let (_, spki) = Document::from_pem(pem).map_err(|_| KeyError::Pem)?;
        let key = ecdsa::VerifyingKey::from_public_key_der(spki.as_bytes())
            .map_err(|_| KeyError::Unsupported)?;
        let known = Self::of(key)?;
        // A key has one spelling, so that its id has one: the point is not compressed.
        if known.key_id == Digest::of(spki.as_bytes()) {
            Ok(known)
        } else {
            Err(KeyError::Unsupported)
        }
    }

    fn of(key: ecdsa::VerifyingKey) -> Result<Self, KeyError> {
        let spki = key.to_public_key_der().map_err(|_| KeyError::Unsupported)?;
        Ok(Self {
            key,
            key_id: Digest::of(spki.as_bytes()),
        })
    }

    /// The SHA-256 of the key's SPKI in DER.
    pub fn key_id(&self) -> Digest {
        self.key_id
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        self.key.verify(message, signature).is_ok()
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Reads a private key, PKCS#8 in PEM, not encrypted.
    ///
    /// # Errors
    /// It is something else; the error says what to do.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        match label(pem)? {
            "PRIVATE KEY" => {}
            "PUBLIC KEY" => return Err(KeyError::NotPrivate),
            "EC PRIVATE KEY" => return Err(KeyError::Sec1),
            "ENCRYPTED PRIVATE KEY"
            | "ENCRYPTED SIGSTORE PRIVATE KEY"
            | "ENCRYPTED COSIGN PRIVATE KEY" => return Err(KeyError::Encrypted),
            _ => return Err(KeyError::Label),
        }
        let (_, pkcs8) = SecretDocument::from_pem(pem).map_err(|_| KeyError::Pem)?;
        Self::from_pkcs8_der(pkcs8.as_bytes())
    }

    /// Reads a private key, PKCS#8 in DER, not encrypted. The caller wipes the bytes.
    ///
    /// # Errors
    /// It is not a P-256 key.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        let key = ecdsa::SigningKey::from_pkcs8_der(der).map_err(|_| KeyError::Unsupported)?;
        let public_key = VerifyingKey::of(*key.verifying_key())?;
        Ok(Self { key, public_key })
    }
}

impl Signer for SigningKey {
    /// Deterministic (RFC 6979): the same message gives the same signature.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature: Signature = self
            .key
            .try_sign(message)
            .map_err(|error| SignError::Signer(Box::new(error)))?;
        Ok(signature.normalize_s().to_der().as_bytes().to_vec())
    }

    fn public_key(&self) -> VerifyingKey {
        self.public_key.clone()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("public_key", &self.public_key)
            .finish_non_exhaustive()
    }
}

/// What the PEM says it holds.
fn label(pem: &str) -> Result<&str, KeyError> {
    let (_, rest) = pem.split_once("-----BEGIN ").ok_or(KeyError::Pem)?;
    let (label, _) = rest.split_once("-----").ok_or(KeyError::Pem)?;
    Ok(label)
}
