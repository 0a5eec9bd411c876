//! What an authority's answer says (RFC 3161, RFC 5652), before anything of it is believed.

use ring::digest::{self, Algorithm};
use runpack_core::time::Timestamp;

use super::TimestampError;
use super::der::{self, Element, Reader};

/// 2.16.840.1.101.3.4.2.1
pub(super) const SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
const SHA384: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2];
const SHA512: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3];
/// 1.2.840.113549.1.7.2
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
/// 1.2.840.113549.1.9.16.1.4
const TST_INFO: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 16, 1, 4];
/// 1.2.840.113549.1.9.3 and .4
const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 3];
const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 4];
/// 1.2.840.113549.1.9.16.2.12 (RFC 2634) and .47 (RFC 5816)
const SIGNING_CERTIFICATE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 16, 2, 12];
const SIGNING_CERTIFICATE_V2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 16, 2, 47];

/// An answer that grants a time stamp.
#[derive(Debug)]
pub(super) struct Token<'a> {
    /// The bytes that are signed about: `TSTInfo`.
    info: &'a [u8],
    imprint_algorithm: &'static Algorithm,
    imprint: &'a [u8],
    pub(super) nonce: Option<&'a [u8]>,
    pub(super) time: Timestamp,
    pub(super) certificates: Vec<&'a [u8]>,
    pub(super) signer: Signer<'a>,
}

/// Who signed, and what.
#[derive(Debug)]
pub(super) struct Signer<'a> {
    /// The issuer's name, the whole element.
    pub(super) issuer: &'a [u8],
    /// The body of the serial number.
    pub(super) serial: &'a [u8],
    pub(super) digest: &'static Algorithm,
    attributes: Element<'a>,
    pub(super) signature: &'a [u8],
}

const fn malformed(what: &'static str) -> TimestampError {
    TimestampError::Malformed(what)
}

