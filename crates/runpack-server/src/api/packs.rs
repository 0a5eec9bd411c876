//! `/v1/packs`.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use runpack_core::display::chain;
use runpack_core::id::PackId;
use runpack_core::manifest::Subject;
use runpack_core::pack::Commit;
use runpack_core::verify::{Level, Verdict};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::body;
use super::call::{Call, absent};
use super::docs::{AsSent, Id, PackIdText, Problems};
use super::query::{Asked, At, page, parse, parse_some};
use super::uploads::download;
use crate::access::{Scope, Verb};
use crate::execution::{Executions, verified};
use crate::metrics::Kind;
use crate::packs::{self, PackSummary, PacksError, Runs};
use crate::problem::Problem;
use crate::service::Service;

impl From<PacksError> for Problem {
    fn from(error: PacksError) -> Self {
        match error {
            PacksError::Unsound(detail) => Self::unsound(detail),
            PacksError::Other { .. } => Self::digest(error.to_string()),
            PacksError::Conflict { .. } => Self::conflict(error.to_string()),
            PacksError::NotFound(_) => absent(),
            PacksError::Query(detail) => Self::bad_request(detail),
            PacksError::Key(error) => Self::bad_request(error.to_string()),
            PacksError::Staging(error) => body::not_staged(&error),
            PacksError::Store(error) => error.into(),
            PacksError::Busy => Self::unavailable(error.to_string()).retry_after(5),
            PacksError::Damaged(_) => {
                tracing::error!(error = chain(&error), "a pack is damaged");
                Self::damaged("the pack is not what was committed to")
            }
            PacksError::Pack(_) => {
                tracing::error!(error = chain(&error), "a pack was not committed");
                Self::unavailable("the pack could not be committed").retry_after(5)
            }
        }
    }
}

/// Whose a pack is. An execution is whose it was opened for.
pub(crate) async fn scope_of(executions: &Executions, subject: &Subject) -> Result<Scope, Problem> {
    Ok(match subject {
        Subject::Run {
            tenant, namespace, ..
        } => Scope {
            organization: tenant.as_str().into(),
            project: Some(namespace.as_str().into()),
        },
        Subject::Step { tenant, .. } | Subject::Pipeline { tenant, .. } => Scope {
            organization: tenant.as_str().into(),
            project: None,
        },
        Subject::Execution { execution_id } => {
            let opening = executions.opening(execution_id).await?;
            super::query::scope(&opening.said.organization, &opening.said.project)
        }
        // Of a kind that is not served here.
        _ => return Err(absent()),
    })
}

/// The pack of this id, if the caller may read it.
pub(super) async fn found(
    service: &Service,
    call: &Call,
    pack_id: &str,
) -> Result<(PackId, Subject), Problem> {
    let pack_id: PackId = parse("pack_id", pack_id)?;
    // To look for a pack costs more than to ask for one.
    if !call.caller.may_anywhere(Verb::Read) {
        return Err(absent());
    }
    let subject = service.packs.find(pack_id).await?;
    call.may_read(&scope_of(&service.executions, &subject).await?)?;
    Ok((pack_id, subject))
}

/// A pack.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct PackItem {
    /// The SHA-256 of its manifest.
    pack_id: String,
    /// `run`, `step`, `execution`.
    kind: &'static str,
    /// Whose it is: `tenant`, `namespace`, and so on, by name.
    subject: std::collections::BTreeMap<&'static str, String>,
    /// When it was made, as whoever made it says.
    created_at: String,
    /// How many artifacts it has.
    artifacts: usize,
    /// Their bytes.
    bytes: u64,
}

impl PackItem {
    fn of(pack: &PackSummary) -> Self {
        Self {
            pack_id: pack.pack_id.to_string(),
            kind: pack.subject.kind(),
            subject: pack.subject.fields().into_iter().collect(),
            created_at: pack.created_at.to_string(),
            artifacts: pack.artifacts,
            bytes: pack.bytes,
        }
    }
}

/// A pack that is kept.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct PackKept {
    /// `new`, `again`, or `same-evidence`: a pack that was made at another time or by another program, and says the same.
    outcome: &'static str,
    /// The pack that is there.
    pack: PackItem,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CommitQuery {
    /// The id that the pack must have.
    #[param(value_type = Option<PackIdText>)]
    expect: Option<String>,
}

/// Keep a pack
///
/// The body is a bundle, as `runpack bundle` writes it. All of it is verified before anything is kept.
#[utoipa::path(post, path = "/v1/packs", tag = "packs", params(CommitQuery),
    request_body(content = Vec<u8>, content_type = "application/gzip"),
    responses((status = 201, body = PackKept), (status = 200, body = PackKept), Problems))]
pub(super) async fn commit(
    State(service): State<Arc<Service>>,
    call: Call,
    Asked(query): Asked<CommitQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let begun = Instant::now();
    call.trail.act("pack.write", "");
    let kept = receive(&service, &call, &query, &headers, body).await;
    match kept {
        Ok((kept, is_new)) => {
            let status = if is_new {
                service
                    .metrics
                    .kept(Kind::Pack, kept.pack.bytes, begun.elapsed());
                StatusCode::CREATED
            } else {
                StatusCode::OK
            };
            Ok((status, Json(kept)).into_response())
        }
        Err(problem) => {
            service.metrics.not_kept(Kind::Pack, problem.code());
            Err(problem)
        }
    }
}

