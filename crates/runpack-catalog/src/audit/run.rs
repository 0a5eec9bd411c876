//! Working on an audit: several places at once, until nothing is left, the caller stops it, or the catalog is gone.
//!
//! A database that is away is waited for. What is held is kept by renewing, and given back in the end, whatever the end.

use std::convert::Infallible;
use std::fmt;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{Either, select, try_join, try_join_all};
use runpack_core::limits::Limits;
use runpack_core::store::ArtifactReader;
use tokio::sync::{RwLock, oneshot};
use tokio::time::{sleep, timeout};

use super::examine::{Examination, Examined, PinSource};
use super::lease::{Lease, Left, Queue};
use super::pace::{Pace, Rates};
use super::patience::patiently;
use super::plan::{ListingBounds, Planning};
use super::watch::Watch;
use super::{Audit, AuditError, Conclusion, Standing};
use crate::error::CatalogError;
use crate::sql::Catalog;

/// How often it is asked what is left, by whoever waits for others.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long giving back may take.
const GIVE_BACK_WITHIN: Duration = Duration::from_secs(10);
/// How many findings of one place are kept.
const FINDINGS_MAX: usize = 100;

/// What a caller may choose.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AuditOptions {
    /// Who works, for people and in the report. Two that work at once have two names.
    pub worker: String,
    /// How many places are looked at at once.
    pub workers: NonZeroUsize,
    /// How long a place stays with a worker that does not say that it lives.
    pub lease: Duration,
    /// How often a place is tried. Stops one that takes its workers with it, and a store that is away for ever.
    pub attempts_max: u64,
    /// The pause before the second try; it doubles from try to try.
    pub pause: Duration,
    /// How long a database that is away is waited for, at least.
    pub patience: Duration,
    /// How fast.
    pub rates: Rates,
    /// Bounds of manifests and packs.
    pub limits: Limits,
    /// Entries of a listing. Stops a listing without end.
    pub entries_max: u64,
    /// Places of packs in a store. Stops a listing that fills the database.
    pub places_max: u64,
    /// Where to count what was done.
    pub progress: Arc<AuditProgress>,
}

impl AuditOptions {
    /// Options for a worker of this name, all else by default.
    pub fn new(worker: impl Into<String>) -> Self {
        Self {
            worker: worker.into(),
            workers: NonZeroUsize::MIN.saturating_add(3),
            lease: Duration::from_mins(1),
            attempts_max: 5,
            pause: Duration::from_secs(1),
            patience: Duration::from_mins(5),
            rates: Rates::default(),
            limits: Limits::default(),
            entries_max: 10_000_000_000,
            places_max: 50_000_000,
            progress: Arc::default(),
        }
    }
}

/// What one program has done, for whoever shows it.
#[derive(Debug, Default)]
pub struct AuditProgress {
    /// Places concluded.
    pub places: AtomicU64,
    /// Bytes read of them.
    pub bytes: AtomicU64,
    /// Places with something wrong.
    pub invalid: AtomicU64,
    /// Conclusions that came too late: somebody else had taken the place.
    pub late: AtomicU64,
}

/// Works on an audit.
pub struct Auditor {
    queue: Queue,
    audit: Audit,
    reader: Arc<dyn ArtifactReader>,
    pins: Arc<dyn PinSource>,
    options: AuditOptions,
    pace: Arc<Pace>,
    held: Arc<Mutex<Vec<Lease>>>,
    /// The fence of the planning that was begun here; 0 before one was.
    planning: AtomicU64,
    /// Is held while a place is being taken.
    taking: Arc<RwLock<()>>,
}

impl fmt::Debug for Auditor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auditor")
            .field("audit", &self.audit.id)
            .field("worker", &self.options.worker)
            .finish_non_exhaustive()
    }
}

impl Auditor {
    /// Whoever works on `audit`, whose store `reader` reads, with what `pins` knows.
    pub fn new(
        catalog: &Catalog,
        audit: Audit,
        reader: Arc<dyn ArtifactReader>,
        pins: Arc<dyn PinSource>,
        mut options: AuditOptions,
    ) -> Self {
        options.limits.findings_max = options.limits.findings_max.min(FINDINGS_MAX);
        Self {
            queue: Queue {
                catalog: catalog.clone(),
                audit: audit.id.clone(),
                store: audit.store.clone(),
                worker: options.worker.clone(),
                lease: options.lease,
            },
            pace: Arc::new(Pace::new(options.rates)),
            held: Arc::default(),
            planning: AtomicU64::new(0),
            taking: Arc::default(),
            audit,
            reader,
            pins,
            options,
        }
    }

    /// Works until nothing is left to do, by anybody, or until `stop` is ready; what is held then is given back. Tells how
    /// far the audit is.
    ///
    /// # Errors
    /// The catalog is gone for longer than one waits, or the store cannot be listed. What was concluded stays.
    pub async fn run(&self, stop: impl Future<Output = ()>) -> Result<Standing, AuditError> {
        let ended = {
            let work = pin!(self.work());
            let stop = pin!(stop);
            match select(work, stop).await {
                Either::Left((ended, _)) => ended,
                Either::Right(_) => Ok(()),
            }
        };
        let given_back = async {
            // What was being taken is here by then, or given back.
            let _all_taken = self.taking.write().await;
            let held = self.held().clone();
            let planning = self.planning.load(Ordering::Relaxed);
            // Again while others write: what was dropped midway may still be on its way back.
            self.patiently(async || self.queue.give_back(&held).await)
                .await?;
            self.patiently(async || self.queue.leave_planning(planning).await)
                .await
        };
        // What cannot be given back is free when its lease ends.
        let _ = timeout(GIVE_BACK_WITHIN, given_back).await;
        ended?;
        let id = &self.audit.id;
        let patience = self.options.patience;
        Ok(self.queue.catalog.standing(id, patience).await?)
    }

