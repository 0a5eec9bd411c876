//! `/v1/caller`: who the server takes somebody for.

use axum::Json;
use serde::Serialize;

use super::call::Call;
use super::docs::Problems;
use crate::access::{Grant, Verb};

/// Who calls, and what they may do.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct CallerItem {
    /// As records, executions and the audit log name them.
    name: String,
    /// What they may do at all.
    grants: Vec<GrantItem>,
}

/// What somebody may do somewhere.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct GrantItem {
    /// The organization, or tenant.
    organization: String,
    /// The project, or namespace; none where it is all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<String>,
    /// `read`, `write`.
    may: Vec<&'static str>,
}

impl From<&Grant> for GrantItem {
    fn from(grant: &Grant) -> Self {
        let may = grant.verbs.iter().map(|verb| match verb {
            Verb::Read => "read",
            Verb::Write => "write",
        });
        Self {
            organization: grant.organization.to_string(),
            project: grant.project.as_ref().map(ToString::to_string),
            may: may.collect(),
        }
    }
}

/// Ask who calls
///
/// Whether a token is taken, and what it is for.
#[utoipa::path(get, path = "/v1/caller", tag = "caller", responses((status = 200, body = CallerItem), Problems))]
pub(super) async fn read(call: Call) -> Json<CallerItem> {
    call.trail.act("caller.read", "");
    Json(CallerItem {
        name: call.caller.name().to_owned(),
        grants: call.caller.grants().iter().map(GrantItem::from).collect(),
    })
}
