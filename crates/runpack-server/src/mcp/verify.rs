//! `runpack_verify`: whether a pack is the one that was made.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rmcp::model::JsonObject;
use runpack_core::bundle::verify_bundle;
use runpack_core::directory::FoundPack;
use runpack_core::id::PackId;
use runpack_core::limits::Limits;
use runpack_core::manifest::Subject;
use runpack_core::pin::{PinnedBy, Pins};
use runpack_core::verify::{Container, Level, Pack, VerifyOptions, VerifyReport};

use super::Work;
use super::answer::{Answer, FindingTold, LINES_MAX, Verified, add, shown};
use super::ask::{LevelAsked, VerifyAsked, read};
use super::call::{Session, Told, hidden};
use crate::access::Verb;
use crate::api::packs::scope_of;
use crate::api::query::parse_some;
use crate::problem::Problem;

/// How much of a bundle is read in one call.
const READ_BYTES: usize = 1 << 18;

impl Work {
    pub(super) async fn verify(
        &self,
        session: &Session,
        arguments: JsonObject,
        told: &mut Told,
    ) -> Result<Answer, Problem> {
        let asked: VerifyAsked = read(arguments)?;
        let level = match asked.level {
            None | Some(LevelAsked::Full) => Level::Full,
            Some(LevelAsked::Deep) => Level::Deep,
            Some(LevelAsked::Presence) => Level::Presence,
        };
        let pack_id: Option<PackId> = parse_some("pack_id", asked.pack_id.as_deref())?;
        told.object = asked.pack_id.or(asked.path.clone()).unwrap_or_default();
        let Ok(_permit) = self.verifications.acquire().await else {
            return Err(Problem::unavailable("the server is stopping"));
        };
        let verifying = async {
            match (asked.path, pack_id) {
                (Some(path), _) => self.verify_path(session, &path, pack_id, level, told).await,
                (None, Some(pack_id)) => self.verify_kept(session, pack_id, level, told).await,
                (None, None) => Err(Problem::bad_body("a pack is named by its `pack_id`")),
            }
        };
        let limit = self.limits.verify_for;
        let report = match tokio::time::timeout(limit, verifying).await {
            Ok(done) => done?,
            Err(_) => {
                return Err(Problem::unavailable(format!(
                    "the verification did not end in time: ask for the level `presence`, or run `runpack verify` where \
                     the pack is, seconds=`{}`",
                    limit.as_secs()
                )));
            }
        };
        told.note("verdict", &report.verdict);
        let verified = Verified::of(&report, self.limits.findings_max);
        Ok(Answer::new(verified.text(), &verified))
    }

    async fn verify_kept(
        &self,
        session: &Session,
        pack_id: PackId,
        level: Level,
        told: &mut Told,
    ) -> Result<VerifyReport, Problem> {
        // To look for a pack costs more than to ask for one.
        if !session.caller.may_anywhere(Verb::Read) {
            return Err(hidden());
        }
        let subject = self.packs.find(pack_id).await?;
        let scope = scope_of(&self.executions, &subject).await?;
        session.may_read(&scope, told)?;
        Ok(self.packs.verify(&subject, pack_id, level).await)
    }

    /// A pack that is no pack of the store. Whose it is counts as much as there: a caller of one tenant sees no other's.
    async fn verify_path(
        &self,
        session: &Session,
        path: &str,
        pack_id: Option<PackId>,
        level: Level,
        told: &mut Told,
    ) -> Result<VerifyReport, Problem> {
        let Some(root) = &self.root else {
            return Err(super::export::no_paths());
        };
        let found = root.pack(path).await;
        let found = found.map_err(|error| super::export::not_below(path, &error))?;
        let pins = pack_id.map_or_else(Pins::none, Pins::pack_id);
        let limits = self.packs.limits().clone();
        let report = match found {
            FoundPack::Directory(directory) => {
                let container: Arc<dyn Container> = Arc::new(directory);
                match Pack::open(container, &limits).await {
                    Ok(pack) => {
                        let mut options = VerifyOptions::level(level);
                        options.limits = limits;
                        pack.verify(&pins, &options).await
                    }
                    Err(report) => *report,
                }
            }
            FoundPack::File(file) => bundle(file, pins, level, limits).await?,
        };
        if let Some(manifest) = &report.manifest {
            // An execution that was opened elsewhere belongs to nobody here, and only who may do everything sees it.
            match manifest.subject() {
                Subject::Execution { .. } if session.caller.holds_store() => {}
                subject => session.may_read(&scope_of(&self.executions, subject).await?, told)?,
            }
        }
        Ok(report)
    }
}

