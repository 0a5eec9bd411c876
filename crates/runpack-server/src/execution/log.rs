//! Logs while their execution runs: parts that follow each other, each created once.
//!
//! A part's key is where in the log it begins. Nobody creates a part but at the end that he knows the log to have, so of two
//! writers at one end one succeeds, and parts never overlap; the same bytes at the same offset again are success.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use runpack_core::id::ExecutionId;
use runpack_core::key::{LiveObject, Location, Log};
use runpack_core::read::ReadError;
use runpack_core::store::{Declared, Outcome, StoreError};
use tokio::sync::Notify;

use super::complete::log_name;
use super::{ExecutionError, Executions, verified};
use crate::bytes_of;

/// Ends of logs that are remembered; one that is not is listed again.
const ENDS_MAX: usize = 10_000;
/// How often another server's parts are looked for by somebody who follows.
const POLL: Duration = Duration::from_secs(1);
/// How often an append without an offset looks for the end again, when others append too.
const TRIES: u32 = 16;

/// What this server knows of logs that are written to.
#[derive(Debug, Default)]
pub struct LogNews {
    ends: Mutex<HashMap<(ExecutionId, Log), u64>>,
    grown: Notify,
}

impl LogNews {
    fn end(&self, id: &ExecutionId, log: Log) -> Option<u64> {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.get(&(id.clone(), log)).copied()
    }

    fn set(&self, id: &ExecutionId, log: Log, end: u64) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        if ends.len() >= ENDS_MAX {
            ends.clear();
        }
        ends.insert((id.clone(), log), end);
        drop(ends);
        self.grown.notify_waiters();
    }
}

/// A part that is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Where it begins.
    pub offset: u64,
    /// Where the log goes on after it.
    pub next: u64,
    /// Whether this call wrote it.
    pub is_new: bool,
}

/// A part of a log in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

impl Part {
    fn end(self) -> u64 {
        self.offset.saturating_add(self.bytes)
    }
}

