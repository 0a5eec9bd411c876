//! The audit log: every acceptance and every refusal of one replica, one line each, chained by digest.
//!
//! A directory holds the chain of one replica as JSON lines, in files named by the first sequence in them. A line carries
//! the SHA-256 of the line before it, over the files too, so no line can be changed, removed or put in between without
//! all after it being written again. What the chain alone does not tell is that its end was cut off or written again:
//! whoever owns the directory can do that. [`AuditLog::head`] kept elsewhere, and [`expect`]ed, tells of it.
//!
//! Invariants: a line is durable before [`AuditLog::record`] returns; what could not be written makes the request be
//! refused (threat C33); after a failed sync nothing is written until the log is opened again (W07); whoever gets no
//! further than saying who they are, and whoever asks too often, cannot fill the log; a line is ASCII without control characters, whatever it tells of (C31).

mod chain;
mod files;
mod recovery;
mod refusals;
mod reserve;
mod sys;
mod writer;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use runpack_core::digest::Digest;
use runpack_core::time::{Clock, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use self::chain::Chain;
pub(crate) use self::refusals::RATE;
use self::refusals::Waiting;
use self::sys::Sys;
use self::writer::{Message, Writer};

/// How many events wait to be written before [`AuditLog::record`] waits too.
const QUEUE_EVENTS: usize = 1024;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was done, and is durable.
    Accepted,
    /// It was refused.
    Refused,
    /// It was neither: we or the store failed.
    Failed,
}

/// What happened, as whoever answers a request tells it.
///
/// Texts may come from clients: they are escaped, and cut with their digest where they are longer than 1 KiB. None may
/// be a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The id of the request; `None` for what no single request asked for.
    pub request: Option<String>,
    /// Who called; `None` for whom nobody knows.
    pub caller: Option<Arc<str>>,
    /// What: `record.write`, `execution.open`, ...
    pub action: &'static str,
    /// On what.
    pub object: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The HTTP status.
    pub status: u16,
    /// What else is to be known.
    pub detail: BTreeMap<&'static str, String>,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// From 0, without a gap.
    pub sequence: u64,
    /// The SHA-256 of the line before, without its line feed; of nothing for the first.
    pub previous: Digest,
    /// By the server's clock.
    pub at: Timestamp,
    /// Whose chain it is.
    pub replica: String,
    /// The id of the request.
    pub request: Option<String>,
    /// Who called.
    pub caller: Option<String>,
    /// What.
    pub action: String,
    /// On what.
    pub object: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The HTTP status.
    pub status: u16,
    /// What else is to be known.
    pub detail: BTreeMap<String, String>,
}

/// The last line: what fixes all before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Its sequence.
    pub sequence: u64,
    /// Its SHA-256.
    pub line: Digest,
}

/// Whether the log takes lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It does.
    Ready,
    /// The disk is full. Refusals are still written for a while, into reserved space: refuse whatever would be accepted.
    NoRoom,
    /// A write or a sync failed. Nothing is written until the log is opened again.
    Failed,
    /// It was closed.
    Closed,
}

/// What a log was found to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// How many lines there are.
    pub entries: u64,
    /// The last one; `None` for an empty log.
    pub last: Option<Head>,
    /// In how many files.
    pub files: u64,
    /// What a crash left at the end of the last file, told to nobody and cut off when the log is opened.
    pub torn_bytes: u64,
}

