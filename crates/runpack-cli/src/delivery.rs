//! A pack or bundle into a store: what `push`, `mirror` and an export with `auto_push` have in common.
//!
//! The same again is success, something else is a conflict that names both ids, and what an earlier attempt
//! brought is not sent again. The by-id reference and the receipt follow the commit; that a reference could
//! not be written takes nothing from the pack, which a scan finds all the same.

use std::path::PathBuf;
use std::sync::Arc;

use runpack_core::bundle::{BundleOutcome, verify_bundle};
use runpack_core::id::PackId;
use runpack_core::key::Location;
use runpack_core::limits::Limits;
use runpack_core::manifest::Manifest;
use runpack_core::pack::{Commit, CommittedPack, PackError};
use runpack_core::progress::Progress;
use runpack_core::reference::{self, Ensured};
use runpack_core::store::{Declared, Outcome, Receipt, Source, StoreError, Stored, Whole};
use runpack_core::time::Clock as _;
use runpack_core::verify::{Container, Level};

use crate::clock::SystemClock;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::receipts::{self, Seen};
use crate::storage::{PlaceInStore, Storage};

/// What is in the store now.
#[derive(Debug)]
pub(crate) struct Delivered {
    /// The manifest of the pack that is there: ours, or one that says the same.
    pub(crate) manifest: Arc<Manifest>,
    /// How it came to be there.
    pub(crate) commit: Commit,
    /// Where it is.
    pub(crate) at: PlaceInStore,
    /// The by-id reference; `None` where it could not be written.
    pub(crate) reference: Option<Ensured>,
}

impl Delivered {
    /// Records it on this machine.
    pub(crate) fn record(&self, context: &Context) -> Result<PathBuf, Failure> {
        let places = vec![self.at.place.clone()];
        receipts::record(context, &self.manifest, places, Seen::from(self.commit))
    }

    pub(crate) const fn reference_name(&self) -> &'static str {
        match self.reference {
            Some(Ensured::Written) => "written",
            Some(Ensured::There) => "there",
            Some(Ensured::Repaired) => "repaired",
            None => "missing",
        }
    }
}

/// Whether what failed is the pack: its bytes are not those that its manifest commits to, or are not there.
pub(crate) const fn is_of_source(error: &PackError) -> bool {
    matches!(
        error,
        PackError::Store(
            StoreError::NotDeclared { .. }
                | StoreError::NotFound { .. }
                | StoreError::Unsafe { .. },
        )
    )
}

/// Brings the files of a pack to a store.
pub(crate) async fn pack(
    context: &Context,
    container: &Arc<dyn Container>,
    manifest: &Arc<Manifest>,
    to: &Storage,
    limits: &Limits,
    progress: &Arc<Progress>,
) -> Result<Delivered, PackError> {
    // Whoever removes residue relies on it that nothing is at work for longer than it must be old.
    let begun = SystemClock.now();
    let staged =
        runpack_core::pack::copy(container, manifest, &to.store(), limits, progress).await?;
    let staged = staged.with_deadline(Arc::new(SystemClock), begun);
    let CommittedPack {
        manifest, commit, ..
    } = staged.commit().await?;
    let reference = refer(context, to, &manifest).await;
    index(context, to, &manifest, Form::Files).await;
    Ok(Delivered {
        at: to.pack(manifest.subject()),
        manifest,
        commit,
        reference,
    })
}

/// Makes sure of the by-id reference.
pub(crate) async fn refer(context: &Context, to: &Storage, manifest: &Manifest) -> Option<Ensured> {
    match reference::ensure(&*to.store(), &*to.housekeeping(), manifest).await {
        Ok(ensured) => Some(ensured),
        Err(error) => {
            context.output.remark(&format!(
                "warning: the pack is stored, and its by-id reference is not: {}; the next push writes it",
                runpack_core::display::chain(&error)
            ));
            None
        }
    }
}

/// How a pack lies in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A manifest and artifacts.
    Files,
    /// One object.
    Bundle,
}

/// Tells the catalog of it, where there is one. Nothing that is wrong with it takes anything from the pack.
#[cfg(feature = "catalog")]
pub(crate) async fn index(context: &Context, to: &Storage, manifest: &Arc<Manifest>, form: Form) {
    let form = match form {
        Form::Files => runpack_catalog::Form::Files,
        Form::Bundle => runpack_catalog::Form::Bundle,
    };
    crate::catalog::tell(context, to, manifest, form).await;
}

