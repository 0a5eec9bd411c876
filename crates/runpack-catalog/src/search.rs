//! Search: artifacts by what is known of them, a page at a time: newest first or, where what expires is asked for, by when
//! they expire.
//!
//! A page begins after the last artifact of the one before, by that time, pack and name, so what is added or forgotten meanwhile
//! moves nothing from one page to another.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use runpack_core::digest::Digest;
use runpack_core::id::{
    AgentId, AgentVersion, ExecutionId, Namespace, PackId, PolicyName, RunId, Scenario, StepId,
    Tenant,
};
use runpack_core::key::Location;
use runpack_core::manifest::Subject;
use runpack_core::name::ArtifactName;
use runpack_core::time::Timestamp;
use serde::Serialize;

use crate::entry::ArtifactEntry;
use crate::error::CatalogError;
use crate::read::PlaceEntry;
use crate::sql::{Catalog, Question};

/// What a cursor in the order of expiry begins with.
const EXPIRES: &str = "expires:";
/// How many places of an artifact are told.
const URIS_MAX: usize = 100;
/// The most artifacts of a page.
pub(crate) const PAGE_MAX: u64 = 10_000;

/// Which artifacts. What is not given is not asked for.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Of this tenant, in the layouts that have tenants.
    pub tenant: Option<Tenant>,
    /// Of packs in this namespace.
    pub namespace: Option<Namespace>,
    /// Of packs of this scenario.
    pub scenario: Option<Scenario>,
    /// Of packs of this run.
    pub run_id: Option<RunId>,
    /// Of the pack of this execution.
    pub execution_id: Option<ExecutionId>,
    /// Of this pack.
    pub pack_id: Option<PackId>,
    /// Made by this step.
    pub step: Option<StepId>,
    /// Of this kind.
    pub kind: Option<String>,
    /// Of this media type.
    pub media_type: Option<String>,
    /// With these bytes.
    pub commitment: Option<Digest>,
    /// Of packs with all these labels.
    pub labels: Vec<(String, String)>,
    /// Of packs made at this time or later.
    pub after: Option<Timestamp>,
    /// Of packs made before this time.
    pub before: Option<Timestamp>,
    /// Of so many bytes or more.
    pub bytes_min: Option<u64>,
    /// Of so many bytes or less.
    pub bytes_max: Option<u64>,
    /// Of packs that this agent made.
    pub agent: Option<AgentId>,
    /// Of packs that this version of an agent made.
    pub agent_version: Option<AgentVersion>,
    /// Of packs that this policy of retention keeps.
    pub policy: Option<PolicyName>,
    /// Of packs that expire at this time or later.
    pub expires_after: Option<Timestamp>,
    /// Of packs that expire before this time.
    pub expires_before: Option<Timestamp>,
    /// At most so many; at most 10,000.
    pub limit: u64,
    /// Beginning after what an earlier page ended with.
    pub start_after: Option<Cursor>,
}

/// Where a page ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    order: Order,
    /// When the pack was made or, in the order of expiry, when it expires.
    at: Timestamp,
    pack_id: PackId,
    name: String,
}

/// No cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not where a page ended: give what the page before said")]
pub struct CursorError;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match self.order {
            Order::Newest => "",
            Order::Expiry => EXPIRES,
        };
        let (at, pack_id, name) = (&self.at, self.pack_id.digest(), &self.name);
        write!(f, "{by}{at}/{pack_id}/{name}")
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (order, text) = match text.strip_prefix(EXPIRES) {
            Some(text) => (Order::Expiry, text),
            None => (Order::Newest, text),
        };
        let mut parts = text.splitn(3, '/');
        let mut part = || parts.next().ok_or(CursorError);
        let at = part()?.parse().map_err(|_| CursorError)?;
        let pack_id = PackId::new(part()?.parse().map_err(|_| CursorError)?);
        let name: ArtifactName = part()?.parse().map_err(|_| CursorError)?;
        Ok(Self {
            order,
            at,
            pack_id,
            name: name.to_string(),
        })
    }
}

