//! What there is at a replica of every version of a pack: found by key, by version where replication kept it, else by
//! its bytes, for [`crate::replicas::judge`] to judge.
//!
//! Invariants: bytes count as known only by the store's own checksum or by reading; a replica that may not be asked is
//! not observed and never missing; that a version has no lock is concluded only where the store says so, or says that
//! its bucket locks nothing.

use runpack_core::store::{Declared, ObjectRef, State, StoreError};

use crate::batch;
use crate::evidence::{Evidence, Held, Pinned, checksum, hash};
use crate::facts::object_lock;
use crate::guard::{Glimpse, Guard, Hold};
use crate::policy::Observed;
use crate::replicas::{Above, AtReplica, Bytes, FoundLock, FoundVersion, Pair, ReplicationStatus};

/// Looks for the copy of each of these versions in the bucket of `replica`.
///
/// # Errors
/// The replica fails, other than by refusing to be asked.
pub async fn pairs(
    evidence: &Evidence,
    versions: &[Pinned],
    replica: &Guard,
) -> Result<Vec<Pair>, StoreError> {
    let mut held = match evidence.held(replica).await {
        Ok(held) => held,
        Err(error) if is_refusal(&error) => {
            let why = error.to_string();
            let pair =
                |pinned: &Pinned| pair_of(pinned, AtReplica::NotObserved { why: why.clone() });
            return Ok(versions.iter().map(pair).collect());
        }
        Err(error) => return Err(error),
    };
    let there = There {
        guard: replica,
        locks_nothing: object_lock(replica.store()).await == Observed::Absent,
    };
    let asked = versions.iter().map(|pinned| {
        let held = held.remove(pinned.part.key.as_str()).unwrap_or_default();
        (pinned, held)
    });
    let asked: Vec<_> = asked.collect();
    let there = &there;
    batch::each(asked, |(pinned, held)| async move {
        Ok(pair_of(pinned, there.copy(pinned, &held).await?))
    })
    .await
}

/// Why somebody could not look.
fn is_refusal(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Denied { .. } | StoreError::Refused { .. }
    )
}

/// The bucket of a replica.
struct There<'a> {
    guard: &'a Guard,
    /// It has no Object Lock, so no version in it is locked or held.
    locks_nothing: bool,
}

