//! `/v1/records`.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, TryStreamExt as _};
use runpack_core::display::chain;
use runpack_core::key::Day;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::body;
use super::call::{Call, absent};
use super::docs::{Commit, Id, Problems, Time};
use super::query::{Asked, At, page, parse, parse_some, scope};
use crate::metrics::Kind;
use crate::problem::Problem;
use crate::record::{Days, Envelope, Keeping, Page, RecordError, Stored, Stream};
use crate::service::Service;

impl From<RecordError> for Problem {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Envelope(error) => error.into(),
            RecordError::Conflict { ours, theirs } => {
                Self::conflict(format!("sent=`{ours}` kept=`{theirs}`"))
            }
            RecordError::NotFound(_) => absent(),
            RecordError::Damaged { .. } => {
                tracing::error!(error = chain(&error), "a record is damaged");
                Self::damaged("the record is not what was kept")
            }
            RecordError::Query(detail) => Self::bad_request(detail),
            RecordError::Key(error) => Self::bad_request(error.to_string()),
            RecordError::Store(error) => error.into(),
        }
    }
}

/// The envelope of a record, as the documentation shows it; it is read by [`Envelope`].
#[derive(utoipa::ToSchema)]
#[expect(
    dead_code,
    reason = "it is the schema of a body that is read strictly and by hand"
)]
pub(super) struct RecordEnvelope {
    /// Whose record it is.
    #[schema(value_type = Id)]
    organization: String,
    /// In which project.
    #[schema(value_type = Id)]
    project: String,
    /// Of which service.
    #[schema(value_type = Id)]
    service: String,
    /// Of which run. The same body again is the same record; another body is refused.
    #[schema(value_type = Id)]
    run_id: String,
    /// What the run put out: any JSON but `null`, kept byte for byte.
    artifact: serde_json::Value,
    /// What changed since the run before.
    diff: Option<serde_json::Value>,
    /// What it comes to.
    summary: Option<serde_json::Value>,
    /// The Git commit that it was made from.
    #[schema(value_type = Commit)]
    commit_sha: String,
    /// When it was made.
    #[schema(value_type = Time)]
    generated_at: String,
    /// At most 64 entries.
    metadata: Option<std::collections::BTreeMap<String, String>>,
}

/// A record that is kept.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct RecordKept {
    /// `new`, `again`, or `first`: another body was kept before, and stays.
    outcome: &'static str,
    /// Where it is.
    key: String,
    /// Its day.
    date: String,
    /// When it came.
    received_at: String,
    /// The SHA-256 of the body that is kept.
    body_sha256: String,
    /// The size of the stored object.
    bytes: u64,
}

/// A stored record: what the server noted, and the envelope as it came.
#[derive(utoipa::ToSchema)]
#[expect(
    dead_code,
    reason = "it is the schema of bytes that are given as they are stored"
)]
pub(super) struct StoredRecord {
    /// `runpack-record/v1`
    format: String,
    /// By the server's clock.
    received_at: String,
    /// Who sent it.
    received_by: String,
    /// The SHA-256 of `body`, byte for byte.
    body_sha256: String,
    /// The envelope.
    body: RecordEnvelope,
}

fn stream((organization, project, service): &(String, String, String)) -> Result<Stream, Problem> {
    Ok(Stream {
        organization: parse("organization", organization)?,
        project: parse("project", project)?,
        service: parse("service", service)?,
    })
}

fn name(stream: &Stream) -> String {
    format!(
        "{}/{}/{}",
        stream.organization, stream.project, stream.service
    )
}

/// Keep a record
///
/// The body is kept as it came. Sent again, it is the same record: 200. Another body under the same run id is refused with
/// 409, or dropped with 200 and `first`, as the server is set up.
#[utoipa::path(post, path = "/v1/records", tag = "records",
    request_body(content = RecordEnvelope, content_type = "application/json"),
    responses((status = 201, body = RecordKept), (status = 200, body = RecordKept), Problems))]
