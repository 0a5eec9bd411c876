//! A directory to work in, and the program to run there.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

pub(crate) const KEY: &str = include_str!("key.pem");
pub(crate) const PUBLIC_KEY: &str = include_str!("key.pub.pem");
/// A well-formed pack id that no pack has.
pub(crate) const NO_PACK: &str =
    "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// What a run of the program gave.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

pub(crate) struct Desk {
    directory: tempfile::TempDir,
}

impl Desk {
    /// An empty directory.
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// A directory with the outputs of a run below `run/`.
    pub(crate) fn with_run() -> Self {
        let desk = Self::new();
        desk.write("run/spec.json", "{\"test\":\"all\"}");
        desk.write("run/decisions.json", "{\"approve\":true}");
        desk.write("run/logs/run.log", "started\nended\n");
        desk.write("run/model.bin", [7; 3_000]);
        desk.write("key.pem", KEY);
        desk.write("key.pub.pem", PUBLIC_KEY);
        desk
    }

    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(relative)
    }

    /// The directory, links resolved.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap()
    }

    pub(crate) fn write(&self, relative: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runpack"));
        command
            .current_dir(self.directory.path())
            .env_clear()
            .env("RUNPACK_STATE_DIR", self.path("state"))
            .env("HOME", self.path("home"))
            .stdin(Stdio::null());
        command
    }

    /// Runs the program with these arguments.
    pub(crate) fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Said {
        let mut command = self.command();
        command.args(arguments);
        said(&mut command)
    }

    /// Runs the program with the words of a line.
    pub(crate) fn line(&self, line: &str) -> Said {
        self.run(line.split_whitespace())
    }

    /// Runs the program with bytes on standard input.
    pub(crate) fn line_with_input(&self, line: &str, input: &[u8]) -> Said {
        let mut command = self.command();
        command
            .args(line.split_whitespace())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // The program may stop reading early.
        let _ = child.stdin.take().unwrap().write_all(input);
        let output = child.wait_with_output().unwrap();
        Said {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Exports `run/` and gives the result. What is given comes in place of what `EXPORT` has.
    pub(crate) fn export(&self, more: &str) -> Value {
        let more: Vec<&str> = more.split_whitespace().collect();
        let given: Vec<&str> = EXPORT.split_whitespace().collect();
        let mut words = vec!["export", "run", "--json"];
        for pair in given[2..].chunks(2) {
            if !more.contains(&pair[0]) || pair[0] == "--label" {
                words.extend(pair);
            }
        }
        words.extend(more);
        self.run(words).expect(0).json()
    }
}

/// An export of `run/` whose result is always the same.
pub(crate) const EXPORT: &str = "export run --tenant acme --namespace prod --scenario loan-approval --run-id run-42 \
                                 --spec run/spec.json --to file:store --created-at 2026-11-20T12:00:00Z --label a=b";

pub(crate) fn said(command: &mut Command) -> Said {
    let output = command.output().unwrap();
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(crate) fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member]
        .as_str()
        .unwrap_or_else(|| panic!("no {member} in {value}"))
}
