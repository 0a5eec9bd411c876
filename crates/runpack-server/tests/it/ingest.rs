//! Many clients at once, servers that are killed, servers that stop: each run is kept once, and nothing acknowledged is lost.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a failed assertion is how a test speaks, and what was counted is printed"
)]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use runpack_core::store::{FileStore, Housekeeping, MemoryStore, Store};
use runpack_server::record::{HelperSettings, Helpers, Records};
use runpack_testing::{block_on, scratch};
use serde_json::{Value, json};

use crate::support::*;

const CLIENTS: usize = 100;
/// What a child of these tests is told to serve.
const CHILD: &str = "RUNPACK_TEST_SERVE_DIRECTORY";

/// Sends a record of one run from many clients at once, through each server in turn; the statuses, sorted.
async fn storm(servers: &[Server], run_id: &str, body: impl Fn(usize) -> Value) -> Vec<u16> {
    let mut tasks = Vec::new();
    for number in 0..CLIENTS {
        let mut record = record(run_id);
        record["artifact"] = body(number);
        let (client, address) = (client(), servers[number % servers.len()].address);
        let ask = post("/v1/records").json(&record);
        tasks.push(tokio::spawn(
            async move { tell(&client, address, ask).await },
        ));
    }
    let mut statuses = Vec::new();
    for task in tasks {
        let answer = in_time(task).await.unwrap();
        match answer.status {
            201 => assert_eq!(answer.text("outcome"), "new"),
            200 => assert_eq!(answer.text("outcome"), "again"),
            _ => assert_eq!(answer.problem(), "run-conflict"),
        }
        statuses.push(answer.status);
    }
    statuses.sort_unstable();
    statuses
}

pub(crate) async fn storms<S: Store + Housekeeping + 'static>(store: Arc<S>) {
    let mut servers = vec![Server::start(Setup::over(&store)).await];
    for round in ["one", "two"] {
        let same = format!("same-{round}");
        let statuses = storm(&servers, &same, |_| json!("same")).await;
        assert_eq!((statuses[0], statuses[98], statuses[99]), (200, 200, 201));
        let differ = format!("differ-{round}");
        let statuses = storm(&servers, &differ, |number| json!(number)).await;
        assert_eq!((statuses[0], statuses[1], statuses[99]), (201, 409, 409));
        for run_id in [same, differ] {
            let path = format!("/v1/records/acme/web/build/runs/{run_id}");
            let one = servers[0].tell(get(&path)).await.expect(200);
            let again = servers[servers.len() - 1]
                .tell(get(&path))
                .await
                .expect(200);
            assert_eq!(one.body, again.body);
            assert_eq!(one.value()["body"]["run_id"], run_id);
        }
        servers.push(Server::start(Setup::over(&store)).await);
    }
    for server in servers {
        server.end().await;
    }
}

#[test]
fn c34_of_a_hundred_clients_with_one_run_id_one_is_first_in_a_directory() {
    block_on(async {
        let files = Files::new().await;
        storms(Arc::clone(&files.store)).await;
    });
}

#[test]
fn c34_of_a_hundred_clients_with_one_run_id_one_is_first_in_memory() {
    block_on(storms(Arc::new(MemoryStore::new())));
}

/// What was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Acknowledged {
    Record(String),
    /// How much of the log is there.
    Log(String, usize),
    Artifact(String, String),
}

/// What clients write, each in a line of its own.
fn text_of(client: usize, number: usize) -> String {
    format!("client {client} number {number}\n")
}

