//! The catalog, filled with a million artifacts and asked.
//!
//! No other tool keeps such an index of such packs, so what is told is figures and plans, and not ratios.

use std::fs;
use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use serde_json::Value;

use super::contest::{Contender, Row, median, memory_mib};
use super::{Bench, remove};
use crate::command::{self, Result, read, stopwatch};

/// The most resident memory that filling may need.
const MEMORY_MIB_MAX: u64 = 512;
const ARTIFACTS: u64 = 100;

/// Every pack expires, so that every column and index has something.
const POLICIES: &str =
    "runpacks: {retention: {policies: [{name: quarter, kind: run, keep_for: 90d}]}}\n";

/// What the figures are of, for the page.
pub(super) const TEXT: &str = "\
    What runs: `runpack catalog` and `runpack lineage` on a catalog in SQLite, each time as a process of its own, which \
    takes a part of each figure. The packs are manifests in a directory and nothing else: a catalog reads no more. Beside \
    each question stands how SQLite answers it (`catalog search --explain`). Rebuilding reads every manifest and writes \
    all of it in one transaction; an update that finds nothing new lists the store. An audit reads every byte, of packs \
    that have theirs, on all cores.\n";

/// What is measured of the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Index {
    /// A catalog of a million artifacts: filling it, and asking it
    Catalog,
}

