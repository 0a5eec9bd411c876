//! One request and its answer, with whatever is to go wrong between them.

use std::io::{self, BufReader, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use super::fault::{Answer, Fault};
use super::listing;
use super::{Shared, State};
use crate::wire::{Framing, Head, Piece, Request, collect, pump};

const BUFFER_BYTES: usize = 64 << 10;

/// A request, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exchange {
    /// The method.
    pub method: String,
    /// The path, decoded, with the bucket and without the query.
    pub path: String,
    /// The query, decoded.
    pub query: Vec<(String, String)>,
    /// The headers of the request, their names in lower case, without the signature.
    pub headers: Vec<(String, String)>,
    /// How many bytes of the request's body went to the server.
    pub bytes: u64,
    /// What the server answered: nothing where it was not asked, or did not.
    pub status: Option<u16>,
    /// What went wrong, by the name of the fault.
    pub fault: Option<&'static str>,
}

impl Exchange {
    pub(super) fn begun(request: &Request, fault: Option<&'static str>) -> Self {
        let headers = request.head.headers.iter();
        Self {
            method: request.head.method().to_owned(),
            path: request.path.clone(),
            query: request.query.clone(),
            headers: headers
                .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
                .filter(|(name, _)| name != "authorization")
                .collect(),
            bytes: 0,
            status: None,
            fault,
        }
    }

    /// The value of a header of the request.
    pub fn header(&self, name: &str) -> Option<&str> {
        value(&self.headers, name)
    }

    /// The value of a name of the query.
    pub fn query(&self, name: &str) -> Option<&str> {
        value(&self.query, name)
    }

    /// The upload and the number, for a part of an upload.
    pub fn part(&self) -> Option<(&str, &str)> {
        let number = self.query("partNumber").filter(|_| self.method == "PUT")?;
        Some((self.query("uploadId")?, number))
    }
}

fn value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = pairs.iter().find(|(found, _)| found == name);
    found.map(|(_, value)| value.as_str())
}

/// What becomes of the client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Keep,
    Close,
    Reset,
}

/// Serves a connection until it ends.
pub(super) fn serve(client: &TcpStream, shared: &Shared) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, client);
    while let Some(request) = Request::read(&mut reader)? {
        let (place, fault) = shared.begin(&request);
        let passing = Passing {
            shared,
            place,
            request: &request,
            client,
        };
        match passing.pass(&mut reader, fault.as_deref())? {
            Next::Keep => {}
            Next::Close => break,
            Next::Reset => return reset(client),
        }
    }
    Ok(())
}

/// From now on closing the connection resets it.
fn reset(stream: &TcpStream) -> io::Result<()> {
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO))?;
    Ok(())
}

/// An exchange under way.
struct Passing<'a> {
    shared: &'a Shared,
    place: usize,
    request: &'a Request,
    client: &'a TcpStream,
}

type Incoming<'a> = BufReader<&'a TcpStream>;