async fn receive(
    service: &Service,
    call: &Call,
    query: &CommitQuery,
    headers: &HeaderMap,
    body: Body,
) -> Result<(PackKept, bool), Problem> {
    call.may_write_anywhere()?;
    body::expect_type(headers, &["application/gzip", "application/x-gzip"])?;
    let announced = parse_some("expect", query.expect.as_deref())?;
    let bytes_max = service.packs.limits().pack_bytes_max;
    let digest = body::digest(headers)?;
    let staged = body::stage(&service.staging, body, bytes_max).await?;
    body::expect_digest(digest, staged.sha256)?;
    let unpacked = service.packs.unpack(staged, announced).await?;
    let manifest = &unpacked.manifest;
    call.trail.act("pack.write", manifest.pack_id().to_string());
    if let Subject::Execution { .. } = manifest.subject() {
        return Err(Problem::state(
            "an execution becomes a pack by being completed here",
        ));
    }
    call.may_write(&scope_of(&service.executions, manifest.subject()).await?)?;
    let (manifest, commit) = service.packs.commit(&unpacked).await?;
    let outcome = match commit {
        Commit::New => "new",
        Commit::Again => "again",
        Commit::SameEvidence => "same-evidence",
    };
    call.trail.note("outcome", outcome);
    let kept = PackKept {
        outcome,
        pack: PackItem::of(&PackSummary::of(&manifest)),
    };
    Ok((kept, commit == Commit::New))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Of this tenant.
    #[param(value_type = Id)]
    tenant: String,
    /// In this namespace.
    #[param(value_type = Option<Id>)]
    namespace: Option<String>,
    /// Of this scenario; only with a namespace.
    #[param(value_type = Option<Id>)]
    scenario: Option<String>,
    /// Of this run; only with a scenario.
    #[param(value_type = Option<Id>)]
    run_id: Option<String>,
    /// What an earlier part gave as `next`.
    after: Option<String>,
    /// At most so many.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

/// A part of a list of packs.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct PackList {
    /// By key.
    packs: Vec<PackItem>,
    /// What to give as `after` for the next part; none where this was the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// List the packs of runs
#[utoipa::path(get, path = "/v1/packs", tag = "packs", params(ListQuery),
    responses((status = 200, body = PackList), Problems))]
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    call: Call,
    Asked(query): Asked<ListQuery>,
) -> Result<Json<PackList>, Problem> {
    call.trail.act("pack.list", &*query.tenant);
    let runs = Runs {
        tenant: parse("tenant", &query.tenant)?,
        namespace: parse_some("namespace", query.namespace.as_deref())?,
        scenario: parse_some("scenario", query.scenario.as_deref())?,
        run_id: parse_some("run_id", query.run_id.as_deref())?,
    };
    let is_gap = (runs.namespace.is_none() && runs.scenario.is_some())
        || (runs.scenario.is_none() && runs.run_id.is_some());
    if is_gap {
        return Err(Problem::bad_request(
            "`scenario` goes with `namespace`, and `run_id` with `scenario`",
        ));
    }
    call.may_read(&Scope {
        organization: runs.tenant.as_str().into(),
        project: runs.namespace.as_ref().map(|one| one.as_str().into()),
    })?;
    let limit = page(query.limit)?;
    let page = service
        .packs
        .list(&runs, query.after.as_deref(), limit)
        .await?;
    Ok(Json(PackList {
        packs: page.packs.iter().map(PackItem::of).collect(),
        next: page.next,
    }))
}

/// Read a manifest
///
/// Its bytes, whose SHA-256 is the pack id.
#[utoipa::path(get, path = "/v1/packs/{pack_id}", tag = "packs", params(("pack_id" = PackIdText, Path)),
    responses((status = 200, content_type = "application/json", body = serde_json::Value), Problems))]
pub(super) async fn manifest(
    State(service): State<Arc<Service>>,
    call: Call,
    At(pack_id): At<String>,
) -> Result<Response, Problem> {
    call.trail.act("pack.read", &*pack_id);
    let (pack_id, subject) = found(&service, &call, &pack_id).await?;
    let pack = service.packs.open(&subject, pack_id).await?;
    let json = [(header::CONTENT_TYPE, "application/json")];
    Ok((json, pack.manifest().to_bytes()).into_response())
}

/// Read an artifact of a pack
///
/// Every 8 MiB are compared with their commitment before any of them is sent.
#[utoipa::path(get, path = "/v1/packs/{pack_id}/artifacts/{*name}", tag = "packs",
    params(("pack_id" = PackIdText, Path), ("name" = String, Path)),
    responses((status = 200, content_type = "*/*", body = AsSent, description = "with the media type that it was sent with"), Problems))]
