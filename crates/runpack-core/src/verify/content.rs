//! Every byte of every artifact against its commitment, on every worker.
//!
//! A job is a handful of chunks, of one large artifact or of many small ones; each is a stream of its
//! own and all are hashed side by side ([`update_many`]). A worker holds one piece of each of its
//! streams, so memory is workers x lanes x piece, whatever the pack holds. One large artifact is many
//! jobs, so it keeps every worker busy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use super::report::chain;
use super::{Code, Container, Finding, Findings, Level, VerifyOptions};
use crate::commitment::{CHUNK_BYTES, chunk_count, chunk_len, len_u64};
use crate::digest::{Digest, Hasher, LANES, update_many};
use crate::manifest::{Artifact, Manifest};
use crate::progress::Progress;
use crate::store::{ObjectBody, StoreError};
use crate::workers::{self, Stop};

/// How many damaged chunks of one artifact are named.
const DAMAGED_CHUNKS_MAX: usize = 100;

/// How much was checked.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Checked {
    pub(super) artifacts_proven: u64,
    pub(super) bytes_read: u64,
}

/// Checks every artifact and adds what is wrong, in the manifest's order.
pub(super) async fn check(
    container: &Arc<dyn Container>,
    manifest: &Arc<Manifest>,
    options: &VerifyOptions,
    findings: &mut Findings,
) -> Checked {
    let stop = Stop::default();
    let progress = Arc::clone(&options.progress);
    progress.expect(len_u64(manifest.artifacts()), manifest.artifact_bytes());
    let before = progress.read().bytes;
    let check = Arc::new(Check {
        container: Arc::clone(container),
        manifest: Arc::clone(manifest),
        level: options.level,
        progress: Arc::clone(&progress),
        stop: stop.clone(),
        cursor: Mutex::default(),
        faults: Mutex::default(),
    });
    let shared = Arc::clone(&check);
    let ran = workers::run(stop, move || worker(Arc::clone(&shared))).await;

    let faults = std::mem::take(&mut *lock(&check.faults));
    let faulty = u64::try_from(faults.len()).unwrap_or(u64::MAX);
    for (at, fault) in faults {
        if let Some(artifact) = manifest.artifacts().get(at) {
            findings.push(fault.into_finding(artifact), options.limits.findings_max);
        }
    }
    if let Err(lost) = ran {
        findings.push(
            Finding::new(Code::ArtifactUnread, lost.to_string()),
            options.limits.findings_max,
        );
    }
    let proven = match options.level {
        Level::Presence => 0,
        Level::Full | Level::Deep => len_u64(manifest.artifacts()).saturating_sub(faulty),
    };
    Checked {
        artifacts_proven: if ran.is_ok() { proven } else { 0 },
        bytes_read: progress.read().bytes.saturating_sub(before),
    }
}

async fn worker(check: Arc<Check>) {
    let jobs = stream::iter(std::iter::from_fn(|| check.next_job()));
    let in_flight = check.container.requests_in_flight();
    jobs.for_each_concurrent(in_flight, |job| check.run(job))
        .await;
}

/// What the workers share.
struct Check {
    container: Arc<dyn Container>,
    manifest: Arc<Manifest>,
    level: Level,
    progress: Arc<Progress>,
    stop: Stop,
    cursor: Mutex<Slice>,
    faults: Mutex<BTreeMap<usize, Fault>>,
}

/// One chunk of one artifact.
#[derive(Debug, Clone, Copy, Default)]
struct Slice {
    artifact: usize,
    chunk: u64,
}

enum Job {
    /// Chunks, hashed side by side.
    Chunks(Vec<Slice>),
    /// One artifact from end to end, for its claimed digest.
    Sequential(usize),
    /// Only type and size.
    Presence(usize),
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // A worker that panicked is reported by `workers::run`; what it had added stays true.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Check {
    fn next_job(&self) -> Option<Job> {
        if self.stop.is_set() {
            return None;
        }
        let mut cursor = lock(&self.cursor);
        let mut slices = Vec::new();
        while let Some(artifact) = self.manifest.artifacts().get(cursor.artifact) {
            let whole = match self.level {
                Level::Presence => Some(Job::Presence(cursor.artifact)),
                Level::Deep if artifact.claimed_sha256().is_some() => {
                    Some(Job::Sequential(cursor.artifact))
                }
                Level::Full | Level::Deep => None,
            };
            if let Some(whole) = whole {
                if !slices.is_empty() {
                    break;
                }
                cursor.artifact = cursor.artifact.saturating_add(1);
                return Some(whole);
            }
            slices.push(*cursor);
            cursor.chunk = cursor.chunk.saturating_add(1);
            if cursor.chunk >= chunk_count(artifact.bytes()) {
                *cursor = Slice {
                    artifact: cursor.artifact.saturating_add(1),
                    chunk: 0,
                };
            }
            if slices.len() >= LANES {
                break;
            }
        }
        (!slices.is_empty()).then_some(Job::Chunks(slices))
    }

