//! Executions end to end: opened, followed, uploaded to in parts, completed, read back.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use runpack_core::store::{ObjectRef, StoreError};
use runpack_server::links::Links;

use super::*;

/// What stands for a large artifact: more than two chunks, no two of them the same.
fn large() -> Bytes {
    (0..20_u32 << 20)
        .map(|at| u8::try_from((at ^ (at >> 11)) & 0xff).unwrap())
        .collect::<Vec<_>>()
        .into()
}

async fn open(server: &Server) -> String {
    let opened = server
        .tell(post("/v1/executions").json(&opening()))
        .await
        .expect(201);
    format!("/v1/executions/{}", opened.text("execution_id"))
}

fn put(at: &str, name: &str, bytes: impl Into<Bytes>) -> Ask {
    ask("PUT", format!("{at}/artifacts/{name}"))
        .by("ci")
        .bytes("application/octet-stream", bytes)
}

fn log(at: &str, name: &str, text: &str) -> Ask {
    post(format!("{at}/logs/{name}")).bytes("text/plain", text.to_owned())
}

fn complete(at: &str) -> Ask {
    post(format!("{at}/complete")).json(&json!({"result": "passed"}))
}

#[expect(
    clippy::too_many_lines,
    reason = "one life, from its opening to its pack"
)]
#[test]
fn an_execution_is_opened_followed_completed_and_read_back() {
    block_on(async {
        let (server, files) = Server::over_files().await;
        let mut said = opening();
        said["execution_id"] = json!("01JD3M7Z9X8QWERTYASDFGHJKM");
        server
            .tell(post("/v1/executions").json(&said))
            .await
            .expect(201);
        server
            .tell(post("/v1/executions").json(&said))
            .await
            .expect(200);
        said["suite"] = json!("another");
        let other = server
            .tell(post("/v1/executions").json(&said))
            .await
            .expect(409);
        assert_eq!(other.problem(), "run-conflict");
        let at = "/v1/executions/01JD3M7Z9X8QWERTYASDFGHJKM";

        let sent = server
            .tell(put(at, "trace/My%20trace%20(1).bin?kind=trace", "abc").digest(b"abc"))
            .await
            .expect(201);
        assert_eq!(sent.text("name"), "artifacts/trace/My trace (1).bin");
        assert_eq!(sent.text("sha256"), Digest::of(b"abc").to_string());
        server
            .tell(put(at, "trace%2FMy%20trace%20(1).bin?kind=trace", "abc"))
            .await
            .expect(200);
        assert_eq!(
            server
                .tell(put(at, "trace/My%20trace%20(1).bin", "abd"))
                .await
                .expect(409)
                .problem(),
            "run-conflict"
        );
        assert_eq!(
            server
                .tell(put(at, "b.bin", "abc").digest(b"abd"))
                .await
                .expect(422)
                .problem(),
            "digest-mismatch"
        );
        for name in [
            "..",
            "a/../b",
            "/a",
            "a//b",
            "%2e%2e/b",
            "con",
            "a%00",
            "%C3%9C.json",
        ] {
            let answer = server.tell(put(at, name, "abc")).await;
            assert!(matches!(answer.status, 400 | 404), "{name}: {answer:?}");
            answer.problem();
        }
        let early = server
            .tell(get(format!("{at}/artifacts/trace/My%20trace%20(1).bin")))
            .await
            .expect(409);
        assert_eq!(early.problem(), "wrong-state");
        server
            .tell(put(at, "large.bin", large()).digest(&large()))
            .await
            .expect(201);
        server.tell(log(at, "stdout", "one\n")).await.expect(201);
        server.tell(log(at, "stdout", "two\n")).await.expect(201);

        let mut end = json!({"result": "passed", "expected": {"artifacts/missing": Digest::of(b"abc").to_string()}});
        let missing = server
            .tell(post(format!("{at}/complete")).json(&end))
            .await
            .expect(422);
        assert_eq!(missing.problem(), "digest-mismatch");
        assert_eq!(
            server.tell(get(at)).await.expect(200).text("status"),
            "open"
        );
        end["expected"] = json!({"logs/stdout.log": Digest::of(b"one\ntwo\n").to_string()});
        let ended = server
            .tell(post(format!("{at}/complete")).json(&end))
            .await
            .expect(200);
        assert_eq!(ended.text("status"), "complete");
        let pack_id = ended.text("pack_id");
        let again = server.tell(complete(at)).await.expect(200);
        assert_eq!(again.body, ended.body);
        let otherwise = post(format!("{at}/complete")).json(&json!({"result": "failed"}));
        assert_eq!(
            server.tell(otherwise).await.expect(409).problem(),
            "wrong-state"
        );
        assert_eq!(
            server
                .tell(log(at, "stdout", "late\n"))
                .await
                .expect(409)
                .problem(),
            "wrong-state"
        );
        assert_eq!(
            server
                .tell(put(at, "late.bin", "late"))
                .await
                .expect(409)
                .problem(),
            "wrong-state"
        );

        // Every URL of the list leads to what it is of.
        let listed = server
            .tell(get(format!("{at}/artifacts")))
            .await
            .expect(200)
            .value();
        let listed = listed["artifacts"].as_array().unwrap();
        assert_eq!(listed.len(), 4);
        for item in listed {
            let answer = server
                .tell(get(item["url"].as_str().unwrap()))
                .await
                .expect(200);
            let name = item["name"].as_str().unwrap();
            if name == "metadata.json" {
                assert_eq!(answer.text("pack_id"), pack_id);
            } else {
                assert_eq!(
                    Digest::of(&answer.body).to_string(),
                    item["sha256"].as_str().unwrap(),
                    "{name}"
                );
            }
        }
        let read = server
            .tell(get(format!("{at}/artifacts/trace/My%20trace%20(1).bin")))
            .await
            .expect(200);
        assert_eq!(
            read.header("content-disposition"),
            Some("attachment; filename=\"My trace (1).bin\"")
        );
        assert_eq!(read.header("x-content-type-options"), Some("nosniff"));
        // A log that nothing was written to is empty, before the end and after it.
        assert_eq!(
            server
                .tell(get(format!("{at}/logs/bench")))
                .await
                .expect(200)
                .body,
            ""
        );
        assert_eq!(
            server
                .tell(get(format!("{at}/logs/stdout?from=4")))
                .await
                .expect(200)
                .body,
            "two\n"
        );

        let pack = server
            .tell(get(format!("/v1/packs/{pack_id}")))
            .await
            .expect(200);
        assert_eq!(format!("sha256:{}", Digest::of(&pack.body)), pack_id);
        let verify = || post(format!("/v1/packs/{pack_id}/verify"));
        assert_eq!(
            server.tell(verify()).await.expect(200).text("verdict"),
            "valid"
        );

        // One byte of the second chunk: what is before it comes, and nothing that is wrong.
        files.damage("artifacts/large.bin", (8 << 20) + 5);
        let verdict = server.tell(verify()).await.expect(200);
        assert_eq!(verdict.text("verdict"), "invalid");
        for path in [
            format!("{at}/artifacts/large.bin"),
            format!("/v1/packs/{pack_id}/artifacts/artifacts/large.bin"),
        ] {
            let broken = server.tell(get(&path)).await;
            assert!(broken.is_cut, "{path}");
            assert_eq!(broken.body.len(), 8 << 20, "{path}");
            assert!(broken.body == large()[..8 << 20], "{path}");
        }
        server.end().await;
    });
}

