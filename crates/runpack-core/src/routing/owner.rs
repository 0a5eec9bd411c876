//! Whose data something is: what a subject or a key says of tenant and namespace.

use std::fmt;

use crate::key::Location;
use crate::manifest::Subject;

/// A tenant and a namespace, as far as there are such. An execution has neither, a pipeline no namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    tenant: Option<Box<str>>,
    namespace: Option<Box<str>>,
}

impl Owner {
    /// The owner of a pack about `subject`.
    pub fn of(subject: &Subject) -> Self {
        match subject {
            Subject::Run {
                tenant, namespace, ..
            } => Self::new(Some(tenant.as_str()), Some(namespace.as_str())),
            Subject::Step { tenant, .. } | Subject::Pipeline { tenant, .. } => {
                Self::new(Some(tenant.as_str()), None)
            }
            Subject::Execution { .. } => Self::new(None, None),
        }
    }

    /// What the key of an object says of its owner.
    pub fn of_location(location: &Location) -> Attribution {
        match location {
            Location::Run {
                tenant, namespace, ..
            } => Attribution::To(Self::new(Some(tenant.as_str()), Some(namespace.as_str()))),
            Location::Pipeline { tenant, .. } | Location::PipelineDefinition { tenant, .. } => {
                Attribution::To(Self::new(Some(tenant.as_str()), None))
            }
            Location::Agent { .. }
            | Location::Record { .. }
            | Location::Execution { .. }
            | Location::Live { .. } => Attribution::To(Self::new(None, None)),
            Location::Reference { .. }
            | Location::Probe { .. }
            | Location::Deletion { .. }
            | Location::Receipt { .. }
            | Location::Hold { .. } => Attribution::Housekeeping,
            // A bundle is some tenant's, and its key does not say whose.
            Location::Bundle { .. } => Attribution::Unsaid,
        }
    }

    /// This tenant and namespace.
    pub fn new(tenant: Option<&str>, namespace: Option<&str>) -> Self {
        Self {
            tenant: tenant.map(Into::into),
            namespace: namespace.map(Into::into),
        }
    }

    /// The tenant.
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// The namespace.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenant = self.tenant().unwrap_or("(none)");
        let namespace = self.namespace().unwrap_or("(none)");
        write!(f, "tenant=`{tenant}` namespace=`{namespace}`")
    }
}

/// What a key says of its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribution {
    /// This one.
    To(Owner),
    /// It holds nobody's evidence: what Runpack keeps for itself.
    Housekeeping,
    /// Somebody's, and it does not say whose.
    Unsaid,
}
