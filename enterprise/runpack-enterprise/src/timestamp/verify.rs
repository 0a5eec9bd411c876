//! Whether a time stamp counts: chain, purpose, signature, imprint.

use std::time::Duration;

use ring::digest;
use runpack_core::time::Timestamp;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert, ring as algorithms};

use super::TimestampError;
use super::der::{self, Reader};
use super::token::Token;

/// 1.3.6.1.5.5.7.3.8
const TIME_STAMPING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 8];
/// 2.5.29.37
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];

/// The most certificates of a token. Stops one made to cost a search.
const CERTIFICATES_MAX: usize = 16;

/// Certificates of authorities that are trusted to tell the time.
#[derive(Clone)]
pub struct TimestampRoots(Vec<TrustAnchor<'static>>);

impl std::fmt::Debug for TimestampRoots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TimestampRoots({})", self.0.len())
    }
}

impl TimestampRoots {
    /// Reads one or more certificates in PEM.
    ///
    /// # Errors
    /// There is none, or one that cannot be used.
    pub fn from_pem(pem: &str) -> Result<Self, TimestampError> {
        let mut roots = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate.map_err(|_| TimestampError::Roots)?;
            let anchor =
                anchor_from_trusted_cert(&certificate).map_err(|_| TimestampError::Roots)?;
            roots.push(anchor.to_owned());
        }
        if roots.is_empty() {
            return Err(TimestampError::Roots);
        }
        Ok(Self(roots))
    }
}

/// A time that an authority vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifiedTimestamp {
    /// The signature existed then.
    pub time: Timestamp,
}

/// Checks an authority's answer over these bytes of a signature, without asking anybody. That the
/// authority's certificate has run out since is no fault: it has to have been valid at the time.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn verify(
    response: &[u8],
    signature: &[u8],
    roots: &TimestampRoots,
) -> Result<VerifiedTimestamp, TimestampError> {
    let token = Token::parse(response)?;
    if !token.is_over(signature) {
        return Err(TimestampError::Imprint);
    }
    if token.certificates.len() > CERTIFICATES_MAX {
        return Err(TimestampError::Malformed("too many certificates"));
    }
    let signer = token
        .certificates
        .iter()
        .copied()
        .find(|certificate| is_signer(certificate, &token))
        .ok_or(TimestampError::Malformed("the signer's certificate"))?;
    chain(signer, &token, roots)?;
    if !is_for_time_stamping_alone(signer) {
        return Err(TimestampError::Usage);
    }
    signed(signer, &token)?;
    Ok(VerifiedTimestamp { time: token.time })
}

fn chain(signer: &[u8], token: &Token<'_>, roots: &TimestampRoots) -> Result<(), TimestampError> {
    let others: Vec<CertificateDer<'_>> = token
        .certificates
        .iter()
        .filter(|certificate| **certificate != signer)
        .map(|certificate| CertificateDer::from(*certificate))
        .collect();
    let signer = CertificateDer::from(signer);
    let signer = EndEntityCert::try_from(&signer).map_err(TimestampError::Chain)?;
    let time = UnixTime::since_unix_epoch(Duration::from_secs(token.time.unix_seconds()));
    signer
        .verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &roots.0,
            &others,
            time,
            KeyUsage::required_if_present(TIME_STAMPING),
            None,
            None,
        )
        .map(|_| ())
        .map_err(TimestampError::Chain)
}

fn signed(signer: &[u8], token: &Token<'_>) -> Result<(), TimestampError> {
    let message = token
        .signed_about(signer)
        .ok_or(TimestampError::Signature)?;
    let signer = CertificateDer::from(signer);
    let signer = EndEntityCert::try_from(&signer).map_err(TimestampError::Chain)?;
    let verifies = candidates(token.signer.digest).iter().any(|algorithm| {
        signer
            .verify_signature(*algorithm, &message, token.signer.signature)
            .is_ok()
    });
    if verifies {
        Ok(())
    } else {
        Err(TimestampError::Signature)
    }
}

/// The algorithms that sign with this digest; the certificate's key fits at most one of them.
fn candidates(used: &digest::Algorithm) -> [&'static dyn SignatureVerificationAlgorithm; 3] {
    if *used == digest::SHA256 {
        [
            algorithms::ECDSA_P256_SHA256,
            algorithms::ECDSA_P384_SHA256,
            algorithms::RSA_PKCS1_2048_8192_SHA256,
        ]
    } else if *used == digest::SHA384 {
        [
            algorithms::ECDSA_P256_SHA384,
            algorithms::ECDSA_P384_SHA384,
            algorithms::RSA_PKCS1_2048_8192_SHA384,
        ]
    } else {
        [algorithms::RSA_PKCS1_2048_8192_SHA512; 3]
    }
}

/// Issuer, serial number and extensions of a certificate (RFC 5280, section 4.1).
fn parts(certificate: &[u8]) -> Option<(&[u8], &[u8], Reader<'_>)> {
    let mut fields = Reader::new(certificate)
        .inside(der::SEQUENCE)?
        .inside(der::SEQUENCE)?;
    fields.optional(der::context(0))?;
    let serial = fields.one(der::INTEGER)?;
    fields.one(der::SEQUENCE)?;
    let issuer = fields.any()?.whole;
    // Validity, subject, public key.
    for _ in 0..3 {
        fields.one(der::SEQUENCE)?;
    }
    while !fields.is_empty() {
        let field = fields.any()?;
        if field.tag == der::context(3) {
            let extensions = Reader::new(field.body).inside(der::SEQUENCE)?;
            return Some((issuer, serial, extensions));
        }
    }
    None
}

fn is_signer(certificate: &[u8], token: &Token<'_>) -> bool {
    parts(certificate).is_some_and(|(issuer, serial, _)| {
        issuer == token.signer.issuer && serial == token.signer.serial
    })
}

/// RFC 3161, section 2.3: the extended key usage is critical and holds this purpose alone.
pub(super) fn is_for_time_stamping_alone(certificate: &[u8]) -> bool {
    let Some((_, _, mut extensions)) = parts(certificate) else {
        return false;
    };
    while let Some(mut extension) = extensions.inside(der::SEQUENCE) {
        if extension.one(der::OID) != Some(EXTENDED_KEY_USAGE) {
            continue;
        }
        let critical = extension.optional(der::BOOLEAN);
        let purposes = extension
            .one(der::OCTET_STRING)
            .and_then(|value| Reader::new(value).inside(der::SEQUENCE));
        return critical.is_some_and(|critical| critical.body == [0xff])
            && purposes.is_some_and(|mut purposes| {
                purposes.one(der::OID) == Some(TIME_STAMPING) && purposes.is_empty()
            });
    }
    false
}
