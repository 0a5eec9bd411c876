//! The files of a log: their names, which tell the first sequence in them, and their order.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::AuditError;

/// A file of lines.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    /// The sequence of its first line.
    pub(super) first: u64,
    pub(super) path: PathBuf,
}

/// The name of the file whose first line has this sequence.
pub(super) fn name(first: u64) -> String {
    format!("audit-{first:020}.jsonl")
}

/// The files of lines in a directory, in order. Other files are not looked at.
pub(super) fn list(dir: &Path) -> Result<Vec<Listed>, AuditError> {
    let io = |source| AuditError::Io {
        path: dir.to_owned(),
        source,
    };
    let mut listed = Vec::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        let entry = entry.map_err(io)?;
        let first = entry.file_name().to_str().and_then(first);
        if let Some(first) = first {
            let path = entry.path();
            listed.push(Listed { first, path });
        }
    }
    listed.sort_unstable_by_key(|file| file.first);
    Ok(listed)
}

fn first(file: &str) -> Option<u64> {
    let digits = file.strip_prefix("audit-")?.strip_suffix(".jsonl")?;
    let first = digits.parse().ok()?;
    (name(first) == file).then_some(first)
}

/// Opens a file for reading, and follows no link.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}
