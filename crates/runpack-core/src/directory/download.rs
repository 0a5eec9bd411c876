//! A pack from a store becomes a directory: verified while it comes, whole or not there, and an interrupted
//! one goes on where it was.
//!
//! A [`Download`] is a container that keeps what is read through it in files beside the target. So whoever
//! verifies through it has downloaded the pack, and nothing is downloaded by any other way than verifying.
//! What an earlier attempt kept is compared chunk by chunk with its digest before it is used, and what does
//! not hold comes anew; of an attempt that was killed the chunks under way are lost, the others not. Invariants: nobody
//! else can put anything where it grows; [`Download::finish`] is called for a pack that verified, and only then
//! anything has the target's name.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use rustix::fs::FlockOperation;

use super::{PackDirectory, writer};
use crate::blocking;
use crate::commitment::{CHUNK_BYTES, chunk_len};
use crate::container::{Container, ManifestFound, Unlisted};
use crate::count::len_u64;
use crate::digest::Hasher;
use crate::manifest::{Artifact, Manifest, Subject};
use crate::store::{ObjectBody, StoreError};

/// How much of a kept file is read at once.
const PIECE_BYTES: usize = 128 << 10;

/// A pack on its way into a directory.
#[derive(Debug)]
pub struct Download {
    inner: Arc<dyn Container>,
    target: PathBuf,
    place: OnceLock<Place>,
}

/// Where it grows: made when the manifest is known, so that another pack's attempt is not mistaken for ours.
#[derive(Debug)]
struct Place {
    directory: PathBuf,
    manifest: Arc<Manifest>,
    /// Held until this is dropped, so that two downloads of one pack do not mix.
    _lock: File,
}

impl Place {
    fn open(target: &Path, manifest: &Arc<Manifest>) -> io::Result<Self> {
        let parent = target
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let id: String = manifest
            .pack_id()
            .digest()
            .to_string()
            .chars()
            .take(32)
            .collect();
        let directory = parent
            .unwrap_or(Path::new("."))
            .join(format!(".runpack-pull-{id}"));
        make_own(&directory)?;
        fs::create_dir_all(directory.join("pack"))?;
        let lock = File::create(directory.join("lock"))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self {
            directory,
            manifest: Arc::clone(manifest),
            _lock: lock,
        })
    }

    fn pack(&self) -> PathBuf {
        self.directory.join("pack")
    }
}

/// Makes a directory that nobody else can look into or put anything into, or makes sure that the one that is there
/// is such: its name can be guessed, and in a directory that others write to (`/tmp`) somebody could have made it,
/// with links in it that lead out.
fn make_own(directory: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made,
    }
    let there = fs::symlink_metadata(directory)?;
    // The lowest six bits of a mode are what the group and all others may do.
    let is_ours = there.is_dir()
        && there.uid() == rustix::process::geteuid().as_raw()
        && there.mode().trailing_zeros() >= 6;
    if is_ours {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "what stands where the download is kept is not a directory of this user alone, look at it and remove it, path=`{}`",
        directory.display()
    )))
}

impl Download {
    /// A download of the pack in `container` into the directory `target`, which must not be there yet.
    ///
    /// # Errors
    /// Something is there.
    pub fn new(container: Arc<dyn Container>, target: &Path) -> io::Result<Self> {
        if fs::symlink_metadata(target).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(Self {
            inner: container,
            target: target.to_owned(),
            place: OnceLock::new(),
        })
    }

    /// Where the files are until the download is finished; `None` before the manifest is known.
    pub fn unfinished(&self) -> Option<&Path> {
        self.place.get().map(|place| &*place.directory)
    }

