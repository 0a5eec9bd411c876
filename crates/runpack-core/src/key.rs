//! Object keys and the five layouts that they come from (specification, section 6).
//!
//! A [`Location`] says what an object is; [`Location::key`] is the only constructor of an
//! [`ObjectKey`], so no key is ever taken from a caller, a listing or a file. [`Location::parse`] gives
//! the location back. Invariant: since parsing is a function and undoes deriving, no identity of one
//! layout spells a key of another (`layouts_are_disjoint`).

mod parse;
mod part;
mod prefix;

use std::fmt;

pub use part::{Day, DeletionObject, LiveObject, Log, Month, PipelineObject, RecordObject};

use crate::digest::Digest;
use crate::id::{
    AgentId, AgentVersion, ExecutionId, Namespace, Organization, PackId, PipelineTenant, ProbeId,
    Project, RunId, Scenario, Service, SpecHash, Tenant,
};
use crate::manifest::{Manifest, RunPart, Subject};
use crate::name::ArtifactName;

/// The longest key, in bytes (Amazon S3 user guide, "Naming Amazon S3 objects").
pub const KEY_BYTES_MAX: usize = 1_024;

/// The name of an object in a store, without the store's own prefix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(Box<str>);

impl ObjectKey {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A part of the key space: all of it, what lies below a `/`, or what begins with one key.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPrefix(Box<str>);

impl KeyPrefix {
    /// The whole key space.
    pub fn all() -> Self {
        Self::default()
    }

    /// The part that holds `key`, and whatever other keys begin with it.
    pub fn of(key: &ObjectKey) -> Self {
        Self(key.0.clone())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A key that cannot be derived.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a key has at most 1024 bytes, shorten the ids or the artifact's name, bytes=`{bytes}`")]
pub struct KeyTooLong {
    /// How long it would be.
    pub bytes: usize,
}

/// What an object of a store is, over all layouts.
///
/// ```
/// use runpack_core::key::Location;
///
/// let key = "v1/org=acme/project=web/service=api/latest.json";
/// let location = Location::parse(key).unwrap();
/// assert!(matches!(location, Location::Record { .. }));
/// assert_eq!(location.key().unwrap().as_str(), key);
/// assert_eq!(Location::parse("../etc/passwd"), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Location {
    /// The manifest or, with a commitment, an artifact of a run.
    Run {
        /// Whose run it is.
        tenant: Tenant,
        /// Where it ran.
        namespace: Namespace,
        /// What kind of run it is.
        scenario: Scenario,
        /// Which run.
        run_id: RunId,
        /// The specification it was made by.
        spec_hash: SpecHash,
        /// The artifact's commitment and name, or `None` for `manifest.json`.
        artifact: Option<(Digest, ArtifactName)>,
    },
    /// A whole pack in one object.
    Bundle {
        /// The month of `created_at`.
        month: Month,
        /// Which run.
        run_id: RunId,
        /// Which pack.
        pack_id: PackId,
    },
    /// An object of a pipeline's run.
    Pipeline {
        /// Whose pipeline it is.
        tenant: PipelineTenant,
        /// Which run.
        run_id: RunId,
        /// Which object.
        object: PipelineObject,
    },
    /// The definition of a pipeline, by its SHA-256.
    PipelineDefinition {
        /// Whose pipeline it is.
        tenant: PipelineTenant,
        /// The SHA-256 of the definition.
        definition: Digest,
    },
    /// The manifest of an agent's version.
    Agent {
        /// Which agent.
        agent: AgentId,
        /// Which version.
        version: AgentVersion,
    },
    /// An object of the record layout.
    Record {
        /// Whose record it is.
        organization: Organization,
        /// Which project.
        project: Project,
        /// Which service.
        service: Service,
        /// Which object.
        object: RecordObject,
    },
    /// The manifest or an artifact of an execution.
    Execution {
        /// Which execution.
        execution_id: ExecutionId,
        /// The artifact (one that [`Subject::admits`]), or `None` for `manifest.json`.
        artifact: Option<ArtifactName>,
    },
    /// Where a pack lies: `_runpack/refs/{pack id hex}`. Never believed.
    Reference {
        /// Which pack.
        pack_id: PackId,
    },
    /// What a store said of a pack's versions: `_runpack/receipts/{pack id hex}/{receipt}.json`.
    Receipt {
        /// Which pack.
        pack_id: PackId,
        /// The SHA-256 of the receipt.
        receipt: Digest,
    },
    /// An entry of the ledger of holds: `_runpack/holds/{sequence}.json`.
    Hold {
        /// From 0, without a gap.
        sequence: u32,
    },
    /// What is written down of a removal by plan: `_runpack/audit/deletions/{pack id hex}/{removal}/...`. Never believed.
    Deletion {
        /// Which pack.
        pack_id: PackId,
        /// The SHA-256 of what was to be removed, as the plan says it.
        removal: Digest,
        /// Which object.
        object: DeletionObject,
    },
    /// What is known of an execution while it runs: `_runpack/live/{execution_id}/...`. No verifier reads it.
    Live {
        /// Which execution.
        execution_id: ExecutionId,
        /// Which object.
        object: LiveObject,
    },
    /// An object that shows what a store does: `_runpack/probe/{probe}`.
    Probe {
        /// Which one.
        probe: ProbeId,
    },
}

impl Location {
    /// The key of this location.
    ///
    /// # Errors
    /// The key would be over 1,024 bytes.
    pub fn key(&self) -> Result<ObjectKey, KeyTooLong> {
        let text = self.to_string();
        if text.len() > KEY_BYTES_MAX {
            return Err(KeyTooLong { bytes: text.len() });
        }
        Ok(ObjectKey(text.into()))
    }