    async fn work(&self) -> Result<(), AuditError> {
        let workers = (0..self.options.workers.get()).map(|_| self.worker());
        let work = pin!(try_join(self.plan(), try_join_all(workers)));
        let keep = pin!(self.keep());
        match select(work, keep).await {
            Either::Left((ended, _)) => ended.map(drop),
            Either::Right((failed, _)) => match failed? {},
        }
    }

    /// Plans the audit, or waits until somebody else has.
    async fn plan(&self) -> Result<(), AuditError> {
        let bounds = ListingBounds {
            entries_max: self.options.entries_max,
            places_max: self.options.places_max,
        };
        let mut tries = 1;
        loop {
            let (scope, reader) = (&self.audit.scope, &*self.reader);
            let patience = self.options.patience;
            let planned = self
                .queue
                .plan(scope, reader, bounds, patience, &self.planning);
            // A store that fails is listed again from its beginning.
            match planned.await {
                Ok(Planning::Done) => return Ok(()),
                Ok(Planning::Elsewhere) => sleep(LOOK_EVERY).await,
                Err(AuditError::Store(error))
                    if error.is_retryable() && tries < self.options.attempts_max =>
                {
                    sleep(self.pause_after(tries)).await;
                    tries = tries.saturating_add(1);
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn worker(&self) -> Result<(), AuditError> {
        loop {
            let taken = self.patiently(async || self.take().await).await?;
            if let Some(lease) = taken {
                self.one(&lease).await?;
                self.held().retain(|held| *held != lease);
            } else {
                match self.patiently(async || self.queue.left().await).await? {
                    Left::Nothing => return Ok(()),
                    Left::Something => sleep(LOOK_EVERY).await,
                }
            }
        }
    }

    /// Takes a place, to the end of it: a question that was asked is answered, whoever still waits, and what nobody waits for
    /// any more is given back.
    async fn take(&self) -> Result<Option<Lease>, CatalogError> {
        let (queue, held) = (self.queue.clone(), Arc::clone(&self.held));
        let turn = Arc::clone(&self.taking).read_owned().await;
        let (tell, told) = oneshot::channel();
        tokio::spawn(async move {
            let taken = queue.take().await;
            if let Ok(Some(lease)) = &taken {
                locked(&held).push(lease.clone());
            }
            if let Err(Ok(Some(lease))) = tell.send(taken) {
                locked(&held).retain(|one| *one != lease);
                // What cannot be given back is free when its lease ends.
                let _ = queue.give_back(&[lease]).await;
            }
            drop(turn);
        });
        told.await.unwrap_or_else(|lost| {
            Err(CatalogError::Unreachable {
                action: "taking a place",
                source: Box::new(lost),
            })
        })
    }

    async fn one(&self, lease: &Lease) -> Result<(), AuditError> {
        let examined = if lease.attempts > self.options.attempts_max {
            Examined::given_up(lease.attempts.saturating_sub(1))
        } else {
            self.pace.pack().await;
            let watch = Arc::new(Watch::new(Arc::clone(&self.reader), Arc::clone(&self.pace)));
            let examination = Examination {
                store: &watch,
                level: self.audit.level,
                since: self.audit.scope.since,
                limits: &self.options.limits,
                pins: &*self.pins,
            };
            let examined = examination.of(lease).await;
            let is_open = examined.conclusion == Conclusion::Undecided;
            if is_open && watch.is_worth_another_try() && lease.attempts < self.options.attempts_max
            {
                let pause = self.pause_after(lease.attempts);
                let postpone = async || self.queue.postpone(lease, pause).await;
                self.patiently(postpone).await?;
                return Ok(());
            }
            examined
        };
        let conclude = async || self.queue.conclude(lease, &examined).await;
        let is_ours = self.patiently(conclude).await?;
        self.count(&examined, is_ours);
        Ok(())
    }

    fn count(&self, examined: &Examined, is_ours: bool) {
        let progress = &self.options.progress;
        if !is_ours {
            progress.late.fetch_add(1, Ordering::Relaxed);
            return;
        }
        progress.places.fetch_add(1, Ordering::Relaxed);
        progress
            .bytes
            .fetch_add(examined.bytes_read, Ordering::Relaxed);
        if examined.conclusion == Conclusion::Invalid {
            progress.invalid.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Keeps what is held, and the planning if it is done here, for ever.
    async fn keep(&self) -> Result<Infallible, AuditError> {
        let every = self.options.lease.checked_div(3).unwrap_or_default();
        loop {
            sleep(every).await;
            let held = self.held().clone();
            self.patiently(async || self.queue.renew(&held).await)
                .await?;
            let planning = self.planning.load(Ordering::Relaxed);
            self.patiently(async || self.queue.renew_planning(planning).await)
                .await?;
        }
    }

    fn held(&self) -> MutexGuard<'_, Vec<Lease>> {
        locked(&self.held)
    }

    /// The pause after the `tries`th try.
    fn pause_after(&self, tries: u64) -> Duration {
        let doublings = u32::try_from(tries.saturating_sub(1)).unwrap_or(u32::MAX);
        let factor = 2u32.saturating_pow(doublings.min(16));
        self.options.pause.saturating_mul(factor)
    }

    /// Asks the database until it answers, or has been away for too long.
    async fn patiently<T>(
        &self,
        ask: impl AsyncFn() -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        patiently(self.options.patience, ask).await
    }
}

fn locked(held: &Mutex<Vec<Lease>>) -> MutexGuard<'_, Vec<Lease>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
