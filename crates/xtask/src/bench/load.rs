//! The server under load, beside another that keeps the same bytes.
//!
//! Everything is on one machine and shares its cores: the load, the server, and what it keeps. Each round begins with a
//! new server and an empty directory, when the disk has nothing left to write.

mod artifact;
mod records;
mod server;
mod wrk;

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use clap::ValueEnum;

use self::server::{Kind, Servers};
use self::wrk::{Pressure, Runs, Wrk};
use super::contest::Row;
use super::store::Copiers;
use super::{Bench, remove};
use crate::command::{Result, read};

/// The most resident memory that the server may need.
const MEMORY_MIB_MAX: u64 = 128;

/// What the figures are of, for the page.
pub(super) const TEXT: &str = "\
    What runs: `runpack serve`, as anybody starts it but for `--rate`, which is out of the way so that one token can send \
    everything; it checks the token and the body, writes the audit log, and answers when the record and its line in the \
    log are durable. Beside it: `rclone serve s3`, which is sent the same bytes as objects: it checks no token, syncs nothing, and \
    answers when the file has its name. The load is made by wrk on the same machine, every record of a run of its own; each client sends its next when the last \
    was answered. Each round begins with new servers and empty directories, when the disk has nothing left to write. The bucket \
    behind the spool keeps everything in memory on the same machine.\n\n\
    The artifact is sent by curl to an execution; Runpack hashes it, syncs it, and answers when it is durable; rclone hashes it \
    (MD5) and syncs nothing.\n";

/// The tools.
pub(super) fn versions(bench: &Bench<'_>) -> Result<String> {
    let rclone = read(Command::new(Copiers::install(bench)?.rclone).arg("version"))?;
    // It tells its version and fails.
    let wrk = bench.workspace.command("wrk").arg("-v").output()?;
    let wrk = String::from_utf8_lossy(&wrk.stdout).into_owned();
    let wrk = wrk.split(" [").next().unwrap_or_default();
    Ok(format!(
        "{}, {wrk}",
        rclone.lines().next().unwrap_or_default()
    ))
}

/// What the server is put to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Load {
    /// Records of 1 KiB, each of a run of its own, from 64 clients
    Records,
    /// The same with a spool, in front of a bucket
    Spool,
    /// The same as `records` from 1,000 clients
    Clients,
    /// One record from 100 clients at once
    SameRun,
    /// An artifact of 4 GiB
    Artifact,
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// What is there to press servers with.
struct Range<'a> {
    servers: Servers<'a>,
    wrk: Wrk<'a>,
    directory: PathBuf,
    rounds: usize,
}

impl Bench<'_> {
    /// Everything that is measured of one load; its files are gone afterwards.
    pub(super) fn load(&self, load: Load, is_quick: bool) -> Result<Vec<Row>> {
        println!("\n=== the server: {load} ===");
        remove(&self.directory)?;
        fs::create_dir_all(&self.directory)?;
        let rows = self.press(load, is_quick);
        remove(&self.directory)?;
        rows
    }

    fn press(&self, load: Load, is_quick: bool) -> Result<Vec<Row>> {
        let range = Range {
            servers: Servers::prepare(self)?,
            wrk: Wrk::prepare(self.workspace, &self.directory)?,
            directory: self.directory.join("servers"),
            rounds: self.rounds,
        };
        let pressure = |clients| Pressure {
            clients,
            seconds: if is_quick { 2 } else { 15 },
            runs: Runs::Distinct,
        };
        match load {
            Load::Records => records::ingest(&range, Kind::Runpack, &pressure(64)),
            Load::Spool => records::ingest(&range, Kind::Spooling, &pressure(64)),
            Load::Clients => records::ingest(&range, Kind::Runpack, &pressure(1_000)),
            Load::SameRun => records::same_run(&range),
            Load::Artifact => artifact::upload(&range, is_quick),
        }
    }
}

/// Has the disk write what earlier rounds left to be written: one that syncs would pay for one that does not.
fn settle() -> Result {
    read(&mut Command::new("sync")).map(drop)
}