    async fn run(&self, job: Job) {
        match job {
            Job::Chunks(slices) => self.chunks(&slices).await,
            Job::Sequential(at) => self.sequential(at).await,
            Job::Presence(at) => self.presence(at).await,
        }
    }

    fn artifact(&self, at: usize) -> Option<&Artifact> {
        self.manifest.artifacts().get(at)
    }

    fn fault(&self, at: usize, fault: Fault) {
        let mut faults = lock(&self.faults);
        match faults.get_mut(&at) {
            Some(known) => known.merge(fault),
            None => {
                faults.insert(at, fault);
            }
        }
    }

    async fn presence(&self, at: usize) {
        let Some(artifact) = self.artifact(at) else {
            return;
        };
        match self.container.open(artifact, 0..0).await {
            Ok(body) if body.bytes_claimed == artifact.bytes() => {}
            Ok(body) => self.fault(at, Fault::size(body.bytes_claimed)),
            Err(error) => self.fault(at, Fault::from(&error)),
        }
        self.progress.add_artifact();
    }

    /// Opens a chunk: its lane, or the fault that its artifact has.
    async fn lane<'a>(&self, slice: Slice, artifact: &'a Artifact) -> Result<Lane<'a>, Fault> {
        let Some(expected) = usize::try_from(slice.chunk)
            .ok()
            .and_then(|at| artifact.content().chunks().get(at))
        else {
            return Err(Fault::size(0));
        };
        let bytes = chunk_len(artifact.bytes(), slice.chunk);
        let start = slice.chunk.saturating_mul(CHUNK_BYTES);
        let is_last = slice.chunk.saturating_add(1) == chunk_count(artifact.bytes());
        // One byte past the last chunk shows an artifact that is longer than declared.
        let end = start
            .saturating_add(bytes)
            .saturating_add(u64::from(is_last));
        let body = self
            .container
            .open(artifact, start..end)
            .await
            .map_err(|e| Fault::from(&e))?;
        if body.bytes_claimed != artifact.bytes() {
            return Err(Fault::size(body.bytes_claimed));
        }
        Ok(Lane {
            slice,
            expected,
            bytes,
            seen: 0,
            hasher: Hasher::new(),
            body,
            is_last,
        })
    }

    async fn chunks(&self, slices: &[Slice]) {
        let mut lanes = Vec::with_capacity(slices.len());
        for &slice in slices {
            let Some(artifact) = self.artifact(slice.artifact) else {
                continue;
            };
            if lock(&self.faults)
                .get(&slice.artifact)
                .is_some_and(Fault::is_final)
            {
                continue;
            }
            match self.lane(slice, artifact).await {
                Ok(lane) => lanes.push(lane),
                Err(fault) => self.fault(slice.artifact, fault),
            }
            if slice.chunk == 0 {
                self.progress.add_artifact();
            }
        }
        let mut pieces: Vec<Bytes> = Vec::with_capacity(lanes.len());
        while !lanes.is_empty() {
            pieces.clear();
            let mut at = 0;
            while let Some(lane) = lanes.get_mut(at) {
                match lane.next().await {
                    Ok(Some(piece)) => {
                        self.progress.add_bytes(len_u64(&piece));
                        pieces.push(piece);
                        at = at.saturating_add(1);
                    }
                    Ok(None) => {
                        let lane = lanes.swap_remove(at);
                        let artifact = lane.slice.artifact;
                        if let Some(fault) = lane.finish() {
                            self.fault(artifact, fault);
                        }
                    }
                    Err(fault) => {
                        let lane = lanes.swap_remove(at);
                        self.fault(lane.slice.artifact, fault);
                    }
                }
            }
            let mut streams: Vec<(&mut Hasher, &[u8])> = lanes
                .iter_mut()
                .zip(&pieces)
                .map(|(lane, piece)| (&mut lane.hasher, &**piece))
                .collect();
            update_many(&mut streams);
        }
    }

    async fn sequential(&self, at: usize) {
        let Some(artifact) = self.artifact(at) else {
            return;
        };
        let mut whole = Hasher::new();
        let mut sound = true;
        for chunk in 0..chunk_count(artifact.bytes()) {
            if self.stop.is_set() {
                return;
            }
            let mut lane = match self
                .lane(
                    Slice {
                        artifact: at,
                        chunk,
                    },
                    artifact,
                )
                .await
            {
                Ok(lane) => lane,
                Err(fault) => return self.fault(at, fault),
            };
            loop {
                match lane.next().await {
                    Ok(Some(piece)) => {
                        self.progress.add_bytes(len_u64(&piece));
                        update_many(&mut [(&mut lane.hasher, &piece), (&mut whole, &piece)]);
                    }
                    Ok(None) => break,
                    Err(fault) => return self.fault(at, fault),
                }
            }
            if let Some(fault) = lane.finish() {
                sound = false;
                self.fault(at, fault);
            }
        }
        self.progress.add_artifact();
        if sound && artifact.claimed_sha256() != Some(&whole.finish()) {
            self.fault(at, Fault::Claimed);
        }
    }
}

