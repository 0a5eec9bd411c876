//! What a catalog holds of a pack: what its manifest says, and nothing else.

use std::collections::BTreeMap;

use runpack_core::digest::Digest;
use runpack_core::id::{AgentId, AgentVersion, PackId, SpecHash};
use runpack_core::manifest::{Artifact, Manifest, Producer, Subject};
use runpack_core::retention::RetentionPolicies;
use runpack_core::time::Timestamp;
use serde::Serialize;
use sqlx::any::AnyRow;

use crate::error::CatalogError;
use crate::sql::{Columns, Value};

/// A pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PackEntry {
    /// The SHA-256 of its manifest.
    pub pack_id: PackId,
    /// Whose it is.
    pub subject: Subject,
    /// When it was made, as whoever made it says.
    pub created_at: Timestamp,
    /// What made it.
    pub producer: Producer,
    /// How many artifacts it has.
    pub artifacts: u64,
    /// Their bytes.
    pub artifact_bytes: u64,
    /// The agent that made it, where its label `agent` names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// The version of the agent, where its label `agent_version` names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<AgentVersion>,
    /// Until when it is kept.
    #[serde(flatten)]
    pub retention: RetentionEntry,
}

/// Until when a pack is kept, by the policies that the catalog was filled by. What is removed is decided from the store, and
/// never by this.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RetentionEntry {
    /// The policy that counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// When it expires; none where it is kept forever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl RetentionEntry {
    pub(crate) fn of(
        policies: &RetentionPolicies,
        subject: &Subject,
        created_at: Timestamp,
    ) -> Self {
        let expiry = policies.of(subject, created_at);
        Self {
            policy: expiry.policy.map(ToString::to_string),
            expires_at: expiry.expires_at,
        }
    }

    pub(crate) fn values(&self) -> [Value; 2] {
        let seconds = self.expires_at.map(Timestamp::unix_seconds);
        [self.policy.as_deref().into(), seconds.into()]
    }

    pub(crate) fn from_columns(columns: &mut Columns<'_>) -> Result<Self, CatalogError> {
        Ok(Self {
            policy: columns.text_if_any()?,
            expires_at: columns.time_if_any()?,
        })
    }
}

/// An artifact of a pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ArtifactEntry {
    /// Its pack.
    pub pack_id: PackId,
    /// Its name there.
    pub name: String,
    /// The original file name, for display.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What kind of artifact it is.
    pub kind: String,
    /// The media type (RFC 6838).
    pub media_type: String,
    /// The size.
    pub bytes: u64,
    /// What stands for its bytes.
    pub commitment: Digest,
    /// What its producer says the SHA-256 of the whole is: a claim, by which nothing is found or joined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed_sha256: Option<Digest>,
    /// The step that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// When its pack was made.
    pub created_at: Timestamp,
    /// Whose it is, where the pack's subject says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Until when its pack is kept.
    #[serde(flatten)]
    pub retention: RetentionEntry,
}

/// What an artifact was made from, as its manifest says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct InputEntry {
    /// The pack.
    pub pack: PackId,
    /// Its name there.
    pub name: String,
    /// The commitment to its bytes.
    pub commitment: Digest,
}

impl PackEntry {
    pub(crate) const COLUMNS: &str = "pack_id, subject, tenant, namespace, scenario, run_id, step_id, execution_id, \
                                      spec_hash, created_at, producer_name, producer_version, artifacts, \
                                      artifact_bytes, agent, agent_version, policy, expires_at";

    pub(crate) fn of(manifest: &Manifest, policies: &RetentionPolicies) -> Self {
        let label = |name| {
            let labels = manifest.labels().iter();
            let mut values = labels.filter(|(key, _)| key.as_str() == name);
            values.next().map(|(_, value)| value.as_str())
        };
        Self {
            pack_id: manifest.pack_id(),
            subject: manifest.subject().clone(),
            created_at: manifest.created_at(),
            producer: manifest.producer().clone(),
            artifacts: u64::try_from(manifest.artifacts().len()).unwrap_or(u64::MAX),
            artifact_bytes: manifest.artifact_bytes(),
            // What is no agent's name is a label like others.
            agent: label("agent").and_then(|name| name.parse().ok()),
            agent_version: label("agent_version").and_then(|version| version.parse().ok()),
            retention: RetentionEntry::of(policies, manifest.subject(), manifest.created_at()),
        }
    }

