//! Residue: what exports left behind that ended before their commit, or lost against another.
//!
//! It harms nobody and may be removed when it is old, by the store's own clock. Invariants (threat W22):
//!
//! - what a manifest lists is never removed: every version of the manifest is asked for by its key, right
//!   before, never by a listing; where one of them cannot be read, its whole run stays;
//! - a run in which anything is younger than the age stays whole: somebody may be at work there. An export gives
//!   up before its [`EXPORT_SECONDS_MAX`], which is less than any age, and looks for its artifacts again when it
//!   has committed;
//! - only what the run layout, the probes of `store status` and unfinished uploads leave is residue. Bundles,
//!   records, executions, references and whatever Runpack does not know stay.

use std::collections::BTreeSet;

use futures_util::StreamExt as _;

use crate::digest::Digest;
use crate::key::{KeyPrefix, KeyTooLong, Location, ObjectKey};
use crate::limits::Limits;
use crate::manifest::{Manifest, Subject};
use crate::name::ArtifactName;
use crate::store::{Holding, Housekeeping, ObjectRef, ObjectStat, State, StoreError, read_capped};
use crate::time::Timestamp;

/// How long an export may take from its start to its commit: 20 hours.
pub const EXPORT_SECONDS_MAX: u64 = 20 * 60 * 60;
/// The youngest residue that may be removed: 24 hours.
pub const AGE_SECONDS_MIN: u64 = 24 * 60 * 60;
/// How much of one run is held in memory; what is beyond that stays until the next time.
const HOLDINGS_OF_RUN_MAX: usize = 1_000_000;

/// Whether residue is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Only told.
    DryRun,
    /// Removed.
    Remove,
}

/// Why something is residue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its run has no manifest: the export never committed.
    NotCommitted,
    /// Its run has a manifest that does not list it: the export lost against another.
    NotListed,
    /// An upload in parts that was never completed.
    Unfinished,
    /// A probe of what the store does.
    Probe,
}

impl Why {
    /// The name in results.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotCommitted => "not_committed",
            Self::NotListed => "not_listed",
            Self::Unfinished => "unfinished_upload",
            Self::Probe => "probe",
        }
    }
}

/// One piece of residue and what became of it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Residue {
    /// What it is.
    pub holding: Holding,
    /// Why.
    pub why: Why,
    /// Whether it was removed, and if not why; a dry run removes nothing.
    pub removed: Result<bool, StoreError>,
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Swept {
    /// Objects, versions and uploads that were looked at.
    pub looked: u64,
    /// How many of them are residue that is old enough.
    pub residue: u64,
    /// Their bytes.
    pub residue_bytes: u64,
    /// How many were removed.
    pub removed: u64,
    /// How many could not be removed: locked, for one.
    pub failed: u64,
    /// Runs that stayed because something in them is young, or a manifest could not be read.
    pub runs_kept: u64,
}

/// Why a sweep ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SweepError {
    /// The age is so young that an export at work could be hit.
    #[error("residue is removed when it is at least 24 hours old, seconds=`{seconds}`")]
    TooYoung {
        /// The age that was asked for.
        seconds: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key that cannot be.
    #[error(transparent)]
    Key(#[from] KeyTooLong),
}

/// Looks through the store for residue that is at least `age_seconds` old and tells each to `tell`.
///
/// # Errors
/// [`SweepError::TooYoung`]; the store could not be looked through. What cannot be removed is told and ends nothing.
pub async fn sweep(
    store: &dyn Housekeeping,
    age_seconds: u64,
    mode: Mode,
    limits: &Limits,
    tell: &mut (dyn FnMut(Residue) + Send),
) -> Result<Swept, SweepError> {
    if age_seconds < AGE_SECONDS_MIN {
        return Err(SweepError::TooYoung {
            seconds: age_seconds,
        });
    }
    let now = store.now().await?.unix_seconds();
    let oldest_kept = Timestamp::from_unix_seconds(now.saturating_sub(age_seconds));
    let mut sweep = Sweep {
        store,
        mode,
        limits,
        tell,
        // An age from before 1970 leaves everything alone.
        born_before: oldest_kept.unwrap_or(Timestamp::EPOCH),
        swept: Swept::default(),
    };
    let mut holdings = store.holdings(&KeyPrefix::all());
    let mut run: Option<Run> = None;
    while let Some(holding) = holdings.next().await {
        let holding = holding?;
        sweep.swept.looked = sweep.swept.looked.saturating_add(1);
        let location = Location::parse(&holding.key);
        if holding.state == State::Upload {
            if location.is_some() && sweep.is_old(&holding) {
                sweep.dispose(holding, Why::Unfinished).await;
            }
            continue;
        }
        match location {
            Some(Location::Probe { .. }) if sweep.is_old(&holding) => {
                sweep.dispose(holding, Why::Probe).await;
            }
            Some(location @ Location::Run { .. }) => {
                let subject = subject_of(&location);
                if run
                    .as_ref()
                    .is_none_or(|run| Some(&run.subject) != subject.as_ref())
                {
                    if let Some(done) = run.take() {
                        sweep.run(done).await?;
                    }
                    run = subject.map(Run::of);
                }
                if let Some(run) = &mut run {
                    run.is_young |= !sweep.is_old(&holding);
                    run.add(holding, location);
                }
            }
            _ => {}
        }
    }
    drop(holdings);
    if let Some(done) = run {
        sweep.run(done).await?;
    }
    Ok(sweep.swept)
}

/// What lies in the place of one run.
struct Run {
    subject: Subject,
    is_young: bool,
    artifacts: Vec<(Holding, (Digest, ArtifactName))>,
}

impl Run {
    fn of(subject: Subject) -> Self {
        Self {
            subject,
            is_young: false,
            artifacts: Vec::new(),
        }
    }

    fn add(&mut self, holding: Holding, location: Location) {
        if let Location::Run {
            artifact: Some(artifact),
            ..
        } = location
            && holding.state == State::Object
            && self.artifacts.len() < HOLDINGS_OF_RUN_MAX
        {
            self.artifacts.push((holding, artifact));
        }
    }
}

fn subject_of(location: &Location) -> Option<Subject> {
    let mut manifest = location.clone();
    if let Location::Run { artifact, .. } = &mut manifest {
        *artifact = None;
    }
    manifest.manifest_subject()
}

struct Sweep<'a> {
    store: &'a dyn Housekeeping,
    mode: Mode,
    limits: &'a Limits,
    tell: &'a mut (dyn FnMut(Residue) + Send),
    born_before: Timestamp,
    swept: Swept,
}

