//! Filling anew from all that a store has.

use std::collections::HashSet;
use std::sync::Arc;

use runpack_core::id::PackId;
use runpack_core::limits::Limits;
use runpack_core::store::ArtifactReader;

use crate::entry::Whole;
use crate::error::CatalogError;
use crate::fill::{self, StoreName};
use crate::filled::{Filled, batch};
use crate::read::PlaceEntry;
use crate::retention;
use crate::sql::{Beside, Catalog, Columns, Question, Writing};
use crate::survey::{self, Fault, Listed, SurveyError};

impl Catalog {
    /// Makes anew what the catalog says of a store, from what is there. Until it has ended, and if it fails, the catalog is
    /// as it was before.
    ///
    /// # Errors
    /// The store or the database failed.
    pub async fn rebuild(
        &self,
        store: &StoreName,
        reader: &Arc<dyn ArtifactReader>,
        limits: &Limits,
    ) -> Result<Filled, SurveyError> {
        let mut filled = Filled::default();
        let candidates = survey::candidates(reader, &Listed::default());
        let mut found = survey::read(Arc::clone(reader), candidates, limits.clone());
        let mut writing = self.begin("rebuilding", Beside::Nobody).await?;
        let mut others = Question::new("SELECT store FROM places WHERE store <> ");
        others.value(store.place.as_str()).add(" LIMIT 1");
        let is_only = writing.rows(others).await?.is_empty();
        if is_only {
            for all in [
                "DELETE FROM packs",
                "DELETE FROM artifacts",
                "DELETE FROM inputs",
                "DELETE FROM labels",
            ] {
                writing.run(Question::new(all)).await?;
            }
        }
        let policies = retention::remembered_or_none(&mut writing).await?;
        let known = known_places(&mut writing, store).await?;
        let mut kept = HashSet::new();
        loop {
            let batch = batch(&mut found, &mut filled.odd).await?;
            // What it may be is not known, and the catalog would be without it.
            if let Some(Fault { key, reason }) = filled.odd.unread.pop() {
                return Err(SurveyError::Unread { key, reason });
            }
            if batch.is_empty() {
                break;
            }
            if !is_only {
                let packs: Vec<PackId> =
                    batch.iter().map(|found| found.manifest.pack_id()).collect();
                fill::forget(&mut writing, &packs).await?;
            }
            let entries: Vec<_> = batch
                .iter()
                .map(|found| Whole::of(&found.manifest, &policies))
                .collect();
            fill::write(&mut writing, &entries).await?;
            fill::place(&mut writing, store, &batch).await?;
            kept.extend(batch.iter().map(|found| survey::mark(found.key.as_str())));
            filled.count(&batch);
        }
        let is_gone = |place: &PlaceEntry| !kept.contains(&survey::mark(&place.key));
        forget_where(&mut writing, store, &mut filled, is_gone).await?;
        filled.known = known.saturating_sub(filled.removed);
        fill::forget_placeless(&mut writing).await?;
        writing.commit().await?;
        self.count_what_there_is().await;
        filled.odd.sort();
        Ok(filled)
    }

    /// How questions are answered best follows from how much there is. Without it they are answered too.
    async fn count_what_there_is(&self) {
        for table in ["packs", "artifacts", "inputs", "labels", "places"] {
            let mut analyze = Question::new("ANALYZE ");
            analyze.add(table);
            let _ = self.rows("counting what there is", analyze).await;
        }
    }
}

async fn known_places(writing: &mut Writing, store: &StoreName) -> Result<u64, CatalogError> {
    let mut question = Question::new("SELECT CAST(COUNT(*) AS BIGINT) FROM places WHERE store = ");
    question.value(store.place.as_str());
    let rows = writing.rows(question).await?;
    rows.first().map_or(Ok(0), |row| Columns::of(row).number())
}

/// Forgets places of a store.
async fn forget_where(
    writing: &mut Writing,
    store: &StoreName,
    filled: &mut Filled,
    is_gone: impl Fn(&PlaceEntry) -> bool,
) -> Result<(), CatalogError> {
    let mut after = String::new();
    loop {
        let question = PlaceEntry::after(store, &after);
        let rows = writing.rows(question).await?;
        let Some(last) = rows.last() else {
            return Ok(());
        };
        after = PlaceEntry::read(last)?.key;
        let page = rows.iter().map(PlaceEntry::read);
        let page: Vec<PlaceEntry> = page.collect::<Result<_, _>>()?;
        let gone: Vec<PlaceEntry> = page.into_iter().filter(&is_gone).collect();
        fill::forget_places(writing, store, &gone).await?;
        filled.remove(gone);
    }
}
