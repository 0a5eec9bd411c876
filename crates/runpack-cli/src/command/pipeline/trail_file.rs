//! The trail of a run on this machine: one file, to which several commands append, one at a time.
//!
//! Invariants: a line is durable before its command says that it is done; a file is locked while it is open, so that no
//! two commands continue the same line; what a crash tore off the end was told to nobody, and is cut off; a file whose
//! chain does not hold is not continued.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use runpack_core::pipeline::{Event, Head, Story, TRAIL_BYTES_MAX, Trail};

use crate::context::Context;
use crate::failure::{Exit, Failure};

/// An open trail.
#[derive(Debug)]
pub(super) struct TrailFile {
    path: PathBuf,
    file: File,
    trail: Trail,
}

/// Whether the file must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// It is an error.
    Refuse,
    /// It is made.
    Make,
}

impl TrailFile {
    /// Opens a trail, once nobody else has it open.
    pub(super) fn open(path: &Path, missing: Missing, context: &Context) -> Result<Self, Failure> {
        let failed = |error: &io::Error| failure(path, error);
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(missing == Missing::Make);
        let mut file = options.open(path).map_err(|error| failed(&error))?;
        if !file.metadata().map_err(|error| failed(&error))?.is_file() {
            return Err(failed(&io::Error::other("not a regular file")));
        }
        file.lock().map_err(|error| failed(&error))?;
        let mut bytes = Vec::new();
        let bound = TRAIL_BYTES_MAX.saturating_add(1);
        let read = (&file).take(bound).read_to_end(&mut bytes);
        read.map_err(|error| failed(&error))?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n');
        let whole = whole.map_or(0, |at| at.saturating_add(1));
        if whole < bytes.len() {
            context.output.remark(&format!(
                "warning: the last line of the trail was never finished, and is cut off, path=`{}`",
                path.display()
            ));
            bytes.truncate(whole);
            let len = u64::try_from(whole).unwrap_or(u64::MAX);
            file.set_len(len).map_err(|error| failed(&error))?;
        }
        let trail = Trail::parse(&bytes).map_err(|error| {
            Failure::new(
                format!("the trail was changed, and is not continued, path=`{}`", path.display()),
                "keep the file as it is and find out who changed it; `runpack pipeline begin` with the same plan and another \
                 --trail begins a new one, and `finish` finds the steps in the store",
            )
            .because(&error)
            .with_exit(Exit::Invalid)
        })?;
        file.seek(SeekFrom::End(0))
            .map_err(|error| failed(&error))?;
        if missing == Missing::Make {
            let parent = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty());
            let parent = File::open(parent.unwrap_or(Path::new(".")));
            parent
                .and_then(|parent| parent.sync_all())
                .map_err(|error| failed(&error))?;
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            trail,
        })
    }

    /// The lines.
    pub(super) fn trail(&self) -> &Trail {
        &self.trail
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a line, and makes it durable.
    pub(super) fn append(&mut self, event: Event) -> Result<Head, Failure> {
        let line = self.trail.append(event).map_err(|error| {
            Failure::new(
                format!(
                    "the event does not fit the trail, path=`{}`",
                    self.path.display()
                ),
                "give fewer or shorter facts; what is large belongs into a step's outputs",
            )
            .because(&error)
        })?;
        let written = self
            .file
            .write_all(line)
            .and_then(|()| self.file.sync_all());
        written.map_err(|error| failure(&self.path, &error))?;
        Ok(self.trail.head())
    }

    /// What it tells.
    pub(super) fn story(&self) -> Result<Story, Failure> {
        Story::of(&self.trail).map_err(|error| {
            Failure::new(
                format!(
                    "this is not the trail of a run, path=`{}`",
                    self.path.display()
                ),
                "give the file that `runpack pipeline begin` wrote",
            )
            .because(&error)
        })
    }
}

fn failure(path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        format!("the trail could not be read or written, path=`{}`", path.display()),
        "give the file that `runpack pipeline begin` wrote as --trail, and check its permissions and free space",
    )
    .because(error)
}
