//! Opening the stores that people name: a directory, or a bucket of an S3-compatible service.
//!
//! Invariants: a bucket is asked whether it answers before anything else is done with it, so that a wrong
//! endpoint, bucket or credential is one line within seconds; what weakens a store is warned of each time it
//! is opened for writing; `object_lock` is never ignored ([`StoragePolicy`]).

mod address;
#[cfg(feature = "server")]
mod latch;
mod place;
mod policy;
mod regional;

use std::path::PathBuf;
use std::sync::Arc;

use runpack_core::key::{Location, ObjectKey};
use runpack_core::manifest::Subject;
use runpack_core::routing::Owner;
use runpack_core::store::failover::FailoverReader;
use runpack_core::store::s3::{CreateOnly, Endpoint, S3Settings, S3Store};
use runpack_core::store::{ArtifactReader, FileStore, Housekeeping, Store, StoreError};

pub use address::{BucketAddress, StoreAddress, Within, parse_store};
pub(crate) use address::{is_store, parse_within};
pub use policy::{PlainStorage, Route, StoragePolicy};
pub(crate) use regional::{bucket_named, open_region, whereabouts};

use crate::context::Context;
use crate::failure::Failure;
use crate::profiles;
use crate::regions::Residency;
use crate::settings::Settings;

/// What a store is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Only to read: nothing is made.
    Read,
    /// To write: a directory is made where it is missing.
    Write,
    /// To write, later if need be: as [`Access::Write`], and a bucket that cannot be reached now is opened all the same
    /// where it is known how to write to it ([`Storage::was_away`]).
    WriteLater,
}

/// A store that was opened.
#[derive(Debug, Clone)]
pub struct Storage {
    backend: Backend,
    store: Arc<dyn Store>,
    keeper: Arc<dyn Housekeeping>,
    /// What may lie here, where it is a region that was opened for writing.
    residency: Option<Residency>,
    /// Where it is a region with replicas that was opened to be read with them.
    failover: Option<FailoverReader>,
    /// What keeps a store shut that was away when it was opened to be written to later.
    #[cfg(feature = "server")]
    latch: latch::Latch,
}

#[derive(Debug, Clone)]
enum Backend {
    File(FileStore),
    S3(S3Store, Asked),
}

/// Whether a bucket answered when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    Answered,
    /// It did not, and why.
    Away(Arc<str>),
}

/// What becomes of a bucket that cannot be reached when it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IfAway {
    /// It is an error.
    Refuse,
    /// It is opened all the same ([`Storage::was_away`]).
    Open,
    /// Nobody asks: it may not be needed.
    DoNotAsk,
}

impl Storage {
    /// Opens the store at this address, and makes sure that it answers.
    ///
    /// # Errors
    /// It cannot be used; the error says in one line what is wrong with it.
    pub fn open(
        context: &Context,
        address: &StoreAddress,
        access: Access,
    ) -> Result<Self, Failure> {
        if let Some(opened) = regional::open(context, address, access)? {
            return Ok(opened);
        }
        match address {
            StoreAddress::File(root) => Self::open_directory(context, root, access),
            StoreAddress::S3(bucket) => {
                Self::open_bucket(context, &context.settings()?, bucket, access)
            }
            StoreAddress::Region(_) => Err(regional::no_regions()),
        }
    }

    /// Opens a store to read from it, and from its replicas where it is a region that has some: it may be away then.
    ///
    /// # Errors
    /// As [`Storage::open`].
    pub(crate) fn open_with_replicas(
        context: &Context,
        address: &StoreAddress,
    ) -> Result<Self, Failure> {
        match regional::open_with_replicas(context, address)? {
            Some(opened) => Ok(opened),
            None => Self::open(context, address, Access::Read),
        }
    }

    fn open_directory(
        context: &Context,
        root: &std::path::Path,
        access: Access,
    ) -> Result<Self, Failure> {
        let store = match access {
            Access::Read => context.wait(FileStore::open(root))??,
            Access::Write | Access::WriteLater => context.wait(FileStore::create(root))??,
        };
        Ok(Self::file(store))
    }

    /// Opens a bucket of the service that `settings` names, as [`Storage::open`].
    ///
    /// # Errors
    /// As [`Storage::open`].
    pub fn open_bucket(
        context: &Context,
        settings: &Settings,
        bucket: &BucketAddress,
        access: Access,
    ) -> Result<Self, Failure> {
        if access != Access::Read {
            warn(context, settings);
        }
        let opened = context.wait(async {
            let opened = ask_bucket(settings, bucket, if_away(access)).await?;
            ready_to_write(context, settings, opened, access).await
        })??;
        opened.in_use(context, settings, access)
    }

