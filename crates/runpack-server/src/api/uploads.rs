//! `/v1/executions/{execution_id}/artifacts` and `/uploads`.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use runpack_core::display::Printable;
use runpack_core::manifest::{Kind, MediaType};
use runpack_core::name::ArtifactName;
use runpack_core::store::Outcome;
use runpack_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::body;
use super::call::Call;
use super::docs::{AsSent, Problems, Ulid};
use super::executions::owned;
use super::query::{Asked, At, parse, parse_some};
use crate::access::Verb;
use crate::execution::{ExecutionError, Item, NewUpload, verified};
use crate::links::{self, VALID_FOR};
use crate::metrics;
use crate::problem::Problem;
use crate::service::Service;
use crate::staging::Staged;

/// What is told of an artifact when it is sent.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PutQuery {
    /// What kind of artifact it is: `trace`, `report`.
    #[param(default = "file", pattern = "^[a-z0-9][a-z0-9-]{0,63}$")]
    kind: Option<String>,
}

/// An artifact of an execution.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct ArtifactItem {
    /// The name in the pack.
    name: String,
    /// The size.
    bytes: u64,
    /// What kind it is.
    kind: String,
    /// The media type.
    media_type: String,
    /// The SHA-256 of all of it, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    /// Where to read it: at the store, without a token, where the store signs URLs; else here.
    url: String,
    /// Until when the URL may be followed, where it is signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

/// The artifacts of an execution.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct ArtifactList {
    /// By name.
    artifacts: Vec<ArtifactItem>,
}

/// Artifacts whose links are made at once.
const LINKS_IN_FLIGHT: usize = 16;

fn artifact_name(name: &str) -> Result<ArtifactName, Problem> {
    let name: ArtifactName = parse("name", &format!("artifacts/{name}"))?;
    Ok(name)
}

fn described(
    name: ArtifactName,
    headers: &HeaderMap,
    query: &PutQuery,
) -> Result<NewUpload, Problem> {
    let kind: Kind = parse("kind", query.kind.as_deref().unwrap_or("file"))?;
    let given = headers.get(header::CONTENT_TYPE);
    let text = given.and_then(|value| value.to_str().ok());
    let media = text.unwrap_or("application/octet-stream");
    let media = media.split(';').next().unwrap_or_default().trim();
    let media_type: MediaType = parse("Content-Type", media)?;
    Ok(NewUpload {
        name,
        title: None,
        kind,
        media_type,
    })
}

/// List the artifacts of an execution
///
/// With a URL each: signed by the store where it can, and then to be followed without a token until it expires.
#[utoipa::path(get, path = "/v1/executions/{execution_id}/artifacts", tag = "executions",
    params(("execution_id" = Ulid, Path)),
    responses((status = 200, body = ArtifactList), Problems))]
pub(super) async fn items(
    State(service): State<Arc<Service>>,
    call: Call,
    At(id): At<String>,
) -> Result<Json<ArtifactList>, Problem> {
    call.trail.act("execution.artifacts", &*id);
    let (id, _) = owned(&service, &call, &id, Verb::Read).await?;
    let items = service.executions.items(&id).await?;
    let each: Vec<_> = items
        .into_iter()
        .map(|item| listed(&service, &id, item))
        .collect();
    let artifacts = stream::iter(each).buffered(LINKS_IN_FLIGHT);
    let artifacts = artifacts.try_collect().await?;
    Ok(Json(ArtifactList { artifacts }))
}

async fn listed(
    service: &Service,
    id: &runpack_core::id::ExecutionId,
    item: Item,
) -> Result<ArtifactItem, Problem> {
    let (url, expires_at) = where_to_read(service, id, &item).await?;
    Ok(ArtifactItem {
        name: item.name.to_string(),
        bytes: item.bytes,
        kind: item.kind,
        media_type: item.media_type,
        sha256: item.sha256.map(|digest| digest.to_string()),
        url,
        expires_at: expires_at.map(|at| at.to_string()),
    })
}

async fn where_to_read(
    service: &Service,
    id: &runpack_core::id::ExecutionId,
    item: &Item,
) -> Result<(String, Option<Timestamp>), Problem> {
    let Some(links) = &service.links else {
        let here = match item.name.as_str().strip_prefix("artifacts/") {
            Some(name) => format!("/v1/executions/{id}/artifacts/{}", path(name)),
            None => match log_stem(item.name.as_str()) {
                Some(log) => format!("/v1/executions/{id}/logs/{log}"),
                None => format!("/v1/executions/{id}"),
            },
        };
        return Ok((here, None));
    };
    let now = service.clock.now();
    let link = links::link_to(&**links, &*service.store, &item.key, VALID_FOR, now).await?;
    Ok((link.reveal().to_owned(), Some(link.expires_at)))
}

fn log_stem(name: &str) -> Option<&str> {
    name.strip_prefix("logs/")?.strip_suffix(".log")
}

