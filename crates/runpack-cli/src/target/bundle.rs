//! A pack as one stream: from a file, from standard input, or from a store.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use runpack_core::id::PackId;
use runpack_core::store::{ObjectRef, Stored};

use super::missing;
use crate::bundle_file::Counted;
use crate::context::Context;
use crate::failure::Failure;
use crate::progress::Meter;
use crate::storage::Storage;

/// A pack as one stream.
#[derive(Debug, Clone)]
pub enum BundleTarget {
    /// Standard input.
    Input,
    /// A file.
    File(PathBuf),
    /// An object of a store.
    #[non_exhaustive]
    Stored {
        /// Which store.
        storage: Box<Storage>,
        /// Which object.
        object: Stored,
        /// Which pack it must be: its key says so.
        placed: PackId,
        /// Which pack somebody asked for.
        asked: Option<PackId>,
    },
}

impl BundleTarget {
    /// The object and its version, where it is one of a store.
    pub fn object(&self) -> Option<&ObjectRef> {
        match self {
            Self::Stored { object, .. } => Some(object.object()),
            Self::Input | Self::File(_) => None,
        }
    }

    /// Reads the stream from beginning to end, as far as `work` wants, with a bar that says `doing`.
    ///
    /// # Errors
    /// It cannot be opened. That it breaks is for `work` to see.
    pub fn read<T: Send + 'static>(
        &self,
        context: &Context,
        doing: &'static str,
        work: impl FnOnce(Box<dyn Read>) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let bytes = Arc::new(AtomicU64::new(0));
        let counted = |inner: Box<dyn Read>| Counted {
            inner,
            bytes: Arc::clone(&bytes),
        };
        let metered = |total| Meter::of_bytes(&context.output, doing, &bytes, total);
        match self {
            Self::Input => {
                let _meter = metered(0);
                Ok(work(Box::new(counted(Box::new(io::stdin().lock())))))
            }
            Self::File(path) => {
                let (file, total) = open(path)?;
                let _meter = metered(total);
                Ok(work(Box::new(counted(Box::new(file)))))
            }
            Self::Stored { object, .. } => {
                let _meter = metered(object.bytes());
                let bytes = Arc::clone(&bytes);
                Ok(context
                    .wait(object.read(move |inner| work(Box::new(Counted { inner, bytes }))))??)
            }
        }
    }
}

/// The file, and its size where it has one.
fn open(path: &std::path::Path) -> Result<(File, u64), Failure> {
    let opened = File::open(path).and_then(|file| {
        let metadata = file.metadata()?;
        let bytes = if metadata.is_file() {
            metadata.len()
        } else {
            0
        };
        Ok((file, bytes))
    });
    opened.map_err(|error| missing(&path.to_string_lossy(), &error))
}
