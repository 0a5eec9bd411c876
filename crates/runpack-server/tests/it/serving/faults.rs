//! Faults: the store is away, the audit log takes nothing, the client is gone. Nothing is acknowledged that is not there.

use std::sync::Arc;
use std::time::Duration;

use runpack_core::store::MemoryStore;

use super::*;
use crate::spooling::outage::{Mode, Outage};

#[test]
fn c32_what_the_store_does_not_take_is_not_acknowledged_and_taken_later() {
    block_on(async {
        let store = Arc::new(Outage::of(MemoryStore::new()));
        let mut setup = Setup::over(&store);
        setup.keeper = None;
        let server = Server::start(setup).await;
        let id = server
            .tell(post("/v1/executions").json(&opening()))
            .await
            .expect(201)
            .text("execution_id");
        let at = format!("/v1/executions/{id}");
        let bundle = Bundle::of_run("acme", "web", "r-1", &[]);
        let writes = || {
            [
                keep(&record("r-1")),
                bundle.send(),
                post(format!("{at}/logs/stdout?offset=0")).bytes("text/plain", "line\n"),
                ask("PUT", format!("{at}/artifacts/a.bin"))
                    .by("ci")
                    .bytes("text/plain", "abc"),
            ]
        };
        for mode in [Mode::Away, Mode::AnswersLost] {
            store.set(mode.clone());
            for write in writes() {
                let answer = server.tell(write).await.expect(503);
                assert_eq!(answer.problem(), "unavailable");
                let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
                assert!((1..=600).contains(&seconds), "{seconds}");
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                assert!(!text.contains("out for a walk"), "{text}");
            }
        }
        store.set(Mode::Away);
        let ready = server.tell(get("/readyz").unknown()).await.expect(503);
        assert_eq!(ready.body, "not ready\n");
        let ready = server.tell_operators("/readyz").await.expect(503);
        assert_eq!(ready.value()["store"], "away");
        for read in [
            get(AT),
            get(&at),
            get(format!("/v1/packs/{}", bundle.pack_id())),
        ] {
            assert_eq!(server.tell(read).await.expect(503).problem(), "unavailable");
        }
        store.set(Mode::Well);
        // W10: the store may have written what it said that it had not; then the same again is the same.
        for write in writes() {
            let answer = server.tell(write).await;
            assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        }
        server.tell(get(format!("{AT}/runs/r-1"))).await.expect(200);
        in_time(async {
            while server.tell(get("/readyz").unknown()).await.status != 200 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
        let entries = server.end().await;
        let failed = entries.iter().filter(|entry| entry.status == 503).count();
        assert_eq!(failed, 11);
    });
}

#[test]
fn w10_a_store_that_is_away_takes_the_same_body_as_new_later() {
    block_on(async {
        let store = Arc::new(Outage::of(MemoryStore::new()));
        let mut setup = Setup::over(&store);
        setup.keeper = None;
        let server = Server::start(setup).await;
        store.set(Mode::Away);
        server.tell(keep(&record("r-1"))).await.expect(503);
        store.set(Mode::Well);
        server.tell(keep(&record("r-1"))).await.expect(201);
        // Written, and the answer lost: then it is there, and told so.
        store.set(Mode::AnswersLost);
        server.tell(keep(&record("r-2"))).await.expect(503);
        store.set(Mode::Well);
        let again = server.tell(keep(&record("r-2"))).await;
        assert!(matches!(again.status, 200 | 201), "{again:?}");
        server.end().await;
    });
}

#[test]
fn c33_nothing_is_acknowledged_that_the_audit_log_does_not_have() {
    block_on(async {
        let (server, files) = Server::over_files().await;
        let body = record("r-1").to_string();
        let mut wire = Wire::to(&server).await;
        let length = format!("Content-Length: {}", body.len());
        let lines = [
            "Content-Type: application/json",
            &length,
            "Expect: 100-continue",
            "Connection: close",
        ];
        wire.head("POST /v1/records", &lines).await;
        // The request was let in while the log took lines. When it is done, the log does not any more.
        wire.until_body_is_wanted().await;
        server.audit.close().await;
        wire.0.write_all(body.as_bytes()).await.unwrap();
        let text = wire.rest().await;
        assert!(
            text.starts_with("HTTP/1.1 503 ") && text.contains("retry-after: 30"),
            "{text}"
        );
        assert!(
            text.contains("the audit log could not be written"),
            "{text}"
        );
        // Whatever comes now is not even begun.
        let refused = server.tell(keep(&record("r-2"))).await.expect(503);
        assert_eq!(refused.problem(), "unavailable");
        assert!(!files.keys().iter().any(|key| key.contains("r-2")));
        let ready = server.tell_operators("/readyz").await.expect(503);
        assert_eq!(ready.value()["audit"], "failed");
        // A refusal is not told either: it would not be in the log.
        let hidden = server.tell(get("/v1/records/other/web/build")).await;
        assert_eq!(hidden.expect(503).problem(), "unavailable");
        server.tell(get(AT)).await.expect(200);
        // What was sent again is found by a server whose log is well.
        let well = Server::start(Setup::over(&files.store)).await;
        let again = well
            .tell(post("/v1/records").bytes("application/json", body))
            .await
            .expect(200);
        assert_eq!(again.text("outcome"), "again");
        well.end().await;
    });
}

#[test]
fn c04_a_client_that_goes_away_leaves_nothing_half_written() {
    block_on(async {
        let (server, files) = Server::over_files().await;
        let id = server
            .tell(post("/v1/executions").json(&opening()))
            .await
            .expect(201)
            .text("execution_id");
        let before = files.keys();
        let bundle = Bundle::of_run("acme", "web", "r-1", &[("b.bin", &vec![7; 300_000])]);
        let record = record("r-1").to_string();
        let large = vec![1_u8; 3 << 20];
        let requests: [(String, &str, &[u8]); 4] = [
            (
                "POST /v1/records".into(),
                "application/json",
                record.as_bytes(),
            ),
            ("POST /v1/packs".into(), "application/gzip", &bundle.bytes),
            (
                format!("PUT /v1/executions/{id}/artifacts/a.bin"),
                "text/plain",
                &large,
            ),
            (
                format!("POST /v1/executions/{id}/logs/stdout"),
                "text/plain",
                &large[..1 << 20],
            ),
        ];
        for (first, media_type, body) in &requests {
            for sent in [0, 1, body.len() / 2, body.len() - 1] {
                let mut wire = Wire::to(&server).await;
                let lines = [
                    format!("Content-Type: {media_type}"),
                    format!("Content-Length: {}", body.len()),
                    "Expect: 100-continue".to_owned(),
                ];
                let lines: Vec<_> = lines.iter().map(|line| &**line).collect();
                wire.head(first, &lines).await;
                wire.until_body_is_wanted().await;
                wire.0.write_all(&body[..sent]).await.unwrap();
            }
        }
        // A shutdown waits for what is under way: then all of them have come to their end.
        let staging = server.staging();
        server.stop();
        until(|| std::net::TcpStream::connect(server.address).is_err()).await;
        until(|| walk(&staging).is_empty()).await;
        assert_eq!(files.keys(), before);
        for entry in server.end().await.iter().skip(1) {
            assert_eq!(entry.status, 400, "{entry:?}");
        }
        // The whole of each is taken by the next server.
        let next = Server::start(Setup::over(&files.store)).await;
        for (first, media_type, body) in &requests {
            let (method, path) = first.split_once(' ').unwrap();
            let ask = ask(method, path).by("ci").bytes(media_type, body.to_vec());
            next.tell(ask).await.expect(201);
        }
        next.end().await;
    });
}