/// A name as a part of a path: everything but letters, digits and `-._~/` percent-encoded (RFC 3986).
pub(super) fn path(name: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// Send an artifact
///
/// Of any size. With `Repr-Digest: sha-256=:BASE64:` (RFC 9530) it is held against that before it is kept. The same bytes
/// again are success, others under the same name are refused.
#[utoipa::path(put, path = "/v1/executions/{execution_id}/artifacts/{*name}", tag = "executions",
    params(("execution_id" = Ulid, Path), ("name" = String, Path, description = "with `/` between its parts"), PutQuery),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 201, body = ArtifactItem), (status = 200, body = ArtifactItem), Problems))]
pub(super) async fn put(
    State(service): State<Arc<Service>>,
    call: Call,
    At((id, name)): At<(String, String)>,
    Asked(query): Asked<PutQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let begun = Instant::now();
    call.trail.act("artifact.write", format!("{id}/{name}"));
    let (id, _) = owned(&service, &call, &id, Verb::Write).await?;
    service.executions.running(&id).await?;
    body::as_it_is(&headers)?;
    let upload = described(artifact_name(&name)?, &headers, &query)?;
    let announced = body::digest(&headers)?;
    let bytes_max = service.executions.pack_limits().artifact_bytes_max;
    let staged = body::stage(&service.staging, body, bytes_max).await?;
    body::expect_digest(announced, staged.sha256)?;
    keep(&service, &call, &id, upload, &staged, begun).await
}

async fn keep(
    service: &Service,
    call: &Call,
    id: &runpack_core::id::ExecutionId,
    upload: NewUpload,
    staged: &Staged,
    begun: Instant,
) -> Result<Response, Problem> {
    call.trail.note("sha256", staged.sha256);
    let kept = service.executions.upload(id, upload, staged).await;
    let (note, outcome) = kept.map_err(|error| {
        let problem = Problem::from(error);
        service
            .metrics
            .not_kept(metrics::Kind::Artifact, problem.code());
        problem
    })?;
    let status = if outcome == Outcome::Created {
        service
            .metrics
            .kept(metrics::Kind::Artifact, note.bytes, begun.elapsed());
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let inside = note.name.as_str().strip_prefix("artifacts/");
    let answer = ArtifactItem {
        url: format!(
            "/v1/executions/{id}/artifacts/{}",
            path(inside.unwrap_or_default())
        ),
        name: note.name.to_string(),
        bytes: note.bytes,
        kind: note.kind.to_string(),
        media_type: note.media_type.to_string(),
        sha256: Some(note.sha256.to_string()),
        expires_at: None,
    };
    Ok((status, Json(answer)).into_response())
}

/// Read an artifact of a completed execution
///
/// Every 8 MiB are compared with their commitment before any of them is sent. While the execution runs its artifacts are
/// not served: there is nothing yet to compare them with.
#[utoipa::path(get, path = "/v1/executions/{execution_id}/artifacts/{*name}", tag = "executions",
    params(("execution_id" = Ulid, Path), ("name" = String, Path)),
    responses((status = 200, content_type = "*/*", body = AsSent, description = "with the media type that it was sent with"), Problems))]
pub(super) async fn read(
    State(service): State<Arc<Service>>,
    call: Call,
    At((id, name)): At<(String, String)>,
) -> Result<Response, Problem> {
    call.trail.act("artifact.read", format!("{id}/{name}"));
    let (id, _) = owned(&service, &call, &id, Verb::Read).await?;
    let name = artifact_name(&name)?;
    let Some(pack) = service.executions.pack(&id).await? else {
        return Err(Problem::state("the execution is not complete"));
    };
    let artifact = pack
        .manifest()
        .artifact(name.as_str())
        .ok_or_else(|| Problem::not_found("the execution has no such artifact"))?;
    let (bytes, media) = (artifact.bytes(), artifact.media_type().clone());
    let pieces = body::outgoing(verified(pack, name.to_string(), 0)).await;
    let body = pieces.map_err(ExecutionError::from)?;
    Ok(download(name.as_str(), &media, bytes, body))
}

/// Bytes that are somebody else's: to be saved, never shown in place, whatever they say that they are.
pub(super) fn download(name: &str, media_type: &MediaType, bytes: u64, body: Body) -> Response {
    let mut response = Response::new(body);
    let file = name.rsplit('/').next().unwrap_or_default();
    let quoted: String = Printable(file)
        .to_string()
        .chars()
        .filter(|found| found.is_ascii() && !matches!(found, '"' | '\\'))
        .collect();
    let headers = response.headers_mut();
    let values = [
        (header::CONTENT_TYPE, media_type.to_string()),
        (header::CONTENT_LENGTH, bytes.to_string()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{quoted}\""),
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; sandbox".to_owned(),
        ),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    for (name, value) in values {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    response
}

const UPLOAD_OFFSET: &str = "upload-offset";
const UPLOAD_COMPLETE: &str = "upload-complete";

/// Ask how much of an upload is there
///
/// The answer has `Upload-Offset`. An upload is kept by the server that began it: another one answers 0, and it begins anew.
#[utoipa::path(head, path = "/v1/executions/{execution_id}/uploads/{*name}", tag = "executions",
    params(("execution_id" = Ulid, Path), ("name" = String, Path)),
    responses((status = 204, headers(("Upload-Offset" = u64))), Problems))]
