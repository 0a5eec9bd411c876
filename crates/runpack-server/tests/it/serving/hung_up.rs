//! Clients that ask for a write and do not wait for it: what was begun is finished, and stands in the audit log.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use runpack_core::store::{MemoryStore, ObjectRef, StoreError};
use runpack_server::audit::{Entry, Outcome};
use runpack_server::links::Links;

use super::*;
use crate::spooling::outage::{Mode, Outage};

/// A server over a store that writes later when it is told to.
async fn over_waiting(change: impl FnOnce(&mut Setup)) -> (Server, Arc<Outage>) {
    let store = Arc::new(Outage::of(MemoryStore::new()));
    let mut setup = Setup::over(&store);
    setup.keeper = None;
    change(&mut setup);
    (Server::start(setup).await, store)
}

/// Sends all of a request, and goes away while the store writes.
async fn send_and_hang_up(
    server: &Server,
    store: &Outage,
    (first, media_type, body): (&str, &str, &[u8]),
) {
    let waited = store.waited();
    store.set(Mode::WritesLater);
    let mut wire = Wire::to(server).await;
    let lines = [
        format!("Content-Type: {media_type}"),
        format!("Content-Length: {}", body.len()),
    ];
    let lines: Vec<_> = lines.iter().map(|line| &**line).collect();
    wire.head(first, &lines).await;
    wire.0.write_all(body).await.unwrap();
    until(|| store.waited() > waited).await;
    wire.0.shutdown().await.unwrap();
    // The server has let go of the connection too.
    assert_eq!(wire.rest().await, "");
}

fn lines_of<'a>(entries: &'a [Entry], action: &str) -> Vec<(&'a str, u16)> {
    let of = entries.iter().filter(|entry| entry.action == action);
    of.map(|entry| (&*entry.object, entry.status)).collect()
}

#[test]
fn c04_c33_a_write_that_nobody_waits_for_is_finished_and_in_the_audit_log() {
    block_on(async {
        let (server, store) = over_waiting(|_| ()).await;
        let opened = server
            .tell(post("/v1/executions").json(&opening()))
            .await
            .expect(201);
        let id = opened.text("execution_id");
        let record = record("r-1").to_string();
        let bundle = Bundle::of_run("acme", "web", "r-1", &[]);
        let log = format!("POST /v1/executions/{id}/logs/stdout");
        let artifact = format!("PUT /v1/executions/{id}/artifacts/a.bin");
        let requests: [(&str, &str, &[u8]); 4] = [
            ("POST /v1/records", "application/json", record.as_bytes()),
            ("POST /v1/packs", "application/gzip", &bundle.bytes),
            (&log, "text/plain", b"line\n"),
            (&artifact, "text/plain", b"abc"),
        ];
        for request in requests {
            send_and_hang_up(&server, &store, request).await;
            let before = server.audit.head();
            store.set(Mode::Well);
            until(|| server.audit.head() != before).await;
        }
        server.tell(get(format!("{AT}/runs/r-1"))).await.expect(200);
        let entries = server.end().await;
        assert_eq!(
            lines_of(&entries, "record.write"),
            [("acme/web/build/r-1", 201)]
        );
        assert_eq!(
            lines_of(&entries, "pack.write"),
            [(&*bundle.pack_id(), 201)]
        );
        assert_eq!(
            lines_of(&entries, "log.append"),
            [(&*format!("{id}/stdout"), 201)]
        );
        assert_eq!(
            lines_of(&entries, "artifact.write"),
            [(&*format!("{id}/a.bin"), 201)]
        );
    });
}

#[test]
fn c33_the_end_of_a_server_waits_for_writes_that_nobody_waits_for() {
    block_on(async {
        let (server, store) = over_waiting(|_| ()).await;
        let record = record("r-1").to_string();
        let request = ("POST /v1/records", "application/json", record.as_bytes());
        send_and_hang_up(&server, &store, request).await;
        let address = server.address;
        let (entries, ()) = tokio::join!(server.end(), async {
            // By then nobody is connected, and nothing but the write is waited for.
            until(|| std::net::TcpStream::connect(address).is_err()).await;
            store.set(Mode::Well);
        });
        assert_eq!(
            lines_of(&entries, "record.write"),
            [("acme/web/build/r-1", 201)]
        );
    });
}

#[test]
fn c32_c33_a_write_that_takes_too_long_is_answered_and_goes_on() {
    block_on(async {
        let short = |setup: &mut Setup| setup.listen.answer = Duration::from_millis(300);
        let (server, store) = over_waiting(short).await;
        store.set(Mode::WritesLater);
        let answer = server.tell(keep(&record("r-1"))).await.expect(503);
        assert_eq!(answer.header("retry-after"), Some("5"));
        store.set(Mode::Well);
        until(|| server.audit.head().is_some()).await;
        let again = server.tell(keep(&record("r-1"))).await.expect(200);
        assert_eq!(again.text("outcome"), "again");
        let entries = server.end().await;
        let of_it = "acme/web/build/r-1";
        assert_eq!(
            lines_of(&entries, "record.write"),
            [(of_it, 201), (of_it, 200)]
        );
    });
}

#[test]
fn c04_a_body_whose_end_nobody_sees_is_not_taken_for_a_whole_one() {
    block_on(async {
        let (server, files) = Server::over_files().await;
        let opened = server
            .tell(post("/v1/executions").json(&opening()))
            .await
            .expect(201);
        let id = opened.text("execution_id");
        let before = files.keys();
        let mut wire = Wire::to(&server).await;
        let lines = [
            "Content-Type: text/plain",
            "Transfer-Encoding: chunked",
            "Expect: 100-continue",
        ];
        wire.head(&format!("POST /v1/executions/{id}/logs/stdout"), &lines)
            .await;
        wire.until_body_is_wanted().await;
        wire.0.write_all(b"5\r\nline\n\r\n").await.unwrap();
        drop(wire);
        let entries = server.end().await;
        assert_eq!(
            lines_of(&entries, "log.append"),
            [(&*format!("{id}/stdout"), 400)]
        );
        assert_eq!(files.keys(), before);
    });
}

/// A store whose code has a fault.
#[derive(Debug)]
struct Faulty;

#[async_trait]
impl Links for Faulty {
    async fn sign(&self, _: &ObjectRef, _: Duration) -> Result<(String, Duration), StoreError> {
        panic!("as it was told to")
    }
}

#[test]
fn c33_a_fault_of_ours_is_answered_and_in_the_audit_log() {
    block_on(async {
        let files = Files::new().await;
        let mut setup = Setup::over(&files.store);
        setup.links = Some(Arc::new(Faulty));
        let server = Server::start(setup).await;
        let bundle = Bundle::of_run("acme", "web", "r-1", &[]);
        server.tell(bundle.send()).await.expect(201);
        let ask = post(format!("/v1/packs/{}/links", bundle.pack_id())).json(&json!({}));
        server.tell(ask).await.expect(500).problem();
        let entries = server.end().await;
        let last = entries.last().unwrap();
        assert_eq!(
            (&*last.action, last.status, last.outcome),
            ("pack.links", 500, Outcome::Failed)
        );
    });
}
