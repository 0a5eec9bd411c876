//! Whether every artifact of a pack is still there: asked before and after its commit.

use std::sync::Arc;

use futures_util::StreamExt as _;

use super::PackError;
use crate::key::{Location, ObjectKey};
use crate::manifest::{Artifact, Manifest};
use crate::store::{ListEntry, Store, StoreError};
use crate::workers::{self, WorkerLost};

fn key_of(manifest: &Manifest, artifact: &Artifact) -> Result<ObjectKey, PackError> {
    let location = Location::artifact(manifest.subject(), artifact.name(), artifact.commitment());
    Ok(location.key()?)
}

/// Which artifact the listing shows here, of its size and where it has to be.
fn position(manifest: &Manifest, entry: &ListEntry) -> Result<Option<usize>, PackError> {
    let location = Location::parse(&entry.key);
    let name = location.as_ref().and_then(Location::artifact_name);
    let Some(at) = name.and_then(|name| manifest.position(name.as_str())) else {
        return Ok(None);
    };
    let Some(artifact) = manifest.artifacts().get(at) else {
        return Ok(None);
    };
    let is_it =
        entry.bytes == artifact.bytes() && entry.key == key_of(manifest, artifact)?.as_str();
    Ok(is_it.then_some(at))
}

/// Looks for every artifact, of its size. A listing answers for a thousand at once; whatever it does not show
/// is asked for one by one, so that a listing that lags behind hinders nobody.
pub(super) async fn recheck(
    store: &Arc<dyn Store>,
    manifest: &Arc<Manifest>,
) -> Result<(), PackError> {
    // A mark for each artifact: a million keys would take more memory than the manifest.
    let mut seen = vec![false; manifest.artifacts().len()];
    let entries_max = seen.len().saturating_mul(2).saturating_add(1_000);
    let prefix = Location::pack_prefix(manifest.subject());
    let mut entries = store.list(&prefix).take(entries_max);
    while let Some(Ok(entry)) = entries.next().await {
        if let Some(at) = position(manifest, &entry)?
            && let Some(mark) = seen.get_mut(at)
        {
            *mark = true;
        }
    }
    drop(entries);
    let unseen: Vec<usize> = seen
        .iter()
        .enumerate()
        .filter_map(|(at, seen)| (!seen).then_some(at))
        .collect();
    let (unseen, in_flight) = (Arc::new(unseen), store.requests_in_flight());
    let (store, manifest, jobs) = (Arc::clone(store), Arc::clone(manifest), unseen.len());
    workers::each(jobs, in_flight, move |job| {
        let (store, manifest) = (Arc::clone(&store), Arc::clone(&manifest));
        let at = unseen.get(job).copied();
        async move {
            let artifact = at.and_then(|at| manifest.artifacts().get(at));
            let artifact = artifact.ok_or(WorkerLost)?;
            let key = key_of(&manifest, artifact)?;
            let bytes = if manifest.subject().is_kept_by_oldest() {
                store.oldest(&key).await?.1
            } else {
                store.stat(&key.clone().into()).await?.bytes
            };
            if bytes == artifact.bytes() {
                Ok(())
            } else {
                Err(PackError::from(StoreError::NotFound {
                    key: key.to_string(),
                }))
            }
        }
    })
    .await
    .map(|_| ())
}
