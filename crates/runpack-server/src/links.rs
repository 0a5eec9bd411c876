//! Links to artifacts: URLs that somebody can follow for a while without a token of this server.
//!
//! Only a store that signs URLs has them. A link is as good as what it leads to until it expires: it is made for whoever may
//! read the object, told with its expiry, and written to no log.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use runpack_core::store::s3::S3Store;
use runpack_core::store::{ObjectRef, StoreError};
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
    /// A URL to read an object with.
    ///
    /// # Errors
    /// It cannot be signed.
    async fn link(&self, object: &ObjectRef, valid_for: Duration) -> Result<String, StoreError>;
}

#[async_trait]
impl Links for S3Store {
    async fn link(&self, object: &ObjectRef, valid_for: Duration) -> Result<String, StoreError> {
        let signed = self.presign_get(object, valid_for).await?;
        Ok(signed.url.reveal().to_owned())
    }
}
