//! Reading records, without a database: by listing the days, with the daily lists as a hint.
//!
//! A hint spares a read and settles nothing: what is given out was read from the record itself, and held against the
//! SHA-256 in its head and against the identity that was asked for. Which record is the latest is settled by the heads of its
//! day alone, and a replay ends where the list it went by has another time than a record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use runpack_core::digest::Digest;
use runpack_core::id::RunId;
use runpack_core::key::{Day, KeyPrefix, Location, RecordObject};
use runpack_core::store::{ObjectRef, StoreError};
use runpack_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Envelope, Head, RecordError, Records, Stored, Stream};
use crate::bytes_of;

/// How many heads are read at once.
const HEADS_IN_FLIGHT: usize = 16;
/// How many whole records are read at once for a replay.
const BODIES_IN_FLIGHT: usize = 4;
/// For how many days the latest record is looked for day by day, before all days are listed.
const RECENT_DAYS: usize = 31;
/// The largest daily list that is read as a hint.
const DAILY_BYTES_MAX: u64 = 256 << 20;

/// A range of days, both ends with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days {
    /// The first day.
    pub from: Day,
    /// The last day.
    pub to: Day,
}

impl Days {
    fn all(self, days_max: u32) -> Result<Vec<Day>, RecordError> {
        let mut days = Vec::new();
        let mut day = Some(self.from);
        while let Some(this) = day.filter(|day| *day <= self.to) {
            if days.len() >= usize::try_from(days_max).unwrap_or(usize::MAX) {
                return Err(RecordError::Query(format!(
                    "a query is for at most {days_max} days, ask for them in parts"
                )));
            }
            days.push(this);
            day = this.after();
        }
        Ok(days)
    }
}

/// What is told of a record without its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Which run.
    pub run_id: RunId,
    /// When it came, by the server's clock.
    pub received_at: Timestamp,
    /// Who sent it.
    pub received_by: String,
    /// The SHA-256 of the body that was sent.
    pub body_sha256: Digest,
    /// The size of the stored object.
    pub bytes: u64,
}

impl Summary {
    pub(super) fn new(run_id: RunId, head: Head, bytes: u64) -> Self {
        Self {
            run_id,
            received_at: head.received_at,
            received_by: head.received_by,
            body_sha256: head.body_sha256,
            bytes,
        }
    }

    /// In the order in which records came.
    pub(super) fn order(&self) -> (Timestamp, &RunId) {
        (self.received_at, &self.run_id)
    }
}

