//! Which places of a store an audit is about.

use std::num::NonZeroU64;

use runpack_core::digest::Hasher;
use runpack_core::id::{Namespace, RunId, Scenario, Tenant};
use runpack_core::key::{KeyPrefix, Location};
use runpack_core::manifest::Subject;
use runpack_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::AuditId;
use crate::error::CatalogError;

/// Which places of a store: without more, all of them. What is given narrows, all of it together.
///
/// The place of a bundle does not say whose it is: where a tenant, a namespace or a scenario is given, bundles are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// Of this tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Tenant>,
    /// Of this namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Namespace>,
    /// Of this scenario.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scenario: Option<Scenario>,
    /// Of this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// Packs made at this time or later, as they say themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// One of so many places, by a lot that follows from the audit's name: the store cannot tell beforehand which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub one_of: Option<NonZeroU64>,
}

impl Scope {
    /// The part of the store that is listed.
    pub(super) fn prefix(&self) -> KeyPrefix {
        match (&self.tenant, &self.namespace) {
            (Some(tenant), Some(namespace)) => Location::runs_prefix(
                tenant,
                Some(namespace),
                self.scenario.as_ref(),
                self.run_id.as_ref(),
            ),
            _ => KeyPrefix::all(),
        }
    }

    /// Whether an audit is about this place, by its key alone.
    pub(super) fn covers(&self, audit: &AuditId, location: &Location) -> bool {
        let is_whose = match (location, location.manifest_subject()) {
            (_, Some(subject)) => self.is_of(&subject),
            (Location::Bundle { run_id, .. }, None) => {
                let is_anybodys =
                    self.tenant.is_none() && self.namespace.is_none() && self.scenario.is_none();
                is_anybodys && self.run_id.as_ref().is_none_or(|wanted| wanted == run_id)
            }
            _ => false,
        };
        is_whose && self.draws(audit, location)
    }

    /// A subject that does not have a field has not this value of it.
    fn is_of(&self, subject: &Subject) -> bool {
        let fields = subject.fields();
        let is = |member: &str, wanted: Option<&str>| {
            let has = |wanted: &str| {
                let mut fields = fields.iter();
                fields.any(|(known, value)| *known == member && value == wanted)
            };
            wanted.is_none_or(has)
        };
        is("tenant", self.tenant.as_ref().map(Tenant::as_str))
            && is("namespace", self.namespace.as_ref().map(Namespace::as_str))
            && is("scenario", self.scenario.as_ref().map(Scenario::as_str))
            && is("run_id", self.run_id.as_ref().map(RunId::as_str))
    }

    fn draws(&self, audit: &AuditId, location: &Location) -> bool {
        let Some(one_of) = self.one_of else {
            return true;
        };
        let mut hasher = Hasher::new();
        hasher.update(audit.as_str().as_bytes());
        hasher.update(location.to_string().as_bytes());
        let digest = hasher.finish();
        let lot = digest.as_bytes().first_chunk().copied().unwrap_or_default();
        u64::from_be_bytes(lot).is_multiple_of(one_of.get())
    }

    pub(super) fn to_json(&self) -> String {
        // Texts and numbers always serialize.
        serde_json::to_string(self).unwrap_or_default()
    }

    pub(super) fn from_json(text: &str) -> Result<Self, CatalogError> {
        serde_json::from_str(text).map_err(|error| CatalogError::damaged(error.to_string()))
    }
}