    pub(crate) fn values(&self) -> Vec<Value> {
        let mut values = vec![self.pack_id.digest().into()];
        let (subject, texts, spec_hash) = match &self.subject {
            Subject::Run {
                tenant,
                namespace,
                scenario,
                run_id,
                spec_hash,
            } => {
                let texts = [
                    Some(tenant.as_str()),
                    Some(namespace.as_str()),
                    Some(scenario.as_str()),
                    Some(run_id.as_str()),
                    None,
                    None,
                ];
                ("run", texts, Some(spec_hash.digest()))
            }
            Subject::Step {
                tenant,
                run_id,
                step_id,
            } => {
                let (tenant, run_id, step_id) =
                    (tenant.as_str(), run_id.as_str(), step_id.as_str());
                let texts = [Some(tenant), None, None, Some(run_id), Some(step_id), None];
                ("step", texts, None)
            }
            Subject::Pipeline { tenant, run_id } => {
                let (tenant, run_id) = (tenant.as_str(), run_id.as_str());
                let texts = [Some(tenant), None, None, Some(run_id), None, None];
                ("pipeline", texts, None)
            }
            Subject::Execution { execution_id } => {
                let texts = [None, None, None, None, None, Some(execution_id.as_str())];
                ("execution", texts, None)
            }
            // A closed union: another kind comes with its columns.
            _ => ("unknown", [None; 6], None),
        };
        values.push(subject.into());
        values.extend(texts.map(Value::from));
        values.push(spec_hash.into());
        values.push(self.created_at.unix_seconds().into());
        values.push(self.producer.name.as_str().into());
        values.push(self.producer.version.as_str().into());
        values.push(self.artifacts.into());
        values.push(self.artifact_bytes.into());
        values.push(self.agent.as_ref().map(AgentId::as_str).into());
        values.push(self.agent_version.as_ref().map(AgentVersion::as_str).into());
        values.extend(self.retention.values());
        values
    }

    pub(crate) fn read(row: &AnyRow) -> Result<Self, CatalogError> {
        let mut columns = Columns::of(row);
        let pack_id = PackId::new(columns.digest()?);
        let subject = columns.text()?;
        let missing =
            || CatalogError::damaged(format!("a pack has no subject, pack_id=`{pack_id}`"));
        let subject = match subject.as_str() {
            "run" => {
                let tenant = columns.parsed()?;
                let namespace = columns.parsed()?;
                let scenario = columns.parsed()?;
                let run_id = columns.parsed()?;
                columns.skip(2);
                Subject::Run {
                    tenant,
                    namespace,
                    scenario,
                    run_id,
                    spec_hash: columns
                        .digest_if_any()?
                        .map(SpecHash::new)
                        .ok_or_else(missing)?,
                }
            }
            "step" => {
                let tenant = columns.parsed()?;
                columns.skip(2);
                let run_id = columns.parsed()?;
                let step_id = columns.parsed()?;
                columns.skip(2);
                Subject::Step {
                    tenant,
                    run_id,
                    step_id,
                }
            }
            "pipeline" => {
                let tenant = columns.parsed()?;
                columns.skip(2);
                let run_id = columns.parsed()?;
                columns.skip(3);
                Subject::Pipeline { tenant, run_id }
            }
            "execution" => {
                columns.skip(5);
                let execution_id = columns.parsed()?;
                columns.skip(1);
                Subject::Execution { execution_id }
            }
            _ => return Err(missing()),
        };
        Ok(Self {
            pack_id,
            subject,
            created_at: columns.time()?,
            producer: Producer {
                name: columns.parsed()?,
                version: columns.parsed()?,
            },
            artifacts: columns.number()?,
            artifact_bytes: columns.number()?,
            agent: columns.parsed_if_any()?,
            agent_version: columns.parsed_if_any()?,
            retention: RetentionEntry::from_columns(&mut columns)?,
        })
    }
}

