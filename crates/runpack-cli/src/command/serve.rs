//! `runpack serve`: the server, in front of a directory or a bucket.
//!
//! Here is only what a program adds to the library: where things are, signals, and the log of the process. Invariant: what
//! is not fit to be served is refused at the start, in one line.

mod log;
mod signals;
mod stack;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use runpack_server::listen::{self, BehindProxy, Connections, ListenSettings};
use runpack_server::mcp;
use runpack_server::record::OnConflict;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

use super::Execute;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::limits::LimitOptions;
use crate::storage::{Access, Storage, StoreAddress, parse_store};

/// Serve a store: take in records, executions, logs and packs over HTTP, and give them out again
///
/// Who may do what stands in the access policy (`runpack server token` makes a token for it). Everything is kept in the
/// store; what this server needs for itself (audit log, bodies on their way) lies in --state. With --spool, what cannot
/// reach the store now is kept here durably and brought there later. SIGTERM ends it without losing anything, SIGHUP reads
/// the policy and the certificate again. /docs shows the interface, / is a page for people.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Serve {
    /// The store: file:PATH or s3://BUCKET/PREFIX [default: the store that is configured]
    #[arg(value_name = "STORE", value_parser = parse_store)]
    store: Option<StoreAddress>,
    /// The access policy: who may do what
    #[arg(long, value_name = "FILE")]
    access: PathBuf,
    /// Where to serve
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8650")]
    listen: SocketAddr,
    /// Where to serve metrics and health to operators
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8651")]
    admin_listen: SocketAddr,
    /// The certificate chain, PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// A proxy in front does TLS: serve plain HTTP also outside loopback
    #[arg(long, conflicts_with = "tls_cert")]
    behind_proxy: bool,
    /// A directory for the audit log and for bodies on their way [default: `server` where receipts are kept]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// A directory for what the store does not take now: it is acknowledged when it is durable there, and brought later
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
    /// The most that waits in the spool, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 30, requires = "spool")]
    spool_bytes_max: u64,
    /// The name of this server in its audit log, where there are several
    #[arg(long, value_name = "NAME", default_value = "server")]
    replica: String,
    /// What becomes of another body under the run id of a record
    #[arg(long, value_enum, default_value = "refuse")]
    on_conflict: ConflictArgument,
    /// Requests a second that one caller may make in the long run
    #[arg(long, value_name = "NUMBER", default_value = "2000")]
    rate: NonZeroU32,
    /// The largest record, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 10 << 20)]
    record_bytes_max: u64,
    /// How the process writes its own log, to standard error
    #[arg(long, value_enum, default_value = "json")]
    log_format: log::LogFormat,
    /// How much of it: error, warn, info, debug
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = ["error", "warn", "info", "debug"])]
    log_level: String,
    #[command(flatten)]
    limits: LimitOptions,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ConflictArgument {
    /// It is refused
    Refuse,
    /// It is dropped, and the first one stays
    KeepFirst,
}

impl From<ConflictArgument> for OnConflict {
    fn from(given: ConflictArgument) -> Self {
        match given {
            ConflictArgument::Refuse => Self::Refuse,
            ConflictArgument::KeepFirst => Self::KeepFirst,
        }
    }
}

/// How long what goes on beside requests has to end.
const REST_WITHIN: Duration = Duration::from_secs(20);
/// How long the audit log has to write what is queued.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  runpack server token --name ci --grant acme/web:write    # a token, and its lines for access.yaml
  runpack serve file:/srv/packs --access access.yaml
  runpack serve s3://evidence/ci --access access.yaml --spool /var/lib/runpack/spool \\
      --listen 0.0.0.0:8650 --tls-cert server.pem --tls-key server.key";

impl Execute for Serve {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        context.use_threads()?;
        log::start(self.log_format, &self.log_level);
        let address = match &self.store {
            Some(address) => address.clone(),
            None => context.settings()?.address()?,
        };
        let access = match self.spool {
            Some(_) => Access::WriteLater,
            None => Access::Write,
        };
        let storage = Storage::open(context, &address, access)?;
        context.wait(self.serve(context, &storage))??;
        Ok(Exit::Success)
    }
}

