//! TLS: what is spoken, what is refused, and certificates that are renewed.

use std::fs;
use std::path::Path;

use runpack_server::listen::TlsSettings;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

/// Two files that are written again and again.
struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn renew(&self) -> CertificateDer<'static> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(self.path("tls.crt"), made.cert.pem()).unwrap();
        fs::write(self.path("tls.key"), made.signing_key.serialize_pem()).unwrap();
        made.cert.der().clone()
    }

    fn path(&self, name: &str) -> Box<Path> {
        self.dir.path().join(name).into()
    }

    fn load(&self) -> Arc<TlsSettings> {
        let loaded = TlsSettings::load(&self.path("tls.crt"), &self.path("tls.key"));
        Arc::new(loaded.unwrap())
    }
}

/// A server with a certificate, and the certificate.
async fn served(settings: ListenSettings) -> (Served, CertificateDer<'static>) {
    let files = Files::new();
    let certificate = files.renew();
    let served = Served::with(settings, Transport::Tls(files.load())).await;
    (served, certificate)
}

struct Client {
    trusted: CertificateDer<'static>,
    versions: Vec<&'static SupportedProtocolVersion>,
    protocols: Vec<&'static str>,
}

impl Client {
    fn new(trusted: &CertificateDer<'static>) -> Self {
        Self {
            trusted: trusted.clone(),
            versions: rustls::ALL_VERSIONS.to_vec(),
            protocols: Vec::new(),
        }
    }

    async fn connect(&self, served: &Served) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.trusted.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = self.protocols.iter().map(|&name| name.into()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        in_time(connector.connect(name, served.connect().await)).await
    }
}

async fn assert_answers(stream: &mut TlsStream<TcpStream>) {
    stream.write_all(GET).await.unwrap();
    assert_eq!(status(&answer(stream).await), 200);
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_with_http_1_1() {
    let (served, certificate) = served(patient()).await;
    for (versions, protocols) in [
        (vec![&rustls::version::TLS12], vec![]),
        (vec![&rustls::version::TLS13], vec![]),
        (rustls::ALL_VERSIONS.to_vec(), vec!["h2", "http/1.1"]),
    ] {
        let expected = (!protocols.is_empty()).then_some(&b"http/1.1"[..]);
        let client = Client {
            versions,
            protocols,
            ..Client::new(&certificate)
        };
        let mut stream = client.connect(&served).await.unwrap();
        let agreed = stream.get_ref().1.alpn_protocol();
        assert_eq!(agreed, expected);
        assert_answers(&mut stream).await;
    }
    assert_eq!(served.requests(), 3);
}

#[tokio::test]
async fn c06_a_client_that_speaks_http_2_alone_is_refused() {
    let (served, certificate) = served(patient()).await;
    let client = Client {
        protocols: vec!["h2"],
        ..Client::new(&certificate)
    };
    let error = client.connect(&served).await.unwrap_err().to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
}

/// The opening of a client that knows nothing above this version.
fn hello(version: [u8; 2]) -> Vec<u8> {
    let mut body = version.to_vec();
    body.extend([7; 32]);
    // No session; ECDHE with AES, as it was then; no compression.
    body.extend([0, 0, 4, 0xc0, 0x13, 0xc0, 0x09, 1, 0]);
    // The curve P-256, its points uncompressed, RSA with SHA-256.
    body.extend([0, 22, 0, 10, 0, 4, 0, 2, 0, 0x17, 0, 11, 0, 2, 1, 0]);
    body.extend([0, 13, 0, 4, 0, 2, 4, 1]);
    let body_bytes = u8::try_from(body.len()).unwrap();
    let mut record = vec![0x16, 3, 1, 0, body_bytes + 4, 1, 0, 0, body_bytes];
    record.extend(body);
    record
}

#[tokio::test]
async fn s25_older_versions_of_tls_are_refused() {
    let (served, _) = served(patient()).await;
    for version in [[3, 1], [3, 2]] {
        let mut stream = served.connect().await;
        stream.write_all(&hello(version)).await.unwrap();
        let mut text = Vec::new();
        let _ = in_time(stream.read_to_end(&mut text)).await;
        // A fatal alert: `protocol_version`.
        assert_eq!(
            (text.first(), text.get(5..)),
            (Some(&0x15), Some(&[2, 70][..])),
            "{version:?}"
        );
    }
    assert_eq!(served.requests(), 0);
}

#[tokio::test]
async fn s25_plain_http_is_no_handshake() {
    let (served, certificate) = served(patient()).await;
    let text = served.tell(GET).await;
    assert_eq!((answers(&text), served.requests()), (0, 0), "{text}");
    assert_answers(&mut Client::new(&certificate).connect(&served).await.unwrap()).await;
}

#[tokio::test]
async fn c04_a_handshake_that_is_never_made_is_cut() {
    let (served, _) = served(ListenSettings {
        handshake: SOON,
        ..patient()
    })
    .await;
    assert_eq!(rest(&mut served.connect().await).await, "");
    // One that was begun, and not gone on with.
    let mut stream = served.connect().await;
    stream.write_all(&hello([3, 3])[..20]).await.unwrap();
    assert_eq!(rest(&mut stream).await, "");
    assert_eq!(served.connections.timed_out(), 2);
    served.until_open(0).await;
}

#[tokio::test]
async fn c04_a_client_that_reads_nothing_is_cut_under_tls_too() {
    let (served, certificate) = served(ListenSettings {
        write_stall: SOON,
        ..patient()
    })
    .await;
    let mut stream = Client::new(&certificate).connect(&served).await.unwrap();
    stream.write_all(GET_BIG).await.unwrap();
    until(|| served.connections.timed_out() == 1).await;
    served.until_open(0).await;
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_handshakes() {
    let (served, _) = served(patient()).await;
    let mut stream = served.connect().await;
    served.until_open(1).await;
    served.stop.send(()).unwrap();
    assert_eq!(rest(&mut stream).await, "");
    in_time(served.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_certificate_that_was_renewed_is_used_for_new_connections() {
    let files = Files::new();
    let first = files.renew();
    let tls = files.load();
    let served = Served::with(patient(), Transport::Tls(Arc::clone(&tls))).await;
    let mut old = Client::new(&first).connect(&served).await.unwrap();
    assert_answers(&mut old).await;

    let second = files.renew();
    tls.reload().unwrap();
    assert!(Client::new(&first).connect(&served).await.is_err());
    assert_answers(&mut Client::new(&second).connect(&served).await.unwrap()).await;
    assert_answers(&mut old).await;

    // Half of a renewal is none.
    let key = fs::read(files.path("tls.key")).unwrap();
    files.renew();
    fs::write(files.path("tls.key"), key).unwrap();
    tls.reload().unwrap_err();
    fs::remove_file(files.path("tls.crt")).unwrap();
    tls.reload().unwrap_err();
    assert_answers(&mut Client::new(&second).connect(&served).await.unwrap()).await;
}
