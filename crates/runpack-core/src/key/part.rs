//! The parts that keys are made of beside ids: days, months, logs, and the objects of two layouts.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;
use crate::id::{RunId, StepId};
use crate::name::ArtifactName;
use crate::time::Timestamp;

/// A calendar day, as partitions are named.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub(super) Timestamp);

impl Day {
    /// The day of a time, in UTC.
    pub fn of(time: Timestamp) -> Self {
        let midnight = time
            .unix_seconds()
            .saturating_sub(time.unix_seconds() % 86_400);
        Self(Timestamp::from_unix_seconds(midnight).unwrap_or(time))
    }

    /// The day before; `None` before 1970.
    #[must_use]
    pub fn before(self) -> Option<Self> {
        let seconds = self.0.unix_seconds().checked_sub(86_400)?;
        Timestamp::from_unix_seconds(seconds).ok().map(Self)
    }

    /// The day after; `None` after the year 9999.
    #[must_use]
    pub fn after(self) -> Option<Self> {
        let seconds = self.0.unix_seconds().checked_add(86_400)?;
        Timestamp::from_unix_seconds(seconds).ok().map(Self)
    }
}

impl FromStr for Day {
    type Err = DayError;

    fn from_str(text: &str) -> Result<Self, DayError> {
        format!("{text}T00:00:00Z")
            .parse()
            .map(Self)
            .map_err(|_| DayError)
    }
}

/// Not a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a day is written YYYY-MM-DD, from 1970 to 9999, for example 2026-11-20")]
pub struct DayError;

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.0.date();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl fmt::Debug for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A year and month, as bundles are filed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month {
    pub(super) year: u16,
    pub(super) month: u8,
}

impl Month {
    /// The month of a time, in UTC.
    pub fn of(time: Timestamp) -> Self {
        let (year, month, _) = time.date();
        Self {
            year: u16::try_from(year).unwrap_or(0),
            month: u8::try_from(month).unwrap_or(0),
        }
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}/{:02}", self.year, self.month)
    }
}

impl fmt::Debug for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is written down of a removal by plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeletionObject {
    /// `intent.json`: that it begins, and what goes.
    Intent,
    /// `manifest.json`: the manifest of a bundle, which goes as a whole.
    Manifest,
    /// `receipt.json`: that it has ended.
    Receipt,
    /// `objects/{page}.json`: some of what goes, where that is much.
    Objects {
        /// From 0, without a gap.
        page: u32,
    },
}

impl DeletionObject {
    /// The object of this file name, in some spelling.
    pub(super) fn of_file_name(name: &str) -> Option<Self> {
        match name {
            "intent.json" => Some(Self::Intent),
            "manifest.json" => Some(Self::Manifest),
            "receipt.json" => Some(Self::Receipt),
            _ => {
                let page = name.strip_prefix("objects/")?.strip_suffix(".json")?;
                let page = page.parse().ok()?;
                Some(Self::Objects { page })
            }
        }
    }
}

impl fmt::Display for DeletionObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Intent => f.write_str("intent.json"),
            Self::Manifest => f.write_str("manifest.json"),
            Self::Receipt => f.write_str("receipt.json"),
            Self::Objects { page } => write!(f, "objects/{page:06}.json"),
        }
    }
}

/// A log of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Log {
    /// `runner.log`
    Runner,
    /// `bench.log`
    Bench,
    /// `stdout.log`
    Stdout,
    /// `stderr.log`
    Stderr,
}

impl Log {
    /// All logs.
    pub const ALL: [Self; 4] = [Self::Runner, Self::Bench, Self::Stdout, Self::Stderr];

    /// The file name.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Runner => "runner.log",
            Self::Bench => "bench.log",
            Self::Stdout => "stdout.log",
            Self::Stderr => "stderr.log",
        }
    }

    /// The name without `.log`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Runner => "runner",
            Self::Bench => "bench",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Log {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, LogError> {
        let found = Self::ALL.into_iter().find(|log| log.as_str() == text);
        found.ok_or(LogError)
    }
}

/// Not a log of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the logs of an execution are `runner`, `bench`, `stdout` and `stderr`")]
pub struct LogError;

/// What is known of an execution while it runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LiveObject {
    /// Whose it is and when it was opened: `opening.json`
    Opening,
    /// What was uploaded as an artifact: `uploads/{name}.json`
    Upload {
        /// The SHA-256 of the artifact's name.
        name: Digest,
    },
    /// A part of a log: `logs/{log}/{offset}`
    LogPart {
        /// Which log.
        log: Log,
        /// Where in the log it begins.
        offset: u64,
    },
}

/// An object of a record's service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordObject {
    /// The record: `date=.../run=.../payload.json`
    Payload {
        /// The day that the claim fixed.
        day: Day,
        /// Which run.
        run_id: RunId,
    },
    /// The claim that fixes the day once: `runs/{run_id}.json`
    Claim {
        /// Which run.
        run_id: RunId,
    },
    /// `latest.json`: rebuildable, never believed.
    Latest,
    /// `manifests/date=....jsonl`: rebuildable, never believed.
    Daily {
        /// Which day.
        day: Day,
    },
}

/// An object of a pipeline's run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PipelineObject {
    /// The run's `manifest.json`
    Manifest,
    /// An artifact of the run's own pack: `plan.json`, `metadata.json` or `events/audit_trail.jsonl`.
    Artifact {
        /// Which; the others of a [`RunPart`](crate::manifest::RunPart) lie elsewhere.
        name: ArtifactName,
    },
    /// `steps/{step_id}/manifest.json`
    StepManifest {
        /// Which step.
        step_id: StepId,
    },
    /// `steps/{step_id}/inputs/...` or `.../outputs/...`
    StepArtifact {
        /// Which step.
        step_id: StepId,
        /// The artifact; its name starts with `inputs/` or `outputs/`.
        name: ArtifactName,
    },
}

/// The key below the run's.
impl fmt::Display for PipelineObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest => f.write_str("manifest.json"),
            Self::Artifact { name } => write!(f, "{name}"),
            Self::StepManifest { step_id } => write!(f, "steps/{step_id}/manifest.json"),
            Self::StepArtifact { step_id, name } => write!(f, "steps/{step_id}/{name}"),
        }
    }
}
