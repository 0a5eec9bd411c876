//! Bodies of requests: their kind told beforehand, read within a limit, and never decoded (threats C01-C03, C28).

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _};
use runpack_core::digest::Digest;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::listen::BodyTimeout;
use crate::problem::Problem;
use crate::staging::{ReceiveError, Staged, Staging};

/// That the body is of one of these media types, and comes as it is.
///
/// # Errors
/// It is of another, or coded.
pub(crate) fn expect_type(headers: &HeaderMap, allowed: &[&str]) -> Result<(), Problem> {
    as_it_is(headers)?;
    let given = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let (media, parameters) = given.split_once(';').unwrap_or((given, ""));
    let is_allowed = allowed
        .iter()
        .any(|allowed| media.trim().eq_ignore_ascii_case(allowed));
    let charset = parameters.trim().to_ascii_lowercase();
    let is_utf8 = matches!(charset.as_str(), "" | "charset=utf-8" | "charset=\"utf-8\"");
    if is_allowed && is_utf8 {
        Ok(())
    } else {
        Err(Problem::media_type(format!(
            "taken is {}",
            allowed.join(", ")
        )))
    }
}

/// That the body comes as it is.
///
/// # Errors
/// It has a content coding.
pub(super) fn as_it_is(headers: &HeaderMap) -> Result<(), Problem> {
    let codings = headers.get_all(header::CONTENT_ENCODING);
    if codings.iter().all(|coding| coding == "identity") {
        Ok(())
    } else {
        Err(Problem::media_type(
            "a body is taken without a content coding",
        ))
    }
}

/// That what is announced is not too much.
fn announced(body: &Body, bytes_max: u64) -> Result<(), Problem> {
    if body.size_hint().lower() > bytes_max {
        return Err(too_large(bytes_max));
    }
    Ok(())
}

fn too_large(bytes_max: u64) -> Problem {
    Problem::too_large(format!("at most {bytes_max} bytes are taken"))
}

fn broken(error: &axum::Error) -> Problem {
    match BodyTimeout::within(error) {
        Some(timeout) => Problem::too_slow(timeout.to_string()),
        None => Problem::bad_request("the body did not come whole"),
    }
}

/// Memory for bodies.
struct Room {
    bytes: Semaphore,
    /// How long a body waits for others to go.
    wait: Duration,
}

/// For all bodies of the process that are held in memory. Stops many that are each within their limit.
static ROOM: Room = Room {
    bytes: Semaphore::const_new(256 << 20),
    wait: Duration::from_secs(10),
};