impl ArtifactEntry {
    pub(crate) const EACH: [&str; 13] = [
        "pack_id",
        "name",
        "title",
        "kind",
        "media_type",
        "bytes",
        "commitment",
        "claimed_sha256",
        "step",
        "created_at",
        "tenant",
        "policy",
        "expires_at",
    ];
    pub(crate) const COLUMNS: &str = "pack_id, name, title, kind, media_type, bytes, commitment, claimed_sha256, step, \
                                      created_at, tenant, policy, expires_at";

    pub(crate) fn of(pack: &PackEntry, artifact: &Artifact) -> Self {
        let tenant = match &pack.subject {
            Subject::Run { tenant, .. } => Some(tenant.to_string()),
            Subject::Step { tenant, .. } | Subject::Pipeline { tenant, .. } => {
                Some(tenant.to_string())
            }
            _ => None,
        };
        // An artifact of a step's pack was made by that step, and says so only where it may be another.
        let step = match (&pack.subject, artifact.step()) {
            (_, Some(step)) | (Subject::Step { step_id: step, .. }, None) => Some(step.to_string()),
            _ => None,
        };
        Self {
            pack_id: pack.pack_id,
            name: artifact.name().to_string(),
            title: artifact.title().map(str::to_owned),
            kind: artifact.kind().as_str().to_owned(),
            media_type: artifact.media_type().as_str().to_owned(),
            bytes: artifact.bytes(),
            commitment: artifact.commitment(),
            claimed_sha256: artifact.claimed_sha256().copied(),
            step,
            created_at: pack.created_at,
            tenant,
            retention: pack.retention.clone(),
        }
    }

    pub(crate) fn values(&self) -> Vec<Value> {
        let mut values = vec![
            self.pack_id.digest().into(),
            self.name.as_str().into(),
            self.title.as_deref().into(),
            self.kind.as_str().into(),
            self.media_type.as_str().into(),
            self.bytes.into(),
            (&self.commitment).into(),
            self.claimed_sha256.as_ref().into(),
            self.step.as_deref().into(),
            self.created_at.unix_seconds().into(),
            self.tenant.as_deref().into(),
        ];
        values.extend(self.retention.values());
        values
    }

    pub(crate) fn read(row: &AnyRow) -> Result<Self, CatalogError> {
        Self::from_columns(&mut Columns::of(row))
    }

    pub(crate) fn from_columns(columns: &mut Columns<'_>) -> Result<Self, CatalogError> {
        Ok(Self {
            pack_id: PackId::new(columns.digest()?),
            name: columns.text()?,
            title: columns.text_if_any()?,
            kind: columns.text()?,
            media_type: columns.text()?,
            bytes: columns.number()?,
            commitment: columns.digest()?,
            claimed_sha256: columns.digest_if_any()?,
            step: columns.text_if_any()?,
            created_at: columns.time()?,
            tenant: columns.text_if_any()?,
            retention: RetentionEntry::from_columns(columns)?,
        })
    }
}

/// The labels of a pack.
pub(crate) type Labels = BTreeMap<String, String>;

/// All that a catalog holds of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Whole {
    pub(crate) pack: PackEntry,
    pub(crate) labels: Labels,
    pub(crate) artifacts: Vec<(ArtifactEntry, Vec<InputEntry>)>,
}

impl Whole {
    pub(crate) fn of(manifest: &Manifest, policies: &RetentionPolicies) -> Self {
        let pack = PackEntry::of(manifest, policies);
        let labels = manifest.labels().iter();
        let labels =
            labels.map(|(label, value)| (label.as_str().to_owned(), value.as_str().to_owned()));
        let artifacts = manifest.artifacts().iter().map(|artifact| {
            let inputs = artifact.inputs().iter().map(|input| InputEntry {
                pack: input.pack,
                name: input.name.to_string(),
                commitment: input.commitment,
            });
            (ArtifactEntry::of(&pack, artifact), inputs.collect())
        });
        Self {
            labels: labels.collect(),
            artifacts: artifacts.collect(),
            pack,
        }
    }
}
