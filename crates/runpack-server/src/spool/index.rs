//! What stands in the spool, in memory: in which order it goes, what waits for what, and how much there is.
//!
//! Invariants: an object is sent once at a time, and not while what must be in the store before it has not been confirmed;
//! one that commits is not sent once something that it commits to was set aside as a conflict.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use runpack_core::key::{KeyPrefix, Location};
use runpack_core::time::Timestamp;
use tokio::time::Instant;

use super::order::{After, after};
use super::{SpoolFull, SpoolSettings};

/// An object of the spool.
#[derive(Debug)]
struct Entry {
    sequence: u64,
    bytes: u64,
    written: Timestamp,
    /// How often it was sent in vain.
    failures: u32,
    is_confirmed: bool,
}

/// An object as it was taken up once. Its key may be taken up again after it has left, and that is another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Item {
    pub(super) sequence: u64,
    pub(super) key: Arc<str>,
    pub(super) bytes: u64,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It is sent.
    Send(Item),
    /// It commits to something that is not in the store and will not be: it is set aside too.
    SetAside(Item),
}

#[derive(Debug, Default)]
pub(super) struct Index {
    entries: BTreeMap<Arc<str>, Entry>,
    /// What the store has not confirmed, in the order in which it was written.
    order: BTreeMap<u64, Arc<str>>,
    /// What of it may go now.
    ready: BTreeSet<u64>,
    /// What waits for the object under a key. One such object is enough to know: when it is gone, the next is looked for.
    waiting: HashMap<Arc<str>, Vec<u64>>,
    /// What rests until some time, after it failed in a way that is its own.
    held: BTreeSet<(Instant, u64)>,
    /// What the store has and the spool still keeps, until some time.
    kept: BTreeSet<(Instant, Item)>,
    /// The keys that were set aside as conflicts.
    aside: BTreeSet<Arc<str>>,
    sequence: u64,
    /// Of everything in `entries`.
    bytes: u64,
    unconfirmed_bytes: u64,
    aside_objects: u64,
    aside_bytes: u64,
    /// Of writes under way.
    reserved: (u64, u64),
}

impl Index {
    /// Takes up what was written; what is there already stays as it is.
    pub(super) fn admit(&mut self, key: &str, bytes: u64, written: Timestamp) {
        if self.entries.contains_key(key) {
            return;
        }
        self.sequence = self.sequence.saturating_add(1);
        let (key, sequence) = (Arc::<str>::from(key), self.sequence);
        let entry = Entry {
            sequence,
            bytes,
            written,
            failures: 0,
            is_confirmed: false,
        };
        self.entries.insert(Arc::clone(&key), entry);
        self.order.insert(sequence, key);
        self.ready.insert(sequence);
        self.bytes = self.bytes.saturating_add(bytes);
        self.unconfirmed_bytes = self.unconfirmed_bytes.saturating_add(bytes);
    }

    /// Whether there is room for a write, or what is full.
    pub(super) fn room(&self, bytes: u64, settings: &SpoolSettings) -> Result<(), SpoolFull> {
        let (objects_reserved, bytes_reserved) = self.reserved;
        let objects = self.objects_all().saturating_add(objects_reserved);
        if objects >= settings.objects_max {
            return Err(SpoolFull::Objects {
                max: settings.objects_max,
            });
        }
        let used = self.bytes.saturating_add(self.aside_bytes);
        let used = used.saturating_add(bytes_reserved).saturating_add(bytes);
        if used > settings.bytes_max {
            return Err(SpoolFull::Bytes {
                max: settings.bytes_max,
            });
        }
        Ok(())
    }

    /// Keeps room for a write.
    pub(super) fn reserve(&mut self, bytes: u64) {
        let (objects, reserved) = self.reserved;
        self.reserved = (objects.saturating_add(1), reserved.saturating_add(bytes));
    }

