//! A locked store in a bucket of its own, and a pack in it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use runpack_core::manifest::{Manifest, Producer, Subject};
use runpack_core::pack::{BytesSource, NewArtifact, PackDraft, PackError};
use runpack_core::store::s3::{LockMode, S3Store};
use runpack_core::store::{Housekeeping as _, StoreError};
use runpack_core::time::{Clock, Timestamp};
use runpack_enterprise::audit::{AuditLog, Entry};
use runpack_enterprise::evidence::Evidence;
use runpack_enterprise::guard::Guard;
use runpack_enterprise::ledger::HeadBook;
use runpack_enterprise::locked::{Consent, Irrevocable, LockedStore, Locking};
use runpack_enterprise::receipt::{LockBook, LockReceipt};
use runpack_enterprise::status::Status;
use runpack_enterprise::tenure::Tenure;
use runpack_enterprise::terms::{LockTerms, RetainUntil, WritingLock};
use runpack_testing::servers::{BucketKind, Kind, TestBucket, shared};

/// The machine's clock.
#[derive(Debug)]
pub(crate) struct MachineClock;

impl Clock for MachineClock {
    fn now(&self) -> Timestamp {
        #[expect(
            clippy::disallowed_methods,
            reason = "locks are compared with the clock of a real server"
        )]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Timestamp::from_unix_seconds(now.as_secs()).unwrap()
    }
}

/// Says yes or no, and remembers what it was asked.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) refuses: bool,
    pub(crate) seen: Mutex<Vec<Irrevocable>>,
}

impl Consent for Asked {
    fn to(&self, what: &Irrevocable) -> Result<(), StoreError> {
        self.seen.lock().unwrap().push(what.clone());
        if self.refuses {
            return Err(StoreError::Unusable {
                reason: "nobody consented".to_owned(),
            });
        }
        Ok(())
    }
}

/// A bucket, and what a machine keeps beside it.
pub(crate) struct Vault {
    pub(crate) bucket: TestBucket,
    pub(crate) state: tempfile::TempDir,
    pub(crate) consent: Arc<Asked>,
}

pub(crate) const PLACE: &str = "s3+test/bucket";

impl Vault {
    pub(crate) async fn new() -> Self {
        Self::of(BucketKind::Locked).await
    }

    pub(crate) async fn of(kind: BucketKind) -> Self {
        Self {
            bucket: shared(Kind::Ceph).bucket(kind).await,
            state: tempfile::tempdir().unwrap(),
            consent: Arc::default(),
        }
    }

    pub(crate) fn audit(&self) -> AuditLog {
        AuditLog::new(self.state.path().join("audit"), "tester")
    }

    /// What was written down of these actions.
    pub(crate) fn logged(&self, action: &str) -> Vec<Entry> {
        let mut entries = Vec::new();
        let checked = self.audit().read(|entry| {
            entries.push(entry);
            Ok(())
        });
        checked.unwrap();
        entries.retain(|entry| entry.action == action);
        entries
    }

    pub(crate) fn book(&self) -> LockBook {
        LockBook::new(self.state.path().join("locks"))
    }

    pub(crate) fn locking(&self) -> Locking {
        Locking {
            place: PLACE.to_owned(),
            book: self.book(),
            audit: self.audit(),
            clock: Arc::new(MachineClock),
            consent: self.consent.clone(),
            signer: None,
            trusted: Vec::new(),
            heads: HeadBook::new(self.state.path().join("holds")),
        }
    }

    pub(crate) async fn raw(&self) -> S3Store {
        S3Store::open(self.bucket.settings()).await.unwrap()
    }

    /// Waits until the store's clock is past a time.
    pub(crate) async fn wait_past(&self, time: Timestamp) {
        let store = self.raw().await;
        while store.now().await.unwrap() <= time {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    pub(crate) async fn guard(&self) -> Guard {
        Guard::new(self.raw().await)
    }

    pub(crate) async fn store(&self, terms: LockTerms) -> LockedStore {
        let store = LockedStore::open(self.raw().await, Tenure::of_terms(terms), self.locking());
        store.await.unwrap()
    }

    pub(crate) fn receipt(&self, manifest: &Manifest) -> Option<LockReceipt> {
        let evidence = Evidence::of_pack(manifest).unwrap();
        let commit = &evidence.parts()[0].key;
        self.book().of(PLACE, commit).unwrap()
    }

    pub(crate) async fn status(&self, manifest: &Manifest) -> Result<Status, StoreError> {
        let evidence = Evidence::of_pack(manifest).unwrap();
        let receipt = self.receipt(manifest);
        let now = MachineClock.now();
        Status::of(&self.guard().await, &evidence, receipt.as_ref(), now).await
    }
}

/// Locked for so many seconds from now, and for so many while it is written.
pub(crate) fn terms(mode: LockMode, seconds: u64, writing: u64) -> LockTerms {
    let until = MachineClock.now().unix_seconds() + seconds;
    let until = RetainUntil::At(Timestamp::from_unix_seconds(until).unwrap());
    LockTerms::new(mode, until).with_lock_while_writing(WritingLock::seconds(writing))
}

pub(crate) fn draft(run_id: &str) -> PackDraft {
    let subject = Subject::Run {
        tenant: "acme".parse().unwrap(),
        namespace: "prod".parse().unwrap(),
        scenario: "loan".parse().unwrap(),
        run_id: run_id.parse().unwrap(),
        spec_hash: format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
    };
    let producer = Producer {
        name: "test".parse().unwrap(),
        version: "1".parse().unwrap(),
    };
    let mut draft = PackDraft::new(subject, "2026-11-20T12:00:00Z".parse().unwrap(), producer);
    for (name, bytes) in [("a.txt", 3), ("b.bin", 9 << 20)] {
        let source = Arc::new(BytesSource(vec![7; bytes].into()));
        draft.add(NewArtifact::new(
            name.parse().unwrap(),
            "log".parse().unwrap(),
            "text/plain".parse().unwrap(),
            source,
        ));
    }
    draft
}

/// Exports a pack of two artifacts, one of them in parts.
pub(crate) async fn export(store: &LockedStore, run_id: &str) -> Result<Arc<Manifest>, PackError> {
    let staged = draft(run_id).stage(Arc::new(store.clone())).await?;
    Ok(staged.commit().await?.manifest)
}
