//! Starts real S3 servers on free ports of loopback, runs a command, and stops them.
//!
//! The command finds them by the file that the variable `RUNPACK_TEST_SERVERS` names; its exit code is this
//! program's. Whatever ends this program, no process and no directory stays behind.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use runpack_testing::servers::{self, Kind};

/// Run a command while real S3 servers run.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    options: Options,
    /// The command to run
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Hold servers until standard input ends
    #[command(hide = true)]
    Keep(Options),
}

#[derive(Debug, Args)]
struct Options {
    /// Start only these
    #[arg(long, value_delimiter = ',', default_value = "ceph,ministack,moto")]
    only: Vec<Kind>,
    /// Where `cargo xtask servers install` has put them; by default where it does
    #[arg(long, value_name = "DIRECTORY")]
    installed: Option<PathBuf>,
}

impl Options {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place of this program that reads the environment"
    )]
    fn installed(&self) -> io::Result<PathBuf> {
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
        let cache = || {
            let home = || variable("HOME").map(|home| PathBuf::from(home).join(".cache"));
            let cache = variable("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
            Some(cache?.join("runpack/servers"))
        };
        let directory = self.installed.clone().or_else(cache);
        directory.ok_or_else(|| io::Error::other("HOME is not set"))
    }
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            // Nobody may be there to read it.
            let _ = writeln!(io::stderr(), "runpack-servers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> io::Result<ExitCode> {
    if let Some(Action::Keep(options)) = cli.action {
        servers::keep(&options.installed()?, &options.only)?;
        return Ok(ExitCode::SUCCESS);
    }
    let options = cli.options;
    let program = env::current_exe()?;
    let status = servers::around(&program, &options.installed()?, &options.only, &cli.command)?;
    // As a shell says it.
    let by_signal = || status.signal().map(|signal| signal.saturating_add(128));
    let code = status.code().or_else(by_signal).unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}