/// One chunk as it comes in.
struct Lane<'a> {
    slice: Slice,
    expected: &'a Digest,
    bytes: u64,
    seen: u64,
    hasher: Hasher,
    body: ObjectBody,
    is_last: bool,
}

impl Lane<'_> {
    /// The next piece, or a fault as soon as there is more than there should be.
    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        match self.body.next().await {
            Some(Ok(piece)) => {
                self.seen = self.seen.saturating_add(len_u64(&piece));
                if self.seen > self.bytes {
                    return Err(Fault::Size { found: None });
                }
                Ok(Some(piece))
            }
            Some(Err(error)) => Err(Fault::from(&error)),
            None => Ok(None),
        }
    }

    fn finish(self) -> Option<Fault> {
        if self.seen < self.bytes {
            return Some(Fault::Size { found: None });
        }
        let chunk = (self.slice.chunk > 0 || !self.is_last).then_some(self.slice.chunk);
        (self.hasher.finish() != *self.expected).then(|| Fault::Digest {
            damaged: chunk.into_iter().collect(),
            more: 0,
        })
    }
}

/// What is wrong with one artifact, from the least to the most telling.
#[derive(Debug)]
enum Fault {
    Unread(String),
    Claimed,
    Digest { damaged: Vec<u64>, more: u64 },
    Size { found: Option<u64> },
    Type(String),
    Missing,
}

impl Fault {
    fn size(found: u64) -> Self {
        Self::Size { found: Some(found) }
    }

    const fn rank(&self) -> u8 {
        match self {
            Self::Unread(_) => 0,
            Self::Claimed => 1,
            Self::Digest { .. } => 2,
            Self::Size { .. } => 3,
            Self::Type(_) => 4,
            Self::Missing => 5,
        }
    }

    /// Whether nothing further about the artifact needs to be read.
    const fn is_final(&self) -> bool {
        self.rank() >= 3
    }

    /// One finding an artifact: the more telling stays, damaged chunks add up.
    fn merge(&mut self, other: Self) {
        match (&mut *self, other) {
            (
                Self::Digest { damaged, more },
                Self::Digest {
                    damaged: others,
                    more: others_more,
                },
            ) => {
                *more = more.saturating_add(others_more);
                for chunk in others {
                    if damaged.len() < DAMAGED_CHUNKS_MAX {
                        damaged.push(chunk);
                    } else {
                        *more = more.saturating_add(1);
                    }
                }
            }
            (known, other) if other.rank() > known.rank() => *known = other,
            _ => {}
        }
    }

    fn into_finding(self, artifact: &Artifact) -> Finding {
        let name = artifact.name().as_str();
        let declared = artifact.bytes();
        match self {
            Self::Unread(why) => Finding::new(Code::ArtifactUnread, why),
            Self::Claimed => Finding::new(
                Code::ArtifactClaimed,
                "the bytes are those committed to, but not of the digest that the producer claims for the whole",
            ),
            Self::Digest { mut damaged, more } => {
                damaged.sort_unstable();
                let detail = match (damaged.as_slice(), more) {
                    ([], _) => "the bytes are not those committed to".to_owned(),
                    (listed, more) => format!(
                        "the bytes are not those committed to, damaged 8 MiB chunks={}",
                        len_u64(listed).saturating_add(more)
                    ),
                };
                Finding::new(Code::ArtifactDigest, detail).with_damaged_chunks(damaged)
            }
            Self::Size { found: Some(found) } => Finding::new(
                Code::ArtifactSize,
                format!("the size differs, declared=`{declared}` found=`{found}`"),
            ),
            Self::Size { found: None } => Finding::new(
                Code::ArtifactSize,
                format!("more or fewer bytes came than declared, declared=`{declared}`"),
            ),
            Self::Type(why) => Finding::new(Code::ArtifactType, why),
            Self::Missing => Finding::new(Code::ArtifactMissing, "not there"),
        }
        .about(name)
    }
}

impl From<&StoreError> for Fault {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::NotFound { .. } => Self::Missing,
            StoreError::Unsafe { .. } => {
                Self::Type("not a regular file; links are not followed".to_owned())
            }
            other => Self::Unread(chain(other)),
        }
    }
}
