//! Pack directories: a pack as files that people can look at (specification, section 7).
//!
//! [`PackDirectory`] is the container a verifier reads, in the plain or the keyed form;
//! [`DirectoryWriter`] makes a plain one out of a verified bundle, [`Download`] out of a pack in a store. Invariants: no link is followed at
//! any component; whatever the manifest does not list is told as a stranger, and what is in an
//! unlisted directory is not looked at; a directory appears under its name only when it is whole.

mod download;
mod root;
mod scan;
mod writer;

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use rustix::fs::{OFlags, ResolveFlags};

pub use download::Download;
pub use root::{FoundPack, Root};
pub use scan::{FileSource, FoundFile, Refused, ScanError, scan};
pub use writer::DirectoryWriter;

use crate::blocking;
use crate::container::{Container, ManifestFound, Unlisted};
use crate::digest::Digest;
use crate::display::chain;
use crate::fs::{self, Below};
use crate::manifest::{Artifact, Manifest};
use crate::store::{ObjectBody, StoreError, collect_capped};

/// A pack as a directory.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::{path::Path, sync::Arc};
/// use runpack_core::{directory::PackDirectory, limits::Limits, pin::Pins, verify::{Pack, VerifyOptions}};
///
/// let directory = Arc::new(PackDirectory::open(Path::new("a-pack"))?);
/// let pack = Pack::open(directory, &Limits::default()).await?;
/// let report = pack.verify(&Pins::none(), &VerifyOptions::default()).await;
/// println!("{} with {} findings", report.verdict, report.findings.len());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PackDirectory {
    root: Arc<Below>,
    form: OnceLock<Arc<Form>>,
}

/// Where artifacts are.
#[derive(Debug)]
enum Form {
    /// At their names.
    Plain,
    /// At `{commitment}/{name}`; the positions of all artifacts by commitment.
    Keyed(Vec<(Digest, usize)>),
}

impl PackDirectory {
    /// The pack at `path`.
    ///
    /// # Errors
    /// There is no directory, or it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let root = Arc::new(Below::open_named(path)?);
        Ok(Self {
            root,
            form: OnceLock::new(),
        })
    }

    /// Something in a plain directory that is not of this pack, if there is anything; what cannot be looked at
    /// counts as such.
    fn first_stranger(&self, manifest: &Manifest) -> Option<String> {
        let mut unlisted = Form::Plain.unlisted(&self.root, manifest, 1);
        let unread = unlisted.unread.pop().map(|(path, _)| path);
        unlisted.paths.pop().or(unread)
    }
}

#[async_trait]
impl Container for PackDirectory {
    async fn manifest(&self, bytes_max: u64) -> Result<ManifestFound, StoreError> {
        let range = 0..bytes_max.saturating_add(1);
        let body = fs::open(
            Arc::clone(&self.root),
            Arc::from(&b"manifest.json"[..]),
            range,
        )
        .await?;
        let bytes = collect_capped(body, bytes_max).await?;
        Ok(ManifestFound {
            bytes,
            equivocal: false,
        })
    }

    async fn expect(&self, manifest: &Arc<Manifest>) -> Result<(), StoreError> {
        let (root, manifest) = (Arc::clone(&self.root), Arc::clone(manifest));
        let form = blocking::run(move || Form::find(&root, &manifest)).await?;
        let _ = self.form.set(Arc::new(form));
        Ok(())
    }

    async fn open(&self, artifact: &Artifact, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        let path = match self.form.get().map(Arc::as_ref) {
            Some(Form::Keyed(_)) => format!("{}/{}", artifact.commitment(), artifact.name()),
            Some(Form::Plain) | None => artifact.name().to_string(),
        };
        match fs::open(Arc::clone(&self.root), path.as_bytes().into(), range).await {
            Err(StoreError::Unsafe { .. }) => {
                let root = Arc::clone(&self.root);
                blocking::run(move || Err(what_is_unsafe(&root, path))).await
            }
            opened => opened,
        }
    }

    async fn unlisted(
        &self,
        manifest: &Arc<Manifest>,
        paths_max: usize,
    ) -> Result<Unlisted, StoreError> {
        let (root, manifest) = (Arc::clone(&self.root), Arc::clone(manifest));
        let form = self
            .form
            .get()
            .cloned()
            .unwrap_or_else(|| Arc::new(Form::Plain));
        blocking::run(move || Ok(form.unlisted(&root, &manifest, paths_max))).await
    }

    fn is_closed(&self) -> bool {
        true
    }
}

