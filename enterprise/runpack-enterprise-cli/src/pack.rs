//! The pack that a command is about, in a bucket, with every version of it found.

use clap::Args;
use runpack_cli::clock::SystemClock;
use runpack_cli::storage::Storage;
use runpack_cli::target::{FilesAt, Target, TargetOptions};
use runpack_cli::{Context, Exit, Failure};
use runpack_core::attestation::Predicate;
use runpack_core::key::{Location, ObjectKey};
use runpack_core::limits::Limits;
use runpack_core::manifest::Manifest;
use runpack_core::store::s3::S3Store;
use runpack_core::store::{VersionId, Whole};
use runpack_core::time::Clock as _;
use runpack_core::verify::{Pack, Verdict};
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
}

impl PackOptions {
    /// Finds the pack, and reads its manifest.
    ///
    /// # Errors
    /// It is in no bucket, or its manifest is none.
    pub(crate) fn open(&self, context: &Context, desk: &Desk) -> Result<BucketPack, Failure> {
        let target = Target::open(&self.target, context)?;
        let Target::Files(files) = target else {
            return Err(no_bucket("a bundle"));
        };
        let FilesAt::Store { storage, .. } = files.at else {
            return Err(no_bucket("a directory"));
        };
        let Some(store) = storage.s3().cloned() else {
            return Err(no_bucket("a directory"));
        };
        let limits = Limits::default();
        let pack = context.wait(Pack::open(files.container, &limits))?;
        let pack = pack.map_err(|report| {
            let exit = match report.verdict {
                Verdict::Undecided => Exit::Trouble,
                _ => Exit::Invalid,
            };
            let findings = report.findings.iter();
            let findings = findings
                .map(|found| format!("{}: {}", found.code, found.detail))
                .collect();
            Failure::new(
                "the pack's manifest is not there, not sound or cannot be read, so nothing is known of its versions",
                "`runpack-enterprise verify` says what is wrong with it",
            )
            .with_details(findings)
            .with_exit(exit)
        })?;
        BucketPack::of(*storage, store, Arc::clone(pack.manifest()), desk)
    }
}

impl BucketPack {
    /// The pack with this manifest.
    pub(crate) fn of(
        storage: Storage,
        store: S3Store,
        manifest: Arc<Manifest>,
        desk: &Desk,
    ) -> Result<Self, Failure> {
        let evidence = Evidence::of(Whole::Pack(&manifest))?;
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

    /// Where it is, for people.
    pub(crate) fn shown(&self) -> String {
        self.storage.pack(self.manifest.subject()).shown
    }
}

fn no_bucket(what: &str) -> Failure {
    Failure::new(
        format!("locks are on versions in a bucket, and the target is {what}"),
        "give s3://BUCKET/PREFIX with the pack's identity or --pack-id",
    )
}
