//! Planning: what a store lists, and what is known to have been there.
//!
//! The store is listed as a stream and written down in batches, by whoever holds the planning; another takes over when
//! they die, and lists again: what is written already stays. Then what the catalog and earlier audits know of the store,
//! and the listing did not show, is added: whether it is gone is for the verifier to see.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use runpack_core::digest::Digest;
use runpack_core::key::{KeyPrefix, Location};
use runpack_core::store::ArtifactReader;

use super::lease::{Queue, millis};
use super::patience::patiently;
use super::{AuditError, Scope};
use crate::error::CatalogError;
use crate::sql::{Beside, Columns, Question, Value, Writing};

const PLANNING: &str = "planning an audit";
/// How many places are written down at once.
const PLACES_AT_ONCE: usize = 500;
const PAGE: u64 = 500;
/// How often a listing may show a place again, beyond once for each place: a store may repeat a page.
const REPEATS_FREE: u64 = 1_000;

/// Bounds of a listing. Only a caller raises them.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListingBounds {
    /// Entries of any kind. Stops a listing without end.
    pub(super) entries_max: u64,
    /// Places of packs. Stops one that fills the database.
    pub(super) places_max: u64,
}

/// What became of an attempt to plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Planning {
    /// It is planned, by whomever.
    Done,
    /// Somebody else is at it.
    Elsewhere,
}

/// A listing under way, by whoever holds this fence.
struct Pass<'a> {
    queue: &'a Queue,
    fence: u64,
    /// How long a database that is away is waited for, each time: the store is not listed again because of it.
    patience: Duration,
    shown: u64,
    places: u64,
    repeats: u64,
}

/// A place to be written down.
struct Candidate {
    key: String,
    known: Option<Digest>,
}

/// What a page of what is known beforehand came to.
enum Page {
    /// Somebody else plans by now.
    Elsewhere,
    /// There is no more.
    End,
    /// Up to this key.
    UpTo(String),
}

impl Queue {
    /// Plans the audit, if nobody has and nobody is at it. While it is at it, `at_it` has the fence by which a caller who
    /// drops this leaves the planning to others ([`Queue::leave_planning`]).
    pub(super) async fn plan(
        &self,
        scope: &Scope,
        reader: &dyn ArtifactReader,
        bounds: ListingBounds,
        patience: Duration,
        at_it: &AtomicU64,
    ) -> Result<Planning, AuditError> {
        let Some(fence) = patiently(patience, async || self.take_planning().await).await? else {
            let is_planned = patiently(patience, async || self.is_planned().await).await?;
            return Ok(if is_planned {
                Planning::Done
            } else {
                Planning::Elsewhere
            });
        };
        at_it.store(fence, Ordering::Relaxed);
        let mut pass = Pass {
            queue: self,
            fence,
            patience,
            shown: 0,
            places: 0,
            repeats: 0,
        };
        let planned = pass.all(scope, reader, bounds).await;
        if planned.is_err() {
            // Whoever comes next need not wait; if this fails too, they wait.
            let _ = self.leave_planning(fence).await;
        }
        planned
    }

    async fn take_planning(&self) -> Result<Option<u64>, CatalogError> {
        let mut question = Question::new("UPDATE audits SET fence = fence + 1, ready_at = ");
        question.now().add(" + ").value(millis(self.lease));
        question.add(" WHERE audit = ").value(self.audit.as_str());
        question.add(" AND planned_at IS NULL AND ready_at <= ");
        question.now().add(" RETURNING fence");
        let rows = self.catalog.rows(PLANNING, question).await?;
        rows.first()
            .map(|row| Columns::of(row).number())
            .transpose()
    }

    /// Keeps the planning for another while, where it is still held by this fence: a store may list for long without showing
    /// a place. No fence is 0.
    pub(super) async fn renew_planning(&self, fence: u64) -> Result<(), CatalogError> {
        if fence == 0 {
            return Ok(());
        }
        let mut question = Question::new("UPDATE audits SET ready_at = ");
        question.now().add(" + ").value(millis(self.lease));
        self.planned_by(&mut question, fence);
        let mut writing = self.catalog.begin(PLANNING, Beside::Anybody).await?;
        writing.run(question).await?;
        writing.commit().await
    }

    /// Leaves the planning to others, where it is still held by this fence.
    pub(super) async fn leave_planning(&self, fence: u64) -> Result<(), CatalogError> {
        let mut question = Question::new("UPDATE audits SET ready_at = 0");
        self.planned_by(&mut question, fence);
        let mut writing = self.catalog.begin(PLANNING, Beside::Anybody).await?;
        writing.run(question).await?;
        writing.commit().await
    }

