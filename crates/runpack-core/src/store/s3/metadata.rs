//! What is written beside an object for people and tools: whose it is and of which pack. No verifier reads it.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::commitment::Content;
use crate::key::{Location, ObjectKey, PipelineObject};
use crate::store::Declared;

/// Tells one write from all others, so that a writer knows its own object again after a lost answer.
pub(super) const WRITE: &str = "runpack-write";

/// Names of writes.
#[derive(Debug)]
pub(super) struct Writes {
    seed: u64,
    next: AtomicU64,
}

impl Writes {
    pub(super) fn new() -> Self {
        // The seed of hash maps is the randomness that the standard library has.
        Self {
            seed: RandomState::new().build_hasher().finish(),
            next: AtomicU64::new(0),
        }
    }

    /// A name that no other write has.
    pub(super) fn name(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let other = RandomState::new().hash_one((self.seed, number));
        format!("{:016x}{other:016x}{number:x}", self.seed)
    }
}

/// The user metadata of an object.
pub(super) fn of(key: &ObjectKey, declared: &Declared, write: &str) -> HashMap<String, String> {
    let mut metadata = HashMap::new();
    let mut put = |name: &str, value: String| metadata.insert(name.to_owned(), value);
    put("runpack-format", "v1".to_owned());
    put(WRITE, write.to_owned());
    // A manifest's digest is the pack id, and no manifest has more than one chunk.
    let pack_id = || match &declared.content {
        Content::Whole(digest) => Some(format!("sha256:{digest}")),
        Content::Chunks(_) => None,
    };
    let manifest = match Location::parse(key.as_str()) {
        Some(Location::Run {
            tenant,
            namespace,
            scenario,
            run_id,
            artifact,
            ..
        }) => {
            put("runpack-tenant", tenant.to_string());
            put("runpack-namespace", namespace.to_string());
            put("runpack-scenario", scenario.to_string());
            put("runpack-run-id", run_id.to_string());
            artifact.is_none()
        }
        Some(Location::Pipeline {
            tenant,
            run_id,
            object,
        }) => {
            put("runpack-tenant", tenant.to_string());
            put("runpack-run-id", run_id.to_string());
            matches!(
                object,
                PipelineObject::Manifest | PipelineObject::StepManifest { .. }
            )
        }
        Some(Location::Execution {
            execution_id,
            artifact,
        }) => {
            put("runpack-execution-id", execution_id.to_string());
            artifact.is_none()
        }
        Some(Location::Bundle {
            run_id, pack_id, ..
        }) => {
            put("runpack-run-id", run_id.to_string());
            put("runpack-pack-id", pack_id.to_string());
            false
        }
        _ => false,
    };
    if manifest && let Some(pack_id) = pack_id() {
        put("runpack-pack-id", pack_id);
    }
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "abababababababababababababababababababababababababababababababab";

    fn shown(key: &str, bytes: &[u8]) -> Vec<String> {
        let key = Location::parse(key).unwrap().key().unwrap();
        let mut shown: Vec<_> = of(&key, &Declared::of(bytes), "w")
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        shown.sort();
        shown
    }

    #[test]
    fn objects_say_whose_they_are() {
        let run = format!("tenant/acme/namespace/prod/scenario/loan/run/r1/{HEX}");
        let pack_id = format!("runpack-pack-id=sha256:{}", crate::digest::Digest::of(b"m"));
        let manifest = shown(&format!("{run}/manifest.json"), b"m");
        let of_run = [
            "runpack-namespace=prod",
            "runpack-run-id=r1",
            "runpack-scenario=loan",
            "runpack-tenant=acme",
            "runpack-write=w",
        ];
        assert_eq!(manifest[0], "runpack-format=v1");
        assert!(manifest.contains(&pack_id));
        assert!(
            of_run
                .iter()
                .all(|line| manifest.contains(&(*line).to_owned()))
        );
        let artifact = shown(&format!("{run}/{HEX}/a.bin"), b"m");
        assert_eq!(artifact.len(), manifest.len() - 1);
        assert!(!artifact.contains(&pack_id));
    }

    #[test]
    fn bundles_and_executions_name_their_pack() {
        let bundle = shown(&format!("2026/11/r1/{HEX}.tar.gz"), b"bytes of a bundle");
        assert!(bundle.contains(&format!("runpack-pack-id=sha256:{HEX}")));
        let execution = "executions/01ARZ3NDEKTSV4RRFFQ69G5FAV";
        let manifest = shown(&format!("{execution}/manifest.json"), b"m");
        assert!(manifest.contains(&format!(
            "runpack-pack-id=sha256:{}",
            crate::digest::Digest::of(b"m")
        )));
        assert!(manifest.contains(&"runpack-execution-id=01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned()));
        let reference = shown(&format!("_runpack/refs/{HEX}"), b"m");
        assert_eq!(reference, ["runpack-format=v1", "runpack-write=w"]);
    }

    #[test]
    fn no_two_writes_have_one_name() {
        let (one, other) = (Writes::new(), Writes::new());
        let mut names: Vec<_> = (0..100).flat_map(|_| [one.name(), other.name()]).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 200);
    }
}
