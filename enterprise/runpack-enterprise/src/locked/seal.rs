//! The full lock: all versions of a pack for one time, the commit first, read back, and receipted.

use runpack_core::digest::Digest;
use runpack_core::display;
use runpack_core::key::Location;
use runpack_core::manifest::Manifest;
use runpack_core::store::s3::{Lock, LockMode};
use runpack_core::store::{
    ArtifactReader as _, ArtifactSink as _, Declared, ObjectRef, StoreError, Whole,
};
use serde_json::json;

use super::{Irrevocable, LockedStore, Pins, until};
use crate::audit::Outcome;
use crate::batch;
use crate::bucket::{Lockable, barred, unusable};
use crate::evidence::{Evidence, Pinned};
use crate::guard::Guard;
use crate::hold::{Actor, Holdable};
use crate::ledger::Ledgers;
use crate::matter::Matter;
use crate::receipt::{LockReceipt, LockedVersion};

/// What was locked.
#[derive(Debug)]
pub struct Sealed {
    /// What was asked for.
    pub asked: Lock,
    /// The versions as they were read back, the commit first.
    pub versions: Vec<Pinned>,
    /// The receipt.
    pub receipt: LockReceipt,
    /// Whether any lock was made longer or harder.
    pub is_changed: bool,
}

impl LockedStore {
    /// Locks what is whole by the terms of this store. Done again it changes nothing: the time counts from the commit.
    pub(super) async fn seal_whole(&self, whole: Whole<'_>) -> Result<(), StoreError> {
        match whole {
            Whole::Pack(manifest) => {
                let evidence = Evidence::of_pack(manifest)?;
                let pins = self.known(&evidence)?;
                self.seal_pack(manifest, &evidence, &pins).await
            }
            Whole::Bundle(manifest, object) => {
                let evidence = Evidence::of_bundle(manifest, object);
                let mut pins = self.known(&evidence)?;
                if let Some(version) = &object.version {
                    // Whose bytes were just found to be the bundle.
                    pins.insert(object.key.clone(), version.clone());
                }
                self.seal_pack(manifest, &evidence, &pins).await
            }
            Whole::Record(objects) => batch::each(objects, |object| self.seal_part(object))
                .await
                .map(drop),
        }
    }

    /// Locks an object of a record for its full time. It has no receipt: its head says when it was received.
    async fn seal_part(&self, object: &ObjectRef) -> Result<(), StoreError> {
        let brief = self.brief()?;
        let (Some(terms), Some(short)) =
            (brief.tenure.of_key(&object.key)?, brief.lock(&object.key)?)
        else {
            return Ok(());
        };
        if terms.legal_hold().is_some() {
            return Err(barred(
                "what is kept under these terms is held for a legal matter, and a record cannot be: hold packs",
            ));
        }
        let found = self.guard.inspect(object).await?;
        let asked = Lock {
            mode: terms.mode(),
            until: until(terms, brief.now())?,
        };
        // What is locked for longer than what is only written was sealed before.
        if found
            .lock
            .is_some_and(|lock| lock.until > short.until || lock.covers(&asked))
        {
            return Ok(());
        }
        if asked.mode == LockMode::Compliance {
            self.locking.consent.to(&Irrevocable {
                place: self.locking.place.clone(),
                objects: 1,
                bytes: self.store.stat(object).await?.bytes,
                until: asked.until,
            })?;
        }
        self.guard.raise(object, found, asked).await?;
        let detail = json!({
            "place": self.locking.place,
            "key": object.key.as_str(),
            "mode": asked.mode.as_str(),
            "until": asked.until,
        });
        self.logged("lock.seal", Outcome::Done, detail)
    }

    async fn seal_pack(
        &self,
        manifest: &Manifest,
        evidence: &Evidence,
        pins: &Pins,
    ) -> Result<(), StoreError> {
        let Some(terms) = self.brief()?.tenure.of_subject(manifest.subject())? else {
            return Ok(());
        };
        let lockable = Lockable::check(&self.store, &*self.locking.clock).await?;
        let versions = evidence.find(&self.guard, pins).await?;
        let commit = versions
            .first()
            .ok_or_else(|| unusable("a pack has no objects"))?;
        let asked = Lock {
            mode: terms.mode(),
            until: until(terms, lockable.now)?,
        };
        let since_commit = Lock {
            until: terms.retain_until(commit.modified).unwrap_or(asked.until),
            ..asked
        };
        let asked = match commit.protection.lock {
            // Sealed before. A lock that somebody made longer since is the manifest's alone.
            Some(lock) if lock.covers(&since_commit) => Lock {
                until: lock.until.min(asked.until),
                ..asked
            },
            _ => asked,
        };
        let sealed = self
            .lock_all(evidence, versions, asked, "lock.seal", &lockable)
            .await?;
        match terms.legal_hold() {
            Some(matter) => self.hold(evidence, &sealed, matter).await,
            None => Ok(()),
        }
    }

    /// Holds what was locked for the matter that its terms name.
    async fn hold(
        &self,
        evidence: &Evidence,
        sealed: &Sealed,
        matter: &Matter,
    ) -> Result<(), StoreError> {
        let (versions, asked) = (&sealed.versions, sealed.asked);
        let locking = &self.locking;
        let Some(signer) = &locking.signer else {
            return Err(barred(
                "there is no key to sign a legal hold with: name one",
            ));
        };
        let holdable = Holdable {
            pack_id: evidence.pack_id,
            versions,
        };
        let ledgers = Ledgers {
            guard: &self.guard,
            place: &locking.place,
            trusted: &locking.trusted,
            book: &locking.heads,
            lock: Some(asked),
        };
        let actor = Actor {
            by: locking.audit.by(),
            signer: &**signer,
            clock: &*locking.clock,
            reason: "every pack under these terms is held for this matter",
        };
        let placed = holdable.place(&ledgers, matter, &actor).await;
        let placed = placed.map_err(|error| barred(display::chain(&error)))?;
        let detail = json!({
            "place": locking.place,
            "pack_id": evidence.pack_id,
            "matter": matter,
            "new": placed.is_new,
        });
        self.logged("hold.place", Outcome::Done, detail)
    }

