//! A catalog that follows what a server commits, beside its requests.
//!
//! Invariants: no request waits for the catalog, and nothing that is wrong with it is an error of the server. What it missed,
//! before this server began or while its database was away, it takes up from the store itself as soon as it can. It only
//! adds: a pack that the store does not show any more stays known, until somebody says `runpack catalog update`.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use runpack_catalog::{Catalog, CatalogAddress, CatalogError, Filled, Form, Found, StoreName};
use runpack_core::key::Location;
use runpack_core::limits::Limits;
use runpack_core::manifest::Manifest;
use runpack_core::store::{ArtifactReader, Store};
use runpack_server::commits::OnCommit;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{name, wanted};
use crate::context::Context;
use crate::failure::Failure;
use crate::storage::Storage;

/// How many packs wait for the catalog, and how long their manifests may be together. More are found in the store.
const WAITING_MAX: usize = 1_024;
const WAITING_BYTES_MAX: u64 = 64 << 20;
/// How many are taken up at once.
const AT_ONCE: usize = 256;
/// How long a batch may take. A database that stands still is left and asked again.
const WITHIN: Duration = Duration::from_mins(1);
/// How long a database that failed is left alone: at first, and at most.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const AGAIN_AFTER_MAX: Duration = Duration::from_mins(1);
/// How often others are waited for that write at this moment, and for how long each time.
const BUSY_TIMES: u32 = 60;
const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// When what could not be read in the store is tried again: at first, and at most.
const UNREAD_AFTER: Duration = Duration::from_mins(1);
const UNREAD_AFTER_MAX: Duration = Duration::from_hours(1);

/// A catalog that follows a server.
#[derive(Debug)]
pub(crate) struct Following {
    address: CatalogAddress,
    store: StoreName,
    /// Where it looks for what it missed.
    reader: Arc<dyn ArtifactReader>,
    limits: Limits,
    coming: mpsc::Receiver<Arc<Manifest>>,
    waiting: Arc<Waiting>,
    /// What could not be read in the store.
    unread: Vec<String>,
}

/// What waits for the catalog.
#[derive(Debug, Default)]
struct Waiting {
    /// Packs came that could not wait.
    has_missed: AtomicBool,
    /// How long the manifests are that wait.
    bytes: AtomicU64,
}

impl Waiting {
    /// Whether there is room for one more.
    fn admits(&self, manifest: &Manifest) -> bool {
        let before = self.bytes.fetch_add(manifest.bytes(), Ordering::Relaxed);
        before < WAITING_BYTES_MAX
    }

    fn leaves(&self, manifest: &Manifest) {
        self.bytes.fetch_sub(manifest.bytes(), Ordering::Relaxed);
    }
}

impl Following {
    /// The catalog that is named, or the one of this machine if it is there, and by what it is told. `seen` is the store as
    /// the server sees it.
    ///
    /// # Errors
    /// What names it names no catalog.
    pub(crate) fn of(
        context: &Context,
        storage: &Storage,
        seen: &Arc<dyn Store>,
        limits: &Limits,
    ) -> Result<Option<(Self, OnCommit)>, Failure> {
        let Some(address) = wanted(context)? else {
            return Ok(None);
        };
        let (send, coming) = mpsc::channel(WAITING_MAX);
        let waiting = Arc::new(Waiting::default());
        let room = Arc::clone(&waiting);
        let on_commit = OnCommit::new(move |manifest| {
            if !room.admits(manifest) || send.try_send(Arc::clone(manifest)).is_err() {
                room.leaves(manifest);
                room.has_missed.store(true, Ordering::Relaxed);
            }
        });
        let following = Self {
            address,
            store: name(storage),
            reader: seen.clone(),
            limits: limits.clone(),
            coming,
            waiting,
            unread: Vec::new(),
        };
        Ok(Some((following, on_commit)))
    }

    /// Follows until `shutdown`, and until the catalog has what was told before.
    pub(crate) async fn run(mut self, shutdown: impl Future<Output = ()> + Send) {
        let mut shutdown = pin!(shutdown);
        let mut again_after = AGAIN_AFTER;
        loop {
            let followed = self.follow(&mut again_after, shutdown.as_mut());
            let Err(failure) = followed.await else {
                return;
            };
            tracing::warn!(
                error = failure.line(),
                catalog = %self.address,
                "the catalog does not have every pack yet; it will take them up from the store"
            );
            // A server that has ended has no time: the next one begins with catching up.
            if self.coming.is_closed() {
                return;
            }
            tokio::select! {
                () = sleep(again_after) => {}
                () = shutdown.as_mut() => return,
            }
            again_after = again_after.saturating_mul(2).min(AGAIN_AFTER_MAX);
        }
    }

