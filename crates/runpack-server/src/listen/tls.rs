//! TLS 1.2 and 1.3, with a certificate that can be renewed while it is used.
//!
//! Invariant: a connection is made with a certificate and a key that belong together, or not at all; files that are bad
//! change nothing.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::ListenError;

/// A certificate and its key, from two files.
pub struct TlsSettings {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<ServerConfig>>,
}

impl TlsSettings {
    /// Reads the certificate, followed by those above it, and its private key, both in PEM.
    ///
    /// # Errors
    /// [`ListenError::Pem`], [`ListenError::Pair`].
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, ListenError> {
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            current: RwLock::new(read(certificate, key)?),
        })
    }

    /// Reads both files again: connections from now on are made with what is in them. Those that are open stay as they
    /// are.
    ///
    /// # Errors
    /// As [`TlsSettings::load`]; then what was used before is used further.
    pub fn reload(&self) -> Result<(), ListenError> {
        let read = read(&self.certificate, &self.key)?;
        // What is in there was put there whole.
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(())
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.read();
        TlsAcceptor::from(Arc::clone(&current.unwrap_or_else(PoisonError::into_inner)))
    }
}

impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSettings")
            .field("certificate", &self.certificate)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

fn read(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, ListenError> {
    let pem = |what, path: &Path, source: rustls_pki_types::pem::Error| ListenError::Pem {
        what,
        path: path.to_owned(),
        source: Box::new(source),
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| pem("the certificate", certificate, source))?;
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|source| pem("the private key", key, source))?;
    let mut config = config(chain, private).map_err(|source| ListenError::Pair {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        source,
    })?;
    // A client that insists on another protocol is told so (RFC 7301, section 3.2).
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, Box<dyn Error + Send + Sync>> {
    if chain.is_empty() {
        return Err("there is no certificate in the file".into());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn k01_what_is_wrong_with_the_files_is_told_without_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let made = |name: &str| {
            let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
            (made.cert.pem(), made.signing_key.serialize_pem())
        };
        let (cert, key) = made("a.example");
        let (_, key_of_other) = made("b.example");
        let secret = key.lines().nth(1).unwrap();
        let cut_off: String = key.chars().take(100).collect();
        let (good_cert, good_key) = (file("good.crt", &cert), file("good.key", &key));
        let nowhere = dir.path().join("nowhere");
        for (case, cert, key, expected) in [
            (
                "swapped",
                &good_key,
                &good_cert,
                "the private key could not",
            ),
            (
                "no certificate",
                &nowhere,
                &good_key,
                "the certificate could not",
            ),
            ("no key", &good_cert, &nowhere, "the private key could not"),
            (
                "empty",
                &file("empty", ""),
                &good_key,
                "the certificate and the key",
            ),
            (
                "cut off",
                &good_cert,
                &file("cut", &cut_off),
                "the private key could not",
            ),
            (
                "another's",
                &good_cert,
                &file("b", &key_of_other),
                "belong together",
            ),
        ] {
            let error = TlsSettings::load(cert, key).unwrap_err();
            assert!(error.to_string().contains(expected), "{case}: {error}");
            assert!(error.source().is_some(), "{case}");
            assert!(!format!("{error:?}").contains(secret), "{case}");
        }
        let settings = TlsSettings::load(&good_cert, &good_key).unwrap();
        assert!(!format!("{settings:?}").contains(secret));
    }
}
