//! The main job on a real example: a run of this project's own tests is gathered, exported, verified,
//! damaged by one byte, and refused.
//!
//! Every command is printed as a user would type it. Whatever comes out otherwise than expected is an
//! error, so that this is a test as well.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::command::{self, Result, Workspace, shell};

/// Where the example lives, from the root; emptied at the start.
const DEMO: &str = "target/demo";
/// The artifact that gets damaged.
const DAMAGED: &str = "test.log";

pub(crate) fn run(workspace: &Workspace) -> Result {
    let directory = workspace.root.join(DEMO);
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    fs::create_dir_all(&directory)?;

    heading("Build runpack");
    command::run(&mut workspace.cargo("build --package runpack-cli"))?;

    heading("Make a real run: this project's own tests, with their log and results");
    let mut gather = workspace.command("crates/runpack-cli/examples/gather-test-run.sh");
    command::run(gather.arg(format!("{DEMO}/run")))?;

    heading("Export it: a pack in a file store, and the same pack as one bundle");
    println!("$ export RUNPACK_STATE_DIR={DEMO}/state");
    let run_id = run_id(workspace);
    let line = format!(
        "export {DEMO}/run --tenant demo --namespace ci --scenario core-tests --run-id {run_id} \
         --spec {DEMO}/run/spec.json --to file:{DEMO}/store --bundle {DEMO}/run.tar.gz --json"
    );
    let exported: Value = serde_json::from_str(&expect(workspace, &line, 0)?.output)?;
    let pack_id = member(&exported, "pack_id")?;
    let pack = PathBuf::from(member(&exported, "pack")?);
    let pack = workspace.shown(&workspace.root.join(pack));

    heading("Verify both: the receipt of the export says which pack it must be");
    expect(workspace, &format!("verify {pack}"), 0)?;
    expect(workspace, &format!("verify {DEMO}/run.tar.gz"), 0)?;

    heading("Verify it with the other verifier, written in Python from the specification alone");
    let mut python = workspace.command("python3");
    python.args(["Docs/spec/verify.py", &format!("{DEMO}/run.tar.gz")]);
    command::run(python.args(["--expect-pack-id", pack_id]))?;

    heading("Change one bit of one artifact in a copy of the pack, and verify the copy");
    let copy = format!("{DEMO}/damaged");
    println!("$ cp -r {pack} {copy}");
    copy_directory(&workspace.root.join(&pack), &workspace.root.join(&copy))?;
    let damaged = flip_bit(&workspace.root.join(&copy))?;
    println!(
        "(one bit flipped in the middle of {})",
        workspace.shown(&damaged)
    );
    let line = format!("verify {copy} --expect-pack-id {pack_id}");
    let report = expect(workspace, &line, 1)?;
    if !report.output.contains(DAMAGED) && !report.errors.contains(DAMAGED) {
        return Err(format!("the report does not name {DAMAGED}").into());
    }
    println!("\nThe intact pack is valid. The damaged copy is refused, and {DAMAGED} is named.");
    Ok(())
}

/// What a program printed.
struct Said {
    output: String,
    errors: String,
}

fn heading(text: &str) {
    println!("\n# {text}");
}

/// An id for the run: the commit it was made at, where there is one.
fn run_id(workspace: &Workspace) -> String {
    let mut git = workspace.command("git");
    git.args(["rev-parse", "--short=12", "HEAD"]);
    match git.output() {
        Ok(output) if output.status.success() => {
            format!("commit-{}", String::from_utf8_lossy(&output.stdout).trim())
        }
        _ => "local".to_owned(),
    }
}

/// Runs `runpack` with the words of the line, prints what it says, and yields it. Another exit code than the
/// expected one is an error.
fn expect(workspace: &Workspace, line: &str, expected: i32) -> Result<Said> {
    println!("$ runpack {line}");
    let mut runpack: Command = workspace.command(workspace.target.join("debug/runpack"));
    runpack
        .args(line.split_whitespace())
        .env("RUNPACK_STATE_DIR", workspace.root.join(DEMO).join("state"));
    let output = runpack
        .output()
        .map_err(|error| format!("cannot run `{}`: {error}", shell(&runpack)))?;
    let said = Said {
        output: String::from_utf8_lossy(&output.stdout).into_owned(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    print!("{}{}", said.errors, said.output);
    println!(
        "(exit code {})",
        output
            .status
            .code()
            .map_or("none".into(), |code| code.to_string())
    );
    if output.status.code() == Some(expected) {
        Ok(said)
    } else {
        Err(format!(
            "`runpack {line}` was to end with {expected}: {}",
            output.status
        )
        .into())
    }
}

fn member<'a>(value: &'a Value, name: &str) -> Result<&'a str> {
    let text = value.get(name).and_then(Value::as_str);
    text.ok_or_else(|| format!("`runpack export --json` gave no `{name}`").into())
}

/// Copies the files, not their modes: a store may keep its files read-only.
fn copy_directory(from: &Path, to: &Path) -> Result {
    fs::create_dir_all(to)?;
    for entry in from.read_dir()? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &target)?;
        } else {
            fs::write(target, fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

/// Flips one bit in the middle of the artifact to be damaged, wherever below the directory it is.
fn flip_bit(directory: &Path) -> Result<PathBuf> {
    let path = find(directory)?.ok_or_else(|| format!("the pack has no {DAMAGED}"))?;
    let mut bytes = fs::read(&path)?;
    let middle = bytes.len() / 2;
    let byte = bytes
        .get_mut(middle)
        .ok_or_else(|| format!("{DAMAGED} is empty"))?;
    *byte ^= 1;
    fs::write(&path, bytes)?;
    Ok(path)
}

fn find(directory: &Path) -> Result<Option<PathBuf>> {
    for entry in directory.read_dir()? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            if let Some(found) = find(&entry.path())? {
                return Ok(Some(found));
            }
        } else if entry.file_name() == DAMAGED {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}
