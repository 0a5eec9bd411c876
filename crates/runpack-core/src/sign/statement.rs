//! The in-toto Statement v1 about one pack: strict to read, one spelling to write.

use serde::Serialize;

use super::json::{self, Object};
use super::{SignError, SignatureError};
use crate::digest::Digest;
use crate::id::PackId;

const TYPE: &str = "https://in-toto.io/Statement/v1";
const PACK_PREDICATE_TYPE: &str = "urn:runpack:pack:v1";

/// Predicate types that Runpack gives a meaning to. What is not known here says nothing of a pack.
const RESERVED: &str = "urn:runpack:";

/// What is signed: a pack id, what people call the pack, and a predicate about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    name: String,
    pack_id: PackId,
    predicate_type: String,
    payload: Vec<u8>,
}

#[derive(Serialize)]
struct Wire<'a, P> {
    #[serde(rename = "_type")]
    statement_type: &'a str,
    subject: [WireSubject<'a>; 1],
    #[serde(rename = "predicateType")]
    predicate_type: &'a str,
    predicate: &'a P,
}

#[derive(Serialize)]
struct WireSubject<'a> {
    name: &'a str,
    digest: WireDigest<'a>,
}

#[derive(Serialize)]
struct WireDigest<'a> {
    sha256: &'a Digest,
}

#[derive(Serialize)]
struct PackPredicate {
    format: &'static str,
}

impl Statement {
    /// That this is the pack.
    pub fn of_pack(pack_id: PackId, name: &str) -> Self {
        let predicate = PackPredicate {
            format: crate::manifest::FORMAT,
        };
        // Text in a fixed shape always becomes JSON.
        let payload = payload(pack_id, name, PACK_PREDICATE_TYPE, &predicate).unwrap_or_default();
        Self {
            name: name.to_owned(),
            pack_id,
            predicate_type: PACK_PREDICATE_TYPE.to_owned(),
            payload,
        }
    }

    /// Something else about the pack, for an attestation.
    ///
    /// # Errors
    /// The predicate is no JSON, or none that [`Statement::parse`] takes.
    pub fn with_predicate(
        pack_id: PackId,
        name: &str,
        predicate_type: &str,
        predicate: &impl Serialize,
    ) -> Result<Self, SignError> {
        let payload = payload(pack_id, name, predicate_type, predicate)
            .map_err(|error| SignError::Predicate(error.to_string()))?;
        Self::parse(&payload).map_err(|error| SignError::Predicate(error.to_string()))
    }

    /// Reads a statement.
    ///
    /// # Errors
    /// It is not strict JSON, or not about exactly one pack.
    pub fn parse(payload: &[u8]) -> Result<Self, SignatureError> {
        let statement =
            json::parse_without(payload, "predicate").map_err(|fault| SignatureError::Json {
                part: "statement",
                fault: fault.to_string(),
            })?;
        let [statement_type, subject, predicate_type, _] = members(
            statement,
            ["_type", "subject", "predicateType", "predicate"],
        )
        .ok_or(SignatureError::Schema("the members of the statement"))?;
        if statement_type.into_text().as_deref() != Some(TYPE) {
            return Err(SignatureError::Schema("`_type` of the statement"));
        }
        let predicate_type = predicate_type
            .into_text()
            .ok_or(SignatureError::Schema("`predicateType`"))?;
        let subjects = subject
            .into_array()
            .and_then(|subjects| <[json::Value; 1]>::try_from(subjects).ok());
        let [subject] = subjects.ok_or(SignatureError::Schema("not exactly one `subject`"))?;
        let (name, pack_id) =
            pack(subject).ok_or(SignatureError::Schema("`subject` of the statement"))?;
        Ok(Self {
            name,
            pack_id,
            predicate_type,
            payload: payload.to_vec(),
        })
    }

    /// What people call the pack: untrusted text, show it escaped.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pack.
    pub fn pack_id(&self) -> PackId {
        self.pack_id
    }

    /// What kind of predicate there is: untrusted text, show it escaped.
    pub fn predicate_type(&self) -> &str {
        &self.predicate_type
    }

    /// Whether it says that this is the pack and nothing else that Runpack gives a meaning to: an
    /// attestation of what a store does vouches for no pack (L13).
    pub(super) fn is_about_the_pack_alone(&self) -> bool {
        self.predicate_type == PACK_PREDICATE_TYPE || !self.predicate_type.starts_with(RESERVED)
    }

    /// The bytes that are signed, JSON with the predicate in it.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

fn payload(
    pack_id: PackId,
    name: &str,
    predicate_type: &str,
    predicate: &impl Serialize,
) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Wire {
        statement_type: TYPE,
        subject: [WireSubject {
            name,
            digest: WireDigest {
                sha256: pack_id.digest(),
            },
        }],
        predicate_type,
        predicate,
    })
}

/// Name and pack id of a subject.
fn pack(subject: json::Value) -> Option<(String, PackId)> {
    let [name, digest] = members(subject.into_object()?, ["name", "digest"])?;
    let [sha256] = members(digest.into_object()?, ["sha256"])?;
    let digest: Digest = sha256.into_text()?.parse().ok()?;
    Some((name.into_text()?, PackId::new(digest)))
}

/// The values of exactly these members.
pub(super) fn members<const N: usize>(
    mut object: Object,
    names: [&str; N],
) -> Option<[json::Value; N]> {
    let values = names.map(|name| object.remove(name));
    let all_there = values.iter().all(Option::is_some) && object.is_empty();
    // `Other` never comes in: all are there.
    all_there.then(|| values.map(|value| value.unwrap_or(json::Value::Other)))
}
