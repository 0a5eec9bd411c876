//! A plain pack directory out of a verified bundle.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::bundle::BundleSink;
use crate::manifest::Manifest;

/// Writes a pack directory beside its place, and moves it there when it is whole. Dropped before
/// that, it removes what it wrote.
#[derive(Debug)]
pub struct DirectoryWriter {
    target: PathBuf,
    /// Made beside the target; the pack grows in a directory inside of it, with ordinary permissions.
    staging: tempfile::TempDir,
    manifest: Option<Arc<Manifest>>,
    current: Option<(usize, File)>,
}

impl DirectoryWriter {
    /// A writer of the directory `target`, which must not be there yet.
    ///
    /// # Errors
    /// Something is there, or its parent cannot be written to.
    pub fn create(target: &Path) -> io::Result<Self> {
        if fs::symlink_metadata(target).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let parent = target
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let staging = tempfile::Builder::new()
            .prefix(".runpack-")
            .tempdir_in(parent.unwrap_or(Path::new(".")))?;
        fs::create_dir(staging.path().join("pack"))?;
        Ok(Self {
            target: target.to_owned(),
            staging,
            manifest: None,
            current: None,
        })
    }

    /// Makes everything durable and gives the directory its name.
    ///
    /// # Errors
    /// The file system failed, or something took the name meanwhile; nothing is left under it then.
    pub fn finish(mut self) -> io::Result<PathBuf> {
        let manifest = self.manifest.take().ok_or(io::ErrorKind::InvalidInput)?;
        self.current = None;
        publish(&self.pack(), &manifest, &self.target)?;
        Ok(self.target.clone())
    }

    fn pack(&self) -> PathBuf {
        self.staging.path().join("pack")
    }

    fn file(&mut self, at: usize) -> io::Result<&File> {
        if self
            .current
            .as_ref()
            .is_none_or(|(current, _)| *current != at)
        {
            let manifest = self.manifest.as_ref().ok_or(io::ErrorKind::InvalidInput)?;
            let artifact = manifest
                .artifacts()
                .get(at)
                .ok_or(io::ErrorKind::InvalidInput)?;
            // The name comes from a checked manifest, so it cannot leave the staging directory, and
            // nobody else writes there.
            let path = self.pack().join(artifact.name().as_str());
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            let file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&path)?;
            self.current = Some((at, file));
        }
        self.current
            .as_ref()
            .map(|(_, file)| file)
            .ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}

/// Adds the manifest to the files of a pack in the directory `pack`, makes all of it durable and gives it the
/// name `target`, if nothing has that.
pub(super) fn publish(pack: &Path, manifest: &Manifest, target: &Path) -> io::Result<()> {
    File::create_new(pack.join("manifest.json"))?.write_all(&manifest.to_bytes())?;
    // One call makes thousands of files durable, and the directories that hold them.
    rustix::fs::syncfs(File::open(pack)?)?;
    renameat_with(CWD, pack, CWD, target, RenameFlags::NOREPLACE)?;
    let parent = target
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

impl BundleSink for DirectoryWriter {
    fn manifest(&mut self, manifest: &Arc<Manifest>, _: &[u8]) -> io::Result<()> {
        self.manifest = Some(Arc::clone(manifest));
        Ok(())
    }

    fn chunk(&mut self, artifact: usize, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(artifact)?.write_all_at(bytes, offset)
    }
}
