//! What a store answered, sorted by what it proves.
//!
//! A refusal is a claim that the store knew the request and would not do it. What was asked too often, too slowly, in
//! a wrong way or with credentials that have run out was not refused, and is unknown.

use std::fmt;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

/// What became of a request, or of a canary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// It was done.
    Done,
    /// It was refused: the status, and the store's own word.
    Refused(u16, String),
    /// The store takes no such request, from nobody.
    NotTaken(u16, String),
    /// It is not as it was.
    Other(String),
    /// Nobody knows.
    Unknown(String),
}

/// What a store says with 400 to something that a lock forbids (Amazon S3 API, "List of error codes"; MinIO
/// `cmd/api-errors.go`).
const REFUSALS: [&str; 6] = [
    "AccessDenied",
    "InvalidRequest",
    "InvalidRetentionPeriod",
    "MethodNotAllowed",
    "ObjectLocked",
    "OperationNotPermitted",
];
/// What a store says of who asks, or when, and not of what is asked.
const OF_CREDENTIALS: [&str; 10] = [
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidSecurity",
    "InvalidToken",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "OperationAborted",
    "ConditionalRequestConflict",
];

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Refused(status, code) => write!(f, "refused, {status} {code}"),
            Self::NotTaken(status, code) => write!(f, "not taken, {status} {code}"),
            Self::Other(found) => f.write_str(found),
            Self::Unknown(why) => write!(f, "unknown: {why}"),
        }
    }
}

impl Answer {
    pub(super) fn of<T, E: ProvideErrorMetadata>(result: &Result<T, SdkError<E>>) -> Self {
        let Err(error) = result else {
            return Self::Done;
        };
        let status = error.raw_response().map(|raw| raw.status().as_u16());
        status.map_or_else(
            || Self::Unknown("no answer".to_owned()),
            |status| Self::of_code(status, error.code().unwrap_or("none")),
        )
    }

    /// An error by its status and code.
    pub(super) fn of_code(status: u16, code: &str) -> Self {
        let word = code.chars().filter(char::is_ascii_graphic).take(80);
        let word: String = word.collect();
        match status {
            403 | 405 | 409 if !OF_CREDENTIALS.contains(&code) => Self::Refused(status, word),
            // One object of many is refused below a status of success, by its code alone.
            200 | 400 if REFUSALS.contains(&code) => Self::Refused(status, word),
            400 if code == "MalformedXML" => Self::NotTaken(status, word),
            501 => Self::NotTaken(status, word),
            _ => Self::Unknown(format!("status {status} {word}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l02_only_what_is_known_to_be_a_refusal_is_one() {
        for (status, code) in [
            (403, "AccessDenied"),
            (403, "none"),
            (405, "MethodNotAllowed"),
            (409, "ObjectLocked"),
            (400, "InvalidRequest"),
            (400, "ObjectLocked"),
            (200, "AccessDenied"),
        ] {
            let answer = Answer::of_code(status, code);
            assert!(matches!(answer, Answer::Refused(..)), "{status} {code}");
        }
        for (status, code) in [(400, "MalformedXML"), (501, "NotImplemented")] {
            let answer = Answer::of_code(status, code);
            assert!(matches!(answer, Answer::NotTaken(..)), "{status} {code}");
        }
        for (status, code) in [
            (400, "BadDigest"),
            (400, "ExpiredToken"),
            (400, "InvalidArgument"),
            (400, "RequestTimeout"),
            (403, "RequestTimeTooSkewed"),
            (403, "SignatureDoesNotMatch"),
            (404, "NoSuchVersion"),
            (408, "RequestTimeout"),
            (409, "OperationAborted"),
            (412, "PreconditionFailed"),
            (429, "TooManyRequests"),
            (200, "InternalError"),
            (500, "InternalError"),
            (503, "SlowDown"),
        ] {
            let answer = Answer::of_code(status, code);
            assert!(matches!(answer, Answer::Unknown(_)), "{status} {code}");
        }
    }
}
