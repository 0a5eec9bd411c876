//! Verifying a pipeline's run where it lies: its own pack, then the pack of every step, pinned by the run's, then whether
//! what they say agrees.
//!
//! Invariants: the run's pack id pins everything, so a run is valid where its own pack is and all else holds; what could
//! not be read makes it undecided, and nothing makes a verdict better; a document is read only as verified bytes, within
//! its bound, and all manifests of steps together are within the bound of one manifest.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::agent;
use super::agree::{self, Parts};
use super::document::DOCUMENT_BYTES_MAX;
use super::metadata::Metadata;
use super::plan::Plan;
use super::step::Packs;
use super::trail::{TRAIL_BYTES_MAX, Trail};
use crate::display::chain;
use crate::finding::{Code, Finding, Findings};
use crate::id::{PackId, PipelineHash, PipelineTenant, RunId, StepId};
use crate::manifest::{Artifact, Manifest, RunPart, Subject};
use crate::pin::Pins;
use crate::read::{PinnedPack, ReadError};
use crate::store::ArtifactReader;
use crate::verify::{PIPELINE_UNPROVEN, Pack, StorePack, Verdict, VerifyOptions, VerifyReport};

/// A pipeline's run in a store.
#[derive(Debug)]
pub struct PipelineRun {
    reader: Arc<dyn ArtifactReader>,
    tenant: PipelineTenant,
    run_id: RunId,
}

/// What a verification of a run found.
#[derive(Debug)]
#[non_exhaustive]
pub struct RunReport {
    /// The conclusion over all of it.
    pub verdict: Verdict,
    /// On the run's own pack.
    pub run: VerifyReport,
    /// On the packs of its steps.
    pub steps: Vec<VerifiedStep>,
    /// What the verifier objects to in steps and in what they say together, up to the limit. Those of the run's own pack
    /// are in its report.
    pub findings: Vec<Finding>,
    /// How many more there are.
    pub findings_unlisted: u64,
    /// What is worth saying and bears on nothing.
    pub notes: Vec<String>,
    /// What became of the run, as far as it could be read.
    pub metadata: Option<Metadata>,
}

/// A step whose pack was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifiedStep {
    /// Which step.
    pub step_id: StepId,
    /// Its pack, as the run commits to it.
    pub pack_id: PackId,
    /// What was found of it, pinned by the run's pack.
    pub verdict: Verdict,
    /// Artifacts whose bytes were compared with their commitments, and hold.
    pub artifacts_proven: u64,
    /// Bytes that were read.
    pub bytes_read: u64,
}

impl PipelineRun {
    /// The run of this id in a store.
    pub fn new(reader: Arc<dyn ArtifactReader>, tenant: PipelineTenant, run_id: RunId) -> Self {
        Self {
            reader,
            tenant,
            run_id,
        }
    }

    /// Whose pack the run's own is.
    pub fn subject(&self) -> Subject {
        Subject::Pipeline {
            tenant: self.tenant.clone(),
            run_id: self.run_id.clone(),
        }
    }

    pub(super) fn reader(&self) -> &dyn ArtifactReader {
        &*self.reader
    }

    /// Reads and checks the manifest of the run's own pack.
    ///
    /// # Errors
    /// The report that says what is wrong with it.
    pub async fn open(&self, options: &VerifyOptions) -> Result<Pack, Box<VerifyReport>> {
        let container = StorePack::new(Arc::clone(&self.reader), self.subject());
        Pack::open(Arc::new(container), &options.limits).await
    }

    /// Verifies everything. `pins` are those of the run's own pack.
    pub async fn verify(&self, pack: &Pack, pins: &Pins, options: &VerifyOptions) -> RunReport {
        let mut run = pack.verify(pins, options).await;
        let mut check = Check {
            run: self,
            options,
            findings: Findings::default(),
            steps: Vec::new(),
            notes: Vec::new(),
        };
        // What the run's own pack does not hold is not worth reading.
        let metadata = if run.verdict == Verdict::Invalid {
            None
        } else {
            run.notes.retain(|note| note != PIPELINE_UNPROVEN);
            check.all(pack).await
        };
        check.conclude(run, metadata)
    }
}

impl RunReport {
    /// The report on a run whose manifest is not sound.
    pub fn without_manifest(run: VerifyReport) -> Self {
        Self {
            verdict: run.verdict,
            run,
            steps: Vec::new(),
            findings: Vec::new(),
            findings_unlisted: 0,
            notes: Vec::new(),
            metadata: None,
        }
    }
}

