//! Time stamps over a signature (RFC 3161): asked for, attached, and checked offline.
//!
//! What is stamped is the SHA-256 of the signature's bytes, as Sigstore does it, and what is attached is
//! the authority's whole answer (`TimeStampResp`). A time stamp is what makes the time of an attestation
//! more than its signer's claim (T05).
//!
//! Invariants: an answer is attached only if it grants what was asked for, imprint and nonce; a time
//! counts only if the chain of the authority's certificate ends at a root that the caller trusts, was
//! valid at that time, and is for time stamping and nothing else; the signer's certificate is the one
//! that the signature names. Certificates and signatures are `webpki`'s work; no revocation is asked for.

mod der;
mod token;
mod verify;

pub use verify::{TimestampRoots, VerifiedTimestamp, verify};

use ring::digest;
use runpack_core::sign::bundle::{BundleError, SigstoreBundle};

/// What is sent to a time stamping authority, as `application/timestamp-query`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimestampRequest {
    imprint: Vec<u8>,
    nonce: Vec<u8>,
}

/// Why a time stamp does not count.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TimestampError {
    /// Not an answer of RFC 3161 in DER.
    #[error("not a time stamp in DER: {0}")]
    Malformed(&'static str),
    /// The authority refused.
    #[error("the time stamping authority refused the request, status=`{status}`")]
    Refused {
        /// `PKIStatus` of RFC 3161, section 2.4.2.
        status: u64,
    },
    /// Over something else.
    #[error("the time stamp is over something else than this signature")]
    Imprint,
    /// An answer to another request.
    #[error("the time stamp answers another request: its nonce is another")]
    Nonce,
    /// An algorithm that is not known here.
    #[error("the time stamp uses an algorithm that is not taken here, oid=`{oid:02x?}`")]
    Algorithm {
        /// The bytes of the identifier in DER.
        oid: Vec<u8>,
    },
    /// The signature over the token does not verify.
    #[error("the time stamp's own signature does not verify")]
    Signature,
    /// The certificate is not for time stamping alone.
    #[error("the time stamp's certificate is not for time stamping alone")]
    Usage,
    /// The chain does not end at a trusted root, or was not valid at the time.
    #[error("the time stamp's certificate does not lead to a trusted root at that time")]
    Chain(#[source] webpki::Error),
    /// The roots are no certificates.
    #[error("the roots of time stamping authorities are not PEM certificates that can be used")]
    Roots,
    /// The bundle has no room for it.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

impl TimestampRequest {
    /// A request for a time stamp over the signature of a bundle. The caller draws the nonce at random.
    pub fn new(bundle: &SigstoreBundle, nonce: [u8; 16]) -> Self {
        Self {
            imprint: imprint(&bundle.signature()),
            nonce: der::unsigned(&nonce),
        }
    }

    /// `TimeStampReq` in DER (RFC 3161, section 2.4.1). It asks for the authority's certificates.
    pub fn to_der(&self) -> Vec<u8> {
        let algorithm = der::element(
            der::SEQUENCE,
            &[
                &der::element(der::OID, &[token::SHA256]),
                &der::element(der::NULL, &[]),
            ],
        );
        let imprint = der::element(
            der::SEQUENCE,
            &[
                &algorithm,
                &der::element(der::OCTET_STRING, &[&self.imprint]),
            ],
        );
        der::element(
            der::SEQUENCE,
            &[
                &der::element(der::INTEGER, &[&[1]]),
                &imprint,
                &der::element(der::INTEGER, &[&self.nonce]),
                &der::element(der::BOOLEAN, &[&[0xff]]),
            ],
        )
    }

    /// Attaches the authority's answer if it grants this request. Whether the authority is trusted is
    /// for [`verify`] to say.
    ///
    /// # Errors
    /// It was refused, or is over something else; the bundle is then as it was.
    pub fn attach(
        &self,
        bundle: &mut SigstoreBundle,
        response: &[u8],
    ) -> Result<(), TimestampError> {
        let token = token::Token::parse(response)?;
        if imprint(&bundle.signature()) != self.imprint || !token.is_over(&bundle.signature()) {
            return Err(TimestampError::Imprint);
        }
        if token.nonce != Some(self.nonce.as_slice()) {
            return Err(TimestampError::Nonce);
        }
        Ok(bundle.attach_timestamp(response.to_vec())?)
    }
}

fn imprint(signature: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, signature).as_ref().to_vec()
}

#[cfg(test)]
mod tests;
