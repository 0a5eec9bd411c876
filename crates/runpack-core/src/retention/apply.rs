//! Carrying out a plan.
//!
//! A plan is a wish: every pack in it is judged again as if there were none, and what is removed is what both say. So a plan
//! that somebody wrote removes nothing that the policies keep.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::RetentionError;
use super::judge::{Judge, is_same, object_ref};
use super::plan::{Kept, Phase, Plan, PlannedObject, Removal, WhyKept};
use super::policy::RetentionPolicies;
use super::record::{self, Signature};
use super::survey::{Form, Place, Survey};
use crate::display::chain;
use crate::key::{DeletionObject, KeyPrefix, Location};
use crate::limits::Limits;
use crate::store::{ArtifactSink, Holding, Housekeeping, State, StoreError, VersionId};
use crate::time::Timestamp;

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
    /// The time by our clock.
    pub now: Timestamp,
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

/// Why a removal ended.
enum Ended {
    Kept(WhyKept, String),
    Failed(RetentionError),
}

impl<E: Into<RetentionError>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl From<(WhyKept, String)> for Ended {
    fn from((why, detail): (WhyKept, String)) -> Self {
        Self::Kept(why, detail)
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
        let store_now = self.store.now().await?;
        // A plan is over by the later clock, and a pack has expired by the earlier one.
        plan.check(self.place, self.policies.digest(), self.now.max(store_now))?;
        let judge = Judge {
            store: self.store,
            policies: self.policies,
            now: self.now.min(store_now),
            store_now,
            limits: self.limits,
        };
        let signature = Signature {
            by: self.by,
            now: self.now,
            plan: plan.digest(),
            metadata_seconds: self.policies.metadata_seconds(),
        };
        let mut planned: BTreeMap<&str, &Removal> = BTreeMap::new();
        planned.extend(plan.removals.iter().map(|one| (one.key.as_str(), one)));
        let mut survey = Survey::of(self.store, self.policies, judge.now, self.limits).await?;
        let mut applied = Applied::default();
        while let Some(of_pack) = survey.next() {
            for expired in of_pack {
                let Some(removal) = planned.remove(expired.place.key.as_str()) else {
                    survey.stays(&expired);
                    continue;
                };
                let judged = judge.judge(&mut survey, &expired).await;
                let outcome = self.one(&judge, removal, judged, signature).await;
                if matches!(outcome, Outcome::Kept(..) | Outcome::Failed(_)) {
                    survey.stays(&expired);
                }
                applied.count(&outcome);
                tell(removal, &outcome);
            }
        }
        for removal in planned.into_values() {
            let kept = survey.kept.iter().find(|kept| kept.key == removal.key);
            let outcome = self.unseen(removal, kept, signature).await;
            applied.count(&outcome);
            tell(removal, &outcome);
        }
        Ok(applied)
    }

    async fn one(
        &self,
        judge: &Judge<'_>,
        removal: &Removal,
        judged: Result<Removal, Kept>,
        signature: Signature<'_>,
    ) -> Outcome {
        let ended = match self.has_gone(removal, signature).await {
            Ok(Some(outcome)) => return outcome,
            Err(error) => Err(Ended::Failed(error)),
            Ok(None) => match judged {
                Err(kept) => Err(Ended::Kept(kept.why, kept.detail)),
                Ok(found) => self.remove(judge, removal, &found, signature).await,
            },
        };
        match ended {
            Ok(outcome) => outcome,
            Err(Ended::Kept(why, detail)) => Outcome::Kept(why, detail),
            Err(Ended::Failed(error)) => Outcome::Failed(error),
        }
    }

    /// What becomes of a pack that is not among those that have expired, or is not there any more.
    async fn unseen(
        &self,
        removal: &Removal,
        kept: Option<&Kept>,
        signature: Signature<'_>,
    ) -> Outcome {
        match (self.has_gone(removal, signature).await, kept) {
            (Ok(Some(outcome)), _) => outcome,
            (Err(error), _) => Outcome::Failed(error),
            (Ok(None), Some(kept)) => Outcome::Kept(kept.why, kept.detail.clone()),
            (Ok(None), None) => {
                let detail = "the policies keep it, or the store does not list it".to_owned();
                Outcome::Kept(WhyKept::Unexpired, detail)
            }
        }
    }

    /// What becomes of a pack of which nothing that was planned is left; `None` where something is.
    async fn has_gone(
        &self,
        removal: &Removal,
        signature: Signature<'_>,
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
        record::write(self.sink, removal, DeletionObject::Receipt, signature).await?;
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
        let mut holdings = self.store.holdings(&KeyPrefix::of(&key));
        while let Some(found) = holdings.try_next().await? {
            let version = found.version.as_ref().map(VersionId::as_str);
            if found.key == object.key
                && found.state == State::Object
                && version == object.version.as_deref()
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    async fn remove(
        &self,
        judge: &Judge<'_>,
        planned: &Removal,
        found: &Removal,
        signature: Signature<'_>,
    ) -> Result<Outcome, Ended> {
        let is_planned = found.pack_id == planned.pack_id
            && found.phase == planned.phase
            && found.policy == planned.policy
            && found.manifest == planned.manifest
            && found
                .objects
                .iter()
                .all(|object| planned.objects.contains(object));
        if !is_planned {
            let detail = "it is not what it was when the plan was made".to_owned();
            return Err(Ended::Kept(WhyKept::Changed, detail));
        }
        record::write(self.sink, planned, DeletionObject::Intent, signature).await?;
        let place = Place::of(&planned.key);
        if let Some(bundle) = place.filter(|place| matches!(place.form, Form::Bundle(_))) {
            let manifest = bundle.manifest(self.store, self.limits).await?;
            record::write_manifest(self.sink, planned, manifest.to_bytes()).await?;
        }
        stream::iter(&found.objects)
            .map(Ok)
            .try_for_each_concurrent(REMOVED_AT_ONCE, |object| {
                self.remove_object(judge, planned, object)
            })
            .await?;
        record::write(self.sink, planned, DeletionObject::Receipt, signature).await?;
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
        let mut there = Vec::new();
        if let Some(key) = key {
            let mut holdings = self.store.holdings(&KeyPrefix::of(&key));
            while let Some(found) = holdings.try_next().await? {
                if found.key == key.as_str() && found.state == State::Object {
                    there.push(found);
                }
            }
        }
        let is_planned = |found: &Holding| removal.manifest.iter().any(|one| is_same(found, one));
        if there.len() == removal.manifest.len() && there.iter().all(is_planned) {
            return Ok(());
        }
        let detail = "its manifest is not what it was when the plan was made".to_owned();
        Err(Ended::Kept(WhyKept::Changed, detail))
    }
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
