//! Judging one pack that has expired: what of it goes now, object by object, or why it stays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::TryStreamExt as _;

use super::RetentionError;
use super::noted::{self, Noted};
use super::place::{Form, Found};
use super::plan::{Kept, Part, Phase, PlannedObject, Removal, WhyKept};
use super::policy::RetentionPolicies;
use super::survey::{Expired, Survey};
use crate::digest::Digest;
use crate::display::chain;
use crate::key::{KeyPrefix, Location, ObjectKey};
use crate::limits::Limits;
use crate::manifest::{Manifest, Subject};
use crate::store::{
    Holding, Holds, Housekeeping, ObjectRef, Protection, State, StoreError, VersionId,
};
use crate::time::Timestamp;

/// The most versions of a pack's objects: stops one that was made to exhaust memory, or a plan that nobody can read.
const VERSIONS_MAX: usize = 500_000;
/// The most versions of a manifest or a bundle. They stand in what is written down of a removal, which is bounded.
const MANIFESTS_MAX: usize = 100;

/// By what is judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judge<'a> {
    pub(super) store: &'a Arc<dyn Housekeeping>,
    pub(super) policies: &'a RetentionPolicies,
    /// The time by which packs expire.
    pub(super) now: Timestamp,
    /// The time by which locks end: the earlier of our clock's and the store's.
    pub(super) unlocked_at: Timestamp,
    /// What the ledger of holds says, or why nobody knows; `None` where it is asked for each pack.
    pub(super) holds: Option<&'a Result<Holds, String>>,
    pub(super) limits: &'a Limits,
}

/// Why nothing of a pack goes, or no more of it.
#[derive(Debug)]
pub(super) enum Ended {
    Kept(WhyKept, String),
    /// The store failed in a way that may pass.
    Failed(RetentionError),
}

impl Ended {
    fn kept(why: WhyKept, detail: &str) -> Self {
        Self::Kept(why, detail.to_owned())
    }

    /// Something could not be looked at.
    fn unread(error: StoreError) -> Self {
        if error.is_retryable() {
            return Self::Failed(error.into());
        }
        Self::Kept(WhyKept::Unreadable, chain(&error))
    }

    /// It could not be asked whether something keeps a pack: where that is refused, something does.
    fn unasked(why: WhyKept, error: StoreError) -> Self {
        if is_refusal(&error) {
            return Self::Kept(why, chain(&error));
        }
        Self::unread(error)
    }

    /// As a plan tells it.
    pub(super) fn into_kept(self, expired: &Expired) -> Kept {
        let (why, detail) = match self {
            Self::Kept(why, detail) => (why, detail),
            Self::Failed(error) => (WhyKept::Unreadable, chain(&error)),
        };
        Kept {
            detail,
            expires_at: Some(expired.expires_at),
            key: expired.place.key.to_string(),
            pack_id: Some(expired.pack_id),
            why,
        }
    }
}

/// Whether a store, or this program, does not tell and will not the next time.
pub(super) const fn is_refusal(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Denied { .. } | StoreError::Refused { .. } | StoreError::Barred { .. }
    )
}

/// What there is of a pack beside its manifest.
#[derive(Debug, Default)]
struct Parts {
    artifacts: Vec<PlannedObject>,
    /// Keys that other packs share: they stay.
    shared: Vec<String>,
    /// Keys of artifacts of which there is no version.
    missing: Vec<String>,
}

