//! Tracing: a question for each step, so that it is bounded and the same in both databases.

use std::collections::{BTreeMap, BTreeSet};

use runpack_core::digest::Digest;
use runpack_core::id::PackId;

use super::graph::Graph;
use super::{Direction, Lineage, LineageFinding, Origin, Reach, Starting};
use crate::entry::ArtifactEntry;
use crate::error::CatalogError;
use crate::sql::{Catalog, Columns, Question};

const TRACING: &str = "tracing a lineage";
/// How many artifacts are asked for at once.
pub(crate) const AT_ONCE: usize = 500;
/// How much of what manifests say is read at once.
const SAID_AT_ONCE: u64 = 5_000;

/// What a manifest says of one source of an artifact.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) product: (PackId, String),
    pub(super) source: (PackId, String),
    pub(super) commitment: Digest,
    /// Which of the product's sources it is.
    position: u64,
}

impl Said {
    const SELECT: &str = "SELECT pack_id, name, source_pack, source_name, source_commitment, position FROM inputs WHERE ";

    fn read(row: &sqlx::any::AnyRow) -> Result<Self, CatalogError> {
        let mut columns = Columns::of(row);
        Ok(Self {
            product: (PackId::new(columns.digest()?), columns.text()?),
            source: (PackId::new(columns.digest()?), columns.text()?),
            commitment: columns.digest()?,
            position: columns.number()?,
        })
    }

    pub(super) fn forged(&self, actual: Option<Digest>) -> LineageFinding {
        LineageFinding::Forged {
            pack_id: self.product.0,
            name: self.product.1.clone(),
            source_pack: self.source.0,
            source_name: self.source.1.clone(),
            claimed: self.commitment,
            actual,
        }
    }
}

