//! Where a pack lies, as the verifier sees it: a source of untrusted bytes.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::StreamExt as _;

use crate::key::{Location, ObjectKey, PipelineObject};
use crate::manifest::{Artifact, Manifest, RunPart, Subject};
use crate::name::ArtifactName;
use crate::store::{
    ArtifactReader, ObjectBody, ObjectRef, ObjectStat, StoreError, open_named, open_oldest,
    read_capped,
};

/// A manifest as it was found.
#[derive(Debug)]
pub struct ManifestFound {
    /// The bytes; `None` where they are over the limit.
    pub bytes: Option<Vec<u8>>,
    /// Whether the container shows other manifests for the same subject.
    pub equivocal: bool,
}

/// What a container holds beyond its manifest. The paths are untrusted text: show them escaped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unlisted {
    /// The first ones, in no order.
    pub paths: Vec<String>,
    /// How many more there are.
    pub more: u64,
    /// Directories that could not be listed, and why: what is in them is not known.
    pub unread: Vec<(String, String)>,
}

impl Unlisted {
    /// Adds a path, or counts it where enough are named.
    pub fn add(&mut self, path: String, paths_max: usize) {
        if self.paths.len() < paths_max {
            self.paths.push(path);
        } else {
            self.more = self.more.saturating_add(1);
        }
    }
}

/// Something that holds a pack: a directory, or a run's place in a store.
#[async_trait]
pub trait Container: Send + Sync + fmt::Debug {
    /// The manifest's bytes, of which at most `bytes_max` are read.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Unsafe`], or as the container fails.
    async fn manifest(&self, bytes_max: u64) -> Result<ManifestFound, StoreError>;

    /// Hears what is expected of it, after its manifest was found sound and before all else.
    ///
    /// # Errors
    /// The container could not be looked at.
    async fn expect(&self, manifest: &Arc<Manifest>) -> Result<(), StoreError> {
        let _ = manifest;
        Ok(())
    }

    /// Opens a range of an artifact.
    ///
    /// # Errors
    /// As [`ArtifactReader::open`].
    async fn open(&self, artifact: &Artifact, range: Range<u64>) -> Result<ObjectBody, StoreError>;

    /// What is there and not in `manifest`, of which the first `paths_max` are named.
    ///
    /// # Errors
    /// The container could not be listed.
    async fn unlisted(
        &self,
        manifest: &Arc<Manifest>,
        paths_max: usize,
    ) -> Result<Unlisted, StoreError>;

    /// Whose pack this is the place of, where the place itself says so: a manifest of another subject
    /// does not belong here (threat S09).
    fn subject(&self) -> Option<&Subject> {
        None
    }

    /// Whether what is not listed makes the pack invalid.
    fn is_closed(&self) -> bool;

    /// How many requests to keep under way at once on each worker.
    fn requests_in_flight(&self) -> usize {
        1
    }
}

/// A pack in a live store, found by its identity.
#[derive(Debug)]
pub struct StorePack {
    reader: Arc<dyn ArtifactReader>,
    subject: Subject,
    /// Of artifacts of several chunks, the versions that are read.
    oldest: Mutex<BTreeMap<ArtifactName, ObjectRef>>,
}

impl StorePack {
    /// The pack about `subject` in a store.
    pub fn new(reader: Arc<dyn ArtifactReader>, subject: Subject) -> Self {
        Self {
            reader,
            subject,
            oldest: Mutex::default(),
        }
    }

    fn oldest(&self) -> MutexGuard<'_, BTreeMap<ArtifactName, ObjectRef>> {
        // What is there was put there whole.
        self.oldest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The manifest among the versions of its object.
    async fn manifest_among(
        &self,
        key: &ObjectKey,
        versions: &[ObjectStat],
        bytes_max: u64,
    ) -> Result<ManifestFound, StoreError> {
        let read = async |version| {
            let object = ObjectRef {
                key: key.clone(),
                version,
            };
            read_capped(&*self.reader, &object, bytes_max).await
        };
        // The oldest version that survives is the commit, whatever came after it.
        let Some((oldest, newer)) = versions.split_first() else {
            return Err(StoreError::NotFound {
                key: key.to_string(),
            });
        };
        let bytes = read(oldest.version.clone()).await?;
        let mut equivocal = false;
        for other in newer {
            if read(other.version.clone()).await? != bytes {
                equivocal = true;
                break;
            }
        }
        Ok(ManifestFound { bytes, equivocal })
    }