    /// Only where the planning is held by this fence.
    fn planned_by(&self, question: &mut Question, fence: u64) {
        question.add(" WHERE audit = ").value(self.audit.as_str());
        question.add(" AND planned_at IS NULL AND fence = ");
        question.value(fence);
    }

    async fn is_planned(&self) -> Result<bool, CatalogError> {
        let audit = self.catalog.audit(&self.audit).await?;
        Ok(audit.is_some_and(|audit| audit.is_planned))
    }
}

impl Pass<'_> {
    async fn all(
        &mut self,
        scope: &Scope,
        reader: &dyn ArtifactReader,
        bounds: ListingBounds,
    ) -> Result<Planning, AuditError> {
        let mut listing = reader.list(&scope.prefix());
        let mut batch = Vec::with_capacity(PLACES_AT_ONCE);
        loop {
            let next = listing.try_next().await?;
            let is_end = next.is_none();
            if let Some(entry) = next {
                self.shown = self.shown.saturating_add(1);
                if self.shown > bounds.entries_max {
                    return Err(self.senseless("has no end within the limit of entries"));
                }
                batch.extend(self.place(scope, &entry.key));
            }
            if (is_end || batch.len() >= PLACES_AT_ONCE)
                && !self.list(std::mem::take(&mut batch)).await?
            {
                return Ok(Planning::Elsewhere);
            }
            if self.places > bounds.places_max {
                return Err(self.senseless("has more packs than the limit"));
            }
            if self.repeats > self.places.saturating_add(REPEATS_FREE) {
                return Err(self.senseless("shows the same again and again"));
            }
            if is_end {
                break;
            }
        }
        for table in ["seen", "places"] {
            if !self.known(scope, table).await? {
                return Ok(Planning::Elsewhere);
            }
        }
        Ok(patiently(self.patience, async || self.end().await).await?)
    }

    fn senseless(&self, reason: &'static str) -> AuditError {
        AuditError::Listing {
            reason,
            shown: self.shown,
        }
    }

    /// The key, where it is that of a place in scope.
    fn place(&self, scope: &Scope, key: &str) -> Option<String> {
        let location = Location::parse(key)?;
        let is_in = location.key().is_ok() && scope.covers(&self.queue.audit, &location);
        is_in.then(|| key.to_owned())
    }

    /// Writes down places that the store listed; `false` where somebody else plans by now.
    async fn list(&mut self, mut keys: Vec<String>) -> Result<bool, CatalogError> {
        let all = u64::try_from(keys.len()).unwrap_or(u64::MAX);
        keys.sort_unstable();
        keys.dedup();
        let listed = patiently(self.patience, async || self.write(&keys).await).await?;
        let Some(new) = listed else { return Ok(false) };
        self.places = self.places.saturating_add(new);
        self.repeats = self.repeats.saturating_add(all.saturating_sub(new));
        Ok(true)
    }

    /// Writes places down, each with the pack that is known to lie there; tells how many were not shown before.
    async fn write(&self, keys: &[String]) -> Result<Option<u64>, CatalogError> {
        let Some(mut writing) = self.hold().await? else {
            return Ok(None);
        };
        let mut new = 0;
        if !keys.is_empty() {
            let mut known = self.known_of(&mut writing, "places", keys).await?;
            // What an audit saw itself counts more than what was told to the catalog.
            known.extend(self.known_of(&mut writing, "seen", keys).await?);
            let candidates = keys.iter().map(|key| Candidate {
                known: known.get(key).copied(),
                key: key.clone(),
            });
            new = self.insert(&mut writing, candidates.collect(), 1).await?;
        }
        writing.commit().await?;
        Ok(Some(new))
    }

    async fn known_of(
        &self,
        writing: &mut Writing,
        table: &'static str,
        keys: &[String],
    ) -> Result<HashMap<String, Digest>, CatalogError> {
        let mut question = Question::new("SELECT key, pack_id FROM ");
        question.add(table).add(" WHERE store = ");
        question
            .value(self.queue.store.as_str())
            .add(" AND key IN ");
        question.list(keys.iter().map(|key| key.as_str().into()));
        let rows = writing.rows(question).await?;
        let known = rows.iter().map(|row| {
            let mut columns = Columns::of(row);
            Ok((columns.text()?, columns.digest()?))
        });
        known.collect()
    }

    /// Adds what is known to have been there and has no row yet; `false` where somebody else plans by now.
    async fn known(&self, scope: &Scope, table: &'static str) -> Result<bool, CatalogError> {
        let mut after = String::new();
        loop {
            let page = async || self.known_after(scope, table, &after).await;
            match patiently(self.patience, page).await? {
                Page::Elsewhere => return Ok(false),
                Page::End => return Ok(true),
                Page::UpTo(last) => after = last,
            }
        }
    }

    /// Adds a page of it: so many rows are looked at, whatever they come to.
    async fn known_after(
        &self,
        scope: &Scope,
        table: &'static str,
        after: &str,
    ) -> Result<Page, CatalogError> {
        let mut question = Question::new(
            "SELECT key, pack_id, CASE WHEN EXISTS (SELECT 1 FROM audit_places WHERE audit = ",
        );
        question.value(self.queue.audit.as_str());
        question.add(" AND audit_places.key = known.key) THEN 1 ELSE 0 END FROM ");
        question.add(table).add(" known WHERE store = ");
        question.value(self.queue.store.as_str());
        question.add(" AND key > ").value(after);
        let prefix = scope.prefix();
        if let Some(end) = end_of(&prefix) {
            question.add(" AND key >= ").value(prefix.as_str());
            question.add(" AND key < ").value(end.as_str());
        }
        question.add(" ORDER BY key LIMIT ").value(PAGE);
        let rows = self.queue.catalog.rows(PLANNING, question).await?;
        let (mut candidates, mut page) = (Vec::new(), Page::End);
        for row in &rows {
            let mut columns = Columns::of(row);
            let (key, pack_id) = (columns.text()?, columns.digest()?);
            page = Page::UpTo(key.clone());
            if columns.number()? == 1 {
                continue;
            }
            let place = self.place(scope, &key);
            candidates.extend(place.map(|key| Candidate {
                key,
                known: Some(pack_id),
            }));
        }
        if candidates.is_empty() {
            return Ok(page);
        }
        let Some(mut writing) = self.hold().await? else {
            return Ok(Page::Elsewhere);
        };
        let mut question = self.rows(candidates, 0);
        question.add(" ON CONFLICT DO NOTHING");
        writing.run(question).await?;
        writing.commit().await?;
        Ok(page)
    }

    /// Writes down places that were listed; tells how many were not shown before in this pass.
    async fn insert(
        &self,
        writing: &mut Writing,
        candidates: Vec<Candidate>,
        listed: u64,
    ) -> Result<u64, CatalogError> {
        let mut question = self.rows(candidates, listed);
        question.add(" ON CONFLICT (audit, key) DO UPDATE SET pass = excluded.pass");
        question.add(" WHERE audit_places.pass < excluded.pass");
        writing.run(question).await
    }

    fn rows(&self, candidates: Vec<Candidate>, listed: u64) -> Question {
        let mut question = Question::new(
            "INSERT INTO audit_places (audit, key, pass, listed, known_pack, fence, attempts, ready_at, artifacts, \
             bytes_read) VALUES ",
        );
        for (at, candidate) in candidates.into_iter().enumerate() {
            if at > 0 {
                question.add(", ");
            }
            let zero = || Value::from(0u64);
            question.list([
                Value::from(self.queue.audit.as_str()),
                candidate.key.as_str().into(),
                self.fence.into(),
                listed.into(),
                candidate.known.as_ref().into(),
                zero(),
                zero(),
                zero(),
                zero(),
                zero(),
            ]);
        }
        question
    }

    /// Begins a change of the plan, and keeps the planning for another while; none where somebody else has it.
    async fn hold(&self) -> Result<Option<Writing>, CatalogError> {
        let queue = self.queue;
        let mut writing = queue.catalog.begin(PLANNING, Beside::Anybody).await?;
        let mut question = Question::new("UPDATE audits SET ready_at = ");
        question.now().add(" + ").value(millis(queue.lease));
        queue.planned_by(&mut question, self.fence);
        let is_held = writing.run(question).await? == 1;
        Ok(is_held.then_some(writing))
    }

    async fn end(&self) -> Result<Planning, CatalogError> {
        let mut question = Question::new("UPDATE audits SET planned_at = ");
        question.now();
        self.queue.planned_by(&mut question, self.fence);
        let mut writing = self.queue.catalog.begin(PLANNING, Beside::Anybody).await?;
        let is_ours = writing.run(question).await? == 1;
        writing.commit().await?;
        // Also where it was ours, and the answer to the question before was lost.
        Ok(if is_ours || self.queue.is_planned().await? {
            Planning::Done
        } else {
            Planning::Elsewhere
        })
    }
}

/// What comes after all keys that begin with a prefix; none for the prefix of all.
fn end_of(prefix: &KeyPrefix) -> Option<String> {
    let mut end = prefix.as_str().to_owned();
    // Keys and what they begin with are ASCII.
    let last = end.pop()?;
    end.push(char::from_u32(u32::from(last).saturating_add(1))?);
    Some(end)
}
