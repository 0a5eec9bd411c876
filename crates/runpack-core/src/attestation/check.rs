//! Whether what is attested holds together, and is about exactly the objects of the pack.

use std::collections::BTreeMap;

use super::{AttestationError, Basis, Enforcement, Expected, Mode, Object, Predicate, Role};
use crate::id::PackId;
use crate::key::Location;
use crate::manifest::{Manifest, Subject};

/// Refuses what contradicts itself or the pack.
pub(super) fn check(predicate: &Predicate, expected: Expected<'_>) -> Result<(), AttestationError> {
    claims(predicate)?;
    times(predicate)?;
    for object in &predicate.objects {
        lock(object)?;
    }
    if !predicate
        .objects
        .is_sorted_by(|one, other| one.key < other.key)
    {
        return Err(AttestationError::Contradiction(
            "`objects` are not sorted by key, each once",
        ));
    }
    if predicate.retained_until != Predicate::least_retention(&predicate.objects) {
        return Err(AttestationError::Contradiction(
            "`retained_until` is not the earliest of the objects",
        ));
    }
    let head = head(predicate)?;
    match head.role {
        Role::Bundle => bundle(predicate, head, expected),
        _ => pack(predicate, head, expected),
    }
}

/// How far two clocks may be apart, in seconds: as far as a store's and a writer's (B22).
const SKEW_SECONDS_MAX: u64 = 300;

/// Refuses times that do not fit.
fn times(predicate: &Predicate) -> Result<(), AttestationError> {
    let observed_at = predicate.observed_at;
    let tested = predicate.enforcement.value.as_ref();
    if tested.is_some_and(|tested| tested.proved_at > observed_at) {
        return Err(AttestationError::Contradiction(
            "`proved_at` is after `observed_at`",
        ));
    }
    let skew = predicate
        .store_time
        .value
        .map(|theirs| theirs.unix_seconds().abs_diff(observed_at.unix_seconds()));
    if skew.is_some_and(|skew| skew > SKEW_SECONDS_MAX) {
        return Err(AttestationError::Contradiction(
            "`store_time` and `observed_at` are more than five minutes apart",
        ));
    }
    Ok(())
}

fn claims(predicate: &Predicate) -> Result<(), AttestationError> {
    let Predicate {
        bucket,
        store,
        store_time,
        enforcement,
        holds,
        ..
    } = predicate;
    let sound = [
        bucket.default_retention.is_sound(),
        bucket.encryption.is_sound(),
        bucket.lifecycle_sha256.is_sound(),
        bucket.object_lock.is_sound(),
        bucket.policy_sha256.is_sound(),
        bucket.replication.is_sound(),
        bucket.versioning.is_sound(),
        store.region.is_sound(),
        store_time.is_sound(),
        enforcement.is_sound(),
        holds.is_sound(),
    ];
    if sound.contains(&false) {
        return Err(AttestationError::Contradiction(
            "a claim that was not observed has a value",
        ));
    }
    if let Some(tested) = &enforcement.value
        && tested.verdict != Enforcement::follows(&tested.attempts)
    {
        return Err(AttestationError::Contradiction(
            "`verdict` does not follow from the attempts",
        ));
    }
    if let Some(holds) = &holds.value
        && !holds.matters.is_sorted_by(|one, other| one < other)
    {
        return Err(AttestationError::Contradiction(
            "`matters` are not sorted, each once",
        ));
    }
    Ok(())
}

fn lock(object: &Object) -> Result<(), AttestationError> {
    let known = object.lock_basis != Basis::NotObserved;
    let locked = object.mode >= Mode::Governance;
    if known == (object.mode == Mode::NotObserved) || locked != object.retain_until.is_some() {
        return Err(wrong(object, "mode, date and basis of the lock differ"));
    }
    Ok(())
}

/// The one object that stands for the whole: the manifest's or the bundle's.
fn head(predicate: &Predicate) -> Result<&Object, AttestationError> {
    let mut heads = predicate
        .objects
        .iter()
        .filter(|object| object.role != Role::Artifact);
    match (heads.next(), heads.next()) {
        (Some(head), None) => Ok(head),
        _ => Err(AttestationError::Contradiction(
            "not exactly one object is the manifest or a bundle",
        )),
    }
}

fn bundle(
    predicate: &Predicate,
    head: &Object,
    expected: Expected<'_>,
) -> Result<(), AttestationError> {
    if let [_, other, ..] = predicate.objects.as_slice() {
        return Err(wrong(other, "a bundle holds the whole pack"));
    }
    let place = Location::parse(&head.key);
    let in_place = match expected {
        Expected::Manifest(manifest) => place.is_some() && place == Location::bundle(manifest),
        Expected::PackId(expected) => {
            matches!(place, Some(Location::Bundle { pack_id, .. }) if pack_id == expected)
        }
    };
    if in_place {
        Ok(())
    } else {
        Err(wrong(head, "not the place of this pack's bundle"))
    }
}

fn pack(
    predicate: &Predicate,
    head: &Object,
    expected: Expected<'_>,
) -> Result<(), AttestationError> {
    let subject = Location::parse(&head.key)
        .and_then(|place| place.manifest_subject())
        .ok_or_else(|| wrong(head, "not the place of a manifest"))?;
    if PackId::new(head.commitment) != expected.pack_id() {
        return Err(wrong(head, "its bytes are another manifest"));
    }
    for object in &predicate.objects {
        // L11: an artifact that outlives its manifest can no longer be shown to be one.
        if object.retain_until > head.retain_until {
            return Err(wrong(object, "kept for longer than its manifest"));
        }
        if object.role == Role::Artifact && !is_artifact(object, &subject) {
            return Err(wrong(object, "not the place of an artifact of this pack"));
        }
    }
    match expected {
        Expected::PackId(_) => Ok(()),
        Expected::Manifest(manifest) => listed(predicate, head, &subject, manifest),
    }
}

/// Whether the key is one that an artifact of a pack about `subject` and with this commitment has.
fn is_artifact(object: &Object, subject: &Subject) -> bool {
    let Some(place) = Location::parse(&object.key) else {
        return false;
    };
    place
        .artifact_name()
        .is_some_and(|name| place == Location::artifact(subject, &name, object.commitment))
}

/// Each object of the manifest is there, as the manifest says, and no other.
fn listed(
    predicate: &Predicate,
    head: &Object,
    subject: &Subject,
    manifest: &Manifest,
) -> Result<(), AttestationError> {
    if subject != manifest.subject() || head.bytes != manifest.bytes() {
        return Err(wrong(head, "not as the manifest says"));
    }
    let mut missing: BTreeMap<String, _> = manifest
        .artifacts()
        .iter()
        .map(|artifact| {
            let commitment = artifact.commitment();
            let place = Location::artifact(subject, artifact.name(), commitment);
            (place.to_string(), (artifact.bytes(), commitment))
        })
        .collect();
    for object in &predicate.objects {
        if object.role != Role::Artifact {
            continue;
        }
        match missing.remove(&object.key) {
            None => return Err(wrong(object, "no artifact of the manifest lies there")),
            Some(known) if known != (object.bytes, object.commitment) => {
                return Err(wrong(object, "not as the manifest says"));
            }
            Some(_) => {}
        }
    }
    match missing.into_keys().next() {
        None => Ok(()),
        Some(key) => Err(AttestationError::Missing { key }),
    }
}

fn wrong(object: &Object, fault: &'static str) -> AttestationError {
    AttestationError::Object {
        key: object.key.clone(),
        fault,
    }
}
