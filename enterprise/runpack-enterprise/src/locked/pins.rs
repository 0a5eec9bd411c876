//! Which versions were receipted, so that they are read whatever stands over them.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};

use runpack_core::key::{Location, ObjectKey, PipelineObject};
use runpack_core::store::{ObjectRef, StoreError};

use super::{LockedStore, PACKS_KNOWN_MAX, Pins};
use crate::receipt::LockReceipt;

/// The manifest of the pack to which what has this key belongs, or the bundle itself.
fn commit_of(key: &ObjectKey) -> Option<ObjectKey> {
    let location = Location::parse(key.as_str())?;
    let commit = match location {
        Location::Run {
            tenant,
            namespace,
            scenario,
            run_id,
            spec_hash,
            artifact: Some(_),
        } => Location::Run {
            tenant,
            namespace,
            scenario,
            run_id,
            spec_hash,
            artifact: None,
        },
        Location::Execution { execution_id, .. } => Location::Execution {
            execution_id,
            artifact: None,
        },
        Location::Pipeline {
            tenant,
            run_id,
            object: PipelineObject::StepArtifact { step_id, .. },
        } => Location::Pipeline {
            tenant,
            run_id,
            object: PipelineObject::StepManifest { step_id },
        },
        // A step's manifest is receipted with its step's pack, and a definition with whichever run was locked.
        Location::Pipeline {
            tenant,
            run_id,
            object: PipelineObject::Artifact { .. },
        } => Location::Pipeline {
            tenant,
            run_id,
            object: PipelineObject::Manifest,
        },
        other => other,
    };
    commit.key().ok()
}

impl LockedStore {
    /// The versions that were receipted of the pack to which this key belongs.
    pub(super) fn pins_of(&self, key: &ObjectKey) -> Result<Option<Arc<Pins>>, StoreError> {
        let Some(commit) = commit_of(key) else {
            return Ok(None);
        };
        if let Some(pins) = self.known_pins().get(&commit) {
            return Ok(pins.clone());
        }
        let receipt = self.locking.book.of(&self.locking.place, &commit)?;
        // When its locks have ended a pack may be removed, and another be written in its place.
        let now = self.locking.clock.now();
        let pins = receipt.filter(|receipt| receipt.asked.until > now);
        let pins = pins.map(|receipt| Arc::new(receipt.pins()));
        self.remember(commit, pins.clone());
        Ok(pins)
    }

    fn known_pins(&self) -> MutexGuard<'_, HashMap<ObjectKey, Option<Arc<Pins>>>> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the versions of a few packs at hand.
    fn remember(&self, commit: ObjectKey, pins: Option<Arc<Pins>>) {
        let mut known = self.known_pins();
        if known.len() >= PACKS_KNOWN_MAX {
            known.clear();
        }
        known.insert(commit, pins);
    }

    pub(super) fn know(&self, commit: ObjectKey, receipt: &LockReceipt) {
        self.remember(commit, Some(Arc::new(receipt.pins())));
    }

    /// The version that is read where none is asked for.
    pub(super) fn pinned(&self, object: &ObjectRef) -> Result<ObjectRef, StoreError> {
        let mut pinned = object.clone();
        if pinned.version.is_none() {
            let pins = self.pins_of(&object.key)?;
            pinned.version = pins.and_then(|pins| pins.get(&object.key).cloned());
        }
        Ok(pinned)
    }
}
