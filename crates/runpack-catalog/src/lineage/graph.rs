//! The graph while it grows: each artifact once, each join once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use runpack_core::digest::Digest;
use runpack_core::id::PackId;
use runpack_core::manifest::Subject;

use super::{Direction, Edge, Known, Lineage, LineageFinding, Node, Origin, Reach, Said, cycle};
use crate::entry::ArtifactEntry;

/// How many answers are taken at once for each artifact that there is room for.
const ANSWERS_PER_NODE: usize = 4;

pub(super) struct Graph {
    direction: Direction,
    reach: Reach,
    nodes: Vec<Node>,
    /// By pack, name and bytes: what is named with other bytes is another.
    places: HashMap<(PackId, String, Digest), usize>,
    edges: BTreeSet<Edge>,
    findings: BTreeSet<LineageFinding>,
    frontier: Vec<usize>,
}

impl Graph {
    pub(super) fn new(direction: Direction, reach: Reach) -> Self {
        Self {
            direction,
            reach,
            nodes: Vec::new(),
            places: HashMap::new(),
            edges: BTreeSet::new(),
            findings: BTreeSet::new(),
            frontier: Vec::new(),
        }
    }

    /// Adds an artifact that is known, unless it is there; `None` where there is no room.
    pub(super) fn add(&mut self, artifact: ArtifactEntry, depth: usize) -> Option<usize> {
        let node = Node {
            pack_id: artifact.pack_id,
            name: artifact.name.clone(),
            commitment: artifact.commitment,
            known: Some(Known {
                artifact,
                subject: None,
            }),
            depth,
        };
        let (place, is_new) = self.put(node)?;
        if is_new {
            self.frontier.push(place);
        }
        Some(place)
    }

    fn put(&mut self, node: Node) -> Option<(usize, bool)> {
        let key = (node.pack_id, node.name.clone(), node.commitment);
        if let Some(place) = self.places.get(&key) {
            return Some((*place, false));
        }
        if self.nodes.len() >= self.reach.nodes_max {
            self.find(LineageFinding::Bounded);
            return None;
        }
        let place = self.nodes.len();
        self.places.insert(key, place);
        self.nodes.push(node);
        Some((place, true))
    }

    pub(super) fn find(&mut self, finding: LineageFinding) {
        self.findings.insert(finding);
    }

    /// The artifacts that were added since this was last asked.
    pub(super) fn take_frontier(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.frontier)
    }

    /// How many answers are worth reading.
    pub(super) fn room(&self) -> u64 {
        let most = self.reach.nodes_max.saturating_mul(ANSWERS_PER_NODE);
        u64::try_from(most).unwrap_or(u64::MAX)
    }

    pub(super) fn keys(&self, places: &[usize]) -> Vec<(PackId, String)> {
        let nodes = places.iter().filter_map(|place| self.nodes.get(*place));
        nodes
            .map(|node| (node.pack_id, node.name.clone()))
            .collect()
    }

    pub(super) fn commitments(&self, places: &[usize]) -> impl Iterator<Item = Digest> {
        let nodes = places.iter().filter_map(|place| self.nodes.get(*place));
        nodes.map(|node| node.commitment)
    }

    pub(super) fn known_packs(&self) -> impl Iterator<Item = PackId> {
        let known = self.nodes.iter().filter(|node| node.known.is_some());
        known.map(|node| node.pack_id)
    }

    /// The place of an artifact that is known.
    pub(super) fn place(&self, key: &(PackId, String)) -> Option<usize> {
        self.nodes
            .iter()
            .position(|node| node.known.is_some() && node.pack_id == key.0 && node.name == key.1)
    }

    /// Joins a source that is known to its product.
    pub(super) fn join(
        &mut self,
        source: ArtifactEntry,
        product: usize,
        origin: Origin,
        depth: usize,
    ) {
        let is_copy = self
            .nodes
            .get(product)
            .is_some_and(|product| product.commitment == source.commitment);
        // A copy has the bytes of its source, and so have all other copies: that says nothing.
        if origin == Origin::SameBytes && is_copy {
            return;
        }
        if let Some(source) = self.add(source, depth) {
            self.edges.insert(Edge {
                source,
                product,
                origin,
            });
        }
    }

    /// Joins a source that is only named.
    pub(super) fn join_claimed(&mut self, said: &Said, product: usize, depth: usize) {
        let node = Node {
            pack_id: said.source.0,
            name: said.source.1.clone(),
            commitment: said.commitment,
            known: None,
            depth,
        };
        if let Some((source, _)) = self.put(node) {
            self.edges.insert(Edge {
                source,
                product,
                origin: Origin::Claimed,
            });
        }
    }

    /// Joins a product to one of the artifacts it may have been made from, if it says so.
    pub(super) fn join_down(
        &mut self,
        said: &Said,
        source: usize,
        product: &ArtifactEntry,
        depth: usize,
    ) {
        let Some(node) = self.nodes.get(source) else {
            return;
        };
        let is_named = node.pack_id == said.source.0 && node.name == said.source.1;
        let is_same = node.commitment == said.commitment;
        let is_empty = node
            .known
            .as_ref()
            .is_some_and(|known| known.artifact.bytes == 0);
        let is_copy = node.commitment == product.commitment;
        let origin = match (is_named, is_same) {
            (true, true) => Origin::Named,
            (true, false) => {
                let finding = said.forged(Some(node.commitment));
                self.find(finding);
                return;
            }
            (false, true) if !is_empty && !is_copy => Origin::SameBytes,
            _ => return,
        };
        if let Some(product) = self.add(product.clone(), depth) {
            self.edges.insert(Edge {
                source,
                product,
                origin,
            });
        }
    }

    pub(super) fn finish(self, subjects: &BTreeMap<PackId, Subject>) -> Lineage {
        let Self {
            direction,
            mut nodes,
            edges,
            mut findings,
            ..
        } = self;
        for node in &mut nodes {
            if let Some(known) = &mut node.known {
                known.subject = subjects.get(&node.pack_id).cloned();
            }
        }
        let edges: Vec<Edge> = edges.into_iter().collect();
        findings.extend(cycle::cycles(nodes.len(), &edges));
        Lineage {
            direction,
            nodes,
            edges,
            findings: findings.into_iter().collect(),
        }
    }
}
