//! Whether a catalog says of a store what is there.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use runpack_core::id::PackId;
use runpack_core::limits::Limits;
use runpack_core::retention::RetentionPolicies;
use runpack_core::store::ArtifactReader;

use crate::entry::Whole;
use crate::fill::{self, Found, StoreName};
use crate::filled::{Odd, batch};
use crate::read::PlaceEntry;
use crate::sql::{Catalog, Columns};
use crate::survey::{self, Candidate, Listed, SurveyError, mark};

/// How much that differs is looked at again.
const AGAIN_MAX: usize = 1_000;

/// What a catalog says, and the store does not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Difference {
    /// The store has a pack that the catalog does not.
    Missing {
        /// Where it lies.
        key: String,
        /// The pack.
        pack_id: PackId,
    },
    /// The catalog says something else of a pack, or of what lies there.
    Other {
        /// Where it lies.
        key: String,
        /// The pack.
        pack_id: PackId,
    },
    /// The catalog has a pack that the store does not.
    Gone {
        /// Where it lay.
        key: String,
        /// The pack.
        pack_id: PackId,
    },
    /// The catalog has a pack that lies in no store.
    Placeless {
        /// The pack.
        pack_id: PackId,
    },
}

/// What was compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checked {
    /// Packs of the store.
    pub packs: u64,
    /// What the catalog says, and the store does not.
    pub differences: Vec<Difference>,
    /// What stands where a pack should, and is none, and what could not be read, and was compared with nothing.
    pub odd: Odd,
}

impl Checked {
    fn count(&mut self, found: &[Found]) {
        let packs = u64::try_from(found.len()).unwrap_or(u64::MAX);
        self.packs = self.packs.saturating_add(packs);
    }
}

impl Catalog {
    /// Compares what the catalog says of a store with what is there. Every manifest is read. What differs is looked at once
    /// more in the end, since others may write meanwhile.
    ///
    /// # Errors
    /// The store or the database failed.
    pub async fn check(
        &self,
        store: &StoreName,
        reader: &Arc<dyn ArtifactReader>,
        limits: &Limits,
    ) -> Result<Checked, SurveyError> {
        let mut checked = Checked::default();
        let policies = self.policies().await?;
        let (mut seen, mut again) = (HashSet::new(), Vec::new());
        let candidates = survey::candidates(reader, &Listed::default());
        let mut found = survey::read(Arc::clone(reader), candidates, limits.clone());
        loop {
            let some = batch(&mut found, &mut checked.odd).await?;
            if some.is_empty() {
                break;
            }
            seen.extend(some.iter().map(|found| mark(found.key.as_str())));
            checked.count(&some);
            let compared = self.compare(store, &some, &policies).await?;
            for (found, difference) in some.into_iter().zip(compared) {
                match difference {
                    Some(_) if again.len() < AGAIN_MAX => again.push(found),
                    difference => checked.differences.extend(difference),
                }
            }
        }
        // A pack that came meanwhile was told to the catalog a moment after it came to the store.
        let compared = self.compare(store, &again, &policies).await?;
        checked.differences.extend(compared.into_iter().flatten());
        // Of what could not be read nobody can tell.
        seen.extend(checked.odd.unread.iter().map(|unread| mark(&unread.key)));
        self.look_for_gone(store, reader, limits, &policies, &seen, &mut checked)
            .await?;
        for row in self
            .rows("looking for packs without a place", fill::placeless(None))
            .await?
        {
            let pack_id = PackId::new(Columns::of(&row).digest()?);
            checked.differences.push(Difference::Placeless { pack_id });
        }
        checked.differences.sort_unstable();
        checked.odd.sort();
        Ok(checked)
    }

    /// Looks at the places of the catalog that the listing did not show as packs, one after the other by their keys.
    async fn look_for_gone(
        &self,
        store: &StoreName,
        reader: &Arc<dyn ArtifactReader>,
        limits: &Limits,
        policies: &RetentionPolicies,
        seen: &HashSet<u128>,
        checked: &mut Checked,
    ) -> Result<(), SurveyError> {
        // What is no pack was told of where it was listed.
        let mut odd = Odd::default();
        let mut pages = self.pages(store);
        while let Some(page) = pages.try_next().await? {
            let unseen = page.into_iter();
            let unseen = unseen.filter(|place| !seen.contains(&mark(&place.key)));
            let mut gone: HashMap<String, PackId> =
                unseen.map(|place| (place.key, place.pack_id)).collect();
            let candidates: Vec<_> = gone.keys().filter_map(|key| Candidate::of(key)).collect();
            let candidates = stream::iter(candidates.into_iter().map(Ok)).boxed();
            let mut found = survey::read(Arc::clone(reader), candidates, limits.clone());
            loop {
                let some = batch(&mut found, &mut odd).await?;
                if some.is_empty() {
                    break;
                }
                for found in &some {
                    gone.remove(found.key.as_str());
                }
                checked.count(&some);
                let compared = self.compare(store, &some, policies).await?;
                checked.differences.extend(compared.into_iter().flatten());
            }
            for unread in &odd.unread {
                gone.remove(&unread.key);
            }
            let gone = gone.into_iter();
            let gone = gone.map(|(key, pack_id)| Difference::Gone { key, pack_id });
            checked.differences.extend(gone);
        }
        checked.odd.unread.append(&mut odd.unread);
        Ok(())
    }

    /// What the catalog says otherwise of each of these packs.
    async fn compare(
        &self,
        store: &StoreName,
        some: &[Found],
        policies: &RetentionPolicies,
    ) -> Result<Vec<Option<Difference>>, SurveyError> {
        let packs: Vec<PackId> = some.iter().map(|found| found.manifest.pack_id()).collect();
        let wholes = self.wholes(&packs).await?;
        let places = self.places(&packs).await?;
        let places = places.iter().filter(|place| place.store == store.place);
        let places: HashMap<&str, &PlaceEntry> =
            places.map(|place| (place.key.as_str(), place)).collect();
        let compared = some.iter().map(|found| {
            let (key, pack_id) = (found.key.to_string(), found.manifest.pack_id());
            let place = places.get(key.as_str());
            let whole = wholes.get(&pack_id);
            let is_same = whole.is_some_and(|whole| *whole == Whole::of(&found.manifest, policies))
                && place.is_some_and(|place| {
                    place.pack_id == pack_id
                        && place.form == found.form.as_str()
                        && (store.region.is_none() || place.region == store.region)
                });
            if is_same {
                return None;
            }
            Some(if place.is_some() && whole.is_some() {
                Difference::Other { key, pack_id }
            } else {
                Difference::Missing { key, pack_id }
            })
        });
        Ok(compared.collect())
    }
}
