//! Which objects make up what is to be kept, and which version of each is the evidence.
//!
//! A version counts only if its bytes are those that the manifest commits to: by the store's own checksum where that
//! covers them, else by reading them. Of several such versions the oldest is taken, and of a manifest's always the oldest,
//! which is the commit.

use std::collections::HashMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::StreamExt as _;
use runpack_core::attestation::Basis;
use runpack_core::commitment::{ChunkHasher, Content};
use runpack_core::digest::{Digest, Hasher};
use runpack_core::id::PackId;
use runpack_core::key::{KeyPrefix, Location, ObjectKey};
use runpack_core::manifest::Manifest;
use runpack_core::store::{
    ArtifactReader, Declared, Housekeeping as _, ObjectRef, State, StoreError, VersionId,
};
use runpack_core::time::Timestamp;

use crate::batch;
use crate::bucket::unusable;
use crate::guard::{Guard, Protection};

/// The most versions and markers of one object: stops one that was made to exhaust memory.
const VERSIONS_MAX: usize = 10_000;

/// What a part of the evidence is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The manifest: the commit.
    Manifest,
    /// An artifact.
    Artifact,
    /// A whole pack as one object.
    Bundle,
}

/// An object that must be there.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its key.
    pub key: ObjectKey,
    /// What it is.
    pub role: Role,
    /// What its bytes are; `None` for a bundle, of which only reading tells.
    pub declared: Option<Declared>,
}

/// All objects of a pack, the commit first.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// Which pack.
    pub pack_id: PackId,
    /// What it is made of. Never empty.
    parts: Vec<Part>,
    prefix: KeyPrefix,
}

/// A version of a part.
#[derive(Debug, Clone)]
pub struct Pinned {
    /// The part.
    pub part: Part,
    /// The version.
    pub object: ObjectRef,
    /// What its bytes are.
    pub declared: Declared,
    /// How that is known: measured where they were read, else by the store's own checksum.
    pub content: Basis,
    /// What the store says of it.
    pub protection: Protection,
    /// When it was written, by the store's clock.
    pub modified: Timestamp,
    /// What stands over it, newest last: markers and versions that a reader without a version id gets in its place.
    pub shadows: Vec<Shadow>,
}

/// What stands over a version (threats L05, L06).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadow {
    /// A delete marker, or another version.
    pub state: State,
    /// Its id.
    pub version: VersionId,
    /// When it was written, by the store's clock.
    pub modified: Timestamp,
}

#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) version: VersionId,
    pub(crate) bytes: u64,
    modified: Timestamp,
    pub(crate) state: State,
    is_latest: bool,
}

impl Evidence {
    /// The objects of a pack: its manifest, then its artifacts.
    ///
    /// # Errors
    /// A key is too long.
    pub fn of_pack(manifest: &Manifest) -> Result<Self, StoreError> {
        let too_long = |error: &dyn std::error::Error| unusable(error.to_string());
        let subject = manifest.subject();
        let commit = Part {
            key: Location::manifest(subject)
                .key()
                .map_err(|error| too_long(&error))?,
            role: Role::Manifest,
            declared: Some(Declared::of(&manifest.to_bytes())),
        };
        let artifacts = manifest.artifacts().iter().map(|artifact| {
            let location = Location::artifact(subject, artifact.name(), artifact.commitment());
            Ok(Part {
                key: location.key().map_err(|error| too_long(&error))?,
                role: Role::Artifact,
                declared: Some(Declared::new(artifact.bytes(), artifact.content().clone())),
            })
        });
        Ok(Self {
            pack_id: manifest.pack_id(),
            parts: std::iter::once(Ok(commit))
                .chain(artifacts)
                .collect::<Result<_, StoreError>>()?,
            prefix: Location::pack_prefix(subject),
        })
    }

    /// The one object that a pack is as a bundle.
    pub fn of_bundle(manifest: &Manifest, object: &ObjectRef) -> Self {
        Self {
            pack_id: manifest.pack_id(),
            prefix: KeyPrefix::of(&object.key),
            parts: vec![Part {
                key: object.key.clone(),
                role: Role::Bundle,
                declared: None,
            }],
        }
    }

