//! Logs while their execution runs: parts that follow each other, each created once.
//!
//! A part's key is where in the log it begins. Nobody creates a part but at the end that he knows the log to have, so of two
//! writers at one end one succeeds, and parts never overlap; the same bytes at the same offset again are success.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use runpack_core::id::ExecutionId;
use runpack_core::key::{LiveObject, Location, Log};
use runpack_core::name::ArtifactName;
use runpack_core::read::ReadError;
use runpack_core::store::StoreError;

use super::memory::LogEnd;
use super::{ExecutionError, Executions, named, verified};
use crate::bytes_of;
use crate::once::{self, Stands};

/// How often another server's parts are looked for by somebody who follows.
const POLL: Duration = Duration::from_secs(1);
/// Not sooner than so after he looked last, however fast the log grows.
const PAUSE: Duration = Duration::from_millis(200);
/// How often an append without an offset looks for the end again, when other servers append too.
const TRIES: u32 = 16;
/// Parts that are read at once when a log is put together.
pub(super) const PARTS_IN_FLIGHT: usize = 16;

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
    pub(super) fn end(self) -> u64 {
        self.offset.saturating_add(self.bytes)
    }
}

/// The name of a log in the pack.
pub(super) fn log_name(log: Log) -> Result<ArtifactName, ExecutionError> {
    named(&format!("logs/{}", log.file_name()))
}

impl Executions {
    /// Adds to a log: at `offset`, or at its end where none is given.
    ///
    /// # Errors
    /// [`ExecutionError::Offset`] where the log goes on elsewhere; the execution has ended, perhaps meanwhile; the part or
    /// the log is too large; as the store fails.
    pub async fn append(
        &self,
        id: &ExecutionId,
        log: Log,
        offset: Option<u64>,
        bytes: Bytes,
    ) -> Result<Appended, ExecutionError> {
        self.running(id).await?;
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if size > self.limits.log_part_bytes_max {
            return Err(ExecutionError::TooMuch(format!(
                "a part of a log has at most {} bytes",
                self.limits.log_part_bytes_max
            )));
        }
        let remembered = self.memory.of(id);
        let mut known = remembered.log(log).end.lock().await;
        for _ in 0..TRIES {
            let end = match *known {
                Some(end) if offset.is_none_or(|offset| offset == end.bytes) => end,
                _ => self.log_end(id, log).await?,
            };
            *known = Some(end);
            let at = offset.unwrap_or(end.bytes);
            if bytes.is_empty() {
                return Ok(Appended {
                    offset: end.bytes,
                    next: end.bytes,
                    is_new: false,
                });
            }
            let is_again = at < end.bytes && self.is_part(id, log, at).await?;
            if at != end.bytes && !is_again {
                return Err(ExecutionError::Offset { offset: end.bytes });
            }
            let next = at.saturating_add(size);
            if !is_again {
                self.check_room(end, next)?;
            }
            let key = Self::live(id, LiveObject::LogPart { log, offset: at })?;
            let (stands, _) = once::create(&*self.store, self.keeper(), &key, &bytes).await?;
            let appended = Appended {
                offset: at,
                next,
                is_new: stands == Stands::Ours,
            };
            match stands {
                Stands::Ours => {
                    *known = Some(LogEnd {
                        bytes: next,
                        parts: end.parts.saturating_add(1),
                    });
                    remembered.log(log).grown.notify_waiters();
                    // Whoever ends it looks for parts after he has written the end: one of the two sees the other.
                    self.running(id).await?;
                    return Ok(appended);
                }
                // Sent again. Without an offset they are the same words of somebody else, and ours come after them.
                Stands::Same if offset.is_some() => return Ok(appended),
                Stands::Same | Stands::Other => *known = None,
            }
            if offset.is_some() {
                let end = self.log_end(id, log).await?;
                return Err(ExecutionError::Offset { offset: end.bytes });
            }
        }
        Err(ExecutionError::TooMuch(
            "too many servers append to this log at once: give each part its offset".to_owned(),
        ))
    }

    fn check_room(&self, end: LogEnd, next: u64) -> Result<(), ExecutionError> {
        let limits = &self.limits;
        if next > limits.log_bytes_max {
            return Err(ExecutionError::TooMuch(format!(
                "a log has at most {} bytes",
                limits.log_bytes_max
            )));
        }
        if end.parts >= limits.log_parts_max {
            return Err(ExecutionError::TooMuch(format!(
                "a log has at most {} parts: send larger ones",
                limits.log_parts_max
            )));
        }
        Ok(())
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
    async fn log_end(&self, id: &ExecutionId, log: Log) -> Result<LogEnd, ExecutionError> {
        let parts = self.log_parts(id, log).await?;
        Ok(LogEnd {
            bytes: parts.last().map_or(0, |part| part.end()),
            parts: parts.len(),
        })
    }

    /// The parts of a log. Each ends where the next begins; where the last one ends the store says.
    pub(super) async fn log_parts(
        &self,
        id: &ExecutionId,
        log: Log,
    ) -> Result<Vec<Part>, ExecutionError> {
        let prefix = Location::live_log_prefix(id, log);
        // Servers that do not know of each other may each have let one in that was too much: it is kept all the same.
        let bound = self.limits.log_parts_max.saturating_mul(2);
        let mut offsets = Vec::new();
        let mut entries = self.store.list(&prefix);
        while offsets.len() < bound
            && let Some(entry) = entries.next().await
        {
            if let Some(Location::Live {
                execution_id,
                object: LiveObject::LogPart { log: of, offset },
            }) = Location::parse(&entry?.key)
                && execution_id == *id
                && of == log
            {
                offsets.push(offset);
            }
        }
        drop(entries);
        offsets.sort_unstable();
        offsets.dedup();
        let Some(last) = offsets.last().copied() else {
            return Ok(Vec::new());
        };
        if offsets.first() != Some(&0) {
            return Err(ExecutionError::Damaged {
                key: prefix.to_string(),
                reason: "the log has no beginning",
            });
        }
        let object = LiveObject::LogPart { log, offset: last };
        let (_, bytes) = self.store.oldest(&Self::live(id, object)?).await?;
        let ends = offsets.iter().skip(1).copied();
        let ends = ends.chain([last.saturating_add(bytes)]);
        let parts = offsets.iter().zip(ends).map(|(offset, end)| Part {
            offset: *offset,
            bytes: end.saturating_sub(*offset),
        });
        Ok(parts.collect())
    }

    /// One part, which reaches to where the next begins.
    pub(super) async fn log_part(
        &self,
        id: &ExecutionId,
        log: Log,
        part: Part,
    ) -> Result<Bytes, ExecutionError> {
        let offset = part.offset;
        let key = Self::live(id, LiveObject::LogPart { log, offset })?;
        let damaged = || ExecutionError::Damaged {
            key: key.to_string(),
            reason: "a part of a log does not reach to the next",
        };
        let bytes_max = self.limits.log_part_bytes_max;
        let (object, _) = self.store.oldest(&key).await?;
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
            let remembered = executions.memory.of(&self.id);
            let grown = remembered.log(self.log).grown.notified();
            let parts = executions.log_parts(&self.id, self.log).await?;
            if parts.last().is_some_and(|part| part.end() > self.at) {
                self.from = From::Live(parts.into_iter());
            } else if is_over {
                return Ok(None);
            } else {
                // Another server's parts are told by nobody.
                let _ = tokio::time::timeout(POLL, grown).await;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
