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
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::audit;
use crate::metrics::MEDIA_TYPE;
use crate::service::Service;
use crate::spool::{Backlog, Standing};

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
    spool: Option<Value>,
}

impl Readiness {
    /// Ready is who could keep something now: the audit log takes lines, and either the spool has room or the store answers
    /// and is believed to take writes.
    async fn of(service: &Service) -> Self {
        let backlog = service.backlog.as_ref().map(|read| read());
        let answers = service.store_probe.answers(&*service.store).await;
        let (is_logging, audit) = match service.audit.state() {
            audit::State::Ready => (true, "ready"),
            audit::State::NoRoom => (false, "no room"),
            _ => (false, "failed"),
        };
        Self {
            ready: is_logging && keeps(backlog.as_ref(), answers),
            store: if answers { "answers" } else { "away" },
            audit,
            spool: backlog.map(|backlog| shown(&backlog)),
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

/// Whether a write would be kept now.
fn keeps(spool: Option<&Backlog>, store_answers: bool) -> bool {
    match spool {
        None => store_answers,
        Some(spool) => spool.has_room || store_answers && spool.store == Standing::Reachable,
    }
}

/// The spool, for operators.
fn shown(backlog: &Backlog) -> Value {
    let away_since = match &backlog.store {
        Standing::Reachable => None,
        Standing::Away { since, .. } => Some(since.to_string()),
    };
    json!({
        "objects": backlog.objects,
        "bytes": backlog.bytes,
        "oldest_seconds": backlog.waited.as_secs(),
        "has_room": backlog.has_room,
        "conflicts": backlog.conflicts,
        "away_since": away_since,
        "last_error": backlog.last_error.as_deref(),
    })
}

async fn metrics(State(service): State<Arc<Service>>) -> Response {
    let text = [(header::CONTENT_TYPE, MEDIA_TYPE)];
    (text, service.metrics.encode()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_spool_before_a_store_that_is_away_is_not_ready() {
        let spool = |has_room, store| Backlog {
            objects: 1,
            bytes: 1,
            oldest: None,
            waited: Duration::ZERO,
            has_room,
            conflicts: 0,
            store,
            last_error: None,
        };
        let away = || Standing::Away {
            since: runpack_core::time::Timestamp::EPOCH,
            error: "away".into(),
        };
        for (has_room, store, answers, expected) in [
            (true, away(), false, true),
            (false, away(), false, false),
            // It can be listed, and takes nothing.
            (false, away(), true, false),
            (false, Standing::Reachable, true, true),
            (false, Standing::Reachable, false, false),
        ] {
            let spool = spool(has_room, store);
            assert_eq!(keeps(Some(&spool), answers), expected, "{spool:?}");
        }
        assert!(keeps(None, true) && !keeps(None, false));
    }
}