    /// The parts, the commit first.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Finds the version of each part, the commit first. `pins` are the versions that are known beforehand.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where a part, or a version that was pinned, is not there; [`StoreError::AlreadyExists`]
    /// where only other bytes are; as the store fails.
    pub async fn find(
        &self,
        guard: &Guard,
        pins: &HashMap<ObjectKey, VersionId>,
    ) -> Result<Vec<Pinned>, StoreError> {
        let found = self.look(guard, pins).await?;
        found.into_iter().collect()
    }

    /// As [`Evidence::find`], leaving out what is gone or has other bytes: for whoever compares.
    ///
    /// # Errors
    /// As the store fails.
    pub async fn find_present(
        &self,
        guard: &Guard,
        pins: &HashMap<ObjectKey, VersionId>,
    ) -> Result<Vec<Pinned>, StoreError> {
        let found = self.look(guard, pins).await?;
        let there = found.into_iter().filter(|found| {
            !matches!(
                found,
                Err(StoreError::NotFound { .. } | StoreError::AlreadyExists { .. })
            )
        });
        there.collect()
    }

    async fn look(
        &self,
        guard: &Guard,
        pins: &HashMap<ObjectKey, VersionId>,
    ) -> Result<Vec<Result<Pinned, StoreError>>, StoreError> {
        let mut held = self.held(guard).await?;
        let parts = self.parts.iter().map(|part| {
            let versions = held.remove(part.key.as_str()).unwrap_or_default();
            (part, versions, pins.get(&part.key).cloned())
        });
        let parts: Vec<_> = parts.collect();
        batch::each(parts, |(part, versions, pin)| async move {
            Ok(pinned(guard, part, versions, pin).await)
        })
        .await
    }

    /// Everything under the keys, oldest first.
    pub(crate) async fn held(
        &self,
        guard: &Guard,
    ) -> Result<HashMap<String, Vec<Held>>, StoreError> {
        let mut held: HashMap<String, Vec<Held>> = self
            .parts
            .iter()
            .map(|part| (part.key.to_string(), Vec::new()))
            .collect();
        let mut holdings = guard.store().versions_below(&self.prefix);
        while let Some(found) = holdings.next().await {
            let found = found?;
            let (Some(versions), Some(version)) = (held.get_mut(&found.key), found.version) else {
                continue;
            };
            if versions.len() >= VERSIONS_MAX {
                return Err(unusable(format!(
                    "an object has more than {VERSIONS_MAX} versions, which nobody who keeps evidence makes: look at it, key=`{}`",
                    found.key
                )));
            }
            versions.push(Held {
                version,
                bytes: found.bytes,
                modified: found.modified,
                state: found.state,
                is_latest: found.is_latest,
            });
        }
        // They come newest first. The store's order counts and not its times: those of an upload in parts may be of its
        // beginning.
        for versions in held.values_mut() {
            versions.reverse();
        }
        Ok(held)
    }
}

/// What stands over the version at `at`, of versions in the store's order and markers before them: nothing over the
/// latest; else every newer version, and every marker that may be newer.
fn shadows(versions: &[Held], at: usize) -> Vec<Shadow> {
    let Some(pinned) = versions.get(at).filter(|held| !held.is_latest) else {
        return Vec::new();
    };
    let over = versions
        .iter()
        .enumerate()
        .filter(|(place, held)| match held.state {
            State::DeleteMarker => held.is_latest || held.modified >= pinned.modified,
            State::Object => *place > at,
            State::Upload => false,
        });
    let over = over.map(|(_, held)| Shadow {
        state: held.state,
        version: held.version.clone(),
        modified: held.modified,
    });
    over.collect()
}

impl Pinned {
    /// The same, every byte of it read and hashed again.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] where the bytes are others; as the store fails.
    pub async fn read_again(mut self, guard: &Guard) -> Result<Self, StoreError> {
        if self.content == Basis::Measured {
            return Ok(self);
        }
        // One byte more than was declared tells it apart (threat S03).
        let bytes_max = self.declared.bytes.saturating_add(1);
        let found = hash(guard, &self.object, bytes_max).await?;
        if found != self.declared {
            return Err(StoreError::AlreadyExists {
                key: self.part.key.to_string(),
                ours: self.declared.commitment(),
                theirs: found.commitment(),
            });
        }
        self.content = Basis::Measured;
        Ok(self)
    }
}

