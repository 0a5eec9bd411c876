//! Whether the bucket answers, and if not, which setting is wrong.

use std::time::Duration;

use aws_sdk_s3::config::Builder;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::error::SdkError;

use super::S3Store;
use super::fault::Fault;
use super::open::unusable;
use crate::store::StoreError;

/// For the whole check.
const PATIENCE: Duration = Duration::from_secs(8);

impl S3Store {
    /// Whether the bucket answers with these credentials: one request for one name, at most 8 seconds in all.
    ///
    /// # Errors
    /// [`StoreError::Unusable`], in one line which of endpoint, bucket, region and credentials is wrong and what to
    /// do. [`StoreError::Unreachable`] where the endpoint does not answer as a store. [`StoreError::Denied`] where the
    /// store knows the credentials and they may not list: whoever only writes or only reads by key can go on.
    pub async fn check(&self) -> Result<(), StoreError> {
        let hasty = Builder::new()
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(2)
                    .with_initial_backoff(Duration::from_millis(200)),
            )
            .timeout_config(TimeoutConfig::builder().operation_timeout(PATIENCE).build());
        let asked = self
            .client()?
            .list_objects_v2()
            .bucket(self.bucket())
            .prefix(self.name(""))
            .max_keys(1)
            .set_expected_bucket_owner(self.owner())
            .customize()
            .config_override(hasty)
            .send()
            .await;
        let error = match asked {
            Ok(page) if page.name().is_some() || page.key_count().is_some() => return Ok(()),
            Ok(_) => {
                return Err(unusable(format!(
                    "what answers at the endpoint is no object store, correct it, endpoint=`{}`",
                    self.endpoint_text()
                )));
            }
            Err(error) => error,
        };
        let is_silent = matches!(error, SdkError::TimeoutError(_));
        let endpoint = self.endpoint_text();
        let unreachable = |reason| Err(StoreError::Unreachable { reason });
        match Fault::from(error).into_error(self, "listing", self.settings().path_prefix.as_str()) {
            told @ (StoreError::Denied { .. }
            | StoreError::Unusable { .. }
            | StoreError::Unreachable { .. }) => Err(told),
            _ if is_silent => unreachable(format!(
                "nothing answers at the endpoint, correct it or open the way to it, endpoint=`{endpoint}`"
            )),
            StoreError::Unavailable { source, .. } => unreachable(format!(
                "the endpoint does not answer as an object store does, correct it or try later, endpoint=`{endpoint}` met=`{source}`"
            )),
            other => Err(unusable(format!(
                "the endpoint refuses to list the bucket, correct endpoint or bucket, endpoint=`{endpoint}` bucket=`{}` met=`{other}`",
                self.bucket()
            ))),
        }
    }
}
