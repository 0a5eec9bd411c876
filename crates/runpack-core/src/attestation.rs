//! Attestations: what somebody saw of a pack's objects in a store, signed, to be checked offline by
//! anybody who has the public key (specification `Docs/spec/storage-retention-v1.md`).
//!
//! Invariants: an attestation is about one pack and counts for no other, and neither it nor a signature
//! of a pack stands for the other (L13); every claim says how it is known; what is attested is what was
//! seen, not what was asked for (L07); the summary follows from the objects; the statement has one
//! spelling. When it was made is the signer's claim, unless a time stamp says so too (T05).
//!
//! ```no_run
//! use runpack_core::attestation::{Expected, verify};
//! use runpack_core::sign::VerifyingKey;
//! # fn example(file: &[u8], manifest: &runpack_core::manifest::Manifest) -> Result<(), Box<dyn std::error::Error>> {
//! let trusted = VerifyingKey::from_pem("-----BEGIN PUBLIC KEY-----...")?;
//! let attestation = verify(file, &trusted, Expected::Manifest(manifest))?;
//! println!("kept until {:?}", attestation.predicate().retained_until);
//! # Ok(())
//! # }
//! ```

mod basis;
mod check;
mod drift;
mod predicate;

use serde::{Deserialize, Serialize};

pub use basis::{Basis, Claim};
pub use drift::{Drift, DriftKind, drift};
pub use predicate::{
    Attempt, AttemptResult, Bucket, Control, Enforcement, Finding, Holds, LegalHold, Mode, Nonce,
    NonceError, Object, Observer, Predicate, Role, Store, Verdict,
};

use crate::digest::Digest;
use crate::display::Printable;
use crate::id::PackId;
use crate::manifest::Manifest;
use crate::sign::bundle::{BundleError, SigstoreBundle};
use crate::sign::{Envelope, SignError, SignatureError, Signer, Statement, VerifyingKey};

/// What an attestation says it is.
pub const PREDICATE_TYPE: &str = "urn:runpack:storage-retention:v1";

/// The largest attestation: 100,000 objects fit. Stops a file made to fill the memory.
pub const ATTESTATION_BYTES_MAX: usize = 128 << 20;

const DEPTH_MAX: u32 = 16;

/// What the verifier knows of the pack beforehand.
#[derive(Debug, Clone, Copy)]
pub enum Expected<'a> {
    /// Which pack it is. That no artifact is missing cannot be told.
    PackId(PackId),
    /// Its manifest: each of its artifacts has to be there, and nothing else.
    Manifest(&'a Manifest),
}

impl Expected<'_> {
    fn pack_id(self) -> PackId {
        match self {
            Self::PackId(pack_id) => pack_id,
            Self::Manifest(manifest) => manifest.pack_id(),
        }
    }
}

/// An attestation whose signature is the trusted key's, and that holds together.
#[derive(Debug, Clone, PartialEq)]
pub struct Attestation {
    predicate: Predicate,
    pack_id: PackId,
    key_id: Digest,
    signature: Vec<u8>,
    timestamps: Vec<Vec<u8>>,
}

impl Attestation {
    /// What is attested.
    pub fn predicate(&self) -> &Predicate {
        &self.predicate
    }

    /// The pack.
    pub fn pack_id(&self) -> PackId {
        self.pack_id
    }

    /// The SHA-256 of the SPKI of the key that signed.
    pub fn key_id(&self) -> Digest {
        self.key_id
    }

    /// The signature, strict DER: what the time stamps are over.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// What time stamping authorities answered (RFC 3161), not checked yet.
    pub fn timestamps(&self) -> &[Vec<u8>] {
        &self.timestamps
    }
}

/// Why an attestation cannot be made, or does not count.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttestationError {
    /// The file is no bundle.
    #[error(transparent)]
    Bundle(BundleError),
    /// The signature does not count.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// It was not signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// An envelope without a bundle has another number of signatures than one.
    #[error("an attestation has exactly one signature, found=`{found}`")]
    Signatures {
        /// How many there are.
        found: usize,
    },
    /// The predicate breaks the schema.
    #[error("the predicate is not a storage-retention predicate v1: {0}")]
    Schema(String),
    /// The statement has another spelling than the only one.
    #[error("the statement is not in the one spelling that an attestation has")]
    NotCanonical,
    /// What it says does not hold together.
    #[error("the attestation contradicts itself: {0}")]
    Contradiction(&'static str),
    /// An object that has no place, or that differs from what the manifest says.
    #[error(
        "the attestation is wrong about an object: {fault}, key=`{}`",
        Printable(key)
    )]
    Object {
        /// Its key.
        key: String,
        /// What is wrong.
        fault: &'static str,
    },
    /// An object of the pack that is not attested.
    #[error(
        "the attestation says nothing of an object of the pack, key=`{}`",
        Printable(key)
    )]
    Missing {
        /// Its key.
        key: String,
    },
}