impl Judge<'_> {
    /// What of a pack goes, and otherwise why it stays.
    pub(super) async fn judge(&self, survey: &Survey, expired: &Expired) -> Result<Removal, Ended> {
        if let Some(detail) = survey.need_of(expired.pack_id) {
            return Err(Ended::Kept(WhyKept::Needed, detail));
        }
        let found = expired.place.look(self.store, self.limits).await;
        let manifest = match found.map_err(Ended::unread)? {
            Found::Pack(manifest) if manifest.pack_id() == expired.pack_id => manifest,
            Found::Pack(_) => {
                let detail = "another pack has come in its place";
                return Err(Ended::kept(WhyKept::Changed, detail));
            }
            Found::Unfit { why, detail, .. } => return Err(Ended::Kept(why, detail)),
            Found::Gone => return Err(Ended::kept(WhyKept::Changed, "nothing of it is left")),
        };
        let removal = self.removal(expired, &manifest).await?;
        if removal.objects.is_empty() {
            return Err(Ended::kept(WhyKept::Changed, "nothing of it is left"));
        }
        self.check_free(&removal).await?;
        Ok(removal)
    }

    /// Takes note of a pack that has expired and is not asked for: what it was made from stays, unless only its manifest is
    /// left of it.
    pub(super) async fn leave(&self, survey: &mut Survey, expired: &Expired) {
        if !expired.has_inputs() {
            return;
        }
        match self.judge(survey, expired).await {
            Err(Ended::Kept(WhyKept::Metadata, _)) => {}
            Ok(removal) if removal.phase == Phase::Manifest => {}
            _ => survey.stays(expired),
        }
    }

    async fn removal(&self, expired: &Expired, manifest: &Manifest) -> Result<Removal, Ended> {
        let key = &expired.place.key;
        let mut removal = Removal {
            created_at: expired.created_at,
            expires_at: expired.expires_at,
            key: key.to_string(),
            manifest: Vec::new(),
            objects: Vec::new(),
            pack_id: expired.pack_id,
            phase: Phase::Artifacts,
            policy: expired.policy.clone(),
            shared: Vec::new(),
            subject: serde_json::to_value(&expired.subject).unwrap_or_default(),
        };
        if matches!(expired.place.form, Form::Bundle(_)) {
            removal.objects = self.versions(key, Part::Bundle, expired).await?;
            let first = removal.objects.first().map(|bundle| bundle.bytes);
            if (removal.objects.iter()).any(|bundle| Some(bundle.bytes) != first) {
                let detail = "the store has more than one bundle here";
                return Err(Ended::kept(WhyKept::Equivocal, detail));
            }
            return Ok(removal);
        }
        removal.manifest = self.versions(key, Part::Manifest, expired).await?;
        if (removal.manifest.iter()).any(|one| one.bytes != manifest.bytes()) {
            let detail = "the store has another manifest here";
            return Err(Ended::kept(WhyKept::Equivocal, detail));
        }
        let parts = match expired.place.form {
            Form::Files(_) => self.parts(manifest).await?,
            Form::Bundle(_) | Form::Metadata(_) => Parts::default(),
        };
        if parts.artifacts.is_empty() {
            self.metadata_is_due(expired, &parts.missing).await?;
            if matches!(expired.place.form, Form::Files(_)) {
                self.is_of_no_run(manifest.subject()).await?;
            }
            removal.phase = Phase::Manifest;
            removal.objects.clone_from(&removal.manifest);
            return Ok(removal);
        }
        if !parts.missing.is_empty() {
            check_named(&self.noted(expired, &parts.missing).await?)?;
        }
        (removal.objects, removal.shared) = (parts.artifacts, parts.shared);
        Ok(removal)
    }

    /// The versions of the manifest or the bundle of a pack.
    async fn versions(
        &self,
        key: &ObjectKey,
        part: Part,
        expired: &Expired,
    ) -> Result<Vec<PlannedObject>, Ended> {
        let found = versions_of(self.store, key).await.map_err(Ended::unread)?;
        if found.len() > MANIFESTS_MAX {
            let detail = "its manifest or bundle has more versions than the limit";
            return Err(Ended::kept(WhyKept::Unsound, detail));
        }
        let digest = *expired.pack_id.digest();
        let planned = found.into_iter().map(|found| planned(found, part, digest));
        Ok(in_order(planned.collect()))
    }

    /// What there is of the artifacts, in all their versions.
    async fn parts(&self, manifest: &Manifest) -> Result<Parts, Ended> {
        let prefix = Location::pack_prefix(manifest.subject());
        let (mut parts, mut keys) = (Parts::default(), BTreeMap::new());
        for artifact in manifest.artifacts() {
            let commitment = artifact.commitment();
            let location = Location::artifact(manifest.subject(), artifact.name(), commitment);
            // The manifest of a step is an artifact of its run too, and goes with the pack that it is of.
            if location.manifest_subject().is_some() {
                continue;
            }
            let key = location
                .key()
                .map_err(|error| Ended::Kept(WhyKept::Unsound, error.to_string()))?;
            if key.as_str().starts_with(prefix.as_str()) {
                keys.insert(key.to_string(), (artifact, commitment));
            } else {
                // The definition of a pipeline is that of all its runs.
                parts.shared.push(key.to_string());
            }
        }
        let mut there = BTreeSet::new();
        let mut holdings = self.store.versions_below(&prefix);
        while let Some(found) = holdings.try_next().await.map_err(Ended::unread)? {
            let Some((artifact, commitment)) = keys.get(&found.key) else {
                continue;
            };
            if found.state != State::Object {
                continue;
            }
            if found.bytes != artifact.bytes() {
                let detail = format!("an artifact is not of its size, key=`{}`", found.key);
                return Err(Ended::Kept(WhyKept::Unsound, detail));
            }
            there.insert(found.key.clone());
            parts
                .artifacts
                .push(planned(found, Part::Artifact, *commitment));
            if parts.artifacts.len() > VERSIONS_MAX {
                let detail = "its artifacts have more versions than the limit";
                return Err(Ended::kept(WhyKept::Unsound, detail));
            }
        }
        parts.artifacts = in_order(parts.artifacts);
        parts.missing = keys
            .into_keys()
            .filter(|key| !there.contains(key))
            .collect();
        Ok(parts)
    }

    /// What was written down of removals of a pack's artifacts.
    async fn noted(&self, expired: &Expired, missing: &[String]) -> Result<Noted, Ended> {
        let place = &expired.place.key;
        let noted = noted::noted(self.store, place, expired.pack_id, missing).await;
        noted.map_err(Ended::unread)?.ok_or_else(|| {
            let detail = "more is written down of its removal than the limit";
            Ended::kept(WhyKept::Unsound, detail)
        })
    }

    /// Whether a manifest without artifacts may go: a plan removed them, and that is long enough ago.
    async fn metadata_is_due(&self, expired: &Expired, missing: &[String]) -> Result<(), Ended> {
        let noted = self.noted(expired, missing).await?;
        let Some(removed_at) = noted.removed_at else {
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
            return Err(Ended::kept(why, detail));
        };
        check_named(&noted)?;
        let due = removed_at
            .max(expired.expires_at)
            .later(self.policies.metadata_seconds());
        if due > self.now {
            let detail = format!("its manifest stays until {due}");
            return Err(Ended::Kept(WhyKept::Metadata, detail));
        }
        Ok(())
    }

    /// Makes sure that the pack of no run lists the manifest of a step: without it that pack would not be whole.
    async fn is_of_no_run(&self, subject: &Subject) -> Result<(), Ended> {
        let Subject::Step { tenant, run_id, .. } = subject.clone() else {
            return Ok(());
        };
        let run = Location::manifest(&Subject::Pipeline { tenant, run_id }).key();
        let run = run.map_err(|error| Ended::Kept(WhyKept::Unsound, error.to_string()))?;
        match self.store.oldest(&run).await {
            Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(Ended::unread(error)),
            Ok(_) => {
                let detail = format!("the pack of its run lists it, key=`{run}`");
                Err(Ended::Kept(WhyKept::Needed, detail))
            }
        }
    }

    /// Makes sure that nothing holds or locks what goes, nor the manifest that says what it was.
    async fn check_free(&self, removal: &Removal) -> Result<(), Ended> {
        let asked: Holds;
        let holds = match self.holds {
            Some(Ok(holds)) => holds,
            Some(Err(why)) => return Err(Ended::kept(WhyKept::Held, why)),
            None => {
                let holds = self.store.holds().await;
                asked = holds.map_err(|error| Ended::unasked(WhyKept::Held, error))?;
                &asked
            }
        };
        if let Some(by) = holds.of(removal.pack_id) {
            return Err(Ended::kept(WhyKept::Held, by));
        }
        let mut seen = BTreeSet::new();
        let planned = removal.manifest.iter().chain(&removal.objects);
        let objects = planned
            .filter(|object| seen.insert((&object.key, &object.version)))
            .filter_map(object_ref)
            .collect::<Vec<_>>();
        self.check_unprotected(&objects).await
    }

    pub(super) async fn check_unprotected(&self, objects: &[ObjectRef]) -> Result<(), Ended> {
        match self.store.protected(objects, self.unlocked_at).await {
            Ok(None) => Ok(()),
            Ok(Some((object, Protection::Held))) => {
                let detail = format!("a legal hold of the store, key=`{}`", object.key);
                Err(Ended::Kept(WhyKept::Held, detail))
            }
            Ok(Some((object, Protection::LockedUntil(until)))) => Err(Ended::Kept(
                WhyKept::Locked,
                format!("a lock until {until}, key=`{}`", object.key),
            )),
            Err(error) => Err(Ended::unasked(WhyKept::Locked, error)),
        }
    }
}

/// Makes sure that what is missing was to go by a plan: a pack that lost something otherwise is looked at first.
fn check_named(noted: &Noted) -> Result<(), Ended> {
    match &noted.unnamed {
        None => Ok(()),
        Some(key) => {
            let detail = format!("an artifact is missing, and no plan removed it, key=`{key}`");
            Err(Ended::Kept(WhyKept::Unsound, detail))
        }
    }
}

/// The versions under exactly this key.
pub(super) async fn versions_of(
    store: &Arc<dyn Housekeeping>,
    key: &ObjectKey,
) -> Result<Vec<Holding>, StoreError> {
    let below = store.versions_below(&KeyPrefix::of(key));
    let is_one = |found: &Holding| found.key == key.as_str() && found.state == State::Object;
    below
        .try_filter(|found| std::future::ready(is_one(found)))
        .try_collect()
        .await
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
