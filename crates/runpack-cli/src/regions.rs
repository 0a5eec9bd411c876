//! Regions: named stores, where the packs of each tenant go, and in which of them they may lie at all.
//!
//! ```yaml
//! runpacks:
//!   regions:
//!     stores:
//!       frankfurt: {bucket: evidence-fra, region: eu-central-1, replicas: [dublin]}
//!       dublin: {bucket: evidence-dub, region: eu-west-1}
//!     routes:
//!       - {tenant: "acme*", region: frankfurt}
//!     residency:
//!       - {tenant: "acme*", regions: [frankfurt, dublin]}
//! ```
//!
//! Invariants: what no route takes goes nowhere; a pack is written only to a region, and only where that region, all its
//! replicas and theirs are among those that its owner's packs may lie in; without `residency` these are the region of the
//! owner's route, its replicas and theirs, with it what no rule names lies nowhere. A bucket is in its region only as its service says so,
//! or where the configuration takes that upon itself (`LocationRule`). A region is whole: nothing that is said for
//! another store counts for it.

mod guard;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use runpack_core::routing::{Owner, Routes};
use runpack_core::store::failover::FailoverSettings;
use runpack_core::store::s3::BucketLocation;

pub(crate) use guard::Residency;

use crate::config::S3Config;
use crate::failure::Failure;
use crate::storage::{BucketAddress, StoreAddress};

/// The name of a region: a lower-case letter, then up to 31 of them, digits and dashes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionName(Box<str>);

/// Not the name of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRegionName;

impl RegionName {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As it is spelled in the names of variables, in which no two names are the same.
    pub(crate) fn spelled(&self) -> String {
        self.0.to_ascii_uppercase().replace('-', "_")
    }

    /// The variable of one of its credentials.
    pub(crate) fn variable(&self, end: &str) -> String {
        format!("RUNPACK_REGION_{}_{end}", self.spelled())
    }
}

impl FromStr for RegionName {
    type Err = NoRegionName;

    fn from_str(text: &str) -> Result<Self, NoRegionName> {
        let is_rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let begins = text
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_lowercase());
        if begins && text.len() <= 32 && text.bytes().all(is_rest) {
            Ok(Self(text.into()))
        } else {
            Err(NoRegionName)
        }
    }
}

impl fmt::Display for RegionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What `runpacks.regions` says.
#[derive(Debug, Clone, PartialEq)]
pub struct Regions {
    /// The file that says it.
    pub(crate) path: PathBuf,
    pub(crate) stores: BTreeMap<RegionName, Region>,
    pub(crate) routes: Routes<RegionName>,
    pub(crate) residency: Option<Routes<BTreeSet<RegionName>>>,
}

/// A named store.
#[derive(Debug, Clone, PartialEq)]
pub struct Region {
    pub(crate) name: RegionName,
    pub(crate) place: RegionPlace,
    pub(crate) location: LocationRule,
    /// Regions that have copies of it, in the order in which they are read.
    pub(crate) replicas: Vec<RegionName>,
    pub(crate) fall_back: FallBack,
}

/// Where a region lies.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RegionPlace {
    Directory(PathBuf),
    /// Everything that counts for the bucket; `bucket` and `region` are there.
    Bucket(Box<S3Config>),
}

/// Whose word is taken for where a bucket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LocationRule {
    /// The service's: one that says nothing is not written to.
    Told,
    /// The service's, and where it says nothing the configuration's.
    Trusted,
}

/// When replicas are read beside when the region is away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct FallBack {
    pub(crate) where_denied: bool,
    pub(crate) where_missing: bool,
}

