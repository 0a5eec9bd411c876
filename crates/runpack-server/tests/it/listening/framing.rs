//! Requests that two servers may cut apart differently, and heads that are too much.

use super::*;

/// Follows a request where another reading of it would have another request begin.
const SMUGGLED: &str = "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n";

fn hasty() -> ListenSettings {
    ListenSettings {
        idle: SOON,
        header_read: SOON,
        body_idle: SOON,
        ..patient()
    }
}

/// Each is sent, with the smuggled request behind it. What reaches the application is the first request, or nothing; one
/// answer comes at most; and the connection is over.
async fn assert_never_two(requests: &[(&str, String, u64)]) {
    let served = Served::plain(hasty()).await;
    for (case, request, reach) in requests {
        let before = served.requests();
        let text = served.tell(format!("{request}{SMUGGLED}").as_bytes()).await;
        assert_eq!(served.requests() - before, *reach, "{case}: {text}");
        assert!(answers(&text) <= 1, "{case}: {text}");
        if *reach == 0 && answers(&text) == 1 {
            assert!([400, 431].contains(&status(&text)), "{case}: {text}");
        }
    }
    assert_eq!(served.seen.begun.available_permits(), 0);
    served.assert_serves().await;
}

fn post(headers: &str, body: &str) -> String {
    format!("POST /length HTTP/1.1\r\nHost: x\r\n{headers}\r\n{body}")
}

#[tokio::test]
async fn c05_a_request_of_doubtful_length_is_one_request_or_none() {
    assert_never_two(&[
        (
            "length, then coding",
            post(
                "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                "0\r\n\r\n",
            ),
            1,
        ),
        (
            "coding, then length",
            post(
                "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
                "0\r\n\r\n",
            ),
            1,
        ),
        (
            "coding and a bad length",
            post(
                "Transfer-Encoding: chunked\r\nContent-Length: x\r\n",
                "0\r\n\r\n",
            ),
            1,
        ),
        (
            "differing lengths",
            post("Content-Length: 5\r\nContent-Length: 0\r\n", "hello"),
            0,
        ),
        (
            "differing lengths, the other way",
            post("Content-Length: 0\r\nContent-Length: 5\r\n", "hello"),
            0,
        ),
        (
            "a list of lengths",
            post("Content-Length: 5, 5\r\n", "hello"),
            0,
        ),
        (
            "a signed length",
            post("Content-Length: +5\r\n", "hello"),
            0,
        ),
        (
            "a negative length",
            post("Content-Length: -5\r\n", "hello"),
            0,
        ),
        (
            "a length in two words",
            post("Content-Length: 5 5\r\n", "hello"),
            0,
        ),
        (
            "a hexadecimal length",
            post("Content-Length: 0x5\r\n", "hello"),
            0,
        ),
        ("an empty length", post("Content-Length: \r\n", "hello"), 0),
        (
            "a length beyond any",
            post("Content-Length: 99999999999999999999\r\n", "hello"),
            0,
        ),
        (
            "a length of 2^64 - 1",
            post("Content-Length: 18446744073709551615\r\n", "hello"),
            0,
        ),
    ])
    .await;
}

