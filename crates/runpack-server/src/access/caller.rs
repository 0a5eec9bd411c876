//! Who somebody is once they were authenticated, and what they may do.

use std::fmt;
use std::sync::Arc;

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// List, read, verify, take a link to read.
    Read,
    /// Send records, executions, logs, artifacts and packs.
    Write,
}

/// Whose evidence it is about. For packs of runs these are the tenant and the namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// The organization, or tenant.
    pub organization: Box<str>,
    /// The project, or namespace; `None` for what belongs to the organization as a whole, which only a grant over all its
    /// projects covers.
    pub project: Option<Box<str>>,
}

/// What a grant covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The organization.
    pub organization: Box<str>,
    /// The project; `None` for all of them.
    pub project: Option<Box<str>>,
    /// What may be done there.
    pub verbs: Box<[Verb]>,
}

/// Somebody who was authenticated.
#[derive(Clone)]
pub struct Caller {
    name: Arc<str>,
    grants: Arc<[Grant]>,
    holds_store: bool,
}

impl Caller {
    /// Somebody of this name, such as `token:ci` or `github:repo:acme/web:ref:refs/heads/main`.
    pub fn new(name: &str, grants: Arc<[Grant]>) -> Self {
        Self {
            name: name.into(),
            grants,
            holds_store: false,
        }
    }

    /// Somebody who runs this program on a store of theirs, and may do there whatever it does. No policy makes one.
    pub fn operator(name: &str) -> Self {
        Self {
            name: name.into(),
            grants: Arc::default(),
            holds_store: true,
        }
    }

    /// As records, executions and the audit log name them.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether they may do that there.
    pub fn may(&self, verb: Verb, scope: &Scope) -> bool {
        let is_granted = self.grants.iter().any(|grant| {
            grant.verbs.contains(&verb)
                && grant.organization == scope.organization
                && (grant.project.is_none() || grant.project == scope.project)
        });
        self.holds_store || is_granted
    }

    /// Whether they may do that anywhere at all: what is not worth looking up or reading for whoever may not.
    pub fn may_anywhere(&self, verb: Verb) -> bool {
        let mut grants = self.grants.iter();
        self.holds_store || grants.any(|grant| grant.verbs.contains(&verb))
    }

    /// Whether everything in the store is theirs.
    pub(crate) fn holds_store(&self) -> bool {
        self.holds_store
    }

    /// What they may do at all.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Caller").field(&self.name).finish()
    }
}