/// One who sends records, log parts and artifacts until the server is gone; what was acknowledged.
async fn sender(
    address: SocketAddr,
    life: usize,
    number: usize,
    done: Arc<AtomicUsize>,
) -> Vec<Acknowledged> {
    let talk = client();
    let mut acknowledged = Vec::new();
    let Ok(opened) = try_tell(&talk, address, post("/v1/executions").json(&opening())).await else {
        return acknowledged;
    };
    let Ok(opened) = serde_json::from_slice::<Value>(&opened.body) else {
        return acknowledged;
    };
    let id = opened["execution_id"].as_str().unwrap().to_owned();
    let at = format!("/v1/executions/{id}");
    let mut offset = 0;
    for turn in 0.. {
        let run_id = format!("run-{life}-{number}-{turn}");
        let part = text_of(number, turn);
        let artifact = vec![u8::try_from(turn % 251).unwrap(); 10_000 + 300_000 * (turn % 5)];
        let asks = [
            post("/v1/records").json(&record(&run_id)),
            post(format!("{at}/logs/stdout?offset={offset}")).bytes("text/plain", part.clone()),
            ask("PUT", format!("{at}/artifacts/{turn}"))
                .by("ci")
                .bytes("text/plain", artifact),
        ];
        for (kind, ask) in asks.into_iter().enumerate() {
            match try_tell(&talk, address, ask).await {
                Ok(answer) if answer.status == 201 && !answer.is_cut => {}
                // An answer that was cut off is none.
                Ok(answer) if answer.is_cut => return acknowledged,
                Ok(answer) => panic!("{answer:?}"),
                Err(_) => return acknowledged,
            }
            acknowledged.push(match kind {
                0 => Acknowledged::Record(run_id.clone()),
                1 => {
                    offset += part.len();
                    Acknowledged::Log(id.clone(), offset)
                }
                _ => Acknowledged::Artifact(id.clone(), turn.to_string()),
            });
            done.fetch_add(1, Ordering::SeqCst);
        }
    }
    acknowledged
}

/// That all of it is there, with its bytes.
async fn assert_there(server: &Server, acknowledged: &[Acknowledged]) {
    for one in acknowledged {
        match one {
            Acknowledged::Record(run_id) => {
                let path = format!("/v1/records/acme/web/build/runs/{run_id}");
                let read = server.tell(get(path)).await.expect(200);
                assert_eq!(read.value()["body"], record(run_id), "{run_id}");
                // The same again is the same: no retry makes another.
                let again = post("/v1/records").json(&record(run_id));
                server.tell(again).await.expect(200);
            }
            Acknowledged::Log(id, end) => {
                let read = server
                    .tell(get(format!("/v1/executions/{id}/logs/stdout")))
                    .await
                    .expect(200);
                let text = std::str::from_utf8(&read.body).unwrap();
                assert!(text.len() >= *end, "{id}: {} of {end}", text.len());
                for (turn, line) in text.split_inclusive('\n').enumerate() {
                    assert!(line.ends_with(&format!("number {turn}\n")), "{id}: {line}");
                }
            }
            Acknowledged::Artifact(..) => {}
        }
    }
    // Artifacts are read when their execution is a pack: then every byte is compared with its commitment.
    let executions: BTreeSet<_> = acknowledged
        .iter()
        .filter_map(|one| match one {
            Acknowledged::Artifact(id, _) => Some(id),
            _ => None,
        })
        .collect();
    for id in executions {
        let at = format!("/v1/executions/{id}");
        let end = post(format!("{at}/complete")).json(&json!({"result": "cancelled"}));
        server.tell(end).await.expect(200);
    }
    for one in acknowledged {
        if let Acknowledged::Artifact(id, name) = one {
            let read = server
                .tell(get(format!("/v1/executions/{id}/artifacts/{name}")))
                .await
                .expect(200);
            let turn: usize = name.parse().unwrap();
            assert_eq!(
                read.body.len(),
                10_000 + 300_000 * (turn % 5),
                "{id}/{name}"
            );
            let byte = u8::try_from(turn % 251).unwrap();
            assert!(read.body.iter().all(|found| *found == byte), "{id}/{name}");
        }
    }
}

/// That the daily list has every one of these records.
fn assert_listed(files: &Path, acknowledged: &[Acknowledged]) {
    let daily = files.join("v1/org=acme/project=web/service=build/manifests/date=2026-11-20.jsonl");
    let text = std::fs::read_to_string(&daily).unwrap();
    let listed: BTreeSet<_> = text
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["run_id"].as_str().unwrap().to_owned()
        })
        .collect();
    for one in acknowledged {
        if let Acknowledged::Record(run_id) = one {
            assert!(listed.contains(run_id), "{run_id} is not in the daily list");
        }
    }
}

