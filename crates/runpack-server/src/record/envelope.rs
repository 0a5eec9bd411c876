//! The envelope: what a client sends.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use runpack_core::id::{Organization, Project, RunId, Service};
use runpack_core::manifest::{LabelKey, Text};
use runpack_core::time::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{RecordLimits, Stream};
use crate::json::{self, JsonError};

/// The commit that a run was made from: a Git object id in lower-case hexadecimal, 40 digits (SHA-1) or 64 (SHA-256).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitSha(Box<str>);

impl CommitSha {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Not a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a commit is 40 or 64 lower-case hexadecimal digits, never abbreviated")]
pub struct CommitShaError;

impl FromStr for CommitSha {
    type Err = CommitShaError;

    fn from_str(text: &str) -> Result<Self, CommitShaError> {
        let is_hex = text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if is_hex && matches!(text.len(), 40 | 64) {
            Ok(Self(text.into()))
        } else {
            Err(CommitShaError)
        }
    }
}

impl fmt::Display for CommitSha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<'de> Deserialize<'de> for CommitSha {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a client sends. What it says of the run is parsed, what the run put out stays as it was written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope<'a> {
    organization: Organization,
    project: Project,
    service: Service,
    run_id: RunId,
    #[serde(borrow)]
    artifact: &'a RawValue,
    #[serde(borrow, default)]
    diff: Option<&'a RawValue>,
    #[serde(borrow, default)]
    summary: Option<&'a RawValue>,
    commit_sha: CommitSha,
    generated_at: Timestamp,
    #[serde(default)]
    metadata: BTreeMap<LabelKey, Text<1024>>,
}

impl<'a> Envelope<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// It is not one strict JSON object of exactly these members; the place is named.
    pub fn parse(body: &'a [u8], limits: &RecordLimits) -> Result<Self, JsonError> {
        let envelope: Self = json::read(body)?;
        if envelope.artifact.get() == "null" {
            return Err(JsonError::at(
                "artifact",
                "an artifact is a value, not null",
            ));
        }
        if envelope.metadata.len() > limits.metadata_max {
            return Err(JsonError::at(
                "metadata",
                format_args!("at most {} entries are taken", limits.metadata_max),
            ));
        }
        Ok(envelope)
    }

    /// Whose record it is.
    pub fn stream(&self) -> Stream {
        Stream {
            organization: self.organization.clone(),
            project: self.project.clone(),
            service: self.service.clone(),
        }
    }

    /// Which run.
    pub fn run_id(&self) -> &RunId {
        &self.run_id
    }

    /// The commit that it was made from.
    pub fn commit_sha(&self) -> &CommitSha {
        &self.commit_sha
    }

    /// When it was made, as the client says.
    pub fn generated_at(&self) -> Timestamp {
        self.generated_at
    }

    /// What the run put out, as it was written.
    pub fn artifact(&self) -> &'a RawValue {
        self.artifact
    }

    /// What changed since the run before, as it was written; `null` counts as not there.
    pub fn diff(&self) -> Option<&'a RawValue> {
        self.diff
    }

    /// What it comes to, as it was written; `null` counts as not there.
    pub fn summary(&self) -> Option<&'a RawValue> {
        self.summary
    }
}
