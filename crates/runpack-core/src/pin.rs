//! Pins: what a verifier knows from outside the pack. Only a pin can tell a pack that was made from
//! one that was rewritten whole (specification, section 10).

use std::fmt;

use serde::{Serialize, Serializer};

use crate::finding::{Code, Finding};
use crate::id::PackId;
use crate::manifest::{Manifest, Subject};
use crate::sign::{Envelope, VerifyingKey};

/// Everything a verifier knows beforehand. Each that is there must hold.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Pins {
    /// The pack id, from a person, a ticket, a log.
    pub pack_id: Option<PackId>,
    /// The pack id that the place of a bundle says. It narrows what is accepted, but proves nothing: whoever can write
    /// to a store chooses the places in it.
    pub placed: Option<PackId>,
    /// What local receipts recorded: each is a set of pack ids, one of which it must be. A receipt of
    /// a place has one; the receipts of a subject may have several, one for each export.
    pub recorded: Vec<Vec<PackId>>,
    /// A signature and the key that is trusted. Without an envelope the key is not satisfied.
    pub signature: Option<(VerifyingKey, Result<Envelope, String>)>,
    /// Identity fields as `(member, value)`. They narrow what is accepted, but prove nothing by
    /// themselves: whoever rewrites a pack keeps its identity.
    pub identity: Vec<(String, String)>,
}

/// What a verdict rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum PinnedBy {
    /// The expected pack id.
    PackId,
    /// A local receipt.
    Receipt,
    /// A signature under a trusted key.
    Signature,
}

impl PinnedBy {
    /// The name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PackId => "pack_id",
            Self::Receipt => "receipt",
            Self::Signature => "signature",
        }
    }
}

impl fmt::Display for PinnedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::PackId => "the expected pack id",
            Self::Receipt => "a local receipt",
            Self::Signature => "a signature",
        })
    }
}

impl Serialize for PinnedBy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Pins {
    /// Nothing is known.
    pub fn none() -> Self {
        Self::default()
    }

    /// The pack id is known.
    pub fn pack_id(pack_id: PackId) -> Self {
        Self {
            pack_id: Some(pack_id),
            ..Self::default()
        }
    }

    /// Holds the pins against a manifest: what matched, and what did not.
    pub fn check(&self, manifest: &Manifest) -> (Vec<PinnedBy>, Vec<Finding>) {
        let pack_id = manifest.pack_id();
        let mut matched = Vec::new();
        let mut findings = Vec::new();
        match self.pack_id {
            Some(expected) if expected == pack_id => matched.push(PinnedBy::PackId),
            Some(expected) => findings.push(Finding::new(
                Code::PinPackId,
                format!(
                    "this is another pack than expected, expected=`{expected}` found=`{pack_id}`"
                ),
            )),
            None => {}
        }
        if let Some(placed) = self.placed.filter(|placed| *placed != pack_id) {
            findings.push(Finding::new(
                Code::PinPackId,
                format!(
                    "this is another pack than its place says, expected=`{placed}` found=`{pack_id}`"
                ),
            ));
        }
        match self
            .recorded
            .iter()
            .find(|recorded| !recorded.contains(&pack_id))
        {
            Some(recorded) => findings.push(Finding::new(
                Code::PinReceipt,
                format!(
                    "a local receipt recorded another pack here, recorded=`{}` found=`{pack_id}`",
                    recorded.last().map(ToString::to_string).unwrap_or_default()
                ),
            )),
            None if !self.recorded.is_empty() => matched.push(PinnedBy::Receipt),
            None => {}
        }
        match &self.signature {
            Some((key, Ok(envelope))) => match envelope.verify(key, pack_id) {
                Ok(()) => matched.push(PinnedBy::Signature),
                Err(error) => findings.push(Finding::new(Code::PinSignature, error.to_string())),
            },
            Some((_, Err(fault))) => {
                findings.push(Finding::new(Code::PinSignature, fault.clone()));
            }
            None => {}
        }
        findings.extend(self.identity_finding(manifest.subject()));
        (matched, findings)
    }

    fn identity_finding(&self, subject: &Subject) -> Option<Finding> {
        let fields = subject.fields();
        let differs = |(member, expected): &&(String, String)| {
            !fields
                .iter()
                .any(|(found, value)| found == member && value == expected)
        };
        let differing: Vec<String> = self
            .identity
            .iter()
            .filter(differs)
            .map(|(member, expected)| {
                let found = fields.iter().find(|(found, _)| found == member);
                let found = found.map_or("none", |(_, value)| value.as_str());
                format!("{member}: expected=`{expected}` found=`{found}`")
            })
            .collect();
        (!differing.is_empty()).then(|| {
            Finding::new(
                Code::PinIdentity,
                format!(
                    "this is a pack of another subject: {}",
                    differing.join(", ")
                ),
            )
        })
    }
}