    /// Locks these versions at least so, reads them back, and receipts them here and in the store.
    ///
    /// # Errors
    /// The store shows less than was asked, or cannot be asked; it is irrevocable and not consented to.
    pub async fn lock_all(
        &self,
        evidence: &Evidence,
        versions: Vec<Pinned>,
        asked: Lock,
        action: &str,
        lockable: &Lockable,
    ) -> Result<Sealed, StoreError> {
        let before = self.receipt(evidence)?;
        // What was receipted is not given up: a lock that was cut since is put back.
        let asked = before.iter().fold(asked, |asked, before| Lock {
            mode: asked.mode.max(before.asked.mode),
            until: asked.until.max(before.asked.until),
        });
        // A manifest is locked for as long as the longest of its artifacts (threat L11).
        let longest = versions.iter().filter_map(|pinned| pinned.protection.lock);
        let commits = longest.fold(asked, |commits, found| Lock {
            mode: commits.mode.max(found.mode),
            until: commits.until.max(found.until),
        });
        let asked_of = |at: usize| if at == 0 { commits } else { asked };
        let is_short = |(at, pinned): &(usize, &Pinned)| {
            !pinned
                .protection
                .lock
                .is_some_and(|lock| lock.covers(&asked_of(*at)))
        };
        let to_lock = versions.iter().enumerate().filter(is_short).count();
        if to_lock > 0 && commits.mode == LockMode::Compliance {
            self.consented(&versions, commits)?;
        }
        let mut versions = versions.into_iter();
        let commit = versions
            .next()
            .ok_or_else(|| unusable("a pack has no objects"))?;
        // The manifest first: at no moment is it locked for less than an artifact.
        let commit = ensure(&self.guard, commit, commits).await?;
        let rest = batch::each(versions, |pinned| ensure(&self.guard, pinned, asked)).await?;
        let versions: Vec<Pinned> = std::iter::once(commit).chain(rest).collect();
        let locked: Vec<LockedVersion> = versions.iter().map(LockedVersion::of).collect();
        if let Some(before) = before.filter(|before| to_lock == 0 && before.versions == locked) {
            // Done before, and nothing has changed since.
            return Ok(Sealed {
                asked,
                versions,
                receipt: before,
                is_changed: false,
            });
        }
        let receipt = LockReceipt::new(
            evidence.pack_id,
            &self.locking.place,
            (self.locking.clock.now(), lockable.store_now),
            asked,
            locked,
        );
        self.keep(evidence, &receipt, asked).await?;
        let detail = json!({
            "place": self.locking.place,
            "pack_id": evidence.pack_id,
            "mode": asked.mode.as_str(),
            "until": asked.until,
            "versions": versions.len(),
            "changed": to_lock,
        });
        self.logged(action, Outcome::Done, detail)?;
        Ok(Sealed {
            asked,
            versions,
            receipt,
            is_changed: to_lock > 0,
        })
    }

    /// The versions that were receipted before.
    ///
    /// # Errors
    /// The receipt is there and cannot be read.
    pub fn known(&self, evidence: &Evidence) -> Result<Pins, StoreError> {
        let receipt = self.receipt(evidence)?;
        Ok(receipt.map(|receipt| receipt.pins()).unwrap_or_default())
    }

    fn receipt(&self, evidence: &Evidence) -> Result<Option<LockReceipt>, StoreError> {
        match evidence.parts().first() {
            Some(commit) => self.locking.book.of(&self.locking.place, &commit.key),
            None => Ok(None),
        }
    }

    fn consented(&self, versions: &[Pinned], asked: Lock) -> Result<(), StoreError> {
        let bytes = versions.iter().map(|pinned| pinned.declared.bytes);
        self.locking.consent.to(&Irrevocable {
            place: self.locking.place.clone(),
            objects: u64::try_from(versions.len()).unwrap_or(u64::MAX),
            bytes: bytes.fold(0, u64::saturating_add),
            until: asked.until,
        })
    }

    /// Keeps a receipt on this machine and beside the pack.
    async fn keep(
        &self,
        evidence: &Evidence,
        receipt: &LockReceipt,
        asked: Lock,
    ) -> Result<(), StoreError> {
        let Some(commit) = evidence.parts().first() else {
            return Ok(());
        };
        self.locking.book.keep(&commit.key, receipt)?;
        self.know(commit.key.clone(), receipt);
        let bytes = receipt.to_bytes();
        let declared = Declared::of(&bytes);
        let location = Location::Receipt {
            pack_id: evidence.pack_id,
            receipt: Digest::of(&bytes),
        };
        let key = location
            .key()
            .map_err(|error| unusable(error.to_string()))?;
        let put = self.put(&key, bytes.into(), declared).await?;
        let object = ObjectRef {
            key,
            version: put.version,
        };
        self.guard.ensure(&object, asked).await.map(drop)
    }
}

async fn ensure(guard: &Guard, pinned: Pinned, asked: Lock) -> Result<Pinned, StoreError> {
    let Pinned {
        object, protection, ..
    } = &pinned;
    // It was looked at a moment ago.
    let protection = guard.raise(object, protection.clone(), asked).await?;
    Ok(Pinned {
        protection,
        ..pinned
    })
}
