//! Carrying out a plan.
//!
//! A plan is a wish: every pack in it is judged again as if there were none, and what is removed is what both say. So a plan
//! that somebody wrote removes nothing that the policies keep.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

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
    Removed(Went),
    /// It was done before.
    Done,
    /// It stays, but for what had gone when something came that keeps it.
    Kept(WhyKept, String, Went),
    /// The store failed on the way: the same plan again goes on.
    Failed(RetentionError, Went),
}

/// What was removed, this time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Went {
    /// How many objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Went {
    fn add(&mut self, more: Self) {
        self.objects = self.objects.saturating_add(more.objects);
        self.bytes = self.bytes.saturating_add(more.bytes);
    }
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
        let packs = match outcome {
            Outcome::Removed(_) | Outcome::Done => &mut self.packs,
            Outcome::Kept(..) => &mut self.kept,
            Outcome::Failed(..) => &mut self.failed,
        };
        *packs = packs.saturating_add(1);
        let went = outcome.went();
        self.objects = self.objects.saturating_add(went.objects);
        self.bytes = self.bytes.saturating_add(went.bytes);
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
                    Outcome::Removed(_) | Outcome::Done => false,
                    Outcome::Kept(why, ..) => why != WhyKept::Metadata,
                    Outcome::Failed(..) => true,
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
        let mut went = Went::default();
        match self.has_gone(removal, actor).await {
            Ok(Some(outcome)) => return outcome,
            Err(error) => return Outcome::Failed(error, went),
            Ok(None) => {}
        }
        let ended = match judge.judge(survey, expired).await {
            Ok(found) => self.remove(judge, removal, &found, actor, &mut went).await,
            Err(ended) => Err(ended),
        };
        match ended {
            Ok(()) => Outcome::Removed(went),
            Err(Ended::Failed(error)) => Outcome::Failed(error, went),
            // Somebody else may carry out the same plan.
            Err(Ended::Kept(why, detail)) => match self.has_gone(removal, actor).await {
                Ok(Some(Outcome::Done)) if went == Went::default() => Outcome::Done,
                Ok(Some(Outcome::Done | Outcome::Removed(_))) => Outcome::Removed(went),
                Ok(Some(Outcome::Kept(why, detail, _))) => Outcome::Kept(why, detail, went),
                _ => Outcome::Kept(why, detail, went),
            },
        }
    }

    /// What becomes of a pack that is not among those that have expired, or is not there any more.
    async fn unseen(&self, removal: &Removal, survey: &mut Survey, actor: Actor<'_>) -> Outcome {
        match self.has_gone(removal, actor).await {
            Ok(Some(outcome)) => return outcome,
            Err(error) => return Outcome::Failed(error, Went::default()),
            Ok(None) => {}
        }
        if let Some(failure) = survey.failures.remove(&removal.key) {
            return Outcome::Failed(failure.into(), Went::default());
        }
        let unlisted = || {
            let detail = "the policies keep it, or the store does not list it".to_owned();
            (WhyKept::Unexpired, detail)
        };
        let kept = survey.kept.remove(&removal.key);
        let (why, detail) = kept.map_or_else(unlisted, |kept| (kept.why, kept.detail));
        Outcome::Kept(why, detail, Went::default())
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
            let why = WhyKept::Changed;
            return Ok(Some(Outcome::Kept(why, detail, Went::default())));
        }
        // It was interrupted between the last removal and the receipt.
        self.write(removal, DeletionObject::Receipt, actor).await?;
        Ok(Some(Outcome::Removed(Went::default())))
    }

    async fn write(
        &self,
        removal: &Removal,
        object: DeletionObject,
        actor: Actor<'_>,
    ) -> Result<(), RetentionError> {
        record::write(&**self.store, self.sink, removal, object, actor).await
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
        went: &mut Went,
    ) -> Result<(), Ended> {
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
        let intent = self.write(planned, DeletionObject::Intent, actor).await;
        intent.map_err(unwritten)?;
        let place = Place::of(&planned.key);
        if let Some(bundle) = place.filter(|place| matches!(place.form, Form::Bundle(_))) {
            let Found::Pack(manifest) = bundle.look(self.store, self.limits).await? else {
                let detail = "its bundle is not what it was".to_owned();
                return Err(Ended::Kept(WhyKept::Changed, detail));
            };
            let (store, bytes) = (&**self.store, manifest.to_bytes());
            let kept = record::write_manifest(store, self.sink, planned, bytes).await;
            kept.map_err(unwritten)?;
        }
        self.remove_objects(judge, planned, found, went).await?;
        Ok(self.write(planned, DeletionObject::Receipt, actor).await?)
    }

    /// Removes one version after the other until something keeps one, and counts them.
    async fn remove_objects(
        &self,
        judge: &Judge<'_>,
        planned: &Removal,
        found: &Removal,
        went: &mut Went,
    ) -> Result<(), Ended> {
        let mut ended = None;
        let mut left = found.objects.iter();
        let mut removing = FuturesUnordered::new();
        loop {
            while ended.is_none() && removing.len() < REMOVED_AT_ONCE {
                let Some(object) = left.next() else { break };
                removing.push(self.remove_object(judge, planned, object));
            }
            // What is under way comes to its end, and counts.
            match removing.next().await {
                None => break,
                Some(Ok(one)) => went.add(one),
                Some(Err(why)) => ended = ended.or(Some(why)),
            }
        }
        ended.map_or(Ok(()), Err)
    }

    /// Removes one version, if it and its manifest are still what was planned and nothing keeps it.
    async fn remove_object(
        &self,
        judge: &Judge<'_>,
        removal: &Removal,
        object: &PlannedObject,
    ) -> Result<Went, Ended> {
        let Some(holding) = self.holding(object).await? else {
            // Somebody else carries out the same plan.
            return Ok(Went::default());
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
        self.store.remove(&holding).await?;
        Ok(Went {
            objects: 1,
            bytes: holding.bytes,
        })
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

/// Before the first removal, what cannot be written down keeps the pack.
fn unwritten(error: RetentionError) -> Ended {
    match error {
        RetentionError::Record { .. } => Ended::Kept(WhyKept::Unsound, chain(&error)),
        error => Ended::Failed(error),
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
            Self::Removed(_) => "removed",
            Self::Done => "done",
            Self::Kept(..) => "kept",
            Self::Failed(..) => "failed",
        }
    }

    /// What was removed this time, also of a pack that stays.
    pub fn went(&self) -> Went {
        match self {
            Self::Removed(went) | Self::Kept(_, _, went) | Self::Failed(_, went) => *went,
            Self::Done => Went::default(),
        }
    }

    /// Why it stays or failed: untrusted text in part.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Kept(_, detail, _) => Some(detail.clone()),
            Self::Failed(error, _) => Some(chain(error)),
            Self::Removed(_) | Self::Done => None,
        }
    }
}
