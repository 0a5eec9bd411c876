//! `runpack logs`: a log of an execution, also while it is written.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use clap::Args;
use futures_util::TryStreamExt as _;
use futures_util::stream::BoxStream;
use runpack_core::display::Printable;
use runpack_core::id::ExecutionId;
use runpack_core::key::Log;
use runpack_server::client::{Client, ClientError};
use runpack_server::execution::{ExecutionError, Executions, Follow};
use runpack_server::staging::Staging;

use super::Execute;
use crate::clock::SystemClock;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::file;
use crate::storage::{Access, Storage, StoreAddress, parse_store};

/// Print a log of an execution, also while it is written
///
/// From the store itself, or with `--server` from a server, which is asked with the token in RUNPACK_TOKEN. Of a completed
/// execution every byte is compared with its commitment before it is printed, by whoever reads the store; while it runs
/// there is nothing yet to compare with.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Logs {
    /// Which execution
    #[arg(value_name = "EXECUTION")]
    execution: ExecutionId,
    /// The store: file:PATH or s3://BUCKET/PREFIX [default: the store that is configured]
    #[arg(long, value_name = "STORE", value_parser = parse_store)]
    store: Option<StoreAddress>,
    /// A server in front of the store: https://HOST[:PORT]
    #[arg(long, value_name = "URL", conflicts_with = "store")]
    server: Option<String>,
    /// Certificates to trust for the server, in PEM [default: those of the system]
    #[arg(long, value_name = "FILE", requires = "server")]
    ca_file: Option<PathBuf>,
    /// Which log: runner, bench, stdout or stderr
    #[arg(long, value_name = "LOG", default_value = "stdout")]
    log: Log,
    /// From which byte on
    #[arg(long, value_name = "OFFSET", default_value_t = 0)]
    from: u64,
    /// Wait for what comes, until the execution ends
    #[arg(long, short)]
    follow: bool,
}

/// The certificates of a system have a quarter of it.
const CA_FILE_BYTES_MAX: u64 = 1 << 20;

const EXAMPLES: &str = "\
Examples:
  runpack logs 01JD3M7Z9X8QWERTYASDFGHJKM --follow
  runpack logs 01JD3M7Z9X8QWERTYASDFGHJKM --log stderr --store s3://evidence/bench
  runpack logs 01JD3M7Z9X8QWERTYASDFGHJKM --follow --server https://evidence.example";

impl Execute for Logs {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let follow = if self.follow {
            Follow::UntilTheEnd
        } else {
            Follow::No
        };
        if let Some(address) = &self.server {
            let client = self.client(address, context)?;
            let log = client.log(&self.execution, self.log, self.from, follow);
            return context.wait(print(log, asked, context))?;
        }
        let directory = tempfile::tempdir().map_err(|error| not_read(&error))?;
        let executions = self.executions(context, directory.path())?;
        context.wait(async {
            let log = executions
                .log(&self.execution, self.log, self.from, follow)
                .await
                .map_err(told)?;
            print(log, told, context).await
        })?
    }
}

impl Logs {
    fn client(&self, address: &str, context: &Context) -> Result<Client, Failure> {
        let token = context.environment.token.as_ref().ok_or_else(|| {
            Failure::new(
                "there is no token to ask the server with",
                "put it into the environment variable RUNPACK_TOKEN",
            )
        })?;
        let read = |path: &PathBuf| {
            let help = "name a file of certificates in PEM";
            file::read_capped(path, CA_FILE_BYTES_MAX, "the certificates", help)
        };
        let ca_pem = self.ca_file.as_ref().map(read).transpose()?;
        Client::new(address, ca_pem, token.reveal()).map_err(asked)
    }

    fn executions(&self, context: &Context, staging: &Path) -> Result<Arc<Executions>, Failure> {
        let address = match &self.store {
            Some(address) => address.clone(),
            None => context.settings()?.address()?,
        };
        let storage = Storage::open(context, &address, Access::Read)?;
        let staging = Staging::open(staging).map_err(|error| not_read(&error))?;
        Ok(Arc::new(Executions::new(
            storage.store(),
            None,
            staging,
            Arc::new(SystemClock),
            context.producer.clone(),
        )))
    }
}

async fn print<E>(
    mut log: BoxStream<'static, Result<Bytes, E>>,
    told: fn(E) -> Failure,
    context: &Context,
) -> Result<Exit, Failure> {
    while let Some(piece) = log.try_next().await.map_err(told)? {
        context.output.print_foreign(&piece)?;
    }
    Ok(Exit::Success)
}

fn asked(error: ClientError) -> Failure {
    let help = match &error {
        ClientError::Refused { next, .. } => Printable(next).to_string(),
        ClientError::Token => "put the token alone into RUNPACK_TOKEN".to_owned(),
        _ => "check the address, and that the server runs".to_owned(),
    };
    let failure = Failure::new(Printable(&error.to_string()).to_string(), help);
    match error {
        ClientError::NoAnswer(cause) | ClientError::BrokenOff { source: cause, .. } => {
            failure.because(&*cause)
        }
        _ => failure,
    }
}

fn not_read(error: &dyn std::error::Error) -> Failure {
    Failure::new("the log could not be read", "try again").because(error)
}

fn told(error: ExecutionError) -> Failure {
    match error {
        ExecutionError::Store(error) => error.into(),
        error @ ExecutionError::NotFound(_) => Failure::new(
            error.to_string(),
            "check the id, and that this is its store",
        ),
        error @ ExecutionError::Damaged { .. } => Failure::new(
            error.to_string(),
            "take another copy; `runpack verify` says what differs",
        )
        .with_exit(Exit::Invalid),
        error => not_read(&error),
    }
}
