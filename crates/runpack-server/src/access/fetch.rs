//! Fetching the keys of an issuer: the one request that this server sends on account of a token.
//!
//! Invariants: the address is the policy's (threat C36); the answer is 200, JSON and small, and is there in time (threat
//! C20). What else holds of whom we ask is [`crate::remote`]'s.

use std::time::Duration;

use axum::http::{Request, Response, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;

use crate::remote::{Asker, NoAnswer, Remote, RemoteError};

/// Why there was no answer, or not the right one.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no answer in time, milliseconds=`{0}`")]
    Late(u128),
    #[error("no answer")]
    Request(#[source] NoAnswer),
    #[error("the answer is not 200, status=`{}`", .0.as_u16())]
    Status(StatusCode),
    #[error("the answer is not plain JSON")]
    MediaType,
    #[error("the answer broke off, or is longer than `{0}` bytes")]
    Body(usize, #[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Fetches from one place.
#[derive(Debug)]
pub(super) struct Fetcher(Asker);

impl Fetcher {
    pub(super) fn new(source: Remote) -> Result<Self, RemoteError> {
        Asker::new(source).map(Self)
    }

    pub(super) fn source(&self) -> &Remote {
        self.0.remote()
    }

    /// The document, whole.
    pub(super) async fn fetch(
        &self,
        deadline: Duration,
        bytes_max: usize,
    ) -> Result<Bytes, FetchError> {
        tokio::time::timeout(deadline, self.fetch_without_end(bytes_max))
            .await
            .unwrap_or(Err(FetchError::Late(deadline.as_millis())))
    }

    async fn fetch_without_end(&self, bytes_max: usize) -> Result<Bytes, FetchError> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.source().uri().clone();
        request.headers_mut().insert(
            header::ACCEPT,
            header::HeaderValue::from_static("application/json"),
        );
        let response = self.0.ask(request).await;
        let response = response.map_err(FetchError::Request)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        if !is_json(&response) {
            return Err(FetchError::MediaType);
        }
        let body = Limited::new(response.into_body(), bytes_max);
        match body.collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) => Err(FetchError::Body(bytes_max, error)),
        }
    }
}

fn is_json(response: &Response<Incoming>) -> bool {
    let headers = response.headers();
    let Some(Ok(media_type)) = headers.get(header::CONTENT_TYPE).map(|it| it.to_str()) else {
        return false;
    };
    let (media_type, _) = media_type.split_once(';').unwrap_or((media_type, ""));
    ["application/json", "application/jwk-set+json"]
        .iter()
        .any(|json| media_type.trim().eq_ignore_ascii_case(json))
        && !headers.contains_key(header::CONTENT_ENCODING)
}
