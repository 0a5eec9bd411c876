//! Detached signatures: a DSSE envelope around an in-toto statement about a pack id, ECDSA P-256
//! (specification, section 9). Stock `cosign verify-blob-attestation --key` takes them, the manifest
//! being the blob.
//!
//! Invariants: what is signed is the pre-authentication encoding of payload type and payload, never the
//! payload alone (B17); a key id proves nothing (B18); a signature has one spelling, strict DER with low
//! S (B20); it counts only for the pack id that is in the statement (B21), and an attestation about the
//! store vouches for no pack (L13); no key material reaches a message or a debug print (K01).
//!
//! ```no_run
//! use runpack_core::sign::{Envelope, SigningKey, VerifyingKey, sign};
//! # fn example(pack_id: runpack_core::id::PackId) -> Result<(), Box<dyn std::error::Error>> {
//! let key = SigningKey::from_pem("-----BEGIN PRIVATE KEY-----...")?;
//! let file = sign(pack_id, "pack", &key)?.to_bytes();
//!
//! let trusted = VerifyingKey::from_pem("-----BEGIN PUBLIC KEY-----...")?;
//! Envelope::parse(&file)?.verify(&trusted, pack_id)?;
//! # Ok(())
//! # }
//! ```

pub mod bundle;
mod document;
mod envelope;
mod json;
mod key;
mod signature;
mod statement;

use std::fmt;

pub use document::SignedDocument;
pub use envelope::{ENVELOPE_BYTES_MAX, Envelope, SIGNATURES_MAX};
pub use key::{KeyError, SigningKey, VerifyingKey};
pub use statement::Statement;

use crate::id::PackId;

/// Something that signs: a key in memory, or a service that holds one.
pub trait Signer: Send + Sync + fmt::Debug {
    /// The ECDSA P-256 signature with SHA-256 over `message`, as DER of (r, s). S may be high: it is
    /// normalised by the caller.
    ///
    /// # Errors
    /// As the signer fails.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;

    /// The public key that the signatures verify under.
    fn public_key(&self) -> VerifyingKey;
}

/// Signs a pack id. `name` is what people call the pack; no verifier compares it.
///
/// # Errors
/// As the signer fails.
pub fn sign(pack_id: PackId, name: &str, signer: &dyn Signer) -> Result<Envelope, SignError> {
    Envelope::sign(&Statement::of_pack(pack_id, name), signer)
}

/// Why something was not signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The signer failed.
    #[error("the signer failed")]
    Signer(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What the signer gave does not verify under its own public key.
    #[error(
        "what the signer gave is no ECDSA P-256 signature of its own public key, so it is not used: check which key the signer holds"
    )]
    Unsound,
    /// The key has signed this envelope already.
    #[error("this key has already signed this envelope")]
    SignedAlready,
    /// An envelope holds only so many signatures.
    #[error("an envelope holds at most {SIGNATURES_MAX} signatures")]
    TooMany,
    /// What is to be signed is larger than a verifier takes.
    #[error(
        "the envelope is larger than any verifier takes, shorten the predicate, bytes_max=`{bytes_max}`"
    )]
    Size {
        /// The most that it may have.
        bytes_max: usize,
    },
    /// The predicate cannot be written as JSON, or not as a verifier takes it.
    #[error("the predicate is not JSON that a verifier takes: {0}")]
    Predicate(String),
}

/// Why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// Larger than it may be.
    #[error("the signature file is larger than it may be, bytes_max=`{bytes_max}`")]
    Size {
        /// The most that it may have.
        bytes_max: usize,
    },
    /// Not strict JSON.
    #[error("the {part} of the signature is not strict JSON: {fault}")]
    Json {
        /// `envelope` or `statement`.
        part: &'static str,
        /// What is wrong.
        fault: String,
    },
    /// A member missing, unknown, or of another type or value.
    #[error("the signature is no DSSE envelope of an in-toto statement about one pack: {0}")]
    Schema(&'static str),
    /// Not the one spelling of base64.
    #[error(
        "the signature holds base64 in another spelling than the standard alphabet with padding"
    )]
    Base64,
    /// None, or more than [`SIGNATURES_MAX`].
    #[error("an envelope has 1 to {SIGNATURES_MAX} signatures, found=`{found}`")]
    Count {
        /// How many there are.
        found: usize,
    },
    /// The same signature twice.
    #[error("the envelope holds one signature twice")]
    Duplicate,
    /// Not strict DER of r and s in their range.
    #[error("a signature is not strict DER of an ECDSA P-256 signature")]
    Der,
    /// A signature with high S: the other spelling of a sound one.
    #[error(
        "a signature has a high S, which some tools make and which is refused so that a signature has one spelling: sign again with `runpack sign`"
    )]
    HighS,
    /// Made for another pack.
    #[error("the signature is for another pack, signed=`{signed}` found=`{found}`")]
    OtherPack {
        /// The pack that was signed.
        signed: PackId,
        /// The pack at hand.
        found: PackId,
    },
    /// No trusted key made the signature.
    #[error("the document is signed by no key that is trusted")]
    NoTrustedKey,
    /// Signed, but saying something else than what is asked for.
    #[error(
        "the signature is about something else: an attestation and a signature of a pack cannot stand for each other, predicate_type=`{}`",
        crate::display::Printable(found)
    )]
    Predicate {
        /// The predicate type that was signed: untrusted text.
        found: String,
    },
    /// No signature verifies under the trusted key.
    #[error("no signature verifies under the trusted key, key=`{key_id}`")]
    NotVerified {
        /// SHA-256 of the trusted key's SPKI.
        key_id: crate::digest::Digest,
    },
}

#[cfg(test)]
mod tests;
