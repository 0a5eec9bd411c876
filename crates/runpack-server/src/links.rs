//! Links to artifacts: URLs that somebody can follow for a while without a token of this server.
//!
//! Only a store that signs URLs has them. A link is as good as what it leads to until it expires: it is made for whoever may
//! read the object, told with its expiry, and written to no log.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use runpack_core::key::ObjectKey;
use runpack_core::store::s3::S3Store;
use runpack_core::store::{ArtifactReader, ObjectRef, StoreError};
use runpack_core::time::Timestamp;

/// How long a link may be followed where nothing is asked.
pub const VALID_FOR: Duration = Duration::from_hours(1);
/// The longest that one may ask for: what a signature of S3 can have (Amazon S3 user guide, "Presigned URLs").
pub const VALID_FOR_MAX: Duration = Duration::from_hours(7 * 24);

/// A URL that can be followed until it expires. No debug print shows it.
#[derive(Clone)]
pub struct Link {
    url: String,
    /// When it expires, by this server's clock.
    pub expires_at: Timestamp,
}

impl Link {
    /// A link.
    pub fn new(url: String, expires_at: Timestamp) -> Self {
        Self { url, expires_at }
    }

    /// For whoever may follow it.
    pub fn reveal(&self) -> &str {
        &self.url
    }

    /// The link as Markdown, for a comment on a pull request or a ticket.
    pub fn to_markdown(&self, name: &str) -> String {
        let mut text = String::with_capacity(name.len());
        for found in runpack_core::display::Printable(name).to_string().chars() {
            if found.is_ascii_punctuation() {
                text.push('\\');
            }
            text.push(found);
        }
        format!("[{text}](<{}>) (until {})", self.url, self.expires_at)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// A store that signs URLs.
#[async_trait]
pub trait Links: Send + Sync + fmt::Debug {
    /// A URL to read an object with, and how long it holds, which may be less than what was asked for.
    ///
    /// # Errors
    /// It cannot be signed.
    async fn sign(
        &self,
        object: &ObjectRef,
        valid_for: Duration,
    ) -> Result<(String, Duration), StoreError>;
}

/// A link to this object and no other version of it, made `now`.
///
/// # Errors
/// It cannot be signed.
pub async fn link(
    links: &dyn Links,
    object: &ObjectRef,
    valid_for: Duration,
    now: Timestamp,
) -> Result<Link, StoreError> {
    let (url, holds) = links.sign(object, valid_for).await?;
    Ok(Link::new(url, later(now, holds.min(valid_for))))
}

/// A link to what is read here under a key: where the store let another version in after it, it leads to the first.
///
/// # Errors
/// [`StoreError::NotFound`]; it cannot be signed; as the store fails.
pub async fn link_to(
    links: &dyn Links,
    store: &dyn ArtifactReader,
    key: &ObjectKey,
    valid_for: Duration,
    now: Timestamp,
) -> Result<Link, StoreError> {
    let (object, _) = store.oldest(key).await?;
    link(links, &object, valid_for, now).await
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    let seconds = now.unix_seconds().saturating_add(by.as_secs());
    Timestamp::from_unix_seconds(seconds).unwrap_or(Timestamp::MAX)
}

#[async_trait]
impl Links for S3Store {
    async fn sign(
        &self,
        object: &ObjectRef,
        valid_for: Duration,
    ) -> Result<(String, Duration), StoreError> {
        let signed = self.presign_get(object, valid_for).await?;
        Ok((signed.url.reveal().to_owned(), signed.expires_in))
    }
}

#[cfg(test)]
mod tests {
    use runpack_core::key::Location;
    use runpack_core::store::{ArtifactSink as _, Declared, MemoryStore};
    use runpack_testing::block_on;

    use super::*;

    /// Signs for so many seconds, whatever is asked.
    #[derive(Debug)]
    struct For(u64);

    #[async_trait]
    impl Links for For {
        async fn sign(
            &self,
            object: &ObjectRef,
            _: Duration,
        ) -> Result<(String, Duration), StoreError> {
            let url = format!("{:?}", object.version);
            Ok((url, Duration::from_secs(self.0)))
        }
    }

    #[test]
    fn a_link_leads_to_the_first_version_and_says_no_later_end_than_it_has() {
        block_on(async {
            let store = MemoryStore::versioned();
            let pack_id = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
            let key = Location::Reference { pack_id }.key().unwrap();
            for bytes in ["one", "two"] {
                let put = store.put(&key, bytes.into(), Declared::of(bytes.as_bytes()));
                put.await.unwrap();
            }
            let (first, _) = store.oldest(&key).await.unwrap();
            assert!(first.version.is_some());
            let now = "2026-11-20T12:00:00Z".parse().unwrap();
            let minute = Duration::from_mins(1);
            for (signed_for, end) in [(30, "2026-11-20T12:00:30Z"), (90, "2026-11-20T12:01:00Z")] {
                let made = link_to(&For(signed_for), &store, &key, minute, now).await;
                let made = made.unwrap();
                assert_eq!(made.reveal(), format!("{:?}", first.version));
                assert_eq!(made.expires_at.to_string(), end);
            }
        });
    }
}
