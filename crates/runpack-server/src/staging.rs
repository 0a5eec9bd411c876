//! Bodies on their way to the store: hashed first, sent second.
//!
//! A small body stays in memory. A larger one goes to a file in the staging directory, hashed as it comes, so that memory
//! stays flat whatever its size; the file is gone when the last who holds it is done, and a restart removes what is left.
//! An upload in parts is such a file under a name that the next part finds again. None of it is evidence: nothing is
//! acknowledged before the store has it.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use runpack_core::commitment::{ChunkHasher, Content};
use runpack_core::digest::{Digest, Hasher};
use runpack_core::directory::FileSource;
use runpack_core::key::ObjectKey;
use runpack_core::store::{ArtifactSink, BytesSource, Declared, Receipt, Source, StoreError};
use tempfile::TempPath;

/// The largest body that stays in memory.
const MEMORY_BYTES_MAX: usize = 1 << 20;
/// How much is gathered before it is hashed and written.
const PIECE_BYTES: usize = 1 << 20;

/// What is left free on the file system, whoever sends.
const RESERVE_BYTES: u64 = 256 << 20;

/// Why a body was not received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError<E> {
    /// It is larger than is taken.
    #[error("the body is larger than is taken, bytes_max=`{bytes_max}`")]
    TooLarge {
        /// How much is taken.
        bytes_max: u64,
    },
    /// It did not come whole.
    #[error("the body did not come whole")]
    Body(#[source] E),
    /// It could not be written down.
    #[error("the body could not be staged")]
    Staging(#[source] io::Error),
}

/// Where bodies wait.
#[derive(Debug, Clone)]
pub struct Staging {
    directory: PathBuf,
    /// Uploads that somebody is at.
    busy: Arc<Mutex<HashSet<PathBuf>>>,
}

/// A body that came whole.
#[derive(Debug)]
pub struct Staged {
    /// What it is.
    pub declared: Declared,
    /// The SHA-256 of all of it.
    pub sha256: Digest,
    bytes: Bytes,
    file: Option<StagedFile>,
}

/// The file of a body that did not stay in memory.
#[derive(Debug)]
enum StagedFile {
    /// Gone when nobody holds it.
    Passing(TempPath),
    /// Of an upload in parts: gone when that is told to be over.
    Upload(PathBuf),
}

impl StagedFile {
    fn path(&self) -> &Path {
        match self {
            Self::Passing(path) => path,
            Self::Upload(path) => path,
        }
    }
}

impl Staging {
    /// Stages in `directory`, which is made where it is missing. What an earlier process left there of whole bodies is
    /// removed; uploads in parts stay.
    ///
    /// # Errors
    /// The directory cannot be used.
    pub fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(b"body-") {
                if entry.file_type()?.is_dir() {
                    fs::remove_dir_all(entry.path())?;
                } else {
                    fs::remove_file(entry.path())?;
                }
            }
        }
        Ok(Self {
            directory: directory.to_owned(),
            busy: Arc::default(),
        })
    }

    fn busy(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        // What is in it is whole.
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a body of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// It is larger, does not come whole, or cannot be written down.
    pub async fn receive<E>(
        &self,
        body: impl Stream<Item = Result<Bytes, E>>,
        bytes_max: u64,
    ) -> Result<Staged, ReceiveError<E>> {
        let mut body = pin!(body);
        let mut intake = Intake::default();
        let mut gathered = BytesMut::new();
        let mut total = 0u64;
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(ReceiveError::Body)?;
            total = total.saturating_add(len(&piece));
            if total > bytes_max {
                return Err(ReceiveError::TooLarge { bytes_max });
            }
            gathered.extend_from_slice(&piece);
            if gathered.len() > PIECE_BYTES {
                intake = self.write(intake, gathered.split().freeze()).await?;
            }
        }
        let rest = gathered.freeze();
        if intake.file.is_none() && rest.len() <= MEMORY_BYTES_MAX {
            return Ok(Staged {
                declared: Declared::of(&rest),
                sha256: Digest::of(&rest),
                bytes: rest,
                file: None,
            });
        }
        let intake = self.write(intake, rest).await?;
        let (content, bytes) = intake.chunks.finish();
        Ok(Staged {
            declared: Declared::new(bytes, content),
            sha256: intake.whole.finish(),
            bytes: Bytes::new(),
            file: intake.file.map(|(_, path)| StagedFile::Passing(path)),
        })
    }

    async fn write<E>(&self, mut intake: Intake, piece: Bytes) -> Result<Intake, ReceiveError<E>> {
        let directory = self.directory.clone();
        blocking(move || {
            has_room(&directory)?;
            intake.add(&directory, &piece)?;
            Ok(intake)
        })
        .await
        .map_err(ReceiveError::Staging)
    }

    /// The upload in parts of this name.
    pub fn upload(&self, name: &[&str]) -> Upload {
        let mut hasher = Hasher::new();
        for part in name {
            hasher.update(&len(part.as_bytes()).to_be_bytes());
            hasher.update(part.as_bytes());
        }
        Upload {
            path: self.directory.join(format!("upload-{}", hasher.finish())),
            staging: self.clone(),
        }
    }

    /// Removes uploads in parts that nothing was added to for `seconds`; `now` is the present time in seconds since 1970.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn sweep(&self, now: u64, seconds: u64) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let is_upload = entry.file_name().as_encoded_bytes().starts_with(b"upload-");
            let modified = u64::try_from(entry.metadata()?.mtime()).unwrap_or(u64::MAX);
            if is_upload && modified.saturating_add(seconds) < now {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// A body that is coming.
#[derive(Default)]
struct Intake {
    chunks: ChunkHasher,
    whole: Hasher,
    file: Option<(File, TempPath)>,
}

impl Intake {
    fn add(&mut self, directory: &Path, piece: &[u8]) -> io::Result<()> {
        self.chunks.update(piece);
        self.whole.update(piece);
        let file = match &mut self.file {
            Some((file, _)) => file,
            none => {
                let made = tempfile::Builder::new()
                    .prefix("body-")
                    .tempfile_in(directory)?;
                &mut none.insert(made.into_parts()).0
            }
        };
        file.write_all(piece)
    }
}

impl Staged {
    /// Where its bytes come from.
    ///
    /// # Errors
    /// The staged file cannot be opened.
    pub fn source(&self) -> Result<Arc<dyn Source>, StoreError> {
        Ok(match &self.file {
            None => Arc::new(BytesSource(self.bytes.clone())),
            Some(file) => Arc::new(FileSource::open(file.path())?),
        })
    }

    /// Brings it to a store.
    ///
    /// # Errors
    /// As [`ArtifactSink::send`].
    pub async fn send(
        &self,
        to: &dyn ArtifactSink,
        key: &ObjectKey,
    ) -> Result<Receipt, StoreError> {
        match &self.file {
            None => to.put(key, self.bytes.clone(), self.declared.clone()).await,
            Some(_) => to.send(key, self.declared.clone(), self.source()?).await,
        }
    }

    /// The staged file, where the body did not stay in memory.
    pub fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(StagedFile::path)
    }

    /// The bytes, where the body stayed in memory.
    pub fn in_memory(&self) -> Option<&Bytes> {
        self.file.is_none().then_some(&self.bytes)
    }
}

