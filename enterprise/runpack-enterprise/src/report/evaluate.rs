//! What an attestation shows of one capability: pure functions of the predicate.

use runpack_core::attestation::{Basis, Claim, LegalHold, Mode, Object, Predicate, Verdict};

use super::Outcome;

/// A capability that a control asks for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Capability {
    /// Nobody may change or remove an object before its time.
    Immutable,
    /// Retention lasts at least so many days from the observation.
    Retained { days: u64 },
    /// The bytes are those that were committed to.
    Intact,
    /// Each object is a version of its own, with times.
    Dated,
    /// Every object can be found and read under its own key.
    Accessible,
    /// There is a second copy.
    Redundant,
    /// Legal matters hold the objects.
    Held,
    /// Something of the organization, that no store shows.
    Organizational,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) result: Outcome,
    pub(super) basis: Basis,
    pub(super) evidence: Vec<String>,
    pub(super) assessment: String,
}

impl Found {
    fn new(
        result: Outcome,
        basis: Basis,
        evidence: &[&str],
        assessment: impl Into<String>,
    ) -> Self {
        Self {
            result,
            basis: match result {
                Outcome::NotObserved => Basis::NotObserved,
                _ => basis,
            },
            evidence: evidence.iter().map(|&at| at.to_owned()).collect(),
            assessment: assessment.into(),
        }
    }

    /// With the first objects that show it.
    fn at(mut self, predicate: &Predicate, member: &str, shows: impl Fn(&Object) -> bool) -> Self {
        const SHOWN: usize = 5;
        let found = predicate.objects.iter().enumerate();
        let found = found.filter(|(_, object)| shows(object));
        let pointers = found.map(|(index, _)| format!("/objects/{index}/{member}"));
        self.evidence.extend(pointers.take(SHOWN));
        self
    }
}

impl Capability {
    pub(super) fn found(self, predicate: &Predicate) -> Found {
        match self {
            Self::Immutable => immutable(predicate),
            Self::Retained { days } => retained(predicate, days),
            Self::Intact => intact(predicate),
            Self::Dated => dated(predicate),
            Self::Accessible => accessible(predicate),
            Self::Redundant => redundant(&predicate.bucket.replication),
            Self::Held => held(predicate),
            Self::Organizational => Found::new(
                Outcome::NotObserved,
                Basis::NotObserved,
                &["/non_claims"],
                "A matter of the organization: nothing in a store shows it.",
            ),
        }
    }
}

/// From the strongest, so that the weakest of several is the greatest.
fn rank(basis: Basis) -> u8 {
    match basis {
        Basis::Measured => 0,
        Basis::ProviderAsserted => 1,
        Basis::Configured => 2,
        Basis::NotObserved => 3,
    }
}

fn weakest(bases: impl Iterator<Item = Basis>) -> Basis {
    bases
        .max_by_key(|basis| rank(*basis))
        .unwrap_or(Basis::NotObserved)
}

fn immutable(predicate: &Predicate) -> Found {
    let tested = &predicate.enforcement;
    let verdict = tested.value.as_ref().map(|tested| tested.verdict);
    let proven = verdict == Some(Verdict::Proven) && tested.basis == Basis::Measured;
    let locks = weakest(predicate.objects.iter().map(|object| object.lock_basis));
    let of_test = &["/enforcement"];
    if verdict == Some(Verdict::NotEnforced) {
        let text = "An attempt to break a lock got through.";
        return Found::new(Outcome::NotMet, tested.basis, of_test, text);
    }
    let least = predicate.objects.iter().map(|object| object.mode).min();
    let weak = |text, mode| {
        Found::new(Outcome::NotMet, locks, &[], text)
            .at(predicate, "mode", move |object| object.mode == mode)
    };
    if predicate
        .objects
        .iter()
        .any(|object| object.mode == Mode::None)
    {
        return weak("Not every object is locked.", Mode::None);
    }
    if least == Some(Mode::Governance) {
        let text = "Locked in governance mode, which whoever holds the permission may bypass: not counted as immutable.";
        return weak(text, Mode::Governance);
    }
    if least != Some(Mode::Compliance) {
        let text = "The lock of at least one object could not be read.";
        return Found::new(Outcome::NotObserved, locks, &[], text).at(
            predicate,
            "mode",
            |object| object.mode == Mode::NotObserved,
        );
    }
    if predicate.retained_until < Some(predicate.observed_at) {
        let text = "The retention of at least one object had ended at the time of the observation.";
        return Found::new(Outcome::NotMet, locks, &["/retained_until"], text);
    }
    if is_asked_for_only(locks) {
        let text = "Every object was written with a lock in compliance mode; that the store has it was not read back.";
        return Found::new(Outcome::NotObserved, locks, &[], text).at(
            predicate,
            "lock_basis",
            |object| is_asked_for_only(object.lock_basis),
        );
    }
    if !proven {
        let text = "Every object is locked in compliance mode, but that the store enforces it was not shown: an accepted lock is not an enforced one.";
        return Found::new(Outcome::NotObserved, locks, of_test, text);
    }
    let text = "Every object is locked in compliance mode, and attempts to break a lock were refused where the same requests without a lock were allowed.";
    let basis = weakest([locks, tested.basis].into_iter());
    Found::new(Outcome::Met, basis, of_test, text).at(predicate, "mode", |_| true)
}

/// What was asked for is not what is there (L07).
fn is_asked_for_only(locks: Basis) -> bool {
    matches!(locks, Basis::Configured | Basis::NotObserved)
}

