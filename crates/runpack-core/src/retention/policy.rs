//! Policies: which packs are kept for how long.
//!
//! The first policy that matches counts, in the order in which they are written; what none matches is kept forever. Nothing
//! here reads a clock or a store.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::{Namespace, PolicyName, Scenario, Tenant};
use crate::manifest::Subject;
use crate::time::Timestamp;

const DAY: u64 = 24 * 60 * 60;

/// The shortest time for which packs are kept: 30 days, in seconds. Stops a slip of the pen from emptying a store.
pub const KEEP_SECONDS_MIN: u64 = 30 * DAY;
/// The longest time for which packs are kept and then go: 365 days, in seconds. What stays longer stays forever.
pub const KEEP_SECONDS_MAX: u64 = 365 * DAY;
/// How long manifests stay after their artifacts by default: 180 days, in seconds.
pub const METADATA_SECONDS: u64 = 180 * DAY;
/// How many policies there may be.
const POLICIES_MAX: usize = 1_000;

/// For how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// So many seconds from `created_at`.
    Seconds(u64),
    /// It never expires.
    Forever,
}

/// A kind of subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SubjectKind {
    /// [`Subject::Run`]
    Run,
    /// [`Subject::Step`]
    Step,
    /// [`Subject::Pipeline`]
    Pipeline,
    /// [`Subject::Execution`]
    Execution,
}

impl SubjectKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Run, Self::Step, Self::Pipeline, Self::Execution];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Step => "step",
            Self::Pipeline => "pipeline",
            Self::Execution => "execution",
        }
    }
}

/// Which packs, and for how long. What is not given matches everything; a subject that has no such part is not matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    // In canonical order. Without it the packs are kept forever.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    keep_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    kind: Option<SubjectKind>,
    name: PolicyName,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    namespace: Option<Namespace>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    scenario: Option<Scenario>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    tenant: Option<Tenant>,
}

impl Policy {
    /// A policy for all packs.
    ///
    /// # Errors
    /// [`PolicyError::Keep`] for less than [`KEEP_SECONDS_MIN`] or more than [`KEEP_SECONDS_MAX`].
    pub fn new(name: PolicyName, keep: Keep) -> Result<Self, PolicyError> {
        let keep_seconds = match keep {
            Keep::Forever => None,
            Keep::Seconds(seconds) => Some(seconds),
        };
        let policy = Self {
            keep_seconds,
            kind: None,
            name,
            namespace: None,
            scenario: None,
            tenant: None,
        };
        policy.check().map(|()| policy)
    }

    /// Only for packs of this tenant, in the layouts that have tenants.
    #[must_use]
    pub fn with_tenant(mut self, tenant: Option<Tenant>) -> Self {
        self.tenant = tenant;
        self
    }

    /// Only for packs in this namespace: of runs.
    #[must_use]
    pub fn with_namespace(mut self, namespace: Option<Namespace>) -> Self {
        self.namespace = namespace;
        self
    }

    /// Only for packs of this scenario: of runs.
    #[must_use]
    pub fn with_scenario(mut self, scenario: Option<Scenario>) -> Self {
        self.scenario = scenario;
        self
    }

    /// Only for packs about this kind of subject.
    #[must_use]
    pub fn with_kind(mut self, kind: Option<SubjectKind>) -> Self {
        self.kind = kind;
        self
    }

    /// Its name.
    pub fn name(&self) -> &PolicyName {
        &self.name
    }

    /// For how long.
    pub fn keep(&self) -> Keep {
        self.keep_seconds.map_or(Keep::Forever, Keep::Seconds)
    }

    fn check(&self) -> Result<(), PolicyError> {
        let range = KEEP_SECONDS_MIN..=KEEP_SECONDS_MAX;
        match self.keep_seconds {
            Some(seconds) if !range.contains(&seconds) => Err(PolicyError::Keep {
                policy: self.name.clone(),
                seconds,
            }),
            _ => Ok(()),
        }
    }

    fn matches(&self, subject: &Subject) -> bool {
        let (kind, tenant, namespace, scenario) = match subject {
            Subject::Run {
                tenant,
                namespace,
                scenario,
                ..
            } => (
                SubjectKind::Run,
                Some(tenant.as_str()),
                Some(namespace),
                Some(scenario),
            ),
            Subject::Step { tenant, .. } => (SubjectKind::Step, Some(tenant.as_str()), None, None),
            Subject::Pipeline { tenant, .. } => {
                (SubjectKind::Pipeline, Some(tenant.as_str()), None, None)
            }
            Subject::Execution { .. } => (SubjectKind::Execution, None, None, None),
        };
        self.kind.is_none_or(|wanted| wanted == kind)
            && self
                .tenant
                .as_ref()
                .is_none_or(|wanted| tenant == Some(wanted.as_str()))
            && (self.namespace.is_none() || self.namespace.as_ref() == namespace)
            && (self.scenario.is_none() || self.scenario.as_ref() == scenario)
    }
}

