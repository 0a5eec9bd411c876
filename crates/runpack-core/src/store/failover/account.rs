//! What was read from where.

use std::sync::Arc;

use super::Role;

/// What one source gave, and how it failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceAccount {
    /// Its name.
    pub name: Arc<str>,
    /// What it is to the others.
    pub role: Role,
    /// How many readings it answered: a large artifact is read in several.
    pub objects: u64,
    /// The bytes that came from it.
    pub bytes: u64,
    /// How many listings were its.
    pub listings: u64,
    /// How often it did not answer.
    pub failures: u64,
    /// How it failed last. Quotes untrusted text: show it escaped.
    pub last_failure: Option<Arc<str>>,
    /// Why it is not read any more. Quotes untrusted text: show it escaped.
    pub set_aside: Option<Arc<str>>,
}

impl SourceAccount {
    /// Whether anything came from it.
    pub const fn gave_something(&self) -> bool {
        self.objects > 0 || self.listings > 0
    }
}
