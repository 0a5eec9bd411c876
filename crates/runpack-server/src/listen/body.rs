//! The body of a request, which must keep coming (threat C04).
//!
//! Only waiting counts: while the application does something else, the client is not late. A body without a byte for too
//! long is cut, and so is one that was waited for longer than its bytes are worth. Both are an error that the
//! application sees, [`BodyTimeout`], so that it can answer; then the connection is closed.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::deadline::Deadline;
use super::exchange::Exchanges;
use super::pace::Pace;
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
            pace: Pace::new(settings.body_idle, settings),
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
        let bytes = this.pace.bytes();
        let fault = if this.pace.is_too_slow() {
            BodyTimeout::Slow { bytes }
        } else {
            BodyTimeout::Idle { bytes }
        };
        Poll::Ready(Some(Err(fault.into())))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_found_below_other_errors() {
        let timeout = BodyTimeout::Slow { bytes: 3 };
        let error = axum::Error::new(axum::Error::new(timeout));
        assert_eq!(BodyTimeout::within(&error), Some(&timeout));
        assert_eq!(BodyTimeout::within(&std::fmt::Error), None);
    }
}