async fn pinned(
    guard: &Guard,
    part: &Part,
    versions: Vec<Held>,
    pin: Option<VersionId>,
) -> Result<Pinned, StoreError> {
    let mut other = None;
    for (at, held) in versions.iter().enumerate() {
        let is_wanted = pin.as_ref().is_none_or(|pin| *pin == held.version);
        if held.state != State::Object || !is_wanted {
            continue;
        }
        if held.version.as_str() == "null" {
            return Err(unusable(format!(
                "an object is from before the bucket kept versions: push the pack again, or to another prefix, key=`{}`",
                part.key
            )));
        }
        let object = ObjectRef {
            key: part.key.clone(),
            version: Some(held.version.clone()),
        };
        let protection = match guard.inspect(&object).await {
            Ok(protection) => protection,
            Err(StoreError::NotFound { .. }) => continue,
            Err(error) => return Err(error),
        };
        let (found, basis) = content(guard, &object, part, &protection, held.bytes).await?;
        let is_it = part.declared.as_ref().is_none_or(|ours| *ours == found);
        if is_it {
            return Ok(Pinned {
                part: part.clone(),
                object,
                declared: found,
                content: basis,
                protection,
                modified: held.modified,
                shadows: shadows(&versions, at),
            });
        }
        other.get_or_insert(found);
        // The oldest manifest is the commit, whatever came after it.
        if part.role == Role::Manifest {
            break;
        }
    }
    let key = part.key.to_string();
    Err(match (other, &part.declared) {
        (Some(theirs), Some(ours)) => StoreError::AlreadyExists {
            key,
            ours: ours.commitment(),
            theirs: theirs.commitment(),
        },
        _ => StoreError::NotFound {
            key: match &pin {
                Some(pin) => format!("{key} in version {}", pin.as_str()),
                None => key,
            },
        },
    })
}

/// What the bytes of a version are: as declared where the store's checksum says so, else as they are read.
async fn content(
    guard: &Guard,
    object: &ObjectRef,
    part: &Part,
    protection: &Protection,
    listed_bytes: u64,
) -> Result<(Declared, Basis), StoreError> {
    if let Some(declared) = &part.declared
        && protection.bytes == declared.bytes
        && protection.checksum.is_some()
        && protection.checksum == Some(checksum(declared))
    {
        return Ok((declared.clone(), Basis::ProviderAsserted));
    }
    // One byte more than was declared tells it apart (threat S03).
    let bytes = part.declared.as_ref().map_or(listed_bytes, |d| d.bytes);
    let found = hash(guard, object, bytes.saturating_add(1)).await?;
    Ok((found, Basis::Measured))
}

/// The digests of a version's bytes, as far as `bytes_max`.
pub(crate) async fn hash(
    guard: &Guard,
    object: &ObjectRef,
    bytes_max: u64,
) -> Result<Declared, StoreError> {
    let mut body = guard.store().open(object, 0..bytes_max).await?;
    let mut hasher = ChunkHasher::new();
    while let Some(piece) = body.next().await {
        hasher.update(&piece?);
    }
    let (content, bytes) = hasher.finish();
    Ok(Declared::new(bytes, content))
}

/// The checksum that a store has of bytes that came as ours go: of the whole, or composite with a part for each chunk.
pub(crate) fn checksum(declared: &Declared) -> String {
    let text = |digest: &Digest| BASE64_STANDARD.encode(digest.as_bytes());
    match &declared.content {
        Content::Whole(digest) => text(digest),
        Content::Chunks(chunks) => {
            let mut hasher = Hasher::new();
            for chunk in chunks {
                hasher.update(chunk.as_bytes());
            }
            format!("{}-{}", text(&hasher.finish()), chunks.len())
        }
    }
}
