//! What is a drift, and what is none.

use super::*;

fn kinds(change: impl FnOnce(&mut Predicate)) -> Vec<(DriftKind, String)> {
    let mut now = predicate();
    change(&mut now);
    let found = drift(&predicate(), &now);
    found.into_iter().map(|one| (one.kind, one.of)).collect()
}

#[track_caller]
fn is_one(kind: DriftKind, of: &str, change: impl FnOnce(&mut Predicate)) {
    assert_eq!(kinds(change), [(kind, of.to_owned())]);
}

#[test]
fn l07_l08_what_is_weaker_is_a_drift() {
    let key = predicate().objects[0].key.clone();
    let sooner = Some(at("2030-01-01T00:00:00Z"));
    is_one(DriftKind::RetentionShortened, &key, |p| {
        p.objects[0].retain_until = sooner;
    });
    is_one(DriftKind::LockRemoved, &key, |p| {
        p.objects[0].retain_until = None;
        p.objects[0].mode = Mode::None;
    });
    is_one(DriftKind::ModeWeakened, &key, |p| {
        p.objects[0].mode = Mode::Governance;
    });
    is_one(DriftKind::NotObserved, &key, |p| {
        p.objects[0].mode = Mode::NotObserved;
        p.objects[0].retain_until = None;
    });
    is_one(DriftKind::HoldRemoved, &key, |p| {
        p.objects[0].legal_hold = LegalHold::Off;
    });
    is_one(DriftKind::NotObserved, &key, |p| {
        p.objects[0].legal_hold = LegalHold::NotObserved;
    });
    is_one(DriftKind::VersionGone, &key, |p| drop(p.objects.remove(0)));
    is_one(DriftKind::VersionGone, &key, |p| {
        p.objects[0].version_id = Some("v2".to_owned());
    });
    is_one(DriftKind::ContentChanged, &key, |p| {
        p.objects[0].commitment = Digest::of(b"x");
    });
    is_one(DriftKind::Shadowed, &key, |p| {
        p.objects[0].shadowed_by.push("delete marker v2".to_owned());
    });
    let both = kinds(|p| {
        p.objects[0].mode = Mode::Governance;
        p.objects[0].retain_until = sooner;
    });
    assert_eq!(both.len(), 2);
}

#[test]
fn l07_settings_enforcement_and_ledger_drift_too() {
    is_one(DriftKind::BucketChanged, "versioning", |p| {
        p.bucket.versioning.value = Some("suspended".to_owned());
    });
    is_one(DriftKind::BucketChanged, "lifecycle_sha256", |p| {
        p.bucket.lifecycle_sha256 = Claim::measured(Digest::of(b"expire"));
    });
    is_one(DriftKind::NotObserved, "policy_sha256", |p| {
        p.bucket.policy_sha256 = Claim::not_observed();
    });
    is_one(DriftKind::StoreChanged, "bucket", |p| {
        p.store.bucket = "other".to_owned();
    });
    let verdict =
        |verdict| move |p: &mut Predicate| p.enforcement.value.as_mut().unwrap().verdict = verdict;
    let lost = DriftKind::EnforcementLost;
    is_one(lost, "enforcement", verdict(Verdict::NotEnforced));
    is_one(lost, "enforcement", verdict(Verdict::NotProven));
    is_one(DriftKind::NotObserved, "enforcement", |p| {
        p.enforcement = Claim::not_observed();
    });
    is_one(DriftKind::HoldRemoved, "holds", |p| {
        p.holds.value.as_mut().unwrap().matters.pop();
    });
    is_one(DriftKind::LedgerRolledBack, "holds", |p| {
        p.holds.value.as_mut().unwrap().ledger_sequence = 3;
    });
    is_one(DriftKind::LedgerRolledBack, "holds", |p| {
        p.holds.value.as_mut().unwrap().ledger_head_sha256 = None;
    });
    is_one(DriftKind::NotObserved, "holds", |p| {
        p.holds = Claim::not_observed();
    });
}

#[test]
fn what_is_stronger_or_was_never_seen_is_none() {
    let same = kinds(|p| {
        p.nonce = Nonce::from_bytes([8; 16]);
        p.observed_at = at("2027-01-01T00:00:00Z");
        p.objects[0].retain_until = Some(at("2040-01-01T00:00:00Z"));
        p.bucket.replication = Claim::measured("elsewhere".to_owned());
        let holds = p.holds.value.as_mut().unwrap();
        holds.ledger_sequence = 5;
        holds.ledger_head_sha256 = Some(Digest::of(b"later"));
        holds.matters.push("case-3".to_owned());
    });
    assert_eq!(same, []);
}