impl Serve {
    async fn serve(&self, context: &Context, storage: &Storage) -> Result<(), Failure> {
        let transport = self.transport()?;
        let (public, admin) = self.bind_both(&transport).await?;
        let stack = stack::Stack::build(self, context, storage).await?;
        let (stop, stopping) = watch::channel(false);
        // What goes on beside requests ends after them, so that it hears of the last ones.
        let (rest, resting) = watch::channel(false);
        let until = |told: &watch::Receiver<bool>| {
            let mut told = told.clone();
            async move { drop(told.wait_for(|told| *told).await) }
        };
        let connections = Arc::new(Connections::default());
        stack.watch(&connections);
        let mut settings = ListenSettings::default();
        if self.behind_proxy {
            settings.connections_per_peer_max = settings.connections_max;
        }
        let shown = |listener: &TcpListener| {
            let bound = listener.local_addr();
            bound.map(|at| at.to_string()).unwrap_or_default()
        };
        tracing::info!(
            store = storage.shown(),
            listen = shown(&public),
            admin = shown(&admin),
            tls = self.tls_cert.is_some(),
            spool = self.spool.is_some(),
            "serving"
        );
        let mut beside = vec![tokio::spawn(
            Arc::clone(&stack.service).run(until(&resting)),
        )];
        beside.extend(stack.mirror.map(|mut mirror| {
            let until = until(&resting);
            tokio::spawn(async move { mirror.run(until).await })
        }));
        let index = stack.index;
        beside.extend(index.map(|index| tokio::spawn(index.run(until(&resting)))));
        let signals = signals::Signals::listen().map_err(|error| unfit(&error))?;
        let handling = signals.handle(stop, &stack.service, &transport);
        let serving = async {
            let tools = mcp::router(Arc::clone(&stack.service));
            let app = stack.service.router().merge(tools);
            let public = listen::serve(
                public,
                transport.clone(),
                app,
                settings.clone(),
                Arc::clone(&connections),
                until(&stopping),
            );
            let admin = listen::serve(
                admin,
                listen::Transport::Plain,
                stack.service.admin_router(),
                settings.clone(),
                Arc::default(),
                until(&stopping),
            );
            tokio::try_join!(public, admin)
        };
        let ended = async {
            let served = serving.await.map(drop);
            let _ = rest.send(true);
            // What is not brought to its end now is taken up by the next server: what waits for the store stays in the
            // spool, and the lists are built again.
            let resting = async {
                for one in beside {
                    let _ = one.await;
                }
            };
            if timeout(REST_WITHIN, resting).await.is_err() {
                tracing::warn!("stopped before everything beside requests had ended");
            }
            served
        };
        if storage.was_away() {
            tracing::warn!("the store is away; what comes waits in the spool");
        }
        let caught_up = async {
            match storage.catch_up(context).await {
                Ok(()) => std::future::pending().await,
                Err(failure) => failure,
            }
        };
        let served = tokio::select! {
            served = ended => served.map_err(|error| unfit(&error)),
            () = handling => Ok(()),
            failure = caught_up => Err(failure),
        };
        // Whatever happened, what was accepted or refused is told by the audit log.
        if timeout(CLOSE_WITHIN, stack.audit.close()).await.is_err() {
            tracing::error!("the audit log could not be closed in time");
        }
        tracing::info!("stopped");
        served
    }

    async fn bind_both(
        &self,
        transport: &listen::Transport,
    ) -> Result<(TcpListener, TcpListener), Failure> {
        let behind = if self.behind_proxy {
            BehindProxy::Yes
        } else {
            BehindProxy::No
        };
        listen::require_tls_outside_loopback(self.listen, transport, behind)
            .map_err(|error| unfit(&error))?;
        listen::require_tls_outside_loopback(self.admin_listen, &listen::Transport::Plain, behind)
            .map_err(|error| unfit(&error))?;
        Ok((bind(self.listen).await?, bind(self.admin_listen).await?))
    }

    fn transport(&self) -> Result<listen::Transport, Failure> {
        match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => {
                let settings = listen::TlsSettings::load(certificate, key);
                Ok(listen::Transport::Tls(Arc::new(
                    settings.map_err(|error| unfit(&error))?,
                )))
            }
            _ => Ok(listen::Transport::Plain),
        }
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::new(
            format!("nothing can be served there, address=`{address}`"),
            "choose another address or end what is served there",
        )
        .because(&error)
    })
}

fn unfit(error: &dyn std::error::Error) -> Failure {
    Failure::new("the server was not started", "correct what is named").because(error)
}
