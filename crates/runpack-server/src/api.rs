//! The HTTP interface: what each request is, and nothing of how it is done.
//!
//! A handler reads a request, asks whether the caller may, calls the domain ([`crate::record`], [`crate::execution`],
//! [`crate::packs`]) and writes the answer. Invariants: no handler is reached without a caller (its `Call` argument);
//! what a caller may not see is told as not there; every write and every refusal is in the audit log before it is answered
//! (`trail`); a body is read within its limit or not at all.

pub(crate) mod body;
pub(crate) mod call;
mod caller;
mod docs;
mod executions;
mod health;
mod links;
mod logs;
mod origin;
pub(crate) mod packs;
pub(crate) mod query;
mod records;
pub(crate) mod trail;
pub(crate) mod uploads;
mod web;
pub(crate) mod writes;

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use docs::openapi;

use crate::problem::Problem;
use crate::service::Service;

impl Service {
    /// The interface for clients.
    pub fn router(self: &Arc<Self>) -> Router {
        let (api, document) = documented().split_for_parts();
        let api = api.layer(middleware::from_fn_with_state(
            Arc::clone(self),
            trail::audited,
        ));
        let document = docs::finished(document);
        Router::new()
            .merge(api)
            .merge(health::router())
            .merge(docs::router(&document))
            .merge(web::router())
            .fallback(|| async { Problem::not_found("there is nothing at this path") })
            .method_not_allowed_fallback(|| async {
                Problem::no_method("this path has other methods")
            })
            .layer(middleware::from_fn_with_state(
                Arc::clone(self),
                trail::measured,
            ))
            .with_state(Arc::clone(self))
    }

    /// The interface for operators, to be served where only they are: metrics, and health with its reasons.
    pub fn admin_router(self: &Arc<Self>) -> Router {
        Router::new()
            .merge(health::admin_router())
            .fallback(|| async { Problem::not_found("there is nothing at this path") })
            .with_state(Arc::clone(self))
    }
}

fn documented() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::with_openapi(docs::Document::openapi())
        .routes(routes!(caller::read))
        .routes(routes!(records::keep))
        .routes(routes!(records::list))
        .routes(routes!(records::latest))
        .routes(routes!(records::read))
        .routes(routes!(records::diffs))
        .routes(routes!(executions::open, executions::list))
        .routes(routes!(executions::status))
        .routes(routes!(executions::complete))
        .routes(routes!(executions::fail))
        .routes(routes!(uploads::items))
        .routes(routes!(uploads::put, uploads::read))
        .routes(routes!(uploads::resume, uploads::offset))
        .routes(routes!(logs::append, logs::read))
        .routes(routes!(packs::commit, packs::list))
        .routes(routes!(packs::manifest))
        .routes(routes!(packs::artifact))
        .routes(routes!(packs::bundle))
        .routes(routes!(packs::verify))
        .routes(routes!(links::links))
}
