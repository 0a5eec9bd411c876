//! A time stamping authority of OpenSSL's.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use runpack_core::sign::bundle::SigstoreBundle;
use runpack_enterprise::timestamp::TimestampRequest;

use crate::sample;

const CONFIG: &str = "
[req]
distinguished_name = name
[name]
[root]
basicConstraints = critical, CA:TRUE
[stamping]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = critical, timeStamping
[authority]
serial = serial
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256
ess_cert_id_alg = sha256
";

/// Runs a script that stops at the first failure.
pub(crate) fn shell(directory: &Path, script: &str) -> Output {
    Command::new("bash")
        .args(["-e", "-o", "pipefail", "-c", script])
        .current_dir(directory)
        .output()
        .unwrap()
}

/// Runs a script that has to succeed.
pub(crate) fn run(directory: &Path, script: &str) {
    let output = shell(directory, script);
    assert!(output.status.success(), "{script}: {output:?}");
}

/// The sample, stamped; leaves `tsa.pem` and `tsa-roots.pem` in the directory.
pub(crate) fn stamped(path: &Path) -> SigstoreBundle {
    fs::write(path.join("config"), CONFIG).unwrap();
    fs::write(path.join("serial"), "01").unwrap();
    run(
        path,
        "openssl req -config config -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout root.key -out tsa-roots.pem -subj /CN=root -extensions root
         openssl req -config config -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tsa.key -out tsa.csr -subj /CN=tsa
         openssl x509 -req -in tsa.csr -CA tsa-roots.pem -CAkey root.key -set_serial 7 -extfile config -extensions stamping -out tsa.pem",
    );
    let mut bundle = sample::attested();
    let request = TimestampRequest::new(&bundle, [5; 16]);
    fs::write(path.join("query"), request.to_der()).unwrap();
    run(
        path,
        "openssl ts -reply -config config -section authority -queryfile query -signer tsa.pem -inkey tsa.key -out answer",
    );
    let answer = fs::read(path.join("answer")).unwrap();
    request.attach(&mut bundle, &answer).unwrap();
    bundle
}