impl Catalog {
    /// What `start` is: a pack id or a digest of bytes, which are written alike, or `PACK/NAME`. `None` where the catalog has
    /// no such thing.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn starting(&self, start: &str) -> Result<Option<Starting>, CatalogError> {
        let (id, name) = match start.split_once('/') {
            Some((id, name)) => (id, Some(name)),
            None => (start, None),
        };
        let Ok(pack_id) = id.parse::<PackId>() else {
            return Ok(None);
        };
        let starting = match name {
            Some(name) => Starting::Artifact(pack_id, name.to_owned()),
            None if self.packs(&[pack_id]).await?.is_empty() => {
                Starting::Content(*pack_id.digest())
            }
            None => Starting::Pack(pack_id),
        };
        let is_known = !self.begins(&starting, 1).await?.is_empty();
        Ok(is_known.then_some(starting))
    }

    /// The lineage of what `starting` says. What the catalog does not know has none.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn lineage(
        &self,
        starting: &Starting,
        direction: Direction,
        reach: Reach,
    ) -> Result<Lineage, CatalogError> {
        let mut graph = Graph::new(direction, reach);
        let most = u64::try_from(reach.nodes_max).unwrap_or(u64::MAX);
        for artifact in self.begins(starting, most.saturating_add(1)).await? {
            graph.add(artifact, 0);
        }
        let mut depth = 0usize;
        loop {
            let frontier = graph.take_frontier();
            if frontier.is_empty() {
                break;
            }
            if depth >= reach.depth_max {
                // What would come is looked at once more, and is told of if there is any.
                graph.close();
            }
            depth = depth.saturating_add(1);
            for some in frontier.chunks(AT_ONCE) {
                match direction {
                    Direction::Up => self.sources(&mut graph, some, depth).await?,
                    Direction::Down => self.products(&mut graph, some, depth).await?,
                }
            }
        }
        let packs: BTreeSet<PackId> = graph.known_packs().collect();
        let packs: Vec<PackId> = packs.into_iter().collect();
        let mut subjects = BTreeMap::new();
        for some in packs.chunks(AT_ONCE) {
            let known = self.packs(some).await?.into_iter();
            subjects.extend(known.map(|(pack_id, pack)| (pack_id, pack.subject)));
        }
        Ok(graph.finish(&subjects))
    }

    async fn begins(
        &self,
        starting: &Starting,
        most: u64,
    ) -> Result<Vec<ArtifactEntry>, CatalogError> {
        let mut question = Question::new("SELECT ");
        question
            .add(ArtifactEntry::COLUMNS)
            .add(" FROM artifacts WHERE ");
        match starting {
            Starting::Pack(pack_id) => question.add("pack_id = ").value(pack_id.digest()),
            Starting::Artifact(pack_id, name) => question
                .add("pack_id = ")
                .value(pack_id.digest())
                .add(" AND name = ")
                .value(name.as_str()),
            Starting::Content(commitment) => question.add("commitment = ").value(commitment),
        };
        question.add(" ORDER BY pack_id, name LIMIT ").value(most);
        let rows = self.rows(TRACING, question).await?;
        rows.iter().map(ArtifactEntry::read).collect()
    }

    /// What these artifacts were made from.
    async fn sources(
        &self,
        graph: &mut Graph,
        frontier: &[usize],
        depth: usize,
    ) -> Result<(), CatalogError> {
        let products = graph.keys(frontier);
        let mut after = None;
        loop {
            let mut question = Question::new(Said::SELECT);
            pairs(question.add("(pack_id, name) IN "), &products);
            let said = self.said(question, after.as_ref()).await?;
            let Some(last) = said.last() else { break };
            after = Some(last.clone());
            // Packs first: an artifact comes with its pack, and not after it.
            let packs = self.packs_of(said.iter().map(|said| said.source.0)).await?;
            let exact = self.named(&said).await?;
            let unsure = said.iter().filter(|said| !is_exact(&exact, said));
            let same = self.with_bytes(unsure.map(|said| said.commitment).collect(), graph.room());
            let same = same.await?;
            for said in &said {
                let Some(product) = graph.place(&said.product) else {
                    continue;
                };
                let found = exact.get(&said.source);
                if let Some(found) = found.filter(|_| is_exact(&exact, said)) {
                    graph.join(found.clone(), product, Origin::Named, depth);
                    continue;
                }
                graph.find(if packs.contains(&said.source.0) {
                    said.forged(found.map(|found| found.commitment))
                } else {
                    LineageFinding::Unknown {
                        pack_id: said.product.0,
                        name: said.product.1.clone(),
                        source_pack: said.source.0,
                        source_name: said.source.1.clone(),
                    }
                });
                graph.join_claimed(said, product, depth);
                for same in same.get(&said.commitment).into_iter().flatten() {
                    graph.join(same.clone(), product, Origin::SameBytes, depth);
                }
            }
            if graph.is_full() {
                break;
            }
        }
        Ok(())
    }

    /// What was made from these artifacts: what names them, and what names others that are not as they are named, with the
    /// same bytes. So an artifact is joined to the same ones from either side.
    async fn products(
        &self,
        graph: &mut Graph,
        frontier: &[usize],
        depth: usize,
    ) -> Result<(), CatalogError> {
        let sources = graph.sources(frontier);
        let by_bytes = || {
            let mut question = Question::new(Said::SELECT);
            question.add("source_commitment IN ");
            question.list(sources.commitments().map(Into::into));
            question
        };
        // And those that name these artifacts with other bytes.
        let named = graph.keys(frontier);
        let by_name = || {
            let mut question = Question::new(Said::SELECT);
            pairs(question.add("(source_pack, source_name) IN "), &named);
            question
        };
        // By name first: what is named as it is, is joined whatever else has the same bytes.
        let mut questions: Vec<&(dyn Fn() -> Question + Sync)> = vec![&by_name];
        if sources.commitments().next().is_some() {
            questions.push(&by_bytes);
        }
        for question in questions {
            let (mut after, mut read) = (None, 0u64);
            loop {
                let said = self.said(question(), after.as_ref()).await?;
                let Some(last) = said.last() else { break };
                after = Some(last.clone());
                let rows = u64::try_from(said.len()).unwrap_or(u64::MAX);
                read = read.saturating_add(rows);
                let exact = self.named(&said).await?;
                let products: Vec<_> = said.iter().map(|said| said.product.clone()).collect();
                let products = self.artifacts(&products).await?;
                for said in &said {
                    if let Some(product) = products.get(&said.product) {
                        graph.join_down(said, is_exact(&exact, said), &sources, product, depth);
                    }
                }
                if graph.is_full() || rows < SAID_AT_ONCE {
                    break;
                }
                if read > graph.room() {
                    // Others with the same bytes may be named without end, and nothing here be joined to them.
                    graph.find(LineageFinding::Bounded);
                    break;
                }
            }
        }
        Ok(())
    }

    /// The next of what manifests say, as far as a question asks for it.
    async fn said(
        &self,
        mut question: Question,
        after: Option<&Said>,
    ) -> Result<Vec<Said>, CatalogError> {
        if let Some(last) = after {
            question.add(" AND (pack_id, name, position) > (");
            question.value(last.product.0.digest()).add(", ");
            question.value(last.product.1.as_str()).add(", ");
            question.value(last.position).add(")");
        }
        question.add(" ORDER BY pack_id, name, position LIMIT ");
        question.value(SAID_AT_ONCE);
        let rows = self.rows(TRACING, question).await?;
        rows.iter().map(Said::read).collect()
    }

    /// The artifacts that are named, whatever bytes they have.
    async fn named(&self, said: &[Said]) -> Result<Artifacts, CatalogError> {
        let named: Vec<_> = said.iter().map(|said| said.source.clone()).collect();
        self.artifacts(&named).await
    }

    /// Those of these packs that the catalog knows.
    async fn packs_of(
        &self,
        packs: impl Iterator<Item = PackId>,
    ) -> Result<BTreeSet<PackId>, CatalogError> {
        let packs: BTreeSet<PackId> = packs.collect();
        let packs: Vec<PackId> = packs.into_iter().collect();
        let mut known = BTreeSet::new();
        for some in packs.chunks(AT_ONCE) {
            known.extend(self.packs(some).await?.into_keys());
        }
        Ok(known)
    }

    /// The artifacts with these names.
    pub(crate) async fn artifacts(
        &self,
        named: &[(PackId, String)],
    ) -> Result<Artifacts, CatalogError> {
        let mut found = BTreeMap::new();
        let unique: BTreeSet<_> = named.iter().cloned().collect();
        let unique: Vec<_> = unique.into_iter().collect();
        for some in unique.chunks(AT_ONCE) {
            let mut question = Question::new("SELECT ");
            question.add(ArtifactEntry::COLUMNS);
            pairs(
                question.add(" FROM artifacts WHERE (pack_id, name) IN "),
                some,
            );
            for row in self.rows(TRACING, question).await? {
                let artifact = ArtifactEntry::read(&row)?;
                found.insert((artifact.pack_id, artifact.name.clone()), artifact);
            }
        }
        Ok(found)
    }

    /// Artifacts with these bytes. Nothing is told by the bytes of an empty one.
    async fn with_bytes(
        &self,
        commitments: BTreeSet<Digest>,
        most: u64,
    ) -> Result<BTreeMap<Digest, Vec<ArtifactEntry>>, CatalogError> {
        let mut found: BTreeMap<Digest, Vec<ArtifactEntry>> = BTreeMap::new();
        let commitments: Vec<Digest> = commitments.into_iter().collect();
        for some in commitments.chunks(AT_ONCE) {
            let mut question = Question::new("SELECT ");
            question.add(ArtifactEntry::COLUMNS);
            question.add(" FROM artifacts WHERE bytes > 0 AND commitment IN ");
            question.list(some.iter().map(Into::into));
            question.add(" ORDER BY pack_id, name LIMIT ").value(most);
            for row in self.rows(TRACING, question).await? {
                let artifact = ArtifactEntry::read(&row)?;
                found.entry(artifact.commitment).or_default().push(artifact);
            }
        }
        Ok(found)
    }
}

/// Artifacts by pack and name.
pub(crate) type Artifacts = BTreeMap<(PackId, String), ArtifactEntry>;

/// Whether an artifact is as it is named.
fn is_exact(artifacts: &Artifacts, said: &Said) -> bool {
    let found = artifacts.get(&said.source);
    found.is_some_and(|found| found.commitment == said.commitment)
}

/// `(VALUES (pack, name), ...)`; there is at least one.
fn pairs<'a>(question: &'a mut Question, pairs: &[(PackId, String)]) -> &'a mut Question {
    question.add("(VALUES ");
    for (at, (pack_id, name)) in pairs.iter().enumerate() {
        if at > 0 {
            question.add(", ");
        }
        question.list([pack_id.digest().into(), name.as_str().into()]);
    }
    question.add(")")
}
