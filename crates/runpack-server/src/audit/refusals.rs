//! Refusals that anybody can bring about: counted, and told of in few lines, so that nobody can fill the log.
//!
//! They are of people whom nobody knows, and of people with a name who get no further than that: anybody can have a genuine
//! token of a public issuer, and everybody can ask too often.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use runpack_core::time::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Event, Outcome};

/// How many of a window have their own lines, of those without a name.
const FIRST_MAX: u32 = 10;
/// How many of one name have their own lines.
const FIRST_OF_NAME_MAX: u32 = 5;
/// How many of all names have their own lines. Stops made-up names.
const FIRST_NAMED_MAX: u32 = 50;
/// How many names are told apart.
const NAMES_MAX: usize = 50;
/// How many peers are told apart. Stops memory from being filled with made-up addresses.
const PEERS_MAX: usize = 1000;
/// Why whoever asks too often is refused.
pub(crate) const RATE: &str = "rate";

/// What is told together.
#[derive(Debug, Default)]
struct Tally {
    counts: BTreeMap<&'static str, u64>,
    peers: HashSet<IpAddr>,
    /// The first and the last.
    between: Option<(Timestamp, Timestamp)>,
}

impl Tally {
    fn count(&mut self, reason: &'static str, peer: Option<IpAddr>, at: Timestamp) {
        self.add(reason, 1, (at, at));
        self.peers_are(peer);
    }

    fn add(&mut self, reason: &'static str, count: u64, (from, to): (Timestamp, Timestamp)) {
        let sum = self.counts.entry(reason).or_default();
        *sum = sum.saturating_add(count);
        let (first, last) = self.between.unwrap_or((from, to));
        self.between = Some((first.min(from), last.max(to)));
    }

    fn peers_are(&mut self, peers: impl IntoIterator<Item = IpAddr>) {
        for peer in peers {
            if self.peers.len() < PEERS_MAX {
                self.peers.insert(peer);
            }
        }
    }

    fn put_back(&mut self, taken: Self, at: Timestamp) {
        for (reason, count) in taken.counts {
            self.add(reason, count, taken.between.unwrap_or((at, at)));
        }
        self.peers_are(taken.peers);
    }

    fn event(&self, caller: Option<&Arc<str>>) -> Option<Event> {
        let (from, to) = self.between?;
        let counts: Vec<_> = self
            .counts
            .iter()
            .map(|(reason, count)| format!("{reason}={count}"))
            .collect();
        let or_more = if self.peers.len() < PEERS_MAX {
            ""
        } else {
            " or more"
        };
        let is_rate_alone = self.counts.keys().all(|reason| *reason == RATE);
        let mut event = event(BTreeMap::from([
            ("counts", counts.join(" ")),
            ("peers", format!("{}{or_more}", self.peers.len())),
            ("from", from.to_string()),
            ("to", to.to_string()),
        ]));
        event.caller = caller.cloned();
        event.status = if is_rate_alone { 429 } else { 401 };
        Some(event)
    }
}

/// Of one name.
#[derive(Debug, Default)]
struct Named {
    first_count: u32,
    rest: Tally,
}

/// What was counted since the window was opened, by the first refusal after the last one ended.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    opened: Option<Instant>,
    /// To be told each on its own.
    first: Vec<(&'static str, IpAddr)>,
    /// How many there were of those in this window.
    first_count: u32,
    rest: Tally,
    named: BTreeMap<Arc<str>, Named>,
    /// How many of those with a name were told each on its own.
    named_count: u32,
    /// Of names that are not told apart.
    others: Tally,
}

impl Refusals {
    /// Whether there is one more to be told at once.
    fn count(&mut self, reason: &'static str, peer: IpAddr, at: Timestamp, now: Instant) -> bool {
        self.opened.get_or_insert(now);
        if self.first_count < FIRST_MAX {
            self.first_count = self.first_count.saturating_add(1);
            self.first.push((reason, peer));
            return true;
        }
        self.rest.count(reason, Some(peer), at);
        false
    }

