//! Each fault does what it says.

use std::io::{self, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::Duration;

use super::{Answer, Call, Exchange, Fault, FaultProxy, Rule};
use crate::null::NullS3;
use crate::wire::{Head, collect};

/// A server, a proxy before it, and a client that sees what happens on its connection.
struct Bench {
    server: NullS3,
    proxy: FaultProxy,
}

#[derive(Debug, PartialEq, Eq)]
struct Answered {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Bench {
    fn new() -> Self {
        let server = NullS3::start(1 << 30);
        let proxy = FaultProxy::start(&server.endpoint());
        Self { server, proxy }
    }

    fn with(rule: Rule) -> Self {
        let bench = Self::new();
        bench.proxy.plan(rule);
        bench
    }

    fn connect(endpoint: &str) -> TcpStream {
        let stream = TcpStream::connect(endpoint.strip_prefix("http://").unwrap()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream
    }

    /// Asks through the proxy, on a connection of its own.
    fn ask(&self, method: &str, target: &str, body: &[u8]) -> io::Result<Answered> {
        ask(&Self::connect(&self.proxy.endpoint()), method, target, body)
    }

    /// Asks the server itself.
    fn truth(&self, method: &str, target: &str, body: &[u8]) -> Answered {
        ask(
            &Self::connect(&self.server.endpoint()),
            method,
            target,
            body,
        )
        .unwrap()
    }

    fn has(&self, target: &str) -> bool {
        self.truth("HEAD", target, b"").status == 200
    }

    fn last(&self) -> Exchange {
        self.proxy.log().pop().unwrap()
    }
}

fn ask(mut stream: &TcpStream, method: &str, target: &str, body: &[u8]) -> io::Result<Answered> {
    let length = body.len();
    let head =
        format!("{method} {target} HTTP/1.1\r\nHost: signed:1\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    // A reset may come while this is sent; the answer tells.
    let sent = stream.write_all(body);
    let mut reader = BufReader::new(stream);
    let head = Head::read(&mut reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    sent?;
    let body = collect(&mut reader, head.framing_of_answer(method))?;
    Ok(Answered {
        status: head.status().unwrap(),
        headers: head.headers,
        body,
    })
}

fn is_cut(answer: &io::Result<Answered>) -> bool {
    let kinds = [
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::BrokenPipe,
        io::ErrorKind::UnexpectedEof,
    ];
    matches!(answer, Err(error) if kinds.contains(&error.kind()))
}

#[test]
fn without_a_rule_all_passes() {
    let bench = Bench::new();
    let stream = Bench::connect(&bench.proxy.endpoint());
    let body = vec![7; 3_000_000];
    assert_eq!(ask(&stream, "PUT", "/b/a%20b", &body).unwrap().status, 200);
    assert_eq!(
        ask(&stream, "GET", "/b/a%20b?x-id=GetObject", b"")
            .unwrap()
            .body,
        body
    );
    assert_eq!(ask(&stream, "HEAD", "/b/none", b"").unwrap().status, 404);
    let log = bench.proxy.log();
    assert_eq!(log[0].path, "/b/a b");
    assert_eq!((log[0].bytes, log[0].status), (3_000_000, Some(200)));
    assert_eq!(log[0].header("host"), Some("signed:1"));
    assert_eq!(log[1].query("x-id"), Some("GetObject"));
    assert_eq!((log[2].status, log[2].fault), (Some(404), None));
}

#[test]
fn a_rule_knows_its_requests() {
    let bench = Bench::with(
        Rule::new(Fault::Answer(Answer::slow_down(7)))
            .method("PUT")
            .key_ends_with(".json")
            .query("partNumber")
            .query_is("uploadId", "9")
            .no_query("x")
            .no_header("x-amz-copy-source")
            .nth(2)
            .times(2),
    );
    let mut asked = Vec::new();
    for target in [
        "/b/a.bin?partNumber=1&uploadId=9",
        "/b/a.json?partNumber=1&uploadId=8",
        "/b/a.json?partNumber=1&uploadId=9&x=y",
        "/b/a.json?partNumber=1&uploadId=9",
        "/b/a.json?partNumber=1&uploadId=9",
        "/b/a.json?partNumber=2&uploadId=9",
        "/b/a.json?partNumber=3&uploadId=9",
    ] {
        asked.push(bench.ask("PUT", target, b"x").unwrap().status);
    }
    assert_eq!(asked, [404, 404, 404, 404, 503, 503, 404]);
    let limited = bench.proxy.log().remove(4);
    assert_eq!((limited.fault, limited.status), (Some("Answer"), None));
    assert_eq!(limited.part(), Some(("9", "1")));
    bench.proxy.clear();
    bench.proxy.clear_log();
    assert_eq!(bench.proxy.log(), []);
}

#[test]
fn of_two_rules_the_first_that_is_due_applies() {
    let bench = Bench::with(Rule::new(Fault::Answer(Answer::status(500))).nth(2));
    bench
        .proxy
        .plan(Rule::new(Fault::Answer(Answer::status(403))).times(2));
    let status = |_| bench.ask("GET", "/b/a", b"").unwrap().status;
    assert_eq!([0; 3].map(status), [403, 500, 404]);
}

#[test]
fn resets_before_the_server_has_all_of_it() {
    for (fault, bytes) in [
        (Fault::ResetBeforeRequest, 0),
        (Fault::ResetInRequestHead(20), 0),
        (Fault::ResetInRequestBody(1_000), 1_000),
    ] {
        let name = fault.name();
        let bench = Bench::with(Rule::new(fault));
        assert!(
            is_cut(&bench.ask("PUT", "/b/a", &vec![1; 2_000_000])),
            "{name}"
        );
        assert!(!bench.has("/b/a"), "{name}");
        let exchange = bench.last();
        assert_eq!((exchange.status, exchange.bytes), (None, bytes), "{name}");
        assert_eq!(exchange.fault, Some(name));
    }
}

#[test]
fn resets_after_the_server_has_done_it() {
    for fault in [Fault::LoseResponse, Fault::ResetInResponseHead(30)] {
        let name = fault.name();
        let bench = Bench::with(Rule::new(fault));
        assert!(is_cut(&bench.ask("PUT", "/b/a", b"abc")), "{name}");
        assert_eq!(bench.truth("GET", "/b/a", b"").body, b"abc", "{name}");
        assert_eq!(bench.last().status, Some(200));
    }
}

#[test]
fn resets_in_the_middle_of_a_body() {
    let bench = Bench::with(Rule::new(Fault::ResetInResponseBody(1_000)).method("GET"));
    bench.truth("PUT", "/b/a", &[3; 5_000]);
    let stream = Bench::connect(&bench.proxy.endpoint());
    (&stream).write_all(b"GET /b/a HTTP/1.1\r\n\r\n").unwrap();
    let mut reader = BufReader::new(&stream);
    let head = Head::read(&mut reader).unwrap().unwrap();
    assert_eq!(head.header("Content-Length"), Some("5000"));
    let mut body = Vec::new();
    let end = reader.read_to_end(&mut body);
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert!(body.len() <= 1_000);
}

#[test]
fn stalls_answer_nothing() {
    for (fault, bytes) in [(Fault::Stall, 0), (Fault::StallInResponseBody(10), 10)] {
        let bench = Bench::with(Rule::new(fault).method("GET"));
        bench.truth("PUT", "/b/a", &[3; 50]);
        let stream = Bench::connect(&bench.proxy.endpoint());
        stream
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        (&stream).write_all(b"GET /b/a HTTP/1.1\r\n\r\n").unwrap();
        let mut read = Vec::new();
        let end = (&stream).read_to_end(&mut read).unwrap_err();
        assert!(matches!(
            end.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
        ));
        let body = read.windows(4).position(|window| window == b"\r\n\r\n");
        assert_eq!(body.map_or(0, |at| read.len() - at - 4), bytes);
        // It does not outlive the proxy.
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        drop(bench);
        assert!(matches!((&stream).read(&mut [0]), Ok(0) | Err(_)));
    }
}

#[test]
fn a_drip_is_slow_and_true() {
    let bench = Bench::with(Rule::new(Fault::DripResponseBody(9)).method("GET"));
    bench.truth("PUT", "/b/a", b"0123456789");
    assert_eq!(bench.ask("GET", "/b/a", b"").unwrap().body, b"0123456789");
}

#[test]
fn answers_in_place_of_the_server() {
    let redirect =
        Answer::error(307, "TemporaryRedirect").header("Location", "http://127.0.0.1:1/");
    let bench = Bench::with(Rule::new(Fault::Answer(redirect)));
    let stream = Bench::connect(&bench.proxy.endpoint());
    let answer = ask(&stream, "PUT", "/b/a", &vec![0; 1_000_000]).unwrap();
    assert_eq!(answer.status, 307);
    assert!(
        answer
            .body
            .windows(17)
            .any(|window| window == b"TemporaryRedirect")
    );
    assert!(
        answer
            .headers
            .contains(&("Location".to_owned(), "http://127.0.0.1:1/".to_owned()))
    );
    assert!(!bench.has("/b/a"));
    // The connection goes on.
    assert_eq!(ask(&stream, "GET", "/b/a", b"").unwrap().status, 404);

    let bench = Bench::with(Rule::new(Fault::AnswerAfter(Answer::error(
        200,
        "InternalError",
    ))));
    assert_eq!(bench.ask("PUT", "/b/a", b"abc").unwrap().status, 200);
    assert!(bench.has("/b/a"));
}

#[test]
fn a_request_can_be_delivered_twice() {
    let bench = Bench::with(Rule::new(Fault::Duplicate).method("POST"));
    let answer = bench.ask("POST", "/b/a?uploads", b"").unwrap();
    assert_eq!(answer.status, 200);
    let uploads = bench.truth("GET", "/b?uploads", b"").body;
    let uploads = String::from_utf8(uploads).unwrap();
    assert_eq!(uploads.matches("<UploadId>").count(), 2, "{uploads}");
    assert_eq!(bench.proxy.log().len(), 1);
}

#[test]
fn bodies_are_changed_under_a_true_length() {
    let truth = b"0123456789";
    for (fault, expected) in [
        (Fault::FlipBit(8), b"0023456789".to_vec()),
        (Fault::FlipBit(80), b"1123456789".to_vec()),
        (Fault::Truncate(3), b"012".to_vec()),
        (Fault::Extend(2), b"0123456789\0\0".to_vec()),
        (Fault::ReplaceBody(b"other".to_vec()), b"other".to_vec()),
    ] {
        let name = fault.name();
        let bench = Bench::with(Rule::new(fault).method("GET"));
        bench.truth("PUT", "/b/a", truth);
        assert_eq!(
            bench.ask("GET", "/b/a", b"").unwrap().body,
            expected,
            "{name}"
        );
        assert_eq!(bench.ask("GET", "/b/a", b"").unwrap().body, truth, "{name}");
    }
}

#[test]
fn lengths_lie() {
    for (length, is_whole) in [
        ("3", true),
        ("11", false),
        ("99999999999999999999", true),
        ("-1", true),
    ] {
        let bench = Bench::with(Rule::new(Fault::ClaimLength(length.to_owned())).method("GET"));
        bench.truth("PUT", "/b/a", b"0123456789");
        let answer = bench.ask("GET", "/b/a", b"");
        match (length, &answer) {
            ("3", Ok(answer)) => assert_eq!(answer.body, b"012"),
            _ => assert_eq!(answer.is_ok(), is_whole, "{length}: {answer:?}"),
        }
    }
}

#[test]
fn objects_take_each_others_place() {
    let swap = Fault::Swap("/one".to_owned(), "/other".to_owned());
    let bench = Bench::with(Rule::new(swap).always());
    bench.truth("PUT", "/b/one", b"1");
    bench.truth("PUT", "/b/other", b"2");
    assert_eq!(bench.ask("GET", "/b/one", b"").unwrap().body, b"2");
    assert_eq!(bench.ask("GET", "/b/other", b"").unwrap().body, b"1");
}

#[test]
fn older_bodies_are_served() {
    let bench = Bench::with(Rule::new(Fault::ServeOlder).method("GET").always());
    bench.truth("PUT", "/b/a", b"old");
    assert_eq!(bench.ask("GET", "/b/a", b"").unwrap().body, b"old");
    bench.truth("PUT", "/b/a", b"newer");
    assert_eq!(bench.ask("GET", "/b/a", b"").unwrap().body, b"old");
}

#[test]
fn objects_are_hidden_from_listings() {
    let bench = Bench::with(Rule::new(Fault::HideFromListing("a/2".to_owned())).always());
    for target in ["/b/a/1", "/b/a/2"] {
        bench.truth("PUT", target, b"x");
    }
    for target in ["/b?list-type=2", "/b?versions"] {
        let listing = bench.ask("GET", target, b"").unwrap().body;
        let listing = String::from_utf8(listing).unwrap();
        assert!(
            listing.contains("a/1") && !listing.contains("a/2"),
            "{listing}"
        );
    }
}

#[test]
fn headers_of_an_answer_change() {
    let date = Some("Thu, 01 Jan 1970 00:00:00 GMT".to_owned());
    let bench = Bench::with(Rule::new(Fault::SetHeader("Date".to_owned(), date)));
    bench
        .proxy
        .plan(Rule::new(Fault::SetHeader("ETag".to_owned(), None)).nth(2));
    let header = |answer: &Answered, name: &str| {
        let found = answer.headers.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.clone())
    };
    let first = bench.ask("PUT", "/b/a", b"x").unwrap();
    assert!(
        header(&first, "Date")
            .unwrap()
            .ends_with("1970 00:00:00 GMT")
    );
    assert!(header(&first, "ETag").is_some());
    let second = bench.ask("PUT", "/b/a", b"x").unwrap();
    assert_eq!(header(&second, "ETag"), None);
}

#[test]
fn a_test_acts_in_the_middle_of_an_exchange() {
    for is_before in [true, false] {
        let (tell, told) = mpsc::channel();
        let (let_go, held) = mpsc::channel::<()>();
        let held = std::sync::Mutex::new(held);
        let call = Call::new(move |exchange| {
            tell.send((exchange.path.clone(), exchange.status)).unwrap();
            held.lock().unwrap().recv().unwrap();
        });
        let fault = if is_before {
            Fault::CallBefore(call)
        } else {
            Fault::CallAfter(call)
        };
        let bench = Bench::with(Rule::new(fault).method("PUT"));
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| bench.ask("PUT", "/b/a", b"x").unwrap().status);
            let status = (!is_before).then_some(200);
            assert_eq!(told.recv().unwrap(), ("/b/a".to_owned(), status));
            assert_eq!(bench.has("/b/a"), !is_before);
            let_go.send(()).unwrap();
            assert_eq!(asking.join().unwrap(), 200);
        });
        assert!(bench.has("/b/a"));
        let log = bench
            .proxy
            .wait_for(|log| log.iter().any(|exchange| exchange.status == Some(200)));
        assert_eq!(log.len(), 1);
    }
}

#[test]
fn a_server_that_is_gone_resets() {
    let bench = Bench::new();
    let proxy = FaultProxy::start("http://127.0.0.1:1");
    let answer = ask(&Bench::connect(&proxy.endpoint()), "GET", "/", b"");
    assert!(is_cut(&answer), "{answer:?}");
    assert_eq!(bench.proxy.log(), []);
}
