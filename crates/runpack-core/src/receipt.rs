//! Local receipts: what this machine saw being exported, kept where the store cannot reach.
//!
//! An export records the pack id twice: under its subject (which may have several packs, one for each
//! store and time) and under each place it was written to (which has one). So a rewritten pack is
//! found out when it keeps its identity, and also when it keeps its place. Files are small JSON
//! documents, written beside and renamed, so a crash leaves the old one or the new one.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::PackId;
use crate::manifest::{Manifest, Subject};
use crate::time::Timestamp;

/// The largest receipt that is read.
const RECEIPT_BYTES_MAX: u64 = 1 << 20;

/// The receipts of one user on one machine.
///
/// ```
/// use runpack_core::pin::Pins;
/// use runpack_core::receipt::ReceiptBook;
/// # use runpack_core::manifest::Manifest;
///
/// /// What this machine knows of a pack that lies at `place`.
/// fn pins(book: &ReceiptBook, manifest: &Manifest, place: &str) -> Result<Pins, Box<dyn std::error::Error>> {
///     let mut pins = Pins::none();
///     pins.recorded.extend(book.of_place(place)?.map(|pack_id| vec![pack_id]));
///     let of_subject = book.of_subject(manifest.subject())?;
///     pins.recorded.extend((!of_subject.is_empty()).then_some(of_subject));
///     Ok(pins)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct ReceiptBook {
    root: PathBuf,
}

/// One receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PackReceipt {
    /// Always `runpack-receipt/v1`.
    pub format: String,
    /// The pack.
    pub pack_id: PackId,
    /// What it is about, as its manifest says.
    pub subject: serde_json::Value,
    /// When it was made, as its manifest says.
    pub created_at: Timestamp,
    /// When the receipt was written, by the local clock.
    pub recorded_at: Timestamp,
    /// Where it was written to.
    pub places: Vec<String>,
    /// How many artifacts it has.
    pub artifacts: u64,
    /// How many bytes they have.
    pub artifact_bytes: u64,
}

/// Why receipts could not be used. A verifier that cannot read them does not go on without.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// The file system failed.
    #[error("a local receipt could not be read or written, path=`{path}`")]
    Io {
        /// The path.
        path: PathBuf,
        /// How.
        #[source]
        source: io::Error,
    },
    /// A receipt is not one.
    #[error(
        "a local receipt is damaged, look at it and remove it if it is not to be believed, path=`{path}`"
    )]
    Damaged {
        /// The path.
        path: PathBuf,
    },
}

impl ReceiptBook {
    /// The receipts kept under `root`, which is made when the first is written.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn subject_dir(&self, subject: &Subject) -> PathBuf {
        // A subject is text and always serializes; were it not to, all would share one directory,
        // which errs on the side of objecting.
        let spelled = serde_json::to_vec(subject).unwrap_or_default();
        self.root
            .join("subject")
            .join(Digest::of(&spelled).to_string())
    }

    fn place_path(&self, place: &str) -> PathBuf {
        self.root
            .join("place")
            .join(format!("{}.json", Digest::of(place.as_bytes())))
    }

    /// Records a pack that was written to `places`, and gives the receipt's path.
    ///
    /// # Errors
    /// The receipt could not be written durably.
    pub fn record(
        &self,
        manifest: &Manifest,
        places: Vec<String>,
        now: Timestamp,
    ) -> Result<PathBuf, ReceiptError> {
        let receipt = PackReceipt {
            format: "runpack-receipt/v1".to_owned(),
            pack_id: manifest.pack_id(),
            subject: serde_json::to_value(manifest.subject()).unwrap_or_default(),
            created_at: manifest.created_at(),
            recorded_at: now,
            places,
            artifacts: crate::count::len_u64(manifest.artifacts()),
            artifact_bytes: manifest.artifact_bytes(),
        };
        let mut bytes = serde_json::to_vec_pretty(&receipt).unwrap_or_default();
        bytes.push(b'\n');
        let name = format!("{}.json", manifest.pack_id().digest());
        let path = self.subject_dir(manifest.subject()).join(name);
        for target in receipt
            .places
            .iter()
            .map(|place| self.place_path(place))
            .chain([path.clone()])
        {
            write_durably(&target, &bytes).map_err(|source| ReceiptError::Io {
                path: target.clone(),
                source,
            })?;
        }
        Ok(path)
    }

    /// The packs that were recorded for a subject.
    ///
    /// # Errors
    /// The receipts could not be read.
    pub fn of_subject(&self, subject: &Subject) -> Result<Vec<PackId>, ReceiptError> {
        let directory = self.subject_dir(subject);
        let io = |source| ReceiptError::Io {
            path: directory.clone(),
            source,
        };
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io(error)),
        };
        let mut packs = Vec::new();
        for entry in entries {
            let path = entry.map_err(io)?.path();
            // Files that a crash left half-written have other names.
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                packs.push(read(&path)?.pack_id);
            }
        }
        packs.sort_unstable();
        Ok(packs)
    }

    /// The pack that was recorded for a place.
    ///
    /// # Errors
    /// The receipt could not be read.
    pub fn of_place(&self, place: &str) -> Result<Option<PackId>, ReceiptError> {
        let path = self.place_path(place);
        match fs::symlink_metadata(&path) {
            Ok(_) => Ok(Some(read(&path)?.pack_id)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ReceiptError::Io { path, source }),
        }
    }
}

fn read(path: &Path) -> Result<PackReceipt, ReceiptError> {
    use std::io::Read as _;
    let io = |source| ReceiptError::Io {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    fs::File::open(path)
        .map_err(io)?
        .take(RECEIPT_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    let receipt: Option<PackReceipt> = serde_json::from_slice(&bytes).ok();
    receipt
        .filter(|receipt| receipt.format == "runpack-receipt/v1")
        .ok_or_else(|| ReceiptError::Damaged {
            path: path.to_owned(),
        })
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(directory)?;
    let mut file = tempfile::Builder::new()
        .prefix(".receipt-")
        .tempfile_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|failed| failed.error)?;
    fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests;
