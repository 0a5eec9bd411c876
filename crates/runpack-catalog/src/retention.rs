//! The policies of retention that a catalog is filled by: remembered in it, so that whoever adds to it adds by the same ones.

use runpack_core::digest::Digest;
use runpack_core::id::PackId;
use runpack_core::retention::RetentionPolicies;
use sqlx::any::AnyRow;

use crate::entry::{PackEntry, RetentionEntry};
use crate::error::CatalogError;
use crate::sql::{Beside, Catalog, Columns, Question, Writing};

const CHANGING: &str = "changing the policies of retention";
const REMEMBERED: &str = "SELECT policies FROM retention";
/// How many packs are looked at together.
const PACKS_AT_ONCE: u64 = 1_000;

impl Catalog {
    /// The policies that everything in the catalog was filled by; none are set in a new one, and everything is kept forever.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn policies(&self) -> Result<RetentionPolicies, CatalogError> {
        parsed(
            &self
                .rows("reading the policies", Question::new(REMEMBERED))
                .await?,
        )
    }

    /// Sets the policies, and what every pack's policy and expiry is by them: in one pass, a page of packs in memory at a
    /// time, and wholly or not at all. Tells how many packs have another policy or expiry now.
    ///
    /// # Errors
    /// As the database fails: then everything is as it was.
    pub async fn set_policies(&self, policies: &RetentionPolicies) -> Result<u64, CatalogError> {
        match self.policies().await {
            Ok(remembered) if remembered.digest() == policies.digest() => return Ok(0),
            // What cannot be read is replaced.
            Ok(_) | Err(CatalogError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
        let mut writing = self.begin(CHANGING, Beside::Nobody).await?;
        writing.run(Question::new("DELETE FROM retention")).await?;
        let mut remember = Question::new("INSERT INTO retention (policies) VALUES (");
        // JSON is text.
        let text = String::from_utf8(policies.to_bytes()).unwrap_or_default();
        remember.value(text.as_str()).add(")");
        writing.run(remember).await?;
        let mut changed = 0u64;
        let mut after: Option<PackId> = None;
        loop {
            let page = page(&mut writing, after).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.pack_id);
            for pack in page {
                let now = RetentionEntry::of(policies, &pack.subject, pack.created_at);
                if now != pack.retention {
                    changed = changed.saturating_add(1);
                    change(&mut writing, pack.pack_id, &now).await?;
                }
            }
        }
        writing.commit().await?;
        Ok(changed)
    }
}

/// The policies that count for whatever is written now.
pub(crate) async fn remembered(writing: &mut Writing) -> Result<RetentionPolicies, CatalogError> {
    parsed(&writing.rows(Question::new(REMEMBERED)).await?)
}

/// As [`remembered`]; what cannot be read is forgotten: whoever makes a catalog anew mends that too.
pub(crate) async fn remembered_or_none(
    writing: &mut Writing,
) -> Result<RetentionPolicies, CatalogError> {
    match remembered(writing).await {
        Err(CatalogError::Damaged { .. }) => {
            writing.run(Question::new("DELETE FROM retention")).await?;
            Ok(RetentionPolicies::default())
        }
        other => other,
    }
}

fn parsed(rows: &[AnyRow]) -> Result<RetentionPolicies, CatalogError> {
    let Some(row) = rows.first() else {
        return Ok(RetentionPolicies::default());
    };
    let text = Columns::of(row).text()?;
    let policies = RetentionPolicies::parse(text.as_bytes());
    policies.map_err(|error| CatalogError::damaged(error.to_string()))
}

async fn page(
    writing: &mut Writing,
    after: Option<PackId>,
) -> Result<Vec<PackEntry>, CatalogError> {
    let mut question = Question::new("SELECT ");
    question
        .add(PackEntry::COLUMNS)
        .add(" FROM packs WHERE pack_id > ");
    let first = PackId::new(Digest::from_bytes([0; 32]));
    question.value(after.unwrap_or(first).digest());
    question
        .add(" ORDER BY pack_id LIMIT ")
        .value(PACKS_AT_ONCE);
    let rows = writing.rows(question).await?;
    rows.iter().map(PackEntry::read).collect()
}

async fn change(
    writing: &mut Writing,
    pack_id: PackId,
    retention: &RetentionEntry,
) -> Result<(), CatalogError> {
    for update in [
        "UPDATE packs SET policy = ",
        "UPDATE artifacts SET policy = ",
    ] {
        let [policy, expires_at] = retention.values();
        let mut question = Question::new(update);
        question
            .value(policy)
            .add(", expires_at = ")
            .value(expires_at);
        question.add(" WHERE pack_id = ").value(pack_id.digest());
        writing.run(question).await?;
    }
    Ok(())
}