pub(super) async fn keep(
    State(service): State<Arc<Service>>,
    call: Call,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let begun = Instant::now();
    call.trail.act("record.write", "");
    let kept = receive(&service, &call, &headers, body).await;
    match kept {
        Ok((kept, is_new)) => {
            let status = if is_new {
                StatusCode::CREATED
            } else {
                StatusCode::OK
            };
            if is_new {
                service
                    .metrics
                    .kept(Kind::Record, kept.bytes, begun.elapsed());
            }
            Ok((status, Json(kept)).into_response())
        }
        Err(problem) => {
            service.metrics.not_kept(Kind::Record, problem.code());
            Err(problem)
        }
    }
}

async fn receive(
    service: &Service,
    call: &Call,
    headers: &HeaderMap,
    body: Body,
) -> Result<(RecordKept, bool), Problem> {
    call.may_write_anywhere()?;
    body::expect_type(headers, &["application/json"])?;
    let limits = service.records.limits();
    let bytes = body::read(body, limits.body_bytes_max).await?;
    let announced = body::digest(headers)?;
    let envelope = Envelope::parse(&bytes, limits).map_err(RecordError::Envelope)?;
    let stream = envelope.stream();
    call.trail.act(
        "record.write",
        format!("{}/{}", name(&stream), envelope.run_id()),
    );
    call.may_write(&scope(&stream.organization, &stream.project))?;
    if announced.is_some() {
        let sent = runpack_core::digest::Digest::of(&bytes);
        body::expect_digest(announced, sent)?;
    }
    let kept = service
        .records
        .keep(&envelope, &bytes, call.caller.name())
        .await?;
    call.trail.note("body_sha256", kept.head.body_sha256);
    let outcome = match kept.keeping {
        Keeping::New => "new",
        Keeping::Again => "again",
        Keeping::First => "first",
    };
    call.trail.note("outcome", outcome);
    let answer = RecordKept {
        outcome,
        key: kept.key.to_string(),
        date: kept.day.to_string(),
        received_at: kept.head.received_at.to_string(),
        body_sha256: kept.head.body_sha256.to_string(),
        bytes: kept.bytes,
    };
    Ok((answer, kept.keeping == Keeping::New))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// The first day, `YYYY-MM-DD`; the same as `to` where it is not given.
    #[param(pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$", example = "2026-11-01")]
    from: Option<String>,
    /// The last day, at most a year later; today where it is not given.
    #[param(pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$", example = "2026-11-20")]
    to: Option<String>,
    /// What an earlier part gave as `next`.
    after: Option<String>,
    /// At most so many.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

fn days(service: &Service, from: Option<&str>, to: Option<&str>) -> Result<Days, Problem> {
    let to = parse_some("to", to)?.unwrap_or_else(|| Day::of(service.clock.now()));
    let from = parse_some("from", from)?.unwrap_or(to);
    if from > to {
        return Err(Problem::bad_request("`from` is not after `to`"));
    }
    Ok(Days { from, to })
}

/// List the records of a service
///
/// By day, then by run id.
#[utoipa::path(get, path = "/v1/records/{organization}/{project}/{service}", tag = "records",
    params(("organization" = Id, Path), ("project" = Id, Path), ("service" = Id, Path), ListQuery),
    responses((status = 200, body = Page), Problems))]
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    call: Call,
    At(at): At<(String, String, String)>,
    Asked(query): Asked<ListQuery>,
) -> Result<Json<Page>, Problem> {
    let stream = stream(&at)?;
    call.trail.act("record.list", name(&stream));
    call.may_read(&scope(&stream.organization, &stream.project))?;
    let days = days(&service, query.from.as_deref(), query.to.as_deref())?;
    let limit = page(query.limit)?;
    let after = query.after.as_deref();
    Ok(Json(
        service.records.list(&stream, days, after, limit).await?,
    ))
}

fn stored(stored: &Stored) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    (json, stored.to_bytes()).into_response()
}

