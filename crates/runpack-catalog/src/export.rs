//! The exported form of a catalog: JSON lines in one order, the same for the same packs whatever database holds them.

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use runpack_core::digest::Digest;
use runpack_core::id::PackId;
use serde::Serialize;

use crate::entry::{ArtifactEntry, InputEntry, Labels, PackEntry};
use crate::error::CatalogError;
use crate::read::PlaceEntry;
use crate::sql::{Catalog, Columns, Question};

const EXPORTING: &str = "exporting";
/// A page has packs until they have so many artifacts, or are so many.
const ARTIFACTS_AT_ONCE: u64 = 10_000;
const PACKS_AT_ONCE: u64 = 200;

/// A line.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    Pack {
        #[serde(flatten)]
        pack: &'a PackEntry,
        labels: &'a Labels,
    },
    Artifact {
        #[serde(flatten)]
        artifact: &'a ArtifactEntry,
        inputs: &'a [InputEntry],
    },
    Place(&'a PlaceEntry),
}

/// How far it is.
enum At {
    Packs(Option<PackId>),
    Places(String, String),
    End,
}

impl Catalog {
    /// All that the catalog holds: packs by their ids, each followed by its artifacts by their names; then places by store and
    /// key. A text of some lines at a time.
    pub fn export(&self) -> BoxStream<'_, Result<String, CatalogError>> {
        stream::try_unfold(At::Packs(None), async |at| match at {
            At::Packs(after) => self.export_packs(after).await.map(Some),
            At::Places(store, key) => self.export_places(store, key).await.map(Some),
            At::End => Ok(None),
        })
        .try_filter(|text| std::future::ready(!text.is_empty()))
        .boxed()
    }

    async fn export_packs(&self, after: Option<PackId>) -> Result<(String, At), CatalogError> {
        let mut question = Question::new("SELECT pack_id, artifacts FROM packs WHERE pack_id > ");
        let first = PackId::new(Digest::from_bytes([0; 32]));
        question.value(after.unwrap_or(first).digest());
        question
            .add(" ORDER BY pack_id LIMIT ")
            .value(PACKS_AT_ONCE);
        let (mut packs, mut artifacts) = (Vec::new(), 0u64);
        for row in self.rows(EXPORTING, question).await? {
            let mut columns = Columns::of(&row);
            packs.push(PackId::new(columns.digest()?));
            artifacts = artifacts.saturating_add(columns.number()?);
            if artifacts >= ARTIFACTS_AT_ONCE {
                break;
            }
        }
        let Some(last) = packs.last().copied() else {
            return Ok((String::new(), At::Places(String::new(), String::new())));
        };
        let mut text = String::new();
        for whole in self.wholes(&packs).await?.values() {
            let (pack, labels) = (&whole.pack, &whole.labels);
            add(&mut text, &Line::Pack { pack, labels });
            for (artifact, inputs) in &whole.artifacts {
                add(&mut text, &Line::Artifact { artifact, inputs });
            }
        }
        Ok((text, At::Packs(Some(last))))
    }

    async fn export_places(
        &self,
        store: String,
        key: String,
    ) -> Result<(String, At), CatalogError> {
        let mut question = Question::new(PlaceEntry::SELECT);
        question.add("(store, key) > (").value(store.as_str());
        question.add(", ").value(key.as_str());
        question
            .add(") ORDER BY store, key LIMIT ")
            .value(PACKS_AT_ONCE);
        let mut text = String::new();
        let mut at = At::End;
        for row in self.rows(EXPORTING, question).await? {
            let place = PlaceEntry::read(&row)?;
            add(&mut text, &Line::Place(&place));
            at = At::Places(place.store, place.key);
        }
        Ok((text, at))
    }
}

fn add(text: &mut String, line: &Line<'_>) {
    // Texts and numbers always serialize.
    text.push_str(&serde_json::to_string(line).unwrap_or_default());
    text.push('\n');
}