    /// Whether whoever counts it is to tell of it on its own; else it is told with others.
    fn count_named(
        &mut self,
        name: &Arc<str>,
        reason: &'static str,
        peer: Option<IpAddr>,
        (at, now): (Timestamp, Instant),
    ) -> bool {
        self.opened.get_or_insert(now);
        if self.named.len() >= NAMES_MAX && !self.named.contains_key(name) {
            self.others.count(reason, peer, at);
            return false;
        }
        let named = self.named.entry(Arc::clone(name)).or_default();
        if named.first_count < FIRST_OF_NAME_MAX && self.named_count < FIRST_NAMED_MAX {
            named.first_count = named.first_count.saturating_add(1);
            self.named_count = self.named_count.saturating_add(1);
            return true;
        }
        named.rest.count(reason, peer, at);
        false
    }

    /// Nothing of `taken` could be written: counts it in again.
    fn put_back(&mut self, taken: Self, at: Timestamp, now: Instant) {
        for (reason, peer) in taken.first {
            self.rest.count(reason, Some(peer), at);
        }
        self.rest.put_back(taken.rest, at);
        self.others.put_back(taken.others, at);
        for (name, named) in taken.named {
            if self.named.len() < NAMES_MAX || self.named.contains_key(&name) {
                let again = self.named.entry(name).or_default();
                again.rest.put_back(named.rest, at);
            } else {
                self.others.put_back(named.rest, at);
            }
        }
        self.opened = Some(now);
    }

    /// The lines of it.
    pub(super) fn events(&self) -> Vec<Event> {
        let first = self.first.iter().map(|(reason, peer)| {
            event(BTreeMap::from([
                ("reason", (*reason).to_owned()),
                ("peer", peer.to_string()),
            ]))
        });
        let named = self.named.iter();
        let named = named.filter_map(|(name, named)| named.rest.event(Some(name)));
        let others = self.others.event(None).map(|mut event| {
            let whose = format!("others than the first {NAMES_MAX}");
            event.detail.insert("names", whose);
            event
        });
        first
            .chain(self.rest.event(None))
            .chain(named)
            .chain(others)
            .collect()
    }
}

fn event(detail: BTreeMap<&'static str, String>) -> Event {
    Event {
        request: None,
        caller: None,
        action: "access.refused",
        object: "server".to_owned(),
        outcome: Outcome::Refused,
        status: 401,
        detail,
    }
}

/// The refusals that are not written yet, between those who count and the writer.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    refusals: Mutex<Refusals>,
    first: Notify,
}

impl Waiting {
    pub(super) fn count(&self, reason: &'static str, peer: IpAddr, at: Timestamp, now: Instant) {
        if self.with(|refusals| refusals.count(reason, peer, at, now)) {
            self.first.notify_one();
        }
    }

    /// Whether whoever counts it is to tell of it on its own.
    pub(super) fn count_named(
        &self,
        name: &Arc<str>,
        reason: &'static str,
        peer: Option<IpAddr>,
        when: (Timestamp, Instant),
    ) -> bool {
        self.with(|refusals| refusals.count_named(name, reason, peer, when))
    }

    /// Returns when there are some to be told at once.
    pub(super) async fn first(&self) {
        self.first.notified().await;
    }

    /// When the window was opened.
    pub(super) fn opened(&self) -> Option<Instant> {
        self.with(|refusals| refusals.opened)
    }

    /// Takes those to be told at once.
    pub(super) fn take_first(&self) -> Refusals {
        self.with(|refusals| Refusals {
            first: std::mem::take(&mut refusals.first),
            ..Refusals::default()
        })
    }

    /// Takes all, and ends the window.
    pub(super) fn take_all(&self) -> Refusals {
        self.with(std::mem::take)
    }

    pub(super) fn put_back(&self, taken: Refusals, at: Timestamp, now: Instant) {
        self.with(|refusals| refusals.put_back(taken, at, now));
    }

    fn with<T>(&self, work: impl FnOnce(&mut Refusals) -> T) -> T {
        // Counts are counts, whoever panicked over them.
        work(&mut self.refusals.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
