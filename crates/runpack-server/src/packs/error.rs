//! Why something was not done with a pack.

use std::io;

use runpack_core::id::PackId;
use runpack_core::key::KeyTooLong;
use runpack_core::pack::PackError;
use runpack_core::read::ReadError;
use runpack_core::reference::ReferenceError;
use runpack_core::store::StoreError;

/// Why something was not done with a pack.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PacksError {
    /// What was sent does not verify.
    #[error("what was sent is no bundle that verifies: {0}")]
    Unsound(String),
    /// It is another pack than was announced.
    #[error("it is another pack than was announced, announced=`{announced}` sent=`{sent}`")]
    Other {
        /// What was announced.
        announced: PackId,
        /// What came.
        sent: PackId,
    },
    /// Another pack of this run is there.
    #[error("another pack of this run is there, ours=`{ours}` theirs=`{theirs}`")]
    Conflict {
        /// The pack that came.
        ours: PackId,
        /// The pack that is there.
        theirs: PackId,
    },
    /// There is no such pack, or no such artifact in it.
    #[error("there is no such pack or artifact, {0}")]
    NotFound(String),
    /// What the store gave is not what was committed to.
    #[error("what the store gave is not what was committed to: {0}")]
    Damaged(String),
    /// Others are looking for packs.
    #[error("packs are being looked for, ask again in a moment")]
    Busy,
    /// The query is none.
    #[error("{0}")]
    Query(String),
    /// A file of this server failed.
    #[error("a staged file failed")]
    Staging(#[from] io::Error),
    /// It was not committed.
    #[error(transparent)]
    Pack(PackError),
    /// An id makes a key that is too long.
    #[error(transparent)]
    Key(#[from] KeyTooLong),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<PackError> for PacksError {
    fn from(error: PackError) -> Self {
        match error {
            PackError::Store(error) => Self::Store(error),
            PackError::Conflict { ours, theirs } => Self::Conflict { ours, theirs },
            error => Self::Pack(error),
        }
    }
}

impl From<ReferenceError> for PacksError {
    fn from(error: ReferenceError) -> Self {
        match error {
            ReferenceError::Key(error) => Self::Key(error),
            ReferenceError::Store(StoreError::NotFound { key }) => Self::NotFound(key),
            ReferenceError::Store(error) => Self::Store(error),
            _ => Self::Query(error.to_string()),
        }
    }
}

impl From<ReadError> for PacksError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Store(error) => Self::Store(error),
            ReadError::NoSuchArtifact { name } => Self::NotFound(format!("name=`{name}`")),
            error => Self::Damaged(error.to_string()),
        }
    }
}
