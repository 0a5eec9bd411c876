//! Shipping one execution: opened under its own id, its files brought, ended with what they must be, and verified.
//!
//! Each step is what a client would do over HTTP and may be done again, by this shipper, another one, or one that was
//! killed: so it goes on where it was, and nothing is there twice.

use std::sync::Arc;

use futures_util::TryStreamExt as _;
use runpack_core::commitment::Content;
use runpack_core::digest::Digest;
use runpack_core::display::chain;
use runpack_core::id::{ExecutionId, PackId};
use runpack_core::key::{Location, Log};
use runpack_core::manifest::{Manifest, Producer, Subject, Text};
use runpack_core::pin::Pins;
use runpack_core::store::{ArtifactReader, Source, Store, StoreError};
use runpack_core::verify::{Level, Pack, StorePack, Verdict, VerifyOptions, VerifyReport};

use super::backoff::Backoff;
use super::marker::{Kept, ShippedFile, is_ours};
use super::plan::{Becomes, Planned, Said, plan};
use super::problem::Problem;
use super::tree::{Folder, Look, blocking};
use super::{Benches, Kinds};
use crate::execution::{
    Completed, Ending, ExecutionError, ExecutionResult, Executions, Expected, Open, State,
};
use crate::staging::{ReceiveError, Staged, Staging};

/// The largest part of a log that is sent at once.
const LOG_PART_BYTES_MAX: u64 = 1 << 20;

/// Where executions go.
#[derive(Debug)]
pub(super) struct ToExecutions {
    pub(super) executions: Arc<Executions>,
    pub(super) benches: Benches,
    pub(super) store: Arc<dyn Store>,
    pub(super) staging: Staging,
    pub(super) producer: Producer,
    pub(super) kinds: Kinds,
    pub(super) by: String,
}

/// An item that is shipped and verified.
#[derive(Debug)]
pub(super) struct Proved {
    pub(super) kept: Kept,
    pub(super) key: String,
    pub(super) files: Vec<ShippedFile>,
}

/// An execution in the tree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'a> {
    pub(super) id: &'a ExecutionId,
    pub(super) bench: &'a Text<128>,
    pub(super) folder: &'a Arc<Folder>,
    pub(super) look: &'a Look,
}

impl ToExecutions {
    pub(super) async fn ship(
        &self,
        found: Found<'_>,
        backoff: &Backoff,
        entries_max: usize,
    ) -> Result<Proved, Problem> {
        let Found { id, folder, .. } = found;
        let said = Said::read(folder, found.look).await?;
        let planned = plan(id, found.look, self.kinds, &self.producer, &self.executions)?;
        self.not_given_up(id, backoff).await?;
        self.open(found, &said, backoff).await?;
        let mut state = backoff.tries(|| self.executions.status(id)).await?.state;
        let mut files = Vec::new();
        for file in &planned {
            let sha256 = self.bring(found, file, &mut state, backoff).await?;
            files.push(ShippedFile {
                path: file.escaped.clone(),
                artifact: Some(file.artifact.clone()),
                bytes: file.stamp.bytes,
                sha256,
            });
        }
        let looking = Arc::clone(folder);
        let now = blocking(move || looking.look(is_ours, entries_max)).await?;
        if now != *found.look {
            return Err(Problem::SourceChanged(folder.path().to_owned()));
        }
        let pack_id = self.end(id, &said, &files, backoff).await?;
        let manifest = backoff
            .tries(|| self.verify(id, pack_id, Level::Deep))
            .await?;
        covers(&manifest, &files)?;
        let key = Location::manifest(&subject(id)).key();
        Ok(Proved {
            kept: Kept::PackId(pack_id),
            key: key.map_err(ExecutionError::from)?.to_string(),
            files,
        })
    }

