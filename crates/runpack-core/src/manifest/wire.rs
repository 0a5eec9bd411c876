//! How a manifest stands in JSON. The fields of every type here are declared in canonical order, so
//! writing a value is writing its RFC 8785 form (the property `written_form_is_jcs` holds this).
//!
//! Reading is strict beyond what serde derives: an object is never an array (B02), an optional member
//! is never `null`, and nothing is flattened (B03).

use std::fmt;
use std::io;
use std::marker::PhantomData;

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::ser::{Error as _, SerializeMap as _, SerializeSeq as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    Artifact, Extras, Input, Kind, Labels, ManifestError, MediaType, Producer, Shared, Subject,
    Text,
};
use crate::commitment::Content;
use crate::digest::{Digest, Hasher};
use crate::id::{
    ExecutionId, Namespace, PipelineTenant, RunId, Scenario, SpecHash, StepId, Tenant,
};
use crate::json;
use crate::limits::Limits;
use crate::name::ArtifactName;
use crate::time::Timestamp;

/// The document, every member within its grammar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Document {
    pub(super) artifacts: Vec<Artifact>,
    pub(super) created_at: Timestamp,
    pub(super) labels: Labels,
    pub(super) producer: Producer,
    pub(super) subject: Subject,
}

impl Document {
    pub(super) fn parse(bytes: &[u8], limits: &Limits) -> Result<Self, ManifestError> {
        let size = crate::count::len_u64(bytes);
        if size > limits.manifest_bytes_max {
            return Err(ManifestError::Size {
                bytes_max: limits.manifest_bytes_max,
            });
        }
        let format = json::check(bytes, limits.json_depth_max)?;
        if format.as_deref() != Some(super::FORMAT) {
            return Err(ManifestError::Format { found: format });
        }
        let Object(document): Object<Members> =
            serde_json::from_slice(bytes).map_err(ManifestError::Schema)?;
        let document = Self {
            artifacts: document.artifacts,
            created_at: document.created_at,
            labels: document.labels,
            producer: document.producer.0,
            subject: document.subject,
        };
        document.check_subject_names()?;
        if !json::matches_canonical(&document, bytes) {
            return Err(ManifestError::Canonical);
        }
        Ok(document)
    }

    /// Part of the schema: which names a subject's artifacts may have, and which there must be.
    pub(super) fn check_subject_names(&self) -> Result<(), ManifestError> {
        if self.artifacts.is_empty() {
            return Err(ManifestError::Schema(serde_json::Error::custom(
                "a pack has at least one artifact",
            )));
        }
        if let Some(artifact) = self
            .artifacts
            .iter()
            .find(|artifact| !self.subject.admits(artifact.name()))
        {
            return Err(ManifestError::Schema(serde_json::Error::custom(
                format_args!(
                    "this subject has no artifact of this name, name=`{}`",
                    artifact.name()
                ),
            )));
        }
        super::part::check(&self.subject, &self.artifacts)
            .map_err(|fault| ManifestError::Schema(serde_json::Error::custom(fault)))
    }

    /// The size and digest of the canonical bytes, without holding them.
    pub(super) fn measure(&self) -> (u64, Digest) {
        let mut measure = Measure {
            bytes: 0,
            hasher: Hasher::new(),
        };
        // Writing fails only where a value refuses to be written, and none of ours does.
        let _ = serde_json::to_writer(io::BufWriter::new(&mut measure), self);
        (measure.bytes, measure.hasher.finish())
    }

    /// The canonical bytes, which are so many: growing step by step would take their memory two more times.
    pub(super) fn to_bytes(&self, expected: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or(0));
        // Writing to memory fails only where a value refuses to be written, and none of ours does.
        let _ = serde_json::to_writer(&mut bytes, self);
        bytes
    }
}

struct Measure {
    bytes: u64,
    hasher: Hasher,
}

impl io::Write for Measure {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes = self.bytes.saturating_add(crate::count::len_u64(bytes));
        self.hasher.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("artifacts", &List(&self.artifacts))?;
        map.serialize_entry("created_at", &self.created_at)?;
        map.serialize_entry("format", super::FORMAT)?;
        map.serialize_entry("labels", &self.labels)?;
        map.serialize_entry("producer", &self.producer)?;
        map.serialize_entry("subject", &self.subject)?;
        map.end()
    }
}

struct List<'a>(&'a [Artifact]);

impl Serialize for List<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        for artifact in self.0 {
            seq.serialize_element(artifact)?;
        }
        seq.end()
    }
}

impl Serialize for Artifact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("bytes", &self.bytes)?;
        if let Content::Chunks(digests) = &self.content {
            map.serialize_entry("chunks", digests)?;
        }
        if let Some(claimed) = self.claimed_sha256() {
            map.serialize_entry("claimed_sha256", claimed)?;
        }
        if !self.inputs().is_empty() {
            map.serialize_entry("inputs", self.inputs())?;
        }
        map.serialize_entry("kind", &self.kind)?;
        map.serialize_entry("media_type", &self.media_type)?;
        map.serialize_entry("name", &self.name)?;
        if let Content::Whole(digest) = &self.content {
            map.serialize_entry("sha256", digest)?;
        }
        if let Some(step) = self.step() {
            map.serialize_entry("step", step)?;
        }
        if let Some(title) = self.title() {
            map.serialize_entry("title", title)?;
        }
        map.end()
    }
}

