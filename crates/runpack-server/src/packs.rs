//! Packs over HTTP: taken in as bundles, kept as files, verified and given out again, by the same core as everywhere.
//!
//! Invariants: nothing of a bundle reaches the store before all of it was verified; whose pack it is is told by its manifest
//! and nothing else; bytes that are given out were compared with their commitments. A pack that lies in the store only as a
//! bundle is not seen here: `runpack unbundle` and `runpack push` make files of it.

mod error;
mod search;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use runpack_core::bundle::{BundleError, BundleOutcome, BundleWriter, Compression, extract_bundle};
use runpack_core::commitment::CHUNK_BYTES;
use runpack_core::directory::{DirectoryWriter, PackDirectory};
use runpack_core::display::chain;
use runpack_core::id::{Namespace, PackId, RunId, Scenario, Tenant};
use runpack_core::key::{Location, ObjectKey};
use runpack_core::limits::Limits;
use runpack_core::manifest::{Manifest, Subject};
use runpack_core::pack::{self, Commit};
use runpack_core::pin::Pins;
use runpack_core::progress::Progress;
use runpack_core::read::PinnedPack;
use runpack_core::reference::{self, Found};
use runpack_core::store::{ArtifactReader, Housekeeping, Store, StoreError};
use runpack_core::time::Timestamp;
use runpack_core::verify::{
    Container, Finding, Level, Pack, StorePack, VerifyOptions, VerifyReport,
};

pub use self::error::PacksError;
use self::search::Search;
use crate::bytes_of;
use crate::commits::OnCommit;
use crate::staging::Staged;

/// Objects that are looked through for a pack whose reference is missing or wrong.
const LOOKED_MAX: usize = 100_000;
/// How many manifests are read at once for a list.
const MANIFESTS_IN_FLIGHT: usize = 8;

/// A bundle that was unpacked and verified, on its way to the store.
#[derive(Debug)]
pub struct Unpacked {
    /// Its manifest.
    pub manifest: Arc<Manifest>,
    container: Arc<dyn Container>,
    _directory: tempfile::TempDir,
}

/// Which packs of runs a list is of. A part that is not given leaves out all after it.
#[derive(Debug, Clone)]
pub struct Runs {
    /// Of this tenant.
    pub tenant: Tenant,
    /// In this namespace.
    pub namespace: Option<Namespace>,
    /// Of this scenario.
    pub scenario: Option<Scenario>,
    /// Of this run.
    pub run_id: Option<RunId>,
}

/// What a list tells of a pack: its manifest may be large, and a list has many.
#[derive(Debug, Clone)]
pub struct PackSummary {
    /// The SHA-256 of its manifest.
    pub pack_id: PackId,
    /// Whose it is.
    pub subject: Subject,
    /// When it was made, as whoever made it says.
    pub created_at: Timestamp,
    /// How many artifacts it has.
    pub artifacts: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl PackSummary {
    /// Of the pack with this manifest.
    pub fn of(manifest: &Manifest) -> Self {
        Self {
            pack_id: manifest.pack_id(),
            subject: manifest.subject().clone(),
            created_at: manifest.created_at(),
            artifacts: manifest.artifacts().len(),
            bytes: manifest.artifact_bytes(),
        }
    }
}

/// A part of a list of packs, by key.
#[derive(Debug, Clone)]
pub struct PackPage {
    /// What was found.
    pub packs: Vec<PackSummary>,
    /// After which key to go on; `None` at the end.
    pub next: Option<String>,
}

/// The packs of a store.
#[derive(Debug)]
pub struct Packs {
    store: Arc<dyn Store>,
    writing: Arc<dyn Store>,
    keeper: Option<Arc<dyn Housekeeping>>,
    staging: PathBuf,
    limits: Limits,
    search: Search,
    on_commit: Option<OnCommit>,
}

impl Packs {
    /// The packs of `store`, written by way of `writing`; `keeper` mends references. Bundles are unpacked below `staging`.
    pub fn new(
        store: Arc<dyn Store>,
        writing: Arc<dyn Store>,
        keeper: Option<Arc<dyn Housekeeping>>,
        staging: &Path,
        limits: Limits,
    ) -> Self {
        Self {
            store,
            writing,
            keeper,
            staging: staging.to_owned(),
            limits,
            search: Search::default(),
            on_commit: None,
        }
    }

