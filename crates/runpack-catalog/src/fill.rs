//! Filling: what manifests say becomes rows.
//!
//! Invariant: the same packs give the same rows, in whatever order they come and however often, also when several programs
//! write at once.

use std::sync::Arc;

use runpack_core::id::PackId;
use runpack_core::key::ObjectKey;
use runpack_core::manifest::Manifest;

use crate::entry::Whole;
use crate::error::CatalogError;
use crate::read::PlaceEntry;
use crate::retention;
use crate::sql::{Beside, Catalog, Columns, Question, Value, Writing};

/// SQLite takes 32,766 values in a statement, PostgreSQL 65,535.
const VALUES_MAX: usize = 30_000;
/// The most rows of a statement. A power of two, so that few statements are prepared.
const ROWS_MAX: usize = 1_024;

/// A store, as its packs' places name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreName {
    /// Which one: it tells services apart.
    pub place: String,
    /// Where it is, if that is known.
    pub region: Option<String>,
}

/// How a pack lies in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Form {
    /// A manifest and artifacts.
    Files,
    /// One object.
    Bundle,
}

impl Form {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Bundle => "bundle",
        }
    }
}

/// A pack of a store.
#[derive(Debug, Clone)]
pub struct Found {
    /// Where its manifest or bundle lies.
    pub key: ObjectKey,
    /// How it lies there.
    pub form: Form,
    /// What it says.
    pub manifest: Arc<Manifest>,
}

/// A table, and how rows get into it.
pub(crate) struct Table {
    /// Up to the rows.
    insert: &'static str,
    columns: usize,
    /// After the rows.
    conflict: &'static str,
}

const PACKS: Table = Table {
    insert: "INSERT INTO packs (pack_id, subject, tenant, namespace, scenario, run_id, step_id, execution_id, spec_hash, \
             created_at, producer_name, producer_version, artifacts, artifact_bytes, agent, agent_version, policy, \
             expires_at) VALUES ",
    columns: 18,
    conflict: " ON CONFLICT DO NOTHING",
};
const ARTIFACTS: Table = Table {
    insert: "INSERT INTO artifacts (pack_id, name, title, kind, media_type, bytes, commitment, claimed_sha256, step, \
             created_at, tenant, policy, expires_at) VALUES ",
    columns: 13,
    conflict: " ON CONFLICT DO NOTHING",
};
const INPUTS: Table = Table {
    insert: "INSERT INTO inputs (pack_id, name, position, source_pack, source_name, source_commitment) VALUES ",
    columns: 6,
    conflict: " ON CONFLICT DO NOTHING",
};
const LABELS: Table = Table {
    insert: "INSERT INTO labels (pack_id, label, value) VALUES ",
    columns: 3,
    conflict: " ON CONFLICT DO NOTHING",
};
const PLACES: Table = Table {
    insert: "INSERT INTO places (store, key, pack_id, form, region) VALUES ",
    columns: 5,
    conflict: " ON CONFLICT (store, key) DO UPDATE SET pack_id = excluded.pack_id, form = excluded.form, \
               region = excluded.region",
};

impl Catalog {
    /// Takes up packs that lie in a store. What is there already stays as it is.
    ///
    /// # Errors
    /// As the database fails: then nothing of them was taken up.
    pub async fn admit(&self, store: &StoreName, packs: &[Found]) -> Result<(), CatalogError> {
        let mut writing = self.begin("taking up packs", Beside::Others).await?;
        // Whoever reads manifests reads each of them once; the rows of one that is known are there.
        let known = known(&mut writing, packs).await?;
        let policies = retention::remembered(&mut writing).await?;
        let is_new = |found: &&Found| !known.contains(&found.manifest.pack_id());
        let entries = packs.iter().filter(is_new);
        let mut entries: Vec<Whole> = entries
            .map(|found| Whole::of(&found.manifest, &policies))
            .collect();
        // In one order, so that no two wait for each other.
        entries.sort_unstable_by_key(|entry| entry.pack.pack_id);
        write(&mut writing, &entries).await?;
        place(&mut writing, store, packs).await?;
        writing.commit().await
    }
}

async fn known(writing: &mut Writing, packs: &[Found]) -> Result<Vec<PackId>, CatalogError> {
    let mut known = Vec::new();
    for some in packs.chunks(ROWS_MAX) {
        let mut question = Question::new("SELECT pack_id FROM packs WHERE pack_id IN ");
        question.list(
            some.iter()
                .map(|found| found.manifest.pack_id().digest().into()),
        );
        for row in writing.rows(question).await? {
            known.push(PackId::new(Columns::of(&row).digest()?));
        }
    }
    Ok(known)
}

