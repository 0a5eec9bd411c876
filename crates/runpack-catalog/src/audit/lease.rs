//! Who verifies what at the moment: places are taken for a while, kept by renewing, and concluded once.
//!
//! A row of `audit_places` is all there is to a place. Taking it moves `ready_at` into the future and counts `fence` up;
//! both databases do that in one statement. What is written afterwards names the fence, so that whoever lost a place in
//! the meantime changes nothing. The time is the database's: no two machines have to agree on one.

use std::time::Duration;

use runpack_core::id::PackId;
use runpack_core::key::{Location, ObjectKey};

use super::{AuditId, Conclusion, Examined};
use crate::error::CatalogError;
use crate::sql::{Beside, Catalog, Columns, Question, Value};

/// A place that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) key: ObjectKey,
    pub(super) location: Location,
    /// Whether the store listed it.
    pub(super) is_listed: bool,
    /// The pack that was known to lie there.
    pub(super) known: Option<PackId>,
    fence: u64,
    /// How often it was taken, and neither concluded nor given back.
    pub(super) attempts: u64,
}

/// What is left of an audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// Nothing.
    Nothing,
    /// Places that are held, or not known yet.
    Something,
}

/// The places of one audit, as one worker takes them.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    pub(super) catalog: Catalog,
    pub(super) audit: AuditId,
    pub(super) store: String,
    /// Who takes them, for people.
    pub(super) worker: String,
    pub(super) lease: Duration,
}

impl Queue {
    /// Takes the next place that nobody holds.
    pub(super) async fn take(&self) -> Result<Option<Lease>, CatalogError> {
        let mut question = Question::new("UPDATE audit_places SET ready_at = ");
        question.now().add(" + ").value(millis(self.lease));
        question.add(", fence = fence + 1, attempts = attempts + 1, worker = ");
        question.value(self.worker.as_str());
        question.add(" WHERE audit = ").value(self.audit.as_str());
        question.add(" AND key = (SELECT key FROM audit_places WHERE audit = ");
        question.value(self.audit.as_str());
        question
            .add(" AND conclusion IS NULL AND ready_at <= ")
            .now();
        question
            .add(" ORDER BY ready_at, key LIMIT 1")
            .skip_locked();
        question.add(") RETURNING key, listed, known_pack, fence, attempts");
        let rows = self.catalog.rows("taking a place", question).await?;
        rows.first()
            .map(|row| {
                let mut columns = Columns::of(row);
                let key = columns.text()?;
                let parsed = Location::parse(&key).and_then(|at| Some((at.key().ok()?, at)));
                let (key, location) =
                    parsed.ok_or_else(|| CatalogError::damaged("a place has no key of ours"))?;
                Ok(Lease {
                    key,
                    location,
                    is_listed: columns.number()? == 1,
                    known: columns.digest_if_any()?.map(PackId::new),
                    fence: columns.number()?,
                    attempts: columns.number()?,
                })
            })
            .transpose()
    }

    /// Keeps the places that are held for another while.
    pub(super) async fn renew(&self, held: &[Lease]) -> Result<(), CatalogError> {
        if held.is_empty() {
            return Ok(());
        }
        let mut question = Question::new("UPDATE audit_places SET ready_at = ");
        question.now().add(" + ").value(millis(self.lease));
        question.add(" WHERE ");
        self.only(&mut question, held);
        self.write("keeping places", question).await.map(drop)
    }

    /// Gives places back that were not finished, as if they had not been tried. Asked again it changes nothing.
    pub(super) async fn give_back(&self, held: &[Lease]) -> Result<(), CatalogError> {
        if held.is_empty() {
            return Ok(());
        }
        let mut question = Question::new(
            "UPDATE audit_places SET ready_at = 0, attempts = attempts - 1, fence = fence + 1, worker = NULL WHERE ",
        );
        self.only(&mut question, held);
        self.write("giving places back", question).await.map(drop)
    }

    /// Puts a place back that is to be tried again after a while.
    pub(super) async fn postpone(
        &self,
        lease: &Lease,
        wait: Duration,
    ) -> Result<bool, CatalogError> {
        let mut question = Question::new("UPDATE audit_places SET worker = NULL, ready_at = ");
        question.now().add(" + ").value(millis(wait));
        question.add(" WHERE ");
        self.only(&mut question, std::slice::from_ref(lease));
        let changed = self.write("putting a place back", question).await?;
        Ok(changed == 1)
    }

