//! The DSSE v1 envelope: strict to read, one spelling to write.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::Signature;
use serde::Serialize;

use super::json::{self, Value};
use super::statement::members;
use super::{SignError, SignatureError, Signer, Statement, VerifyingKey, signature};
use crate::id::PackId;

/// The largest envelope that vouches for a pack. Others name their own bound.
pub const ENVELOPE_BYTES_MAX: usize = 1 << 20;

/// The most signatures of an envelope. Stops one made to cost a verification each.
pub const SIGNATURES_MAX: usize = 16;

const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// A statement and signatures over it. That it parsed says nothing of who made it: only
/// [`Envelope::verify`] does.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    statement: Statement,
    signatures: Vec<Signed>,
    bytes_max: usize,
}

#[derive(Debug, Clone, PartialEq)]
struct Signed {
    /// A hint for people. Nothing is decided by it (B18).
    key_id: Option<String>,
    signature: Signature,
}

#[derive(Serialize)]
pub(super) struct Wire {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: &'static str,
    signatures: Vec<WireSignature>,
}

#[derive(Serialize)]
struct WireSignature {
    #[serde(skip_serializing_if = "Option::is_none")]
    keyid: Option<String>,
    sig: String,
}

impl Envelope {
    /// Signs a statement.
    ///
    /// # Errors
    /// As the signer fails.
    pub fn sign(statement: &Statement, signer: &dyn Signer) -> Result<Self, SignError> {
        Self::sign_within(statement.clone(), signer, ENVELOPE_BYTES_MAX)
    }

    /// Signs a statement whose envelope may have `bytes_max` bytes.
    ///
    /// # Errors
    /// As the signer fails.
    pub fn sign_within(
        statement: Statement,
        signer: &dyn Signer,
        bytes_max: usize,
    ) -> Result<Self, SignError> {
        let mut envelope = Self {
            statement,
            signatures: Vec::new(),
            bytes_max,
        };
        envelope.countersign(signer)?;
        Ok(envelope)
    }

    /// Adds another signature over the same statement.
    ///
    /// # Errors
    /// As the signer fails; it has signed already. The envelope is then as it was.
    pub fn countersign(&mut self, signer: &dyn Signer) -> Result<(), SignError> {
        if self.signatures.len() >= SIGNATURES_MAX {
            return Err(SignError::TooMany);
        }
        let message = self.pre_authentication();
        let key = signer.public_key();
        if self
            .signatures
            .iter()
            .any(|signed| key.verifies(&message, &signed.signature))
        {
            return Err(SignError::SignedAlready);
        }
        let signature = signature::normalized(&signer.sign(&message)?)
            .filter(|signature| key.verifies(&message, signature))
            .ok_or(SignError::Unsound)?;
        self.signatures.push(Signed {
            key_id: Some(key.key_id().to_string()),
            signature,
        });
        if self.to_bytes().len() > self.bytes_max {
            self.signatures.pop();
            return Err(SignError::Size {
                bytes_max: self.bytes_max,
            });
        }
        Ok(())
    }

    /// Reads an envelope.
    ///
    /// # Errors
    /// It is not one in the only form that is taken.
    pub fn parse(bytes: &[u8]) -> Result<Self, SignatureError> {
        Self::parse_within(bytes, ENVELOPE_BYTES_MAX)
    }

    /// Reads an envelope of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// It is not one in the only form that is taken.
    pub fn parse_within(bytes: &[u8], bytes_max: usize) -> Result<Self, SignatureError> {
        if bytes.len() > bytes_max {
            return Err(SignatureError::Size { bytes_max });
        }
        let envelope = json::parse(bytes).map_err(|fault| SignatureError::Json {
            part: "envelope",
            fault: fault.to_string(),
        })?;
        Self::from_object(envelope, bytes_max)
    }

    pub(super) fn from_object(
        envelope: json::Object,
        bytes_max: usize,
    ) -> Result<Self, SignatureError> {
        let [payload, payload_type, signatures] =
            members(envelope, ["payload", "payloadType", "signatures"])
                .ok_or(SignatureError::Schema("the members of the envelope"))?;
        if payload_type.into_text().as_deref() != Some(PAYLOAD_TYPE) {
            return Err(SignatureError::Schema("`payloadType`"));
        }
        let payload = decode(payload, "`payload`")?;
        let signatures = signatures
            .into_array()
            .ok_or(SignatureError::Schema("`signatures`"))?;
        if signatures.is_empty() || signatures.len() > SIGNATURES_MAX {
            return Err(SignatureError::Count {
                found: signatures.len(),
            });
        }
        let mut known: Vec<Signed> = Vec::new();
        for signature in signatures {
            let signed = Signed::parse(signature)?;
            if known
                .iter()
                .any(|other| other.signature == signed.signature)
            {
                return Err(SignatureError::Duplicate);
            }
            known.push(signed);
        }
        Ok(Self {
            statement: Statement::parse(&payload)?,
            signatures: known,
            bytes_max,
        })
    }

