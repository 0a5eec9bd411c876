//! Whether it lives, whether it is ready, and what it counts.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::StreamExt as _;
use runpack_core::key::Location;
use serde::Serialize;

use crate::audit;
use crate::metrics::MEDIA_TYPE;
use crate::service::Service;

/// How long the store has to answer.
const STORE_WAIT: std::time::Duration = std::time::Duration::from_secs(5);

pub(super) fn router() -> Router<Arc<Service>> {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
}

/// What readiness rests on.
#[derive(Debug, Serialize)]
struct Readiness {
    ready: bool,
    store: &'static str,
    audit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    spool: Option<SpoolState>,
}

#[derive(Debug, Serialize)]
struct SpoolState {
    objects: u64,
    bytes: u64,
    oldest_seconds: u64,
}

/// Ready is who could keep something now: the audit log takes lines, and the store answers or a spool stands before it.
async fn ready(State(service): State<Arc<Service>>) -> Response {
    let spool = service.backlog.as_ref().map(|read| {
        let backlog = read();
        SpoolState {
            objects: backlog.objects,
            bytes: backlog.bytes,
            oldest_seconds: backlog.oldest.as_secs(),
        }
    });
    let asked = async {
        let mut entries = service.store.list(&Location::probes_prefix());
        matches!(entries.next().await, None | Some(Ok(_)))
    };
    let answers = tokio::time::timeout(STORE_WAIT, asked).await == Ok(true);
    let (is_logging, audit) = match service.audit.state() {
        audit::State::Ready => (true, "ready"),
        audit::State::NoRoom => (false, "no room"),
        _ => (false, "failed"),
    };
    let ready = is_logging && (answers || spool.is_some());
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let answer = Readiness {
        ready,
        store: if answers { "answers" } else { "away" },
        audit,
        spool,
    };
    (status, Json(answer)).into_response()
}

pub(super) async fn metrics(State(service): State<Arc<Service>>) -> Response {
    let text = [(header::CONTENT_TYPE, MEDIA_TYPE)];
    (text, service.metrics.encode()).into_response()
}
