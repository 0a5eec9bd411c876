//! The rules that hold across a manifest's members, in the order of the specification's section 10.

use std::cmp::Ordering;

use super::wire::Document;
use super::{Artifact, Subject};
use crate::commitment::Content;
use crate::count::len_u64;
use crate::json::SyntaxError;
use crate::limits::Limits;
use crate::name::ArtifactName;

/// The first rule that a manifest breaks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Larger than the caller allows.
    #[error("the manifest is larger than the limit, bytes_max=`{bytes_max}`")]
    Size {
        /// [`Limits::manifest_bytes_max`].
        bytes_max: u64,
    },
    /// Not one strict JSON object.
    #[error("the manifest is not one strict JSON object")]
    Syntax(#[from] SyntaxError),
    /// Another format.
    #[error("this version reads only the format `runpack/v1`, found=`{}`", found.as_deref().unwrap_or("none").escape_default())]
    Format {
        /// What the manifest says, if it is text.
        found: Option<String>,
    },
    /// A member missing, unknown, or outside its grammar.
    #[error("the manifest does not follow the schema")]
    Schema(#[source] serde_json::Error),
    /// Not the canonical spelling.
    #[error("the manifest's bytes are not its canonical form (RFC 8785)")]
    Canonical,
    /// More of something than the caller allows.
    #[error("the manifest is over a limit of the reader, what=`{what}` max=`{max}`")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        max: u64,
    },
    /// Artifacts out of order, or one named twice.
    #[error("artifacts must be sorted by name and named once, name=`{name}`")]
    Order {
        /// The second of the pair.
        name: String,
    },
    /// Names that one file system cannot hold together.
    #[error(
        "names are equal but for letter case, or one is the other's directory, first=`{first}` second=`{second}`"
    )]
    Collision {
        /// One name.
        first: String,
        /// The other.
        second: String,
    },
    /// The spec artifact is not the one that the subject names.
    #[error("the spec artifact is against the rules: {0}")]
    Spec(&'static str),
}

/// Limits, order, collisions, spec.
pub(super) fn check(document: &Document, limits: &Limits) -> Result<(), ManifestError> {
    check_limits(document, limits)?;
    let names: Vec<&ArtifactName> = document.artifacts.iter().map(Artifact::name).collect();
    check_names(&names)?;
    check_spec(document)
}

fn check_limits(document: &Document, limits: &Limits) -> Result<(), ManifestError> {
    let artifacts = &document.artifacts;
    let at_most = |what, found: Option<u64>, max| match found {
        Some(found) if found <= max => Ok(()),
        _ => Err(ManifestError::Limit { what, max }),
    };
    let sum = |of: fn(&Artifact) -> u64| {
        artifacts
            .iter()
            .try_fold(0u64, |sum, artifact| sum.checked_add(of(artifact)))
    };
    let largest = |of: fn(&Artifact) -> u64| Some(artifacts.iter().map(of).max().unwrap_or(0));

    at_most(
        "labels",
        u64::try_from(document.labels.len()).ok(),
        limits.labels_max,
    )?;
    at_most("artifacts", Some(len_u64(artifacts)), limits.artifacts_max)?;
    at_most(
        "artifact bytes",
        largest(Artifact::bytes),
        limits.artifact_bytes_max,
    )?;
    at_most("pack bytes", sum(Artifact::bytes), limits.pack_bytes_max)?;
    at_most("chunks", sum(chunk_entries), limits.chunks_max)?;
    at_most(
        "inputs",
        largest(|artifact| len_u64(artifact.inputs())),
        limits.inputs_max,
    )
}

/// How many entries `chunks` has: none where there is only `sha256`.
fn chunk_entries(artifact: &Artifact) -> u64 {
    match artifact.content() {
        Content::Whole(_) => 0,
        Content::Chunks(digests) => len_u64(digests),
    }
}

/// Order and collisions: the rules that names alone can break.
pub(crate) fn check_names(names: &[&ArtifactName]) -> Result<(), ManifestError> {
    check_order(names)?;
    check_collisions(names)
}

fn check_order(names: &[&ArtifactName]) -> Result<(), ManifestError> {
    let unordered = |pair: &&[&ArtifactName]| matches!(pair, [first, second] if first >= second);
    match names.windows(2).find(unordered) {
        Some([_, second]) => Err(ManifestError::Order {
            name: second.to_string(),
        }),
        _ => Ok(()),
    }
}

/// A byte as it is compared: folded, and `/` below all others, so that a name stands right before
/// what it would be the directory of.
const fn folded(byte: u8) -> u8 {
    if byte == b'/' {
        0
    } else {
        byte.to_ascii_lowercase()
    }
}

fn check_collisions(names: &[&ArtifactName]) -> Result<(), ManifestError> {
    let compare = |a: &&ArtifactName, b: &&ArtifactName| -> Ordering {
        a.as_str()
            .bytes()
            .map(folded)
            .cmp(b.as_str().bytes().map(folded))
    };
    let mut by_folded = names.to_vec();
    by_folded.sort_unstable_by(compare);
    for pair in by_folded.windows(2) {
        let [first, second] = pair else { continue };
        let (short, long) = (first.as_str().as_bytes(), second.as_str().as_bytes());
        let prefix = long
            .get(..short.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(short));
        if prefix && matches!(long.get(short.len()), None | Some(b'/')) {
            return Err(ManifestError::Collision {
                first: first.to_string(),
                second: second.to_string(),
            });
        }
    }
    Ok(())
}

fn check_spec(document: &Document) -> Result<(), ManifestError> {
    let mut specs = document
        .artifacts
        .iter()
        .filter(|artifact| artifact.kind().is_spec());
    let Some(spec) = specs.next() else {
        return Ok(());
    };
    if specs.next().is_some() {
        return Err(ManifestError::Spec("there is more than one"));
    }
    let Subject::Run { spec_hash, .. } = &document.subject else {
        return Err(ManifestError::Spec("only a run has one"));
    };
    match spec.content() {
        Content::Whole(digest) if digest == spec_hash.digest() => Ok(()),
        Content::Whole(_) => Err(ManifestError::Spec(
            "its digest is not the subject's `spec_hash`",
        )),
        Content::Chunks(_) => Err(ManifestError::Spec("it is larger than one chunk")),
    }
}
