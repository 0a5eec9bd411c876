//! Everything that the bucket holds below the store's prefix, and removing one thing of it.

use async_trait::async_trait;
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use aws_sdk_s3::types::EncodingType;
use futures_util::{TryStreamExt as _, stream};

use super::S3Store;
use super::fault::{Answer, Fault};
use super::list::{LISTING, Marker, PAGE, Way, size, spelled_out};
use super::versions::{Line, NoPage, timestamp};
use super::watch::Heard;
use crate::key::KeyPrefix;
use crate::store::{
    Holding, HoldingStream, Housekeeping, ObjectRef, Protection, State, StoreError, VersionId,
};
use crate::time::Timestamp;

const REMOVING: &str = "removing";

/// What of a bucket is being listed.
#[derive(Debug, Clone, Copy)]
enum Part {
    Versions,
    /// Where there are no versions.
    Objects,
    Uploads,
}

/// Whether unfinished uploads are asked for too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Uploads {
    Told,
    LeftOut,
}

struct Walk {
    store: S3Store,
    prefix: String,
    part: Part,
    uploads: Uploads,
    way: Way,
}

type Page = (Vec<Holding>, Option<Marker>);

impl Walk {
    async fn page(&mut self) -> Result<Page, StoreError> {
        match self.part {
            Part::Versions => {
                let page = self
                    .store
                    .version_page(&self.prefix, self.way.marker.as_ref());
                match page.await {
                    Ok((lines, next)) => {
                        let holdings = lines.into_iter().map(|line| self.holding(line));
                        Ok((holdings.collect::<Result<_, _>>()?, next))
                    }
                    Err(NoPage::Failed(error)) => Err(error),
                    Err(NoPage::NoVersions) => {
                        self.part = Part::Objects;
                        self.store.object_page(&self.prefix, None).await
                    }
                }
            }
            Part::Objects => {
                let page = self
                    .store
                    .object_page(&self.prefix, self.way.marker.as_ref());
                page.await
            }
            Part::Uploads => {
                let page = self
                    .store
                    .upload_page(&self.prefix, self.way.marker.as_ref());
                page.await
            }
        }
    }

    fn holding(&self, line: Line) -> Result<Holding, StoreError> {
        let modified = line
            .modified
            .ok_or_else(|| self.store.timeless(&self.prefix))?;
        // By its name, `null` too: what is removed is this one and no other.
        Ok(Holding::object(line.key, line.bytes, modified)
            .with_version(VersionId::new(&line.version))
            .with_state(line.state)
            .with_latest(line.is_latest))
    }

    /// Goes on after a page; `None` at the end of everything.
    fn after(mut self, entries: usize, next: Option<Marker>) -> Result<Option<Self>, StoreError> {
        if let Some(next) = next {
            self.way
                .go_on(next, entries)
                .map_err(|message| self.store.senseless(&self.prefix, message))?;
            return Ok(Some(self));
        }
        Ok(match self.part {
            Part::Versions | Part::Objects if self.uploads == Uploads::LeftOut => None,
            Part::Versions | Part::Objects => Some(Self {
                part: Part::Uploads,
                way: Way::default(),
                ..self
            }),
            Part::Uploads => None,
        })
    }
}

impl S3Store {
    async fn object_page(&self, prefix: &str, marker: Option<&Marker>) -> Result<Page, StoreError> {
        let token = marker.map(|(token, _)| token.clone());
        let (page, next) = self.page(prefix, token).await?;
        let mut holdings = Vec::new();
        for object in page.contents() {
            let key = self.listed_key(object.key(), page.encoding_type(), prefix)?;
            let modified = object.last_modified().and_then(timestamp);
            let modified = modified.ok_or_else(|| self.timeless(prefix))?;
            holdings.push(Holding::object(key, size(object.size()), modified));
        }
        Ok((holdings, next.map(|token| (token, String::new()))))
    }