/// Verifies a bundle on a thread that may block, and that stops when nobody waits for it any more.
async fn bundle(
    file: File,
    pins: Pins,
    level: Level,
    limits: Limits,
) -> Result<VerifyReport, Problem> {
    let stop = Stop::default();
    let source = Stoppable {
        source: BufReader::with_capacity(READ_BYTES, file),
        stopped: Arc::clone(&stop.0),
    };
    let verifying = tokio::task::spawn_blocking(move || verify_bundle(source, &limits, level));
    let outcome = verifying
        .await
        .map_err(|_| Problem::bug("a thread for blocking work was lost"))?;
    drop(stop);
    Ok(VerifyReport::of_bundle(outcome, |_| pins, level))
}

/// Stops a [`Stoppable`] when it is dropped.
#[derive(Default)]
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Stoppable<R> {
    source: R,
    stopped: Arc<AtomicBool>,
}

impl<R: Read> Read for Stoppable<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(io::Error::other("nobody waits for the verdict any more"));
        }
        self.source.read(buffer)
    }
}

impl Verified {
    fn of(report: &VerifyReport, findings_max: usize) -> Self {
        let fields = report
            .manifest
            .iter()
            .flat_map(|one| one.subject().fields());
        let findings = report.findings.iter().take(findings_max);
        let left_out = report.findings.len().saturating_sub(findings_max);
        let left_out = u64::try_from(left_out).unwrap_or(u64::MAX);
        Self {
            verdict: report.verdict.as_str(),
            level: report.level.as_str(),
            pack_id: report.pack_id().map(|id| id.to_string()),
            subject: fields.map(|(name, id)| (name.to_owned(), id)).collect(),
            rests_on: report
                .pinned_by
                .iter()
                .map(|by: &PinnedBy| by.as_str())
                .collect(),
            findings: findings
                .map(|finding| FindingTold {
                    code: finding.code.as_str(),
                    about: finding.about.as_deref().map(shown),
                    detail: shown(&finding.detail),
                })
                .collect(),
            findings_unlisted: report.findings_unlisted.saturating_add(left_out),
            notes: report.notes.iter().map(|note| shown(note)).collect(),
            artifacts_proven: report.artifacts_proven,
            bytes_read: report.bytes_read,
        }
    }

    fn text(&self) -> String {
        let rests_on = if self.rests_on.is_empty() {
            "nothing outside of the pack".to_owned()
        } else {
            self.rests_on.join(", ")
        };
        let mut text = format!(
            "{}: pack {}, level {}, rests on {rests_on}\n{} artifacts proven, {} bytes read\n",
            self.verdict,
            self.pack_id
                .as_deref()
                .unwrap_or("without a sound manifest"),
            self.level,
            self.artifacts_proven,
            self.bytes_read
        );
        for finding in self.findings.iter().take(LINES_MAX) {
            let about = finding.about.as_deref().unwrap_or("the pack");
            add(
                &mut text,
                format_args!("- {}: `{about}`: {}\n", finding.code, finding.detail),
            );
        }
        let listed = self.findings.len().saturating_sub(LINES_MAX);
        let listed = u64::try_from(listed).unwrap_or(u64::MAX);
        match self.findings_unlisted.saturating_add(listed) {
            0 => {}
            more => add(&mut text, format_args!("- and {more} more findings\n")),
        }
        for note in &self.notes {
            add(&mut text, format_args!("note: {note}\n"));
        }
        text
    }
}
