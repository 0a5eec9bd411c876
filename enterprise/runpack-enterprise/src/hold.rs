//! Placing and releasing legal holds: the ledger first, then the bits; and a bit goes off only when the ledger is proved
//! whole and no matter is left.
//!
//! A crash between the two leaves bits on that nobody needs, or an entry whose bits are not on yet: the same command again
//! finishes either. Invariants: a version that was held before its first matter was placed stays held; without a pinned
//! head of the ledger nothing is cleared.

use runpack_core::digest::{Digest, Hasher};
use runpack_core::id::PackId;
use runpack_core::key::ObjectKey;
use runpack_core::sign::Signer;
use runpack_core::store::StoreError;
use runpack_core::time::Clock;

use crate::batch;
use crate::evidence::Pinned;
use crate::guard::Hold;
use crate::ledger::{Act, Entry, Format, Held, Ledger, LedgerError, Ledgers, Previous};
use crate::matter::Matter;

/// A pack, all its versions found, the commit first.
#[derive(Debug, Clone, Copy)]
pub struct Holdable<'a> {
    /// Which pack.
    pub pack_id: PackId,
    /// The versions.
    pub versions: &'a [Pinned],
}

/// Who acts, with what and why.
#[derive(Debug)]
pub struct Actor<'a> {
    /// Who, as their machine says.
    pub by: &'a str,
    /// Signs entries.
    pub signer: &'a dyn Signer,
    /// Tells the time.
    pub clock: &'a dyn Clock,
    /// Why, in words.
    pub reason: &'a str,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Who holds the pack now.
    pub held: Held,
    /// Whether an entry was added, or it was so already.
    pub is_new: bool,
    /// What became of the bits.
    pub bits: Bits,
}

/// What became of the bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bits {
    /// All versions are held.
    On,
    /// None is held by this ledger any more, and all bits are off.
    Cleared,
    /// They stay on: they were on before the ledger knew of the pack.
    LeftOn,
}