    /// Ends an execution that can never be shipped whole as `artifact_error`.
    pub(super) async fn mark(
        &self,
        found: Found<'_>,
        why: &Problem,
        backoff: &Backoff,
    ) -> Result<(), Problem> {
        // What the bench said may be the very thing that cannot be read.
        let said = Said::read(found.folder, found.look)
            .await
            .unwrap_or_default();
        self.open(found, &said, backoff).await?;
        let ending = Ending {
            result: None,
            ended_at: None,
            message: Text::lossy(chain(why).as_bytes()),
        };
        let none = Expected::new();
        let end = || self.executions.end(found.id, &ending, &none, &self.by);
        backoff.tries(end).await.map(|_| ())
    }

    /// That the execution did not end as `artifact_error`, which is for good.
    async fn not_given_up(&self, id: &ExecutionId, backoff: &Backoff) -> Result<(), Problem> {
        let metadata = backoff.tries(|| self.executions.metadata(id)).await?;
        match metadata {
            Some(metadata) if metadata.result.is_none() => {
                let message = metadata.message.map(|message| message.to_string());
                Err(Problem::Marked(message.unwrap_or_default()))
            }
            _ => Ok(()),
        }
    }

    async fn open(&self, found: Found<'_>, said: &Said, backoff: &Backoff) -> Result<(), Problem> {
        let benches = &self.benches;
        let runner_type = said.runner_type.as_ref().unwrap_or(&benches.runner_type);
        let open = Open {
            execution_id: Some(found.id.clone()),
            organization: benches.owner.organization.clone(),
            project: benches.owner.project.clone(),
            runner_type: runner_type.clone(),
            bench_id: Some(found.bench.clone()),
            reservation_id: said.reservation_id.clone(),
            suite: said.suite.clone(),
            started_at: said.started_at,
        };
        let opened = || self.executions.open(open.clone(), &self.by);
        backoff.tries(opened).await.map(|_| ())
    }

    /// Brings a file to its place while the execution runs, and tells its SHA-256.
    async fn bring(
        &self,
        found: Found<'_>,
        file: &Planned,
        state: &mut State,
        backoff: &Backoff,
    ) -> Result<Digest, Problem> {
        let Found { id, folder, .. } = found;
        if *state != State::Open {
            return folder.hash(&file.path, file.stamp).await;
        }
        // Read from the tree once: what is hashed is what is sent, and a mount over a network is asked once.
        let pieces = folder.read(&file.path, file.stamp);
        let received = self.staging.receive(pieces, file.stamp.bytes).await;
        let staged = received.map_err(|error| match error {
            ReceiveError::Body(problem) => problem,
            ReceiveError::Staging(source) => Problem::staging(source),
            ReceiveError::TooLarge { .. } => Problem::SourceChanged(folder.path().to_owned()),
        })?;
        let brought = match &file.becomes {
            Becomes::Artifact(upload) => {
                let upload = || self.executions.upload(id, upload.clone(), &staged);
                backoff.tries(upload).await.map(|_| ())
            }
            Becomes::Log(log) => self.write_log(id, *log, &staged, backoff).await,
        };
        match brought {
            Ok(()) => {}
            // Another shipper was faster: what it ended with is held against the files.
            Err(Problem::Ended(_)) => *state = State::Completing,
            Err(problem) => return Err(problem),
        }
        Ok(staged.sha256)
    }

    /// Writes a log from where it is on. What is there of it is held against the file when the execution ends.
    async fn write_log(
        &self,
        id: &ExecutionId,
        log: Log,
        staged: &Staged,
        backoff: &Backoff,
    ) -> Result<(), Problem> {
        let executions = &self.executions;
        let bytes = staged.declared.bytes;
        let part_max = executions
            .limits()
            .log_part_bytes_max
            .min(LOG_PART_BYTES_MAX);
        let source = staged.source()?;
        let end = || executions.append(id, log, None, bytes::Bytes::new());
        let mut at = backoff.tries(end).await?.offset;
        while at < bytes {
            let next = at.saturating_add(part_max.max(1)).min(bytes);
            let part = part(&*source, at..next).await?;
            let appended = backoff
                .tries(|| async {
                    match executions.append(id, log, Some(at), part.clone()).await {
                        // Another shipper was faster.
                        Err(ExecutionError::Offset { offset }) if offset > at => Ok(offset),
                        done => done.map(|appended| appended.next),
                    }
                })
                .await?;
            at = appended;
        }
        if at == bytes {
            Ok(())
        } else {
            let text = format!("its {log} log is longer than the file, bytes=`{at}`");
            Err(Problem::Conflict(text))
        }
    }

