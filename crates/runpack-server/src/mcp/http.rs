//! The tools over HTTP (Streamable HTTP), for whoever may use the service.
//!
//! One request is one message and one answer; there are no sessions, so any of several servers answers. Before the SDK
//! sees a request its origin is looked at, its caller is authenticated and within their rate, and its body is read within
//! its limit and strictly. The SDK gets no credential: it prints what it gets.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use bytes::Bytes;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde::de::IgnoredAny;

use super::call::Session;
use super::{ToolLimits, Tools};
use crate::access::Verb;
use crate::api::body;
use crate::api::call::Call;
use crate::api::trail::{self, Audited};
use crate::json;
use crate::listen::Peer;
use crate::problem::Problem;
use crate::service::Service;

/// The largest message of somebody who may export nothing: the other tools take ids.
const READER_BYTES_MAX: usize = 64 << 10;

type Server = StreamableHttpService<Tools, NeverSessionManager>;

/// `/mcp`: the tools for whoever may use the service, by the same tokens, rates and audit log.
pub fn router(service: Arc<Service>) -> Router {
    let limits = ToolLimits::default();
    // Base 64 is a third longer than what it says, and texts have escapes.
    let body_bytes_max = limits
        .inline_bytes_max
        .saturating_mul(3)
        .div_euclid(2)
        .saturating_add(1 << 20);
    let tools = Tools::of(&service, limits);
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_sse_keep_alive(None)
        // Any proxy may stand in front; what a page of a rebound name lacks is a token.
        .disable_allowed_hosts()
        .with_max_request_body_bytes(body_bytes_max);
    let sessions = Arc::new(NeverSessionManager::default());
    let server = Server::new(move || Ok(tools.clone()), sessions, config);
    let answer =
        move |call: Call, request: Request| answer(server.clone(), call, request, body_bytes_max);
    let layer = |service: &Arc<Service>| Arc::clone(service);
    Router::new()
        .route("/mcp", any(answer))
        .layer(middleware::from_fn_with_state(
            layer(&service),
            trail::audited,
        ))
        .layer(middleware::from_fn_with_state(
            layer(&service),
            trail::measured,
        ))
        .with_state(service)
}

async fn answer(server: Server, call: Call, request: Request, body_bytes_max: usize) -> Response {
    call.trail.act("mcp.request", "/mcp");
    let (request, _held) = match admitted(&call, request, body_bytes_max).await {
        Ok(admitted) => admitted,
        Err(response) => return response,
    };
    let mut response = server.handle(request).await.map(Body::new).into_response();
    // What a tool did or refused is written down where it was done; a message that is none is not.
    if response.status().is_success() {
        response.extensions_mut().insert(Audited);
    }
    response
}

/// The request as the SDK may have it: with the body read, and with who calls in the place of their token. And the body once
/// more: what the SDK makes of it is as large, and so its room is kept.
async fn admitted(
    call: &Call,
    request: Request,
    body_bytes_max: usize,
) -> Result<(Request, Bytes), Response> {
    let (parts, body) = request.into_parts();
    let mut admitted = Request::new(Body::empty());
    let mut held = Bytes::new();
    if parts.method == Method::POST {
        let read = async {
            body::expect_type(&parts.headers, &["application/json"])?;
            let bytes_max = if call.caller.may_anywhere(Verb::Write) {
                body_bytes_max
            } else {
                READER_BYTES_MAX
            };
            body::read(body, u64::try_from(bytes_max).unwrap_or(u64::MAX)).await
        };
        let bytes = read.await.map_err(Problem::into_response)?;
        json::read::<IgnoredAny>(&bytes).map_err(|error| no_message(&error))?;
        held = bytes.clone();
        *admitted.body_mut() = bytes.into();
    }
    *admitted.method_mut() = parts.method;
    *admitted.uri_mut() = parts.uri;
    *admitted.version_mut() = parts.version;
    let kept = parts.headers.iter().filter(|(name, _)| {
        let plain = [header::ACCEPT, header::CONTENT_TYPE, header::HOST];
        plain.contains(name) || name.as_str().starts_with("mcp-")
    });
    for (name, value) in kept {
        admitted.headers_mut().append(name, value.clone());
    }
    admitted.extensions_mut().insert(Session {
        caller: call.caller.clone(),
        request: call.trail.request(),
        peer: parts.extensions.get::<Peer>().map(|peer| peer.0.ip()),
        gone: call.gone.clone(),
    });
    Ok((admitted, held))
}

/// JSON-RPC 2.0, section 5.1: a parse error, which has no id.
fn no_message(error: &json::JsonError) -> Response {
    let told = serde_json::json!({
        "jsonrpc": "2.0",
        "id": null,
        "error": {"code": -32700, "message": error.to_string()},
    });
    (StatusCode::BAD_REQUEST, axum::Json(told)).into_response()
}