    async fn upload_page(&self, prefix: &str, marker: Option<&Marker>) -> Result<Page, StoreError> {
        let page = self
            .client()?
            .list_multipart_uploads()
            .bucket(self.bucket())
            .prefix(self.name(prefix))
            .max_uploads(PAGE)
            .encoding_type(EncodingType::Url)
            .set_key_marker(marker.map(|(key, _)| key.clone()))
            .set_upload_id_marker(marker.map(|(_, id)| id.clone()))
            .set_expected_bucket_owner(self.owner())
            .send()
            .await
            .map_err(|error| Fault::from(error).into_error(self, LISTING, prefix))?;
        let mut holdings = Vec::new();
        for upload in page.uploads() {
            let key = self.listed_key(upload.key(), page.encoding_type(), prefix)?;
            let modified = upload.initiated().and_then(timestamp);
            let modified = modified.ok_or_else(|| self.timeless(prefix))?;
            let id = VersionId::new(upload.upload_id().unwrap_or_default());
            let holding = Holding::object(key, 0, modified).with_version(id);
            holdings.push(holding.with_state(State::Upload));
        }
        if page.is_truncated() != Some(true) {
            return Ok((holdings, None));
        }
        match (page.next_key_marker(), page.next_upload_id_marker()) {
            (Some(key), Some(id)) => {
                let key = spelled_out(key, page.encoding_type());
                Ok((holdings, Some((key, id.to_owned()))))
            }
            _ => Err(self.senseless(prefix, "the listing goes on and does not say where")),
        }
    }

    /// Gives up an upload, by the name of its object in the bucket; one that is gone counts as given up.
    pub(super) async fn abort_upload(&self, name: &str, id: &str) -> Result<(), StoreError> {
        let aborted = self
            .client()?
            .abort_multipart_upload()
            .bucket(self.bucket())
            .key(name)
            .upload_id(id)
            .set_expected_bucket_owner(self.owner())
            .send()
            .await;
        self.removed(aborted.map(drop).map_err(Fault::from), name)
    }

    fn removed(&self, result: Result<(), Fault>, key: &str) -> Result<(), StoreError> {
        match result {
            Err(fault) if !fault.is_gone() => Err(fault.into_error(self, REMOVING, key)),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Housekeeping for S3Store {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        const ASKING: &str = "asking for the time";
        let heard = Heard::default();
        self.client()?
            .head_bucket()
            .bucket(self.bucket())
            .set_expected_bucket_owner(self.owner())
            .customize()
            .interceptor(heard.clone())
            .send()
            .await
            .map_err(|error| Fault::from(error).into_error(self, ASKING, ""))?;
        let date = heard.date().unwrap_or_default();
        let date = DateTime::from_str(&date, DateTimeFormat::HttpDate).ok();
        date.as_ref().and_then(timestamp).ok_or_else(|| {
            let answer = Answer::nonsense("the answer has no date");
            Fault::Answer(answer).into_error(self, ASKING, "")
        })
    }

    fn holdings(&self, prefix: &KeyPrefix) -> HoldingStream {
        self.walk(prefix, Uploads::Told)
    }

    /// Newest first under each key, markers after versions.
    fn versions_below(&self, prefix: &KeyPrefix) -> HoldingStream {
        self.walk(prefix, Uploads::LeftOut)
    }

    async fn remove(&self, holding: &Holding) -> Result<(), StoreError> {
        let (key, name) = (&holding.key, self.name(&holding.key));
        let version = holding.version.as_ref().map(VersionId::as_str);
        if holding.state == State::Upload {
            return self.abort_upload(&name, version.unwrap_or_default()).await;
        }
        let deleted = self
            .client()?
            .delete_object()
            .bucket(self.bucket())
            .key(name)
            .set_version_id(version.map(str::to_owned))
            .set_expected_bucket_owner(self.owner())
            .send()
            .await;
        self.removed(deleted.map(drop).map_err(Fault::from), key)
    }

    async fn protected(
        &self,
        objects: &[ObjectRef],
        now: Timestamp,
    ) -> Result<Option<(ObjectRef, Protection)>, StoreError> {
        self.first_protected(objects, now).await
    }
}

impl S3Store {
    fn walk(&self, prefix: &KeyPrefix, uploads: Uploads) -> HoldingStream {
        let walk = Walk {
            store: self.clone(),
            prefix: prefix.as_str().to_owned(),
            part: Part::Versions,
            uploads,
            way: Way::default(),
        };
        let pages = stream::try_unfold(Some(walk), |walk| async move {
            let Some(mut walk) = walk else {
                return Ok::<_, StoreError>(None);
            };
            let (holdings, next) = walk.page().await?;
            let walk = walk.after(holdings.len(), next)?;
            Ok(Some((stream::iter(holdings.into_iter().map(Ok)), walk)))
        });
        Box::pin(pages.try_flatten())
    }
}
