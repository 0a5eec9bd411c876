//! One SDK client for each runtime: a connection is driven by the runtime that made it.
//!
//! Work runs on short-lived runtimes, one a thread (`crate::workers`), so a client is kept for the thread and
//! runtime that it was made on. What is costly or must be counted together is shared by all of them: the
//! credentials, the budget of retries, and whether the store has ever answered. Invariants: no redirect is
//! followed (threat S22); a signature carries this machine's time and never one that a store told us; every
//! request body is signed by its digest, over plain HTTP too.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Builder, Config, IdentityCache, Region, RequestChecksumCalculation,
    ResponseChecksumValidation, SharedCredentialsProvider, SharedHttpClient,
    StalledStreamProtectionConfig,
};
use aws_smithy_http_client::tls;
use aws_smithy_runtime::client::retries::RetryPartition;
use tokio::runtime::{Handle, Id};

use super::settings::{Addressing, Deadlines, S3Settings};
use super::watch::{Patience, Watch};
use crate::store::StoreError;

/// The longest that a store may ask to be left alone.
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(20);
/// Before the first retry, on average half of it; doubled for each further one.
pub(super) const BACKOFF_FIRST: Duration = Duration::from_millis(500);

/// A thread keeps so many clients: a few stores at once, and none of runtimes that are long gone.
const CLIENTS_MAX: usize = 4;

thread_local! {
    static CLIENTS: RefCell<Vec<(u64, Id, Client)>> = const { RefCell::new(Vec::new()) };
}

/// Clients of one store.
#[derive(Debug)]
pub(super) struct Clients {
    id: u64,
    config: Config,
    tls: tls::TlsContext,
    answered: Arc<AtomicBool>,
}

impl Clients {
    pub(super) fn new(
        settings: &S3Settings,
        region: Region,
        credentials: SharedCredentialsProvider,
        tls: tls::TlsContext,
    ) -> Self {
        static IDS: AtomicU64 = AtomicU64::new(0);
        let answered = Arc::new(AtomicBool::new(false));
        let mut config = Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(region)
            .credentials_provider(credentials)
            .identity_cache(IdentityCache::lazy().build())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            // Both directions have floors of our own.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .disable_clock_skew_correction(true)
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(settings.deadlines.attempts.max(1))
                    .with_initial_backoff(BACKOFF_FIRST)
                    .with_max_backoff(BACKOFF_MAX),
            )
            .retry_partition(RetryPartition::custom("runpack").build())
            .retry_classifier(Patience::new(Arc::clone(&answered)))
            .timeout_config(timeouts(&settings.deadlines, 0))
            .interceptor(Watch::new(Arc::clone(&answered)));
        if let Some(endpoint) = &settings.endpoint {
            config = config.endpoint_url(endpoint.as_str());
        }
        let is_path = match settings.addressing {
            Addressing::Automatic => settings.endpoint.is_some(),
            Addressing::Path => true,
            Addressing::VirtualHost => false,
        };
        Self {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            config: config.force_path_style(is_path).build(),
            tls,
            answered,
        }
    }

    /// The client of the runtime that asks.
    pub(super) fn here(&self) -> Result<Client, StoreError> {
        let runtime = Handle::try_current().map_err(|_| StoreError::Unusable {
            reason: "it is used outside of a tokio runtime, which is a bug".to_owned(),
        })?;
        let (id, runtime) = (self.id, runtime.id());
        CLIENTS.with_borrow_mut(|clients| {
            if let Some((_, _, client)) = clients
                .iter()
                .find(|(store, on, _)| *store == id && *on == runtime)
            {
                return Ok(client.clone());
            }
            let config = self.config.to_builder().http_client(http_client(&self.tls));
            let client = Client::from_conf(config.build());
            if clients.len() >= CLIENTS_MAX {
                clients.remove(0);
            }
            clients.push((id, runtime, client.clone()));
            Ok(client)
        })
    }

    pub(super) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }
}

/// An HTTP client over rustls, with connections of its own.
pub(super) fn http_client(tls: &tls::TlsContext) -> SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(
            tls::rustls_provider::CryptoMode::Ring,
        ))
        .tls_context(tls.clone())
        .build_https()
}

/// How long to wait for a request that moves `bytes` bytes.
pub(super) fn timeouts(deadlines: &Deadlines, bytes: u64) -> TimeoutConfig {
    let moving = Duration::from_secs(
        bytes
            .checked_div(deadlines.bytes_per_second_min)
            .unwrap_or(bytes),
    );
    TimeoutConfig::builder()
        .connect_timeout(deadlines.connect)
        .operation_attempt_timeout(deadlines.attempt.saturating_add(moving))
        .operation_timeout(deadlines.request.saturating_add(moving))
        .build()
}
