//! What an audit has concluded so far: counts, and each place.

use std::time::Duration;

use runpack_core::id::PackId;
use serde::Serialize;

use super::patience::patiently;
use super::{AuditId, Conclusion, Objection};
use crate::error::CatalogError;
use crate::sql::{Catalog, Columns, Question};

const REPORTING: &str = "reading what an audit concluded";
/// How many places are counted at once.
const COUNTED_AT_ONCE: u64 = 100_000;
/// What is named in the end, of however many places.
const NAMED: &str = " AND conclusion IN ('undecided', 'invalid', 'removed')";

/// How far an audit is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Standing {
    /// Whether all that is to be verified is known, and nothing of it is open.
    pub complete: bool,
    /// Places that are not concluded yet.
    pub open: u64,
    /// Packs that are pinned and hold.
    pub valid: u64,
    /// Packs that hold, for which nothing vouches.
    pub consistent: u64,
    /// Places that could not be read.
    pub undecided: u64,
    /// Places with something wrong.
    pub invalid: u64,
    /// Packs that a retention plan removed, or their artifacts, as the store says.
    pub removed: u64,
    /// Packs that are older than what the audit is about.
    pub older: u64,
    /// Bytes that were read of what is concluded.
    pub bytes_read: u64,
    /// Places of which it was known beforehand which pack lies there.
    pub known: u64,
}

impl Standing {
    /// Places that are concluded.
    pub fn concluded(&self) -> u64 {
        [
            self.valid,
            self.consistent,
            self.undecided,
            self.invalid,
            self.removed,
            self.older,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }

    /// Adds a row of [`counted`], and tells its last key.
    fn add(&mut self, row: &sqlx::any::AnyRow) -> Result<String, CatalogError> {
        let mut columns = Columns::of(row);
        let conclusion = columns.text_if_any()?;
        let conclusion = conclusion.as_deref().map(Conclusion::parse).transpose()?;
        let places = self.count(conclusion);
        *places = places.saturating_add(columns.number()?);
        self.bytes_read = self.bytes_read.saturating_add(columns.number()?);
        self.known = self.known.saturating_add(columns.number()?);
        columns.text()
    }

    fn count(&mut self, conclusion: Option<Conclusion>) -> &mut u64 {
        match conclusion {
            None => &mut self.open,
            Some(Conclusion::Valid) => &mut self.valid,
            Some(Conclusion::Consistent) => &mut self.consistent,
            Some(Conclusion::Undecided) => &mut self.undecided,
            Some(Conclusion::Invalid) => &mut self.invalid,
            Some(Conclusion::Removed) => &mut self.removed,
            Some(Conclusion::Older) => &mut self.older,
        }
    }
}

/// A place of an audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AuditedPlace {
    /// Its manifest or bundle.
    pub key: String,
    /// What was concluded; nothing yet where it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conclusion: Option<&'static str>,
    /// Whether the store listed it.
    pub listed: bool,
    /// The pack that was known to lie there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known_pack: Option<PackId>,
    /// The pack that lies there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pack_id: Option<PackId>,
    /// Its artifacts.
    pub artifacts: u64,
    /// Bytes that were read.
    pub bytes_read: u64,
    /// What vouches for it.
    pub pinned_by: Vec<String>,
    /// What is objected to.
    pub findings: Vec<Objection>,
    /// Who concluded it, or holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// How often it was tried.
    pub attempts: u64,
}

/// Which places of an audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All of them.
    All,
    /// Those without a conclusion.
    Open,
    /// Those with this one.
    Concluded(Conclusion),
}

impl Catalog {
    /// How far an audit is.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn audit_standing(&self, id: &AuditId) -> Result<Standing, CatalogError> {
        self.standing(id, Duration::ZERO).await
    }

    /// The same, waiting for a database that is away. It is counted by pages, since no answer may take long.
    pub(super) async fn standing(
        &self,
        id: &AuditId,
        patience: Duration,
    ) -> Result<Standing, CatalogError> {
        // Asked first: what is planned later is open.
        let audit = patiently(patience, async || self.audit(id).await).await?;
        let (mut standing, mut after) = (Standing::default(), Some(String::new()));
        while let Some(last) = after {
            let page = async || self.rows(REPORTING, counted(id, &last)).await;
            let page = patiently(patience, page).await?;
            after = None;
            for row in &page {
                let last = standing.add(row)?;
                after = after.max(Some(last));
            }
        }
        standing.complete = standing.open == 0 && audit.is_some_and(|audit| audit.is_planned);
        Ok(standing)
    }

    /// The places of an audit after a key, by their keys, at most so many.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn audit_places(
        &self,
        id: &AuditId,
        which: Which,
        after: &str,
        most: u64,
    ) -> Result<Vec<AuditedPlace>, CatalogError> {
        let rows = self.rows(REPORTING, places(id, which, after, most)).await?;
        rows.iter().map(place).collect()
    }
}

