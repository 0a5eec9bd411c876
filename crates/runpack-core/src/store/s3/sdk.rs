//! For a crate that asks more of a bucket than a store does: the client, and how names and errors are spelled.
//!
//! The one public place with types of the SDK; whatever else is public hides them. `cargo xtask tidy` says which crates
//! may use it.

use std::error::Error;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::S3Store;
use super::fault::Fault;
use crate::store::StoreError;

impl S3Store {
    /// The client of the runtime that asks, with the credentials, trust, deadlines and retries of this store.
    ///
    /// # Errors
    /// There is no tokio runtime here.
    pub fn client(&self) -> Result<Client, StoreError> {
        self.shared.clients.here()
    }

    /// The name in the bucket of what has this key in the store.
    pub fn name(&self, key: &str) -> String {
        self.settings().path_prefix.join(key)
    }

    /// The account that must own the bucket, as requests name it.
    pub fn owner(&self) -> Option<String> {
        self.settings().expected_owner.clone()
    }

    /// What a request met that `action` on `key` was to do, as the store's own calls say it.
    pub fn error<E>(
        &self,
        error: SdkError<E, HttpResponse>,
        action: &'static str,
        key: &str,
    ) -> StoreError
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        Fault::from(error).into_error(self, action, key)
    }
}
