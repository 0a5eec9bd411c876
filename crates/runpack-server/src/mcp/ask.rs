//! What tools are asked, as agents write it. Nothing of it is repaired, and nothing is passed over.

use std::collections::BTreeMap;

use rmcp::model::JsonObject;
use rmcp::schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::json;
use crate::problem::Problem;

const ID: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$";
const PACK_ID: &str = "^sha256:[0-9a-f]{64}$";

/// Reads arguments strictly: unknown members, arrays for objects and deep nesting are refused, with their place.
///
/// # Errors
/// They are not what the tool's schema says.
pub(super) fn read<T: DeserializeOwned>(arguments: JsonObject) -> Result<T, Problem> {
    // An object of JSON values always serializes.
    let bytes = serde_json::to_vec(&Value::Object(arguments)).unwrap_or_default();
    Ok(json::read(&bytes)?)
}

/// What becomes a pack.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct ExportAsked {
    /// Whose run it is.
    #[schemars(regex(pattern = ID))]
    pub(super) tenant: String,
    /// Where it ran, such as `prod`.
    #[schemars(regex(pattern = ID))]
    pub(super) namespace: String,
    /// What kind of run it is, such as `loan-approval`.
    #[schemars(regex(pattern = ID))]
    pub(super) scenario: String,
    /// Which run. Without one an id is made, and then the same export again is another pack: give one to be able to
    /// repeat a call.
    #[schemars(regex(pattern = ID))]
    #[serde(default)]
    pub(super) run_id: Option<String>,
    /// The specification that the run was made by, at most 8 MiB: its SHA-256 is the spec hash of the run. A text is
    /// kept as it is; an object or array is kept as JSON without spaces, its members sorted.
    #[schemars(with = "SpecSchema")]
    pub(super) spec: Value,
    /// The outputs of the run.
    #[serde(deserialize_with = "objects")]
    pub(super) artifacts: Vec<ArtifactAsked>,
    /// Short texts by key, for people and searches.
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
}

/// A text, an object, or an array.
#[derive(JsonSchema)]
#[schemars(crate = "rmcp::schemars", untagged)]
#[expect(dead_code, reason = "the shapes that a specification may have")]
enum SpecSchema {
    Text(String),
    Object(BTreeMap<String, Value>),
    Array(Vec<Value>),
}

/// One output, whose bytes exactly one member gives.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct ArtifactAsked {
    /// Its name within the pack, such as `results/decisions.json`. What is not ASCII is escaped in it.
    #[serde(default)]
    #[schemars(length(min = 1, max = 512))]
    pub(super) name: Option<String>,
    /// What kind of output it is, such as `decision-log`, `trace`, `report`; `file` where nothing is said.
    #[serde(default)]
    #[schemars(regex(pattern = "^[a-z0-9][a-z0-9-]{0,63}$"))]
    pub(super) kind: Option<String>,
    /// Its media type, such as `application/json`.
    #[serde(default)]
    pub(super) media_type: Option<String>,
    /// Its bytes as text.
    #[serde(default)]
    pub(super) text: Option<String>,
    /// Its bytes in base 64 (RFC 4648, section 4, with padding).
    #[serde(default)]
    pub(super) base64: Option<String>,
    /// A file below the root that the operator opened, relative to it; no link is followed.
    #[serde(default)]
    pub(super) path: Option<String>,
}

/// Which pack is verified, and how.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct VerifyAsked {
    /// The pack id that an export gave. With `path`, the id that the pack there must have.
    #[serde(default)]
    #[schemars(regex(pattern = PACK_ID))]
    pub(super) pack_id: Option<String>,
    /// A pack directory or bundle below the root that the operator opened, relative to it.
    #[serde(default)]
    pub(super) path: Option<String>,
    /// How much is checked; `full` where nothing is said.
    #[serde(default)]
    pub(super) level: Option<LevelAsked>,
}

/// How much is checked.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(crate = "rmcp::schemars")]
pub(super) enum LevelAsked {
    /// Every byte against its commitment.
    Full,
    /// Also the digests that producers claim for large files as a whole.
    Deep,
    /// Sizes only: proves no content, and is never `valid`.
    Presence,
}

/// Which packs are listed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct ListAsked {
    /// Of this tenant.
    #[schemars(regex(pattern = ID))]
    pub(super) tenant: String,
    /// In this namespace.
    #[serde(default)]
    #[schemars(regex(pattern = ID))]
    pub(super) namespace: Option<String>,
    /// Of this scenario; only with a namespace.
    #[serde(default)]
    #[schemars(regex(pattern = ID))]
    pub(super) scenario: Option<String>,
    /// Of this run; only with a scenario.
    #[serde(default)]
    #[schemars(regex(pattern = ID))]
    pub(super) run_id: Option<String>,
    /// What an earlier part gave as `next`.
    #[serde(default)]
    pub(super) after: Option<String>,
    /// At most so many.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub(super) limit: Option<u32>,
}

/// A list of objects: a derived reader takes arrays for them too (threat B02).
fn objects<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let objects = Vec::<JsonObject>::deserialize(deserializer)?;
    let read = objects.into_iter().enumerate().map(|(at, object)| {
        T::deserialize(Value::Object(object))
            .map_err(|error| serde::de::Error::custom(format_args!("number {at}: {error}")))
    });
    read.collect()
}
