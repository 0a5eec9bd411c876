//! Filling with what a store has and the catalog has not.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use runpack_core::key::Location;
use runpack_core::limits::Limits;
use runpack_core::store::{ArtifactReader, StoreError};

use crate::fill::{self, StoreName};
use crate::filled::{Filled, batch};
use crate::read::PlaceEntry;
use crate::sql::{Beside, Catalog, Columns, Question};
use crate::survey::{self, Candidate, Listed, SurveyError};

const FORGETTING: &str = "forgetting what is gone";
/// How many places are compared at once.
const PLACES_AT_ONCE: usize = 500;
/// How many places that a listing did not show are looked at once more at once.
const LOOKED_AT_ONCE: usize = 16;

impl Catalog {
    /// Takes up what the store has and the catalog has not, and forgets what the store has no more. What is known by its
    /// key is not read again: that is what [`Catalog::check`] and [`Catalog::rebuild`] are for. What was written stays when it
    /// fails midway. Memory: 32 bytes a pack.
    ///
    /// # Errors
    /// The store or the database failed.
    pub async fn catch_up(
        &self,
        store: &StoreName,
        reader: &Arc<dyn ArtifactReader>,
        limits: &Limits,
    ) -> Result<Filled, SurveyError> {
        let (mut filled, listed) = self.add_missing(store, reader, limits).await?;
        self.forget_gone(store, reader, &listed, &mut filled)
            .await?;
        // Also those in whose place another stands now.
        if !self
            .rows(FORGETTING, fill::placeless(Some(1)))
            .await?
            .is_empty()
        {
            let mut writing = self.begin(FORGETTING, Beside::Nobody).await?;
            fill::forget_placeless(&mut writing).await?;
            writing.commit().await?;
        }
        Ok(filled)
    }

    /// Takes up what the store has and the catalog has not, and forgets nothing: what a store hides stays known. Otherwise as
    /// [`Catalog::catch_up`].
    ///
    /// # Errors
    /// The store or the database failed.
    pub async fn take_up(
        &self,
        store: &StoreName,
        reader: &Arc<dyn ArtifactReader>,
        limits: &Limits,
    ) -> Result<Filled, SurveyError> {
        let (filled, _) = self.add_missing(store, reader, limits).await?;
        Ok(filled)
    }

    async fn add_missing(
        &self,
        store: &StoreName,
        reader: &Arc<dyn ArtifactReader>,
        limits: &Limits,
    ) -> Result<(Filled, Listed), SurveyError> {
        let (mut filled, listed) = (Filled::default(), Listed::default());
        let mut coming = survey::candidates(reader, &listed).try_chunks(PLACES_AT_ONCE);
        while let Some(some) = coming.next().await {
            let some = some.map_err(|error| error.1)?;
            self.add(store, reader, some, limits, &mut filled).await?;
        }
        filled.odd.sort();
        Ok((filled, listed))
    }

    /// Takes up what lies under these keys of a store, whatever it lists: what somebody remembers to have put there. What is no
    /// pack is a fault.
    ///
    /// # Errors
    /// The store or the database failed.
    pub async fn admit_keys(
        &self,
        store: &StoreName,
        reader: &Arc<dyn ArtifactReader>,
        keys: &[String],
        limits: &Limits,
    ) -> Result<Filled, SurveyError> {
        let mut filled = Filled::default();
        let candidates: Vec<_> = keys.iter().filter_map(|key| Candidate::of(key)).collect();
        for some in candidates.chunks(PLACES_AT_ONCE) {
            self.add(store, reader, some.to_vec(), limits, &mut filled)
                .await?;
        }
        filled.odd.sort();
        Ok(filled)
    }

    /// Takes up those of the candidates that are not known.
    async fn add(
        &self,
        store: &StoreName,
        reader: &Arc<dyn ArtifactReader>,
        mut candidates: Vec<Candidate>,
        limits: &Limits,
        filled: &mut Filled,
    ) -> Result<(), SurveyError> {
        let known = self.known_keys(store, &candidates).await?;
        candidates.retain(|candidate| !known.contains(candidate.key.as_str()));
        let known = u64::try_from(known.len()).unwrap_or(u64::MAX);
        filled.known = filled.known.saturating_add(known);
        let candidates = stream::iter(candidates.into_iter().map(Ok)).boxed();
        let mut found = survey::read(Arc::clone(reader), candidates, limits.clone());
        loop {
            let batch = batch(&mut found, &mut filled.odd).await?;
            if batch.is_empty() {
                return Ok(());
            }
            self.admit(store, &batch).await?;
            filled.count(&batch);
        }
    }

    async fn known_keys(
        &self,
        store: &StoreName,
        candidates: &[Candidate],
    ) -> Result<HashSet<String>, SurveyError> {
        let mut question = Question::new("SELECT key FROM places WHERE store = ");
        question.value(store.place.as_str()).add(" AND key IN ");
        question.list(
            candidates
                .iter()
                .map(|candidate| candidate.key.as_str().into()),
        );
        let rows = self.rows("comparing places", question).await?;
        let keys = rows.iter().map(|row| Columns::of(row).text());
        Ok(keys.collect::<Result<_, _>>()?)
    }

    /// Forgets the places that a listing did not show and that are not there when they are looked at: what came to the store
    /// after it was listed is known, and was not seen.
    async fn forget_gone(
        &self,
        store: &StoreName,
        reader: &Arc<dyn ArtifactReader>,
        listed: &Listed,
        filled: &mut Filled,
    ) -> Result<(), SurveyError> {
        let mut pages = self.pages(store);
        while let Some(page) = pages.try_next().await? {
            let unseen: Vec<PlaceEntry> = {
                let shown = listed.lock().unwrap_or_else(PoisonError::into_inner);
                let unseen = page.into_iter();
                unseen.filter(|place| !shown.contains(&place.key)).collect()
            };
            let gone = gone(reader, unseen).await?;
            if gone.is_empty() {
                continue;
            }
            let mut writing = self.begin(FORGETTING, Beside::Nobody).await?;
            // Nobody adds to the catalog now: what has come back since is not forgotten.
            let still = self::gone(reader, gone).await?;
            fill::forget_places(&mut writing, store, &still).await?;
            writing.commit().await?;
            filled.remove(still);
        }
        Ok(())
    }
}

/// Those of the places where nothing is.
async fn gone(
    reader: &Arc<dyn ArtifactReader>,
    places: Vec<PlaceEntry>,
) -> Result<Vec<PlaceEntry>, StoreError> {
    stream::iter(places.into_iter().map(Ok))
        .map_ok(|place| async move { Ok((!is_there(reader, &place.key).await?).then_some(place)) })
        .try_buffered(LOOKED_AT_ONCE)
        .try_filter_map(async |gone| Ok(gone))
        .try_collect()
        .await
}

/// Whether an object is in the store.
async fn is_there(reader: &Arc<dyn ArtifactReader>, key: &str) -> Result<bool, StoreError> {
    let Some(key) = Location::parse(key).and_then(|location| location.key().ok()) else {
        return Ok(false);
    };
    match reader.oldest(&key).await {
        Ok(_) => Ok(true),
        Err(StoreError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
