//! What is seen of a pack and its bucket now, put into words for an attestation.
//!
//! Each claim says how it is known. A lock is called measured only where it was proved lately that the bucket enforces
//! locks of its mode; else the store's word for it is no more than that. What may not be asked is not observed, and never
//! "none". Sources: `Docs/spec/storage-retention-v1.md`.

mod bucket;

use runpack_core::attestation::{
    Attempt, AttemptResult, Basis, Claim, Control, Enforcement, Finding, Holds, LegalHold, Mode,
    Nonce, Object, Observer, Predicate, Role, Store, Verdict,
};
use runpack_core::digest::Digest;
use runpack_core::store::s3::{LockMode, S3Store};
use runpack_core::store::{State, StoreError};
use runpack_core::time::Timestamp;

use crate::bucket::region;
use crate::evidence::{self, Pinned};
use crate::guard::Hold;
use crate::ledger::Ledger;
use crate::prove::{self, Proof};
use crate::status::Status;

/// What attestations do not say.
const NON_CLAIMS: [&str; 3] = [
    "This does not certify that any law or rule is complied with.",
    "It says what was seen at one time and not what is so at another.",
    "It does not say that what was stored was right or complete, only which bytes are kept and how.",
];

/// What an attestation is made of, beside what the store is asked.
#[derive(Debug)]
pub struct Seen<'a> {
    /// The pack's versions and what was found of them.
    pub status: &'a Status,
    /// The last transcript of this store that still counts.
    pub proof: Option<&'a Proof>,
    /// The ledger of holds, if it was proved.
    pub ledger: Option<&'a Ledger>,
    /// Who looked.
    pub observer: Observer,
    /// When, by this machine's clock.
    pub observed_at: Timestamp,
    /// When, by the store's.
    pub store_time: Timestamp,
    /// Random bytes.
    pub nonce: [u8; 16],
}

impl Seen<'_> {
    /// Everything in the words of an attestation. The bucket is asked for its settings.
    ///
    /// # Errors
    /// The store cannot be asked at all; what may not be asked is not observed.
    pub async fn predicate(self, store: &S3Store) -> Result<Predicate, StoreError> {
        let mode = self.status.weakest.map(|lock| lock.mode);
        let enforcement = mode
            .zip(self.proof)
            .and_then(|(mode, proof)| enforcement(proof, mode));
        let is_proven = enforcement
            .as_ref()
            .is_some_and(|enforcement| enforcement.verdict == Verdict::Proven);
        let lock_basis = if is_proven {
            Basis::Measured
        } else {
            Basis::ProviderAsserted
        };
        let versions = self.status.versions.iter();
        let mut objects: Vec<Object> = versions.map(|pinned| object(pinned, lock_basis)).collect();
        objects.sort_by(|a, b| a.key.cmp(&b.key));
        let bucket = bucket::of(store).await?;
        let holds = match (self.ledger, self.status.versions.first()) {
            (Some(ledger), Some(commit)) => holds(ledger, self.status, commit),
            _ => Claim::not_observed(),
        };
        Ok(Predicate {
            enforcement: enforcement.map_or_else(Claim::not_observed, Claim::measured),
            findings: self.findings(),
            holds,
            non_claims: NON_CLAIMS.map(str::to_owned).to_vec(),
            nonce: Nonce::from_bytes(self.nonce),
            observed_at: self.observed_at,
            residual_risks: self.risks(mode, &bucket),
            retained_until: Predicate::least_retention(&objects),
            objects,
            observer: self.observer,
            store: place(store).await?,
            store_time: Claim::provider_asserted(self.store_time),
            bucket,
        })
    }

    fn findings(&self) -> Vec<Finding> {
        let findings = self.status.findings.iter();
        findings
            .map(|finding| Finding {
                code: finding.code.as_str().to_owned(),
                key: Some(finding.key.clone()),
                text: finding.text.clone(),
            })
            .collect()
    }

    /// What could still lose the evidence, as far as it is known.
    fn risks(
        &self,
        mode: Option<LockMode>,
        bucket: &runpack_core::attestation::Bucket,
    ) -> Vec<String> {
        let mut risks = vec![
            "Whoever closes the account, or owns the machines of the store, can remove everything."
                .to_owned(),
            "Whoever may put a bucket policy can lock everybody out of reading.".to_owned(),
        ];
        match mode {
            Some(LockMode::Compliance) => {}
            Some(LockMode::Governance) => risks.push(
                "The locks are in governance mode: whoever has the right to bypass it can remove the objects.".to_owned(),
            ),
            None => risks.push("At least one object is not locked.".to_owned()),
        }
        let keys = self.status.versions.iter();
        let mut keys: Vec<&str> = keys
            .filter_map(|pinned| pinned.protection.encryption.1.as_deref())
            .collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            risks.push(format!(
                "Deleting or disabling the key {key} makes the objects unreadable, and no lock prevents it."
            ));
        }
        if bucket.lifecycle_sha256.value.is_some() {
            risks.push(
                "The bucket has a lifecycle: it puts delete markers over locked objects and moves them to archives."
                    .to_owned(),
            );
        }
        if self.proof.is_none() {
            risks.push(
                "That the store enforces locks was not proved lately by the observer.".to_owned(),
            );
        }
        risks
    }
}

