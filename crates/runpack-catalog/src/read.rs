//! Reading what a catalog holds of packs.

use std::collections::{BTreeMap, HashMap};

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use runpack_core::id::PackId;

use crate::entry::{ArtifactEntry, InputEntry, Labels, PackEntry, Whole};
use crate::error::CatalogError;
use crate::fill::StoreName;
use crate::sql::{Catalog, Columns, Question};

const READING: &str = "reading packs";
/// How many places a page has.
const PLACES_AT_ONCE: u64 = 500;

/// Where a pack lies.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct PlaceEntry {
    /// The store.
    pub store: String,
    /// Its manifest or bundle there.
    pub key: String,
    /// The pack.
    pub pack_id: PackId,
    /// `files` or `bundle`.
    pub form: String,
    /// Where the store is, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

impl PlaceEntry {
    pub(crate) const SELECT: &str = "SELECT store, key, pack_id, form, region FROM places WHERE ";

    /// Asks for a page of the places of a store after a key, in order.
    pub(crate) fn after(store: &StoreName, after: &str) -> Question {
        let mut question = Question::new(Self::SELECT);
        question.add("store = ").value(store.place.as_str());
        question.add(" AND key > ").value(after);
        question.add(" ORDER BY key LIMIT ").value(PLACES_AT_ONCE);
        question
    }

    pub(crate) fn read(row: &sqlx::any::AnyRow) -> Result<Self, CatalogError> {
        let mut columns = Columns::of(row);
        Ok(Self {
            store: columns.text()?,
            key: columns.text()?,
            pack_id: PackId::new(columns.digest()?),
            form: columns.text()?,
            region: columns.text_if_any()?,
        })
    }
}

impl Catalog {
    /// The places of a store by their keys, a page at a time.
    pub(crate) fn pages<'a>(
        &'a self,
        store: &'a StoreName,
    ) -> BoxStream<'a, Result<Vec<PlaceEntry>, CatalogError>> {
        stream::try_unfold(String::new(), async |after| {
            let rows = self.rows(READING, PlaceEntry::after(store, &after)).await?;
            let page = rows.iter().map(PlaceEntry::read);
            let page: Vec<PlaceEntry> = page.collect::<Result<_, _>>()?;
            let last = page.last().map(|last| last.key.clone());
            Ok(last.map(|last| (page, last)))
        })
        .boxed()
    }

    /// What is known of these packs.
    pub(crate) async fn packs(
        &self,
        packs: &[PackId],
    ) -> Result<HashMap<PackId, PackEntry>, CatalogError> {
        if packs.is_empty() {
            return Ok(HashMap::new());
        }
        let mut question = Question::new("SELECT ");
        question
            .add(PackEntry::COLUMNS)
            .add(" FROM packs WHERE pack_id IN ");
        question.list(packs.iter().map(|pack| pack.digest().into()));
        let rows = self.rows(READING, question).await?;
        let entries = rows.iter().map(|row| {
            let entry = PackEntry::read(row)?;
            Ok((entry.pack_id, entry))
        });
        entries.collect()
    }

    /// Where these packs lie, by store and key.
    pub(crate) async fn places(&self, packs: &[PackId]) -> Result<Vec<PlaceEntry>, CatalogError> {
        if packs.is_empty() {
            return Ok(Vec::new());
        }
        let mut question = Question::new(PlaceEntry::SELECT);
        question.add("pack_id IN ");
        question.list(packs.iter().map(|pack| pack.digest().into()));
        question.add(" ORDER BY store, key");
        let rows = self.rows(READING, question).await?;
        rows.iter().map(PlaceEntry::read).collect()
    }

    /// All that is known of these packs.
    pub(crate) async fn wholes(
        &self,
        packs: &[PackId],
    ) -> Result<BTreeMap<PackId, Whole>, CatalogError> {
        if packs.is_empty() {
            return Ok(BTreeMap::new());
        }
        let among = || packs.iter().map(|pack| pack.digest().into());
        let mut wholes: BTreeMap<PackId, Whole> = self
            .packs(packs)
            .await?
            .into_iter()
            .map(|(pack_id, pack)| {
                let whole = Whole {
                    pack,
                    labels: Labels::new(),
                    artifacts: Vec::new(),
                };
                (pack_id, whole)
            })
            .collect();
        let mut labels =
            Question::new("SELECT pack_id, label, value FROM labels WHERE pack_id IN ");
        labels.list(among());
        for row in self.rows(READING, labels).await? {
            let mut columns = Columns::of(&row);
            let pack_id = PackId::new(columns.digest()?);
            let (label, value) = (columns.text()?, columns.text()?);
            if let Some(whole) = wholes.get_mut(&pack_id) {
                whole.labels.insert(label, value);
            }
        }
        let mut artifacts = Question::new("SELECT ");
        artifacts
            .add(ArtifactEntry::COLUMNS)
            .add(" FROM artifacts WHERE pack_id IN ");
        artifacts.list(among()).add(" ORDER BY pack_id, name");
        for row in self.rows(READING, artifacts).await? {
            let artifact = ArtifactEntry::read(&row)?;
            if let Some(whole) = wholes.get_mut(&artifact.pack_id) {
                whole.artifacts.push((artifact, Vec::new()));
            }
        }
        let mut inputs = Question::new(
            "SELECT pack_id, name, source_pack, source_name, source_commitment FROM inputs WHERE pack_id IN ",
        );
        inputs
            .list(among())
            .add(" ORDER BY pack_id, name, position");
        for row in self.rows(READING, inputs).await? {
            let mut columns = Columns::of(&row);
            let (pack_id, name) = (PackId::new(columns.digest()?), columns.text()?);
            let input = InputEntry {
                pack: PackId::new(columns.digest()?),
                name: columns.text()?,
                commitment: columns.digest()?,
            };
            let artifact = wholes.get_mut(&pack_id).and_then(|whole| {
                let by = |(artifact, _): &(ArtifactEntry, _)| artifact.name.as_str().cmp(&name);
                let at = whole.artifacts.binary_search_by(by).ok()?;
                whole.artifacts.get_mut(at)
            });
            if let Some((_, inputs)) = artifact {
                inputs.push(input);
            }
        }
        Ok(wholes)
    }
}