impl Passing<'_> {
    fn pass(&self, incoming: &mut Incoming<'_>, fault: Option<&Fault>) -> io::Result<Next> {
        match fault {
            Some(Fault::ResetBeforeRequest) => return Ok(Next::Reset),
            Some(Fault::Stall) => {
                io::copy(incoming, &mut io::sink())?;
                return Ok(Next::Close);
            }
            Some(Fault::Answer(answer)) => {
                self.drain(incoming)?;
                return self.answer(answer);
            }
            Some(Fault::CallBefore(call)) => call.make(&self.noted()),
            _ => {}
        }
        let Ok(server) = TcpStream::connect(&self.shared.upstream) else {
            return Ok(Next::Reset);
        };
        server.set_nodelay(true)?;
        let number = self.shared.hold(&server)?;
        let next = self.forward(incoming, &server, fault);
        self.shared.release(number);
        next
    }

    fn forward(
        &self,
        incoming: &mut Incoming<'_>,
        server: &TcpStream,
        fault: Option<&Fault>,
    ) -> io::Result<Next> {
        let head = self.head_to_send(fault);
        match fault {
            Some(Fault::ResetInRequestHead(bytes)) => {
                (&*server).write_all(head.get(..*bytes).unwrap_or(&head))?;
                reset(server)?;
                return Ok(Next::Reset);
            }
            Some(Fault::ResetInRequestBody(bytes)) => {
                (&*server).write_all(&head)?;
                self.send_body(incoming, server, *bytes)?;
                reset(server)?;
                return Ok(Next::Reset);
            }
            Some(Fault::Duplicate) => {
                self.welcome()?;
                let body = collect(incoming, self.request.head.framing_of_request())?;
                let again = TcpStream::connect(&self.shared.upstream)?;
                // What had another framing has this one now.
                let mut head = self.request.head.clone();
                if head.framing_of_request() == Framing::Chunked {
                    head.set_length(body.len());
                }
                let send = |mut server: &TcpStream| {
                    server.write_all(&head.bytes())?;
                    server.write_all(&body)
                };
                send(server)?;
                self.read_answer(&mut BufReader::new(server))?;
                send(&again)?;
                return self.take_back(&again, None);
            }
            _ => {
                (&*server).write_all(&head)?;
                self.send_body(incoming, server, u64::MAX)?;
            }
        }
        self.take_back(server, fault)
    }

    /// The request's head, as it came unless two objects are swapped or a header is another.
    fn head_to_send(&self, fault: Option<&Fault>) -> Vec<u8> {
        let mut head = self.request.head.clone();
        if let Some(Fault::SetRequestHeader(name, value)) = fault {
            head.set(name, value.as_deref());
        }
        if let Some(Fault::Swap(one, other)) = fault {
            for (asked, given) in [(one, other), (other, one)] {
                if self.request.path.ends_with(asked.as_str()) {
                    head.first_line = head.first_line.replacen(asked.as_str(), given, 1);
                    break;
                }
            }
        }
        head.bytes()
    }

    /// Tells a client that waits for it to send its body.
    fn welcome(&self) -> io::Result<()> {
        if self.request.head.header("Expect").is_some() {
            (&*self.client).write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        Ok(())
    }

    fn drain(&self, incoming: &mut Incoming<'_>) -> io::Result<()> {
        self.welcome()?;
        let framing = self.request.head.framing_of_request();
        pump(incoming, framing, u64::MAX, |_| Ok(())).map(drop)
    }

    /// Sends so much of the body. A server that does not want it all may answer all the same.
    fn send_body(
        &self,
        incoming: &mut Incoming<'_>,
        server: &TcpStream,
        bytes_max: u64,
    ) -> io::Result<()> {
        self.welcome()?;
        let framing = self.request.head.framing_of_request();
        let mut is_refused = false;
        let mut sent = 0_u64;
        pump(incoming, framing, bytes_max, |piece| {
            is_refused = is_refused || (&*server).write_all(piece.bytes()).is_err();
            if let (Piece::Body(bytes), false) = (piece, is_refused) {
                sent += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            }
            Ok(())
        })?;
        self.shared
            .note(self.place, |exchange| exchange.bytes = sent);
        Ok(())
    }

    /// Reads the head of the final answer; nothing where the server hangs up.
    fn read_answer(&self, reader: &mut BufReader<&TcpStream>) -> io::Result<Option<Head>> {
        loop {
            let Some(head) = Head::read(reader).ok().flatten() else {
                return Ok(None);
            };
            let status = head.status();
            if !matches!(status, Some(100..=199)) {
                self.shared
                    .note(self.place, |exchange| exchange.status = status);
                return Ok(Some(head));
            }
        }
    }

    fn take_back(&self, server: &TcpStream, fault: Option<&Fault>) -> io::Result<Next> {
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, server);
        let Some(mut head) = self.read_answer(&mut reader)? else {
            return Ok(Next::Reset);
        };
        let mut client = self.client;
        let framing = head.framing_of_answer(self.request.head.method());
        match fault {
            Some(Fault::LoseResponse) => return Ok(Next::Reset),
            Some(Fault::CallAfter(call)) => call.make(&self.noted()),
            Some(Fault::AnswerAfter(answer)) => return self.answer(answer),
            Some(Fault::ResetInResponseHead(bytes)) => {
                let head = head.bytes();
                client.write_all(head.get(..*bytes).unwrap_or(&head))?;
                return Ok(Next::Reset);
            }
            Some(Fault::ResetInResponseBody(bytes)) => {
                client.write_all(&head.bytes())?;
                pump(&mut reader, framing, *bytes, |piece| {
                    client.write_all(piece.bytes())
                })?;
                return Ok(Next::Reset);
            }
            Some(Fault::StallInResponseBody(bytes)) => {
                client.write_all(&head.bytes())?;
                pump(&mut reader, framing, *bytes, |piece| {
                    client.write_all(piece.bytes())
                })?;
                // Until the client goes away.
                io::copy(&mut client, &mut io::sink())?;
                return Ok(Next::Close);
            }
            Some(Fault::DripResponseBody(bytes)) => {
                let body = collect(&mut reader, framing)?;
                self.drip(head, &body, *bytes)?;
                return Ok(Next::Close);
            }
            Some(Fault::ClaimLength(length)) => {
                let body = collect(&mut reader, framing)?;
                head.set_length(0);
                head.set("Content-Length", Some(length));
                client.write_all(&head.bytes())?;
                client.write_all(&body)?;
                return Ok(Next::Close);
            }
            Some(Fault::SetHeader(name, value)) => head.set(name, value.as_deref()),
            Some(fault) if framing != Framing::Empty && fault.changes_body() => {
                let body = collect(&mut reader, framing)?;
                let body = self.changed(body, fault);
                head.set_length(body.len());
                client.write_all(&head.bytes())?;
                client.write_all(&body)?;
                return Ok(Next::Keep);
            }
            _ => {}
        }
        client.write_all(&head.bytes())?;
        let passed = pump(&mut reader, framing, u64::MAX, |piece| {
            client.write_all(piece.bytes())
        });
        // A server that dies in the middle of its answer looks like that to the client too.
        let says_close = head
            .header("Connection")
            .is_some_and(|it| it.eq_ignore_ascii_case("close"));
        Ok(match passed {
            Err(_) => Next::Reset,
            Ok(_) if framing == Framing::UntilClose || says_close => Next::Close,
            Ok(_) => Next::Keep,
        })
    }

    fn answer(&self, answer: &Answer) -> io::Result<Next> {
        let mut head = Head {
            first_line: format!("HTTP/1.1 {} Planned", answer.status),
            headers: answer.headers.clone(),
        };
        if head.header("Date").is_none() {
            head.headers
                .push(("Date".to_owned(), crate::null::http_date()));
        }
        head.set_length(answer.body.len());
        let mut client = self.client;
        client.write_all(&head.bytes())?;
        if self.request.head.method() != "HEAD" {
            client.write_all(&answer.body)?;
        }
        Ok(Next::Keep)
    }

    fn drip(&self, mut head: Head, body: &[u8], at_once: u64) -> io::Result<()> {
        let mut client = self.client;
        head.set_length(body.len());
        client.write_all(&head.bytes())?;
        let at_once = usize::try_from(at_once).map_or(body.len(), |bytes| bytes.min(body.len()));
        let (now, slowly) = body.split_at(at_once);
        client.write_all(now)?;
        for byte in slowly {
            thread::sleep(Duration::from_secs(1));
            if self.shared.is_over() {
                break;
            }
            client.write_all(std::slice::from_ref(byte))?;
        }
        Ok(())
    }

    fn changed(&self, mut body: Vec<u8>, fault: &Fault) -> Vec<u8> {
        match fault {
            Fault::FlipBit(bit) if !body.is_empty() => {
                let place = usize::try_from(bit / 8).unwrap_or(0) % body.len();
                body[place] ^= 1 << (bit % 8);
            }
            Fault::Truncate(bytes) => {
                body.truncate(usize::try_from(*bytes).unwrap_or(usize::MAX));
            }
            Fault::Extend(bytes) => {
                body.resize(body.len() + usize::try_from(*bytes).unwrap_or(0), 0);
            }
            Fault::ReplaceBody(other) => body.clone_from(other),
            Fault::HideFromListing(hidden) => {
                body = listing::without(&String::from_utf8_lossy(&body), hidden).into_bytes();
            }
            Fault::ServeOlder => {
                let range = self.request.head.header("Range").unwrap_or("");
                let path = format!("{} {range}", self.request.path);
                let mut state = self.shared.state();
                let State { served_first, .. } = &mut *state;
                body.clone_from(served_first.entry(path).or_insert(body.clone()));
            }
            _ => {}
        }
        body
    }

    /// What the log says so far.
    fn noted(&self) -> Exchange {
        let mut state = self.shared.state();
        let noted = state
            .log
            .get_mut(self.place)
            .map(|exchange| exchange.clone());
        noted.unwrap_or_else(|| Exchange::begun(self.request, None))
    }
}
