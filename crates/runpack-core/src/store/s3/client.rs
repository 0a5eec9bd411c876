//! One SDK client for each runtime: a connection is driven by the runtime that made it.
//!
//! Work runs on short-lived runtimes, one a thread (`crate::workers`), so a client is kept for the thread and
//! runtime that it was made on. What is costly or must be counted together is shared by all of them: the
//! credentials, the budget of retries, and whether the store has ever answered. Invariants: no redirect is
//! followed (threat S22); a signature carries this machine's time and never one that a store told us; every
//! request body is signed by its digest, over plain HTTP too.

use std::cell::RefCell;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
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

use super::settings::{Addressing, BACKOFF_FIRST, BACKOFF_MAX, Deadlines, S3Settings};
use super::watch::{Patience, Watch};
use crate::store::StoreError;

/// A thread keeps so many clients of one store: those of its last runtimes.
const CLIENTS_MAX: usize = 2;

thread_local! {
    static CLIENTS: RefCell<Vec<Kept>> = const { RefCell::new(Vec::new()) };
}

/// A client, and what it is for.
struct Kept {
    /// Whether any request was ever answered, which lives as long as its store.
    store: Weak<AtomicBool>,
    runtime: Id,
    client: Client,
}

/// Clients of one store.
#[derive(Debug)]
pub(super) struct Clients {
    config: Config,
    /// Signs URLs, whose bodies nobody knows yet.
    signer: Client,
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
            .timeout_config(timeouts(&settings.deadlines, 0));
        if let Some(endpoint) = &settings.endpoint {
            config = config.endpoint_url(endpoint.as_str());
        }
        let is_path = match settings.addressing {
            Addressing::Automatic => settings.endpoint.is_some(),
            Addressing::Path => true,
            Addressing::VirtualHost => false,
        };
        let config = config.force_path_style(is_path);
        // It sends nothing.
        let signer = config.clone().http_client(http_client(&tls)).build();
        Self {
            config: config
                .interceptor(Watch::new(Arc::clone(&answered)))
                .build(),
            signer: Client::from_conf(signer),
            tls,
            answered,
        }
    }

    /// The client of the runtime that asks.
    pub(super) fn here(&self) -> Result<Client, StoreError> {
        let runtime = Handle::try_current().map_err(|_| StoreError::Unusable {
            reason: "it is used outside of a tokio runtime, which is a bug".to_owned(),
        })?;
        let runtime = runtime.id();
        CLIENTS.with_borrow_mut(|clients| {
            let is_ours =
                |kept: &Kept| std::ptr::eq(kept.store.as_ptr(), Arc::as_ptr(&self.answered));
            let kept = clients
                .iter()
                .find(|kept| is_ours(kept) && kept.runtime == runtime);
            if let Some(kept) = kept {
                return Ok(kept.client.clone());
            }
            let config = self.config.to_builder().http_client(http_client(&self.tls));
            let client = Client::from_conf(config.build());
            clients.retain(|kept| kept.store.strong_count() > 0);
            if clients.iter().filter(|kept| is_ours(kept)).count() >= CLIENTS_MAX
                && let Some(oldest) = clients.iter().position(is_ours)
            {
                clients.remove(oldest);
            }
            clients.push(Kept {
                store: Arc::downgrade(&self.answered),
                runtime,
                client: client.clone(),
            });
            Ok(client)
        })
    }

    /// The client that signs URLs and sends nothing.
    pub(super) fn signer(&self) -> &Client {
        &self.signer
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
