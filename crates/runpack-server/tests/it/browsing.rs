//! The pages in a real browser, before a real server.
//!
//! No pause decides a test: what is to be seen is waited for.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed assertion is how a test speaks"
)]

mod browser;
mod bucket;
mod evidence;
mod hostile;
mod served;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use browser::{Browser, ENTER, TAB};
use served::Served;

/// How often is looked for what is to come, 20 milliseconds apart: a minute and more.
const TOO_LATE_TRIES: u32 = 3_000;

/// One request and its answer, whose length is told.
fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, Vec<u8>) {
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    stream
        .write_all(&[head.as_bytes(), b"\r\n", body].concat())
        .unwrap();
    let (mut read, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let bytes = stream.read(&mut piece).unwrap();
        read.extend_from_slice(&piece[..bytes]);
        let end = read.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"))
                .map_or(0, |length| length.trim().parse().unwrap());
            if read.len() >= end + 4 + length {
                let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                return (status, read.split_off(end + 4));
            }
        }
        assert!(bytes > 0, "an answer that ended early");
    }
}

/// Somebody who is signed in, at that place.
fn signed_in(served: &Served, place: &str) -> Browser {
    let browser = Browser::start();
    browser.go(&served.url(place));
    browser.fill("input[type=password]", served.token.secret());
    browser.press(&ENTER.to_string());
    browser.until_seen("nav", "Records");
    browser
}

#[test]
fn only_a_token_that_is_known_lets_somebody_in_and_it_is_nowhere_else() {
    let served = Served::start();
    let browser = Browser::start();
    browser.go(&served.url("/"));
    browser.fill("input[type=password]", "rp_not-a-token-of-this-server");
    browser.press(&ENTER.to_string());
    browser.until_seen("[role=alert]", "who calls is not known");
    browser.until_seen("[role=alert]", "Next: send one header");
    browser.until_seen("[role=alert]", "request");
    assert_eq!(browser.run("return sessionStorage.length"), 0);

    browser.fill("input[type=password]", served.token.secret());
    browser.press(&ENTER.to_string());
    browser.until_seen("main", "Signed in as token:ann");
    browser.until_seen(".card", "May read and write");
    browser.reload();
    browser.until_seen("main", "Signed in as token:ann");
    let elsewhere = "return location.href + document.cookie + JSON.stringify(localStorage) + document.body.outerHTML";
    let elsewhere = browser.run(elsewhere);
    assert!(!elsewhere.as_str().unwrap().contains(served.token.secret()));

    browser.click("#sign-out");
    browser.until_seen("h1", "Sign in");
    assert_eq!(browser.run("return sessionStorage.length"), 0);
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn everything_is_reached_with_the_keyboard_alone() {
    let served = Served::start();
    let id = served.pack("run-1", &[("report.html", None, b"all is well")]);
    let browser = Browser::start();
    browser.go(&served.url("/"));
    browser.until_seen("h1", "Sign in");
    let focused = |wanted: &str| {
        let named = "const at = document.activeElement; return at.getAttribute('name') ?? at.type + ' ' + at.textContent";
        for _ in 0..40 {
            if browser.run(named).as_str().unwrap().contains(wanted) {
                return;
            }
            browser.press(&TAB.to_string());
        }
        panic!("{wanted} is not reached");
    };
    focused("password");
    browser.press(&format!("{}{ENTER}", served.token.secret()));
    browser.until_seen("main", "Signed in as");
    focused("Packs");
    browser.press(&ENTER.to_string());
    browser.until_seen("h1", "Packs");
    focused("tenant");
    browser.press(&format!("acme{ENTER}"));
    browser.until_seen("table", "run-1");
    focused("run-1");
    browser.press(&ENTER.to_string());
    browser.until_seen("dl", &id);
    focused("Verify now");
    browser.press(&ENTER.to_string());
    browser.until_seen("#verification", "Valid");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn the_documentation_has_every_request_and_every_problem() {
    let served = Served::start();
    let browser = Browser::start();
    browser.go(&served.url("/docs#run-conflict"));
    browser.until_seen("tr[id=run-conflict]", "send what was sent before");
    let is_in_sight = "const at = document.querySelector('.here').getBoundingClientRect(); return at.top >= 0 && at.bottom <= innerHeight";
    assert_eq!(browser.run(is_in_sight), true);
    let document: serde_json::Value =
        serde_json::from_str(&runpack_server::api::openapi()).unwrap();
    let paths = document["paths"].as_object().unwrap().values();
    let operations: usize = paths.map(|path| path.as_object().unwrap().len()).sum();
    assert!(operations > 15);
    let shown = "return document.querySelectorAll('details.operation').length";
    assert_eq!(browser.run(shown), operations);
    let rows = "return document.querySelectorAll('#problems tr[id]').length";
    assert_eq!(
        browser.run(rows),
        runpack_server::problem::Problem::CODES.len()
    );
    browser.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })");
    browser.until_seen("main", "curl --fail-with-body");
    assert_eq!(browser.complaints(), [""; 0]);
}
