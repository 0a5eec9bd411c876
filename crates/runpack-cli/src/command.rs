//! The commands, one module each.

#![expect(
    clippy::doc_markdown,
    reason = "the comments on arguments are help texts, which are shown as they are written"
)]

#[cfg(feature = "catalog")]
mod audit;
mod bundle;
#[cfg(feature = "catalog")]
mod catalog;
mod completions;
mod config;
mod diff;
mod export;
mod failover;
mod gc;
#[cfg(feature = "server")]
mod index;
mod lifecycle;
#[cfg(feature = "catalog")]
mod lineage;
mod list;
#[cfg(feature = "server")]
mod logs;
mod man;
#[cfg(feature = "server")]
mod mcp;
mod mirror;
mod pipeline;
mod presign;
mod pull;
pub(crate) mod push;
mod restore;
mod retention;
#[cfg(feature = "server")]
mod serve;
#[cfg(feature = "server")]
mod server;
#[cfg(feature = "server")]
mod ship;
pub(crate) mod show;
mod sign;
mod store;
mod unbundle;
mod verify;
mod verify_attestation;

use clap::Subcommand;

use crate::context::Context;
use crate::failure::{Exit, Failure};

/// The commands of `runpack`.
#[derive(Debug, Subcommand)]
pub(crate) enum BuiltIn {
    Export(Box<export::Export>),
    Verify(Box<verify::Verify>),
    VerifyAttestation(verify_attestation::VerifyAttestation),
    Sign(sign::Sign),
    Bundle(bundle::Bundle),
    Unbundle(Box<unbundle::Unbundle>),
    Push(Box<push::Push>),
    Pull(Box<pull::Pull>),
    List(Box<list::List>),
    Show(Box<show::Show>),
    Diff(diff::Diff),
    Mirror(Box<mirror::Mirror>),
    Restore(Box<restore::Restore>),
    Presign(Box<presign::Presign>),
    Gc(Box<gc::Gc>),
    Retention(Box<retention::RetentionCommand>),
    Pipeline(pipeline::PipelineCommand),
    Store(store::StoreCommand),
    Lifecycle(lifecycle::LifecycleCommand),
    #[cfg(feature = "catalog")]
    Catalog(catalog::CatalogCommand),
    #[cfg(feature = "catalog")]
    Lineage(lineage::LineageCommand),
    #[cfg(feature = "catalog")]
    Audit(audit::AuditCommand),
    #[cfg(feature = "server")]
    Serve(Box<serve::Serve>),
    #[cfg(feature = "server")]
    Server(server::ServerCommand),
    #[cfg(feature = "server")]
    Logs(logs::Logs),
    #[cfg(feature = "server")]
    Ship(Box<ship::Ship>),
    #[cfg(feature = "server")]
    Mcp(Box<mcp::Mcp>),
    Failover(failover::FailoverCommand),
    Config(config::ConfigCommand),
    Completions(completions::Completions),
    Man(man::Man),
}

/// What a command does.
pub(crate) trait Execute {
    /// Does it.
    fn execute(self, context: &Context) -> Result<Exit, Failure>;
}

impl Execute for BuiltIn {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Export(command) => command.execute(context),
            Self::Verify(command) => command.execute(context),
            Self::VerifyAttestation(command) => command.execute(context),
            Self::Sign(command) => command.execute(context),
            Self::Bundle(command) => command.execute(context),
            Self::Unbundle(command) => command.execute(context),
            Self::Push(command) => command.execute(context),
            Self::Pull(command) => command.execute(context),
            Self::List(command) => command.execute(context),
            Self::Show(command) => command.execute(context),
            Self::Diff(command) => command.execute(context),
            Self::Mirror(command) => command.execute(context),
            Self::Restore(command) => command.execute(context),
            Self::Presign(command) => command.execute(context),
            Self::Gc(command) => command.execute(context),
            Self::Retention(command) => command.execute(context),
            Self::Pipeline(command) => command.execute(context),
            Self::Store(command) => command.execute(context),
            Self::Lifecycle(command) => command.execute(context),
            #[cfg(feature = "catalog")]
            Self::Catalog(command) => command.execute(context),
            #[cfg(feature = "catalog")]
            Self::Lineage(command) => command.execute(context),
            #[cfg(feature = "catalog")]
            Self::Audit(command) => command.execute(context),
            #[cfg(feature = "server")]
            Self::Serve(command) => command.execute(context),
            #[cfg(feature = "server")]
            Self::Server(command) => command.execute(context),
            #[cfg(feature = "server")]
            Self::Logs(command) => command.execute(context),
            #[cfg(feature = "server")]
            Self::Ship(command) => command.execute(context),
            #[cfg(feature = "server")]
            Self::Mcp(command) => command.execute(context),
            Self::Failover(command) => command.execute(context),
            Self::Config(command) => command.execute(context),
            Self::Completions(command) => command.execute(context),
            Self::Man(command) => command.execute(context),
        }
    }
}
