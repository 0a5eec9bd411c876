//! The command line of locked storage: the commands of `runpack` over buckets that lock, and more.
//!
//! Everything here asks the store at the moment it is needed, writes what it does and what is refused into the audit log,
//! and says with which exit code it ended as `runpack` does ([`runpack_cli::Exit`]).

mod command;
mod consent;
mod desk;
mod keys;
mod options;
mod pack;
mod storage;

use std::process::ExitCode;

use runpack_cli::Program;

/// Runs `runpack-enterprise` with the arguments of this process.
pub fn main() -> ExitCode {
    let program = Program::new("runpack-enterprise", env!("CARGO_PKG_VERSION"))
        .with_storage(&storage::LockingStorage)
        .with_arguments(options::add);
    runpack_cli::main_with::<command::More>(program)
}

/// Writes a file that must not be there.
fn write_new(path: &std::path::Path, bytes: &[u8]) -> Result<(), runpack_cli::Failure> {
    use std::io::Write as _;
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
    written.map_err(|error| {
        runpack_cli::Failure::new(
            format!("the file could not be written, path=`{}`", path.display()),
            "give another path: what is there is not replaced",
        )
        .because(&error)
    })
}
