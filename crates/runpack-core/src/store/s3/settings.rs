//! Where a bucket is and how to talk to it: everything that a caller may choose.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The settings of a store in a bucket.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct S3Settings {
    /// The bucket, which must be there.
    pub bucket: BucketName,
    /// Where the service is; `None` for Amazon S3 in `region`.
    pub endpoint: Option<Endpoint>,
    /// The region; `None` leaves it to the standard AWS chain, and `us-east-1` after that.
    pub region: Option<String>,
    /// What stands before every key.
    pub path_prefix: PathPrefix,
    /// How the bucket is named in a request.
    pub addressing: Addressing,
    /// How objects are encrypted at rest.
    pub encryption: Encryption,
    /// The account that must own the bucket (12 digits), so that nobody slips in another of the same name.
    pub expected_owner: Option<String>,
    /// Certificates (PEM) to trust instead of those of the system.
    pub ca_pem: Option<Vec<u8>>,
    /// Who signs.
    pub credentials: Credentials,
    /// Whether plain HTTP may leave this machine.
    pub plain_http: PlainHttp,
    /// How an object that is there is kept from being replaced.
    pub create_only: CreateOnly,
    /// How long to wait for what.
    pub deadlines: Deadlines,
}

impl S3Settings {
    /// A bucket at Amazon S3, all else by default.
    pub fn new(bucket: BucketName) -> Self {
        Self {
            bucket,
            endpoint: None,
            region: None,
            path_prefix: PathPrefix::default(),
            addressing: Addressing::default(),
            encryption: Encryption::default(),
            expected_owner: None,
            ca_pem: None,
            credentials: Credentials::default(),
            plain_http: PlainHttp::default(),
            create_only: CreateOnly::default(),
            deadlines: Deadlines::default(),
        }
    }
}

/// A setting that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule}, found=`{found}`")]
pub struct SettingError {
    rule: &'static str,
    found: String,
}

impl SettingError {
    pub(super) fn new(rule: &'static str, found: &str) -> Self {
        Self {
            rule,
            found: found.to_owned(),
        }
    }
}

/// The name of a bucket (Amazon S3 user guide, "General purpose bucket naming rules", with the upper case
/// and underscores that other stores and old buckets have).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BucketName(Box<str>);

impl BucketName {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BucketName {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        let rule = "a bucket's name has 3 to 63 letters, digits, dots, dashes and underscores, and starts and ends with a letter or digit";
        let is_edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
        let bytes = text.as_bytes();
        let is_name = (3..=63).contains(&bytes.len())
            && is_edge(bytes.first().copied())
            && is_edge(bytes.last().copied())
            && bytes
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(byte))
            && !text.contains("..");
        if is_name {
            Ok(Self(text.into()))
        } else {
            Err(SettingError::new(rule, text))
        }
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The base URL of a service: scheme, host and port, nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint(Box<str>);

impl Endpoint {
    /// As text, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether requests go over plain HTTP.
    pub fn is_plain(&self) -> bool {
        self.0.starts_with("http://")
    }

    /// The host, without its port.
    pub fn host(&self) -> &str {
        let authority = self.0.split_once("://").map_or("", |(_, rest)| rest);
        match authority.strip_prefix('[') {
            Some(rest) => rest.split_once(']').map_or("", |(host, _)| host),
            None => authority
                .split_once(':')
                .map_or(authority, |(host, _)| host),
        }
    }

    /// Whether the host is Amazon's.
    pub fn is_amazon(&self) -> bool {
        let host = self.host();
        host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn")
    }

