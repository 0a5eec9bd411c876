//! The versions of an object, oldest first, by the store's own order.

use aws_sdk_s3::types::EncodingType;

use super::S3Store;
use super::fault::Fault;
use super::head::version;
use super::list::{LISTING, Marker, PAGE, Way, size, spelled_out};
use crate::key::ObjectKey;
use crate::store::{ObjectRef, ObjectStat, State, StoreError};
use crate::time::Timestamp;

/// Pages of versions of one object: a million versions.
const PAGES_MAX: u32 = 1_000;

/// One line of a listing of versions.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) key: String,
    /// As the store names it, `null` included.
    pub(super) version: String,
    pub(super) bytes: u64,
    pub(super) modified: Option<Timestamp>,
    pub(super) state: State,
    pub(super) is_latest: bool,
}

impl Line {
    /// Whether it is a marker that hides everything else under the key.
    fn hides(&self) -> bool {
        self.state == State::DeleteMarker && self.is_latest
    }
}

/// Why there is no page.
pub(super) enum NoPage {
    /// The store keeps no versions.
    NoVersions,
    Failed(StoreError),
}

impl From<StoreError> for NoPage {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl S3Store {
    /// One page of versions and markers below a prefix, and where the next begins.
    pub(super) async fn version_page(
        &self,
        prefix: &str,
        marker: Option<&Marker>,
    ) -> Result<(Vec<Line>, Option<Marker>), NoPage> {
        let page = self
            .client()?
            .list_object_versions()
            .bucket(self.bucket())
            .prefix(self.name(prefix))
            .max_keys(PAGE)
            .encoding_type(EncodingType::Url)
            .set_key_marker(marker.map(|(key, _)| key.clone()))
            .set_version_id_marker(
                marker
                    .map(|(_, version)| version.clone())
                    .filter(|v| !v.is_empty()),
            )
            .set_expected_bucket_owner(self.owner())
            .send()
            .await;
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                let fault = Fault::from(error);
                return Err(if fault.is_unknown_function() {
                    NoPage::NoVersions
                } else {
                    fault.into_error(self, LISTING, prefix).into()
                });
            }
        };
        let encoding = page.encoding_type();
        let mut lines = Vec::new();
        for found in page.versions() {
            lines.push(Line {
                key: self.listed_key(found.key(), encoding, prefix)?,
                version: found.version_id().unwrap_or("null").to_owned(),
                bytes: size(found.size()),
                modified: found.last_modified().and_then(timestamp),
                state: State::Object,
                is_latest: found.is_latest() == Some(true),
            });
        }
        for marker in page.delete_markers() {
            lines.push(Line {
                key: self.listed_key(marker.key(), encoding, prefix)?,
                version: marker.version_id().unwrap_or("null").to_owned(),
                bytes: 0,
                modified: marker.last_modified().and_then(timestamp),
                state: State::DeleteMarker,
                is_latest: marker.is_latest() == Some(true),
            });
        }
        // The answer has the markers after all versions; whoever sweeps wants what is under one key together. A marker
        // that hides a version may have come in the same second, so that no time tells which is the newer (threat L05).
        lines.sort_by(|a, b| a.key.cmp(&b.key).then(b.hides().cmp(&a.hides())));
        if page.is_truncated() != Some(true) {
            return Ok((lines, None));
        }
        let Some(key) = page.next_key_marker() else {
            let error = self.senseless(prefix, "the listing goes on and does not say where");
            return Err(error.into());
        };
        let version = page.next_version_id_marker().unwrap_or_default().to_owned();
        Ok((lines, Some((spelled_out(key, encoding), version))))
    }

    pub(super) async fn versions_of(&self, key: &ObjectKey) -> Result<Vec<ObjectStat>, StoreError> {
        let mut newest_first = Vec::new();
        let mut way = Way::default();
        for _ in 0..PAGES_MAX {
            let (lines, next) = match self.version_page(key.as_str(), way.marker.as_ref()).await {
                Ok(page) => page,
                Err(NoPage::NoVersions) => return self.only_version(key).await,
                Err(NoPage::Failed(error)) => return Err(error),
            };
            let count = lines.len();
            // Names are in order, and the key's own comes before all that begin with it.
            let is_past = lines.iter().any(|line| line.key != key.as_str());
            let ours = lines
                .into_iter()
                .filter(|line| line.key == key.as_str() && line.state == State::Object);
            newest_first.extend(ours.map(|line| {
                // The present object needs no name where the store keeps no versions; one that was kept from
                // before it did is `null`, and is asked for by that name.
                let name = if line.is_latest {
                    version(Some(&line.version))
                } else {
                    Some(crate::store::VersionId::new(&line.version))
                };
                ObjectStat::new(line.bytes, name)
            }));
            match next {
                Some(next) if !is_past => way
                    .go_on(next, count)
                    .map_err(|message| self.senseless(key.as_str(), message))?,
                _ => {
                    newest_first.reverse();
                    return Ok(newest_first);
                }
            }
        }
        Err(self.senseless(
            key.as_str(),
            "the object has too many versions to tell the oldest",
        ))
    }

    /// The object of a store without versions.
    async fn only_version(&self, key: &ObjectKey) -> Result<Vec<ObjectStat>, StoreError> {
        match self.head(&ObjectRef::from(key.clone())).await {
            Ok(head) => Ok(vec![ObjectStat::new(head.bytes, None)]),
            Err(StoreError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

/// A time that a store claims, in whole seconds.
pub(super) fn timestamp(time: &aws_sdk_s3::primitives::DateTime) -> Option<Timestamp> {
    let seconds = u64::try_from(time.secs()).ok()?;
    Timestamp::from_unix_seconds(seconds).ok()
}
