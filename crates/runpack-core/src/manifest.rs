//! The manifest: one canonical document that commits to every byte and every identity of a pack
//! (specification, sections 2 and 3).
//!
//! A [`Manifest`] is valid by construction, comes from [`Manifest::parse`] or [`Manifest::new`] alone,
//! and knows its pack id. Invariants: its stored bytes are the canonical form of themselves
//! (`b06_not_canonical`), every member counts, nothing in it weakens its own verification.

mod grammar;
mod part;
mod rules;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use grammar::{GrammarError, Kind, LabelKey, MediaType, Text};
pub use part::RunPart;
pub use rules::ManifestError;
pub(crate) use rules::check_names;

use crate::commitment::Content;
use crate::count::len_u64;
use crate::digest::Digest;
use crate::id::{
    ExecutionId, Namespace, PackId, PipelineTenant, ProducerName, RunId, Scenario, SpecHash,
    StepId, Tenant,
};
use crate::limits::Limits;
use crate::name::ArtifactName;
use crate::time::Timestamp;

/// The only format of this version.
pub const FORMAT: &str = "runpack/v1";

/// A pack's manifest, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    document: wire::Document,
    pack_id: PackId,
    /// How long the canonical bytes are.
    bytes: u64,
}

/// Labels: free text by key, for people and searches.
pub type Labels = BTreeMap<LabelKey, Text<1024>>;

/// What a pack is about. A closed union, so that no kind of subject can stand for another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Subject {
    /// One run of a scenario.
    Run {
        /// Whose run it is.
        tenant: Tenant,
        /// Where it ran.
        namespace: Namespace,
        /// What kind of run it is.
        scenario: Scenario,
        /// Which run.
        run_id: RunId,
        /// The SHA-256 of the specification that it was made by.
        spec_hash: SpecHash,
    },
    /// One step of a pipeline's run.
    Step {
        /// Whose pipeline it is.
        tenant: PipelineTenant,
        /// Which run.
        run_id: RunId,
        /// Which step.
        step_id: StepId,
    },
    /// A pipeline's run: its plan, what became of it, and the packs of its steps.
    Pipeline {
        /// Whose pipeline it is.
        tenant: PipelineTenant,
        /// Which run.
        run_id: RunId,
    },
    /// One execution on a runner or bench.
    Execution {
        /// Which execution.
        execution_id: ExecutionId,
    },
}

/// The program that made a pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Producer {
    /// Its name.
    pub name: ProducerName,
    /// Its version.
    pub version: Text<128>,
}

/// One artifact of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    name: ArtifactName,
    kind: Kind,
    media_type: MediaType,
    bytes: u64,
    content: Content,
    // Few artifacts have any of these: one pointer keeps the others small (250,000 must fit).
    extras: Option<Box<Extras>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Extras {
    title: Option<Text<1024>>,
    step: Option<StepId>,
    inputs: Vec<Input>,
    claimed_sha256: Option<Digest>,
}

/// An artifact of another pack, or of this one, that an artifact was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The commitment to the input's bytes.
    pub commitment: Digest,
    /// Its name in that pack.
    pub name: ArtifactName,
    /// The pack.
    pub pack: PackId,
}

impl Artifact {
    /// An artifact of `bytes` bytes with this content.
    ///
    /// # Errors
    /// The number of chunk digests does not fit the size.
    pub fn new(
        name: ArtifactName,
        kind: Kind,
        media_type: MediaType,
        bytes: u64,
        content: Content,
    ) -> Result<Self, GrammarError> {
        if !content.fits(bytes) {
            return Err(GrammarError::Chunks);
        }
        Ok(Self {
            name,
            kind,
            media_type,
            bytes,
            content,
            extras: None,
        })
    }

    /// With the original file name, for display.
    #[must_use]
    pub fn with_title(mut self, title: Text<1024>) -> Self {
        self.extras().title = Some(title);
        self
    }

