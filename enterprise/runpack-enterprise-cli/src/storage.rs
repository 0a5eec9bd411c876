//! What this program makes of stores: `object_lock` and `policy` are kept to.

use std::sync::Arc;

use runpack_cli::config::Config;
use runpack_cli::settings::Settings;
use runpack_cli::storage::{Access, BucketAddress, Route, Storage, StoragePolicy};
use runpack_cli::{Context, Exit, Failure};
use runpack_core::manifest::Subject;
use runpack_core::store::s3::{LockMode, S3Store};
use runpack_enterprise::bucket;
use runpack_enterprise::locked::LockedStore;
use runpack_enterprise::prove::{self, Verdict};
use runpack_enterprise::routing::{Routing, StoreIdentity};
use runpack_enterprise::tenure::Tenure;
use runpack_enterprise::terms::LockTerms;

use crate::consent::Asking;
use crate::desk::Desk;
use crate::options;

/// Stores that lock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LockingStorage;

impl StoragePolicy for LockingStorage {
    fn admit(&self, config: &Config) -> Result<(), Failure> {
        if let Some(object_lock) = &config.s3.object_lock {
            LockTerms::parse(object_lock).map_err(|error| wrong(&error))?;
        }
        if let Some(policy) = &config.policy {
            Routing::parse(policy).map_err(|error| wrong(&error))?;
        }
        Ok(())
    }

    fn wrap(
        &self,
        opened: Storage,
        access: Access,
        settings: &Settings,
        context: &Context,
    ) -> Result<Storage, Failure> {
        let Some(store) = opened.s3().cloned() else {
            return Ok(opened);
        };
        let desk = Desk::of(context)?;
        let locking = desk.locking(context, &opened)?;
        if access == Access::Read {
            let store = LockedStore::for_reading(store, locking);
            return Ok(opened.with_store(store.bucket().clone(), Arc::new(store)));
        }
        let Some(tenure) = tenure(settings, &store, context)? else {
            return Ok(opened);
        };
        let mut modes: Vec<LockMode> = tenure.all().map(LockTerms::mode).collect();
        modes.sort_unstable();
        modes.dedup();
        if modes.contains(&LockMode::Compliance)
            && Asking::of(options::consents(&context.given)).is_none()
        {
            return Err(Failure::new(
                "locks in compliance mode cannot be undone, and nobody can be asked here",
                "run it at a terminal, or give --yes-irrevocable",
            ));
        }
        let locked = context.wait(LockedStore::open(store.clone(), tenure, locking))??;
        proven(context, &desk, &store, &opened.place(), &modes)?;
        Ok(opened.with_store(locked.bucket().clone(), Arc::new(locked)))
    }

    fn routes(&self, settings: &Settings) -> bool {
        settings.policy.value.is_some()
    }

    fn route(&self, subject: &Subject, settings: &Settings) -> Result<Option<Route>, Failure> {
        let Some(routing) = routing(settings)? else {
            return Ok(None);
        };
        let route = routing.route(subject).map_err(|error| {
            Failure::new(
                error.to_string(),
                "correct `runpacks.policy`, or give the store with --to",
            )
        })?;
        Ok(Some(Route {
            bucket: BucketAddress {
                bucket: route.bucket().clone(),
                prefix: route.path_prefix().clone(),
            },
            endpoint: route.endpoint().cloned(),
            region: route.region().map(ToString::to_string),
        }))
    }
}

fn wrong(error: &dyn std::error::Error) -> Failure {
    Failure::new(
        error.to_string(),
        "correct the configuration; Docs/enterprise/worm.md says what there is",
    )
}

/// The terms of the configuration.
pub(crate) fn terms(settings: &Settings) -> Result<Option<LockTerms>, Failure> {
    let object_lock = settings.object_lock.value.as_ref();
    let terms = object_lock.map(LockTerms::parse).transpose();
    terms.map_err(|error| wrong(&error))
}

fn routing(settings: &Settings) -> Result<Option<Routing>, Failure> {
    let policy = settings.policy.value.as_ref();
    let routing = policy.map(Routing::parse).transpose();
    routing.map_err(|error| wrong(&error))
}

/// Under which terms this store is written to; none where nothing is asked for.
fn tenure(
    settings: &Settings,
    store: &S3Store,
    context: &Context,
) -> Result<Option<Tenure>, Failure> {
    let terms = terms(settings)?;
    let Some(routing) = routing(settings)? else {
        return Ok(terms.map(Tenure::of_terms));
    };
    let identity = StoreIdentity {
        bucket: store.settings().bucket.clone(),
        path_prefix: store.settings().path_prefix.clone(),
        endpoint: store.settings().endpoint.clone(),
        region: context.wait(bucket::region(store))??,
    };
    Ok(Some(Tenure::routed(terms, routing, identity)))
}

/// Makes sure that the bucket enforces locks of these modes: by the last transcript, else by trying now.
pub(crate) fn proven(
    context: &Context,
    desk: &Desk,
    store: &S3Store,
    place: &str,
    modes: &[LockMode],
) -> Result<(), Failure> {
    if modes.is_empty() {
        return Ok(());
    }
    let is_proven = |proof: &prove::Proof| {
        let verdicts = modes.iter().map(|mode| proof.verdict(*mode));
        verdicts.max().unwrap_or(Verdict::NotProven)
    };
    let fresh = desk.proofs().fresh(place, context.now.time)?;
    let verdict = fresh.as_ref().map(is_proven);
    let verdict = match verdict {
        Some(Verdict::Proven) => return Ok(()),
        _ => is_proven(&crate::command::prove::run(
            context, desk, store, place, modes,
        )?),
    };
    match verdict {
        Verdict::Proven => Ok(()),
        Verdict::NotEnforced => Err(Failure::new(
            format!("the bucket takes locks and does not enforce them, so nothing is written, store=`{place}`"),
            "`runpack-enterprise prove` shows what it let happen; use a store that enforces Object Lock",
        )
        .with_exit(Exit::Invalid)),
        Verdict::NotProven => Err(Failure::new(
            format!("it could not be proved that the bucket enforces locks, so nothing is written, store=`{place}`"),
            "run `runpack-enterprise prove` on this machine with credentials that may delete versions: its transcript counts for a week",
        )),
    }
}