/// Why a log is not to be believed, or not to be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The file system failed.
    #[error("the audit log could not be read or written, path=`{path}`")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// How.
        #[source]
        source: io::Error,
    },
    /// A line is not one, or not where it was written.
    #[error(
        "the audit log was changed: keep it as it is and look for a copy that holds, line=`{line}` path=`{path}`: {fault}"
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Which line of the file, from 1.
        line: u64,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// A line that must be in it is not.
    #[error(
        "the line that is expected is not in the audit log: its end was cut off or written again, sequence=`{sequence}` expected=`{line}` entries=`{entries}`",
        sequence = expected.sequence, line = expected.line
    )]
    Missing {
        /// The line.
        expected: Head,
        /// How many lines there are.
        entries: u64,
    },
    /// Another process writes it.
    #[error(
        "another process writes this audit log: give each replica its own directory, path=`{path}`"
    )]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// It is the chain of another replica.
    #[error("the audit log is that of another replica, path=`{path}` replica=`{replica}`")]
    OtherReplica {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        replica: String,
    },
    /// Not a name for a replica.
    #[error(
        "a replica's id is 1 to 128 letters, digits and `.` `_` `-`, and starts with a letter or digit"
    )]
    ReplicaId,
    /// An event has too much detail. Nothing was written of it.
    #[error("an event is too long for the audit log, action=`{action}` bytes=`{bytes}`")]
    TooLong {
        /// What happened.
        action: &'static str,
        /// The length of its line.
        bytes: usize,
    },
    /// The disk is full, and the reserved space too. It is tried again with the next event.
    #[error("the disk of the audit log is full: make room there")]
    NoRoom,
    /// A write or a sync failed, of this event or of one before.
    #[error("the audit log failed, and takes nothing until the server is started again")]
    Failed {
        /// The failure, the first.
        #[source]
        source: Arc<io::Error>,
    },
    /// The log was closed, or the thread that writes it is gone.
    #[error("the audit log is closed")]
    Closed,
}

impl AuditError {
    /// Whether somebody changed the log, as far as that can be told.
    pub const fn is_tampering(&self) -> bool {
        matches!(self, Self::Changed { .. } | Self::Missing { .. })
    }
}

/// What can be set otherwise, in tests.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// A file that is larger is not written on.
    file_bytes_max: u64,
    /// How often refusals of unknown callers are told of together.
    refusals_every: Duration,
    /// How often the space for refusals is tried to be reserved again.
    reserve_every: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            file_bytes_max: 64 << 20,
            refusals_every: Duration::from_mins(1),
            reserve_every: Duration::from_secs(10),
        }
    }
}

/// The audit log of this replica, open for writing.
///
/// Dropped without [`AuditLog::close`], what was queued is still written, but nobody waits for it.
#[derive(Debug)]
pub struct AuditLog {
    inbox: mpsc::Sender<Message>,
    refusals: Arc<Waiting>,
    status: watch::Receiver<Status>,
    clock: Arc<dyn Clock>,
}

/// What the writer tells of itself.
#[derive(Debug, Clone, Copy)]
struct Status {
    head: Option<Head>,
    state: State,
}

impl AuditLog {
    /// Opens the log in a directory, which is made where it is not there, and starts the thread that writes it.
    ///
    /// The last file is checked whole, and how it continues the one before; [`check`] does that for all. What a crash tore
    /// off is kept beside as `audit-torn-<n>`, and a line with the action `audit.recovered` says so.
    ///
    /// # Errors
    /// Another process has it open; it is another replica's; it was changed; the file system failed.
    pub fn open(dir: &Path, replica: &str, clock: Arc<dyn Clock>) -> Result<Self, AuditError> {
        Self::open_with(dir, replica, clock, Bounds::default(), Sys::default())
    }

    fn open_with(
        dir: &Path,
        replica: &str,
        clock: Arc<dyn Clock>,
        bounds: Bounds,
        sys: Sys,
    ) -> Result<Self, AuditError> {
        let recovered = recovery::open(dir, replica, &sys)?;
        let refusals = Arc::new(Waiting::default());
        let (inbox, events) = mpsc::channel(QUEUE_EVENTS);
        let (told, status) = watch::channel(Status {
            head: recovered.chain.head(),
            state: State::Ready,
        });
        let mut writer = Writer::new(
            dir,
            recovered,
            (sys, bounds, Arc::clone(&clock)),
            Arc::clone(&refusals),
            told,
        )?;
        let io = |source| AuditError::Io {
            path: dir.to_owned(),
            source,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(io)?;
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || {
                let closers = runtime.block_on(writer.run(events));
                // The directory is free before whoever closed the log goes on.
                drop(writer);
                for closed in closers {
                    let _ = closed.send(());
                }
            })
            .map_err(io)?;
        Ok(Self {
            inbox,
            refusals,
            status,
            clock,
        })
    }

