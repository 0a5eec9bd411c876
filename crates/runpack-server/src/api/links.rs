//! `/v1/packs/{pack_id}/links`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};

use super::body;
use super::call::Call;
use super::docs::{PackIdText, Problems};
use super::packs::found;
use super::query::At;
use crate::json;
use crate::links::{VALID_FOR, VALID_FOR_MAX, link_to};
use crate::problem::Problem;
use crate::service::Service;

/// Which links are asked for.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LinksAsked {
    /// The artifacts; all of them where none is named.
    #[serde(default)]
    names: Vec<String>,
    /// How long they may be followed: a second to seven days.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 604_800)]
    expires_in_seconds: Option<u64>,
}

/// A link.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct LinkItem {
    /// The artifact.
    name: String,
    /// To be followed without a token.
    url: String,
    /// Until when.
    expires_at: String,
    /// The same as Markdown, for a comment on a pull request or a ticket.
    markdown: String,
}

/// Links to artifacts.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct LinkList {
    /// In the order of the names.
    links: Vec<LinkItem>,
}

/// The most links of one answer.
const LINKS_MAX: usize = 1_000;
/// How many objects are looked up at once for their links.
const IN_FLIGHT: usize = 8;

/// Make links to artifacts
///
/// URLs that the store signs, for people: whoever has one may read the artifact until it expires.
#[utoipa::path(post, path = "/v1/packs/{pack_id}/links", tag = "packs", params(("pack_id" = PackIdText, Path)),
    request_body(content = LinksAsked, content_type = "application/json"),
    responses((status = 200, body = LinkList), Problems))]
pub(super) async fn links(
    State(service): State<Arc<Service>>,
    call: Call,
    At(pack_id): At<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<LinkList>, Problem> {
    call.trail.act("pack.links", &*pack_id);
    body::expect_type(&headers, &["application/json"])?;
    let bytes = body::read(body, 1 << 20).await?;
    let asked: LinksAsked = json::read(&bytes)?;
    let (pack_id, subject) = found(&service, &call, &pack_id).await?;
    let Some(signer) = &service.links else {
        return Err(Problem::state(
            "this store signs no URLs: read the artifact at /v1/packs/{pack_id}/artifacts/{name}",
        ));
    };
    let valid_for = asked
        .expires_in_seconds
        .map_or(VALID_FOR, Duration::from_secs);
    if valid_for.is_zero() || valid_for > VALID_FOR_MAX {
        return Err(Problem::bad_request("a link is for a second to seven days"));
    }
    let pack = service.packs.open(&subject, pack_id).await?;
    let names: Vec<String> = if asked.names.is_empty() {
        let all = pack.manifest().artifacts().iter();
        all.map(|artifact| artifact.name().to_string()).collect()
    } else {
        asked.names
    };
    if names.len() > LINKS_MAX {
        return Err(Problem::too_large(format!(
            "at most {LINKS_MAX} links at once"
        )));
    }
    call.trail.note("links", names.len());
    call.trail.note("seconds", valid_for.as_secs());
    let now = service.clock.now();
    let made = stream::iter(names).map(async |name| {
        let key = service.packs.key(pack.manifest(), &name)?;
        let link = link_to(&**signer, &*service.store, &key, valid_for, now).await?;
        Ok::<_, Problem>(LinkItem {
            markdown: link.to_markdown(&name),
            url: link.reveal().to_owned(),
            expires_at: link.expires_at.to_string(),
            name,
        })
    });
    let links = made.buffered(IN_FLIGHT).try_collect().await?;
    Ok(Json(LinkList { links }))
}
