//! How a claim came to be known, beside what is claimed.
//!
//! Invariant: what was not observed has no value, so that "not known" never reads as "not there".

use serde::{Deserialize, Serialize};

/// How something came to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// Asked for, or tried, at the time of the attestation, and seen by the observer itself.
    Measured,
    /// The store said so, and nothing shows it but its word.
    ProviderAsserted,
    /// So it was configured on the observer's side; the store was not asked.
    Configured,
    /// Nobody looked, or nobody was allowed to.
    NotObserved,
}

impl Basis {
    /// As the predicate writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::ProviderAsserted => "provider-asserted",
            Self::Configured => "configured",
            Self::NotObserved => "not-observed",
        }
    }
}

/// A value and how it is known. No value on another basis than [`Basis::NotObserved`] says that there
/// is none: a bucket without a lifecycle, say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim<T> {
    /// How it is known.
    pub basis: Basis,
    /// What is claimed.
    pub value: Option<T>,
}

impl<T> Claim<T> {
    /// Seen by the observer itself.
    pub const fn measured(value: T) -> Self {
        Self {
            basis: Basis::Measured,
            value: Some(value),
        }
    }

    /// Looked for, and not there.
    pub const fn measured_absent() -> Self {
        Self {
            basis: Basis::Measured,
            value: None,
        }
    }

    /// On the store's word alone.
    pub const fn provider_asserted(value: T) -> Self {
        Self {
            basis: Basis::ProviderAsserted,
            value: Some(value),
        }
    }

    /// As it was configured.
    pub const fn configured(value: T) -> Self {
        Self {
            basis: Basis::Configured,
            value: Some(value),
        }
    }

    /// Nobody looked.
    pub const fn not_observed() -> Self {
        Self {
            basis: Basis::NotObserved,
            value: None,
        }
    }

    pub(super) const fn is_sound(&self) -> bool {
        !matches!(self.basis, Basis::NotObserved) || self.value.is_none()
    }
}
