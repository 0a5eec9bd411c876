//! Every test and check, with its own set-up, on a bare machine with Rust and package registries.
//!
//! The steps run in order and the first that fails ends the run with its name. Nothing is skipped: a step
//! whose tool cannot be installed fails.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use crate::command::{self, Result, Workspace, stopwatch};
use crate::tools::{self, DENY, FUZZ, NEXTEST};
use crate::{api, demo, deny, doc, fuzz, servers, tidy};

/// This package.
const THIS: &str = env!("CARGO_PKG_NAME");

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only this step
    #[arg(long, value_name = "STEP", conflicts_with = "from")]
    only: Option<String>,
    /// This step and those after it
    #[arg(long, value_name = "STEP")]
    from: Option<String>,
    /// How long each fuzz target runs
    #[arg(long, default_value_t = 20, value_name = "SECONDS")]
    fuzz_seconds: u64,
    /// How many requests are made at random of each operation of the HTTP interface, beside those that try each rule
    #[arg(long, default_value_t = 60, value_name = "NUMBER")]
    api_examples: u32,
}

struct Step {
    name: &'static str,
    purpose: &'static str,
    run: fn(&Workspace, &Options) -> Result,
}

const STEPS: &[Step] = &[
    Step {
        name: "tools",
        purpose: "install what is missing",
        run: |workspace, _| tools(workspace),
    },
    Step {
        name: "format",
        purpose: "the code is formatted",
        run: |workspace, _| command::run(&mut workspace.cargo("fmt --all --check")),
    },
    Step {
        name: "clippy",
        purpose: "no lint of Cargo.toml and .clippy.toml is violated",
        run: |workspace, _| {
            let line = "clippy --workspace --all-targets --all-features -- -D warnings";
            command::run(&mut workspace.cargo(line))
        },
    },
    Step {
        name: "tidy",
        purpose: "layering, layout, links, the table of attack cases",
        run: |workspace, _| tidy::run(workspace, &tidy::Options::default()),
    },
    Step {
        name: "deny",
        purpose: "licences, banned crates, sources, advisories",
        run: |workspace, _| deny::run(workspace),
    },
    Step {
        name: "oss-only",
        purpose: "the open part builds without `enterprise/` and passes its tests, against real servers",
        run: |workspace, _| oss_only(workspace),
    },
    Step {
        name: "enterprise",
        purpose: "the tests of all else, against real servers",
        run: |workspace, _| enterprise(workspace),
    },
    Step {
        name: "doctests",
        purpose: "the examples in the documentation",
        run: |workspace, _| {
            command::run(&mut workspace.cargo("test --workspace --all-features --doc"))
        },
    },
    Step {
        name: "bare-core",
        purpose: "the core's tests without any feature",
        run: |workspace, _| {
            NEXTEST.ensure(workspace)?;
            let line = "nextest run --package runpack-core --no-default-features";
            command::run(&mut workspace.cargo(line))
        },
    },
    Step {
        name: "second-verifier",
        purpose: "the verifier in Python agrees on every vector",
        run: |workspace, _| {
            tools::ensure_program(workspace, "python3", "python3")?;
            let mut verifier = workspace.command("python3");
            verifier.args(["Docs/spec/verify.py", "--vectors", "Docs/spec/vectors"]);
            command::run(&mut verifier)
        },
    },
    Step {
        name: "doc",
        purpose: "the API documentation has no warning",
        run: |workspace, _| doc::run(workspace),
    },
    Step {
        name: "fuzz",
        purpose: "each fuzz target for a short time",
        run: |workspace, options| {
            let seconds = options.fuzz_seconds;
            fuzz::run(
                workspace,
                &fuzz::Options {
                    seconds,
                    target: None,
                },
            )
        },
    },
    Step {
        name: "api",
        purpose: "the HTTP interface keeps to its OpenAPI document",
        run: |workspace, options| api::run(workspace, options.api_examples),
    },
    Step {
        name: "demo",
        purpose: "the main job on a real example",
        run: |workspace, _| demo::run(workspace),
    },
];

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result {
    let mut times = Vec::new();
    for step in chosen(options)? {
        println!("\n=== {}: {} ===", step.name, step.purpose);
        let watch = stopwatch();
        let outcome = (step.run)(workspace, options);
        times.push((step.name, watch.elapsed().as_secs()));
        if let Err(error) = outcome {
            summary(&times, "FAILED");
            return Err(format!("step `{}`: {error}", step.name).into());
        }
    }
    summary(&times, "passed");
    Ok(())
}

