//! A catalog that follows what a server commits, beside its requests.
//!
//! Invariants: no request waits for the catalog, and nothing that is wrong with it is an error of the server. What it missed,
//! before this server began or while its database was away, it takes up from the store itself as soon as it can.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use runpack_catalog::{Catalog, CatalogAddress, Form, Found, StoreName};
use runpack_core::key::Location;
use runpack_core::limits::Limits;
use runpack_core::manifest::Manifest;
use runpack_core::store::{ArtifactReader, Store};
use runpack_server::commits::OnCommit;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::{name, wanted};
use crate::context::Context;
use crate::failure::Failure;
use crate::storage::Storage;

/// How many packs wait for the catalog. More are found in the store.
const WAITING_MAX: usize = 1_024;
/// How many are taken up at once.
const AT_ONCE: usize = 256;
/// How long a batch may take. A database that stands still is left and asked again.
const WITHIN: Duration = Duration::from_mins(1);
/// How long a database that failed is left alone: at first, and at most.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const AGAIN_AFTER_MAX: Duration = Duration::from_mins(1);

/// A catalog that follows a server.
#[derive(Debug)]
pub(crate) struct Following {
    address: CatalogAddress,
    store: StoreName,
    /// Where it looks for what it missed.
    reader: Arc<dyn ArtifactReader>,
    limits: Limits,
    coming: mpsc::Receiver<Arc<Manifest>>,
    /// Packs came that could not wait.
    has_missed: Arc<AtomicBool>,
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
        let (waiting, coming) = mpsc::channel(WAITING_MAX);
        let has_missed = Arc::new(AtomicBool::new(false));
        let missed = Arc::clone(&has_missed);
        let on_commit = OnCommit::new(move |manifest| {
            if waiting.try_send(Arc::clone(manifest)).is_err() {
                missed.store(true, Ordering::Relaxed);
            }
        });
        let following = Self {
            address,
            store: name(storage),
            reader: seen.clone(),
            limits: limits.clone(),
            coming,
            has_missed,
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

    /// One connection: catches up, then takes what comes.
    async fn follow(
        &mut self,
        again_after: &mut Duration,
        mut shutdown: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Result<(), Failure> {
        let catalog = answered(Catalog::open(&self.address)).await??;
        loop {
            self.has_missed.store(false, Ordering::Relaxed);
            let caught_up = catalog.catch_up(&self.store, &self.reader, &self.limits);
            let filled = caught_up.await?;
            if filled.added > 0 {
                tracing::info!(packs = filled.added, "the catalog has caught up");
            }
            *again_after = AGAIN_AFTER;
            while !self.has_missed.load(Ordering::Relaxed) {
                let mut some = Vec::new();
                let came = tokio::select! {
                    came = self.coming.recv_many(&mut some, AT_ONCE) => came,
                    () = shutdown.as_mut(), if !self.coming.is_closed() => {
                        self.coming.close();
                        continue;
                    }
                };
                if came == 0 {
                    return Ok(());
                }
                let found: Vec<Found> = some.into_iter().filter_map(found).collect();
                answered(catalog.admit(&self.store, &found)).await??;
            }
        }
    }
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
