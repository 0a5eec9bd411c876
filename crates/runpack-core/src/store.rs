//! The storage seam: what Runpack needs of a place that keeps objects, and nothing else.
//!
//! [`ArtifactSink`] and [`ArtifactReader`] are object-safe, so a file system, a bucket, memory and a
//! locked store are interchangeable; one conformance suite (`runpack-testing`) holds them all to the
//! same behaviour. Invariants of every implementation:
//!
//! - **create-only**: an existing key is never replaced. The same bytes again are success
//!   ([`Outcome::AlreadyThere`]), other bytes are [`StoreError::AlreadyExists`];
//! - **nothing before commit**: no reader sees an object before its write was committed, and a write
//!   that is dropped or aborted leaves nothing that a reader sees;
//! - **acknowledged is durable**: when `put` or `commit` returns, the object survives power loss;
//! - **declared is checked**: a write whose bytes are not of the declared size and content fails;
//! - a reader's claims (sizes, times, listings) are never believed by what stands above.

mod error;
#[cfg(any(feature = "file", feature = "s3"))]
pub mod failover;
#[cfg(feature = "file")]
mod file;
mod housekeeping;
mod memory;
mod oldest;
mod plan;
#[cfg(feature = "s3")]
pub mod s3;
mod source;
mod stored;

use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};

pub use error::StoreError;
#[cfg(feature = "file")]
pub use file::FileStore;
pub use housekeeping::{Holding, HoldingStream, Holds, Housekeeping, Protection, State};
pub use memory::MemoryStore;
pub use oldest::confirm_oldest;
pub(crate) use oldest::{open_named, open_oldest, read_oldest, settle_by_oldest};
pub use plan::part_count;
pub use source::{BytesSource, Source};
pub use stored::{Stored, StoredSource};

use crate::commitment::Content;
use crate::digest::Digest;
use crate::key::{KeyPrefix, ObjectKey};
use crate::manifest::{Manifest, Subject};

/// The version of an object in a versioned store, as the store names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionId(Box<str>);

impl VersionId {
    /// A store's own name for a version.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// As text. It comes from the store: show it escaped.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An object, and where it matters which version of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectRef {
    /// The object's key.
    pub key: ObjectKey,
    /// The version, or `None` for the present one.
    pub version: Option<VersionId>,
}

impl From<ObjectKey> for ObjectRef {
    fn from(key: ObjectKey) -> Self {
        Self { key, version: None }
    }
}

/// What is about to be written: hashing comes first, sending second.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Declared {
    /// The size.
    pub bytes: u64,
    /// The digests of the chunks.
    pub content: Content,
}

impl Declared {
    /// A declaration; the number of digests fits the size, or every write under it fails.
    pub fn new(bytes: u64, content: Content) -> Self {
        Self { bytes, content }
    }

    /// What `bytes` are.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = crate::commitment::ChunkHasher::new();
        hasher.update(bytes);
        let (content, bytes) = hasher.finish();
        Self { bytes, content }
    }

    /// The commitment to what is declared.
    pub fn commitment(&self) -> Digest {
        self.content.commitment(self.bytes)
    }
}

/// Whether a write made the object or found it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The object is new.
    Created,
    /// The object was there already, with the same bytes.
    AlreadyThere,
}

/// What the store answered for a write.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The object's key.
    pub key: ObjectKey,
    /// Its size.
    pub bytes: u64,
    /// The commitment to its bytes.
    pub commitment: Digest,
    /// Its version, where the store has versions.
    pub version: Option<VersionId>,
    /// New, or there already.
    pub outcome: Outcome,
}

impl Receipt {
    /// A receipt for `declared` under `key`.
    pub fn new(key: ObjectKey, declared: &Declared, outcome: Outcome) -> Self {
        Self {
            key,
            bytes: declared.bytes,
            commitment: declared.commitment(),
            version: None,
            outcome,
        }
    }
}

/// The bytes of an object as they come.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, StoreError>> + Send>>;

/// An opened object.
pub struct ObjectBody {
    /// The size of the whole object, as the store says: a claim.
    pub bytes_claimed: u64,
    /// The bytes of the range, in pieces of any size, and never more than the range.
    pub stream: ByteStream,
}

