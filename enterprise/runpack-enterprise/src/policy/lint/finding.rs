//! Findings about a bucket: stable codes, how bad, what to do, and how it is known.

use serde::{Serialize, Serializer};

/// How bad a finding is, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Severity {
    /// Evidence can be removed or lost now.
    Critical,
    /// Evidence can be removed or lost by somebody's mistake or crime.
    High,
    /// A safeguard is missing beside others.
    Medium,
    /// Worth knowing.
    Low,
    /// Nothing in the bucket can change it.
    Residual,
}

/// How something is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Basis {
    /// It was tried.
    Measured,
    /// The provider's documents say so.
    ProviderAsserted,
    /// The store's own configuration says so.
    Configured,
    /// Nobody could look.
    NotObserved,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// The stable name of a finding.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum LintCode { $($(#[$doc])* $name,)* }

        impl LintCode {
            /// As reports write it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

codes! {
    /// The bucket has no Object Lock.
    LockAbsent = "lock.absent",
    /// Whether it has was not observed.
    LockNotObserved = "lock.not_observed",
    /// What is written without a lock stays without.
    LockNoDefault = "lock.no_default",
    /// The default is shorter or softer than what packs are locked with.
    LockWeakDefault = "lock.weak_default",
    /// Governance can be bypassed.
    LockGovernance = "lock.governance",
    /// No versions are kept.
    VersioningOff = "versioning.off",
    /// Whether versions are kept was not observed.
    VersioningNotObserved = "versioning.not_observed",
    /// There is no bucket policy.
    PolicyAbsent = "policy.absent",
    /// The bucket policy was not observed.
    PolicyNotObserved = "policy.not_observed",
    /// The bucket policy is not understood whole.
    PolicyMalformed = "policy.malformed",
    /// The policies of users and roles were not observed.
    PolicyIdentitiesNotObserved = "policy.identities_not_observed",
    /// Governance may be bypassed.
    PolicyBypass = "policy.bypass",
    /// Versions may be deleted.
    PolicyVersionDeletion = "policy.version_deletion",
    /// Evidence may be hidden by delete markers.
    PolicyMarkers = "policy.markers",
    /// Legal holds may be cleared.
    PolicyHoldRelease = "policy.hold_release",
    /// Retention may be shorter than wanted.
    PolicyShortRetention = "policy.short_retention",
    /// The bucket's settings may be changed.
    PolicyReconfiguration = "policy.reconfiguration",
    /// The policy itself may be changed.
    PolicyChange = "policy.change",
    /// Other buckets may replicate into this one.
    PolicyInboundReplication = "policy.inbound_replication",
    /// Other versions may be put over evidence.
    PolicyShadowing = "policy.shadowing",
    /// Objects may be written with keys that only their writer has.
    PolicyCustomerKeys = "policy.customer_keys",
    /// The key of an object may be changed.
    PolicyKeyChange = "policy.key_change",
    /// Requests may travel in the clear.
    PolicyInsecureTransport = "policy.insecure_transport",
    /// A statement allows everybody something.
    PolicyWildcardAllow = "policy.wildcard_allow",
    /// A statement allows all but what it names.
    PolicyNegatedAllow = "policy.negated_allow",
    /// The lifecycle was not observed.
    LifecycleNotObserved = "lifecycle.not_observed",
    /// A rule hides or deletes current versions.
    LifecycleExpires = "lifecycle.expires",
    /// A rule deletes versions as soon as no lock keeps them.
    LifecycleRemovesVersions = "lifecycle.removes_versions",
    /// A rule moves evidence to where it cannot be read at once.
    LifecycleArchives = "lifecycle.archives",
    /// A rule ends uploads that may still be under way.
    LifecycleAbortsSoon = "lifecycle.aborts_soon",
    /// The replication was not observed.
    ReplicationNotObserved = "replication.not_observed",
    /// There is no second copy.
    ReplicationAbsent = "replication.absent",
    /// Not all evidence is replicated.
    ReplicationPartial = "replication.partial",
    /// Objects were not replicated.
    ReplicationFailing = "replication.failing",
    /// The copies are not locked.
    ReplicationUnlocked = "replication.unlocked",
    /// The copies are in the same account.
    ReplicationSameAccount = "replication.same_account",
    /// Markers are replicated.
    ReplicationMarkers = "replication.markers",
    /// How objects are encrypted was not observed.
    EncryptionNotObserved = "encryption.not_observed",
    /// Whoever has the key has the evidence.
    EncryptionKey = "encryption.key",
    /// The key is disabled or about to be deleted.
    EncryptionKeyGoing = "encryption.key_going",
    /// What blocks public access was not observed.
    PublicAccessNotObserved = "public_access.not_observed",
    /// Public access is not blocked.
    PublicAccessOpen = "public_access.open",
    /// Whether requests are logged was not observed.
    LoggingNotObserved = "logging.not_observed",
    /// Requests are not logged by the bucket.
    LoggingAbsent = "logging.absent",
    /// The bucket is said to receive its own log.
    LoggingIntoItself = "logging.into_itself",
    /// The root user can change the policy.
    RiskRoot = "risk.root",
    /// An account that is closed takes the bucket with it.
    RiskAccount = "risk.account",
    /// The operator of the servers can destroy what is on them.
    RiskOperator = "risk.operator",
}

impl Serialize for LintCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One thing that could remove or lose evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LintFinding {
    /// The stable code.
    pub code: LintCode,
    /// How bad it is.
    pub severity: Severity,
    /// What was found, for people. May quote what a store said, escaped.
    pub text: String,
    /// What to do about it.
    pub what_to_do: &'static str,
    /// How it is known.
    pub basis: Basis,
}

impl LintFinding {
    /// A finding from the store's configuration.
    pub(super) fn configured(
        code: LintCode,
        severity: Severity,
        text: impl Into<String>,
        what_to_do: &'static str,
    ) -> Self {
        Self {
            code,
            severity,
            text: text.into(),
            what_to_do,
            basis: Basis::Configured,
        }
    }

    /// A document that nobody could look at.
    pub(super) fn not_observed(
        code: LintCode,
        what: &str,
        why: &str,
        what_to_do: &'static str,
    ) -> Self {
        Self {
            code,
            severity: Severity::High,
            text: format!(
                "{what} was not observed, so nothing is known of it, why=`{}`",
                crate::retention::shown(why)
            ),
            what_to_do,
            basis: Basis::NotObserved,
        }
    }

    /// What remains whatever is configured.
    pub(super) fn residual(
        code: LintCode,
        text: impl Into<String>,
        what_to_do: &'static str,
    ) -> Self {
        Self {
            code,
            severity: Severity::Residual,
            text: text.into(),
            what_to_do,
            basis: Basis::ProviderAsserted,
        }
    }
}