    /// What a key stands for; `None` for everything that no layout derives.
    pub fn parse(key: &str) -> Option<Self> {
        if key.len() > KEY_BYTES_MAX {
            return None;
        }
        let location = parse::location(key)?;
        // One spelling: whatever reads as a location must be what that location writes.
        (location.to_string() == key).then_some(location)
    }

    /// The manifest of a pack about `subject`.
    pub fn manifest(subject: &Subject) -> Self {
        Self::of(subject, None)
    }

    /// An artifact of a pack about `subject`.
    pub fn artifact(subject: &Subject, name: &ArtifactName, commitment: Digest) -> Self {
        Self::of(subject, Some((commitment, name.clone())))
    }

    fn of(subject: &Subject, artifact: Option<(Digest, ArtifactName)>) -> Self {
        match subject.clone() {
            Subject::Run {
                tenant,
                namespace,
                scenario,
                run_id,
                spec_hash,
            } => Self::Run {
                tenant,
                namespace,
                scenario,
                run_id,
                spec_hash,
                artifact,
            },
            Subject::Step {
                tenant,
                run_id,
                step_id,
            } => {
                let object = match artifact {
                    None => PipelineObject::StepManifest { step_id },
                    Some((_, name)) => PipelineObject::StepArtifact { step_id, name },
                };
                Self::Pipeline {
                    tenant,
                    run_id,
                    object,
                }
            }
            Subject::Pipeline { tenant, run_id } => match artifact {
                None => Self::Pipeline {
                    tenant,
                    run_id,
                    object: PipelineObject::Manifest,
                },
                Some((commitment, name)) => Self::of_run_part(tenant, run_id, commitment, name),
            },
            Subject::Execution { execution_id } => Self::Execution {
                execution_id,
                artifact: artifact.map(|(_, name)| name),
            },
        }
    }

    /// An artifact of a pipeline's run. Two of them lie where they lie anyway: the definition by its hash, and the
    /// manifests of steps.
    fn of_run_part(
        tenant: PipelineTenant,
        run_id: RunId,
        commitment: Digest,
        name: ArtifactName,
    ) -> Self {
        let object = match RunPart::named(name.as_str()) {
            Some(RunPart::Definition) => {
                return Self::PipelineDefinition {
                    tenant,
                    definition: commitment,
                };
            }
            Some(RunPart::Step(step_id)) => PipelineObject::StepManifest { step_id },
            _ => PipelineObject::Artifact { name },
        };
        Self::Pipeline {
            tenant,
            run_id,
            object,
        }
    }

    /// Whose pack it is that has its manifest here; `None` where no manifest of a pack lies.
    pub fn manifest_subject(&self) -> Option<Subject> {
        match self.clone() {
            Self::Run {
                tenant,
                namespace,
                scenario,
                run_id,
                spec_hash,
                artifact: None,
            } => Some(Subject::Run {
                tenant,
                namespace,
                scenario,
                run_id,
                spec_hash,
            }),
            Self::Pipeline {
                tenant,
                run_id,
                object: PipelineObject::StepManifest { step_id },
            } => Some(Subject::Step {
                tenant,
                run_id,
                step_id,
            }),
            Self::Pipeline {
                tenant,
                run_id,
                object: PipelineObject::Manifest,
            } => Some(Subject::Pipeline { tenant, run_id }),
            Self::Execution {
                execution_id,
                artifact: None,
            } => Some(Subject::Execution { execution_id }),
            _ => None,
        }
    }

