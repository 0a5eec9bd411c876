//! Where an object goes in the store as the store is now: others have written there since this one was acknowledged.
//!
//! A record goes where the claim in the store says, whatever day it was filed under here: so a run has one record. A part
//! of a log goes where the log ends.

use std::sync::Arc;

use futures_util::StreamExt as _;
use runpack_core::digest::Digest;
use runpack_core::id::{ExecutionId, RunId};
use runpack_core::key::{Day, LiveObject, Location, Log, ObjectKey, RecordObject};
use runpack_core::store::{Declared, StoreError};

use super::shared::Shared;
use crate::record::{Head, RecordError, RecordLimits, Records, Stream};

/// What the store says of an object that is to go there.
#[derive(Debug)]
pub(super) enum Place {
    /// Under this key.
    At(ObjectKey),
    /// It has something else there, or could not make sense of it.
    Taken,
}

/// The record that a payload's key names.
pub(super) struct Record {
    stream: Stream,
    run_id: RunId,
    day: Option<Day>,
}

impl Record {
    /// Of a payload or a claim; `None` for all else.
    pub(super) fn of(location: &Location) -> Option<Self> {
        let Location::Record {
            organization,
            project,
            service,
            object,
        } = location
        else {
            return None;
        };
        let (run_id, day) = match object {
            RecordObject::Payload { day, run_id } => (run_id, Some(*day)),
            RecordObject::Claim { run_id } => (run_id, None),
            _ => return None,
        };
        Some(Self {
            stream: Stream {
                organization: organization.clone(),
                project: project.clone(),
                service: service.clone(),
            },
            run_id: run_id.clone(),
            day,
        })
    }

    /// The day that the store's claim has, after making it where there is none.
    ///
    /// # Errors
    /// The claim cannot be read; as the store fails.
    async fn day(&self, shared: &Shared) -> Result<Day, RecordError> {
        records(shared, 0)
            .claimed_day(&self.stream, &self.run_id, self.day)
            .await
    }

    /// Whether the store has a claim that fixes a day.
    pub(super) async fn is_claimed(&self, shared: &Shared) -> Result<bool, StoreError> {
        match self.day(shared).await {
            Ok(_) => Ok(true),
            Err(RecordError::Store(error)) if !is_missing(&error) => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// Whether the store has this record with the body of `start`, which is how the object here begins: its head tells
    /// when it came, so the same record that came twice is not the same object.
    pub(super) async fn is_there(
        &self,
        shared: &Shared,
        start: &[u8],
        bytes: u64,
    ) -> Result<bool, StoreError> {
        let Some(ours) = Head::parse(start) else {
            return Ok(false);
        };
        match records(shared, bytes)
            .read(&self.stream, &self.run_id)
            .await
        {
            Ok(theirs) => Ok(theirs.head().body_sha256 == ours.body_sha256),
            Err(RecordError::Store(error)) if !is_missing(&error) => Err(error),
            Err(_) => Ok(false),
        }
    }
}

fn is_missing(error: &StoreError) -> bool {
    matches!(error, StoreError::NotFound { .. })
}

/// The records of the store itself, with bodies of at most `bytes`.
fn records(shared: &Shared, bytes: u64) -> Records {
    let limits = RecordLimits {
        body_bytes_max: bytes,
        metadata_max: usize::MAX,
        ..RecordLimits::default()
    };
    Records::new(Arc::clone(&shared.remote), Arc::clone(&shared.clock)).with_limits(limits)
}

/// Where an object goes.
pub(super) async fn find(shared: &Shared, location: &Location) -> Result<Place, StoreError> {
    let place = |location: &Location| location.key().map_or(Place::Taken, Place::At);
    match location {
        Location::Record {
            organization,
            project,
            service,
            object: RecordObject::Payload { run_id, .. },
        } => {
            let Some(record) = Record::of(location) else {
                return Ok(Place::Taken);
            };
            match record.day(shared).await {
                Ok(day) => Ok(place(&Location::Record {
                    organization: organization.clone(),
                    project: project.clone(),
                    service: service.clone(),
                    object: RecordObject::Payload {
                        day,
                        run_id: run_id.clone(),
                    },
                })),
                Err(RecordError::Store(error)) => Err(error),
                Err(_) => Ok(Place::Taken),
            }
        }
        Location::Live {
            execution_id,
            object: LiveObject::LogPart { log, offset },
        } if shared.is_broken_off(location) => {
            if goes_on_at(shared, execution_id, *log, *offset).await? {
                Ok(place(location))
            } else {
                Ok(Place::Taken)
            }
        }
        _ => Ok(place(location)),
    }
}

/// Whether a log in the store ends at `offset`, or has a part that begins there.
async fn goes_on_at(
    shared: &Shared,
    id: &ExecutionId,
    log: Log,
    offset: u64,
) -> Result<bool, StoreError> {
    let mut entries = shared.remote.list(&Location::live_log_prefix(id, log));
    // The end of the part that reaches furthest, which is the log's, for parts never overlap.
    let mut end = 0;
    while let Some(entry) = entries.next().await {
        let entry = entry?;
        if let Some(Location::Live {
            object: LiveObject::LogPart { offset: from, .. },
            ..
        }) = Location::parse(&entry.key)
        {
            if from == offset {
                return Ok(true);
            }
            end = end.max(from.saturating_add(entry.bytes));
        }
    }
    Ok(end == offset)
}

/// As what a writer is told whose place is taken.
pub(super) fn taken(key: &ObjectKey, declared: &Declared) -> StoreError {
    StoreError::AlreadyExists {
        key: key.to_string(),
        ours: declared.commitment(),
        // Others have written around it; there is no one object to name.
        theirs: Digest::of(b""),
    }
}
