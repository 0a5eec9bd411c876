//! Whether it lives, whether it is ready, and what it counts.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::StreamExt as _;
use runpack_core::key::Location;
use runpack_core::store::Store;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::audit;
use crate::metrics::MEDIA_TYPE;
use crate::service::Service;

/// How long the store has to answer.
const STORE_WAIT: Duration = Duration::from_secs(5);
/// For how long its last answer holds.
const STORE_HOLDS: Duration = Duration::from_secs(1);

/// For everybody: whether it lives, and whether it is ready, and no more.
pub(super) fn router() -> Router<Arc<Service>> {
    let ready = async |State(service): State<Arc<Service>>| {
        let readiness = Readiness::of(&service).await;
        let word = if readiness.ready {
            "ok\n"
        } else {
            "not ready\n"
        };
        (readiness.status(), word)
    };
    Router::new()
        .route("/healthz", get(lives))
        .route("/readyz", get(ready))
}

/// For operators: what readiness rests on, and what is counted.
pub(super) fn admin_router() -> Router<Arc<Service>> {
    let ready = async |State(service): State<Arc<Service>>| {
        let readiness = Readiness::of(&service).await;
        (readiness.status(), Json(readiness))
    };
    Router::new()
        .route("/healthz", get(lives))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
}

async fn lives() -> &'static str {
    "ok\n"
}

/// Whether the store answers. Asked at most once a second, however many want to know: they need no token.
#[derive(Debug, Default)]
pub(crate) struct StoreProbe(Mutex<Option<(Instant, bool)>>);

impl StoreProbe {
    async fn answers(&self, store: &dyn Store) -> bool {
        let mut last = self.0.lock().await;
        if let Some((at, answered)) = *last
            && at.elapsed() < STORE_HOLDS
        {
            return answered;
        }
        let asked = async {
            let mut entries = store.list(&Location::probes_prefix());
            matches!(entries.next().await, None | Some(Ok(_)))
        };
        let answers = tokio::time::timeout(STORE_WAIT, asked).await == Ok(true);
        *last = Some((Instant::now(), answers));
        answers
    }
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

impl Readiness {
    /// Ready is who could keep something now: the audit log takes lines, and the store answers or a spool stands before it.
    async fn of(service: &Service) -> Self {
        let spool = service.backlog.as_ref().map(|read| {
            let backlog = read();
            SpoolState {
                objects: backlog.objects,
                bytes: backlog.bytes,
                oldest_seconds: backlog.oldest.as_secs(),
            }
        });
        let answers = service.store_probe.answers(&*service.store).await;
        let (is_logging, audit) = match service.audit.state() {
            audit::State::Ready => (true, "ready"),
            audit::State::NoRoom => (false, "no room"),
            _ => (false, "failed"),
        };
        Self {
            ready: is_logging && (answers || spool.is_some()),
            store: if answers { "answers" } else { "away" },
            audit,
            spool,
        }
    }

    fn status(&self) -> StatusCode {
        if self.ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

async fn metrics(State(service): State<Arc<Service>>) -> Response {
    let text = [(header::CONTENT_TYPE, MEDIA_TYPE)];
    (text, service.metrics.encode()).into_response()
}