/// A record of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Listed {
    /// Its day.
    pub date: String,
    /// Which run.
    #[schema(value_type = String)]
    pub run_id: RunId,
    /// When it came, by the server's clock.
    #[schema(value_type = String)]
    pub received_at: Timestamp,
    /// Who sent it.
    pub received_by: String,
    /// The SHA-256 of the body that was sent.
    #[schema(value_type = String)]
    pub body_sha256: Digest,
    /// The size of the stored object.
    pub bytes: u64,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Page {
    /// By day, then by run id.
    pub records: Vec<Listed>,
    /// What to give as `after` for the next part; none where this was the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One diff of a replay.
#[derive(Debug, Clone, Serialize)]
pub struct DiffLine {
    /// Which run.
    pub run_id: RunId,
    /// When its record came.
    pub received_at: Timestamp,
    /// The commit that it was made from.
    pub commit_sha: String,
    /// The diff, as it was written.
    pub diff: Box<RawValue>,
}

impl Records {
    /// A record, whole and held against its SHA-256.
    ///
    /// # Errors
    /// [`RecordError::NotFound`]; [`RecordError::Damaged`]; as the store fails.
    pub async fn read(&self, stream: &Stream, run_id: &RunId) -> Result<Stored, RecordError> {
        let none = || RecordError::NotFound(run_id.to_string());
        let claim = stream.key(RecordObject::Claim {
            run_id: run_id.clone(),
        })?;
        let day = self.claimed(&claim).await?.ok_or_else(none)?;
        self.read_at(stream, day, run_id).await
    }

    async fn read_at(
        &self,
        stream: &Stream,
        day: Day,
        run_id: &RunId,
    ) -> Result<Stored, RecordError> {
        let object = self.object(stream, day, run_id).await?;
        let damaged = |reason| RecordError::Damaged {
            key: object.key.to_string(),
            reason,
        };
        let bytes_max = self.limits.body_bytes_max.saturating_add(Head::BYTES_MAX);
        let bytes = bytes_of(&*self.store, &object, bytes_max)
            .await?
            .ok_or_else(|| damaged("it is larger than records are"))?;
        let stored = Stored::parse(&Bytes::from(bytes))
            .ok_or_else(|| damaged("its body is not the one that came"))?;
        let envelope = Envelope::parse(stored.body(), &self.limits)
            .map_err(|_| damaged("its body is no envelope"))?;
        if envelope.stream() != *stream || envelope.run_id() != run_id {
            return Err(damaged("it is another run's"));
        }
        Ok(stored)
    }

    async fn object(
        &self,
        stream: &Stream,
        day: Day,
        run_id: &RunId,
    ) -> Result<ObjectRef, RecordError> {
        let key = stream.key(RecordObject::Payload {
            day,
            run_id: run_id.clone(),
        })?;
        match self.store.oldest(&key).await {
            Ok((object, _)) => Ok(object),
            Err(StoreError::NotFound { .. }) => Err(RecordError::NotFound(run_id.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    /// The record of a service that came last.
    ///
    /// # Errors
    /// [`RecordError::NotFound`] where there is none; [`RecordError::Damaged`]; as the store fails.
    pub async fn latest(&self, stream: &Stream) -> Result<(Day, RunId, Stored), RecordError> {
        let mut day = Some(Day::of(self.clock.now()));
        for _ in 0..RECENT_DAYS {
            let Some(this) = day else { break };
            if let Some(last) = self.last_of(stream, this).await? {
                let stored = self.read_at(stream, this, &last).await?;
                return Ok((this, last, stored));
            }
            day = this.before();
        }
        let none = || RecordError::NotFound(format!("any of {}", stream.service));
        let newest = self.newest_day(stream).await?.ok_or_else(none)?;
        let last = self.last_of(stream, newest).await?.ok_or_else(none)?;
        let stored = self.read_at(stream, newest, &last).await?;
        Ok((newest, last, stored))
    }

    async fn last_of(&self, stream: &Stream, day: Day) -> Result<Option<RunId>, RecordError> {
        // A list that puts a record in another's place would show nowhere else: every head of the day is read.
        let summaries = self.summaries_with(stream, day, BTreeMap::new()).await?;
        let last = summaries
            .into_iter()
            .max_by(|a, b| a.order().cmp(&b.order()));
        Ok(last.map(|summary| summary.run_id))
    }

    async fn newest_day(&self, stream: &Stream) -> Result<Option<Day>, RecordError> {
        let prefix =
            Location::records_prefix(&stream.organization, &stream.project, &stream.service, None);
        let mut newest = None;
        let mut entries = self.store.list(&prefix);
        while let Some(entry) = entries.next().await {
            if let Some((_, day, _)) = payload(&entry?.key) {
                newest = newest.max(Some(day));
            }
        }
        Ok(newest)
    }

    /// The records of some days, by day and run id, at most `limit` of them, after what an earlier part ended with.
    ///
    /// # Errors
    /// [`RecordError::Query`]; a record without a head; as the store fails.
    pub async fn list(
        &self,
        stream: &Stream,
        days: Days,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, RecordError> {
        let wrong = || RecordError::Query("`after` is what an earlier part gave as `next`".into());
        let after: Option<(Day, RunId)> = match after {
            None => None,
            Some(text) => {
                let (day, run_id) = text.split_once('/').ok_or_else(wrong)?;
                let day = day.parse().map_err(|_| wrong())?;
                Some((day, run_id.parse().map_err(|_| wrong())?))
            }
        };
        let mut found: Vec<(Day, RunId)> = Vec::new();
        let wanted = limit.saturating_add(1);
        for day in days.all(self.limits.days_max)? {
            let floor = match &after {
                Some((last, _)) if day < *last => continue,
                Some((last, run_id)) if day == *last => Some(run_id),
                _ => None,
            };
            let left = wanted.saturating_sub(found.len());
            let runs = self.first_runs(stream, day, floor, left).await?;
            found.extend(runs.into_iter().map(|run_id| (day, run_id)));
            if found.len() >= wanted {
                break;
            }
        }
        let is_more = found.len() > limit;
        found.truncate(limit);
        let next = found
            .last()
            .filter(|_| is_more)
            .map(|(day, run_id)| format!("{day}/{run_id}"));
        let heads = stream::iter(found.into_iter().map(|(day, run_id)| {
            let stream = stream.clone();
            async move {
                let object = self.object(&stream, day, &run_id).await?;
                let (head, bytes) = self.head(&object).await?;
                Ok::<_, RecordError>(Listed {
                    date: day.to_string(),
                    run_id,
                    received_at: head.received_at,
                    received_by: head.received_by,
                    body_sha256: head.body_sha256,
                    bytes,
                })
            }
        }));
        let records = heads.buffered(HEADS_IN_FLIGHT).try_collect().await?;
        Ok(Page { records, next })
    }

    /// The first `limit` run ids of a day after `floor`. Holds no more than that, however many there are.
    async fn first_runs(
        &self,
        stream: &Stream,
        day: Day,
        floor: Option<&RunId>,
        limit: usize,
    ) -> Result<BTreeSet<RunId>, RecordError> {
        let mut first = BTreeSet::new();
        let mut entries = self.store.list(&day_prefix(stream, day));
        while let Some(entry) = entries.next().await {
            let Some((found, at, run_id)) = payload(&entry?.key) else {
                continue;
            };
            if found == *stream && at == day && floor.is_none_or(|floor| run_id > *floor) {
                first.insert(run_id);
                if first.len() > limit {
                    first.pop_last();
                }
            }
        }
        Ok(first)
    }

    /// What is told of each record of a day: by the daily list where it names the record, else by the record's head.
    pub(super) async fn summaries(
        &self,
        stream: &Stream,
        day: Day,
    ) -> Result<Vec<Summary>, RecordError> {
        let known = self.hints(stream, day).await?;
        self.summaries_with(stream, day, known).await
    }

    pub(super) async fn summaries_with(
        &self,
        stream: &Stream,
        day: Day,
        mut known: BTreeMap<RunId, Summary>,
    ) -> Result<Vec<Summary>, RecordError> {
        let runs_max = self.limits.day_records_max;
        let runs = self
            .first_runs(stream, day, None, runs_max.saturating_add(1))
            .await?;
        if runs.len() > runs_max {
            return Err(RecordError::Query(format!(
                "a day of a service has more than {runs_max} records, which is more than is looked at"
            )));
        }
        let mut summaries = Vec::with_capacity(runs.len());
        let mut unknown = Vec::new();
        for run_id in runs {
            match known.remove(&run_id) {
                Some(summary) => summaries.push(summary),
                None => unknown.push(run_id),
            }
        }
        let heads = stream::iter(unknown.into_iter().map(|run_id| async move {
            let object = self.object(stream, day, &run_id).await?;
            let (head, bytes) = self.head(&object).await?;
            Ok::<_, RecordError>(Summary::new(run_id, head, bytes))
        }));
        let read: Vec<Summary> = heads
            .buffer_unordered(HEADS_IN_FLIGHT)
            .try_collect()
            .await?;
        summaries.extend(read);
        Ok(summaries)
    }

    /// The daily list, as far as it can be read.
    async fn hints(
        &self,
        stream: &Stream,
        day: Day,
    ) -> Result<BTreeMap<RunId, Summary>, RecordError> {
        let key = stream.key(RecordObject::Daily { day })?;
        let bytes = match bytes_of(&*self.store, &key.into(), DAILY_BYTES_MAX).await {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(StoreError::NotFound { .. }) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let lines = bytes.split(|byte| *byte == b'\n');
        let summaries = lines.filter_map(|line| serde_json::from_slice::<Summary>(line).ok());
        Ok(summaries
            .map(|summary| (summary.run_id.clone(), summary))
            .collect())
    }

    /// The diffs of some days, in the order in which their records came: by day, time, and run id.
    ///
    /// # Errors
    /// [`RecordError::Query`] at once; in the stream a damaged record, or as the store fails.
    pub fn diffs(
        self: Arc<Self>,
        stream: Stream,
        days: Days,
    ) -> Result<BoxStream<'static, Result<DiffLine, RecordError>>, RecordError> {
        let days = days.all(self.limits.days_max)?;
        let of_days = stream::iter(days).then(move |day| {
            let (records, stream) = (Arc::clone(&self), stream.clone());
            async move { records.diffs_of(stream, day).await }
        });
        Ok(of_days.try_flatten().boxed())
    }

    async fn diffs_of(
        self: Arc<Self>,
        stream: Stream,
        day: Day,
    ) -> Result<BoxStream<'static, Result<DiffLine, RecordError>>, RecordError> {
        let mut summaries = self.summaries(&stream, day).await?;
        summaries.sort_by(|a, b| a.order().cmp(&b.order()));
        let lines = stream::iter(summaries).map(move |summary| {
            let (records, stream) = (Arc::clone(&self), stream.clone());
            async move { records.diff(&stream, day, summary).await }
        });
        let lines = lines.buffered(BODIES_IN_FLIGHT);
        Ok(lines.try_filter_map(async |line| Ok(line)).boxed())
    }

    async fn diff(
        &self,
        stream: &Stream,
        day: Day,
        told: Summary,
    ) -> Result<Option<DiffLine>, RecordError> {
        let stored = self.read_at(stream, day, &told.run_id).await?;
        if stored.head().received_at != told.received_at {
            // The daily list put it in the wrong place.
            let key = stream.key(RecordObject::Daily { day })?;
            return Err(RecordError::Damaged {
                key: key.to_string(),
                reason: "the daily list is wrong, rebuild it",
            });
        }
        let envelope = Envelope::parse(stored.body(), &self.limits)?;
        Ok(envelope.diff().map(|diff| DiffLine {
            run_id: told.run_id,
            received_at: told.received_at,
            commit_sha: envelope.commit_sha().to_string(),
            diff: diff.to_owned(),
        }))
    }
}

fn day_prefix(stream: &Stream, day: Day) -> KeyPrefix {
    Location::records_prefix(
        &stream.organization,
        &stream.project,
        &stream.service,
        Some(day),
    )
}

/// What a key stands for, if it is a record's.
pub(super) fn payload(key: &str) -> Option<(Stream, Day, RunId)> {
    match Location::parse(key)? {
        Location::Record {
            organization,
            project,
            service,
            object: RecordObject::Payload { day, run_id },
        } => {
            let stream = Stream {
                organization,
                project,
                service,
            };
            Some((stream, day, run_id))
        }
        _ => None,
    }
}
