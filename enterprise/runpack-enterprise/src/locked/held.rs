//! Which packs the ledger of holds keeps: for whoever removes.
//!
//! Invariant: a ledger that is there and is not proved, or that this machine cannot tell from one that was cut, holds
//! everything.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt as _;
use runpack_core::display::chain;
use runpack_core::id::PackId;
use runpack_core::key::Location;
use runpack_core::store::{Holds, Housekeeping as _, StoreError};

use super::LockedStore;
use crate::bucket::barred;
use crate::ledger::{LedgerError, Ledgers};
use crate::matter::Matter;

impl LockedStore {
    /// The packs that matters hold, in whatever place.
    pub(super) async fn held_by_ledger(&self) -> Result<Holds, StoreError> {
        let locking = &self.locking;
        let mut entries = self.store.versions_below(&Location::holds_prefix());
        let is_there = entries.next().await.transpose()?.is_some();
        if is_there && locking.trusted.is_empty() {
            return Err(barred(
                "this store keeps legal holds, and no key is named whose signatures count: give --trusted-key",
            ));
        }
        let ledgers = Ledgers {
            guard: &self.guard,
            place: &locking.place,
            trusted: &locking.trusted,
            book: &locking.heads,
            lock: None,
        };
        // Also of one that is empty: this machine may know better.
        let ledger = ledgers.read().await.map_err(unproven)?;
        if is_there
            && locking
                .heads
                .of(&locking.place)
                .map_err(unproven)?
                .is_none()
        {
            return Err(unproven(LedgerError::Unpinned));
        }
        let mut matters: BTreeMap<PackId, BTreeSet<Matter>> = BTreeMap::new();
        for ((_, pack_id), held) in ledger.all_held() {
            matters.entry(pack_id).or_default().extend(held.matters);
        }
        let told = matters.into_iter().map(|(pack_id, matters)| {
            let matters: Vec<_> = matters.iter().map(Matter::as_str).collect();
            (pack_id, format!("held for {}", matters.join(", ")))
        });
        Ok(Holds::new(told.collect()))
    }
}

fn unproven(error: LedgerError) -> StoreError {
    match error {
        LedgerError::Store(error) => error,
        error => barred(chain(&error)),
    }
}
