//! Records over HTTP, and what holds for every request: bodies, credentials, logs, faults.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a failed assertion is how a test speaks"
)]

mod executions;
mod faults;
mod hung_up;
mod logged;
mod packs;
mod problems;

use bytes::Bytes;
use runpack_core::digest::Digest;
use runpack_testing::block_on;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::support::*;

const AT: &str = "/v1/records/acme/web/build";

fn keep(record: &Value) -> Ask {
    post("/v1/records").json(record)
}

#[test]
fn c25_a_record_is_kept_once_and_given_out_as_it_came() {
    block_on(async {
        let (server, _files) = Server::over_files().await;
        // Its spaces and the spelling of its numbers are evidence.
        let body = record("r-1")
            .to_string()
            .replace("\"passed\":3", "\"passed\" :  3.00");
        let send = || post("/v1/records").bytes("application/json; charset=utf-8", body.clone());
        let kept = server
            .tell(send().digest(body.as_bytes()))
            .await
            .expect(201);
        assert_eq!(kept.text("outcome"), "new");
        assert_eq!(
            kept.text("body_sha256"),
            Digest::of(body.as_bytes()).to_string()
        );
        assert_eq!(kept.text("date"), "2026-11-20");
        let again = server.tell(send()).await.expect(200);
        assert_eq!(again.text("outcome"), "again");
        let other = server.tell(keep(&record("r-1"))).await.expect(409);
        assert_eq!(other.problem(), "run-conflict");
        let wrong = server
            .tell(keep(&record("r-9")).digest(b"other"))
            .await
            .expect(422);
        assert_eq!(wrong.problem(), "digest-mismatch");
        server.tell(keep(&record("r-2"))).await.expect(201);

        let read = server.tell(get(format!("{AT}/runs/r-1"))).await.expect(200);
        assert_eq!(read.header("content-type"), Some("application/json"));
        let text = String::from_utf8(read.body.to_vec()).unwrap();
        assert!(text.ends_with(&format!("\"body\":{body}}}")), "{text}");
        assert_eq!(read.value()["received_by"], "token:ci");
        let list = server.tell(get(AT)).await.expect(200).value();
        assert_eq!(list["records"].as_array().unwrap().len(), 2);
        let first = server.tell(get(format!("{AT}?limit=1"))).await.expect(200);
        let next = first.text("next");
        let second = server
            .tell(get(format!("{AT}?limit=1&after={next}")))
            .await
            .expect(200)
            .value();
        assert_eq!(second["records"], json!([list["records"][1]]));
        assert_eq!(second.get("next"), None);
        let latest = server
            .tell(get(format!("{AT}/latest")))
            .await
            .expect(200)
            .value();
        assert_eq!(latest["body"]["run_id"], "r-2");
        let diffs = server.tell(get(format!("{AT}/diffs"))).await.expect(200);
        assert_eq!(diffs.header("content-type"), Some("application/jsonl"));
        let lines: Vec<Value> = diffs
            .body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["diff"], json!({"added": ["r-1"]}));

        let entries = server.end().await;
        let writes: Vec<_> = entries
            .iter()
            .filter(|entry| entry.action == "record.write")
            .collect();
        let statuses: Vec<_> = writes.iter().map(|entry| entry.status).collect();
        assert_eq!(statuses, [201, 200, 409, 422, 201]);
        assert!(
            writes
                .iter()
                .all(|entry| entry.object.starts_with("acme/web/build/r-"))
        );
    });
}

#[test]
fn t03_c29_days_and_times_are_the_servers() {
    block_on(async {
        let files = Files::new().await;
        let clock = SetClock::new();
        let mut setup = Setup::over(&files.store);
        setup.clock = clock.clone();
        let server = Server::start(setup).await;
        let mut of_another_year = record("r-1");
        of_another_year["generated_at"] = json!("1999-12-31T23:59:59Z");
        let kept = server.tell(keep(&of_another_year)).await.expect(201);
        assert_eq!(kept.text("date"), "2026-11-20");
        // The same after midnight, and from a clock that fell back, is the record of that day.
        for seconds in [NOW + 86_400, NOW - 86_400] {
            clock.set(seconds);
            let again = server.tell(keep(&of_another_year)).await.expect(200);
            assert_eq!(again.text("date"), "2026-11-20");
        }
        for name in [
            "received_at",
            "received_by",
            "date",
            "body_sha256",
            "key",
            "format",
        ] {
            let mut record = record("r-2");
            record[name] = json!("2026-11-20T12:00:00Z");
            let answer = server.tell(keep(&record)).await.expect(400);
            assert_eq!(answer.problem(), "bad-body", "{name}");
            assert_eq!(answer.text("at"), name);
        }
        server.end().await;
    });
}

