//! Which packs are read from the replicas: those that are named, or some of those that the region has.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt as _;
use runpack_core::id::PackId;
use runpack_core::key::Location;
use runpack_core::limits::Limits;
use runpack_core::reference;
use runpack_core::store::{ArtifactReader, State, StoreError};
use runpack_core::time::Timestamp;
use runpack_core::verify::{Pack, StorePack};

use super::Test;
use super::examine::Reached;
use super::reading::{fault, said};
use crate::storage::Storage;

/// How many objects are looked through for a pack that no reference leads to.
const LOOKED_MAX: usize = 1_000_000;

/// A pack to be read from each replica.
pub(super) struct Wanted {
    pub(super) location: Location,
    pub(super) pack_id: PackId,
}

/// Every pack and bundle that is asked for, with the time at which the region got it. Memory grows with their number.
/// Unfinished uploads are not asked for, which who may only read may not list.
pub(super) async fn survey(
    primary: &Storage,
    test: &Test,
) -> Result<BTreeMap<String, Timestamp>, StoreError> {
    let mut packs: BTreeMap<String, Timestamp> = BTreeMap::new();
    let prefix = test.run.prefix();
    let mut holdings = primary.housekeeping().versions_below(&prefix);
    while let Some(holding) = holdings.next().await {
        let holding = holding?;
        if holding.state == State::Object && is_asked_for(test, &holding.key) {
            let first = packs.entry(holding.key).or_insert(holding.modified);
            *first = holding.modified.min(*first);
        }
    }
    Ok(packs)
}

/// A bundle's key does not say whose it is: where some are asked for, bundles are not.
fn is_asked_for(test: &Test, key: &str) -> bool {
    match Location::parse(key) {
        Some(Location::Bundle { .. }) => !test.run.is_given(),
        Some(location) => location
            .manifest_subject()
            .is_some_and(|subject| test.run.wants(&subject)),
        None => false,
    }
}

/// Some of the packs, drawn at random, by the ids that the region has them under.
pub(super) async fn sample(
    primary: &Storage,
    packs: &BTreeMap<String, Timestamp>,
    test: &Test,
    limits: &Limits,
    faults: &mut Vec<String>,
) -> Vec<Wanted> {
    let mut keys: Vec<&String> = packs.keys().collect();
    let wanted = usize::try_from(test.sample).unwrap_or(usize::MAX);
    let taken = if test.all {
        keys.len()
    } else {
        wanted.min(keys.len())
    };
    for at in 0..taken {
        let left = u64::try_from(keys.len().saturating_sub(at)).unwrap_or(u64::MAX);
        let random = crate::profiles::nonce().checked_rem(left).unwrap_or(0);
        keys.swap(at, at.saturating_add(usize::try_from(random).unwrap_or(0)));
    }
    let mut found = Vec::with_capacity(taken);
    for key in keys.into_iter().take(taken) {
        let Some(location) = Location::parse(key) else {
            continue;
        };
        match id_of(primary, &location, limits).await {
            Ok(pack_id) => found.push(Wanted { location, pack_id }),
            Err(why) => fault(faults, key, &why),
        }
    }
    found
}

async fn id_of(primary: &Storage, location: &Location, limits: &Limits) -> Result<PackId, String> {
    let subject = match (location, location.manifest_subject()) {
        (Location::Bundle { pack_id, .. }, _) => return Ok(*pack_id),
        (_, Some(subject)) => subject,
        (_, None) => return Err("no pack lies there".to_owned()),
    };
    let place = StorePack::new(primary.reader(), subject.clone());
    match Pack::open(Arc::new(place), limits).await {
        Ok(pack) if *pack.manifest().subject() == subject => Ok(pack.manifest().pack_id()),
        Ok(_) => Err("the manifest of another subject stands there".to_owned()),
        Err(report) => Err(said(&report)),
    }
}

/// The packs with these ids, wherever one of the stores has them.
pub(super) async fn named(
    stores: impl Iterator<Item = &Reached>,
    pack_ids: &[PackId],
    limits: &Limits,
    faults: &mut Vec<String>,
) -> Vec<Wanted> {
    let readers: Vec<Arc<dyn ArtifactReader>> = stores
        .filter_map(|reached| reached.as_ref().ok().map(Storage::reader))
        .collect();
    let mut found = Vec::new();
    for pack_id in pack_ids {
        let mut location = None;
        for reader in &readers {
            location = locate(reader, *pack_id, limits).await;
            if location.is_some() {
                break;
            }
        }
        match location {
            Some(location) => found.push(Wanted {
                location,
                pack_id: *pack_id,
            }),
            None => fault(
                faults,
                &pack_id.to_string(),
                "neither the region nor a replica has it",
            ),
        }
    }
    found
}

async fn locate(
    reader: &Arc<dyn ArtifactReader>,
    pack_id: PackId,
    limits: &Limits,
) -> Option<Location> {
    let found = reference::resolve(reader, pack_id, limits, LOOKED_MAX)
        .await
        .ok()?;
    match (found.subject, found.bundle) {
        (Some(subject), _) => Some(Location::manifest(&subject)),
        (None, Some(key)) => Location::parse(key.as_str()),
        (None, None) => None,
    }
}