    /// Makes everything durable and gives the directory its name. Call it when verifying through this
    /// container found nothing to object to.
    ///
    /// # Errors
    /// The file system failed, something took the name meanwhile, or somebody put files among ours; nothing is
    /// left under the name then, and what was kept stays for another attempt.
    pub fn finish(&self) -> io::Result<PathBuf> {
        let place = self.place.get().ok_or(io::ErrorKind::InvalidInput)?;
        let pack = place.pack();
        match fs::remove_file(pack.join("manifest.json")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let kept = PackDirectory::open(&pack).map_err(io::Error::other)?;
        if let Some(stranger) = kept.first_stranger(&place.manifest) {
            return Err(io::Error::other(format!(
                "a file that is not of this pack is among those that were kept, remove them and pull again, path=`{}`",
                pack.join(stranger).display()
            )));
        }
        writer::publish(&pack, &place.manifest, &self.target)?;
        // The pack has its name; what is left of the attempt is an empty directory and its lock.
        let _ = fs::remove_dir_all(&place.directory);
        Ok(self.target.clone())
    }

    fn file_of(place: &Place, artifact: &Artifact) -> PathBuf {
        // The name comes from a checked manifest, so it cannot leave the directory.
        place.pack().join(artifact.name().as_str())
    }
}

fn keeping(path: &Path, source: io::Error) -> StoreError {
    StoreError::Io {
        action: "keeping what was downloaded",
        path: path.display().to_string(),
        source,
    }
}

/// Opens the file of an artifact for writing, and makes it where it is missing.
fn open_kept(path: &Path) -> Result<File, StoreError> {
    let open = || {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
    };
    open().map_err(|error| keeping(path, error))
}

/// Whether the file holds the chunk that begins at `start` already.
fn holds(file: &File, artifact: &Artifact, start: u64) -> io::Result<bool> {
    let chunk = start.checked_div(CHUNK_BYTES).unwrap_or(0);
    let len = chunk_len(artifact.bytes(), chunk);
    if file.metadata()?.len() < start.saturating_add(len) || len == 0 {
        return Ok(false);
    }
    let expected = usize::try_from(chunk)
        .ok()
        .and_then(|at| artifact.content().chunks().get(at));
    let mut hasher = Hasher::new();
    let mut piece = vec![0; PIECE_BYTES];
    let mut left = len;
    while left > 0 {
        let wanted = usize::try_from(left)
            .unwrap_or(PIECE_BYTES)
            .min(PIECE_BYTES);
        let part = piece.get_mut(..wanted).unwrap_or_default();
        file.read_exact_at(part, start.saturating_add(len.saturating_sub(left)))?;
        hasher.update(part);
        left = left.saturating_sub(len_u64(part));
    }
    Ok(Some(&hasher.finish()) == expected)
}

/// The kept bytes of `range`.
fn kept_body(file: File, path: PathBuf, range: Range<u64>, bytes: u64) -> ObjectBody {
    let end = range.end.min(bytes);
    let state = (Arc::new(file), Arc::new(path), range.start);
    let pieces = stream::try_unfold(state, move |(file, path, at)| async move {
        if at >= end {
            return Ok(None);
        }
        let (from, shown) = (Arc::clone(&file), Arc::clone(&path));
        let piece = blocking::run(move || {
            let left = usize::try_from(end.saturating_sub(at)).unwrap_or(PIECE_BYTES);
            let mut piece = vec![0; left.min(PIECE_BYTES)];
            from.read_exact_at(&mut piece, at)
                .map_err(|error| keeping(&shown, error))?;
            Ok(Bytes::from(piece))
        })
        .await?;
        let next = at.saturating_add(len_u64(&piece));
        Ok(Some((piece, (file, path, next))))
    });
    ObjectBody {
        bytes_claimed: bytes,
        stream: pieces.boxed(),
    }
}

/// Passes the bytes of `body` on and keeps those that belong to the artifact.
fn keep(body: ObjectBody, file: File, path: PathBuf, start: u64, bytes: u64) -> ObjectBody {
    let bytes_claimed = body.bytes_claimed;
    let state = (body, Arc::new(file), Arc::new(path), start);
    let pieces = stream::try_unfold(state, move |(mut body, file, path, at)| async move {
        let Some(piece) = body.next().await.transpose()? else {
            return Ok(None);
        };
        let (to, shown, kept) = (Arc::clone(&file), Arc::clone(&path), piece.clone());
        blocking::run(move || {
            // What is beyond the artifact's end is for the verifier to object to.
            let room = usize::try_from(bytes.saturating_sub(at)).unwrap_or(usize::MAX);
            let kept = kept.get(..kept.len().min(room)).unwrap_or_default();
            to.write_all_at(kept, at)
                .map_err(|error| keeping(&shown, error))
        })
        .await?;
        let next = at.saturating_add(len_u64(&piece));
        Ok(Some((piece, (body, file, path, next))))
    });
    ObjectBody {
        bytes_claimed,
        stream: pieces.boxed(),
    }
}

#[async_trait]
impl Container for Download {
    async fn manifest(&self, bytes_max: u64) -> Result<ManifestFound, StoreError> {
        self.inner.manifest(bytes_max).await
    }

    async fn expect(&self, manifest: &Arc<Manifest>) -> Result<(), StoreError> {
        self.inner.expect(manifest).await?;
        let (target, manifest) = (self.target.clone(), Arc::clone(manifest));
        let place = blocking::run(move || {
            Place::open(&target, &manifest).map_err(|source| StoreError::Io {
                action: "making the directory to download into (is another pull of this pack at work?)",
                path: target.display().to_string(),
                source,
            })
        })
        .await?;
        let _ = self.place.set(place);
        Ok(())
    }

    async fn open(&self, artifact: &Artifact, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        let Some(place) = self.place.get() else {
            return self.inner.open(artifact, range).await;
        };
        let path = Self::file_of(place, artifact);
        let (wanted, at, shown) = (artifact.clone(), range.clone(), path.clone());
        let (file, is_kept) = blocking::run(move || {
            let file = open_kept(&shown)?;
            let is_chunk = at.start.is_multiple_of(CHUNK_BYTES)
                && at.end.saturating_sub(at.start) <= CHUNK_BYTES.saturating_add(1);
            let is_kept = is_chunk
                && holds(&file, &wanted, at.start).map_err(|error| keeping(&shown, error))?;
            if file.metadata().map_or(0, |metadata| metadata.len()) > wanted.bytes() {
                file.set_len(wanted.bytes())
                    .map_err(|error| keeping(&shown, error))?;
            }
            Ok((file, is_kept))
        })
        .await?;
        if is_kept {
            return Ok(kept_body(file, path, range, artifact.bytes()));
        }
        let start = range.start;
        let body = self.inner.open(artifact, range).await?;
        Ok(keep(body, file, path, start, artifact.bytes()))
    }

    async fn unlisted(
        &self,
        manifest: &Arc<Manifest>,
        paths_max: usize,
    ) -> Result<Unlisted, StoreError> {
        self.inner.unlisted(manifest, paths_max).await
    }

    fn subject(&self) -> Option<&Subject> {
        self.inner.subject()
    }

    fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }

    fn requests_in_flight(&self) -> usize {
        self.inner.requests_in_flight()
    }
}

#[cfg(test)]
mod tests;
