//! For a crate that asks more of a bucket than a store does: the client, and how names and errors are spelled.
//!
//! The one public place with types of the SDK; whatever else is public hides them. `cargo xtask tidy` says which crates
//! may use it.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

use super::S3Store;
use super::fault::Fault;
use crate::digest::Digest;
use crate::store::StoreError;

/// Hears the body of an answer, for whoever has to tell it from another: given to a request as an interceptor.
#[derive(Debug, Clone, Default)]
pub struct AnswerBody(Arc<Mutex<Option<Digest>>>);

impl AnswerBody {
    /// The SHA-256 of the body as the store sent it; `None` before there was an answer.
    pub fn sha256(&self) -> Option<Digest> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[dyn_dispatch_hint]
impl Intercept for AnswerBody {
    fn name(&self) -> &'static str {
        "runpack-answer-body"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // Answers that are no objects are in memory by now.
        let digest = context.response().body().bytes().map(Digest::of);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = digest;
        Ok(())
    }
}

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
