//! Keeping a catalog up with commits, where there is one: the one that `RUNPACK_CATALOG` names, or the file of this machine
//! if it is there.
//!
//! Invariant: nothing that is wrong with a catalog keeps a pack from a store or makes a command fail. What the catalog did
//! not take is remembered on this machine, a small file for each pack, and taken up when the next one is.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use runpack_catalog::{Catalog, CatalogAddress, Form, Found};
use runpack_core::digest::Digest;
use runpack_core::key::{Location, ObjectKey};
use runpack_core::limits::Limits;
use runpack_core::manifest::Manifest;
use tokio::sync::OnceCell;

use super::{Named, configured, name};
use crate::context::Context;
use crate::failure::Failure;
use crate::storage::Storage;

/// How many packs that were missed are taken up by one command.
const MISSED_AT_ONCE: usize = 1_000;
/// No key is longer.
const KEY_BYTES_MAX: u64 = 1_024;

/// The catalog while a command runs.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    opened: OnceCell<Catalog>,
    /// It failed once, and is left alone until the next command.
    has_failed: AtomicBool,
    has_caught_up: AtomicBool,
}

/// Tells the catalog of a pack that is in a store, if there is a catalog.
pub(crate) async fn tell(
    context: &Context,
    storage: &Storage,
    manifest: &Arc<Manifest>,
    form: Form,
) {
    let address = match configured(context) {
        Ok((address, named)) if named == Named::Yes || is_there(&address) => address,
        Ok(_) => return,
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
        remember(context, storage, &key);
        return;
    }
    if let Err(failure) = admit(context, storage, &address, found).await {
        upkeep.has_failed.store(true, Ordering::Relaxed);
        remember(context, storage, &key);
        context.output.remark(&format!(
            "warning: the pack is stored, and the catalog does not have it yet: {}; the next pack takes it along, as does `runpack catalog update`",
            failure.line()
        ));
    }
}

async fn admit(
    context: &Context,
    storage: &Storage,
    address: &CatalogAddress,
    found: Found,
) -> Result<(), Failure> {
    let upkeep = &context.catalog;
    let catalog = upkeep
        .opened
        .get_or_try_init(|| Catalog::open(address))
        .await?;
    let store = name(storage);
    catalog.admit(&store, &[found]).await?;
    if upkeep.has_caught_up.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    let missed = missed(context, storage);
    let keys: Vec<String> = missed.iter().map(|(_, key)| key.clone()).collect();
    if !keys.is_empty() {
        let (reader, limits) = (storage.reader(), Limits::default());
        catalog.admit_keys(&store, &reader, &keys, &limits).await?;
    }
    for (path, _) in missed {
        // What stays is taken up once more, which changes nothing.
        let _ = fs::remove_file(path);
    }
    Ok(())
}

fn is_there(address: &CatalogAddress) -> bool {
    match address {
        CatalogAddress::Sqlite(file) => file.exists(),
        _ => false,
    }
}

/// Where it is remembered what a catalog missed of a store.
fn place(context: &Context, storage: &Storage) -> Option<PathBuf> {
    let store = Digest::of(storage.place().as_bytes());
    let state = context.environment.state().ok()?;
    Some(state.join("catalog-missed").join(store.to_string()))
}

/// What cannot be remembered is found by `runpack catalog update`.
fn remember(context: &Context, storage: &Storage, key: &ObjectKey) {
    if let Some(place) = place(context, storage)
        && fs::create_dir_all(&place).is_ok()
    {
        let file = Digest::of(key.as_str().as_bytes()).to_string();
        let _ = fs::write(place.join(file), key.as_str());
    }
}

/// What was missed, and the files that say so.
fn missed(context: &Context, storage: &Storage) -> Vec<(PathBuf, String)> {
    let entries = place(context, storage).and_then(|place| fs::read_dir(place).ok());
    let entries = entries.into_iter().flatten().take(MISSED_AT_ONCE);
    let read = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let is_short = entry.metadata().ok()?.len() <= KEY_BYTES_MAX;
        let key = fs::read_to_string(entry.path()).ok().filter(|_| is_short)?;
        Some((entry.path(), key))
    });
    read.collect()
}
