//! The server in front of real S3 servers, with and without versions, and over a line that fails.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use runpack_core::store::s3::{S3Settings, S3Store};
use runpack_testing::block_on;
use runpack_testing::proxy::{Fault, FaultProxy, Rule};
use runpack_testing::servers::{BucketKind, Kind, shared};
use serde_json::{Value, json};

use crate::ingest::storms;
use crate::support::*;

async fn opened(settings: S3Settings) -> Arc<S3Store> {
    Arc::new(S3Store::open(settings).await.unwrap())
}

async fn bucket(kind: Kind, how: BucketKind) -> Arc<S3Store> {
    opened(shared(kind).bucket(how).await.settings()).await
}

/// A server in front of a bucket, which signs its links.
async fn server(store: &Arc<S3Store>) -> Server {
    let mut setup = Setup::over(store);
    setup.links = Some(store.clone());
    Server::start(setup).await
}

/// What a link leads to, for somebody who has no token.
async fn follow(url: &str) -> (u16, Bytes) {
    let request = Request::get(url).body(Body::empty()).unwrap();
    let answer = in_time(client().request(request)).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap();
    (status, body.to_bytes())
}

async fn records(server: &Server) {
    let keep = |run_id: &str| post("/v1/records").json(&record(run_id));
    for run_id in ["r-1", "r-2", "r-3"] {
        server.tell(keep(run_id)).await.expect(201);
        server.tell(keep(run_id)).await.expect(200);
    }
    let mut other = record("r-1");
    other["artifact"] = json!("another");
    let refused = server.tell(post("/v1/records").json(&other)).await;
    assert_eq!(refused.expect(409).problem(), "run-conflict");
    let at = "/v1/records/acme/web/build";
    let listed = server
        .tell(get(format!("{at}?from=2026-11-20&to=2026-11-20")))
        .await
        .expect(200)
        .value();
    assert_eq!(listed["records"].as_array().unwrap().len(), 3, "{listed}");
    let read = server.tell(get(format!("{at}/runs/r-2"))).await.expect(200);
    assert_eq!(read.value()["body"], record("r-2"));
    server.tell(get(format!("{at}/latest"))).await.expect(200);
}

/// An execution that two servers work at, and the pack that it becomes.
async fn execution(one: &Server, two: &Server, links: Links) -> String {
    let opened = one.tell(post("/v1/executions").json(&opening())).await;
    let id = opened.expect(201).text("execution_id");
    let at = format!("/v1/executions/{id}");
    let mut log = String::new();
    for number in 0..6 {
        let line = format!("line {number}\n");
        let server = if number % 2 == 0 { one } else { two };
        let ask = post(format!("{at}/logs/stdout")).bytes("text/plain", line.clone());
        server.tell(ask).await.expect(201);
        log.push_str(&line);
    }
    let large: Bytes = vec![7; 9 << 20].into();
    let files = [("a/large.bin", large.clone()), ("b.txt", "abc".into())];
    for (name, bytes) in &files {
        let put = || {
            ask("PUT", format!("{at}/artifacts/{name}"))
                .by("ci")
                .bytes("application/octet-stream", bytes.clone())
                .digest(bytes)
        };
        one.tell(put()).await.expect(201);
        two.tell(put()).await.expect(200);
    }
    let said = json!({"result": "passed"});
    let complete = || post(format!("{at}/complete")).json(&said);
    let done = two.tell(complete()).await.expect(200);
    let again = one.tell(complete()).await.expect(200);
    assert_eq!(done.text("pack_id"), again.text("pack_id"));
    let read = one.tell(get(format!("{at}/logs/stdout"))).await;
    assert_eq!(read.expect(200).body, log);
    let read = one.tell(get(format!("{at}/artifacts/a/large.bin"))).await;
    assert!(read.expect(200).body == large);
    let listed = one.tell(get(format!("{at}/artifacts"))).await.expect(200);
    for item in listed.value()["artifacts"].as_array().unwrap() {
        assert!(item["expires_at"].is_string(), "{item}");
        if links == Links::AreNotFollowed {
            continue;
        }
        let (status, bytes) = follow(item["url"].as_str().unwrap()).await;
        assert_eq!(status, 200, "{item}");
        assert_eq!(item["bytes"], bytes.len(), "{item}");
    }
    done.text("pack_id")
}

async fn packs(server: &Server, of_execution: &str, which: Links) {
    let bundle = Bundle::of_run("acme", "web", "r-1", &[("b.bin", b"abc")]);
    server.tell(bundle.send()).await.expect(201);
    server.tell(bundle.send()).await.expect(200);
    let other = Bundle::of_run("acme", "web", "r-1", &[("b.bin", b"abd")]);
    let refused = server.tell(other.send()).await.expect(409);
    assert_eq!(refused.problem(), "run-conflict");
    for pack_id in [bundle.pack_id().as_str(), of_execution] {
        let at = format!("/v1/packs/{pack_id}");
        let verified = server.tell(post(format!("{at}/verify"))).await.expect(200);
        assert_eq!(verified.text("verdict"), "valid", "{verified:?}");
        server.tell(get(format!("{at}/bundle"))).await.expect(200);
    }
    let at = format!("/v1/packs/{}/links", bundle.pack_id());
    let made = server.tell(post(at).json(&json!({}))).await.expect(200);
    let links = made.value();
    let urls: Vec<&Value> = links["links"].as_array().unwrap().iter().collect();
    assert!(!urls.is_empty(), "{links}");
    for link in urls {
        if which == Links::AreNotFollowed {
            continue;
        }
        let (status, _) = follow(link["url"].as_str().unwrap()).await;
        assert_eq!(status, 200, "{link}");
    }
}

