//! Which bucket a tenant's packs go to, and that they go nowhere else.
//!
//! ```yaml
//! runpacks:
//!   policy:
//!     routes:
//!       - tenant: acme
//!         namespace: prod               # left out, or "*": all of them
//!         bucket: acme-evidence-eu
//!         region: eu-central-1
//!         mode: compliance
//!         retain_for: 7y
//!         legal_hold: {matter: smith-v-acme}
//!     default: {bucket: evidence}
//! ```
//!
//! The router is the one of the core ([`Routes`]), which takes the first entry that fits: here they stand from the most
//! specific to the least, in whatever order they are written. Invariants: of the routes that fit, the most specific one is
//! taken, and a configuration in which two are equally specific is refused when it is read; what no route fits goes
//! nowhere, unless there is a `default`; each route is whole, nothing in it comes from `runpacks.s3`. Residency fails closed: a store in another place, or one whose
//! region nobody told, is refused. Whose data a key holds is read from the key, never from what a caller says.

mod parse;
mod residency;

use std::fmt;

use runpack_core::manifest::Subject;
pub use runpack_core::routing::Owner;
pub(crate) use runpack_core::routing::{Attribution, Routes};
use runpack_core::store::s3::{BucketName, Endpoint, PathPrefix};
use serde_json::Value;

pub use residency::{Mismatch, ResidencyError, StoreIdentity};

use crate::section::ConfigError;
use crate::terms::LockTerms;

/// Where the section stands in the configuration.
pub const PATH: &str = "runpacks.policy";

/// The most routes that a configuration may have.
pub const ROUTES_MAX: usize = 10_000;

/// The routes of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routing {
    /// From the most specific to the least.
    routes: Routes<Route>,
    default: Option<Route>,
}

/// Where packs go, and what they are locked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    path: String,
    bucket: BucketName,
    path_prefix: PathPrefix,
    region: Option<Region>,
    endpoint: Option<Endpoint>,
    terms: Option<LockTerms>,
}

impl Route {
    /// Where it stands in the configuration, such as `runpacks.policy.routes[2]`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The bucket.
    pub fn bucket(&self) -> &BucketName {
        &self.bucket
    }

    /// What stands before every key.
    pub fn path_prefix(&self) -> &PathPrefix {
        &self.path_prefix
    }

    /// The region that the bucket must be in, where the route names one.
    pub fn region(&self) -> Option<&Region> {
        self.region.as_ref()
    }

    /// The service; `None` for Amazon S3.
    pub fn endpoint(&self) -> Option<&Endpoint> {
        self.endpoint.as_ref()
    }

    /// What packs are locked with, where the route says it. Otherwise `runpacks.s3.object_lock` does.
    pub fn terms(&self) -> Option<&LockTerms> {
        self.terms.as_ref()
    }

    fn is_same_place(&self, other: &Self) -> bool {
        (&self.endpoint, &self.bucket) == (&other.endpoint, &other.bucket)
    }
}

/// The name of a region: lower-case letters, digits and dashes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Region(Box<str>);

impl Region {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What no route takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no route of runpacks.policy takes this, so it is written nowhere: add a route or a default, {owner}"
)]
pub struct RoutingError {
    /// Whose it is.
    pub owner: Owner,
}

impl Routing {
    /// Reads the section `runpacks.policy`.
    ///
    /// # Errors
    /// It cannot be meant as it is written; the error names the key and what to write.
    pub fn parse(value: &Value) -> Result<Self, ConfigError> {
        parse::routing(value)
    }

    /// Where packs about `subject` go.
    ///
    /// # Errors
    /// No route takes them.
    pub fn route(&self, subject: &Subject) -> Result<&Route, RoutingError> {
        self.route_of(&Owner::of(subject))
    }

    /// Where data of this owner goes.
    ///
    /// # Errors
    /// No route takes it.
    pub fn route_of(&self, owner: &Owner) -> Result<&Route, RoutingError> {
        let found = self.routes.first(owner).or(self.default.as_ref());
        found.ok_or_else(|| RoutingError {
            owner: owner.clone(),
        })
    }

    /// Every route, and the default.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        let routes = self.routes.iter().map(|(_, route)| route);
        routes.chain(&self.default)
    }
}

#[cfg(test)]
mod tests;
