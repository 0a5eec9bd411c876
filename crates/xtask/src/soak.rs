//! Tests for an hour or a night: many random cases, every crash state, long fuzzing.

use clap::Args;

use crate::command::{self, Result, Workspace};
use crate::fuzz;
use crate::tools::NEXTEST;

/// Property test cases; a plain test run takes the default of 256.
const PROPTEST_CASES: &str = "20000";
/// The number of fuzz targets that share the time.
const FUZZ_TARGETS: u64 = 5;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long fuzzing takes, over all targets
    #[arg(long, default_value_t = 60)]
    minutes: u64,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result {
    NEXTEST.ensure(workspace)?;
    let mut tests = workspace.cargo("nextest run --workspace --all-features");
    tests
        .env("PROPTEST_CASES", PROPTEST_CASES)
        .env("RUNPACK_SOAK", "1");
    println!("PROPTEST_CASES={PROPTEST_CASES} RUNPACK_SOAK=1");
    command::run(&mut tests)?;
    fuzz::run(
        workspace,
        &fuzz::Options {
            seconds: options.minutes.saturating_mul(60) / FUZZ_TARGETS,
            target: None,
        },
    )
}
