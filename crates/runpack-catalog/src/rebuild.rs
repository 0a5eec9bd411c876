//! Filling from a store: what is missing, or all of it again.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use runpack_core::id::PackId;
use runpack_core::key::Location;
use runpack_core::limits::Limits;
use runpack_core::store::{ArtifactReader, StoreError};

use crate::entry::Whole;
use crate::error::CatalogError;
use crate::fill::{self, Found, StoreName};
use crate::read::PlaceEntry;
use crate::retention;
use crate::sql::{Beside, Catalog, Columns, Question, Writing};
use crate::survey::{self, Candidate, Fault, Listed, SurveyError, Surveyed};

const FORGETTING: &str = "forgetting what is gone";
/// How many places are compared at once.
const PLACES_AT_ONCE: usize = 500;
/// Packs are written together until they have so many artifacts, are so many, or their manifests so long.
const ARTIFACTS_AT_ONCE: usize = 10_000;
const PACKS_AT_ONCE: usize = 500;
const MANIFEST_BYTES_AT_ONCE: u64 = 64 << 20;
/// How many manifests may be unread, while the others are taken up.
const UNREAD_MAX: usize = 1_000;
/// How many faults, and places that are gone, are named. More are counted.
const NAMED_MAX: usize = 1_000;
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
    /// Those places, at most 1,000 of them.
    pub gone: Vec<Gone>,
    /// What stands where a pack should, and is none, and what could not be read.
    pub odd: Odd,
}

/// A place of a pack that the store has no more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gone {
    /// Where it lay.
    pub key: String,
    /// The pack.
    pub pack_id: PackId,
}

/// Places that give no pack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Odd {
    /// What stands where a pack should, and is none; at most 1,000 of them.
    pub faults: Vec<Fault>,
    /// How many more there are.
    pub faults_unlisted: u64,
    /// What could not be read: an object in an archive, one that may not be read. The next time it is tried again.
    pub unread: Vec<Fault>,
}

impl Odd {
    fn fault(&mut self, fault: Fault) {
        if self.faults.len() < NAMED_MAX {
            self.faults.push(fault);
        } else {
            self.faults_unlisted = self.faults_unlisted.saturating_add(1);
        }
    }

    pub(crate) fn sort(&mut self) {
        let by_key = |a: &Fault, b: &Fault| a.key.cmp(&b.key);
        self.faults.sort_unstable_by(by_key);
        self.unread.sort_unstable_by(by_key);
    }
}

impl Filled {
    fn count(&mut self, batch: &[Found]) {
        for found in batch {
            let artifacts = u64::try_from(found.manifest.artifacts().len()).unwrap_or(u64::MAX);
            self.added = self.added.saturating_add(1);
            self.artifacts = self.artifacts.saturating_add(artifacts);
        }
    }

    fn remove(&mut self, gone: Vec<Gone>) {
        self.removed = self.removed.saturating_add(count(gone.len()));
        let room = NAMED_MAX.saturating_sub(self.gone.len());
        self.gone.extend(gone.into_iter().take(room));
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
            let known = self.known_keys(store, &some).await?;
            filled.known = filled.known.saturating_add(count(known.len()));
            let unknown = some
                .into_iter()
                .filter(|candidate| !known.contains(candidate.key.as_str()));
            self.add(store, reader, unknown.collect(), limits, &mut filled)
                .await?;
        }
        filled.odd.sort();
        Ok((filled, listed))
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
        let candidates = keys.iter().filter_map(|key| Candidate::of(key));
        self.add(store, reader, candidates.collect(), limits, &mut filled)
            .await?;
        filled.odd.sort();
        Ok(filled)
    }

    async fn add(
        &self,
        store: &StoreName,
        reader: &Arc<dyn ArtifactReader>,
        candidates: Vec<Candidate>,
        limits: &Limits,
        filled: &mut Filled,
    ) -> Result<(), SurveyError> {
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
        forget_places(&mut writing, store, &mut filled, is_gone).await?;
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
        let mut after = String::new();
        loop {
            let page = self.places_after(store, &after, PLACES_AT_ONCE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after.clone_from(&last.key);
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
            forget(&mut writing, store, &still).await?;
            writing.commit().await?;
            filled.remove(still.into_iter().map(Gone::from).collect());
        }
    }

    /// The places of a store after a key, in order.
    pub(crate) async fn places_after(
        &self,
        store: &StoreName,
        after: &str,
        most: usize,
    ) -> Result<Vec<PlaceEntry>, SurveyError> {
        let question = places_after(store, after, most);
        let rows = self.rows("reading places", question).await?;
        let places = rows.iter().map(PlaceEntry::read);
        Ok(places.collect::<Result<_, _>>()?)
    }
}

