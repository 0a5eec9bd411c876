//! What a request met, and what that means to whoever asked.
//!
//! Invariants: 403 is never "not there"; what may have been done is never reported as not done; a wrong
//! setting is named in one line with what to do; no credential and nothing of a request is in any text
//! (threat K01), and what the store says is shortened and free of control characters.

mod lines;

use std::error::Error;
use std::fmt::Write as _;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::S3Store;
use crate::display::Printable;
use crate::store::{StoreError, VersionId};

/// The longest text of a store that is passed on.
const MESSAGE_CHARS_MAX: usize = 300;

/// What a request met instead of success.
#[derive(Debug)]
pub(super) enum Fault {
    /// The store answered.
    Answer(Answer),
    /// The store was not reached: nothing was sent.
    Unreached(Unreached),
    /// The request may have been sent, and what became of it is not known.
    Unknown(String),
    /// It was not signed.
    Unsigned(Unsigned),
    /// It could not even be put into words.
    Unsayable(String),
}

/// An answer that is no success.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    /// The store's word for it; the status where it has none.
    code: String,
    message: String,
    /// The region that the store names.
    region: Option<String>,
    /// The size of the object, where the answer to a range names it.
    bytes: Option<u64>,
}

/// Why nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreached {
    Name,
    Refused,
    Silent,
    Tls(&'static str),
}

/// Why a request was not signed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unsigned {
    /// The credentials are not there, or are set up wrongly.
    Wrong(&'static str),
    /// Whoever gives them out did not.
    Unreached(&'static str),
}

impl Unsigned {
    fn into_error(self) -> StoreError {
        match self {
            Self::Wrong(reason) => StoreError::Unusable {
                reason: reason.to_owned(),
            },
            Self::Unreached(reason) => StoreError::Unreachable {
                reason: reason.to_owned(),
            },
        }
    }
}

/// What the last attempt met, as the source of [`StoreError::Unavailable`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Met(pub(super) String);

impl<E> From<SdkError<E, HttpResponse>> for Fault
where
    E: ProvideErrorMetadata + Error + 'static,
{
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        if let Some(unsigned) = chain(&error).find_map(|cause| cause.downcast_ref()) {
            return Self::Unsigned(lines::unsigned(unsigned));
        }
        match &error {
            SdkError::ServiceError(service) => Self::Answer(Answer::new(
                service.raw(),
                service.err().code(),
                service.err().message(),
            )),
            // An answer that nobody can make sense of: a gateway's page, say.
            SdkError::ResponseError(response) if !response.raw().status().is_success() => {
                Self::Answer(Answer::new(response.raw(), None, None))
            }
            SdkError::ResponseError(_) | SdkError::TimeoutError(_) => {
                Self::Unknown(spelled(&error))
            }
            SdkError::DispatchFailure(_) => {
                unreached(&error).map_or_else(|| Self::Unknown(spelled(&error)), Self::Unreached)
            }
            _ => Self::Unsayable(spelled(&error)),
        }
    }
}

impl Answer {
    fn new(raw: &HttpResponse, code: Option<&str>, message: Option<&str>) -> Self {
        let status = raw.status().as_u16();
        let header = |name| raw.headers().get(name).map(str::to_owned);
        Self {
            status,
            code: code.map_or_else(|| status.to_string(), tamed),
            message: match message {
                Some(message) => tamed(message),
                None if raw.status().is_success() => "the answer makes no sense".to_owned(),
                None => "(no explanation)".to_owned(),
            },
            region: header("x-amz-bucket-region").as_deref().map(tamed),
            bytes: header("content-range").and_then(|range| range.rsplit_once('/')?.1.parse().ok()),
        }
    }

    /// What an answer of success lacks to be one.
    pub(super) fn nonsense(message: &str) -> Self {
        Self {
            status: 200,
            code: "(success)".to_owned(),
            message: message.to_owned(),
            region: None,
            bytes: None,
        }
    }