    /// The same, telling somebody of each pack that is committed.
    #[must_use]
    pub fn telling(mut self, on_commit: Option<OnCommit>) -> Self {
        self.on_commit = on_commit;
        self
    }

    /// The bounds.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Unpacks and verifies a bundle, which touches the store in nothing.
    ///
    /// # Errors
    /// [`PacksError::Unsound`]; [`PacksError::Other`]; there is no room for it.
    pub async fn unpack(
        &self,
        bundle: Staged,
        announced: Option<PackId>,
    ) -> Result<Unpacked, PacksError> {
        let (staging, limits) = (self.staging.clone(), self.limits.clone());
        let done = tokio::task::spawn_blocking(move || unpack(&staging, &limits, &bundle));
        let unpacked = done
            .await
            .map_err(|_| io::Error::other("a thread for blocking work was lost"))??;
        match announced {
            Some(announced) if announced != unpacked.manifest.pack_id() => Err(PacksError::Other {
                announced,
                sent: unpacked.manifest.pack_id(),
            }),
            _ => Ok(unpacked),
        }
    }

    /// Brings an unpacked pack to the store and commits it. The same again is success.
    ///
    /// # Errors
    /// [`PacksError::Conflict`] where another pack of this run is there; as the store fails.
    pub async fn commit(&self, unpacked: &Unpacked) -> Result<(Arc<Manifest>, Commit), PacksError> {
        let progress = Arc::new(Progress::default());
        let staged = pack::copy(
            &unpacked.container,
            &unpacked.manifest,
            &self.writing,
            &self.limits,
            &progress,
        );
        let committed = staged.await?.commit().await?;
        self.settle(&committed.manifest).await;
        self.search.came(committed.manifest.pack_id());
        Ok((committed.manifest, committed.commit))
    }

    /// Where packs are read.
    pub(crate) fn store(&self) -> &dyn ArtifactReader {
        &*self.store
    }

    /// Where packs are written.
    pub(crate) fn writing(&self) -> &Arc<dyn Store> {
        &self.writing
    }

    /// What is done with a committed pack besides: somebody is told, and it is found by its id without a scan.
    pub(crate) async fn settle(&self, manifest: &Arc<Manifest>) {
        if let Some(on_commit) = &self.on_commit {
            on_commit.tell(manifest);
        }
        self.refer(manifest).await;
    }

    async fn refer(&self, manifest: &Manifest) {
        let Some(keeper) = &self.keeper else {
            return;
        };
        if let Err(error) = reference::ensure(&*self.store, &**keeper, manifest).await {
            tracing::warn!(
                error = chain(&error),
                "a pack is stored and its reference is not; a scan finds it"
            );
        }
    }

    /// Whose pack this is: by its reference, and else by looking through the store, which gets it one.
    ///
    /// # Errors
    /// [`PacksError::NotFound`]; [`PacksError::Busy`]; as the store fails.
    pub async fn find(&self, pack_id: PackId) -> Result<Subject, PacksError> {
        let none = || PacksError::NotFound(format!("pack_id=`{pack_id}`"));
        let reader: Arc<dyn ArtifactReader> = self.store.clone();
        let referred = reference::follow(&reader, pack_id, &self.limits).await?;
        if referred != Found::default() {
            return referred.subject.ok_or_else(none);
        }
        let _turn = self.search.begin(pack_id).await?.ok_or_else(none)?;
        let found = reference::scan(&reader, pack_id, &self.limits, LOOKED_MAX).await?;
        let Some(subject) = found.subject else {
            self.search.missed(pack_id);
            return Err(none());
        };
        let manifest = self.manifest(subject.clone()).await?;
        if let Some(manifest) = manifest.filter(|found| found.pack_id() == pack_id) {
            self.refer(&manifest).await;
        }
        Ok(subject)
    }