/// This program has no catalog.
#[cfg(not(feature = "catalog"))]
pub(crate) async fn index(_: &Context, _: &Storage, _: &Arc<Manifest>, _: Form) {}

/// A bundle to be brought: what it was found to be.
pub(crate) struct NewBundle {
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) declared: Declared,
    pub(crate) source: Arc<dyn Source>,
}

/// Why a bundle was not delivered.
#[derive(Debug)]
pub(crate) enum BundleFault {
    /// Something else is there: not a sound bundle, or of another pack.
    Conflict {
        ours: PackId,
        theirs: Option<PackId>,
        key: String,
    },
    /// The pack is of a kind that has no bundles in a store.
    NoPlace,
    /// Anything else.
    Failed(Failure),
}

impl From<StoreError> for BundleFault {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<BundleFault> for Failure {
    fn from(fault: BundleFault) -> Self {
        match fault {
            BundleFault::Failed(failure) => failure,
            BundleFault::NoPlace => Self::new(
                "a bundle of such a pack has no place in a store: only those of runs have",
                "unbundle it, and push the directory",
            ),
            BundleFault::Conflict {
                ours,
                theirs: Some(theirs),
                key,
            } => Self::new(
                format!("another bundle is in this one's place, key=`{key}` ours=`{ours}` theirs=`{theirs}`"),
                "look at what is there; nothing was replaced",
            ),
            BundleFault::Conflict { ours, theirs: None, key } => Self::new(
                format!("what is in this bundle's place does not verify, key=`{key}` ours=`{ours}`"),
                "look at what is there, and remove it or push to another store; nothing was replaced",
            )
            .with_exit(Exit::Invalid),
        }
    }
}

/// Brings a bundle to a store.
pub(crate) async fn bundle(
    context: &Context,
    new: NewBundle,
    to: &Storage,
    limits: &Limits,
) -> Result<Delivered, BundleFault> {
    let location = Location::bundle(&new.manifest).ok_or(BundleFault::NoPlace)?;
    let key = location
        .key()
        .map_err(|error| BundleFault::Failed(PackError::from(error).into()))?;
    let ours = new.manifest.pack_id();
    let store = to.store();
    store.expect(new.manifest.subject()).await?;
    let is_there = |error: &StoreError| matches!(error, StoreError::AlreadyExists { .. });
    let found = match store.find(&key, &new.declared).await {
        Ok(None) => store.send(&key, new.declared, new.source).await.map(Some),
        found => found,
    };
    let receipt = match found {
        Ok(receipt) => receipt,
        // Other bytes, which may be the same pack compressed in another way.
        Err(error) if is_there(&error) => None,
        Err(error) => return Err(error.into()),
    };
    // In a bucket that keeps versions something older may be hidden by a delete marker, and the oldest is what
    // everybody reads.
    let (oldest, _) = to.reader().oldest(&key).await?;
    let is_oldest =
        |receipt: &Receipt| receipt.version.is_none() || receipt.version == oldest.version;
    let commit = match receipt.filter(is_oldest).map(|receipt| receipt.outcome) {
        Some(Outcome::Created) => Commit::New,
        Some(Outcome::AlreadyThere) => Commit::Again,
        None => same(to, &key, ours, limits).await?,
    };
    store.seal(Whole::Bundle(&new.manifest, &oldest)).await?;
    let reference = refer(context, to, &new.manifest).await;
    index(context, to, &new.manifest, Form::Bundle).await;
    Ok(Delivered {
        manifest: new.manifest,
        commit,
        at: to.object(&key),
        reference,
    })
}

async fn same(
    to: &Storage,
    key: &runpack_core::key::ObjectKey,
    ours: PackId,
    limits: &Limits,
) -> Result<Commit, BundleFault> {
    let there = Stored::find(to.reader(), key).await?;
    let bounds = limits.clone();
    let outcome: BundleOutcome = there
        .read(move |source| verify_bundle(source, &bounds, Level::Full))
        .await
        .map_err(BundleFault::from)?;
    let theirs = outcome
        .is_sound()
        .then(|| outcome.manifest.as_ref().map(|manifest| manifest.pack_id()))
        .flatten();
    if theirs == Some(ours) {
        return Ok(Commit::Again);
    }
    Err(BundleFault::Conflict {
        ours,
        theirs,
        key: key.to_string(),
    })
}
