//! Verifying what lies at one place, and holding it against what was known before.
//!
//! The core's verifier decides about the pack. What was known beforehand only adds objections; it vouches for nothing.

use std::sync::Arc;

use futures_util::StreamExt as _;
use runpack_core::bundle::{first_manifest, verify_bundle};
use runpack_core::display::chain;
use runpack_core::id::PackId;
use runpack_core::key::{KeyPrefix, Location, ObjectKey};
use runpack_core::limits::Limits;
use runpack_core::manifest::{Manifest, Subject};
use runpack_core::pin::Pins;
use runpack_core::store::{ArtifactReader, StoreError, Stored};
use runpack_core::time::Timestamp;
use runpack_core::verify::{Code, Finding, Level, Pack, StorePack, VerifyOptions, VerifyReport};
use serde::{Deserialize, Serialize};

use super::lease::Lease;
use super::watch::Watch;
use super::{BoxError, Conclusion};

/// There was a pack, and there is none any more.
const VANISHED: &str = "place.vanished";
/// There was another pack.
const CHANGED: &str = "place.changed";
/// The pack is there, and the store does not list it.
const HIDDEN: &str = "place.hidden";
/// What vouches for the pack could not be read.
const PINS_UNREAD: &str = "pins.unread";
/// Nobody who took the place came back with a conclusion.
const GIVEN_UP: &str = "place.given_up";
/// How many entries of a listing are looked at to see whether it shows one key.
const ENTRIES_MAX: usize = 1_000;
/// How many characters of a text are kept.
const TEXT_MAX: usize = 1_000;

/// What a caller knows of packs beforehand ([`Pins`]); it is asked once for each pack, with the key of its manifest or
/// bundle.
pub trait PinSource: Send + Sync {
    /// What is known of the pack with this manifest.
    ///
    /// # Errors
    /// It could not be read: then the pack is undecided.
    fn pins(&self, key: &ObjectKey, manifest: &Manifest) -> Result<Pins, BoxError>;
}

/// One thing that an audit objects to: a finding of the verifier, or what differs from what was known of the place
/// (`place.vanished`, `place.changed`, `place.hidden`, `place.given_up`, `pins.unread`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Objection {
    /// The stable code.
    pub code: String,
    /// The artifact or path that it is about. Untrusted text: show it escaped.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub about: Option<String>,
    /// What was found, for people. May quote untrusted text: show it escaped.
    pub detail: String,
}

impl Objection {
    fn new(code: &str, detail: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            about: None,
            detail: detail.into(),
        }
    }
}

impl From<Finding> for Objection {
    fn from(finding: Finding) -> Self {
        let short = |text: String| match text.char_indices().nth(TEXT_MAX) {
            Some((at, _)) => text.get(..at).unwrap_or_default().to_owned(),
            None => text,
        };
        Self {
            code: finding.code.as_str().to_owned(),
            about: finding.about.map(short),
            detail: short(finding.detail),
        }
    }
}

/// What was concluded of a place.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Examined {
    /// The conclusion.
    pub conclusion: Conclusion,
    /// The pack that lies there, where its manifest is sound.
    pub pack_id: Option<PackId>,
    /// Its artifacts.
    pub artifacts: u64,
    /// Bytes that were read.
    pub bytes_read: u64,
    /// What vouches for it.
    pub pinned_by: Vec<&'static str>,
    /// What is objected to.
    pub findings: Vec<Objection>,
}

impl Examined {
    /// Nobody who took the place came back with a conclusion.
    pub(super) fn given_up(attempts: u64) -> Self {
        let detail = format!(
            "whoever took this place died or was cut off, and it is not tried again, attempts=`{attempts}`"
        );
        Self::undecided(Objection::new(GIVEN_UP, detail))
    }

    fn undecided(objection: Objection) -> Self {
        Self {
            conclusion: Conclusion::Undecided,
            pack_id: None,
            artifacts: 0,
            bytes_read: 0,
            pinned_by: Vec::new(),
            findings: vec![objection],
        }
    }

    fn of(report: VerifyReport) -> Self {
        let artifacts = report.manifest.as_ref();
        let artifacts = artifacts.map_or(0, |manifest| manifest.artifacts().len());
        Self {
            conclusion: report.verdict.into(),
            pack_id: report.pack_id(),
            artifacts: u64::try_from(artifacts).unwrap_or(u64::MAX),
            bytes_read: report.bytes_read,
            pinned_by: report.pinned_by.iter().map(|by| by.as_str()).collect(),
            findings: report.findings.into_iter().map(Objection::from).collect(),
        }
    }

    fn object(&mut self, code: &str, detail: String) {
        self.conclusion = Conclusion::Invalid;
        self.findings.insert(0, Objection::new(code, detail));
    }

    /// Whether there was a pack, and is none any more.
    pub(super) fn has_vanished(&self) -> bool {
        self.findings.iter().any(|finding| finding.code == VANISHED)
    }

    pub(super) fn findings_as_json(&self) -> Option<String> {
        // Texts always serialize.
        (!self.findings.is_empty())
            .then(|| serde_json::to_string(&self.findings).unwrap_or_default())
    }
}

/// How places are examined.
pub(super) struct Examination<'a> {
    pub(super) store: &'a Arc<Watch>,
    pub(super) level: Level,
    pub(super) since: Option<Timestamp>,
    pub(super) limits: &'a Limits,
    pub(super) pins: &'a dyn PinSource,
}

