//! Whether every artifact of a pack is still there: asked before and after its commit.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::StreamExt as _;

use super::PackError;
use crate::key::{Location, ObjectKey};
use crate::manifest::{Artifact, Manifest};
use crate::store::{Store, StoreError};
use crate::workers::{self, WorkerLost};

fn key_of(manifest: &Manifest, artifact: &Artifact) -> Result<ObjectKey, PackError> {
    let location = Location::artifact(manifest.subject(), artifact.name(), artifact.commitment());
    Ok(location.key()?)
}

/// Looks for every artifact, of its size. A listing answers for a thousand at once; whatever it does not show
/// is asked for one by one, so that a listing that lags behind hinders nobody.
pub(super) async fn recheck(
    store: &Arc<dyn Store>,
    manifest: &Arc<Manifest>,
) -> Result<(), PackError> {
    let jobs = manifest.artifacts().len();
    let entries_max = jobs.saturating_mul(2).saturating_add(1_000);
    let mut listed: HashMap<String, u64> = HashMap::new();
    let prefix = Location::pack_prefix(manifest.subject());
    let mut entries = store.list(&prefix).take(entries_max);
    while let Some(Ok(entry)) = entries.next().await {
        listed.insert(entry.key, entry.bytes);
    }
    drop(entries);
    let mut unseen = Vec::new();
    for (at, artifact) in manifest.artifacts().iter().enumerate() {
        let key = key_of(manifest, artifact)?;
        if listed.get(key.as_str()) != Some(&artifact.bytes()) {
            unseen.push(at);
        }
    }
    drop(listed);
    let (unseen, in_flight) = (Arc::new(unseen), store.requests_in_flight());
    let (store, manifest, jobs) = (Arc::clone(store), Arc::clone(manifest), unseen.len());
    workers::each(jobs, in_flight, move |job| {
        let (store, manifest) = (Arc::clone(&store), Arc::clone(&manifest));
        let at = unseen.get(job).copied();
        async move {
            let artifact = at.and_then(|at| manifest.artifacts().get(at));
            let artifact = artifact.ok_or(WorkerLost)?;
            let key = key_of(&manifest, artifact)?;
            let stat = store.stat(&key.clone().into()).await?;
            if stat.bytes == artifact.bytes() {
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