    fn container(&self, subject: &Subject) -> Arc<dyn Container> {
        let reader = Arc::clone(&self.store);
        Arc::new(StorePack::new(reader, subject.clone()))
    }

    /// Opens a pack for verified reading.
    ///
    /// # Errors
    /// [`PacksError::Damaged`] where its manifest is not the one with this id any more.
    pub async fn open(&self, subject: &Subject, pack_id: PackId) -> Result<PinnedPack, PacksError> {
        let opened = Pack::open(self.container(subject), &self.limits).await;
        let pack = opened.map_err(|report| first_finding(&report))?;
        pack.pinned(&Pins::pack_id(pack_id)).map_err(|findings| {
            let first = findings.first().map(|finding| finding.detail.clone());
            PacksError::Damaged(first.unwrap_or_default())
        })
    }

    /// Verifies a pack where it lies.
    pub async fn verify(&self, subject: &Subject, pack_id: PackId, level: Level) -> VerifyReport {
        let mut options = VerifyOptions::level(level);
        options.limits = self.limits.clone();
        match Pack::open(self.container(subject), &self.limits).await {
            Ok(pack) => pack.verify(&Pins::pack_id(pack_id), &options).await,
            Err(report) => *report,
        }
    }

    /// The key of an artifact.
    ///
    /// # Errors
    /// There is no such artifact.
    pub fn key(&self, manifest: &Manifest, name: &str) -> Result<ObjectKey, PacksError> {
        let artifact = manifest
            .artifact(name)
            .ok_or_else(|| PacksError::NotFound(format!("name=`{name}`")))?;
        let subject = manifest.subject();
        Ok(Location::artifact(subject, artifact.name(), artifact.commitment()).key()?)
    }

    /// The packs of some runs by key, after `after`, at most `limit` of them. Only manifests are read.
    ///
    /// # Errors
    /// As the store fails.
    pub async fn list(
        &self,
        runs: &Runs,
        after: Option<&str>,
        limit: usize,
    ) -> Result<PackPage, PacksError> {
        let prefix = Location::runs_prefix(
            &runs.tenant,
            runs.namespace.as_ref(),
            runs.scenario.as_ref(),
            runs.run_id.as_ref(),
        );
        let mut first = std::collections::BTreeMap::new();
        let mut entries = self.store.list(&prefix);
        while let Some(entry) = entries.try_next().await? {
            let subject = Location::parse(&entry.key).and_then(|at| at.manifest_subject());
            if let Some(subject) = subject
                && entry.key.starts_with(prefix.as_str())
                && after.is_none_or(|after| entry.key.as_str() > after)
            {
                first.insert(entry.key, subject);
                if first.len() > limit.saturating_add(1) {
                    first.pop_last();
                }
            }
        }
        drop(entries);
        let is_more = first.len() > limit;
        if is_more {
            first.pop_last();
        }
        let next = first.last_key_value().map(|(key, _)| key.clone());
        let read = stream::iter(first).map(async |(_, subject)| {
            let manifest = self.manifest(subject).await?;
            Ok::<_, PacksError>(manifest.as_deref().map(PackSummary::of))
        });
        let packs: Vec<_> = read.buffered(MANIFESTS_IN_FLIGHT).try_collect().await?;
        Ok(PackPage {
            // One that is no manifest hides no other.
            packs: packs.into_iter().flatten().collect(),
            next: next.filter(|_| is_more),
        })
    }

