//! Answers of the null server.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::TcpStream;
use std::ops::Range;

use jiff::Timestamp;

use super::memory::Object;

const ZEROS: &[u8] = &[0; 64 << 10];
/// Bodies up to this go with the head in one piece.
const TOGETHER_BYTES: u64 = 16 << 10;

/// The time, as HTTP writes it (RFC 9110, 5.6.7).
pub(crate) fn http_date() -> String {
    http_time(Timestamp::now())
}

fn http_time(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// The head of an answer under way.
pub(super) struct Answer {
    head: String,
    is_for_head: bool,
}

impl Answer {
    pub(super) fn new(status: &str, method: &str) -> Self {
        let mut head = String::with_capacity(512);
        head.push_str("HTTP/1.1 ");
        head.push_str(status);
        head.push_str("\r\nServer: null\r\nx-amz-request-id: 0\r\nDate: ");
        head.push_str(&http_date());
        head.push_str("\r\n");
        Self {
            head,
            is_for_head: method == "HEAD",
        }
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.head.push_str(name);
        self.head.push_str(": ");
        self.head.push_str(value);
        self.head.push_str("\r\n");
        self
    }

    pub(super) fn headers(self, headers: &[(String, String)]) -> Self {
        headers
            .iter()
            .fold(self, |answer, (name, value)| answer.header(name, value))
    }

    /// What every answer about an object says.
    pub(super) fn about(self, object: &Object) -> Self {
        self.headers(&object.headers)
            .header("ETag", &object.tag)
            .header("Accept-Ranges", "bytes")
            .header("Last-Modified", &http_time(object.modified))
    }

    pub(super) fn send(self, stream: &TcpStream, body: &[u8]) -> io::Result<()> {
        let is_for_head = self.is_for_head;
        let mut bytes = self.finish(u64::try_from(body.len()).map_err(io::Error::other)?);
        if !is_for_head {
            bytes.extend_from_slice(body);
        }
        (&*stream).write_all(&bytes)
    }

    pub(super) fn send_xml(self, stream: &TcpStream, body: &str) -> io::Result<()> {
        let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{body}");
        self.header("Content-Type", "application/xml")
            .send(stream, body.as_bytes())
    }

    /// The head without a body, under the size that the body would have.
    pub(super) fn send_size(self, stream: &TcpStream, bytes: u64) -> io::Result<()> {
        (&*stream).write_all(&self.finish(bytes))
    }

    /// A part of an object.
    pub(super) fn send_part(
        self,
        stream: &TcpStream,
        object: &Object,
        range: Range<u64>,
    ) -> io::Result<()> {
        let mut stream = stream;
        let bytes = range.end - range.start;
        let mut head = self.finish(bytes);
        let is_small = bytes <= TOGETHER_BYTES;
        if !is_small {
            stream.write_all(&head)?;
        }
        let mut start = 0;
        for segment in &object.segments {
            let end = start + segment.bytes;
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from < to {
                let at = |place: u64| usize::try_from(place - start).map_err(io::Error::other);
                let (from, to) = (at(from)?, at(to)?);
                match &segment.kept {
                    Some(kept) if is_small => head.extend_from_slice(&kept[from..to]),
                    Some(kept) => stream.write_all(&kept[from..to])?,
                    None if is_small => head.resize(head.len() + to - from, 0),
                    None => {
                        let mut left = to - from;
                        while left > 0 {
                            let piece = left.min(ZEROS.len());
                            stream.write_all(&ZEROS[..piece])?;
                            left -= piece;
                        }
                    }
                }
            }
            start = end;
        }
        if is_small {
            stream.write_all(&head)?;
        }
        Ok(())
    }

    fn finish(mut self, bytes: u64) -> Vec<u8> {
        // Writing to a string does not fail.
        let _ = write!(self.head, "Content-Length: {bytes}\r\n\r\n");
        self.head.into_bytes()
    }
}