fn retained(predicate: &Predicate, days: u64) -> Found {
    let at = &["/retained_until", "/observed_at"];
    let locks = weakest(predicate.objects.iter().map(|object| object.lock_basis));
    let Some(until) = predicate.retained_until else {
        let known = predicate
            .objects
            .iter()
            .any(|object| object.mode == Mode::None);
        let (result, text) = if known {
            (Outcome::NotMet, "At least one object has no retention.")
        } else {
            (
                Outcome::NotObserved,
                "The retention of at least one object could not be read.",
            )
        };
        return Found::new(result, locks, at, text);
    };
    let seconds = until
        .unix_seconds()
        .saturating_sub(predicate.observed_at.unix_seconds());
    let left = seconds.checked_div(86_400).unwrap_or_default();
    if is_asked_for_only(locks) {
        let text = "Retention was asked for; that the store has it was not read back.";
        return Found::new(Outcome::NotObserved, locks, at, text);
    }
    if left >= days {
        let text = format!("Retention lasts {left} more days from the observation, to {until}.");
        Found::new(Outcome::Met, locks, at, text)
    } else {
        let text = format!(
            "Retention lasts {left} more days from the observation, to {until}. How long the records were kept before is not in the attestation."
        );
        Found::new(Outcome::NotObserved, locks, at, text)
    }
}

fn intact(predicate: &Predicate) -> Found {
    let basis = weakest(predicate.objects.iter().map(|object| object.content));
    let (result, text) = match basis {
        Basis::Measured => (
            Outcome::Met,
            "The bytes of every object were read back and hashed, and are those that the manifest commits to.",
        ),
        Basis::ProviderAsserted => (
            Outcome::Met,
            "The store's own checksum of every object that was not read back is the one that was committed to.",
        ),
        Basis::Configured | Basis::NotObserved => (
            Outcome::NotObserved,
            "The bytes of at least one object were not looked at.",
        ),
    };
    Found::new(result, basis, &[], text).at(predicate, "content", |object| object.content == basis)
}

fn dated(predicate: &Predicate) -> Found {
    let basis = predicate.store_time.basis;
    let at = &["/store_time", "/nonce"];
    if predicate
        .objects
        .iter()
        .any(|object| object.version_id.is_none())
    {
        let text = "At least one object has no version of its own.";
        return Found::new(Outcome::NotMet, Basis::Measured, &[], text).at(
            predicate,
            "version_id",
            |object| object.version_id.is_none(),
        );
    }
    if predicate.store_time.value.is_none() {
        let text = "The store's time was not observed.";
        return Found::new(Outcome::NotObserved, basis, at, text);
    }
    let text =
        "Every object is named by a version id of its own, and the store's time was observed.";
    Found::new(Outcome::Met, basis, at, text).at(predicate, "version_id", |_| true)
}

fn accessible(predicate: &Predicate) -> Found {
    let hidden = |object: &Object| !object.shadowed_by.is_empty();
    if predicate.objects.iter().any(hidden) {
        let text = "At least one object is hidden by a newer version or a delete marker, and is found by its version id alone.";
        return Found::new(Outcome::NotMet, Basis::Measured, &[], text).at(
            predicate,
            "shadowed_by",
            hidden,
        );
    }
    let basis = weakest(predicate.objects.iter().map(|object| object.content));
    let read = |object: &Object| object.content == Basis::Measured;
    if predicate.objects.iter().all(read) {
        let text = "Every object was found under its key and read back whole.";
        Found::new(Outcome::Met, basis, &[], text).at(predicate, "content", read)
    } else {
        let text = "Not every object was read back.";
        Found::new(Outcome::NotObserved, basis, &[], text)
            .at(predicate, "content", |object| !read(object))
    }
}

fn redundant(replication: &Claim<String>) -> Found {
    let at = &["/bucket/replication"];
    let (result, text) = match (replication.basis, &replication.value) {
        (Basis::NotObserved, _) => (Outcome::NotObserved, "Replication was not looked at."),
        (Basis::Configured, Some(_)) => (
            Outcome::NotObserved,
            "A second copy is configured on the observer's side; the store was not asked for it.",
        ),
        (_, Some(_)) => (
            Outcome::Met,
            "The bucket is replicated. Whether each object has arrived, and is locked there, is not in this attestation.",
        ),
        (_, None) => (
            Outcome::NotMet,
            "The bucket is not replicated; redundancy inside of the service is the provider's.",
        ),
    };
    Found::new(result, replication.basis, at, text)
}

fn held(predicate: &Predicate) -> Found {
    let at = &["/holds"];
    let holds = &predicate.holds;
    let Some(ledger) = &holds.value else {
        let text = "The ledger of legal holds was not looked at.";
        return Found::new(Outcome::NotObserved, holds.basis, at, text);
    };
    if ledger.matters.is_empty() {
        let text = "No legal matter holds the pack.";
        return Found::new(Outcome::NotApplicable, holds.basis, at, text);
    }
    let is = |hold| move |object: &Object| object.legal_hold == hold;
    if predicate.objects.iter().any(is(LegalHold::Off)) {
        let text = "A legal matter holds the pack, but at least one object has no hold.";
        return Found::new(Outcome::NotMet, holds.basis, at, text).at(
            predicate,
            "legal_hold",
            is(LegalHold::Off),
        );
    }
    if predicate.objects.iter().any(is(LegalHold::NotObserved)) {
        let text = "The hold of at least one object could not be read.";
        return Found::new(Outcome::NotObserved, holds.basis, at, text).at(
            predicate,
            "legal_hold",
            is(LegalHold::NotObserved),
        );
    }
    let count = ledger.matters.len();
    let text = format!("Legal matters that hold the pack: {count}. Every object has its hold.");
    Found::new(Outcome::Met, holds.basis, at, text).at(predicate, "legal_hold", |_| true)
}