/// Why a hold was not placed or released.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HoldError {
    /// The matter does not hold this pack.
    #[error(
        "this matter does not hold the pack, and did not before: `hold list` shows what does, matter=`{matter}`"
    )]
    NotHeld {
        /// The matter.
        matter: Matter,
    },
    /// A matter was placed while the holds were being cleared.
    #[error("a matter was placed at the same moment, and the versions stay held")]
    Placed,
    /// The versions are others than were held.
    #[error(
        "the versions of the pack are others than those that were held, so nothing is cleared: `lock status` shows them"
    )]
    OtherVersions,
    /// The ledger is not believed, or could not be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Holdable<'_> {
    fn commit(&self) -> Result<&ObjectKey, HoldError> {
        let first = self.versions.first();
        let commit = first.map(|pinned| &pinned.part.key);
        commit.ok_or_else(|| crate::bucket::unusable("a pack has no objects").into())
    }

    fn versions_sha256(&self) -> Digest {
        let mut hasher = Hasher::new();
        for pinned in self.versions {
            let version = pinned.object.version.as_ref();
            let version = version.map_or("", |version| version.as_str());
            hasher.update(format!("{} {version}\n", pinned.part.key).as_bytes());
        }
        hasher.finish()
    }

    fn held(&self, ledger: &Ledger) -> Result<Held, HoldError> {
        Ok(ledger.held(self.pack_id, self.commit()?))
    }

    fn entry<'a>(
        &'a self,
        ledgers: &'a Ledgers<'_>,
        (act, matter): (Act, &'a Matter),
        actor: &'a Actor<'_>,
        was_held: bool,
    ) -> Result<impl Fn(u32, Option<Previous>) -> Entry + 'a, HoldError> {
        let commit = self.commit()?.to_string();
        let versions_sha256 = self.versions_sha256();
        Ok(move |sequence, previous| Entry {
            format: Format::V1,
            sequence,
            previous,
            at: actor.clock.now(),
            by: actor.by.to_owned(),
            place: ledgers.place.to_owned(),
            act,
            matter: matter.clone(),
            reason: actor.reason.to_owned(),
            pack_id: self.pack_id,
            commit: commit.clone(),
            versions: u64::try_from(self.versions.len()).unwrap_or(u64::MAX),
            versions_sha256,
            was_held,
        })
    }

    async fn set(&self, ledgers: &Ledgers<'_>, hold: Hold) -> Result<(), HoldError> {
        let set = batch::each(self.versions, |pinned| {
            ledgers.guard.set_hold(&pinned.object, hold)
        });
        set.await?;
        Ok(())
    }

    /// Holds every version of the pack for a matter.
    ///
    /// # Errors
    /// The ledger does not prove what it says; as the store fails. An entry that was written stays, and the same again
    /// goes on from there.
    pub async fn place(
        &self,
        ledgers: &Ledgers<'_>,
        matter: &Matter,
        actor: &Actor<'_>,
    ) -> Result<Changed, HoldError> {
        let ledger = ledgers.read().await?;
        let held = self.held(&ledger)?;
        let is_new = !held.matters.contains(matter);
        let ledger = if is_new {
            // What is held and not by this ledger is somebody else's.
            let is_on = |pinned: &Pinned| pinned.protection.hold == Hold::On;
            let was_held = !held.is_ours && self.versions.iter().any(is_on);
            let make = self.entry(ledgers, (Act::Place, matter), actor, was_held)?;
            let judge = |_: &Ledger| Ok::<_, HoldError>(());
            ledgers.append(actor.signer, make, judge).await?
        } else {
            ledger
        };
        self.set(ledgers, Hold::On).await?;
        Ok(Changed {
            held: self.held(&ledger)?,
            is_new,
            bits: Bits::On,
        })
    }

    /// Ends a matter's hold, and clears the bits if it was the last.
    ///
    /// # Errors
    /// [`HoldError::NotHeld`], [`HoldError::OtherVersions`]; the ledger does not prove what it says, or this machine cannot
    /// tell whether it does; as the store fails. No bit is left cleared while a matter needs it.
    pub async fn release(
        &self,
        ledgers: &Ledgers<'_>,
        matter: &Matter,
        actor: &Actor<'_>,
    ) -> Result<Changed, HoldError> {
        if ledgers.book.of(ledgers.place)?.is_none() {
            return Err(LedgerError::Unpinned.into());
        }
        let mut ledger = ledgers.read().await?;
        let is_new = self.held(&ledger)?.matters.contains(matter);
        if is_new {
            let make = self.entry(ledgers, (Act::Release, matter), actor, false)?;
            let judge = |_: &Ledger| Ok::<_, HoldError>(());
            ledger = ledgers.append(actor.signer, make, judge).await?;
        } else if !ledger.has_released(self.pack_id, self.commit()?, matter) {
            return Err(HoldError::NotHeld {
                matter: matter.clone(),
            });
        }
        // What was appended in the meantime counts too.
        let held = self.held(&ledger)?;
        let bits = if !held.matters.is_empty() {
            Bits::On
        } else if held.was_held_before {
            Bits::LeftOn
        } else if !held.is_ours {
            // They were cleared before; what is on now is somebody else's.
            Bits::Cleared
        } else if held.versions != Some(self.versions_sha256()) {
            return Err(HoldError::OtherVersions);
        } else {
            match self.clear(ledgers, matter, actor).await {
                Err(HoldError::Placed) => Bits::On,
                cleared => cleared.map(|()| Bits::Cleared)?,
            }
        };
        let held = self.held(&ledgers.read().await?)?;
        Ok(Changed { held, is_new, bits })
    }

    /// Clears the bits and says so in the ledger. If anything fails, or somebody placed a hold meanwhile, they go on again.
    async fn clear(
        &self,
        ledgers: &Ledgers<'_>,
        matter: &Matter,
        actor: &Actor<'_>,
    ) -> Result<(), HoldError> {
        let make = self.entry(ledgers, (Act::Clear, matter), actor, false)?;
        let judge = |ledger: &Ledger| {
            if self.held(ledger)?.matters.is_empty() {
                Ok(())
            } else {
                Err(HoldError::Placed)
            }
        };
        let cleared = async {
            self.set(ledgers, Hold::Off).await?;
            // Whoever places a hold after this entry sets the bits after it too.
            ledgers.append(actor.signer, make, judge).await.map(drop)
        };
        match cleared.await {
            Ok(()) => Ok(()),
            Err(error) => {
                self.set(ledgers, Hold::On).await?;
                Err(error)
            }
        }
    }
}