impl From<PlaceEntry> for Gone {
    fn from(place: PlaceEntry) -> Self {
        Self {
            key: place.key,
            pack_id: place.pack_id,
        }
    }
}

fn places_after(store: &StoreName, after: &str, most: usize) -> Question {
    let mut question = Question::new(PlaceEntry::SELECT);
    question.add("store = ").value(store.place.as_str());
    question.add(" AND key > ").value(after);
    question.add(" ORDER BY key LIMIT ").value(count(most));
    question
}

async fn known_places(writing: &mut Writing, store: &StoreName) -> Result<u64, CatalogError> {
    let mut question = Question::new("SELECT CAST(COUNT(*) AS BIGINT) FROM places WHERE store = ");
    question.value(store.place.as_str());
    let rows = writing.rows(question).await?;
    rows.first().map_or(Ok(0), |row| Columns::of(row).number())
}

/// Forgets places of a store.
async fn forget_places(
    writing: &mut Writing,
    store: &StoreName,
    filled: &mut Filled,
    is_gone: impl Fn(&PlaceEntry) -> bool,
) -> Result<(), CatalogError> {
    let mut after = String::new();
    loop {
        let question = places_after(store, &after, PLACES_AT_ONCE);
        let rows = writing.rows(question).await?;
        let Some(last) = rows.last() else {
            return Ok(());
        };
        after = PlaceEntry::read(last)?.key;
        let page = rows.iter().map(PlaceEntry::read);
        let page: Vec<PlaceEntry> = page.collect::<Result<_, _>>()?;
        let gone: Vec<PlaceEntry> = page.into_iter().filter(&is_gone).collect();
        forget(writing, store, &gone).await?;
        filled.remove(gone.into_iter().map(Gone::from).collect());
    }
}

async fn forget(
    writing: &mut Writing,
    store: &StoreName,
    places: &[PlaceEntry],
) -> Result<(), CatalogError> {
    if places.is_empty() {
        return Ok(());
    }
    let mut forget = Question::new("DELETE FROM places WHERE store = ");
    forget.value(store.place.as_str()).add(" AND key IN ");
    forget.list(places.iter().map(|place| place.key.as_str().into()));
    writing.run(forget).await.map(drop)
}

/// The next packs to be written together; none at the end.
pub(crate) async fn batch(
    found: &mut BoxStream<'static, Result<Surveyed, SurveyError>>,
    odd: &mut Odd,
) -> Result<Vec<Found>, SurveyError> {
    let (mut batch, mut artifacts, mut bytes) = (Vec::new(), 0usize, 0u64);
    while batch.len() < PACKS_AT_ONCE
        && artifacts < ARTIFACTS_AT_ONCE
        && bytes < MANIFEST_BYTES_AT_ONCE
    {
        match found.try_next().await? {
            None => break,
            Some(Surveyed::Found(pack)) => {
                artifacts = artifacts.saturating_add(pack.manifest.artifacts().len());
                bytes = bytes.saturating_add(pack.manifest.bytes());
                batch.push(pack);
            }
            Some(Surveyed::Fault(fault)) => odd.fault(fault),
            Some(Surveyed::Unread(fault)) => odd.unread.push(fault),
        }
        // So many that the store is what is wrong.
        if odd.unread.len() > UNREAD_MAX
            && let Some(Fault { key, reason }) = odd.unread.pop()
        {
            return Err(SurveyError::Unread { key, reason });
        }
    }
    Ok(batch)
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

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