#[test]
fn c01_a_body_that_is_announced_too_large_is_refused_before_it_is_read() {
    block_on(async {
        let (server, files) = Server::over_files().await;
        let mut wire = Wire::to(&server).await;
        let length = format!("Content-Length: {}", (10 << 20) + 1);
        wire.head(
            "POST /v1/records",
            &["Content-Type: application/json", &length],
        )
        .await;
        let text = wire.rest().await;
        assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
        assert!(text.contains("\"too-large\""), "{text}");
        assert_eq!(files.keys(), [""; 0]);

        // The largest that is taken is taken.
        let mut whole = record("r-1");
        whole["artifact"] = json!("");
        let room = (10 << 20) - whole.to_string().len();
        whole["artifact"] = json!("x".repeat(room));
        server.tell(keep(&whole)).await.expect(201);
        server.end().await;
    });
}

#[test]
fn c02_a_body_without_a_length_is_counted_and_the_connection_ends() {
    block_on(async {
        let (server, files) = Server::over_files().await;
        let mut wire = Wire::to(&server).await;
        let lines = [
            "Content-Type: application/json",
            "Transfer-Encoding: chunked",
        ];
        wire.head("POST /v1/records", &lines).await;
        let piece = vec![b' '; 1 << 20];
        // A server that has seen enough may close before all was sent.
        for _ in 0..11 {
            let _ = wire.0.write_all(b"100000\r\n").await;
            let _ = wire.0.write_all(&piece).await;
            let _ = wire.0.write_all(b"\r\n").await;
        }
        let text = wire.rest().await;
        assert!(
            text.is_empty() || text.starts_with("HTTP/1.1 413 "),
            "{text}"
        );
        assert_eq!(files.keys(), [""; 0]);
        // One that is small enough is a body like any other.
        let body = Bytes::from(record("r-1").to_string());
        let (start, end) = (body.slice(..10), body.slice(10..));
        let ask = post("/v1/records").chunked("application/json", vec![start, end]);
        server.tell(ask).await.expect(201);
        let entries = server.end().await;
        let statuses: Vec<_> = entries.iter().map(|entry| entry.status).collect();
        assert_eq!(statuses, [413, 201]);
    });
}

