//! Hashing and writing the artifacts of a draft, many at once.
//!
//! Two rounds. First the chunks of large artifacts are hashed side by side, so that one large artifact
//! keeps every worker busy. Then every artifact is written: a small one is read once, hashed and put;
//! a large one is read again and streamed, and the store holds it against the digests of the first
//! round. Memory: a worker has one artifact in hand, of which at most [`BUFFERED_BYTES_MAX`] are in
//! memory; writes that only wait to become durable hold no bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::try_join;

use super::delivery::{BUFFERED_BYTES_MAX, Delivery, read_whole};
use super::{NewArtifact, PackDraft, PackError};
use crate::commitment::{CHUNK_BYTES, Content, chunk_count, chunk_len};
use crate::count::len_u64;
use crate::digest::{Digest, Hasher};
use crate::key::Location;
use crate::manifest::{Artifact, Subject, check_names};
use crate::name::ArtifactName;
use crate::progress::Progress;
use crate::store::{Declared, Store, StoreError};
use crate::workers::{self, WorkerLost};

/// An artifact to be, measured.
struct Item {
    new: NewArtifact,
    bytes: u64,
}

impl Item {
    fn is_large(&self) -> bool {
        self.bytes > BUFFERED_BYTES_MAX
    }
}

/// Stages every artifact of `draft` and gives what the manifest says of them.
pub(super) async fn stage(
    draft: &mut PackDraft,
    store: &Arc<dyn Store>,
) -> Result<Vec<Artifact>, PackError> {
    let new = std::mem::take(&mut draft.artifacts);
    // What names alone can tell is told before terabytes are hashed.
    let mut names: Vec<&ArtifactName> = new.iter().map(|new| &new.name).collect();
    names.sort_unstable();
    check_names(&names)?;
    let items = Arc::new(measure(new, draft.limits.artifact_bytes_max).await?);
    // Bytes that are read twice count twice, so that a display moves all the time.
    let total = items.iter().fold(0u64, |sum, item| {
        let readings = if item.is_large() { 2 } else { 1 };
        sum.saturating_add(item.bytes.saturating_mul(readings))
    });
    draft.progress.expect(len_u64(&items), total);
    let contents = hash_large(&items, &draft.progress).await?;
    let delivery = Delivery::to(store, &draft.subject, items.len()).await?;
    let writer = Writer {
        items,
        contents,
        subject: draft.subject.clone(),
        delivery,
        progress: Arc::clone(&draft.progress),
    };
    writer.run().await
}

async fn measure(new: Vec<NewArtifact>, bytes_max: u64) -> Result<Vec<Item>, PackError> {
    let mut items = Vec::with_capacity(new.len());
    for new in new {
        let bytes = new
            .source
            .bytes()
            .await
            .map_err(|source| source_error(&new, source))?;
        if bytes > bytes_max {
            let name = new.name.to_string();
            return Err(PackError::ArtifactSize {
                name,
                bytes,
                bytes_max,
            });
        }
        items.push(Item { new, bytes });
    }
    Ok(items)
}

fn source_error(new: &NewArtifact, source: StoreError) -> PackError {
    PackError::Source {
        name: new.name.to_string(),
        source,
    }
}

/// Round one: the content of every artifact that is not buffered.
async fn hash_large(
    items: &Arc<Vec<Item>>,
    progress: &Arc<Progress>,
) -> Result<BTreeMap<usize, Content>, PackError> {
    // Jobs are chunks, counted through all large artifacts; `starts` finds the artifact of a job.
    let mut starts: Vec<(u64, usize)> = Vec::new();
    let mut jobs = 0u64;
    for (at, item) in items.iter().enumerate().filter(|(_, item)| item.is_large()) {
        starts.push((jobs, at));
        jobs = jobs.saturating_add(chunk_count(item.bytes));
    }
    let starts = Arc::new(starts);
    let (shared, table, progress) = (Arc::clone(items), Arc::clone(&starts), Arc::clone(progress));
    let jobs = usize::try_from(jobs).map_err(|_| WorkerLost)?;
    let mut digests = workers::each(jobs, 1, move |job| {
        let (items, starts, progress) = (
            Arc::clone(&shared),
            Arc::clone(&table),
            Arc::clone(&progress),
        );
        async move {
            let job = u64::try_from(job).map_err(|_| WorkerLost)?;
            let before = starts
                .partition_point(|(start, _)| *start <= job)
                .saturating_sub(1);
            let (start, at) = starts.get(before).ok_or(WorkerLost)?;
            let item = items.get(*at).ok_or(WorkerLost)?;
            hash_chunk(item, job.saturating_sub(*start), &progress).await
        }
    })
    .await?
    .into_iter();
    let mut contents = BTreeMap::new();
    for (_, at) in starts.iter() {
        let chunks = items.get(*at).map_or(0, |item| chunk_count(item.bytes));
        let chunks = usize::try_from(chunks).map_err(|_| WorkerLost)?;
        contents.insert(
            *at,
            Content::from_chunks(digests.by_ref().take(chunks).collect()),
        );
    }
    Ok(contents)
}

