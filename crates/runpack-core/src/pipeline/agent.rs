//! The registry of agents: what a name and a version stand for, written once (specification, section 14).
//!
//! An entry lies at `registry/agents/{agent}/{version}/manifest.json`, for the whole store. Invariant: an entry is never
//! replaced; the same again is success, and other bytes are an error that names both digests.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::document::{self, DOCUMENT_BYTES_MAX, DocumentError};
use super::kept::{self, too_long};
use super::plan::Plan;
use crate::digest::Digest;
use crate::finding::{Code, Finding};
use crate::id::{AgentId, AgentVersion, IdError, SpecHash};
use crate::key::{KeyTooLong, Location, ObjectKey};
use crate::manifest::{Labels, Text};
use crate::store::{ArtifactReader, Outcome, Store, StoreError};
use crate::time::Timestamp;

/// An agent: `NAME@VERSION`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentName {
    /// Which agent.
    pub name: AgentId,
    /// Which version of it.
    pub version: AgentVersion,
}

impl AgentName {
    /// Where its entry lies.
    ///
    /// # Errors
    /// The key would be too long.
    pub fn key(&self) -> Result<ObjectKey, KeyTooLong> {
        let location = Location::Agent {
            agent: self.name.clone(),
            version: self.version.clone(),
        };
        location.key()
    }
}

impl FromStr for AgentName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let (name, version) = text
            .split_once('@')
            .ok_or_else(|| IdError::Agent(text.to_owned()))?;
        Ok(Self {
            name: name.parse()?,
            version: version.parse()?,
        })
    }
}

impl fmt::Display for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Format {
    #[serde(rename = "runpack/agent/v1")]
    V1,
}

/// What a version of an agent is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentEntry {
    /// Which agent.
    pub agent: AgentId,
    /// When the entry was made, as whoever made it says.
    pub created_at: Timestamp,
    /// The SHA-256 of what defines it: its prompt, its graph, its configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<SpecHash>,
    /// Files that it is made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<AgentFile>,
    format: Format,
    /// Container images that it runs in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<AgentImage>,
    /// Free text by key.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// The model that it asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<AgentModel>,
    /// Which version.
    pub version: AgentVersion,
}

/// A file of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentFile {
    /// The size.
    pub bytes: u64,
    /// Its name, for people.
    pub name: Text<1024>,
    /// The SHA-256 of its bytes.
    pub sha256: Digest,
}

/// A container image of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentImage {
    /// The digest of its manifest, as `sha256:<hex>`.
    pub digest: SpecHash,
    /// Its name, for people.
    pub name: Text<1024>,
}

/// The model that an agent asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentModel {
    /// Which model, as its provider names it.
    pub name: Text<1024>,
    /// What it is asked with; numbers are written as text.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub parameters: Labels,
    /// Whose it is.
    pub provider: Text<1024>,
}

impl AgentEntry {
    /// An entry that says nothing yet but whose it is.
    pub fn new(agent: AgentName, created_at: Timestamp) -> Self {
        Self {
            agent: agent.name,
            created_at,
            definition: None,
            files: Vec::new(),
            format: Format::V1,
            images: Vec::new(),
            labels: Labels::new(),
            model: None,
            version: agent.version,
        }
    }

    /// Reads an entry in its one spelling.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        document::parse(bytes)
    }

    /// Reads an entry that a person wrote: white space and the order of members are free.
    ///
    /// # Errors
    /// It is none.
    pub fn draft(bytes: &[u8]) -> Result<Self, DocumentError> {
        document::draft(bytes)
    }

    /// The canonical bytes, whose SHA-256 a plan can name.
    pub fn to_bytes(&self) -> Vec<u8> {
        document::to_bytes(self)
    }

    /// Its name and version.
    pub fn name(&self) -> AgentName {
        AgentName {
            name: self.agent.clone(),
            version: self.version.clone(),
        }
    }
}

/// An entry that is in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registered {
    /// The SHA-256 of its bytes.
    pub sha256: Digest,
    /// Whether it is new.
    pub outcome: Outcome,
}

/// Writes an entry to the registry.
///
/// # Errors
/// [`StoreError::AlreadyExists`] where this version stands for something else; as the store fails.
pub async fn register_agent(
    store: &dyn Store,
    entry: &AgentEntry,
) -> Result<Registered, StoreError> {
    let key = entry.name().key().map_err(|error| too_long(&error))?;
    let bytes = entry.to_bytes();
    let sha256 = Digest::of(&bytes);
    let receipt = kept::write(store, &key, bytes.into()).await?;
    Ok(Registered {
        sha256,
        outcome: receipt.outcome,
    })
}

/// Reads the entry of an agent, and the SHA-256 of its bytes: the oldest version of it, where a store keeps versions.
/// `None` where what stands there is no entry of this agent.
///
/// # Errors
/// [`StoreError::NotFound`]; as the store fails.
pub async fn fetch_agent(
    store: &dyn ArtifactReader,
    agent: &AgentName,
) -> Result<Option<(AgentEntry, Digest)>, StoreError> {
    let key = agent.key().map_err(|error| too_long(&error))?;
    let Some(bytes) = kept::read(store, &key, DOCUMENT_BYTES_MAX).await? else {
        return Ok(None);
    };
    let entry = AgentEntry::parse(&bytes).ok();
    let entry = entry.filter(|entry| entry.name() == *agent);
    Ok(entry.map(|entry| (entry, Digest::of(&bytes))))
}

/// Where a plan says which entry of the registry an agent must be, what a verifier would object to: it has none, or another.
///
/// # Errors
/// As the store fails.
pub async fn check_agents(
    store: &dyn ArtifactReader,
    plan: &Plan,
) -> Result<Vec<Finding>, StoreError> {
    let mut found = Vec::new();
    for (agent, sha256) in plan.pinned_agents() {
        found.extend(check_agent(store, &agent, sha256).await?);
    }
    Ok(found)
}

/// The same of one agent.
pub(super) async fn check_agent(
    store: &dyn ArtifactReader,
    agent: &AgentName,
    sha256: Digest,
) -> Result<Option<Finding>, StoreError> {
    let detail = match fetch_agent(store, agent).await {
        Ok(Some((_, found))) if found == sha256 => return Ok(None),
        Ok(Some((_, found))) => {
            format!("the registry has another entry than the plan names, found=`{found}`")
        }
        Ok(None) => "what stands in the registry is no entry of this agent".to_owned(),
        Err(StoreError::NotFound { .. }) => "the registry does not have it".to_owned(),
        Err(error) => return Err(error),
    };
    let finding = Finding::new(Code::PipelineAgent, detail);
    Ok(Some(finding.about(format!("agent {agent}"))))
}
