//! What a store holds: its packs, one after the other, and what stands where a pack should and is none.
//!
//! The store is not believed: a pack counts only where its manifest is one, and of the subject whose place it stands in.

use std::sync::Arc;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use runpack_core::bundle::first_manifest;
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

/// The places of packs in a store, in no order.
pub(crate) fn candidates(
    reader: &Arc<dyn ArtifactReader>,
) -> BoxStream<'static, Result<Candidate, SurveyError>> {
    reader
        .list(&KeyPrefix::all())
        .map_err(SurveyError::from)
        .try_filter_map(async |entry| Ok(Candidate::of(&entry.key)))
        .boxed()
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
    match (read.await.map_err(failed)?, location) {
        (Ok(manifest), Location::Bundle { pack_id, .. }) if manifest.pack_id() == *pack_id => {
            Ok(manifest)
        }
        (Ok(_), _) => Err(Wrong::None("the bundle of another pack".to_owned())),
        (Err(outcome), _) => Err(Wrong::of(outcome.findings.first())),
    }
}
