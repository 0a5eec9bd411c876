//! Packs as other systems are told of them: OpenLineage, PROV-JSON, RO-Crate.
//!
//! An [`Interchange`] is what is known of one pack, or of those around it, and is written in each format by a module of its
//! own. Invariants:
//!
//! - a source that is not as it is named, and one that goes in a circle, is in no export; it is told beside it
//!   ([`Interchange::findings`]);
//! - a source that is only named, because nothing could be compared, is marked as claimed;
//! - nothing was verified for an export, and each says so;
//! - the same packs give the same bytes: there is no clock and no chance in it;
//! - text of packs is only ever a value. Names and references are made from what was parsed or digested, encoded
//!   ([`name::encoded`]).

mod gather;
mod name;
mod openlineage;
mod prov;
mod ro_crate;

use runpack_core::manifest::{Manifest, RunPart, Subject};
use runpack_core::retention::RetentionPolicies;
use runpack_core::time::Timestamp;
use serde_json::Value;

use crate::entry::{ArtifactEntry, InputEntry, Labels, PackEntry, Whole};
use crate::lineage::Known;

/// Labels of packs that an export understands. Whatever else a pack has of labels is carried along as it is.
mod label {
    /// How the run ended: `passed`, `failed`, `error`, `cancelled`, as executions say it. Another value, or none, is taken
    /// for `passed`: somebody has made a pack of it.
    pub(super) const OUTCOME: &str = "outcome";
    /// What is to be said of a run that failed.
    pub(super) const ERROR: &str = "error";
    /// When the run began, as the format writes times.
    pub(super) const STARTED_AT: &str = "started_at";
    /// Who ran it.
    pub(super) const AGENT: &str = "agent";
    /// Which of its versions.
    pub(super) const AGENT_VERSION: &str = "agent_version";
    /// Which pipeline a step, or a run of one, is of.
    pub(super) const PIPELINE: &str = "pipeline";
    /// Under which licence the artifacts are: a URL, or text.
    pub(super) const LICENSE: &str = "license";
}

/// What is known of packs, to be told to other systems.
#[derive(Debug, Clone)]
pub struct Interchange {
    /// By time, then by id.
    packs: Vec<Account>,
    findings: Vec<String>,
    is_sound: bool,
}

/// When a run is said to have begun, and is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a run does not begin after its pack was made, started_at=`{started_at}` created_at=`{created_at}`"
)]
pub struct StartError {
    started_at: Timestamp,
    created_at: Timestamp,
}

impl Interchange {
    /// Of one manifest, without a catalog: what its artifacts were made from is claimed.
    pub fn of(manifest: &Manifest) -> Self {
        let account = Account::of(
            Whole::of(manifest, &RetentionPolicies::default()),
            |_, input| {
                Some(Source {
                    input: input.clone(),
                    known: None,
                })
            },
        );
        Self {
            packs: vec![account],
            findings: Vec::new(),
            is_sound: true,
        }
    }

    /// With when the runs began, which no pack says by itself.
    ///
    /// # Errors
    /// A pack was made before that.
    pub fn with_start(mut self, started_at: Timestamp) -> Result<Self, StartError> {
        for account in &mut self.packs {
            let created_at = account.pack.created_at;
            if started_at > created_at {
                return Err(StartError {
                    started_at,
                    created_at,
                });
            }
            account.started_at = Some(started_at);
        }
        Ok(self)
    }

    /// What is wrong with the lineage of these packs, a line for each. May quote names of artifacts, escaped.
    pub fn findings(&self) -> &[String] {
        &self.findings
    }

    /// Whether no source is forged and nothing goes in a circle.
    pub const fn is_sound(&self) -> bool {
        self.is_sound
    }
}

/// A pack as it is told of.
#[derive(Debug, Clone)]
struct Account {
    pack: PackEntry,
    labels: Labels,
    started_at: Option<Timestamp>,
    /// What the run was given: its specification, the inputs of a step, plan and steps of a pipeline.
    given: Vec<Told>,
    /// What it made.
    made: Vec<Told>,
    /// How many sources were left out.
    left_out: u64,
}

/// An artifact, and what it was made from.
#[derive(Debug, Clone)]
struct Told {
    artifact: ArtifactEntry,
    sources: Vec<Source>,
}

/// What an artifact was made from.
#[derive(Debug, Clone)]
struct Source {
    input: InputEntry,
    /// Where the catalog has it, as it is named. Else it is claimed.
    known: Option<Known>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    Cancelled,
}

impl Account {
    /// `source` says what is known of what an artifact was made from, and nothing of what is to be left out.
    fn of(whole: Whole, source: impl Fn(&ArtifactEntry, &InputEntry) -> Option<Source>) -> Self {
        let Whole {
            pack,
            labels,
            artifacts,
        } = whole;
        let created_at = pack.created_at;
        let started_at = labels
            .get(label::STARTED_AT)
            .and_then(|text| text.parse().ok())
            .filter(|started_at| *started_at <= created_at);
        let mut account = Self {
            started_at,
            labels,
            given: Vec::new(),
            made: Vec::new(),
            left_out: 0,
            pack,
        };
        for (artifact, inputs) in artifacts {
            let mut sources = Vec::new();
            for input in &inputs {
                match source(&artifact, input) {
                    Some(source) => sources.push(source),
                    None => account.left_out = account.left_out.saturating_add(1),
                }
            }
            let told = Told { artifact, sources };
            if is_given(&account.pack.subject, &told.artifact) {
                account.given.push(told);
            } else {
                account.made.push(told);
            }
        }
        account
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }

    /// Who ran it, where labels say so: `AGENT` or `AGENT/VERSION`.
    fn agent(&self) -> Option<String> {
        let agent = self.label(label::AGENT)?;
        let version = self.label(label::AGENT_VERSION);
        Some(version.map_or_else(|| agent.to_owned(), |version| format!("{agent}/{version}")))
    }

    fn outcome(&self) -> Outcome {
        match self.label(label::OUTCOME) {
            Some("failed" | "error") => Outcome::Failed,
            Some("cancelled") => Outcome::Cancelled,
            _ => Outcome::Passed,
        }
    }

    /// What was given, then what was made.
    fn artifacts(&self) -> impl Iterator<Item = &Told> {
        self.given.iter().chain(&self.made)
    }

    fn sources(&self) -> impl Iterator<Item = &Source> {
        self.artifacts().flat_map(|told| &told.sources)
    }
}

/// Whether a run was given an artifact of its pack, and has not made it.
fn is_given(subject: &Subject, artifact: &ArtifactEntry) -> bool {
    match subject {
        Subject::Step { .. } => artifact.name.starts_with("inputs/"),
        // What was to be done, and what the steps made, each in a pack of its own. What became of it the run made.
        Subject::Pipeline { .. } => matches!(
            RunPart::named(&artifact.name),
            Some(RunPart::Definition | RunPart::Plan | RunPart::Step(_))
        ),
        _ => artifact.kind == "spec",
    }
}

/// Sets a member of what is an object.
fn set(object: &mut Value, member: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(member.to_owned(), value);
    }
}
