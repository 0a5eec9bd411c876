//! Reading a pack through a region and its replicas, and saying what came from where.
//!
//! A report that objects to what a replica gave says nothing of the pack: the replica is set aside, named with what was
//! wrong, and the pack is read again without it. Invariants: a verdict never rests on objections to a replica; each
//! further reading has one source less, or is one of a bounded number after a source went away.

use std::sync::Arc;

use runpack_core::commitment::CHUNK_BYTES;
use runpack_core::key::{Location, ObjectKey};
use runpack_core::manifest::Subject;
use runpack_core::store::failover::{FailoverReader, Role, SourceAccount};
use runpack_core::verify::{Finding, Verdict, VerifyReport};
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::Failure;
use crate::storage::Storage;
use crate::table::{count, safe, size};
use crate::target::{BundleTarget, FilesAt, FilesTarget, Target};

/// How often a pack is read again after a source went away in the middle.
const AGAIN_MAX: u32 = 3;

/// A replica, and what was wrong with what it gave.
struct Blamed {
    replica: Arc<str>,
    why: String,
}

/// Reads a target with `attempt` until the report rests on nothing that a replica gave wrongly.
///
/// # Errors
/// As `attempt`; or the pack is found nowhere any more.
pub(crate) fn settle<T>(
    context: &Context,
    target: &Target,
    mut attempt: impl FnMut(&Target) -> Result<(VerifyReport, T), Failure>,
) -> Result<(VerifyReport, T), Failure> {
    let Some(failover) = target.failover() else {
        return attempt(target);
    };
    let mut again: Option<Target> = None;
    let mut left = AGAIN_MAX;
    loop {
        let failures = failover.failures();
        let (mut report, made) = attempt(again.as_ref().unwrap_or(target))?;
        let blamed = blame(target, failover, &report);
        for one in &blamed {
            failover.set_aside(&one.replica, &one.why);
        }
        let went_away = report.verdict == Verdict::Undecided && failover.failures() > failures;
        if blamed.is_empty() && !(went_away && left > 0) {
            report.notes.extend(notes(&failover.account()));
            return Ok((report, made));
        }
        if blamed.is_empty() {
            left = left.saturating_sub(1);
        }
        let found = target.found_again(context);
        again = Some(found.map_err(|failure| failure.with_details(notes(&failover.account())))?);
    }
}

/// The replicas whose objects the report objects to. What could not be read is nobody's fault.
fn blame(target: &Target, failover: &FailoverReader, report: &VerifyReport) -> Vec<Blamed> {
    let mut blamed: Vec<Blamed> = Vec::new();
    let objections = report
        .findings
        .iter()
        .filter(|one| !one.code.is_undecided());
    for finding in objections {
        let Some((key, starts)) = object_of(target, report, finding) else {
            continue;
        };
        for replica in failover.blame(&key, &starts) {
            if blamed.iter().all(|known| known.replica != replica) {
                let about = finding.about.as_deref().unwrap_or(key.as_str());
                let why = format!("{} {about}: {}", finding.code, finding.detail);
                blamed.push(Blamed { replica, why });
            }
        }
    }
    blamed
}

/// The object that a finding is about, and where its damaged parts begin.
fn object_of(
    target: &Target,
    report: &VerifyReport,
    finding: &Finding,
) -> Option<(ObjectKey, Vec<u64>)> {
    let subject: &Subject = match target {
        Target::Bundle(BundleTarget::Stored { object, .. }) => {
            return Some((object.key().clone(), Vec::new()));
        }
        Target::Bundle(_) => return None,
        Target::Files(files) => files.subject()?,
    };
    let named = finding.about.as_deref();
    let artifact = named.and_then(|name| {
        let manifest = report.manifest.as_deref()?;
        let mut artifacts = manifest.artifacts().iter();
        artifacts.find(|artifact| artifact.name().as_str() == name)
    });
    let location = match artifact {
        Some(artifact) => Location::artifact(subject, artifact.name(), artifact.commitment()),
        None => Location::manifest(subject),
    };
    let starts = finding.damaged_chunks.iter();
    let starts = starts.map(|chunk| chunk.saturating_mul(CHUNK_BYTES));
    Some((location.key().ok()?, starts.collect()))
}

impl Target {
    /// How it is read with replicas, where it is.
    pub(crate) fn failover(&self) -> Option<&FailoverReader> {
        self.storage().and_then(Storage::failover)
    }

    fn storage(&self) -> Option<&Storage> {
        match self {
            Self::Files(FilesTarget {
                at: FilesAt::Store { storage, .. },
                ..
            })
            | Self::Bundle(BundleTarget::Stored { storage, .. }) => Some(storage),
            _ => None,
        }
    }
}

/// What was read from where, in words; nothing where all came from the region itself.
fn notes(account: &[SourceAccount]) -> Vec<String> {
    if account.iter().all(is_as_ever) {
        return Vec::new();
    }
    account.iter().filter_map(note).collect()
}

fn is_as_ever(source: &SourceAccount) -> bool {
    source.failures == 0
        && source.set_aside.is_none()
        && (source.role == Role::Primary || !source.gave_something())
}

fn note(source: &SourceAccount) -> Option<String> {
    let mut said = Vec::new();
    if source.objects > 0 {
        let readings = count(source.objects, "reading");
        said.push(format!("{readings}, {}", size(source.bytes)));
    }
    if source.listings > 0 {
        said.push(count(source.listings, "listing"));
    }
    if source.failures > 0 {
        let last = source.last_failure.as_deref().unwrap_or_default();
        said.push(format!("did not answer ({last})"));
    }
    if let Some(why) = &source.set_aside {
        said.push(format!(
            "is set aside, since what it has is not what it should be ({why})"
        ));
    }
    let who = match source.role {
        Role::Primary => "region",
        Role::Replica => "replica",
    };
    (!said.is_empty()).then(|| format!("{who} `{}`: {}", source.name, said.join("; ")))
}

/// What was read from where: the member `read_from` of results.
pub(crate) fn to_json(failover: &FailoverReader) -> Value {
    let sources = failover.account().into_iter().map(|source| {
        json!({
            "name": source.name,
            "role": source.role,
            "readings": source.objects,
            "bytes": source.bytes,
            "listings": source.listings,
            "failures": source.failures,
            "last_failure": source.last_failure,
            "set_aside": source.set_aside,
        })
    });
    Value::Array(sources.collect())
}

/// Adds `read_from` to a result, where there are replicas.
pub(crate) fn add_to(result: &mut Value, failover: Option<&FailoverReader>) {
    if let (Some(failover), Some(members)) = (failover, result.as_object_mut()) {
        members.insert("read_from".to_owned(), to_json(failover));
    }
}

/// Says what did not come from the region itself, for results that have no notes.
pub(crate) fn remark(context: &Context, failover: Option<&FailoverReader>) {
    for note in failover
        .map(|failover| notes(&failover.account()))
        .unwrap_or_default()
    {
        context.output.remark(&safe(&note));
    }
}

/// Whether what was looked for and not found may be there all the same: a replica was listed in the region's place.
pub(crate) fn may_lack(failover: Option<&FailoverReader>) -> bool {
    let account = failover.map(FailoverReader::account).unwrap_or_default();
    account
        .iter()
        .any(|source| source.role == Role::Replica && source.listings > 0)
}
