//! The work of a mirror: looking through one store, and copying what the other has not.
//!
//! One pack at a time, whose artifacts go side by side; whether small packs are there is asked for many at
//! once. The listing is a stream, so memory does not grow with the store.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use runpack_core::bundle::first_manifest;
use runpack_core::id::PackId;
use runpack_core::key::Location;
use runpack_core::limits::Limits;
use runpack_core::manifest::{Manifest, Subject};
use runpack_core::pack::Commit;
use runpack_core::pipeline::PipelineRun;
use runpack_core::progress::Progress;
use runpack_core::store::{StoreError, Stored, Whole};
use runpack_core::verify::{Container, Level, Pack, StorePack, Verdict, VerifyOptions};
use serde::Serialize;

use crate::command::push::hash_and_verify;
use crate::context::Context;
use crate::delivery::{self, BundleFault, Delivered, NewBundle};
use crate::failure::{Exit, Failure};
use crate::identity::RunOptions;
use crate::progress::Meter;
use crate::storage::Storage;

/// How many packs are compared at once.
const COMPARED_AT_ONCE: usize = 16;
/// How many faults are told.
const FAULTS_MAX: usize = 100;

/// What a mirror did.
#[derive(Default)]
pub(super) struct Summary {
    pub(super) copied: u64,
    pub(super) copied_bytes: u64,
    pub(super) there: u64,
    pub(super) invalid: u64,
    pub(super) failed: u64,
    pub(super) faults: Vec<Fault>,
    pub(super) faults_unlisted: u64,
}

/// A pack that was not copied.
#[derive(Serialize)]
pub(super) struct Fault {
    pub(super) what: &'static str,
    pub(super) key: String,
    pub(super) detail: String,
}

/// What became of one pack.
enum Ended {
    Copied(u64),
    There,
    NotWanted,
    Invalid(String),
    Failed(String),
}

/// What has to be done about one key.
enum ToDo {
    Nothing(Ended),
    Pack(Arc<dyn Container>, Arc<Manifest>),
    Bundle(Stored, PackId),
}

struct Job<'a> {
    context: &'a Context,
    run: &'a RunOptions,
    from: &'a Storage,
    to: &'a Storage,
    limits: &'a Limits,
}

pub(super) fn run(
    context: &Context,
    run: &RunOptions,
    from: &Storage,
    to: &Storage,
    limits: &Limits,
) -> Result<Summary, Failure> {
    let job = Job {
        context,
        run,
        from,
        to,
        limits,
    };
    let progress = Arc::new(Progress::default());
    let _meter = Meter::of(&context.output, "mirroring", &progress);
    context.wait(job.run(&progress))?
}

