//! Whether it lives, whether it is ready, and what it counts.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::{Value, json};

use crate::audit;
use crate::metrics::MEDIA_TYPE;
use crate::service::Service;
use crate::spool::{Backlog, Standing};

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
    use std::time::Duration;

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
