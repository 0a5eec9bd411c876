//! What is left of a request: a line in the audit log, a count, a line in the server's log, and its id in the answer.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::time::Instant;

use super::origin;
use crate::access::Refusal;
use crate::audit::{self, Event, Outcome};
use crate::listen::Peer;
use crate::problem::Problem;
use crate::service::Service;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What is known of a request while it is answered.
#[derive(Debug, Clone)]
pub(crate) struct Trail(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    request: String,
    caller: Option<Arc<str>>,
    refusal: Option<&'static str>,
    action: Option<&'static str>,
    object: String,
    detail: BTreeMap<&'static str, String>,
}

impl Trail {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Known {
            request: ulid::Ulid::generate().to_string(),
            ..Known::default()
        })))
    }

    fn with<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The id of the request.
    pub(crate) fn request(&self) -> String {
        self.with(|known| known.request.clone())
    }

    /// Who calls.
    pub(super) fn caller(&self, name: &str) {
        self.with(|known| known.caller = Some(name.into()));
    }

    /// Why nobody was authenticated.
    pub(super) fn refusal(&self, refusal: &Refusal) {
        self.with(|known| {
            known.caller = refusal.claimed().map(Into::into);
            known.refusal = Some(refusal.code());
            known.detail.insert("refusal", refusal.detail().to_owned());
        });
    }

    /// That they ask too often.
    pub(super) fn is_too_often(&self) {
        self.with(|known| known.refusal = Some(audit::RATE));
    }

    /// That a page of another host asks in somebody's name.
    fn is_of_another_host(&self) {
        self.with(|known| known.refusal = Some("foreign-origin"));
    }

    /// What is done, and to what.
    pub(crate) fn act(&self, action: &'static str, object: impl Into<String>) {
        self.with(|known| {
            known.action = Some(action);
            known.object = object.into();
        });
    }

    /// What else is to be known.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "it is told once, and whoever tells it has done with it"
    )]
    pub(super) fn note(&self, name: &'static str, value: impl ToString) {
        self.with(|known| known.detail.insert(name, value.to_string()));
    }
}

/// On an answer whose line was written by whoever gave it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Audited;

/// When the client of a request that goes on without them is gone, or was told that it takes too long.
#[derive(Debug, Clone)]
pub(crate) struct Gone(watch::Receiver<()>);

impl Gone {
    /// Returns when they are; never where the request ends with its client.
    pub(crate) async fn wait(gone: Option<Self>) {
        match gone {
            Some(Self(mut here)) => while here.changed().await.is_ok() {},
            None => std::future::pending().await,
        }
    }
}

/// Answers no write and no refusal before it is in the audit log; where that cannot be, it is not acknowledged (threat C33).
///
/// A write that was begun is finished and written down, whether or not its client waits for it: neither hanging up nor the
/// deadline of the answer leaves a write in the store that is not in the log.
pub(crate) async fn audited(
    State(service): State<Arc<Service>>,
    mut request: Request,
    next: Next,
) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return answered(&service, request, next, Kind::Read).await;
    }
    if service.audit.state() != audit::State::Ready {
        return Problem::unavailable("the audit log takes no more lines")
            .retry_after(30)
            .into_response();
    }
    let Ok(under_way) = service.writes.begin() else {
        return Problem::unavailable("too much is under way")
            .retry_after(5)
            .into_response();
    };
    let (here, gone) = watch::channel(());
    request.extensions_mut().insert(Gone(gone));
    let write = tokio::spawn(async move {
        let response = answered(&service, request, next, Kind::Write).await;
        drop(under_way);
        response
    });
    let done = write.await;
    drop(here);
    done.unwrap_or_else(|_| Problem::bug("a request was lost").into_response())
}

/// What a request may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
}

async fn answered(service: &Service, request: Request, next: Next, kind: Kind) -> Response {
    let Some(trail) = request.extensions().get::<Trail>().cloned() else {
        return Problem::bug("a request without a trail").into_response();
    };
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.ip());
    let path = request.uri().path().to_owned();
    let response = match origin::check(request.headers(), request.uri()) {
        Err(problem) if kind == Kind::Write => {
            trail.is_of_another_host();
            problem.into_response()
        }
        // Locks that a panic leaves behind are taken up everywhere; what it was at is in the line below.
        _ => AssertUnwindSafe(next.run(request))
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Problem::bug("what answers the request failed").into_response()),
    };
    let is_refused_often = trail.with(|known| match (known.refusal, &known.caller) {
        (None, _) => false,
        (Some(reason), None) => {
            if let Some(peer) = peer {
                service.audit.count_refusal(reason, peer);
            }
            true
        }
        (Some(reason), Some(caller)) => !service.audit.count_refusal_of(caller, reason, peer),
    });
    let is_written = response.extensions().get::<Audited>().is_some();
    // Nobody fills the log who gets no further than saying who they are: these are counted and told together.
    if is_refused_often || is_written {
        return response;
    }
    let status = response.status();
    let outcome = if status.is_server_error() {
        Outcome::Failed
    } else if status.is_client_error() {
        Outcome::Refused
    } else {
        Outcome::Accepted
    };
    if kind == Kind::Read && outcome == Outcome::Accepted {
        return response;
    }
    let code = response.extensions().get::<Problem>().map(Problem::code);
    let event = trail.with(|known| {
        let mut detail = std::mem::take(&mut known.detail);
        if let Some(code) = code {
            detail.insert("code", code.to_owned());
        }
        if let Some(peer) = peer {
            detail.insert("peer", peer.to_string());
        }
        Event {
            request: Some(known.request.clone()),
            caller: known.caller.clone(),
            action: known.action.unwrap_or("request"),
            object: if known.object.is_empty() {
                path
            } else {
                std::mem::take(&mut known.object)
            },
            outcome,
            status: status.as_u16(),
            detail,
        }
    });
    match service.audit.record(event).await {
        Ok(()) => response,
        Err(error) => {
            tracing::error!(
                error = runpack_core::display::chain(&error),
                "the audit log failed"
            );
            Problem::unavailable("the audit log could not be written, send it again")
                .retry_after(30)
                .into_response()
        }
    }
}

/// Counts a request, logs it, and gives it its id.
pub(crate) async fn measured(
    State(service): State<Arc<Service>>,
    matched: Option<MatchedPath>,
    mut request: Request,
    next: Next,
) -> Response {
    let trail = Trail::new();
    request.extensions_mut().insert(trail.clone());
    let method = request.method().clone();
    let begun = Instant::now();
    let mut response = next.run(request).await;
    let took = begun.elapsed();
    let status = response.status();
    service
        .metrics
        .answered(&method, matched.as_ref(), status, took);
    let (id, caller) = trail.with(|known| (known.request.clone(), known.caller.clone()));
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let route = matched.as_ref().map_or("none", MatchedPath::as_str);
    tracing::info!(
        request = id,
        caller = caller.as_deref(),
        method = %method,
        route,
        status = status.as_u16(),
        milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "answered"
    );
    response
}
