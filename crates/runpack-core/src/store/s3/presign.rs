//! URLs that carry a signature: whoever has one may do one thing until it expires.

use std::fmt;
use std::time::Duration;

use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};
use aws_sdk_s3::types::ChecksumAlgorithm;

use super::fault::Fault;
use super::open::unusable;
use super::write::{condition, encryption};
use super::{S3Store, checksum, policy};
use crate::digest::Digest;
use crate::key::ObjectKey;
use crate::store::{ObjectRef, StoreError};

/// The longest that a signature holds (Amazon S3 API, "Authenticating requests: query parameters").
const VALID_MAX: Duration = Duration::from_hours(7 * 24);

/// A request that anybody may send who has it.
#[derive(Debug, Clone)]
pub struct Presigned {
    /// `GET` or `PUT`.
    pub method: &'static str,
    /// Where to send it.
    pub url: SignedUrl,
    /// The headers that must go with it, exactly.
    pub headers: Vec<(String, String)>,
    /// How long it holds, or less where the credentials expire before.
    pub expires_in: Duration,
}

/// A URL that no debug print shows, because it is as good as a credential (threat K01).
#[derive(Clone, PartialEq, Eq)]
pub struct SignedUrl(Box<str>);

impl SignedUrl {
    /// The URL itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SignedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(redacted)")
    }
}

impl Presigned {
    fn new(method: &'static str, request: &PresignedRequest, expires_in: Duration) -> Self {
        let headers = request
            .headers()
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            method,
            url: SignedUrl(request.uri().into()),
            headers: headers.collect(),
            expires_in,
        }
    }
}

/// The largest object that one request brings.
const PUT_BYTES_MAX: u64 = 5 << 30;

fn holds(valid_for: Duration) -> Result<PresigningConfig, StoreError> {
    if valid_for.is_zero() || valid_for > VALID_MAX {
        return Err(unusable("a URL may be valid for a second to seven days"));
    }
    PresigningConfig::expires_in(valid_for).map_err(|error| unusable(error.to_string()))
}

impl S3Store {
    /// A URL to read an object with.
    ///
    /// The expected owner of the bucket is not asked for: it would be a header under the signature, and whoever follows a
    /// link sends none. What is read is held against its commitment by whoever minds.
    ///
    /// # Errors
    /// The duration is none that a signature can have; no credentials.
    pub async fn presign_get(
        &self,
        object: &ObjectRef,
        valid_for: Duration,
    ) -> Result<Presigned, StoreError> {
        let key = object.key.as_str();
        let version = object.version.as_ref();
        let signed = self
            .shared
            .clients
            .signer()
            .get_object()
            .bucket(self.bucket())
            .key(self.name(key))
            .set_version_id(version.map(|version| version.as_str().to_owned()))
            .presigned(holds(valid_for)?)
            .await
            .map_err(|error| Fault::from(error).into_error(self, "signing", key))?;
        Ok(Presigned::new("GET", &signed, valid_for))
    }

    /// A URL to write an object of `bytes` bytes with, which must have this SHA-256 and must be new: size, digest and the
    /// condition are under the signature.
    ///
    /// # Errors
    /// As [`S3Store::presign_get`]; an object of more than 5 GiB, which one request cannot bring (Amazon S3 user guide,
    /// "Uploading objects").
    pub async fn presign_put(
        &self,
        key: &ObjectKey,
        bytes: u64,
        sha256: &Digest,
        valid_for: Duration,
    ) -> Result<Presigned, StoreError> {
        if bytes > PUT_BYTES_MAX {
            return Err(unusable(format!(
                "a URL to write with is for at most 5 GiB: push it instead, key=`{key}` bytes=`{bytes}`"
            )));
        }
        let (encryption, key_id) = encryption(self);
        let (lock_mode, locked_until) = policy::lock(self, key)?;
        let signed = self
            .shared
            .clients
            .signer()
            .put_object()
            .bucket(self.bucket())
            .key(self.name(key.as_str()))
            .content_length(i64::try_from(bytes).unwrap_or(i64::MAX))
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .checksum_sha256(checksum::text(sha256))
            .set_if_none_match(condition(self))
            .set_server_side_encryption(encryption)
            .set_ssekms_key_id(key_id)
            .set_object_lock_mode(lock_mode)
            .set_object_lock_retain_until_date(locked_until)
            .set_expected_bucket_owner(self.owner())
            .presigned(holds(valid_for)?)
            .await
            .map_err(|error| Fault::from(error).into_error(self, "signing", key.as_str()))?;
        Ok(Presigned::new("PUT", &signed, valid_for))
    }
}
