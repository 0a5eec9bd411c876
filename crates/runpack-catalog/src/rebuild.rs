//! Filling from a store: what is missing, or all of it again.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use runpack_core::digest::Digest;
use runpack_core::id::PackId;
use runpack_core::key::Location;
use runpack_core::limits::Limits;
use runpack_core::store::{ArtifactReader, StoreError};

use crate::entry::Whole;
use crate::fill::{self, Found, StoreName};
use crate::read::PlaceEntry;
use crate::retention;
use crate::sql::{Beside, Catalog, Columns, Question};
use crate::survey::{self, Candidate, Fault, SurveyError, Surveyed};

/// How many places are compared at once.
const PLACES_AT_ONCE: usize = 500;
/// Packs are written together until they have so many artifacts, or are so many.
const ARTIFACTS_AT_ONCE: usize = 10_000;
const PACKS_AT_ONCE: usize = 500;
/// How many manifests may be unread, while the others are taken up.
const UNREAD_MAX: usize = 1_000;
/// How many places that a listing did not show are looked at once more at once.
const LOOKED_AT_ONCE: usize = 16;

/// What filling found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filled {
    /// Packs that were written.
    pub added: u64,
    /// Their artifacts.
    pub artifacts: u64,
    /// Places that were known.
    pub known: u64,
    /// Places that are gone from the store, and from the catalog now.
    pub removed: u64,
    /// What stands where a pack should, and is none.
    pub faults: Vec<Fault>,
    /// What could not be read: an object in an archive, one that may not be read. The next time it is tried again.
    pub unread: Vec<Fault>,
}

impl Filled {
    fn sort(&mut self) {
        let by_key = |a: &Fault, b: &Fault| a.key.cmp(&b.key);
        self.faults.sort_unstable_by(by_key);
        self.unread.sort_unstable_by(by_key);
    }

