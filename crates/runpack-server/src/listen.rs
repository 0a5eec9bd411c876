//! Sockets: accepting, TLS, deadlines, limits on connections, and a shutdown that loses nothing.
//!
//! HTTP/1.1 alone is spoken: what attacks the multiplexing of HTTP/2 finds none (threat C06). hyper reads it; what is
//! here holds every peer to a bound, because hyper waits as long as it is let. Invariants:
//!
//! - **every wait has an end**: for a handshake, a head, a body, the application, the taking of the answer, the next
//!   request (threats C04, C32, N06). No peer keeps a connection by doing nothing, or next to nothing;
//! - **one request, one reading**: what two servers might cut apart differently is refused, or is the last that is read
//!   from its connection (threat C05, `listen/framing.rs`);
//! - **what was begun is finished**: a shutdown waits for the answers under way, within a bound;
//! - **a fault of one connection is its own**: nothing that a peer does, and no want of descriptors, ends the loop.
//!
//! What a caller may send, and how often, is not decided here but where callers are known.

mod admission;
mod body;
mod connection;
mod deadline;
mod exchange;
mod framing;
mod pace;
mod tls;
mod watched;

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time;

pub use self::admission::Connections;
use self::admission::{Admission, Refused};
pub use self::body::BodyTimeout;
use self::connection::Conversation;
pub use self::tls::TlsSettings;
use runpack_core::display::chain;

/// The first and the longest pause after an accept that failed.
const ACCEPT_PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// What somebody is told for whom there is no connection.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\nretry-after: 5\r\n\r\n";

/// Bounds, each with what it stops. Times count from what came last, unless it says otherwise.
#[derive(Debug, Clone)]
pub struct ListenSettings {
    /// Connections of all peers. Stops memory and descriptors from being used up.
    pub connections_max: usize,
    /// Connections of one peer: an address, or a network of 64 bits where it is IPv6. Stops one machine from taking all
    /// of them. Behind a proxy, who is the one peer, it is to be as large as `connections_max`.
    pub connections_per_peer_max: usize,
    /// For a handshake of TLS, from accepting. Stops handshakes that are never made.
    pub handshake: Duration,
    /// For a head: from accepting for the first, from its first byte for the next. Stops heads sent byte by byte.
    pub header_read: Duration,
    /// Bytes of a head. Stops heads without end.
    pub headers_bytes_max: usize,
    /// Header lines. Stops many small ones, each of which costs more than its bytes.
    pub headers_max: usize,
    /// Between an answer and the next request. Stops connections that are kept for nothing, and those whose other end is
    /// gone without a word.
    pub idle: Duration,
    /// Without a byte of a body that is waited for. Stops bodies that never end.
    pub body_idle: Duration,
    /// How long a body is waited for, or an answer's taking, in all, before it must go at `body_rate_min`.
    pub body_rate_grace: Duration,
    /// Bytes per second at which a body must come, and an answer be taken; zero for any pace. Stops bodies that are sent
    /// byte by byte, and answers that are read so.
    pub body_rate_min: u64,
    /// For the application to answer, while no body comes. Stops a store that hangs from keeping every connection: the
    /// answer is 503, and the application is not waited for any longer, as when a client goes away.
    pub answer: Duration,
    /// Without a byte of an answer taken. Stops clients that ask for much and read nothing.
    pub write_stall: Duration,
    /// For what is under way when a shutdown begins.
    pub shutdown_grace: Duration,
}

impl Default for ListenSettings {
    fn default() -> Self {
        Self {
            connections_max: 4_096,
            connections_per_peer_max: 1_200,
            handshake: Duration::from_secs(10),
            header_read: Duration::from_secs(10),
            headers_bytes_max: 16 << 10,
            headers_max: 64,
            idle: Duration::from_secs(75),
            body_idle: Duration::from_secs(30),
            body_rate_grace: Duration::from_secs(30),
            body_rate_min: 1 << 10,
            answer: Duration::from_mins(5),
            write_stall: Duration::from_secs(30),
            shutdown_grace: Duration::from_secs(30),
        }
    }
}

/// What lies between TCP and HTTP.
#[derive(Debug, Clone)]
pub enum Transport {
    /// Nothing.
    Plain,
    /// TLS.
    Tls(Arc<TlsSettings>),
}

/// Whether a proxy takes the connections of clients, with TLS, and makes its own to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BehindProxy {
    /// It does.
    Yes,
    /// Clients come straight to us.
    No,
}

/// Whose connection a request came on: of the proxy, where there is one. It is among the request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Tokens would go over the wire for all to read.
    #[error(
        "plain HTTP is served on loopback alone: give a certificate and a key, or say that a proxy does TLS, address=`{address}`"
    )]
    PlainOutsideLoopback {
        /// Where it was to be served.
        address: SocketAddr,
    },
    /// A file does not hold what is expected in it.
    #[error("{what} could not be read: expected in PEM, path=`{path}`")]
    Pem {
        /// What is expected.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The certificate and the key are not used.
    #[error(
        "the certificate and the key cannot be used: they must belong together, certificate=`{certificate}` key=`{key}`"
    )]
    Pair {
        /// The file of the certificates.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// Why not.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Nobody could be served with this.
    #[error("the limit must be greater than zero, limit=`{limit}`")]
    Nothing {
        /// The field of [`ListenSettings`].
        limit: &'static str,
    },
}

