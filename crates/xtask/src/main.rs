//! The project's own commands, run as `cargo xtask COMMAND`.
//!
//! Whatever a person or a CI machine needs to do with this checkout is one of these commands, so that
//! both do the same thing. One file per command; `command` runs other programs, `tools` installs them.
#![expect(
    clippy::print_stdout,
    reason = "this program's output is its purpose; it is not a library"
)]

mod api;
mod bench;
mod command;
mod demo;
mod deny;
mod doc;
mod fuzz;
mod servers;
mod soak;
mod test;
mod tidy;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::command::{Result, Workspace};

/// The project's own commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Pass every test and check, installing what they need
    Test(test::Options),
    /// Check the rules that no compiler knows: layering, layout, links, the table of attack cases
    Tidy(tidy::Options),
    /// Check licences, banned crates, sources and, where it can be fetched, the advisory database
    Deny,
    /// Build the API documentation, warnings denied
    Doc,
    /// Fuzz the parsers
    Fuzz(fuzz::Options),
    /// Run a command while real S3 servers run, or `install` them
    Servers(servers::Options),
    /// Test for long: property tests with many cases, every crash state, long fuzzing
    Soak(soak::Options),
    /// Do the main job on a real example: keep this project's own test run, prove it, damage it
    Demo,
    /// Measure Runpack against other tools, side by side
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match Workspace::find().and_then(|workspace| dispatch(&workspace, cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\nfailed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(workspace: &Workspace, command: Command) -> Result {
    match command {
        Command::Test(options) => test::run(workspace, &options),
        Command::Tidy(options) => tidy::run(workspace, &options),
        Command::Deny => deny::run(workspace),
        Command::Doc => doc::run(workspace),
        Command::Fuzz(options) => fuzz::run(workspace, &options),
        Command::Servers(options) => servers::run(workspace, &options),
        Command::Soak(options) => soak::run(workspace, &options),
        Command::Demo => demo::run(workspace),
        Command::Bench(options) => bench::run(workspace, &options),
    }
}