/// An upload in parts. Parts follow each other without a gap; what came is asked for by its size.
#[derive(Debug)]
pub struct Upload {
    path: PathBuf,
    staging: Staging,
}

/// An upload that nobody else is at.
#[derive(Debug)]
pub struct ClaimedUpload(Upload);

impl Drop for ClaimedUpload {
    fn drop(&mut self) {
        self.0.staging.busy().remove(&self.0.path);
    }
}

impl Upload {
    /// To add to it or to end it; `None` where somebody else is at it.
    pub fn claim(self) -> Option<ClaimedUpload> {
        let is_free = self.staging.busy().insert(self.path.clone());
        is_free.then(|| ClaimedUpload(self))
    }

    /// How many bytes are there.
    ///
    /// # Errors
    /// The staging directory cannot be read.
    pub async fn bytes(&self) -> io::Result<u64> {
        let path = self.path.clone();
        blocking(move || match fs::metadata(path) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        })
        .await
    }
}

impl ClaimedUpload {
    /// As [`Upload::bytes`].
    ///
    /// # Errors
    /// As there.
    pub async fn bytes(&self) -> io::Result<u64> {
        self.0.bytes().await
    }

    /// Adds a part that begins at `offset`; what comes of a part that is cut off stays, and the next part goes on there.
    ///
    /// # Errors
    /// As [`Staging::receive`]. [`io::ErrorKind::InvalidInput`] where the upload is not at `offset`.
    pub async fn add<E>(
        &self,
        offset: u64,
        body: impl Stream<Item = Result<Bytes, E>>,
        bytes_max: u64,
    ) -> Result<u64, ReceiveError<E>> {
        let path = self.0.path.clone();
        let opened = blocking(move || {
            let mut file = OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(path)?;
            if file.seek(SeekFrom::End(0))? == offset {
                Ok(file)
            } else {
                Err(io::ErrorKind::InvalidInput.into())
            }
        });
        let mut file = opened.await.map_err(ReceiveError::Staging)?;
        let mut body = pin!(body);
        let mut total = offset;
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(ReceiveError::Body)?;
            total = total.saturating_add(len(&piece));
            if total > bytes_max {
                return Err(ReceiveError::TooLarge { bytes_max });
            }
            let directory = self.0.staging.directory.clone();
            let written = blocking(move || {
                has_room(&directory)?;
                file.write_all(&piece)?;
                Ok(file)
            });
            file = written.await.map_err(ReceiveError::Staging)?;
        }
        Ok(total)
    }

    /// The whole upload, read again from end to end. It stays until [`ClaimedUpload::remove`]: what becomes of it may fail.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn finish(&self) -> io::Result<Staged> {
        let path = self.0.path.clone();
        blocking(move || {
            let mut file = BufReader::with_capacity(PIECE_BYTES, File::open(&path)?);
            let (mut chunks, mut whole) = (ChunkHasher::new(), Hasher::new());
            let mut piece = vec![0; PIECE_BYTES];
            loop {
                let count = file.read(&mut piece)?;
                let Some(read) = piece.get(..count).filter(|read| !read.is_empty()) else {
                    break;
                };
                chunks.update(read);
                whole.update(read);
            }
            let (content, bytes): (Content, u64) = chunks.finish();
            Ok(Staged {
                declared: Declared::new(bytes, content),
                sha256: whole.finish(),
                bytes: Bytes::new(),
                file: Some(StagedFile::Upload(path)),
            })
        })
        .await
    }

    /// It is over: it was kept, or can never be.
    pub async fn remove(self) {
        let path = self.0.path.clone();
        // A week later it is swept.
        let _ = blocking(move || fs::remove_file(path)).await;
    }
}

/// That the file system has something left: the audit log may lie on it too, and without that nobody can do anything.
fn has_room(directory: &Path) -> io::Result<()> {
    let told = rustix::fs::statvfs(directory)?;
    if told.f_bavail.saturating_mul(told.f_frsize) < RESERVE_BYTES {
        return Err(io::ErrorKind::StorageFull.into());
    }
    Ok(())
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(io::Error::other("a thread for blocking work was lost")),
    }
}