/// Refuses to serve tokens and evidence in the open: plain HTTP is for loopback, and for behind a proxy that does TLS.
///
/// # Errors
/// [`ListenError::PlainOutsideLoopback`].
pub fn require_tls_outside_loopback(
    address: SocketAddr,
    transport: &Transport,
    behind_proxy: BehindProxy,
) -> Result<(), ListenError> {
    let is_loopback = address.ip().to_canonical().is_loopback();
    match (transport, behind_proxy) {
        (Transport::Tls(_), _) | (_, BehindProxy::Yes) => Ok(()),
        _ if is_loopback => Ok(()),
        _ => Err(ListenError::PlainOutsideLoopback { address }),
    }
}

/// Serves `app` until `shutdown` is ready: then nothing more is accepted, and what is under way is finished, or cut after
/// [`ListenSettings::shutdown_grace`]. What happens to connections is counted in `connections`.
///
/// # Errors
/// [`ListenError::Nothing`]. Once it serves, it serves until it is told to stop.
pub async fn serve(
    listener: TcpListener,
    transport: Transport,
    app: Router,
    settings: ListenSettings,
    connections: Arc<Connections>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ListenError> {
    settings.check()?;
    let shutdown_grace = settings.shutdown_grace;
    let admission = Admission::new(&settings, Arc::clone(&connections));
    // Whoever holds the other end learns of the shutdown when this one is dropped.
    let (open, closing) = watch::channel(());
    let conversation = Conversation {
        app,
        transport,
        settings: Arc::new(settings),
        connections,
        closing,
    };
    let mut tasks = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let mut pause = ACCEPT_PAUSES.0;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = tasks.join_next() => {
                report(ended);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                keep_alive(&stream);
                pause = ACCEPT_PAUSES.0;
                match admission.admit(peer.ip()) {
                    Ok(admitted) => {
                        let conversation = conversation.clone();
                        tasks.spawn(async move {
                            conversation.hold(stream, Peer(peer)).await;
                            drop(admitted);
                        });
                    }
                    Err(Refused) => refuse(stream, &conversation.transport),
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                // Descriptors or memory are used up: those who have some will give them back.
                conversation.connections.count_accept_failed();
                tracing::warn!(error = chain(&error), "a connection could not be accepted");
                tokio::select! {
                    () = &mut shutdown => break,
                    () = time::sleep(pause) => {}
                }
                pause = pause.saturating_mul(2).min(ACCEPT_PAUSES.1);
            }
        }
    }
    drop(listener);
    drop(open);
    let finished = time::timeout(shutdown_grace, async {
        while let Some(ended) = tasks.join_next().await {
            report(ended);
        }
    });
    if finished.await.is_err() {
        tracing::warn!(
            connections = tasks.len(),
            "connections are cut: their time to finish is over"
        );
        tasks.shutdown().await;
    }
    Ok(())
}

/// Has the system ask a peer that is silent whether it is there. Whoever follows a log says nothing for hours, and a peer
/// that vanished without a word would be written to by nobody and waited for without end.
fn keep_alive(stream: &TcpStream) {
    let set = || {
        sockopt::set_tcp_keepidle(stream, Duration::from_mins(1))?;
        sockopt::set_tcp_keepintvl(stream, Duration::from_secs(15))?;
        sockopt::set_tcp_keepcnt(stream, 4)?;
        sockopt::set_socket_keepalive(stream, true)
    };
    if let Err(error) = set() {
        tracing::debug!(error = chain(&error), "a connection is not asked for life");
    }
}

impl ListenSettings {
    fn check(&self) -> Result<(), ListenError> {
        for (limit, value) in [
            ("connections_max", self.connections_max),
            ("connections_per_peer_max", self.connections_per_peer_max),
            ("headers_bytes_max", self.headers_bytes_max),
            ("headers_max", self.headers_max),
        ] {
            if value == 0 {
                return Err(ListenError::Nothing { limit });
            }
        }
        Ok(())
    }
}

/// Says that there is no room, where that costs nothing: the buffer of a new socket takes it, or it is not said.
fn refuse(stream: TcpStream, transport: &Transport) {
    if let (Transport::Plain, Ok(mut stream)) = (transport, stream.into_std()) {
        let _ = io::Write::write(&mut stream, FULL);
    }
}

/// Whether only the connection that was about to be accepted failed, so that the next may be asked for at once.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(error = chain(&error), "what served a connection failed");
    }
}

#[cfg(test)]
mod tests;
