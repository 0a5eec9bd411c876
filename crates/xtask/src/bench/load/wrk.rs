//! The tool that makes the load: wrk, with a script that gives each request a body of its own.
//!
//! Its loop is closed: a client sends its next record when the one before was answered.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::server::{Kind, Server};
use crate::command::{Result, Workspace, read};
use crate::tools;

const SCRIPT: &str = include_str!("load.lua");

/// wrk and its script.
pub(super) struct Wrk<'a> {
    workspace: &'a Workspace,
    script: PathBuf,
}

/// Which runs the records are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Runs {
    Distinct,
    Same,
}

/// How hard a server is pressed, and with what.
pub(super) struct Pressure {
    pub(super) clients: u32,
    pub(super) seconds: u64,
    pub(super) runs: Runs,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Answers {
    /// 201
    pub(super) created: u32,
    /// 200
    pub(super) ok: u32,
    /// Of any other status.
    pub(super) other: u32,
    /// Connections that failed, and answers that did not come.
    pub(super) lost: u32,
    pub(super) time: Duration,
    pub(super) p99: Duration,
}

impl Answers {
    /// How many were answered as they should be, in a second.
    pub(super) fn rate(&self) -> f64 {
        f64::from(self.created.saturating_add(self.ok)) / self.time.as_secs_f64()
    }
}

impl<'a> Wrk<'a> {
    pub(super) fn prepare(workspace: &'a Workspace, directory: &Path) -> Result<Self> {
        tools::ensure_program(workspace, "wrk", "wrk")?;
        let script = directory.join("load.lua");
        fs::write(&script, SCRIPT)?;
        Ok(Self { workspace, script })
    }

    /// Presses the server; run ids begin with `first`.
    pub(super) fn press(
        &self,
        server: &Server,
        pressure: &Pressure,
        first: &str,
    ) -> Result<Answers> {
        let to = match server.kind {
            Kind::Runpack | Kind::Spooling => "records",
            Kind::Rclone => "objects",
        };
        let runs = match pressure.runs {
            Runs::Distinct => "distinct",
            Runs::Same => "same",
        };
        let mut wrk = self.workspace.command("wrk");
        wrk.args(["--threads", "1", "--timeout", "60s", "--connections"])
            .arg(pressure.clients.to_string())
            .arg(format!("--duration={}s", pressure.seconds))
            .arg("--script")
            .arg(&self.script)
            .arg(&server.url)
            .args(["--", to, first, runs, &server.token]);
        let text = read(&mut wrk)?;
        let line = text.lines().find(|line| line.starts_with('{'));
        answers(&serde_json::from_str(line.ok_or("wrk gave no figures")?)?)
    }
}

fn answers(figures: &Value) -> Result<Answers> {
    let number = |name: &str| {
        let number = figures.get(name).and_then(Value::as_u64);
        number.ok_or_else(|| format!("wrk gave no `{name}`"))
    };
    let count = |name| -> Result<u32> { Ok(u32::try_from(number(name)?)?) };
    Ok(Answers {
        created: count("created")?,
        ok: count("ok")?,
        other: count("other")?,
        lost: count("lost")?,
        time: Duration::from_micros(number("microseconds")?),
        p99: Duration::from_micros(number("p99_microseconds")?),
    })
}