#[test]
fn an_execution_whose_artifacts_could_not_be_brought_is_no_pack() {
    block_on(async {
        let (server, _files) = Server::over_files().await;
        let at = open(&server).await;
        server.tell(put(&at, "a.bin", "abc")).await.expect(201);
        let fail = || {
            post(format!("{at}/fail")).json(&json!({"message": "the disk of the bench is broken"}))
        };
        let ended = server.tell(fail()).await.expect(200);
        assert_eq!(ended.text("status"), "artifact_error");
        assert_eq!(ended.value().get("pack_id"), None);
        server.tell(fail()).await.expect(200);
        assert_eq!(
            server.tell(complete(&at)).await.expect(409).problem(),
            "wrong-state"
        );
        server.end().await;
    });
}

fn part(at: &str, offset: usize, bytes: &Bytes) -> Ask {
    ask("PATCH", format!("{at}/uploads/a/large.bin"))
        .by("ci")
        .header("upload-offset", &offset.to_string())
        .bytes("application/octet-stream", bytes.clone())
}

async fn offset(server: &Server, at: &str) -> usize {
    let answer = server
        .tell(ask("HEAD", format!("{at}/uploads/a/large.bin")).by("ci"))
        .await
        .expect(204);
    answer.header("upload-offset").unwrap().parse().unwrap()
}

