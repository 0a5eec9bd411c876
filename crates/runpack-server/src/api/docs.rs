//! The OpenAPI document, made from the handlers, and a page to read it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse as _;
use axum::routing::get;
use bytes::Bytes;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, OpenApi, ToSchema};

use crate::problem::Problem;
use crate::service::Service;

/// What the document begins with.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Runpack",
        description = "Records, executions and packs: evidence that lasts. Every answer that is no success is a problem (RFC 9457) with a stable `code`.",
    ),
    tags(
        (name = "caller", description = "Who the server takes somebody for."),
        (name = "records", description = "What services send of their runs, each kept once and for good."),
        (name = "executions", description = "Runs on a bench or a runner, followed while they run and kept as a pack when they end."),
        (name = "packs", description = "Evidence packs of runs: taken in as bundles, listed, verified, given out."),
    ),
    components(schemas(Problem, Id, Time, Commit, Ulid, PackIdText, LogName, AsSent))
)]
pub(super) struct Document;

/// An identity.
#[derive(ToSchema)]
#[schema(value_type = String, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", example = "acme")]
#[expect(dead_code, reason = "the type is its schema")]
pub(super) struct Id(String);

/// A time, in UTC.
#[derive(ToSchema)]
#[schema(value_type = String, pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$", example = "2026-11-20T12:00:00Z")]
#[expect(dead_code, reason = "the type is its schema")]
pub(super) struct Time(String);

/// A Git commit.
#[derive(ToSchema)]
#[schema(value_type = String, pattern = "^([0-9a-f]{40}|[0-9a-f]{64})$", example = "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12")]
#[expect(dead_code, reason = "the type is its schema")]
pub(super) struct Commit(String);

/// The id of an execution.
#[derive(ToSchema)]
#[schema(value_type = String, pattern = "^[0-7][0-9A-HJKMNP-TV-Z]{25}$", example = "01JD3M7Z9X8QWERTYASDFGHJKM")]
#[expect(dead_code, reason = "the type is its schema")]
pub(super) struct Ulid(String);

/// The id of a pack.
#[derive(ToSchema)]
#[schema(value_type = String, pattern = "^sha256:[0-9a-f]{64}$")]
#[expect(dead_code, reason = "the type is its schema")]
pub(super) struct PackIdText(String);

/// Bytes as they were sent: of any media type, so that nothing can be said of what is in them.
#[derive(ToSchema)]
#[schema(value_type = serde_json::Value)]
#[expect(dead_code, reason = "the type is its schema")]
pub(super) struct AsSent(Vec<u8>);

/// A log of an execution.
#[derive(ToSchema)]
#[schema(value_type = String, pattern = "^(runner|bench|stdout|stderr)$", example = "stdout")]
#[expect(dead_code, reason = "the type is its schema")]
pub(super) struct LogName(String);

/// Every problem that any request may meet.
pub(super) struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut codes: BTreeMap<u16, Vec<String>> = BTreeMap::new();
        for (code, status, title, _) in Problem::CODES {
            let line = format!("`{code}`: {title}");
            codes.entry(*status).or_default().push(line);
        }
        let responses = codes.into_iter().map(|(status, lines)| {
            let schema = Ref::from_schema_name(Problem::name());
            let content = ContentBuilder::new().schema(Some(schema)).build();
            let response = ResponseBuilder::new()
                .description(lines.join("; "))
                .content("application/problem+json", content)
                .build();
            (status.to_string(), RefOr::T(response))
        });
        responses.collect()
    }
}

/// Every problem with what to do next, where `/docs#CODE` finds it.
fn problems() -> serde_json::Value {
    Problem::CODES
        .iter()
        .map(|(code, status, title, next)| {
            serde_json::json!({ "code": code, "status": status, "title": title, "next": next })
        })
        .collect()
}

/// The document with what holds for all of it.
pub(super) fn finished(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    env!("CARGO_PKG_VERSION").clone_into(&mut document.info.version);
    // The router's way to say that a part has `/` in it is no OpenAPI.
    let paths = std::mem::take(&mut document.paths.paths);
    let named = paths
        .into_iter()
        .map(|(path, item)| (path.replace("{*", "{"), item));
    document.paths.paths = named.collect();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "A token of this server, or of an issuer that it trusts.",
        ))
        .build();
    let components = document.components.get_or_insert_default();
    components
        .security_schemes
        .insert("bearer".to_owned(), SecurityScheme::Http(bearer).into());
    let mut extensions = document.extensions.take().unwrap_or_default();
    extensions.insert("x-problems".to_owned(), problems());
    document.extensions = Some(extensions);
    document.security = Some(vec![SecurityRequirement::new("bearer", [""; 0])]);
    document
}

/// The OpenAPI document, as JSON.
pub fn openapi() -> String {
    let (_, document) = super::documented().split_for_parts();
    // The document is made of texts and maps.
    finished(document).to_pretty_json().unwrap_or_default()
}

pub(super) fn router(document: &utoipa::openapi::OpenApi) -> Router<Arc<Service>> {
    let json = Bytes::from(document.to_json().unwrap_or_default());
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    Router::new().route(
        "/openapi.json",
        get(move || {
            let json = json.clone();
            async move { (headers, json).into_response() }
        }),
    )
}
