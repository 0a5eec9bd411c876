//! Running other programs from the root of the workspace.
//!
//! Every program is found with the project's own tool directory first on the path, and every command is
//! printed as a user would type it before it runs.

use std::env;
use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

/// What a command of this program yields; the error is a sentence for a person.
pub(crate) type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// Where things are.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The directory of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Where Cargo builds.
    pub(crate) target: PathBuf,
    /// What this project keeps between runs, outside of the checkout.
    pub(crate) cache: PathBuf,
    /// `cargo metadata --no-deps`: the workspace's packages and their direct dependencies.
    pub(crate) metadata: Value,
    path: OsString,
}

impl Workspace {
    /// Finds the workspace that the current directory is in.
    pub(crate) fn find() -> Result<Self> {
        let home = environment("HOME").ok_or("HOME is not set")?;
        let cache = environment("XDG_CACHE_HOME")
            .map_or_else(|| PathBuf::from(home).join(".cache"), PathBuf::from)
            .join("runpack");

        let mut cargo = Command::new("cargo");
        cargo.args(["metadata", "--no-deps", "--format-version=1"]);
        let is_ci = environment("CI").is_some_and(|value| value == "true");
        if is_ci && environment("CARGO_TARGET_DIR").is_none() {
            cargo.env("CARGO_TARGET_DIR", cache.join("target"));
        }
        let metadata: Value = serde_json::from_str(&read(&mut cargo)?)?;
        let directory = |member: &str| {
            let directory = metadata.get(member).and_then(Value::as_str);
            directory
                .map(PathBuf::from)
                .ok_or_else(|| format!("cargo metadata has no {member}"))
        };

        let mut path = vec![cache.join("tools/bin")];
        path.extend(
            environment("PATH")
                .iter()
                .flat_map(|path| env::split_paths(path)),
        );
        Ok(Self {
            root: directory("workspace_root")?,
            target: directory("target_directory")?,
            path: env::join_paths(path)?,
            cache,
            metadata,
        })
    }

    /// Where `cargo install` puts this project's tools.
    pub(crate) fn tools(&self) -> PathBuf {
        self.cache.join("tools")
    }

    /// A program, to be run in the root.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.root)
            .env("PATH", &self.path)
            .env("CARGO_TARGET_DIR", &self.target);
        for name in of_this_package() {
            command.env_remove(name);
        }
        command
    }

    /// `cargo` with the words of `line` as arguments.
    pub(crate) fn cargo(&self, line: &str) -> Command {
        let mut command = self.command("cargo");
        command.args(line.split_whitespace());
        command
    }

    /// The path as a person in the root would write it.
    pub(crate) fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root)
            .unwrap_or(path)
            .display()
            .to_string()
    }

    /// The files of the project, relative to the root: what git tracks or would track; without git,
    /// everything but build output and dotted directories that are not the project's.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>> {
        let mut git = self.command("git");
        git.args(["ls-files", "-z", "--cached", "--others"])
            .args(["--exclude-standard", "--deduplicate"])
            .stderr(Stdio::null());
        let mut files = match git.output() {
            Ok(output) if output.status.success() => output
                .stdout
                .split(|byte| *byte == 0)
                .filter(|name| !name.is_empty())
                .map(|name| PathBuf::from(OsStr::from_bytes(name)))
                // Not deleted since git last looked; a link counts even where it leads nowhere.
                .filter(|file| self.root.join(file).symlink_metadata().is_ok())
                .collect(),
            _ => {
                let mut files = Vec::new();
                walk(&self.root, Path::new(""), &mut files)?;
                files
            }
        };
        files.sort();
        Ok(files)
    }
}

fn walk(root: &Path, below: &Path, files: &mut Vec<PathBuf>) -> Result {
    for entry in root.join(below).read_dir()? {
        let entry = entry?;
        let name = entry.file_name();
        let path = below.join(&name);
        if !entry.file_type()?.is_dir() {
            files.push(path);
        } else if name != "target" && name != ".git" && name != "__pycache__" {
            walk(root, &path, files)?;
        }
    }
    Ok(())
}

/// Prints the command, runs it, and fails unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result {
    println!("$ {}", shell(command));
    match code(command)? {
        0 => Ok(()),
        code => Err(format!("`{}` ended with {code}", shell(command)).into()),
    }
}

/// Runs the command and yields its exit code; an end by a signal is an error.
pub(crate) fn code(command: &mut Command) -> Result<i32> {
    let status = command
        .status()
        .map_err(|error| format!("cannot run `{}`: {error}", shell(command)))?;
    status
        .code()
        .ok_or_else(|| format!("`{}` ended by a signal", shell(command)).into())
}

/// Runs the command and yields its standard output.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot run `{}`: {error}", shell(command)))?;
    if !output.status.success() {
        return Err(format!("`{}` failed: {}", shell(command), output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Whether the program can be started and says that all is well.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The command as typed in a shell.
pub(crate) fn shell(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| {
            let word = word.to_string_lossy();
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=+@,%^".contains(c);
            if !word.is_empty() && word.chars().all(is_plain) {
                word.into_owned()
            } else {
                format!("'{}'", word.replace('\'', r"'\''"))
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// A variable of the environment.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this program that reads the environment"
)]
pub(crate) fn environment(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// What Cargo tells this program about itself. Build scripts look at it: handed on, they and all that depends on them
/// would be built again whenever Cargo was called by hand in between.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this program that looks through the environment"
)]
fn of_this_package() -> impl Iterator<Item = OsString> {
    env::vars_os().map(|(name, _)| name).filter(|name| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    })
}

/// Starts a stopwatch.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this program that reads the monotonic clock"
)]
pub(crate) fn stopwatch() -> Instant {
    Instant::now()
}

/// The time since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this program that reads the wall clock"
)]
pub(crate) fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}