/// Writes the rows of packs.
pub(crate) async fn write(writing: &mut Writing, entries: &[Whole]) -> Result<(), CatalogError> {
    let packs = entries.iter().flat_map(|entry| entry.pack.values());
    insert(writing, &PACKS, packs.collect()).await?;
    let labels = entries.iter().flat_map(|entry| {
        let of = entry.pack.pack_id;
        entry.labels.iter().flat_map(move |(label, value)| {
            [
                of.digest().into(),
                label.as_str().into(),
                value.as_str().into(),
            ]
        })
    });
    insert(writing, &LABELS, labels.collect()).await?;
    for entry in entries {
        let artifacts = entry.artifacts.iter();
        let artifacts = artifacts.flat_map(|(artifact, _)| artifact.values());
        insert(writing, &ARTIFACTS, artifacts.collect()).await?;
        let inputs = entry.artifacts.iter().flat_map(|(artifact, inputs)| {
            (0u64..).zip(inputs).flat_map(|(position, input)| {
                [
                    artifact.pack_id.digest().into(),
                    artifact.name.as_str().into(),
                    position.into(),
                    input.pack.digest().into(),
                    input.name.as_str().into(),
                    (&input.commitment).into(),
                ]
            })
        });
        insert(writing, &INPUTS, inputs.collect()).await?;
    }
    Ok(())
}

/// Writes where packs lie.
pub(crate) async fn place(
    writing: &mut Writing,
    store: &StoreName,
    packs: &[Found],
) -> Result<(), CatalogError> {
    let mut packs: Vec<&Found> = packs.iter().collect();
    packs.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    // A listing may show a key twice, and no statement may write a row twice.
    packs.dedup_by(|a, b| a.key == b.key);
    let rows = packs.into_iter().flat_map(|found| {
        [
            store.place.as_str().into(),
            found.key.as_str().into(),
            found.manifest.pack_id().digest().into(),
            found.form.as_str().into(),
            store.region.as_deref().into(),
        ]
    });
    insert(writing, &PLACES, rows.collect()).await
}

/// Writes rows, given one after the other.
async fn insert(
    writing: &mut Writing,
    table: &Table,
    values: Vec<Value>,
) -> Result<(), CatalogError> {
    let at_once = VALUES_MAX.checked_div(table.columns).unwrap_or(1);
    let at_once = at_once.min(ROWS_MAX);
    let mut rows = values.len().checked_div(table.columns).unwrap_or(0);
    let mut values = values.into_iter();
    while rows > 0 {
        let some = 1usize << rows.min(at_once).ilog2();
        let mut question = Question::new(table.insert);
        for row in 0..some {
            if row > 0 {
                question.add(", ");
            }
            question.list(values.by_ref().take(table.columns));
        }
        question.add(table.conflict);
        writing.run(question).await?;
        rows = rows.saturating_sub(some);
    }
    Ok(())
}

/// Forgets packs, though not where they lie.
pub(crate) async fn forget(writing: &mut Writing, packs: &[PackId]) -> Result<(), CatalogError> {
    for some in packs.chunks(ROWS_MAX) {
        for delete in [
            "DELETE FROM packs WHERE pack_id IN ",
            "DELETE FROM artifacts WHERE pack_id IN ",
            "DELETE FROM inputs WHERE pack_id IN ",
            "DELETE FROM labels WHERE pack_id IN ",
        ] {
            let mut question = Question::new(delete);
            question.list(some.iter().map(|pack| pack.digest().into()));
            writing.run(question).await?;
        }
    }
    Ok(())
}

/// Packs that lie nowhere any more, or the first of them.
pub(crate) fn placeless(most: Option<u64>) -> Question {
    let mut question = Question::new(
        "SELECT pack_id FROM packs WHERE NOT EXISTS (SELECT 1 FROM places WHERE places.pack_id = packs.pack_id)",
    );
    if let Some(most) = most {
        question.add(" LIMIT ").value(most);
    }
    question
}

/// Forgets the packs that lie nowhere any more.
pub(crate) async fn forget_placeless(writing: &mut Writing) -> Result<(), CatalogError> {
    let rows = writing.rows(placeless(None)).await?;
    let packs: Result<Vec<_>, _> = rows
        .iter()
        .map(|row| Columns::of(row).digest().map(PackId::new))
        .collect();
    forget(writing, &packs?).await
}

/// Forgets places of a store.
pub(crate) async fn forget_places(
    writing: &mut Writing,
    store: &StoreName,
    places: &[PlaceEntry],
) -> Result<(), CatalogError> {
    if places.is_empty() {
        return Ok(());
    }
    let mut forget = Question::new("DELETE FROM places WHERE store = ");
    forget.value(store.place.as_str()).add(" AND key IN ");
    forget.list(places.iter().map(|place| place.key.as_str().into()));
    writing.run(forget).await.map(drop)
}
