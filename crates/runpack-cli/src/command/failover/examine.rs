//! What is found out of one region and its replicas, by reading alone. A pack that is younger than `--max-behind` and not
//! listed by a replica is on its way there and is not missed.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures_util::StreamExt as _;
use runpack_core::limits::Limits;
use runpack_core::store::failover::{FailoverReader, FailoverSettings, Role, Source};
use runpack_core::store::{ArtifactReader, StoreError};
use runpack_core::time::Timestamp;

use super::Test;
use super::examined::{Behind, Examined, Place, ReplicaExamined, Standing, Verified};
use super::packs::{self, Wanted};
use super::reading::{fault, verify};
use crate::context::Context;
use crate::failure::Failure;
use crate::regions::{Region, Regions, Whereabouts};
use crate::settings::Settings;
use crate::storage::{self, Access, Storage};

/// A store that was opened, or why it was not.
pub(super) type Reached = Result<Storage, String>;

pub(super) fn region(
    context: &Context,
    settings: &Settings,
    regions: &Arc<Regions>,
    region: &Region,
    test: &Test,
) -> Result<Examined, Failure> {
    let limits = context.limits(&test.limits)?;
    let reach = |region: &Region| -> Reached {
        let opened = storage::open_region(context, settings, region, Access::Read);
        opened.map_err(|failure| failure.line())
    };
    let primary = reach(region);
    let replicas = region.replicas.iter().map(|name| {
        let replica = regions.named(name)?;
        Ok((replica, reach(replica)))
    });
    let replicas: Vec<(&Region, Reached)> = replicas.collect::<Result<_, Failure>>()?;
    context.wait(async {
        let mut faults = Vec::new();
        let surveyed = match &primary {
            Ok(storage) => {
                let surveyed = packs::survey(storage, test).await;
                surveyed.map_err(|error| runpack_core::display::chain(&error))
            }
            Err(why) => Err(why.clone()),
        };
        let wanted = if test.pack_id.is_empty() {
            match (&primary, &surveyed) {
                (Ok(storage), Ok(listed)) => {
                    packs::sample(storage, listed, test, &limits, &mut faults).await
                }
                _ => Vec::new(),
            }
        } else {
            let stores = [&primary]
                .into_iter()
                .chain(replicas.iter().map(|(_, reached)| reached));
            packs::named(stores, &test.pack_id, &limits, &mut faults).await
        };
        let mut examined = Vec::new();
        for (replica, reached) in &replicas {
            examined.push(
                examine(
                    context,
                    replica,
                    reached,
                    &wanted,
                    surveyed.as_ref().ok(),
                    test,
                    &limits,
                )
                .await,
            );
        }
        Examined {
            name: region.name.clone(),
            is_reached: primary.is_ok(),
            place: place(region, &primary).await,
            packs: surveyed
                .as_ref()
                .ok()
                .map(|packs| u64::try_from(packs.len()).unwrap_or(u64::MAX)),
            trouble: surveyed.err(),
            sampled: u64::try_from(wanted.len()).unwrap_or(u64::MAX),
            faults,
            without_region: without_region(&replicas, &examined, &wanted, &limits).await,
            replicas: examined,
        }
    })
}

async fn examine(
    context: &Context,
    replica: &Region,
    reached: &Reached,
    wanted: &[Wanted],
    surveyed: Option<&BTreeMap<String, Timestamp>>,
    test: &Test,
    limits: &Limits,
) -> ReplicaExamined {
    let place = place(replica, reached).await;
    let (mut read, mut behind) = (Verified::default(), Behind::default());
    let mut standing = Standing::No;
    if let Ok(storage) = reached {
        let compared = match surveyed {
            Some(packs) => compare(context, storage, packs, test).await,
            None => Ok(Behind::default()),
        };
        let chain = |error: &StoreError| runpack_core::display::chain(error);
        let unlisted = compared.as_ref().err().map(chain);
        behind = compared.unwrap_or_default();
        let there = wanted.iter().filter(|one| !behind.is_on_its_way(one));
        read = verify(&storage.reader(), there, limits).await;
        if let Some(why) = unlisted {
            fault(&mut read.faults, "its listing", &why);
        }
        standing = if place.is_wrong || !read.faults.is_empty() || behind.late > 0 {
            Standing::No
        } else if read.verified == 0 {
            Standing::Undecided
        } else {
            Standing::Yes
        };
    }
    ReplicaExamined {
        name: replica.name.clone(),
        reached: reached.as_ref().map(drop).map_err(Clone::clone),
        place,
        read,
        behind,
        standing,
    }
}

