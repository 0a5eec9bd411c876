//! What clients send makes no line of a log, and no token stands in one.

use std::io::Write;
use std::sync::{Arc, Mutex};

use super::*;

/// Where a subscriber writes.
#[derive(Debug, Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn c31_k01_what_clients_send_makes_no_line_of_a_log_and_no_token_is_in_one() {
    let buffer = Buffer::default();
    let writer = buffer.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    block_on(async {
        let (server, files) = Server::over_files().await;
        let hostile = "a%0d%0a%7B%22level%22:%22FORGED%22%7D%1b%5b2J%e2%80%ae";
        for path in [
            format!("/v1/records/{hostile}/web/build"),
            format!("/v1/executions/{hostile}"),
            format!("/v1/executions/{NO_EXECUTION}/artifacts/{hostile}"),
            format!("/v1/packs?tenant={hostile}"),
            format!("/v1/packs/{hostile}/artifacts/{hostile}"),
            format!("/{hostile}?token={}", token("ci")),
        ] {
            let answer = server
                .tell(get(path).header(
                    "user-agent",
                    "x\"}\u{1}FORGED".replace('\u{1}', "").as_str(),
                ))
                .await;
            assert!(matches!(answer.status, 400 | 404), "{answer:?}");
        }
        let mut forged = record("r-1");
        forged["metadata"] = json!({"a": "\r\n{\"level\":\"FORGED\"}\u{1b}[2J"});
        forged["hunter2\r\nFORGED"] = json!("hunter3");
        server.tell(keep(&forged)).await.expect(400);
        server.tell(keep(&record("r-2"))).await.expect(201);
        let key = files
            .keys()
            .into_iter()
            .find(|key| key.ends_with("payload.json"))
            .unwrap();
        files.damage(&key, 40);
        server.tell(get(format!("{AT}/runs/r-2"))).await.expect(502);
        server
            .tell(get(AT).header("authorization", &format!("Bearer {}x", token("ci"))))
            .await
            .expect(401);
        for entry in server.end().await {
            let text = format!("{entry:?}");
            assert!(
                !text.contains(&token("ci")) && !text.contains("hunter3"),
                "{text}"
            );
        }
    });
    let logged = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
    let ours: Vec<Value> = logged
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .filter(|line: &Value| {
            line["target"]
                .as_str()
                .is_some_and(|target| target.starts_with("runpack"))
        })
        .collect();
    assert!(ours.len() >= 10, "{logged}");
    for line in &ours {
        assert_ne!(line["level"], "FORGED");
        let text = line.to_string();
        for secret in [token("ci").as_str(), "hunter2", "hunter3"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(text.chars().all(|found| !found.is_control()), "{text}");
    }
}
