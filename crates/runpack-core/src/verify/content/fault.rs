//! What is wrong with one artifact: one finding, the most telling one.

use super::super::{Code, Finding};
use crate::count::len_u64;
use crate::display::chain;
use crate::manifest::Artifact;
use crate::store::StoreError;

/// How many damaged chunks of one artifact are named.
const DAMAGED_CHUNKS_MAX: usize = 100;

/// What is wrong with one artifact, from the least to the most telling.
#[derive(Debug)]
pub(super) enum Fault {
    Unread(String),
    Claimed,
    Digest { damaged: Vec<u64>, more: u64 },
    Size { found: Option<u64> },
    Type(String),
    Missing,
}

impl Fault {
    pub(super) fn size(found: u64) -> Self {
        Self::Size { found: Some(found) }
    }

    const fn rank(&self) -> u8 {
        match self {
            Self::Unread(_) => 0,
            Self::Claimed => 1,
            Self::Digest { .. } => 2,
            Self::Size { .. } => 3,
            Self::Type(_) => 4,
            Self::Missing => 5,
        }
    }

    /// Whether nothing further about the artifact needs to be read.
    pub(super) const fn is_final(&self) -> bool {
        self.rank() >= 3
    }

    /// One finding an artifact: the more telling stays, damaged chunks add up.
    pub(super) fn merge(&mut self, other: Self) {
        match (&mut *self, other) {
            (
                Self::Digest { damaged, more },
                Self::Digest {
                    damaged: others,
                    more: others_more,
                },
            ) => {
                *more = more.saturating_add(others_more);
                for chunk in others {
                    if damaged.len() < DAMAGED_CHUNKS_MAX {
                        damaged.push(chunk);
                    } else {
                        *more = more.saturating_add(1);
                    }
                }
            }
            (known, other) if other.rank() > known.rank() => *known = other,
            _ => {}
        }
    }

    pub(super) fn into_finding(self, artifact: &Artifact) -> Finding {
        let name = artifact.name().as_str();
        let declared = artifact.bytes();
        match self {
            Self::Unread(why) => Finding::new(Code::ArtifactUnread, why),
            Self::Claimed => Finding::new(
                Code::ArtifactClaimed,
                "the bytes are those committed to, but not of the digest that the producer claims for the whole",
            ),
            Self::Digest { mut damaged, more } => {
                damaged.sort_unstable();
                let detail = match (damaged.as_slice(), more) {
                    ([], _) => "the bytes are not those committed to".to_owned(),
                    (listed, more) => format!(
                        "the bytes are not those committed to, damaged 8 MiB chunks={}",
                        len_u64(listed).saturating_add(more)
                    ),
                };
                Finding::new(Code::ArtifactDigest, detail).with_damaged_chunks(damaged)
            }
            Self::Size { found: Some(found) } => Finding::new(
                Code::ArtifactSize,
                format!("the size differs, declared=`{declared}` found=`{found}`"),
            ),
            Self::Size { found: None } => Finding::new(
                Code::ArtifactSize,
                format!("more or fewer bytes came than declared, declared=`{declared}`"),
            ),
            Self::Type(why) => Finding::new(Code::ArtifactType, why),
            Self::Missing => Finding::new(Code::ArtifactMissing, "not there"),
        }
        .about(name)
    }
}

impl From<&StoreError> for Fault {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::NotFound { .. } => Self::Missing,
            StoreError::Unsafe { .. } => {
                Self::Type("not a regular file; links are not followed".to_owned())
            }
            other => Self::Unread(chain(other)),
        }
    }
}
