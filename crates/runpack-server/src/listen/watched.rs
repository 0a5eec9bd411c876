//! A connection's bytes, with the deadlines that hyper does not keep: for a head, for the next request, and for taking
//! the answer (threats C04, N06).
//!
//! Invariant: a read or a write that waits, waits with a deadline, except the read that only watches for the end of a
//! connection whose request is being answered: that wait ends with the answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::deadline::Deadline;
use super::exchange::{Exchanges, Turn};
use super::pace::Pace;
use super::{Connections, ListenSettings};

pub(super) struct Watched<IO> {
    io: IO,
    settings: Arc<ListenSettings>,
    exchanges: Arc<Exchanges>,
    connections: Arc<Connections>,
    reading: Deadline,
    writing: Deadline,
    /// Whose turn it was at the last read.
    turn: Turn,
    /// Whether a byte of the next head has come.
    has_head_begun: bool,
    written_at: Instant,
    /// Whose answer was written last, and how fast it is taken.
    answer: Turn,
    pace: Pace,
    /// Since when nothing is taken.
    stalled_since: Option<Instant>,
}

impl<IO> Watched<IO> {
    pub(super) fn new(
        io: IO,
        settings: Arc<ListenSettings>,
        exchanges: Arc<Exchanges>,
        connections: Arc<Connections>,
    ) -> Self {
        let now = Instant::now();
        let mut reading = Deadline::default();
        // Who connects has something to say.
        reading.set(now, settings.header_read);
        Self {
            io,
            turn: exchanges.turn(),
            answer: exchanges.turn(),
            pace: Pace::new(settings.write_stall, &settings),
            stalled_since: None,
            settings,
            exchanges,
            connections,
            reading,
            writing: Deadline::default(),
            has_head_begun: true,
            written_at: now,
        }
    }

    pub(super) fn into_inner(self) -> IO {
        self.io
    }

    /// Sets the deadline of reading where it is another's turn than before.
    fn follow(&mut self) {
        let turn = self.exchanges.turn();
        if turn == self.turn {
            return;
        }
        self.turn = turn;
        if turn.is_ours() {
            self.reading.lift();
        } else {
            self.has_head_begun = false;
            self.reading.set(Instant::now(), self.settings.idle);
        }
    }

    fn poll_too_late_to_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.reading.poll_passed(cx).is_ready() {
            // An answer that is still being taken is no silence.
            let is_quiet = self.has_head_begun || self.written_at.elapsed() >= self.settings.idle;
            if is_quiet {
                return Poll::Ready(());
            }
            self.reading.set(self.written_at, self.settings.idle);
        }
        Poll::Pending
    }

    /// Notes that bytes were taken. A flush of nothing, which hyper asks for at every turn, takes none.
    fn taken(&mut self, polled: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes @ 1..)) = *polled {
            self.written_at = Instant::now();
            let turn = self.exchanges.turn();
            if turn.is_ours() && turn != self.answer {
                self.answer = turn;
                self.pace = Pace::new(self.settings.write_stall, &self.settings);
            }
            self.pace.came(bytes);
        }
    }

    /// What came of writing; too late if nothing does for too long.
    fn in_time<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            if let Some(since) = self.stalled_since.take() {
                self.pace.waited(since.elapsed());
            }
            return polled;
        }
        if self.stalled_since.is_none() {
            let now = Instant::now();
            self.stalled_since = Some(now);
            self.writing.set(now, self.pace.patience());
        }
        self.writing.poll_passed(cx).map(|()| Err(self.too_late()))
    }

    fn too_late(&self) -> io::Error {
        self.connections.count_timed_out();
        io::ErrorKind::TimedOut.into()
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Watched<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.follow();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.io).poll_read(cx, buffer);
        if polled.is_pending() {
            if this.turn.is_ours() {
                this.exchanges.wake_after(cx.waker());
            }
            return this
                .poll_too_late_to_read(cx)
                .map(|()| Err(this.too_late()));
        }
        if !this.turn.is_ours() && !this.has_head_begun && buffer.filled().len() > before {
            this.has_head_begun = true;
            this.reading.set(Instant::now(), this.settings.header_read);
        }
        polled
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Watched<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.taken(&polled);
        this.in_time(cx, polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_write_vectored(cx, bytes);
        this.taken(&polled);
        this.in_time(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_flush(cx);
        this.in_time(cx, polled)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_shutdown(cx);
        this.in_time(cx, polled)
    }
}
