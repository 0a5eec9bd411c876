//! Lineage: what an artifact came from, and what came from it, across packs.
//!
//! A manifest names what an artifact was made from by pack, name and commitment. Where the catalog knows such an artifact with
//! those very bytes, the two are joined; where it knows others with the same bytes, those are joined too, and marked as such.
//! What is named and is not so is a finding and nothing is built on it. Nothing here is verified: a manifest says what it
//! says, and whoever signed it answers for it.

mod cycle;
mod graph;
mod render;

use std::collections::{BTreeMap, BTreeSet};

use runpack_core::digest::Digest;
use runpack_core::id::PackId;
use runpack_core::manifest::Subject;
use serde::Serialize;

use self::graph::Graph;
use crate::entry::ArtifactEntry;
use crate::error::CatalogError;
use crate::sql::{Catalog, Columns, Question};

const TRACING: &str = "tracing a lineage";
/// How many artifacts are asked for at once.
const AT_ONCE: usize = 500;

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// What it came from.
    Up,
    /// What came from it.
    Down,
}

/// Where a lineage begins.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Starting {
    /// All artifacts of a pack.
    Pack(PackId),
    /// One artifact.
    Artifact(PackId, String),
    /// Every artifact with these bytes.
    Content(Digest),
}

/// How far a lineage goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reach {
    /// How many steps from where it begins. Stops a chain that somebody made endless.
    pub depth_max: usize,
    /// How many artifacts. Stops a fan that somebody made wide.
    pub nodes_max: usize,
}

impl Default for Reach {
    fn default() -> Self {
        Self {
            depth_max: 64,
            nodes_max: 5_000,
        }
    }
}

/// An artifact of a lineage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Node {
    /// Its pack.
    pub pack_id: PackId,
    /// Its name there.
    pub name: String,
    /// What stands for its bytes.
    pub commitment: Digest,
    /// What the catalog knows of it; nothing of one that is only named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known: Option<Known>,
    /// How many steps from where the lineage begins.
    pub depth: usize,
}

/// What the catalog knows of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Known {
    /// What its manifest says of it.
    pub artifact: ArtifactEntry,
    /// Whose its pack is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
}

/// That one artifact was made from another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct Edge {
    /// The place of the source among the nodes.
    pub source: usize,
    /// The place of what was made from it.
    pub product: usize,
    /// By what they are joined.
    pub origin: Origin,
}

/// By what two artifacts are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Origin {
    /// The product's manifest names this artifact, and it has those bytes.
    Named,
    /// The product's manifest names another artifact with the same bytes.
    SameBytes,
    /// The product's manifest names it, and the catalog knows no such artifact.
    Claimed,
}

/// What is wrong with a lineage.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
#[non_exhaustive]
pub enum LineageFinding {
    /// A manifest names an artifact that the pack it names does not have, or not with these bytes.
    Forged {
        /// The pack whose manifest says so.
        pack_id: PackId,
        /// Its artifact.
        name: String,
        /// The pack that is named.
        source_pack: PackId,
        /// The artifact that is named.
        source_name: String,
        /// The bytes that are named.
        claimed: Digest,
        /// The bytes that it has, if it is there.
        #[serde(skip_serializing_if = "Option::is_none")]
        actual: Option<Digest>,
    },
    /// A manifest names a pack that the catalog does not know.
    Unknown {
        /// The pack whose manifest says so.
        pack_id: PackId,
        /// Its artifact.
        name: String,
        /// The pack that is named.
        source_pack: PackId,
        /// The artifact that is named.
        source_name: String,
    },
    /// Artifacts that come from each other.
    Cycle {
        /// Their places among the nodes.
        nodes: Vec<usize>,
    },
    /// There is more than was asked for.
    Bounded,
}

/// What an artifact came from, or what came from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Lineage {
    /// Which way.
    pub direction: Direction,
    /// The artifacts: first where it begins.
    pub nodes: Vec<Node>,
    /// What was made from what.
    pub edges: Vec<Edge>,
    /// What is wrong with it.
    pub findings: Vec<LineageFinding>,
}

/// What a manifest says of one source of an artifact.
#[derive(Debug, Clone)]
struct Said {
    product: (PackId, String),
    source: (PackId, String),
    commitment: Digest,
}

impl Said {
    const SELECT: &str =
        "SELECT pack_id, name, source_pack, source_name, source_commitment FROM inputs WHERE ";

    fn read(row: &sqlx::any::AnyRow) -> Result<Self, CatalogError> {
        let mut columns = Columns::of(row);
        Ok(Self {
            product: (PackId::new(columns.digest()?), columns.text()?),
            source: (PackId::new(columns.digest()?), columns.text()?),
            commitment: columns.digest()?,
        })
    }

