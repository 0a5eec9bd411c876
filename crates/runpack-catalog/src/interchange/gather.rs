//! Gathering packs for an export, and holding what they say they were made from against what the catalog has.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use runpack_core::id::PackId;

use super::{Account, Interchange, Source};
use crate::entry::{ArtifactEntry, InputEntry, PackEntry, Whole};
use crate::error::CatalogError;
use crate::lineage::{
    AT_ONCE, Artifacts, Direction, FINDINGS_MAX, Known, Lineage, LineageFinding, Node, Origin,
    Reach, Starting,
};
use crate::sql::Catalog;

impl Catalog {
    /// What is known of a pack and, the ways that are asked for, of the packs that it came from and that came from it.
    /// `None` where the catalog does not know it. Beside the pack itself, packs are taken along as long as they have no more
    /// artifacts together than `reach` has room for.
    ///
    /// # Errors
    /// As the database fails.
    pub async fn interchange(
        &self,
        pack: PackId,
        ways: &[Direction],
        reach: Reach,
    ) -> Result<Option<Interchange>, CatalogError> {
        let Traced {
            packs,
            circular,
            mut findings,
            mut is_sound,
        } = self.traced(pack, ways, reach).await?;
        let mut entries = self.entries(&packs).await?;
        if !entries.contains_key(&pack) {
            return Ok(None);
        }
        let mut found = Vec::new();
        if bound(&mut entries, pack, reach.nodes_max) {
            found.push(LineageFinding::Bounded);
        }
        let packs: Vec<PackId> = entries.into_keys().collect();
        let mut wholes = BTreeMap::new();
        for some in packs.chunks(AT_ONCE) {
            wholes.extend(self.wholes(some).await?);
        }
        let sources = self.sources_of(wholes.values()).await?;
        let mut accounts = Vec::new();
        for whole in wholes.into_values() {
            found.extend(sources.findings(&whole));
            accounts.push(Account::of(whole, |product, input| {
                let link = Link::of(product, input);
                let source = sources.source(input);
                source.filter(|_| !circular.contains(&link))
            }));
        }
        accounts.sort_by_key(|account| (account.pack.created_at, account.pack.pack_id));
        is_sound &= !found.iter().any(LineageFinding::is_wrong);
        // What is wrong comes first, and stays.
        found.sort_unstable();
        if found.len() > FINDINGS_MAX {
            found.truncate(FINDINGS_MAX);
            found.push(LineageFinding::Bounded);
        }
        findings.extend(told(&found, &[]));
        Ok(Some(Interchange {
            packs: accounts,
            is_sound,
            findings: findings.into_iter().map(|(_, line)| line).collect(),
        }))
    }

    /// The packs around a pack, and what is wrong with its lineage.
    async fn traced(
        &self,
        pack: PackId,
        ways: &[Direction],
        reach: Reach,
    ) -> Result<Traced, CatalogError> {
        let mut traced = Traced {
            packs: BTreeSet::from([pack]),
            circular: HashSet::new(),
            findings: BTreeSet::new(),
            is_sound: true,
        };
        for way in [Direction::Up, Direction::Down] {
            // What it came from is always looked at: that is where a source goes in a circle.
            if way == Direction::Down && !ways.contains(&way) {
                continue;
            }
            let mut trace = self.lineage(&Starting::Pack(pack), way, reach).await?;
            traced.circular.extend(circular_links(&trace));
            if ways.contains(&way) {
                traced.packs.extend(named_packs(&trace));
                traced.is_sound &= !trace.has_wrong;
            } else {
                let is_circle = |finding: &_| matches!(finding, LineageFinding::Cycle { .. });
                trace.findings.retain(is_circle);
                traced.is_sound &= trace.findings.is_empty();
            }
            traced.findings.extend(told(&trace.findings, &trace.nodes));
        }
        Ok(traced)
    }

    async fn entries(
        &self,
        packs: &BTreeSet<PackId>,
    ) -> Result<BTreeMap<PackId, PackEntry>, CatalogError> {
        let packs: Vec<PackId> = packs.iter().copied().collect();
        let mut entries = BTreeMap::new();
        for some in packs.chunks(AT_ONCE) {
            entries.extend(self.packs(some).await?);
        }
        Ok(entries)
    }

    /// What the catalog has of all that these packs name as sources.
    async fn sources_of(
        &self,
        wholes: impl Iterator<Item = &Whole> + Send,
    ) -> Result<Sources, CatalogError> {
        let inputs = wholes.flat_map(|whole| whole.artifacts.iter().flat_map(|(_, inputs)| inputs));
        let named: BTreeSet<(PackId, String)> = inputs
            .map(|input| (input.pack, input.name.clone()))
            .collect();
        let packs = named.iter().map(|(pack, _)| *pack).collect();
        let named: Vec<_> = named.into_iter().collect();
        Ok(Sources {
            packs: self.entries(&packs).await?,
            artifacts: self.artifacts(&named).await?,
        })
    }
}

