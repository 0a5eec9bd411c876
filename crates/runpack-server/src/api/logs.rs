//! `/v1/executions/{execution_id}/logs`.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use runpack_core::key::Log;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::body;
use super::call::Call;
use super::docs::{LogName, Problems, Ulid};
use super::executions::owned;
use super::query::{Asked, At, parse};
use crate::access::Verb;
use crate::execution::Follow;
use crate::metrics::Kind;
use crate::problem::Problem;
use crate::service::Service;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AppendQuery {
    /// Where in the log the part begins, in bytes. With it, the same call again is the same part; without it the part goes
    /// to the end.
    offset: Option<u64>,
}

/// A part of a log that is kept.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct LogAppended {
    /// Where it begins.
    offset: u64,
    /// Where the log goes on.
    next: u64,
}

/// Add to a log
///
/// Bytes as they come, at most 1 MiB at once: one line or many.
#[utoipa::path(post, path = "/v1/executions/{execution_id}/logs/{log}", tag = "executions",
    params(("execution_id" = Ulid, Path), ("log" = LogName, Path), AppendQuery),
    request_body(content = String, content_type = "text/plain"),
    responses((status = 201, body = LogAppended), (status = 200, body = LogAppended), Problems))]
pub(super) async fn append(
    State(service): State<Arc<Service>>,
    call: Call,
    At((id, log)): At<(String, String)>,
    Asked(query): Asked<AppendQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let begun = Instant::now();
    call.trail.act("log.append", format!("{id}/{log}"));
    let (id, _) = owned(&service, &call, &id, Verb::Write).await?;
    let log: Log = parse("log", &log)?;
    body::as_it_is(&headers)?;
    let bytes_max = service.executions.limits().log_part_bytes_max;
    let bytes = body::read(body, bytes_max).await?;
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let appended = service
        .executions
        .append(&id, log, query.offset, bytes)
        .await;
    let appended = appended.map_err(|error| {
        let problem = Problem::from(error);
        service.metrics.not_kept(Kind::Log, problem.code());
        problem
    })?;
    call.trail.note("offset", appended.offset);
    call.trail.note("bytes", size);
    let answer = LogAppended {
        offset: appended.offset,
        next: appended.next,
    };
    let status = if appended.is_new {
        service.metrics.kept(Kind::Log, size, begun.elapsed());
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(answer)).into_response())
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReadQuery {
    /// From which byte on.
    #[param(default = 0)]
    from: Option<u64>,
    /// Whether to wait for what comes, until the execution ends.
    #[param(default = false)]
    follow: Option<bool>,
}

/// Read a log, also while it is written
#[utoipa::path(get, path = "/v1/executions/{execution_id}/logs/{log}", tag = "executions",
    params(("execution_id" = Ulid, Path), ("log" = LogName, Path), ReadQuery),
    responses((status = 200, content_type = "text/plain", body = String), Problems))]
pub(super) async fn read(
    State(service): State<Arc<Service>>,
    call: Call,
    At((id, log)): At<(String, String)>,
    Asked(query): Asked<ReadQuery>,
) -> Result<Response, Problem> {
    call.trail.act("log.read", format!("{id}/{log}"));
    let (id, _) = owned(&service, &call, &id, Verb::Read).await?;
    let log: Log = parse("log", &log)?;
    let follow = if query.follow.unwrap_or(false) {
        Follow::UntilTheEnd
    } else {
        Follow::No
    };
    let from = query.from.unwrap_or(0);
    let pieces = Arc::clone(&service.executions)
        .log(&id, log, from, follow)
        .await?;
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}
