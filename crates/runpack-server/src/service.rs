//! What is served: a store, who may use it, and the log of who did.
//!
//! A [`Service`] is built once from [`Parts`] and turned into a router ([`Service::router`]); it holds no state that another
//! server in front of the same store would miss.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::MonotonicClock;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use runpack_core::limits::Limits;
use runpack_core::manifest::Producer;
use runpack_core::store::{Housekeeping, Store};
use runpack_core::time::Clock;
use tokio::sync::Semaphore;

use crate::access::{Access, PolicyError};
use crate::api::writes::Writes;
use crate::audit::AuditLog;
use crate::commits::OnCommit;
use crate::execution::{ExecutionLimits, Executions};
use crate::links::Links;
use crate::metrics::Metrics;
use crate::packs::Packs;
use crate::probe::StoreProbe;
use crate::record::{HelperSettings, Helpers, OnConflict, RecordLimits, Records};
use crate::staging::Staging;

/// How much one caller may ask for.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Rates {
    /// Requests a second of one caller, in the long run.
    pub per_second: NonZeroU32,
    /// Requests of one caller at once.
    pub burst: NonZeroU32,
    /// Refused logins a second of one address. Stops guessing.
    pub refusals_per_second: NonZeroU32,
}

impl Default for Rates {
    fn default() -> Self {
        let number = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        Self {
            per_second: number(2_000),
            burst: number(10_000),
            refusals_per_second: number(20),
        }
    }
}

/// Bounds of what is served.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ServiceLimits {
    /// Of records.
    pub records: RecordLimits,
    /// Of executions.
    pub executions: ExecutionLimits,
    /// Of packs.
    pub packs: Limits,
    /// Of callers.
    pub rates: Rates,
}

/// A store whose objects may be replaced and removed.
#[derive(Debug, Clone)]
pub struct Keeper {
    /// For writing.
    pub store: Arc<dyn Store>,
    /// For removing.
    pub housekeeping: Arc<dyn Housekeeping>,
}

/// What a spool says of itself; none where there is no spool.
pub type Backlog = Arc<dyn Fn() -> crate::metrics::Backlog + Send + Sync>;

/// What a service is made of.
pub struct Parts<'a> {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// The same, for writing a whole pack: of a spool the view that can be written to while the store is away.
    pub writing: Arc<dyn Store>,
    /// The store itself, for what may be replaced and removed: helpers, references, what was live.
    pub keeper: Option<Keeper>,
    /// The same store, where it signs URLs.
    pub links: Option<Arc<dyn Links>>,
    /// A directory for bodies on their way.
    pub staging: &'a Path,
    /// Who may do what.
    pub access: Arc<Access>,
    /// The log of who did.
    pub audit: Arc<AuditLog>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The present time.
    pub clock: Arc<dyn Clock>,
    /// Who makes packs here.
    pub producer: Producer,
    /// What becomes of another body under the run id of a record.
    pub on_conflict: OnConflict,
    /// The spool in front of the store.
    pub backlog: Option<Backlog>,
    /// Who is told of packs.
    pub on_commit: Option<OnCommit>,
    /// Bounds.
    pub limits: ServiceLimits,
}

impl fmt::Debug for Parts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

type Limiter<K> = RateLimiter<K, HashMapStateStore<K>, MonotonicClock>;

/// What is served.
pub struct Service {
    pub(crate) access: Arc<Access>,
    pub(crate) audit: Arc<AuditLog>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) links: Option<Arc<dyn Links>>,
    pub(crate) staging: Staging,
    pub(crate) records: Arc<Records>,
    pub(crate) executions: Arc<Executions>,
    pub(crate) packs: Arc<Packs>,
    pub(crate) backlog: Option<Backlog>,
    pub(crate) callers: Limiter<Box<str>>,
    pub(crate) strangers: Limiter<IpAddr>,
    pub(crate) store_probe: StoreProbe,
    /// What goes on when its client is gone.
    pub(crate) writes: Writes,
    /// Verifications under way: each reads a whole pack.
    pub(crate) verifications: Arc<Semaphore>,
    pub(crate) producer: Producer,
    helpers: Option<Arc<Helpers>>,
}

