//! What an export finds in a directory: regular files, and everything else refused together.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use rustix::fs::{FileType, OFlags, ResolveFlags};

use crate::blocking;
use crate::display::Printable;
use crate::fs::{self, Below};
use crate::manifest::Text;
use crate::name::{ArtifactName, NameError};
use crate::pack::Source;
use crate::store::{ObjectBody, StoreError};

/// A file that can become an artifact.
#[derive(Debug, Clone)]
pub struct FoundFile {
    /// Its path below the directory, as raw bytes, with `/` between components.
    pub path: Vec<u8>,
    /// The artifact name that its path gives, if it gives one.
    pub name: Result<ArtifactName, NameError>,
    /// Its last component for display, where the name spells it differently.
    pub title: Option<Text<1024>>,
    /// Its bytes.
    pub source: Arc<FileSource>,
}

/// Something that an export does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The path below the directory, lossily. Untrusted text: show it escaped.
    pub path: String,
    /// What it is.
    pub what: &'static str,
}

/// Why a directory cannot be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// Links and special files, all of them.
    #[error("{}", refusal(.0))]
    Refused(Vec<Refused>),
    /// The directory could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn refusal(refused: &[Refused]) -> String {
    let mut lines = format!(
        "only regular files are exported, and {} of what is here are not: replace them by copies or remove them",
        refused.len()
    );
    for Refused { path, what } in refused {
        // Writing to a string does not fail.
        let _ = write!(lines, "\n  {}: {what}", Printable(path));
    }
    lines
}

/// Finds every file below `path`, in order of its path.
///
/// # Errors
/// Anything but directories and regular files; a directory that cannot be read.
pub fn scan(path: &Path) -> Result<Vec<FoundFile>, ScanError> {
    let root = Arc::new(Below::open_named(path)?);
    let mut files: Vec<Vec<u8>> = Vec::new();
    let mut refused = Vec::new();
    let mut to_do: Vec<Vec<u8>> = vec![Vec::new()];
    while let Some(directory) = to_do.pop() {
        let failed = |errno| root.error("listing", &directory, errno);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let opened = root
            .open_at(&directory, flags, ResolveFlags::empty())
            .map_err(failed)?;
        fs::for_each_entry(&opened, |entry| {
            let path = if directory.is_empty() {
                entry.name
            } else {
                [directory.as_slice(), entry.name.as_slice()].join(&b'/')
            };
            match entry.kind {
                FileType::Directory => to_do.push(path),
                FileType::RegularFile => files.push(path),
                other => refused.push(Refused {
                    path: String::from_utf8_lossy(&path).into_owned(),
                    what: describe(other),
                }),
            }
        })
        .map_err(failed)?;
    }
    if !refused.is_empty() {
        refused.sort_by(|a, b| a.path.cmp(&b.path));
        return Err(ScanError::Refused(refused));
    }
    files.sort_unstable();
    Ok(files.into_iter().map(|path| found(&root, path)).collect())
}

const fn describe(kind: FileType) -> &'static str {
    match kind {
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "of unknown type",
    }
}

fn found(root: &Arc<Below>, path: Vec<u8>) -> FoundFile {
    let name = ArtifactName::from_original(path.split(|&byte| byte == b'/'));
    let last = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let spelled = name.as_ref().ok().and_then(|name| name.components().last());
    let title = match spelled {
        Some(spelled) if spelled.as_bytes() != last => Text::lossy(last),
        _ => None,
    };
    let source = Arc::new(FileSource {
        root: Arc::clone(root),
        path: path.as_slice().into(),
    });
    FoundFile {
        path,
        name,
        title,
        source,
    }
}

/// A file below an opened directory, reached without following links.
#[derive(Debug)]
pub struct FileSource {
    pub(super) root: Arc<Below>,
    pub(super) path: Arc<[u8]>,
}

impl FileSource {
    /// The regular file at `path`. Links in its directory's path are followed, a link in its own
    /// place is not.
    ///
    /// # Errors
    /// Its directory cannot be opened.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        use std::os::unix::ffi::OsStrExt as _;
        let shown = path.display().to_string();
        let name = path.file_name().ok_or_else(|| StoreError::Unsafe {
            path: shown.clone(),
        })?;
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let root = Below::open_named(directory.unwrap_or(Path::new(".")))?;
        Ok(Self {
            root: Arc::new(root),
            path: name.as_bytes().into(),
        })
    }
}

#[async_trait]
impl Source for FileSource {
    async fn open(&self, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        fs::open(Arc::clone(&self.root), Arc::clone(&self.path), range).await
    }

    async fn bytes(&self) -> Result<u64, StoreError> {
        let (root, path) = (Arc::clone(&self.root), Arc::clone(&self.path));
        blocking::run(move || fs::stat(&root, &path)).await
    }
}
