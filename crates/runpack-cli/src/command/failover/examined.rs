//! What was found out of a region and its replicas, and whether they could take over.

use std::collections::HashSet;

use runpack_core::time::Timestamp;

use crate::regions::RegionName;

/// Whether something could take over, from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    Yes,
    Undecided,
    No,
}

impl Standing {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Undecided => "undecided",
            Self::No => "no",
        }
    }
}

/// Where a store was found to be.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) is: &'static str,
    pub(super) detail: Option<String>,
    pub(super) is_wrong: bool,
}

/// What was verified through one reader.
#[derive(Debug, Default)]
pub(super) struct Verified {
    pub(super) verified: u64,
    pub(super) faults: Vec<String>,
}

/// What a replica lacks.
#[derive(Debug, Default)]
pub(super) struct Behind {
    pub(super) missing: u64,
    /// Of these, how many are older than packs may be that are on their way.
    pub(super) late: u64,
    pub(super) oldest_missing: Option<Timestamp>,
    pub(super) newest_common: Option<Timestamp>,
    pub(super) newest_common_seconds: Option<u64>,
    /// The keys of those that are missing and may still be on their way.
    pub(super) on_their_way: HashSet<String>,
}

/// A region, examined.
#[derive(Debug)]
pub(super) struct Examined {
    pub(super) name: RegionName,
    pub(super) is_reached: bool,
    /// Why it was not reached, or which packs it has could not be told.
    pub(super) trouble: Option<String>,
    pub(super) place: Place,
    /// How many packs and bundles it has of those that were asked for; none where that is not known.
    pub(super) packs: Option<u64>,
    pub(super) sampled: u64,
    /// What is wrong with the region's own packs.
    pub(super) faults: Vec<String>,
    pub(super) replicas: Vec<ReplicaExamined>,
    /// What a reader sees that is built without the region.
    pub(super) without_region: Verified,
}

/// A replica, examined.
#[derive(Debug)]
pub(super) struct ReplicaExamined {
    pub(super) name: RegionName,
    pub(super) reached: Result<(), String>,
    pub(super) place: Place,
    pub(super) read: Verified,
    pub(super) behind: Behind,
    pub(super) standing: Standing,
}

impl Examined {
    /// Whether every replica could take over, and all of them together could. Where nothing was verified nobody knows; a
    /// region that is not where it must be has nothing that may be taken over.
    pub(super) fn standing(&self) -> Standing {
        let replicas = self.replicas.iter().map(|replica| replica.standing);
        let has_faults = !self.faults.is_empty() || !self.without_region.faults.is_empty();
        let of_region = if has_faults || self.place.is_wrong {
            Standing::No
        } else if self.without_region.verified == 0 {
            Standing::Undecided
        } else {
            Standing::Yes
        };
        replicas.chain([of_region]).max().unwrap_or(of_region)
    }
}
