//! A proxy on loopback that fails on purpose, between a client and a real server.
//!
//! It speaks plain HTTP/1.1 and forwards every byte of a request as it came, the `Host` header among them, so
//! signatures stay whole. What goes wrong, for which requests and at which of them, is said by [`Rule`]s;
//! everything that passes is in a log of [`Exchange`]s. It has threads of its own and draws no random number:
//! the same requests in the same order meet the same faults.

mod exchange;
mod fault;
mod listing;
mod rule;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

pub use exchange::Exchange;
pub use fault::{Answer, Call, Fault};
pub use rule::Rule;

use self::rule::Planned;
use crate::wire::Request;

/// A fault proxy. It ends when it is dropped, and every connection through it with it.
pub struct FaultProxy {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl FaultProxy {
    /// Starts one in front of a server, given as `http://HOST:PORT`.
    pub fn start(upstream: &str) -> Self {
        let upstream = upstream.strip_prefix("http://").unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            upstream: upstream.trim_end_matches('/').to_owned(),
            state: Mutex::default(),
            changed: Condvar::new(),
            is_over: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &accepting));
        Self { shared, address }
    }

    /// Where it listens, as `http://HOST:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a rule. Of several rules that are due, the first applies.
    pub fn plan(&self, rule: Rule) {
        self.shared.state().rules.push(Planned::new(rule));
    }

    /// From now on nothing goes wrong.
    pub fn clear(&self) {
        self.shared.state().rules.clear();
    }

    /// What has passed so far, in the order in which the requests came.
    pub fn log(&self) -> Vec<Exchange> {
        self.shared.state().log.clone()
    }

    /// Forgets what has passed.
    pub fn clear_log(&self) {
        self.shared.state().log.clear();
    }

    /// Waits until `is_so` of the log, and yields the log.
    ///
    /// # Panics
    /// It is not so after half a minute.
    pub fn wait_for(&self, is_so: impl Fn(&[Exchange]) -> bool) -> Vec<Exchange> {
        let state = self.shared.state();
        let wait = Duration::from_secs(30);
        let waited = self
            .shared
            .changed
            .wait_timeout_while(state, wait, |state| !is_so(&state.log));
        let (state, timeout) = waited.unwrap();
        assert!(!timeout.timed_out(), "{:#?}", state.log);
        state.log.clone()
    }
}

impl fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultProxy")
            .field("address", &self.address)
            .field("upstream", &self.shared.upstream)
            .finish_non_exhaustive()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
        for (_, stream) in self.shared.state().streams.drain() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// What the threads of a proxy share.
struct Shared {
    /// `HOST:PORT` of the server.
    upstream: String,
    state: Mutex<State>,
    /// Told whenever the log changes.
    changed: Condvar,
    is_over: AtomicBool,
}

#[derive(Default)]
struct State {
    rules: Vec<Planned>,
    log: Vec<Exchange>,
    /// The bodies that were served first, for [`Fault::ServeOlder`].
    served_first: HashMap<String, Vec<u8>>,
    /// What is open, to be closed in the end.
    streams: HashMap<u64, TcpStream>,
    streams_opened: u64,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A thread that panicked has failed its own test already.
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// Writes the request into the log; yields its place there and what is to go wrong.
    fn begin(&self, request: &Request) -> (usize, Option<Arc<Fault>>) {
        let mut state = self.state();
        let due: Vec<_> = state
            .rules
            .iter_mut()
            .map(|rule| rule.is_due(request))
            .collect();
        let rule = due.iter().position(|is_due| *is_due);
        let fault = rule.map(|rule| Arc::clone(&state.rules[rule].rule.fault));
        let place = state.log.len();
        let applied = fault.as_ref().map(|fault| fault.name());
        state.log.push(Exchange::begun(request, applied));
        drop(state);
        self.changed.notify_all();
        (place, fault)
    }

    /// Changes what the log says of an exchange, unless the log was cleared.
    fn note(&self, place: usize, change: impl FnOnce(&mut Exchange)) {
        if let Some(exchange) = self.state().log.get_mut(place) {
            change(exchange);
        }
        self.changed.notify_all();
    }

    /// Takes note of an open connection, so that it ends with the proxy.
    fn hold(&self, stream: &TcpStream) -> io::Result<u64> {
        let mut state = self.state();
        state.streams_opened += 1;
        let number = state.streams_opened;
        state.streams.insert(number, stream.try_clone()?);
        Ok(number)
    }

    fn release(&self, number: u64) {
        self.state().streams.remove(&number);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.is_over() {
            return;
        }
        let Ok(stream) = stream else { continue };
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            let Ok(number) = shared.hold(&stream) else {
                return;
            };
            // Either side may go away at any time: that is what this is for.
            let _ = exchange::serve(&stream, &shared);
            shared.release(number);
        });
    }
}

#[cfg(test)]
mod tests;