pub(super) async fn offset(
    State(service): State<Arc<Service>>,
    call: Call,
    At((id, name)): At<(String, String)>,
) -> Result<Response, Problem> {
    call.trail.act("artifact.offset", format!("{id}/{name}"));
    let (id, _) = owned(&service, &call, &id, Verb::Write).await?;
    let name = artifact_name(&name)?;
    let upload = service.staging.upload(&[id.as_str(), name.as_str()]);
    let bytes = upload
        .bytes()
        .await
        .map_err(|error| body::not_staged(&error))?;
    Ok(at_offset(StatusCode::NO_CONTENT, bytes))
}

fn at_offset(status: StatusCode, bytes: u64) -> Response {
    let mut response = status.into_response();
    response
        .headers_mut()
        .insert(UPLOAD_OFFSET, HeaderValue::from(bytes));
    response
}

/// Send an artifact in parts
///
/// `Upload-Offset` says where the part begins. With `Upload-Complete: ?1` it is the last one, `Repr-Digest` must say what
/// the whole is, and the artifact is kept. What came of a part that was cut off stays: ask for the offset and go on. (After
/// draft-ietf-httpbis-resumable-upload.)
#[utoipa::path(patch, path = "/v1/executions/{execution_id}/uploads/{*name}", tag = "executions",
    params(("execution_id" = Ulid, Path), ("name" = String, Path), PutQuery,
        ("Upload-Offset" = u64, Header), ("Upload-Complete" = Option<String>, Header, description = "`?1` or `?0`")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 204, headers(("Upload-Offset" = u64))),
        (status = 201, body = ArtifactItem), (status = 200, body = ArtifactItem), Problems))]
pub(super) async fn resume(
    State(service): State<Arc<Service>>,
    call: Call,
    At((id, name)): At<(String, String)>,
    Asked(query): Asked<PutQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let begun = Instant::now();
    call.trail.act("artifact.write", format!("{id}/{name}"));
    let (id, _) = owned(&service, &call, &id, Verb::Write).await?;
    body::as_it_is(&headers)?;
    let name = artifact_name(&name)?;
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let offset: u64 = parse_some("Upload-Offset", text(UPLOAD_OFFSET))?
        .ok_or_else(|| Problem::bad_request("`Upload-Offset` says where a part begins"))?;
    let is_last = match text(UPLOAD_COMPLETE) {
        Some("?1") => true,
        None | Some("?0") => false,
        Some(_) => return Err(Problem::bad_request("`Upload-Complete` is `?1` or `?0`")),
    };
    if headers.contains_key("content-digest") {
        return Err(Problem::bad_request(
            "a part is not held against a digest of its own: `Repr-Digest` with the last one says what the whole is",
        ));
    }
    let announced = body::digest(&headers)?;
    if is_last && announced.is_none() {
        return Err(Problem::bad_request(
            "the last part comes with `Repr-Digest`, the digest of the whole",
        ));
    }
    let new = described(name, &headers, &query)?;
    service.executions.running(&id).await?;
    let upload = service.staging.upload(&[id.as_str(), new.name.as_str()]);
    let upload = upload.claim().ok_or_else(|| {
        Problem::offset("another part is coming: ask for the offset when it is there")
    })?;
    let there = upload
        .bytes()
        .await
        .map_err(|error| body::not_staged(&error))?;
    if there != offset {
        return Err(Problem::offset(format!("offset=`{there}`")));
    }
    let bytes_max = service.executions.pack_limits().artifact_bytes_max;
    let part = body::stream(body, bytes_max)?;
    let total = upload.add(offset, part, bytes_max).await;
    let total = total.map_err(body::not_received)?;
    if !is_last {
        return Ok(at_offset(StatusCode::NO_CONTENT, total));
    }
    let staged = upload
        .finish()
        .await
        .map_err(|error| body::not_staged(&error))?;
    if let Err(problem) = body::expect_digest(announced, staged.sha256) {
        // It can never be the artifact: it begins anew.
        upload.remove().await;
        return Err(problem);
    }
    let kept = keep(&service, &call, &id, new, &staged, begun).await;
    // What may go well later needs no sending again.
    let is_left = |problem: &Problem| problem.status() == StatusCode::SERVICE_UNAVAILABLE;
    if !kept.as_ref().is_err_and(is_left) {
        upload.remove().await;
    }
    kept
}
