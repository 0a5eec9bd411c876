//! `/v1/executions`: opening, looking, ending.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use runpack_core::digest::Digest;
use runpack_core::display::chain;
use runpack_core::id::ExecutionId;
use runpack_core::manifest::Text;
use runpack_core::name::ArtifactName;
use runpack_core::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::body;
use super::call::{Call, absent};
use super::docs::{Id, Problems, Time, Ulid};
use super::query::{Asked, At, page, parse, parse_some, scope};
use crate::access::Verb;
use crate::execution::{
    Completed, Ending, ExecutionError, ExecutionResult, Open, Opening, State as Progress, Status,
};
use crate::json;
use crate::problem::Problem;
use crate::service::Service;

/// The largest body of a request that is JSON and no record.
const JSON_BYTES_MAX: u64 = 4 << 20;

impl From<ExecutionError> for Problem {
    fn from(error: ExecutionError) -> Self {
        match error {
            ExecutionError::NotFound(_) => absent(),
            ExecutionError::OpenedOtherwise(_) | ExecutionError::Uploaded(_) => {
                Self::conflict(error.to_string())
            }
            ExecutionError::Ended { .. } => Self::state(error.to_string()),
            ExecutionError::Offset { offset } => Self::offset(format!("offset=`{offset}`")),
            ExecutionError::TooMuch(detail) => Self::too_large(detail),
            ExecutionError::Unexpected(detail) => Self::digest(detail),
            ExecutionError::Key(error) => Self::bad_request(error.to_string()),
            ExecutionError::Staging(error) => body::not_staged(&error),
            ExecutionError::Store(error) => error.into(),
            ExecutionError::Damaged { .. } => {
                tracing::error!(error = chain(&error), "an execution is damaged");
                Self::damaged("what belongs to the execution is not what was kept")
            }
            ExecutionError::Manifest(error) => Self::unsound(error.to_string()),
            ExecutionError::Pack(_) => {
                tracing::error!(error = chain(&error), "a pack was not made");
                Self::unavailable("the pack could not be committed").retry_after(5)
            }
        }
    }
}

/// An execution.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[expect(clippy::struct_field_names, reason = "the name of an id says what of")]
pub(super) struct Execution {
    /// Which one.
    execution_id: String,
    /// `open`, `completing`, `complete`, `artifact_error`.
    status: &'static str,
    /// Whose it is.
    organization: String,
    /// In which project.
    project: String,
    /// What runs it.
    runner_type: String,
    /// The bench.
    #[serde(skip_serializing_if = "Option::is_none")]
    bench_id: Option<String>,
    /// The reservation.
    #[serde(skip_serializing_if = "Option::is_none")]
    reservation_id: Option<String>,
    /// The suite.
    #[serde(skip_serializing_if = "Option::is_none")]
    suite: Option<String>,
    /// When it began.
    started_at: String,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<ExecutionResult>,
    /// What its client had to say about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// The pack that it became. Keep it elsewhere: it proves later that the pack is the one that was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pack_id: Option<String>,
}

impl From<Status> for Execution {
    fn from(status: Status) -> Self {
        let text = |text: &Option<Text<128>>| text.as_ref().map(ToString::to_string);
        let said = &status.opening.said;
        let end = status.metadata.as_ref();
        Self {
            execution_id: status.execution_id.to_string(),
            status: status.state.as_str(),
            organization: said.organization.to_string(),
            project: said.project.to_string(),
            runner_type: said.runner_type.to_string(),
            bench_id: text(&said.bench_id),
            reservation_id: text(&said.reservation_id),
            suite: said.suite.as_ref().map(ToString::to_string),
            started_at: status.opening.started_at().to_string(),
            ended_at: end.map(|end| end.ended_at.to_string()),
            result: end.and_then(|end| end.result),
            message: end.and_then(|end| end.message.as_ref().map(ToString::to_string)),
            pack_id: match status.state {
                Progress::Complete(pack_id) => Some(pack_id.to_string()),
                _ => None,
            },
        }
    }
}

/// An execution that is open.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct ExecutionOpened {
    /// Which one.
    execution_id: String,
}