/// How many packs are verified at once.
pub(crate) const VERIFICATIONS_MAX: usize = 2;
/// Uploads in parts that nobody goes on with are removed after a week.
const UPLOAD_SECONDS_MAX: u64 = 7 * 86_400;
/// How often what is left behind is looked for.
const SWEEP_EVERY: Duration = Duration::from_mins(10);

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl Service {
    /// A service.
    ///
    /// # Errors
    /// The staging directory cannot be used.
    pub fn new(parts: Parts<'_>) -> std::io::Result<Arc<Self>> {
        let staging = Staging::open(parts.staging)?;
        // What is locked cannot be replaced, and helpers are: there they are left out.
        let keeper = parts.keeper.clone().filter(|_| !parts.store.seals());
        let helpers = keeper.map(|keeper| {
            Helpers::new(keeper.store, keeper.housekeeping, HelperSettings::default())
        });
        let housekeeping = parts.keeper.map(|keeper| keeper.housekeeping);
        let records = Records::new(Arc::clone(&parts.store), Arc::clone(&parts.clock))
            .with_limits(parts.limits.records)
            .on_conflict(parts.on_conflict);
        let records = match &helpers {
            Some(helpers) => records.with_helpers(Arc::clone(helpers)),
            None => records,
        };
        let producer = parts.producer;
        let executions = Executions::new(
            Arc::clone(&parts.store),
            housekeeping.clone(),
            staging.clone(),
            Arc::clone(&parts.clock),
            producer.clone(),
        )
        .with_limits(parts.limits.executions, parts.limits.packs.clone())
        .telling(parts.on_commit.clone());
        let packs = Packs::new(
            Arc::clone(&parts.store),
            parts.writing,
            housekeeping,
            parts.staging,
            parts.limits.packs,
        )
        .telling(parts.on_commit);
        let rates = parts.limits.rates;
        let callers = Quota::per_second(rates.per_second).allow_burst(rates.burst);
        let strangers = Quota::per_second(rates.refusals_per_second);
        Ok(Arc::new(Self {
            access: parts.access,
            audit: parts.audit,
            metrics: parts.metrics,
            clock: parts.clock,
            store: parts.store,
            links: parts.links,
            staging,
            records: Arc::new(records),
            executions: Arc::new(executions),
            packs: Arc::new(packs),
            backlog: parts.backlog,
            callers: RateLimiter::new(callers, HashMapStateStore::default(), MonotonicClock),
            strangers: RateLimiter::new(strangers, HashMapStateStore::default(), MonotonicClock),
            store_probe: StoreProbe::default(),
            writes: Writes::default(),
            verifications: Arc::new(Semaphore::new(VERIFICATIONS_MAX)),
            producer,
            helpers,
        }))
    }

    /// Reads the access policy again; one that cannot be used leaves the old one in place.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn reload_access(&self) -> Result<(), PolicyError> {
        self.access.reload()
    }

    /// What the spool says of itself.
    pub fn backlog(&self) -> Option<Backlog> {
        self.backlog.clone()
    }

    /// What goes on beside requests, until `shutdown`: the helpers of records, and removing what nobody goes on with.
    ///
    /// `shutdown` is to come after [`listen::serve`](crate::listen::serve) has returned: what goes on when its client is gone
    /// is finished then, and the records of the last requests are in the helpers.
    pub async fn run(self: Arc<Self>, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let helping = {
            let (helpers, records) = (self.helpers.clone(), Arc::clone(&self.records));
            tokio::spawn(async move {
                if let Some(helpers) = helpers {
                    let until = async { drop(stopped.await) };
                    helpers.run(records, until).await;
                }
            })
        };
        loop {
            tokio::select! {
                () = tokio::time::sleep(SWEEP_EVERY) => {}
                () = &mut shutdown => break,
            }
            self.callers.retain_recent();
            self.strangers.retain_recent();
            let (staging, now) = (self.staging.clone(), self.clock.now().unix_seconds());
            let sweep = move || staging.sweep(now, UPLOAD_SECONDS_MAX);
            if let Ok(Err(error)) = tokio::task::spawn_blocking(sweep).await {
                tracing::warn!(%error, "old uploads could not be removed");
            }
            self.executions.sweep().await;
        }
        self.writes.finish().await;
        drop(stop);
        // What it was at is finished.
        if let Err(error) = helping.await {
            tracing::error!(%error, "the helpers of records ended early; `rebuild` makes them again");
        }
    }
}
