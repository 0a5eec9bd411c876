//! What a store holds: its packs, one after the other, and what stands where a pack should and is none.
//!
//! The store is not believed: a pack counts only where its manifest is one, and of the subject whose place it stands in.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use runpack_core::bundle::first_manifest;
use runpack_core::digest::Digest;
use runpack_core::display::chain;
use runpack_core::key::{KeyPrefix, Location, ObjectKey};
use runpack_core::limits::Limits;
use runpack_core::manifest::{Manifest, Subject};
use runpack_core::store::{ArtifactReader, StoreError, Stored};
use runpack_core::verify::{Code, Finding, Pack, StorePack};

use crate::error::CatalogError;
use crate::fill::{Form, Found};

/// How many manifests are read at once.
const READ_AT_ONCE: usize = 32;

/// Entries of a listing, of any kind. Stops a listing without end.
const ENTRIES_MAX: u64 = 10_000_000_000;
/// Places of packs. Stops a listing that fills memory and the database.
const PLACES_MAX: usize = 50_000_000;
/// How often a listing may show a place again, beyond once for each place: a store may repeat a page.
const REPEATS_FREE: usize = 1_000;

/// Something that stands where a pack should, and is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub key: String,
    /// Why it is none; untrusted text.
    pub reason: String,
}

/// Why a store was not gone through, or not all of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SurveyError {
    /// The store failed.
    #[error("the store could not be gone through")]
    Store(#[from] StoreError),
    /// The store's listing makes no sense.
    #[error("the listing of the store {reason}, shown=`{shown}`")]
    Listing {
        /// In what way.
        reason: &'static str,
        /// How many entries it had shown by then.
        shown: u64,
    },
    /// A manifest could not be read, which says nothing of whether it is one; or too many could not.
    #[error("a manifest could not be read, key=`{key}`: {reason}")]
    Unread {
        /// Which one.
        key: String,
        /// Why.
        reason: String,
    },
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// A place of a pack, by its key alone.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) key: ObjectKey,
    location: Location,
}

impl Candidate {
    /// `None` where no pack can lie.
    pub(crate) fn of(key: &str) -> Option<Self> {
        let location = Location::parse(key)?;
        let is_place =
            matches!(location, Location::Bundle { .. }) || location.manifest_subject().is_some();
        // What reads as a location is one that has a key.
        let key = location.key().ok().filter(|_| is_place)?;
        Some(Self { key, location })
    }
}

/// What a listing has shown, by half digests of keys.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    places: HashSet<u128>,
    entries: u64,
    repeats: usize,
}

impl Shown {
    pub(crate) fn contains(&self, key: &str) -> bool {
        self.places.contains(&mark(key))
    }

    fn count(&mut self) -> Result<(), SurveyError> {
        self.entries = self.entries.saturating_add(1);
        if self.entries > ENTRIES_MAX {
            return Err(self.senseless("has no end within the limit of entries"));
        }
        Ok(())
    }

    /// Whether a place is shown for the first time.
    fn is_first(&mut self, key: &str) -> Result<bool, SurveyError> {
        if self.places.insert(mark(key)) {
            if self.places.len() > PLACES_MAX {
                return Err(self.senseless("has more packs than the limit"));
            }
            return Ok(true);
        }
        self.repeats = self.repeats.saturating_add(1);
        if self.repeats > self.places.len().saturating_add(REPEATS_FREE) {
            return Err(self.senseless("shows the same again and again"));
        }
        Ok(false)
    }

    fn senseless(&self, reason: &'static str) -> SurveyError {
        SurveyError::Listing {
            reason,
            shown: self.entries,
        }
    }
}

/// A listing under way, and what it has shown so far.
pub(crate) type Listed = Arc<Mutex<Shown>>;

/// The places of packs in a store, in no order, each once; `listed` knows them afterwards. 32 bytes of memory a place.
pub(crate) fn candidates(
    reader: &Arc<dyn ArtifactReader>,
    listed: &Listed,
) -> BoxStream<'static, Result<Candidate, SurveyError>> {
    let listed = Arc::clone(listed);
    reader
        .list(&KeyPrefix::all())
        .map_err(SurveyError::from)
        .try_filter_map(move |entry| {
            let mut shown = listed.lock().unwrap_or_else(PoisonError::into_inner);
            std::future::ready(shown.count().and_then(|()| {
                let Some(candidate) = Candidate::of(&entry.key) else {
                    return Ok(None);
                };
                Ok(shown.is_first(&entry.key)?.then_some(candidate))
            }))
        })
        .boxed()
}

