//! A report on an attestation, laid out by rule: requirement, assessment, capabilities, additional
//! considerations, in the order in which assessors of storage write them.
//!
//! Invariants: every result is computed from the attestation and names the place in it that it comes
//! from and how that is known; what was not observed is neither met nor not met; storage that somebody
//! may unlock is not called immutable (L04); a time that only the signer asserts is called a claim (T05);
//! no output says that a law or rule is complied with.

mod controls;
mod evaluate;
mod html;
mod oscal;

use runpack_core::attestation::{Attestation, Basis, Finding, Mode, Predicate, Verdict};
use runpack_core::digest::Digest;
use runpack_core::id::PackId;
use runpack_core::time::Timestamp;
use serde::Serialize;

pub use controls::{RuleSet, UnknownRuleSet};
use evaluate::Capability;

use crate::timestamp::VerifiedTimestamp;

/// What no report says, whatever was measured.
const NON_CLAIMS: [&str; 5] = [
    "It is no legal advice and no certification, and does not say that a law or rule is complied with: that depends on the organization, its records and its regulator.",
    "It does not say that what was stored was right or complete, only which bytes are kept and how.",
    "It does not say what the store will do after the time of the observation.",
    "It says nothing of records that are not in this pack.",
    "Requirements are put in few words here: the text of the rule is what counts.",
];

/// How a control came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Outcome {
    /// What was observed shows the capability.
    Met,
    /// What was observed shows that it is missing.
    NotMet,
    /// The attestation does not say.
    NotObserved,
    /// There is nothing that it could be about.
    NotApplicable,
}

impl Outcome {
    /// For people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::NotMet => "not met",
            Self::NotObserved => "not observed",
            Self::NotApplicable => "not applicable",
        }
    }
}

/// One requirement, and what the attestation shows of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Control {
    /// The paragraph.
    pub id: &'static str,
    /// What it asks for, in few words.
    pub requirement: &'static str,
    /// What follows from the attestation.
    pub result: Outcome,
    /// How that is known: the weakest basis of what it rests on.
    pub basis: Basis,
    /// Where in the predicate it comes from (RFC 6901).
    pub evidence: Vec<String>,
    /// Why it came out so.
    pub assessment: String,
    /// What the storage does for it.
    pub capabilities: &'static str,
    /// What is left for the organization to do.
    pub considerations: Vec<&'static str>,
    #[serde(skip)]
    token: &'static str,
}

/// Who vouches for the time of the observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TimeBasis {
    /// The signer alone.
    ClaimedBySigner,
    /// A trusted time stamping authority: the attestation existed at that time.
    TimeStamped,
}

/// A report on one attestation by one set of rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The rules.
    pub rule_set: RuleSet,
    /// Their name.
    pub title: &'static str,
    /// The pack.
    pub pack_id: PackId,
    /// The SHA-256 of the SPKI of the key that signed the attestation.
    pub key_id: Digest,
    /// When it was observed, as the signer says.
    pub observed_at: Timestamp,
    /// Who vouches for that.
    pub observed_at_basis: TimeBasis,
    /// The time of the time stamp, where a trusted one was verified.
    pub time_stamped_at: Option<Timestamp>,
    /// The earliest end of retention.
    pub retained_until: Option<Timestamp>,
    /// How strong the lock is.
    pub protection: &'static str,
    /// Each control.
    pub controls: Vec<Control>,
    /// What the observer objected to.
    pub findings: Vec<Finding>,
    /// What could still lose the objects, as the observer says.
    pub residual_risks: Vec<String>,
    /// What this report does not say.
    pub non_claims: Vec<String>,
    /// Tells the attestation from every other.
    nonce: String,
    /// The objects that were looked at.
    objects: usize,
    /// Where they lie.
    place: String,
}

impl Report {
    /// A report on a verified attestation. `stamp` is a time stamp of it that was verified.
    pub fn new(
        attestation: &Attestation,
        rule_set: RuleSet,
        stamp: Option<VerifiedTimestamp>,
    ) -> Self {
        let predicate = attestation.predicate();
        let ours = NON_CLAIMS.map(str::to_owned).into_iter();
        let store = &predicate.store;
        Self {
            rule_set,
            title: rule_set.title(),
            pack_id: attestation.pack_id(),
            key_id: attestation.key_id(),
            observed_at: predicate.observed_at,
            observed_at_basis: match stamp {
                Some(_) => TimeBasis::TimeStamped,
                None => TimeBasis::ClaimedBySigner,
            },
            time_stamped_at: stamp.map(|stamp| stamp.time),
            retained_until: predicate.retained_until,
            protection: protection(predicate),
            controls: rule_set
                .controls()
                .iter()
                .map(|control| control.assessed(predicate))
                .collect(),
            findings: predicate.findings.clone(),
            residual_risks: predicate.residual_risks.clone(),
            non_claims: ours.chain(predicate.non_claims.iter().cloned()).collect(),
            nonce: predicate.nonce.to_string(),
            objects: predicate.objects.len(),
            place: format!("{} / {} / {}", store.endpoint, store.bucket, store.prefix),
        }
    }

    /// The report as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        // Text in a fixed shape always becomes JSON.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// The report as a page without scripts and without anything from elsewhere.
    pub fn to_html(&self) -> String {
        html::page(self)
    }

    /// The report as OSCAL assessment results (pages.nist.gov/OSCAL, version 1.1.3).
    pub fn to_oscal(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(&oscal::document(self)).unwrap_or_default()
    }

    fn count(&self, outcome: Outcome) -> usize {
        let found = |control: &&Control| control.result == outcome;
        self.controls.iter().filter(found).count()
    }
}

/// How strong the lock is. Only compliance mode, read back and shown to be enforced, is called immutable
/// (L04).
fn protection(predicate: &Predicate) -> &'static str {
    let tested = predicate.enforcement.value.as_ref();
    let broken = tested.is_some_and(|tested| tested.verdict == Verdict::NotEnforced);
    match predicate.least_mode() {
        _ if broken => "locks are not enforced: an attempt to break one got through",
        None => "not every object is known to be locked",
        Some(Mode::Governance) => {
            "locked in governance mode: whoever holds the permission may unlock"
        }
        _ if predicate.retained_until < Some(predicate.observed_at) => {
            "the retention of at least one object has ended"
        }
        Some(_) if Capability::Immutable.found(predicate).result == Outcome::Met => {
            "immutable until the retention ends, and shown to be enforced"
        }
        Some(_) => "said to be locked in compliance mode; that the store enforces it was not shown",
    }
}