    /// With the step that made it.
    #[must_use]
    pub fn with_step(mut self, step: StepId) -> Self {
        self.extras().step = Some(step);
        self
    }

    /// With what it was made from; none is the same as not calling this.
    #[must_use]
    pub fn with_inputs(mut self, inputs: Vec<Input>) -> Self {
        if !inputs.is_empty() {
            self.extras().inputs = inputs;
        }
        self
    }

    /// With what the producer says the digest of the whole is. Ignored for an artifact of at most
    /// one chunk, whose digest is its commitment.
    #[must_use]
    pub fn with_claimed_sha256(mut self, claimed: Digest) -> Self {
        if matches!(self.content, Content::Chunks(_)) {
            self.extras().claimed_sha256 = Some(claimed);
        }
        self
    }

    fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }

    /// The name within the pack.
    pub fn name(&self) -> &ArtifactName {
        &self.name
    }

    /// What kind of artifact it is.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The media type (RFC 6838).
    pub fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// The size.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The digests of the chunks.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// The digest that stands for the bytes.
    pub fn commitment(&self) -> Digest {
        self.content.commitment(self.bytes)
    }

    /// The original file name. For display only, and only escaped: it may hold anything.
    pub fn title(&self) -> Option<&str> {
        self.extras.as_ref()?.title.as_ref().map(Text::as_str)
    }

    /// The step that made it.
    pub fn step(&self) -> Option<&StepId> {
        self.extras.as_ref()?.step.as_ref()
    }

    /// What it was made from.
    pub fn inputs(&self) -> &[Input] {
        self.extras.as_ref().map_or(&[], |extras| &extras.inputs)
    }

    /// What the producer says the digest of the whole is: a claim until `verify --deep` has checked it.
    pub fn claimed_sha256(&self) -> Option<&Digest> {
        self.extras.as_ref()?.claimed_sha256.as_ref()
    }
}

impl Manifest {
    /// Parses and checks a manifest's bytes.
    ///
    /// ```
    /// use runpack_core::{limits::Limits, manifest::{Manifest, ManifestError}};
    ///
    /// let refused = Manifest::parse(b"{\"format\":\"runpack/v2\"}", &Limits::default());
    /// assert!(matches!(refused, Err(ManifestError::Format { .. })));
    /// ```
    ///
    /// # Errors
    /// The first rule that the bytes break, in the order of the specification's section 10.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self, ManifestError> {
        let document = wire::Document::parse(bytes, limits)?;
        rules::check(&document, limits)?;
        Ok(Self {
            document,
            pack_id: PackId::of(bytes),
            bytes: len_u64(bytes),
        })
    }

    /// A manifest of these artifacts, which are put in order.
    ///
    /// # Errors
    /// No artifacts, a name twice, names that collide, a wrong spec artifact, a limit.
    pub fn new(
        subject: Subject,
        created_at: Timestamp,
        producer: Producer,
        mut artifacts: Vec<Artifact>,
        labels: Labels,
        limits: &Limits,
    ) -> Result<Self, ManifestError> {
        artifacts.sort_by(|a, b| a.name.cmp(&b.name));
        let document = wire::Document {
            artifacts,
            created_at,
            labels,
            producer,
            subject,
        };
        document.check_subject_names()?;
        rules::check(&document, limits)?;
        let (bytes, digest) = document.measure();
        if bytes > limits.manifest_bytes_max {
            return Err(ManifestError::Size {
                bytes_max: limits.manifest_bytes_max,
            });
        }
        Ok(Self {
            document,
            pack_id: PackId::new(digest),
            bytes,
        })
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.document.to_bytes(self.bytes)
    }

    /// How long the canonical bytes are.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The SHA-256 of the canonical bytes.
    pub fn pack_id(&self) -> PackId {
        self.pack_id
    }

    /// What the pack is about.
    pub fn subject(&self) -> &Subject {
        &self.document.subject
    }

    /// When the pack was made, as its maker says: a claim.
    pub fn created_at(&self) -> Timestamp {
        self.document.created_at
    }

    /// The program that made it, as it says.
    pub fn producer(&self) -> &Producer {
        &self.document.producer
    }

    /// The artifacts, sorted by name.
    pub fn artifacts(&self) -> &[Artifact] {
        &self.document.artifacts
    }

    /// The artifact of this name.
    pub fn artifact(&self, name: &str) -> Option<&Artifact> {
        self.position(name).and_then(|at| self.artifacts().get(at))
    }

    /// The position of the artifact of this name.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.artifacts()
            .binary_search_by(|artifact| artifact.name.as_str().cmp(name))
            .ok()
    }

    /// The labels.
    pub fn labels(&self) -> &Labels {
        &self.document.labels
    }

    /// The bytes of all artifacts.
    pub fn artifact_bytes(&self) -> u64 {
        self.artifacts()
            .iter()
            .fold(0, |sum, artifact| sum.saturating_add(artifact.bytes))
    }

    /// The artifact that proves a run's `spec_hash`, if it is in the pack.
    pub fn spec(&self) -> Option<&Artifact> {
        self.artifacts()
            .iter()
            .find(|artifact| artifact.kind.is_spec())
    }

    /// Whether this and `other` say the same of the same bytes, and differ at most in `created_at`
    /// and `producer`.
    pub fn same_evidence(&self, other: &Self) -> bool {
        self.document.subject == other.document.subject
            && self.document.artifacts == other.document.artifacts
            && self.document.labels == other.document.labels
    }
}

