//! `runpack pipeline agent`: the registry of agents.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use runpack_core::pipeline::{AgentEntry, AgentName, fetch_agent, register_agent};
use runpack_core::store::{Outcome, StoreError};
use serde_json::json;

use super::begin::outcome_name;
use super::read_document;
use crate::command::Execute;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::Format;
use crate::storage::{Access, Storage, StoreAddress, parse_store};

/// Keep what a version of an agent is, once, and look it up
#[derive(Debug, Args)]
pub(crate) struct AgentCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Register(Register),
    Show(Show),
}

/// Register a version of an agent; it is never replaced
///
/// FILE is a JSON document (Docs/operations/pipelines.md). A plan can name the SHA-256 that is printed, and `verify` then
/// finds an entry that was replaced.
#[derive(Debug, Args)]
pub(crate) struct Register {
    /// The entry
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The store: file:PATH or s3://BUCKET/PREFIX [default: as of `export`]
    #[arg(long, value_name = "STORE", value_parser = parse_store)]
    to: Option<StoreAddress>,
}

/// Show what a version of an agent is
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Which agent
    #[arg(value_name = "NAME@VERSION")]
    agent: AgentName,
    /// The store: file:PATH or s3://BUCKET/PREFIX
    #[arg(value_name = "STORE", value_parser = parse_store)]
    store: StoreAddress,
}

impl Execute for AgentCommand {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        match self.what {
            What::Register(command) => command.execute(context),
            What::Show(command) => command.execute(context),
        }
    }
}

impl Execute for Register {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let bytes = read_document(&self.file, "the entry")?;
        let entry = AgentEntry::draft(&bytes).map_err(|error| {
            Failure::new(
                format!(
                    "this is no entry of an agent, path=`{}`",
                    self.file.display()
                ),
                "correct it: Docs/operations/pipelines.md has one to begin with",
            )
            .because(&error)
        })?;
        let address = match &self.to {
            Some(address) => address.clone(),
            None => context.settings()?.address()?,
        };
        let storage = Storage::open(context, &address, Access::Write)?;
        let store = storage.store();
        let registered =
            context
                .wait(register_agent(&*store, &entry))?
                .map_err(|error| match error {
                    error @ StoreError::AlreadyExists { .. } => Failure::new(
                        format!(
                            "this version of the agent is something else, which stays, agent=`{}`",
                            entry.name()
                        ),
                        "register what is new under another version",
                    )
                    .because(&error),
                    other => other.into(),
                })?;
        let (agent, sha256) = (entry.name().to_string(), registered.sha256);
        match context.output.format() {
            Format::Json => context.output.print_json(&json!({
                "agent": agent,
                "sha256": sha256,
                "outcome": outcome_name(registered.outcome),
            }))?,
            Format::Text => {
                let done = match registered.outcome {
                    Outcome::Created => "registered",
                    Outcome::AlreadyThere => "registered before:",
                };
                context
                    .output
                    .print(&format!("{done} {agent}\n  sha256  {sha256}\n"))?;
            }
        }
        Ok(Exit::Success)
    }
}

impl Execute for Show {
    fn execute(self, context: &Context) -> Result<Exit, Failure> {
        let storage = Storage::open(context, &self.store, Access::Read)?;
        let reader = storage.reader();
        let found =
            context
                .wait(fetch_agent(&*reader, &self.agent))?
                .map_err(|error| match error {
                    error @ StoreError::NotFound { .. } => Failure::new(
                        format!(
                            "the registry does not have this agent, agent=`{}`",
                            self.agent
                        ),
                        "check name, version and store",
                    )
                    .because(&error),
                    other => other.into(),
                })?;
        let (entry, sha256) = found.ok_or_else(|| {
            Failure::new(
                format!(
                    "what stands in the registry is no entry of this agent, agent=`{}`",
                    self.agent
                ),
                "somebody changed the store: restore it from a copy that verifies",
            )
            .with_exit(Exit::Invalid)
        })?;
        let shown = json!({"agent": self.agent.to_string(), "sha256": sha256, "entry": entry});
        match context.output.format() {
            Format::Json => context.output.print_json(&shown)?,
            Format::Text => {
                let entry = serde_json::to_string_pretty(&entry).unwrap_or_default();
                context
                    .output
                    .print(&format!("{}\n  sha256  {sha256}\n", self.agent))?;
                context
                    .output
                    .print_foreign(format!("{entry}\n").as_bytes())?;
            }
        }
        Ok(Exit::Success)
    }
}
