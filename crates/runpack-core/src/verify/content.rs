//! Every byte of every artifact against its commitment, on every worker.
//!
//! Each chunk, of a large artifact or a small one's only, is a stream of its own: a lane. A worker keeps
//! many lanes going and hashes them side by side ([`update_many`]); when one ends, the next chunk takes
//! its place. So one large artifact keeps every lane of every worker busy as ten thousand small ones
//! do. A lane holds one piece, so memory is workers x lanes x piece, whatever the pack holds.

mod fault;
mod lane;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::future::join_all;

use self::fault::Fault;
use self::lane::Lane;
use super::{Code, Container, Finding, Findings, Level, VerifyOptions};
use crate::commitment::chunk_count;
use crate::count::len_u64;
use crate::digest::{self, Hasher, update_many};
use crate::manifest::{Artifact, Manifest};
use crate::progress::Progress;
use crate::workers::{self, Stop};

/// The most bytes of each lane that are hashed at once: few enough for all lanes' to stay in cache.
const STRIDE_BYTES_MAX: usize = 64 * 1024;

/// A block of SHA-256: what is shorter is not worth going side by side.
const STRIDE_BYTES_MIN: usize = 64;

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
        lanes: lanes(&**container, manifest),
        progress: Arc::clone(&progress),
        stop: stop.clone(),
        cursor: Mutex::default(),
        faults: Mutex::default(),
    });
    let shared = Arc::clone(&check);
    let ran = workers::run(stop, move || worker(Arc::clone(&shared))).await;

    let findings_max = options.limits.findings_max;
    let faults = std::mem::take(&mut *lock(&check.faults));
    let unproven = u64::try_from(faults.len()).unwrap_or(u64::MAX);
    for (at, fault) in faults {
        if let Some(artifact) = manifest.artifacts().get(at) {
            findings.push(fault.into_finding(artifact), findings_max);
        }
    }
    if let Err(lost) = ran {
        findings.push(
            Finding::new(Code::ArtifactUnread, lost.to_string()),
            findings_max,
        );
    }
    let proven = match options.level {
        Level::Presence => 0,
        Level::Full | Level::Deep => len_u64(manifest.artifacts()).saturating_sub(unproven),
    };
    Checked {
        artifacts_proven: if ran.is_ok() { proven } else { 0 },
        bytes_read: progress.read().bytes.saturating_sub(before),
    }
}

/// How many lanes a worker keeps going: as many as hash side by side, or as the container takes
/// requests; but where there are few chunks, each worker is to get its share.
fn lanes(container: &dyn Container, manifest: &Manifest) -> usize {
    let wanted = digest::lanes().max(container.requests_in_flight());
    let chunks = manifest.artifacts().iter().fold(0u64, |sum, artifact| {
        sum.saturating_add(chunk_count(artifact.bytes()))
    });
    let workers = u64::try_from(workers::count()).unwrap_or(1).max(1);
    let share = usize::try_from(chunks.div_ceil(workers)).unwrap_or(wanted);
    share.clamp(1, wanted)
}

async fn worker(check: Arc<Check>) {
    let mut lanes: Vec<Lane<'_>> = Vec::with_capacity(check.lanes);
    loop {
        while lanes.len() < check.lanes
            && let Some(job) = check.next_job()
        {
            lanes.extend(check.start(job).await);
        }
        // All lanes wait for their bytes together: a store far away is asked for many at once.
        let ended = join_all(lanes.iter_mut().map(|lane| check.fill(lane))).await;
        let mut ended = ended.into_iter();
        lanes.retain(|_| !ended.next().unwrap_or(true));
        if lanes.len() < check.lanes && check.has_more() {
            continue;
        }
        let Some(shortest) = lanes.iter().map(|lane| lane.piece.len()).min() else {
            return;
        };
        let stride = shortest.min(STRIDE_BYTES_MAX) & !(STRIDE_BYTES_MIN.saturating_sub(1));
        let pieces: Vec<Bytes> = lanes
            .iter_mut()
            .map(|lane| lane.piece.split_to(stride))
            .collect();
        let mut streams: Vec<(&mut Hasher, &[u8])> = lanes
            .iter_mut()
            .zip(&pieces)
            .map(|(lane, piece)| (&mut lane.hasher, &**piece))
            .collect();
        update_many(&mut streams);
    }
}

