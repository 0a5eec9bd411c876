//! What the files of an execution become in its pack, and what its bench says of it.
//!
//! All of it is settled before anything is sent, for an execution that was opened is there for good: a name that makes no
//! artifact, two names that cannot stand beside each other, and too much of anything are found here.

use std::collections::BTreeMap;
use std::sync::Arc;

use runpack_core::commitment::{CHUNK_BYTES, Content};
use runpack_core::digest::Digest;
use runpack_core::id::ExecutionId;
use runpack_core::key::{Location, Log};
use runpack_core::manifest::{
    Artifact, Kind, Labels, Manifest, MediaType, Producer, Subject, Text,
};
use runpack_core::name::ArtifactName;
use runpack_core::time::Timestamp;
use serde::Deserialize;

use super::Kinds;
use super::problem::Problem;
use super::tree::{Folder, Look, Stamp};
use crate::execution::{ExecutionLimits, ExecutionResult, Executions, NewUpload};
use crate::json;

const METADATA: [&[u8]; 2] = [b"metadata.json", b"raw/metadata.json"];
const METADATA_BYTES_MAX: u64 = 64 << 10;

/// What a bench may say of an execution in its `metadata.json`, all of it optional.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Said {
    pub(super) result: Option<ExecutionResult>,
    pub(super) started_at: Option<Timestamp>,
    pub(super) ended_at: Option<Timestamp>,
    pub(super) suite: Option<Text<256>>,
    pub(super) reservation_id: Option<Text<128>>,
    pub(super) runner_type: Option<Text<128>>,
}

impl Said {
    /// Reads `metadata.json`, beside `raw` or in it.
    ///
    /// # Errors
    /// It is not one strict object of these members; it is there twice.
    pub(super) async fn read(folder: &Arc<Folder>, look: &Look) -> Result<Self, Problem> {
        let there = METADATA
            .iter()
            .filter_map(|path| Some((*path, *look.files.get(*path)?)));
        let [(path, stamp)] = there.collect::<Vec<_>>()[..] else {
            let both = METADATA.iter().all(|path| look.files.contains_key(*path));
            return if both {
                let text = "metadata.json is both beside `raw` and in it, remove one";
                Err(Problem::NoPack(text.to_owned()))
            } else {
                Ok(Self::default())
            };
        };
        let bytes = folder.read_whole(path, stamp, METADATA_BYTES_MAX).await?;
        let large = || json::JsonError::at(".", format_args!("at most {METADATA_BYTES_MAX} bytes"));
        let said = bytes.ok_or_else(large).and_then(|bytes| json::read(&bytes));
        said.map_err(|source| Problem::Document {
            path: String::from_utf8_lossy(path).into_owned().into(),
            source,
        })
    }
}

/// What a file becomes.
#[derive(Debug, Clone)]
pub(super) enum Becomes {
    /// An artifact.
    Artifact(NewUpload),
    /// A log.
    Log(Log),
}

/// A file that is to be shipped.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    pub(super) path: Vec<u8>,
    pub(super) stamp: Stamp,
    /// The path, escaped, for the marker.
    pub(super) escaped: ArtifactName,
    /// The artifact in the pack.
    pub(super) artifact: ArtifactName,
    pub(super) becomes: Becomes,
}

/// Settles what becomes of every file.
///
/// # Errors
/// They make no pack.
pub(super) fn plan(
    id: &ExecutionId,
    look: &Look,
    kinds: Kinds,
    producer: &Producer,
    executions: &Executions,
) -> Result<Vec<Planned>, Problem> {
    let shipped = look
        .files
        .iter()
        .filter(|(path, _)| path.starts_with(b"raw/") || METADATA.contains(&path.as_slice()));
    let planned = shipped
        .map(|(path, stamp)| Planned::new(path, *stamp, kinds))
        .collect::<Result<Vec<_>, _>>()?;
    rehearse(id, &planned, producer, executions)?;
    Ok(planned)
}

