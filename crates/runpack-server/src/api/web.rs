//! The page for people: files that come with the program.

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use crate::service::Service;

/// Nothing from elsewhere, nothing inline, no frame around it (threat B29).
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src \
    'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn router() -> Router<Arc<Service>> {
    Router::new()
        .route("/", get(|| async { page(include_str!("web/index.html")) }))
        .route(
            "/app.js",
            get(|| async { file("text/javascript; charset=utf-8", include_str!("web/app.js")) }),
        )
        .route(
            "/style.css",
            get(|| async { file("text/css; charset=utf-8", include_str!("web/style.css")) }),
        )
}

pub(super) fn page(html: &'static str) -> Response {
    file("text/html; charset=utf-8", html)
}

pub(super) fn file(media_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, media_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}
