//! What goes wrong.

use std::fmt;

use super::exchange::Exchange;

/// What goes wrong. Sizes are in bytes; a reset is a TCP reset, as from a machine that lost its state.
#[derive(Debug)]
#[non_exhaustive]
pub enum Fault {
    /// Reset before anything is forwarded.
    ResetBeforeRequest,
    /// The server gets so much of the request's head, then both sides are reset.
    ResetInRequestHead(usize),
    /// The server gets the head and so much of the body, then both sides are reset.
    ResetInRequestBody(u64),
    /// The server does as it was asked, and its answer is lost.
    LoseResponse,
    /// The client gets so much of the answer's head, then a reset.
    ResetInResponseHead(usize),
    /// The client gets the head and so much of the body, then a reset.
    ResetInResponseBody(u64),
    /// Nothing is forwarded and nothing is answered, for as long as the client waits.
    Stall,
    /// The server does as it was asked; the client gets the head and so much of the body, then nothing, for as
    /// long as it waits.
    StallInResponseBody(u64),
    /// After so much of the body, the rest comes at one byte a second.
    DripResponseBody(u64),
    /// This is answered, and nothing is forwarded.
    Answer(Answer),
    /// This is answered in place of what the server answers, which does as it was asked.
    AnswerAfter(Answer),
    /// The request is forwarded twice, one after the other; the client gets the second answer.
    Duplicate,
    /// One bit of the answer's body is wrong, counted from its first byte's lowest; beyond its end, from its
    /// beginning again.
    FlipBit(u64),
    /// The body is so long and the answer says so.
    Truncate(u64),
    /// So many zeros follow the body and the answer says so.
    Extend(u64),
    /// The size that the answer states, under a body as it is.
    ClaimLength(String),
    /// The body is this, under the answer's own headers.
    ReplaceBody(Vec<u8>),
    /// Where the first is asked for by the end of its key the second is answered, and the other way round. The
    /// request is not signed again, so this is for servers that check no signature.
    Swap(String, String),
    /// The body that was first answered for the same path is answered for ever.
    ServeOlder,
    /// Objects, versions and uploads whose keys contain this are not listed.
    HideFromListing(String),
    /// A header of the answer says this, or is not there.
    SetHeader(String, Option<String>),
    /// A header of the request says this, or is not there. The request is not signed again, so this is for servers that
    /// check no signature.
    SetRequestHeader(String, Option<String>),
    /// Something is done before the request is forwarded; nothing goes wrong on the way.
    CallBefore(Call),
    /// The same, after the server has done as it was asked and before the client hears of it.
    CallAfter(Call),
}

/// What is answered instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Headers beside `Content-Length` and `Date`.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A status without a body.
    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// An error as S3 says it.
    pub fn error(status: u16, code: &str) -> Self {
        Self::status(status)
            .header("Content-Type", "application/xml")
            .body(format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code>\
                 <Message>as planned by a test</Message><RequestId>planned</RequestId></Error>"
            ))
    }

    /// 503 `SlowDown`, and to come back after so many seconds.
    pub fn slow_down(retry_after_seconds: u32) -> Self {
        Self::error(503, "SlowDown").header("Retry-After", &retry_after_seconds.to_string())
    }

    /// With another header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

/// What a test does in the middle of an exchange: kill a process, wait for another request.
pub struct Call(Box<dyn Fn(&Exchange) + Send + Sync>);

impl Call {
    /// This.
    pub fn new(call: impl Fn(&Exchange) + Send + Sync + 'static) -> Self {
        Self(Box::new(call))
    }

    pub(super) fn make(&self, exchange: &Exchange) {
        (self.0)(exchange);
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Call")
    }
}

impl Fault {
    /// As the log names it: the variant's own name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ResetBeforeRequest => "ResetBeforeRequest",
            Self::ResetInRequestHead(_) => "ResetInRequestHead",
            Self::ResetInRequestBody(_) => "ResetInRequestBody",
            Self::LoseResponse => "LoseResponse",
            Self::ResetInResponseHead(_) => "ResetInResponseHead",
            Self::ResetInResponseBody(_) => "ResetInResponseBody",
            Self::Stall => "Stall",
            Self::StallInResponseBody(_) => "StallInResponseBody",
            Self::DripResponseBody(_) => "DripResponseBody",
            Self::Answer(_) => "Answer",
            Self::AnswerAfter(_) => "AnswerAfter",
            Self::Duplicate => "Duplicate",
            Self::FlipBit(_) => "FlipBit",
            Self::Truncate(_) => "Truncate",
            Self::Extend(_) => "Extend",
            Self::ClaimLength(_) => "ClaimLength",
            Self::ReplaceBody(_) => "ReplaceBody",
            Self::Swap(..) => "Swap",
            Self::ServeOlder => "ServeOlder",
            Self::HideFromListing(_) => "HideFromListing",
            Self::SetHeader(..) => "SetHeader",
            Self::SetRequestHeader(..) => "SetRequestHeader",
            Self::CallBefore(_) => "CallBefore",
            Self::CallAfter(_) => "CallAfter",
        }
    }

    pub(super) fn changes_body(&self) -> bool {
        matches!(
            self,
            Self::FlipBit(_)
                | Self::Truncate(_)
                | Self::Extend(_)
                | Self::ReplaceBody(_)
                | Self::ServeOlder
                | Self::HideFromListing(_)
        )
    }
}
