//! Tests for an hour or a night: many random cases, every crash state, long fuzzing.

use clap::Args;

use crate::command::{Result, Workspace};
use crate::tools::NEXTEST;
use crate::{fuzz, servers};

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
    let variables = [("PROPTEST_CASES", PROPTEST_CASES), ("RUNPACK_SOAK", "1")];
    println!("PROPTEST_CASES={PROPTEST_CASES} RUNPACK_SOAK=1");
    let line = "nextest run --workspace --all-features";
    servers::around_tests(workspace, line, &workspace.root, &variables)?;
    fuzz::run(
        workspace,
        &fuzz::Options {
            seconds: options.minutes.saturating_mul(60) / FUZZ_TARGETS,
            target: None,
        },
    )
}
