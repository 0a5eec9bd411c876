//! What tools answer: a short text for the model, the same structured for programs, and problems it can act on.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rmcp::model::{CallToolResult, ContentBlock};
use rmcp::schemars::JsonSchema;
use runpack_core::display::Printable;
use serde::Serialize;
use serde_json::Value;

use crate::problem::Problem;

/// How many items of a list the text has; the structured answer has all.
pub(super) const LINES_MAX: usize = 20;

/// What a tool answers when it did what was asked.
#[derive(Debug)]
pub(super) struct Answer {
    text: String,
    structured: Value,
}

impl Answer {
    pub(super) fn new(text: String, structured: &impl Serialize) -> Self {
        Self {
            text,
            // Texts and numbers always serialize.
            structured: serde_json::to_value(structured).unwrap_or_default(),
        }
    }
}

impl From<Answer> for CallToolResult {
    fn from(answer: Answer) -> Self {
        let mut result = Self::success(vec![ContentBlock::text(answer.text)]);
        result.structured_content = Some(answer.structured);
        result
    }
}

/// A problem, as the error of a tool. It has no structured part: that would have to fit the schema of an answer.
pub(super) fn refused(problem: &Problem) -> CallToolResult {
    let mut text = format!(
        "not done, code=`{}`: {}\n",
        problem.code(),
        Printable(problem.detail())
    );
    if let Some(place) = problem.place() {
        add(&mut text, format_args!("at: {}\n", Printable(place)));
    }
    add(&mut text, format_args!("next: {}\n", problem.next()));
    CallToolResult::error(vec![ContentBlock::text(text)])
}

/// Adds to a text, which does not fail.
pub(super) fn add(text: &mut String, more: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(more);
}

/// Text from a pack as it may stand in an answer: escaped, and cut where it is long.
pub(super) fn shown(text: &str) -> String {
    let cut: String = text.chars().take(300).collect();
    Printable(&cut).to_string()
}

/// A pack that is kept.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct Exported {
    /// `new`, `again`, or `same-evidence`: a pack that was made at another time or by another program, and says the same.
    pub(super) outcome: &'static str,
    /// The SHA-256 of the manifest. Keep it elsewhere.
    pub(super) pack_id: String,
    /// Which run.
    pub(super) run_id: String,
    /// The SHA-256 of the specification.
    pub(super) spec_hash: String,
    /// When the pack was made.
    pub(super) created_at: String,
    /// Where it is, for people.
    pub(super) place: String,
    /// The bytes of all artifacts.
    pub(super) bytes: u64,
    /// The artifacts, the specification among them.
    pub(super) artifacts: Vec<ArtifactKept>,
    /// A line for a comment on a pull request or a ticket.
    pub(super) markdown: String,
    /// URLs to artifacts, where the store signs them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) links: Vec<LinkMade>,
}

/// An artifact that is kept.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct ArtifactKept {
    /// Its name within the pack.
    pub(super) name: String,
    /// What kind it is.
    pub(super) kind: String,
    /// Its size.
    pub(super) bytes: u64,
    /// The digest that stands for its bytes: up to 8 MiB their SHA-256.
    pub(super) commitment: String,
}

/// A URL to an artifact.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct LinkMade {
    /// The artifact.
    pub(super) name: String,
    /// To be followed without a token: whoever has it may read the artifact.
    pub(super) url: String,
    /// Until when.
    pub(super) expires_at: String,
    /// The same as Markdown.
    pub(super) markdown: String,
}

/// What a verification found.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct Verified {
    /// `valid`, `consistent`, `undecided`, `invalid`.
    pub(super) verdict: &'static str,
    /// How much was checked.
    pub(super) level: &'static str,
    /// The pack that was found; none where there is no sound manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pack_id: Option<String>,
    /// Whose pack it is, by name.
    pub(super) subject: BTreeMap<String, String>,
    /// What the verdict rests on: `pack_id`, or nothing outside of the pack.
    pub(super) rests_on: Vec<&'static str>,
    /// What the verifier objects to. The texts quote the pack.
    pub(super) findings: Vec<FindingTold>,
    /// How many more findings there are.
    pub(super) findings_unlisted: u64,
    /// What is worth saying and bears on nothing.
    pub(super) notes: Vec<String>,
    /// How many artifacts have the bytes that are committed to.
    pub(super) artifacts_proven: u64,
    /// How many bytes were read.
    pub(super) bytes_read: u64,
}

/// One thing that a verifier objects to.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct FindingTold {
    /// A stable code.
    pub(super) code: &'static str,
    /// The artifact or path that it is about, escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) about: Option<String>,
    /// What was found, escaped.
    pub(super) detail: String,
}

/// A part of a list of packs.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct Listed {
    /// By key.
    pub(super) packs: Vec<PackListed>,
    /// What to give as `after` for the next part; none where this was the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

/// A pack of a list.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct PackListed {
    /// The SHA-256 of its manifest.
    pub(super) pack_id: String,
    /// Whose it is, by name.
    pub(super) subject: BTreeMap<String, String>,
    /// When it was made, as whoever made it says.
    pub(super) created_at: String,
    /// How many artifacts it has.
    pub(super) artifacts: usize,
    /// Their bytes.
    pub(super) bytes: u64,
}
