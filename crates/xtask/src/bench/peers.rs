//! The other tools, installed by the benchmark itself, and how each is called.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::command::{self, Result, Workspace, read, succeeds};

const BAGIT: &str = "bagit==1.9.0";
const ROCFL: &str = "1.7.0";

/// Writes every file of a directory to another, syncing each file and the directory it is in.
const SYNC_LOOP: &str = r#"
import os, sys
source, target = sys.argv[1:]
for directory, _, names in os.walk(source):
    to = os.path.join(target, os.path.relpath(directory, source))
    os.makedirs(to, exist_ok=True)
    handle = os.open(to, os.O_RDONLY)
    for name in names:
        with open(os.path.join(directory, name), "rb") as reader:
            data = reader.read()
        with open(os.path.join(to, name), "wb") as writer:
            writer.write(data)
            writer.flush()
            os.fsync(writer.fileno())
        os.fsync(handle)
    os.close(handle)
"#;

/// The other tools.
pub(super) struct Peers {
    /// How many processes those that can share the work are given: one a core.
    pub(super) processes: usize,
    /// The names and versions of the tools.
    pub(super) versions: String,
    bagit: PathBuf,
    rocfl: Option<PathBuf>,
}

impl Peers {
    /// Installs what is missing.
    pub(super) fn install(workspace: &Workspace, with_rocfl: bool) -> Result<Self> {
        let venv = workspace.cache.join("bench-venv");
        let bagit = venv.join("bin/bagit.py");
        if !succeeds(workspace.command(&bagit).arg("--version")) {
            let mut make = workspace.command("python3");
            command::run(make.args(["-m", "venv", "--clear"]).arg(&venv))?;
            let mut install = workspace.command(venv.join("bin/pip"));
            command::run(install.args(["install", "--quiet", BAGIT]))?;
        }
        let rocfl = workspace.tools().join("bin/rocfl");
        if with_rocfl && !succeeds(workspace.command(&rocfl).arg("--version")) {
            let mut install = workspace.command("cargo");
            install
                .args(["install", "--locked", "--no-default-features", "--root"])
                .arg(workspace.tools())
                .args(["rocfl", "--version", ROCFL])
                .env_remove("CARGO_TARGET_DIR");
            command::run(&mut install)?;
        }
        let openssl = read(workspace.command("openssl").arg("version"))?;
        let mut versions = vec![openssl.trim().to_owned(), BAGIT.replace("==", " ")];
        if with_rocfl {
            versions.push(format!("rocfl {ROCFL}"));
        }
        Ok(Self {
            processes: thread::available_parallelism().map_or(1, usize::from),
            bagit,
            rocfl: with_rocfl.then_some(rocfl),
            versions: versions.join(", "),
        })
    }

    /// Makes a bag of links to a pack's artifacts.
    pub(super) fn make_bag(&self, pack: &Path, bag: &Path) -> Result {
        link_tree(pack, bag)?;
        let mut make = Command::new(&self.bagit);
        make.args([
            "--quiet",
            "--sha256",
            "--processes",
            &self.processes.to_string(),
        ]);
        command::run(make.arg(bag))
    }

    pub(super) fn bagit(&self, bag: &Path) -> Command {
        let mut command = Command::new(&self.bagit);
        command.args([
            "--quiet",
            "--validate",
            "--processes",
            &self.processes.to_string(),
        ]);
        command.arg(bag);
        command
    }

    /// Makes an OCFL repository with one object of a pack's artifacts, and yields what validates it; nothing
    /// where rocfl is not wanted.
    pub(super) fn rocfl(&self, pack: &Path, repository: &Path) -> Result<Option<Command>> {
        let Some(program) = &self.rocfl else {
            return Ok(None);
        };
        let rocfl = |line: &str| {
            let mut command = Command::new(program);
            command
                .arg("-r")
                .arg(repository)
                .args(line.split_whitespace());
            command
        };
        std::fs::create_dir_all(repository)?;
        command::run(&mut rocfl("init"))?;
        command::run(&mut rocfl("new -d sha256 bench"))?;
        command::run(rocfl("cp -r bench").arg(pack).args(["--", "/"]))?;
        command::run(&mut rocfl("commit bench --message bench"))?;
        Ok(Some(rocfl("validate bench")))
    }
}

/// Hashes the listed files.
pub(super) fn openssl(list: &Path, processes: usize, files_at_once: usize) -> Command {
    let mut command = Command::new("xargs");
    command
        .arg("-0")
        .arg("-a")
        .arg(list)
        .args([format!("-P{processes}"), format!("-n{files_at_once}")])
        .args(["openssl", "dgst", "-sha256"]);
    command
}

pub(super) fn sync_loop(source: &Path, target: &Path) -> Command {
    let mut command = Command::new("python3");
    command.args(["-c", SYNC_LOOP]).arg(source).arg(target);
    command
}

pub(super) fn copy_and_sync(source: &Path, target: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", "cp -r \"$0\" \"$1\" && sync -f \"$1\""])
        .arg(source)
        .arg(target);
    command
}

pub(super) fn tar(directory: &Path, archive: &Path) -> Command {
    let mut command = Command::new("tar");
    command
        .arg("-czf")
        .arg(archive)
        .arg("-C")
        .arg(directory)
        .arg(".");
    command
}

pub(super) fn untar(archive: &Path) -> Command {
    let mut command = Command::new("tar");
    command.arg("-xzOf").arg(archive);
    command
}

fn link_tree(from: &Path, to: &Path) -> Result {
    let mut copy = Command::new("cp");
    command::run(copy.arg("-rl").arg(from).arg(to))?;
    std::fs::remove_file(to.join("manifest.json"))?;
    Ok(())
}