impl Examination<'_> {
    /// Looks at a place.
    pub(super) async fn of(&self, lease: &Lease) -> Examined {
        let mut examined = match lease.location.manifest_subject() {
            Some(subject) => self.files(lease, subject).await,
            None => self.bundle(lease).await,
        };
        self.compare(lease, &mut examined).await;
        examined
    }

    fn reader(&self) -> Arc<dyn ArtifactReader> {
        let reader: Arc<Watch> = Arc::clone(self.store);
        reader
    }

    async fn files(&self, lease: &Lease, subject: Subject) -> Examined {
        let place = Arc::new(StorePack::new(self.reader(), subject));
        let pack = match Pack::open(place, self.limits).await {
            Ok(pack) => pack,
            Err(report) => return Examined::of(*report),
        };
        if self.is_older(pack.manifest()) {
            return older(pack.manifest());
        }
        let pins = match self.pins.pins(&lease.key, pack.manifest()) {
            Ok(pins) => pins,
            Err(error) => return unpinnable(pack.manifest(), &*error),
        };
        let mut options = VerifyOptions::level(self.level);
        options.limits = self.limits.clone();
        Examined::of(pack.verify(&pins, &options).await)
    }

    async fn bundle(&self, lease: &Lease) -> Examined {
        match self.bundled(lease).await {
            Ok(examined) => examined,
            Err(error) => {
                let (conclusion, code) = match &error {
                    StoreError::NotFound { .. } => (Conclusion::Invalid, Code::ManifestMissing),
                    _ => (Conclusion::Undecided, Code::ManifestUnread),
                };
                let finding = Finding::new(code, chain(&error));
                Examined {
                    conclusion,
                    ..Examined::undecided(finding.into())
                }
            }
        }
    }

    async fn bundled(&self, lease: &Lease) -> Result<Examined, StoreError> {
        let stored = Stored::find(self.reader(), &lease.key).await?;
        if self.since.is_some() {
            let limits = self.limits.clone();
            let first = stored.read(move |source| first_manifest(source, limits));
            if let Ok(manifest) = first.await?
                && self.is_older(&manifest)
            {
                return Ok(older(&manifest));
            }
        }
        let (limits, level) = (self.limits.clone(), self.level);
        let outcome = stored
            .read(move |source| verify_bundle(source, &limits, level))
            .await?;
        let pins = match &outcome.manifest {
            Some(manifest) => match self.pins.pins(&lease.key, manifest) {
                Ok(pins) => pins,
                Err(error) => return Ok(unpinnable(manifest, &*error)),
            },
            None => Pins::none(),
        };
        let placed = match &lease.location {
            Location::Bundle { pack_id, .. } => Some(*pack_id),
            _ => None,
        };
        let pins = |_: &Manifest| {
            let mut pins = pins;
            pins.placed = placed;
            pins
        };
        Ok(Examined::of(VerifyReport::of_bundle(
            outcome, pins, self.level,
        )))
    }

    fn is_older(&self, manifest: &Manifest) -> bool {
        self.since
            .is_some_and(|since| manifest.created_at() < since)
    }

    /// Holds what was found against what was known.
    async fn compare(&self, lease: &Lease, examined: &mut Examined) {
        let missing = Code::ManifestMissing.as_str();
        let is_missing = examined.findings.iter().any(|one| one.code == missing);
        match (lease.known, examined.pack_id) {
            (Some(known), Some(found)) if known != found => {
                let detail = format!(
                    "another pack lay here when it was last seen, known=`{known}` found=`{found}`"
                );
                examined.object(CHANGED, detail);
            }
            (Some(known), None) if is_missing => {
                let detail =
                    format!("a pack lay here when it was last seen, and is gone, known=`{known}`");
                examined.object(VANISHED, detail);
            }
            _ => {}
        }
        if !lease.is_listed && !is_missing && self.is_hidden(&lease.key).await {
            examined.object(
                HIDDEN,
                "the pack is there, and the listing of the store leaves it out".to_owned(),
            );
        }
    }

    /// Whether the store does not list a key of its own: one that came after it was listed it does.
    async fn is_hidden(&self, key: &ObjectKey) -> bool {
        let mut entries = self.store.list(&KeyPrefix::of(key)).take(ENTRIES_MAX);
        while let Some(entry) = entries.next().await {
            match entry {
                Ok(entry) if entry.key == key.as_str() => return false,
                Ok(_) => {}
                // Nobody can tell; that the pack is there and verified is told anyway.
                Err(_) => return false,
            }
        }
        true
    }
}

fn older(manifest: &Manifest) -> Examined {
    Examined {
        conclusion: Conclusion::Older,
        pack_id: Some(manifest.pack_id()),
        artifacts: u64::try_from(manifest.artifacts().len()).unwrap_or(u64::MAX),
        bytes_read: 0,
        pinned_by: Vec::new(),
        findings: Vec::new(),
    }
}

fn unpinnable(manifest: &Manifest, error: &(dyn std::error::Error + Send + Sync)) -> Examined {
    let detail = chain(error);
    Examined {
        pack_id: Some(manifest.pack_id()),
        ..Examined::undecided(Objection::new(PINS_UNREAD, detail))
    }
}