    /// One connection: takes up what the store has, and what comes, beside each other.
    async fn follow(
        &mut self,
        again_after: &mut Duration,
        mut shutdown: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Result<(), Failure> {
        let catalog = answered(Catalog::open(&self.address)).await??;
        loop {
            self.waiting.has_missed.store(false, Ordering::Relaxed);
            // All of it is in the store, which is listed now.
            while let Ok(manifest) = self.coming.try_recv() {
                self.waiting.leaves(&manifest);
            }
            let (store, reader, limits) = (
                self.store.clone(),
                Arc::clone(&self.reader),
                self.limits.clone(),
            );
            let mut taking_up = pin!(catalog.take_up(&store, &reader, &limits));
            let mut is_listed = false;
            let (mut unread_after, mut unread_at) = (UNREAD_AFTER, Instant::now());
            // While it is listed, what is missed may not be in the listing: it is listed once more.
            while !is_listed || !self.waiting.has_missed.load(Ordering::Relaxed) {
                let mut some = Vec::new();
                tokio::select! {
                    filled = &mut taking_up, if !is_listed => {
                        let filled = filled?;
                        is_listed = true;
                        *again_after = AGAIN_AFTER;
                        self.tell(&filled);
                        unread_at = in_a_while(unread_after);
                    }
                    came = self.coming.recv_many(&mut some, AT_ONCE) => {
                        if came == 0 && !is_listed {
                            // What was told before the listing began is nowhere else.
                            answered(&mut taking_up).await??;
                        }
                        if came == 0 {
                            return Ok(());
                        }
                        self.admit(&catalog, some).await?;
                    }
                    () = sleep_until(unread_at), if is_listed && !self.unread.is_empty() => {
                        let keys = std::mem::take(&mut self.unread);
                        let read = catalog.admit_keys(&store, &reader, &keys, &limits);
                        self.tell(&answered(read).await??);
                        unread_after = unread_after.saturating_mul(2).min(UNREAD_AFTER_MAX);
                        unread_at = in_a_while(unread_after);
                    }
                    () = shutdown.as_mut(), if !self.coming.is_closed() => self.coming.close(),
                }
            }
        }
    }

    /// Takes up what came. Others that write are waited for, since what they do is no reason to go through the store again.
    async fn admit(&self, catalog: &Catalog, some: Vec<Arc<Manifest>>) -> Result<(), Failure> {
        for manifest in &some {
            self.waiting.leaves(manifest);
        }
        let found: Vec<Found> = some.into_iter().filter_map(found).collect();
        let mut times = 0..BUSY_TIMES;
        loop {
            match answered(catalog.admit(&self.store, &found)).await? {
                Err(CatalogError::Busy { .. }) if times.next().is_some() => {
                    sleep(BUSY_PAUSE).await;
                }
                outcome => return Ok(outcome?),
            }
        }
    }

    /// Tells what was taken up from the store, and remembers what could not be read.
    fn tell(&mut self, filled: &Filled) {
        if filled.added > 0 {
            tracing::info!(packs = filled.added, "the catalog has caught up");
        }
        if let Some(first) = filled.odd.unread.first() {
            tracing::warn!(
                packs = filled.odd.unread.len(),
                key = first.key,
                reason = first.reason,
                "the catalog is without packs that could not be read; they are tried again"
            );
        }
        if let Some(first) = filled.odd.faults.first() {
            tracing::warn!(
                key = first.key,
                reason = first.reason,
                "the store has something where a pack should be"
            );
        }
        let unread = filled.odd.unread.iter();
        self.unread = unread.map(|unread| unread.key.clone()).collect();
    }
}

fn in_a_while(wait: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(wait).unwrap_or(now)
}

fn found(manifest: Arc<Manifest>) -> Option<Found> {
    let key = Location::manifest(manifest.subject()).key().ok()?;
    Some(Found {
        key,
        form: Form::Files,
        manifest,
    })
}

async fn answered<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    timeout(WITHIN, work).await.map_err(|elapsed| {
        Failure::new("the catalog does not answer", "look at its database").because(&elapsed)
    })
}
