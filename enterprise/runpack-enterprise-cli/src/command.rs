//! The commands that `runpack` does not have.

#![expect(
    clippy::doc_markdown,
    reason = "the comments on arguments are help texts, which are shown as they are written"
)]

mod attest;
mod audit_log;
mod hold;
mod lock;
mod policy;
pub(crate) mod prove;
mod replicas;
mod report;

use clap::Subcommand;
use runpack_cli::{Context, Exit, Failure, Run};

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum More {
    Lock(lock::LockCommand),
    Hold(hold::HoldCommand),
    Prove(prove::Prove),
    Attest(attest::AttestCommand),
    Report(report::ReportCommand),
    Policy(policy::PolicyCommand),
    Replicas(replicas::ReplicasCommand),
    AuditLog(audit_log::AuditLogCommand),
}

impl Run for More {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Lock(command) => command.run(context),
            Self::Hold(command) => command.run(context),
            Self::Prove(command) => command.run(context),
            Self::Attest(command) => command.run(context),
            Self::Report(command) => command.run(context),
            Self::Policy(command) => command.run(context),
            Self::Replicas(command) => command.run(context),
            Self::AuditLog(command) => command.run(context),
        }
    }
}
