//! The archive inside a bundle as a state machine over its bytes (specification, sections 8 and 10).
//!
//! The manifest says what each next byte must be, or which digest the next bytes must have. So there is
//! nothing to parse after the manifest, and no state in which the archive decides what comes next.

use std::sync::Arc;

use super::content::ContentCheck;
use super::tar::{self, Header};
use super::{BundleError, BundleOutcome, BundleSink};
use crate::count::len_u64;
use crate::finding::{Code, Finding, Findings};
use crate::level::Level;
use crate::limits::Limits;
use crate::manifest::Manifest;

/// The archive as it comes.
#[derive(Debug)]
pub(super) struct Archive<S> {
    limits: Limits,
    level: Level,
    sink: Option<S>,
    state: State,
    manifest: Option<Arc<Manifest>>,
    mtime: u64,
    findings: Findings,
    artifacts_checked: u64,
    artifacts_proven: u64,
    bytes_checked: u64,
    /// A buffer that goes from artifact to artifact.
    spare: Vec<u8>,
}

#[derive(Debug)]
enum State {
    /// The first header, so far.
    FirstHeader(Vec<u8>),
    Manifest(ManifestEntry),
    /// Bytes that are known beforehand.
    Fixed(Fixed),
    Content(Box<ContentCheck>),
    Complete,
}

#[derive(Debug)]
struct ManifestEntry {
    header: Box<Header>,
    size: usize,
    bytes: Vec<u8>,
}

/// The padding of one entry and the header of the next, or the archive's end.
#[derive(Debug)]
struct Fixed {
    expected: Vec<u8>,
    matched: usize,
    padding_bytes: usize,
    /// The position of the artifact that follows; past the last one: the end.
    next: usize,
}

/// Why the archive is not read on.
#[derive(Debug)]
pub(super) enum Stop {
    /// It is broken.
    Broken(Finding),
    /// The sink failed.
    Failed(BundleError),
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(BundleError::Sink(error))
    }
}

impl<S: BundleSink> Archive<S> {
    pub(super) fn new(limits: Limits, level: Level, sink: Option<S>) -> Self {
        Self {
            limits,
            level,
            sink,
            state: State::FirstHeader(Vec::new()),
            manifest: None,
            mtime: 0,
            findings: Findings::default(),
            artifacts_checked: 0,
            artifacts_proven: 0,
            bytes_checked: 0,
            spare: Vec::new(),
        }
    }

    pub(super) fn manifest(&self) -> Option<&Arc<Manifest>> {
        self.manifest.as_ref()
    }