impl Bench<'_> {
    pub(super) fn index(&self, is_quick: bool) -> Result<Vec<Row>> {
        let packs: u64 = if is_quick { 1_000 } else { 10_000 };
        println!("\n=== the catalog ===");
        let store = self.directory.join("packs");
        fs::create_dir_all(&store)?;
        let program = self.workspace.target.join("release/runpack-manifests");
        let mut make = self.workspace.command(program);
        make.arg(&store).args(["--packs", &packs.to_string()]);
        make.args(["--artifacts", &ARTIFACTS.to_string()]);
        command::run(&mut make)?;
        let mut rows = self.filled(&store, packs.saturating_mul(ARTIFACTS))?;
        rows.extend(self.asked()?);
        rows.push(self.audited(packs.div_ceil(5))?);
        Ok(rows)
    }

    /// Packs of ten small artifacts, all of them verified.
    fn audited(&self, packs: u64) -> Result<Row> {
        const ARTIFACTS: u64 = 10;
        let store = self.directory.join("audited");
        let program = self.workspace.target.join("release/runpack-manifests");
        let mut make = self.workspace.command(program);
        make.arg(&store).args(["--packs", &packs.to_string()]);
        make.args(["--artifacts", &ARTIFACTS.to_string(), "--contents"]);
        command::run(&mut make)?;
        let run = format!("audit run file:{} --allow-unpinned", store.display());
        let mut times = Vec::new();
        for _ in 0..self.rounds {
            times.push(timed(&mut self.catalog(&run))?);
        }
        let rate = f64::from(u32::try_from(packs)?) / middle(&times);
        println!("audit                        {rate:>9.0} packs a second");
        let job = format!("{packs} packs of {ARTIFACTS} artifacts of 1 KiB");
        Ok(Row::told(
            &job,
            "audit run, a directory and SQLite",
            format!("{rate:.0} packs a second"),
        ))
    }

    fn catalog(&self, line: &str) -> std::process::Command {
        let mut command = self.runpack(line);
        command.env("RUNPACK_CATALOG", self.address());
        command
    }

    fn address(&self) -> String {
        format!("sqlite:{}", self.file().display())
    }

    fn file(&self) -> std::path::PathBuf {
        self.directory.join("catalog.db")
    }

    fn filled(&self, store: &Path, artifacts: u64) -> Result<Vec<Row>> {
        let policies = self.directory.join("policies.yaml");
        fs::write(&policies, POLICIES)?;
        let rebuild = || {
            let (store, policies) = (store.display(), policies.display());
            self.catalog(&format!("catalog rebuild file:{store} --config {policies}"))
        };
        let job = format!("{artifacts} artifacts");
        let mut times = Vec::new();
        for _ in 0..self.rounds {
            for ending in ["", "-wal", "-shm"] {
                remove(&self.directory.join(format!("catalog.db{ending}")))?;
            }
            times.push(timed(&mut rebuild())?);
        }
        let seconds = middle(&times);
        let rate = f64::from(u32::try_from(artifacts)?) / seconds;
        println!("rebuild                      {seconds:>9.3} s, {rate:.0} artifacts a second");
        let again = timed(&mut rebuild())?.as_secs_f64();
        let export = || read(&mut self.catalog("catalog export"));
        let first = export()?;
        read(&mut rebuild())?;
        if export()? != first {
            return Err("a catalog that was rebuilt is another".into());
        }
        let update = format!("catalog update file:{}", store.display());
        let update = timed(&mut self.catalog(&update))?.as_secs_f64();
        let check = format!("catalog check file:{}", store.display());
        let check = timed(&mut self.catalog(&check))?.as_secs_f64();
        let exported = timed(&mut self.catalog("catalog export"))?.as_secs_f64();
        let memory = memory_mib(&mut Contender::new("runpack", rebuild()))?;
        let mib = fs::metadata(self.file())?.len() >> 20;
        let told = |what: &str, value: String| Row::told(&job, what, value);
        Ok(vec![
            told(
                "rebuild, into an empty catalog",
                format!("{seconds:.1} s, {rate:.0} a second"),
            ),
            told("rebuild, in the place of itself", format!("{again:.1} s")),
            Row::kept(
                &job,
                "exported after a rebuild",
                "the same bytes".into(),
                "the same bytes".into(),
            ),
            told("update that finds nothing new", format!("{update:.1} s")),
            told("check", format!("{check:.1} s")),
            told("export", format!("{exported:.1} s")),
            told("size of the file", format!("{mib} MiB")),
            Row::bounded(
                &job,
                "resident memory of a rebuild",
                memory,
                " MiB",
                MEMORY_MIB_MAX,
            ),
        ])
    }

    fn asked(&self) -> Result<Vec<Row>> {
        let one = read(&mut self.catalog("catalog search --run-id run-0000777 --limit 1 --json"))?;
        let one: Value = serde_json::from_str(one.lines().next().unwrap_or_default())?;
        let text = |member: &str| {
            let value = one
                .get("artifact")
                .and_then(|artifact| artifact.get(member));
            value.and_then(Value::as_str).ok_or("nothing was found")
        };
        let (bytes, pack) = (text("commitment")?, text("pack_id")?);
        let shared = read(&mut self.catalog("catalog duplicates --limit 1 --json"))?;
        let shared: Value = serde_json::from_str(&shared)?;
        let shared = shared
            .pointer("/costliest/0/commitment")
            .and_then(Value::as_str);
        let shared = shared.ok_or("nothing is there more than once")?;
        let mut rows = Vec::new();
        for (what, question) in [
            ("the newest 100", "catalog search".to_owned()),
            ("of a tenant", "catalog search --tenant tenant-3".to_owned()),
            (
                "of a tenant and a kind",
                "catalog search --tenant tenant-3 --kind model".to_owned(),
            ),
            ("of a run", "catalog search --run-id run-0000777".to_owned()),
            (
                "of a scenario",
                "catalog search --scenario scenario-7".to_owned(),
            ),
            (
                "with a label",
                "catalog search --label team=team-3".to_owned(),
            ),
            (
                "with a label that none has",
                "catalog search --label team=none".to_owned(),
            ),
            (
                "with bytes that one has",
                format!("catalog search --digest sha256:{bytes}"),
            ),
            (
                "with bytes that every pack has",
                format!("catalog search --digest sha256:{shared}"),
            ),
            (
                "what of a tenant expires in a month",
                "catalog search --tenant tenant-3 --expires-after 2024-02-20T00:00:00Z \
                 --expires-before 2024-03-20T00:00:00Z"
                    .to_owned(),
            ),
            ("what a pack came from", format!("lineage up {pack}")),
            ("what came from a pack", format!("lineage down {pack}")),
            (
                "everything that is there twice",
                "catalog duplicates".to_owned(),
            ),
            (
                "what each tenant costs a month",
                "catalog cost --by tenant".to_owned(),
            ),
        ] {
            let mut times = Vec::new();
            for _ in 0..self.rounds {
                times.push(timed(&mut self.catalog(&question))?);
            }
            let plan = if question.starts_with("catalog search") {
                let plan = read(&mut self.catalog(&format!("{question} --explain")))?;
                plan.lines().collect::<Vec<_>>().join("; ")
            } else {
                String::new()
            };
            let told = format!("{:.0} ms", middle(&times) * 1_000.0);
            println!("{what:<36} {told:>9}  {plan}");
            rows.push(Row::told(what, &plan, told));
        }
        Ok(rows)
    }
}

fn timed(command: &mut std::process::Command) -> Result<Duration> {
    let watch = stopwatch();
    read(command)?;
    Ok(watch.elapsed())
}

fn middle(times: &[Duration]) -> f64 {
    median(times.iter().map(Duration::as_secs_f64))
}