/// An artifact that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Hit {
    /// What is known of it.
    pub artifact: ArtifactEntry,
    /// Whose its pack is.
    pub subject: Subject,
    /// Where it is: as the stores are named, for people, in no way believed; at most 100.
    pub uris: Vec<String>,
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// What was found.
    pub hits: Vec<Hit>,
    /// Where the next page begins; none at the end.
    pub next: Option<Cursor>,
}

impl Catalog {
    /// Searches for artifacts. Where [`Query::goes_on`] is `false`, the page begins at no place that means anything.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn search(&self, query: &Query) -> Result<Page, CatalogError> {
        let limit = query.limit.clamp(1, PAGE_MAX);
        let rows = self.rows("searching", question(query, limit)).await?;
        let artifacts = rows.iter().map(ArtifactEntry::read);
        let mut artifacts: Vec<_> = artifacts.collect::<Result<_, _>>()?;
        let page = usize::try_from(limit).unwrap_or(usize::MAX);
        let is_more = artifacts.len() > page;
        artifacts.truncate(page);
        let next = artifacts.last().filter(|_| is_more).map(|last| Cursor {
            order: query.order(),
            at: match query.order() {
                Order::Newest => last.created_at,
                Order::Expiry => last.retention.expires_at.unwrap_or(Timestamp::MAX),
            },
            pack_id: last.pack_id,
            name: last.name.clone(),
        });
        let hits = self.located(artifacts).await?;
        Ok(Page { hits, next })
    }

    /// Artifacts with their subjects and places.
    pub(crate) async fn located(
        &self,
        artifacts: Vec<ArtifactEntry>,
    ) -> Result<Vec<Hit>, CatalogError> {
        let mut ids: Vec<PackId> = artifacts.iter().map(|artifact| artifact.pack_id).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut packs = BTreeMap::new();
        let mut places: BTreeMap<PackId, Vec<PlaceEntry>> = BTreeMap::new();
        for some in ids.chunks(1_000) {
            packs.extend(self.packs(some).await?);
            for place in self.places(some).await? {
                places.entry(place.pack_id).or_default().push(place);
            }
        }
        let hits = artifacts.into_iter().filter_map(|artifact| {
            // Between the two questions it may have been forgotten.
            let subject = packs.get(&artifact.pack_id)?.subject.clone();
            let places = places.get(&artifact.pack_id).into_iter().flatten();
            let uris = places
                .filter_map(|place| uri(place, &subject, &artifact))
                .take(URIS_MAX)
                .collect();
            Some(Hit {
                artifact,
                subject,
                uris,
            })
        });
        Ok(hits.collect())
    }
}

/// Where an artifact is.
fn uri(place: &PlaceEntry, subject: &Subject, artifact: &ArtifactEntry) -> Option<String> {
    let store = place.store.trim_end_matches('/');
    if place.form != "files" {
        return Some(format!("{store}/{}#{}", place.key, artifact.name));
    }
    let name: ArtifactName = artifact.name.parse().ok()?;
    let location = Location::artifact(subject, &name, artifact.commitment);
    Some(format!("{store}/{}", location.key().ok()?))
}

/// Whether the packs have to be asked, beside the artifacts.
fn asks_packs(query: &Query) -> bool {
    query.namespace.is_some()
        || query.scenario.is_some()
        || query.run_id.is_some()
        || query.execution_id.is_some()
        || query.agent.is_some()
        || query.agent_version.is_some()
}

/// In which order artifacts are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// By the time of their packs, newest first.
    Newest,
    /// By when they expire, soonest first.
    Expiry,
}

impl Query {
    /// Whether the page that it begins after was in the same order: a search by another order begins somewhere else.
    pub fn goes_on(&self) -> bool {
        let after = self.start_after.as_ref();
        after.is_none_or(|cursor| cursor.order == self.order())
    }

    /// Whoever asks what expires wants to see what expires first.
    fn order(&self) -> Order {
        if self.expires_after.is_some() || self.expires_before.is_some() {
            Order::Expiry
        } else {
            Order::Newest
        }
    }
}

