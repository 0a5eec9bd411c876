//! Documents of a pipeline: canonical JSON, read as strictly as a manifest (specification, sections 3 and 14).
//!
//! The types declare their members in canonical order, so writing a value is writing its canonical form. Reading writes
//! it again and compares: what serde would let through besides (an array for an object, `null` for nothing) is refused.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::count::len_u64;
use crate::json::{self, SyntaxError};

/// The most bytes of a plan, of metadata, of a registry entry and of a definition: one chunk.
pub const DOCUMENT_BYTES_MAX: u64 = crate::commitment::CHUNK_BYTES;
/// The deepest document (the object itself is depth 1).
const DEPTH_MAX: u32 = 16;

/// Why bytes are not the document that they stand for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// Larger than it may be.
    #[error("the document is larger than it may be, bytes_max=`{bytes_max}`")]
    Size {
        /// How much is allowed.
        bytes_max: u64,
    },
    /// Not one strict JSON object.
    #[error("the document is not one strict JSON object")]
    Syntax(#[from] SyntaxError),
    /// A member missing, unknown, or outside its grammar; another format among it.
    #[error("the document does not follow its schema")]
    Schema(#[source] serde_json::Error),
    /// A member that says nothing, which is left out.
    #[error("what says nothing is left out: empty lists and objects, and null, member=`{member}`")]
    Empty {
        /// Which, from the outermost.
        member: String,
    },
    /// Not the canonical spelling.
    #[error("the document's bytes are not its canonical form (RFC 8785)")]
    Canonical,
}

/// Reads a document in its one spelling.
pub(super) fn parse<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, DocumentError> {
    let document = read(bytes)?;
    if json::matches_canonical(&document, bytes) {
        Ok(document)
    } else {
        Err(DocumentError::Canonical)
    }
}

/// Reads a document that a person wrote: white space and the order of members are free, all else is as strict.
pub(super) fn draft<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, DocumentError> {
    let document: T = read(bytes)?;
    let given: Value = serde_json::from_slice(bytes).map_err(DocumentError::Schema)?;
    let understood = serde_json::to_value(&document).map_err(DocumentError::Schema)?;
    if given == understood {
        return Ok(document);
    }
    Err(match empty_member(&given, &understood) {
        Some(member) => DocumentError::Empty {
            member: member.trim_start_matches('.').to_owned(),
        },
        None => DocumentError::Canonical,
    })
}

/// The first member that was given, says nothing, and so is not there when it was understood.
fn empty_member(given: &Value, understood: &Value) -> Option<String> {
    match (given, understood) {
        (Value::Object(given), Value::Object(understood)) => {
            given.iter().find_map(|(name, value)| {
                let Some(kept) = understood.get(name) else {
                    return says_nothing(value).then(|| format!(".{name}"));
                };
                empty_member(value, kept).map(|below| format!(".{name}{below}"))
            })
        }
        (Value::Array(given), Value::Array(understood)) => {
            let mut pairs = (0_usize..).zip(given.iter().zip(understood));
            pairs.find_map(|(at, (value, kept))| {
                empty_member(value, kept).map(|below| format!("[{at}]{below}"))
            })
        }
        _ => None,
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DocumentError> {
    if len_u64(bytes) > DOCUMENT_BYTES_MAX {
        return Err(DocumentError::Size {
            bytes_max: DOCUMENT_BYTES_MAX,
        });
    }
    json::check(bytes, DEPTH_MAX)?;
    serde_json::from_slice(bytes).map_err(DocumentError::Schema)
}

/// The canonical bytes.
pub(super) fn to_bytes(document: &impl Serialize) -> Vec<u8> {
    // Texts and numbers in a fixed shape always become JSON.
    serde_json::to_vec(document).unwrap_or_default()
}