/// Read the record of a service that came last
#[utoipa::path(get, path = "/v1/records/{organization}/{project}/{service}/latest", tag = "records",
    params(("organization" = Id, Path), ("project" = Id, Path), ("service" = Id, Path)),
    responses((status = 200, body = StoredRecord), Problems))]
pub(super) async fn latest(
    State(service): State<Arc<Service>>,
    call: Call,
    At(at): At<(String, String, String)>,
) -> Result<Response, Problem> {
    let stream = stream(&at)?;
    call.trail.act("record.read", name(&stream));
    call.may_read(&scope(&stream.organization, &stream.project))?;
    let (_, _, last) = service.records.latest(&stream).await?;
    Ok(stored(&last))
}

/// Read a record
///
/// As it is stored, held against the SHA-256 in its head.
#[utoipa::path(get, path = "/v1/records/{organization}/{project}/{service}/runs/{run_id}", tag = "records",
    params(("organization" = Id, Path), ("project" = Id, Path), ("service" = Id, Path), ("run_id" = Id, Path)),
    responses((status = 200, body = StoredRecord), Problems))]
pub(super) async fn read(
    State(service): State<Arc<Service>>,
    call: Call,
    At((organization, project, of, run_id)): At<(String, String, String, String)>,
) -> Result<Response, Problem> {
    let stream = stream(&(organization, project, of))?;
    let run_id = parse("run_id", &run_id)?;
    call.trail
        .act("record.read", format!("{}/{run_id}", name(&stream)));
    call.may_read(&scope(&stream.organization, &stream.project))?;
    Ok(stored(&service.records.read(&stream, &run_id).await?))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DiffsQuery {
    /// The first day, `YYYY-MM-DD`; the same as `to` where it is not given.
    #[param(pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$", example = "2026-11-01")]
    from: Option<String>,
    /// The last day, at most a year later; today where it is not given.
    #[param(pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$", example = "2026-11-20")]
    to: Option<String>,
}

/// A line of a replay; the last one of a replay that could not be finished has `problem` alone.
#[derive(Serialize)]
struct Broken<'a> {
    problem: &'a Problem,
}

#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "it is the schema of one line")]
pub(super) struct DiffLine {
    run_id: String,
    received_at: String,
    commit_sha: String,
    diff: serde_json::Value,
}

/// Replay the diffs of a service, in the order in which their records came
///
/// One JSON document a line. A replay that cannot be finished ends with a line `{"problem": ...}`.
#[utoipa::path(get, path = "/v1/records/{organization}/{project}/{service}/diffs", tag = "records",
    params(("organization" = Id, Path), ("project" = Id, Path), ("service" = Id, Path), DiffsQuery),
    responses((status = 200, body = DiffLine, content_type = "application/jsonl"), Problems))]
pub(super) async fn diffs(
    State(service): State<Arc<Service>>,
    call: Call,
    At(at): At<(String, String, String)>,
    Asked(query): Asked<DiffsQuery>,
) -> Result<Response, Problem> {
    let stream = stream(&at)?;
    call.trail.act("record.diffs", name(&stream));
    call.may_read(&scope(&stream.organization, &stream.project))?;
    let days = days(&service, query.from.as_deref(), query.to.as_deref())?;
    let lines = Arc::clone(&service.records).diffs(stream, days)?;
    // The first line is waited for, so that what fails at once is told by the status.
    let mut lines = Box::pin(lines.peekable());
    if matches!(lines.as_mut().peek().await, Some(Err(_)))
        && let Some(Err(error)) = lines.next().await
    {
        return Err(error.into());
    }
    let lines = lines.map(|line| {
        let mut bytes = match line {
            Ok(line) => serde_json::to_vec(&line),
            Err(error) => {
                let problem = Problem::from(error);
                serde_json::to_vec(&Broken { problem: &problem })
            }
        }?;
        bytes.push(b'\n');
        Ok::<_, serde_json::Error>(bytes)
    });
    let jsonl = [(header::CONTENT_TYPE, "application/jsonl")];
    Ok((jsonl, Body::from_stream(lines.into_stream())).into_response())
}
