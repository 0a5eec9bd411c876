//! What objects use, counted exactly; and what that costs.
//!
//! An object is in one class on each day. It is moved by rules as it ages, which is counted where it happens within the time
//! that is reckoned. What Amazon S3 adds to an object of an archive, and what it bills of a small one at least, is in the
//! prices.

use std::collections::BTreeMap;

use runpack_core::lifecycle::{Rule, StorageClass, Transition};
use runpack_core::store::part_count;
use serde::Serialize;

use super::money::Money;
use super::prices::{Prices, PricesError};

const GIB: u128 = 1 << 30;
const MONTH_DAYS: u128 = 30;
const CHUNK_BYTES: u64 = runpack_core::commitment::CHUNK_BYTES;

/// An object, as it is on the day from which on it is reckoned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Object<'a> {
    /// Its key in the store.
    pub(super) key: &'a str,
    pub(super) bytes: u64,
    pub(super) age_days: u32,
    /// The class that it was seen in; without one it is where the rules have moved it.
    pub(super) seen: Option<StorageClass>,
}

/// The time that is reckoned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// For so many days.
    pub days: u32,
    /// In which everything is verified so often.
    pub verifications: u32,
}

/// What was counted of some objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Usage {
    packs: u64,
    objects: u64,
    bytes: u128,
    classes: BTreeMap<StorageClass, InClass>,
    stored: Requests,
    listed: u128,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct InClass {
    /// At the beginning.
    objects: u64,
    bytes: u128,
    byte_days: u128,
    moved_here: u128,
    /// Of one verification.
    reads: u128,
    read_bytes: u128,
    asked_back: u128,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Requests {
    writes: u128,
    reads: u128,
}

impl Usage {
    /// Counts a pack beside its objects: the manifest is looked at in its versions when it is committed and when it is read,
    /// and what lies beside it is listed in pages of a thousand.
    pub(super) fn add_pack(&mut self, objects: u64) {
        self.packs = self.packs.saturating_add(1);
        self.stored.writes = self.stored.writes.saturating_add(1);
        let pages = u128::from(objects.div_ceil(1_000).max(1));
        self.listed = self.listed.saturating_add(pages.saturating_add(1));
    }

    /// Counts an object. Returns the class that it is in on the first day.
    ///
    /// # Errors
    /// The prices have none of a class that it comes to.
    pub(super) fn add(
        &mut self,
        object: Object<'_>,
        rules: &[Rule],
        window: Window,
        prices: &Prices,
    ) -> Result<StorageClass, PricesError> {
        let bytes = u128::from(object.bytes);
        self.objects = self.objects.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        // One request for a small one; its beginning, its parts and its end for a large one. Before the commit each is
        // looked at again.
        let writes = match part_count(object.bytes) {
            Some(parts) if object.bytes > CHUNK_BYTES => parts.saturating_add(2),
            _ => 1,
        };
        self.stored.writes = self.stored.writes.saturating_add(u128::from(writes));
        self.stored.reads = self.stored.reads.saturating_add(1);
        let (first, moves) = way(object, rules, window.days);
        let at = self.classes.entry(first).or_default();
        at.objects = at.objects.saturating_add(1);
        at.bytes = at.bytes.saturating_add(bytes);
        at.reads = at
            .reads
            .saturating_add(u128::from(object.bytes.div_ceil(CHUNK_BYTES).max(1)));
        at.read_bytes = at.read_bytes.saturating_add(bytes);
        if !first.is_read_at_once() {
            at.asked_back = at.asked_back.saturating_add(1);
        }
        let (mut class, mut day) = (first, 0);
        for Transition { after_days, to } in moves {
            self.stay(class, object.bytes, after_days.saturating_sub(day), prices)?;
            let there = self.classes.entry(to).or_default();
            there.moved_here = there.moved_here.saturating_add(1);
            (class, day) = (to, after_days);
        }
        self.stay(class, object.bytes, window.days.saturating_sub(day), prices)?;
        Ok(first)
    }

    fn stay(
        &mut self,
        class: StorageClass,
        bytes: u64,
        days: u32,
        prices: &Prices,
    ) -> Result<(), PricesError> {
        let of = prices.of(class)?;
        let mut lie = |class: StorageClass, bytes: u128| {
            let at = self.classes.entry(class).or_default();
            let byte_days = bytes.saturating_mul(u128::from(days));
            at.byte_days = at.byte_days.saturating_add(byte_days);
        };
        let billed = u128::from(bytes.max(of.bytes_min));
        lie(class, billed.saturating_add(u128::from(of.overhead_bytes)));
        if of.overhead_standard_bytes > 0 {
            lie(
                StorageClass::Standard,
                u128::from(of.overhead_standard_bytes),
            );
        }
        Ok(())
    }

    /// What it costs.
    ///
    /// # Errors
    /// The prices have none of a class.
    pub(super) fn bill(&self, window: Window, prices: &Prices) -> Result<Bill, PricesError> {
        let standard = prices.of(StorageClass::Standard)?;
        let times = u128::from(window.verifications);
        let mut bill = Bill {
            packs: self.packs,
            objects: self.objects,
            bytes: self.bytes.try_into().unwrap_or(u64::MAX),
            ..Bill::default()
        };
        bill.storing.requests = number(self.stored.writes.saturating_add(self.stored.reads));
        bill.storing.cost = standard
            .put_1000
            .times(self.stored.writes, 1_000)
            .plus(standard.get_1000.times(self.stored.reads, 1_000));
        let listed = self.listed.saturating_mul(times);
        let mut verifying = listed;
        bill.verifying.cost = standard.put_1000.times(listed, 1_000);
        for (class, at) in &self.classes {
            let of = prices.of(*class)?;
            let storage = of
                .storage_gib_month
                .times(at.byte_days, GIB.saturating_mul(MONTH_DAYS));
            bill.storage = bill.storage.plus(storage);
            bill.classes.push(ClassBill {
                class: *class,
                objects: at.objects,
                bytes: number(at.bytes),
                storage,
            });
            bill.moving.requests = bill.moving.requests.saturating_add(number(at.moved_here));
            let moved = of.transition_1000.times(at.moved_here, 1_000);
            bill.moving.cost = bill.moving.cost.plus(moved);
            let (reads, asked) = (
                at.reads.saturating_mul(times),
                at.asked_back.saturating_mul(times),
            );
            verifying = verifying.saturating_add(reads).saturating_add(asked);
            let reading = of
                .get_1000
                .times(reads, 1_000)
                .plus(of.restore_1000.times(asked, 1_000))
                .plus(
                    of.retrieval_gib
                        .times(at.read_bytes.saturating_mul(times), GIB),
                );
            bill.verifying.cost = bill.verifying.cost.plus(reading);
        }
        bill.verifying.requests = number(verifying);
        bill.total = bill
            .storage
            .plus(bill.moving.cost)
            .plus(bill.verifying.cost);
        Ok(bill)
    }
}

fn number(number: u128) -> u64 {
    number.try_into().unwrap_or(u64::MAX)
}

/// The class of the first day, and the moves within the days, each with the day on which it is.
fn way(object: Object<'_>, rules: &[Rule], days: u32) -> (StorageClass, Vec<Transition>) {
    let of_it = rules
        .iter()
        .filter(|rule| rule.has(object.key, object.bytes));
    let mut wished: Vec<Transition> = of_it.flat_map(|rule| rule.transitions.clone()).collect();
    wished.sort_unstable_by_key(|transition| (transition.after_days, transition.to));
    let due = wished.iter().filter(|t| t.after_days <= object.age_days);
    let due = due.map(|transition| transition.to).max();
    let mut class = object.seen.or(due).unwrap_or(StorageClass::Standard);
    let first = class;
    let mut moves = Vec::new();
    let mut go = |to: StorageClass, after_days: u32| {
        if to > class && after_days < days {
            class = to;
            moves.push(Transition { after_days, to });
        }
    };
    // What is due and was not seen there is moved by the next run of the rules.
    if let Some(to) = due {
        go(to, 1);
    }
    for transition in wished {
        if let Some(day) = transition.after_days.checked_sub(object.age_days)
            && day > 0
        {
            go(transition.to, day);
        }
    }
    (first, moves)
}

/// What something costs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Bill {
    /// Packs, each as often as it lies somewhere.
    pub packs: u64,
    /// Objects that they are.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// By storage class, as it is at the beginning.
    pub classes: Vec<ClassBill>,
    /// Keeping them.
    pub storage: Money,
    /// Moving them from class to class.
    pub moving: RequestBill,
    /// Verifying them, where they are at the beginning.
    pub verifying: RequestBill,
    /// Keeping, moving and verifying.
    pub total: Money,
    /// What it took to store them once: not in the total, since it is paid.
    pub storing: RequestBill,
}

