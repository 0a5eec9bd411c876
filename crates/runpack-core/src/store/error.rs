//! Why a store did not do what was asked.

use std::error::Error;
use std::io;

use crate::digest::Digest;

/// Why a store did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no such object.
    #[error("no such object, key=`{key}`")]
    NotFound {
        /// The key, or path.
        key: String,
    },
    /// The key is taken by other bytes.
    #[error(
        "the key already has other bytes, which stay, key=`{key}` ours=`{ours}` theirs=`{theirs}`"
    )]
    AlreadyExists {
        /// The key.
        key: String,
        /// The commitment to what was to be written.
        ours: Digest,
        /// The commitment to what is there; where that is large and not of our size, perhaps only to its beginning.
        theirs: Digest,
    },
    /// What was written is not what was declared: the source changed while it was read.
    #[error(
        "the source changed while it was read, run the export again when nothing writes to it, key=`{key}`"
    )]
    NotDeclared {
        /// The key.
        key: String,
    },
    /// Something stands there that is no object: a symbolic link, a directory, a device.
    #[error("not a regular file, and links are never followed, path=`{path}`")]
    Unsafe {
        /// The path.
        path: String,
    },
    /// The store cannot be used as it is: a wrong endpoint, bucket, region or credential among them.
    #[error("this store cannot be used: {reason}")]
    Unusable {
        /// Why, and what to do.
        reason: String,
    },
    /// The store, or the source of its credentials, cannot be reached. Its settings may be right or wrong. Whether an
    /// earlier attempt of a write was done is not known.
    #[error("this store cannot be reached: {reason}")]
    Unreachable {
        /// Why, and what to do.
        reason: String,
    },
    /// This program does not do it, whatever the store would let it: a rule of where evidence goes, a consent that is
    /// missing, a log that cannot be written.
    #[error("{reason}")]
    Barred {
        /// Why, and what to do.
        reason: String,
    },
    /// The file system failed.
    #[error("{action} failed, path=`{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path or key.
        path: String,
        /// How it failed.
        #[source]
        source: io::Error,
    },
    /// The store does not allow it. This is never taken for "not there": a store that hides what one may
    /// not see says the same.
    #[error("the store does not allow {action}, key=`{key}` code=`{code}`")]
    Denied {
        /// What was tried.
        action: &'static str,
        /// The object, or whatever it was tried on.
        key: String,
        /// The store's own word for it.
        code: String,
    },
    /// The object lies in an archive and must be asked back before it can be read.
    #[error(
        "the object lies in an archive tier, `runpack restore` asks it back, key=`{key}` tier=`{tier}`"
    )]
    Archived {
        /// The object.
        key: String,
        /// Where it lies, or that it is on its way back.
        tier: String,
    },
    /// The store refused, and will again.
    #[error("the store refused {action}, key=`{key}` status=`{status}` code=`{code}`: {message}")]
    Refused {
        /// What was tried.
        action: &'static str,
        /// The object, or whatever it was tried on.
        key: String,
        /// The HTTP status.
        status: u16,
        /// The store's own word for it.
        code: String,
        /// The store's own explanation: untrusted text.
        message: String,
    },
    /// The store did not answer in time, or asked to be left alone, after every attempt that was worth it. Whether a write
    /// was done is not known.
    #[error("the store did not do {action} in time or at all, key=`{key}`")]
    Unavailable {
        /// What was tried.
        action: &'static str,
        /// The object, or whatever it was tried on.
        key: String,
        /// What the last attempt met.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl StoreError {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::Interrupted
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::WouldBlock
                    | io::ErrorKind::ConnectionReset
            ),
            Self::Unreachable { .. } | Self::Unavailable { .. } => true,
            _ => false,
        }
    }
}
