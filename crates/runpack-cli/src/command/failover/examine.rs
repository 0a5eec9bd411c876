//! What is found out of one region and its replicas, by reading alone. A pack that is younger than `--max-behind` and not
//! listed by a replica is on its way there and is not missed.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures_util::StreamExt as _;
use runpack_core::bundle::verify_bundle;
use runpack_core::id::PackId;
use runpack_core::key::{Location, ObjectKey};
use runpack_core::limits::Limits;
use runpack_core::manifest::Subject;
use runpack_core::pin::Pins;
use runpack_core::reference;
use runpack_core::store::failover::{FailoverReader, FailoverSettings, Role, Source};
use runpack_core::store::{ArtifactReader, State, StoreError, Stored};
use runpack_core::time::Timestamp;
use runpack_core::verify::{Level, Pack, StorePack, Verdict, VerifyOptions, VerifyReport};

use super::Test;
use super::examined::{Behind, Examined, Place, ReplicaExamined, Standing, Verified};
use crate::context::Context;
use crate::failure::Failure;
use crate::regions::{Region, Regions, Whereabouts};
use crate::settings::Settings;
use crate::storage::{self, Access, Storage};

/// How many faults of one reader are told.
const FAULTS_MAX: usize = 100;
/// How many objects are looked through for a pack that no reference leads to.
const LOOKED_MAX: usize = 1_000_000;

/// A pack to be read from each replica.
struct Wanted {
    location: Location,
    pack_id: PackId,
}

/// A store that was opened, or why it was not.
type Reached = Result<Storage, String>;

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
            Ok(storage) => survey(storage, test).await,
            Err(_) => None,
        };
        let wanted = if test.pack_id.is_empty() {
            match (&primary, &surveyed) {
                (Ok(storage), Some(packs)) => {
                    sample(storage, packs, test, &limits, &mut faults).await
                }
                _ => Vec::new(),
            }
        } else {
            let stores = [&primary]
                .into_iter()
                .chain(replicas.iter().map(|(_, reached)| reached));
            named(stores, &test.pack_id, &limits, &mut faults).await
        };
        let mut examined = Vec::new();
        for (replica, reached) in &replicas {
            examined.push(
                examine(
                    context,
                    replica,
                    reached,
                    &wanted,
                    surveyed.as_ref(),
                    test,
                    &limits,
                )
                .await,
            );
        }
        Examined {
            name: region.name.clone(),
            reached: primary.as_ref().map(drop).map_err(Clone::clone),
            place: place(region, &primary).await,
            packs: surveyed
                .as_ref()
                .map(|packs| u64::try_from(packs.len()).unwrap_or(u64::MAX)),
            sampled: u64::try_from(wanted.len()).unwrap_or(u64::MAX),
            faults,
            without_region: without_region(&replicas, &examined, &wanted, &limits).await,
            replicas: examined,
        }
    })
}

/// Every pack and bundle that is asked for, with the time at which the region got it. Memory grows with their number.
async fn survey(primary: &Storage, test: &Test) -> Option<BTreeMap<String, Timestamp>> {
    let mut packs: BTreeMap<String, Timestamp> = BTreeMap::new();
    let keeper = primary.housekeeping();
    let mut holdings = keeper.holdings(&test.run.prefix());
    while let Some(holding) = holdings.next().await {
        let holding = holding.ok()?;
        if holding.state == State::Object && is_asked_for(test, &holding.key) {
            let first = packs.entry(holding.key).or_insert(holding.modified);
            *first = holding.modified.min(*first);
        }
    }
    Some(packs)
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
async fn sample(
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
async fn named(
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
        } else if surveyed.is_none() && wanted.is_empty() {
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

/// Verifies each pack in full through one reader, by its id.
async fn verify<'a>(
    reader: &Arc<dyn ArtifactReader>,
    wanted: impl Iterator<Item = &'a Wanted>,
    limits: &Limits,
) -> Verified {
    let mut verified = Verified::default();
    for one in wanted {
        let key = one.location.to_string();
        let report = match one.location.manifest_subject() {
            Some(subject) => Ok(of_files(reader, subject, one.pack_id, limits).await),
            None => of_bundle(reader, one, limits).await,
        };
        match report {
            Ok(report) if report.verdict == Verdict::Valid => {
                verified.verified = verified.verified.saturating_add(1);
            }
            Ok(report) => fault(&mut verified.faults, &key, &said(&report)),
            Err(error) => fault(
                &mut verified.faults,
                &key,
                &runpack_core::display::chain(&error),
            ),
        }
    }
    verified
}

async fn of_files(
    reader: &Arc<dyn ArtifactReader>,
    subject: Subject,
    pack_id: PackId,
    limits: &Limits,
) -> VerifyReport {
    let place = StorePack::new(Arc::clone(reader), subject);
    let mut options = VerifyOptions::level(Level::Full);
    options.limits = limits.clone();
    match Pack::open(Arc::new(place), limits).await {
        Ok(pack) => pack.verify(&Pins::pack_id(pack_id), &options).await,
        Err(report) => *report,
    }
}

async fn of_bundle(
    reader: &Arc<dyn ArtifactReader>,
    one: &Wanted,
    limits: &Limits,
) -> Result<VerifyReport, StoreError> {
    // A key that was read as a location is the key of that location.
    let key: ObjectKey = one.location.key().map_err(|_| StoreError::NotFound {
        key: one.location.to_string(),
    })?;
    let stored = Stored::find(Arc::clone(reader), &key).await?;
    let (bounds, pack_id) = (limits.clone(), one.pack_id);
    let outcome = stored
        .read(move |source| verify_bundle(source, &bounds, Level::Full))
        .await?;
    Ok(VerifyReport::of_bundle(
        outcome,
        |_| Pins::pack_id(pack_id),
        Level::Full,
    ))
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

fn said(report: &VerifyReport) -> String {
    let findings = report.findings.iter().take(3).map(|finding| {
        let about = finding.about.as_deref().unwrap_or_default();
        format!("{} {about} {}", finding.code, finding.detail)
    });
    findings.collect::<Vec<_>>().join("; ")
}

fn fault(faults: &mut Vec<String>, about: &str, what: &str) {
    if faults.len() < FAULTS_MAX {
        faults.push(format!("{about}: {what}"));
    }
}