/// Where a region's store was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    /// Where the configuration says.
    Right,
    /// Elsewhere.
    Wrong { told: String },
    /// Nobody told, and the configuration's word is taken.
    Trusted { why: &'static str },
    /// Nobody told, and the configuration's word is not enough.
    Untold { why: &'static str },
}

/// Why something is not written to a region.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RegionError {
    #[error(
        "no route of runpacks.regions takes this, so it is written nowhere: add a route, {owner}"
    )]
    Unrouted { owner: Owner },
    #[error(
        "no rule of runpacks.regions.residency names where this may lie, so it is written nowhere: add a rule, {owner}"
    )]
    Nowhere { owner: Owner },
    #[error(
        "this must not lie in that region, so nothing of it is written there, region=`{region}` allowed=`{allowed}` {owner}"
    )]
    Elsewhere {
        region: RegionName,
        allowed: String,
        owner: Owner,
    },
    #[error(
        "that region has a replica in which this must not lie, so nothing of it is written there, region=`{region}` replica=`{replica}` allowed=`{allowed}` {owner}"
    )]
    ReplicaElsewhere {
        region: RegionName,
        replica: RegionName,
        allowed: String,
        owner: Owner,
    },
    #[error(
        "whose this is was not said, so it is not written to the region, region=`{region}` key=`{key}`"
    )]
    Unsaid { region: RegionName, key: String },
}

impl From<RegionError> for Failure {
    fn from(error: RegionError) -> Self {
        Self::new(
            error.to_string(),
            "use a region that is allowed, written region:NAME, or change `runpacks.regions` if the rule is wrong; \
             Docs/operations/regions.md says more",
        )
    }
}

impl Regions {
    /// The region where new packs of this owner go.
    pub(crate) fn route(&self, owner: &Owner) -> Result<&Region, RegionError> {
        let routed = self.routes.first(owner);
        // Every route leads to a region: see `config/regions.rs`.
        routed
            .and_then(|name| self.stores.get(name))
            .ok_or_else(|| RegionError::Unrouted {
                owner: owner.clone(),
            })
    }

    /// In which regions data of this owner may lie.
    fn allowed(&self, owner: &Owner) -> Result<BTreeSet<&RegionName>, RegionError> {
        let Some(residency) = &self.residency else {
            return Ok(self.reached_from(self.route(owner)?));
        };
        let allowed = residency.first(owner).ok_or_else(|| RegionError::Nowhere {
            owner: owner.clone(),
        })?;
        Ok(allowed.iter().collect())
    }

    /// A region and wherever its data goes on to: its replicas, and theirs.
    fn reached_from<'a>(&'a self, region: &'a Region) -> BTreeSet<&'a RegionName> {
        let mut reached = BTreeSet::from([&region.name]);
        let mut to_do = vec![region];
        while let Some(next) = to_do.pop() {
            for replica in &next.replicas {
                if reached.insert(replica) {
                    to_do.extend(self.stores.get(replica));
                }
            }
        }
        reached
    }

    /// Whether data of this owner may be written to a region, from which it goes on to its replicas and theirs.
    pub(crate) fn admits(&self, owner: &Owner, region: &Region) -> Result<(), RegionError> {
        let allowed = self.allowed(owner)?;
        let shown = || {
            let names: Vec<&str> = allowed.iter().map(|name| name.as_str()).collect();
            names.join(", ")
        };
        if !allowed.contains(&region.name) {
            return Err(RegionError::Elsewhere {
                region: region.name.clone(),
                allowed: shown(),
                owner: owner.clone(),
            });
        }
        match self.reached_from(region).difference(&allowed).next() {
            None => Ok(()),
            Some(replica) => Err(RegionError::ReplicaElsewhere {
                region: region.name.clone(),
                replica: (*replica).clone(),
                allowed: shown(),
                owner: owner.clone(),
            }),
        }
    }

    /// The region of this name.
    pub(crate) fn named(&self, name: &RegionName) -> Result<&Region, Failure> {
        self.stores.get(name).ok_or_else(|| {
            Failure::new(
                format!(
                    "there is no such region, region=`{name}` regions=`{}`",
                    self.listed()
                ),
                "correct the name, or write the region below `runpacks.regions.stores`",
            )
        })
    }

