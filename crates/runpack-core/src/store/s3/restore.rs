//! Asking an object back from an archive.

use aws_sdk_s3::operation::restore_object::RestoreObjectError;
use aws_sdk_s3::types::{RestoreRequest, StorageClass};

use super::S3Store;
use super::fault::Fault;
use super::watch::Heard;
use crate::store::{ObjectRef, StoreError};

/// How it stands with an object that was asked back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restore {
    /// It was asked for now; it takes minutes to days.
    Requested,
    /// It was asked for before and is on its way.
    UnderWay,
    /// It can be read already.
    NotArchived,
}

impl S3Store {
    /// Asks an object back from an archive, to be readable for `days` days.
    ///
    /// # Errors
    /// As the store fails.
    pub async fn restore(&self, object: &ObjectRef, days: u16) -> Result<Restore, StoreError> {
        let key = object.key.as_str();
        let version = object.version.as_ref();
        // An object of this class goes back to its frequent tier for good, and a number of days is refused (Amazon S3,
        // "Restoring an archived object").
        let class = self.head(object).await?.storage_class;
        let days = (class != Some(StorageClass::IntelligentTiering)).then(|| i32::from(days));
        let heard = Heard::default();
        let asked = self
            .client()?
            .restore_object()
            .bucket(self.bucket())
            .key(self.name(key))
            .set_version_id(version.map(|version| version.as_str().to_owned()))
            .restore_request(RestoreRequest::builder().set_days(days).build())
            .set_expected_bucket_owner(self.owner())
            .customize()
            .interceptor(heard.clone())
            .send()
            .await;
        let error = match asked {
            // A copy that is there already is kept longer, and the answer is 200 in place of 202.
            Ok(_) if heard.status() == 200 => return Ok(Restore::NotArchived),
            Ok(_) => return Ok(Restore::Requested),
            Err(error) => error,
        };
        if matches!(
            error.as_service_error(),
            Some(RestoreObjectError::ObjectAlreadyInActiveTierError(_))
        ) {
            return Ok(Restore::NotArchived);
        }
        let fault = Fault::from(error);
        if fault.has_code("RestoreAlreadyInProgress") {
            return Ok(Restore::UnderWay);
        }
        // An object that never was in an archive.
        if fault.has_code("InvalidObjectState") {
            return Ok(Restore::NotArchived);
        }
        if fault.is_missing_version(version) {
            let key = key.to_owned();
            return Err(StoreError::NotFound { key });
        }
        Err(fault.into_error(self, "asking an object back", key))
    }
}