#[test]
fn c03_c28_only_plain_json_in_utf8_is_taken() {
    block_on(async {
        let (server, files) = Server::over_files().await;
        let body = record("r-1").to_string();
        for coding in ["gzip", "deflate", "br", "zstd", "identity, gzip"] {
            let answer = server
                .tell(keep(&record("r-1")).header("content-encoding", coding))
                .await;
            assert_eq!(
                answer.expect(415).problem(),
                "unsupported-media-type",
                "{coding}"
            );
        }
        for media_type in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/json; charset=utf-16",
            "application/json; charset=latin1",
            "application/jsonl",
            "",
        ] {
            let answer = server
                .tell(post("/v1/records").bytes(media_type, body.clone()))
                .await;
            assert_eq!(
                answer.expect(415).problem(),
                "unsupported-media-type",
                "{media_type}"
            );
        }
        let utf16: Vec<u8> = body.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let bom = format!("\u{feff}{body}").into_bytes();
        for bytes in [utf16, bom, b"\xff\xfe".to_vec(), Vec::new()] {
            let answer = server
                .tell(post("/v1/records").bytes("application/json", bytes))
                .await;
            assert_eq!(answer.expect(400).problem(), "bad-body");
        }
        assert_eq!(files.keys(), [""; 0]);
        server.end().await;
    });
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
#[test]
fn c26_c27_c30_what_is_wrong_is_named_and_never_repeated() {
    const SECRET: &str = "hunter2";
    let with = |change: &dyn Fn(&mut Value)| {
        let mut record = record("r-1");
        change(&mut record);
        record.to_string()
    };
    let text = record("r-1").to_string();
    let inner = |part: &str| text.replacen('{', &format!("{{{part},"), 1);
    let deep = format!("\"summary\":{}{}", "[".repeat(200), "]".repeat(200));
    let metadata = |count: usize, key: usize, value: usize| {
        let entries =
            (0..count).map(|n| (format!("{}{n}", "0".repeat(key)), json!("x".repeat(value))));
        let map: serde_json::Map<_, _> = entries.collect();
        with(&|record| record["metadata"] = Value::Object(map.clone()))
    };
    let mut cases = vec![
        (inner(&format!("\"extra\":\"{SECRET}\"")), "extra"),
        (inner(&format!("\"run_id\":\"{SECRET}\"")), "run_id"),
        (inner(&deep), "summary"),
        (format!("[{text}]"), "."),
        (format!("{text}{SECRET}"), "."),
        (with(&|record| record["artifact"] = Value::Null), "artifact"),
        (
            with(&|record| record["commit_sha"] = json!(SECRET)),
            "commit_sha",
        ),
        (
            with(&|record| record["generated_at"] = json!(SECRET)),
            "generated_at",
        ),
        (
            with(&|record| record["metadata"] = json!({"a": {"b": SECRET}})),
            "metadata.a",
        ),
        (
            with(&|record| record["metadata"] = json!([SECRET])),
            "metadata",
        ),
        (metadata(65, 3, 1), "metadata"),
        (metadata(1, 1 << 20, 1), "metadata"),
        (metadata(1, 3, 2_000), "metadata.0000"),
        (metadata(150_000, 8, 1), "metadata"),
    ];
    for name in ["organization", "project", "service", "run_id"] {
        for id in [
            "..",
            ".",
            "",
            "a/b",
            "a\\b",
            "../../etc",
            "%2e%2e",
            "a\0b",
            "acme\u{301}",
            "\u{430}cme",
            "a\n",
            "x".repeat(129).as_str(),
        ] {
            cases.push((with(&|record| record[name] = json!(id)), name));
        }
    }
    block_on(async {
        let (server, files) = Server::over_files().await;
        for (body, at) in cases {
            let shown: String = body.chars().take(200).collect();
            let answer = server
                .tell(post("/v1/records").bytes("application/json", body))
                .await;
            let answer = answer.expect(400);
            assert_eq!(answer.problem(), "bad-body", "{shown}");
            assert!(answer.text("at").starts_with(at), "{at}: {answer:?}");
            assert!(answer.body.len() < 1_000, "{answer:?}");
            assert!(
                !String::from_utf8_lossy(&answer.body).contains(SECRET),
                "{answer:?}"
            );
        }
        for path in [
            "/v1/records/acme/web/%2e%2e",
            "/v1/records/acme/%2e%2e%2fother/build",
            "/v1/records/acme/web/build/runs/%00",
            "/v1/records/acme/web/build/runs/a%2f..%2fb",
            "/v1/records/%ff/web/build",
            "/v1/executions/01jd3m7z9x8qwertyasdfghjkm",
            "/v1/executions/01JD3M7Z9X8QWERTYASDFGHJKM/logs/%2e%2e",
            "/v1/packs/sha256:0",
            "/v1/packs?tenant=../acme",
            "/v1/records/acme/web/build?after=../../x",
            "/v1/records/acme/web/build?unknown=1",
            "/v1/records/acme/web/build?limit=1&limit=2",
        ] {
            let answer = server.tell(get(path)).await;
            assert!(matches!(answer.status, 400 | 404), "{path}: {answer:?}");
            answer.problem();
        }
        assert_eq!(files.keys(), [""; 0]);
        // Twins in case are two.
        for (run_id, status) in [("Run", 201), ("run", 201), ("RUN", 201)] {
            server.tell(keep(&record(run_id))).await.expect(status);
        }
        server.end().await;
    });
}