    /// What the program makes of it; where it is away and is to be written to later, shut until it was asked again.
    fn in_use(
        self,
        context: &Context,
        settings: &Settings,
        access: Access,
    ) -> Result<Self, Failure> {
        let opened = context.storage.wrap(self, access, settings, context)?;
        #[cfg(feature = "server")]
        if access == Access::WriteLater {
            return Ok(opened.latched());
        }
        Ok(opened)
    }

    /// Whether the configuration leaves it to the program where packs go, so that it has to know whose they are.
    pub(crate) fn is_routed(context: &Context, settings: &Settings) -> bool {
        settings.regions().is_some() || context.storage.routes(settings)
    }

    /// Opens the store for a pack about `subject`: the one that was named, else the region of its route, else where policy
    /// routes it, else `default`.
    ///
    /// # Errors
    /// As [`Storage::open`]; such packs go nowhere, or must not go there; `default` is none.
    pub(crate) fn open_for(
        context: &Context,
        subject: &Subject,
        named: Option<&StoreAddress>,
        default: impl FnOnce(&Settings) -> Result<StoreAddress, Failure>,
    ) -> Result<Self, Failure> {
        let settings = context.settings()?;
        if let Some(regions) = settings.regions() {
            let owner = Owner::of(subject);
            let address = match (named, default(&settings)) {
                (Some(address), _) => address.clone(),
                (None, Ok(address @ (StoreAddress::File(_) | StoreAddress::S3(_)))) => address,
                (None, _) => regions.route(&owner)?.address(),
            };
            // Before anything is asked of the store.
            regional::may_lie(&settings, &address, &owner)?;
            return Self::open(context, &address, Access::Write);
        }
        if let Some(address) = named {
            return Self::open(context, address, Access::Write);
        }
        match context.storage.route(subject, &settings)? {
            Some(route) => {
                let settings = settings.at(route.endpoint, route.region);
                Self::open_bucket(context, &settings, &route.bucket, Access::Write)
            }
            None => Self::open(context, &default(&settings)?, Access::Write),
        }
    }

    fn file(store: FileStore) -> Self {
        Self::of(Backend::File(store.clone()), Arc::new(store))
    }

    fn bucket(store: S3Store, asked: Asked) -> Self {
        Self::of(Backend::S3(store.clone(), asked), Arc::new(store))
    }

    fn of(backend: Backend, store: Arc<impl Store + Housekeeping + 'static>) -> Self {
        Self {
            backend,
            store: store.clone(),
            keeper: store,
            residency: None,
            failover: None,
            #[cfg(feature = "server")]
            latch: latch::Latch::default(),
        }
    }

    /// The same bucket, read, written and cleaned up through another store, whose own requests are those of `bucket`.
    /// Whether it answered when it was opened is not forgotten.
    #[must_use]
    pub fn with_store(
        self,
        bucket: S3Store,
        store: Arc<impl Store + Housekeeping + 'static>,
    ) -> Self {
        let asked = match self.backend {
            Backend::S3(_, asked) => asked,
            Backend::File(_) => Asked::Answered,
        };
        Self::of(Backend::S3(bucket, asked), store)
    }

    /// Whether the bucket did not answer when it was opened ([`Access::WriteLater`]).
    pub const fn was_away(&self) -> bool {
        matches!(self.backend, Backend::S3(_, Asked::Away(_)))
    }

    /// The store.
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    /// The store, for reading: with its replicas, where it was opened so.
    pub fn reader(&self) -> Arc<dyn ArtifactReader> {
        match &self.failover {
            Some(failover) => Arc::new(failover.clone()),
            None => Arc::<dyn Store>::clone(&self.store),
        }
    }

    /// How it is read with its replicas, where it was opened so.
    pub(crate) const fn failover(&self) -> Option<&FailoverReader> {
        self.failover.as_ref()
    }

    /// The same store before which another stands, such as a spool: what may not lie here does not get that far.
    #[cfg(feature = "server")]
    pub(crate) fn guarded(&self, before: Arc<dyn Store>) -> Arc<dyn Store> {
        match &self.residency {
            Some(residency) => residency.guard(before),
            None => before,
        }
    }

    /// The store, for cleaning up.
    pub fn housekeeping(&self) -> Arc<dyn Housekeeping> {
        Arc::clone(&self.keeper)
    }

    /// The bucket, if it is one.
    pub const fn s3(&self) -> Option<&S3Store> {
        match &self.backend {
            Backend::File(_) => None,
            Backend::S3(store, _) => Some(store),
        }
    }

    /// The directory, if it is one.
    pub fn root(&self) -> Option<&std::path::Path> {
        match &self.backend {
            Backend::File(store) => Some(store.root()),
            Backend::S3(..) => None,
        }
    }

