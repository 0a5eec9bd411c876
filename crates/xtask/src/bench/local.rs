//! Runpack on files of this machine: exporting, verifying, bundling; and what a pack of them is at a bucket.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::contest::{Contender, Contest, Row};
use super::workload::{self, Shape, Workload};
use super::{Bench, peers, remove};
use crate::command::{self, Result, read};

/// The most resident memory that a local job may need.
const MEMORY_MIB_MAX: u64 = 64;

/// A pack in a file store.
pub(super) struct Pack {
    pub(super) directory: PathBuf,
    pub(super) id: String,
}

impl Bench<'_> {
    /// Everything that is measured on one workload; its files are gone afterwards.
    pub(super) fn workload(&self, workload: &Workload) -> Result<Vec<Row>> {
        println!("\n=== {workload} ===");
        remove(&self.directory)?;
        let source = self.directory.join("source");
        workload.generate(&source)?;

        let mut rows = Vec::new();
        if workload.shape == Shape::Small {
            rows.extend(self.export(workload, &source)?);
        }
        let pack = self.make_pack(&source)?;
        fs::remove_dir_all(&source)?;
        if matches!(workload.shape, Shape::Tiny | Shape::Medium | Shape::Large) {
            rows.extend(self.at_a_bucket(workload, &pack)?);
        }
        if matches!(workload.shape, Shape::Tiny | Shape::Medium) {
            remove(&self.directory)?;
            return Ok(rows);
        }
        rows.extend(self.verify(workload, &pack)?);
        if workload.shape == Shape::Small {
            rows.extend(self.bundle(workload, &pack)?);
        }
        remove(&self.directory)?;
        Ok(rows)
    }

    fn export_line(source: &Path, store: &Path) -> String {
        format!(
            "export {0} --tenant bench --namespace bench --scenario bench --run-id bench \
             --spec {0}/spec.json --to file:{1} --created-at 2026-01-01T00:00:00Z --json",
            source.display(),
            store.display()
        )
    }

    fn make_pack(&self, source: &Path) -> Result<Pack> {
        let line = Self::export_line(source, &self.directory.join("store"));
        let exported: Value = serde_json::from_str(&read(&mut self.runpack(&line))?)?;
        let member = |name: &str| {
            let text = exported
                .get(name)
                .and_then(Value::as_str)
                .map(str::to_owned);
            text.ok_or_else(|| format!("`runpack export --json` gave no `{name}`"))
        };
        Ok(Pack {
            directory: self.workspace.root.join(member("pack")?),
            id: member("pack_id")?,
        })
    }

    /// Export to a durable directory, against a loop that syncs each file and its directory.
    fn export(&self, workload: &Workload, source: &Path) -> Result<Vec<Row>> {
        let out = self.directory.join("out");
        let contenders = vec![
            Contender::new("runpack", self.runpack(&Self::export_line(source, &out)))
                .cleaning(&out),
            Contender::new(
                "a loop that syncs each file",
                peers::sync_loop(source, &out),
            )
            .cleaning(&out)
            .wanted(8.0),
            Contender::new(
                "cp and one sync (hashes nothing)",
                peers::copy_and_sync(source, &out),
            )
            .cleaning(&out),
        ];
        self.hold(&format!("export {workload}"), contenders)
    }

    fn verify(&self, workload: &Workload, pack: &Pack) -> Result<Vec<Row>> {
        let line = format!(
            "verify {} --expect-pack-id {}",
            pack.directory.display(),
            pack.id
        );
        let list = self.directory.join("files");
        let files = workload::list(&pack.directory, &list)?;
        let wanted = workload.shape.wanted();
        let mut contenders = vec![Contender::new("runpack", self.runpack(&line))];
        if workload.shape == Shape::Single {
            contenders.push(Contender::new("one openssl", peers::openssl(&list, 1, 1)).wanted(1.9));
        } else {
            let processes = self.peers.processes;
            // As many files a process as keep all processes busy to the end.
            let at_once = files.div_ceil(processes.saturating_mul(8)).clamp(1, 64);
            let name = format!("openssl, {processes} processes");
            contenders.push(
                Contender::new(name, peers::openssl(&list, processes, at_once)).wanted(wanted),
            );
        }
        if matches!(workload.shape, Shape::Small | Shape::Mixed | Shape::Large) {
            let bag = self.directory.join("bag");
            self.peers.make_bag(&pack.directory, &bag)?;
            let bagit = Contender::new("bagit", self.peers.bagit(&bag));
            contenders.push(if workload.shape == Shape::Small {
                bagit.wanted(2.5)
            } else {
                bagit
            });
        }
        let repository = self.directory.join("ocfl");
        if let Some(rocfl) = self.peers.rocfl(&pack.directory, &repository)? {
            contenders.push(Contender::new("rocfl", rocfl));
        }
        self.hold(&format!("verify {workload}"), contenders)
    }

    /// Writing and reading a bundle, against stock tar and gzip, which verify nothing.
    fn bundle(&self, workload: &Workload, pack: &Pack) -> Result<Vec<Row>> {
        let (bundle, archive) = (
            self.directory.join("b.tar.gz"),
            self.directory.join("t.tar.gz"),
        );
        let write = format!("bundle {} {}", pack.directory.display(), bundle.display());
        let contenders = vec![
            Contender::new("runpack", self.runpack(&write)).cleaning(&bundle),
            Contender::new("tar with gzip", peers::tar(&pack.directory, &archive))
                .cleaning(&archive),
        ];
        // Compressing takes long, for everybody: two rounds have to do.
        let rounds = self.rounds.min(2);
        let title = format!("write a bundle, {workload}");
        let mut rows = Contest {
            title: &title,
            contenders,
            rounds,
        }
        .hold(MEMORY_MIB_MAX)?;

        command::run(&mut self.runpack(&write))?;
        let verify = format!("verify {} --expect-pack-id {}", bundle.display(), pack.id);
        let contenders = vec![
            Contender::new("runpack", self.runpack(&verify)),
            Contender::new("tar with gzip (checks nothing)", peers::untar(&bundle)),
        ];
        rows.extend(self.hold(&format!("verify a bundle, {workload}"), contenders)?);
        Ok(rows)
    }

    fn hold(&self, title: &str, contenders: Vec<Contender>) -> Result<Vec<Row>> {
        Contest {
            title,
            contenders,
            rounds: self.rounds,
        }
        .hold(MEMORY_MIB_MAX)
    }
}
