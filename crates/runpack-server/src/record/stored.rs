//! A record as it is stored: what the server noted, then the body as it came.
//!
//! ```json
//! {"format":"runpack-record/v1","received_at":"2026-11-20T12:00:00Z","received_by":"token:ci","body_sha256":"<hex>","body":...}
//! ```
//!
//! Exactly these members in this order, no space between them, and the client's bytes unchanged from after `"body":` to
//! the last `}`: so the object is JSON for everybody, and the body can be held against its SHA-256 by cutting it out.

use bytes::{BufMut as _, Bytes, BytesMut};
use runpack_core::digest::Digest;
use runpack_core::time::Timestamp;
use serde::{Deserialize, Serialize};

const FORMAT: &str = "runpack-record/v1";
const BODY: &[u8] = b",\"body\":";

/// What the server noted of a record when it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    format: String,
    /// By the server's clock.
    pub received_at: Timestamp,
    /// Who sent it, as they were authenticated.
    pub received_by: String,
    /// The SHA-256 of the body.
    pub body_sha256: Digest,
}

impl Head {
    /// The most bytes that a head has, whoever sent it: callers' names have at most 256 bytes.
    pub const BYTES_MAX: u64 = 4 << 10;

    /// The head at the start of a stored record.
    pub fn parse(start: &[u8]) -> Option<Self> {
        Self::split(start).map(|(head, _)| head)
    }

    fn split(start: &[u8]) -> Option<(Self, usize)> {
        let bound = usize::try_from(Self::BYTES_MAX).ok()?.min(start.len());
        // A quotation mark inside a text is escaped, so the first such sequence is the member.
        let at = start
            .get(..bound)?
            .windows(BODY.len())
            .position(|window| window == BODY)?;
        let mut head = start.get(..at)?.to_vec();
        head.push(b'}');
        let parsed: Self = serde_json::from_slice(&head).ok()?;
        let is_ours = parsed.format == FORMAT && parsed.to_bytes() == head;
        is_ours.then_some((parsed, at.checked_add(BODY.len())?))
    }

    fn to_bytes(&self) -> Vec<u8> {
        // Text always serializes.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// A record as it is stored.
#[derive(Debug, Clone)]
pub struct Stored {
    head: Head,
    body: Bytes,
}

impl Stored {
    /// A body that `received_by` sent.
    pub fn new(received_at: Timestamp, received_by: &str, body: &Bytes) -> Self {
        Self {
            head: Head {
                format: FORMAT.to_owned(),
                received_at,
                received_by: received_by.to_owned(),
                body_sha256: Digest::of(body),
            },
            body: body.clone(),
        }
    }

    /// A body under a head that was written before.
    pub(super) fn with_head(head: Head, body: &Bytes) -> Self {
        Self {
            head,
            body: body.clone(),
        }
    }

    /// A stored record; `None` where it is none, or its body is not the one that came.
    pub fn parse(bytes: &Bytes) -> Option<Self> {
        let (head, start) = Head::split(bytes)?;
        let end = bytes.len().checked_sub(1)?;
        if start > end || bytes.last() != Some(&b'}') {
            return None;
        }
        let body = bytes.slice(start..end);
        (Digest::of(&body) == head.body_sha256).then_some(Self { head, body })
    }

    /// What the server noted.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The same, and the body is let go.
    pub fn into_head(self) -> Head {
        self.head
    }

    /// What the client sent.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The stored object.
    pub fn to_bytes(&self) -> Bytes {
        let mut head = self.head.to_bytes();
        head.pop();
        let around = head.len().saturating_add(BODY.len()).saturating_add(1);
        let mut bytes = BytesMut::with_capacity(self.body.len().saturating_add(around));
        bytes.put_slice(&head);
        bytes.put_slice(BODY);
        bytes.put_slice(&self.body);
        bytes.put_u8(b'}');
        bytes.freeze()
    }
}