/// The execution of this id, if the caller may do that with it.
pub(super) async fn owned(
    service: &Service,
    call: &Call,
    id: &str,
    verb: Verb,
) -> Result<(ExecutionId, Opening), Problem> {
    let id: ExecutionId = parse("execution_id", id)?;
    let opening = service.executions.opening(&id).await?;
    let scope = scope(&opening.said.organization, &opening.said.project);
    match verb {
        Verb::Read => call.may_read(&scope)?,
        Verb::Write => call.may_write_to(&scope)?,
    }
    Ok((id, opening))
}

/// What a body of JSON says.
async fn said<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, Problem> {
    body::expect_type(headers, &["application/json"])?;
    let bytes = body::read(body, JSON_BYTES_MAX).await?;
    Ok(json::read(&bytes)?)
}

/// Open an execution
///
/// With an id of the client's, the same call again is the same execution: 200.
#[utoipa::path(post, path = "/v1/executions", tag = "executions",
    request_body(content = Open, content_type = "application/json"),
    responses((status = 201, body = ExecutionOpened), (status = 200, body = ExecutionOpened), Problems))]
pub(super) async fn open(
    State(service): State<Arc<Service>>,
    call: Call,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    call.trail.act("execution.open", "");
    let said: Open = said(&headers, body).await?;
    call.may_write(&scope(&said.organization, &said.project))?;
    let opened = service.executions.open(said, call.caller.name()).await?;
    let execution_id = opened.execution_id.to_string();
    call.trail.act("execution.open", &*execution_id);
    let status = if opened.is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(ExecutionOpened { execution_id })).into_response())
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Whose.
    #[param(value_type = Id)]
    organization: String,
    /// Of one project.
    #[param(value_type = Option<Id>)]
    project: Option<String>,
    /// What an earlier part gave as `next`.
    #[param(value_type = Option<Ulid>)]
    after: Option<String>,
    /// At most so many.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

/// A line of a list of executions.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct ExecutionListed {
    /// Which one.
    execution_id: String,
    /// Whose it is.
    organization: String,
    /// In which project.
    project: String,
    /// What runs it.
    runner_type: String,
    /// The suite.
    #[serde(skip_serializing_if = "Option::is_none")]
    suite: Option<String>,
    /// When it began.
    started_at: String,
}

/// A part of a list of executions.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct ExecutionList {
    /// In the order of their ids.
    executions: Vec<ExecutionListed>,
    /// What to give as `after` for the next part; none where this was the last. A part may be empty and not the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// List executions
#[utoipa::path(get, path = "/v1/executions", tag = "executions", params(ListQuery),
    responses((status = 200, body = ExecutionList), Problems))]
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    call: Call,
    Asked(query): Asked<ListQuery>,
) -> Result<Json<ExecutionList>, Problem> {
    let organization = parse("organization", &query.organization)?;
    let project = parse_some("project", query.project.as_deref())?;
    call.trail.act("execution.list", &*query.organization);
    let mut of = scope_of(&organization);
    if let Some(project) = &project {
        of = scope(&organization, project);
        call.may_read(&of)?;
    } else if !call
        .caller
        .grants()
        .iter()
        .any(|grant| grant.organization == of.organization && grant.verbs.contains(&Verb::Read))
    {
        call.may_read(&of)?;
    }
    let after = parse_some("after", query.after.as_deref())?;
    let is_wanted = |opening: &Opening| {
        let said = &opening.said;
        said.organization == organization
            && project
                .as_ref()
                .is_none_or(|project| said.project == *project)
            && call
                .caller
                .may(Verb::Read, &scope(&said.organization, &said.project))
    };
    let limit = page(query.limit)?;
    let page = service
        .executions
        .list(after.as_ref(), limit, &is_wanted)
        .await?;
    let executions = page
        .executions
        .into_iter()
        .map(|(id, opening)| ExecutionListed {
            execution_id: id.to_string(),
            organization: opening.said.organization.to_string(),
            project: opening.said.project.to_string(),
            runner_type: opening.said.runner_type.to_string(),
            suite: opening.said.suite.as_ref().map(ToString::to_string),
            started_at: opening.started_at().to_string(),
        });
    Ok(Json(ExecutionList {
        executions: executions.collect(),
        next: page.next.map(|id| id.to_string()),
    }))
}

