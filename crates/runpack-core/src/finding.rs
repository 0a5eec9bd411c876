//! What a verifier objects to, with codes that do not change (specification, section 11).

use std::fmt;

use serde::{Serialize, Serializer};

use crate::manifest::ManifestError;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// The stable code of a finding.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code as the specification spells it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

codes! {
    /// No manifest.
    ManifestMissing = "manifest.missing",
    /// Not a regular file, or larger than the limit.
    ManifestSize = "manifest.size",
    /// Not one strict JSON object.
    ManifestSyntax = "manifest.syntax",
    /// Another format.
    ManifestFormat = "manifest.format",
    /// A member missing, unknown, or outside its grammar.
    ManifestSchema = "manifest.schema",
    /// Not the canonical bytes.
    ManifestCanonical = "manifest.canonical",
    /// Over a limit of the caller.
    ManifestLimit = "manifest.limit",
    /// Artifacts out of order or named twice.
    ManifestOrder = "manifest.order",
    /// Names that cannot stand together.
    ManifestCollision = "manifest.collision",
    /// The spec artifact is against the rules.
    ManifestSpec = "manifest.spec",
    /// The manifest could not be read.
    ManifestUnread = "manifest.unread",
    /// An artifact is not there.
    ArtifactMissing = "artifact.missing",
    /// Something else than a regular file stands in an artifact's place.
    ArtifactType = "artifact.type",
    /// An artifact has another size.
    ArtifactSize = "artifact.size",
    /// An artifact has other bytes.
    ArtifactDigest = "artifact.digest",
    /// An artifact's claimed digest is not that of its bytes.
    ArtifactClaimed = "artifact.claimed",
    /// An artifact could not be read.
    ArtifactUnread = "artifact.unread",
    /// Something that the manifest does not list.
    ContainerStranger = "container.stranger",
    /// The gzip layer is broken.
    BundleGzip = "bundle.gzip",
    /// The archive is not the one that the manifest gives.
    BundleTar = "bundle.tar",
    /// The bundle ends too early.
    BundleTruncated = "bundle.truncated",
    /// Something follows the bundle's end.
    BundleTrailing = "bundle.trailing",
    /// Not the pack that was expected.
    PinPackId = "pin.pack_id",
    /// Not the pack that a local receipt recorded.
    PinReceipt = "pin.receipt",
    /// The signature does not hold.
    PinSignature = "pin.signature",
    /// Not the identity that was expected.
    PinIdentity = "pin.identity",
    /// The plan of a pipeline's run is none.
    PipelinePlan = "pipeline.plan",
    /// The audit trail of a pipeline's run was changed, or tells of another run.
    PipelineTrail = "pipeline.trail",
    /// The metadata of a pipeline's run is not what plan and trail give.
    PipelineMetadata = "pipeline.metadata",
    /// A step is missing, is not in the plan, or is not the one that the trail tells of.
    PipelineStep = "pipeline.step",
    /// An input of a step does not come from where it must.
    PipelineInput = "pipeline.input",
    /// An artifact of a step names something as its source that the step does not come after.
    PipelineLink = "pipeline.link",
    /// A step was made by another agent than planned, or the agent is not the one that the plan names.
    PipelineAgent = "pipeline.agent",
    /// A store shows different manifests for one subject.
    StoreEquivocation = "store.equivocation",
}

impl Code {
    /// Whether the finding says that something could not be read, and not that it is wrong.
    pub const fn is_undecided(self) -> bool {
        matches!(self, Self::ManifestUnread | Self::ArtifactUnread)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One thing that a verifier objects to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The stable code.
    pub code: Code,
    /// The artifact, or path of a stranger, that it is about. Untrusted text: show it escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// What was found, for people. May quote untrusted text: show it escaped.
    pub detail: String,
    /// The damaged chunks of a large artifact, as far as they are listed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damaged_chunks: Vec<u64>,
}

impl Finding {
    /// A finding about the pack as a whole.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            about: None,
            detail: detail.into(),
            damaged_chunks: Vec::new(),
        }
    }

    /// The same, about an artifact or path.
    #[must_use]
    pub fn about(mut self, name: impl Into<String>) -> Self {
        self.about = Some(name.into());
        self
    }

    /// The same, with the damaged chunks.
    #[must_use]
    pub fn with_damaged_chunks(mut self, chunks: Vec<u64>) -> Self {
        self.damaged_chunks = chunks;
        self
    }
}

impl From<&ManifestError> for Finding {
    fn from(error: &ManifestError) -> Self {
        let code = match error {
            ManifestError::Size { .. } => Code::ManifestSize,
            ManifestError::Syntax(_) => Code::ManifestSyntax,
            ManifestError::Format { .. } => Code::ManifestFormat,
            ManifestError::Schema(_) => Code::ManifestSchema,
            ManifestError::Canonical => Code::ManifestCanonical,
            ManifestError::Limit { .. } => Code::ManifestLimit,
            ManifestError::Order { .. } => Code::ManifestOrder,
            ManifestError::Collision { .. } => Code::ManifestCollision,
            ManifestError::Spec(_) => Code::ManifestSpec,
        };
        let mut detail = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            detail.push_str(": ");
            detail.push_str(&cause.to_string());
            source = cause.source();
        }
        Self::new(code, detail)
    }
}

/// Findings as they are collected: the first ones in full, the rest counted.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) listed: Vec<Finding>,
    /// How many more there are.
    pub(crate) unlisted: u64,
    pub(crate) has_invalid: bool,
    pub(crate) has_undecided: bool,
}

impl Findings {
    pub(crate) fn push(&mut self, finding: Finding, max: usize) {
        if finding.code.is_undecided() {
            self.has_undecided = true;
        } else {
            self.has_invalid = true;
        }
        if self.listed.len() < max {
            self.listed.push(finding);
        } else {
            self.unlisted = self.unlisted.saturating_add(1);
        }
    }

    /// Counts findings that are not listed, all of which say that something is wrong.
    pub(crate) fn count(&mut self, unlisted: u64) {
        self.has_invalid |= unlisted > 0;
        self.unlisted = self.unlisted.saturating_add(unlisted);
    }
}