impl ObjectBody {
    /// The next piece.
    ///
    /// # Errors
    /// The store failed.
    pub async fn next(&mut self) -> Option<Result<Bytes, StoreError>> {
        self.stream.next().await
    }
}

impl fmt::Debug for ObjectBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectBody")
            .field("bytes_claimed", &self.bytes_claimed)
            .finish_non_exhaustive()
    }
}

/// What a store says of an object: claims, all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectStat {
    /// The size.
    pub bytes: u64,
    /// The version, where the store has versions.
    pub version: Option<VersionId>,
}

impl ObjectStat {
    /// An object of this size.
    pub fn new(bytes: u64, version: Option<VersionId>) -> Self {
        Self { bytes, version }
    }
}

/// One entry of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListEntry {
    /// The key as the store spells it: untrusted, perhaps none of ours
    /// ([`crate::key::Location::parse`] tells).
    pub key: String,
    /// The size, as the store says.
    pub bytes: u64,
}

impl ListEntry {
    /// An entry.
    pub fn new(key: String, bytes: u64) -> Self {
        Self { key, bytes }
    }
}

/// A listing, page by page, in no order that anything may rest on.
pub type ListStream = Pin<Box<dyn Stream<Item = Result<ListEntry, StoreError>> + Send>>;

/// Reading objects.
#[async_trait]
pub trait ArtifactReader: Send + Sync + fmt::Debug {
    /// Opens a range of an object; a range beyond its end gives the bytes that there are.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Unsafe`] where something stands there that is no
    /// object (a symbolic link, a directory); others as the store fails.
    async fn open(&self, object: &ObjectRef, range: Range<u64>) -> Result<ObjectBody, StoreError>;

    /// What the store says of an object.
    ///
    /// # Errors
    /// As [`ArtifactReader::open`].
    async fn stat(&self, object: &ObjectRef) -> Result<ObjectStat, StoreError>;

    /// The objects whose keys start with `prefix`. Bounded in memory, however many there are.
    fn list(&self, prefix: &KeyPrefix) -> ListStream;

    /// The versions of an object, oldest first, without delete markers. A store without versions
    /// has one for an object that is there, and none else.
    ///
    /// # Errors
    /// As the store fails.
    async fn versions(&self, key: &ObjectKey) -> Result<Vec<ObjectStat>, StoreError>;

    /// The version that is the object, and its size as the store says: the oldest that survives, for a store that
    /// keeps versions may have let others in after it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; as [`ArtifactReader::versions`].
    async fn oldest(&self, key: &ObjectKey) -> Result<(ObjectRef, u64), StoreError> {
        let versions = self.versions(key).await?;
        let oldest = versions
            .into_iter()
            .next()
            .ok_or_else(|| StoreError::NotFound {
                key: key.to_string(),
            })?;
        let object = ObjectRef {
            key: key.clone(),
            version: oldest.version,
        };
        Ok((object, oldest.bytes))
    }

    /// How many requests a caller keeps under way at once on each of its workers.
    fn requests_in_flight(&self) -> usize {
        1
    }

    /// Where an object is, for people: `file:///...`, `s3://...`. Never dereferenced by a verifier.
    fn storage_uri(&self, key: &ObjectKey) -> String;
}

