//! Asking a server from another program.
//!
//! What comes is the server's word: whoever wants more than that takes the pack, and verifies it offline.

use std::time::Duration;

use axum::http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use runpack_core::id::ExecutionId;
use runpack_core::key::Log;
use serde::Deserialize;

use crate::execution::Follow;
use crate::remote::{Asker, Remote, RemoteError};

/// Times that a line is taken up again without a byte having come.
const ATTEMPTS_MAX: u32 = 6;
/// Before it is, at first; twice as long each time.
const WAIT: Duration = Duration::from_millis(500);
/// How long a server has to begin its answer.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// A problem is not longer.
const PROBLEM_BYTES_MAX: usize = 64 << 10;

/// Why a server gave nothing, or not all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// It can never be asked.
    #[error("the server cannot be asked: {0}")]
    Remote(#[from] RemoteError),
    /// The token has characters that no header takes.
    #[error("the token is none: it has characters that no header takes")]
    Token,
    /// The server does not answer.
    #[error("the server does not answer")]
    NoAnswer(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What came broke off, again and again.
    #[error(
        "the answer breaks off, and at the same byte when it is asked for again, offset=`{offset}`"
    )]
    BrokenOff {
        /// Up to where it came.
        offset: u64,
        /// How it broke off.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server refused.
    #[error("{title}: {detail}, status=`{status}`")]
    Refused {
        /// The status.
        status: u16,
        /// What kind of refusal.
        title: String,
        /// What it is in this case.
        detail: String,
        /// What to do next, as the server says.
        next: String,
    },
}

impl ClientError {
    /// Whether the same may go well later.
    fn is_passing(&self) -> bool {
        match self {
            Self::NoAnswer(_) | Self::BrokenOff { .. } => true,
            Self::Refused { status, .. } => *status == 503,
            Self::Remote(_) | Self::Token => false,
        }
    }
}

/// A server, and the token that it is asked with.
#[derive(Debug, Clone)]
pub struct Client {
    asker: Asker,
    authorization: HeaderValue,
}

/// A problem as it comes (RFC 9457).
#[derive(Deserialize)]
struct Told {
    title: String,
    detail: String,
    next: String,
}

impl Client {
    /// The server at `address`, such as `https://evidence.example`; with `ca_pem` its certificate is to come from one of
    /// these, else from one that the system trusts.
    ///
    /// # Errors
    /// [`ClientError::Remote`], [`ClientError::Token`].
    pub fn new(address: &str, ca_pem: Option<Vec<u8>>, token: &str) -> Result<Self, ClientError> {
        let mut authorization =
            HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| ClientError::Token)?;
        authorization.set_sensitive(true);
        let asker = Asker::new(Remote::new(address, ca_pem)?)?;
        Ok(Self {
            asker,
            authorization,
        })
    }

    /// A log from `from` on. Where the line breaks it is taken up again at the byte where it broke.
    ///
    /// # Errors
    /// The stream ends with [`ClientError::Refused`], and with the others when the server is away for longer.
    pub fn log(
        self,
        id: &ExecutionId,
        log: Log,
        from: u64,
        follow: Follow,
    ) -> BoxStream<'static, Result<Bytes, ClientError>> {
        let reading = Reading {
            path: format!("v1/executions/{id}/logs/{}", log.as_str()),
            follow: follow == Follow::UntilTheEnd,
            client: self,
            at: from,
            body: None,
            attempts: None,
        };
        stream::try_unfold(reading, async |mut reading| {
            let piece = reading.next().await?;
            Ok(piece.map(|bytes| (bytes, reading)))
        })
        .boxed()
    }

    async fn get(&self, path_and_query: &str) -> Result<Response<Incoming>, ClientError> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.uri(path_and_query)?;
        let authorization = self.authorization.clone();
        request
            .headers_mut()
            .insert(header::AUTHORIZATION, authorization);
        let answer = tokio::time::timeout(ANSWER_WAIT, self.asker.ask(request)).await;
        let answer = answer.map_err(|late| ClientError::NoAnswer(late.into()))?;
        let answer = answer.map_err(|error| ClientError::NoAnswer(error.into()))?;
        if answer.status() == StatusCode::OK {
            return Ok(answer);
        }
        Err(refusal(answer).await)
    }

    /// Below the address that was given, which may be a path of a proxy.
    fn uri(&self, path_and_query: &str) -> Result<Uri, ClientError> {
        let base = self.asker.remote().uri();
        let mut parts = base.clone().into_parts();
        let path = base.path().trim_end_matches('/');
        let joined = format!("{path}/{path_and_query}").parse();
        parts.path_and_query = Some(joined.map_err(|_| RemoteError::Address)?);
        Ok(Uri::from_parts(parts).map_err(|_| RemoteError::Address)?)
    }
}

async fn refusal(answer: Response<Incoming>) -> ClientError {
    let status = answer.status();
    let body = Limited::new(answer.into_body(), PROBLEM_BYTES_MAX);
    let bytes = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes);
    let told = bytes
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Told>(&bytes).ok());
    let told = told.unwrap_or_else(|| Told {
        title: "what answers is no runpack server, or something stands before it".to_owned(),
        detail: "its answer is no problem that it knows".to_owned(),
        next: "check the address".to_owned(),
    });
    ClientError::Refused {
        status: status.as_u16(),
        title: told.title,
        detail: told.detail,
        next: told.next,
    }
}

/// A log that is being read.
struct Reading {
    client: Client,
    path: String,
    follow: bool,
    at: u64,
    body: Option<Incoming>,
    /// Since a byte came; none while the server has never answered.
    attempts: Option<u32>,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            let error = match self.try_next().await {
                Ok(Some(bytes)) => {
                    self.attempts = Some(0);
                    return Ok(Some(bytes));
                }
                Ok(None) => return Ok(None),
                Err(error) => error,
            };
            self.body = None;
            match &mut self.attempts {
                Some(attempts) if error.is_passing() && *attempts < ATTEMPTS_MAX => {
                    let twice = 2_u32.saturating_pow(*attempts);
                    *attempts = attempts.saturating_add(1);
                    tokio::time::sleep(WAIT.saturating_mul(twice)).await;
                }
                _ => return Err(error),
            }
        }
    }

    async fn try_next(&mut self) -> Result<Option<Bytes>, ClientError> {
        if self.body.is_none() {
            let asked = format!("{}?from={}&follow={}", self.path, self.at, self.follow);
            let answer = self.client.get(&asked).await?;
            self.attempts.get_or_insert(0);
            self.body = Some(answer.into_body());
        }
        let Some(body) = &mut self.body else {
            return Ok(None);
        };
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| ClientError::BrokenOff {
                offset: self.at,
                source: error.into(),
            })?;
            if let Ok(bytes) = frame.into_data()
                && !bytes.is_empty()
            {
                let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                self.at = self.at.saturating_add(size);
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}