/// One artifact more than the page has tells whether there is another page.
pub(crate) fn question(query: &Query, limit: u64) -> Question {
    let mut asked = Question::new("SELECT ");
    for (at, column) in ArtifactEntry::EACH.iter().enumerate() {
        asked.add(if at == 0 { "a." } else { ", a." }).add(column);
    }
    asked.add(" FROM artifacts a");
    if asks_packs(query) {
        asked.add(" JOIN packs p ON p.pack_id = a.pack_id");
    }
    asked.add(" WHERE 1 = 1");
    let texts = [
        (
            " AND a.tenant = ",
            query.tenant.as_ref().map(Tenant::as_str),
        ),
        (
            " AND p.namespace = ",
            query.namespace.as_ref().map(Namespace::as_str),
        ),
        (
            " AND p.scenario = ",
            query.scenario.as_ref().map(Scenario::as_str),
        ),
        (" AND p.run_id = ", query.run_id.as_ref().map(RunId::as_str)),
        (
            " AND p.execution_id = ",
            query.execution_id.as_ref().map(ExecutionId::as_str),
        ),
        (" AND p.agent = ", query.agent.as_ref().map(AgentId::as_str)),
        (
            " AND p.agent_version = ",
            query.agent_version.as_ref().map(AgentVersion::as_str),
        ),
        (
            " AND a.policy = ",
            query.policy.as_ref().map(PolicyName::as_str),
        ),
        (" AND a.step = ", query.step.as_ref().map(StepId::as_str)),
        (" AND a.kind = ", query.kind.as_deref()),
        (" AND a.media_type = ", query.media_type.as_deref()),
    ];
    for (condition, text) in texts {
        if let Some(text) = text {
            asked.add(condition).value(text);
        }
    }
    let digests = [
        (
            " AND a.pack_id = ",
            query.pack_id.as_ref().map(PackId::digest),
        ),
        (" AND a.commitment = ", query.commitment.as_ref()),
    ];
    for (condition, digest) in digests {
        if let Some(digest) = digest {
            asked.add(condition).value(digest);
        }
    }
    let numbers = [
        (
            " AND a.created_at >= ",
            query.after.map(Timestamp::unix_seconds),
        ),
        (
            " AND a.created_at < ",
            query.before.map(Timestamp::unix_seconds),
        ),
        (
            " AND a.expires_at >= ",
            query.expires_after.map(Timestamp::unix_seconds),
        ),
        (
            " AND a.expires_at < ",
            query.expires_before.map(Timestamp::unix_seconds),
        ),
        (" AND a.bytes >= ", query.bytes_min),
        (" AND a.bytes <= ", query.bytes_max),
    ];
    for (condition, number) in numbers {
        if let Some(number) = number {
            asked.add(condition).value(number);
        }
    }
    for (label, value) in &query.labels {
        asked.add(" AND EXISTS (SELECT 1 FROM labels l WHERE l.pack_id = a.pack_id AND l.label = ");
        asked.value(label.as_str()).add(" AND l.value = ");
        asked.value(value.as_str()).add(")");
    }
    in_order(&mut asked, query);
    asked.value(limit.saturating_add(1));
    asked
}

/// Where the page begins, and what comes first in it.
fn in_order(asked: &mut Question, query: &Query) {
    let (beyond, order) = match query.order() {
        Order::Newest => (
            " AND (a.created_at, a.pack_id, a.name) < (",
            " ORDER BY a.created_at DESC, a.pack_id DESC, a.name DESC LIMIT ",
        ),
        Order::Expiry => (
            " AND (a.expires_at, a.pack_id, a.name) > (",
            " ORDER BY a.expires_at, a.pack_id, a.name LIMIT ",
        ),
    };
    if let Some(cursor) = &query.start_after {
        asked.add(beyond);
        asked.value(cursor.at.unix_seconds()).add(", ");
        asked.value(cursor.pack_id.digest()).add(", ");
        asked.value(cursor.name.as_str()).add(")");
    }
    asked.add(order);
}
