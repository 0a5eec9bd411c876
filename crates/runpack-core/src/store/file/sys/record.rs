//! What the store did to the file system, call by call, and calls that fail on purpose.

use std::fmt;
use std::sync::Mutex;

use rustix::io::{Errno, Result};

/// A call that had an effect. Paths start at the root of the store.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in super::super) enum Call {
    Create(String),
    Write {
        file: String,
        offset: u64,
        bytes: Vec<u8>,
    },
    SyncFile(String),
    SyncDirectory(String),
    SyncEverything,
    MakeDirectory(String),
    Rename {
        from: String,
        to: String,
    },
    Link {
        from: String,
        to: String,
    },
    Unlink(String),
    RemoveDirectory(String),
}

/// One line for each call; the bytes of a write only as their number.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(path) => write!(f, "create {path}"),
            Self::Write {
                file,
                offset,
                bytes,
            } => write!(f, "write {file} {offset} {}", bytes.len()),
            Self::SyncFile(path) => write!(f, "sync-file {path}"),
            Self::SyncDirectory(path) => write!(f, "sync-directory {path}"),
            Self::SyncEverything => f.write_str("sync-everything"),
            Self::MakeDirectory(path) => write!(f, "make-directory {path}"),
            Self::Rename { from, to } => write!(f, "rename {from} {to}"),
            Self::Link { from, to } => write!(f, "link {from} {to}"),
            Self::Unlink(path) => write!(f, "unlink {path}"),
            Self::RemoveDirectory(path) => write!(f, "remove-directory {path}"),
        }
    }
}

/// The kinds of calls, for making some fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Kind {
    Create,
    Write,
    Sync,
    MakeDirectory,
    Rename,
    Link,
    Unlink,
    RemoveDirectory,
}

/// What happened, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Event {
    Call(Call),
    /// Something that the test itself noted, an acknowledgement for one.
    Mark(String),
}

/// Says of the call with this number (from 0, counting attempts) whether and how it fails.
type Faults = Box<dyn FnMut(Kind, usize) -> Option<Errno> + Send>;

#[derive(Default)]
struct Record {
    events: Vec<Event>,
    attempts: usize,
    faults: Option<Faults>,
}

#[derive(Default)]
pub(in super::super) struct Recorder(Mutex<Record>);

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl Recorder {
    /// A recorder in which calls fail as `faults` says.
    pub(in super::super) fn failing(
        faults: impl FnMut(Kind, usize) -> Option<Errno> + Send + 'static,
    ) -> Self {
        Self(Mutex::new(Record {
            faults: Some(Box::new(faults)),
            ..Record::default()
        }))
    }

    pub(in super::super) fn mark(&self, mark: String) {
        self.0.lock().unwrap().events.push(Event::Mark(mark));
    }

    pub(in super::super) fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap().events.clone()
    }

    /// How many calls were tried.
    pub(in super::super) fn attempts(&self) -> usize {
        self.0.lock().unwrap().attempts
    }
}

/// Makes a call under the recorder's lock, so that the record is in the order of the effects.
pub(super) fn through<T>(
    recorder: Option<&Recorder>,
    kind: Kind,
    run: impl FnOnce() -> Result<T>,
    call: impl FnOnce(&T) -> Call,
) -> Result<T> {
    let Some(recorder) = recorder else {
        return run();
    };
    let mut record = recorder.0.lock().unwrap();
    let attempt = record.attempts;
    record.attempts = attempt.saturating_add(1);
    if let Some(errno) = record
        .faults
        .as_mut()
        .and_then(|faults| faults(kind, attempt))
    {
        return Err(errno);
    }
    let done = run()?;
    record.events.push(Event::Call(call(&done)));
    Ok(done)
}
