//! One ECDSA P-256 signature in its one spelling: strict DER, r and s in range, low S (threat B20).

use p256::ecdsa::Signature;

use super::SignatureError;

/// Reads a signature that has the one spelling.
pub(super) fn parse(der: &[u8]) -> Result<Signature, SignatureError> {
    let signature = parse_any_s(der).ok_or(SignatureError::Der)?;
    if signature.normalize_s() == signature {
        Ok(signature)
    } else {
        Err(SignatureError::HighS)
    }
}

/// Reads a signature as a signer may give it, and gives the low S of the two.
pub(super) fn normalized(der: &[u8]) -> Option<Signature> {
    parse_any_s(der).map(|signature| signature.normalize_s())
}

fn parse_any_s(der: &[u8]) -> Option<Signature> {
    // Refuses r and s of zero or from n on; the comparison refuses every other spelling.
    let signature = Signature::from_der(der).ok()?;
    (signature.to_der().as_bytes() == der).then_some(signature)
}
