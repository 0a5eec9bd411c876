//! Whom this program asks over HTTP: an issuer for its keys, another server for what it has.
//!
//! Invariants: plain HTTP goes to this machine only; no redirect is followed, so that nobody leads us elsewhere (threat
//! C36); whom a certificate must come from is the system's choice or the caller's, and never nobody's.

use std::fmt;
use std::sync::Arc;

use axum::http::{Request, Response, Uri};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// Where somebody is, and whom to trust for it. Two remotes that are equal are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remote {
    uri: Uri,
    ca_pem: Option<Vec<u8>>,
}

/// Why somebody can never be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// No address that is taken.
    #[error("it is no address with `https`, or with `http` and a number of this machine")]
    Address,
    /// The certificates that were given are none.
    #[error("there is no certificate in what was named as such")]
    Certificates,
    /// The system trusts nobody.
    #[error("this system trusts no certificate")]
    NoRoots,
    /// The TLS library has not what it needs.
    #[error("the TLS library has not what it needs")]
    Tls,
}

impl Remote {
    /// An address with `https`, or with `http` on this machine.
    pub(crate) fn new(address: &str, ca_pem: Option<Vec<u8>>) -> Result<Self, RemoteError> {
        let uri: Uri = address.parse().map_err(|_| RemoteError::Address)?;
        let host = uri.host().unwrap_or_default();
        let is_plain = uri.scheme_str() == Some("http");
        let is_taken = (uri.scheme_str() == Some("https") || is_plain && is_loopback(host))
            && !host.is_empty()
            && !uri.authority().is_some_and(|it| it.as_str().contains('@'))
            && !address.contains('#');
        if is_taken {
            Ok(Self { uri, ca_pem })
        } else {
            Err(RemoteError::Address)
        }
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    fn roots(&self) -> Result<RootCertStore, RemoteError> {
        let mut roots = RootCertStore::empty();
        if let Some(pem) = &self.ca_pem {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|_| RemoteError::Certificates)?;
                roots
                    .add(certificate)
                    .map_err(|_| RemoteError::Certificates)?;
            }
            if roots.is_empty() {
                return Err(RemoteError::Certificates);
            }
        } else if self.uri.scheme_str() == Some("https") {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(RemoteError::NoRoots);
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

/// No answer came.
pub(crate) type NoAnswer = legacy::Error;

/// Asks a remote. It asks seldom, and keeps no connection for the next time.
#[derive(Clone)]
pub(crate) struct Asker {
    remote: Remote,
    client: legacy::Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

impl Asker {
    pub(crate) fn new(remote: Remote) -> Result<Self, RemoteError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| RemoteError::Tls)?
            .with_root_certificates(remote.roots()?)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector);
        Ok(Self { remote, client })
    }

    pub(crate) fn remote(&self) -> &Remote {
        &self.remote
    }

    pub(crate) async fn ask(
        &self,
        request: Request<Empty<Bytes>>,
    ) -> Result<Response<Incoming>, NoAnswer> {
        self.client.request(request).await
    }
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Asker").field(&self.remote.uri).finish()
    }
}
