//! A signed statement as a Sigstore bundle v0.3, the file that stock verifiers take
//! (github.com/sigstore/protobuf-specs, `sigstore_bundle.proto`): envelope, a hint at the key, and time
//! stamps over the signature.
//!
//! Invariants: exactly one signature, as the bundle format asks; no certificate and no transparency log,
//! so that nobody but the holder of the trusted key vouches; strict to read, one spelling to write.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::envelope::{self, decode};
use super::json::{self, Object, Value};
use super::statement::members;
use super::{Envelope, SignatureError, VerifyingKey};

/// What a bundle says it is.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// The most time stamps of a bundle. Stops one made to cost a chain of certificates each.
pub const TIMESTAMPS_MAX: usize = 16;

/// The largest answer of a time stamping authority.
pub const TIMESTAMP_BYTES_MAX: usize = 64 << 10;

/// A signed statement with what a verifier needs beside the key. That it parsed says nothing of who
/// made it.
#[derive(Debug, Clone, PartialEq)]
pub struct SigstoreBundle {
    envelope: Envelope,
    /// A hint for tools. Nothing is decided by it (B18).
    hint: String,
    timestamps: Vec<Vec<u8>>,
}

/// Why a bundle cannot be made, or does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Larger than it may be.
    #[error("the bundle is larger than it may be, bytes_max=`{bytes_max}`")]
    Size {
        /// The most that it may have.
        bytes_max: usize,
    },
    /// Not strict JSON.
    #[error("the bundle is not strict JSON: {0}")]
    Json(String),
    /// A member missing, unknown, or of another type or value.
    #[error("not a Sigstore bundle v0.3 signed with a plain public key: {0}")]
    Schema(&'static str),
    /// None, or more than one.
    #[error("a Sigstore bundle has exactly one signature, found=`{found}`")]
    Signatures {
        /// How many there are.
        found: usize,
    },
    /// Too many time stamps, one that is too large, or one twice.
    #[error(
        "a bundle has at most {TIMESTAMPS_MAX} time stamps of at most {TIMESTAMP_BYTES_MAX} bytes each, none of them twice"
    )]
    Timestamps,
    /// The envelope inside.
    #[error(transparent)]
    Envelope(#[from] SignatureError),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    media_type: &'static str,
    verification_material: Material<'a>,
    dsse_envelope: envelope::Wire,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Material<'a> {
    public_key: PublicKey<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp_verification_data: Option<Timestamps>,
}

