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
use runpack_core::retention::{Removed, removed};
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
/// A retention plan took the pack's artifacts or all of it, as the store says.
const REMOVED: &str = "place.removed";
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
/// (`place.vanished`, `place.changed`, `place.removed`, `place.hidden`, `place.given_up`, `pins.unread`).
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
        Self {
            code: finding.code.as_str().to_owned(),
            about: finding.about.map(short),
            detail: short(finding.detail),
        }
    }
}

fn short(text: String) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((at, _)) => text.get(..at).unwrap_or_default().to_owned(),
        None => text,
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

    /// What the store says of a removal by plan. Its word proves nothing, and nothing else is held against the pack.
    fn removed(&mut self, removed: &Removed) {
        let detail = format!(
            "a retention plan removed it, as the store says, policy=`{}` completed_at=`{}` by=`{}` receipt=`{}`",
            removed.policy, removed.completed_at, removed.by, removed.receipt
        );
        self.conclusion = Conclusion::Removed;
        self.findings = vec![Objection::new(REMOVED, short(detail))];
    }

    fn has(&self, code: &str) -> bool {
        self.findings.iter().any(|finding| finding.code == code)
    }

    /// Whether there was a pack, and is none any more, for whatever reason.
    pub(super) fn has_vanished(&self) -> bool {
        self.has(VANISHED) || (self.has(REMOVED) && self.pack_id.is_none())
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
        let place = Arc::new(StorePack::new(self.reader(), subject.clone()));
        let pack = match Pack::open(place, self.limits).await {
            Ok(pack) => pack,
            Err(report) => return Examined::of(*report),
        };
        let manifest = pack.manifest();
        let pins = match self.pins.pins(&lease.key, manifest) {
            Ok(pins) => pins,
            Err(error) => return unpinnable(manifest, &*error),
        };
        if *manifest.subject() == subject && self.is_older(manifest, &pins) {
            return older(manifest);
        }
        let mut options = VerifyOptions::level(self.level);
        options.limits = self.limits.clone();
        let mut examined = Examined::of(pack.verify(&pins, &options).await);
        if examined.has(Code::ArtifactMissing.as_str())
            && let Some(removed) =
                removed(&*self.reader(), manifest.pack_id(), Some(&lease.key)).await
            && self.has_nothing_but_a_manifest(&pack, &pins).await
        {
            examined.removed(&removed);
        }
        examined
    }

    /// Whether no artifact is there, and nothing else is wrong.
    async fn has_nothing_but_a_manifest(&self, pack: &Pack, pins: &Pins) -> bool {
        let mut options = VerifyOptions::level(Level::Presence);
        let artifacts = pack.manifest().artifacts().len();
        options.limits = self.limits.clone();
        options.limits.findings_max = artifacts.saturating_add(1);
        let findings = pack.verify(pins, &options).await.findings;
        findings.len() == artifacts
            && findings
                .iter()
                .all(|finding| finding.code == Code::ArtifactMissing)
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
        let placed = match &lease.location {
            Location::Bundle { pack_id, .. } => Some(*pack_id),
            _ => None,
        };
        let pins_of = |manifest: &Manifest| {
            let mut pins = self.pins.pins(&lease.key, manifest)?;
            pins.placed = placed;
            Ok::<_, BoxError>(pins)
        };
        if self.since.is_some() {
            let limits = self.limits.clone();
            let first = stored.read(move |source| first_manifest(source, limits));
            if let Ok(manifest) = first.await?
                && pins_of(&manifest).is_ok_and(|pins| self.is_older(&manifest, &pins))
            {
                return Ok(older(&manifest));
            }
        }
        let (limits, level) = (self.limits.clone(), self.level);
        let outcome = stored
            .read(move |source| verify_bundle(source, &limits, level))
            .await?;
        let mut unread = None;
        let pins = match outcome.manifest.as_deref().map(pins_of) {
            Some(Ok(pins)) => pins,
            Some(Err(error)) => {
                unread = Some(Objection::new(PINS_UNREAD, chain(&*error)));
                let mut pins = Pins::none();
                pins.placed = placed;
                pins
            }
            None => Pins::none(),
        };
        let mut examined = Examined::of(VerifyReport::of_bundle(outcome, |_| pins, self.level));
        if let Some(objection) = unread {
            // What is wrong with it stays wrong.
            if examined.conclusion != Conclusion::Invalid {
                examined.conclusion = Conclusion::Undecided;
            }
            examined.findings.insert(0, objection);
        }
        Ok(examined)
    }

    /// Whether the pack is older than what the audit is about, as far as that is not what somebody made up: the manifest is
    /// all that is looked at, so nothing may be known that it contradicts.
    fn is_older(&self, manifest: &Manifest, pins: &Pins) -> bool {
        let is_older = self
            .since
            .is_some_and(|since| manifest.created_at() < since);
        is_older && pins.check(manifest).1.is_empty()
    }

    /// Holds what was found against what was known.
    async fn compare(&self, lease: &Lease, examined: &mut Examined) {
        let is_missing =
            examined.has(Code::ManifestMissing.as_str()) && self.is_gone(&lease.key).await;
        match (lease.known, examined.pack_id) {
            (Some(known), Some(found)) if known != found => {
                let detail = format!(
                    "another pack lay here when it was last seen, known=`{known}` found=`{found}`"
                );
                examined.object(CHANGED, detail);
            }
            (Some(known), None) if is_missing => {
                if let Some(removed) = removed(&*self.reader(), known, Some(&lease.key)).await {
                    examined.removed(&removed);
                    return;
                }
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

    /// Whether the store has nothing there: a bundle without a manifest has none either, and is no pack that was removed.
    async fn is_gone(&self, key: &ObjectKey) -> bool {
        let there = self.store.oldest(key).await;
        matches!(there, Err(StoreError::NotFound { .. }))
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
