//! The graph while it grows: each artifact once, each join once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use runpack_core::digest::Digest;
use runpack_core::id::PackId;
use runpack_core::manifest::Subject;

use super::trace::Said;
use super::{Direction, Edge, Known, Lineage, LineageFinding, Node, Origin, Reach, cycle};
use crate::entry::ArtifactEntry;

/// How many joins there may be, and answers that are taken at once, for each artifact that there is room for.
const EDGES_PER_NODE: usize = 8;
/// The most findings that are told.
pub(crate) const FINDINGS_MAX: usize = 1_000;

pub(super) struct Graph {
    direction: Direction,
    reach: Reach,
    nodes: Vec<Node>,
    /// By pack, name and bytes: what is named with other bytes is another.
    places: HashMap<(PackId, String, Digest), usize>,
    /// Of those that are known.
    known: HashMap<(PackId, String), usize>,
    edges: BTreeSet<Edge>,
    findings: BTreeSet<LineageFinding>,
    has_wrong: bool,
    frontier: Vec<usize>,
    edges_max: usize,
    /// There is more, and no room for it.
    is_full: bool,
}

/// Artifacts by what they may be named as.
#[derive(Default)]
pub(super) struct Sources {
    named: HashMap<(PackId, String), usize>,
    with_bytes: BTreeMap<Digest, Vec<usize>>,
}

impl Sources {
    /// Of those that are not empty.
    pub(super) fn commitments(&self) -> impl Iterator<Item = &Digest> {
        self.with_bytes.keys()
    }
}

impl Graph {
    pub(super) fn new(direction: Direction, reach: Reach) -> Self {
        Self {
            direction,
            reach,
            nodes: Vec::new(),
            places: HashMap::new(),
            known: HashMap::new(),
            edges: BTreeSet::new(),
            findings: BTreeSet::new(),
            has_wrong: false,
            frontier: Vec::new(),
            edges_max: reach.nodes_max.saturating_mul(EDGES_PER_NODE),
            is_full: false,
        }
    }

    /// From now on nothing is added: that there would be more is told.
    pub(super) fn close(&mut self) {
        self.reach.nodes_max = self.nodes.len();
    }

    /// Whether there is more, and no room for it.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
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
        let key = (node.pack_id, node.name.clone());
        let (place, is_new) = self.put(node)?;
        if is_new {
            self.known.insert(key, place);
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
            self.is_full = true;
            self.find(LineageFinding::Bounded);
            return None;
        }
        let place = self.nodes.len();
        self.places.insert(key, place);
        self.nodes.push(node);
        Some((place, true))
    }

    pub(super) fn find(&mut self, finding: LineageFinding) {
        self.has_wrong |= finding.is_wrong();
        if self.findings.len() < FINDINGS_MAX || self.findings.contains(&finding) {
            self.findings.insert(finding);
            return;
        }
        // What is wrong takes the place of what is only not known, so that nobody hides it behind that.
        if finding.is_wrong() {
            let is_unknown = |one: &&LineageFinding| matches!(one, LineageFinding::Unknown { .. });
            let unknown = self.findings.iter().rev().find(is_unknown).cloned();
            if let Some(unknown) = unknown {
                self.findings.remove(&unknown);
                self.findings.insert(finding);
            }
        }
        self.findings.insert(LineageFinding::Bounded);
    }

    /// The artifacts that were added since this was last asked.
    pub(super) fn take_frontier(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.frontier)
    }

    /// How many answers are worth reading.
    pub(super) fn room(&self) -> u64 {
        u64::try_from(self.edges_max).unwrap_or(u64::MAX)
    }

    pub(super) fn keys(&self, places: &[usize]) -> Vec<(PackId, String)> {
        let nodes = places.iter().filter_map(|place| self.nodes.get(*place));
        nodes
            .map(|node| (node.pack_id, node.name.clone()))
            .collect()
    }

    pub(super) fn known_packs(&self) -> impl Iterator<Item = PackId> {
        let known = self.nodes.iter().filter(|node| node.known.is_some());
        known.map(|node| node.pack_id)
    }

    /// The place of an artifact that is known.
    pub(super) fn place(&self, key: &(PackId, String)) -> Option<usize> {
        self.known.get(key).copied()
    }

    /// These artifacts, by what they may be named as.
    pub(super) fn sources(&self, places: &[usize]) -> Sources {
        let mut sources = Sources::default();
        for place in places {
            let Some(Known { artifact, .. }) =
                self.nodes.get(*place).and_then(|node| node.known.as_ref())
            else {
                continue;
            };
            let key = (artifact.pack_id, artifact.name.clone());
            sources.named.insert(key, *place);
            // Nothing is told by the bytes of an empty one.
            if artifact.bytes > 0 {
                let same = sources.with_bytes.entry(artifact.commitment);
                same.or_default().push(*place);
            }
        }
        sources
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
            self.connect(source, product, origin);
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
            self.connect(source, product, Origin::Claimed);
        }
    }

    /// Joins a product to those of `sources` that it says it was made from. Where what it names is as it is named
    /// (`is_exact`), only to that.
    pub(super) fn join_down(
        &mut self,
        said: &Said,
        is_exact: bool,
        sources: &Sources,
        product: &ArtifactEntry,
        depth: usize,
    ) {
        let named = sources.named.get(&said.source).copied();
        if let Some(node) = named.and_then(|place| self.nodes.get(place))
            && node.commitment != said.commitment
        {
            let finding = said.forged(Some(node.commitment));
            self.find(finding);
        }
        if is_exact {
            if let Some(source) = named
                && let Some(product) = self.add(product.clone(), depth)
            {
                self.connect(source, product, Origin::Named);
            }
            return;
        }
        let same = sources.with_bytes.get(&said.commitment);
        for source in same.into_iter().flatten() {
            let Some(node) = self.nodes.get(*source) else {
                continue;
            };
            // A copy has the bytes of its source, and so have all other copies: that says nothing.
            if node.commitment == product.commitment {
                continue;
            }
            if let Some(product) = self.add(product.clone(), depth) {
                self.connect(*source, product, Origin::SameBytes);
            }
        }
    }

    fn connect(&mut self, source: usize, product: usize, origin: Origin) {
        if self.edges.len() >= self.edges_max {
            self.is_full = true;
            self.find(LineageFinding::Bounded);
            return;
        }
        self.edges.insert(Edge {
            source,
            product,
            origin,
        });
    }

    pub(super) fn finish(self, subjects: &BTreeMap<PackId, Subject>) -> Lineage {
        let Self {
            direction,
            mut nodes,
            edges,
            mut findings,
            mut has_wrong,
            ..
        } = self;
        for node in &mut nodes {
            if let Some(known) = &mut node.known {
                known.subject = subjects.get(&node.pack_id).cloned();
            }
        }
        let edges: Vec<Edge> = edges.into_iter().collect();
        let cycles = cycle::cycles(nodes.len(), &edges);
        has_wrong |= !cycles.is_empty();
        findings.extend(cycles);
        Lineage {
            direction,
            nodes,
            edges,
            findings: findings.into_iter().collect(),
            has_wrong,
        }
    }
}