fn chosen(options: &Options) -> Result<&'static [Step]> {
    let Some(name) = options.only.as_ref().or(options.from.as_ref()) else {
        return Ok(STEPS);
    };
    let first = STEPS.iter().position(|step| step.name == name);
    let steps = first.and_then(|first| STEPS.get(first..)).ok_or_else(|| {
        let names: Vec<_> = STEPS.iter().map(|step| step.name).collect();
        format!("no step `{name}`; there are: {}", names.join(", "))
    })?;
    let count = if options.only.is_some() {
        1
    } else {
        steps.len()
    };
    Ok(steps.get(..count).unwrap_or(steps))
}

/// Prints each step with its time; the last one ended as `last` says.
fn summary(times: &[(&str, u64)], last: &str) {
    println!("\n=== summary ===");
    for (place, (name, seconds)) in times.iter().enumerate() {
        let is_last = place.saturating_add(1) == times.len();
        println!(
            "{name:<16} {:<6} {seconds:>5} s",
            if is_last { last } else { "passed" }
        );
    }
}

fn tools(workspace: &Workspace) -> Result {
    tools::ensure_program(workspace, "python3", "python3")?;
    tools::ensure_program(workspace, "strace", "strace")?;
    tools::ensure_program(workspace, "c++", "g++")?;
    browser(workspace)?;
    for tool in [NEXTEST, DENY, FUZZ] {
        tool.ensure(workspace)?;
    }
    servers::install(workspace)?;
    api::install(workspace)?;
    println!("All tools are there.");
    Ok(())
}

/// What the server's pages are tested with.
fn browser(workspace: &Workspace) -> Result {
    tools::ensure_program(workspace, "chromium", "chromium")?;
    tools::ensure_program(workspace, "chromedriver", "chromium-driver")
}

/// Builds and tests a copy of the project that has nothing in `enterprise/`. Each test of the open part runs here, and
/// here alone: beside the enterprise part it would do the same again.
fn oss_only(workspace: &Workspace) -> Result {
    NEXTEST.ensure(workspace)?;
    browser(workspace)?;
    let copy = workspace.target.join("oss-only");
    let files: BTreeSet<_> = workspace
        .files()?
        .into_iter()
        .filter(|file| !file.starts_with("enterprise"))
        .collect();
    mirror(&workspace.root, &copy, &files)?;
    fs::create_dir_all(copy.join("enterprise"))?;
    println!("copied {} files to {}", files.len(), workspace.shown(&copy));
    let tests = format!("nextest run --workspace --exclude {THIS} --all-features");
    servers::around_tests(workspace, &tests, &copy, &[])
}

/// Tests what the copy without `enterprise/` leaves out: that, and this program, which looks at the whole workspace.
fn enterprise(workspace: &Workspace) -> Result {
    NEXTEST.ensure(workspace)?;
    let mut tests = format!("nextest run --all-features --package {THIS}");
    for package in enterprise_packages(&workspace.metadata) {
        tests.push_str(" --package ");
        tests.push_str(package);
    }
    servers::around_tests(workspace, &tests, &workspace.root, &[])
}

