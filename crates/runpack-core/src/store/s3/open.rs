//! From settings to what a client needs: trust, region, credentials. Nothing is asked of the bucket.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials as Identity, Region, SharedCredentialsProvider,
};
use aws_smithy_http_client::tls::{TlsContext, TrustStore};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::client::{Clients, http_client};
use super::settings::{Credentials, PlainHttp, S3Settings};
use crate::store::StoreError;

/// Where nobody names a region.
const REGION: Region = Region::from_static("us-east-1");

pub(super) fn unusable(reason: impl Into<String>) -> StoreError {
    StoreError::Unusable {
        reason: reason.into(),
    }
}

/// What requests need.
pub(super) async fn clients(settings: &S3Settings) -> Result<(Clients, Region), StoreError> {
    check(settings)?;
    let trust = trust(settings)?;
    let (credentials, region) = match &settings.credentials {
        Credentials::Keys {
            access_key,
            secret_key,
            session_token,
        } => {
            let token = session_token
                .as_ref()
                .map(|token| token.reveal().to_owned());
            let keys = Identity::new(access_key, secret_key.reveal(), token, None, "runpack");
            (SharedCredentialsProvider::new(keys), region(settings).await)
        }
        Credentials::Chain => chain(settings).await?,
    };
    let clients = Clients::new(settings, region.clone(), credentials, tls(trust)?);
    Ok((clients, region))
}

/// What no type of the settings keeps.
fn check(settings: &S3Settings) -> Result<(), StoreError> {
    if let Some(endpoint) = &settings.endpoint
        && endpoint.is_plain()
        && !endpoint.is_loopback()
        && settings.plain_http == PlainHttp::OnlyLoopback
    {
        return Err(unusable(format!(
            "plain HTTP leaves this machine only where that is allowed, use https, endpoint=`{endpoint}`"
        )));
    }
    if let Some(owner) = &settings.expected_owner
        && !(owner.len() == 12 && owner.bytes().all(|byte| byte.is_ascii_digit()))
    {
        return Err(unusable(format!(
            "an expected owner is an account's 12 digits, found=`{owner}`"
        )));
    }
    Ok(())
}

/// Whose word is taken for an endpoint's name.
fn trust(settings: &S3Settings) -> Result<TrustStore, StoreError> {
    if let Some(pem) = &settings.ca_pem {
        let wrong = || unusable("`ca_file` holds no certificates that can be read (PEM)");
        let mut count = 0_usize;
        // The HTTP client takes it for granted that they can be read.
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|_| wrong())?;
            RootCertStore::empty()
                .add(certificate)
                .map_err(|_| wrong())?;
            count = count.saturating_add(1);
        }
        if count == 0 {
            return Err(wrong());
        }
        return Ok(TrustStore::empty().with_pem_certificate(pem.clone()));
    }
    let is_plain = settings
        .endpoint
        .as_ref()
        .is_some_and(super::Endpoint::is_plain);
    if is_plain {
        return Ok(TrustStore::empty());
    }
    if has_native_roots() {
        Ok(TrustStore::default())
    } else {
        Err(unusable(
            "this machine has no certificates to trust, install its package `ca-certificates` or name a file in `ca_file`",
        ))
    }
}

fn has_native_roots() -> bool {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs().certs;
    roots.add_parsable_certificates(found).0 > 0
}

fn tls(trust: TrustStore) -> Result<TlsContext, StoreError> {
    TlsContext::builder()
        .with_trust_store(trust)
        .build()
        .map_err(|error| unusable(super::fault::spelled(&error)))
}

/// The region for requests with keys that were given.
async fn region(settings: &S3Settings) -> Region {
    if let Some(region) = &settings.region {
        return Region::new(region.clone());
    }
    let chain = if settings.endpoint.is_some() {
        // No machine of Amazon's is asked about another's store.
        RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
            .or_else(ProfileFileRegionProvider::new())
    } else {
        RegionProviderChain::default_provider()
    };
    chain.or_else(REGION).region().await.unwrap_or(REGION)
}

/// Credentials from whoever the standard chain finds, asked when they are needed first.
async fn chain(settings: &S3Settings) -> Result<(SharedCredentialsProvider, Region), StoreError> {
    let region = region(settings).await;
    // Token services are reached over TLS by the trust of the system, and by that of the store where one is
    // named: both may be in the same house.
    let native = TrustStore::empty().with_native_roots(has_native_roots());
    let trust = match &settings.ca_pem {
        Some(pem) => native.with_pem_certificate(pem.clone()),
        None => native,
    };
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(settings.deadlines.connect)
        .operation_attempt_timeout(Duration::from_secs(10))
        .build();
    let loaded = aws_config::defaults(BehaviorVersion::latest())
        .region(region.clone())
        .http_client(http_client(&tls(trust)?))
        .timeout_config(timeouts)
        .load()
        .await;
    let credentials = loaded
        .credentials_provider()
        .ok_or_else(|| unusable("the AWS configuration turns credentials off"))?;
    Ok((credentials, region))
}
