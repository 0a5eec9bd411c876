//! Retention: until when packs are kept, and removing exactly what may go, by plan.
//!
//! [`RetentionPolicies`] are pure: a subject and a time give a policy and an expiry. [`make_plan`] looks through a store and
//! writes down what would go and what stays although it has expired ([`Plan`]); [`Removing`] removes what a plan names, and
//! nothing else. Invariants (threats W22, W23):
//!
//! - a pack goes only if its own manifest, read from the store, has expired by the policies; a listing or a catalog only
//!   says where to look;
//! - what is held, locked, needed by a pack that stays, equivocal or unreadable stays; that a lock or a hold may not be looked
//!   at is never "none", and what cannot be read or understood may need everything;
//! - what is removed is one version that the plan names, looked at again right before; where anything differs from the plan
//!   the whole pack stays;
//! - an intent is written before the first removal and a receipt after the last, and the same plan again goes on where it
//!   was interrupted. Nobody believes either who verifies.
//!
//! See also: `Docs/adr/0028-deletion-by-plan.md`.

mod apply;
mod judge;
mod noted;
mod place;
mod plan;
mod planning;
mod policy;
mod record;
mod survey;

pub use apply::{Applied, Outcome, Removing, Went};
pub use noted::{Removed, removed};
pub use plan::{
    Kept, OBJECTS_MAX, PLAN_BYTES_MAX, PLAN_SECONDS, Part, Phase, Plan, PlanError, PlannedObject,
    Removal, WhyKept,
};
pub use planning::{Asked, make_plan};
pub use policy::{
    Expiry, KEEP_SECONDS_MAX, KEEP_SECONDS_MIN, Keep, METADATA_SECONDS, Policy, PolicyError,
    RetentionPolicies, SubjectKind,
};
pub use record::{Intent, Left};

use crate::key::KeyTooLong;
use crate::store::StoreError;

/// Why nothing was planned, or no more was removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RetentionError {
    /// The plan may not be carried out here and now.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store lists more than any store has, or without end.
    #[error("what the store lists {reason}, shown=`{shown}`")]
    Listing {
        /// What is wrong with it.
        reason: &'static str,
        /// How many versions and markers it had listed by then.
        shown: u64,
    },
    /// What is to be written down of a removal cannot be.
    #[error("{reason}, key=`{key}`")]
    Record {
        /// What is wrong.
        reason: &'static str,
        /// Where it would be.
        key: String,
    },
    /// A key that cannot be.
    #[error(transparent)]
    Key(#[from] KeyTooLong),
}

#[cfg(test)]
mod tests;