    /// Writes a line and returns when it is durable. What many tasks record meanwhile is made durable together.
    ///
    /// If the future is dropped the line is written all the same; after an error it may be there or not.
    ///
    /// # Errors
    /// It is not durable: the request must be refused.
    pub async fn record(&self, event: Event) -> Result<(), AuditError> {
        let (done, told) = oneshot::channel();
        let message = Message::Line(event, done);
        self.inbox
            .send(message)
            .await
            .map_err(|_| AuditError::Closed)?;
        told.await.unwrap_or(Err(AuditError::Closed))
    }

    /// Counts a refusal of somebody who is not authenticated.
    ///
    /// The first ten of a minute have their own lines; the others are told of in one line, with their number for each
    /// reason and the number of peers.
    pub fn count_refusal(&self, reason: &'static str, peer: IpAddr) {
        self.refusals
            .count(reason, peer, self.clock.now(), Instant::now());
    }

    /// Counts a refusal of somebody who has a name and got no further, or asks too often. Whether it is to be
    /// [recorded](Self::record) on its own.
    ///
    /// The first five of a name and a minute are, and no more than fifty of all names; the others are told of in one line
    /// for each name. Names are anybody's who can have a token of a public issuer.
    pub fn count_refusal_of(
        &self,
        caller: &Arc<str>,
        reason: &'static str,
        peer: Option<IpAddr>,
    ) -> bool {
        let when = (self.clock.now(), Instant::now());
        self.refusals.count_named(caller, reason, peer, when)
    }

    /// The last durable line.
    pub fn head(&self) -> Option<Head> {
        self.status.borrow().head
    }

    /// Whether the log takes lines. What would be accepted is to be refused unless it is [`State::Ready`].
    pub fn state(&self) -> State {
        if self.inbox.is_closed() {
            return State::Closed;
        }
        self.status.borrow().state
    }

    /// Writes what is queued and what was counted, and frees the directory.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.inbox.send(Message::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

/// Reads a whole log and holds every line against the one before. It may be written meanwhile.
///
/// # Errors
/// It was changed, or cannot be read. That its end was cut off or written again it does not show: see [`expect`].
pub fn check(dir: &Path) -> Result<Checked, AuditError> {
    check_each(dir, |_, _| {})
}

/// The same, and this line must be in it: what [`AuditLog::head`] gave, kept where who owns the directory cannot change
/// it.
///
/// # Errors
/// As [`check`]; [`AuditError::Missing`].
pub fn expect(dir: &Path, expected: Head) -> Result<Checked, AuditError> {
    let mut is_there = false;
    let checked = check_each(dir, |_, head| is_there |= head == expected)?;
    if is_there {
        return Ok(checked);
    }
    let entries = checked.entries;
    Err(AuditError::Missing { expected, entries })
}

/// The same as [`check`], and hands over each line that was found to hold so far.
///
/// # Errors
/// As [`check`].
pub fn check_each(dir: &Path, mut each: impl FnMut(&Entry, Head)) -> Result<Checked, AuditError> {
    let listed = files::list(dir)?;
    let mut chain = Chain::default();
    let walked = chain::walk(&mut chain, &listed, &mut each)?;
    Ok(Checked {
        entries: chain.next(),
        last: chain.head(),
        files: u64::try_from(listed.len()).unwrap_or(u64::MAX),
        torn_bytes: walked.torn_bytes,
    })
}

#[cfg(test)]
mod tests;