pub(super) async fn artifact(
    State(service): State<Arc<Service>>,
    call: Call,
    At((pack_id, name)): At<(String, String)>,
) -> Result<Response, Problem> {
    call.trail.act("artifact.read", format!("{pack_id}/{name}"));
    let (pack_id, subject) = found(&service, &call, &pack_id).await?;
    let pack = service.packs.open(&subject, pack_id).await?;
    let artifact = pack
        .manifest()
        .artifact(&name)
        .ok_or_else(|| Problem::not_found("the pack has no such artifact"))?;
    let (bytes, media) = (artifact.bytes(), artifact.media_type().clone());
    let pieces = body::outgoing(verified(pack, name.clone(), 0)).await;
    let body = pieces.map_err(PacksError::from)?;
    Ok(download(&name, &media, bytes, body))
}

/// Read a pack as a bundle
#[utoipa::path(get, path = "/v1/packs/{pack_id}/bundle", tag = "packs", params(("pack_id" = PackIdText, Path)),
    responses((status = 200, content_type = "application/gzip", body = Vec<u8>), Problems))]
pub(super) async fn bundle(
    State(service): State<Arc<Service>>,
    call: Call,
    At(pack_id): At<String>,
) -> Result<Response, Problem> {
    call.trail.act("pack.bundle", &*pack_id);
    let (pack_id, subject) = found(&service, &call, &pack_id).await?;
    let pack = service.packs.open(&subject, pack_id).await?;
    let file = format!("attachment; filename=\"{}.tar.gz\"", pack_id.digest());
    let headers = [
        (header::CONTENT_TYPE, "application/gzip".to_owned()),
        (header::CONTENT_DISPOSITION, file),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    let body = body::outgoing(packs::bundle(pack)).await?;
    Ok((headers, body).into_response())
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct VerifyQuery {
    /// `full`: every byte against its commitment. `deep`: the claimed digests of large files too. `presence`: sizes only.
    #[param(default = "full", pattern = "^(full|deep|presence)$")]
    level: Option<String>,
}

/// What a verification found.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Verified {
    /// `valid`, `invalid`, `undecided`, `consistent` (with `presence`, which proves no content).
    verdict: &'static str,
    /// How much was checked.
    level: &'static str,
    /// The pack that it is about.
    pack_id: String,
    /// What the verifier objects to.
    findings: Vec<VerifyFinding>,
    /// How many more findings there are.
    findings_unlisted: u64,
    /// How many artifacts have the bytes that are committed to.
    artifacts_proven: u64,
    /// How many bytes were read.
    bytes_read: u64,
}

/// One thing that a verifier objects to.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct VerifyFinding {
    /// A stable code.
    code: String,
    /// The artifact that it is about; none where it is the pack as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    about: Option<String>,
    /// What it is in this case.
    detail: String,
    /// Which 8 MiB of a large artifact are damaged, counted from 0.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    damaged_chunks: Vec<u64>,
}

/// Verify a pack where it lies
///
/// The verdict is this server's word. Whoever does not trust the server verifies a bundle himself, offline.
#[utoipa::path(post, path = "/v1/packs/{pack_id}/verify", tag = "packs",
    params(("pack_id" = PackIdText, Path), VerifyQuery),
    responses((status = 200, body = Verified), Problems))]
pub(super) async fn verify(
    State(service): State<Arc<Service>>,
    call: Call,
    At(pack_id): At<String>,
    Asked(query): Asked<VerifyQuery>,
) -> Result<Json<Verified>, Problem> {
    call.trail.act("pack.verify", &*pack_id);
    let level = match query.level.as_deref() {
        None | Some("full") => Level::Full,
        Some("deep") => Level::Deep,
        Some("presence") => Level::Presence,
        Some(_) => return Err(Problem::bad_request("`level` is full, deep or presence")),
    };
    let (pack_id, subject) = found(&service, &call, &pack_id).await?;
    let verifying = async {
        let Ok(_permit) = service.verifications.acquire().await else {
            return Err(Problem::unavailable("the server is stopping"));
        };
        Ok(service.packs.verify(&subject, pack_id, level).await)
    };
    let report = tokio::select! {
        report = verifying => report?,
        // A verdict that nobody hears is not worth the reading.
        () = call.gone() => return Err(Problem::unavailable("nobody waits for the verdict")),
    };
    call.trail.note("verdict", report.verdict);
    if report.verdict == Verdict::Invalid {
        tracing::warn!(pack = %pack_id, "a pack does not verify");
    }
    let findings = report.findings.iter().map(|finding| VerifyFinding {
        code: finding.code.to_string(),
        about: finding.about.clone(),
        detail: finding.detail.clone(),
        damaged_chunks: finding.damaged_chunks.clone(),
    });
    Ok(Json(Verified {
        verdict: report.verdict.as_str(),
        level: match level {
            Level::Presence => "presence",
            Level::Deep => "deep",
            Level::Full => "full",
        },
        pack_id: pack_id.to_string(),
        findings: findings.collect(),
        findings_unlisted: report.findings_unlisted,
        artifacts_proven: report.artifacts_proven,
        bytes_read: report.bytes_read,
    }))
}
