//! HTTP/1.1 (RFC 9112) as far as a proxy and a server for tests need it: heads are kept as they came, bodies are passed on in their
//! own framing.

use std::io::{self, BufRead, Read as _};

/// A longer head is no head.
const HEAD_BYTES_MAX: u64 = 128 << 10;
const PIECE_BYTES: usize = 64 << 10;

/// The head of a request or an answer.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    /// Without the end of the line.
    pub(crate) first_line: String,
    /// In their order and their spelling.
    pub(crate) headers: Vec<(String, String)>,
}

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Empty,
    Length(u64),
    Chunked,
    UntilClose,
}

impl Head {
    /// Reads a head; nothing where the connection has ended before it.
    pub(crate) fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut reader = reader.take(HEAD_BYTES_MAX);
        let Some(first_line) = read_line(&mut reader)? else {
            return Ok(None);
        };
        let mut headers = Vec::new();
        loop {
            let line = read_line(&mut reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if line.is_empty() {
                return Ok(Some(Self {
                    first_line,
                    headers,
                }));
            }
            let (name, value) = line.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.first_line);
        for (name, value) in &self.headers {
            text.push_str(name);
            text.push_str(": ");
            text.push_str(value);
            text.push_str("\r\n");
        }
        text.push_str("\r\n");
        text.into_bytes()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn set(&mut self, name: &str, value: Option<&str>) {
        self.headers
            .retain(|(found, _)| !found.eq_ignore_ascii_case(name));
        if let Some(value) = value {
            self.headers.push((name.to_owned(), value.to_owned()));
        }
    }

    /// For a body that is sent at once.
    pub(crate) fn set_length(&mut self, bytes: usize) {
        self.set("Transfer-Encoding", None);
        self.set("Content-Length", Some(&bytes.to_string()));
    }

    /// The method of a request.
    pub(crate) fn method(&self) -> &str {
        self.first_line.split(' ').next().unwrap_or("")
    }

    /// The status of an answer.
    pub(crate) fn status(&self) -> Option<u16> {
        self.first_line.split(' ').nth(1)?.parse().ok()
    }

    fn stated(&self) -> Option<Framing> {
        let coding = self.header("Transfer-Encoding");
        if coding.is_some_and(|coding| coding.to_ascii_lowercase().ends_with("chunked")) {
            return Some(Framing::Chunked);
        }
        let length = self.header("Content-Length")?.parse().ok()?;
        Some(Framing::Length(length))
    }

    pub(crate) fn framing_of_request(&self) -> Framing {
        self.stated().unwrap_or(Framing::Empty)
    }

    /// The framing of the answer to a request of this method.
    pub(crate) fn framing_of_answer(&self, method: &str) -> Framing {
        if method == "HEAD" || matches!(self.status(), Some(100..=199 | 204 | 304)) {
            Framing::Empty
        } else {
            self.stated().unwrap_or(Framing::UntilClose)
        }
    }
}

/// Reads a line without its end; nothing where there is no byte.
fn read_line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    if reader.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(String::from_utf8_lossy(&line).into_owned()))
}

/// A request without its body.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) head: Head,
    /// Decoded, with the bucket, without the query.
    pub(crate) path: String,
    /// Decoded.
    pub(crate) query: Vec<(String, String)>,
}

impl Request {
    pub(crate) fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let Some(head) = Head::read(reader)? else {
            return Ok(None);
        };
        let target = head.first_line.split(' ').nth(1).unwrap_or("");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let query = pairs
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(name), decode(value))
            })
            .collect();
        Ok(Some(Self {
            path: decode(path),
            query,
            head,
        }))
    }
}

/// Resolves percent-encoding (RFC 3986); what is none stays.
pub(crate) fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let code = (*byte == b'%').then(|| after.get(..2)).flatten();
        let code = code.and_then(|code| u8::from_str_radix(str::from_utf8(code).ok()?, 16).ok());
        if let Some(code) = code {
            bytes.push(code);
            rest = &after[2..];
        } else {
            bytes.push(*byte);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What a pump gives to its sink.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Piece<'a> {
    /// Bytes of the body.
    Body(&'a [u8]),
    /// The framing around them.
    Frame(&'a [u8]),
}

impl Piece<'_> {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Body(bytes) | Self::Frame(bytes) => bytes,
        }
    }
}

