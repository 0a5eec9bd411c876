//! Exports of lineage against the tools that other people read them with: the client of OpenLineage, the reference
//! implementation of PROV, the validator and the library of RO-Crate. They come from PyPI, installed by
//! `cargo xtask servers install` into an environment of their own; without them a test fails and says how it is run.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::servers::installed;

/// Where `cargo xtask servers install` puts them.
const PYTHON: &str = "python-validators-1";
const CHECK: &str = include_str!("validators/check.py");

/// Events of OpenLineage, one on each line; the facet of our own is held against `schema`.
///
/// # Errors
/// What is wrong with them.
pub fn openlineage(events: &str, schema: &Path) -> Result<String, String> {
    check(&["openlineage", &schema.to_string_lossy()], events)
}

/// Documents of PROV-JSON, one on each line.
///
/// # Errors
/// What is wrong with them.
pub fn prov_json(documents: &str) -> Result<String, String> {
    check(&["prov-json"], documents)
}

/// The crate in a directory, with all files that it says it has. Gives what is recommended beyond what must be.
///
/// # Errors
/// What is wrong with it.
pub fn ro_crate(directory: &Path) -> Result<String, String> {
    check(&["ro-crate", &directory.to_string_lossy()], "")
}

fn check(arguments: &[&str], input: &str) -> Result<String, String> {
    let python: PathBuf = installed().join(PYTHON).join("bin/python");
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(&python);
    command
        .args(["-I", "-c", CHECK])
        .args(arguments)
        // Some of them write caches where they are.
        .current_dir(home.path())
        .env("HOME", home.path())
        .env("PYTHONUTF8", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| {
        let python = python.display();
        panic!("`{python}` does not run ({error}): `cargo xtask servers install` installs it")
    });
    let mut stdin = child.stdin.take().unwrap();
    // It may end before it has read everything, and then says why.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{arguments:?}: {said}\n{input}"))
}
