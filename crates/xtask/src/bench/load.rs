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
use super::Bench;
use super::contest::Row;
use super::store::Copiers;
use crate::command::{Result, read};

/// The most resident memory that the server may need.
const MEMORY_MIB_MAX: u64 = 128;

/// What the figures are of, for the page.
pub(super) const TEXT: &str = "\
    What runs: `runpack serve` as anybody starts it, but for `--rate`, which bounds one caller to 2,000 requests a second \
    in the long run: here one token sends everything. A record is answered when it is durable and the line of the audit \
    log is. Beside it `rclone serve s3` is sent the same bytes as objects, over a hundred directories, in which it is \
    faster than in one: it asks for no token, checks nothing, syncs nothing, and answers when the file has its name. The \
    load comes from wrk, each record of a run of its own, each client sending its next when the last was answered. Load, \
    servers and disk share one machine. Each round begins with a new server and an empty directory, when the disk has \
    nothing left to write. The bucket behind the spool is in memory on the same machine, and brought to while records \
    come.\n\n\
    The artifact is sent by curl. Runpack hashes it, and answers when it is durable; rclone hashes it (MD5) and does not \
    sync.\n";

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
    /// Everything that is measured of one load. Its files stay until all loads were measured: a file system may search for
    /// new inodes slowly where many were freed a moment ago.
    pub(super) fn load(&self, load: Load, is_quick: bool) -> Result<Vec<Row>> {
        println!("\n=== the server: {load} ===");
        fs::create_dir_all(&self.directory)?;
        self.press(load, is_quick)
    }

    fn press(&self, load: Load, is_quick: bool) -> Result<Vec<Row>> {
        let range = Range {
            servers: Servers::prepare(self)?,
            wrk: Wrk::prepare(self.workspace, &self.directory)?,
            directory: self.directory.join(load.to_string()),
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