    /// Ends the execution with exactly these files.
    async fn end(
        &self,
        id: &ExecutionId,
        said: &Said,
        files: &[ShippedFile],
        backoff: &Backoff,
    ) -> Result<PackId, Problem> {
        let expected: Expected = files
            .iter()
            .filter_map(|file| Some((file.artifact.clone()?, file.sha256)))
            .collect();
        let unsaid = "nobody said how it ended".parse::<Text<1024>>().ok();
        let ending = Ending {
            result: Some(said.result.unwrap_or(self.benches.result_unsaid)),
            ended_at: said.ended_at,
            message: unsaid.filter(|_| said.result.is_none()),
        };
        let end = || self.executions.end(id, &ending, &expected, &self.by);
        let completed = match backoff.tries(end).await {
            Ok(completed) => completed,
            // Another shipper may have removed the parts of a log that this one was putting together.
            Err(problem) => {
                let status = backoff.tries(|| self.executions.status(id)).await?;
                let State::Complete(_) = status.state else {
                    return Err(problem);
                };
                backoff.tries(end).await?
            }
        };
        let Completed { pack_id, .. } = completed;
        pack_id.ok_or(Problem::Ended("artifact_error"))
    }

    /// That the store has this pack of this execution.
    pub(super) async fn verify(
        &self,
        id: &ExecutionId,
        pack_id: PackId,
        level: Level,
    ) -> Result<Arc<Manifest>, Problem> {
        let limits = self.executions.pack_limits();
        let mut options = VerifyOptions::level(level);
        options.limits = limits.clone();
        let reader: Arc<dyn ArtifactReader> = self.store.clone();
        let container = StorePack::new(reader, subject(id));
        let report = match Pack::open(Arc::new(container), limits).await {
            Ok(pack) => pack.verify(&Pins::pack_id(pack_id), &options).await,
            Err(report) => *report,
        };
        let is_valid = report.verdict == Verdict::Valid;
        match &report.manifest {
            Some(manifest) if is_valid && manifest.pack_id() == pack_id => Ok(Arc::clone(manifest)),
            _ => Err(unproven(&report)),
        }
    }
}

/// That a manifest lists these files, each with its SHA-256.
pub(super) fn covers(manifest: &Manifest, files: &[ShippedFile]) -> Result<(), Problem> {
    for file in files {
        let name = file.artifact.as_ref().map_or("", |name| name.as_str());
        let listed = manifest.artifact(name).and_then(|artifact| {
            let sha256 = match artifact.content() {
                Content::Whole(sha256) => Some(sha256),
                Content::Chunks(_) => artifact.claimed_sha256(),
            };
            Some((artifact.bytes(), *sha256?))
        });
        if listed != Some((file.bytes, file.sha256)) {
            return Err(Problem::Unproven {
                reason: format!("the pack does not have this file, path=`{}`", file.path),
                may_pass: false,
            });
        }
    }
    Ok(())
}

fn unproven(report: &VerifyReport) -> Problem {
    let first = report.findings.first();
    Problem::Unproven {
        reason: format!(
            "{}{}",
            report.verdict,
            first.map_or_else(String::new, |finding| {
                format!(", {}: {}", finding.code.as_str(), finding.detail)
            })
        ),
        may_pass: report.verdict == Verdict::Undecided,
    }
}

fn subject(id: &ExecutionId) -> Subject {
    Subject::Execution {
        execution_id: id.clone(),
    }
}

async fn part(
    source: &dyn Source,
    range: std::ops::Range<u64>,
) -> Result<bytes::Bytes, StoreError> {
    let body = source.open(range).await?;
    let pieces: Vec<bytes::Bytes> = body.stream.try_collect().await?;
    Ok(pieces.concat().into())
}

/// How an execution ended of which its bench does not say it.
pub(super) const RESULT_UNSAID: ExecutionResult = ExecutionResult::Error;
