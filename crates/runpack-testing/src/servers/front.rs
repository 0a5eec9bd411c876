//! Running a command while servers run.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::{Command, ExitStatus};

use super::keeper::Keeper;
use super::process::with_parent;
use super::{Kind, VARIABLE};

/// Starts servers of these kinds, runs the command, and stops them.
///
/// If this process ends before the command does, the command gets a SIGTERM and the servers end.
///
/// # Errors
/// The servers do not start, or the command does not.
pub fn around(
    program: &Path,
    installed: &Path,
    kinds: &[Kind],
    command: &[OsString],
) -> io::Result<ExitStatus> {
    let keeper = Keeper::start(program, installed, kinds)?;
    let [name, arguments @ ..] = command else {
        return Err(io::Error::other("say which command to run, after `--`"));
    };
    let mut inner = Command::new(name);
    inner.args(arguments).env(VARIABLE, &keeper.file);
    with_parent("TERM", &inner).status()
}