impl There<'_> {
    /// The copy of a version: the one with its id, else the oldest with its bytes, else the oldest.
    async fn copy(&self, pinned: &Pinned, held: &[Held]) -> Result<AtReplica, StoreError> {
        let objects = held.iter().enumerate();
        let mut objects: Vec<_> = objects.filter(|(_, h)| h.state == State::Object).collect();
        // Replication between buckets of one service keeps the id of a version; nothing else gives two the same.
        let is_same = |held: &Held| Some(&held.version) == pinned.object.version.as_ref();
        if let Some(same) = objects.iter().copied().find(|(_, held)| is_same(held)) {
            objects = vec![same];
        }
        let mut other = None;
        for (at, found) in objects {
            let object = ObjectRef {
                key: pinned.part.key.clone(),
                version: Some(found.version.clone()),
            };
            let version = match self.look(&object, pinned).await {
                Ok(version) => version,
                // It went between being listed and being looked at.
                Err(StoreError::NotFound { .. }) => continue,
                Err(error) if is_refusal(&error) => {
                    let why = error.to_string();
                    return Ok(AtReplica::NotObserved { why });
                }
                Err(error) => return Err(error),
            };
            let above = match held.get(at.saturating_add(1)..).and_then(<[Held]>::last) {
                None => Above::Nothing,
                Some(newest) if newest.state == State::DeleteMarker => Above::Marker,
                Some(_) => Above::Version,
            };
            let is_copy = is_same(found) || is_copy(&version, &pinned.declared);
            let copy = AtReplica::Present { version, above };
            if is_copy {
                return Ok(copy);
            }
            other.get_or_insert(copy);
        }
        Ok(other.unwrap_or(AtReplica::Missing))
    }

    async fn look(&self, object: &ObjectRef, pinned: &Pinned) -> Result<FoundVersion, StoreError> {
        let glimpse = self.guard.glimpse(object).await?;
        Ok(FoundVersion {
            size: glimpse.bytes,
            bytes: self.bytes(object, &glimpse, &pinned.declared).await?,
            lock: match glimpse.lock {
                _ if self.locks_nothing => FoundLock::Observed {
                    retention: None,
                    is_held: false,
                },
                None => FoundLock::NotObserved,
                Some((lock, hold)) => FoundLock::Observed {
                    retention: lock.map(|lock| (lock.mode, lock.until)),
                    is_held: hold == Hold::On,
                },
            },
        })
    }

    async fn bytes(
        &self,
        object: &ObjectRef,
        glimpse: &Glimpse,
        declared: &Declared,
    ) -> Result<Bytes, StoreError> {
        if glimpse.bytes != declared.bytes {
            return Ok(Bytes::NotObserved);
        }
        if glimpse.checksum == Some(checksum(declared)) {
            return Ok(Bytes::ProviderAsserted(declared.commitment()));
        }
        // One byte more than was declared tells it apart (threat S03).
        match hash(self.guard, object, declared.bytes.saturating_add(1)).await {
            Ok(found) => Ok(Bytes::Measured(found.commitment())),
            Err(StoreError::Archived { .. }) => Ok(Bytes::NotObserved),
            Err(error) if is_refusal(&error) => Ok(Bytes::NotObserved),
            Err(error) => Err(error),
        }
    }
}

/// Whether what was found has the bytes, or nobody can tell that it has not.
fn is_copy(found: &FoundVersion, declared: &Declared) -> bool {
    let is_other = match found.bytes {
        Bytes::Measured(digest) | Bytes::ProviderAsserted(digest) => {
            digest != declared.commitment()
        }
        Bytes::NotObserved => false,
    };
    found.size == declared.bytes && !is_other
}

fn pair_of(pinned: &Pinned, replica: AtReplica) -> Pair {
    let protection = &pinned.protection;
    let digest = pinned.declared.commitment();
    let bytes = if protection.checksum == Some(checksum(&pinned.declared)) {
        Bytes::ProviderAsserted(digest)
    } else {
        Bytes::Measured(digest)
    };
    let version = pinned.object.version.as_ref();
    Pair {
        key: pinned.part.key.clone(),
        version: version.map_or_else(String::new, |version| version.as_str().to_owned()),
        written_at: pinned.modified,
        status: status(protection.replication.as_deref()),
        source: FoundVersion {
            size: protection.bytes,
            bytes,
            lock: FoundLock::Observed {
                retention: protection.lock.map(|lock| (lock.mode, lock.until)),
                is_held: protection.hold == Hold::On,
            },
        },
        replica,
    }
}

/// What the source says of a replication; a word that nobody knows is no promise.
fn status(word: Option<&str>) -> ReplicationStatus {
    match word {
        Some("COMPLETED" | "COMPLETE") => ReplicationStatus::Completed,
        Some("PENDING") => ReplicationStatus::Pending,
        Some("FAILED") => ReplicationStatus::Failed,
        Some("REPLICA") => ReplicationStatus::Replica,
        _ => ReplicationStatus::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_replication() {
        for (word, found) in [
            (None, ReplicationStatus::None),
            (Some("COMPLETED"), ReplicationStatus::Completed),
            (Some("COMPLETE"), ReplicationStatus::Completed),
            (Some("PENDING"), ReplicationStatus::Pending),
            (Some("FAILED"), ReplicationStatus::Failed),
            (Some("REPLICA"), ReplicationStatus::Replica),
            (Some("completed"), ReplicationStatus::None),
        ] {
            assert_eq!(status(word), found, "{word:?}");
        }
    }
}