/// Passes a body on, but no more than `bytes_max` of it; yields how many bytes it was.
pub(crate) fn pump(
    reader: &mut impl BufRead,
    framing: Framing,
    bytes_max: u64,
    mut sink: impl FnMut(Piece<'_>) -> io::Result<()>,
) -> io::Result<u64> {
    match framing {
        Framing::Empty => Ok(0),
        Framing::Length(length) => {
            let wanted = length.min(bytes_max);
            let passed = copy(reader, wanted, &mut sink)?;
            if passed < wanted {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(passed)
        }
        Framing::UntilClose => copy(reader, bytes_max, &mut sink),
        Framing::Chunked => chunks(reader, bytes_max, &mut sink),
    }
}

fn chunks(
    reader: &mut impl BufRead,
    bytes_max: u64,
    sink: &mut impl FnMut(Piece<'_>) -> io::Result<()>,
) -> io::Result<u64> {
    let mut passed = 0;
    loop {
        let line = read_line(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let size = line.split(';').next().unwrap_or("").trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
        sink(Piece::Frame(format!("{line}\r\n").as_bytes()))?;
        if size == 0 {
            break;
        }
        let wanted = size.min(bytes_max - passed);
        let copied = copy(reader, wanted, sink)?;
        passed += copied;
        if copied < wanted {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if passed == bytes_max {
            return Ok(passed);
        }
        read_line(reader)?;
        sink(Piece::Frame(b"\r\n"))?;
    }
    // Trailers, and the empty line that ends them.
    while let Some(line) = read_line(reader)? {
        sink(Piece::Frame(format!("{line}\r\n").as_bytes()))?;
        if line.is_empty() {
            break;
        }
    }
    Ok(passed)
}

fn copy(
    reader: &mut impl BufRead,
    wanted: u64,
    sink: &mut impl FnMut(Piece<'_>) -> io::Result<()>,
) -> io::Result<u64> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut passed = 0;
    while passed < wanted {
        let most =
            usize::try_from(wanted - passed).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        let count = reader.read(&mut piece[..most])?;
        if count == 0 {
            break;
        }
        sink(Piece::Body(&piece[..count]))?;
        passed += u64::try_from(count).unwrap_or(u64::MAX);
    }
    Ok(passed)
}

/// A whole body.
pub(crate) fn collect(reader: &mut impl BufRead, framing: Framing) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    pump(reader, framing, u64::MAX, |piece| {
        if let Piece::Body(bytes) = piece {
            body.extend_from_slice(bytes);
        }
        Ok(())
    })?;
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::{Framing, Head, Request, collect, pump};

    #[test]
    fn requests_are_read() {
        let text = "PUT /b/a%20b/c%2Fd?partNumber=3&uploadId=x%3D%3D&uploads HTTP/1.1\r\nHost: h:1\r\nX-A:  v \r\n\r\nrest";
        let mut reader = text.as_bytes();
        let request = Request::read(&mut reader).unwrap().unwrap();
        assert_eq!(request.head.method(), "PUT");
        assert_eq!(request.path, "/b/a b/c/d");
        let query = [("partNumber", "3"), ("uploadId", "x=="), ("uploads", "")];
        assert_eq!(
            request.query,
            query.map(|(a, b)| (a.to_owned(), b.to_owned()))
        );
        assert_eq!(request.head.header("x-a"), Some("v"));
        assert_eq!(reader, b"rest");
        assert!(Request::read(&mut &b""[..]).unwrap().is_none());
        assert!(Head::read(&mut &b"GET / HTTP/1.1\r\nHost"[..]).is_err());
    }

    #[test]
    fn bodies_end_where_their_framing_says() {
        let chunked = b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: t\r\n\r\nnext";
        let mut reader = &chunked[..];
        assert_eq!(collect(&mut reader, Framing::Chunked).unwrap(), b"abcde");
        assert_eq!(reader, b"next");
        let mut raw = Vec::new();
        let sink = |piece: super::Piece<'_>| {
            raw.extend_from_slice(piece.bytes());
            Ok(())
        };
        assert_eq!(
            pump(&mut &chunked[..], Framing::Chunked, 4, sink).unwrap(),
            4
        );
        assert_eq!(raw, b"3\r\nabc\r\n2;x=y\r\nd");
        assert_eq!(
            collect(&mut &b"abcdef"[..], Framing::Length(4)).unwrap(),
            b"abcd"
        );
        assert_eq!(
            collect(&mut &b"abc"[..], Framing::UntilClose).unwrap(),
            b"abc"
        );
        assert!(collect(&mut &b"abc"[..], Framing::Length(4)).is_err());
    }
}