async fn place(store: &S3Store) -> Result<Store, StoreError> {
    let settings = store.settings();
    let region = match region(store).await? {
        Some(region) => Claim::provider_asserted(region.to_string()),
        None => Claim::not_observed(),
    };
    let endpoint = settings.endpoint.as_ref();
    Ok(Store {
        bucket: settings.bucket.to_string(),
        endpoint: endpoint.map_or_else(
            || "https://s3.amazonaws.com".to_owned(),
            ToString::to_string,
        ),
        expected_owner: settings.expected_owner.clone(),
        prefix: settings.path_prefix.as_str().to_owned(),
        region,
    })
}

fn object(pinned: &Pinned, lock_basis: Basis) -> Object {
    let lock = pinned.protection.lock;
    let shadows = pinned.shadows.iter().map(|shadow| {
        let what = match shadow.state {
            State::DeleteMarker => "delete marker",
            State::Object | State::Upload => "version",
        };
        format!("{what} {} of {}", shadow.version.as_str(), shadow.modified)
    });
    Object {
        bytes: pinned.declared.bytes,
        commitment: pinned.declared.commitment(),
        content: pinned.content,
        key: pinned.part.key.to_string(),
        legal_hold: match pinned.protection.hold {
            Hold::On => LegalHold::On,
            Hold::Off => LegalHold::Off,
        },
        lock_basis,
        mode: match lock.map(|lock| lock.mode) {
            None => Mode::None,
            Some(LockMode::Governance) => Mode::Governance,
            Some(LockMode::Compliance) => Mode::Compliance,
        },
        retain_until: lock.map(|lock| lock.until),
        role: match pinned.part.role {
            evidence::Role::Manifest => Role::Manifest,
            evidence::Role::Artifact => Role::Artifact,
            evidence::Role::Bundle => Role::Bundle,
        },
        shadowed_by: shadows.collect(),
        version_id: pinned
            .object
            .version
            .as_ref()
            .map(|version| version.as_str().to_owned()),
    }
}

fn holds(ledger: &Ledger, status: &Status, commit: &Pinned) -> Claim<Holds> {
    let matters = ledger.held(status.pack_id, &commit.part.key).matters;
    let last = ledger.head();
    Claim::measured(Holds {
        ledger_head_sha256: last.as_ref().map(|last| last.entry.sha256),
        ledger_sequence: last.map_or(0, |last| u64::from(last.sequence)),
        matters: matters.iter().map(ToString::to_string).collect(),
    })
}

/// What a transcript shows of locks of this mode. A bypass that these credentials have no right to try, or that governance
/// allows to who has it, shows nothing of the lock and is left to the transcript.
fn enforcement(proof: &Proof, mode: LockMode) -> Option<Enforcement> {
    let is_tried = proof.attempts.iter().any(|tried| tried.mode == Some(mode));
    let attempts: Vec<Attempt> = {
        let counted = proof.attempts.iter().filter(|tried| tried.counts_for(mode));
        counted.map(attempt).collect()
    };
    is_tried.then(|| Enforcement {
        verdict: Enforcement::follows(&attempts),
        attempts,
        proved_at: proof.proved_at,
        transcript_sha256: Digest::of(&proof.to_bytes()),
    })
}

fn attempt(tried: &prove::Tried) -> Attempt {
    Attempt {
        answer: Some(tried.answer.clone()),
        attempt: tried.attempt.to_string(),
        control: if tried.control_answer == "done" {
            Control::Allowed
        } else if tried.control_answer.starts_with("refused") {
            Control::Refused
        } else {
            Control::NotObserved
        },
        result: match tried.result {
            prove::Result::Enforced => AttemptResult::Refused,
            prove::Result::NotEnforced => AttemptResult::Succeeded,
            prove::Result::NotProven | prove::Result::NothingShown => AttemptResult::NotObserved,
        },
    }
}