    /// The store as people name it.
    pub fn shown(&self) -> String {
        match &self.backend {
            Backend::File(store) => StoreAddress::File(store.root().to_owned()).to_string(),
            Backend::S3(store, _) => {
                let settings = store.settings();
                let bucket = settings.bucket.clone();
                let prefix = settings.path_prefix.clone();
                BucketAddress { bucket, prefix }.to_string()
            }
        }
    }

    /// The store as receipts record it: it tells services apart.
    pub fn place(&self) -> String {
        self.below("").place
    }

    /// Where the pack about `subject` is, as a target of `verify`.
    pub fn pack(&self, subject: &Subject) -> PlaceInStore {
        let prefix = Location::pack_prefix(subject);
        self.below(prefix.as_str().trim_end_matches('/'))
    }

    /// Where an object is.
    pub fn object(&self, key: &ObjectKey) -> PlaceInStore {
        self.below(key.as_str())
    }

    fn below(&self, key: &str) -> PlaceInStore {
        match &self.backend {
            Backend::File(store) => {
                let path = store.root().join(key);
                PlaceInStore {
                    shown: path.to_string_lossy().into_owned(),
                    place: crate::place::uri(&path),
                    path: Some(path),
                }
            }
            Backend::S3(store, _) => {
                let settings = store.settings();
                PlaceInStore {
                    shown: place::shown(settings, key),
                    place: place::recorded(settings, key),
                    path: None,
                }
            }
        }
    }
}

/// Where something is in a store.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PlaceInStore {
    /// As a person, or `verify`, takes it: a path, or `s3://...`.
    pub shown: String,
    /// As receipts record it: it tells services apart.
    pub place: String,
    /// The path, in a directory.
    pub path: Option<PathBuf>,
}

/// The place of a bucket as receipts have it.
pub(crate) fn recorded_place(settings: &S3Settings) -> String {
    place::recorded(settings, "")
}

const fn if_away(access: Access) -> IfAway {
    match access {
        Access::Read | Access::Write => IfAway::Refuse,
        Access::WriteLater => IfAway::Open,
    }
}

fn unusable(settings: &Settings, error: StoreError) -> Failure {
    match error {
        StoreError::Unusable { .. } | StoreError::Unreachable { .. } => {
            Failure::new(error.to_string(), settings.whence())
        }
        other => other.into(),
    }
}

/// Opens a bucket, and asks whether it answers.
async fn ask_bucket(
    settings: &Settings,
    bucket: &BucketAddress,
    if_away: IfAway,
) -> Result<Storage, Failure> {
    let store = S3Store::open(settings.s3(bucket)?).await;
    let store = store.map_err(|error| unusable(settings, error))?;
    if if_away == IfAway::DoNotAsk {
        return Ok(Storage::bucket(store, Asked::Answered));
    }
    let asked = match store.check().await {
        // Whoever may only read or only write by key goes on, and is told by whatever is not allowed.
        Ok(()) | Err(StoreError::Denied { .. }) => Asked::Answered,
        Err(error @ StoreError::Unreachable { .. }) if if_away == IfAway::Open => {
            Asked::Away(error.to_string().into())
        }
        Err(error) => return Err(unusable(settings, error)),
    };
    Ok(Storage::bucket(store, asked))
}

/// Finds out how a bucket is to be written to, where nothing is configured.
async fn ready_to_write(
    context: &Context,
    settings: &Settings,
    opened: Storage,
    access: Access,
) -> Result<Storage, Failure> {
    let Backend::S3(store, asked) = &opened.backend else {
        return Ok(opened);
    };
    if access == Access::Read || settings.create_only.value.is_some() {
        return Ok(opened);
    }
    let create_only = match asked {
        Asked::Answered => profiles::writing(context, store).await?,
        Asked::Away(_) => profiles::last_known(context, store)?,
    };
    let mut options = store.settings().clone();
    if create_only == options.create_only {
        return Ok(opened);
    }
    options.create_only = create_only;
    let store = S3Store::open(options).await;
    let store = store.map_err(|error| unusable(settings, error))?;
    Ok(Storage::bucket(store, asked.clone()))
}

/// Says what weakens the store, each time.
fn warn(context: &Context, settings: &Settings) {
    if settings.create_only.value == Some(CreateOnly::DangerouslyCheckFirst) {
        context.output.remark(
            "warning: `create_only: dangerously-check-first`: of two exports of one run at the same moment, both may be \
             told that they won; use a store with conditional writes, or a versioned bucket",
        );
    }
    let is_open = |endpoint: &Endpoint| endpoint.is_plain() && !endpoint.is_loopback();
    if settings.endpoint.value.as_ref().is_some_and(is_open) {
        context.output.remark(
            "warning: `allow_plain_http`: whoever is on the way to the store reads everything that is sent",
        );
    }
}
