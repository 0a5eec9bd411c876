//! The requests of a connection and their answers: whose turn it is, so that each wait has the deadline that is its own.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use axum::body::Body as AppBody;
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

/// Who is to speak. It changes with every request and every answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn(u64);

impl Turn {
    /// Whether a request is being answered.
    pub(super) fn is_ours(self) -> bool {
        self.0 & 1 == 1
    }
}

/// The requests of a connection and their answers, of which one is under way at a time.
#[derive(Debug)]
pub(super) struct Exchanges {
    turn: AtomicU64,
    is_any_unread: AtomicBool,
    /// When a request began, or a part of its body came.
    stirred_at: Mutex<Instant>,
    /// Who watches the connection while a request is answered: hyper may not read again once the answer ends, and no
    /// deadline would be set for the next request.
    watcher: AtomicWaker,
}

impl Exchanges {
    pub(super) fn new() -> Self {
        Self {
            turn: AtomicU64::new(0),
            is_any_unread: AtomicBool::new(false),
            stirred_at: Mutex::new(Instant::now()),
            watcher: AtomicWaker::new(),
        }
    }

    pub(super) fn turn(&self) -> Turn {
        Turn(self.turn.load(Ordering::SeqCst))
    }

    /// Wakes that task when the turn changes.
    pub(super) fn wake_after(&self, waker: &Waker) {
        self.watcher.register(waker);
    }

    /// A part of a body came.
    pub(super) fn stir(&self) {
        *self
            .stirred_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub(super) fn stirred_at(&self) -> Instant {
        *self
            .stirred_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A body was not read to its end.
    pub(super) fn leave_unread(&self) {
        self.is_any_unread.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_any_unread(&self) -> bool {
        self.is_any_unread.load(Ordering::SeqCst)
    }
}

/// A request until all of its answer was handed on, or until it is given up.
pub(super) struct Exchange(Arc<Exchanges>);

impl Exchange {
    pub(super) fn begin(exchanges: &Arc<Exchanges>) -> Self {
        exchanges.turn.fetch_add(1, Ordering::SeqCst);
        exchanges.stir();
        Self(Arc::clone(exchanges))
    }

    pub(super) fn all(&self) -> &Arc<Exchanges> {
        &self.0
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.0.turn.fetch_add(1, Ordering::SeqCst);
        self.0.watcher.wake();
    }
}

/// The body of an answer, which ends an exchange.
pub(super) struct AnswerBody {
    body: AppBody,
    _exchange: Exchange,
}

impl AnswerBody {
    pub(super) fn new(body: AppBody, exchange: Exchange) -> Self {
        Self {
            body,
            _exchange: exchange,
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
