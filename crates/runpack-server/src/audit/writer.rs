//! The thread that writes the log: takes what is queued, writes all of it, syncs once, tells all who wait.
//!
//! Invariants: nobody is told of a line before it is durable; after a failed sync, or a write that failed for another
//! reason than a full disk, nothing is written any more.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runpack_core::time::{Clock, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::chain::{BATCH_BYTES_MAX, Chain};
use super::recovery::{Open, Recovered};
use super::refusals::{Refusals, Waiting};
use super::reserve::Reserve;
use super::sys::{Sys, is_full};
use super::{AuditError, Bounds, Event, QUEUE_EVENTS, State, Status, files};

/// Where it is told what became of an event.
type Done = oneshot::Sender<Result<(), AuditError>>;

/// What the writer is asked for.
#[derive(Debug)]
pub(super) enum Message {
    /// Write it.
    Line(Event, Done),
    /// Write everything, and end.
    Close(oneshot::Sender<()>),
}

/// Lines that are made durable together.
#[derive(Debug)]
struct Batch {
    /// Where the chain stood before them.
    before: Chain,
    at: Timestamp,
    lines: Vec<u8>,
    waiting: Vec<Done>,
}

/// Why lines were not written.
#[derive(Debug, Clone)]
enum Fault {
    NoRoom,
    Failed(Arc<io::Error>),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Failed(Arc::new(error))
    }
}

impl From<Fault> for AuditError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NoRoom => Self::NoRoom,
            Fault::Failed(source) => Self::Failed { source },
        }
    }
}

#[derive(Debug)]
pub(super) struct Writer {
    dir: PathBuf,
    recovered: Recovered,
    sys: Sys,
    bounds: Bounds,
    clock: Arc<dyn Clock>,
    reserve: Reserve,
    reserve_tried: Instant,
    refusals: Arc<Waiting>,
    status: watch::Sender<Status>,
    /// The first failure.
    failed: Option<Arc<io::Error>>,
}

impl Writer {
    /// A writer of what was opened; it has told what was recovered.
    pub(super) fn new(
        dir: &Path,
        mut recovered: Recovered,
        (sys, bounds, clock): (Sys, Bounds, Arc<dyn Clock>),
        refusals: Arc<Waiting>,
        status: watch::Sender<Status>,
    ) -> Result<Self, AuditError> {
        let reserve = Reserve::open(dir, &sys).map_err(|source| AuditError::Io {
            path: dir.to_owned(),
            source,
        })?;
        let event = recovered.event.take();
        let mut writer = Self {
            dir: dir.to_owned(),
            recovered,
            sys,
            bounds,
            clock,
            reserve,
            reserve_tried: Instant::now(),
            refusals,
            status,
            failed: None,
        };
        if let Some(event) = event {
            writer.write_own(&[event])?;
        }
        writer.tell();
        Ok(writer)
    }

