//! Whether a store has a storage class: what Amazon documents, and elsewhere what becomes of an object that is written there.

use std::str::FromStr as _;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, StorageClass as TheirClass};

use super::super::write::encryption;
use super::{Answer, Probe, S3Store, base64_of};
use crate::lifecycle::StorageClass;
use crate::store::StoreError;

const PROBE: &[u8] = b"a probe of a storage class";

/// Whether a store has a storage class.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClassKept {
    /// The service documents it.
    Documented,
    /// An object was written there, and is there.
    Measured,
    /// It does not: what it said or did instead.
    No {
        /// The store's word, or the class that the object is in.
        instead: String,
    },
    /// It was not found out.
    Unknown {
        /// Why not.
        why: String,
    },
}

impl S3Store {
    /// Whether the store has this class. At Amazon S3 that is documented. Elsewhere a small object is written there and
    /// removed again; where the bucket locks objects by itself, nothing is written and it stays unknown.
    ///
    /// # Errors
    /// The store cannot be asked at all.
    pub async fn keeps_class(
        &self,
        class: StorageClass,
        nonce: u64,
    ) -> Result<ClassKept, StoreError> {
        if self.is_amazon() || class == StorageClass::Standard {
            return Ok(ClassKept::Documented);
        }
        let probe = self.probe(nonce)?;
        if probe.object_lock().await.locks_by_itself() {
            let why = "the bucket locks every new object, so a probe would stay".to_owned();
            return Ok(ClassKept::Unknown { why });
        }
        let kept = probe.class(class).await;
        // Whoever may not remove leaves a few bytes that `gc` takes away.
        let _ = probe.clean().await;
        Ok(kept)
    }
}

impl Probe<'_> {
    async fn class(&self, class: StorageClass) -> ClassKept {
        let theirs = TheirClass::from(class.as_str());
        let name = self.name(&format!("class-{class}"));
        let (sse, key_id) = encryption(self.store);
        let put = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(&name)
            .storage_class(theirs.clone())
            .set_server_side_encryption(sse)
            .set_ssekms_key_id(key_id)
            .set_expected_bucket_owner(self.store.owner())
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .checksum_sha256(base64_of(PROBE))
            .body(ByteStream::from_static(PROBE));
        match Answer::of(put.send().await).0 {
            Answer::Done => {}
            Answer::Refused(401 | 403, code) => {
                let why = format!("a probe may not be written, code=`{code}`");
                return ClassKept::Unknown { why };
            }
            Answer::Refused(_, instead) => return ClassKept::No { instead },
            Answer::Failed(why) => return ClassKept::Unknown { why },
        }
        let head = self.client.head_object().bucket(&self.bucket).key(&name);
        let (answer, head) = Answer::of(head.send().await);
        let Some(head) = head else {
            let why = match answer {
                Answer::Refused(status, code) => format!("the store answered {status} {code}"),
                _ => "the probe could not be looked at".to_owned(),
            };
            return ClassKept::Unknown { why };
        };
        // A store that names none means the usual one.
        let found = head.storage_class.unwrap_or(TheirClass::Standard);
        if StorageClass::from_str(found.as_str()) == Ok(class) {
            ClassKept::Measured
        } else {
            let instead = found.as_str().to_owned();
            ClassKept::No { instead }
        }
    }
}