/// Starts this test again in the role of a server over `directory`; its address.
fn serve_in_child(directory: &Path) -> (Child, SocketAddr) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "ingest::w02_what_was_acknowledged_outlives_a_kill",
            "--nocapture",
        ])
        .env(CHILD, directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = lines.find_map(|line| {
        let line = line.unwrap();
        line.split_once("serving ")
            .map(|(_, address)| address.parse().unwrap())
    });
    (child, address.unwrap())
}

/// Serves until it is killed.
async fn serve_until_killed(directory: &Path) {
    let store = Arc::new(FileStore::create(directory).await.unwrap());
    let server = Server::start(Setup::over(&store)).await;
    let mut out = std::io::stdout();
    writeln!(out, "serving {}", server.address).unwrap();
    out.flush().unwrap();
    std::future::pending::<()>().await;
}

#[expect(
    clippy::disallowed_methods,
    reason = "a child of this test learns by it that it is one"
)]
fn given_directory() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

#[test]
fn w02_what_was_acknowledged_outlives_a_kill() {
    if let Some(directory) = given_directory() {
        block_on(serve_until_killed(&directory));
        return;
    }
    let directory = scratch();
    let root = directory.path().join("store");
    let mut acknowledged = Vec::new();
    // How much is acknowledged before the kill; where in the next requests it falls is left to chance.
    for (life, enough) in [1, 3, 10, 40, 41, 97, 150].into_iter().enumerate() {
        let (mut child, address) = serve_in_child(&root);
        let done = Arc::new(AtomicUsize::new(0));
        let written = block_on(async {
            let senders: Vec<_> = (0..8)
                .map(|number| tokio::spawn(sender(address, life, number, Arc::clone(&done))))
                .collect();
            until(|| done.load(Ordering::SeqCst) >= enough).await;
            child.kill().unwrap();
            let mut written = Vec::new();
            for sender in senders {
                written.extend(in_time(sender).await.unwrap());
            }
            written
        });
        child.wait().unwrap();
        assert!(written.len() >= enough, "{}", written.len());
        acknowledged.extend(written);
    }
    println!(
        "{} writes were acknowledged by servers that were killed",
        acknowledged.len()
    );
    block_on(async {
        let store = Arc::new(FileStore::open(&root).await.unwrap());
        let server = Server::start(Setup::over(&store)).await;
        assert_there(&server, &acknowledged).await;
        server.end().await;
        // What a kill left out of the daily list a rebuild puts in: it comes from the records alone.
        let records = Records::new(store.clone(), SetClock::new());
        let helpers = Helpers::new(store.clone(), store, HelperSettings::default());
        helpers.rebuild(&records).await.unwrap();
    });
    assert_listed(&root, &acknowledged);
}

#[test]
fn w02_a_shutdown_under_load_loses_nothing_that_was_acknowledged() {
    block_on(async {
        let files = Files::new().await;
        let mut acknowledged = Vec::new();
        for life in 0..3 {
            let server = Server::start(Setup::over(&files.store)).await;
            let done = Arc::new(AtomicUsize::new(0));
            let senders: Vec<_> = (0..8)
                .map(|number| tokio::spawn(sender(server.address, life, number, Arc::clone(&done))))
                .collect();
            until(|| done.load(Ordering::SeqCst) >= 60).await;
            let entries = server.end().await;
            let mut written = Vec::new();
            for sender in senders {
                written.extend(in_time(sender).await.unwrap());
            }
            // Each acknowledgement stands in the audit log.
            let accepted: BTreeSet<_> = entries
                .iter()
                .filter(|entry| entry.action == "record.write" && entry.status == 201)
                .map(|entry| entry.object.clone())
                .collect();
            for one in &written {
                if let Acknowledged::Record(run_id) = one {
                    assert!(
                        accepted.contains(&format!("acme/web/build/{run_id}")),
                        "{run_id}"
                    );
                }
            }
            acknowledged.extend(written);
            // The helpers were built a last time.
            assert_listed(&files.path(), &acknowledged);
        }
        let server = Server::start(Setup::over(&files.store)).await;
        assert_there(&server, &acknowledged).await;
        server.end().await;
    });
}