/// What lies around a pack.
struct Traced {
    packs: BTreeSet<PackId>,
    circular: HashSet<Link>,
    /// Whether each is nothing but something that is not known, and what it is.
    findings: BTreeSet<(bool, String)>,
    is_sound: bool,
}

/// Leaves out packs for whose artifacts there is no room beside the one that was asked for, and says whether there were any.
fn bound(entries: &mut BTreeMap<PackId, PackEntry>, asked: PackId, nodes_max: usize) -> bool {
    let all = entries.len();
    let mut room = u64::try_from(nodes_max).unwrap_or(u64::MAX);
    entries.retain(|pack_id, entry| {
        let left = room.checked_sub(entry.artifacts);
        let is_asked = *pack_id == asked;
        if !is_asked {
            room = left.unwrap_or(room);
        }
        is_asked || left.is_some()
    });
    entries.len() < all
}

/// What the catalog has of what was named.
struct Sources {
    packs: BTreeMap<PackId, PackEntry>,
    artifacts: Artifacts,
}

impl Sources {
    /// What is known of a source; nothing of one that is forged.
    fn source(&self, input: &InputEntry) -> Option<Source> {
        let input = input.clone();
        let Some(pack) = self.packs.get(&input.pack) else {
            return Some(Source { input, known: None });
        };
        let artifact = self.artifacts.get(&(input.pack, input.name.clone()))?;
        (artifact.commitment == input.commitment).then(|| Source {
            known: Some(Known {
                artifact: artifact.clone(),
                subject: Some(pack.subject.clone()),
            }),
            input,
        })
    }

    fn findings(&self, whole: &Whole) -> Vec<LineageFinding> {
        let mut findings = Vec::new();
        for (artifact, inputs) in &whole.artifacts {
            for input in inputs {
                match self.source(input) {
                    Some(Source { known: Some(_), .. }) => {}
                    Some(_) => findings.push(LineageFinding::Unknown {
                        pack_id: artifact.pack_id,
                        name: artifact.name.clone(),
                        source_pack: input.pack,
                        source_name: input.name.clone(),
                    }),
                    None => findings.push(LineageFinding::Forged {
                        pack_id: artifact.pack_id,
                        name: artifact.name.clone(),
                        source_pack: input.pack,
                        source_name: input.name.clone(),
                        claimed: input.commitment,
                        actual: self
                            .artifacts
                            .get(&(input.pack, input.name.clone()))
                            .map(|found| found.commitment),
                    }),
                }
            }
        }
        findings
    }
}

/// That a product names a source.
#[derive(PartialEq, Eq, Hash)]
struct Link {
    product: (PackId, String),
    source: (PackId, String),
}

impl Link {
    fn of(product: &ArtifactEntry, input: &InputEntry) -> Self {
        Self {
            product: (product.pack_id, product.name.clone()),
            source: (input.pack, input.name.clone()),
        }
    }
}

/// Links between artifacts that come from each other. Which of them is not true nobody knows, so none is told.
fn circular_links(lineage: &Lineage) -> HashSet<Link> {
    let mut circles = HashMap::new();
    for (circle, finding) in lineage.findings.iter().enumerate() {
        if let LineageFinding::Cycle { nodes } = finding {
            circles.extend(nodes.iter().map(|node| (*node, circle)));
        }
    }
    let key = |place: usize| {
        let node = lineage.nodes.get(place)?;
        Some((node.pack_id, node.name.clone()))
    };
    let circular = lineage.edges.iter().filter(|edge| {
        let circle = circles.get(&edge.source);
        circle.is_some() && circle == circles.get(&edge.product)
    });
    circular
        .filter_map(|edge| {
            Some(Link {
                product: key(edge.product)?,
                source: key(edge.source)?,
            })
        })
        .collect()
}

/// Packs that what manifests name joins to where a lineage begins; those with the same bytes are not.
fn named_packs(lineage: &Lineage) -> BTreeSet<PackId> {
    let mut next: HashMap<usize, Vec<usize>> = HashMap::new();
    for edge in &lineage.edges {
        let (from, to) = match lineage.direction {
            Direction::Up => (edge.product, edge.source),
            Direction::Down => (edge.source, edge.product),
        };
        if edge.origin == Origin::Named {
            next.entry(from).or_default().push(to);
        }
    }
    let places = (0..).zip(&lineage.nodes);
    let beginning = places.filter(|(_, node)| node.depth == 0);
    let mut coming: Vec<usize> = beginning.map(|(place, _)| place).collect();
    let mut packs = BTreeSet::new();
    while let Some(place) = coming.pop() {
        packs.extend(lineage.nodes.get(place).map(|node| node.pack_id));
        // Whatever comes again goes no further.
        coming.extend(next.remove(&place).unwrap_or_default());
    }
    packs
}

/// Whether a finding is nothing but something that is not known, and the finding in one line.
fn told<'a>(
    findings: &'a [LineageFinding],
    nodes: &'a [Node],
) -> impl Iterator<Item = (bool, String)> + use<'a> {
    let findings = findings.iter();
    findings.map(|finding| (!finding.is_wrong(), finding.told(nodes)))
}