    /// The name of the artifact of a pack that lies here; `None` where none does. A step's manifest is an artifact of the
    /// pack of its run.
    pub fn artifact_name(&self) -> Option<ArtifactName> {
        match self {
            Self::Run { artifact, .. } => artifact.as_ref().map(|(_, name)| name.clone()),
            Self::Execution { artifact, .. } => artifact.clone(),
            Self::Pipeline { object, .. } => match object {
                PipelineObject::Artifact { name } | PipelineObject::StepArtifact { name, .. } => {
                    Some(name.clone())
                }
                PipelineObject::StepManifest { step_id } => {
                    RunPart::Step(step_id.clone()).name().parse().ok()
                }
                PipelineObject::Manifest => None,
            },
            Self::PipelineDefinition { .. } => RunPart::Definition.name().parse().ok(),
            _ => None,
        }
    }

    /// The bundle of a run's pack; `None` for other subjects, which have no place in the layout.
    pub fn bundle(manifest: &Manifest) -> Option<Self> {
        let (Subject::Run { run_id, .. }
        | Subject::Step { run_id, .. }
        | Subject::Pipeline { run_id, .. }) = manifest.subject()
        else {
            return None;
        };
        Some(Self::Bundle {
            month: Month::of(manifest.created_at()),
            run_id: run_id.clone(),
            pack_id: manifest.pack_id(),
        })
    }
}

/// The key as text, of any length.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run {
                tenant,
                namespace,
                scenario,
                run_id,
                spec_hash,
                artifact,
            } => {
                let spec = spec_hash.digest();
                write!(
                    f,
                    "tenant/{tenant}/namespace/{namespace}/scenario/{scenario}/run/{run_id}/{spec}/"
                )?;
                match artifact {
                    None => f.write_str("manifest.json"),
                    Some((commitment, name)) => write!(f, "{commitment}/{name}"),
                }
            }
            Self::Bundle {
                month,
                run_id,
                pack_id,
            } => {
                write!(f, "{month}/{run_id}/{}.tar.gz", pack_id.digest())
            }
            Self::Pipeline {
                tenant,
                run_id,
                object,
            } => {
                write!(f, "{tenant}/runs/{run_id}/{object}")
            }
            Self::PipelineDefinition { tenant, definition } => {
                write!(f, "{tenant}/pipelines/{definition}/definition.yaml")
            }
            Self::Agent { agent, version } => {
                write!(f, "registry/agents/{agent}/{version}/manifest.json")
            }
            Self::Record {
                organization,
                project,
                service,
                object,
            } => {
                write!(
                    f,
                    "v1/org={organization}/project={project}/service={service}/"
                )?;
                match object {
                    RecordObject::Payload { day, run_id } => {
                        write!(f, "date={day}/run={run_id}/payload.json")
                    }
                    RecordObject::Claim { run_id } => write!(f, "runs/{run_id}.json"),
                    RecordObject::Latest => f.write_str("latest.json"),
                    RecordObject::Daily { day } => write!(f, "manifests/date={day}.jsonl"),
                }
            }
            Self::Execution {
                execution_id,
                artifact,
            } => {
                write!(f, "executions/{execution_id}/")?;
                match artifact {
                    None => f.write_str("manifest.json"),
                    Some(name) => write!(f, "{name}"),
                }
            }
            Self::Receipt { pack_id, receipt } => {
                write!(f, "_runpack/receipts/{}/{receipt}.json", pack_id.digest())
            }
            Self::Hold { sequence } => write!(f, "_runpack/holds/{sequence:010}.json"),
            Self::Deletion {
                pack_id,
                removal,
                object,
            } => {
                let pack = pack_id.digest();
                write!(f, "_runpack/audit/deletions/{pack}/{removal}/{object}")
            }
            Self::Live {
                execution_id,
                object,
            } => {
                write!(f, "_runpack/live/{execution_id}/")?;
                match object {
                    LiveObject::Opening => f.write_str("opening.json"),
                    LiveObject::Upload { name } => write!(f, "uploads/{name}.json"),
                    LiveObject::LogPart { log, offset } => {
                        write!(f, "logs/{log}/{offset:020}")
                    }
                }
            }
            Self::Probe { probe } => write!(f, "_runpack/probe/{probe}"),
            Self::Reference { pack_id } => write!(f, "_runpack/refs/{}", pack_id.digest()),
        }
    }
}

#[cfg(test)]
mod tests;
