//! The trail of a run on this machine: one file, to which several commands append, one at a time.
//!
//! Invariants: a line is durable before its command says that it is done; a file is locked while it is open, so that no
//! two commands continue the same line; what a crash tore off the end was told to nobody, and is cut off; a file whose
//! chain does not hold is not continued. A file that is not the trail of a run is never changed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use runpack_core::pipeline::{Event, Head, Story, StoryError, TRAIL_BYTES_MAX, Trail, TrailError};

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
        let contents = Contents::of(&bytes).map_err(|fault| fault.told(path))?;
        match contents.tail {
            Tail::None => {}
            Tail::Line => {
                let end = file.seek(SeekFrom::End(0));
                let ended = end.and_then(|_| file.write_all(b"\n"));
                ended.map_err(|error| failed(&error))?;
            }
            Tail::Torn { whole } => {
                context.output.remark(&format!(
                    "warning: the last line of the trail was never finished, and is cut off, path=`{}`",
                    path.display()
                ));
                file.set_len(whole).map_err(|error| failed(&error))?;
            }
        }
        let trail = contents.trail;
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

    /// The lines as they would be with these events. Nothing is written.
    pub(super) fn with(&self, events: &[Event]) -> Result<Trail, Failure> {
        let mut trail = self.trail.clone();
        for event in events {
            let added = trail.append(event.clone());
            added.map_err(|error| does_not_fit(&self.path, &error))?;
        }
        Ok(trail)
    }

    /// Adds a line, and makes it durable.
    pub(super) fn append(&mut self, event: Event) -> Result<Head, Failure> {
        let line = self
            .trail
            .append(event)
            .map_err(|error| does_not_fit(&self.path, &error))?;
        let written = self
            .file
            .write_all(line)
            .and_then(|()| self.file.sync_all());
        written.map_err(|error| failure(&self.path, &error))?;
        Ok(self.trail.head())
    }

    /// What it tells.
    pub(super) fn story(&self) -> Result<Story, Failure> {
        Story::of(&self.trail).map_err(|error| no_run(self.path.display(), &error))
    }
}

/// What the bytes of a file are.
struct Contents {
    trail: Trail,
    tail: Tail,
}

/// What follows the last line feed.
#[derive(Debug, PartialEq, Eq)]
enum Tail {
    None,
    /// The next line, of which a crash tore off the line feed alone.
    Line,
    /// A piece of a line, after so many bytes of whole ones.
    Torn {
        whole: u64,
    },
}

/// Why they are no trail.
enum NoTrail {
    /// There is no run in them.
    Other,
    /// Lines of a run that do not hold.
    Changed(TrailError),
    /// Lines that hold and tell no run.
    Told(StoryError),
}

impl Contents {
    /// Nothing is taken for a torn trail that does not begin as the trail of a run.
    fn of(bytes: &[u8]) -> Result<Self, NoTrail> {
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > TRAIL_BYTES_MAX {
            return Err(NoTrail::Other);
        }
        let whole = bytes.iter().rposition(|byte| *byte == b'\n');
        let whole = whole.map_or(0, |at| at.saturating_add(1));
        let (lines, rest) = bytes.split_at_checked(whole).unwrap_or((bytes, &[]));
        if lines.is_empty() && !rest.is_empty() {
            return Err(NoTrail::Other);
        }
        let trail = Trail::parse(lines).map_err(NoTrail::Changed)?;
        if rest.is_empty() {
            return Ok(Self {
                trail,
                tail: Tail::None,
            });
        }
        Story::of(&trail).map_err(NoTrail::Told)?;
        let ended = Trail::parse(&[bytes, b"\n"].concat());
        if let Some(trail) = ended.ok().filter(|trail| Story::of(trail).is_ok()) {
            return Ok(Self {
                trail,
                tail: Tail::Line,
            });
        }
        Ok(Self {
            trail,
            tail: Tail::Torn {
                whole: u64::try_from(whole).unwrap_or(u64::MAX),
            },
        })
    }
}

impl NoTrail {
    fn told(self, path: &Path) -> Failure {
        let path = path.display();
        match self {
            Self::Other => Failure::new(
                format!("this is not the trail of a run, path=`{path}`"),
                "give the file that `runpack pipeline begin` wrote, or one that is not there yet; nothing was changed in this one",
            ),
            Self::Changed(error) => Failure::new(
                format!("the trail was changed, and is not continued, path=`{path}`"),
                "keep the file as it is and find out who changed it; `runpack pipeline begin` with the same plan and another \
                 --trail begins a new one, and `finish --take` takes the steps that are in the store",
            )
            .because(&error)
            .with_exit(Exit::Invalid),
            Self::Told(error) => no_run(path, &error),
        }
    }
}

fn no_run(path: impl std::fmt::Display, error: &StoryError) -> Failure {
    Failure::new(
        format!("this is not the trail of a run, path=`{path}`"),
        "give the file that `runpack pipeline begin` wrote",
    )
    .because(error)
}

fn does_not_fit(path: &Path, error: &TrailError) -> Failure {
    Failure::new(
        format!(
            "the event does not fit the trail, path=`{}`",
            path.display()
        ),
        "give fewer or shorter facts; what is large belongs into a step's outputs",
    )
    .because(error)
}

fn failure(path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        format!("the trail could not be read or written, path=`{}`", path.display()),
        "give the file that `runpack pipeline begin` wrote as --trail, and check its permissions and free space",
    )
    .because(error)
}
