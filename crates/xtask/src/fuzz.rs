//! Fuzzing of the parsers, by cargo-fuzz and the targets in `crates/runpack-core/fuzz`.
//!
//! The committed corpus is read and never written: what a run finds goes to the target directory, new
//! inputs below `fuzz-corpus`, inputs that break something below `fuzz-findings`.

use std::fs;
use std::path::Path;

use clap::Args;

use crate::command::{self, Result, Workspace};
use crate::tools::{self, FUZZ};

/// Where the fuzz targets are, from the root.
const FUZZ_DIRECTORY: &str = "crates/runpack-core/fuzz";
/// A target that needs more memory than this has a bug.
const RSS_MIB_MAX: u32 = 2048;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long each target runs
    #[arg(long, default_value_t = 20)]
    pub(crate) seconds: u64,
    /// Only this target; all of them otherwise
    #[arg(long)]
    pub(crate) target: Option<String>,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result {
    tools::ensure_program(workspace, "c++", "g++")?;
    FUZZ.ensure(workspace)?;
    let all = targets(&workspace.root.join(FUZZ_DIRECTORY))?;
    let chosen: Vec<&String> = all
        .iter()
        .filter(|name| options.target.as_ref().is_none_or(|wanted| wanted == *name))
        .collect();
    if chosen.is_empty() {
        return Err(format!("no such fuzz target; there are: {}", all.join(", ")).into());
    }
    for target in chosen {
        fuzz(workspace, target, options.seconds)?;
    }
    Ok(())
}

/// The names of the targets: the files of `fuzz_targets`.
fn targets(directory: &Path) -> Result<Vec<String>> {
    let files = directory.join("fuzz_targets");
    let mut targets = Vec::new();
    for entry in files
        .read_dir()
        .map_err(|error| format!("{}: {error}", files.display()))?
    {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            targets.extend(
                path.file_stem()
                    .map(|stem| stem.to_string_lossy().into_owned()),
            );
        }
    }
    targets.sort();
    Ok(targets)
}

fn fuzz(workspace: &Workspace, target: &str, seconds: u64) -> Result {
    let found = workspace.target.join("fuzz-corpus").join(target);
    let findings = workspace.target.join("fuzz-findings").join(target);
    fs::create_dir_all(&found)?;
    fs::create_dir_all(&findings)?;
    let committed = workspace
        .root
        .join(FUZZ_DIRECTORY)
        .join("corpus")
        .join(target);

    let mut fuzz = tools::cargo_with_nightly_features(workspace);
    fuzz.args(["fuzz", "run", "--fuzz-dir", FUZZ_DIRECTORY, "--target-dir"])
        .arg(workspace.target.join("fuzz"))
        .arg(target)
        // libFuzzer writes to the first directory and only reads the others.
        .arg(&found);
    if committed.is_dir() {
        fuzz.arg(&committed);
    }
    fuzz.arg("--")
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-rss_limit_mb={RSS_MIB_MAX}"))
        .arg(format!("-artifact_prefix={}/", findings.display()))
        .arg("-print_final_stats=1");
    command::run(&mut fuzz).map_err(|error| {
        format!(
            "{error}; the input that did it is in {}",
            workspace.shown(&findings)
        )
        .into()
    })
}