impl Job<'_> {
    async fn run(&self, progress: &Arc<Progress>) -> Result<Summary, Failure> {
        let mut summary = Summary::default();
        let mut listing = self.from.reader().list(&self.run.prefix());
        // The pack of a pipeline's run lists those of its steps, so it comes after them.
        let mut last = Vec::new();
        let mut at_end = false;
        while !at_end {
            let mut batch = Vec::new();
            while batch.len() < COMPARED_AT_ONCE {
                let Some(entry) = listing.next().await else {
                    at_end = true;
                    break;
                };
                let key = entry?.key;
                match Location::parse(&key).filter(is_pack) {
                    Some(location) if is_pipeline_run(&location) => last.push((key, location)),
                    Some(location) => batch.push((key, location)),
                    None => {}
                }
            }
            self.batch(batch, progress, &mut summary).await;
        }
        while !last.is_empty() {
            let batch = last.split_off(last.len().saturating_sub(COMPARED_AT_ONCE));
            self.batch(batch, progress, &mut summary).await;
        }
        Ok(summary)
    }

    async fn batch(
        &self,
        batch: Vec<(String, Location)>,
        progress: &Arc<Progress>,
        summary: &mut Summary,
    ) {
        // All comparisons end before copying begins: a request that nobody attends to runs out of time.
        let compared: Vec<(String, ToDo)> = stream::iter(batch)
            .map(async |(key, location)| (key, self.compare(&location).await))
            .buffered(COMPARED_AT_ONCE)
            .collect()
            .await;
        for (key, to_do) in compared {
            let ended = match to_do {
                ToDo::Nothing(ended) => ended,
                ToDo::Pack(container, manifest) => self.pack(&container, &manifest, progress).await,
                ToDo::Bundle(stored, pack_id) => self.bundle(stored, pack_id).await,
            };
            let ended = self.with_agents(&key, ended).await;
            summary.add(key, ended);
        }
    }

    /// What the run of a pipeline is held against and no pack has comes along with its pack, also where that was there.
    async fn with_agents(&self, key: &str, ended: Ended) -> Ended {
        let subject = Location::parse(key).and_then(|location| location.manifest_subject());
        let Some(Subject::Pipeline { tenant, run_id }) = subject else {
            return ended;
        };
        if !matches!(ended, Ended::Copied(_) | Ended::There) {
            return ended;
        }
        let mut options = VerifyOptions::default();
        options.limits = self.limits.clone();
        let run = PipelineRun::new(self.from.reader(), tenant, run_id);
        match run.bring_agents(&*self.to.store(), &options).await {
            Ok(()) => ended,
            Err(error) => {
                let said = runpack_core::display::chain(&error);
                let said =
                    format!("its pack is there, and agents that its plan names are not: {said}");
                if error.is_of_source() {
                    Ended::Invalid(said)
                } else {
                    Ended::Failed(said)
                }
            }
        }
    }

    async fn compare(&self, location: &Location) -> ToDo {
        let compared = match (location, location.manifest_subject()) {
            (_, Some(subject)) => self.compare_pack(subject).await,
            (Location::Bundle { run_id, .. }, None)
                if self
                    .run
                    .run_id
                    .as_ref()
                    .is_some_and(|wanted| wanted != run_id) =>
            {
                return ToDo::Nothing(Ended::NotWanted);
            }
            (Location::Bundle { pack_id, .. }, None) => {
                self.compare_bundle(location, *pack_id).await
            }
            _ => return ToDo::Nothing(Ended::NotWanted),
        };
        compared.unwrap_or_else(|error| {
            ToDo::Nothing(Ended::Failed(runpack_core::display::chain(&error)))
        })
    }

    async fn compare_pack(&self, subject: Subject) -> Result<ToDo, StoreError> {
        if !self.run.wants(&subject) {
            return Ok(ToDo::Nothing(Ended::NotWanted));
        }
        let place = StorePack::new(self.from.reader(), subject.clone());
        let container: Arc<dyn Container> = Arc::new(place);
        let manifest = match Pack::open(Arc::clone(&container), self.limits).await {
            Ok(pack) => Arc::clone(pack.manifest()),
            Err(report) => {
                let said: Vec<String> = report
                    .findings
                    .iter()
                    .map(|finding| format!("{}: {}", finding.code, finding.detail))
                    .collect();
                let said = said.join("; ");
                return Ok(ToDo::Nothing(if report.verdict == Verdict::Undecided {
                    Ended::Failed(said)
                } else {
                    Ended::Invalid(said)
                }));
            }
        };
        if *manifest.subject() != subject {
            let said = "the manifest of another subject stands in this one's place".to_owned();
            return Ok(ToDo::Nothing(Ended::Invalid(said)));
        }
        let there = StorePack::new(self.to.reader(), subject);
        let there = match there.manifest(self.limits.manifest_bytes_max).await {
            Ok(found) => found.bytes,
            Err(StoreError::NotFound { .. }) => return Ok(ToDo::Pack(container, manifest)),
            Err(error) => return Err(error),
        };
        if there.is_some_and(|there| there == *manifest.to_bytes()) {
            // Whoever brought it may have died before it was sealed.
            self.to.store().seal(Whole::Pack(&manifest)).await?;
            return Ok(ToDo::Nothing(Ended::There));
        }
        // What differs only in time or program is found out by the commit.
        Ok(ToDo::Pack(container, manifest))
    }

    async fn compare_bundle(
        &self,
        location: &Location,
        pack_id: PackId,
    ) -> Result<ToDo, StoreError> {
        let Ok(key) = location.key() else {
            return Ok(ToDo::Nothing(Ended::NotWanted));
        };
        let stored = Stored::find(self.from.reader(), &key).await?;
        if self.run.is_given() {
            let limits = self.limits.clone();
            let manifest = stored
                .read(move |source| first_manifest(source, limits))
                .await;
            match manifest {
                Ok(Ok(manifest)) if !self.run.wants(manifest.subject()) => {
                    return Ok(ToDo::Nothing(Ended::NotWanted));
                }
                Ok(_) => {}
                Err(failure) => {
                    return Ok(ToDo::Nothing(Ended::Failed(Failure::from(failure).line())));
                }
            }
        }
        // One of another size may be the same pack, compressed in another way, or something else: copying finds out.
        match self.to.reader().oldest(&key).await {
            Ok((_, bytes)) if bytes == stored.bytes() && !self.to.store().seals() => {
                Ok(ToDo::Nothing(Ended::There))
            }
            Ok(_) | Err(StoreError::NotFound { .. }) => Ok(ToDo::Bundle(stored, pack_id)),
            Err(error) => Err(error),
        }
    }

    async fn pack(
        &self,
        container: &Arc<dyn Container>,
        manifest: &Arc<Manifest>,
        progress: &Arc<Progress>,
    ) -> Ended {
        let delivered = delivery::pack(
            self.context,
            container,
            manifest,
            self.to,
            self.limits,
            progress,
        );
        match delivered.await {
            Ok(delivered) => self.ended(&delivered, manifest.artifact_bytes()),
            Err(error) if delivery::is_of_source(&error) => {
                Ended::Invalid(runpack_core::display::chain(&error))
            }
            Err(error) => Ended::Failed(runpack_core::display::chain(&error)),
        }
    }

    /// What was there all the same (in another spelling of the bundle, or with the same evidence) is not copied.
    fn ended(&self, delivered: &Delivered, bytes: u64) -> Ended {
        match (delivered.record(self.context), delivered.commit) {
            (Err(failure), _) => Ended::of(&failure),
            (Ok(_), Commit::New) => Ended::Copied(bytes),
            (Ok(_), Commit::Again | Commit::SameEvidence) => Ended::There,
        }
    }

    async fn bundle(&self, stored: Stored, pack_id: PackId) -> Ended {
        let limits = self.limits.clone();
        let read = stored
            .read(move |source| hash_and_verify(source, &limits, Level::Full))
            .await;
        let (outcome, declared) = match read {
            Ok(read) => read,
            Err(failure) => return Ended::of(&failure.into()),
        };
        let is_sound = outcome.is_sound();
        let (Some(manifest), Some(declared), true) = (outcome.manifest, declared, is_sound) else {
            let said: Vec<String> = outcome
                .findings
                .iter()
                .map(|finding| format!("{}: {}", finding.code, finding.detail))
                .collect();
            let unread = outcome
                .findings
                .iter()
                .any(|finding| finding.code.as_str().ends_with(".unread"));
            let said = said.join("; ");
            return if unread {
                Ended::Failed(said)
            } else {
                Ended::Invalid(said)
            };
        };
        if manifest.pack_id() != pack_id {
            return Ended::Invalid(
                "the bundle of another pack stands in this one's place".to_owned(),
            );
        }
        let new = NewBundle {
            manifest,
            source: stored.source(),
            declared,
        };
        match delivery::bundle(self.context, new, self.to, self.limits).await {
            Ok(delivered) => self.ended(&delivered, stored.bytes()),
            Err(BundleFault::Failed(failure)) => Ended::of(&failure),
            Err(fault) => Ended::Failed(Failure::from(fault).line()),
        }
    }
}