impl Room {
    async fn take(&'static self, bytes: usize) -> Result<SemaphorePermit<'static>, Problem> {
        let none = || Problem::unavailable("there is no room for the body now").retry_after(5);
        let bytes = u32::try_from(bytes).map_err(|_| none())?;
        let taken = tokio::time::timeout(self.wait, self.bytes.acquire_many(bytes)).await;
        taken.ok().and_then(Result::ok).ok_or_else(none)
    }
}

/// A body, and its room until the last who has it lets go.
struct Held {
    bytes: BytesMut,
    room: Option<SemaphorePermit<'static>>,
}

impl Held {
    async fn add(&mut self, piece: &[u8], room: &'static Room) -> Result<(), Problem> {
        let more = room.take(piece.len()).await?;
        match &mut self.room {
            Some(room) => room.merge(more),
            none => *none = Some(more),
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The whole body in memory.
///
/// # Errors
/// It is larger than `bytes_max`, or does not come whole; there is no room for it beside the others.
pub(crate) async fn read(body: Body, bytes_max: u64) -> Result<Bytes, Problem> {
    read_into(&ROOM, body, bytes_max).await
}

async fn read_into(room: &'static Room, body: Body, bytes_max: u64) -> Result<Bytes, Problem> {
    announced(&body, bytes_max)?;
    let mut stream = body.into_data_stream();
    let mut held = Held {
        bytes: BytesMut::new(),
        room: None,
    };
    let mut left = bytes_max;
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|error| broken(&error))?;
        let bytes = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        left = left
            .checked_sub(bytes)
            .ok_or_else(|| too_large(bytes_max))?;
        held.add(&piece, room).await?;
    }
    Ok(Bytes::from_owner(held))
}

/// The body as it comes.
///
/// # Errors
/// More is announced than is taken.
pub(super) fn stream(
    body: Body,
    bytes_max: u64,
) -> Result<impl Stream<Item = Result<Bytes, axum::Error>>, Problem> {
    announced(&body, bytes_max)?;
    Ok(body.into_data_stream())
}

/// The whole body, staged.
///
/// # Errors
/// As [`read`]; there is no room for it.
pub(super) async fn stage(
    staging: &Staging,
    body: Body,
    bytes_max: u64,
) -> Result<Staged, Problem> {
    staging
        .receive(stream(body, bytes_max)?, bytes_max)
        .await
        .map_err(not_received)
}

/// What a client is told of a body that was not received.
pub(super) fn not_received(error: ReceiveError<axum::Error>) -> Problem {
    match error {
        ReceiveError::TooLarge { bytes_max } => too_large(bytes_max),
        ReceiveError::Body(error) => broken(&error),
        ReceiveError::Staging(error) => not_staged(&error),
    }
}

/// What a client is told of a staged file that failed.
pub(super) fn not_staged(error: &io::Error) -> Problem {
    tracing::error!(%error, "a body could not be staged");
    Problem::unavailable("there is no room for the body here").retry_after(30)
}

/// Pieces as the body of an answer. The first is waited for, so that what fails at once is told by the status; what fails
/// later breaks the answer off.
///
/// # Errors
/// The first piece fails.
pub(super) async fn outgoing<E: Error + Send + Sync + 'static>(
    pieces: BoxStream<'static, Result<Bytes, E>>,
) -> Result<Body, E> {
    let mut pieces = pieces.peekable();
    if matches!(Pin::new(&mut pieces).peek().await, Some(Err(_)))
        && let Some(Err(error)) = pieces.next().await
    {
        return Err(error);
    }
    Ok(Body::from_stream(pieces))
}

/// The SHA-256 that the body is announced to have, by `Repr-Digest` or `Content-Digest` (RFC 9530).
///
/// # Errors
/// A digest that is none, two that differ, or only others than SHA-256.
pub(super) fn digest(headers: &HeaderMap) -> Result<Option<Digest>, Problem> {
    let wrong = || {
        Problem::bad_request(
            "a digest is written `Repr-Digest: sha-256=:BASE64:` (RFC 9530), with SHA-256",
        )
    };
    let mut found = None;
    for name in ["repr-digest", "content-digest"] {
        for value in headers.get_all(name) {
            let members = value.to_str().map_err(|_| wrong())?.split(',');
            let mut of_this = None;
            for member in members {
                let Some(text) = member.trim().strip_prefix("sha-256=:") else {
                    continue;
                };
                let text = text.strip_suffix(':').ok_or_else(wrong)?;
                let bytes = STANDARD.decode(text).map_err(|_| wrong())?;
                let bytes: [u8; 32] = bytes.try_into().map_err(|_| wrong())?;
                of_this = Some(Digest::from_bytes(bytes));
            }
            let digest = of_this.ok_or_else(wrong)?;
            if found.is_some_and(|found| found != digest) {
                return Err(wrong());
            }
            found = Some(digest);
        }
    }
    Ok(found)
}

/// That a body is the one that was announced.
///
/// # Errors
/// It is another.
pub(super) fn expect_digest(announced: Option<Digest>, sent: Digest) -> Result<(), Problem> {
    match announced {
        Some(announced) if announced != sent => Err(Problem::digest(format!(
            "announced=`{announced}` sent=`{sent}`"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use runpack_testing::block_on;

    use super::*;

    static SMALL: Room = Room {
        bytes: Semaphore::const_new(10),
        wait: Duration::from_millis(10),
    };

    #[test]
    fn c01_bodies_share_their_room_and_give_it_back() {
        block_on(async {
            let read = async |text: &'static str| read_into(&SMALL, Body::from(text), 10).await;
            let first = read("12345678").await.unwrap();
            let part = first.slice(2..4);
            let full = read("123").await.unwrap_err();
            assert_eq!((full.status(), full.code()), (503, "unavailable"));
            let second = read("12").await.unwrap();
            drop(first);
            assert_eq!(read("1").await.unwrap_err().status(), 503);
            drop(part);
            assert_eq!(&read("12345678").await.unwrap()[..], b"12345678");
            drop(second);
            assert_eq!(&read("1234567890").await.unwrap()[..], b"1234567890");
            assert_eq!(SMALL.bytes.available_permits(), 10);
        });
    }
}
