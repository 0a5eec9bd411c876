//! What a server is made of, put together.

use std::sync::Arc;

use runpack_core::store::Store;
use runpack_core::time::Clock;
use runpack_server::access;
use runpack_server::audit::AuditLog;
use runpack_server::links::Links;
use runpack_server::listen::Connections;
use runpack_server::metrics::Metrics;
use runpack_server::service::{Backlog, Keeper, Parts, Service, ServiceLimits};
use runpack_server::spool::{Mirror, SpoolSettings, SpoolStore};

use super::{Serve, unfit};
use crate::clock::SystemClock;
use crate::command::index::Index;
use crate::context::Context;
use crate::failure::Failure;
use crate::storage::Storage;

pub(super) struct Stack {
    pub(super) service: Arc<Service>,
    pub(super) audit: Arc<AuditLog>,
    pub(super) mirror: Option<Mirror>,
    pub(super) index: Option<Index>,
    metrics: Arc<Metrics>,
}

impl Stack {
    pub(super) async fn build(
        serve: &Serve,
        context: &Context,
        storage: &Storage,
    ) -> Result<Self, Failure> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let state = match &serve.state {
            Some(state) => state.clone(),
            None => context.environment.state()?.join("server"),
        };
        let access = access::Access::load(&serve.access, Arc::clone(&clock)).map_err(|error| {
            Failure::new(
                format!(
                    "the access policy cannot be used, path=`{}`",
                    serve.access.display()
                ),
                "correct it; `runpack server token` prints lines for it",
            )
            .because(&error)
        })?;
        let log = state.join("audit");
        let audit = AuditLog::open(&log, &serve.replica, Arc::clone(&clock)).map_err(|error| {
            Failure::new(
                format!("the audit log cannot be used, path=`{}`", log.display()),
                "name a directory that this user may write to, and this server's alone, with --state",
            )
            .because(&error)
        })?;
        let audit = Arc::new(audit);
        let metrics = Metrics::new();
        let remote = storage.store();
        let spooled = serve.spooled(&remote, &clock).await?;
        let (store, writing, mirror, backlog) = match spooled {
            None => (Arc::clone(&remote), Arc::clone(&remote), None, None),
            Some((spool, mirror)) => {
                let told = spool.clone();
                let backlog: Backlog = Arc::new(move || told.backlog());
                let writing = storage.guarded(Arc::new(spool.for_writing()));
                let store = storage.guarded(Arc::new(spool));
                (store, writing, Some(mirror), Some(backlog))
            }
        };
        let mut limits = ServiceLimits::default();
        limits.records.body_bytes_max = serve.record_bytes_max;
        limits.packs = context.limits(&serve.limits)?;
        limits.rates.per_second = serve.rate;
        limits.rates.burst = limits.rates.burst.max(serve.rate);
        let (index, on_commit) = Index::of(context, storage, &store, &limits.packs)?.unzip();
        let keeper = Keeper {
            store: remote,
            housekeeping: storage.housekeeping(),
        };
        let service = Service::new(Parts {
            store,
            writing,
            keeper: Some(keeper),
            links: storage
                .s3()
                .map(|bucket| -> Arc<dyn Links> { Arc::new(bucket.clone()) }),
            staging: &state.join("staging"),
            access: Arc::new(access),
            audit: Arc::clone(&audit),
            metrics: Arc::clone(&metrics),
            clock,
            producer: context.producer.clone(),
            on_conflict: serve.on_conflict.into(),
            backlog,
            on_commit,
            limits,
        });
        Ok(Self {
            service: service.map_err(|error| unfit(&error))?,
            audit,
            mirror,
            index,
            metrics,
        })
    }

    /// Has the metrics tell what others know.
    pub(super) fn watch(&self, connections: &Arc<Connections>) {
        let audit = Arc::clone(&self.audit);
        self.metrics
            .watch_audit(move || audit.head().map(|head| head.sequence));
        self.metrics.watch_connections(Arc::clone(connections));
        if let Some(backlog) = self.service.backlog() {
            self.metrics.watch_spool(move || backlog());
        }
    }
}

impl Serve {
    async fn spooled(
        &self,
        remote: &Arc<dyn Store>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Option<(SpoolStore, Mirror)>, Failure> {
        let Some(directory) = &self.spool else {
            return Ok(None);
        };
        let mut settings = SpoolSettings::default();
        settings.bytes_max = self.spool_bytes_max;
        let opened = SpoolStore::open(directory, Arc::clone(remote), settings, Arc::clone(clock));
        opened.await.map(Some).map_err(|error| {
            Failure::new(
                format!("the spool cannot be used, path=`{}`", directory.display()),
                "name a directory that is this server's alone",
            )
            .because(&error)
        })
    }
}