async fn hash_chunk(item: &Item, chunk: u64, progress: &Progress) -> Result<Digest, PackError> {
    let failed = |source| source_error(&item.new, source);
    let start = chunk.saturating_mul(CHUNK_BYTES);
    let len = chunk_len(item.bytes, chunk);
    let mut body = item
        .new
        .source
        .open(start..start.saturating_add(len))
        .await
        .map_err(failed)?;
    let mut hasher = Hasher::new();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(failed)?;
        progress.add_bytes(len_u64(&piece));
        hasher.update(&piece);
    }
    Ok(hasher.finish())
}

/// The digest of a whole artifact.
async fn hash_whole(item: &Item, progress: &Progress) -> Result<Digest, PackError> {
    let failed = |source| source_error(&item.new, source);
    let mut body = item.new.source.open(0..item.bytes).await.map_err(failed)?;
    let mut hasher = Hasher::new();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(failed)?;
        progress.add_bytes(len_u64(&piece));
        hasher.update(&piece);
    }
    Ok(hasher.finish())
}

/// Round two.
struct Writer {
    items: Arc<Vec<Item>>,
    contents: BTreeMap<usize, Content>,
    subject: Subject,
    delivery: Delivery,
    progress: Arc<Progress>,
}

impl Writer {
    async fn run(self) -> Result<Vec<Artifact>, PackError> {
        let (jobs, in_flight) = (self.items.len(), self.delivery.in_flight());
        let writer = Arc::new(self);
        workers::each(jobs, in_flight, move |at| {
            let writer = Arc::clone(&writer);
            async move {
                let item = writer.items.get(at).ok_or(WorkerLost)?;
                let artifact = match writer.contents.get(&at) {
                    None => writer.write_buffered(item).await?,
                    Some(content) => writer.write_streamed(item, content).await?,
                };
                writer.progress.add_artifact();
                Ok(artifact)
            }
        })
        .await
    }

    async fn write_buffered(&self, item: &Item) -> Result<Artifact, PackError> {
        let failed = |source| source_error(&item.new, source);
        let name = item.new.name.as_str();
        let bytes = read_whole(&*item.new.source, item.bytes, name)
            .await
            .map_err(failed)?;
        self.progress.add_bytes(item.bytes);
        let declared = Declared::new(item.bytes, Content::Whole(Digest::of(&bytes)));
        let artifact = Self::describe(item, declared.content.clone())?;
        let key =
            Location::artifact(&self.subject, artifact.name(), artifact.commitment()).key()?;
        self.delivery.put(&key, bytes, declared).await?;
        Ok(artifact)
    }

    async fn write_streamed(&self, item: &Item, content: &Content) -> Result<Artifact, PackError> {
        let artifact = Self::describe(item, content.clone())?;
        let key =
            Location::artifact(&self.subject, artifact.name(), artifact.commitment()).key()?;
        let declared = Declared::new(item.bytes, content.clone());
        let source = Arc::clone(&item.new.source);
        let sent = async {
            let sent = self.delivery.send(&key, declared, source).await;
            sent.map_err(PackError::from)
        };
        if matches!(content, Content::Whole(_)) {
            sent.await?;
            self.progress.add_bytes(item.bytes);
            return Ok(artifact);
        }
        // What is claimed for the whole is told by one reader from end to end, beside the sending, which
        // takes parts in any order.
        let claimed = hash_whole(item, &self.progress);
        let ((), claimed) = try_join(sent, claimed).await?;
        Ok(artifact.with_claimed_sha256(claimed))
    }

    fn describe(item: &Item, content: Content) -> Result<Artifact, PackError> {
        let new = &item.new;
        let (name, kind, media_type) = (new.name.clone(), new.kind.clone(), new.media_type.clone());
        // The digests were counted by the same size, so they fit it.
        let artifact = Artifact::new(name, kind, media_type, item.bytes, content)
            .map_err(|_| StoreError::NotDeclared {
                key: new.name.to_string(),
            })?
            .with_inputs(new.inputs.clone());
        let artifact = match &new.title {
            Some(title) => artifact.with_title(title.clone()),
            None => artifact,
        };
        Ok(match &new.step {
            Some(step) => artifact.with_step(step.clone()),
            None => artifact,
        })
    }
}