impl Behind {
    fn is_on_its_way(&self, wanted: &Wanted) -> bool {
        self.on_their_way.contains(&wanted.location.to_string())
    }
}

/// Compares what a replica lists with what the region has. Ages are from the
/// region's time stamps to this machine's now.
async fn compare(
    context: &Context,
    replica: &Storage,
    packs: &BTreeMap<String, Timestamp>,
    test: &Test,
) -> Result<Behind, StoreError> {
    let mut there: HashSet<String> = HashSet::new();
    let mut listing = replica.reader().list(&test.run.prefix());
    while let Some(entry) = listing.next().await {
        let key = entry?.key;
        if packs.contains_key(&key) {
            there.insert(key);
        }
    }
    let now = context.now.time.unix_seconds();
    let age = |time: &Timestamp| now.saturating_sub(time.unix_seconds());
    let mut behind = Behind::default();
    for (key, time) in packs {
        if there.contains(key) {
            behind.newest_common = behind.newest_common.max(Some(*time));
            continue;
        }
        behind.missing = behind.missing.saturating_add(1);
        if age(time) >= test.max_behind.seconds() {
            behind.late = behind.late.saturating_add(1);
        } else {
            behind.on_their_way.insert(key.clone());
        }
        let oldest = behind.oldest_missing.unwrap_or(*time);
        behind.oldest_missing = Some(oldest.min(*time));
    }
    behind.newest_common_seconds = behind.newest_common.as_ref().map(age);
    Ok(behind)
}

/// What a reader sees that knows the replicas and not the region.
async fn without_region(
    replicas: &[(&Region, Reached)],
    examined: &[ReplicaExamined],
    wanted: &[Wanted],
    limits: &Limits,
) -> Verified {
    let sources = replicas.iter().map(|(replica, reached)| match reached {
        Ok(storage) => Source::replica(replica.name.as_str(), storage.reader()),
        Err(why) => {
            let why = StoreError::Unreachable {
                reason: why.clone(),
            };
            Source::away(replica.name.as_str(), Role::Replica, &why)
        }
    });
    let reader = FailoverReader::new(sources.collect(), FailoverSettings::default());
    let reader: Arc<dyn ArtifactReader> = Arc::new(reader);
    // What is on its way to each of them is nowhere yet.
    let somewhere = |one: &&Wanted| {
        let mut replicas = examined.iter();
        replicas.any(|replica| !replica.behind.is_on_its_way(one))
    };
    verify(&reader, wanted.iter().filter(somewhere), limits).await
}

async fn place(region: &Region, reached: &Reached) -> Place {
    let Ok(storage) = reached else {
        return Place {
            is: "unknown",
            ..Place::default()
        };
    };
    let location = region.location().unwrap_or_default();
    let (is, detail, is_wrong) = match storage::whereabouts(storage, region).await {
        Ok(Whereabouts::Right) => ("right", None, false),
        Ok(Whereabouts::Trusted { .. }) => ("trusted", None, false),
        Ok(Whereabouts::Wrong { told }) => (
            "wrong",
            Some(format!(
                "it is elsewhere, location=`{location}` its_location=`{told}`"
            )),
            true,
        ),
        Ok(Whereabouts::Untold { why }) => (
            "untold",
            Some(format!(
                "where it is cannot be told ({why}), location=`{location}`"
            )),
            true,
        ),
        Err(error) => ("unknown", Some(runpack_core::display::chain(&error)), true),
    };
    Place {
        is,
        detail,
        is_wrong,
    }
}
