//! Lineage: what an artifact came from, and what came from it, across packs.
//!
//! A manifest names what an artifact was made from by pack, name and commitment. Where the catalog knows such an artifact with
//! those very bytes, the two are joined; where it knows others with the same bytes, those are joined too, and marked as such.
//! What is named and is not so is a finding and nothing is built on it. Nothing here is verified: a manifest says what it
//! says, and whoever signed it answers for it.

mod cycle;
mod graph;
mod render;
mod trace;

pub(crate) use graph::FINDINGS_MAX;
pub(crate) use trace::{AT_ONCE, Artifacts};

use runpack_core::digest::Digest;
use runpack_core::id::PackId;
use runpack_core::manifest::Subject;
use serde::Serialize;

use crate::entry::ArtifactEntry;

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

impl LineageFinding {
    /// Whether something is not as it is said, and not only not known.
    pub const fn is_wrong(&self) -> bool {
        matches!(self, Self::Forged { .. } | Self::Cycle { .. })
    }
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
    /// What is wrong with it, as far as there is room: what is wrong before what is only not known.
    pub findings: Vec<LineageFinding>,
    /// Whether something is not as it is said, listed or not.
    #[serde(skip)]
    pub has_wrong: bool,
}