    /// Whether one of the signatures is the trusted key's, and vouches for this pack.
    ///
    /// # Errors
    /// It is for another pack, says something else of it, or no signature verifies.
    pub fn verify(&self, trusted: &VerifyingKey, pack_id: PackId) -> Result<(), SignatureError> {
        if self.statement.is_about_the_pack_alone() {
            self.verify_any(trusted, pack_id)
        } else {
            Err(SignatureError::Predicate {
                found: self.statement.predicate_type().to_owned(),
            })
        }
    }

    /// Whether one of the signatures is the trusted key's over this predicate, for this pack.
    ///
    /// # Errors
    /// It is for another pack, has another predicate, or no signature verifies.
    pub fn verify_predicate(
        &self,
        trusted: &VerifyingKey,
        pack_id: PackId,
        predicate_type: &str,
    ) -> Result<(), SignatureError> {
        if self.statement.predicate_type() == predicate_type {
            self.verify_any(trusted, pack_id)
        } else {
            Err(SignatureError::Predicate {
                found: self.statement.predicate_type().to_owned(),
            })
        }
    }

    fn verify_any(&self, trusted: &VerifyingKey, pack_id: PackId) -> Result<(), SignatureError> {
        let signed = self.statement.pack_id();
        if signed != pack_id {
            return Err(SignatureError::OtherPack {
                signed,
                found: pack_id,
            });
        }
        let message = self.pre_authentication();
        if self
            .signatures
            .iter()
            .any(|signed| trusted.verifies(&message, &signed.signature))
        {
            Ok(())
        } else {
            Err(SignatureError::NotVerified {
                key_id: trusted.key_id(),
            })
        }
    }

    /// What the signatures are about: untrusted until [`Envelope::verify`] has said otherwise.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The key ids, where there are any: hints, and untrusted text.
    pub fn key_ids(&self) -> impl Iterator<Item = Option<&str>> {
        self.signatures
            .iter()
            .map(|signed| signed.key_id.as_deref())
    }

    /// The signatures, strict DER: what a time stamp is over.
    pub fn signatures(&self) -> impl Iterator<Item = Vec<u8>> {
        self.signatures
            .iter()
            .map(|signed| signed.signature.to_der().as_bytes().to_vec())
    }

    /// The envelope as a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Text in a fixed shape always becomes JSON.
        serde_json::to_vec(&self.wire()).unwrap_or_default()
    }

    pub(super) fn wire(&self) -> Wire {
        Wire {
            payload: STANDARD.encode(self.statement.payload()),
            payload_type: PAYLOAD_TYPE,
            signatures: self
                .signatures
                .iter()
                .map(|signed| WireSignature {
                    keyid: signed.key_id.clone(),
                    sig: STANDARD.encode(signed.signature.to_der().as_bytes()),
                })
                .collect(),
        }
    }

    /// What is signed (DSSE v1, PAE): lengths make it unambiguous.
    fn pre_authentication(&self) -> Vec<u8> {
        pre_authentication(PAYLOAD_TYPE, self.statement.payload())
    }
}

/// What is signed of a payload of this type (DSSE v1, PAE).
pub(super) fn pre_authentication(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut message = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    )
    .into_bytes();
    message.extend_from_slice(payload);
    message
}

impl Signed {
    fn parse(value: Value) -> Result<Self, SignatureError> {
        let fault = || SignatureError::Schema("the members of a signature");
        let mut object = value.into_object().ok_or_else(fault)?;
        let key_id = match object.remove("keyid") {
            None => None,
            Some(key_id) => Some(key_id.into_text().ok_or_else(fault)?),
        };
        let [signature] = members(object, ["sig"]).ok_or_else(fault)?;
        Ok(Self {
            key_id,
            signature: signature::parse(&decode(signature, "`sig`")?)?,
        })
    }
}

/// Base64 in its one spelling.
pub(super) fn decode(value: Value, member: &'static str) -> Result<Vec<u8>, SignatureError> {
    let text = value.into_text().ok_or(SignatureError::Schema(member))?;
    let bytes = STANDARD.decode(&text).map_err(|_| SignatureError::Base64)?;
    if STANDARD.encode(&bytes) == text {
        Ok(bytes)
    } else {
        Err(SignatureError::Base64)
    }
}