/// What the manifests of a run list.
enum Listed {
    /// No version of a manifest is there.
    Nothing,
    /// These.
    These(BTreeSet<(Digest, ArtifactName)>),
    /// A version could not be understood.
    Unknown,
}

impl Listed {
    /// Why an artifact is residue, if it is for sure.
    fn leaves_out(&self, artifact: &(Digest, ArtifactName)) -> Option<Why> {
        match self {
            Self::Nothing => Some(Why::NotCommitted),
            Self::These(listed) => (!listed.contains(artifact)).then_some(Why::NotListed),
            Self::Unknown => None,
        }
    }
}

impl Sweep<'_> {
    fn is_old(&self, holding: &Holding) -> bool {
        holding.modified < self.born_before
    }

    async fn run(&mut self, run: Run) -> Result<(), SweepError> {
        if run.artifacts.is_empty() {
            return Ok(());
        }
        if run.is_young {
            self.swept.runs_kept = self.swept.runs_kept.saturating_add(1);
            return Ok(());
        }
        let key = Location::manifest(&run.subject).key()?;
        let mut versions = self.store.versions(&key).await?;
        let mut listed = self.listed(&key, &versions).await;
        for (holding, artifact) in run.artifacts {
            // A manifest may come while residue is removed: it is asked for before every single removal, and read
            // again where it is not what it was.
            if self.mode == Mode::Remove && listed.leaves_out(&artifact).is_some() {
                let now = self.store.versions(&key).await?;
                if now != versions {
                    listed = self.listed(&key, &now).await;
                    versions = now;
                }
            }
            if matches!(listed, Listed::Unknown) {
                self.swept.runs_kept = self.swept.runs_kept.saturating_add(1);
                return Ok(());
            }
            if let Some(why) = listed.leaves_out(&artifact) {
                self.dispose(holding, why).await;
            }
        }
        Ok(())
    }

    async fn listed(&self, key: &ObjectKey, versions: &[ObjectStat]) -> Listed {
        if versions.is_empty() {
            return Listed::Nothing;
        }
        let mut listed = BTreeSet::new();
        for version in versions {
            let object = ObjectRef {
                key: key.clone(),
                version: version.version.clone(),
            };
            let read = read_capped(self.store, &object, self.limits.manifest_bytes_max).await;
            let manifest = match read {
                Ok(Some(bytes)) => Manifest::parse(&bytes, self.limits).ok(),
                Ok(None) | Err(_) => None,
            };
            let Some(manifest) = manifest else {
                return Listed::Unknown;
            };
            let artifacts = manifest.artifacts().iter();
            listed.extend(artifacts.map(|one| (one.commitment(), one.name().clone())));
        }
        Listed::These(listed)
    }

    async fn dispose(&mut self, holding: Holding, why: Why) {
        self.swept.residue = self.swept.residue.saturating_add(1);
        self.swept.residue_bytes = self.swept.residue_bytes.saturating_add(holding.bytes);
        let removed = match self.mode {
            Mode::DryRun => Ok(false),
            Mode::Remove => self.store.remove(&holding).await.map(|()| true),
        };
        match &removed {
            Ok(true) => self.swept.removed = self.swept.removed.saturating_add(1),
            Ok(false) => {}
            Err(_) => self.swept.failed = self.swept.failed.saturating_add(1),
        }
        (self.tell)(Residue {
            holding,
            why,
            removed,
        });
    }
}

#[cfg(test)]
mod tests;
