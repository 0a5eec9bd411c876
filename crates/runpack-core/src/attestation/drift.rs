//! What has become weaker since an attestation: a comparison, without asking anybody.
//!
//! Invariant: whatever was seen then and can no longer be seen is a drift too.

use std::collections::HashMap;
use std::fmt;

use super::{Basis, Bucket, Claim, LegalHold, Mode, Object, Predicate, Verdict};

/// What has become weaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DriftKind {
    /// The objects were looked for somewhere else.
    StoreChanged,
    /// A setting of the bucket is another.
    BucketChanged,
    /// Locks were shown to be enforced, and are no longer.
    EnforcementLost,
    /// The version that was attested is not there.
    VersionGone,
    /// The same version has other bytes.
    ContentChanged,
    /// No lock any more.
    LockRemoved,
    /// The retention ends earlier.
    RetentionShortened,
    /// Governance in the place of compliance.
    ModeWeakened,
    /// A legal hold, or a matter, is gone.
    HoldRemoved,
    /// The ledger of holds is shorter than it was.
    LedgerRolledBack,
    /// Something hides the version.
    Shadowed,
    /// It was seen then and cannot be seen now.
    NotObserved,
}

impl DriftKind {
    /// For programs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::StoreChanged => "store-changed",
            Self::BucketChanged => "bucket-changed",
            Self::EnforcementLost => "enforcement-lost",
            Self::VersionGone => "version-gone",
            Self::ContentChanged => "content-changed",
            Self::LockRemoved => "lock-removed",
            Self::RetentionShortened => "retention-shortened",
            Self::ModeWeakened => "mode-weakened",
            Self::HoldRemoved => "hold-removed",
            Self::LedgerRolledBack => "ledger-rolled-back",
            Self::Shadowed => "shadowed",
            Self::NotObserved => "not-observed",
        }
    }
}

/// One thing that has become weaker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drift {
    /// What.
    pub kind: DriftKind,
    /// The object's key, or the setting's name: untrusted text.
    pub of: String,
    /// What was attested: untrusted text.
    pub attested: String,
    /// What is there now: untrusted text.
    pub now: String,
}

/// What is weaker now than was attested; what has become stronger is no drift.
pub fn drift(attested: &Predicate, now: &Predicate) -> Vec<Drift> {
    let mut found = Drifts(Vec::new());
    found.store(attested, now);
    found.bucket(&attested.bucket, &now.bucket);
    found.enforcement(attested, now);
    found.holds(attested, now);
    let there: HashMap<_, _> = now
        .objects
        .iter()
        .map(|object| ((object.key.as_str(), object.version_id.as_deref()), object))
        .collect();
    for object in &attested.objects {
        match there.get(&(object.key.as_str(), object.version_id.as_deref())) {
            Some(now) => found.object(object, now),
            None => found.push(
                DriftKind::VersionGone,
                &object.key,
                &object.version_id.as_deref().unwrap_or("unversioned"),
                &"none",
            ),
        }
    }
    found.0
}

struct Drifts(Vec<Drift>);

impl Drifts {
    fn push(
        &mut self,
        kind: DriftKind,
        of: &str,
        attested: &dyn fmt::Display,
        now: &dyn fmt::Display,
    ) {
        self.0.push(Drift {
            kind,
            of: of.to_owned(),
            attested: attested.to_string(),
            now: now.to_string(),
        });
    }

    fn store(&mut self, attested: &Predicate, now: &Predicate) {
        let (attested, now) = (&attested.store, &now.store);
        let owner = |store: &super::Store| store.expected_owner.clone().unwrap_or_default();
        for (name, attested, now) in [
            ("bucket", attested.bucket.clone(), now.bucket.clone()),
            ("endpoint", attested.endpoint.clone(), now.endpoint.clone()),
            ("prefix", attested.prefix.clone(), now.prefix.clone()),
            ("expected_owner", owner(attested), owner(now)),
        ] {
            if attested != now {
                self.push(DriftKind::StoreChanged, name, &attested, &now);
            }
        }
    }

    fn bucket(&mut self, attested: &Bucket, now: &Bucket) {
        self.setting(
            "default_retention",
            &attested.default_retention,
            &now.default_retention,
        );
        self.setting("encryption", &attested.encryption, &now.encryption);
        self.setting(
            "lifecycle_sha256",
            &attested.lifecycle_sha256,
            &now.lifecycle_sha256,
        );
        self.setting("object_lock", &attested.object_lock, &now.object_lock);
        self.setting("policy_sha256", &attested.policy_sha256, &now.policy_sha256);
        self.setting("replication", &attested.replication, &now.replication);
        self.setting("versioning", &attested.versioning, &now.versioning);
    }

