//! Listings page by page: an answer that is outside of what was asked for, turns in a circle or never gets
//! anywhere is an error (threats S16, S17). Names come as text that is not believed.

use std::pin::Pin;

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::{EncodingType, Object, ObjectStorageClass};
use futures_util::{Stream, TryStreamExt as _, stream};

use super::S3Store;
use super::fault::{Answer, Fault};
use super::versions::timestamp;
use crate::key::KeyPrefix;
use crate::store::{ListEntry, ListStream, StoreError};
use crate::time::Timestamp;

pub(super) const LISTING: &str = "listing";

/// Entries of a page, as many as every store gives.
pub(super) const PAGE: i32 = 1_000;

/// Pages without an entry, one after the other.
const EMPTY_PAGES_MAX: u32 = 1_000;

/// Where a listing goes on: a name and what else the store wants to hear again.
pub(super) type Marker = (String, String);

/// An object, and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClassedObject {
    /// The key as the store spells it, without the store's own prefix: untrusted, perhaps none of ours.
    pub key: String,
    /// The size.
    pub bytes: u64,
    /// The storage class, as the store names it.
    pub class: String,
    /// When it was written, by the store's clock.
    pub modified: Timestamp,
}

/// What a store holds and where, page by page.
pub type ClassedStream = Pin<Box<dyn Stream<Item = Result<ClassedObject, StoreError>> + Send>>;

/// The way through a listing. Circles of any length are found with two markers in memory (Brent, "An improved
/// Monte Carlo factorization algorithm", 1980).
#[derive(Debug, Default)]
pub(super) struct Way {
    pub(super) marker: Option<Marker>,
    kept: Option<Marker>,
    steps: u64,
    steps_to_keep: u64,
    empty: u32,
}

impl Way {
    /// Goes on to `next`.
    ///
    /// # Errors
    /// Why that makes no sense.
    pub(super) fn go_on(&mut self, next: Marker, entries: usize) -> Result<(), &'static str> {
        self.empty = if entries == 0 {
            self.empty.saturating_add(1)
        } else {
            0
        };
        if self.empty > EMPTY_PAGES_MAX {
            return Err("the listing goes on and on without an entry");
        }
        if self.kept.as_ref() == Some(&next) || self.marker.as_ref() == Some(&next) {
            return Err("the listing turns in a circle");
        }
        self.steps = self.steps.saturating_add(1);
        if self.steps >= self.steps_to_keep {
            self.steps_to_keep = self.steps.saturating_mul(2);
            self.kept = Some(next.clone());
        }
        self.marker = Some(next);
        Ok(())
    }
}

impl S3Store {
    /// What a listing that makes no sense means.
    pub(super) fn senseless(&self, prefix: &str, message: &str) -> StoreError {
        Fault::Answer(Answer::nonsense(message)).into_error(self, LISTING, prefix)
    }

    /// The key of an object by its name in an answer.
    pub(super) fn listed_key(
        &self,
        name: Option<&str>,
        encoding: Option<&EncodingType>,
        prefix: &str,
    ) -> Result<String, StoreError> {
        let name = spelled_out(name.unwrap_or_default(), encoding);
        match self.settings().path_prefix.strip(&name) {
            Some(key) if key.starts_with(prefix) => Ok(key.to_owned()),
            _ => Err(self.senseless(prefix, "the listing has entries that were not asked for")),
        }
    }

    pub(super) fn objects(&self, prefix: &KeyPrefix) -> ListStream {
        self.listed(prefix, |_, key, object, _| {
            Ok(ListEntry::new(key, size(object.size())))
        })
    }

    /// Every object whose key starts with `prefix`, with its storage class: as the store says, in no way believed.
    pub fn classed(&self, prefix: &KeyPrefix) -> ClassedStream {
        self.listed(prefix, |store, key, object, prefix| {
            let modified = object.last_modified().and_then(timestamp);
            let class = object.storage_class().map(ObjectStorageClass::as_str);
            Ok(ClassedObject {
                key,
                bytes: size(object.size()),
                // A store that names none means the usual one.
                class: class.unwrap_or("STANDARD").to_owned(),
                modified: modified.ok_or_else(|| store.timeless(prefix))?,
            })
        })
    }

    pub(super) fn timeless(&self, prefix: &str) -> StoreError {
        self.senseless(prefix, "the listing has an entry without a time")
    }

