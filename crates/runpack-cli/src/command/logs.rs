//! `runpack logs`: a log of an execution, also while it is written.

use std::sync::Arc;

use clap::Args;
use futures_util::TryStreamExt as _;
use runpack_core::id::ExecutionId;
use runpack_core::key::Log;
use runpack_server::execution::{ExecutionError, Executions, Follow};
use runpack_server::staging::Staging;

use super::Execute;
use crate::clock::SystemClock;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::storage::{Access, Storage, StoreAddress, parse_store};

/// Print a log of an execution, also while it is written
///
/// From the store itself. Of a completed execution every byte is compared with its commitment before it is printed; while
/// it runs there is nothing yet to compare with.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Logs {
    /// Which execution
    #[arg(value_name = "EXECUTION")]
    execution: ExecutionId,
    /// The store: file:PATH or s3://BUCKET/PREFIX [default: the store that is configured]
    #[arg(long, value_name = "STORE", value_parser = parse_store)]
    store: Option<StoreAddress>,
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

const EXAMPLES: &str = "\
Examples:
  runpack logs 01JD3M7Z9X8QWERTYASDFGHJKM --follow
  runpack logs 01JD3M7Z9X8QWERTYASDFGHJKM --log stderr --store s3://evidence/bench";

impl Execute for Logs {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let address = match &self.store {
            Some(address) => address.clone(),
            None => context.settings()?.address()?,
        };
        let storage = Storage::open(context, &address, Access::Read)?;
        let directory = tempfile::tempdir().map_err(|error| not_read(&error))?;
        let staging = Staging::open(directory.path()).map_err(|error| not_read(&error))?;
        let executions = Arc::new(Executions::new(
            storage.store(),
            None,
            staging,
            Arc::new(SystemClock),
            context.producer.clone(),
        ));
        let follow = if self.follow {
            Follow::UntilTheEnd
        } else {
            Follow::No
        };
        context.wait(async {
            let mut pieces = executions
                .log(&self.execution, self.log, self.from, follow)
                .await
                .map_err(told)?;
            while let Some(piece) = pieces.try_next().await.map_err(told)? {
                context.output.print_foreign(&piece)?;
            }
            Ok(Exit::Success)
        })?
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