    /// Gives back the room of a write that has ended.
    pub(super) fn release(&mut self, bytes: u64) {
        let (objects, reserved) = self.reserved;
        self.reserved = (objects.saturating_sub(1), reserved.saturating_sub(bytes));
    }

    /// The bytes of writes under way.
    pub(super) fn bytes_reserved(&self) -> u64 {
        self.reserved.1
    }

    /// Lets go what has rested long enough.
    pub(super) fn rouse(&mut self, now: Instant) {
        while let Some((until, sequence)) = self.held.first().copied()
            && until <= now
        {
            self.held.pop_first();
            self.make_ready(sequence);
        }
    }

    /// What to do next, if there is anything.
    pub(super) fn next(&mut self) -> Option<Next> {
        while let Some(sequence) = self.ready.pop_first() {
            let Some(key) = self.order.get(&sequence).map(Arc::clone) else {
                continue;
            };
            let before = self.before(&key);
            if let Before::Waits(other) = before {
                self.waiting.entry(other).or_default().push(sequence);
                continue;
            }
            let bytes = self.entries.get(&key).map_or(0, |entry| entry.bytes);
            let item = Item {
                sequence,
                key,
                bytes,
            };
            return Some(match before {
                Before::Conflict => Next::SetAside(item),
                _ => Next::Send(item),
            });
        }
        None
    }

    /// What keeps the object under `key` from being sent.
    fn before(&self, key: &str) -> Before {
        let other = match Location::parse(key).as_ref().map(after) {
            None | Some(After::Nothing) => None,
            Some(After::Key(other)) => self.entries.get_key_value(other.as_str()),
            // Parts go in their order, so the one before tells of all.
            Some(After::Earlier(log)) => {
                let earlier = (Bound::Included(log.as_str()), Bound::Excluded(key));
                self.entries.range::<str, _>(earlier).next_back()
            }
            Some(After::Below(below)) if self.has_aside(&below, key) => return Before::Conflict,
            Some(After::Below(below)) => self
                .entries
                .range::<str, _>((Bound::Included(below.as_str()), Bound::Unbounded))
                .take_while(|(other, _)| other.starts_with(&below))
                .find(|(other, entry)| &***other != key && !entry.is_confirmed),
        };
        match other {
            Some((other, entry)) if !entry.is_confirmed => Before::Waits(Arc::clone(other)),
            _ => Before::Nothing,
        }
    }

    /// Whether anything below a prefix was set aside, but `key` itself, which may have been in an earlier life.
    pub(super) fn has_aside(&self, below: &str, key: &str) -> bool {
        self.aside
            .range::<str, _>((Bound::Included(below), Bound::Unbounded))
            .take_while(|other| other.starts_with(below))
            .any(|other| &**other != key)
    }

    /// Whether an object under `key` commits to something that the store does not have and will not get from here.
    pub(super) fn is_hopeless(&self, key: &str) -> bool {
        matches!(self.before(key), Before::Conflict)
    }

    /// Whether nothing here has to be in the store before a write of `key`.
    pub(super) fn is_free(&self, key: &str) -> bool {
        let waits = |entry: &Entry| !entry.is_confirmed;
        !self.entries.get(key).is_some_and(waits) && !matches!(self.before(key), Before::Waits(_))
    }

    fn make_ready(&mut self, sequence: u64) {
        if self.order.contains_key(&sequence) {
            self.ready.insert(sequence);
        }
    }

    /// An object was sent in vain; how often by now.
    pub(super) fn failed(&mut self, item: &Item) -> u32 {
        self.entry_mut(item).map_or(0, |entry| {
            entry.failures = entry.failures.saturating_add(1);
            entry.failures
        })
    }

    /// An object may be sent again, at its old place in the order.
    pub(super) fn again(&mut self, item: &Item) {
        self.make_ready(item.sequence);
    }

    /// An object is not sent before some time.
    pub(super) fn hold(&mut self, item: &Item, until: Instant) {
        self.held.insert((until, item.sequence));
    }