/// A page of places after a key.
fn places(id: &AuditId, which: Which, after: &str, most: u64) -> Question {
    let mut question = Question::new(
        "SELECT key, conclusion, listed, known_pack, pack_id, artifacts, bytes_read, pinned_by, findings, worker, \
             attempts FROM audit_places WHERE audit = ",
    );
    question.value(id.as_str()).add(" AND key > ").value(after);
    match which {
        Which::All => {}
        Which::Open => {
            question.add(" AND conclusion IS NULL");
        }
        Which::Concluded(conclusion) => {
            question
                .add(" AND conclusion = ")
                .value(conclusion.as_str());
            let (undecided, invalid) = (Conclusion::Undecided, Conclusion::Invalid);
            if [undecided, invalid, Conclusion::Removed].contains(&conclusion) {
                // As the index says it that has only these.
                question.add(NAMED);
            }
        }
    }
    question.add(" ORDER BY key LIMIT ").value(most);
    question
}

/// What a page of places came to: of each conclusion how many, their sums, and the last key.
fn counted(id: &AuditId, after: &str) -> Question {
    let mut question = Question::new(
        "SELECT conclusion, CAST(COUNT(*) AS BIGINT), CAST(COALESCE(SUM(bytes_read), 0) AS BIGINT), \
         CAST(COUNT(known_pack) AS BIGINT), MAX(key) FROM (SELECT conclusion, bytes_read, known_pack, key \
         FROM audit_places WHERE audit = ",
    );
    question.value(id.as_str()).add(" AND key > ").value(after);
    question.add(" ORDER BY key LIMIT ").value(COUNTED_AT_ONCE);
    question.add(") page GROUP BY conclusion");
    question
}

fn place(row: &sqlx::any::AnyRow) -> Result<AuditedPlace, CatalogError> {
    let mut columns = Columns::of(row);
    Ok(AuditedPlace {
        key: columns.text()?,
        conclusion: columns
            .text_if_any()?
            .map(|text| Conclusion::parse(&text).map(Conclusion::as_str))
            .transpose()?,
        listed: columns.number()? == 1,
        known_pack: columns.digest_if_any()?.map(PackId::new),
        pack_id: columns.digest_if_any()?.map(PackId::new),
        artifacts: columns.number()?,
        bytes_read: columns.number()?,
        pinned_by: match columns.text_if_any()? {
            Some(all) => all.split(',').map(str::to_owned).collect(),
            None => Vec::new(),
        },
        findings: match columns.text_if_any()? {
            Some(json) => serde_json::from_str(&json)
                .map_err(|error| CatalogError::damaged(error.to_string()))?,
            None => Vec::new(),
        },
        worker: columns.text_if_any()?,
        attempts: columns.number()?,
    })
}

#[cfg(test)]
mod tests {
    use runpack_testing::block_on;

    use super::super::Conclusion;
    use super::{Which, counted, places};
    use crate::sql::Catalog;

    /// Among fifty million places that hold, three that do not are found at once.
    #[test]
    fn what_is_named_is_found_by_an_index() {
        let directory = tempfile::tempdir().unwrap();
        let address = format!("sqlite:{}", directory.path().join("c.db").display());
        block_on(async {
            let catalog = Catalog::open(&address.parse().unwrap()).await.unwrap();
            let id = "01JD0000000000000000000001".parse().unwrap();
            let named = [
                Conclusion::Undecided,
                Conclusion::Invalid,
                Conclusion::Removed,
            ];
            for conclusion in named {
                let question = places(&id, Which::Concluded(conclusion), "k", 50);
                let plan = catalog.explain(question).await.unwrap().lines.join("\n");
                assert!(plan.contains("audit_places_named"), "{plan}");
                assert!(!plan.contains("TEMP B-TREE"), "{plan}");
            }
            let plan = catalog.explain(counted(&id, "k")).await.unwrap();
            let plan = plan.lines.join("\n");
            assert!(plan.contains("(audit=? AND key>?)"), "{plan}");
        });
    }
}
