//! The server in front of storage that locks: what is acknowledged is locked.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use runpack_testing::block_on;
use runpack_testing::servers::{BucketKind, Kind};
use serde_json::{Value, json};

use crate::support::Desk;

/// A server that runs, and is killed when the test is over.
struct Server {
    child: Child,
    address: String,
    token: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(desk: &Desk) -> Self {
        let made = desk.json("server token --name ci --grant acme/*:read,write", 0);
        desk.write("access.yaml", made["policy"].as_str().unwrap());
        let line = "serve @ --access access.yaml --state server --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0";
        let mut child = desk.command(line).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = log
            .by_ref()
            .map(|line| line.unwrap())
            .find_map(|line| {
                let value: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
                value["listen"].as_str().map(str::to_owned)
            })
            .unwrap();
        std::thread::spawn(move || log.for_each(drop));
        Self {
            child,
            address,
            token: made["token"].as_str().unwrap().to_owned(),
        }
    }

    fn send(&self, method: &str, path: &str, media_type: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {}\r\nContent-Type: {media_type}\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.token,
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    fn json(&self, path: &str, body: &Value, status: u16) -> Value {
        let (found, said) = self.send("POST", path, "application/json", &body.to_string());
        assert_eq!(found, status, "{said}");
        serde_json::from_str(&said).unwrap()
    }
}

fn record(run_id: &str, passed: u32) -> Value {
    json!({
        "organization": "acme", "project": "web", "service": "api", "run_id": run_id, "artifact": {"passed": passed},
        "commit_sha": "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12", "generated_at": "2026-11-20T11:00:00Z",
    })
}

/// Whether the store refuses to remove every version of what has this name.
fn is_locked(desk: &Desk, name: &str) -> bool {
    let versions = block_on(desk.bucket.versions_raw(name));
    assert!(!versions.is_empty(), "{name}");
    versions.iter().all(|held| {
        let removed = desk.bucket.delete_version_raw(&held.name, &held.version);
        block_on(removed) == Err("AccessDenied".to_owned())
    })
}

#[test]
fn l01_records_and_executions_are_locked_before_they_are_acknowledged() {
    let desk = Desk::new(Kind::Ceph, BucketKind::Locked);
    desk.configure(
        "{mode: governance, retain_for: 30d, lock_while_writing: 15m}",
        "",
    );
    let server = Server::start(&desk);
    server.json("/v1/records", &record("r-1", 3), 201);
    server.json("/v1/records", &record("r-1", 3), 200);
    server.json("/v1/records", &record("r-1", 4), 409);
    assert!(is_locked(
        &desk,
        "v1/org=acme/project=web/service=api/runs/"
    ));
    assert!(is_locked(
        &desk,
        "v1/org=acme/project=web/service=api/date="
    ));
    // The claim and the payload, each once, however often it was sent.
    assert_eq!(desk.audited("lock.seal").len(), 2);

    let opening = json!({"organization": "acme", "project": "web", "runner_type": "bench"});
    let opened = server.json("/v1/executions", &opening, 201);
    let id = opened["execution_id"].as_str().unwrap();
    let at = format!("/v1/executions/{id}");
    let (status, said) = server.send("POST", &format!("{at}/logs/stdout"), "text/plain", "line\n");
    assert_eq!(status, 201, "{said}");
    let name = format!("{at}/artifacts/a.txt");
    assert_eq!(server.send("PUT", &name, "text/plain", "abc").0, 201);
    let done = server.json(&format!("{at}/complete"), &json!({"result": "passed"}), 200);
    assert_eq!(done["status"], "complete", "{done}");
    assert!(is_locked(&desk, &format!("executions/{id}/")));
    let verified = server.json(
        &format!("/v1/packs/{}/verify", done["pack_id"].as_str().unwrap()),
        &json!({}),
        200,
    );
    assert_eq!(verified["verdict"], "valid");

    // What would have to be replaced was never written, and what was live is gone.
    let all = block_on(desk.bucket.versions_raw(""));
    let is_helper = |name: &str| name.ends_with("latest.json") || name.contains("/manifests/");
    assert!(!all.iter().any(|held| is_helper(&held.name)), "{all:?}");
    let live = all
        .iter()
        .filter(|held| held.name.starts_with("_runpack/live/"));
    let live: Vec<_> = live.map(|held| &held.name).collect();
    assert_eq!(live.len(), 1, "{live:?}");
    assert!(live[0].ends_with("/opening.json"), "{live:?}");
}

#[test]
fn a_server_that_may_not_lock_for_good_does_not_start() {
    let desk = Desk::new(Kind::Ceph, BucketKind::Locked);
    // Nobody at a terminal consents to what cannot be undone.
    desk.configure("{mode: compliance, retain_for: 1d}", "");
    let said = serve(&desk, "");
    assert!(said.contains("cannot be undone"), "{said}");
}

#[test]
fn locked_storage_has_no_spool() {
    let desk = Desk::new(Kind::Ceph, BucketKind::Locked);
    desk.configure("{mode: governance, retain_for: 1d}", "");
    let said = serve(&desk, "--spool spool");
    assert!(said.contains("spool"), "{said}");
}

/// What a server says that is not started.
fn serve(desk: &Desk, more: &str) -> String {
    let made = desk.json("server token --name ci --grant acme/*:read,write", 0);
    desk.write("access.yaml", made["policy"].as_str().unwrap());
    let line = format!(
        "serve @ --access access.yaml --state server --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 {more}"
    );
    desk.line(&line).expect(2).err
}
