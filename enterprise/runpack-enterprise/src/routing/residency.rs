//! Residency: data of a routed owner is written to the place of its route, and to no other.

use std::fmt;

use runpack_core::key::{Location, ObjectKey};
use runpack_core::manifest::Subject;
use runpack_core::store::s3::{BucketName, Endpoint, PathPrefix};

use super::{Attribution, Owner, Region, Route, Routing, RoutingError};

/// What a store is, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreIdentity {
    /// The bucket.
    pub bucket: BucketName,
    /// What stands before every key.
    pub path_prefix: PathPrefix,
    /// The service; `None` for Amazon S3.
    pub endpoint: Option<Endpoint>,
    /// The region that the service says the bucket is in. What the settings say is no answer: where it was not
    /// asked, or did not say, this is `None`.
    pub region: Option<Region>,
}

/// Why something may not be written to a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResidencyError {
    /// No route takes it.
    #[error(transparent)]
    Unrouted(#[from] RoutingError),
    /// The store is another one than the route's.
    #[error("this belongs to another store, write it there or correct {route}, {owner} {mismatch}")]
    Elsewhere {
        /// The route's place in the configuration.
        route: String,
        /// Whose it is.
        owner: Owner,
        /// What differs.
        mismatch: Mismatch,
    },
    /// The key does not say whose it is.
    #[error(
        "the key does not say whose this is, ask with the subject of the pack, bucket=`{bucket}`"
    )]
    Unsaid {
        /// The bucket that it was to go to.
        bucket: BucketName,
    },
    /// The store is the place of no route.
    #[error(
        "no route of runpacks.policy leads to this store, use one of theirs, bucket=`{bucket}`"
    )]
    Stranger {
        /// The bucket.
        bucket: BucketName,
    },
}

/// In what a store differs from a route.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mismatch {
    /// Another service.
    Endpoint {
        /// The route's; none for Amazon S3.
        wanted: Option<Endpoint>,
        /// The store's.
        found: Option<Endpoint>,
    },
    /// Another bucket.
    Bucket {
        /// The route's.
        wanted: BucketName,
        /// The store's.
        found: BucketName,
    },
    /// Another prefix.
    PathPrefix {
        /// The route's.
        wanted: PathPrefix,
        /// The store's.
        found: PathPrefix,
    },
    /// Another region, or one that nobody knows.
    Region {
        /// The route's.
        wanted: Region,
        /// The store's; none where it is not known.
        found: Option<Region>,
    },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_service = |endpoint: &Option<Endpoint>| match endpoint {
            Some(endpoint) => endpoint.to_string(),
            None => "Amazon S3".to_owned(),
        };
        let (what, wanted, found) = match self {
            Self::Endpoint { wanted, found } => ("endpoint", of_service(wanted), of_service(found)),
            Self::Bucket { wanted, found } => ("bucket", wanted.to_string(), found.to_string()),
            Self::PathPrefix { wanted, found } => (
                "path_prefix",
                wanted.as_str().to_owned(),
                found.as_str().to_owned(),
            ),
            Self::Region { wanted, found } => {
                let found = found.as_ref().map_or("not known", Region::as_str);
                ("region", wanted.to_string(), found.to_owned())
            }
        };
        write!(f, "wanted_{what}=`{wanted}` found_{what}=`{found}`")
    }
}

impl Routing {
    /// Whether a pack about `subject` may be written to this store.
    ///
    /// # Errors
    /// It may not.
    pub fn admits(&self, subject: &Subject, store: &StoreIdentity) -> Result<(), ResidencyError> {
        self.admits_owner(&Owner::of(subject), store)
    }

    /// Whether an object may be written to this store, by what its key says. A bundle's key does not say whose
    /// it is: ask [`Routing::admits`] with its subject. References and probes are nobody's evidence, and go to any
    /// store that some route leads to.
    ///
    /// # Errors
    /// It may not, or the key does not say.
    pub fn admits_location(
        &self,
        location: &Location,
        store: &StoreIdentity,
    ) -> Result<(), ResidencyError> {
        let bucket = || store.bucket.clone();
        match Owner::of_location(location) {
            Attribution::To(owner) => self.admits_owner(&owner, store),
            Attribution::Housekeeping => {
                let is_ours = self.routes().any(|route| mismatch(route, store).is_none());
                is_ours
                    .then_some(())
                    .ok_or_else(|| ResidencyError::Stranger { bucket: bucket() })
            }
            Attribution::Unsaid => Err(ResidencyError::Unsaid { bucket: bucket() }),
        }
    }

    /// The same by a key. One that no layout derives says nothing.
    ///
    /// # Errors
    /// It may not, or the key does not say.
    pub fn admits_key(&self, key: &ObjectKey, store: &StoreIdentity) -> Result<(), ResidencyError> {
        match Location::parse(key.as_str()) {
            Some(location) => self.admits_location(&location, store),
            None => Err(ResidencyError::Unsaid {
                bucket: store.bucket.clone(),
            }),
        }
    }

    fn admits_owner(&self, owner: &Owner, store: &StoreIdentity) -> Result<(), ResidencyError> {
        let route = self.route_of(owner)?;
        match mismatch(route, store) {
            None => Ok(()),
            Some(mismatch) => Err(ResidencyError::Elsewhere {
                route: route.path.clone(),
                owner: owner.clone(),
                mismatch,
            }),
        }
    }
}

/// The first thing in which the store is not the route's.
fn mismatch(route: &Route, store: &StoreIdentity) -> Option<Mismatch> {
    if route.endpoint != store.endpoint {
        return Some(Mismatch::Endpoint {
            wanted: route.endpoint.clone(),
            found: store.endpoint.clone(),
        });
    }
    if route.bucket != store.bucket {
        return Some(Mismatch::Bucket {
            wanted: route.bucket.clone(),
            found: store.bucket.clone(),
        });
    }
    if route.path_prefix != store.path_prefix {
        return Some(Mismatch::PathPrefix {
            wanted: route.path_prefix.clone(),
            found: store.path_prefix.clone(),
        });
    }
    let wanted = route.region.as_ref()?;
    (store.region.as_ref() != Some(wanted)).then(|| Mismatch::Region {
        wanted: wanted.clone(),
        found: store.region.clone(),
    })
}
