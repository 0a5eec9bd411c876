//! Keys to sign with: a PEM file, plain or under a passphrase.
//!
//! Invariants: passphrase and key are wiped when dropped and never printed (K01); whoever signs takes a
//! [`Signer`], so a key that never leaves its service does as well:
//!
//! ```
//! use runpack_core::sign::{SignError, Signer, VerifyingKey};
//!
//! /// A key inside a key management service.
//! #[derive(Debug)]
//! struct Kms {
//!     public_key: VerifyingKey,
//!     // client, key id
//! }
//!
//! impl Kms {
//!     fn request(&self, sha256: runpack_core::digest::Digest) -> std::io::Result<Vec<u8>> {
//!         // The service's `Sign` for ECDSA_SHA_256, message type DIGEST: it answers DER of (r, s).
//! #       let _ = sha256;
//! #       Err(std::io::ErrorKind::Unsupported.into())
//!     }
//! }
//!
//! impl Signer for Kms {
//!     fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
//!         let digest = runpack_core::digest::Digest::of(message);
//!         self.request(digest).map_err(|error| SignError::Signer(Box::new(error)))
//!     }
//!
//!     fn public_key(&self) -> VerifyingKey {
//!         self.public_key.clone()
//!     }
//! }
//! ```

use std::fmt;

use pkcs8::der::pem::PemLabel as _;
use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};
use runpack_core::sign::{KeyError, SigningKey};
use zeroize::Zeroizing;

#[cfg(doc)]
use runpack_core::sign::Signer;

/// What opens an encrypted private key.
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Takes the text over; one line feed at its end is no part of it, so that it may come from a file.
    pub fn new(mut text: String) -> Self {
        if text.ends_with('\n') {
            text.pop();
        }
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

/// Why a text is no key to sign with. No part of the text is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignerKeyError {
    /// Encrypted, and there is no passphrase.
    #[error("this private key is encrypted: give its passphrase")]
    PassphraseNeeded,
    /// The passphrase does not open it, or it is damaged.
    #[error("the passphrase does not open this private key")]
    Passphrase,
    /// Encrypted in a way that is not known here.
    #[error(
        "this private key is encrypted in a way that is not known here; encrypt it again: `openssl pkcs8 -topk8 -v2 aes-256-cbc -in KEY.pem -out KEY.enc.pem`"
    )]
    Scheme,
    /// Another key, or no key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Reads a private key, PKCS#8 in PEM. A passphrase is used where the key is encrypted.
///
/// # Errors
/// It is something else, or the passphrase is missing or wrong.
pub fn signing_key(
    pem: &str,
    passphrase: Option<&Passphrase>,
) -> Result<SigningKey, SignerKeyError> {
    if !pem.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        return Ok(SigningKey::from_pem(pem)?);
    }
    let passphrase = passphrase.ok_or(SignerKeyError::PassphraseNeeded)?;
    let (label, sealed) = SecretDocument::from_pem(pem).map_err(|_| KeyError::Pem)?;
    EncryptedPrivateKeyInfoRef::validate_pem_label(label).map_err(|_| KeyError::Pem)?;
    let sealed = EncryptedPrivateKeyInfoRef::try_from(sealed.as_bytes())
        .map_err(|_| SignerKeyError::Scheme)?;
    let opened = sealed
        .decrypt(passphrase.0.as_bytes())
        .map_err(|_| SignerKeyError::Passphrase)?;
    Ok(SigningKey::from_pkcs8_der(opened.as_bytes())?)
}

#[cfg(test)]
mod tests;
