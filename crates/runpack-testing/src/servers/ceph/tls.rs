//! A certificate authority of one day, and a certificate of loopback by it.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use crate::servers::process::run;

/// What a client has to trust.
pub(super) const CA: &str = "ca.pem";
/// What the gateway shows.
pub(super) const CERTIFICATE: &str = "tls.pem";
pub(super) const KEY: &str = "tls.key";

const AUTHORITY: &str = "\
[req]
prompt = no
distinguished_name = name
x509_extensions = use
[name]
CN = Authority of a test
[use]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
";
const SERVER: &str = "\
[req]
prompt = no
distinguished_name = name
x509_extensions = use
[name]
CN = localhost
[use]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
";

/// Writes all of it into the directory, except the authority's key, which nobody needs again.
pub(super) fn make_certificate(directory: &Path) -> io::Result<()> {
    fs::write(directory.join("ca.cnf"), AUTHORITY)?;
    fs::write(directory.join("tls.cnf"), SERVER)?;
    let make = |name: &str, more: &[&str]| {
        let mut openssl = Command::new("openssl");
        openssl
            .current_dir(directory)
            .args(["req", "-x509", "-nodes", "-days", "2", "-sha256"])
            .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-config", &format!("{name}.cnf")])
            .args(["-keyout", &format!("{name}.key")])
            .args(["-out", &format!("{name}.pem")])
            .args(more);
        run(&mut openssl)
    };
    make("ca", &[])?;
    make("tls", &["-CA", CA, "-CAkey", "ca.key"])?;
    fs::remove_file(directory.join("ca.key"))
}
