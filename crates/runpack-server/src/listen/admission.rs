//! Who gets a connection: so many in all, so many of one peer. And what is counted of connections.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::ListenSettings;

/// What happened to connections, for whoever measures.
#[derive(Debug, Default)]
pub struct Connections {
    open: AtomicU64,
    refused: AtomicU64,
    timed_out: AtomicU64,
    accept_failed: AtomicU64,
}

impl Connections {
    /// Connections that are open now.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections for which there was no room.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Waits that were ended: for a handshake, a head, a body, an answer, its taking, a next request.
    pub fn timed_out(&self) -> u64 {
        self.timed_out.load(Ordering::Relaxed)
    }

    /// Times that no connection could be accepted.
    pub fn accept_failed(&self) -> u64 {
        self.accept_failed.load(Ordering::Relaxed)
    }

    pub(super) fn count_timed_out(&self) {
        self.timed_out.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_accept_failed(&self) {
        self.accept_failed.fetch_add(1, Ordering::Relaxed);
    }
}

/// Gives connections out.
pub(super) struct Admission {
    total_max: usize,
    per_peer_max: usize,
    connections: Arc<Connections>,
    held: Arc<Mutex<Held>>,
}

#[derive(Default)]
struct Held {
    total: usize,
    by_peer: HashMap<IpAddr, usize>,
}

/// There is no room.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused;

/// A connection that was given out, until it is dropped.
pub(super) struct Admitted {
    peer: IpAddr,
    connections: Arc<Connections>,
    held: Arc<Mutex<Held>>,
}

impl Admission {
    pub(super) fn new(settings: &ListenSettings, connections: Arc<Connections>) -> Self {
        Self {
            total_max: settings.connections_max,
            per_peer_max: settings.connections_per_peer_max,
            connections,
            held: Arc::default(),
        }
    }

    pub(super) fn admit(&self, address: IpAddr) -> Result<Admitted, Refused> {
        let peer = peer_of(address);
        // Counts are right at every step.
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let of_peer = held.by_peer.get(&peer).copied().unwrap_or(0);
        if held.total >= self.total_max || of_peer >= self.per_peer_max {
            self.connections.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Refused);
        }
        held.total = held.total.saturating_add(1);
        held.by_peer.insert(peer, of_peer.saturating_add(1));
        self.connections.open.fetch_add(1, Ordering::Relaxed);
        Ok(Admitted {
            peer,
            connections: Arc::clone(&self.connections),
            held: Arc::clone(&self.held),
        })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.total = held.total.saturating_sub(1);
        if let Some(of_peer) = held.by_peer.get_mut(&self.peer) {
            *of_peer = of_peer.saturating_sub(1);
            if *of_peer == 0 {
                held.by_peer.remove(&self.peer);
            }
        }
        self.connections.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whom an address counts for. Who has one address of IPv6 has the 64 bits below its network (RFC 6177, section 2).
fn peer_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = address.to_bits() & (u128::MAX << 64);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(total: usize, per_peer: usize) -> Admission {
        let settings = ListenSettings {
            connections_max: total,
            connections_per_peer_max: per_peer,
            ..ListenSettings::default()
        };
        Admission::new(&settings, Arc::default())
    }

    #[test]
    fn c04_a_peer_is_an_address_or_a_network_of_64_bits() {
        for (one, other, same) in [
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("::ffff:10.0.0.1", "::ffff:10.0.0.2", false),
            ("2001:db8::1", "2001:db8::ffff:0:0:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ] {
            let admission = admission(9, 1);
            let _one = admission.admit(one.parse().unwrap()).unwrap();
            let other_refused = admission.admit(other.parse().unwrap()).is_err();
            assert_eq!(other_refused, same, "{one} {other}");
        }
    }

    #[test]
    fn c04_what_is_given_back_is_given_out_again_and_forgotten() {
        let admission = admission(2, 2);
        let address = "10.0.0.1".parse().unwrap();
        for _ in 0..100 {
            let both = [admission.admit(address), admission.admit(address)];
            assert!(both.iter().all(Result::is_ok));
            assert_eq!(admission.admit(address).err(), Some(Refused));
            assert_eq!(admission.connections.open(), 2);
        }
        assert_eq!(admission.connections.open(), 0);
        assert_eq!(admission.connections.refused(), 100);
        assert!(admission.held.lock().unwrap().by_peer.is_empty());
    }
}
