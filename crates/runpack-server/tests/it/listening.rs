//! Sockets: slow, broken and hostile peers.
//!
//! Peers write raw bytes, and the application counts what reaches it. No pause decides a test: what must end is waited
//! for, and what must not is proved by what comes after it.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed assertion is how a test speaks"
)]

mod framing;
mod limits;
mod pace;
mod shutdown;
mod tls;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::response::IntoResponse as _;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router, middleware};
use bytes::Bytes;
use futures_util::stream;
use runpack_server::listen::{
    BodyTimeout, Connections, ListenError, ListenSettings, Peer, Transport, serve,
};
use runpack_server::problem::Problem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Short enough to wait for.
const SOON: Duration = Duration::from_millis(300);
/// Longer than any test may take.
const NEVER: Duration = Duration::from_hours(1);
/// When something that must happen has not.
const TOO_LATE: Duration = Duration::from_mins(1);
/// What `/length` takes.
const BODY_BYTES_MAX: usize = 10 << 20;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const GET_SLOW: &[u8] = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n";
const GET_BIG: &[u8] = b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// What `/big` answers: more than the buffers between two sockets hold.
const BIG_BYTES: usize = 64 << 20;

/// Nothing is cut that the test does not cut.
fn patient() -> ListenSettings {
    ListenSettings {
        handshake: NEVER,
        header_read: NEVER,
        idle: NEVER,
        body_idle: NEVER,
        body_rate_grace: NEVER,
        answer: NEVER,
        write_stall: NEVER,
        shutdown_grace: NEVER,
        ..ListenSettings::default()
    }
}

/// A server on loopback.
struct Served {
    address: SocketAddr,
    connections: Arc<Connections>,
    seen: Arc<Seen>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ListenError>>,
}

/// What reached the application.
#[derive(Debug)]
struct Seen {
    requests: AtomicU64,
    /// One for each request to `/slow` that was begun.
    begun: Semaphore,
    /// One for each that may be finished.
    finish: Semaphore,
}

impl Served {
    async fn plain(settings: ListenSettings) -> Self {
        Self::with(settings, Transport::Plain).await
    }

    async fn with(settings: ListenSettings, transport: Transport) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<Connections>::default();
        let seen = Arc::new(Seen {
            requests: AtomicU64::new(0),
            begun: Semaphore::new(0),
            finish: Semaphore::new(0),
        });
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { stopped.await.unwrap_or_default() };
        let (app, counts) = (app(&seen), Arc::clone(&connections));
        let serving = serve(listener, transport, app, settings, counts, shutdown);
        Self {
            address,
            connections,
            seen,
            stop,
            task: tokio::spawn(serving),
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends that on a connection of its own, and gives all that comes until the server closes it.
    async fn tell(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // A server that has seen enough may close before all was sent.
        let _ = stream.write_all(bytes).await;
        rest(&mut stream).await
    }

    fn requests(&self) -> u64 {
        self.seen.requests.load(Ordering::SeqCst)
    }

    async fn until_slow_has_begun(&self) {
        in_time(self.seen.begun.acquire()).await.unwrap().forget();
    }

    async fn until_open(&self, connections: u64) {
        until(|| self.connections.open() == connections).await;
    }

    /// It still serves.
    async fn assert_serves(&self) {
        let mut stream = self.connect().await;
        stream.write_all(GET).await.unwrap();
        assert_eq!(status(&answer(&mut stream).await), 200);
    }
}

fn app(seen: &Arc<Seen>) -> Router {
    let counted = Arc::clone(seen);
    Router::new()
        .route("/", get(async |Extension(Peer(peer))| peer.to_string()))
        .route("/length", post(length))
        .route("/unread", post(async || "not read"))
        .route("/slow", get(slow))
        .route("/big", get(big))
        .layer(middleware::map_request(move |request: Request| {
            counted.requests.fetch_add(1, Ordering::SeqCst);
            std::future::ready(request)
        }))
        .layer(Extension(Arc::clone(seen)))
}

/// As the server's own handlers read a body.
async fn length(request: Request) -> Response {
    let announced = request.body().size_hint().lower();
    if announced > u64::try_from(BODY_BYTES_MAX).unwrap() {
        return Problem::too_large("of what was announced").into_response();
    }
    match axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX).await {
        Ok(bytes) => bytes.len().to_string().into_response(),
        Err(error) => match BodyTimeout::within(&error) {
            Some(timeout) => Problem::too_slow(timeout.to_string()).into_response(),
            None if error.to_string().contains("limit") => {
                Problem::too_large("of what came").into_response()
            }
            None => Problem::bad_request("the body is not one").into_response(),
        },
    }
}

async fn slow(Extension(seen): Extension<Arc<Seen>>) -> &'static str {
    seen.begun.add_permits(1);
    seen.finish.acquire().await.unwrap().forget();
    "slow"
}

async fn big() -> Body {
    let piece = Bytes::from(vec![b'x'; 64 << 10]);
    let pieces = (0..BIG_BYTES / piece.len()).map(move |_| Ok::<_, Infallible>(piece.clone()));
    Body::from_stream(stream::iter(pieces))
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(TOO_LATE, future).await.expect("it takes too long")
}

async fn until(mut is_so: impl FnMut() -> bool) {
    in_time(async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// One whole answer with a length.
async fn answer(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut text = Vec::new();
    in_time(async {
        while !is_whole(&text) {
            text.push(stream.read_u8().await.expect("an answer"));
        }
    })
    .await;
    String::from_utf8(text).unwrap()
}

fn is_whole(text: &[u8]) -> bool {
    let text = std::str::from_utf8(text).unwrap();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.expect("a length").parse::<usize>().unwrap()
}

/// All that comes until the server closes, or until it resets.
async fn rest(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut text = Vec::new();
    // What came before a reset is kept.
    let _ = in_time(stream.read_to_end(&mut text)).await;
    String::from_utf8_lossy(&text).into_owned()
}

fn status(answer: &str) -> u16 {
    let code = answer
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3));
    code.unwrap_or_else(|| panic!("no answer: {answer:?}"))
        .parse()
        .unwrap()
}

fn answers(text: &str) -> usize {
    text.matches("HTTP/1.").count()
}