#[test]
fn c07_a_token_is_taken_from_one_header_alone() {
    block_on(async {
        let (server, _files) = Server::over_files().await;
        let ci = token("ci");
        for name in ["token", "access_token", "authorization", "bearer"] {
            let ask = get(format!("{AT}?{name}={ci}")).unknown();
            let answer = server.tell(ask).await.expect(401);
            assert_eq!(answer.problem(), "unauthenticated");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
        for value in [
            "",
            "Bearer",
            "Bearer ",
            &ci,
            &format!("Basic {ci}"),
            &format!("Bearer {ci} {ci}"),
        ] {
            let answer = server.tell(get(AT).header("authorization", value)).await;
            assert_eq!(answer.expect(401).problem(), "unauthenticated", "{value}");
        }
        server
            .tell(get(AT).header("authorization", &format!("bEARER {ci}")))
            .await
            .expect(200);
        let mut wire = Wire::to(&server).await;
        let twice = format!("Authorization: Bearer {ci}");
        wire.head(&format!("GET {AT}"), &[&twice, "Connection: close"])
            .await;
        let text = wire.rest().await;
        assert!(text.starts_with("HTTP/1.1 401 "), "{text}");
        let entries = format!("{:?}", server.end().await);
        assert!(!entries.contains(&ci), "{entries}");
    });
}

#[test]
fn c35_what_is_not_served_is_not_there() {
    block_on(async {
        let (server, _files) = Server::over_files().await;
        for path in [
            "/metrics",
            "/admin",
            "/v1",
            "/v1/",
            "/v2/records",
            "/.git/config",
            "/etc/passwd",
            "/v1/records/..",
            "//",
            "/debug/pprof",
            "/v1/executions/",
            "/index.php",
        ] {
            let answer = server.tell(get(path)).await;
            assert_eq!(answer.expect(404).problem(), "not-found", "{path}");
        }
        for (method, path) in [
            ("DELETE", "/v1/records"),
            ("PUT", "/v1/records"),
            ("GET", "/v1/records"),
            ("PATCH", "/v1/packs"),
            ("DELETE", AT),
            ("TRACE", "/v1/packs"),
            ("OPTIONS", "/v1/packs"),
            ("BREW", "/v1/packs"),
            ("POST", "/healthz"),
        ] {
            let answer = server.tell(ask(method, path).by("ci")).await.expect(405);
            assert_eq!(answer.problem(), "no-such-method", "{method} {path}");
            assert!(
                answer
                    .header("allow")
                    .is_some_and(|allow| !allow.is_empty()),
                "{answer:?}"
            );
        }
        assert_eq!(
            server
                .tell(get("/healthz").unknown())
                .await
                .expect(200)
                .body,
            "ok\n"
        );
        assert_eq!(
            server.tell(get("/readyz").unknown()).await.expect(200).body,
            "ok\n"
        );
        server
            .tell(get("/metrics").unknown())
            .await
            .expect(404)
            .problem();
        assert_eq!(server.tell_operators("/metrics").await.status, 200);
        let ready = server.tell_operators("/readyz").await.expect(200).value();
        assert_eq!(
            ready,
            json!({"ready": true, "store": "answers", "audit": "ready"})
        );
        server.end().await;
    });
}

#[test]
fn c36_no_url_of_a_client_is_ever_asked_for() {
    block_on(async {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (server, _files) = Server::over_files().await;
        let mut record = record("r-1");
        record["artifact"] = json!({"storage_uri": url, "$ref": url, "url": url, "@context": url});
        record["metadata"] = json!({"url": url, "callback": url});
        server
            .tell(
                keep(&record)
                    .header("referer", &url)
                    .header("x-forwarded-host", &url),
            )
            .await
            .expect(201);
        let mut opening = opening();
        opening["bench_id"] = json!(url);
        let id = server
            .tell(post("/v1/executions").json(&opening))
            .await
            .expect(201)
            .text("execution_id");
        let end = json!({"result": "passed", "message": url});
        server
            .tell(post(format!("/v1/executions/{id}/complete")).json(&end))
            .await
            .expect(200);
        server
            .tell(get(format!("/v1/executions/{id}/artifacts")))
            .await
            .expect(200);
        server.end().await;
        let error = listener.accept().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    });
}