/// A verification under way.
struct Check<'a> {
    run: &'a PipelineRun,
    options: &'a VerifyOptions,
    findings: Findings,
    steps: Vec<VerifiedStep>,
    notes: Vec<String>,
}

impl Check<'_> {
    fn object(&mut self, finding: Finding) {
        self.findings
            .push(finding, self.options.limits.findings_max);
    }

    async fn all(&mut self, pack: &Pack) -> Option<Metadata> {
        // Its own id: what is read is what the manifest that was just looked at commits to.
        let pins = Pins::pack_id(pack.manifest().pack_id());
        let own = match pack.pinned(&pins) {
            Ok(own) => own,
            Err(findings) => {
                for finding in findings {
                    self.object(finding);
                }
                return None;
            }
        };
        let plan = self.document(&own, &RunPart::Plan, Plan::parse).await;
        let trail = self
            .document(&own, &RunPart::AuditTrail, Trail::parse)
            .await;
        let metadata = self
            .document(&own, &RunPart::Metadata, Metadata::parse)
            .await;
        let packs = self.packs(&own).await;
        let definition = own.manifest().artifact(&RunPart::Definition.name())?;
        let (plan, trail, metadata) = (plan?, trail?, metadata?);
        let Some(packs) = packs else {
            // Whatever is said of steps that were not looked at would be said of each of them.
            return Some(metadata);
        };
        let found = agree::findings(&Parts {
            tenant: &self.run.tenant,
            run_id: &self.run.run_id,
            pipeline_hash: PipelineHash::new(definition.commitment()),
            plan: &plan,
            trail: &trail,
            metadata: &metadata,
            labels: own.manifest().labels(),
            packs: &packs,
        });
        for finding in found {
            self.object(finding);
        }
        self.agents(&plan).await;
        self.tell_foreign(&packs);
        Some(metadata)
    }

    /// A document of the run's own pack, parsed. A larger one than it may be is not read.
    async fn document<T, E: std::error::Error + 'static>(
        &mut self,
        own: &PinnedPack,
        part: &RunPart,
        parse: fn(&[u8]) -> Result<T, E>,
    ) -> Option<T> {
        let (code, bytes_max) = match part {
            RunPart::AuditTrail => (Code::PipelineTrail, TRAIL_BYTES_MAX),
            RunPart::Metadata => (Code::PipelineMetadata, DOCUMENT_BYTES_MAX),
            _ => (Code::PipelinePlan, DOCUMENT_BYTES_MAX),
        };
        let name = part.name();
        let bytes = own.manifest().artifact(&name)?.bytes();
        let fault = if bytes > bytes_max {
            format!("larger than it may be, bytes=`{bytes}` bytes_max=`{bytes_max}`")
        } else {
            match parse(&self.read(own, &name, bytes).await?) {
                Ok(parsed) => return Some(parsed),
                Err(error) => chain(&error),
            }
        };
        self.object(Finding::new(code, fault).about(name));
        None
    }

    /// An artifact of the run's own pack as verified bytes.
    async fn read(&mut self, own: &PinnedPack, name: &str, bytes: u64) -> Option<Vec<u8>> {
        let error = match own.read_to_vec(name, bytes).await {
            Ok(bytes) => return Some(bytes),
            Err(error) => error,
        };
        // A verification at the level presence has not read it before.
        let code = match &error {
            ReadError::Damaged { .. } => Code::ArtifactDigest,
            ReadError::Lost { .. } | ReadError::NoSuchArtifact { .. } => Code::ArtifactMissing,
            ReadError::Store(_) => Code::ArtifactUnread,
        };
        self.object(Finding::new(code, chain(&error)).about(name));
        None
    }

    /// The packs of the steps that the run's pack lists, each verified; `None` where they are more than may be.
    async fn packs(&mut self, own: &PinnedPack) -> Option<Packs> {
        let mut packs = Packs::new();
        let bytes_max = self.options.limits.manifest_bytes_max;
        let mut left = bytes_max;
        for artifact in own.manifest().artifacts() {
            let name = artifact.name().as_str();
            let Some(RunPart::Step(step_id)) = RunPart::named(name) else {
                continue;
            };
            let Some(rest) = left.checked_sub(artifact.bytes()) else {
                let detail = format!(
                    "the manifests of all steps are larger than the limit, and from this one on none was looked at, \
                     bytes_max=`{bytes_max}`"
                );
                self.object(Finding::new(Code::ManifestLimit, detail).about(name));
                return None;
            };
            left = rest;
            let pack_id = PackId::new(artifact.commitment());
            let Some(bytes) = self.read(own, name, artifact.bytes()).await else {
                continue;
            };
            let manifest = match Manifest::parse(&bytes, &self.options.limits) {
                Ok(manifest) => Arc::new(manifest),
                Err(error) => {
                    self.object(Finding::from(&error).about(name));
                    continue;
                }
            };
            let subject = Subject::Step {
                tenant: self.run.tenant.clone(),
                run_id: self.run.run_id.clone(),
                step_id: step_id.clone(),
            };
            if *manifest.subject() != subject {
                let detail =
                    "the manifest of another step, or of another run, stands in this one's place";
                self.object(Finding::new(Code::PipelineStep, detail).about(name));
                continue;
            }
            self.step(step_id.clone(), pack_id, subject).await;
            packs.insert(step_id, manifest);
        }
        Some(packs)
    }

    /// Verifies the pack of a step, pinned by the run's.
    async fn step(&mut self, step_id: StepId, pack_id: PackId, subject: Subject) {
        let container = Arc::new(StorePack::new(Arc::clone(&self.run.reader), subject));
        let report = match Pack::open(container, &self.options.limits).await {
            Ok(pack) => pack.verify(&Pins::pack_id(pack_id), self.options).await,
            Err(report) => *report,
        };
        let place = |about: Option<&str>| match about {
            Some(about) => format!("steps/{step_id}/{about}"),
            None => RunPart::Step(step_id.clone()).name(),
        };
        for mut finding in report.findings {
            finding.about = Some(place(finding.about.as_deref()));
            self.findings
                .push(finding, self.options.limits.findings_max);
        }
        // What is not listed may be what could not be read as well as what is wrong: the verdict tells.
        self.findings.unlisted = self
            .findings
            .unlisted
            .saturating_add(report.findings_unlisted);
        self.findings.has_invalid |= report.verdict == Verdict::Invalid;
        self.findings.has_undecided |= report.verdict == Verdict::Undecided;
        let notes = report.notes.into_iter();
        self.notes
            .extend(notes.map(|note| format!("step {step_id}: {note}")));
        self.steps.push(VerifiedStep {
            verdict: report.verdict,
            artifacts_proven: report.artifacts_proven,
            bytes_read: report.bytes_read,
            step_id,
            pack_id,
        });
    }

    /// Where the plan says which entry of the registry an agent must be, it is that one.
    async fn agents(&mut self, plan: &Plan) {
        for (agent, sha256) in plan.pinned_agents() {
            match agent::check_agent(&*self.run.reader, &agent, sha256).await {
                Ok(None) => {}
                Ok(Some(finding)) => self.object(finding),
                Err(error) => {
                    let finding = Finding::new(Code::ArtifactUnread, chain(&error));
                    self.object(finding.about(format!("agent {agent}")));
                }
            }
        }
    }

    /// What comes from packs of something else is not followed.
    fn tell_foreign(&mut self, packs: &Packs) {
        let own: BTreeSet<PackId> = packs.values().map(|pack| pack.pack_id()).collect();
        let artifacts = packs.values().flat_map(|pack| pack.artifacts());
        let foreign: BTreeSet<PackId> = artifacts
            .flat_map(Artifact::inputs)
            .map(|input| input.pack)
            .filter(|pack| !own.contains(pack))
            .collect();
        if !foreign.is_empty() {
            let packs = foreign.len();
            self.notes.push(format!(
                "inputs come from packs of something else, which were not looked at: packs={packs}"
            ));
        }
    }

    fn conclude(self, run: VerifyReport, metadata: Option<Metadata>) -> RunReport {
        let verdict = if run.verdict == Verdict::Invalid || self.findings.has_invalid {
            Verdict::Invalid
        } else if run.verdict == Verdict::Undecided || self.findings.has_undecided {
            Verdict::Undecided
        } else {
            run.verdict
        };
        RunReport {
            verdict,
            run,
            steps: self.steps,
            findings: self.findings.listed,
            findings_unlisted: self.findings.unlisted,
            notes: self.notes,
            metadata,
        }
    }
}