fn algorithm(reader: &mut Reader<'_>) -> Result<&'static Algorithm, TimestampError> {
    let mut inside = reader
        .inside(der::SEQUENCE)
        .ok_or(malformed("an algorithm"))?;
    match inside.one(der::OID).ok_or(malformed("an algorithm"))? {
        SHA256 => Ok(&digest::SHA256),
        SHA384 => Ok(&digest::SHA384),
        SHA512 => Ok(&digest::SHA512),
        other => Err(TimestampError::Algorithm {
            oid: other.to_vec(),
        }),
    }
}

impl<'a> Token<'a> {
    /// Reads an answer that grants the request.
    pub(super) fn parse(response: &'a [u8]) -> Result<Self, TimestampError> {
        let mut outer = Reader::new(response);
        let mut answer = outer
            .inside(der::SEQUENCE)
            .filter(|_| outer.is_empty())
            .ok_or(malformed("`TimeStampResp`"))?;
        let status = answer
            .inside(der::SEQUENCE)
            .and_then(|mut status| der::small(status.one(der::INTEGER)?))
            .ok_or(malformed("`PKIStatusInfo`"))?;
        // granted, grantedWithMods
        if status > 1 {
            return Err(TimestampError::Refused { status });
        }
        let mut content = answer
            .inside(der::SEQUENCE)
            .filter(|_| answer.is_empty())
            .ok_or(malformed("`TimeStampToken`"))?;
        let signed = content
            .one(der::OID)
            .filter(|oid| *oid == SIGNED_DATA)
            .and_then(|_| content.inside(der::context(0)))
            .and_then(|mut explicit| explicit.inside(der::SEQUENCE))
            .ok_or(malformed("`SignedData`"))?;
        Self::of(signed)
    }

    fn of(mut signed: Reader<'a>) -> Result<Self, TimestampError> {
        let info = (|| {
            signed.one(der::INTEGER)?;
            signed.one(der::SET)?;
            let mut content = signed.inside(der::SEQUENCE)?;
            content.one(der::OID).filter(|oid| *oid == TST_INFO)?;
            content.inside(der::context(0))?.one(der::OCTET_STRING)
        })()
        .ok_or(malformed("`EncapsulatedContentInfo`"))?;
        let mut certificates = Vec::new();
        if let Some(set) = signed.optional(der::context(0)) {
            let mut set = Reader::new(set.body);
            while let Some(certificate) = set.any() {
                certificates.push(certificate.whole);
            }
        }
        let _revocations = signed.optional(der::context(1));
        let mut infos = signed
            .inside(der::SET)
            .filter(|_| signed.is_empty())
            .ok_or(malformed("`signerInfos`"))?;
        let only = infos
            .inside(der::SEQUENCE)
            .filter(|_| infos.is_empty())
            .ok_or(malformed("not exactly one `SignerInfo`"))?;
        Self::of_info(info, certificates, Signer::parse(only)?)
    }

    fn of_info(
        info: &'a [u8],
        certificates: Vec<&'a [u8]>,
        signer: Signer<'a>,
    ) -> Result<Self, TimestampError> {
        let fault = || malformed("`TSTInfo`");
        let mut outer = Reader::new(info);
        let mut fields = outer
            .inside(der::SEQUENCE)
            .filter(|_| outer.is_empty())
            .ok_or_else(fault)?;
        if fields.one(der::INTEGER) != Some(&[1]) {
            return Err(fault());
        }
        fields.one(der::OID).ok_or_else(fault)?;
        let mut imprint = fields.inside(der::SEQUENCE).ok_or_else(fault)?;
        let imprint_algorithm = algorithm(&mut imprint)?;
        let imprint = imprint.one(der::OCTET_STRING).ok_or_else(fault)?;
        fields.one(der::INTEGER).ok_or_else(fault)?;
        let time = fields
            .one(der::GENERALIZED_TIME)
            .and_then(time)
            .ok_or_else(fault)?;
        let _accuracy = fields.optional(der::SEQUENCE);
        let _ordering = fields.optional(der::BOOLEAN);
        let nonce = fields.optional(der::INTEGER).map(|nonce| nonce.body);
        Ok(Self {
            info,
            imprint_algorithm,
            imprint,
            nonce,
            time,
            certificates,
            signer,
        })
    }

    /// Whether the imprint is this signature's.
    pub(super) fn is_over(&self, signature: &[u8]) -> bool {
        digest::digest(self.imprint_algorithm, signature).as_ref() == self.imprint
    }

    /// What the signature is over, if the attributes are about this `TSTInfo` and this certificate
    /// (RFC 5652, section 5.4; RFC 3161, section 2.4.2).
    pub(super) fn signed_about(&self, certificate: &[u8]) -> Option<Vec<u8>> {
        let attributes = self.signer.attributes;
        let content_type = attribute(attributes, CONTENT_TYPE)?.one(der::OID)?;
        let digest = attribute(attributes, MESSAGE_DIGEST)?.one(der::OCTET_STRING)?;
        let is_sound = content_type == TST_INFO
            && digest::digest(self.signer.digest, self.info).as_ref() == digest
            && names(attributes, certificate)?;
        // Signed as a SET, whatever the tag in the message.
        is_sound.then(|| der::element(der::SET, &[attributes.body]))
    }
}

/// Whether the attributes name this certificate as the signer's.
fn names(attributes: Element<'_>, certificate: &[u8]) -> Option<bool> {
    let (mut value, is_v2) = match attribute(attributes, SIGNING_CERTIFICATE_V2) {
        Some(value) => (value, true),
        None => (attribute(attributes, SIGNING_CERTIFICATE)?, false),
    };
    let mut first = value
        .inside(der::SEQUENCE)?
        .inside(der::SEQUENCE)?
        .inside(der::SEQUENCE)?;
    let mut used: &Algorithm = &digest::SHA1_FOR_LEGACY_USE_ONLY;
    if is_v2 {
        used = &digest::SHA256;
        let mut ahead = first;
        if ahead.optional(der::SEQUENCE).is_some() {
            used = algorithm(&mut first).ok()?;
        }
    }
    let named = first.one(der::OCTET_STRING)?;
    Some(digest::digest(used, certificate).as_ref() == named)
}

/// The one value of the one attribute of this type.
fn attribute<'a>(attributes: Element<'a>, kind: &[u8]) -> Option<Reader<'a>> {
    let mut all = Reader::new(attributes.body);
    let mut found = None;
    while !all.is_empty() {
        let mut attribute = all.inside(der::SEQUENCE)?;
        if attribute.one(der::OID)? != kind {
            continue;
        }
        let values = attribute.inside(der::SET)?;
        let mut rest = values;
        rest.any()?;
        if found.is_some() || !rest.is_empty() {
            return None;
        }
        found = Some(values);
    }
    found
}

impl<'a> Signer<'a> {
    fn parse(mut signer: Reader<'a>) -> Result<Self, TimestampError> {
        let fault = || malformed("`SignerInfo`");
        signer.one(der::INTEGER).ok_or_else(fault)?;
        let mut by = signer.inside(der::SEQUENCE).ok_or_else(fault)?;
        let issuer = by.any().ok_or_else(fault)?.whole;
        let serial = by.one(der::INTEGER).ok_or_else(fault)?;
        let digest = algorithm(&mut signer)?;
        let attributes = signer.optional(der::context(0)).ok_or_else(fault)?;
        signer.one(der::SEQUENCE).ok_or_else(fault)?;
        let signature = signer.one(der::OCTET_STRING).ok_or_else(fault)?;
        Ok(Self {
            issuer,
            serial,
            digest,
            attributes,
            signature,
        })
    }
}

/// `YYYYMMDDHHMMSS[.f]Z`; the fraction is left out.
fn time(body: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(body).ok()?.strip_suffix('Z')?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) || seconds.len() != 14 {
        return None;
    }
    let part = |from: usize, to: usize| seconds.get(from..to);
    let spelled = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0, 4)?,
        part(4, 6)?,
        part(6, 8)?,
        part(8, 10)?,
        part(10, 12)?,
        part(12, 14)?
    );
    spelled.parse().ok()
}
