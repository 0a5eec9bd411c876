//! Why something was not shipped or not cleaned, and whose fault it is.

use std::io;
use std::path::PathBuf;

use runpack_core::display::Printable;
use runpack_core::name::NameError;
use runpack_core::pack::PackError;
use runpack_core::store::StoreError;

use crate::execution::ExecutionError;
use crate::json::JsonError;
use crate::record::RecordError;

/// Why something was not shipped or not cleaned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// It does not belong where it is.
    #[error("it has no place in this layout: {0}")]
    Stranger(String),
    /// Links, pipes, sockets, devices.
    #[error("only regular files are shipped: replace it by a copy or remove it, path=`{}` what=`{what}`", shown(.path))]
    Special {
        /// The first of them.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A file or directory of the tree cannot be read or changed.
    #[error("{action} failed, path=`{}`", shown(.path))]
    Tree {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// How it failed.
        #[source]
        source: io::Error,
    },
    /// A path that makes no artifact name.
    #[error("its path makes no artifact name, path=`{}`", shown(.path))]
    Name {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: NameError,
    },
    /// A `metadata.json` or a `payload.json` that is not what is expected.
    #[error("it is not what is expected there, path=`{}`", shown(.path))]
    Document {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: JsonError,
    },
    /// A payload that says it is another one's.
    #[error("its payload names another {part} than its path, body=`{body}` path=`{path}`")]
    Identity {
        /// Which of the four.
        part: &'static str,
        /// As the payload says.
        body: String,
        /// As the path says.
        path: String,
    },
    /// What is there makes no pack: too much of something, or names that cannot stand beside each other.
    #[error("what is there makes no pack: {0}")]
    NoPack(String),
    /// The tree changed while it was read. It is shipped when it is at rest.
    #[error("it changed while it was shipped, path=`{}`", shown(.0))]
    SourceChanged(PathBuf),
    /// Something else was kept under this identity, and stays.
    #[error("something else was kept under this id, and stays: {0}")]
    Conflict(String),
    /// It ended as `artifact_error`, now or earlier.
    #[error("it ended as `artifact_error`, and ships no more: {0}")]
    Marked(String),
    /// It was ended by somebody else meanwhile.
    #[error("it was ended otherwise, status=`{0}`")]
    Ended(&'static str),
    /// What the store gives back is not what was brought there, or cannot be read now.
    #[error("what the store gives back is not proved to be what was brought there: {reason}")]
    Unproven {
        /// What is wrong with it.
        reason: String,
        /// Whether another look may settle it.
        may_pass: bool,
    },
    /// It was shipped and stays in the tree.
    #[error("it was shipped and stays: {0}")]
    Stays(String),
    /// A marker or a staged file could not be written.
    #[error("{action} failed, path=`{}`", shown(.path))]
    Local {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// How it failed.
        #[source]
        source: io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn shown(path: &std::path::Path) -> String {
    Printable(&path.to_string_lossy()).to_string()
}

impl Problem {
    /// Whether the same call may succeed a moment later.
    pub(super) fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Unproven { may_pass, .. } => *may_pass,
            _ => false,
        }
    }

    /// Whether what is in the tree can never be shipped as it is. Of what cannot be read only what may not be read counts:
    /// any other error may be a mount that went away, and nothing of the store's counts.
    pub fn is_of_the_tree(&self) -> bool {
        match self {
            Self::Special { .. }
            | Self::Name { .. }
            | Self::Document { .. }
            | Self::NoPack(_)
            | Self::Identity { .. } => true,
            Self::Tree { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
            _ => false,
        }
    }
}

impl From<ExecutionError> for Problem {
    fn from(error: ExecutionError) -> Self {
        let text = error.to_string();
        match error {
            ExecutionError::OpenedOtherwise(_)
            | ExecutionError::Uploaded(_)
            | ExecutionError::Offset { .. }
            | ExecutionError::Unexpected(_)
            | ExecutionError::Pack(PackError::Conflict { .. } | PackError::Foreign { .. }) => {
                Self::Conflict(text)
            }
            ExecutionError::Ended { status, .. } => Self::Ended(status),
            ExecutionError::TooMuch(_)
            | ExecutionError::Manifest(_)
            | ExecutionError::Key(_)
            | ExecutionError::Pack(PackError::Manifest(_) | PackError::Key(_)) => {
                Self::NoPack(text)
            }
            ExecutionError::NotFound(_)
            | ExecutionError::Damaged { .. }
            | ExecutionError::Pack(_) => Self::Unproven {
                reason: text,
                may_pass: false,
            },
            ExecutionError::Staging(source) => Self::staging(source),
            ExecutionError::Store(error) => Self::Store(error),
        }
    }
}

impl From<RecordError> for Problem {
    fn from(error: RecordError) -> Self {
        let text = error.to_string();
        match error {
            RecordError::Conflict { .. } => Self::Conflict(text),
            RecordError::Key(_) | RecordError::Envelope(_) => Self::NoPack(text),
            RecordError::NotFound(_) | RecordError::Damaged { .. } | RecordError::Query(_) => {
                Self::Unproven {
                    reason: text,
                    may_pass: false,
                }
            }
            RecordError::Store(error) => Self::Store(error),
        }
    }
}

impl Problem {
    pub(super) fn staging(source: io::Error) -> Self {
        Self::Local {
            action: "staging",
            path: PathBuf::new(),
            source,
        }
    }
}
