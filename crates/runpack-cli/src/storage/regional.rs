//! Opening the stores of `runpacks.regions`.
//!
//! Invariants: where there are regions, nothing else is written to; a region is written to only where its bucket is where
//! the configuration says ([`check_place`]), and takes only what may lie there; replicas are only read; the directory of a
//! region is never made here. A store that is named by its directory or bucket and is a region's is that region.

use std::path::Path;

use runpack_core::routing::Owner;
use runpack_core::store::failover::{FailoverReader, Role, Source};
use runpack_core::store::s3::{BucketLocation, S3Store};
use runpack_core::store::{FileStore, StoreError};

use super::{
    Access, Asked, Backend, BucketAddress, IfAway, Storage, StoreAddress, ask_bucket, if_away,
    ready_to_write, warn,
};
use crate::context::Context;
use crate::failure::Failure;
use crate::profiles;
use crate::regions::{Region, RegionPlace, Regions, Residency, Whereabouts};
use crate::settings::{Origin, Settings};

/// Opens the region at this address; `None` where there are no regions, or where it is none and is only read.
pub(super) fn open(
    context: &Context,
    address: &StoreAddress,
    access: Access,
) -> Result<Option<Storage>, Failure> {
    if context.config()?.regions.is_none() {
        return Ok(None);
    }
    let settings = context.settings()?;
    let Some(regions) = settings.regions() else {
        return Ok(None);
    };
    match at(regions, &settings, address)? {
        Some(region) => open_region(context, &settings, region, access).map(Some),
        None if access == Access::Read => Ok(None),
        None => Err(stranger(address)),
    }
}

/// Opens one region.
pub(crate) fn open_region(
    context: &Context,
    settings: &Settings,
    region: &Region,
    access: Access,
) -> Result<Storage, Failure> {
    let opened = match (&region.place, region.bucket_address()) {
        (RegionPlace::Bucket(_), Some(bucket)) => {
            let settings = settings.of_region(region);
            if access != Access::Read {
                warn(context, &settings);
            }
            let opened = context.wait(async {
                let opened = ask_bucket(&settings, &bucket, if_away(access)).await?;
                if let (Backend::S3(store, asked), true) = (&opened.backend, access != Access::Read)
                {
                    check_place(context, store, region, asked.clone()).await?;
                }
                ready_to_write(context, &settings, opened, access).await
            })??;
            opened.in_use(context, &settings, access)?
        }
        (RegionPlace::Directory(root), _) => in_directory(context, root)?,
        (RegionPlace::Bucket(_), None) => return Err(no_regions()),
    };
    match settings.regions() {
        Some(regions) if access != Access::Read => Ok(opened.of_region(regions, region)),
        _ => Ok(opened),
    }
}

/// Opens the region at this address to read it with its replicas; `None` where there is no such region or it has none.
pub(super) fn open_with_replicas(
    context: &Context,
    address: &StoreAddress,
) -> Result<Option<Storage>, Failure> {
    if context.config()?.regions.is_none() {
        return Ok(None);
    }
    let settings = context.settings()?;
    let Some(regions) = settings.regions() else {
        return Ok(None);
    };
    let Some(region) = at(regions, &settings, address)? else {
        return Ok(None);
    };
    if region.replicas.is_empty() {
        return Ok(None);
    }
    let mut primary = open_to_read(context, &settings, region, IfAway::Open)?;
    let failover = region.failover();
    let mut source = Source::primary(region.name.as_str(), primary.reader());
    if let Backend::S3(_, Asked::Away(why)) = &primary.backend {
        context.output.remark(&format!(
            "warning: region `{}` is away and its replicas are read, which may lack what is new: {why}",
            region.name
        ));
        let why = StoreError::Unreachable {
            reason: why.to_string(),
        };
        source = source.left_alone(&why, failover.leave_alone_for);
    }
    let mut sources = vec![source];
    sources.extend(replicas(context, &settings, region)?);
    primary.failover = Some(FailoverReader::new(sources, failover));
    Ok(Some(primary))
}

/// The replicas of a region, to be read from. Nothing is asked of a bucket until it is needed.
fn replicas(
    context: &Context,
    settings: &Settings,
    region: &Region,
) -> Result<Vec<Source>, Failure> {
    let Some(regions) = settings.regions() else {
        return Ok(Vec::new());
    };
    let names = region.replicas.iter();
    let sources = names.map(|name| {
        let replica = regions.named(name)?;
        Ok(
            match open_to_read(context, settings, replica, IfAway::DoNotAsk) {
                Ok(opened) => Source::replica(name.as_str(), opened.reader()),
                Err(failure) => {
                    let why = StoreError::Unreachable {
                        reason: failure.line(),
                    };
                    Source::away(name.as_str(), Role::Replica, &why)
                }
            },
        )
    });
    sources.collect()
}

fn open_to_read(
    context: &Context,
    settings: &Settings,
    region: &Region,
    if_away: IfAway,
) -> Result<Storage, Failure> {
    match (&region.place, region.bucket_address()) {
        (RegionPlace::Bucket(_), Some(bucket)) => {
            let settings = settings.of_region(region);
            let opened = context.wait(ask_bucket(&settings, &bucket, if_away))??;
            opened.in_use(context, &settings, Access::Read)
        }
        (RegionPlace::Directory(root), _) => in_directory(context, root),
        (RegionPlace::Bucket(_), None) => Err(no_regions()),
    }
}

