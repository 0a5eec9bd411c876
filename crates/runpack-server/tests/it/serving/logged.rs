//! What clients send makes no line of the server's log, and no token stands in one.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::*;

/// Everything that is logged, each value as whoever writes the log gets it: how it is escaped there is not relied on.
#[derive(Debug, Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Subscriber for Told {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut self.clone());
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        // What other crates trace while they are debugged is theirs.
        if event.metadata().target().starts_with("runpack") {
            event.record(&mut self.clone());
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Visit for Told {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.lock().unwrap().push(format!("{field}={value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.lock().unwrap().push(format!("{field}={value}"));
    }
}

#[test]
fn c31_k01_what_clients_send_makes_no_line_of_a_log_and_no_token_is_in_one() {
    let told = Told::default();
    let _guard = tracing::subscriber::set_default(told.clone());
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
    let told = told.0.lock().unwrap();
    assert!(told.len() >= 60, "{told:?}");
    for text in told.iter() {
        for secret in [token("ci").as_str(), "hunter2", "hunter3", "FORGED"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(text.chars().all(|found| !found.is_control()), "{text:?}");
    }
}

#[test]
fn c32_who_asks_too_often_fills_no_log() {
    block_on(async {
        let files = Files::new().await;
        let mut setup = Setup::over(&files.store);
        let few = std::num::NonZeroU32::MIN;
        setup.limits.rates.per_second = few;
        setup.limits.rates.burst = few;
        let server = Server::start(setup).await;
        let mut refused = 0_u64;
        for _ in 0..60 {
            refused += u64::from(server.tell(get(AT)).await.status == 429);
        }
        assert!(refused > 20, "{refused}");
        let entries = server.end().await;
        let (own, together): (Vec<_>, Vec<_>) = entries
            .iter()
            .partition(|entry| !entry.detail.contains_key("counts"));
        // A minute may have passed.
        assert!(own.len() <= 10 && !together.is_empty(), "{entries:?}");
        for entry in &entries {
            assert_eq!(
                (entry.caller.as_deref(), entry.status),
                (Some("token:ci"), 429)
            );
        }
        let counted: u64 = together
            .iter()
            .map(|entry| {
                entry.detail["counts"]
                    .strip_prefix("rate=")
                    .unwrap()
                    .parse::<u64>()
                    .unwrap()
            })
            .sum();
        assert_eq!(counted + u64::try_from(own.len()).unwrap(), refused);
    });
}

#[test]
fn c32_a_genuine_token_that_is_good_for_nothing_fills_no_log() {
    block_on(async {
        let files = Files::new().await;
        let mut setup = Setup::over(&files.store);
        setup.policy = setup.policy.replace(
            "    grants:\n      - {organization: acme, project: \"*\", may: [read]}",
            "    expires: \"2026-11-20T00:00:00Z\"\n    grants:\n      - {organization: acme, project: \"*\", may: [read]}",
        );
        let server = Server::start(setup).await;
        for _ in 0..40 {
            server.tell(get(AT).by("reader")).await.expect(401);
        }
        let entries = server.end().await;
        // Five of their own and one for the others; a minute may have passed.
        assert!((6..=12).contains(&entries.len()), "{entries:?}");
        let is_theirs =
            |entry: &runpack_server::audit::Entry| entry.caller.as_deref() == Some("token:reader");
        assert!(entries.iter().all(is_theirs), "{entries:?}");
        let last = entries.last().unwrap();
        assert!(last.detail["counts"].starts_with("expired="), "{last:?}");
    });
}