/// What is whole in a store.
#[derive(Debug, Clone, Copy)]
pub enum Whole<'a> {
    /// A pack: its manifest is there, and every artifact.
    Pack(&'a Manifest),
    /// The pack with this manifest as one object, whose bytes were found to be it.
    Bundle(&'a Manifest, &'a ObjectRef),
    /// A record: the claim that fixes its day, and its payload.
    Record(&'a [ObjectRef]),
}

/// Writing objects.
#[async_trait]
pub trait ArtifactSink: Send + Sync + fmt::Debug {
    /// Starts a write.
    ///
    /// # Errors
    /// As the store fails. That the object exists may come now or at commit.
    async fn create(
        &self,
        key: &ObjectKey,
        declared: Declared,
    ) -> Result<Box<dyn ArtifactWriter>, StoreError>;

    /// Writes a small object in one call.
    ///
    /// # Errors
    /// As [`ArtifactWriter::commit`].
    async fn put(
        &self,
        key: &ObjectKey,
        bytes: Bytes,
        declared: Declared,
    ) -> Result<Receipt, StoreError> {
        let mut writer = self.create(key, declared).await?;
        match writer.write(bytes).await {
            Ok(()) => writer.commit().await,
            Err(error) => {
                // The first failure is the one to tell; what abort leaves behind is swept later.
                let _ = writer.abort().await;
                Err(error)
            }
        }
    }

    /// Writes an object from a source that can be read more than once. A store that takes parts sends
    /// them side by side, and reads again what it has to send again.
    ///
    /// # Errors
    /// As [`ArtifactWriter::commit`], and as the source fails.
    async fn send(
        &self,
        key: &ObjectKey,
        declared: Declared,
        source: Arc<dyn Source>,
    ) -> Result<Receipt, StoreError> {
        let bytes = declared.bytes;
        let mut writer = self.create(key, declared).await?;
        let copied = async {
            // One byte more shows a source that has grown.
            let mut body = source.open(0..bytes.saturating_add(1)).await?;
            while let Some(piece) = body.next().await {
                writer.write(piece?).await?;
            }
            Ok(())
        };
        match copied.await {
            Ok(()) => writer.commit().await,
            Err(error) => {
                // The first failure is the one to tell; what abort leaves behind is swept later.
                let _ = writer.abort().await;
                Err(error)
            }
        }
    }

    /// Looks whether the object is there already, so that it need not be sent: by the store's own
    /// checksum where that covers the bytes, else by reading it back.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] where the key has other bytes; as the store fails.
    async fn find(
        &self,
        key: &ObjectKey,
        declared: &Declared,
    ) -> Result<Option<Receipt>, StoreError>;

    /// Hears whose pack is about to be written, before its first byte: what must not come here is refused now.
    ///
    /// # Errors
    /// It must not.
    async fn expect(&self, subject: &Subject) -> Result<(), StoreError> {
        let _ = subject;
        Ok(())
    }

    /// Whether [`ArtifactSink::seal`] does anything, so that what is there already is sealed too.
    fn seals(&self) -> bool {
        false
    }

    /// Hears that something is whole, after its commit and before anybody is told of it: what is to be done to evidence
    /// and not to residue is done now. Done again it changes nothing.
    ///
    /// # Errors
    /// What the store promises of evidence does not hold. What was written is there, and the same commit again may
    /// succeed.
    async fn seal(&self, whole: Whole<'_>) -> Result<(), StoreError> {
        let _ = whole;
        Ok(())
    }

    /// How many writes a caller keeps under way at once on each of its workers, so that the store
    /// can make many durable together.
    fn writes_in_flight(&self) -> usize {
        1
    }
}

/// A write under way. Dropped without commit, it leaves nothing that a reader sees.
#[async_trait]
pub trait ArtifactWriter: Send + fmt::Debug {
    /// Adds bytes.
    ///
    /// # Errors
    /// [`StoreError::NotDeclared`] where the bytes are not those declared; as the store fails.
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError>;

    /// Makes the object visible and durable.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] where the key has other bytes; [`StoreError::NotDeclared`];
    /// as the store fails. After an error the object is not there, or is there as declared.
    async fn commit(self: Box<Self>) -> Result<Receipt, StoreError>;

    /// Gives the write up.
    ///
    /// # Errors
    /// As the store fails; nothing is visible all the same.
    async fn abort(self: Box<Self>) -> Result<(), StoreError>;
}

/// A store that can be read and written.
pub trait Store: ArtifactReader + ArtifactSink {}

impl<T: ArtifactReader + ArtifactSink> Store for T {}

/// Reads a whole object of at most `bytes_max` bytes; one byte more is read to see that it is larger.
///
/// # Errors
/// As the store fails. `Ok(None)` where the object is larger.
pub(crate) async fn read_capped(
    reader: &dyn ArtifactReader,
    object: &ObjectRef,
    bytes_max: u64,
) -> Result<Option<Vec<u8>>, StoreError> {
    collect_capped(
        reader.open(object, 0..bytes_max.saturating_add(1)).await?,
        bytes_max,
    )
    .await
}

/// Collects a body of at most `bytes_max` bytes, growing as bytes come and not by what the store claims.
pub(crate) async fn collect_capped(
    mut body: ObjectBody,
    bytes_max: u64,
) -> Result<Option<Vec<u8>>, StoreError> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece?);
        if crate::count::len_u64(&bytes) > bytes_max {
            return Ok(None);
        }
    }
    Ok(Some(bytes))
}