/// The packages below `enterprise/`; none where it is emptied.
fn enterprise_packages(metadata: &Value) -> Vec<&str> {
    let root = metadata.get("workspace_root").and_then(Value::as_str);
    let below = root.map(|root| format!("{root}/enterprise/"));
    let packages = metadata.get("packages").and_then(Value::as_array);
    let is_below = |package: &&Value| {
        let manifest = package.get("manifest_path").and_then(Value::as_str);
        matches!((manifest, &below), (Some(path), Some(below)) if path.starts_with(below.as_str()))
    };
    let found = packages.into_iter().flatten().filter(is_below);
    found
        .filter_map(|package| package.get("name")?.as_str())
        .collect()
}

/// Makes the copy hold these files and no others, touching only what differs, so that Cargo builds again
/// only what has changed since the last time.
fn mirror(root: &Path, copy: &Path, files: &BTreeSet<PathBuf>) -> Result {
    fs::create_dir_all(copy)?;
    remove_others(copy, Path::new(""), files)?;
    for file in files {
        copy_file(&root.join(file), &copy.join(file))?;
    }
    Ok(())
}

/// Copies one file or symbolic link unless it is there already.
fn copy_file(from: &Path, to: &Path) -> Result {
    if let Some(directory) = to.parent() {
        fs::create_dir_all(directory)?;
    }
    // Test vectors hold symbolic links; they are copied as such, wherever they lead.
    if from.is_symlink() {
        let leads_to = fs::read_link(from)?;
        if fs::read_link(to).is_ok_and(|there| there == leads_to) {
            return Ok(());
        }
        if to.symlink_metadata().is_ok() {
            fs::remove_file(to)?;
        }
        std::os::unix::fs::symlink(leads_to, to)?;
        return Ok(());
    }
    if to.is_symlink() {
        fs::remove_file(to)?;
    }
    let bytes = fs::read(from)?;
    if !fs::read(to).is_ok_and(|there| there == bytes) {
        fs::copy(from, to)?;
    }
    Ok(())
}

fn remove_others(copy: &Path, below: &Path, files: &BTreeSet<PathBuf>) -> Result {
    for entry in copy.join(below).read_dir()? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            remove_others(copy, &path, files)?;
        } else if !files.contains(&path) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Options, STEPS, chosen, enterprise_packages};

    fn names(only: Option<&str>, from: Option<&str>) -> Vec<&'static str> {
        let options = Options {
            only: only.map(str::to_owned),
            from: from.map(str::to_owned),
            fuzz_seconds: 1,
            api_examples: 1,
        };
        chosen(&options).map_or_else(
            |_| Vec::new(),
            |steps| steps.iter().map(|step| step.name).collect(),
        )
    }

    /// What one step leaves out the other has: a package that neither tests would pass unseen.
    #[test]
    fn every_package_is_tested() {
        let metadata = serde_json::json!({
            "workspace_root": "/x",
            "packages": [
                {"name": "open", "manifest_path": "/x/crates/open/Cargo.toml"},
                {"name": "locked", "manifest_path": "/x/enterprise/locked/Cargo.toml"},
            ],
        });
        assert_eq!(enterprise_packages(&metadata), ["locked"]);
    }

    #[test]
    fn steps_can_be_chosen() {
        assert_eq!(names(Some("tidy"), None), ["tidy"]);
        assert_eq!(names(None, Some("fuzz")), ["fuzz", "api", "demo"]);
        assert_eq!(names(None, None).len(), STEPS.len());
        assert!(names(Some("nothing"), None).is_empty());
    }

    /// Vulnerable dependency paths are found by cargo-deny, so every test run has to run it.
    #[test]
    fn k02_dependencies_are_checked_in_every_test_run() {
        assert!(names(None, None).contains(&"deny"));
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deny.toml");
        let rules = std::fs::read_to_string(root).unwrap();
        for rule in [
            "[advisories]",
            "[bans]",
            "[licenses]",
            "[sources]",
            "unknown-registry = \"deny\"",
        ] {
            assert!(rules.contains(rule), "deny.toml has no {rule}");
        }
    }
}
