//! Executions: runs on a bench or a runner, followed while they run and kept as a pack when they end.
//!
//! While it runs, an execution is what lies under `_runpack/live/{execution_id}/`: an opening, which says whose it is, notes
//! of what was uploaded, and the parts of its logs, each created once. When it ends, the logs are put together,
//! `metadata.json` says how it ended, and the manifest commits to all of it. Invariants:
//!
//! - **one end**: `metadata.json` is written once, and it decides; the same end again is success, another is refused;
//! - **complete is commit**: a completed execution is a pack with a manifest; one that ended as `artifact_error` has no
//!   manifest, for something that was to be in it is missing;
//! - **no server holds it**: every server in front of the store goes on where another stopped;
//! - what a log's part or an upload's note says is the store's word until the pack is made: whoever must not rely on it
//!   says at completion what is expected, and keeps the pack id.

mod complete;
mod contents;
mod log;
mod memory;
mod metadata;
mod opening;
mod read;
mod upload;

use std::collections::BTreeMap;
use std::sync::Arc;

use runpack_core::digest::Digest;
use runpack_core::id::{ExecutionId, Organization, Project};
use runpack_core::key::{KeyTooLong, LiveObject, Location, ObjectKey};
use runpack_core::limits::Limits;
use runpack_core::manifest::{ManifestError, Producer, Subject};
use runpack_core::name::ArtifactName;
use runpack_core::pack::PackError;
use runpack_core::store::{Housekeeping, Store, StoreError};
use runpack_core::time::Clock;

pub use complete::Completed;
pub use log::{Appended, Follow};
use memory::Memory;
pub use metadata::{Ending, ExecutionResult, Metadata};
pub use opening::{Open, Opened, Opening};
pub(crate) use read::verified;
pub use read::{ExecutionPage, Item, State, Status};
pub use upload::{NewUpload, Uploaded};

use crate::commits::OnCommit;
use crate::staging::Staging;

/// Bounds of executions.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ExecutionLimits {
    /// Bytes of one part of a log. Stops an endless one.
    pub log_part_bytes_max: u64,
    /// Bytes of a log. Stops a log that fills the store.
    pub log_bytes_max: u64,
    /// Parts of a log. Stops a log of a byte a part, which no listing gets to the end of.
    pub log_parts_max: usize,
    /// Artifacts of an execution.
    pub artifacts_max: usize,
    /// Executions that one query looks at.
    pub looked_max: usize,
}

impl Default for ExecutionLimits {
    fn default() -> Self {
        Self {
            log_part_bytes_max: 1 << 20,
            log_bytes_max: 4 << 30,
            log_parts_max: 100_000,
            artifacts_max: 50_000,
            looked_max: 10_000,
        }
    }
}

/// Why something was not done with an execution.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecutionError {
    /// There is none of this id.
    #[error("there is no such execution, execution_id=`{0}`")]
    NotFound(ExecutionId),
    /// It was opened as something else.
    #[error("this execution was opened as another, execution_id=`{0}`")]
    OpenedOtherwise(ExecutionId),
    /// It has ended.
    #[error("this execution has ended, execution_id=`{execution_id}` status=`{status}`")]
    Ended {
        /// Which one.
        execution_id: ExecutionId,
        /// How.
        status: &'static str,
    },
    /// Other bytes were uploaded under this name.
    #[error("other bytes were uploaded under this name, name=`{0}`")]
    Uploaded(ArtifactName),
    /// Too many artifacts, log parts, or bytes.
    #[error("{0}")]
    TooMuch(String),
    /// A log goes on elsewhere.
    #[error("the log goes on elsewhere, offset=`{offset}`")]
    Offset {
        /// Where.
        offset: u64,
    },
    /// What is there is not what was expected.
    #[error("what is there is not what was expected: {0}")]
    Unexpected(String),
    /// What the store gave cannot be what was written.
    #[error("what the store gave is not what was written: {reason}, key=`{key}`")]
    Damaged {
        /// The key.
        key: String,
        /// What differs.
        reason: &'static str,
    },
    /// A file of this server could not be written.
    #[error("a staged file failed")]
    Staging(#[from] std::io::Error),
    /// It makes no manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The pack could not be committed.
    #[error(transparent)]
    Pack(PackError),
    /// The ids make a key that is too long.
    #[error(transparent)]
    Key(#[from] KeyTooLong),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<PackError> for ExecutionError {
    fn from(error: PackError) -> Self {
        match error {
            PackError::Store(error) => Self::Store(error),
            error => Self::Pack(error),
        }
    }
}

/// The executions of a store.
#[derive(Debug)]
pub struct Executions {
    store: Arc<dyn Store>,
    keeper: Option<Arc<dyn Housekeeping>>,
    staging: Staging,
    clock: Arc<dyn Clock>,
    producer: Producer,
    limits: ExecutionLimits,
    pack_limits: Limits,
    memory: Memory,
    on_commit: Option<OnCommit>,
}

/// SHA-256 of whole files by artifact name, as a client says that they must be.
pub type Expected = BTreeMap<ArtifactName, Digest>;

impl Executions {
    /// The executions of `store`; `keeper` removes what was live when a pack is made of it.
    pub fn new(
        store: Arc<dyn Store>,
        keeper: Option<Arc<dyn Housekeeping>>,
        staging: Staging,
        clock: Arc<dyn Clock>,
        producer: Producer,
    ) -> Self {
        Self {
            store,
            keeper,
            staging,
            clock,
            producer,
            limits: ExecutionLimits::default(),
            pack_limits: Limits::default(),
            memory: Memory::default(),
            on_commit: None,
        }
    }

    /// The same, telling somebody of each execution that became a pack.
    #[must_use]
    pub fn telling(mut self, on_commit: Option<OnCommit>) -> Self {
        self.on_commit = on_commit;
        self
    }

    /// The same, with these bounds.
    #[must_use]
    pub fn with_limits(mut self, limits: ExecutionLimits, pack_limits: Limits) -> Self {
        self.limits = limits;
        self.pack_limits = pack_limits;
        self
    }

    /// The bounds.
    pub fn limits(&self) -> &ExecutionLimits {
        &self.limits
    }

    /// The bounds of packs.
    pub fn pack_limits(&self) -> &Limits {
        &self.pack_limits
    }

    fn keeper(&self) -> Option<&dyn Housekeeping> {
        self.keeper.as_deref()
    }

    fn live(id: &ExecutionId, object: LiveObject) -> Result<ObjectKey, KeyTooLong> {
        let execution_id = id.clone();
        Location::Live {
            execution_id,
            object,
        }
        .key()
    }

    fn artifact(id: &ExecutionId, name: &ArtifactName) -> Result<ObjectKey, KeyTooLong> {
        Location::Execution {
            execution_id: id.clone(),
            artifact: Some(name.clone()),
        }
        .key()
    }

    fn subject(id: &ExecutionId) -> Subject {
        Subject::Execution {
            execution_id: id.clone(),
        }
    }
}

/// The name of an artifact that is ours to choose.
fn named(text: &str) -> Result<ArtifactName, ExecutionError> {
    text.parse()
        .map_err(|_| ExecutionError::Unexpected(format!("it is no artifact name, name=`{text}`")))
}

/// Whose an execution is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The organization.
    pub organization: Organization,
    /// The project.
    pub project: Project,
}

#[cfg(test)]
mod tests;