impl From<BundleError> for AttestationError {
    fn from(error: BundleError) -> Self {
        match error {
            BundleError::Envelope(error) => Self::Signature(error),
            error => Self::Bundle(error),
        }
    }
}

/// The statement in its one spelling.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Spelling {
    #[serde(rename = "_type")]
    statement_type: String,
    subject: [Subject; 1],
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    name: String,
    digest: SubjectDigest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SubjectDigest {
    sha256: Digest,
}

/// Signs an attestation about a pack, as a Sigstore bundle. `name` is what people call the pack.
///
/// # Errors
/// What is attested would not verify, or the signer fails.
pub fn sign(
    expected: Expected<'_>,
    name: &str,
    predicate: &Predicate,
    signer: &dyn Signer,
) -> Result<SigstoreBundle, AttestationError> {
    check::check(predicate, expected)?;
    let statement = Statement::with_predicate(expected.pack_id(), name, PREDICATE_TYPE, predicate)?;
    let (spelled, _) = read(statement.payload())?;
    if spelled != *predicate {
        return Err(AttestationError::NotCanonical);
    }
    let envelope = Envelope::sign_within(statement, signer, ATTESTATION_BYTES_MAX)?;
    Ok(SigstoreBundle::new(envelope, &signer.public_key())?)
}

/// Verifies an attestation, a Sigstore bundle or the bare envelope of one, without asking anybody.
///
/// # Errors
/// It is not signed by this key, is for another pack, or does not hold together.
pub fn verify(
    file: &[u8],
    trusted: &VerifyingKey,
    expected: Expected<'_>,
) -> Result<Attestation, AttestationError> {
    if file.len() > ATTESTATION_BYTES_MAX {
        return Err(SignatureError::Size {
            bytes_max: ATTESTATION_BYTES_MAX,
        }
        .into());
    }
    let (envelope, timestamps) = if SigstoreBundle::is_one(file) {
        let bundle = SigstoreBundle::parse(file, ATTESTATION_BYTES_MAX)?;
        let envelope = bundle.envelope();
        envelope.verify_predicate(trusted, expected.pack_id(), PREDICATE_TYPE)?;
        if !bundle.names(trusted) {
            return Err(AttestationError::Contradiction(
                "it names another key than the one that signed it",
            ));
        }
        (envelope.clone(), bundle.timestamps().to_vec())
    } else {
        let envelope = Envelope::parse_within(file, ATTESTATION_BYTES_MAX)?;
        (envelope, Vec::new())
    };
    envelope.verify_predicate(trusted, expected.pack_id(), PREDICATE_TYPE)?;
    let mut signatures: Vec<_> = envelope.signatures().collect();
    let (Some(signature), true) = (signatures.pop(), signatures.is_empty()) else {
        let found = envelope.signatures().count();
        return Err(AttestationError::Signatures { found });
    };
    let (predicate, pack_id) = read(envelope.statement().payload())?;
    check::check(&predicate, expected)?;
    Ok(Attestation {
        predicate,
        pack_id,
        key_id: trusted.key_id(),
        signature,
        timestamps,
    })
}

/// Reads a statement that has the one spelling. Nothing of it is believed yet.
fn read(payload: &[u8]) -> Result<(Predicate, PackId), AttestationError> {
    let schema = |fault: &dyn std::fmt::Display| AttestationError::Schema(fault.to_string());
    crate::json::check(payload, DEPTH_MAX).map_err(|fault| schema(&fault))?;
    let spelling: Spelling = serde_json::from_slice(payload).map_err(|fault| schema(&fault))?;
    if !crate::json::matches_canonical(&spelling, payload) {
        return Err(AttestationError::NotCanonical);
    }
    let [subject] = spelling.subject;
    Ok((spelling.predicate, PackId::new(subject.digest.sha256)))
}

#[cfg(test)]
mod tests;
