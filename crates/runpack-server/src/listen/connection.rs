//! One connection: its handshake, its requests one after the other, its end.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body as AppBody;
use axum::http::{HeaderValue, Request, Response, header};
use axum::response::IntoResponse as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time;

use super::body::TimedBody;
use super::exchange::{AnswerBody, Exchange, Exchanges};
use super::watched::Watched;
use super::{Connections, ListenSettings, Peer, Transport, framing};
use crate::problem::Problem;
use runpack_core::display::chain;

/// What a connection may hold in memory in each direction, unless a head may be larger.
const BUFFER_BYTES: usize = 64 << 10;
/// Bytes that are thrown away at a time.
const DISCARD_BYTES: usize = 8 << 10;

/// How long a client that was answered early may go on sending. Were the connection closed at once, its system would
/// throw the answer away (RFC 9112, section 9.6).
const LINGER: Duration = Duration::from_secs(2);

/// What a store that hangs is worth waiting before one comes back.
const RETRY_SECONDS: u32 = 5;

/// What every connection of a listener shares.
#[derive(Clone)]
pub(super) struct Conversation {
    pub(super) app: Router,
    pub(super) transport: Transport,
    pub(super) settings: Arc<ListenSettings>,
    pub(super) connections: Arc<Connections>,
    /// Its other end is dropped when nothing more is to be begun.
    pub(super) closing: watch::Receiver<()>,
}

impl Conversation {
    pub(super) async fn hold(mut self, stream: TcpStream, peer: Peer) {
        // An answer that waits for more of it helps nobody.
        let _ = stream.set_nodelay(true);
        let Transport::Tls(tls) = &self.transport else {
            return self.converse(stream, peer).await;
        };
        let handshake = time::timeout(self.settings.handshake, tls.acceptor().accept(stream));
        let made = tokio::select! {
            biased;
            () = closed(&mut self.closing) => return,
            made = handshake => made,
        };
        match made {
            Ok(Ok(stream)) => self.converse(stream, peer).await,
            Ok(Err(error)) => {
                tracing::debug!(peer = %peer.0, error = chain(&error), "a handshake failed");
            }
            Err(_) => self.connections.count_timed_out(),
        }
    }

    async fn converse(self, io: impl AsyncRead + AsyncWrite + Unpin, peer: Peer) {
        let exchanges = Arc::new(Exchanges::new());
        let io = Watched::new(
            io,
            Arc::clone(&self.settings),
            Arc::clone(&exchanges),
            Arc::clone(&self.connections),
        );
        let mut closing = self.closing.clone();
        let head_bytes = self.settings.headers_bytes_max;
        let mut builder = http1::Builder::new();
        builder
            // Ours is finer: see `Watched`.
            .header_read_timeout(None)
            .max_headers(self.settings.headers_max)
            .max_header_size(head_bytes)
            .max_buf_size(head_bytes.max(BUFFER_BYTES));
        let begun = Arc::clone(&exchanges);
        let service = service_fn(move |request| {
            let exchange = Exchange::begin(&begun);
            let answering = self.clone().answer(request, peer, exchange);
            let answering: Answering = Box::pin(async { Ok(answering.await) });
            answering
        });
        let mut connection = builder.serve_connection(TokioIo::new(io), service);
        let ended = tokio::select! {
            ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => ended,
            () = closed(&mut closing) => {
                Pin::new(&mut connection).graceful_shutdown();
                poll_fn(|cx| connection.poll_without_shutdown(cx)).await
            }
        };
        let mut io = connection.into_parts().io.into_inner();
        let is_malformed = match &ended {
            Ok(()) => false,
            Err(error) => {
                tracing::debug!(peer = %peer.0, error = chain(error), "a connection failed");
                error.is_parse()
            }
        };
        let is_answered = ended.is_ok() || is_malformed;
        if !is_answered || io.shutdown().await.is_err() {
            return;
        }
        if is_malformed || exchanges.is_any_unread() {
            let _ = time::timeout(LINGER, discard(io.into_inner())).await;
        }
    }

    async fn answer(
        self,
        request: Request<Incoming>,
        peer: Peer,
        exchange: Exchange,
    ) -> Response<AnswerBody> {
        let fault = framing::fault(request.version(), request.headers());
        let response = match fault {
            Some(fault) => {
                exchange.all().leave_unread();
                let mut response = Problem::bad_request(fault).into_response();
                // Nothing more is read from somebody who cannot say where a request ends.
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
                response
            }
            None => self.ask(request, peer, exchange.all()).await,
        };
        response.map(|body| AnswerBody::new(body, exchange))
    }

    /// Asks the application.
    async fn ask(
        self,
        request: Request<Incoming>,
        peer: Peer,
        exchanges: &Arc<Exchanges>,
    ) -> Response<AppBody> {
        let mut request = request.map(|body| {
            let (exchanges, counts) = (Arc::clone(exchanges), Arc::clone(&self.connections));
            AppBody::new(TimedBody::new(body, &self.settings, exchanges, counts))
        });
        request.extensions_mut().insert(peer);
        let answering = TowerToHyperService::new(self.app).call(request);
        let mut answering = pin!(answering);
        loop {
            let stirred_at = exchanges.stirred_at();
            let Some(late) = stirred_at.checked_add(self.settings.answer) else {
                return answering.await.unwrap_or_else(|never| match never {});
            };
            tokio::select! {
                biased;
                answer = &mut answering => return answer.unwrap_or_else(|never| match never {}),
                () = time::sleep_until(late) => {}
            }
            if exchanges.stirred_at() == stirred_at {
                self.connections.count_timed_out();
                tracing::error!(peer = %peer.0, "the application did not answer in its time");
                return Problem::unavailable("it takes too long, and is not waited for: what was sent may still be kept, so send it again")
                    .retry_after(RETRY_SECONDS)
                    .into_response();
            }
        }
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, Infallible>> + Send>>;

async fn closed(closing: &mut watch::Receiver<()>) {
    while closing.changed().await.is_ok() {}
}

async fn discard(mut io: impl AsyncRead + Unpin) {
    let mut discarded = vec![0; DISCARD_BYTES];
    while io.read(&mut discarded).await.is_ok_and(|bytes| bytes > 0) {}
}