#[test]
fn an_upload_goes_on_where_it_was_cut_off() {
    block_on(async {
        let (server, _files) = Server::over_files().await;
        let at = open(&server).await;
        let whole = large();
        assert_eq!(offset(&server, &at).await, 0);
        let first = server
            .tell(part(&at, 0, &whole.slice(..3_000_000)))
            .await
            .expect(204);
        assert_eq!(first.header("upload-offset"), Some("3000000"));
        // Elsewhere than it stands: told where.
        for wrong in [0, 2_999_999, 3_000_001] {
            let answer = server
                .tell(part(&at, wrong, &whole.slice(..5)))
                .await
                .expect(409);
            assert_eq!(answer.problem(), "wrong-offset");
            assert!(answer.text("detail").contains("`3000000`"), "{answer:?}");
        }
        // A part whose line breaks.
        let mut wire = Wire::to(&server).await;
        let path = format!("PATCH {at}/uploads/a/large.bin");
        wire.head(
            &path,
            &[
                "Upload-Offset: 3000000",
                "Content-Length: 9000000",
                "Expect: 100-continue",
            ],
        )
        .await;
        wire.until_body_is_wanted().await;
        wire.0
            .write_all(&whole[3_000_000..5_000_000])
            .await
            .unwrap();
        drop(wire);
        let mut there = offset(&server, &at).await;
        for _ in 0..10_000 {
            if there == 5_000_000 {
                break;
            }
            there = offset(&server, &at).await;
        }
        assert_eq!(there, 5_000_000);
        let last = |bytes: &Bytes| part(&at, there, bytes).header("upload-complete", "?1");
        let rest = whole.slice(there..);
        let undigested = server.tell(last(&rest)).await.expect(400);
        assert_eq!(undigested.problem(), "bad-request");
        let kept = server.tell(last(&rest).digest(&whole)).await.expect(201);
        assert_eq!(kept.text("sha256"), Digest::of(&whole).to_string());
        // It is no upload any more; another that is not what it says begins anew.
        assert_eq!(offset(&server, &at).await, 0);
        let damaged = part(&at, 0, &whole.slice(1..))
            .header("upload-complete", "?1")
            .digest(&whole);
        assert_eq!(
            server.tell(damaged).await.expect(422).problem(),
            "digest-mismatch"
        );
        assert_eq!(offset(&server, &at).await, 0);
        assert!(walk(&server.staging()).is_empty());
        server.tell(complete(&at)).await.expect(200);
        let read = server
            .tell(get(format!("{at}/artifacts/a/large.bin")))
            .await
            .expect(200);
        assert!(read.body == whole);
        server.end().await;
    });
}

#[test]
fn a_log_is_one_log_whichever_server_it_is_written_through() {
    block_on(async {
        let files = Files::new().await;
        let one = Server::start(Setup::over(&files.store)).await;
        let two = Server::start(Setup::over(&files.store)).await;
        let at = open(&one).await;
        let path = format!("{at}/logs/stdout");
        let follow = {
            let (client, address) = (client(), two.address);
            let ask = get(format!("{path}?follow=true&from=2"));
            tokio::spawn(async move { tell(&client, address, ask).await })
        };
        let mut written = String::new();
        for number in 0..40 {
            let line = format!("line {number}\n");
            let server = if number % 3 == 0 { &two } else { &one };
            let answer = if number % 2 == 0 {
                server.tell(log(&at, "stdout", &line)).await.expect(201)
            } else {
                let path = format!("stdout?offset={}", written.len());
                server.tell(log(&at, &path, &line)).await.expect(201);
                // The same part again is there.
                server.tell(log(&at, &path, &line)).await.expect(200)
            };
            assert_eq!(answer.value()["offset"], written.len(), "{number}");
            written.push_str(&line);
        }
        let elsewhere = one.tell(log(&at, "stdout?offset=3", "x")).await.expect(409);
        assert_eq!(elsewhere.problem(), "wrong-offset");
        for server in [&one, &two] {
            assert_eq!(server.tell(get(&path)).await.expect(200).body, written);
        }
        let ended = two.tell(complete(&at)).await.expect(200);
        assert_eq!(ended.text("status"), "complete");
        // Who follows has all of it, and is let go at the end.
        let followed = in_time(follow).await.unwrap().expect(200);
        assert_eq!(followed.body, written[2..]);
        assert_eq!(one.tell(get(&path)).await.expect(200).body, written);
        one.end().await;
        two.end().await;
    });
}

