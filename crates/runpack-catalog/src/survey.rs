//! What a store holds: its packs, one after the other, and what stands where a pack should and is none.
//!
//! The store is not believed: a pack counts only where its manifest is one, and of the subject whose place it stands in.

use std::sync::Arc;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use runpack_core::bundle::first_manifest;
use runpack_core::key::{KeyPrefix, Location, ObjectKey};
use runpack_core::limits::Limits;
use runpack_core::manifest::Manifest;
use runpack_core::store::{ArtifactReader, StoreError, Stored};
use runpack_core::verify::{Code, Pack, StorePack};

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
    /// A manifest could not be read, which says nothing of whether it is one.
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

/// Reads what the candidates are, several at a time.
pub(crate) fn read(
    reader: Arc<dyn ArtifactReader>,
    candidates: BoxStream<'static, Result<Candidate, SurveyError>>,
    limits: Limits,
) -> BoxStream<'static, Result<Result<Found, Fault>, SurveyError>> {
    candidates
        .map(move |candidate| {
            let (reader, limits) = (Arc::clone(&reader), limits.clone());
            async move { one(&reader, candidate?, &limits).await }
        })
        .buffer_unordered(READ_AT_ONCE)
        .boxed()
}

async fn one(
    reader: &Arc<dyn ArtifactReader>,
    candidate: Candidate,
    limits: &Limits,
) -> Result<Result<Found, Fault>, SurveyError> {
    let Candidate { key, location } = candidate;
    let (form, read) = match location.manifest_subject() {
        Some(subject) => {
            let place = StorePack::new(Arc::clone(reader), subject.clone());
            let read = match Pack::open(Arc::new(place), limits).await {
                Ok(pack) if *pack.manifest().subject() == subject => {
                    Ok(Arc::clone(pack.manifest()))
                }
                Ok(_) => Err("the manifest of another subject".to_owned()),
                Err(report) => {
                    let finding = report.findings.first();
                    let reason = finding.map_or_else(String::new, |finding| finding.detail.clone());
                    if finding.is_none_or(|finding| finding.code == Code::ManifestUnread) {
                        let key = key.to_string();
                        return Err(SurveyError::Unread { key, reason });
                    }
                    Err(reason)
                }
            };
            (Form::Files, read)
        }
        None => (
            Form::Bundle,
            bundled(reader, &key, &location, limits).await?,
        ),
    };
    Ok(match read {
        Ok(manifest) => Ok(Found {
            key,
            form,
            manifest,
        }),
        Err(reason) => Err(Fault {
            key: key.to_string(),
            reason,
        }),
    })
}

async fn bundled(
    reader: &Arc<dyn ArtifactReader>,
    key: &ObjectKey,
    location: &Location,
    limits: &Limits,
) -> Result<Result<Arc<Manifest>, String>, SurveyError> {
    let stored = match Stored::find(Arc::clone(reader), key).await {
        // It was removed meanwhile.
        Err(StoreError::NotFound { .. }) => return Ok(Err("the bundle is gone".to_owned())),
        stored => stored?,
    };
    let limits = limits.clone();
    let read = stored
        .read(move |source| first_manifest(source, limits))
        .await?;
    Ok(match (read, location) {
        (Ok(manifest), Location::Bundle { pack_id, .. }) if manifest.pack_id() == *pack_id => {
            Ok(manifest)
        }
        (Ok(_), _) => Err("the bundle of another pack".to_owned()),
        (Err(outcome), _) => {
            let finding = outcome.findings.first();
            if let Some(finding) = finding.filter(|finding| finding.code == Code::ManifestUnread) {
                let (key, reason) = (key.to_string(), finding.detail.clone());
                return Err(SurveyError::Unread { key, reason });
            }
            Err(finding.map_or_else(|| "no bundle".to_owned(), |finding| finding.detail.clone()))
        }
    })
}
