//! Records: what services send of their runs, each kept once and for good.
//!
//! A record is one object, `payload.json`: a head that the server writes, and the client's body as it came, byte for byte
//! ([`Stored`]). Its day is fixed once by a create-only claim, so that the same record sent again after midnight, or to
//! another server, meets the first one. Invariants:
//!
//! - **one record a run**: whether a record is the same is judged by the SHA-256 of the client's body; another body under
//!   the same identity never replaces it;
//! - **acknowledged is kept**: [`Records::keep`] answers when the store has acknowledged the payload, and where the store
//!   may have let several in, when the oldest is ours;
//! - **helpers are never believed**: `latest.json` and the daily lists come from the records and go with them.

mod envelope;
mod helpers;
mod read;
mod stored;

use std::sync::Arc;

use bytes::Bytes;
use runpack_core::digest::Digest;
use runpack_core::id::{Organization, Project, RunId, Service};
use runpack_core::key::{Day, KeyTooLong, Location, ObjectKey, RecordObject};
use runpack_core::store::{Declared, ObjectRef, Store, StoreError, Whole};
use runpack_core::time::Clock;
use serde::{Deserialize, Serialize};

pub use envelope::{CommitSha, Envelope};
pub use helpers::{HelperSettings, Helpers, Rebuilt};
pub use read::{Days, DiffLine, Listed, Page, Summary};
pub use stored::{Head, Stored};

use crate::bytes_of;
use crate::json::JsonError;
use crate::once::{self, Stands};

/// Whose records these are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stream {
    /// The organization.
    pub organization: Organization,
    /// The project.
    pub project: Project,
    /// The service.
    pub service: Service,
}

impl Stream {
    fn key(&self, object: RecordObject) -> Result<ObjectKey, KeyTooLong> {
        Location::Record {
            organization: self.organization.clone(),
            project: self.project.clone(),
            service: self.service.clone(),
            object,
        }
        .key()
    }
}

/// What becomes of another body under an identity that is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// It is refused.
    #[default]
    Refuse,
    /// It is dropped, and the client is told that the first one stays.
    KeepFirst,
}

/// Bounds of records.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RecordLimits {
    /// Bytes of a body. Stops an endless one.
    pub body_bytes_max: u64,
    /// Entries of `metadata`. Stops a map made to exhaust memory.
    pub metadata_max: usize,
    /// Days of one query. Stops a query that asks for every day that ever was.
    pub days_max: u32,
    /// Records of one day that a query looks at. Stops a day that no server could sort in memory.
    pub day_records_max: usize,
}

impl Default for RecordLimits {
    fn default() -> Self {
        Self {
            body_bytes_max: 10 << 20,
            metadata_max: 64,
            days_max: 366,
            day_records_max: 1_000_000,
        }
    }
}

/// Why a record was not kept or not given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The body is no envelope.
    #[error(transparent)]
    Envelope(#[from] JsonError),
    /// Another body was kept under this identity.
    #[error("another body was kept under this run id, ours=`{ours}` theirs=`{theirs}`")]
    Conflict {
        /// The SHA-256 of the body that was sent.
        ours: Digest,
        /// The SHA-256 of the body that is there.
        theirs: Digest,
    },
    /// There is no such record.
    #[error("there is no such record, run_id=`{0}`")]
    NotFound(String),
    /// What the store gave is no record, or not this one.
    #[error("what the store gave is not the record that was kept: {reason}, key=`{key}`")]
    Damaged {
        /// The key.
        key: String,
        /// What differs.
        reason: &'static str,
    },
    /// The query asks for too much.
    #[error("{0}")]
    Query(String),
    /// The ids make a key that is too long.
    #[error(transparent)]
    Key(#[from] KeyTooLong),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How a record came to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    /// It is new.
    New,
    /// The same was there.
    Again,
    /// Another was there and stays ([`OnConflict::KeepFirst`]).
    First,
}

/// A record that is in the store.
#[derive(Debug, Clone)]
pub struct Kept {
    /// How it came to be there.
    pub keeping: Keeping,
    /// Its day.
    pub day: Day,
    /// Where it is.
    pub key: ObjectKey,
    /// What the server noted of it when it came.
    pub head: Head,
    /// The size of the stored object.
    pub bytes: u64,
}

/// The claim: `runs/{run_id}.json`. It says the day and nothing else, so that a writer that died after it blocks nobody.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claim {
    date: String,
    format: String,
}

const CLAIM_FORMAT: &str = "runpack-record-claim/v1";
const CLAIM_BYTES_MAX: u64 = 1 << 10;

/// The records of a store.
#[derive(Debug, Clone)]
pub struct Records {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    limits: RecordLimits,
    on_conflict: OnConflict,
    helpers: Option<Arc<Helpers>>,
}