#[derive(Debug)]
struct Signs;

#[async_trait]
impl Links for Signs {
    async fn sign(
        &self,
        object: &ObjectRef,
        valid_for: Duration,
    ) -> Result<(String, Duration), StoreError> {
        let url = format!(
            "https://bucket.example/{}?for={}",
            object.key,
            valid_for.as_secs()
        );
        Ok((url, valid_for))
    }
}

#[test]
fn k01_links_are_for_a_store_that_signs_and_stand_in_no_log() {
    block_on(async {
        let files = Files::new().await;
        let plain = Server::start(Setup::over(&files.store)).await;
        let mut setup = Setup::over(&files.store);
        setup.links = Some(Arc::new(Signs));
        let signing = Server::start(setup).await;
        let bundle = Bundle::of_run(
            "acme",
            "web",
            "r-1",
            &[("a_b*.txt".replace('*', "1").as_str(), b"abc")],
        );
        plain.tell(bundle.send()).await.expect(201);
        let links = |body: Value| post(format!("/v1/packs/{}/links", bundle.pack_id())).json(&body);
        assert_eq!(
            plain.tell(links(json!({}))).await.expect(409).problem(),
            "wrong-state"
        );
        let made = signing
            .tell(links(
                json!({"names": ["a_b1.txt"], "expires_in_seconds": 60}),
            ))
            .await
            .expect(200)
            .value();
        assert_eq!(made["links"].as_array().unwrap().len(), 1);
        let link = &made["links"][0];
        assert_eq!(link["expires_at"], "2026-11-20T12:01:00Z");
        let url = link["url"].as_str().unwrap();
        assert!(
            url.starts_with("https://bucket.example/tenant/acme/") && url.ends_with("?for=60"),
            "{url}"
        );
        assert_eq!(
            link["markdown"],
            format!("[a\\_b1\\.txt](<{url}>) (until 2026-11-20T12:01:00Z)")
        );
        assert_eq!(
            signing.tell(links(json!({}))).await.expect(200).value()["links"]
                .as_array()
                .unwrap()
                .len(),
            2
        );
        for seconds in [0, 604_801, u64::MAX] {
            let answer = signing
                .tell(links(json!({"expires_in_seconds": seconds})))
                .await;
            assert_eq!(answer.expect(400).problem(), "bad-request", "{seconds}");
        }
        assert_eq!(
            signing
                .tell(links(json!({"names": ["b.txt"]})))
                .await
                .expect(404)
                .problem(),
            "not-found"
        );
        let at = open(&signing).await;
        signing.tell(put(&at, "a.bin", "abc")).await.expect(201);
        let listed = signing
            .tell(get(format!("{at}/artifacts")))
            .await
            .expect(200)
            .value();
        assert_eq!(listed["artifacts"][0]["expires_at"], "2026-11-20T13:00:00Z");
        assert!(
            listed["artifacts"][0]["url"]
                .as_str()
                .unwrap()
                .starts_with("https://bucket.example/executions/")
        );
        plain.end().await;
        let entries = format!("{:?}", signing.end().await);
        assert!(
            entries.contains("pack.links") || !entries.contains("bucket.example"),
            "{entries}"
        );
        assert!(!entries.contains("bucket.example"), "{entries}");
    });
}