    fn count(&mut self, batch: &[Found]) {
        for found in batch {
            let artifacts = u64::try_from(found.manifest.artifacts().len()).unwrap_or(u64::MAX);
            self.added = self.added.saturating_add(1);
            self.artifacts = self.artifacts.saturating_add(artifacts);
        }
    }
}

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
        let mut filled = Filled::default();
        let mut seen = HashSet::new();
        let mut coming = survey::candidates(reader).try_chunks(PLACES_AT_ONCE);
        while let Some(some) = coming.next().await {
            let some = some.map_err(|error| error.1)?;
            seen.extend(some.iter().map(|candidate| mark(candidate.key.as_str())));
            let known = self.known_keys(store, &some).await?;
            filled.known = filled
                .known
                .saturating_add(u64::try_from(known.len()).unwrap_or(u64::MAX));
            let unknown = some
                .into_iter()
                .filter(|candidate| !known.contains(candidate.key.as_str()))
                .map(Ok);
            let unknown = stream::iter(unknown.collect::<Vec<_>>()).boxed();
            let mut found = survey::read(Arc::clone(reader), unknown, limits.clone());
            loop {
                let batch = batch(&mut found, &mut filled.faults, &mut filled.unread).await?;
                if batch.is_empty() {
                    break;
                }
                self.admit(store, &batch).await?;
                filled.count(&batch);
            }
        }
        filled.removed = self.forget_gone(store, reader, &seen).await?;
        // Also those in whose place another stands now.
        let mut writing = self
            .begin("forgetting what is gone", Beside::Nobody)
            .await?;
        fill::forget_placeless(&mut writing).await?;
        writing.commit().await?;
        filled.sort();
        Ok(filled)
    }

    /// Takes up what lies under these keys of a store: what somebody remembers to have put there. What is no pack is a fault.
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
        let candidates = keys.iter().filter_map(|key| Candidate::of(key)).map(Ok);
        let candidates = stream::iter(candidates.collect::<Vec<_>>()).boxed();
        let mut found = survey::read(Arc::clone(reader), candidates, limits.clone());
        loop {
            let batch = batch(&mut found, &mut filled.faults, &mut filled.unread).await?;
            if batch.is_empty() {
                return Ok(filled);
            }
            self.admit(store, &batch).await?;
            filled.count(&batch);
        }
    }

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
        let candidates = survey::candidates(reader);
        let mut found = survey::read(Arc::clone(reader), candidates, limits.clone());
        let mut writing = self.begin("rebuilding", Beside::Nobody).await?;
        let mut forget = Question::new("DELETE FROM places WHERE store = ");
        forget.value(store.place.as_str());
        writing.run(forget).await?;
        let others = writing
            .rows(Question::new("SELECT store FROM places LIMIT 1"))
            .await?;
        let is_only = others.is_empty();
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
        let policies = retention::remembered(&mut writing).await?;
        loop {
            let batch = batch(&mut found, &mut filled.faults, &mut filled.unread).await?;
            // What it may be is not known, and the catalog would be without it.
            if let Some(Fault { key, reason }) = filled.unread.pop() {
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
            filled.count(&batch);
        }
        fill::forget_placeless(&mut writing).await?;
        writing.commit().await?;
        // How questions are answered best follows from how much there is.
        self.rows("counting what there is", Question::new("ANALYZE"))
            .await?;
        filled.faults.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(filled)
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
        seen: &HashSet<u128>,
    ) -> Result<u64, SurveyError> {
        let mut removed = 0u64;
        let mut after = String::new();
        loop {
            let page = self.places_after(store, &after, PLACES_AT_ONCE).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.key);
            let unseen = page
                .into_iter()
                .filter(|place| !seen.contains(&mark(&place.key)));
            let gone: Vec<_> = stream::iter(unseen.map(Ok::<_, StoreError>))
                .map_ok(|place| async move {
                    Ok((!is_there(reader, &place.key).await?).then_some(place.key))
                })
                .try_buffer_unordered(LOOKED_AT_ONCE)
                .try_filter_map(async |gone| Ok(gone))
                .try_collect()
                .await?;
            if gone.is_empty() {
                continue;
            }
            let mut writing = self
                .begin("forgetting what is gone", Beside::Nobody)
                .await?;
            // Nobody adds to the catalog now: what has come back since is not forgotten.
            let mut still = Vec::with_capacity(gone.len());
            for key in gone {
                if !is_there(reader, &key).await? {
                    still.push(key);
                }
            }
            if !still.is_empty() {
                let mut forget = Question::new("DELETE FROM places WHERE store = ");
                forget.value(store.place.as_str()).add(" AND key IN ");
                forget.list(still.iter().map(|key| key.as_str().into()));
                removed = removed.saturating_add(writing.run(forget).await?);
            }
            writing.commit().await?;
        }
        Ok(removed)
    }

    /// The places of a store after a key, in order.
    pub(crate) async fn places_after(
        &self,
        store: &StoreName,
        after: &str,
        most: usize,
    ) -> Result<Vec<PlaceEntry>, SurveyError> {
        let mut question = Question::new(PlaceEntry::SELECT);
        question.add("store = ").value(store.place.as_str());
        question.add(" AND key > ").value(after);
        question.add(" ORDER BY key LIMIT ");
        question.value(u64::try_from(most).unwrap_or(u64::MAX));
        let rows = self.rows("reading places", question).await?;
        let places = rows.iter().map(PlaceEntry::read);
        Ok(places.collect::<Result<_, _>>()?)
    }
}

/// The next packs to be written together; none at the end.
pub(crate) async fn batch(
    found: &mut BoxStream<'static, Result<Surveyed, SurveyError>>,
    faults: &mut Vec<Fault>,
    unread: &mut Vec<Fault>,
) -> Result<Vec<Found>, SurveyError> {
    let (mut batch, mut artifacts) = (Vec::new(), 0usize);
    while batch.len() < PACKS_AT_ONCE && artifacts < ARTIFACTS_AT_ONCE {
        match found.try_next().await? {
            None => break,
            Some(Surveyed::Found(pack)) => {
                artifacts = artifacts.saturating_add(pack.manifest.artifacts().len());
                batch.push(pack);
            }
            Some(Surveyed::Fault(fault)) => faults.push(fault),
            Some(Surveyed::Unread(fault)) => unread.push(fault),
        }
        // So many that the store is what is wrong.
        if unread.len() > UNREAD_MAX
            && let Some(Fault { key, reason }) = unread.pop()
        {
            return Err(SurveyError::Unread { key, reason });
        }
    }
    Ok(batch)
}

/// Half of a digest of a key: enough to tell keys apart that nobody chose against it, and cheap to keep by the million.
pub(crate) fn mark(key: &str) -> u128 {
    let digest = Digest::of(key.as_bytes());
    let half = digest.as_bytes().first_chunk::<16>();
    half.map_or(0, |half| u128::from_be_bytes(*half))
}

/// Whether an object is in the store.
pub(crate) async fn is_there(
    reader: &Arc<dyn ArtifactReader>,
    key: &str,
) -> Result<bool, StoreError> {
    let Some(key) = Location::parse(key).and_then(|location| location.key().ok()) else {
        return Ok(false);
    };
    match reader.oldest(&key).await {
        Ok(_) => Ok(true),
        Err(StoreError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