    /// Writes until it is told to end, or nobody is left who could tell it. Gives who waits for the end.
    pub(super) async fn run(
        &mut self,
        mut inbox: mpsc::Receiver<Message>,
    ) -> Vec<oneshot::Sender<()>> {
        let mut messages = Vec::with_capacity(QUEUE_EVENTS);
        let mut closers = Vec::new();
        let refusals = Arc::clone(&self.refusals);
        loop {
            let wake = self.wake_at();
            tokio::select! {
                taken = inbox.recv_many(&mut messages, QUEUE_EVENTS) => if taken == 0 { break },
                () = refusals.first() => {}
                () = tokio::time::sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
            self.write(messages.drain(..), &mut closers);
            if !closers.is_empty() {
                // What was queued before is still taken, nothing after.
                inbox.close();
            }
            self.tend();
        }
        let rest = self.refusals.take_all();
        self.write_refusals(rest);
        self.status
            .send_modify(|status| status.state = State::Closed);
        closers
    }

    /// When there is something to do that nobody asks for.
    fn wake_at(&self) -> Option<Instant> {
        if self.failed.is_some() {
            return None;
        }
        let refusals = self
            .refusals
            .opened()
            .and_then(|opened| opened.checked_add(self.bounds.refusals_every));
        let reserve = if self.reserve.is_held() {
            None
        } else {
            self.reserve_tried.checked_add(self.bounds.reserve_every)
        };
        refusals.into_iter().chain(reserve).min()
    }

    /// Does what is due: refusals that were counted, the reserve.
    fn tend(&mut self) {
        let now = Instant::now();
        let is_due = |since: Instant, every| now.saturating_duration_since(since) >= every;
        if self.failed.is_none() {
            let window = self.refusals.opened();
            let taken = if window.is_some_and(|since| is_due(since, self.bounds.refusals_every)) {
                self.refusals.take_all()
            } else {
                self.refusals.take_first()
            };
            self.write_refusals(taken);
        }
        if !self.reserve.is_held() && is_due(self.reserve_tried, self.bounds.reserve_every) {
            self.reserve_tried = now;
            if let Err(error) = self.reserve.hold(&self.sys) {
                tracing::warn!(%error, "no space could be reserved for the audit log");
            }
            self.tell();
        }
    }

    fn write_refusals(&mut self, taken: Refusals) {
        if let Err(error) = self.write_own(&taken.events()) {
            tracing::error!(%error, "refusals could not be written to the audit log");
            self.refusals
                .put_back(taken, self.clock.now(), Instant::now());
        }
    }

    /// Writes events that nobody waits for: all of them or none.
    fn write_own(&mut self, events: &[Event]) -> Result<(), AuditError> {
        let mut batch = self.begin();
        for event in events {
            if let Err(error) = self.append(event, &mut batch) {
                self.recovered.chain = batch.before;
                return Err(error);
            }
        }
        Ok(self.commit(batch)?)
    }

    /// Writes events, and tells everybody what became of theirs.
    fn write(
        &mut self,
        messages: impl Iterator<Item = Message>,
        closers: &mut Vec<oneshot::Sender<()>>,
    ) {
        let mut batch = self.begin();
        for message in messages {
            match message {
                Message::Close(closed) => closers.push(closed),
                Message::Line(event, done) => match self.append(&event, &mut batch) {
                    Ok(()) => batch.waiting.push(done),
                    Err(error) => drop(done.send(Err(error))),
                },
            }
            if batch.lines.len() >= BATCH_BYTES_MAX {
                // Whoever waits is told.
                let _ = self.commit(batch);
                batch = self.begin();
            }
        }
        let _ = self.commit(batch);
    }

    /// A batch that begins where the chain stands. A file that is full, or of another day, is left.
    fn begin(&mut self) -> Batch {
        let at = self.clock.now();
        self.recovered.file.take_if(|open| {
            open.bytes >= self.bounds.file_bytes_max
                || open.begun.is_some_and(|begun| begun.date() < at.date())
        });
        Batch {
            before: self.recovered.chain.clone(),
            at,
            lines: Vec::new(),
            waiting: Vec::new(),
        }
    }

    fn append(&mut self, event: &Event, batch: &mut Batch) -> Result<(), AuditError> {
        let Recovered { replica, chain, .. } = &mut self.recovered;
        chain.append(replica, batch.at, event, &mut batch.lines)
    }

    /// Makes a batch durable. If it is not, the chain stands where it stood before.
    fn commit(&mut self, batch: Batch) -> Result<(), Fault> {
        if batch.lines.is_empty() {
            return Ok(());
        }
        let done = self.put(&batch);
        if let Err(fault) = &done {
            self.recovered.chain = batch.before;
            if let Fault::Failed(error) = fault
                && self.failed.is_none()
            {
                tracing::error!(%error, "the audit log failed");
                self.failed = Some(Arc::clone(error));
            }
        }
        self.tell();
        for waiting in batch.waiting {
            let _ = waiting.send(done.clone().map_err(AuditError::from));
        }
        done
    }

    /// Writes the lines of a batch and syncs them.
    fn put(&mut self, batch: &Batch) -> Result<(), Fault> {
        if let Some(error) = &self.failed {
            return Err(Fault::Failed(Arc::clone(error)));
        }
        let mut written = self.put_lines(batch);
        if written.as_ref().is_err_and(is_full) && self.reserve.is_held() {
            tracing::error!("the disk of the audit log is full: only refusals are written");
            self.reserve_tried = Instant::now();
            self.reserve.release(&self.sys)?;
            written = self.put_lines(batch);
        }
        match (written, &mut self.recovered.file) {
            (Ok(()), Some(open)) => {
                self.sys.sync(&open.file)?;
                if open.bytes == 0 {
                    self.sys.sync_directory(&self.dir)?;
                }
                let bytes = u64::try_from(batch.lines.len()).unwrap_or(u64::MAX);
                open.bytes = open.bytes.saturating_add(bytes);
                open.begun.get_or_insert(batch.at);
                Ok(())
            }
            (Err(error), open) if is_full(&error) => {
                // No sync failed, so nothing is uncertain: part of a line goes, and the next event tries again. It goes
                // durably, because the next event may be of another day and in another file.
                if let Some(open) = open {
                    self.sys.truncate(&open.file, open.bytes)?;
                    self.sys.sync(&open.file)?;
                }
                Err(Fault::NoRoom)
            }
            (Err(error), _) => Err(error.into()),
            (Ok(()), None) => Err(io::Error::other("there is no file").into()),
        }
    }

    fn put_lines(&mut self, batch: &Batch) -> io::Result<()> {
        let open = match self.recovered.file.take() {
            Some(open) => open,
            None => Open {
                file: self
                    .sys
                    .create(&self.dir.join(files::name(batch.before.next())))?,
                bytes: 0,
                begun: None,
            },
        };
        let open = self.recovered.file.insert(open);
        self.sys.write_at(&open.file, &batch.lines, open.bytes)
    }

    /// Tells how the log is.
    fn tell(&self) {
        let state = match (&self.failed, self.reserve.is_held()) {
            (Some(_), _) => State::Failed,
            (None, true) => State::Ready,
            (None, false) => State::NoRoom,
        };
        let head = self.recovered.chain.head();
        self.status.send_replace(Status { head, state });
    }
}