    fn is(&self, codes: &[&str]) -> bool {
        codes.contains(&self.code.as_str())
    }

    fn may_pass(&self) -> bool {
        matches!(self.status, 408 | 429 | 500 | 502..=504)
            || self.is(&[
                "ConditionalRequestConflict",
                "InternalError",
                "OperationAborted",
                "RequestTimeout",
                "ServiceUnavailable",
                "SlowDown",
                "Throttling",
                "ThrottlingException",
            ])
    }
}

impl Fault {
    fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Answer(answer) => Some(answer),
            _ => None,
        }
    }

    /// The condition did not hold: the key is taken. Some stores say 304 (threat P03).
    pub(super) fn is_taken(&self) -> bool {
        self.answer().is_some_and(|a| matches!(a.status, 304 | 412))
    }

    /// Somebody else was at the same key at the same moment (threat W11).
    pub(super) fn is_conflict(&self) -> bool {
        self.answer().is_some_and(|a| a.status == 409)
    }

    /// The bytes arrived as others than were sent; what was sent was held against its digest.
    pub(super) fn is_damage(&self) -> bool {
        let damage = [
            "BadDigest",
            "IncompleteBody",
            "XAmzContentChecksumMismatch",
            "XAmzContentSHA256Mismatch",
        ];
        self.answer().is_some_and(|a| a.is(&damage))
    }

    /// There is no lock or hold, and the store says so.
    pub(super) fn is_no_lock(&self) -> bool {
        let none = [
            "NoSuchObjectLockConfiguration",
            "ObjectLockConfigurationNotFoundError",
        ];
        self.answer().is_some_and(|a| a.is(&none))
    }

    /// There is no such thing. Whether there is such a bucket, only [`Fault::into_error`] asks.
    pub(super) fn is_missing(&self) -> bool {
        self.answer()
            .is_some_and(|a| a.status == 404 && !a.is(&["NoSuchBucket", "NoSuchUpload"]))
    }

    /// There is no such version of an object: a delete marker that is asked for by its version is 405. Without a version
    /// asked for, 405 is a gateway that knows no such method, and says nothing of the object.
    pub(super) fn is_missing_version(&self, version: Option<&VersionId>) -> bool {
        self.is_missing() || (version.is_some() && self.answer().is_some_and(|a| a.status == 405))
    }

    /// There was nothing to remove.
    pub(super) fn is_gone(&self) -> bool {
        self.answer()
            .is_some_and(|a| a.status == 404 && !a.is(&["NoSuchBucket"]))
    }

    /// The store's own word for it.
    pub(super) fn has_code(&self, code: &str) -> bool {
        self.answer().is_some_and(|a| a.is(&[code]))
    }

    /// The upload is gone.
    pub(super) fn is_lost_upload(&self) -> bool {
        self.answer().is_some_and(|a| a.is(&["NoSuchUpload"]))
    }

    /// The store has no such function.
    pub(super) fn is_unknown_function(&self) -> bool {
        self.answer()
            .is_some_and(|a| matches!(a.status, 405 | 501) || a.is(&["NotImplemented"]))
    }

    /// A range that begins beyond the end.
    pub(super) fn is_beyond_end(&self) -> bool {
        self.answer().is_some_and(|a| a.status == 416)
    }

    /// The size of the object, where an answer to a range says it.
    pub(super) fn bytes(&self) -> Option<u64> {
        self.answer().and_then(|answer| answer.bytes)
    }

    /// Whether the request may have been done all the same.
    pub(super) fn is_ambiguous(&self) -> bool {
        match self {
            Self::Answer(answer) => answer.may_pass(),
            Self::Unknown(_) => true,
            _ => false,
        }
    }

    /// What it means to whoever asked for `action` on `key`.
    pub(super) fn into_error(self, store: &S3Store, action: &'static str, key: &str) -> StoreError {
        let key = match key {
            "" => store.storage_uri_of_prefix(),
            key => key.to_owned(),
        };
        let unavailable = |met: String| StoreError::Unavailable {
            action,
            key: key.clone(),
            source: Box::new(Met(met)),
        };
        match self {
            Self::Answer(answer) => {
                if answer.may_pass() {
                    let Answer {
                        status,
                        code,
                        message,
                        ..
                    } = answer;
                    return unavailable(format!("the store answered {status} {code}: {message}"));
                }
                match lines::setting(&answer, store) {
                    Some(reason) => StoreError::Unusable { reason },
                    None => answer.into_error(action, key),
                }
            }
            Self::Unreached(why) => {
                let reason = lines::unreached(why, store);
                match why {
                    Unreached::Tls(_) => StoreError::Unusable { reason },
                    _ => StoreError::Unreachable { reason },
                }
            }
            Self::Unknown(met) => unavailable(met),
            Self::Unsigned(unsigned) => unsigned.into_error(),
            Self::Unsayable(reason) => StoreError::Unusable {
                reason: format!("a request could not be made: {reason}"),
            },
        }
    }

    /// As [`Fault::into_error`] for a write that must create: a store that does not know the condition says
    /// so in several ways.
    pub(super) fn into_create_error(
        self,
        store: &S3Store,
        action: &'static str,
        key: &str,
    ) -> StoreError {
        if let Self::Answer(answer) = &self
            && (answer.status == 501
                || answer.is(&["NotImplemented", "InvalidArgument", "InvalidRequest"]))
        {
            return StoreError::Unusable {
                reason: format!(
                    "it does not take writes that must create, `runpack store status` tells what it can do, and `create_only` what to do without, bucket=`{}` status=`{}` code=`{}` message=`{}`",
                    store.settings().bucket,
                    answer.status,
                    answer.code,
                    answer.message
                ),
            };
        }
        self.into_error(store, action, key)
    }
}