/// Tells a link in an artifact's own place from one on the way to it: behind the latter there is no
/// artifact, and the link itself is a stranger.
fn what_is_unsafe(root: &Below, path: String) -> StoreError {
    let parent = path.rsplit_once('/').map(|(parent, _)| parent);
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    match parent.map(|parent| root.open_at(parent.as_bytes(), flags, ResolveFlags::empty())) {
        Some(Err(_)) => StoreError::NotFound { key: path },
        Some(Ok(_)) | None => StoreError::Unsafe { path },
    }
}

/// Whether some artifact is called `path`, or lies below it.
#[derive(PartialEq, Eq)]
enum Place {
    Artifact,
    OnTheWay,
    Nothing,
}

fn place_in(manifest: &Manifest, path: &str) -> Place {
    if manifest.position(path).is_some() {
        return Place::Artifact;
    }
    let directory = format!("{path}/");
    let artifacts = manifest.artifacts();
    let after = artifacts.partition_point(|artifact| artifact.name().as_str() < &*directory);
    match artifacts.get(after) {
        Some(next) if next.name().as_str().starts_with(&directory) => Place::OnTheWay,
        _ => Place::Nothing,
    }
}

impl Form {
    fn find(root: &Below, manifest: &Manifest) -> Result<Self, StoreError> {
        let mut by_commitment: Option<Vec<(Digest, usize)>> = None;
        let mut is_keyed = false;
        let listed = fs::for_each_entry(root, |entry| {
            let Some(digest) = digest_named(&entry.name) else {
                return;
            };
            let by_commitment = by_commitment.get_or_insert_with(|| by_commitment_of(manifest));
            let known = by_commitment
                .binary_search_by_key(&digest, |(digest, _)| *digest)
                .is_ok();
            is_keyed |= known && place_in(manifest, &digest.to_string()) == Place::Nothing;
        });
        listed.map_err(|errno| root.error("listing", b"", errno))?;
        Ok(match by_commitment {
            Some(by_commitment) if is_keyed => Self::Keyed(by_commitment),
            _ => Self::Plain,
        })
    }

    /// What is at `path`, as the manifest has it.
    fn place(&self, manifest: &Manifest, path: &str) -> Place {
        let Self::Keyed(by_commitment) = self else {
            return place_in(manifest, path);
        };
        let (top, below) = path.split_once('/').unwrap_or((path, ""));
        let Ok(digest) = top.parse::<Digest>() else {
            return Place::Nothing;
        };
        let start = by_commitment.partition_point(|(other, _)| *other < digest);
        let mut place = Place::Nothing;
        for (_, at) in by_commitment
            .iter()
            .skip(start)
            .take_while(|(other, _)| *other == digest)
        {
            let Some(artifact) = manifest.artifacts().get(*at) else {
                continue;
            };
            let name = artifact.name().as_str();
            if name == below {
                return Place::Artifact;
            }
            let behind = name.strip_prefix(below);
            if below.is_empty() || behind.is_some_and(|behind| behind.starts_with('/')) {
                place = Place::OnTheWay;
            }
        }
        place
    }

    fn unlisted(&self, root: &Below, manifest: &Manifest, paths_max: usize) -> Unlisted {
        let mut unlisted = Unlisted::default();
        // Only directories on the way to artifacts are entered, so the manifest bounds the walk.
        let mut to_do = vec![String::new()];
        while let Some(directory) = to_do.pop() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let opened = root.open_at(directory.as_bytes(), flags, ResolveFlags::empty());
            let listed = opened.and_then(|opened| {
                fs::for_each_entry(&opened, |entry| {
                    let is_directory = entry.is_directory();
                    let name = String::from_utf8_lossy(&entry.name);
                    let path = if directory.is_empty() {
                        name.into_owned()
                    } else {
                        format!("{directory}/{name}")
                    };
                    match self.place(manifest, &path) {
                        Place::Artifact => {}
                        Place::OnTheWay if is_directory => to_do.push(path),
                        _ if path == "manifest.json" => {}
                        Place::OnTheWay | Place::Nothing => unlisted.add(path, paths_max),
                    }
                })
            });
            if let Err(errno) = listed {
                let path = if directory.is_empty() {
                    ".".to_owned()
                } else {
                    directory
                };
                let why = root.error("listing", path.as_bytes(), errno);
                unlisted.unread.push((path, chain(&why)));
            }
        }
        unlisted
    }
}

fn digest_named(name: &[u8]) -> Option<Digest> {
    std::str::from_utf8(name).ok()?.parse().ok()
}

fn by_commitment_of(manifest: &Manifest) -> Vec<(Digest, usize)> {
    let mut by_commitment: Vec<(Digest, usize)> = manifest
        .artifacts()
        .iter()
        .enumerate()
        .map(|(at, artifact)| (artifact.commitment(), at))
        .collect();
    by_commitment.sort_unstable();
    by_commitment
}