    async fn manifest(&self, subject: Subject) -> Result<Option<Arc<Manifest>>, PacksError> {
        let key = Location::manifest(&subject).key()?;
        let object = match self.store.oldest(&key).await {
            Ok((object, _)) => object,
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let bytes = bytes_of(&*self.store, &object, self.limits.manifest_bytes_max).await?;
        let manifest = bytes.and_then(|bytes| Manifest::parse(&bytes, &self.limits).ok());
        Ok(manifest
            .filter(|manifest| *manifest.subject() == subject)
            .map(Arc::new))
    }
}

fn first_finding(report: &VerifyReport) -> PacksError {
    let first = report.findings.first();
    PacksError::Damaged(first.map(told).unwrap_or_default())
}

fn told(finding: &Finding) -> String {
    format!("{}: {}", finding.code, finding.detail)
}

fn unpack(staging: &Path, limits: &Limits, bundle: &Staged) -> Result<Unpacked, PacksError> {
    let directory = tempfile::Builder::new()
        .prefix("body-")
        .tempdir_in(staging)?;
    let mut writer = DirectoryWriter::create(&directory.path().join("pack"))?;
    let extracted = match (bundle.path(), bundle.in_memory()) {
        (Some(path), _) => extract_bundle(File::open(path)?, limits, Level::Full, &mut writer),
        (None, bytes) => {
            let bytes = bytes.cloned().unwrap_or_default();
            extract_bundle(&bytes[..], limits, Level::Full, &mut writer)
        }
    };
    let outcome: BundleOutcome = extracted.map_err(|error| match error {
        BundleError::Sink(error) => PacksError::Staging(error),
        error => PacksError::Unsound(chain(&error)),
    })?;
    if !outcome.is_sound() {
        let first = outcome.findings.first();
        return Err(PacksError::Unsound(first.map(told).unwrap_or_default()));
    }
    let made = writer.finish()?;
    let manifest = outcome
        .manifest
        .ok_or_else(|| PacksError::Unsound("it has no manifest".to_owned()))?;
    Ok(Unpacked {
        manifest,
        container: Arc::new(PackDirectory::open(&made)?),
        _directory: directory,
    })
}

/// A pack as a bundle, byte for byte the one that `runpack bundle` writes, each chunk verified on the way.
pub fn bundle(pack: PinnedPack) -> BoxStream<'static, Result<Bytes, PacksError>> {
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    let writing = async move {
        if let Err(error) = write_bundle(&pack, &sender).await {
            // Whoever reads is gone, or hears why the rest does not come.
            let _ = sender.send(Err(error)).await;
        }
    };
    tokio::spawn(writing);
    stream::unfold(receiver, async |mut receiver| {
        let piece = receiver.recv().await?;
        Some((piece, receiver))
    })
    .boxed()
}

async fn write_bundle(
    pack: &PinnedPack,
    out: &tokio::sync::mpsc::Sender<Result<Bytes, PacksError>>,
) -> Result<(), PacksError> {
    let gone = || PacksError::Query("the reader is gone".to_owned());
    let failed = |error: &dyn std::error::Error| PacksError::Damaged(chain(error));
    let mut writer = BundleWriter::new(Vec::new(), pack.manifest(), Compression::default())
        .map_err(|error| failed(&error))?;
    for artifact in pack.manifest().artifacts() {
        let mut at = 0;
        while at < artifact.bytes() {
            let end = at.saturating_add(CHUNK_BYTES);
            let mut read = pack.read(artifact.name().as_str(), at..end)?;
            while let Some(bytes) = read.next().await? {
                writer.write(&bytes).map_err(|error| failed(&error))?;
            }
            at = end;
            let ready = std::mem::take(writer.out_mut());
            if !ready.is_empty() {
                out.send(Ok(ready.into())).await.map_err(|_| gone())?;
            }
        }
    }
    let rest = writer.finish().map_err(|error| failed(&error))?;
    out.send(Ok(rest.into())).await.map_err(|_| gone())
}
