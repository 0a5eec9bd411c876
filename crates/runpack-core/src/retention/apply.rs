//! Carrying out a plan.
//!
//! A plan is a wish: every pack in it is judged again as if there were none, and what is removed is what both say. So a plan
//! that somebody wrote removes nothing that the policies keep.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::RetentionError;
use super::judge::{Ended, Judge, is_same, object_ref, versions_of};
use super::place::{Form, Found, Place};
use super::plan::{Phase, Plan, PlannedObject, Removal, WhyKept};
use super::policy::RetentionPolicies;
use super::record::{self, Actor};
use super::survey::{Bounds, Expired, Survey, Told};
use crate::display::chain;
use crate::key::{DeletionObject, Location};
use crate::limits::Limits;
use crate::store::{ArtifactSink, Holding, Housekeeping, StoreError, VersionId};
use crate::time::Clock;

/// How many objects of a pack are removed at once.
const REMOVED_AT_ONCE: usize = 16;

/// With what a plan is carried out.
#[derive(Debug, Clone)]
pub struct Removing<'a> {
    /// What is looked at, and removed from.
    pub store: &'a Arc<dyn Housekeeping>,
    /// The same store, for what is written down.
    pub sink: &'a dyn ArtifactSink,
    /// The policies that count now.
    pub policies: &'a RetentionPolicies,
    /// The store, as receipts name it.
    pub place: &'a str,
    /// Who does it, for whoever reads the receipts.
    pub by: &'a str,
    /// Our clock.
    pub clock: &'a dyn Clock,
    /// The bounds of what is read.
    pub limits: &'a Limits,
}

/// What became of one pack of a plan.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// What was planned is gone, and a receipt says so.
    Removed {
        /// How many objects this time.
        objects: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// It was done before.
    Done,
    /// It stays.
    Kept(WhyKept, String),
    /// The store failed on the way: the same plan again goes on.
    Failed(RetentionError),
}

/// What was done of a plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// Packs of which what was planned is gone now, this time or before.
    pub packs: u64,
    /// Objects that were removed.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packs that stay.
    pub kept: u64,
    /// Packs of which not everything could be done.
    pub failed: u64,
}

impl Applied {
    fn count(&mut self, outcome: &Outcome) {
        let add = |to: &mut u64, more: u64| *to = to.saturating_add(more);
        match outcome {
            Outcome::Removed { objects, bytes } => {
                add(&mut self.packs, 1);
                add(&mut self.objects, *objects);
                add(&mut self.bytes, *bytes);
            }
            Outcome::Done => add(&mut self.packs, 1),
            Outcome::Kept(..) => add(&mut self.kept, 1),
            Outcome::Failed(_) => add(&mut self.failed, 1),
        }
    }
}