impl Subject {
    /// The member `kind`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Run { .. } => "run",
            Self::Step { .. } => "step",
            Self::Pipeline { .. } => "pipeline",
            Self::Execution { .. } => "execution",
        }
    }

    /// Whether the keys of its artifacts say nothing of their bytes, and a store with versions may have let others in after
    /// them: then an artifact is what the manifest is, the oldest version.
    pub(crate) const fn is_kept_by_oldest(&self) -> bool {
        matches!(self, Self::Step { .. } | Self::Pipeline { .. })
    }

    /// The identity as `(member, value)`, in canonical order and without `kind`.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Run {
                tenant,
                namespace,
                scenario,
                run_id,
                spec_hash,
            } => vec![
                ("namespace", namespace.to_string()),
                ("run_id", run_id.to_string()),
                ("scenario", scenario.to_string()),
                ("spec_hash", spec_hash.to_string()),
                ("tenant", tenant.to_string()),
            ],
            Self::Step {
                tenant,
                run_id,
                step_id,
            } => vec![
                ("run_id", run_id.to_string()),
                ("step_id", step_id.to_string()),
                ("tenant", tenant.to_string()),
            ],
            Self::Pipeline { tenant, run_id } => vec![
                ("run_id", run_id.to_string()),
                ("tenant", tenant.to_string()),
            ],
            Self::Execution { execution_id } => vec![("execution_id", execution_id.to_string())],
        }
    }

    /// Whether an artifact of this subject may have this name (specification, section 6).
    pub fn admits(&self, name: &ArtifactName) -> bool {
        const LOGS: [&str; 4] = [
            "logs/runner.log",
            "logs/bench.log",
            "logs/stdout.log",
            "logs/stderr.log",
        ];
        let name = name.as_str();
        match self {
            Self::Run { .. } => true,
            Self::Step { .. } => name.starts_with("inputs/") || name.starts_with("outputs/"),
            Self::Pipeline { .. } => RunPart::named(name).is_some(),
            Self::Execution { .. } => {
                name == "metadata.json" || LOGS.contains(&name) || name.starts_with("artifacts/")
            }
        }
    }
}

/// Shares equal text between artifacts, so that 250,000 kinds cost what one does.
#[derive(Default)]
struct Shared(std::collections::HashSet<Arc<str>>);

impl Shared {
    fn get(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = text.into();
        self.0.insert(Arc::clone(&new));
        new
    }
}

#[cfg(test)]
mod tests;
