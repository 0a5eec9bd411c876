//! One rule, as a bucket has it, and whose it is.

use serde::Serialize;

use super::StorageClass;
use crate::digest::Digest;

/// A move to another class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Transition {
    /// After how many days.
    pub after_days: u32,
    /// Where to.
    pub to: StorageClass,
}

/// A rule of a lifecycle, enabled. What is not given it does not do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Rule {
    /// Its name in the bucket.
    pub id: String,
    /// What the names of its objects in the bucket begin with.
    pub prefix: String,
    /// Only objects of more bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub larger_than: Option<u64>,
    /// Only objects of fewer bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smaller_than: Option<u64>,
    /// Where current versions go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub transitions: Vec<Transition>,
    /// Where versions go that others lie over.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub noncurrent_transitions: Vec<Transition>,
    /// When versions are removed that others lie over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noncurrent_expiry_days: Option<u32>,
    /// When uploads in parts are given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aborted_uploads_days: Option<u32>,
}

/// What the names of all rules of the store with this prefix begin with: several stores may share a bucket.
pub fn rule_prefix(prefix: &str) -> String {
    let digest = Digest::of(prefix.as_bytes()).to_string();
    format!("runpack-{}-", digest.get(..8).unwrap_or_default())
}

/// Whether a rule of this name is one of the store with this prefix.
pub fn is_rule_of(prefix: &str, id: &str) -> bool {
    id.starts_with(&rule_prefix(prefix))
}

/// Whether some object of a bucket could have a name with both beginnings.
pub fn overlaps(prefix: &str, other: &str) -> bool {
    prefix.starts_with(other) || other.starts_with(prefix)
}

impl Rule {
    /// A rule that does nothing yet.
    pub fn new(id: impl Into<String>, prefix: &str) -> Self {
        Self {
            id: id.into(),
            prefix: prefix.to_owned(),
            larger_than: None,
            smaller_than: None,
            transitions: Vec::new(),
            noncurrent_transitions: Vec::new(),
            noncurrent_expiry_days: None,
            aborted_uploads_days: None,
        }
    }

    pub(super) fn does_something(&self) -> bool {
        !self.transitions.is_empty()
            || !self.noncurrent_transitions.is_empty()
            || self.noncurrent_expiry_days.is_some()
            || self.aborted_uploads_days.is_some()
    }

    /// Whether an object of this name and size is one of its own.
    pub fn has(&self, name: &str, bytes: u64) -> bool {
        name.starts_with(&self.prefix)
            && self.larger_than.is_none_or(|bound| bytes > bound)
            && self.smaller_than.is_none_or(|bound| bytes < bound)
    }

    /// What it does, a sentence each.
    pub fn deeds(&self) -> Vec<String> {
        let mut deeds = Vec::new();
        for transition in &self.transitions {
            let Transition { after_days, to } = transition;
            deeds.push(format!("moves to {to} after {after_days} days"));
        }
        for transition in &self.noncurrent_transitions {
            let Transition { after_days, to } = transition;
            deeds.push(format!(
                "moves what another version has lain over for {after_days} days to {to}"
            ));
        }
        if let Some(days) = self.noncurrent_expiry_days {
            deeds.push(format!(
                "REMOVES what another version has lain over for {days} days"
            ));
        }
        if let Some(days) = self.aborted_uploads_days {
            deeds.push(format!(
                "gives up uploads in parts {days} days after their beginning"
            ));
        }
        deeds
    }
}