    /// Which of two settings is the weaker cannot be told from their texts: any change is one.
    fn setting<T: PartialEq + fmt::Display>(
        &mut self,
        name: &str,
        attested: &Claim<T>,
        now: &Claim<T>,
    ) {
        let shown = |claim: &Claim<T>| match &claim.value {
            Some(value) => value.to_string(),
            None => "none".to_owned(),
        };
        if attested.basis == Basis::NotObserved {
            return;
        }
        if now.basis == Basis::NotObserved {
            let kind = DriftKind::NotObserved;
            self.push(kind, name, &shown(attested), &now.basis.as_str());
        } else if attested.value != now.value {
            let kind = DriftKind::BucketChanged;
            self.push(kind, name, &shown(attested), &shown(now));
        }
    }

    fn enforcement(&mut self, attested: &Predicate, now: &Predicate) {
        let verdict = |predicate: &Predicate| {
            let tested = predicate.enforcement.value.as_ref();
            tested.map(|tested| tested.verdict)
        };
        let now = verdict(now);
        if verdict(attested) != Some(Verdict::Proven) || now == Some(Verdict::Proven) {
            return;
        }
        let kind = match now {
            None => DriftKind::NotObserved,
            Some(_) => DriftKind::EnforcementLost,
        };
        let now = now.map_or("not-observed", Verdict::as_str);
        self.push(kind, "enforcement", &Verdict::Proven.as_str(), &now);
    }

    fn holds(&mut self, attested: &Predicate, now: &Predicate) {
        let Some(attested) = &attested.holds.value else {
            return;
        };
        let Some(now) = &now.holds.value else {
            let sequence = attested.ledger_sequence;
            self.push(DriftKind::NotObserved, "holds", &sequence, &"not-observed");
            return;
        };
        let other_head = now.ledger_sequence == attested.ledger_sequence
            && now.ledger_head_sha256 != attested.ledger_head_sha256;
        if now.ledger_sequence < attested.ledger_sequence || other_head {
            self.push(
                DriftKind::LedgerRolledBack,
                "holds",
                &attested.ledger_sequence,
                &now.ledger_sequence,
            );
        }
        for matter in &attested.matters {
            if !now.matters.contains(matter) {
                self.push(DriftKind::HoldRemoved, "holds", matter, &"none");
            }
        }
    }

    fn object(&mut self, attested: &Object, now: &Object) {
        let key = attested.key.as_str();
        if (attested.commitment, attested.bytes) != (now.commitment, now.bytes) {
            self.push(
                DriftKind::ContentChanged,
                key,
                &attested.commitment,
                &now.commitment,
            );
        }
        self.lock(attested, now);
        match (attested.legal_hold, now.legal_hold) {
            (LegalHold::On, LegalHold::Off) => {
                self.push(DriftKind::HoldRemoved, key, &"on", &"off");
            }
            (LegalHold::On, LegalHold::NotObserved) => {
                self.push(DriftKind::NotObserved, key, &"on", &"not-observed");
            }
            _ => {}
        }
        for shadow in &now.shadowed_by {
            if !attested.shadowed_by.contains(shadow) {
                self.push(DriftKind::Shadowed, key, &"none", shadow);
            }
        }
    }

    fn lock(&mut self, attested: &Object, now: &Object) {
        let key = attested.key.as_str();
        let shown = |object: &Object| match object.retain_until {
            Some(until) => format!("{} until {until}", object.mode.as_str()),
            None => object.mode.as_str().to_owned(),
        };
        let kind = if attested.mode < Mode::Governance {
            return;
        } else if now.mode == Mode::NotObserved {
            DriftKind::NotObserved
        } else if now.mode == Mode::None {
            DriftKind::LockRemoved
        } else if now.mode < attested.mode {
            DriftKind::ModeWeakened
        } else if now.retain_until < attested.retain_until {
            DriftKind::RetentionShortened
        } else {
            return;
        };
        self.push(kind, key, &shown(attested), &shown(now));
        // Both at once are two.
        if kind == DriftKind::ModeWeakened && now.retain_until < attested.retain_until {
            let kind = DriftKind::RetentionShortened;
            self.push(kind, key, &shown(attested), &shown(now));
        }
    }
}
