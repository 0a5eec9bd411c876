//! The pack that a command is about, in a bucket, with every version of it found.

use clap::Args;
use runpack_cli::clock::SystemClock;
use runpack_cli::storage::Storage;
use runpack_cli::target::{BundleTarget, FilesAt, Target, TargetOptions};
use runpack_cli::{Context, Exit, Failure};
use runpack_core::attestation::Predicate;
use runpack_core::bundle::{BundleOutcome, verify_bundle};
use runpack_core::key::{Location, ObjectKey};
use runpack_core::limits::Limits;
use runpack_core::manifest::Manifest;
use runpack_core::store::VersionId;
use runpack_core::store::s3::S3Store;
use runpack_core::time::Clock as _;
use runpack_core::verify::{Finding, Level, Pack, Verdict};
use runpack_enterprise::evidence::Evidence;
use runpack_enterprise::guard::Guard;
use runpack_enterprise::receipt::LockReceipt;
use runpack_enterprise::status::Status;
use std::collections::HashMap;
use std::sync::Arc;

use crate::desk::Desk;

/// Which pack.
#[derive(Debug, Clone, Args)]
pub(crate) struct PackOptions {
    #[command(flatten)]
    target: TargetOptions,
}

/// A pack in a bucket.
#[derive(Debug)]
pub(crate) struct BucketPack {
    pub(crate) storage: Storage,
    pub(crate) store: S3Store,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) evidence: Evidence,
    pub(crate) receipt: Option<LockReceipt>,
    /// Where it is, for people.
    pub(crate) shown: String,
}

impl PackOptions {
    /// Finds the pack, and reads its manifest.
    ///
    /// # Errors
    /// It is in no bucket, or its manifest is none.
    pub(crate) fn open(&self, context: &Context, desk: &Desk) -> Result<BucketPack, Failure> {
        match Target::open(&self.target, context)? {
            Target::Files(files) => {
                let FilesAt::Store { storage, .. } = files.at else {
                    return Err(no_bucket());
                };
                let pack = context.wait(Pack::open(files.container, &Limits::default()))?;
                let pack = pack.map_err(|report| unsound(&report.findings, report.verdict))?;
                let manifest = Arc::clone(pack.manifest());
                BucketPack::of(*storage, manifest, desk)
            }
            Target::Bundle(bundle) => {
                let (BundleTarget::Stored { storage, .. }, Some(object)) =
                    (&bundle, bundle.object())
                else {
                    return Err(no_bucket());
                };
                // What is not the bundle byte by byte is not locked as one.
                let verify = |source| verify_bundle(source, &Limits::default(), Level::Full);
                let outcome: BundleOutcome = bundle.read(context, "reading", verify)?;
                let is_sound = outcome.is_sound();
                let manifest = outcome.manifest.filter(|_| is_sound);
                let manifest = manifest.ok_or_else(|| unsound(&[], Verdict::Invalid))?;
                let evidence = Evidence::of_bundle(&manifest, object);
                let shown = storage.object(&object.key).shown;
                BucketPack::with((**storage).clone(), manifest, evidence, shown, desk)
            }
        }
    }
}

fn unsound(findings: &[Finding], verdict: Verdict) -> Failure {
    let exit = match verdict {
        Verdict::Undecided => Exit::Trouble,
        _ => Exit::Invalid,
    };
    let findings = findings.iter();
    let findings = findings.map(|found| format!("{}: {}", found.code, found.detail));
    Failure::new(
        "the pack is not there, not sound or cannot be read, so nothing is known of its versions",
        "`runpack-enterprise verify` says what is wrong with it",
    )
    .with_details(findings.collect())
    .with_exit(exit)
}

impl BucketPack {
    /// The pack with this manifest, as files.
    pub(crate) fn of(
        storage: Storage,
        manifest: Arc<Manifest>,
        desk: &Desk,
    ) -> Result<Self, Failure> {
        let evidence = Evidence::of_pack(&manifest)?;
        let shown = storage.pack(manifest.subject()).shown;
        Self::with(storage, manifest, evidence, shown, desk)
    }

    fn with(
        storage: Storage,
        manifest: Arc<Manifest>,
        evidence: Evidence,
        shown: String,
        desk: &Desk,
    ) -> Result<Self, Failure> {
        let store = storage.s3().cloned().ok_or_else(no_bucket)?;
        let receipt = match evidence.parts().first() {
            Some(commit) => desk.locks().of(&storage.place(), &commit.key)?,
            None => None,
        };
        Ok(Self {
            storage,
            store,
            manifest,
            evidence,
            receipt,
            shown,
        })
    }

    pub(crate) fn guard(&self) -> Guard {
        Guard::new(self.store.clone())
    }

    /// What is true of its versions now.
    ///
    /// # Errors
    /// A version is gone or is another; a lock cannot be read.
    pub(crate) fn status(&self, context: &Context) -> Result<Status, Failure> {
        let guard = self.guard();
        let status = Status::of(
            &guard,
            &self.evidence,
            self.receipt.as_ref(),
            SystemClock.now(),
        );
        Ok(context.wait(status)??)
    }

    /// As [`BucketPack::status`], of the versions that were attested: those that are gone are left out.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn status_of(
        &self,
        context: &Context,
        attested: &Predicate,
    ) -> Result<Status, Failure> {
        let pins: HashMap<ObjectKey, VersionId> = attested
            .objects
            .iter()
            .filter_map(|object| {
                let key = Location::parse(&object.key)?.key().ok()?;
                Some((key, VersionId::new(object.version_id.as_deref()?)))
            })
            .collect();
        let guard = self.guard();
        let now = SystemClock.now();
        let receipt = self.receipt.as_ref();
        let status = Status::of_present(&guard, &self.evidence, &pins, receipt, now);
        Ok(context.wait(status)??)
    }
}

fn no_bucket() -> Failure {
    Failure::new(
        "locks are on versions in a bucket, and the target is none of one",
        "give s3://BUCKET/PREFIX with the pack's identity or --pack-id, or its place there",
    )
}