impl Serialize for Subject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = self.fields();
        members.push(("kind", self.kind().to_owned()));
        members.sort_unstable();
        serializer.collect_map(members)
    }
}

/// A value that must be spelled as an object: what serde derives would also take an array (B02).
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(de::value::MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// An optional member: absent or a value, never `null`.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    #[serde(deserialize_with = "artifacts")]
    artifacts: Vec<Artifact>,
    created_at: Timestamp,
    #[serde(rename = "format")]
    _format: de::IgnoredAny,
    labels: Labels,
    producer: Object<Producer>,
    #[serde(deserialize_with = "subject")]
    subject: Subject,
}

fn artifacts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Artifact>, D::Error> {
    struct Artifacts;

    impl<'de> Visitor<'de> for Artifacts {
        type Value = Vec<Artifact>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of artifacts")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut shared = Shared::default();
            let mut artifacts = Vec::new();
            while let Some(Object(members)) = seq.next_element::<Object<ArtifactMembers>>()? {
                artifacts.push(
                    members
                        .into_artifact(&mut shared)
                        .map_err(de::Error::custom)?,
                );
            }
            artifacts.shrink_to_fit();
            Ok(artifacts)
        }
    }

    deserializer.deserialize_seq(Artifacts)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ArtifactMembers {
    bytes: u64,
    #[serde(default, deserialize_with = "present")]
    chunks: Option<Box<[Digest]>>,
    #[serde(default, deserialize_with = "present")]
    claimed_sha256: Option<Digest>,
    #[serde(default, deserialize_with = "present")]
    inputs: Option<Vec<Object<Input>>>,
    kind: Kind,
    media_type: MediaType,
    name: ArtifactName,
    #[serde(default, deserialize_with = "present")]
    sha256: Option<Digest>,
    #[serde(default, deserialize_with = "present")]
    step: Option<StepId>,
    #[serde(default, deserialize_with = "present")]
    title: Option<Text<1024>>,
}

impl ArtifactMembers {
    fn into_artifact(self, shared: &mut Shared) -> Result<Artifact, &'static str> {
        let content = match (self.sha256, self.chunks) {
            (Some(digest), None) => Content::Whole(digest),
            (None, Some(digests)) => Content::Chunks(digests),
            _ => return Err("an artifact has either `sha256` or `chunks`"),
        };
        if !content.fits(self.bytes) {
            return Err("`sha256` or `chunks` does not fit `bytes`");
        }
        if self.claimed_sha256.is_some() && matches!(content, Content::Whole(_)) {
            return Err("`claimed_sha256` stands only beside `chunks`");
        }
        if self.inputs.as_ref().is_some_and(Vec::is_empty) {
            return Err("`inputs` is absent where there are none");
        }
        let extras = Extras {
            title: self.title,
            step: self.step,
            inputs: self
                .inputs
                .unwrap_or_default()
                .into_iter()
                .map(|Object(input)| input)
                .collect(),
            claimed_sha256: self.claimed_sha256,
        };
        Ok(Artifact {
            name: self.name,
            kind: Kind(shared.get(self.kind.as_str())),
            media_type: MediaType(shared.get(self.media_type.as_str())),
            bytes: self.bytes,
            content,
            extras: (extras != Extras::default()).then(|| Box::new(extras)),
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubjectMembers {
    kind: String,
    #[serde(default, deserialize_with = "present")]
    tenant: Option<String>,
    #[serde(default, deserialize_with = "present")]
    namespace: Option<Namespace>,
    #[serde(default, deserialize_with = "present")]
    scenario: Option<Scenario>,
    #[serde(default, deserialize_with = "present")]
    run_id: Option<RunId>,
    #[serde(default, deserialize_with = "present")]
    spec_hash: Option<SpecHash>,
    #[serde(default, deserialize_with = "present")]
    step_id: Option<StepId>,
    #[serde(default, deserialize_with = "present")]
    execution_id: Option<ExecutionId>,
}

fn subject<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Subject, D::Error> {
    let Object(m) = Object::<SubjectMembers>::deserialize(deserializer)?;
    let fault = || de::Error::custom("the subject's members are not those of its kind");
    match (
        m.kind.as_str(),
        m.tenant,
        m.namespace,
        m.scenario,
        m.run_id,
        m.spec_hash,
        m.step_id,
        m.execution_id,
    ) {
        (
            "run",
            Some(tenant),
            Some(namespace),
            Some(scenario),
            Some(run_id),
            Some(spec_hash),
            None,
            None,
        ) => {
            let tenant: Tenant = tenant.parse().map_err(de::Error::custom)?;
            Ok(Subject::Run {
                tenant,
                namespace,
                scenario,
                run_id,
                spec_hash,
            })
        }
        ("step", Some(tenant), None, None, Some(run_id), None, Some(step_id), None) => {
            let tenant: PipelineTenant = tenant.parse().map_err(de::Error::custom)?;
            Ok(Subject::Step {
                tenant,
                run_id,
                step_id,
            })
        }
        ("pipeline", Some(tenant), None, None, Some(run_id), None, None, None) => {
            let tenant: PipelineTenant = tenant.parse().map_err(de::Error::custom)?;
            Ok(Subject::Pipeline { tenant, run_id })
        }
        ("execution", None, None, None, None, None, None, Some(execution_id)) => {
            Ok(Subject::Execution { execution_id })
        }
        _ => Err(fault()),
    }
}
