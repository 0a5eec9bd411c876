//! The end of an execution: what belongs to it is gathered, `metadata.json` decides, and the manifest commits to all of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::StreamExt as _;
use runpack_core::display::chain;
use runpack_core::id::{ExecutionId, PackId};
use runpack_core::key::Location;
use runpack_core::manifest::{Artifact, Labels, Manifest};
use runpack_core::pack::{self, CommittedPack};
use runpack_core::progress::Progress;
use runpack_core::reference;
use runpack_core::store::{Housekeeping, StoreError};
use runpack_core::time::Timestamp;
use runpack_core::verify::{Container, StorePack};

use super::contents::{Composed, Contents};
use super::log::{Part, log_name};
use super::memory::lock;
use super::metadata::{agree, metadata_artifact};
use super::{Ending, ExecutionError, Executions, Expected, Metadata};
use crate::once;

/// An execution that has ended.
#[derive(Debug, Clone)]
pub struct Completed {
    /// What was written of its end, by this call or an earlier one.
    pub metadata: Metadata,
    /// The pack, unless it ended as `artifact_error`.
    pub pack_id: Option<PackId>,
    /// Whether this call ended it.
    pub is_new: bool,
}

impl Executions {
    /// Ends an execution. The same end again is success and goes on where an earlier call stopped.
    ///
    /// # Errors
    /// [`ExecutionError::Ended`] where it ended otherwise; [`ExecutionError::Unexpected`] where what was uploaded is not
    /// what `expected` says, or makes no pack, and then it stays open; as the store fails.
    pub async fn end(
        self: &Arc<Self>,
        id: &ExecutionId,
        ending: &Ending,
        expected: &Expected,
        by: &str,
    ) -> Result<Completed, ExecutionError> {
        let remembered = self.memory.of(id);
        let _one = remembered.ending.lock().await;
        let opening = self.opening(id).await?;
        let earlier = self.metadata(id).await?;
        if let Some(earlier) = &earlier {
            agree(earlier, ending)?;
            if let Some(manifest) = self.manifest(id).await? {
                let mut proven = BTreeSet::new();
                self.check(id, expected, manifest.artifacts(), &mut proven)
                    .await?;
                let manifest = Arc::new(manifest);
                self.settle(id, &manifest).await;
                return Ok(Completed {
                    metadata: earlier.clone(),
                    pack_id: Some(manifest.pack_id()),
                    is_new: false,
                });
            }
        }
        let mut contents = Contents::default();
        let (metadata, is_new) = if let Some(earlier) = earlier {
            (earlier, false)
        } else {
            let metadata = self.metadata_of(id, opening, ending, by);
            if ending.result.is_some() {
                // Before the end is written: what can be no pack stays open.
                contents = self.gather(id, contents).await?;
                self.draft(id, &metadata, expected, &mut contents).await?;
            }
            self.decide(metadata, ending).await?
        };
        if ending.result.is_none() {
            return Ok(Completed {
                metadata,
                pack_id: None,
                is_new,
            });
        }
        // What came meanwhile is a part of it: whoever was told so wrote it before the end was there.
        let mut contents = self.gather(id, contents).await?;
        for composed in &mut contents.logs {
            self.place(id, composed).await?;
        }
        let manifest = self.draft(id, &metadata, expected, &mut contents).await?;
        let manifest = self.commit(id, manifest).await?;
        self.settle(id, &manifest).await;
        Ok(Completed {
            metadata,
            pack_id: Some(manifest.pack_id()),
            is_new,
        })
    }

    /// The manifest of what was gathered, which is what was expected.
    async fn draft(
        &self,
        id: &ExecutionId,
        metadata: &Metadata,
        expected: &Expected,
        contents: &mut Contents,
    ) -> Result<Manifest, ExecutionError> {
        let mut artifacts = contents.artifacts()?;
        self.check(id, expected, &artifacts, &mut contents.proven)
            .await?;
        artifacts.push(metadata_artifact(metadata)?);
        self.manifest_of(id, metadata.ended_at, artifacts)
    }

