//! Real servers for tests: of S3 Ceph, MiniStack and moto, and PostgreSQL, on loopback.
//!
//! The program `runpack-servers` starts them around a command and names them in a file; tests find them by
//! [`shared`] and each makes buckets of its own. A test that kills a server starts its own with [`PrivateCeph`]; every
//! test of a database has its own [`PrivatePostgres`].
//! Nothing is skipped: without the servers such a test fails and says how it is run.
//!
//! Whoever starts servers does so through a *keeper*, a process that holds them as its children and ends
//! them when its standard input ends. So they end with their user, however that ends.

mod bucket;
mod ceph;
mod front;
mod keeper;
mod light;
mod locks;
mod place;
mod postgres;
mod private;
mod process;
mod settings;

use std::env;
use std::fs;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use bucket::{BucketKind, RawVersion, TestBucket};
pub use front::around;
pub use keeper::keep;
pub use locks::Bypass;
pub use postgres::PrivatePostgres;
pub use private::PrivateCeph;

/// The variable that names the file about the servers that run.
pub const VARIABLE: &str = "RUNPACK_TEST_SERVERS";
/// Where `cargo xtask servers install` puts Ceph, below the directory of the servers.
const CEPH: &str = "ceph-20";
/// Where it puts the servers written in Python.
const PYTHON: &str = "python-ministack-1.5.33-moto-5.2.5";

/// How often a server is started until it does.
const STARTS: usize = 3;

/// A kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Ceph's RADOS Gateway: the real thing. It checks signatures, policies and locks, is durable, and
    /// speaks TLS.
    Ceph,
    /// Light; close to Amazon S3 in conditions and checksums. It checks no signature.
    MiniStack,
    /// Light; it accepts locks and checksums that it does not enforce.
    Moto,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ceph, Self::MiniStack, Self::Moto];

    /// As it is written on a command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ceph => "ceph",
            Self::MiniStack => "ministack",
            Self::Moto => "moto",
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kind = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        kind.ok_or_else(|| format!("no such server, found=`{text}`"))
    }
}

/// A server that runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Server {
    /// What it is.
    pub kind: Kind,
    /// Its base URL in plain HTTP.
    pub endpoint: String,
    /// Its base URL in TLS.
    pub tls_endpoint: Option<String>,
    /// The certificate that vouches for it.
    pub ca_pem: Option<PathBuf>,
    /// The user that owns the buckets.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
    /// Another user, who may do nothing unless a policy lets it.
    pub alt_access_key: Option<String>,
    /// Its secret.
    pub alt_secret_key: Option<String>,
    /// The region that requests are signed for.
    pub region: String,
}

/// What the file about the servers says.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Running {
    /// The program that started them, for tests that start more.
    program: PathBuf,
    /// Where the servers are installed.
    installed: PathBuf,
    servers: Vec<Server>,
}

impl Running {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one variable by which a test process learns of the servers"
    )]
    fn read() -> Self {
        let how = "run the tests through `cargo xtask test`, or `cargo xtask servers -- COMMAND`";
        let file = env::var_os(VARIABLE).unwrap_or_else(|| {
            panic!("this test needs real S3 servers, and {VARIABLE} is not set: {how}")
        });
        let text = fs::read(&file).unwrap_or_else(|error| {
            panic!(
                "the servers of {VARIABLE}={} are gone ({error}): {how}",
                file.display()
            )
        });
        serde_json::from_slice(&text).unwrap()
    }
}

/// Where `cargo xtask servers install` has put what tests need.
///
/// # Panics
/// The test was not started as it has to be: the message says how.
pub(crate) fn installed() -> PathBuf {
    Running::read().installed
}

/// The server of this kind that `runpack-servers` started.
///
/// # Panics
/// It started none: the message says how to run the tests. Nothing is skipped.
pub fn shared(kind: Kind) -> Server {
    let running = Running::read();
    let server = running
        .servers
        .into_iter()
        .find(|server| server.kind == kind);
    server.unwrap_or_else(|| {
        let kind = kind.as_str();
        panic!("the servers were started without `{kind}`: leave `--only` away, or add it")
    })
}
