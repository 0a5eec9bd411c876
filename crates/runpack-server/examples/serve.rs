//! A server over a new directory, for programs that try the HTTP interface from outside: `cargo xtask test --only api`.
//!
//! It prints its address and a token that may do everything in the organization `acme`, and serves until its standard
//! input ends; then the directory is gone. Nobody else learns the token, and nothing but loopback is listened on.

use std::error::Error;
use std::io::Write as _;
use std::sync::Arc;

use runpack_core::manifest::Producer;
use runpack_core::store::FileStore;
use runpack_core::time::{Clock, Timestamp};
use runpack_server::access::{self, Access, NewToken};
use runpack_server::audit::AuditLog;
use runpack_server::listen::{Connections, ListenSettings, Transport, serve};
use runpack_server::metrics::Metrics;
use runpack_server::record::OnConflict;
use runpack_server::service::{Keeper, Parts, Service, ServiceLimits};
use tokio::net::TcpListener;

/// The time of this machine.
#[derive(Debug)]
struct WallClock;

impl Clock for WallClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "a program has the time from its machine"
    )]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seconds = since.unwrap_or_default().as_secs();
        Timestamp::from_unix_seconds(seconds).unwrap_or(Timestamp::MAX)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let clock: Arc<dyn Clock> = Arc::new(WallClock);
    let store = Arc::new(FileStore::create(&directory.path().join("store")).await?);
    let audit_directory = directory.path().join("audit");
    std::fs::create_dir(&audit_directory)?;
    let token = NewToken::generate()?;
    let policy = format!(
        "tokens: [{{name: tester, sha256: \"{}\", grants: [{{organization: acme, project: \"*\", may: [read, write]}}]}}]",
        token.sha256()
    );
    let service = Service::new(Parts {
        store: store.clone(),
        writing: store.clone(),
        keeper: Some(Keeper {
            store: store.clone(),
            housekeeping: store,
        }),
        links: None,
        staging: &directory.path().join("staging"),
        access: Arc::new(Access::parse(
            &policy,
            Arc::clone(&clock),
            access::Limits::default(),
        )?),
        audit: Arc::new(AuditLog::open(
            &audit_directory,
            "example",
            Arc::clone(&clock),
        )?),
        metrics: Metrics::new(),
        clock,
        producer: Producer {
            name: "runpack-server".parse()?,
            version: env!("CARGO_PKG_VERSION").parse()?,
        },
        on_conflict: OnConflict::default(),
        backlog: None,
        on_commit: None,
        limits: ServiceLimits::default(),
    })?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(
        std::io::stdout(),
        "http://{} {}",
        listener.local_addr()?,
        token.secret()
    )?;
    let told_to_stop = async {
        let end = || std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = tokio::task::spawn_blocking(end).await;
    };
    serve(
        listener,
        Transport::Plain,
        service.router(),
        ListenSettings::default(),
        Arc::<Connections>::default(),
        told_to_stop,
    )
    .await?;
    Ok(())
}