    pub(super) fn manifest_of(
        &self,
        id: &ExecutionId,
        created_at: Timestamp,
        mut artifacts: Vec<Artifact>,
    ) -> Result<Manifest, ExecutionError> {
        artifacts.sort_by(|a, b| a.name().cmp(b.name()));
        Ok(Manifest::new(
            Self::subject(id),
            created_at,
            self.producer.clone(),
            artifacts,
            Labels::new(),
            &self.pack_limits,
        )?)
    }

    /// Brings a log to its place. Where an earlier call has put it there, it stays as it is: parts that were under way when
    /// the execution ended, and whose writers were told so, are not in it.
    async fn place(
        self: &Arc<Self>,
        id: &ExecutionId,
        composed: &mut Composed,
    ) -> Result<(), ExecutionError> {
        let key = Self::artifact(id, &log_name(composed.log)?)?;
        match once::send(&*self.store, self.keeper(), &key, &composed.staged).await {
            Ok(_) => return Ok(()),
            Err(StoreError::AlreadyExists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let (_, there) = self.store.oldest(&key).await?;
        let parts = composed.parts.iter().copied();
        let parts: Vec<Part> = parts.take_while(|part| part.end() <= there).collect();
        let shorter = self.compose(id, composed.log, parts).await?;
        once::send(&*self.store, self.keeper(), &key, &shorter.staged)
            .await
            .map_err(|error| match error {
                StoreError::AlreadyExists { .. } => ExecutionError::Damaged {
                    key: key.to_string(),
                    reason: "it is not what its parts make",
                },
                error => error.into(),
            })?;
        *composed = shorter;
        Ok(())
    }

    async fn commit(
        &self,
        id: &ExecutionId,
        manifest: Manifest,
    ) -> Result<Arc<Manifest>, ExecutionError> {
        // Everything is in its place: the copy finds each artifact to be what it must be, and sends nothing.
        let reader = Arc::clone(&self.store);
        let container: Arc<dyn Container> = Arc::new(StorePack::new(reader, Self::subject(id)));
        let progress = Arc::new(Progress::default());
        let staged = pack::copy(
            &container,
            &Arc::new(manifest),
            &self.store,
            &self.pack_limits,
            &progress,
        )
        .await?;
        let CommittedPack { manifest, .. } = staged.commit().await?;
        Ok(manifest)
    }

    /// What is done with a committed pack besides: somebody is told, it is found by its id, and what was live goes.
    async fn settle(&self, id: &ExecutionId, manifest: &Arc<Manifest>) {
        if let Some(on_commit) = &self.on_commit {
            on_commit.tell(manifest);
        }
        let Some(keeper) = &self.keeper else { return };
        if let Err(error) = reference::ensure(&*self.store, &**keeper, manifest).await {
            tracing::warn!(
                error = chain(&error),
                "an execution is a pack, and its reference could not be written; a scan finds it"
            );
        }
        self.clear(id, &**keeper).await;
    }

    /// Removes what was live and is in the pack now. The opening stays: it says whose the execution is.
    ///
    /// Not before the manifest is in the store itself: behind a spool it may be on its way.
    async fn clear(&self, id: &ExecutionId, keeper: &dyn Housekeeping) {
        let Ok(manifest) = Location::manifest(&Self::subject(id)).key() else {
            return;
        };
        if keeper.oldest(&manifest).await.is_err() {
            lock(&self.memory.uncleared).insert(id.clone());
            return;
        }
        lock(&self.memory.uncleared).remove(id);
        let prefix = Location::live_prefix(Some(id));
        let mut holdings = keeper.holdings(&prefix);
        while let Some(holding) = holdings.next().await {
            let Ok(holding) = holding else { return };
            if holding.key.starts_with(prefix.as_str()) && !holding.key.ends_with("/opening.json") {
                // What stays harms nobody.
                let _ = keeper.remove(&holding).await;
            }
        }
    }

    /// Removes what was live of executions whose packs had not reached the store when they ended.
    pub async fn sweep(&self) {
        let Some(keeper) = &self.keeper else { return };
        let left: Vec<_> = lock(&self.memory.uncleared).iter().cloned().collect();
        for id in left {
            self.clear(&id, &**keeper).await;
        }
    }
}