#[tokio::test]
async fn c05_a_transfer_coding_is_chunked_once_or_refused() {
    let with = |headers: &str| post(headers, "0\r\n\r\n");
    assert_never_two(&[
        ("identity", with("Transfer-Encoding: identity\r\n"), 0),
        (
            "identity, chunked",
            with("Transfer-Encoding: identity, chunked\r\n"),
            0,
        ),
        (
            "chunked, identity",
            with("Transfer-Encoding: chunked, identity\r\n"),
            0,
        ),
        (
            "gzip, chunked",
            with("Transfer-Encoding: gzip, chunked\r\n"),
            0,
        ),
        (
            "twice in a line",
            with("Transfer-Encoding: chunked, chunked\r\n"),
            0,
        ),
        (
            "in two lines",
            with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
            0,
        ),
        (
            "and identity below",
            with("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
            0,
        ),
        (
            "and identity above",
            with("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"),
            0,
        ),
        ("another word", with("Transfer-Encoding: xchunked\r\n"), 0),
        ("quoted", with("Transfer-Encoding: \"chunked\"\r\n"), 0),
        (
            "a vertical tab",
            with("Transfer-Encoding: \x0bchunked\r\n"),
            0,
        ),
        ("a parameter", with("Transfer-Encoding: chunked;q=1\r\n"), 0),
        ("empty", with("Transfer-Encoding: \r\n"), 0),
        (
            "of HTTP/1.0",
            with("Transfer-Encoding: chunked\r\n").replace("HTTP/1.1", "HTTP/1.0"),
            0,
        ),
    ])
    .await;
}

#[tokio::test]
async fn c05_lines_that_are_none_are_refused() {
    let with = |headers: &str| post(headers, "hello");
    let no_host = post("Content-Length: 5\r\n", "hello").replace("Host: x\r\n", "");
    assert_never_two(&[
        (
            "a folded header",
            with("X: a\r\n b\r\nContent-Length: 5\r\n"),
            0,
        ),
        (
            "a folded coding",
            with("Transfer-Encoding:\r\n chunked\r\n"),
            0,
        ),
        (
            "a space before the colon of a length",
            with("Content-Length : 5\r\n"),
            0,
        ),
        (
            "a space before the colon of a coding",
            with("Transfer-Encoding : chunked\r\n"),
            0,
        ),
        ("a tab before the colon", with("Content-Length\t: 5\r\n"), 0),
        ("a line without a colon", with("Content-Length 5\r\n"), 0),
        ("a line without a name", with(": 5\r\n"), 0),
        (
            "a carriage return in a value",
            with("X: a\rContent-Length: 5\r\n"),
            0,
        ),
        (
            "a NUL in a value",
            with("X: a\0b\r\nContent-Length: 5\r\n"),
            0,
        ),
        (
            "a line that is a request",
            with("X: a\nGET / HTTP/1.1\r\nContent-Length: 5\r\n"),
            0,
        ),
        ("two hosts", with("Host: y\r\nContent-Length: 5\r\n"), 0),
        ("no host", no_host, 0),
        (
            "a space before the first header",
            "GET / HTTP/1.1\r\n Host: x\r\n\r\n".to_owned(),
            0,
        ),
        (
            "a tab in the request line",
            "GET /\tHTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            0,
        ),
        (
            "two spaces in the request line",
            "GET  / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            0,
        ),
        ("HTTP/0.9", "GET /\r\n".to_owned(), 0),
        (
            "HTTP/1.2",
            "GET / HTTP/1.2\r\nHost: x\r\n\r\n".to_owned(),
            0,
        ),
        (
            "not HTTP",
            "\x16\x03\x01\x02\0\x01\0\x01\u{7f}".to_owned(),
            0,
        ),
    ])
    .await;
}

#[tokio::test]
async fn c05_lines_that_end_in_a_line_feed_alone_are_one_request() {
    let served = Served::plain(hasty()).await;
    let text = served
        .tell(b"POST /length HTTP/1.1\nHost: x\nContent-Length: 5\n\nhello")
        .await;
    assert_eq!(
        (status(&text), answers(&text), served.requests()),
        (200, 1, 1),
        "{text}"
    );
}

#[tokio::test]
async fn c05_a_chunk_that_is_none_ends_the_connection() {
    let cases = [
        ("no number", "x\r\nhello\r\n0\r\n\r\n"),
        ("a letter behind it", "5x\r\nhello\r\n0\r\n\r\n"),
        ("a prefix", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("a sign", "+5\r\nhello\r\n0\r\n\r\n"),
        ("a negative one", "-5\r\nhello\r\n0\r\n\r\n"),
        ("two of them", "5 5\r\nhello\r\n0\r\n\r\n"),
        ("none", "\r\nhello\r\n0\r\n\r\n"),
        ("beyond 64 bits", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("2^64 - 1", "FFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n"),
        (
            "a line feed alone behind the number",
            "5\nhello\r\n0\r\n\r\n",
        ),
        (
            "a line feed in an extension",
            "5;a\nb\r\nhello\r\n0\r\n\r\n",
        ),
        ("longer than it says", "3\r\nhello\r\n0\r\n\r\n"),
        ("a line feed alone behind the data", "5\r\nhello\n0\r\n\r\n"),
        ("a last one with more", "0\r\nX\r\n\r\n"),
    ];
    let requests =
        cases.map(|(case, chunks)| (case, post("Transfer-Encoding: chunked\r\n", chunks), 1));
    assert_never_two(&requests).await;
}

#[tokio::test]
async fn c05_two_requests_are_two_requests() {
    let served = Served::plain(hasty()).await;
    let both = post("Content-Length: 5\r\n", "hello")
        + &post("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n");
    let text = served.tell(both.as_bytes()).await;
    assert_eq!((answers(&text), served.requests()), (2, 2), "{text}");
    assert!(
        text.contains("\r\n\r\n5HTTP/1.1 200") && text.ends_with("\r\n\r\n3"),
        "{text}"
    );
}

#[tokio::test]
async fn c06_http_2_is_not_spoken() {
    let served = Served::plain(hasty()).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let text = served.tell(preface).await;
    assert_eq!((answers(&text), text.len()), (0, 0), "{text}");
    // An upgrade is an offer, which is not taken up.
    let text = served
        .tell(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n")
        .await;
    assert_eq!((status(&text), answers(&text)), (200, 1), "{text}");
    assert_eq!(served.requests(), 1);
}

#[tokio::test]
async fn c04_a_head_that_is_too_much_is_refused() {
    let served = Served::plain(hasty()).await;
    let head = |headers: String| format!("GET / HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    for (case, request, expected) in [
        ("63 and the host", head("A: b\r\n".repeat(63)), 200),
        ("64 and the host", head("A: b\r\n".repeat(64)), 431),
        ("100,000", head("A: b\r\n".repeat(100_000)), 431),
        (
            "15 KiB in one",
            head(format!("A: {}\r\n", "b".repeat(15 << 10))),
            200,
        ),
        (
            "16 KiB in one",
            head(format!("A: {}\r\n", "b".repeat(16 << 10))),
            431,
        ),
        (
            "1 MiB in one",
            head(format!("A: {}\r\n", "b".repeat(1 << 20))),
            431,
        ),
        (
            "1 MiB in its name",
            head(format!("{}: b\r\n", "a".repeat(1 << 20))),
            431,
        ),
        (
            "1 MiB of path",
            format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1 << 20)),
            431,
        ),
    ] {
        let text = served.tell(request.as_bytes()).await;
        assert_eq!(status(&text), expected, "{case}: {text}");
    }
    assert_eq!(served.requests(), 2);
}

#[tokio::test]
async fn c35_paths_and_methods_that_are_not_there_are_not_found() {
    let served = Served::plain(hasty()).await;
    for (request, expected) in [
        ("GET /metrics", 404),
        ("GET /..%2f..%2fetc/passwd", 404),
        ("GET //", 404),
        ("GET http://x/metrics", 404),
        ("PUT /length", 405),
        ("TRACE /", 405),
        ("PROPFIND /", 405),
        ("OPTIONS *", 404),
    ] {
        let text = served
            .tell(format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
            .await;
        assert_eq!(status(&text), expected, "{request}: {text}");
    }
    // What the one listener serves, the other does not have.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let admin = Router::new().route("/metrics", get(async || "# EOF"));
    let never = std::future::pending();
    tokio::spawn(serve(
        listener,
        Transport::Plain,
        admin,
        hasty(),
        Arc::default(),
        never,
    ));
    for (path, expected) in [("/metrics", 200), ("/length", 404)] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(status(&answer(&mut stream).await), expected, "{path}");
    }
}
