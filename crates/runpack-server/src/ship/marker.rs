//! The marker of an item that was shipped and verified: what it is in the store, and of which files.
//!
//! ```json
//! {"format":"runpack-shipped/v1","item":"bench-1/01JD...","kept":{"pack_id":"sha256:<hex>"},"key":"executions/01JD.../manifest.json",
//!  "shipped_at":"2026-11-20T12:00:00Z","files":[{"path":"raw/a.bin","artifact":"artifacts/a.bin","bytes":1,"sha256":"<hex>"}]}
//! ```
//!
//! It spares work and proves nothing: what is removed was held against the store again. One that is torn or another item's
//! counts as none, and the item is shipped again, which finds everything there (threats W15 and W17).

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use runpack_core::digest::Digest;
use runpack_core::id::PackId;
use runpack_core::name::ArtifactName;
use runpack_core::time::Timestamp;
use rustix::fs::{Access, AtFlags, Mode, OFlags, accessat, linkat, openat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::tree::Folder;
use crate::json;

/// The marker's file name, in the item's folder.
pub const MARKER: &str = ".runpack-shipped.json";
/// Whoever writes an item may put this file into its folder, to say that nothing more comes.
pub const COMPLETE: &str = ".complete";

const FORMAT: &str = "runpack-shipped/v1";
/// A marker has some 700 bytes for each file.
const BYTES_MAX: u64 = 1 << 30;

/// Where markers are.
#[derive(Debug, Clone, Default)]
pub enum Markers {
    /// In the folder of each item.
    #[default]
    InTree,
    /// In this directory, because the tree is read-only. It is made where it is missing. Whoever loses it ships again.
    In(PathBuf),
}

/// What an item is in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// This pack.
    PackId(PackId),
    /// A record of this body.
    BodySha256(Digest),
}

/// A file that was shipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShippedFile {
    /// Its path in the item's folder, escaped as artifact names are.
    pub path: ArtifactName,
    /// The artifact that it is in the pack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<ArtifactName>,
    /// The size.
    pub bytes: u64,
    /// The SHA-256 of all of it.
    pub sha256: Digest,
}

/// A marker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marker {
    format: String,
    /// The item's path in the tree.
    pub item: String,
    /// What it is in the store.
    pub kept: Kept,
    /// Where its manifest or payload is.
    pub key: String,
    /// When it was verified there, by the clock of who shipped it.
    pub shipped_at: Timestamp,
    /// Its files, in the order of their paths.
    pub files: Vec<ShippedFile>,
}

impl Marker {
    pub(super) fn new(
        item: &str,
        kept: Kept,
        key: String,
        shipped_at: Timestamp,
        files: Vec<ShippedFile>,
    ) -> Self {
        Self {
            format: FORMAT.to_owned(),
            item: item.to_owned(),
            kept,
            key,
            shipped_at,
            files,
        }
    }
}

/// Whether a name right in an item's folder is no evidence: a marker, or what is left of writing one.
pub(super) fn is_ours(name: &[u8]) -> bool {
    name == COMPLETE.as_bytes() || name.starts_with(MARKER.as_bytes())
}

/// The place of one item's marker.
#[derive(Debug, Clone)]
pub(super) struct Place {
    folder: Arc<Folder>,
    name: String,
    item: String,
}

impl Place {
    /// In the item's own folder.
    pub(super) fn in_tree(folder: Arc<Folder>, item: &str) -> Self {
        Self {
            folder,
            name: MARKER.to_owned(),
            item: item.to_owned(),
        }
    }

    /// In a directory for the markers of every item.
    pub(super) fn in_state(state: Arc<Folder>, item: &str) -> Self {
        Self {
            folder: state,
            name: format!("{}.json", Digest::of(item.as_bytes())),
            item: item.to_owned(),
        }
    }

    /// The marker; `None` where there is none, or none of this item.
    pub(super) fn read(&self) -> Result<Option<Marker>, Problem> {
        let bytes = self.folder.read_small(&self.name, BYTES_MAX)?;
        let marker = bytes.and_then(|bytes| json::read::<Marker>(&bytes).ok());
        Ok(marker.filter(|marker| marker.format == FORMAT && marker.item == self.item))
    }

    /// That a marker can be written, before anything is shipped for it.
    pub(super) fn check(&self) -> Result<(), Problem> {
        accessat(
            self.folder.descriptor(),
            ".",
            Access::WRITE_OK,
            AtFlags::empty(),
        )
        .map_err(|errno| {
            self.failed(
                "writing markers (a read-only tree needs a directory for them)",
                errno,
            )
        })
    }

    /// Writes a marker, durably and whole, where there is no sound one.
    pub(super) fn write(&self, marker: &Marker) -> Result<(), Problem> {
        let directory = self.folder.descriptor();
        let temporary = format!("{}.{}", self.name, ulid::Ulid::generate());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
        let opened = openat(directory, &*temporary, flags, mode);
        let mut file = File::from(opened.map_err(|errno| self.failed("making a marker", errno))?);
        // Texts and numbers always serialize.
        let bytes = serde_json::to_vec(marker).unwrap_or_default();
        let written = file.write_all(&bytes).and_then(|()| file.sync_all());
        let placed = match written {
            Ok(()) => self.place(&temporary),
            Err(source) => Err(Problem::Local {
                action: "writing a marker",
                path: self.folder.path().join(&temporary),
                source,
            }),
        };
        self.folder.remove(temporary.as_bytes(), AtFlags::empty())?;
        placed?;
        rustix::fs::fsync(directory).map_err(|errno| self.failed("syncing a directory", errno))
    }

    /// Gives the marker its name. Another shipper's that is sound stays: it says the same.
    fn place(&self, temporary: &str) -> Result<(), Problem> {
        let directory = self.folder.descriptor();
        let link = || {
            linkat(
                directory,
                temporary,
                directory,
                &*self.name,
                AtFlags::empty(),
            )
        };
        let linked = match link() {
            Err(Errno::EXIST) if self.read()?.is_some() => Ok(()),
            Err(Errno::EXIST) => {
                self.remove()?;
                link()
            }
            done => done,
        };
        linked.map_err(|errno| self.failed("placing a marker", errno))
    }

    /// Removes the marker.
    pub(super) fn remove(&self) -> Result<(), Problem> {
        self.folder.remove(self.name.as_bytes(), AtFlags::empty())
    }

    fn failed(&self, action: &'static str, errno: Errno) -> Problem {
        Problem::Local {
            action,
            path: self.folder.path().join(&self.name),
            source: errno.into(),
        }
    }
}