    pub(super) fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete)
    }

    pub(super) fn push_finding(&mut self, finding: Finding) {
        self.findings.push(finding, self.limits.findings_max);
    }

    /// A finding for a source that failed at this point: undecided, and not invalid.
    pub(super) fn unread(&self, detail: &str) -> Finding {
        match (&self.manifest, &self.state) {
            (None, _) => Finding::new(Code::ManifestUnread, detail),
            (Some(manifest), State::Content(content)) => {
                let finding = Finding::new(Code::ArtifactUnread, detail);
                match manifest.artifacts().get(content.position()) {
                    Some(artifact) => finding.about(artifact.name().as_str()),
                    None => finding,
                }
            }
            (Some(_), _) => Finding::new(Code::ArtifactUnread, detail),
        }
    }

    pub(super) fn into_outcome(self) -> BundleOutcome {
        BundleOutcome {
            manifest: self.manifest,
            findings: self.findings.listed,
            findings_unlisted: self.findings.unlisted,
            artifacts_checked: self.artifacts_checked,
            artifacts_proven: self.artifacts_proven,
            bytes_checked: self.bytes_checked,
        }
    }

    /// Advances by the next bytes of the archive. After an error nothing may follow.
    pub(super) fn push(&mut self, mut input: &[u8]) -> Result<(), Stop> {
        loop {
            match &mut self.state {
                State::FirstHeader(header) => {
                    take(&mut input, header, tar::BLOCK_BYTES);
                    let Some(header) = header.first_chunk::<{ tar::BLOCK_BYTES }>() else {
                        return Ok(());
                    };
                    let header = Box::new(*header);
                    self.state = State::Manifest(self.open_manifest(header)?);
                }
                State::Manifest(entry) => {
                    take(&mut input, &mut entry.bytes, entry.size);
                    if entry.bytes.len() < entry.size {
                        return Ok(());
                    }
                    let bytes = std::mem::take(&mut entry.bytes);
                    let header = entry.header.clone();
                    let fixed = self.close_manifest(&header, &bytes)?;
                    self.state = State::Fixed(fixed);
                }
                State::Fixed(fixed) => {
                    if !fixed.take(&mut input) {
                        return Err(Stop::Broken(self.deviation()));
                    }
                    if !fixed.is_complete() {
                        return Ok(());
                    }
                    let next = fixed.next;
                    self.state = self.open_content(next);
                }
                State::Content(_) => {
                    if !self.take_content(&mut input)? {
                        return Ok(());
                    }
                }
                State::Complete if input.is_empty() => return Ok(()),
                State::Complete => {
                    return Err(Stop::Broken(Finding::new(
                        Code::BundleTrailing,
                        "something follows the end of the archive",
                    )));
                }
            }
        }
    }

    fn open_manifest(&self, header: Box<Header>) -> Result<ManifestEntry, Stop> {
        let Some(size) = tar::manifest_bytes(&header) else {
            return Err(Stop::Broken(Finding::new(
                Code::ManifestMissing,
                "the first entry of the archive is not `manifest.json`",
            )));
        };
        let bytes_max = self.limits.manifest_bytes_max;
        match usize::try_from(size) {
            Ok(length) if size <= bytes_max => Ok(ManifestEntry {
                header,
                size: length,
                // Grows with what comes: a size alone takes no memory.
                bytes: Vec::new(),
            }),
            _ => Err(Stop::Broken(Finding::new(
                Code::ManifestSize,
                format!(
                    "the manifest is larger than the limit, bytes=`{size}` bytes_max=`{bytes_max}`"
                ),
            ))),
        }
    }

    fn close_manifest(&mut self, header: &Header, bytes: &[u8]) -> Result<Fixed, Stop> {
        let manifest = Manifest::parse(bytes, &self.limits)
            .map_err(|error| Stop::Broken(Finding::from(&error)))?;
        let manifest = Arc::new(manifest);
        self.manifest = Some(Arc::clone(&manifest));
        self.mtime = tar::mtime(manifest.created_at());
        let size = len_u64(bytes);
        let mut expected = Vec::new();
        tar::prelude(&mut expected, tar::MANIFEST_NAME, size, self.mtime);
        if expected != header {
            let part = "the header of an entry";
            return Err(Stop::Broken(deviates(part).about(tar::MANIFEST_NAME)));
        }
        if let Some(sink) = &mut self.sink {
            sink.manifest(&manifest, bytes)?;
        }
        Ok(Fixed::after(&manifest, size, 0, self.mtime))
    }

    fn open_content(&mut self, position: usize) -> State {
        let artifact = self
            .manifest
            .as_ref()
            .and_then(|manifest| manifest.artifacts().get(position));
        match artifact {
            None => State::Complete,
            Some(artifact) => {
                let spare = std::mem::take(&mut self.spare);
                let check = ContentCheck::new(artifact, position, self.level, spare);
                State::Content(Box::new(check))
            }
        }
    }

    /// Advances the artifact that is being read; tells whether it is complete.
    fn take_content(&mut self, input: &mut &[u8]) -> Result<bool, Stop> {
        let (Some(manifest), State::Content(check)) = (self.manifest.clone(), &mut self.state)
        else {
            return Err(Stop::Broken(deviates("its content")));
        };
        let position = check.position();
        let Some(artifact) = manifest.artifacts().get(position) else {
            return Err(Stop::Broken(deviates("its content")));
        };
        let taken = check.take(artifact, input, &mut self.sink)?;
        self.bytes_checked = self.bytes_checked.saturating_add(taken);
        if !check.is_complete() {
            return Ok(false);
        }
        let next = position.saturating_add(1);
        let fixed = Fixed::after(&manifest, artifact.bytes(), next, self.mtime);
        if let State::Content(check) = std::mem::replace(&mut self.state, State::Fixed(fixed)) {
            let (finding, spare) = check.finish(artifact, &mut self.sink)?;
            self.spare = spare;
            match finding {
                Some(finding) => self.push_finding(finding),
                None if self.level == Level::Presence => {}
                None => self.artifacts_proven = self.artifacts_proven.saturating_add(1),
            }
        }
        self.artifacts_checked = self.artifacts_checked.saturating_add(1);
        Ok(true)
    }

    /// What is wrong where known bytes did not come.
    fn deviation(&self) -> Finding {
        let State::Fixed(fixed) = &self.state else {
            return deviates("a header");
        };
        let artifacts = self
            .manifest
            .as_ref()
            .map_or(&[][..], |manifest| manifest.artifacts());
        let name = |position: Option<usize>| {
            position
                .and_then(|position| artifacts.get(position))
                .map_or(tar::MANIFEST_NAME, |artifact| artifact.name().as_str())
        };
        if fixed.matched < fixed.padding_bytes {
            deviates("the padding after an entry").about(name(fixed.next.checked_sub(1)))
        } else if fixed.next < artifacts.len() {
            deviates("the header of an entry").about(name(Some(fixed.next)))
        } else {
            deviates("the zero bytes at its end")
        }
    }
}

fn deviates(part: &str) -> Finding {
    Finding::new(Code::BundleTar, format!("the archive deviates in {part}"))
}

impl Fixed {
    /// What stands between a content of `bytes` bytes and the artifact at `next`.
    fn after(manifest: &Manifest, bytes: u64, next: usize, mtime: u64) -> Self {
        let mut expected = Vec::new();
        tar::between(&mut expected, manifest, bytes, next, mtime);
        Self {
            expected,
            matched: 0,
            padding_bytes: tar::padding_bytes(bytes),
            next,
        }
    }

    /// Compares with the front of `input`. The first byte that deviates decides.
    fn take(&mut self, input: &mut &[u8]) -> bool {
        let expected = self.expected.get(self.matched..).unwrap_or_default();
        let matched = expected
            .iter()
            .zip(*input)
            .take_while(|(expected, found)| expected == found)
            .count();
        self.matched = self.matched.saturating_add(matched);
        *input = input.get(matched..).unwrap_or_default();
        self.is_complete() || input.is_empty()
    }

    fn is_complete(&self) -> bool {
        self.matched == self.expected.len()
    }
}

/// Moves bytes until `held` has `want`.
fn take(input: &mut &[u8], held: &mut Vec<u8>, want: usize) {
    let missing = want.saturating_sub(held.len());
    let (piece, rest) = input.split_at(missing.min(input.len()));
    held.extend_from_slice(piece);
    *input = rest;
}