    fn forged(&self, actual: Option<Digest>) -> LineageFinding {
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
            if depth == reach.depth_max {
                graph.find(LineageFinding::Bounded);
                break;
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
        let products: Vec<(PackId, String)> = graph.keys(frontier);
        let said = self.said_of(&products).await?;
        let named: Vec<(PackId, String)> = said.iter().map(|said| said.source.clone()).collect();
        let named = self.artifacts(&named).await?;
        let is_exact = |said: &&Said| {
            let found = named.get(&said.source);
            found.is_some_and(|found| found.commitment == said.commitment)
        };
        // What is not as it is named is looked for by its bytes.
        let lost = said.iter().filter(|said| !is_exact(said));
        let lost: BTreeSet<Digest> = lost.map(|said| said.commitment).collect();
        let same = self.with_bytes(&lost, graph.room()).await?;
        let packs: BTreeSet<PackId> = said.iter().map(|said| said.source.0).collect();
        let packs: Vec<PackId> = packs.into_iter().collect();
        let packs = self.packs(&packs).await?;
        for said in &said {
            let Some(product) = graph.place(&said.product) else {
                continue;
            };
            let found = named.get(&said.source);
            if let Some(found) = found.filter(|found| found.commitment == said.commitment) {
                graph.join(found.clone(), product, Origin::Named, depth);
                continue;
            }
            graph.find(if packs.contains_key(&said.source.0) {
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
            for same in same
                .iter()
                .filter(|same| same.commitment == said.commitment)
            {
                graph.join(same.clone(), product, Origin::SameBytes, depth);
            }
        }
        Ok(())
    }

    /// What was made from these artifacts.
    async fn products(
        &self,
        graph: &mut Graph,
        frontier: &[usize],
        depth: usize,
    ) -> Result<(), CatalogError> {
        let named = graph.keys(frontier);
        let commitments: BTreeSet<Digest> = graph.commitments(frontier).collect();
        // Those that name these bytes, and those that name these artifacts with other bytes.
        let mut question = Question::new(Said::SELECT);
        question.add("source_commitment IN ");
        question.list(commitments.iter().map(Into::into));
        question.add(" ORDER BY pack_id, name, position LIMIT ");
        question.value(graph.room());
        let rows = self.rows(TRACING, question).await?;
        let mut said: Vec<Said> = rows.iter().map(Said::read).collect::<Result<_, _>>()?;
        let mut question = Question::new(Said::SELECT);
        question.add("(source_pack, source_name) IN ");
        pairs(&mut question, &named).add(" ORDER BY pack_id, name, position LIMIT ");
        question.value(graph.room());
        let rows = self.rows(TRACING, question).await?;
        for row in &rows {
            let one = Said::read(row)?;
            if !commitments.contains(&one.commitment) {
                said.push(one);
            }
        }
        let products: Vec<(PackId, String)> =
            said.iter().map(|said| said.product.clone()).collect();
        let products = self.artifacts(&products).await?;
        for said in &said {
            let Some(product) = products.get(&said.product) else {
                continue;
            };
            for source in frontier {
                graph.join_down(said, *source, product, depth);
            }
        }
        Ok(())
    }

    /// What the manifests of these artifacts say.
    async fn said_of(&self, products: &[(PackId, String)]) -> Result<Vec<Said>, CatalogError> {
        if products.is_empty() {
            return Ok(Vec::new());
        }
        let mut question = Question::new(Said::SELECT);
        question.add("(pack_id, name) IN ");
        pairs(&mut question, products).add(" ORDER BY pack_id, name, position");
        let rows = self.rows(TRACING, question).await?;
        rows.iter().map(Said::read).collect()
    }

    /// The artifacts with these names.
    async fn artifacts(
        &self,
        named: &[(PackId, String)],
    ) -> Result<BTreeMap<(PackId, String), ArtifactEntry>, CatalogError> {
        let mut found = BTreeMap::new();
        let unique: BTreeSet<_> = named.iter().cloned().collect();
        let unique: Vec<_> = unique.into_iter().collect();
        for some in unique.chunks(AT_ONCE) {
            let mut question = Question::new("SELECT ");
            question
                .add(ArtifactEntry::COLUMNS)
                .add(" FROM artifacts WHERE (pack_id, name) IN ");
            pairs(&mut question, some);
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
        commitments: &BTreeSet<Digest>,
        most: u64,
    ) -> Result<Vec<ArtifactEntry>, CatalogError> {
        if commitments.is_empty() {
            return Ok(Vec::new());
        }
        let mut question = Question::new("SELECT ");
        question.add(ArtifactEntry::COLUMNS);
        question.add(" FROM artifacts WHERE bytes > 0 AND commitment IN ");
        question.list(commitments.iter().map(Into::into));
        question.add(" ORDER BY pack_id, name LIMIT ").value(most);
        let rows = self.rows(TRACING, question).await?;
        rows.iter().map(ArtifactEntry::read).collect()
    }
}

/// `(VALUES (pack, name), ...)`
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
