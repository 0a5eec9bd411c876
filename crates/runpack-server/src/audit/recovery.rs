//! Opening a log to write on: one writer, the right replica, an end that holds.
//!
//! Invariants: what a crash tore off is cut only after it was kept beside; the end of the log is written once more before
//! anything is added to it, because after a failed sync the kernel may show bytes that are on no disk (threat W07).

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _};
use std::path::Path;

use runpack_core::digest::Digest;
use runpack_core::time::Timestamp;
use rustix::fs::Access;

use super::chain::{self, Chain, TORN_BYTES_MAX};
use super::files::{self, Listed};
use super::sys::Sys;
use super::{AuditError, Event, Outcome};

/// Torn ends that are kept. More of them say that something else is wrong.
const TORN_FILES_MAX: u32 = 10_000;

/// A log that can be written on.
#[derive(Debug)]
pub(super) struct Recovered {
    /// Held until the writer ends.
    pub(super) _lock: File,
    pub(super) replica: String,
    pub(super) chain: Chain,
    /// The file to write on, if there is one.
    pub(super) file: Option<Open>,
    /// What the next line must tell.
    pub(super) event: Option<Event>,
}

/// The file that is written on.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) file: File,
    pub(super) bytes: u64,
    /// When its first line was written.
    pub(super) begun: Option<Timestamp>,
}

pub(super) fn open(dir: &Path, replica: &str, sys: &Sys) -> Result<Recovered, AuditError> {
    if !is_id(replica) {
        return Err(AuditError::ReplicaId);
    }
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| AuditError::Io { path, source }
    };
    make_directory(dir, sys).map_err(at(dir))?;
    let lock = lock(dir, sys)?;
    let listed = files::list(dir)?;
    let (chain, walked) = chain::walk_end(&listed)?;
    if let Some(other) = chain.replica()
        && other != replica
    {
        return Err(AuditError::OtherReplica {
            path: dir.to_owned(),
            replica: other.to_owned(),
        });
    }
    let mut recovered = Recovered {
        _lock: lock,
        replica: replica.to_owned(),
        chain,
        file: None,
        event: None,
    };
    if let Some(Listed { path, .. }) = listed.last() {
        let file = sys.open_or_create(path).map_err(at(path))?;
        if walked.torn_bytes > 0 {
            let torn = read(&file, walked.whole_bytes, walked.torn_bytes).map_err(at(path))?;
            recovered.event = Some(keep(dir, &torn, sys)?);
            sys.truncate(&file, walked.whole_bytes).map_err(at(path))?;
        }
        rewrite(&file, walked.whole_bytes, sys).map_err(at(path))?;
        recovered.file = Some(Open {
            file,
            bytes: walked.whole_bytes,
            begun: walked.begun,
        });
    }
    // Also for the name of a last file whose maker failed right after it.
    sys.sync_directory(dir).map_err(at(dir))?;
    Ok(recovered)
}

fn is_id(text: &str) -> bool {
    let is_first = text.starts_with(|first: char| first.is_ascii_alphanumeric());
    let mut bytes = text.bytes();
    is_first
        && text.len() <= 128
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Makes a directory, and those above it, so that they are there after power was lost: also those that were found, which
/// somebody may have made and not made durable.
fn make_directory(dir: &Path, sys: &Sys) -> io::Result<()> {
    let parent = match dir.parent() {
        None => return Ok(()),
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
    };
    if dir.is_dir() {
        if is_fixed(dir, parent)? {
            return Ok(());
        }
        make_directory(parent, sys)?;
        return sys.sync_directory(parent);
    }
    make_directory(parent, sys)?;
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sys.sync_directory(parent)
}

/// Whether nobody like us made `dir` in `parent`: it is mounted there, or nothing can be made there.
fn is_fixed(dir: &Path, parent: &Path) -> io::Result<bool> {
    let is_mounted = dir.metadata()?.dev() != parent.metadata()?.dev();
    let is_open = rustix::fs::access(parent, Access::READ_OK | Access::WRITE_OK).is_ok();
    Ok(is_mounted || dir == parent || !is_open)
}

fn lock(dir: &Path, sys: &Sys) -> Result<File, AuditError> {
    let path = dir.join("lock");
    let taken = sys
        .open_or_create(&path)
        .map_err(TryLockError::Error)
        .and_then(|file| file.try_lock().map(|()| file));
    taken.map_err(|error| match error {
        TryLockError::WouldBlock => AuditError::Locked {
            path: dir.to_owned(),
        },
        TryLockError::Error(source) => AuditError::Io { path, source },
    })
}

/// Keeps what was torn off in a file of its own.
fn keep(dir: &Path, torn: &[u8], sys: &Sys) -> Result<Event, AuditError> {
    for number in 1..=TORN_FILES_MAX {
        let name = format!("audit-torn-{number}");
        let path = dir.join(&name);
        let kept = sys.create(&path).and_then(|file| {
            sys.write_at(&file, torn, 0)?;
            sys.sync(&file)
        });
        match kept {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(source) => return Err(AuditError::Io { path, source }),
        }
        sys.sync_directory(dir)
            .map_err(|source| AuditError::Io { path, source })?;
        return Ok(Event {
            request: None,
            caller: None,
            action: "audit.recovered",
            object: name,
            outcome: Outcome::Accepted,
            status: 200,
            detail: BTreeMap::from([
                ("bytes", torn.len().to_string()),
                ("sha256", Digest::of(torn).to_string()),
            ]),
        });
    }
    Err(AuditError::Io {
        path: dir.to_owned(),
        source: io::Error::other("too many torn ends are kept there: move them away"),
    })
}

/// Writes the end of a file once more where it stands, and makes it durable.
fn rewrite(file: &File, bytes: u64, sys: &Sys) -> io::Result<()> {
    let from = bytes.saturating_sub(TORN_BYTES_MAX);
    let end = read(file, from, bytes.saturating_sub(from))?;
    sys.write_at(file, &end, from)?;
    sys.sync(file)
}

/// Some bytes, at most [`TORN_BYTES_MAX`].
fn read(file: &File, from: u64, bytes: u64) -> io::Result<Vec<u8>> {
    let bytes = usize::try_from(bytes.min(TORN_BYTES_MAX)).map_err(io::Error::other)?;
    let mut read = vec![0; bytes];
    file.read_exact_at(&mut read, from)?;
    Ok(read)
}
