//! A signed document of another kind than a statement about a pack: DSSE with a payload type of its own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::Signature;
use serde::Serialize;

use super::envelope::{decode, pre_authentication};
use super::json;
use super::statement::members;
use super::{SignError, SignatureError, Signer, VerifyingKey, signature};

/// Bytes under one signature. That it parsed says nothing of who made it: only [`SignedDocument::verify`] does.
#[derive(Debug, Clone, PartialEq)]
pub struct SignedDocument {
    payload_type: String,
    payload: Vec<u8>,
    key_id: String,
    signature: Signature,
}

#[derive(Serialize)]
struct Wire<'a> {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: &'a str,
    signatures: [WireSignature<'a>; 1],
}

#[derive(Serialize)]
struct WireSignature<'a> {
    keyid: &'a str,
    sig: String,
}

impl SignedDocument {
    /// Signs bytes of this type (a media type, RFC 6838).
    ///
    /// # Errors
    /// As the signer fails.
    pub fn sign(
        payload_type: &str,
        payload: Vec<u8>,
        signer: &dyn Signer,
    ) -> Result<Self, SignError> {
        let message = pre_authentication(payload_type, &payload);
        let key = signer.public_key();
        let signature = signature::normalized(&signer.sign(&message)?)
            .filter(|signature| key.verifies(&message, signature))
            .ok_or(SignError::Unsound)?;
        Ok(Self {
            payload_type: payload_type.to_owned(),
            payload,
            key_id: key.key_id().to_string(),
            signature,
        })
    }

    /// Reads a document of this type and of at most `bytes_max` bytes, in the one spelling that is written.
    ///
    /// # Errors
    /// It is not one.
    pub fn parse(
        bytes: &[u8],
        payload_type: &str,
        bytes_max: usize,
    ) -> Result<Self, SignatureError> {
        if bytes.len() > bytes_max {
            return Err(SignatureError::Size { bytes_max });
        }
        let envelope = json::parse(bytes).map_err(|fault| SignatureError::Json {
            part: "envelope",
            fault: fault.to_string(),
        })?;
        let [payload, found_type, signatures] =
            members(envelope, ["payload", "payloadType", "signatures"])
                .ok_or(SignatureError::Schema("the members of the envelope"))?;
        if found_type.into_text().as_deref() != Some(payload_type) {
            return Err(SignatureError::Schema("`payloadType`"));
        }
        let payload = decode(payload, "`payload`")?;
        let signatures = signatures
            .into_array()
            .ok_or(SignatureError::Schema("`signatures`"))?;
        let found = signatures.len();
        let [signed] = <[json::Value; 1]>::try_from(signatures)
            .map_err(|_| SignatureError::Count { found })?;
        let fault = || SignatureError::Schema("the members of a signature");
        let [key_id, signature] =
            members(signed.into_object().ok_or_else(fault)?, ["keyid", "sig"]).ok_or_else(fault)?;
        Ok(Self {
            payload_type: payload_type.to_owned(),
            payload,
            key_id: key_id.into_text().ok_or_else(fault)?,
            signature: signature::parse(&decode(signature, "`sig`")?)?,
        })
    }

    /// The bytes, if one of these keys signed them.
    ///
    /// # Errors
    /// None did.
    pub fn verify(&self, trusted: &[VerifyingKey]) -> Result<&[u8], SignatureError> {
        let message = pre_authentication(&self.payload_type, &self.payload);
        if trusted
            .iter()
            .any(|key| key.verifies(&message, &self.signature))
        {
            return Ok(&self.payload);
        }
        Err(SignatureError::NoTrustedKey)
    }

    /// The SHA-256 of the signer's key, as the document says: a hint, and untrusted text.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The document as a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let wire = Wire {
            payload: STANDARD.encode(&self.payload),
            payload_type: &self.payload_type,
            signatures: [WireSignature {
                keyid: &self.key_id,
                sig: STANDARD.encode(self.signature.to_der().as_bytes()),
            }],
        };
        // Text in a fixed shape always becomes JSON.
        serde_json::to_vec(&wire).unwrap_or_default()
    }
}