    /// Every region.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Region> {
        self.stores.values()
    }

    /// Their names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &RegionName> {
        self.stores.keys()
    }

    fn listed(&self) -> String {
        let names: Vec<&str> = self.names().map(RegionName::as_str).collect();
        names.join(", ")
    }

    /// The store where nothing names one.
    pub(crate) fn only(&self) -> Result<StoreAddress, Failure> {
        match self.stores.len() {
            1 => self.names().next(),
            _ => None,
        }
        .map(|name| StoreAddress::Region(name.clone()))
        .ok_or_else(|| {
            Failure::new(
                format!(
                    "there are several regions, and none is named, regions=`{}`",
                    self.listed()
                ),
                "name one as region:NAME, or say whose packs are meant with --tenant",
            )
        })
    }

    /// The region that lies in this directory.
    pub(crate) fn in_directory(&self, root: &Path) -> Option<&Region> {
        let root = resolved(root);
        self.all().find(|region| match &region.place {
            RegionPlace::Directory(place) => resolved(place) == root,
            RegionPlace::Bucket(_) => false,
        })
    }

    /// The regions that are this bucket, of whatever service.
    pub(crate) fn in_bucket(&self, address: &BucketAddress) -> Vec<&Region> {
        let is_it = |region: &&Region| region.bucket_address().as_ref() == Some(address);
        self.all().filter(is_it).collect()
    }
}

/// For people: `frankfurt (replicas: dublin), dublin`.
impl fmt::Display for Regions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.all().map(|region| match region.replicas.as_slice() {
            [] => region.name.to_string(),
            replicas => {
                let names: Vec<&str> = replicas.iter().map(RegionName::as_str).collect();
                format!("{} (replicas: {})", region.name, names.join(", "))
            }
        });
        f.write_str(&shown.collect::<Vec<_>>().join("; "))
    }
}

/// A directory by the one name that it has, as far as it is there.
fn resolved(path: &Path) -> PathBuf {
    path.canonicalize()
        .or_else(|_| std::path::absolute(path))
        .unwrap_or_else(|_| path.to_owned())
}

impl Region {
    /// How a store is named by it.
    pub(crate) fn address(&self) -> StoreAddress {
        StoreAddress::Region(self.name.clone())
    }

    pub(crate) fn bucket_address(&self) -> Option<BucketAddress> {
        match &self.place {
            RegionPlace::Directory(_) => None,
            RegionPlace::Bucket(s3) => Some(BucketAddress {
                bucket: s3.bucket.clone()?,
                prefix: s3.path_prefix.clone().unwrap_or_default(),
            }),
        }
    }

    /// Where its bucket must be.
    pub(crate) fn location(&self) -> Option<&str> {
        match &self.place {
            RegionPlace::Directory(_) => None,
            RegionPlace::Bucket(s3) => s3.region.as_deref(),
        }
    }

    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        match (&self.place, &other.place) {
            (RegionPlace::Directory(one), RegionPlace::Directory(other)) => {
                resolved(one) == resolved(other)
            }
            (RegionPlace::Bucket(one), RegionPlace::Bucket(two)) => {
                one.endpoint == two.endpoint && self.bucket_address() == other.bucket_address()
            }
            _ => false,
        }
    }

    /// What was told of its place, held against the configuration.
    pub(crate) fn whereabouts(&self, told: &BucketLocation) -> Whereabouts {
        match (told, self.location) {
            (BucketLocation::Told(told), _) if Some(told.as_str()) == self.location() => {
                Whereabouts::Right
            }
            (BucketLocation::Told(told), _) => Whereabouts::Wrong { told: told.clone() },
            (BucketLocation::NotTold { why }, LocationRule::Trusted) => {
                Whereabouts::Trusted { why }
            }
            (BucketLocation::NotTold { why }, LocationRule::Told) => Whereabouts::Untold { why },
        }
    }

    pub(crate) fn failover(&self) -> FailoverSettings {
        let mut settings = FailoverSettings::default();
        settings.where_denied = self.fall_back.where_denied;
        settings.where_missing = self.fall_back.where_missing;
        settings
    }
}
