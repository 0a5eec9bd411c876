//! A pack from one place to another: what `push`, `pull` and `mirror` have in common.
//!
//! The manifest says what every artifact must be, so each is held against its commitment on the way, and
//! the manifest follows last. Invariant: what is not as committed is never committed elsewhere.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;

use super::delivery::{BUFFERED_BYTES_MAX, Delivery, read_whole};
use super::{PackError, StagedPack};
use crate::container::Container;
use crate::key::Location;
use crate::limits::Limits;
use crate::manifest::{Artifact, Manifest};
use crate::progress::Progress;
use crate::store::{Declared, ObjectBody, Source, Store, StoreError};
use crate::workers::{self, WorkerLost};

/// An artifact of a pack that is somewhere, as a source.
#[derive(Debug)]
struct ArtifactSource {
    container: Arc<dyn Container>,
    artifact: Artifact,
}

#[async_trait]
impl Source for ArtifactSource {
    async fn open(&self, range: Range<u64>) -> Result<ObjectBody, StoreError> {
        self.container.open(&self.artifact, range).await
    }

    async fn bytes(&self) -> Result<u64, StoreError> {
        Ok(self.artifact.bytes())
    }
}

/// Brings every artifact of the pack with this manifest from `container` to `store`, many at once, until all
/// are durable there. Artifacts that are there already are not sent again.
///
/// # Errors
/// The first that occurs: [`StoreError::NotDeclared`] where the container's bytes are not those committed to;
/// as container and store fail. What was written stays as residue, which the next copy uses.
pub async fn copy(
    container: &Arc<dyn Container>,
    manifest: &Arc<Manifest>,
    store: &Arc<dyn Store>,
    limits: &Limits,
    progress: &Arc<Progress>,
) -> Result<StagedPack, PackError> {
    store.expect(manifest.subject()).await?;
    let jobs = manifest.artifacts().len();
    progress.expect(
        u64::try_from(jobs).unwrap_or(u64::MAX),
        manifest.artifact_bytes(),
    );
    let delivery = Arc::new(Delivery::to(store, manifest.subject(), jobs).await?);
    let in_flight = delivery.in_flight();
    let (from, what, done) = (
        Arc::clone(container),
        Arc::clone(manifest),
        Arc::clone(progress),
    );
    workers::each(jobs, in_flight, move |at| {
        let (container, manifest) = (Arc::clone(&from), Arc::clone(&what));
        let (delivery, progress) = (Arc::clone(&delivery), Arc::clone(&done));
        async move {
            let artifact = manifest.artifacts().get(at).ok_or(WorkerLost)?.clone();
            let location =
                Location::artifact(manifest.subject(), artifact.name(), artifact.commitment());
            let key = location.key()?;
            let (bytes, name) = (artifact.bytes(), artifact.name().to_string());
            let declared = Declared::new(bytes, artifact.content().clone());
            let source = Arc::new(ArtifactSource {
                container,
                artifact,
            });
            if bytes <= BUFFERED_BYTES_MAX {
                let read = read_whole(&*source, bytes, &name).await?;
                delivery.put(&key, read, declared).await?;
            } else {
                delivery.send(&key, declared, source).await?;
            }
            progress.add_bytes(bytes);
            progress.add_artifact();
            Ok::<(), PackError>(())
        }
    })
    .await?;
    Ok(StagedPack {
        store: Arc::clone(store),
        manifest: Arc::clone(manifest),
        limits: limits.clone(),
        deadline: None,
    })
}
