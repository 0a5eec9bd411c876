//! The one verifier. Command line, server, browser and tests all come through here.
//!
//! [`Pack::open`] reads and checks the manifest of a [`Container`]; [`Pack::verify`] checks what is
//! known of it and every byte, on every core; a [`VerifyReport`] says what was found.
//! [`VerifyReport::into_verified`] is the only door to a [`VerifiedPack`].
//!
//! Invariants: everything is collected, not only the first finding; a fault never gives a better
//! verdict; nothing that the container says of itself (sizes, listings) is believed; memory does not
//! grow with the pack beyond its manifest.

mod content;
mod report;

use std::sync::Arc;

use futures_util::future::join;

pub use crate::container::{Container, ManifestFound, StorePack, Unlisted};
pub use crate::finding::{Code, Finding};
pub use crate::level::Level;
pub(crate) use report::PIPELINE_UNPROVEN;
pub use report::{Verdict, VerifyReport};

pub(crate) use crate::finding::Findings;

use crate::count::len_u64;
use crate::display::chain;
use crate::limits::Limits;
use crate::manifest::Manifest;
use crate::pin::{PinnedBy, Pins};
use crate::progress::Progress;
use crate::read::PinnedPack;
use crate::store::StoreError;

/// What a caller may choose.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct VerifyOptions {
    /// How much is checked.
    pub level: Level,
    /// The bounds.
    pub limits: Limits,
    /// Where to count what was done.
    pub progress: Arc<Progress>,
}

impl VerifyOptions {
    /// Options of this level, all else by default.
    pub fn level(level: Level) -> Self {
        Self {
            level,
            ..Self::default()
        }
    }
}

/// A pack whose manifest is sound; of its content nothing is known yet.
#[derive(Debug)]
pub struct Pack {
    container: Arc<dyn Container>,
    manifest: Arc<Manifest>,
    equivocal: bool,
}

impl Pack {
    /// Reads and checks the manifest.
    ///
    /// # Errors
    /// The report that says what is wrong with it.
    pub async fn open(
        container: Arc<dyn Container>,
        limits: &Limits,
    ) -> Result<Self, Box<VerifyReport>> {
        let failed = |finding| Box::new(VerifyReport::without_manifest(finding));
        match container.manifest(limits.manifest_bytes_max).await {
            Ok(ManifestFound {
                bytes: Some(bytes),
                equivocal,
            }) => {
                let manifest = match Manifest::parse(&bytes, limits) {
                    Ok(manifest) => Arc::new(manifest),
                    Err(error) => return Err(failed(Finding::from(&error))),
                };
                drop(bytes);
                match container.expect(&manifest).await {
                    Ok(()) => Ok(Self {
                        container,
                        manifest,
                        equivocal,
                    }),
                    Err(error) => Err(failed(Finding::new(Code::ManifestUnread, chain(&error)))),
                }
            }
            Ok(ManifestFound { bytes: None, .. }) => Err(failed(Finding::new(
                Code::ManifestSize,
                format!(
                    "the manifest is larger than the limit, bytes_max=`{}`",
                    limits.manifest_bytes_max
                ),
            ))),
            Err(StoreError::NotFound { key }) => Err(failed(Finding::new(
                Code::ManifestMissing,
                format!(
                    "there is no manifest: an export that did not finish, or no pack, key=`{key}`"
                ),
            ))),
            Err(error @ StoreError::Unsafe { .. }) => {
                Err(failed(Finding::new(Code::ManifestSize, error.to_string())))
            }
            Err(error) => Err(failed(Finding::new(Code::ManifestUnread, chain(&error)))),
        }
    }

    /// The manifest.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// The container.
    pub fn container(&self) -> &Arc<dyn Container> {
        &self.container
    }

    /// Holds the pins against the manifest and, where one of them matches and none fails, gives the
    /// pack for reading: each byte it hands out was checked on the way.
    ///
    /// # Errors
    /// What the pins object to; nothing where none of them could vouch for the pack.
    pub fn pinned(&self, pins: &Pins) -> Result<PinnedPack, Vec<Finding>> {
        let (matched, findings) = self.check_pins(pins);
        if matched.is_empty() || !findings.is_empty() {
            return Err(findings);
        }
        Ok(PinnedPack::new(
            Arc::clone(&self.container),
            Arc::clone(&self.manifest),
        ))
    }