/// Whether a server knows whose a signed URL is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Links {
    AreFollowed,
    /// MiniStack takes whoever follows one for a stranger.
    AreNotFollowed,
}

fn serves(kind: Kind, how: BucketKind) {
    let links = match kind {
        Kind::MiniStack => Links::AreNotFollowed,
        Kind::Ceph | Kind::Moto => Links::AreFollowed,
    };
    block_on(async {
        let store = bucket(kind, how).await;
        let (one, two) = (server(&store).await, server(&store).await);
        records(&one).await;
        let pack_id = execution(&one, &two, links).await;
        packs(&two, &pack_id, links).await;
        one.end().await;
        two.end().await;
    });
}

#[test]
fn p01_everything_is_served_from_ceph() {
    serves(Kind::Ceph, BucketKind::Plain);
}

#[test]
fn p01_everything_is_served_from_ceph_with_versions() {
    serves(Kind::Ceph, BucketKind::Versioned);
}

#[test]
fn p01_everything_is_served_from_ministack() {
    serves(Kind::MiniStack, BucketKind::Plain);
}

#[test]
fn p01_everything_is_served_from_moto() {
    serves(Kind::Moto, BucketKind::Plain);
}

#[test]
fn c34_of_a_hundred_clients_with_one_run_id_one_is_first_in_a_bucket() {
    block_on(async {
        for how in [BucketKind::Plain, BucketKind::Versioned] {
            storms(bucket(Kind::Ceph, how).await).await;
        }
    });
}

/// Every request in turn fails so, while records, a log and a file are sent. What was acknowledged is there, and what was not
/// is taken when it is sent again.
fn fails(fault: impl Fn() -> Fault) {
    block_on(async {
        let bucket = shared(Kind::Ceph).bucket(BucketKind::Plain).await;
        let direct = Server::start(Setup::over(&opened(bucket.settings()).await)).await;
        let (mut refused, mut struck) = (0, 0);
        // A record is two writes, an artifact is two and what is looked at before.
        for number in 1..=12 {
            let proxy = FaultProxy::start(&bucket.server().endpoint);
            let mut settings = bucket.settings_at(&proxy.endpoint());
            settings.deadlines.attempt = Duration::from_secs(2);
            settings.deadlines.request = Duration::from_secs(5);
            settings.deadlines.attempts = 1;
            let through = Server::start(Setup::over(&opened(settings).await)).await;
            let opened = through.tell(post("/v1/executions").json(&opening())).await;
            let id = opened.expect(201).text("execution_id");
            let at = format!("/v1/executions/{id}");
            let run_id = format!("{}-{number}", fault().name());
            let sends = || {
                [
                    post("/v1/records").json(&record(&run_id)),
                    post(format!("{at}/logs/stdout?offset=0")).bytes("text/plain", "line\n"),
                    ask("PUT", format!("{at}/artifacts/a.txt"))
                        .by("ci")
                        .bytes("text/plain", "abc"),
                ]
            };
            proxy.plan(Rule::new(fault()).nth(number).times(1));
            let mut acknowledged = Vec::new();
            for send in sends() {
                let status = through.tell(send).await.status;
                assert!(matches!(status, 200 | 201 | 503), "{run_id}: {status}");
                acknowledged.push(status != 503);
            }
            proxy.clear();
            struck += u32::from(proxy.log().iter().any(|one| one.fault.is_some()));
            for (send, was_acknowledged) in sends().into_iter().zip(acknowledged) {
                let status = direct.tell(send).await.status;
                refused += u32::from(!was_acknowledged);
                if was_acknowledged {
                    assert_eq!(status, 200, "{run_id}");
                } else {
                    assert!(matches!(status, 200 | 201), "{run_id}: {status}");
                }
            }
            let said = json!({"result": "passed"});
            let done = direct.tell(post(format!("{at}/complete")).json(&said));
            done.await.expect(200);
            through.end().await;
        }
        println!(
            "{}: {struck} of 12 struck, {refused} of 36 were refused",
            fault().name()
        );
        // What was refused differs: where only an answer is lost, what lies there is found and acknowledged.
        assert!(struck > 6, "{struck}");
        direct.end().await;
    });
}

#[test]
fn n01_a_line_that_breaks_before_a_request_loses_nothing() {
    fails(|| Fault::ResetBeforeRequest);
}

#[test]
fn w10_a_line_that_loses_answers_loses_nothing() {
    fails(|| Fault::LoseResponse);
}

#[test]
fn n02_a_store_that_stalls_loses_nothing() {
    fails(|| Fault::Stall);
}
