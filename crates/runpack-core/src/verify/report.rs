//! What a verification found, and the verdict that follows from it.

use std::fmt;
use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::content::Checked;
use super::{Code, Container, Finding, Findings, Level, VerifiedPack};
use crate::bundle::BundleOutcome;
use crate::display::Printable;
use crate::id::PackId;
use crate::manifest::Manifest;
use crate::pin::{PinnedBy, Pins};

/// What is noted of the pack of a pipeline's run where no more than that was looked at.
pub(crate) const PIPELINE_UNPROVEN: &str = "pipeline unproven: the packs of the steps were not looked at, nor what they \
     tell together; `runpack pipeline verify` looks at them where they lie";

/// What a verification concludes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Pinned, and everything holds.
    Valid,
    /// Everything that was looked at holds, but nothing outside the pack says that it is the one
    /// that was made, or its content was not looked at.
    Consistent,
    /// Something could not be read.
    Undecided,
    /// Something is wrong.
    Invalid,
}

impl Verdict {
    /// The name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Consistent => "consistent",
            Self::Undecided => "undecided",
            Self::Invalid => "invalid",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a verification found.
#[derive(Debug)]
#[non_exhaustive]
pub struct VerifyReport {
    /// The conclusion.
    pub verdict: Verdict,
    /// How much was checked.
    pub level: Level,
    /// The manifest; `None` where it is not sound.
    pub manifest: Option<Arc<Manifest>>,
    /// What the verdict rests on.
    pub pinned_by: Vec<PinnedBy>,
    /// What the verifier objects to, up to the limit.
    pub findings: Vec<Finding>,
    /// How many more findings there are.
    pub findings_unlisted: u64,
    /// What is worth saying and bears on nothing.
    pub notes: Vec<String>,
    /// Artifacts whose bytes were compared with their commitments, and hold.
    pub artifacts_proven: u64,
    /// Bytes that were read.
    pub bytes_read: u64,
    container: Option<Arc<dyn Container>>,
}

pub(super) struct Parts {
    pub(super) manifest: Arc<Manifest>,
    pub(super) container: Option<Arc<dyn Container>>,
    pub(super) level: Level,
    pub(super) pinned_by: Vec<PinnedBy>,
    pub(super) findings: Findings,
    pub(super) notes: Vec<String>,
    pub(super) checked: Checked,
}

impl VerifyReport {
    pub(super) fn without_manifest(finding: Finding) -> Self {
        let verdict = if finding.code.is_undecided() {
            Verdict::Undecided
        } else {
            Verdict::Invalid
        };
        Self {
            verdict,
            level: Level::Full,
            manifest: None,
            pinned_by: Vec::new(),
            findings: vec![finding],
            findings_unlisted: 0,
            notes: Vec::new(),
            artifacts_proven: 0,
            bytes_read: 0,
            container: None,
        }
    }

    pub(super) fn conclude(parts: Parts) -> Self {
        let Parts {
            manifest,
            container,
            level,
            pinned_by,
            findings,
            mut notes,
            checked,
        } = parts;
        let verdict = if findings.has_invalid {
            Verdict::Invalid
        } else if findings.has_undecided {
            Verdict::Undecided
        } else if pinned_by.is_empty() || level == Level::Presence {
            Verdict::Consistent
        } else {
            Verdict::Valid
        };
        if level == Level::Presence {
            notes.push("content unproven: sizes were compared, bytes were not read".to_owned());
        }
        if matches!(manifest.subject(), crate::manifest::Subject::Run { .. })
            && manifest.spec().is_none()
        {
            notes.push("spec unproven: the specification itself is not in the pack".to_owned());
        }
        if matches!(
            manifest.subject(),
            crate::manifest::Subject::Pipeline { .. }
        ) {
            notes.push(PIPELINE_UNPROVEN.to_owned());
        }
        let claimed = manifest
            .artifacts()
            .iter()
            .filter(|a| a.claimed_sha256().is_some())
            .count();
        if claimed > 0 && level != Level::Deep {
            notes.push(format!(
                "claimed digests not checked: artifacts={claimed} carry one, --deep checks it"
            ));
        }
        Self {
            verdict,
            level,
            manifest: Some(manifest),
            pinned_by,
            findings: findings.listed,
            findings_unlisted: findings.unlisted,
            notes,
            artifacts_proven: checked.artifacts_proven,
            bytes_read: checked.bytes_read,
            container,
        }
    }

    /// The report on a bundle that was read to its end, or to where it broke. `pins` is asked what is
    /// known of the pack where the manifest is sound.
    pub fn of_bundle(
        outcome: BundleOutcome,
        pins: impl FnOnce(&Manifest) -> Pins,
        level: Level,
    ) -> Self {
        let mut findings = Findings::default();
        let Some(manifest) = outcome.manifest else {
            let missing = || Finding::new(Code::ManifestMissing, "the bundle has no manifest");
            let first = outcome.findings.into_iter().next();
            return Self::without_manifest(first.unwrap_or_else(missing));
        };
        let (pinned_by, objections) = pins(&manifest).check(&manifest);
        for finding in objections.into_iter().chain(outcome.findings) {
            findings.push(finding, usize::MAX);
        }
        findings.count(outcome.findings_unlisted);
        let checked = Checked {
            artifacts_proven: outcome.artifacts_proven,
            bytes_read: outcome.bytes_checked,
        };
        Self::conclude(Parts {
            manifest,
            container: None,
            level,
            pinned_by,
            findings,
            notes: Vec::new(),
            checked,
        })
    }

    /// The pack id, where the manifest is sound.
    pub fn pack_id(&self) -> Option<PackId> {
        self.manifest.as_ref().map(|manifest| manifest.pack_id())
    }

    /// The verified pack.
    ///
    /// # Errors
    /// The report itself, where the verdict is anything but valid.
    pub fn into_verified(self) -> Result<VerifiedPack, Box<Self>> {
        match (self.verdict, &self.manifest) {
            (Verdict::Valid, Some(manifest)) => Ok(VerifiedPack {
                manifest: Arc::clone(manifest),
                container: self.container.clone(),
            }),
            _ => Err(Box::new(self)),
        }
    }
}

/// One line: the verdict and the first finding.
impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the pack is {}", self.verdict)?;
        match self.findings.first() {
            Some(first) => write!(f, ": {}: {}", first.code, Printable(&first.detail)),
            None => Ok(()),
        }
    }
}

/// A report is what stands where a verified pack was wanted.
impl std::error::Error for VerifyReport {}

/// The report as JSON: `Docs/cli/verify.schema.json`.
impl Serialize for VerifyReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("verdict", self.verdict.as_str())?;
        map.serialize_entry("level", self.level.as_str())?;
        if let Some(manifest) = &self.manifest {
            map.serialize_entry("pack_id", &manifest.pack_id())?;
            map.serialize_entry("subject", manifest.subject())?;
            map.serialize_entry("created_at", &manifest.created_at())?;
            map.serialize_entry("artifacts", &manifest.artifacts().len())?;
            map.serialize_entry("artifact_bytes", &manifest.artifact_bytes())?;
        }
        map.serialize_entry("pinned_by", &self.pinned_by)?;
        map.serialize_entry("artifacts_proven", &self.artifacts_proven)?;
        map.serialize_entry("bytes_read", &self.bytes_read)?;
        map.serialize_entry("findings", &self.findings)?;
        map.serialize_entry("findings_unlisted", &self.findings_unlisted)?;
        map.serialize_entry("notes", &self.notes)?;
        map.end()
    }
}
