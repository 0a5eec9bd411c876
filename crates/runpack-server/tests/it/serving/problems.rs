//! Every problem, as clients meet it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use runpack_core::store::MemoryStore;
use runpack_server::problem::Problem;

use super::*;
use crate::spooling::outage::{Mode, Outage};

/// Puts the problem of an answer to the others, under its code.
fn note(problems: &mut BTreeMap<String, Value>, answer: &Answer) {
    let code = answer.problem();
    assert!(
        problems.insert(code, answer.value()).is_none(),
        "{answer:?}"
    );
}

#[test]
fn every_problem_says_what_it_is_and_what_to_do_next() {
    let mut problems = BTreeMap::new();
    block_on(async {
        let (server, files) = Server::over_files().await;
        let mut said = opening();
        said["execution_id"] = json!("01JD3M7Z9X8QWERTYASDFGHJKM");
        let at = "/v1/executions/01JD3M7Z9X8QWERTYASDFGHJKM";
        server
            .tell(post("/v1/executions").json(&said))
            .await
            .expect(201);
        server.tell(keep(&record("r-1"))).await.expect(201);
        server.tell(keep(&record("r-2"))).await.expect(201);
        let mut other = record("r-1");
        other["artifact"] = json!(2);
        let mut wrong = record("r-3");
        wrong["metadata"] = json!({"build": 17});
        files.damage("run=r-2/payload.json", 200);
        for ask in [
            keep(&wrong),
            keep(&other),
            keep(&record("r-3")).digest(b"other"),
            keep(&record("r-3")).header("content-encoding", "gzip"),
            keep(&record_of("other", "web", "r-1")),
            post("/v1/records").bytes("application/json", vec![b' '; (10 << 20) + 1]),
            get(format!("{AT}?limit=0")),
            get(AT).unknown(),
            get(format!("{AT}/runs/r-9")),
            get(format!("{AT}/runs/r-2")),
            ask("DELETE", AT).by("ci"),
            get(format!("{at}/artifacts/a.bin")),
            post(format!("{at}/logs/stdout?offset=7")).bytes("text/plain", "line\n"),
            post("/v1/packs").bytes("application/gzip", "no bundle"),
        ] {
            note(&mut problems, &server.tell(ask).await);
        }
        server.end().await;

        let store = Arc::new(Outage::of(MemoryStore::new()));
        let mut setup = Setup::over(&store);
        setup.limits.rates.burst = NonZeroU32::new(2).unwrap();
        setup.limits.rates.per_second = NonZeroU32::MIN;
        setup.listen.body_idle = Duration::from_millis(50);
        let server = Server::start(setup).await;
        store.set(Mode::Away);
        note(&mut problems, &server.tell(get(AT)).await);
        let mut wire = Wire::to(&server).await;
        wire.head(
            "POST /v1/records",
            &["Content-Type: application/json", "Content-Length: 10"],
        )
        .await;
        let text = wire.rest().await;
        assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
        let body = text.split_once("\r\n\r\n").unwrap().1;
        let slow: Value = serde_json::from_str(body).unwrap();
        problems.insert(slow["code"].as_str().unwrap().to_owned(), slow);
        // However long that took: sooner or later more was asked for than a second gives back.
        let mut hurried = server.tell(get(AT)).await;
        while hurried.status == 503 {
            hurried = server.tell(get(AT)).await;
        }
        note(&mut problems, &hurried);
        server.end().await;
    });
    let met: Vec<_> = problems.keys().map(String::as_str).collect();
    let mut codes: Vec<_> = Problem::CODES.iter().map(|(code, ..)| *code).collect();
    // What a client cannot bring about, because nobody knows how.
    codes.retain(|code| *code != "bug");
    codes.sort_unstable();
    assert_eq!(met, codes);
    let told = serde_json::to_string_pretty(&problems).unwrap();
    insta::assert_snapshot!(told);
}
