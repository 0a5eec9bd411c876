//! Making a plan.

use std::sync::Arc;

use super::RetentionError;
use super::judge::{Ended, Judge, is_refusal};
use super::plan::{Kept, OBJECTS_MAX, Plan, REMOVALS_BYTES_MAX, WhyKept};
use super::policy::RetentionPolicies;
use super::survey::{Bounds, Expired, KEPT_MAX, Survey, Told};
use crate::display::chain;
use crate::id::Tenant;
use crate::limits::Limits;
use crate::manifest::Subject;
use crate::store::Housekeeping;
use crate::time::Timestamp;

/// What a plan is made of.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    /// The store, as receipts name it.
    pub place: &'a str,
    /// Only packs of this tenant.
    pub tenant: Option<&'a Tenant>,
    /// The time by which packs expire, where it is not now: what a plan would be then.
    pub at: Option<Timestamp>,
    /// The time by our clock.
    pub now: Timestamp,
    /// The bounds of what is read.
    pub limits: &'a Limits,
}

/// Looks through a store, and writes down what would go and what stays although it has expired. Of our clock and the
/// store's the earlier counts, also for locks: a clock that is ahead lets nothing go.
///
/// # Errors
/// The store could not be looked through. A pack that cannot be judged stays, and is in the plan as such.
pub async fn make_plan(
    store: &Arc<dyn Housekeeping>,
    policies: &RetentionPolicies,
    asked: &Asked<'_>,
) -> Result<Plan, RetentionError> {
    make_plan_within(store, policies, asked, REMOVALS_BYTES_MAX).await
}

/// As [`make_plan`], of so many bytes for what goes.
pub(super) async fn make_plan_within(
    store: &Arc<dyn Housekeeping>,
    policies: &RetentionPolicies,
    asked: &Asked<'_>,
    bytes_max: u64,
) -> Result<Plan, RetentionError> {
    let store_now = store.now().await?;
    let now = asked.at.unwrap_or_else(|| asked.now.min(store_now));
    let mut judge = Judge {
        store,
        policies,
        now,
        unlocked_at: asked.now.min(store_now),
        holds: None,
        limits: asked.limits,
    };
    let mut plan = Plan::new(asked.place.to_owned(), policies.digest(), asked.now, now);
    let mut survey = Survey::of(&judge, Bounds::default(), Told::First).await?;
    plan.kept = std::mem::take(&mut survey.kept).into_values().collect();
    plan.kept_counts = std::mem::take(&mut survey.kept_counts);
    // Once for all packs: a ledger is read from its beginning.
    let holds = match store.holds().await {
        Err(error) if !is_refusal(&error) => return Err(error.into()),
        holds => holds.map_err(|error| chain(&error)),
    };
    judge.holds = Some(&holds);
    let (mut objects, mut bytes) = (0usize, 0u64);
    while let Some(of_pack) = survey.next() {
        for expired in of_pack {
            if !is_asked(&expired, asked.tenant) {
                judge.leave(&mut survey, &expired).await;
                continue;
            }
            if objects >= OBJECTS_MAX {
                plan.more = true;
                return Ok(plan);
            }
            let judged = judge.judge(&survey, &expired).await;
            let judged = judged.map(|removal| (removal.planned_bytes(), removal));
            let judged = match judged {
                // No plan would ever take it.
                Ok((more, _)) if more > bytes_max => {
                    let detail = "what goes of it takes more than a plan may have".to_owned();
                    Err(Ended::Kept(WhyKept::Unsound, detail))
                }
                judged => judged,
            };
            match judged {
                Ok((more, _)) if bytes.saturating_add(more) > bytes_max => {
                    plan.more = true;
                    return Ok(plan);
                }
                Ok((more, removal)) => {
                    objects = objects.saturating_add(removal.objects.len());
                    bytes = bytes.saturating_add(more);
                    plan.removals.push(removal);
                }
                Err(ended) => {
                    let kept = ended.into_kept(&expired);
                    if kept.why != WhyKept::Metadata {
                        survey.stays(&expired);
                    }
                    keep(&mut plan, kept);
                }
            }
        }
    }
    Ok(plan)
}

fn keep(plan: &mut Plan, kept: Kept) {
    let count = plan.kept_counts.entry(kept.why).or_default();
    *count = count.saturating_add(1);
    if plan.kept.len() < KEPT_MAX {
        plan.kept.push(kept);
    }
}

fn is_asked(expired: &Expired, tenant: Option<&Tenant>) -> bool {
    let Some(tenant) = tenant else { return true };
    match &expired.subject {
        Subject::Run { tenant: of, .. } => of == tenant,
        Subject::Step { tenant: of, .. } | Subject::Pipeline { tenant: of, .. } => {
            of.as_str() == tenant.as_str()
        }
        Subject::Execution { .. } => false,
    }
}
