//! The helpers: `latest.json` and the daily lists, built in batches from the records, outside every acknowledgement.
//!
//! They spare reads and are never believed. Whoever builds one lists the day and reads the heads that the list does not
//! have yet, so what two servers write over each other is whole again after the next batch. A store that locks what is
//! written has none: at the first helper that may not be replaced they are given up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use runpack_core::display::chain;
use runpack_core::key::{Day, KeyPrefix, Location, ObjectKey, RecordObject};
use runpack_core::store::{Declared, Housekeeping, Store, StoreError};
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::read::{Summary, payload};
use super::{RecordError, Records, Stream};

/// When helpers are built.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HelperSettings {
    /// How long a batch gathers.
    pub every: Duration,
    /// The longest pause between two batches, however long they take.
    pub every_max: Duration,
}

impl Default for HelperSettings {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(5),
            every_max: Duration::from_mins(5),
        }
    }
}

/// What is to be built.
#[derive(Debug)]
pub struct Helpers {
    store: Arc<dyn Store>,
    keeper: Arc<dyn Housekeeping>,
    is_locked: AtomicBool,
    settings: HelperSettings,
    stale: Mutex<BTreeSet<(Stream, Day)>>,
    told: Notify,
}

/// `latest.json`.
#[derive(Debug, Serialize)]
struct Latest<'a> {
    date: String,
    format: &'static str,
    key: String,
    #[serde(flatten)]
    summary: &'a Summary,
}

/// What a rebuild did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rebuilt {
    /// Services that were looked at.
    pub services: u64,
    /// Days of all services.
    pub days: u64,
    /// Records in them.
    pub records: u64,
}

/// Whether the list that is there spares reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// What it names need not be read again.
    TheList,
    /// Every head is read.
    TheRecords,
}

impl Helpers {
    /// Helpers in `store`, which `keeper` keeps. Behind a spool it is the store and not the spool: what is replaced has
    /// no place in a queue.
    pub fn new(
        store: Arc<dyn Store>,
        keeper: Arc<dyn Housekeeping>,
        settings: HelperSettings,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            keeper,
            is_locked: AtomicBool::new(false),
            settings,
            stale: Mutex::default(),
            told: Notify::new(),
        })
    }

    /// Hears of a new record.
    pub(super) fn tell(&self, stream: &Stream, day: Day) {
        if self.is_locked.load(Ordering::Relaxed) {
            return;
        }
        // What is in the set is whole.
        let mut stale = self.stale.lock().unwrap_or_else(PoisonError::into_inner);
        stale.insert((stream.clone(), day));
        drop(stale);
        self.told.notify_one();
    }

    fn take(&self) -> BTreeSet<(Stream, Day)> {
        std::mem::take(&mut *self.stale.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Builds what becomes stale until `shutdown`, and a last time then.
    pub async fn run(self: Arc<Self>, records: Arc<Records>, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut is_last = false;
        loop {
            // A shutdown that came in the pause was heard there, and is not waited for again.
            if !is_last {
                tokio::select! {
                    () = self.told.notified() => {}
                    () = &mut shutdown => is_last = true,
                }
            }
            let begun = Instant::now();
            for (stream, day) in self.take() {
                let built = self.build(&records, &stream, day, From::TheList).await;
                if let Err(RecordError::Store(StoreError::Denied { .. })) = &built {
                    self.is_locked.store(true, Ordering::Relaxed);
                    tracing::warn!(
                        "daily lists may not be replaced in this store, and are given up"
                    );
                } else if let Err(error) = built {
                    tracing::warn!(
                        error = chain(&error),
                        "a daily list was not built; the next record of its day has it built again"
                    );
                }
            }
            if is_last {
                return;
            }
            // A day that takes long to list is listed seldom.
            let pause = begun.elapsed().saturating_mul(20);
            let pause = pause.clamp(self.settings.every, self.settings.every_max);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = &mut shutdown => is_last = true,
            }
        }
    }

    async fn build(
        &self,
        records: &Records,
        stream: &Stream,
        day: Day,
        from: From,
    ) -> Result<u64, RecordError> {
        let mut summaries = match from {
            From::TheList => records.summaries(stream, day).await?,
            From::TheRecords => records.summaries_with(stream, day, BTreeMap::new()).await?,
        };
        summaries.sort_by(|a, b| a.order().cmp(&b.order()));
        let mut lines = Vec::new();
        for summary in &summaries {
            // Texts and numbers always serialize.
            lines.extend(serde_json::to_vec(summary).unwrap_or_default());
            lines.push(b'\n');
        }
        let daily = stream.key(RecordObject::Daily { day })?;
        self.replace(&daily, lines.into()).await?;
        let is_today = day >= Day::of(records.clock.now());
        if let Some(last) = summaries
            .last()
            .filter(|_| is_today || from == From::TheRecords)
        {
            let key = stream.key(RecordObject::Payload {
                day,
                run_id: last.run_id.clone(),
            })?;
            let latest = Latest {
                date: day.to_string(),
                format: "runpack-record-latest/v1",
                key: key.to_string(),
                summary: last,
            };
            let bytes = serde_json::to_vec(&latest).unwrap_or_default();
            let key = stream.key(RecordObject::Latest)?;
            self.replace(&key, bytes.into()).await?;
        }
        Ok(u64::try_from(summaries.len()).unwrap_or(u64::MAX))
    }

    /// Puts a helper in the place of another. Between the two there is none, which costs a reader a hint.
    async fn replace(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StoreError> {
        let declared = Declared::of(&bytes);
        let put = async || {
            let put = self.store.put(key, bytes.clone(), declared.clone());
            put.await.map(drop)
        };
        match put().await {
            Err(StoreError::AlreadyExists { .. }) => {}
            done => return done,
        }
        let mut there = self.keeper.holdings(&KeyPrefix::of(key));
        while let Some(holding) = there.next().await {
            let holding = holding?;
            if holding.key == key.as_str() {
                self.keeper.remove(&holding).await?;
            }
        }
        match put().await {
            // Another server was quicker, and its list is as good.
            Err(StoreError::AlreadyExists { .. }) => Ok(()),
            done => done,
        }
    }

    /// Builds every helper anew from the records alone.
    ///
    /// # Errors
    /// A record without a head; as the store fails.
    pub async fn rebuild(&self, records: &Records) -> Result<Rebuilt, RecordError> {
        let mut days: BTreeMap<Stream, BTreeSet<Day>> = BTreeMap::new();
        let mut entries = records.store.list(&Location::all_records_prefix());
        while let Some(entry) = entries.next().await {
            if let Some((stream, day, _)) = payload(&entry?.key) {
                days.entry(stream).or_default().insert(day);
            }
        }
        drop(entries);
        let mut rebuilt = Rebuilt::default();
        for (stream, days) in days {
            rebuilt.services = rebuilt.services.saturating_add(1);
            // The last day comes last, so that the latest record is its.
            for day in days {
                let records = self.build(records, &stream, day, From::TheRecords).await?;
                rebuilt.days = rebuilt.days.saturating_add(1);
                rebuilt.records = rebuilt.records.saturating_add(records);
            }
        }
        Ok(rebuilt)
    }
}