/// What lies in a storage class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ClassBill {
    /// The class.
    pub class: StorageClass,
    /// Objects there at the beginning.
    pub objects: u64,
    /// Their bytes, without what the service adds.
    pub bytes: u64,
    /// What lies there in the time costs, whenever it comes.
    pub storage: Money,
}

/// What requests cost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RequestBill {
    /// How many.
    pub requests: u64,
    /// What they cost, with what is read out of colder classes.
    pub cost: Money,
}

impl Bill {
    /// Adds another, line by line.
    pub(super) fn add(&mut self, other: &Self) {
        self.packs = self.packs.saturating_add(other.packs);
        self.objects = self.objects.saturating_add(other.objects);
        self.bytes = self.bytes.saturating_add(other.bytes);
        for one in &other.classes {
            match self.classes.iter_mut().find(|mine| mine.class == one.class) {
                Some(mine) => {
                    mine.objects = mine.objects.saturating_add(one.objects);
                    mine.bytes = mine.bytes.saturating_add(one.bytes);
                    mine.storage = mine.storage.plus(one.storage);
                }
                None => self.classes.push(one.clone()),
            }
        }
        self.classes.sort_unstable_by_key(|one| one.class);
        self.storage = self.storage.plus(other.storage);
        self.total = self.total.plus(other.total);
        for (mine, theirs) in [
            (&mut self.moving, &other.moving),
            (&mut self.verifying, &other.verifying),
            (&mut self.storing, &other.storing),
        ] {
            mine.requests = mine.requests.saturating_add(theirs.requests);
            mine.cost = mine.cost.plus(theirs.cost);
        }
    }
}

#[cfg(test)]
mod tests;