impl Executions {
    /// Adds to a log: at `offset`, or at its end where none is given.
    ///
    /// # Errors
    /// [`ExecutionError::Offset`] where the log goes on elsewhere; the execution has ended; the part or the log is too
    /// large; as the store fails.
    pub async fn append(
        &self,
        id: &ExecutionId,
        log: Log,
        offset: Option<u64>,
        bytes: Bytes,
    ) -> Result<Appended, ExecutionError> {
        self.running(id).await?;
        let declared = Declared::of(&bytes);
        if declared.bytes > self.limits.log_part_bytes_max {
            return Err(ExecutionError::TooMuch(format!(
                "a part of a log has at most {} bytes",
                self.limits.log_part_bytes_max
            )));
        }
        for _ in 0..TRIES {
            let end = match self.news.end(id, log) {
                Some(end) if offset.is_none_or(|offset| offset == end) => end,
                _ => self.log_end(id, log).await?,
            };
            let at = offset.unwrap_or(end);
            if declared.bytes == 0 {
                return Ok(Appended {
                    offset: end,
                    next: end,
                    is_new: false,
                });
            }
            let next = at.saturating_add(declared.bytes);
            if next > self.limits.log_bytes_max {
                return Err(ExecutionError::TooMuch(format!(
                    "a log has at most {} bytes",
                    self.limits.log_bytes_max
                )));
            }
            let is_again = at < end && self.is_part(id, log, at).await?;
            if at != end && !is_again {
                return Err(ExecutionError::Offset { offset: end });
            }
            let key = Self::live(id, LiveObject::LogPart { log, offset: at })?;
            match self.store.put(&key, bytes.clone(), declared.clone()).await {
                Ok(receipt) => {
                    if !is_again {
                        self.news.set(id, log, next);
                    }
                    return Ok(Appended {
                        offset: at,
                        next,
                        is_new: receipt.outcome == Outcome::Created,
                    });
                }
                Err(StoreError::AlreadyExists { .. }) => {
                    let end = self.log_end(id, log).await?;
                    if offset.is_some() {
                        return Err(ExecutionError::Offset { offset: end });
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(ExecutionError::TooMuch(
            "too many writers append to this log at once: give each part its offset".to_owned(),
        ))
    }

    async fn is_part(&self, id: &ExecutionId, log: Log, at: u64) -> Result<bool, ExecutionError> {
        let key = Self::live(id, LiveObject::LogPart { log, offset: at })?;
        match self.store.stat(&key.into()).await {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Where a log goes on, as the store has it now.
    async fn log_end(&self, id: &ExecutionId, log: Log) -> Result<u64, ExecutionError> {
        let parts = self.log_parts(id, log).await?;
        let end = parts.last().map_or(0, |part| part.end());
        self.news.set(id, log, end);
        Ok(end)
    }

    /// The parts of a log, which follow each other without a gap.
    pub(super) async fn log_parts(
        &self,
        id: &ExecutionId,
        log: Log,
    ) -> Result<Vec<Part>, ExecutionError> {
        let prefix = Location::live_log_prefix(id, log);
        let mut parts = Vec::new();
        let mut entries = self.store.list(&prefix);
        while let Some(entry) = entries.next().await {
            let entry = entry?;
            let Some(Location::Live {
                execution_id,
                object: LiveObject::LogPart { log: of, offset },
            }) = Location::parse(&entry.key)
            else {
                continue;
            };
            if execution_id != *id || of != log {
                continue;
            }
            parts.push(Part {
                offset,
                bytes: entry.bytes,
            });
            if parts.len() > self.limits.log_parts_max {
                return Err(ExecutionError::TooMuch(format!(
                    "a log has at most {} parts: send larger ones",
                    self.limits.log_parts_max
                )));
            }
        }
        parts.sort_unstable_by_key(|part| part.offset);
        parts.dedup();
        let mut end = 0;
        for part in &parts {
            if part.offset != end || part.bytes == 0 {
                return Err(ExecutionError::Damaged {
                    key: prefix.to_string(),
                    reason: "the parts of a log do not follow each other",
                });
            }
            end = part.end();
        }
        Ok(parts)
    }

    /// One part, which has as many bytes as the listing said.
    pub(super) async fn log_part(
        &self,
        id: &ExecutionId,
        log: Log,
        part: Part,
    ) -> Result<Bytes, ExecutionError> {
        let key = Self::live(
            id,
            LiveObject::LogPart {
                log,
                offset: part.offset,
            },
        )?;
        let damaged = || ExecutionError::Damaged {
            key: key.to_string(),
            reason: "a part of a log is not of its size",
        };
        let bytes_max = self.limits.log_part_bytes_max;
        let object = key.clone().into();
        let bytes = bytes_of(&*self.store, &object, bytes_max).await?;
        let bytes = bytes.ok_or_else(damaged)?;
        if u64::try_from(bytes.len()) == Ok(part.bytes) {
            Ok(bytes.into())
        } else {
            Err(damaged())
        }
    }

    /// A log from `from` on: what is there now, and with [`Follow::UntilTheEnd`] what comes until the execution ends.
    pub(super) fn live_log(
        self: Arc<Self>,
        id: ExecutionId,
        log: Log,
        from: u64,
        follow: Follow,
    ) -> BoxStream<'static, Result<Bytes, ExecutionError>> {
        let tail = Tail {
            executions: self,
            id,
            log,
            at: from,
            follow,
            from: From::Live(Vec::new().into_iter()),
        };
        stream::try_unfold(tail, Tail::next).boxed()
    }
}

/// Whether somebody who reads a log waits for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// Only what is there.
    No,
    /// Until the execution ends.
    UntilTheEnd,
}

struct Tail {
    executions: Arc<Executions>,
    id: ExecutionId,
    log: Log,
    at: u64,
    follow: Follow,
    from: From,
}

/// Where a log is read from.
enum From {
    /// These parts, then those that come.
    Live(std::vec::IntoIter<Part>),
    /// The pack that the execution became meanwhile: its parts are removed then.
    Pack(BoxStream<'static, Result<Bytes, ReadError>>),
}

impl Tail {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, ExecutionError> {
        let live = match &mut self.from {
            From::Live(_) => self.next_live().await,
            From::Pack(bytes) => {
                let piece = bytes.try_next().await?;
                return Ok(piece.map(|bytes| (bytes, self)));
            }
        };
        if let Ok(Some(bytes)) = live {
            return Ok(Some((bytes, self)));
        }
        // At the end, and where parts are gone: the rest is in the pack, if there is one.
        let Some(pack) = self.executions.pack(&self.id).await? else {
            return live.map(|_| None);
        };
        let name = log_name(self.log)?.to_string();
        if pack.manifest().artifact(&name).is_none() {
            return Ok(None);
        }
        let mut bytes = verified(pack, name, self.at);
        let piece = bytes.try_next().await?;
        self.from = From::Pack(bytes);
        Ok(piece.map(|bytes| (bytes, self)))
    }

    async fn next_live(&mut self) -> Result<Option<Bytes>, ExecutionError> {
        let executions = Arc::clone(&self.executions);
        loop {
            if let From::Live(parts) = &mut self.from {
                let at = self.at;
                if let Some(part) = parts.find(|part| part.end() > at) {
                    let bytes = executions.log_part(&self.id, self.log, part).await?;
                    let skip = usize::try_from(at.saturating_sub(part.offset)).unwrap_or(0);
                    self.at = part.end();
                    return Ok(Some(bytes.slice(skip.min(bytes.len())..)));
                }
            }
            // Whether it has ended is asked first: what was written before the end is listed after.
            let is_over = self.follow == Follow::No || executions.has_ended(&self.id).await?;
            let grown = executions.news.grown.notified();
            let parts = executions.log_parts(&self.id, self.log).await?;
            if parts.last().is_some_and(|part| part.end() > self.at) {
                self.from = From::Live(parts.into_iter());
            } else if is_over {
                return Ok(None);
            } else {
                // Another server's parts are told by nobody.
                let _ = tokio::time::timeout(POLL, grown).await;
            }
        }
    }
}
