//! OpenSSL as the authority, and as a second verifier of what was attached.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use runpack_core::id::PackId;
use runpack_core::sign::{Envelope, Signer as _, SigningKey, Statement};

use super::*;

const CONFIG: &str = "
[req]
distinguished_name = name
prompt = no
[name]
CN = tests
[root]
basicConstraints = critical, CA:TRUE
subjectKeyIdentifier = hash
[stamping]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
[any]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = critical, timeStamping, codeSigning
[lax]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = timeStamping
[ca]
database = index
new_certs_dir = .
default_md = sha256
policy = policy
rand_serial = yes
[policy]
commonName = supplied
[tsa]
default_tsa = authority
[authority]
serial = serial
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256
ess_cert_id_alg = sha256
ess_cert_id_chain = no
";

const LASTING: [u32; 2] = [2020, 2120];

struct Authority {
    directory: tempfile::TempDir,
}

fn run(directory: &Path, arguments: &str) -> Output {
    Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(directory)
        .output()
        .expect("openssl is needed for this test")
}

fn openssl(directory: &Path, arguments: &str) {
    let output = run(directory, arguments);
    assert!(output.status.success(), "{arguments}: {output:?}");
}

impl Authority {
    /// `key` is what `openssl req -newkey` takes, `years` are those of the certificate.
    fn new(key: &str, extensions: &str, years: [u32; 2]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        fs::write(path.join("config"), CONFIG).unwrap();
        fs::write(path.join("serial"), "01").unwrap();
        fs::write(path.join("index"), "").unwrap();
        let [from, to] = years;
        openssl(
            path,
            "req -config config -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout root.key -out root.pem -days 3650 -subj /CN=root -extensions root",
        );
        openssl(
            path,
            &format!(
                "req -config config -newkey {key} -nodes -keyout tsa.key -out tsa.csr -subj /CN=tsa"
            ),
        );
        openssl(
            path,
            &format!(
                "ca -batch -notext -config config -name ca -cert root.pem -keyfile root.key -in tsa.csr -out tsa.pem -startdate {from}0101000000Z -enddate {to}0101000000Z -extensions {extensions}"
            ),
        );
        Self { directory }
    }

