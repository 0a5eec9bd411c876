//! The body of a request, which must keep coming (threat C04).
//!
//! Only waiting counts: while the application does something else, the client is not late. A body without a byte for too
//! long is cut, and so is one that was waited for longer than its bytes are worth. Both are an error that the
//! application sees, [`BodyTimeout`], so that it can answer; then the connection is closed.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::connection::Exchanges;
use super::deadline::Deadline;
use super::{Connections, ListenSettings};

/// A body came too slowly, and is not waited for any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyTimeout {
    /// Nothing came.
    #[error("the body stopped coming: send all of it at once, bytes=`{bytes}`")]
    Idle {
        /// How many bytes had come.
        bytes: u64,
    },
    /// It came, but slowly.
    #[error("the body came too slowly: send it in smaller parts, bytes=`{bytes}`")]
    Slow {
        /// How many bytes had come.
        bytes: u64,
    },
}

impl BodyTimeout {
    /// The cause of an error, if it is this: what the application answers is then 408.
    pub fn within<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            next = error.source();
        }
        None
    }
}

/// A body with deadlines.
pub(super) struct TimedBody<B> {
    body: B,
    pace: Pace,
    deadline: Deadline,
    /// Since when a frame is waited for.
    since: Option<Instant>,
    exchanges: Arc<Exchanges>,
    connections: Arc<Connections>,
    is_over: bool,
}

impl<B: Body<Data = Bytes> + Unpin> TimedBody<B> {
    pub(super) fn new(
        body: B,
        settings: &ListenSettings,
        exchanges: Arc<Exchanges>,
        connections: Arc<Connections>,
    ) -> Self {
        let is_over = body.is_end_stream();
        Self {
            body,
            pace: Pace::new(settings),
            deadline: Deadline::default(),
            since: None,
            exchanges,
            connections,
            is_over,
        }
    }
}

impl<B> Body for TimedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            if let Some(since) = this.since.take() {
                this.pace.waited(since.elapsed());
            }
            this.exchanges.stir();
            if let Some(Ok(frame)) = &frame {
                this.pace.came(frame.data_ref().map_or(0, Bytes::len));
            }
            this.is_over = frame.is_none() || this.body.is_end_stream();
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let now = Instant::now();
        let since = *this.since.get_or_insert_with(|| {
            this.deadline.set(now, this.pace.patience());
            now
        });
        if this.deadline.poll_passed(cx).is_pending() {
            return Poll::Pending;
        }
        this.pace.waited(since.elapsed());
        this.since = None;
        this.connections.count_timed_out();
        Poll::Ready(Some(Err(this.pace.fault().into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for TimedBody<B> {
    fn drop(&mut self) {
        if !self.is_over {
            self.exchanges.leave_unread();
        }
    }
}

/// How a body comes.
#[derive(Debug)]
struct Pace {
    idle: Duration,
    grace: Duration,
    bytes_per_second: u64,
    bytes: u64,
    waited: Duration,
}

impl Pace {
    fn new(settings: &ListenSettings) -> Self {
        Self {
            idle: settings.body_idle,
            grace: settings.body_rate_grace,
            bytes_per_second: settings.body_rate_min,
            bytes: 0,
            waited: Duration::ZERO,
        }
    }

    fn came(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn waited(&mut self, time: Duration) {
        self.waited = self.waited.saturating_add(time);
    }

    /// How long the bytes that came may have been waited for, in all.
    fn worth(&self) -> Duration {
        // Without a floor any pace is good.
        let seconds = self.bytes.checked_div(self.bytes_per_second);
        seconds.map_or(Duration::MAX, |seconds| {
            self.grace.max(Duration::from_secs(seconds))
        })
    }

    /// How long the next byte is waited for.
    fn patience(&self) -> Duration {
        self.idle.min(self.worth().saturating_sub(self.waited))
    }

    fn fault(&self) -> BodyTimeout {
        let bytes = self.bytes;
        if self.waited >= self.worth() {
            BodyTimeout::Slow { bytes }
        } else {
            BodyTimeout::Idle { bytes }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(bytes: usize, waited: u64) -> Pace {
        let mut pace = Pace::new(&ListenSettings {
            body_idle: Duration::from_secs(20),
            ..ListenSettings::default()
        });
        pace.came(bytes);
        pace.waited(Duration::from_secs(waited));
        pace
    }

    #[test]
    fn c04_a_body_is_waited_for_as_long_as_its_bytes_are_worth() {
        for (bytes, waited, patience) in [
            (0, 0, 20),
            // 30 seconds are given to every body, and 20 at a time.
            (1, 5, 20),
            (1, 29, 1),
            (1, 30, 0),
            (31 << 10, 30, 1),
            (100 << 10, 30, 20),
            (100 << 10, 90, 10),
            (100 << 10, 200, 0),
        ] {
            let found = pace(bytes, waited).patience();
            assert_eq!(found, Duration::from_secs(patience), "{bytes} {waited}");
        }
        assert_eq!(pace(7, 25).fault(), BodyTimeout::Idle { bytes: 7 });
        assert_eq!(pace(7, 31).fault(), BodyTimeout::Slow { bytes: 7 });
    }

    #[test]
    fn a_floor_of_zero_is_none() {
        let mut pace = pace(0, 1 << 40);
        pace.bytes_per_second = 0;
        assert_eq!(pace.patience(), Duration::from_secs(20));
    }

    #[test]
    fn a_cause_is_found_below_other_errors() {
        let timeout = BodyTimeout::Slow { bytes: 3 };
        let error = axum::Error::new(axum::Error::new(timeout));
        assert_eq!(BodyTimeout::within(&error), Some(&timeout));
        assert_eq!(BodyTimeout::within(&std::fmt::Error), None);
    }
}