    /// Every object below the prefix, as `read` reads it.
    fn listed<T: Send + 'static>(
        &self,
        prefix: &KeyPrefix,
        read: fn(&Self, String, &Object, &str) -> Result<T, StoreError>,
    ) -> Pin<Box<dyn Stream<Item = Result<T, StoreError>> + Send>> {
        let start = Some((self.clone(), prefix.as_str().to_owned(), Way::default()));
        let pages = stream::try_unfold(start, move |state| async move {
            let Some((store, prefix, mut way)) = state else {
                return Ok(None);
            };
            let token = way.marker.as_ref().map(|(token, _)| token.clone());
            let (page, next) = store.page(&prefix, token).await?;
            let entries = page.contents().iter().map(|object| {
                let key = store.listed_key(object.key(), page.encoding_type(), &prefix)?;
                read(&store, key, object, &prefix)
            });
            let entries = entries.collect::<Result<Vec<_>, StoreError>>()?;
            let state = match next {
                None => None,
                Some(next) => {
                    way.go_on((next, String::new()), entries.len())
                        .map_err(|message| store.senseless(&prefix, message))?;
                    Some((store, prefix, way))
                }
            };
            Ok(Some((stream::iter(entries.into_iter().map(Ok)), state)))
        });
        Box::pin(pages.try_flatten())
    }

    /// One page as the store says it, and the token for the next.
    pub(super) async fn page(
        &self,
        prefix: &str,
        token: Option<String>,
    ) -> Result<(ListObjectsV2Output, Option<String>), StoreError> {
        let page = self
            .client()?
            .list_objects_v2()
            .bucket(self.bucket())
            .prefix(self.name(prefix))
            .max_keys(PAGE)
            .encoding_type(EncodingType::Url)
            .set_continuation_token(token)
            .set_expected_bucket_owner(self.owner())
            .send()
            .await
            .map_err(|error| Fault::from(error).into_error(self, LISTING, prefix))?;
        if page.is_truncated() != Some(true) {
            return Ok((page, None));
        }
        match page.next_continuation_token().map(str::to_owned) {
            Some(next) => Ok((page, Some(next))),
            None => Err(self.senseless(prefix, "the listing goes on and does not say where")),
        }
    }
}

/// A size that a store claims.
pub(super) fn size(bytes: Option<i64>) -> u64 {
    bytes
        .and_then(|bytes| u64::try_from(bytes).ok())
        .unwrap_or(0)
}

/// A name as it is, where the store has encoded it for its way in XML.
pub(super) fn spelled_out(name: &str, encoding: Option<&EncodingType>) -> String {
    if encoding != Some(&EncodingType::Url) {
        return name.to_owned();
    }
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digit = |at: usize| {
            after
                .get(at)
                .and_then(|digit| char::from(*digit).to_digit(16))
        };
        let escaped = match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => u8::try_from(high << 4 | low).ok(),
            _ => None,
        };
        if let Some(byte) = escaped {
            bytes.push(byte);
            rest = after.get(2..).unwrap_or_default();
        } else {
            bytes.push(if *first == b'+' { b' ' } else { *first });
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s17_names_are_spelled_out_once() {
        let url = Some(&EncodingType::Url);
        for (encoded, name) in [
            ("a/b%20c.bin", "a/b c.bin"),
            ("a+b%2Bc", "a b+c"),
            ("%2525", "%25"),
            ("100%", "100%"),
            ("%zz%4", "%zz%4"),
            ("%01%0a", "\u{1}\n"),
            ("%C3%9C", "Ü"),
            ("%ff", "\u{fffd}"),
        ] {
            assert_eq!(spelled_out(encoded, url), name, "{encoded}");
            assert_eq!(spelled_out(encoded, None), encoded);
        }
    }

    #[test]
    fn s16_circles_of_any_length_are_found() {
        for length in 1..50_u32 {
            for before in 0..20_u32 {
                let mut way = Way::default();
                let stopped = (0..1_000_u32).find(|step| {
                    let at = if *step < before {
                        *step
                    } else {
                        before + (step - before) % length
                    };
                    way.go_on((at.to_string(), String::new()), 1).is_err()
                });
                assert!(stopped.is_some(), "{length} after {before}");
            }
        }
    }

    #[test]
    fn s16_pages_without_entries_end() {
        let mut way = Way::default();
        let mut go = |step: u32| way.go_on((step.to_string(), String::new()), 0);
        assert!((0..EMPTY_PAGES_MAX).all(|step| go(step).is_ok()));
        assert!(go(EMPTY_PAGES_MAX).is_err());
    }
}
