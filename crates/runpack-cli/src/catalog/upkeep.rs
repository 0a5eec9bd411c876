//! Keeping a catalog up with commits, where there is one: the one that `RUNPACK_CATALOG` or the configuration file names, or
//! the file of this machine if it is there.
//!
//! Invariant: nothing that is wrong with a catalog keeps a pack from a store or makes a command fail. What the catalog did
//! not take is remembered on this machine, a small file for each pack, and taken up when the next one is.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use runpack_catalog::{Catalog, CatalogAddress, Filled, Form, Found, SurveyError};
use runpack_core::digest::Digest;
use runpack_core::key::{Location, ObjectKey};
use runpack_core::limits::Limits;
use runpack_core::manifest::Manifest;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::{name, wanted};
use crate::context::Context;
use crate::failure::Failure;
use crate::storage::Storage;
use crate::table::safe;

/// The catalog while a command runs.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    opened: OnceCell<Catalog>,
    /// It failed once, and is left alone until the next command.
    has_failed: AtomicBool,
    /// What was missed before was taken up.
    has_caught_up: AtomicBool,
}

/// How long a commit waits for the catalog.
const WITHIN: Duration = Duration::from_secs(15);
/// How many packs that were missed are taken up by one command, and how many of them at once.
const MISSED_MAX: usize = 1_000;
const MISSED_AT_ONCE: usize = 50;
/// No key is longer.
const KEY_BYTES_MAX: u64 = 1_024;

/// Tells the catalog of a pack that is in a store, if there is a catalog.
pub(crate) async fn tell(
    context: &Context,
    storage: &Storage,
    manifest: &Arc<Manifest>,
    form: Form,
) {
    let address = match wanted(context) {
        Ok(Some(address)) => address,
        Ok(None) => return,
        Err(failure) => {
            context
                .output
                .remark(&format!("warning: {}", failure.line()));
            return;
        }
    };
    let location = match form {
        Form::Bundle => Location::bundle(manifest),
        _ => Some(Location::manifest(manifest.subject())),
    };
    let Some(Ok(key)) = location.map(|location| location.key()) else {
        return;
    };
    let found = Found {
        key: key.clone(),
        form,
        manifest: Arc::clone(manifest),
    };
    let upkeep = &context.catalog;
    if upkeep.has_failed.load(Ordering::Relaxed) {
        remember(context, storage, &address, &key);
        return;
    }
    let told = timeout(WITHIN, admit(context, storage, &address, found)).await;
    let failure = match told {
        Ok(Ok(catalog)) => {
            take_up_missed(context, storage, &address, catalog).await;
            return;
        }
        Ok(Err(failure)) => failure,
        Err(elapsed) => {
            Failure::new("the catalog does not answer", "look at its database").because(&elapsed)
        }
    };
    upkeep.has_failed.store(true, Ordering::Relaxed);
    remember(context, storage, &address, &key);
    context.output.remark(&format!(
        "warning: the pack is stored, and the catalog does not have it yet: {}; the next pack takes it along, as does `runpack catalog update`",
        failure.line()
    ));
}

async fn admit<'a>(
    context: &'a Context,
    storage: &Storage,
    address: &CatalogAddress,
    found: Found,
) -> Result<&'a Catalog, Failure> {
    let catalog = context
        .catalog
        .opened
        .get_or_try_init(|| Catalog::open(address))
        .await?;
    catalog.admit(&name(storage), &[found]).await?;
    Ok(catalog)
}

/// Takes up what was missed before, once, some at a time. What cannot be taken up now stays remembered.
async fn take_up_missed(
    context: &Context,
    storage: &Storage,
    address: &CatalogAddress,
    catalog: &Catalog,
) {
    if context.catalog.has_caught_up.swap(true, Ordering::Relaxed) {
        return;
    }
    let missed = Missed::of(context, storage, address);
    // What is left, the next command takes up.
    let _ = timeout(
        WITHIN,
        missed.take_up(context, storage, catalog, &Limits::default()),
    )
    .await;
}

/// What a catalog missed of a store, as it was remembered at one time: the files that say so, and the keys.
#[derive(Debug)]
pub(crate) struct Missed(Vec<(PathBuf, String)>);

impl Missed {
    pub(crate) fn of(context: &Context, storage: &Storage, address: &CatalogAddress) -> Self {
        let entries = place(context, storage, address).and_then(|place| fs::read_dir(place).ok());
        let entries = entries.into_iter().flatten().take(MISSED_MAX);
        let read = entries.filter_map(|entry| {
            let entry = entry.ok()?;
            let is_short = entry.metadata().ok()?.len() <= KEY_BYTES_MAX;
            let key = fs::read_to_string(entry.path()).ok().filter(|_| is_short)?;
            Some((entry.path(), key))
        });
        Self(read.collect())
    }

    /// Takes it up by its keys, whatever the store lists, and forgets what could be read. What is no pack any more is named:
    /// nobody else would miss what a store hides.
    pub(crate) async fn take_up(
        self,
        context: &Context,
        storage: &Storage,
        catalog: &Catalog,
        limits: &Limits,
    ) -> Result<Filled, SurveyError> {
        let (store, reader) = (name(storage), storage.reader());
        let mut all = Filled::default();
        for some in self.0.chunks(MISSED_AT_ONCE) {
            let keys: Vec<String> = some.iter().map(|(_, key)| key.clone()).collect();
            let filled = catalog.admit_keys(&store, &reader, &keys, limits).await?;
            all.add(&filled);
            for fault in &filled.odd.faults {
                context.output.remark(&format!(
                    "warning: what was committed here is no pack any more, or is beyond the limits: {}: {}",
                    safe(&fault.key),
                    safe(&fault.reason)
                ));
            }
            for (path, key) in some {
                if filled.odd.unread.iter().all(|unread| unread.key != *key) {
                    // What stays is taken up once more, which changes nothing.
                    let _ = fs::remove_file(path);
                }
            }
        }
        Ok(all)
    }
}

/// Where it is remembered what a catalog missed of a store.
fn place(context: &Context, storage: &Storage, address: &CatalogAddress) -> Option<PathBuf> {
    // Another catalog has missed something else.
    let of = Digest::of(format!("{address}\n{}", storage.place()).as_bytes());
    let state = context.environment.state().ok()?;
    Some(state.join("catalog-missed").join(of.to_string()))
}

/// What cannot be remembered is found by `runpack catalog update`.
fn remember(context: &Context, storage: &Storage, address: &CatalogAddress, key: &ObjectKey) {
    if let Some(place) = place(context, storage, address)
        && fs::create_dir_all(&place).is_ok()
    {
        let file = Digest::of(key.as_str().as_bytes()).to_string();
        let _ = fs::write(place.join(file), key.as_str());
    }
}