    /// What is known beforehand includes the place: a pack of another subject does not belong there.
    fn check_pins(&self, pins: &Pins) -> (Vec<PinnedBy>, Vec<Finding>) {
        let (matched, mut findings) = pins.check(&self.manifest);
        let expected = self.container.subject();
        let is_elsewhere = expected.is_some_and(|expected| expected != self.manifest.subject());
        if is_elsewhere
            && !findings
                .iter()
                .any(|finding| finding.code == Code::PinIdentity)
        {
            let detail = "a manifest of another subject stands in this one's place";
            findings.push(Finding::new(Code::PinIdentity, detail));
        }
        (matched, findings)
    }

    /// Checks the pins, every artifact, and what should not be there.
    pub async fn verify(&self, pins: &Pins, options: &VerifyOptions) -> VerifyReport {
        let findings_max = options.limits.findings_max;
        let mut findings = Findings::default();
        let (pinned_by, pin_findings) = self.check_pins(pins);
        for finding in pin_findings {
            findings.push(finding, findings_max);
        }
        if self.equivocal && pinned_by.is_empty() {
            let detail = "the store has more than one manifest for this subject, and nothing says which was made: \
                          verify with a pack id, a key or a receipt";
            findings.push(Finding::new(Code::StoreEquivocation, detail), findings_max);
        }
        // Content keeps the workers busy; the listing is looked at meanwhile.
        let (checked, unlisted) = join(
            content::check(&self.container, &self.manifest, options, &mut findings),
            self.container.unlisted(&self.manifest, findings_max),
        )
        .await;
        let mut notes = Vec::new();
        self.judge_unlisted(unlisted, findings_max, &mut findings, &mut notes);
        VerifyReport::conclude(report::Parts {
            manifest: Arc::clone(&self.manifest),
            container: Some(Arc::clone(&self.container)),
            level: options.level,
            pinned_by,
            findings,
            notes,
            checked,
        })
    }

    /// Strangers in a closed container are findings, residue in a live store is a note.
    fn judge_unlisted(
        &self,
        unlisted: Result<Unlisted, StoreError>,
        findings_max: usize,
        findings: &mut Findings,
        notes: &mut Vec<String>,
    ) {
        let closed = self.container.is_closed();
        let mut unlisted = match unlisted {
            Ok(unlisted) => unlisted,
            Err(error) if closed => {
                let finding = Finding::new(Code::ArtifactUnread, chain(&error));
                return findings.push(finding.about("(the listing)"), findings_max);
            }
            Err(error) => return notes.push(format!("residue unknown: {}", chain(&error))),
        };
        for (path, why) in std::mem::take(&mut unlisted.unread) {
            if closed {
                findings.push(
                    Finding::new(Code::ArtifactUnread, why).about(path),
                    findings_max,
                );
            } else {
                notes.push(format!("residue unknown: {why}"));
            }
        }
        unlisted.paths.sort_unstable();
        if closed {
            for path in unlisted.paths {
                let stranger = Finding::new(Code::ContainerStranger, "not listed in the manifest");
                findings.push(stranger.about(path), findings_max);
            }
            findings.count(unlisted.more);
        } else if let Some(example) = unlisted.paths.first() {
            let objects = len_u64(&unlisted.paths).saturating_add(unlisted.more);
            notes.push(format!(
                "residue: objects={objects} under this run are not in its manifest, for example `{example}`"
            ));
        }
    }
}

/// A pack that was verified in full and pinned. Comes from [`VerifyReport::into_verified`] alone.
#[derive(Debug)]
pub struct VerifiedPack {
    manifest: Arc<Manifest>,
    container: Option<Arc<dyn Container>>,
}

impl VerifiedPack {
    /// The manifest.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// The pack for reading; `None` for a bundle, which was a stream. Each byte is checked again on
    /// the way: what was right a moment ago may not be now.
    pub fn reader(&self) -> Option<PinnedPack> {
        let container = self.container.as_ref()?;
        Some(PinnedPack::new(
            Arc::clone(container),
            Arc::clone(&self.manifest),
        ))
    }
}

#[cfg(test)]
pub(crate) mod tests;