#[derive(Serialize)]
struct PublicKey<'a> {
    hint: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Timestamps {
    rfc3161_timestamps: Vec<Timestamp>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Timestamp {
    signed_timestamp: String,
}

impl SigstoreBundle {
    /// An envelope that this key has signed.
    ///
    /// # Errors
    /// It has another number of signatures than one.
    pub fn new(envelope: Envelope, key: &VerifyingKey) -> Result<Self, BundleError> {
        Self::checked(Self {
            envelope,
            hint: STANDARD.encode(key.key_id().as_bytes()),
            timestamps: Vec::new(),
        })
    }

    fn checked(self) -> Result<Self, BundleError> {
        match self.envelope.signatures().count() {
            1 => Ok(self),
            found => Err(BundleError::Signatures { found }),
        }
    }

    /// Whether the file says that it is a bundle, so that it is not a bare envelope.
    pub fn is_one(bytes: &[u8]) -> bool {
        json::parse_without(bytes, "dsseEnvelope")
            .is_ok_and(|object| object.contains_key("mediaType"))
    }

    /// Reads a bundle of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// It is not one in the only form that is taken.
    pub fn parse(bytes: &[u8], bytes_max: usize) -> Result<Self, BundleError> {
        if bytes.len() > bytes_max {
            return Err(BundleError::Size { bytes_max });
        }
        let bundle = json::parse(bytes).map_err(|fault| BundleError::Json(fault.to_string()))?;
        let [media_type, material, envelope] = members(
            bundle,
            ["mediaType", "verificationMaterial", "dsseEnvelope"],
        )
        .ok_or(BundleError::Schema("the members of the bundle"))?;
        if media_type.into_text().as_deref() != Some(MEDIA_TYPE) {
            return Err(BundleError::Schema("`mediaType`"));
        }
        let envelope = envelope
            .into_object()
            .ok_or(BundleError::Schema("`dsseEnvelope`"))?;
        let mut material = material
            .into_object()
            .ok_or(BundleError::Schema("`verificationMaterial`"))?;
        let timestamps = timestamps(material.remove("timestampVerificationData"))?;
        // Writers that know of logs say that there is none.
        if let Some(entries) = material.remove("tlogEntries")
            && entries
                .into_array()
                .is_none_or(|entries| !entries.is_empty())
        {
            return Err(BundleError::Schema("`tlogEntries`"));
        }
        Self::checked(Self {
            envelope: Envelope::from_object(envelope, bytes_max)?,
            hint: hint(material).ok_or(BundleError::Schema("`publicKey`"))?,
            timestamps,
        })
    }

    /// Whether what it says of its key, if it says anything, is this one: a hint that contradicts was put there by
    /// somebody else.
    pub fn names(&self, key: &VerifyingKey) -> bool {
        let key_id = key.key_id();
        let is_ours = |named: Option<&str>| named.is_none_or(|named| named == key_id.to_string());
        self.hint == STANDARD.encode(key_id.as_bytes()) && self.envelope.key_ids().all(is_ours)
    }

    /// The envelope.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The one signature, strict DER: what the time stamps are over.
    pub fn signature(&self) -> Vec<u8> {
        self.envelope.signatures().next().unwrap_or_default()
    }

    /// What time stamping authorities answered (RFC 3161, `TimeStampResp` in DER): untrusted bytes.
    pub fn timestamps(&self) -> &[Vec<u8>] {
        &self.timestamps
    }

    /// Adds the answer of a time stamping authority, `TimeStampResp` in DER. It is not checked here.
    ///
    /// # Errors
    /// It is too large, there are too many, or it is there already.
    pub fn attach_timestamp(&mut self, response: Vec<u8>) -> Result<(), BundleError> {
        if self.timestamps.len() >= TIMESTAMPS_MAX
            || response.is_empty()
            || response.len() > TIMESTAMP_BYTES_MAX
            || self.timestamps.contains(&response)
        {
            return Err(BundleError::Timestamps);
        }
        self.timestamps.push(response);
        Ok(())
    }

    /// The bundle as a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let stamps: Vec<_> = self
            .timestamps
            .iter()
            .map(|stamp| Timestamp {
                signed_timestamp: STANDARD.encode(stamp),
            })
            .collect();
        let wire = Wire {
            media_type: MEDIA_TYPE,
            verification_material: Material {
                public_key: PublicKey { hint: &self.hint },
                timestamp_verification_data: (!stamps.is_empty()).then_some(Timestamps {
                    rfc3161_timestamps: stamps,
                }),
            },
            dsse_envelope: self.envelope.wire(),
        };
        // Text in a fixed shape always becomes JSON.
        serde_json::to_vec(&wire).unwrap_or_default()
    }
}

fn hint(material: Object) -> Option<String> {
    let [key] = members(material, ["publicKey"])?;
    let [hint] = members(key.into_object()?, ["hint"])?;
    hint.into_text()
}

fn timestamps(data: Option<Value>) -> Result<Vec<Vec<u8>>, BundleError> {
    let fault = || BundleError::Schema("`timestampVerificationData`");
    let Some(data) = data else {
        return Ok(Vec::new());
    };
    let [stamps] = data
        .into_object()
        .and_then(|data| members(data, ["rfc3161Timestamps"]))
        .ok_or_else(fault)?;
    let mut known: Vec<Vec<u8>> = Vec::new();
    for stamp in stamps.into_array().ok_or_else(fault)? {
        let [stamp] = stamp
            .into_object()
            .and_then(|stamp| members(stamp, ["signedTimestamp"]))
            .ok_or_else(fault)?;
        let stamp = decode(stamp, "`signedTimestamp`")?;
        if known.len() >= TIMESTAMPS_MAX
            || stamp.is_empty()
            || stamp.len() > TIMESTAMP_BYTES_MAX
            || known.contains(&stamp)
        {
            return Err(BundleError::Timestamps);
        }
        known.push(stamp);
    }
    Ok(known)
}