    /// Whether the host is this machine, by its name or number.
    pub fn is_loopback(&self) -> bool {
        let host = self.host();
        host == "localhost"
            || host.ends_with(".localhost")
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }
}

impl FromStr for Endpoint {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        let rule =
            "an endpoint is written https://HOST or https://HOST:PORT, with no path, user or query";
        let trimmed = text.strip_suffix('/').unwrap_or(text);
        let (scheme, authority) = trimmed.split_once("://").unwrap_or_default();
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        let endpoint = Self(trimmed.into());
        let port = match authority.strip_prefix('[') {
            Some(rest) => rest.split_once(']').map(|(_, port)| port),
            None => Some(
                authority
                    .find(':')
                    .map_or("", |at| authority.get(at..).unwrap_or("")),
            ),
        };
        let is_port = port.is_some_and(|port| {
            port.is_empty()
                || port
                    .strip_prefix(':')
                    .is_some_and(|port| port.parse::<u16>().is_ok())
        });
        if matches!(scheme, "http" | "https")
            && authority.bytes().all(is_host)
            && !endpoint.host().is_empty()
            && is_port
        {
            Ok(endpoint)
        } else {
            Err(SettingError::new(rule, text))
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What stands before every key of a store: nothing, or segments that end in `/`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct PathPrefix(Box<str>);

impl PathPrefix {
    /// The longest one, in bytes: keys keep most of their 1,024.
    pub const BYTES_MAX: usize = 256;

    /// As text: empty, or ending in `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of an object in the bucket: the one place where prefixes are joined.
    pub(super) fn join(&self, key: &str) -> String {
        format!("{}{key}", self.0)
    }

    /// The key of an object in the bucket; `None` for what is not below the prefix.
    pub(super) fn strip<'a>(&self, name: &'a str) -> Option<&'a str> {
        name.strip_prefix(&*self.0)
    }
}

impl FromStr for PathPrefix {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        let rule = "a path prefix is one or more segments of letters, digits, `.`, `_` and `-` with `/` between them, no segment `.` or `..`, at most 256 bytes";
        let trimmed = text.strip_suffix('/').unwrap_or(text);
        if trimmed.is_empty() && text.is_empty() {
            return Ok(Self::default());
        }
        let is_segment = |segment: &str| {
            !segment.is_empty()
                && segment != "."
                && segment != ".."
                && segment
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        if trimmed.len() < Self::BYTES_MAX && trimmed.split('/').all(is_segment) {
            Ok(Self(format!("{trimmed}/").into()))
        } else {
            Err(SettingError::new(rule, text))
        }
    }
}

/// How the bucket is named in a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Addressing {
    /// In the path where there is an endpoint, in the host name at Amazon S3.
    #[default]
    Automatic,
    /// In the path: `https://HOST/BUCKET/KEY`.
    Path,
    /// In the host name: `https://BUCKET.HOST/KEY`.
    VirtualHost,
}

/// How objects are encrypted at rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Encryption {
    /// As the bucket is set up.
    #[default]
    OfBucket,
    /// With keys of the store (SSE-S3, `AES256`).
    SseS3,
    /// With a key of the key service (SSE-KMS, `aws:kms`), or the bucket's default one.
    SseKms(Option<String>),
}

/// Who signs requests.
#[derive(Clone, Default)]
pub enum Credentials {
    /// Whoever the standard AWS chain finds: environment, profile, web identity, container, instance.
    #[default]
    Chain,
    /// An access key.
    Keys {
        /// The access key's id: a name, no secret.
        access_key: String,
        /// The secret.
        secret_key: Secret,
        /// The token of temporary credentials.
        session_token: Option<Secret>,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chain => "Chain",
            Self::Keys { .. } => "Keys(redacted)",
        })
    }
}

/// A text that no debug print, error or log shows (threat K01).
#[derive(Clone)]
pub struct Secret(Box<str>);

impl Secret {
    /// Keeps a secret.
    pub fn new(secret: &str) -> Self {
        Self(secret.into())
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(redacted)")
    }
}

/// Whether plain HTTP may leave this machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PlainHttp {
    /// Only to loopback.
    #[default]
    OnlyLoopback,
    /// To anywhere. Whoever is on the way reads everything, and a verifier still notices every change.
    DangerouslyAnywhere,
}

/// How an object that is there is kept from being replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CreateOnly {
    /// `If-None-Match: *`, which the store enforces.
    #[default]
    Conditional,
    /// The store refuses or ignores the condition, and the bucket keeps versions: nothing is ever lost, and the
    /// oldest version is the object. It is looked for first and written without condition.
    OldestVersion,
    /// The store refuses or ignores the condition and keeps no versions. It is looked for first and written without
    /// condition: two writers at the same moment may both be told that they won. A choice to be warned of.
    DangerouslyCheckFirst,
}

/// The longest that a store may ask to be left alone.
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(20);
/// Before the first retry, on average half of it; doubled for each further one.
pub(super) const BACKOFF_FIRST: Duration = Duration::from_millis(500);

/// How long to wait for what.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deadlines {
    /// To connect, TLS included.
    pub connect: Duration,
    /// For one attempt at a request, beside the time that its bytes take at `bytes_per_second_min`.
    pub attempt: Duration,
    /// Attempts at one request, the first included.
    pub attempts: u32,
    /// For a request with all attempts at it, beside the time that its bytes take.
    pub request: Duration,
    /// The slowest that bytes may come or go (threat S04).
    pub bytes_per_second_min: u64,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            attempt: Duration::from_secs(20),
            attempts: 6,
            request: Duration::from_secs(90),
            bytes_per_second_min: 64 << 10,
        }
    }
}
