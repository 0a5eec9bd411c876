//! Whether a catalog says of a store what is there.

use std::collections::HashSet;
use std::sync::Arc;

use runpack_core::id::PackId;
use runpack_core::limits::Limits;
use runpack_core::retention::RetentionPolicies;
use runpack_core::store::ArtifactReader;

use crate::entry::Whole;
use crate::fill::{Found, StoreName};
use crate::rebuild::{batch, is_there, mark};
use crate::sql::{Catalog, Columns, Question};
use crate::survey::{self, Fault, SurveyError};

const PLACES_AT_ONCE: usize = 500;

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
    /// What stands where a pack should, and is none.
    pub faults: Vec<Fault>,
    /// What could not be read, and was compared with nothing.
    pub unread: Vec<Fault>,
}

impl Catalog {
    /// Compares what the catalog says of a store with what is there. Every manifest is read.
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
        let mut seen = HashSet::new();
        let candidates = survey::candidates(reader);
        let mut found = survey::read(Arc::clone(reader), candidates, limits.clone());
        loop {
            let some = batch(&mut found, &mut checked.faults, &mut checked.unread).await?;
            if some.is_empty() {
                break;
            }
            seen.extend(some.iter().map(|found| mark(found.key.as_str())));
            self.compare(store, &some, &policies, &mut checked).await?;
        }
        // Of what could not be read nobody can tell; what is none is no pack any more.
        seen.extend(checked.unread.iter().map(|unread| mark(&unread.key)));
        let faulty: HashSet<u128> = checked
            .faults
            .iter()
            .map(|fault| mark(&fault.key))
            .collect();
        let mut after = String::new();
        loop {
            let page = self.places_after(store, &after, PLACES_AT_ONCE).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.key);
            for place in page {
                let mark = mark(&place.key);
                if !seen.contains(&mark)
                    && (faulty.contains(&mark) || !is_there(reader, &place.key).await?)
                {
                    checked.differences.push(Difference::Gone {
                        key: place.key,
                        pack_id: place.pack_id,
                    });
                }
            }
        }
        let placeless = Question::new(
            "SELECT pack_id FROM packs WHERE NOT EXISTS (SELECT 1 FROM places WHERE places.pack_id = packs.pack_id) \
             ORDER BY pack_id",
        );
        for row in self
            .rows("looking for packs without a place", placeless)
            .await?
        {
            let pack_id = PackId::new(Columns::of(&row).digest()?);
            checked.differences.push(Difference::Placeless { pack_id });
        }
        checked.differences.sort_unstable();
        checked.faults.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(checked)
    }

    async fn compare(
        &self,
        store: &StoreName,
        some: &[Found],
        policies: &RetentionPolicies,
        checked: &mut Checked,
    ) -> Result<(), SurveyError> {
        let packs: Vec<PackId> = some.iter().map(|found| found.manifest.pack_id()).collect();
        let wholes = self.wholes(&packs).await?;
        let places = self.places(&packs).await?;
        for found in some {
            let (key, pack_id) = (found.key.to_string(), found.manifest.pack_id());
            checked.packs = checked.packs.saturating_add(1);
            let place = places
                .iter()
                .find(|place| place.store == store.place && place.key == key);
            let whole = wholes.get(&pack_id);
            let is_same = whole.is_some_and(|whole| *whole == Whole::of(&found.manifest, policies))
                && place.is_some_and(|place| {
                    place.pack_id == pack_id
                        && place.form == found.form.as_str()
                        && (store.region.is_none() || place.region == store.region)
                });
            if is_same {
                continue;
            }
            checked
                .differences
                .push(if place.is_some() && whole.is_some() {
                    Difference::Other { key, pack_id }
                } else {
                    Difference::Missing { key, pack_id }
                });
        }
        Ok(())
    }
}
