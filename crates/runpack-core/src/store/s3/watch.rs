//! What is done at every request: signing by a digest that is known, noticing that the store answers, and
//! deciding what is worth another attempt.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_runtime::auth::PayloadSigningOverride;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextMut, BeforeDeserializationInterceptorContextRef,
    BeforeTransmitInterceptorContextMut, InterceptorContext,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::retries::classifiers::{
    ClassifyRetry, RetryAction, RetryClassifierPriority, RetryReason,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::retry::ErrorKind;
use http_body_util::Limited;

use super::checksum;
use super::fault::{Unreached, unreached};
use super::settings::BACKOFF_MAX;

/// The largest answer that is not an object: a page of a thousand long names takes a few MiB.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Sees every request and answer.
#[derive(Debug)]
pub(super) struct Watch {
    answered: Arc<AtomicBool>,
}

impl Watch {
    pub(super) fn new(answered: Arc<AtomicBool>) -> Self {
        Self { answered }
    }
}

#[dyn_dispatch_hint]
impl Intercept for Watch {
    fn name(&self) -> &'static str {
        "runpack"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request();
        let header = |name| request.headers().get(name);
        // The checksum of a body that is sent is the digest that its signature needs: it is not hashed again,
        // and a body that is streamed is signed as well.
        if request.method() == "PUT" && header("x-amz-sdk-checksum-algorithm") == Some("SHA256") {
            let digest = header("x-amz-checksum-sha256").and_then(checksum::parse);
            let digest = digest.ok_or("a body is sent without its digest, which is a bug")?;
            let payload = PayloadSigningOverride::Precomputed(digest.to_string());
            config.interceptor_state().store_put(payload);
        }
        Ok(())
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.answered.store(true, Ordering::Relaxed);
        // The SDK reads every answer into memory whole, but an object (threats S03, S16).
        let response = context.response_mut();
        let is_object = config
            .load::<Metadata>()
            .is_some_and(|operation| operation.name() == "GetObject");
        if !(is_object && response.status().is_success()) {
            let body = std::mem::replace(response.body_mut(), SdkBody::taken());
            *response.body_mut() = SdkBody::from_body_1_x(Limited::new(body, ANSWER_BYTES_MAX));
        }
        Ok(())
    }
}

/// What the last answer to one request said beside what the SDK passes on.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard(Arc<Mutex<(u16, Option<String>)>>);

impl Heard {
    pub(super) fn status(&self) -> u16 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// The header `Date`.
    pub(super) fn date(&self) -> Option<String> {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.1.clone()
    }
}

#[dyn_dispatch_hint]
impl Intercept for Heard {
    fn name(&self) -> &'static str {
        "runpack-heard"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        let date = response.headers().get("date").map(str::to_owned);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (response.status().as_u16(), date);
        Ok(())
    }
}

/// Says what is worth another attempt, beside what the SDK knows, and when.
#[derive(Debug)]
pub(super) struct Patience {
    answered: Arc<AtomicBool>,
}

impl Patience {
    pub(super) fn new(answered: Arc<AtomicBool>) -> Self {
        Self { answered }
    }
}

impl ClassifyRetry for Patience {
    fn classify_retry(&self, _: &InterceptorContext) -> RetryAction {
        RetryAction::NoActionIndicated
    }

    fn classify_retry_v2(&self, context: &InterceptorContext, so_far: &RetryAction) -> RetryAction {
        let Some(Err(error)) = context.output_or_error() else {
            return RetryAction::NoActionIndicated;
        };
        if let Some(connector) = error.as_connector_error() {
            // What a wrong setting does once it does again.
            return match unreached(connector) {
                Some(Unreached::Tls(_)) => RetryAction::RetryForbidden,
                Some(_) if !self.answered.load(Ordering::Relaxed) => RetryAction::RetryForbidden,
                _ => RetryAction::NoActionIndicated,
            };
        }
        let Some(response) = context.response() else {
            return RetryAction::NoActionIndicated;
        };
        let kind = match (so_far, response.status().as_u16()) {
            (RetryAction::RetryIndicated(RetryReason::RetryableError { kind, .. }), _) => *kind,
            (_, 429) => ErrorKind::ThrottlingError,
            (_, 408) => ErrorKind::TransientError,
            _ => return RetryAction::NoActionIndicated,
        };
        let number = |name| {
            let header = response.headers().get(name)?;
            header.trim().parse::<u64>().ok()
        };
        let asked = number("x-amz-retry-after")
            .map(Duration::from_millis)
            .or_else(|| number("retry-after").map(Duration::from_secs));
        match asked {
            Some(asked) => {
                RetryAction::retryable_error_with_explicit_delay(kind, asked.min(BACKOFF_MAX))
            }
            None => RetryAction::retryable_error(kind),
        }
    }

    fn name(&self) -> &'static str {
        "runpack"
    }

    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(RetryClassifierPriority::transient_error_classifier())
    }
}