impl Records {
    /// The records of `store`.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            clock,
            limits: RecordLimits::default(),
            on_conflict: OnConflict::default(),
            helpers: None,
        }
    }

    /// The same, with these bounds.
    #[must_use]
    pub fn with_limits(mut self, limits: RecordLimits) -> Self {
        self.limits = limits;
        self
    }

    /// The same, doing that with another body under an identity that is taken.
    #[must_use]
    pub fn on_conflict(mut self, on_conflict: OnConflict) -> Self {
        self.on_conflict = on_conflict;
        self
    }

    /// The same, telling `helpers` of every new record.
    #[must_use]
    pub fn with_helpers(mut self, helpers: Arc<Helpers>) -> Self {
        self.helpers = Some(helpers);
        self
    }

    /// The bounds.
    pub fn limits(&self) -> &RecordLimits {
        &self.limits
    }

    /// Keeps a body that was read as `envelope`, and that `by` sent.
    ///
    /// # Errors
    /// [`RecordError::Conflict`]; as the store fails, and then nothing is acknowledged.
    pub async fn keep(
        &self,
        envelope: &Envelope<'_>,
        body: &Bytes,
        by: &str,
    ) -> Result<Kept, RecordError> {
        let stream = envelope.stream();
        let received_at = self.clock.now();
        let today = Day::of(received_at);
        let (day, claim) = self.claim(&stream, envelope.run_id(), today).await?;
        let key = stream.key(RecordObject::Payload {
            day,
            run_id: envelope.run_id().clone(),
        })?;
        let stored = Stored::new(received_at, by, body);
        let bytes = stored.to_bytes();
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let (stands, payload) = once::create(&*self.store, None, &key, &bytes).await?;
        let whole = [claim, payload];
        let [_, payload] = &whole;
        if stands == Stands::Ours {
            self.store.seal(Whole::Record(&whole)).await?;
            if let Some(helpers) = &self.helpers {
                helpers.tell(&stream, day);
            }
            return Ok(Kept {
                keeping: Keeping::New,
                day,
                key,
                head: stored.into_head(),
                bytes: size,
            });
        }
        let (there, bytes) = self.head(payload).await?;
        let ours = stored.into_head().body_sha256;
        let keeping = match self.on_conflict {
            _ if there.body_sha256 == ours => Keeping::Again,
            OnConflict::KeepFirst => Keeping::First,
            OnConflict::Refuse => {
                return Err(RecordError::Conflict {
                    ours,
                    theirs: there.body_sha256,
                });
            }
        };
        if keeping == Keeping::Again {
            self.ensure(payload, &there, body).await?;
            self.store.seal(Whole::Record(&whole)).await?;
        }
        Ok(Kept {
            keeping,
            day,
            key,
            head: there,
            bytes,
        })
    }

    /// That what is there is whole and durable: whoever wrote it may have died before it was, and told nobody.
    async fn ensure(
        &self,
        payload: &ObjectRef,
        head: &Head,
        body: &Bytes,
    ) -> Result<(), RecordError> {
        let bytes = Stored::with_head(head.clone(), body).to_bytes();
        let found = self.store.find(&payload.key, &Declared::of(&bytes)).await;
        match found {
            Ok(Some(_)) => Ok(()),
            Ok(None) | Err(StoreError::AlreadyExists { .. }) => Err(RecordError::Damaged {
                key: payload.key.to_string(),
                reason: "its body is not what its head says",
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// The day that the claim of a run fixes. Where there is none it is made for `day`, if one is given.
    pub(crate) async fn claimed_day(
        &self,
        stream: &Stream,
        run_id: &RunId,
        day: Option<Day>,
    ) -> Result<Day, RecordError> {
        if let Some(day) = day {
            return self.claim(stream, run_id, day).await.map(|(day, _)| day);
        }
        let key = stream.key(RecordObject::Claim {
            run_id: run_id.clone(),
        })?;
        let claimed = self.claimed(&key).await?;
        claimed.ok_or_else(|| RecordError::NotFound(run_id.to_string()))
    }

    /// The day of this run: as the claim has it, which is made for `today` where there is none.
    async fn claim(
        &self,
        stream: &Stream,
        run_id: &RunId,
        today: Day,
    ) -> Result<(Day, ObjectRef), RecordError> {
        let key = stream.key(RecordObject::Claim {
            run_id: run_id.clone(),
        })?;
        let claim = Claim {
            date: today.to_string(),
            format: CLAIM_FORMAT.to_owned(),
        };
        // Text always serializes.
        let bytes = Bytes::from(serde_json::to_vec(&claim).unwrap_or_default());
        let (stands, object) = once::create(&*self.store, None, &key, &bytes).await?;
        let day = match stands {
            Stands::Ours | Stands::Same => today,
            Stands::Other => self.day_of(&object).await?,
        };
        Ok((day, object))
    }

    /// The day that a claim has; `None` where there is no claim.
    async fn claimed(&self, key: &ObjectKey) -> Result<Option<Day>, RecordError> {
        match self.store.oldest(key).await {
            Ok((object, _)) => self.day_of(&object).await.map(Some),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn day_of(&self, claim: &ObjectRef) -> Result<Day, RecordError> {
        let damaged = || RecordError::Damaged {
            key: claim.key.to_string(),
            reason: "its claim cannot be read",
        };
        let bytes = bytes_of(&*self.store, claim, CLAIM_BYTES_MAX)
            .await?
            .ok_or_else(damaged)?;
        let said: Claim = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
        let day = said.date.parse().map_err(|_| damaged())?;
        if said.format == CLAIM_FORMAT {
            Ok(day)
        } else {
            Err(damaged())
        }
    }

    /// What the server noted of a record, and the size of the object as the store says.
    async fn head(&self, object: &ObjectRef) -> Result<(Head, u64), RecordError> {
        let mut body = self.store.open(object, 0..Head::BYTES_MAX).await?;
        let size = body.bytes_claimed;
        let mut start = Vec::new();
        while let Some(piece) = body.next().await {
            start.extend_from_slice(&piece?);
        }
        let head = Head::parse(&start).ok_or_else(|| RecordError::Damaged {
            key: object.key.to_string(),
            reason: "it has no head",
        })?;
        Ok((head, size))
    }
}

#[cfg(test)]
mod tests;