    /// Writes down what was concluded, and what was seen with it; `false` where somebody else has the place by now.
    pub(super) async fn conclude(
        &self,
        lease: &Lease,
        examined: &Examined,
    ) -> Result<bool, CatalogError> {
        let mut question = Question::new("UPDATE audit_places SET conclusion = ");
        question.value(examined.conclusion.as_str());
        question.add(", pack_id = ");
        question.value(examined.pack_id.as_ref().map(PackId::digest));
        question.add(", artifacts = ").value(examined.artifacts);
        question.add(", bytes_read = ").value(examined.bytes_read);
        let pinned_by = Some(examined.pinned_by.join(",")).filter(|all| !all.is_empty());
        question.add(", pinned_by = ").value(pinned_by.as_deref());
        question.add(", findings = ");
        question.value(examined.findings_as_json().as_deref());
        question.add(" WHERE ");
        self.only(&mut question, std::slice::from_ref(lease));
        let mut writing = self.begin("writing down a conclusion").await?;
        let is_ours = writing.run(question).await? == 1;
        if is_ours {
            let key = lease.key.as_str();
            if let Some(remember) = self.memory(key, examined) {
                writing.run(remember).await?;
            }
        }
        writing.commit().await?;
        Ok(is_ours)
    }

    /// What the next audit is to know of this place, if that has changed.
    fn memory(&self, key: &str, examined: &Examined) -> Option<Question> {
        if examined.has_vanished() {
            let mut forget = Question::new("DELETE FROM seen WHERE store = ");
            forget.value(self.store.as_str());
            forget.add(" AND key = ").value(key);
            return Some(forget);
        }
        // What a store that lies shows is not what it is held against later.
        let holds = matches!(
            examined.conclusion,
            Conclusion::Valid | Conclusion::Consistent | Conclusion::Older
        );
        let pack_id = examined.pack_id.filter(|_| holds)?;
        let mut question = Question::new("INSERT INTO seen (store, key, pack_id) VALUES ");
        question.list([
            Value::from(self.store.as_str()),
            key.into(),
            pack_id.digest().into(),
        ]);
        question.add(" ON CONFLICT (store, key) DO UPDATE SET pack_id = excluded.pack_id");
        question.add(" WHERE seen.pack_id <> excluded.pack_id");
        Some(question)
    }

    /// Whether anything is left to do, by anybody.
    pub(super) async fn left(&self) -> Result<Left, CatalogError> {
        let mut question = Question::new(
            "SELECT CAST(COUNT(*) AS BIGINT) FROM audits WHERE planned_at IS NOT NULL AND audit = ",
        );
        question.value(self.audit.as_str());
        question.add(" AND NOT EXISTS (SELECT 1 FROM audit_places WHERE conclusion IS NULL");
        question.add(" AND audit_places.audit = audits.audit)");
        let rows = self.catalog.rows("asking what is left", question).await?;
        let finished = match rows.first() {
            Some(row) => Columns::of(row).number()?,
            None => 0,
        };
        Ok(if finished == 1 {
            Left::Nothing
        } else {
            Left::Something
        })
    }

    /// Only rows that these leases still hold.
    fn only(&self, question: &mut Question, held: &[Lease]) {
        question.add("audit = ").value(self.audit.as_str());
        question.add(" AND conclusion IS NULL AND (key, fence) IN (VALUES ");
        for (at, lease) in held.iter().enumerate() {
            if at > 0 {
                question.add(", ");
            }
            question.list([Value::from(lease.key.as_str()), lease.fence.into()]);
        }
        question.add(")");
    }

    async fn begin(&self, action: &'static str) -> Result<crate::sql::Writing, CatalogError> {
        self.catalog.begin(action, Beside::Anybody).await
    }

    async fn write(&self, action: &'static str, question: Question) -> Result<u64, CatalogError> {
        let mut writing = self.begin(action).await?;
        let changed = writing.run(question).await?;
        writing.commit().await?;
        Ok(changed)
    }
}

/// As the database counts time.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
