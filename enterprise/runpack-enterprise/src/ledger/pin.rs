//! The head of a ledger as this machine saw it last: what a ledger that was cut or taken back does not agree with.

use std::fs;
use std::io;
use std::path::PathBuf;

use runpack_core::digest::Digest;
use serde::{Deserialize, Serialize};

use super::{LedgerError, Previous};
use crate::durable;

/// The largest pin.
const BYTES_MAX: u64 = 64 << 10;

/// The last entry that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadPin {
    /// Its number.
    pub sequence: u32,
    /// Its bytes and version.
    pub entry: Previous,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    place: String,
    head: HeadPin,
}

/// The heads that this machine knows, one for each store.
#[derive(Debug, Clone)]
pub struct HeadBook {
    root: PathBuf,
}

impl HeadBook {
    /// Those kept below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn path(&self, place: &str) -> PathBuf {
        self.root
            .join(format!("{}.json", Digest::of(place.as_bytes())))
    }

    /// The head of the ledger of a store.
    ///
    /// # Errors
    /// It is there and cannot be read: nobody goes on without it then.
    pub fn of(&self, place: &str) -> Result<Option<HeadPin>, LedgerError> {
        let path = self.path(place);
        let failed = |source| LedgerError::Pin {
            path: path.clone(),
            source,
        };
        let Some(bytes) = durable::read(&path, BYTES_MAX).map_err(failed)? else {
            return Ok(None);
        };
        let kept: Option<Kept> = serde_json::from_slice(&bytes).ok();
        kept.filter(|kept| kept.place == place)
            .map(|kept| Some(kept.head))
            .ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))
    }

    /// Keeps a head, unless a later one is known: of two who write at once the slower does not take the pin back.
    pub(super) fn keep(&self, place: &str, head: HeadPin) -> Result<(), LedgerError> {
        let path = self.path(place);
        let failed = |source| LedgerError::Pin {
            path: path.clone(),
            source,
        };
        fs::create_dir_all(&self.root).map_err(failed)?;
        let lock = fs::File::create(path.with_extension("lock")).map_err(failed)?;
        lock.lock().map_err(failed)?;
        if self
            .of(place)?
            .is_some_and(|known| known.sequence >= head.sequence)
        {
            return Ok(());
        }
        let kept = Kept {
            place: place.to_owned(),
            head,
        };
        let bytes = serde_json::to_vec_pretty(&kept).unwrap_or_default();
        durable::replace(&path, &bytes).map_err(failed)
    }
}
