//! Judging one pack that has expired: what of it goes now, object by object, or why it stays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::TryStreamExt as _;

use super::plan::{Kept, Part, Phase, PlannedObject, Removal, WhyKept};
use super::policy::RetentionPolicies;
use super::survey::{Expired, Form, Survey};
use crate::digest::Digest;
use crate::display::chain;
use crate::key::{DeletionObject, KeyPrefix, Location, ObjectKey};
use crate::limits::Limits;
use crate::manifest::{Manifest, Subject};
use crate::store::{Holding, Housekeeping, ObjectRef, Protection, State, StoreError, VersionId};
use crate::time::Timestamp;

/// By what is judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judge<'a> {
    pub(super) store: &'a Arc<dyn Housekeeping>,
    pub(super) policies: &'a RetentionPolicies,
    /// The time by which packs expire.
    pub(super) now: Timestamp,
    /// The time by the store's clock, by which locks end.
    pub(super) store_now: Timestamp,
    pub(super) limits: &'a Limits,
}

/// Why a pack stays.
type Stays = (WhyKept, String);

fn failed(error: &StoreError) -> Stays {
    (WhyKept::Unreadable, chain(error))
}

impl Judge<'_> {
    /// What of a pack goes, and otherwise why it stays; then what it was made from is needed, unless only its manifest is
    /// left.
    pub(super) async fn judge(
        &self,
        survey: &mut Survey,
        expired: &Expired,
    ) -> Result<Removal, Kept> {
        let judged = match survey.need_of(expired.pack_id) {
            Some(detail) => Err((WhyKept::Needed, detail)),
            None => self.removal(expired).await,
        };
        judged.map_err(|(why, detail)| {
            if why != WhyKept::Metadata {
                survey.stays(expired);
            }
            Kept {
                detail,
                expires_at: Some(expired.expires_at),
                key: expired.place.key.to_string(),
                pack_id: Some(expired.pack_id),
                why,
            }
        })
    }

    async fn removal(&self, expired: &Expired) -> Result<Removal, Stays> {
        let place = &expired.place;
        let manifest = place.manifest(self.store, self.limits).await?;
        if manifest.pack_id() != expired.pack_id {
            let detail = "another pack has come in its place";
            return Err((WhyKept::Changed, detail.to_owned()));
        }
        let key = &place.key;
        let (manifests, phase, objects) = match &place.form {
            Form::Bundle(pack_id) => {
                let bundles = self.versions(key, Part::Bundle, *pack_id.digest()).await?;
                let first = bundles.first().map(|bundle| bundle.bytes);
                if bundles.iter().any(|bundle| Some(bundle.bytes) != first) {
                    let detail = "the store has more than one bundle here";
                    return Err((WhyKept::Equivocal, detail.to_owned()));
                }
                (Vec::new(), Phase::Artifacts, bundles)
            }
            Form::Files(_) => {
                let manifests = self.manifests(key, &manifest).await?;
                let artifacts = self.artifacts(&manifest).await?;
                if artifacts.is_empty() {
                    self.metadata_is_due(expired).await?;
                    self.is_of_no_run(manifest.subject()).await?;
                    (manifests.clone(), Phase::Manifest, manifests)
                } else {
                    (manifests, Phase::Artifacts, artifacts)
                }
            }
            Form::Metadata(_) => {
                let manifests = self.manifests(key, &manifest).await?;
                self.metadata_is_due(expired).await?;
                (manifests.clone(), Phase::Manifest, manifests)
            }
        };
        if objects.is_empty() {
            return Err((WhyKept::Changed, "nothing of it is left".to_owned()));
        }
        let removal = Removal {
            created_at: expired.created_at,
            expires_at: expired.expires_at,
            key: key.to_string(),
            manifest: manifests,
            objects,
            pack_id: expired.pack_id,
            phase,
            policy: expired.policy.clone(),
            subject: serde_json::to_value(&expired.subject).unwrap_or_default(),
        };
        self.check_free(&removal).await?;
        Ok(removal)
    }

    async fn manifests(
        &self,
        key: &ObjectKey,
        manifest: &Manifest,
    ) -> Result<Vec<PlannedObject>, Stays> {
        let manifests = self
            .versions(key, Part::Manifest, *manifest.pack_id().digest())
            .await?;
        if manifests.iter().any(|one| one.bytes != manifest.bytes()) {
            let detail = "the store has another manifest here";
            return Err((WhyKept::Equivocal, detail.to_owned()));
        }
        Ok(manifests)
    }

    /// The versions of one object.
    async fn versions(
        &self,
        key: &ObjectKey,
        part: Part,
        digest: Digest,
    ) -> Result<Vec<PlannedObject>, Stays> {
        let mut versions = Vec::new();
        let mut holdings = self.store.holdings(&KeyPrefix::of(key));
        while let Some(found) = holdings.try_next().await.map_err(|e| failed(&e))? {
            if found.key == key.as_str() && found.state == State::Object {
                versions.push(planned(found, part, digest));
            }
        }
        Ok(in_order(versions))
    }

    /// The artifacts that are there, in all their versions.
    async fn artifacts(&self, manifest: &Manifest) -> Result<Vec<PlannedObject>, Stays> {
        let mut keys = BTreeMap::new();
        for artifact in manifest.artifacts() {
            let commitment = artifact.commitment();
            let location = Location::artifact(manifest.subject(), artifact.name(), commitment);
            // The manifest of a step is an artifact of its run too, and goes with the pack that it is of.
            if location.manifest_subject().is_some() {
                continue;
            }
            let key = location
                .key()
                .map_err(|error| (WhyKept::Unsound, error.to_string()))?;
            keys.insert(key.to_string(), (artifact, commitment));
        }
        let mut artifacts = Vec::new();
        let prefix = Location::pack_prefix(manifest.subject());
        let mut holdings = self.store.holdings(&prefix);
        while let Some(found) = holdings.try_next().await.map_err(|e| failed(&e))? {
            let Some((artifact, commitment)) = keys.get(&found.key) else {
                continue;
            };
            if found.state != State::Object {
                continue;
            }
            if found.bytes != artifact.bytes() {
                let detail = format!("an artifact is not of its size, key=`{}`", found.key);
                return Err((WhyKept::Unsound, detail));
            }
            artifacts.push(planned(found, Part::Artifact, *commitment));
        }
        Ok(in_order(artifacts))
    }

    /// Whether a manifest without artifacts may go: a plan removed them, and that is long enough ago.
    async fn metadata_is_due(&self, expired: &Expired) -> Result<(), Stays> {
        let mut removed_at = None;
        let prefix = Location::deletions_prefix(Some(expired.pack_id));
        let mut holdings = self.store.holdings(&prefix);
        while let Some(found) = holdings.try_next().await.map_err(|e| failed(&e))? {
            if let Some(Location::Deletion {
                object: DeletionObject::Receipt,
                ..
            }) = Location::parse(&found.key)
            {
                // By the store's clock: what a receipt says of its time is nobody's.
                removed_at = removed_at.max(Some(found.modified));
            }
        }
        let Some(removed_at) = removed_at else {
            let (why, detail) = match expired.place.form {
                Form::Metadata(_) => (
                    WhyKept::Metadata,
                    "the removal of its bundle has begun and not ended",
                ),
                _ => (
                    WhyKept::Unsound,
                    "its artifacts are missing, and no receipt says that a plan removed them",
                ),
            };
            return Err((why, detail.to_owned()));
        };
        let due = removed_at
            .max(expired.expires_at)
            .later(self.policies.metadata_seconds());
        if due > self.now {
            return Err((WhyKept::Metadata, format!("its manifest stays until {due}")));
        }
        Ok(())
    }

    /// Makes sure that the pack of no run lists the manifest of a step: without it that pack would not be whole.
    async fn is_of_no_run(&self, subject: &Subject) -> Result<(), Stays> {
        let Subject::Step { tenant, run_id, .. } = subject.clone() else {
            return Ok(());
        };
        let run = Location::manifest(&Subject::Pipeline { tenant, run_id }).key();
        let run = run.map_err(|error| (WhyKept::Unsound, error.to_string()))?;
        match self.store.oldest(&run).await {
            Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed(&error)),
            Ok(_) => {
                let detail = format!("the pack of its run lists it, key=`{run}`");
                Err((WhyKept::Needed, detail))
            }
        }
    }

    /// Makes sure that nothing holds or locks what goes, nor the manifest that says what it was.
    async fn check_free(&self, removal: &Removal) -> Result<(), Stays> {
        match self.store.held(removal.pack_id).await {
            Ok(None) => {}
            Ok(Some(by)) => return Err((WhyKept::Held, by)),
            Err(error) => return Err((WhyKept::Held, chain(&error))),
        }
        let mut seen = BTreeSet::new();
        let planned = removal.manifest.iter().chain(&removal.objects);
        let objects = planned
            .filter(|object| seen.insert((&object.key, &object.version)))
            .filter_map(object_ref)
            .collect::<Vec<_>>();
        self.check_unprotected(&objects).await
    }

    pub(super) async fn check_unprotected(&self, objects: &[ObjectRef]) -> Result<(), Stays> {
        match self.store.protected(objects, self.store_now).await {
            Ok(None) => Ok(()),
            Ok(Some((object, Protection::Held))) => {
                let detail = format!("a legal hold of the store, key=`{}`", object.key);
                Err((WhyKept::Held, detail))
            }
            Ok(Some((object, Protection::LockedUntil(until)))) => Err((
                WhyKept::Locked,
                format!("a lock until {until}, key=`{}`", object.key),
            )),
            Err(error) => Err((WhyKept::Locked, chain(&error))),
        }
    }
}

fn planned(holding: Holding, part: Part, digest: Digest) -> PlannedObject {
    PlannedObject {
        bytes: holding.bytes,
        digest,
        key: holding.key,
        modified: holding.modified,
        part,
        version: holding.version.map(|version| version.as_str().to_owned()),
    }
}

/// A listing has none.
fn in_order(mut objects: Vec<PlannedObject>) -> Vec<PlannedObject> {
    objects.sort_by(|a, b| (&a.key, &a.version).cmp(&(&b.key, &b.version)));
    objects.dedup();
    objects
}

/// The version that is named; `None` for a key that no layout has, of which nothing is ever planned.
pub(super) fn object_ref(object: &PlannedObject) -> Option<ObjectRef> {
    Some(ObjectRef {
        key: Location::parse(&object.key)?.key().ok()?,
        version: object.version.as_deref().map(VersionId::new),
    })
}

/// Whether this is exactly the version that was planned.
pub(super) fn is_same(holding: &Holding, object: &PlannedObject) -> bool {
    let version = holding.version.as_ref().map(VersionId::as_str);
    holding.state == State::Object
        && holding.key == object.key
        && version == object.version.as_deref()
        && holding.bytes == object.bytes
        && holding.modified == object.modified
}