impl Answer {
    fn into_error(self, action: &'static str, key: String) -> StoreError {
        let Self {
            status,
            code,
            message,
            ..
        } = self;
        match status {
            401 | 403 => StoreError::Denied { action, key, code },
            404 => StoreError::NotFound { key },
            _ => StoreError::Refused {
                action,
                key,
                status,
                code,
                message,
            },
        }
    }
}

/// Why nothing was sent, where that is certain.
pub(super) fn unreached(error: &(dyn Error + 'static)) -> Option<Unreached> {
    for cause in chain(error) {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return Some(Unreached::Tls(lines::tls(tls)));
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            match io.kind() {
                std::io::ErrorKind::ConnectionRefused => return Some(Unreached::Refused),
                std::io::ErrorKind::HostUnreachable | std::io::ErrorKind::NetworkUnreachable => {
                    return Some(Unreached::Silent);
                }
                _ => {}
            }
        }
        // The HTTP client gives these two no type of their own.
        let text = cause.to_string();
        if text == "dns error" {
            return Some(Unreached::Name);
        }
        if text.starts_with("HTTP connect timeout") {
            return Some(Unreached::Silent);
        }
    }
    None
}

/// An error and all below it. An I/O error's payload is not its source, so it is asked for by itself.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    // However deep somebody nests errors.
    std::iter::successors(Some(error), |error| below(*error)).take(32)
}

fn below<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<std::io::Error>() {
        Some(io) => io
            .get_ref()
            .map(|inner| -> &'a (dyn Error + 'static) { inner }),
        None => error.source(),
    }
}

/// An error and all below it in one line, each text once.
pub(super) fn spelled(error: &(dyn Error + 'static)) -> String {
    let mut line = String::new();
    for cause in chain(error) {
        let text = cause.to_string();
        if !line.contains(&text) {
            let separator = if line.is_empty() { "" } else { ": " };
            // Writing to a string does not fail.
            let _ = write!(line, "{separator}{text}");
        }
    }
    tamed(&line)
}

/// A store's text, short and printable.
pub(super) fn tamed(text: &str) -> String {
    let short: String = text.chars().take(MESSAGE_CHARS_MAX).collect();
    Printable(&short).to_string()
}