    /// The store has the object.
    pub(super) fn confirm(&mut self, item: &Item) {
        let Some(entry) = self.entry_mut(item) else {
            return;
        };
        entry.is_confirmed = true;
        if self.order.remove(&item.sequence).is_some() {
            self.unconfirmed_bytes = self.unconfirmed_bytes.saturating_sub(item.bytes);
        }
        self.wake(&item.key);
    }

    /// The object stands in the spool no more.
    pub(super) fn forget(&mut self, item: &Item) {
        if !self.has(item) {
            return;
        }
        self.entries.remove(&item.key);
        self.bytes = self.bytes.saturating_sub(item.bytes);
        if self.order.remove(&item.sequence).is_some() {
            self.unconfirmed_bytes = self.unconfirmed_bytes.saturating_sub(item.bytes);
        }
        self.wake(&item.key);
    }

    /// Something lies among the conflicts.
    pub(super) fn note_aside(&mut self, key: &str, bytes: u64) {
        self.aside.insert(key.into());
        self.aside_objects = self.aside_objects.saturating_add(1);
        self.aside_bytes = self.aside_bytes.saturating_add(bytes);
    }

    fn wake(&mut self, key: &str) {
        for sequence in self.waiting.remove(key).unwrap_or_default() {
            self.make_ready(sequence);
        }
    }

    /// Whether the object stands in the spool, and no other in its place.
    pub(super) fn has(&self, item: &Item) -> bool {
        let entry = self.entries.get(&item.key);
        entry.is_some_and(|entry| entry.sequence == item.sequence)
    }

    fn entry_mut(&mut self, item: &Item) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(&item.key)?;
        (entry.sequence == item.sequence).then_some(entry)
    }

    /// What the store has and need not be kept any more. When half of the room is taken, nothing is kept.
    pub(super) fn expired(
        &mut self,
        now: Instant,
        settings: &SpoolSettings,
        max: usize,
    ) -> Vec<Item> {
        let is_tight =
            self.bytes > settings.bytes_max / 2 || self.objects_all() > settings.objects_max / 2;
        let mut expired = Vec::new();
        while expired.len() < max
            && let Some((until, _)) = self.kept.first()
            && (is_tight || *until <= now)
        {
            expired.extend(self.kept.pop_first().map(|(_, item)| item));
        }
        expired
    }

    /// What was confirmed stays until some time.
    pub(super) fn keep(&mut self, item: Item, until: Instant) {
        self.kept.insert((until, item));
    }

    /// When something becomes due by itself.
    pub(super) fn due(&self) -> Option<Instant> {
        let held = self.held.first().map(|(until, _)| *until);
        let kept = self.kept.first().map(|(until, _)| *until);
        held.into_iter().chain(kept).min()
    }

    /// What stands in the spool under a prefix, with sizes.
    pub(super) fn listed(&self, prefix: &KeyPrefix) -> Vec<(Arc<str>, u64)> {
        let prefix = prefix.as_str();
        self.entries
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, entry)| (Arc::clone(key), entry.bytes))
            .collect()
    }

    /// How many objects the store has not confirmed.
    pub(super) fn objects(&self) -> u64 {
        u64::try_from(self.order.len()).unwrap_or(u64::MAX)
    }

    fn objects_all(&self) -> u64 {
        let objects = u64::try_from(self.entries.len()).unwrap_or(u64::MAX);
        objects.saturating_add(self.aside_objects)
    }

    /// The size of what the store has not confirmed.
    pub(super) fn unconfirmed_bytes(&self) -> u64 {
        self.unconfirmed_bytes
    }

    /// How many objects were set aside.
    pub(super) fn conflicts(&self) -> u64 {
        self.aside_objects
    }

    /// When the first of what the store has not confirmed was written.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        let (_, key) = self.order.first_key_value()?;
        self.entries.get(key).map(|entry| entry.written)
    }

    /// Whether nothing at all stands in the spool.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

enum Before {
    Nothing,
    Waits(Arc<str>),
    Conflict,
}