/// Half of a digest of a key: enough to tell keys apart that nobody chose against it, and cheap to keep by the million.
pub(crate) fn mark(key: &str) -> u128 {
    let digest = Digest::of(key.as_bytes());
    let half = digest.as_bytes().first_chunk::<16>();
    half.map_or(0, |half| u128::from_be_bytes(*half))
}

/// What stands in the place of a pack.
#[derive(Debug)]
pub(crate) enum Surveyed {
    /// A pack.
    Found(Found),
    /// None.
    Fault(Fault),
    /// Nobody can tell: it could not be read.
    Unread(Fault),
}

/// Reads what the candidates are, several at a time.
pub(crate) fn read(
    reader: Arc<dyn ArtifactReader>,
    candidates: BoxStream<'static, Result<Candidate, SurveyError>>,
    limits: Limits,
) -> BoxStream<'static, Result<Surveyed, SurveyError>> {
    candidates
        .map(move |candidate| {
            let (reader, limits) = (Arc::clone(&reader), limits.clone());
            async move { Ok(one(&reader, candidate?, &limits).await) }
        })
        .buffer_unordered(READ_AT_ONCE)
        .boxed()
}

async fn one(reader: &Arc<dyn ArtifactReader>, candidate: Candidate, limits: &Limits) -> Surveyed {
    let Candidate { key, location } = candidate;
    let (form, read) = match location.manifest_subject() {
        Some(subject) => (Form::Files, kept(reader, subject, limits).await),
        None => (Form::Bundle, bundled(reader, &key, &location, limits).await),
    };
    let fault = |reason| Fault {
        key: key.to_string(),
        reason,
    };
    match read {
        Ok(manifest) => Surveyed::Found(Found {
            key,
            form,
            manifest,
        }),
        Err(Wrong::None(reason)) => Surveyed::Fault(fault(reason)),
        Err(Wrong::Unread(reason)) => Surveyed::Unread(fault(reason)),
    }
}

/// Why there is no manifest.
enum Wrong {
    /// It is none.
    None(String),
    /// It could not be read.
    Unread(String),
}

impl Wrong {
    fn of(finding: Option<&Finding>) -> Self {
        match finding {
            Some(finding) if finding.code == Code::ManifestUnread => {
                Self::Unread(finding.detail.clone())
            }
            Some(finding) => Self::None(finding.detail.clone()),
            None => Self::None("it is no pack".to_owned()),
        }
    }
}

async fn kept(
    reader: &Arc<dyn ArtifactReader>,
    subject: Subject,
    limits: &Limits,
) -> Result<Arc<Manifest>, Wrong> {
    let place = StorePack::new(Arc::clone(reader), subject.clone());
    match Pack::open(Arc::new(place), limits).await {
        Ok(pack) if *pack.manifest().subject() == subject => Ok(Arc::clone(pack.manifest())),
        Ok(_) => Err(Wrong::None("the manifest of another subject".to_owned())),
        Err(report) => Err(Wrong::of(report.findings.first())),
    }
}

async fn bundled(
    reader: &Arc<dyn ArtifactReader>,
    key: &ObjectKey,
    location: &Location,
    limits: &Limits,
) -> Result<Arc<Manifest>, Wrong> {
    let failed = |error: StoreError| match error {
        // It was removed meanwhile.
        StoreError::NotFound { .. } => Wrong::None("the bundle is gone".to_owned()),
        error => Wrong::Unread(chain(&error)),
    };
    let stored = Stored::find(Arc::clone(reader), key)
        .await
        .map_err(failed)?;
    let limits = limits.clone();
    let read = stored.read(move |source| first_manifest(source, limits));
    match read.await.map_err(failed)? {
        // A bundle has one place. Else a store could show it under a million names.
        Ok(manifest) if Location::bundle(&manifest).as_ref() == Some(location) => Ok(manifest),
        Ok(_) => Err(Wrong::None(
            "the bundle of another pack, month or run".to_owned(),
        )),
        Err(outcome) => Err(Wrong::of(outcome.findings.first())),
    }
}
