//! What of a store moves to a cheaper storage class, and when: from a few wishes to the rules of a bucket's lifecycle.
//!
//! Pure: whoever sends the rules, prints them or reckons what they cost has them from here. Invariants of every rule:
//!
//! - none removes a current version: packs go by a plan that looks at each of them, never by age alone;
//! - nothing goes to a class that is not read at once unless it is larger than any manifest may be, since without its
//!   manifest no pack is verified; a caller may lower that bound on purpose ([`ARCHIVE_BYTES_FLOOR`]), and what
//!   is smaller than that stays readable even then, records of removals among it;
//! - no version that another lies over is removed unless a caller asks for it by a dangerous name, and then never a manifest:
//!   the oldest version of a manifest is the commit, whatever lies over it. The bound for that cannot be lowered;
//! - of the rules of one store, no two move the same object.
//!
//! Source of the limits: Amazon S3 user guide, "Transitioning objects using Amazon S3 Lifecycle" and "Understanding and
//! managing Amazon S3 storage classes".

mod class;
mod rule;

pub use class::{StorageClass, UnknownClass};
pub use rule::{Rule, Transition, is_rule_of, overlaps, rule_prefix};

use crate::limits::Limits;

/// The least age for an infrequent-access class, in days (Amazon S3 refuses less).
pub const INFREQUENT_DAYS_MIN: u32 = 30;
/// The least time for uploads in parts, in days: a large one may be under way that long.
pub const UPLOAD_DAYS_MIN: u32 = 7;
/// The least time that a version stays that another lies over, in days.
pub const NONCURRENT_EXPIRY_DAYS_MIN: u32 = 30;
/// The greatest age that can be asked for: a hundred years.
pub const DAYS_MAX: u32 = 36_500;
/// What is smaller than this is billed as this in cheaper classes, and does not move by default (Amazon S3).
pub const SMALL_BYTES_MAX: u64 = 128 << 10;
/// The least bound above which objects may be archived. What Runpack keeps below `_runpack/` is smaller, records of removals
/// among it, but for manifests of bundles that went, and for the receipts of locked packs with some thousand artifacts.
pub const ARCHIVE_BYTES_FLOOR: u64 = 1 << 20;

/// What is wished for: ages in whole days, sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifecycle {
    /// Where current versions go, by their age.
    pub transitions: Vec<Transition>,
    /// Where versions go that others lie over, by how long they have.
    pub noncurrent: Vec<Transition>,
    /// After how many days versions are removed that others lie over. Whoever may write can lay a version over another, and
    /// so have it removed: only for buckets that lock every version by themselves, and only of what is larger than any
    /// manifest.
    pub dangerous_noncurrent_expiry_days: Option<u32>,
    /// After how many days uploads in parts are given up.
    pub aborted_uploads_days: Option<u32>,
    /// Only what is larger moves at all.
    pub larger_than: u64,
    /// Only what is larger goes to a class that is not read at once, or is removed.
    pub archive_larger_than: u64,
}

impl Default for Lifecycle {
    /// Nothing moves. The bounds are the safe ones: no manifest that a verifier reads by default is as large.
    fn default() -> Self {
        Self {
            transitions: Vec::new(),
            noncurrent: Vec::new(),
            dangerous_noncurrent_expiry_days: None,
            aborted_uploads_days: None,
            larger_than: SMALL_BYTES_MAX,
            archive_larger_than: Limits::default().manifest_bytes_max,
        }
    }
}

/// Why wishes make no rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LifecycleError {
    /// An age or time is too short or too long.
    #[error("{what} takes {min} to {DAYS_MAX} days, days=`{days}`")]
    Days {
        /// Of what.
        what: String,
        /// What was asked for.
        days: u32,
        /// The least.
        min: u32,
    },
    /// A class comes too early after another: what lies there for less is paid for all the same.
    #[error(
        "what moves to {from} is paid there for {days_min} days, so {to} comes that much later or not at all, {from}=`{from_days}` {to}=`{to_days}`"
    )]
    TooSoon {
        /// The class before.
        from: StorageClass,
        /// Its age.
        from_days: u32,
        /// The class after.
        to: StorageClass,
        /// Its age.
        to_days: u32,
        /// The days that are paid for.
        days_min: u32,
    },
    /// A class cannot come after another.
    #[error("nothing moves from {from} to {to}: classes come from warm to cold, each once")]
    Order {
        /// The class before.
        from: StorageClass,
        /// The class after.
        to: StorageClass,
    },
    /// Manifests would be among the versions that are removed.
    #[error(
        "with `dangerously_remove_noncurrent_after`, `archive_larger_than` is at least {min} bytes: the oldest version of a manifest is the commit, and no rule removes it, bytes=`{bytes}`"
    )]
    RemovesManifests {
        /// What was asked for.
        bytes: u64,
        /// The least.
        min: u64,
    },
    /// A bound of sizes is too low.
    #[error("`{what}` is at least {min} bytes, bytes=`{bytes}`")]
    Bytes {
        /// Which bound.
        what: &'static str,
        /// What was asked for.
        bytes: u64,
        /// The least.
        min: u64,
    },
}