/// Why policies are none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A time that no policy has.
    #[error("packs are kept for 30 to 365 days, or forever, policy=`{policy}` seconds=`{seconds}`")]
    Keep {
        /// Which policy.
        policy: PolicyName,
        /// What it says.
        seconds: u64,
    },
    /// Two of one name.
    #[error("two policies have one name, policy=`{policy}`")]
    Twice {
        /// The name.
        policy: PolicyName,
    },
    /// More than anybody needs.
    #[error("there are more than 1000 policies")]
    TooMany,
    /// What was written down is no policies.
    #[error("these are no policies: {0}")]
    Form(String),
}

/// Policies, in the order in which they count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionPolicies {
    // In canonical order.
    keep_inputs: bool,
    metadata_seconds: u64,
    policies: Vec<Policy>,
}

/// No policies: everything is kept forever.
impl Default for RetentionPolicies {
    fn default() -> Self {
        Self {
            keep_inputs: true,
            metadata_seconds: METADATA_SECONDS,
            policies: Vec::new(),
        }
    }
}

/// What policies say of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry<'a> {
    /// The policy that counts; `None` where none matches.
    pub policy: Option<&'a PolicyName>,
    /// When the pack expires; `None` where it is kept forever. No later than the year 9999.
    pub expires_at: Option<Timestamp>,
}

impl Expiry<'_> {
    /// Whether the pack has expired at this time.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }
}

impl RetentionPolicies {
    /// Policies in this order, with [`METADATA_SECONDS`], and packs kept that others were made from.
    ///
    /// # Errors
    /// Two have one name; there are too many.
    pub fn new(policies: Vec<Policy>) -> Result<Self, PolicyError> {
        let policies = Self {
            policies,
            ..Self::default()
        };
        policies.check().map(|()| policies)
    }

    /// The same, with manifests that stay so many seconds after their artifacts.
    #[must_use]
    pub fn with_metadata_seconds(mut self, seconds: u64) -> Self {
        // What is larger no reader of JSON would give back.
        self.metadata_seconds = seconds.min(Timestamp::MAX.unix_seconds());
        self
    }

    /// The same, with what packs were made from left to its own policy.
    #[must_use]
    pub fn letting_inputs_go(mut self) -> Self {
        self.keep_inputs = false;
        self
    }

    fn check(&self) -> Result<(), PolicyError> {
        if self.policies.len() > POLICIES_MAX {
            return Err(PolicyError::TooMany);
        }
        let mut names = BTreeSet::new();
        for policy in &self.policies {
            policy.check()?;
            if !names.insert(&policy.name) {
                return Err(PolicyError::Twice {
                    policy: policy.name.clone(),
                });
            }
        }
        Ok(())
    }

    /// Which policy counts for a pack that was made at this time, and when the pack expires.
    pub fn of(&self, subject: &Subject, created_at: Timestamp) -> Expiry<'_> {
        let policy = self.policies.iter().find(|policy| policy.matches(subject));
        let seconds = policy.and_then(|policy| policy.keep_seconds);
        Expiry {
            policy: policy.map(Policy::name),
            expires_at: seconds.map(|seconds| created_at.later(seconds)),
        }
    }

    /// The policies, in order.
    pub fn policies(&self) -> &[Policy] {
        &self.policies
    }

    /// How long a manifest stays after its artifacts, in seconds.
    pub const fn metadata_seconds(&self) -> u64 {
        self.metadata_seconds
    }

    /// Whether a pack stays while one that stays was made from it.
    pub const fn keeps_inputs(&self) -> bool {
        self.keep_inputs
    }

    /// The canonical form (RFC 8785): the same policies give the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Texts and numbers always serialize.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What stands for the policies: the SHA-256 of their canonical form.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.to_bytes())
    }

    /// Policies from their canonical form.
    ///
    /// # Errors
    /// They are none.
    pub fn parse(bytes: &[u8]) -> Result<Self, PolicyError> {
        let policies: Self =
            serde_json::from_slice(bytes).map_err(|error| PolicyError::Form(error.to_string()))?;
        policies.check()?;
        if policies.to_bytes() != bytes {
            return Err(PolicyError::Form("not in canonical form".to_owned()));
        }
        Ok(policies)
    }
}
