//! Runpack measured beside other tools, at the same work, in turn.
//!
//! Absolute times say more about the machine than about the program, so what counts is the ratio of
//! medians of runs that took turns. Timings never decide a test; this command only reports.

mod contest;
mod index;
mod load;
mod local;
mod machine;
mod null_server;
mod page;
mod part;
mod peers;
mod store;
mod workload;

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use self::contest::Row;
use self::part::{Part, Section};
use self::peers::Peers;
use self::workload::Workload;
use crate::command::{self, Result, Workspace};
use crate::tools;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A tenth of the data and fewer rounds: to try the benchmark, not to quote it
    #[arg(long)]
    quick: bool,
    /// Only this
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Which other tools are measured
    #[arg(long, value_enum, default_value_t = PeerSet::Usual)]
    peers: PeerSet,
    /// Where the files go, up to 20 GiB at a time [default: target/bench]
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
    /// How often each contender runs [default: 5, with --quick 3]
    #[arg(long)]
    rounds: Option<usize>,
    /// Write the sections that were measured as a whole to Docs/performance.md
    #[arg(long)]
    write: bool,
}

/// Which other tools are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PeerSet {
    /// openssl and bagit
    Usual,
    /// these and rocfl, which takes minutes to build
    All,
}

/// What every part of the benchmark needs.
struct Bench<'a> {
    workspace: &'a Workspace,
    runpack: PathBuf,
    peers: Peers,
    directory: PathBuf,
    rounds: usize,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result {
    if options.write && !matches!(options.only, None | Some(Part::Whole(_) | Part::Index(_))) {
        return Err(
            "--write renews whole sections: choose `--only files`, `--only server` or `--only catalog`, or nothing"
                .into(),
        );
    }
    let bench = prepare(workspace, options)?;
    for section in Section::ALL {
        remove(&bench.directory)?;
        let measured = bench.section(section, options);
        // After the figures are told: a hundred thousand files take their time.
        remove(&bench.directory)?;
        measured?;
    }
    Ok(())
}

fn prepare<'a>(workspace: &'a Workspace, options: &Options) -> Result<Bench<'a>> {
    for (program, package) in [
        ("openssl", "openssl"),
        ("python3", "python3"),
        ("xargs", "findutils"),
        ("curl", "curl"),
    ] {
        tools::ensure_program(workspace, program, package)?;
    }
    // Both at once: built one after the other, their dependencies would be built twice.
    let line = "build --release --package runpack-cli --package runpack-testing";
    command::run(&mut workspace.cargo(line))?;
    let directory = options
        .directory
        .clone()
        .unwrap_or_else(|| workspace.root.join("target/bench"));
    Ok(Bench {
        workspace,
        runpack: workspace.target.join("release/runpack"),
        peers: Peers::install(workspace, options.peers == PeerSet::All)?,
        directory: std::path::absolute(directory)?,
        rounds: options
            .rounds
            .unwrap_or(if options.quick { 3 } else { 5 })
            .max(1),
    })
}

impl Bench<'_> {
    /// Measures what is chosen of a section, and tells the figures.
    fn section(&self, section: Section, options: &Options) -> Result {
        let mut rows = Vec::new();
        for part in section.parts(options.only) {
            rows.extend(self.part(part, options.quick)?);
        }
        if rows.is_empty() {
            return Ok(());
        }
        let table = contest::table(&rows);
        println!("\n{table}");
        if options.write {
            page::write(self, options, section, &table)?;
        }
        Ok(())
    }

    fn part(&self, part: Part, is_quick: bool) -> Result<Vec<Row>> {
        match part {
            Part::Whole(_) => Ok(Vec::new()),
            Part::Files(shape) => self.workload(&Workload::new(shape, is_quick)),
            Part::Server(load) => self.load(load, is_quick),
            Part::Index(index::Index::Catalog) => self.index(is_quick),
        }
    }

    /// Runpack with the words of the line, and a state directory of its own.
    fn runpack(&self, line: &str) -> std::process::Command {
        let mut runpack = self.workspace.command(&self.runpack);
        runpack
            .args(line.split_whitespace())
            .env("RUNPACK_STATE_DIR", self.directory.join("state"));
        runpack
    }
}

/// Removes a file or a directory with all that is in it, if it is there.
fn remove(path: &Path) -> Result {
    if path.is_dir() {
        fs::remove_dir_all(path)?;
    } else if path.exists() {
        fs::remove_file(path)?;
    }
    Ok(())
}