    /// Where its manifest is, for people.
    pub fn storage_uri(&self) -> Option<String> {
        let key = Location::manifest(&self.subject).key().ok()?;
        Some(self.reader.storage_uri(&key))
    }

    /// Whether an object of a pipeline's run is of the pack with this manifest, or of the pack of a step that it lists,
    /// which is looked at for itself.
    fn lists(&self, manifest: &Manifest, location: &Location) -> bool {
        let name = match (location, &self.subject) {
            (
                Location::Pipeline {
                    object: PipelineObject::StepArtifact { step_id, .. },
                    ..
                },
                Subject::Pipeline { .. },
            ) => Some(RunPart::Step(step_id.clone()).name()),
            _ => location.artifact_name().map(|name| name.to_string()),
        };
        name.is_some_and(|name| manifest.artifact(&name).is_some())
    }

    fn key_too_long(error: &crate::key::KeyTooLong) -> StoreError {
        StoreError::NotFound {
            key: format!("({error})"),
        }
    }
}

#[async_trait]
impl Container for StorePack {
    async fn manifest(&self, bytes_max: u64) -> Result<ManifestFound, StoreError> {
        let key = Location::manifest(&self.subject)
            .key()
            .map_err(|e| Self::key_too_long(&e))?;
        let versions = self.reader.versions(&key).await?;
        match self.manifest_among(&key, &versions, bytes_max).await {
            Err(error) if error.is_retryable() => {
                // Whoever named them is away: somebody else may name others.
                let again = self.reader.versions(&key).await?;
                if again == versions {
                    return Err(error);
                }
                self.manifest_among(&key, &again, bytes_max).await
            }
            found => found,
        }
    }

    async fn open(&self, artifact: &Artifact, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        let location = Location::artifact(&self.subject, artifact.name(), artifact.commitment());
        let key = location.key().map_err(|e| Self::key_too_long(&e))?;
        if !self.subject.is_kept_by_oldest() {
            return self.reader.open(&key.into(), range).await;
        }
        // Its chunks are of one version, which is looked for once.
        let known = self.oldest().get(artifact.name()).cloned();
        let (object, body) = match known {
            Some(object) => open_named(&*self.reader, object, range).await?,
            None => open_oldest(&*self.reader, &key, range).await?,
        };
        if artifact.content().chunks().len() > 1 {
            self.oldest().insert(artifact.name().clone(), object);
        }
        Ok(body)
    }

    async fn unlisted(
        &self,
        manifest: &Arc<Manifest>,
        paths_max: usize,
    ) -> Result<Unlisted, StoreError> {
        // A listing is a claim and may be endless: residue is a courtesy, so it is bounded.
        let entries_max = manifest
            .artifacts()
            .len()
            .saturating_mul(2)
            .saturating_add(10_000);
        let mut entries = self
            .reader
            .list(&Location::pack_prefix(&self.subject))
            .take(entries_max);
        let mut unlisted = Unlisted::default();
        while let Some(entry) = entries.next().await {
            let key = entry?.key;
            let is_listed = |name: &ArtifactName| manifest.artifact(name.as_str()).is_some();
            let listed = match Location::parse(&key) {
                Some(location) if location == Location::manifest(&self.subject) => true,
                Some(Location::Run {
                    artifact: Some((commitment, name)),
                    ..
                }) => manifest
                    .artifact(name.as_str())
                    .is_some_and(|artifact| artifact.commitment() == commitment),
                Some(Location::Execution {
                    artifact: Some(name),
                    ..
                }) => is_listed(&name),
                Some(location @ Location::Pipeline { .. }) => self.lists(manifest, &location),
                _ => false,
            };
            if !listed {
                unlisted.add(key, paths_max);
            }
        }
        Ok(unlisted)
    }

    fn subject(&self) -> Option<&Subject> {
        Some(&self.subject)
    }

    fn is_closed(&self) -> bool {
        false
    }

    fn requests_in_flight(&self) -> usize {
        self.reader.requests_in_flight()
    }
}
