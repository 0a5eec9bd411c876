//! Under which terms what is written to one store is kept, and whether it may be written there at all.

use std::fmt;

use runpack_core::key::{Location, ObjectKey};
use runpack_core::manifest::Subject;
use runpack_core::store::StoreError;

use crate::bucket::barred;
use crate::routing::{Attribution, Owner, Routing, StoreIdentity};
use crate::terms::LockTerms;

/// The terms of one store: those of the route that an owner's data takes, else those of the store.
#[derive(Debug, Clone)]
pub struct Tenure {
    terms: Option<LockTerms>,
    routing: Option<(Routing, StoreIdentity)>,
}

impl Tenure {
    /// The same terms for everything.
    pub fn of_terms(terms: LockTerms) -> Self {
        Self {
            terms: Some(terms),
            routing: None,
        }
    }

    /// Terms by the route of whose data it is, in the store that this is.
    pub fn routed(terms: Option<LockTerms>, routing: Routing, store: StoreIdentity) -> Self {
        Self {
            terms,
            routing: Some((routing, store)),
        }
    }

    /// All terms that may come to count here.
    pub fn all(&self) -> impl Iterator<Item = &LockTerms> {
        let routes = self.routing.iter().flat_map(|(routing, store)| {
            routing.routes().filter(|route| {
                *route.bucket() == store.bucket && route.endpoint() == store.endpoint.as_ref()
            })
        });
        routes.filter_map(|route| route.terms()).chain(&self.terms)
    }

    /// The terms of a pack about `subject`; none where it is not locked.
    ///
    /// # Errors
    /// Its data must not come here.
    pub fn of_subject(&self, subject: &Subject) -> Result<Option<&LockTerms>, StoreError> {
        let Some((routing, store)) = &self.routing else {
            return Ok(self.terms.as_ref());
        };
        routing.admits(subject, store).map_err(refused)?;
        let route = routing.route(subject).map_err(refused)?;
        Ok(route.terms().or(self.terms.as_ref()))
    }

    /// The terms of what has this key. A bundle's key does not say whose it is: of all terms that may count, the hardest.
    ///
    /// # Errors
    /// Its data must not come here.
    pub fn of_key(&self, key: &ObjectKey) -> Result<Option<&LockTerms>, StoreError> {
        let Some((routing, store)) = &self.routing else {
            return Ok(self.terms.as_ref());
        };
        let location = Location::parse(key.as_str());
        let location =
            location.ok_or_else(|| refused(format!("no layout has this key, key=`{key}`")))?;
        match Owner::of_location(&location) {
            Attribution::To(owner) => {
                routing.admits_location(&location, store).map_err(refused)?;
                let route = routing.route_of(&owner).map_err(refused)?;
                Ok(route.terms().or(self.terms.as_ref()))
            }
            Attribution::Housekeeping => {
                routing.admits_location(&location, store).map_err(refused)?;
                Ok(self.hardest())
            }
            Attribution::Unsaid => Ok(self.hardest()),
        }
    }

    fn hardest(&self) -> Option<&LockTerms> {
        self.all()
            .max_by_key(|terms| (terms.mode(), terms.lock_while_writing().duration()))
    }
}

fn refused(why: impl fmt::Display) -> StoreError {
    barred(why.to_string())
}
