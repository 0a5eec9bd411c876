//! Objects of more than one chunk: an upload in parts, completed only where nothing is there.
//!
//! Parts are streamed from the source; memory does not grow with the object. Whatever does not end in an object ends in
//! an abort; what no abort reaches is left to housekeeping.

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::S3Store;
use super::open::unusable;
use super::upload::{PartFault, Sent, Upload};
use super::write::{After, Write};
use crate::key::ObjectKey;
use crate::store::plan::{PART_CHUNKS_MAX, PARTS_MAX, Plan};
use crate::store::{Declared, Receipt, Source, StoreError};

/// Parts of one object on their way at once.
const IN_FLIGHT: usize = 4;

impl S3Store {
    pub(super) async fn send_in_parts(
        &self,
        key: &ObjectKey,
        declared: Declared,
        source: Arc<dyn Source>,
    ) -> Result<Receipt, StoreError> {
        let write = Write::new(self, key, declared)?;
        let plan = Plan::of(write.declared.bytes).ok_or_else(|| too_large(&write))?;
        // What is there already needs no sending, and what is there as something else no sending either.
        if let Some(receipt) = write.find(None).await? {
            return Ok(receipt);
        }
        let mut attempt = 0;
        loop {
            let upload = Upload::begin(&write).await?;
            let fault = match write.parts(plan, &upload, &source).await {
                Ok(sent) => match upload.complete(&write, &sent).await? {
                    After::There(receipt) => return Ok(receipt),
                    After::Again(fault) => fault,
                },
                Err(PartFault::Failed(error)) => {
                    upload.abort().await;
                    return Err(error);
                }
                Err(PartFault::Lost(fault)) => fault,
            };
            write.pause(&mut attempt, fault).await?;
        }
    }
}

impl Write<'_> {
    async fn parts(
        &self,
        plan: Plan,
        upload: &Upload,
        source: &Arc<dyn Source>,
    ) -> Result<Vec<Sent>, PartFault> {
        let part = |part| {
            let passage = self.passage(Arc::clone(source), plan.range(part));
            async move {
                let _permit = self.store.shared.parts.acquire().await;
                let digest = match usize::try_from(part) {
                    Ok(at) if plan.is_by_chunk() => {
                        passage.declared.content.chunks().get(at).copied()
                    }
                    _ => None,
                };
                let digest = match digest {
                    Some(digest) => digest,
                    None => passage.digest().await?,
                };
                upload
                    .send(part, digest, passage.bytes(), || passage.body())
                    .await
            }
        };
        let mut sent: Vec<Sent> = stream::iter((0..plan.parts).map(part))
            .buffer_unordered(IN_FLIGHT)
            .try_collect()
            .await?;
        sent.sort_unstable_by_key(|sent| sent.part);
        Ok(sent)
    }
}

fn too_large(write: &Write<'_>) -> StoreError {
    unusable(format!(
        "an object may have {} parts of {} MiB, key=`{}` bytes=`{}`",
        PARTS_MAX,
        PART_CHUNKS_MAX.saturating_mul(8),
        write.key,
        write.declared.bytes
    ))
}