    fn sound() -> Self {
        Self::new("ec -pkeyopt ec_paramgen_curve:P-256", "stamping", LASTING)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn roots(&self) -> TimestampRoots {
        TimestampRoots::from_pem(&fs::read_to_string(self.path("root.pem")).unwrap()).unwrap()
    }

    fn answer(&self, request: &[u8]) -> Vec<u8> {
        fs::write(self.path("request"), request).unwrap();
        openssl(
            self.directory.path(),
            "ts -reply -config config -section authority -queryfile request -signer tsa.pem -inkey tsa.key -out response",
        );
        fs::read(self.path("response")).unwrap()
    }
}

fn key() -> SigningKey {
    let directory = tempfile::tempdir().unwrap();
    openssl(
        directory.path(),
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem",
    );
    SigningKey::from_pem(&fs::read_to_string(directory.path().join("key.pem")).unwrap()).unwrap()
}

fn fresh() -> SigstoreBundle {
    let key = key();
    let statement = Statement::with_predicate(PackId::of(b"a manifest"), "pack", "urn:x", &"x");
    let envelope = Envelope::sign(&statement.unwrap(), &key).unwrap();
    SigstoreBundle::new(envelope, &key.public_key()).unwrap()
}

fn stamped(authority: &Authority) -> (SigstoreBundle, Vec<u8>) {
    let mut bundle = fresh();
    let request = TimestampRequest::new(&bundle, [0x80; 16]);
    let response = authority.answer(&request.to_der());
    request.attach(&mut bundle, &response).unwrap();
    assert_eq!(bundle.timestamps(), std::slice::from_ref(&response));
    (bundle, response)
}

#[test]
fn t05_openssl_stamps_and_both_verify() {
    for key in [
        "ec -pkeyopt ec_paramgen_curve:P-256",
        "ec -pkeyopt ec_paramgen_curve:P-384",
        "rsa:2048",
    ] {
        let authority = Authority::new(key, "stamping", LASTING);
        let (bundle, response) = stamped(&authority);
        let verified = verify(&response, &bundle.signature(), &authority.roots()).unwrap();
        assert!(verified.time > "2024-01-01T00:00:00Z".parse().unwrap());
        let file = bundle.to_bytes();
        let read = SigstoreBundle::parse(&file, file.len()).unwrap();
        fs::write(authority.path("signature"), read.signature()).unwrap();
        fs::write(authority.path("attached"), &read.timestamps()[0]).unwrap();
        openssl(
            authority.directory.path(),
            "ts -verify -data signature -in attached -CAfile root.pem",
        );
    }
}

#[test]
fn t05_another_signature_root_nonce_or_request_is_refused() {
    let authority = Authority::sound();
    let (mut bundle, response) = stamped(&authority);
    let roots = authority.roots();
    let signature = bundle.signature();
    assert!(matches!(
        verify(&response, b"another signature", &roots),
        Err(TimestampError::Imprint)
    ));
    let stranger = Authority::sound();
    assert!(matches!(
        verify(&response, &signature, &stranger.roots()),
        Err(TimestampError::Chain(_))
    ));
    let request = TimestampRequest::new(&bundle, [7; 16]);
    assert!(matches!(
        request.attach(&mut bundle, &response),
        Err(TimestampError::Nonce)
    ));
    let mut other = fresh();
    let request = TimestampRequest::new(&other, [0x80; 16]);
    assert!(matches!(
        request.attach(&mut other, &response),
        Err(TimestampError::Imprint)
    ));
    assert!(other.timestamps().is_empty());
    // PKIStatus 2: rejection.
    let refusal = der::element(
        der::SEQUENCE,
        &[&der::element(
            der::SEQUENCE,
            &[&der::element(der::INTEGER, &[&[2]])],
        )],
    );
    assert!(matches!(
        verify(&refusal, &signature, &roots),
        Err(TimestampError::Refused { status: 2 })
    ));
    assert!(matches!(
        TimestampRoots::from_pem("no certificate"),
        Err(TimestampError::Roots)
    ));
}

#[test]
fn t05_a_certificate_for_something_else_or_out_of_its_time_is_refused() {
    let signature_of = |authority: &Authority| {
        // OpenSSL looks at the purpose of the certificate that it stamps with, and not at its time.
        let bundle = fresh();
        let request = TimestampRequest::new(&bundle, [1; 16]).to_der();
        (bundle.signature(), authority.answer(&request))
    };
    let years_of = |years| Authority::new("ec -pkeyopt ec_paramgen_curve:P-256", "stamping", years);
    let expired = years_of([2020, 2021]);
    let (signature, response) = signature_of(&expired);
    assert!(matches!(
        verify(&response, &signature, &expired.roots()),
        Err(TimestampError::Chain(webpki::Error::CertExpired { .. }))
    ));
    let early = years_of([2110, 2120]);
    let (signature, response) = signature_of(&early);
    assert!(matches!(
        verify(&response, &signature, &early.roots()),
        Err(TimestampError::Chain(webpki::Error::CertNotValidYet { .. }))
    ));
    for (extensions, expected) in [("any", false), ("lax", false), ("stamping", true)] {
        let authority = Authority::new("ec -pkeyopt ec_paramgen_curve:P-256", extensions, LASTING);
        let pem = fs::read_to_string(authority.path("tsa.pem")).unwrap();
        let der = rustls_der(&pem);
        assert_eq!(
            verify::is_for_time_stamping_alone(&der),
            expected,
            "{extensions}"
        );
    }
}

fn rustls_der(pem: &str) -> Vec<u8> {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject as _;
    CertificateDer::from_pem_slice(pem.as_bytes())
        .unwrap()
        .to_vec()
}

#[test]
fn t05_no_bit_of_a_token_may_change_its_time() {
    let authority = Authority::sound();
    let (bundle, response) = stamped(&authority);
    let roots = authority.roots();
    let signature = bundle.signature();
    let sound = verify(&response, &signature, &roots).unwrap();
    for at in 0..response.len() {
        for bit in [0, 4, 7] {
            let mut changed = response.clone();
            changed[at] ^= 1 << bit;
            // What is not signed, such as the status text or the version, may differ; the time not.
            if let Ok(verified) = verify(&changed, &signature, &roots) {
                assert_eq!(verified, sound, "{at}");
            }
        }
        assert!(verify(&response[..at], &signature, &roots).is_err(), "{at}");
    }
    let longer = [&*response, &[0]].concat();
    assert!(verify(&longer, &signature, &roots).is_err());
    // The signature, the imprint and the time themselves.
    let token = token::Token::parse(&response).unwrap();
    let found = |part: &[u8]| {
        let windows = response.windows(part.len()).enumerate();
        windows
            .filter(|(_, w)| *w == part)
            .map(|(at, _)| at)
            .next_back()
            .unwrap()
    };
    for at in [found(token.signer.signature), found(&imprint(&signature))] {
        let mut changed = response.clone();
        changed[at + 9] ^= 1;
        assert!(verify(&changed, &signature, &roots).is_err());
    }
}

#[test]
fn a_request_is_what_openssl_would_ask() {
    let authority = Authority::sound();
    let bundle = fresh();
    let request = TimestampRequest::new(&bundle, [0x80; 16]).to_der();
    fs::write(authority.path("request"), request).unwrap();
    let said = run(authority.directory.path(), "ts -query -in request -text");
    let said = String::from_utf8(said.stdout).unwrap();
    for line in [
        "Version: 1",
        "Hash Algorithm: sha256",
        "Nonce: 0x80808080808080808080808080808080",
        "Certificate required: yes",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
}
