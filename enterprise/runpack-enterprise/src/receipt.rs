//! Receipts of locked versions: which versions are the evidence, and what the store said of their locks.
//!
//! A receipt is kept on this machine and, where the store takes it, beside the pack. Who reads evidence reads these
//! versions; that one of them is gone, or locked for less than the receipt says, is found by it (threats L05 to L07).

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use runpack_core::digest::Digest;
use runpack_core::id::PackId;
use runpack_core::key::{Location, ObjectKey};
use runpack_core::store::s3::Lock;
use runpack_core::store::{StoreError, VersionId};
use runpack_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::durable;
use crate::evidence::Pinned;

const FORMAT: &str = "runpack-lock-receipt/v1";
/// Stops a file that was made to exhaust memory: a million versions.
const BYTES_MAX: u64 = 512 << 20;

/// What the store said of the versions of a pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockReceipt {
    format: String,
    /// The pack.
    pub pack_id: PackId,
    /// Where the pack is: it tells services apart.
    pub place: String,
    /// When it was read back, by this machine's clock.
    pub read_at: Timestamp,
    /// When it was read back, by the store's clock.
    pub store_time: Timestamp,
    /// What was asked for.
    pub asked: Lock,
    /// The versions, the commit first.
    pub versions: Vec<LockedVersion>,
}

/// A version, and how it is locked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedVersion {
    /// The key, without the store's prefix.
    pub key: String,
    /// The version.
    pub version: String,
    /// The size.
    pub bytes: u64,
    /// The commitment to the bytes.
    pub commitment: Digest,
    /// The lock that was read back; `None` where there was none.
    pub lock: Option<Lock>,
}

impl LockedVersion {
    /// As it was found.
    pub fn of(pinned: &Pinned) -> Self {
        Self {
            key: pinned.part.key.to_string(),
            version: pinned
                .object
                .version
                .as_ref()
                .map(|version| version.as_str().to_owned())
                .unwrap_or_default(),
            bytes: pinned.declared.bytes,
            commitment: pinned.declared.commitment(),
            lock: pinned.protection.lock,
        }
    }
}

impl LockReceipt {
    /// A receipt of what was read back.
    pub fn new(
        pack_id: PackId,
        place: &str,
        (read_at, store_time): (Timestamp, Timestamp),
        asked: Lock,
        versions: Vec<LockedVersion>,
    ) -> Self {
        Self {
            format: FORMAT.to_owned(),
            pack_id,
            place: place.to_owned(),
            read_at,
            store_time,
            asked,
            versions,
        }
    }

    /// As a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Text in a fixed shape always becomes JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a receipt.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let receipt: Self = serde_json::from_slice(bytes).ok()?;
        (receipt.format == FORMAT).then_some(receipt)
    }

    /// The version of each key.
    pub fn pins(&self) -> HashMap<ObjectKey, VersionId> {
        let pins = self.versions.iter().filter_map(|locked| {
            let key = Location::parse(&locked.key)?.key().ok()?;
            Some((key, VersionId::new(&locked.version)))
        });
        pins.collect()
    }
}

/// The receipts of this machine: one for each pack at each place, the last.
#[derive(Debug, Clone)]
pub struct LockBook {
    root: PathBuf,
}

impl LockBook {
    /// Those kept below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn path(&self, place: &str, commit: &ObjectKey) -> PathBuf {
        let name = Digest::of(format!("{place}\0{commit}").as_bytes());
        self.root.join(format!("{name}.json"))
    }

    /// Keeps a receipt in place of the one before it, and says where.
    ///
    /// # Errors
    /// It could not be written durably.
    pub fn keep(&self, commit: &ObjectKey, receipt: &LockReceipt) -> Result<PathBuf, StoreError> {
        let path = self.path(&receipt.place, commit);
        durable::replace(&path, &receipt.to_bytes())
            .map_err(io("writing a lock receipt", &path))?;
        Ok(path)
    }

    /// The receipt of the pack with this commit.
    ///
    /// # Errors
    /// It is there and cannot be read: nobody goes on without it then.
    pub fn of(&self, place: &str, commit: &ObjectKey) -> Result<Option<LockReceipt>, StoreError> {
        const READING: &str = "reading a lock receipt";
        let path = self.path(place, commit);
        let bytes = durable::read(&path, BYTES_MAX).map_err(io(READING, &path))?;
        let Some(bytes) = bytes else { return Ok(None) };
        match LockReceipt::parse(&bytes) {
            Some(receipt) if receipt.place == place => Ok(Some(receipt)),
            _ => Err(io(READING, &path)(io::ErrorKind::InvalidData.into())),
        }
    }
}

fn io<'a>(
    action: &'static str,
    path: &'a std::path::Path,
) -> impl Fn(io::Error) -> StoreError + use<'a> {
    move |source| StoreError::Io {
        action,
        path: path.display().to_string(),
        source,
    }
}