/// Opens the directory of a region, which is never made here: where a disk or share is not mounted, it would be another one.
fn in_directory(context: &Context, root: &Path) -> Result<Storage, Failure> {
    context.wait(FileStore::open(root))?.map(Storage::file).map_err(|error| {
        let help = "mount what belongs there, or make the directory: a region's is never made by writing to it";
        Failure::new(error.to_string(), help)
    })
}

/// The bucket that is meant by an address, with the settings that count for it; `None` for a directory. Nothing is asked of
/// anybody.
pub(crate) fn bucket_named(
    context: &Context,
    address: &StoreAddress,
) -> Result<Option<(Settings, BucketAddress)>, Failure> {
    let settings = context.settings()?;
    let region = match settings.regions() {
        Some(regions) => at(regions, &settings, address)?,
        None => None,
    };
    match (region, address) {
        (Some(region), _) => Ok(region
            .bucket_address()
            .map(|bucket| (settings.of_region(region), bucket))),
        (None, StoreAddress::S3(bucket)) => Ok(Some((settings, bucket.clone()))),
        (None, StoreAddress::File(_)) => Ok(None),
        (None, StoreAddress::Region(_)) => Err(no_regions()),
    }
}

/// Makes sure that a pack of this owner may lie in the store at this address, before it is even opened.
pub(super) fn may_lie(
    settings: &Settings,
    address: &StoreAddress,
    owner: &Owner,
) -> Result<(), Failure> {
    let Some(regions) = settings.regions() else {
        return Ok(());
    };
    let region = at(regions, settings, address)?.ok_or_else(|| stranger(address))?;
    Ok(regions.admits(owner, region)?)
}

/// The region that is meant by an address.
fn at<'a>(
    regions: &'a Regions,
    settings: &Settings,
    address: &StoreAddress,
) -> Result<Option<&'a Region>, Failure> {
    match address {
        StoreAddress::Region(name) => regions.named(name).map(Some),
        StoreAddress::File(root) => Ok(regions.in_directory(root)),
        StoreAddress::S3(bucket) => {
            let mut found = regions.in_bucket(bucket);
            // A service that is named now says which one is meant.
            if matches!(
                settings.endpoint.origin,
                Origin::Flag(_) | Origin::Environment(_)
            ) {
                let named = settings.endpoint.value.as_ref();
                found.retain(|region| match &region.place {
                    RegionPlace::Bucket(s3) => s3.endpoint.as_ref() == named,
                    RegionPlace::Directory(_) => false,
                });
            }
            match found.as_slice() {
                [] => Ok(None),
                [only] => Ok(Some(only)),
                [one, two, ..] => Err(Failure::new(
                    format!(
                        "several regions have such a bucket, store=`{address}` regions=`{}, {}`",
                        one.name, two.name
                    ),
                    "name the region, as region:NAME",
                )),
            }
        }
    }
}

/// Makes sure that the bucket of a region is where it must be: as its service says now, or for one that is away as it said
/// last.
pub(super) async fn check_place(
    context: &Context,
    store: &S3Store,
    region: &Region,
    asked: Asked,
) -> Result<(), Failure> {
    let told = match asked {
        Asked::Answered => profiles::location(context, store).await?,
        Asked::Away(_) => profiles::last_location(context, store),
    };
    let (name, location) = (&region.name, region.location().unwrap_or_default());
    match region.whereabouts(&told) {
        Whereabouts::Right => Ok(()),
        Whereabouts::Trusted { why } => {
            context.output.remark(&format!(
                "warning: region `{name}`: nobody tells where its bucket is ({why}); that it is in `{location}` is the \
                 configuration's word"
            ));
            Ok(())
        }
        Whereabouts::Wrong { told } => Err(Failure::new(
            format!(
                "the bucket of this region is elsewhere, so nothing is written to it, region=`{name}` \
                 location=`{location}` its_location=`{told}`"
            ),
            "use a bucket that is where the region must be, or correct `region` below `runpacks.regions.stores`",
        )),
        Whereabouts::Untold { why } => Err(Failure::new(
            format!(
                "where the bucket of this region is cannot be told ({why}), so nothing is written to it, \
                 region=`{name}` location=`{location}`"
            ),
            "let these credentials ask it (s3:ListBucket, s3:GetBucketLocation), or write `location: trusted` for the \
             region if you know where its bucket is",
        )),
    }
}

/// Where a region's store was found to be; a directory is where it is.
pub(crate) async fn whereabouts(
    storage: &Storage,
    region: &Region,
) -> Result<Whereabouts, StoreError> {
    let told = match storage.s3() {
        Some(store) => store.location().await?,
        None => BucketLocation::NotTold {
            why: "it is a directory",
        },
    };
    Ok(region.whereabouts(&told))
}

pub(super) fn no_regions() -> Failure {
    Failure::new(
        "a region is named, and the configuration has none",
        "write the regions below `runpacks.regions` in runpack.yaml; Docs/operations/regions.md shows how",
    )
}

fn stranger(address: &StoreAddress) -> Failure {
    Failure::new(
        format!(
            "this store is none of the regions, so nothing is written to it, store=`{address}`"
        ),
        "write to a region, as region:NAME, or name this store below `runpacks.regions.stores`",
    )
}

impl Storage {
    fn of_region(mut self, regions: &std::sync::Arc<Regions>, region: &Region) -> Self {
        let residency = Residency::new(std::sync::Arc::clone(regions), region.clone());
        self.store = residency.guard(self.store);
        self.residency = Some(residency);
        self
    }
}