fn scope_of(organization: &runpack_core::id::Organization) -> crate::access::Scope {
    crate::access::Scope {
        organization: organization.as_str().into(),
        project: None,
    }
}

/// Look at an execution
#[utoipa::path(get, path = "/v1/executions/{execution_id}", tag = "executions",
    params(("execution_id" = Ulid, Path)),
    responses((status = 200, body = Execution), Problems))]
pub(super) async fn status(
    State(service): State<Arc<Service>>,
    call: Call,
    At(id): At<String>,
) -> Result<Json<Execution>, Problem> {
    call.trail.act("execution.read", &*id);
    let (id, _) = owned(&service, &call, &id, Verb::Read).await?;
    Ok(Json(service.executions.status(&id).await?.into()))
}

/// How an execution ended.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Complete {
    /// How it ended.
    result: ExecutionResult,
    /// When it ended; now, where it is not given.
    #[serde(default)]
    #[schema(value_type = Option<Time>)]
    ended_at: Option<Timestamp>,
    /// What there is to say about it.
    #[serde(default)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 1024)]
    message: Option<Text<1024>>,
    /// The SHA-256 that artifacts and logs must have, by name. Where one differs nothing is committed.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    expected: BTreeMap<ArtifactName, Digest>,
}

/// Why the artifacts of an execution could not be brought.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Fail {
    /// When it ended; now, where it is not given.
    #[serde(default)]
    #[schema(value_type = Option<Time>)]
    ended_at: Option<Timestamp>,
    /// What went wrong.
    #[schema(value_type = String, min_length = 1, max_length = 1024)]
    message: Text<1024>,
}

/// Complete an execution
///
/// Its logs are put together, and everything becomes one pack. The same again is success, and goes on where an earlier
/// call was interrupted.
#[utoipa::path(post, path = "/v1/executions/{execution_id}/complete", tag = "executions",
    params(("execution_id" = Ulid, Path)),
    request_body(content = Complete, content_type = "application/json"),
    responses((status = 200, body = Execution), Problems))]
pub(super) async fn complete(
    State(service): State<Arc<Service>>,
    call: Call,
    At(id): At<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Execution>, Problem> {
    call.trail.act("execution.complete", &*id);
    let (id, _) = owned(&service, &call, &id, Verb::Write).await?;
    let said: Complete = said(&headers, body).await?;
    let ending = Ending {
        result: Some(said.result),
        ended_at: said.ended_at,
        message: said.message,
    };
    end(&service, &call, &id, &ending, &said.expected).await
}

/// End an execution whose artifacts could not be brought
///
/// It is marked `artifact_error` for good, and becomes no pack.
#[utoipa::path(post, path = "/v1/executions/{execution_id}/fail", tag = "executions",
    params(("execution_id" = Ulid, Path)),
    request_body(content = Fail, content_type = "application/json"),
    responses((status = 200, body = Execution), Problems))]
pub(super) async fn fail(
    State(service): State<Arc<Service>>,
    call: Call,
    At(id): At<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Execution>, Problem> {
    call.trail.act("execution.fail", &*id);
    let (id, _) = owned(&service, &call, &id, Verb::Write).await?;
    let said: Fail = said(&headers, body).await?;
    let ending = Ending {
        result: None,
        ended_at: said.ended_at,
        message: Some(said.message),
    };
    end(&service, &call, &id, &ending, &BTreeMap::new()).await
}

async fn end(
    service: &Service,
    call: &Call,
    id: &ExecutionId,
    ending: &Ending,
    expected: &BTreeMap<ArtifactName, Digest>,
) -> Result<Json<Execution>, Problem> {
    let by = call.caller.name();
    let Completed { pack_id, .. } = service.executions.end(id, ending, expected, by).await?;
    if let Some(pack_id) = pack_id {
        call.trail.note("pack_id", pack_id);
    }
    Ok(Json(service.executions.status(id).await?.into()))
}