impl Planned {
    fn new(path: &[u8], stamp: Stamp, kinds: Kinds) -> Result<Self, Problem> {
        let name = |components: Vec<&[u8]>| {
            ArtifactName::from_original(components).map_err(|source| Problem::Name {
                path: String::from_utf8_lossy(path).into_owned().into(),
                source,
            })
        };
        let escaped = name(path.split(|&byte| byte == b'/').collect())?;
        let below = path.strip_prefix(b"raw/").unwrap_or(path);
        // A log has parts, and a part has bytes: an empty one stays an artifact.
        if let Some(log) = log_of(below).filter(|_| stamp.bytes > 0) {
            let artifact = name(vec![b"logs", log.file_name().as_bytes()])?;
            return Ok(Self {
                path: path.to_vec(),
                stamp,
                escaped,
                artifact,
                becomes: Becomes::Log(log),
            });
        }
        let components = [&b"artifacts"[..]]
            .into_iter()
            .chain(below.split(|&byte| byte == b'/'));
        let artifact = name(components.collect())?;
        let last = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let is_spelled_so = artifact.components().last().map(str::as_bytes) == Some(last);
        let (kind, media_type) = kind_of(last, kinds)?;
        let upload = NewUpload {
            name: artifact.clone(),
            title: if is_spelled_so {
                None
            } else {
                Text::lossy(last)
            },
            kind,
            media_type,
        };
        Ok(Self {
            path: path.to_vec(),
            stamp,
            escaped,
            artifact,
            becomes: Becomes::Artifact(upload),
        })
    }
}

/// The log that a path below `raw` is.
fn log_of(path: &[u8]) -> Option<Log> {
    let name = path.strip_prefix(b"logs/").unwrap_or(path);
    Log::ALL
        .into_iter()
        .find(|log| log.file_name().as_bytes() == name)
}

fn kind_of(name: &[u8], kinds: Kinds) -> Result<(Kind, MediaType), Problem> {
    let (media_type, kind) = kinds(name);
    let (Ok(kind), Ok(media_type)) = (kind.parse(), media_type.parse()) else {
        let text = format!("no kind or media type, kind=`{kind}` media_type=`{media_type}`");
        return Err(Problem::NoPack(text));
    };
    Ok((kind, media_type))
}

/// Makes a manifest of these names and sizes, whatever their bytes: what it refuses would be refused when everything is
/// sent and the end is written.
fn rehearse(
    id: &ExecutionId,
    planned: &[Planned],
    producer: &Producer,
    executions: &Executions,
) -> Result<(), Problem> {
    let limits: &ExecutionLimits = executions.limits();
    let mut artifacts = BTreeMap::new();
    let mut uploads = 0usize;
    for file in planned {
        let no_pack = |text: String| Err(Problem::NoPack(text));
        match file.becomes {
            Becomes::Log(_) if file.stamp.bytes > limits.log_bytes_max => {
                return no_pack(format!("a log has at most {} bytes", limits.log_bytes_max));
            }
            Becomes::Log(_) => {}
            Becomes::Artifact(_) => uploads = uploads.saturating_add(1),
        }
        if uploads > limits.artifacts_max {
            return no_pack(format!(
                "an execution has at most {} artifacts",
                limits.artifacts_max
            ));
        }
        let location = Location::Execution {
            execution_id: id.clone(),
            artifact: Some(file.artifact.clone()),
        };
        location
            .key()
            .map_err(|error| Problem::NoPack(error.to_string()))?;
        if artifacts
            .insert(file.artifact.clone(), rehearsed(file, executions)?)
            .is_some()
        {
            return no_pack(format!(
                "two files are the same artifact, name=`{}`",
                file.artifact
            ));
        }
    }
    let subject = Subject::Execution {
        execution_id: id.clone(),
    };
    Manifest::new(
        subject,
        Timestamp::EPOCH,
        producer.clone(),
        artifacts.into_values().collect(),
        Labels::new(),
        executions.pack_limits(),
    )
    .map_err(|error| Problem::NoPack(error.to_string()))?;
    Ok(())
}

/// An artifact of this name and size.
fn rehearsed(file: &Planned, executions: &Executions) -> Result<Artifact, Problem> {
    let bytes = file.stamp.bytes;
    if bytes > executions.pack_limits().artifact_bytes_max {
        let text = format!(
            "an artifact is larger than the limit, name=`{}`",
            file.artifact
        );
        return Err(Problem::NoPack(text));
    }
    let (kind, media_type) = match &file.becomes {
        Becomes::Artifact(upload) => (upload.kind.clone(), upload.media_type.clone()),
        Becomes::Log(_) => kind_of(b"", |_| ("text/plain", "log"))?,
    };
    let any = Digest::of(b"");
    let chunks = usize::try_from(bytes.div_ceil(CHUNK_BYTES)).unwrap_or(usize::MAX);
    let content = if chunks > 1 {
        Content::from_chunks(vec![any; chunks])
    } else {
        Content::Whole(any)
    };
    Artifact::new(file.artifact.clone(), kind, media_type, bytes, content)
        .map_err(|error| Problem::NoPack(error.to_string()))
}
