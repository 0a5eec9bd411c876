//! Fetching the keys of an issuer: the one request that this server sends on account of a token.
//!
//! Invariants: the address is the policy's (threat C36) and no redirect is followed, so that no issuer leads us
//! elsewhere; the answer is 200, JSON and small, and is there in time (threat C20); plain HTTP goes to this machine
//! only.

use std::fmt;
use std::time::Duration;

use axum::http::{Request, Response, StatusCode, Uri, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// Where keys are, and whom to trust for it. Two sources that are equal are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    uri: Uri,
    ca_pem: Option<Vec<u8>>,
}

/// Why nothing can be fetched from there, ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SourceError {
    /// No address that is taken.
    Address,
    /// The file that was named has no certificate.
    Certificates,
    /// The system trusts nobody.
    NoRoots,
    /// The TLS library has not what it needs.
    Tls,
}

impl Source {
    /// An address with `https`, or with `http` on this machine.
    pub(super) fn new(address: &str, ca_pem: Option<Vec<u8>>) -> Result<Self, SourceError> {
        let uri: Uri = address.parse().map_err(|_| SourceError::Address)?;
        let host = uri.host().unwrap_or_default();
        let is_plain = uri.scheme_str() == Some("http");
        let is_taken = (uri.scheme_str() == Some("https") || is_plain && is_loopback(host))
            && !host.is_empty()
            && !uri.authority().is_some_and(|it| it.as_str().contains('@'))
            && !address.contains('#');
        if is_taken {
            Ok(Self { uri, ca_pem })
        } else {
            Err(SourceError::Address)
        }
    }

    fn roots(&self) -> Result<RootCertStore, SourceError> {
        let mut roots = RootCertStore::empty();
        if let Some(pem) = &self.ca_pem {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|_| SourceError::Certificates)?;
                roots
                    .add(certificate)
                    .map_err(|_| SourceError::Certificates)?;
            }
            if roots.is_empty() {
                return Err(SourceError::Certificates);
            }
        } else if self.uri.scheme_str() == Some("https") {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(SourceError::NoRoots);
            }
        }
        Ok(roots)
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<std::net::IpAddr>()
        .is_ok_and(|address| address.is_loopback())
}

/// Why there was no answer, or not the right one.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no answer in time, milliseconds=`{0}`")]
    Late(u128),
    #[error("no answer")]
    Request(#[source] hyper_util::client::legacy::Error),
    #[error("the answer is not 200, status=`{}`", .0.as_u16())]
    Status(StatusCode),
    #[error("the answer is not plain JSON")]
    MediaType,
    #[error("the answer broke off, or is longer than `{0}` bytes")]
    Body(usize, #[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Fetches from one source.
pub(super) struct Fetcher {
    source: Source,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

impl Fetcher {
    pub(super) fn new(source: Source) -> Result<Self, SourceError> {
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| SourceError::Tls)?
            .with_root_certificates(source.roots()?)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new())
            // One request in ten minutes needs no connection that is kept.
            .pool_max_idle_per_host(0)
            .build(connector);
        Ok(Self { source, client })
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// The document, whole.
    pub(super) async fn fetch(
        &self,
        deadline: Duration,
        bytes_max: usize,
    ) -> Result<Bytes, FetchError> {
        tokio::time::timeout(deadline, self.fetch_without_end(bytes_max))
            .await
            .unwrap_or(Err(FetchError::Late(deadline.as_millis())))
    }

    async fn fetch_without_end(&self, bytes_max: usize) -> Result<Bytes, FetchError> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.source.uri.clone();
        request.headers_mut().insert(
            header::ACCEPT,
            header::HeaderValue::from_static("application/json"),
        );
        let response = self.client.request(request).await;
        let response = response.map_err(FetchError::Request)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        if !is_json(&response) {
            return Err(FetchError::MediaType);
        }
        let body = Limited::new(response.into_body(), bytes_max);
        match body.collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) => Err(FetchError::Body(bytes_max, error)),
        }
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fetcher").field(&self.source.uri).finish()
    }
}

fn is_json(response: &Response<Incoming>) -> bool {
    let headers = response.headers();
    let Some(Ok(media_type)) = headers.get(header::CONTENT_TYPE).map(|it| it.to_str()) else {
        return false;
    };
    let (media_type, _) = media_type.split_once(';').unwrap_or((media_type, ""));
    ["application/json", "application/jwk-set+json"]
        .iter()
        .any(|json| media_type.trim().eq_ignore_ascii_case(json))
        && !headers.contains_key(header::CONTENT_ENCODING)
}