impl Lifecycle {
    /// The rules for the store whose keys begin with `prefix` in its bucket. None where nothing is wished for.
    ///
    /// # Errors
    /// A wish is outside of what a bucket takes, costs more than it saves, or would make packs unreadable.
    pub fn rules(&self, prefix: &str) -> Result<Vec<Rule>, LifecycleError> {
        self.check()?;
        let rule = |name: &str| Rule::new(format!("{}{name}", rule_prefix(prefix)), prefix);
        let mut rules = Vec::new();
        let has_archive = self.dangerous_noncurrent_expiry_days.is_some()
            || [&self.transitions, &self.noncurrent]
                .into_iter()
                .flatten()
                .any(|transition| !transition.to.is_read_at_once());
        let readable = |transitions: &[Transition]| {
            let readable = transitions.iter().filter(|t| t.to.is_read_at_once());
            readable.copied().collect::<Vec<_>>()
        };
        let mut moved = rule("readable");
        moved.larger_than = Some(self.larger_than);
        moved.transitions = readable(&self.transitions);
        moved.noncurrent_transitions = readable(&self.noncurrent);
        if has_archive {
            // What is larger has the rule below to itself.
            moved.smaller_than = self.archive_larger_than.checked_add(1);
        }
        let is_open = moved
            .smaller_than
            .is_none_or(|end| end.saturating_sub(1) > self.larger_than);
        if is_open && moved.does_something() {
            rules.push(moved);
        }
        if has_archive {
            let mut archived = rule("archive");
            archived.larger_than = Some(self.archive_larger_than);
            archived.transitions.clone_from(&self.transitions);
            archived.noncurrent_transitions.clone_from(&self.noncurrent);
            archived.noncurrent_expiry_days = self.dangerous_noncurrent_expiry_days;
            rules.push(archived);
        }
        if let Some(days) = self.aborted_uploads_days {
            let mut uploads = rule("uploads");
            uploads.aborted_uploads_days = Some(days);
            rules.push(uploads);
        }
        Ok(rules)
    }

    fn check(&self) -> Result<(), LifecycleError> {
        bytes("larger_than", self.larger_than, SMALL_BYTES_MAX)?;
        let floor = ARCHIVE_BYTES_FLOOR.max(self.larger_than);
        bytes("archive_larger_than", self.archive_larger_than, floor)?;
        in_order(&self.transitions)?;
        in_order(&self.noncurrent)?;
        if let Some(expiry) = self.dangerous_noncurrent_expiry_days {
            let (bytes, min) = (
                self.archive_larger_than,
                Limits::default().manifest_bytes_max,
            );
            if bytes < min {
                return Err(LifecycleError::RemovesManifests { bytes, min });
            }
            let what = "removing versions that others lie over";
            days(what, expiry, NONCURRENT_EXPIRY_DAYS_MIN)?;
            if let Some(last) = self.noncurrent.last() {
                // Removed before it was paid for, it would be paid for all the same.
                let min = last.after_days.saturating_add(last.to.days_min());
                days(what, expiry, min)?;
            }
        }
        match self.aborted_uploads_days {
            Some(given) => days("giving up uploads", given, UPLOAD_DAYS_MIN),
            None => Ok(()),
        }
    }
}

fn days(what: &str, days: u32, min: u32) -> Result<(), LifecycleError> {
    if (min..=DAYS_MAX).contains(&days) {
        return Ok(());
    }
    let what = what.to_owned();
    Err(LifecycleError::Days { what, days, min })
}

fn bytes(what: &'static str, bytes: u64, min: u64) -> Result<(), LifecycleError> {
    // Sizes are signed numbers of 64 bits in the store's words.
    if bytes >= min && i64::try_from(bytes).is_ok() {
        return Ok(());
    }
    Err(LifecycleError::Bytes { what, bytes, min })
}

/// From warm to cold, and each class for as long as it is paid for.
fn in_order(transitions: &[Transition]) -> Result<(), LifecycleError> {
    for transition in transitions {
        let min = if transition.to.is_infrequent_access() {
            INFREQUENT_DAYS_MIN
        } else {
            1
        };
        let what = format!("moving to {}", transition.to);
        days(&what, transition.after_days, min)?;
        if transition.to == StorageClass::Standard {
            let from = transition.to;
            return Err(LifecycleError::Order { from, to: from });
        }
    }
    for (before, after) in transitions.iter().zip(transitions.iter().skip(1)) {
        let (from, to) = (before.to, after.to);
        if !from.goes_to(to) {
            return Err(LifecycleError::Order { from, to });
        }
        let (from_days, to_days) = (before.after_days, after.after_days);
        let days_min = from.days_min();
        if to_days < from_days.saturating_add(days_min) {
            return Err(LifecycleError::TooSoon {
                from,
                from_days,
                to,
                to_days,
                days_min,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
