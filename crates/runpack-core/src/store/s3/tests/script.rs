//! A server that answers by a script, request by request, and remembers what it was asked.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What was asked.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// Method and target.
    pub(super) line: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    fn read(stream: &mut BufReader<TcpStream>) -> Option<Self> {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let line = line.strip_suffix(" HTTP/1.1\r\n")?.to_owned();
        let mut headers = Vec::new();
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).ok()?;
            let Some((name, value)) = header.trim_end().split_once(": ") else {
                break;
            };
            headers.push((name.to_lowercase(), value.to_owned()));
        }
        let request = Self {
            line,
            headers,
            body: Vec::new(),
        };
        let length = request.header("content-length").unwrap_or("0");
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).ok()?;
        Some(Self { body, ..request })
    }
}

/// What is answered.
pub(super) enum Reply {
    /// A status, headers beside the length, and a body.
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// The head says another length than the body has; the connection ends after it.
    Cut(u16, Vec<(&'static str, String)>, u64, Vec<u8>),
    /// The request is read, and the connection ends.
    Reset,
    /// The head and some bytes, and then nothing, for ever.
    Stall(u64, Vec<u8>),
}

pub(super) fn status(status: u16) -> Reply {
    Reply::Answer(status, vec![], vec![])
}

pub(super) fn error(status: u16, code: &str) -> Reply {
    let body = format!("<Error><Code>{code}</Code><Message>because of {code}</Message></Error>");
    Reply::Answer(status, vec![], body.into_bytes())
}

/// Answers to a write.
pub(super) fn stored() -> Reply {
    Reply::Answer(200, vec![("etag", "\"e\"".into())], vec![])
}

pub(super) fn xml(body: &str) -> Reply {
    Reply::Answer(200, vec![], body.as_bytes().to_vec())
}

type Next = Box<dyn FnMut(&[Request]) -> Reply + Send>;

/// The server.
pub(super) struct Script {
    endpoint: String,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Script {
    /// Answers one after the other; whoever asks more often is answered 599.
    pub(super) fn of(replies: Vec<Reply>) -> Self {
        let mut replies = replies.into_iter();
        Self::with(move |_| replies.next().unwrap_or(status(599)))
    }

    /// Answers by all that was asked, the present request last.
    pub(super) fn with(next: impl FnMut(&[Request]) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let next: Arc<Mutex<Next>> = Arc::new(Mutex::new(Box::new(next)));
        let seen = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, next) = (Arc::clone(&seen), Arc::clone(&next));
                thread::spawn(move || serve(stream.unwrap(), &seen, &next));
            }
        });
        Self { endpoint, asked }
    }

    pub(super) fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    pub(super) fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }

    /// The methods of what was asked.
    pub(super) fn methods(&self) -> String {
        let methods = self.asked().into_iter().map(|request| {
            let method = request.line.split(' ').next().unwrap_or_default();
            method.to_owned()
        });
        methods.collect::<Vec<_>>().join(" ")
    }
}

fn serve(stream: TcpStream, seen: &Mutex<Vec<Request>>, next: &Mutex<Next>) {
    let mut answer = stream.try_clone().unwrap();
    let Some(request) = Request::read(&mut BufReader::new(stream)) else {
        return;
    };
    let is_head = request.line.starts_with("HEAD");
    let reply = {
        let mut seen = seen.lock().unwrap();
        seen.push(request);
        (next.lock().unwrap())(&seen)
    };
    let (status, headers, length, body) = match reply {
        Reply::Answer(status, headers, body) => {
            let length = u64::try_from(body.len()).unwrap();
            (status, headers, length, body)
        }
        Reply::Cut(status, headers, length, body) => (status, headers, length, body),
        Reply::Stall(length, body) => (200, vec![], length, body),
        Reply::Reset => return,
    };
    let mut head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "content-length") && status != 204 && status != 304
    {
        write!(head, "content-length: {length}\r\n").unwrap();
    }
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    // Whoever asked may be gone.
    let _ = answer.write_all(format!("{head}\r\n").as_bytes());
    if !is_head {
        let _ = answer.write_all(&body);
    }
    if u64::try_from(body.len()).unwrap() < length && !is_head && status == 200 {
        // Held until the other side lets go.
        let _ = answer.read(&mut [0]);
    }
}