/// Once it has begun, whatever fails is gone on with by the same plan.
impl<E: Into<RetentionError>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Removing<'_> {
    /// Removes what the plan names and nothing else, and tells `tell` what became of each pack.
    ///
    /// # Errors
    /// The plan may not be carried out here and now; the store could not be looked through. A pack that stays, or of which
    /// the store fails, is told and ends nothing.
    pub async fn apply(
        &self,
        plan: &Plan,
        tell: &mut (dyn FnMut(&Removal, &Outcome) + Send),
    ) -> Result<Applied, RetentionError> {
        let (store_now, now) = (self.store.now().await?, self.clock.now());
        // A plan is over by the later clock; a pack has expired, and a lock is over, by the earlier one.
        plan.check(self.place, self.policies.digest(), now.max(store_now))?;
        let judge = Judge {
            store: self.store,
            policies: self.policies,
            now: now.min(store_now),
            unlocked_at: now.min(store_now),
            holds: None,
            limits: self.limits,
        };
        let mut planned: BTreeMap<&str, &Removal> = BTreeMap::new();
        planned.extend(plan.removals.iter().map(|one| (one.key.as_str(), one)));
        let told = Told::Planned(&planned);
        let mut survey = Survey::of(&judge, Bounds::default(), told).await?;
        if self.policies.keeps_inputs()
            && survey.unread > 0
            && let Some((_, failure)) = survey.failures.pop_first()
        {
            // Nothing would go, and the next time it may.
            return Err(failure.into());
        }
        let actor = Actor {
            by: self.by,
            clock: self.clock,
            plan: plan.digest(),
            metadata_seconds: self.policies.metadata_seconds(),
        };
        let mut applied = Applied::default();
        while let Some(of_pack) = survey.next() {
            for expired in of_pack {
                let Some(removal) = planned.remove(expired.place.key.as_str()) else {
                    judge.leave(&mut survey, &expired).await;
                    continue;
                };
                let outcome = self.one(&judge, &survey, &expired, removal, actor).await;
                let is_there = match outcome {
                    Outcome::Removed { .. } | Outcome::Done => false,
                    Outcome::Kept(why, _) => why != WhyKept::Metadata,
                    Outcome::Failed(_) => true,
                };
                if is_there {
                    survey.stays(&expired);
                }
                applied.count(&outcome);
                tell(removal, &outcome);
            }
        }
        for removal in planned.into_values() {
            let outcome = self.unseen(removal, &mut survey, actor).await;
            applied.count(&outcome);
            tell(removal, &outcome);
        }
        Ok(applied)
    }

    async fn one(
        &self,
        judge: &Judge<'_>,
        survey: &Survey,
        expired: &Expired,
        removal: &Removal,
        actor: Actor<'_>,
    ) -> Outcome {
        match self.has_gone(removal, actor).await {
            Ok(Some(outcome)) => return outcome,
            Err(error) => return Outcome::Failed(error),
            Ok(None) => {}
        }
        let ended = match judge.judge(survey, expired).await {
            Ok(found) => self.remove(judge, removal, &found, actor).await,
            Err(ended) => Err(ended),
        };
        match ended {
            Ok(outcome) => outcome,
            Err(Ended::Failed(error)) => Outcome::Failed(error),
            // Somebody else may carry out the same plan.
            Err(Ended::Kept(why, detail)) => match self.has_gone(removal, actor).await {
                Ok(Some(outcome)) => outcome,
                _ => Outcome::Kept(why, detail),
            },
        }
    }

    /// What becomes of a pack that is not among those that have expired, or is not there any more.
    async fn unseen(&self, removal: &Removal, survey: &mut Survey, actor: Actor<'_>) -> Outcome {
        match self.has_gone(removal, actor).await {
            Ok(Some(outcome)) => return outcome,
            Err(error) => return Outcome::Failed(error),
            Ok(None) => {}
        }
        if let Some(failure) = survey.failures.remove(&removal.key) {
            return Outcome::Failed(failure.into());
        }
        let unlisted = || {
            let detail = "the policies keep it, or the store does not list it".to_owned();
            (WhyKept::Unexpired, detail)
        };
        let kept = survey.kept.remove(&removal.key);
        let (why, detail) = kept.map_or_else(unlisted, |kept| (kept.why, kept.detail));
        Outcome::Kept(why, detail)
    }

    /// What becomes of a pack of which nothing that was planned is left; `None` where something is.
    async fn has_gone(
        &self,
        removal: &Removal,
        actor: Actor<'_>,
    ) -> Result<Option<Outcome>, RetentionError> {
        for object in &removal.objects {
            if self.holding(object).await?.is_some() {
                return Ok(None);
            }
        }
        let is_written = async |object| record::is_written(&**self.store, removal, object).await;
        if is_written(DeletionObject::Receipt).await? {
            return Ok(Some(Outcome::Done));
        }
        if !is_written(DeletionObject::Intent).await? {
            let detail = "what was planned to go went otherwise".to_owned();
            return Ok(Some(Outcome::Kept(WhyKept::Changed, detail)));
        }
        // It was interrupted between the last removal and the receipt.
        record::write(self.sink, removal, DeletionObject::Receipt, actor).await?;
        Ok(Some(Outcome::Removed {
            objects: 0,
            bytes: 0,
        }))
    }

    /// The version that was planned, if it is there.
    async fn holding(&self, object: &PlannedObject) -> Result<Option<Holding>, StoreError> {
        let Some(key) = object_ref(object).map(|object| object.key) else {
            return Ok(None);
        };
        let versions = versions_of(self.store, &key).await?;
        Ok(versions.into_iter().find(|found| {
            found.version.as_ref().map(VersionId::as_str) == object.version.as_deref()
        }))
    }

    async fn remove(
        &self,
        judge: &Judge<'_>,
        planned: &Removal,
        found: &Removal,
        actor: Actor<'_>,
    ) -> Result<Outcome, Ended> {
        let manifest_is_planned = match planned.phase {
            Phase::Artifacts => found.manifest == planned.manifest,
            // It is what goes, and some of it may have gone.
            Phase::Manifest => is_part(&found.manifest, &planned.manifest),
        };
        let is_planned = found.pack_id == planned.pack_id
            && found.phase == planned.phase
            && found.policy == planned.policy
            && manifest_is_planned
            && is_part(&found.objects, &planned.objects);
        if !is_planned {
            let detail = "it is not what it was when the plan was made".to_owned();
            return Err(Ended::Kept(WhyKept::Changed, detail));
        }
        record::write(self.sink, planned, DeletionObject::Intent, actor).await?;
        let place = Place::of(&planned.key);
        if let Some(bundle) = place.filter(|place| matches!(place.form, Form::Bundle(_))) {
            let Found::Pack(manifest) = bundle.look(self.store, self.limits).await? else {
                let detail = "its bundle is not what it was".to_owned();
                return Err(Ended::Kept(WhyKept::Changed, detail));
            };
            record::write_manifest(self.sink, planned, manifest.to_bytes()).await?;
        }
        stream::iter(&found.objects)
            .map(Ok)
            .try_for_each_concurrent(REMOVED_AT_ONCE, |object| {
                self.remove_object(judge, planned, object)
            })
            .await?;
        record::write(self.sink, planned, DeletionObject::Receipt, actor).await?;
        Ok(Outcome::Removed {
            objects: crate::count::len_u64(&found.objects),
            bytes: found.bytes(),
        })
    }

    /// Removes one version, if it and its manifest are still what was planned and nothing keeps it.
    async fn remove_object(
        &self,
        judge: &Judge<'_>,
        removal: &Removal,
        object: &PlannedObject,
    ) -> Result<(), Ended> {
        let Some(holding) = self.holding(object).await? else {
            // Somebody else carries out the same plan.
            return Ok(());
        };
        let changed = |detail: &str| Ended::Kept(WhyKept::Changed, detail.to_owned());
        if !is_same(&holding, object) {
            return Err(changed("a version that was planned has changed"));
        }
        if removal.phase == Phase::Artifacts {
            self.check_manifest(removal).await?;
        }
        let object = object_ref(object).ok_or_else(|| changed("a key that no layout has"))?;
        judge.check_unprotected(&[object]).await?;
        Ok(self.store.remove(&holding).await?)
    }

    /// Makes sure that the versions of the manifest are those of the plan.
    async fn check_manifest(&self, removal: &Removal) -> Result<(), Ended> {
        let Some(first) = removal.manifest.first() else {
            return Ok(());
        };
        let key = Location::parse(&first.key).and_then(|location| location.key().ok());
        let there = match key {
            Some(key) => versions_of(self.store, &key).await?,
            None => Vec::new(),
        };
        let is_planned = |found: &Holding| removal.manifest.iter().any(|one| is_same(found, one));
        if there.len() == removal.manifest.len() && there.iter().all(is_planned) {
            return Ok(());
        }
        let detail = "its manifest is not what it was when the plan was made".to_owned();
        Err(Ended::Kept(WhyKept::Changed, detail))
    }
}

/// Whether all of this is in that; both in order.
fn is_part(found: &[PlannedObject], planned: &[PlannedObject]) -> bool {
    let mut planned = planned.iter();
    found
        .iter()
        .all(|object| planned.any(|planned| planned == object))
}

impl Outcome {
    /// The name in results.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Removed { .. } => "removed",
            Self::Done => "done",
            Self::Kept(..) => "kept",
            Self::Failed(_) => "failed",
        }
    }

    /// Why it stays or failed: untrusted text in part.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Kept(_, detail) => Some(detail.clone()),
            Self::Failed(error) => Some(chain(error)),
            Self::Removed { .. } | Self::Done => None,
        }
    }
}