/// Whether a key is a pack's: its manifest, or its bundle.
fn is_pack(location: &Location) -> bool {
    matches!(location, Location::Bundle { .. }) || location.manifest_subject().is_some()
}

impl Ended {
    fn of(failure: &Failure) -> Self {
        if failure.exit() == Exit::Invalid {
            Self::Invalid(failure.line())
        } else {
            Self::Failed(failure.line())
        }
    }
}

impl Summary {
    fn add(&mut self, key: String, ended: Ended) {
        let (counter, fault) = match ended {
            Ended::NotWanted => return,
            Ended::There => (&mut self.there, None),
            Ended::Copied(bytes) => {
                self.copied_bytes = self.copied_bytes.saturating_add(bytes);
                (&mut self.copied, None)
            }
            Ended::Invalid(detail) => (&mut self.invalid, Some(("invalid", detail))),
            Ended::Failed(detail) => (&mut self.failed, Some(("failed", detail))),
        };
        *counter = counter.saturating_add(1);
        let Some((what, detail)) = fault else { return };
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(Fault { what, key, detail });
        } else {
            self.faults_unlisted = self.faults_unlisted.saturating_add(1);
        }
    }
}

fn is_pipeline_run(location: &Location) -> bool {
    matches!(location.manifest_subject(), Some(Subject::Pipeline { .. }))
}
