//! Refusals of people whom nobody knows: counted, and told of in few lines, so that nobody can fill the log.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use runpack_core::time::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Event, Outcome};

/// How many of a window have their own lines.
const FIRST_MAX: u32 = 10;
/// How many peers are told apart. Stops memory from being filled with made-up addresses.
const PEERS_MAX: usize = 1000;

/// What was counted since the window was opened, by the first refusal after the last one ended.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    opened: Option<Instant>,
    /// To be told each on its own.
    first: Vec<(&'static str, IpAddr)>,
    /// How many there were of those in this window.
    first_count: u32,
    rest: BTreeMap<&'static str, u64>,
    peers: HashSet<IpAddr>,
    /// The first and the last of the rest.
    between: Option<(Timestamp, Timestamp)>,
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
        self.add(reason, 1, (at, at));
        self.see(peer);
        false
    }

    fn add(&mut self, reason: &'static str, count: u64, (from, to): (Timestamp, Timestamp)) {
        let sum = self.rest.entry(reason).or_default();
        *sum = sum.saturating_add(count);
        let (first, last) = self.between.unwrap_or((from, to));
        self.between = Some((first.min(from), last.max(to)));
    }

    fn see(&mut self, peer: IpAddr) {
        if self.peers.len() < PEERS_MAX {
            self.peers.insert(peer);
        }
    }

    /// Nothing of `taken` could be written: counts it in again.
    fn put_back(&mut self, taken: Self, at: Timestamp, now: Instant) {
        for (reason, peer) in taken.first {
            self.add(reason, 1, (at, at));
            self.see(peer);
        }
        for (reason, count) in taken.rest {
            self.add(reason, count, taken.between.unwrap_or((at, at)));
        }
        for peer in taken.peers {
            self.see(peer);
        }
        self.opened = Some(now);
    }

    /// The lines of it.
    pub(super) fn events(&self) -> Vec<Event> {
        let mut events: Vec<_> = self
            .first
            .iter()
            .map(|(reason, peer)| {
                event(BTreeMap::from([
                    ("reason", (*reason).to_owned()),
                    ("peer", peer.to_string()),
                ]))
            })
            .collect();
        if let Some((from, to)) = self.between {
            let counts: Vec<_> = self
                .rest
                .iter()
                .map(|(reason, count)| format!("{reason}={count}"))
                .collect();
            let or_more = if self.peers.len() < PEERS_MAX {
                ""
            } else {
                " or more"
            };
            events.push(event(BTreeMap::from([
                ("counts", counts.join(" ")),
                ("peers", format!("{}{or_more}", self.peers.len())),
                ("from", from.to_string()),
                ("to", to.to_string()),
            ])));
        }
        events
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