/// What the workers share.
struct Check {
    container: Arc<dyn Container>,
    manifest: Arc<Manifest>,
    level: Level,
    /// How many lanes each worker keeps going.
    lanes: usize,
    progress: Arc<Progress>,
    stop: Stop,
    cursor: Mutex<Slice>,
    faults: Mutex<BTreeMap<usize, Fault>>,
}

/// One chunk of one artifact.
#[derive(Clone, Copy, Default)]
struct Slice {
    artifact: usize,
    chunk: u64,
}

enum Job {
    /// One chunk, in a lane.
    Chunk(Slice),
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
        let Slice {
            artifact: at,
            chunk,
        } = *cursor;
        let artifact = self.manifest.artifacts().get(at)?;
        let next_artifact = Slice {
            artifact: at.saturating_add(1),
            chunk: 0,
        };
        let (job, next) = match self.level {
            Level::Presence => (Job::Presence(at), next_artifact),
            Level::Deep if artifact.claimed_sha256().is_some() => {
                (Job::Sequential(at), next_artifact)
            }
            Level::Full | Level::Deep => {
                let next = chunk.saturating_add(1);
                let is_last = next >= chunk_count(artifact.bytes());
                let next_chunk = Slice {
                    artifact: at,
                    chunk: next,
                };
                (
                    Job::Chunk(*cursor),
                    if is_last { next_artifact } else { next_chunk },
                )
            }
        };
        *cursor = next;
        Some(job)
    }

    fn has_more(&self) -> bool {
        !self.stop.is_set() && lock(&self.cursor).artifact < self.manifest.artifacts().len()
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

    /// Starts a job: a lane for a chunk; what needs no lane is done at once.
    async fn start(&self, job: Job) -> Option<Lane<'_>> {
        match job {
            Job::Chunk(slice) => {
                if slice.chunk == 0 {
                    self.progress.add_artifact();
                }
                if lock(&self.faults)
                    .get(&slice.artifact)
                    .is_some_and(Fault::is_final)
                {
                    return None;
                }
                return Some(Lane::new(slice, self.artifact(slice.artifact)?));
            }
            Job::Sequential(at) => self.sequential(at).await,
            Job::Presence(at) => self.presence(at).await,
        }
        None
    }

    /// Sees to it that a lane has bytes to hash side by side. Whether it ended instead, well or not.
    async fn fill(&self, lane: &mut Lane<'_>) -> bool {
        while lane.piece.len() < STRIDE_BYTES_MIN {
            let rest = std::mem::take(&mut lane.piece);
            lane.hasher.update(&rest);
            match lane.next(&*self.container).await {
                Ok(Some(piece)) => {
                    self.progress.add_bytes(len_u64(&piece));
                    lane.piece = piece;
                }
                Ok(None) => {
                    if let Some(fault) = lane.finish() {
                        self.fault(lane.slice.artifact, fault);
                    }
                    return true;
                }
                Err(fault) => {
                    self.fault(lane.slice.artifact, fault);
                    return true;
                }
            }
        }
        false
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

    /// One read gives both digests, so that what was committed to is what the claim was checked on.
    async fn sequential(&self, at: usize) {
        let Some(artifact) = self.artifact(at) else {
            return;
        };
        let mut whole = Hasher::new();
        let mut sound = true;
        for chunk in 0..chunk_count(artifact.bytes()) {
            let mut lane = Lane::seen_once(
                Slice {
                    artifact: at,
                    chunk,
                },
                artifact,
            );
            loop {
                if self.stop.is_set() {
                    return;
                }
                match lane.next(&*self.container).await {
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
