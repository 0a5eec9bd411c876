//! The server as an operator runs it: as a process, ended by a signal.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use runpack_testing::proxy::{Fault, FaultProxy, Rule};
use runpack_testing::servers::{BucketKind, Kind, PrivatePostgres};
use serde_json::{Value, json};

use crate::s3::Remote;
use crate::schema::check;
use crate::support::{Desk, said, text};

const EXECUTION: &str = "01JD3M7Z9X8QWERTYASDFGHJKM";

/// A server that runs, and is killed when the test is over.
pub(crate) struct Server {
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

/// A token, and the policy that lets it in.
fn policy(desk: &Desk) -> String {
    let made = desk
        .line("server token --name ci --grant acme/*:read,write --json")
        .expect(0)
        .json();
    check("server", &made);
    desk.write("access.yaml", text(&made, "policy"));
    text(&made, "token").to_owned()
}

impl Server {
    fn start(desk: &Desk, more: &str) -> Self {
        Self::start_at(desk, &format!("file:store {more}"))
    }

    /// Starts one before a store.
    pub(crate) fn start_at(desk: &Desk, store_and_more: &str) -> Self {
        let token = policy(desk);
        Self::begin(desk.command(), store_and_more, token)
    }

    /// Starts one before `store_and_more` with the environment of `command`; `access.yaml` is there.
    fn begin(mut command: Command, store_and_more: &str, token: String) -> Self {
        let line = format!(
            "serve {store_and_more} --access access.yaml --state server --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0"
        );
        let mut child = command
            .args(line.split_whitespace())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let begun = log
            .by_ref()
            .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap())
            .find(|line| line["message"] == "serving")
            .unwrap();
        // Whoever writes a log wants somebody to read it.
        std::thread::spawn(move || log.for_each(drop));
        Self {
            child,
            address: begun["listen"].as_str().unwrap().to_owned(),
            token,
        }
    }

    pub(crate) fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            self.token,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap();
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer[end + 4..].to_vec())
    }

    /// Ends it as a service manager does, and gives its exit code.
    fn stop(mut self) -> Option<i32> {
        let pid = i32::try_from(self.child.id()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

/// Whether it comes to be so, within a minute.
fn comes(is_so: impl Fn() -> bool) -> bool {
    (0..300).any(|_| {
        std::thread::sleep(Duration::from_millis(200));
        is_so()
    })
}

pub(crate) fn record(run_id: &str) -> Vec<u8> {
    let record = json!({
        "organization": "acme", "project": "web", "service": "api", "run_id": run_id, "artifact": {"passed": 3},
        "commit_sha": "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12", "generated_at": "2026-11-20T11:00:00Z",
    });
    serde_json::to_vec(&record).unwrap()
}

#[test]
fn a_server_keeps_what_is_sent_and_ends_when_it_is_told_to() {
    let desk = Desk::new();
    let server = Server::start(&desk, "");
    assert_eq!(server.ask("POST", "/v1/records", &record("r1")).0, 201);
    assert_eq!(server.ask("POST", "/v1/records", &record("r1")).0, 200);
    let opening = json!({"execution_id": EXECUTION, "organization": "acme", "project": "hil", "runner_type": "bench"});
    let opening = serde_json::to_vec(&opening).unwrap();
    assert_eq!(server.ask("POST", "/v1/executions", &opening).0, 201);
    let log = format!("/v1/executions/{EXECUTION}/logs/stdout");
    assert_eq!(server.ask("POST", &log, b"one\n").0, 201);
    let logs = format!("logs {EXECUTION} --store file:store");
    assert_eq!(desk.line(&logs).expect(0).out, "one\n");
    let end = format!("/v1/executions/{EXECUTION}/complete");
    let (status, body) = server.ask("POST", &end, br#"{"result":"passed"}"#);
    assert_eq!(status, 200);
    let pack_id = serde_json::from_slice::<Value>(&body).unwrap()["pack_id"].clone();
    assert_eq!(desk.line(&logs).expect(0).out, "one\n", "from the pack");
    assert_eq!(server.stop(), Some(0));
    let verify = format!(
        "verify file:store --execution-id {EXECUTION} --expect-pack-id {}",
        pack_id.as_str().unwrap()
    );
    desk.line(&verify).expect(0);
    let audit = desk
        .line("server check-audit server/audit --json")
        .expect(0)
        .json();
    check("server", &audit);
    let head = text(&audit, "head").to_owned();
    desk.line(&format!("server check-audit server/audit --expect {head}"))
        .expect(0);
    let rebuilt = desk
        .line("server rebuild file:store --json")
        .expect(0)
        .json();
    check("server", &rebuilt);
    assert_eq!(rebuilt["records"], 1);
    // Somebody changes the audit log.
    let file = fs::read_dir(desk.path("server/audit"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let file = file
        .filter(|path| path.to_string_lossy().contains("/audit-"))
        .min()
        .unwrap();
    let changed = fs::read_to_string(&file)
        .unwrap()
        .replacen("token:ci", "token:no", 1);
    fs::write(&file, changed).unwrap();
    desk.line("server check-audit server/audit").expect(1);
}

#[test]
fn w15_what_is_spooled_reaches_the_store_also_after_a_kill() {
    let desk = Desk::new();
    let mut server = Server::start(&desk, "--spool spool");
    for run in 0..20 {
        let sent = server.ask("POST", "/v1/records", &record(&format!("r{run}")));
        assert_eq!(sent.0, 201);
    }
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let server = Server::start(&desk, "--spool spool");
    for run in 0..20 {
        let path = format!("/v1/records/acme/web/api/runs/r{run}");
        assert_eq!(server.ask("GET", &path, b"").0, 200, "{run}");
    }
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn w15_n01_a_server_with_a_spool_starts_while_its_store_is_away() {
    let remote = Remote::new(Kind::MiniStack, BucketKind::Versioned);
    let desk = &remote.desk;
    let token = policy(desk);
    let line = FaultProxy::start(&remote.server().endpoint);
    let store = format!("s3://{}/ci --spool spool", remote.bucket.name);
    let command = || {
        let mut command = remote.command();
        command.env("RUNPACK_STORE_ENDPOINT", line.endpoint());
        command
    };
    let begin = || Server::begin(command(), &store, token.clone());
    let send = |server: &Server, run: u32| {
        let sent = server.ask("POST", "/v1/records", &record(&format!("r{run}")));
        assert_eq!(sent.0, 201, "{run}");
    };
    let away = || line.plan(Rule::new(Fault::ResetBeforeRequest).always());
    // Nobody knows how to write to it yet.
    away();
    let words = format!("serve {store} --access access.yaml --state server");
    let mut unknown = command();
    let unknown = said(unknown.args(words.split_whitespace())).expect(2);
    assert!(
        unknown.err.contains("was never measured"),
        "{}",
        unknown.err
    );
    assert!(unknown.err.contains("create_only"), "{}", unknown.err);
    line.clear();
    let mut server = begin();
    send(&server, 1);
    away();
    send(&server, 2);
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let server = begin();
    send(&server, 3);
    let path = "/v1/records/acme/web/api/runs/r2";
    assert_eq!(server.ask("GET", path, b"").0, 200, "from the spool");
    // Without a spool nothing could be taken.
    let words = words.replace("--spool spool", "");
    let mut without = command();
    let without = said(without.args(words.split_whitespace())).expect(2);
    assert!(without.err.contains("cannot be reached"), "{}", without.err);
    line.clear();
    let payloads = |objects: Vec<String>| {
        let payloads = objects.iter().filter(|key| key.contains("/payload.json"));
        payloads.count()
    };
    assert!(
        comes(|| payloads(remote.objects()) == 3),
        "{:#?}",
        remote.objects()
    );
    send(&server, 4);
    assert_eq!(server.stop(), Some(0));
    assert_eq!(payloads(remote.objects()), 4);
}

/// What was spooled while the store was away does not leave before the bucket was found where it must be.
#[test]
fn w15_s22_a_region_that_comes_back_elsewhere_gets_nothing() {
    let remote = Remote::new(Kind::MiniStack, BucketKind::Versioned);
    let desk = &remote.desk;
    let token = policy(desk);
    let line = FaultProxy::start(&remote.server().endpoint);
    let own = remote.server().region.clone();
    desk.write(
        "runpack.yaml",
        format!(
            "runpacks:\n  regions:\n    stores:\n      eu: {{endpoint: \"{}\", bucket: {}, path_prefix: ci, region: {own}}}\n    \
             routes:\n      - {{tenant: \"*\", region: eu}}\n",
            line.endpoint(),
            remote.bucket.name
        ),
    );
    let begin = || {
        let mut command = desk.command();
        command
            .env("RUNPACK_STORE_ACCESS_KEY", &remote.server().access_key)
            .env("RUNPACK_STORE_SECRET_KEY", &remote.server().secret_key);
        Server::begin(command, "region:eu --spool spool", token.clone())
    };
    let located = |region: &str| {
        let told = Fault::SetHeader("x-amz-bucket-region".to_owned(), Some(region.to_owned()));
        line.plan(Rule::new(told).method("HEAD").always());
    };
    let send = |server: &Server, run: u32| {
        let sent = server.ask("POST", "/v1/records", &record(&format!("r{run}")));
        assert_eq!(sent.0, 201, "{run}");
    };
    located(&own);
    let server = begin();
    send(&server, 1);
    assert_eq!(server.stop(), Some(0));
    let before = remote.objects();
    assert!(!before.is_empty());
    line.clear();
    line.plan(Rule::new(Fault::ResetBeforeRequest).always());
    let mut server = begin();
    send(&server, 2);
    line.clear_log();
    line.clear();
    located("mars-1");
    // It ends by itself, before anything is brought there.
    assert_eq!(server.child.wait().unwrap().code(), Some(2));
    let is_write = |method: &str| method == "PUT" || method == "POST" || method == "DELETE";
    let log = line.log();
    assert!(!log.iter().any(|one| is_write(&one.method)), "{log:#?}");
    assert_eq!(remote.objects(), before);
    // Where it is back in its place, all that waited is brought.
    line.clear();
    located(&own);
    let server = begin();
    let has_second = || {
        let objects = remote.objects();
        objects.iter().any(|key| key.contains("run=r2/payload"))
    };
    assert!(comes(has_second), "{:#?}", remote.objects());
    assert_eq!(server.stop(), Some(0));
}

/// Ends an execution, which makes it a pack.
fn execute(server: &Server, id: &str) {
    let opening = json!({"execution_id": id, "organization": "acme", "project": "hil", "runner_type": "bench"});
    let opening = serde_json::to_vec(&opening).unwrap();
    assert_eq!(server.ask("POST", "/v1/executions", &opening).0, 201);
    let end = format!("/v1/executions/{id}/complete");
    let (status, _) = server.ask("POST", &end, br#"{"result":"passed"}"#);
    assert_eq!(status, 200);
}

#[test]
fn w19_the_catalog_of_a_server_follows_it_and_catches_up_after_its_database_was_away() {
    let desk = Desk::with_run();
    let mut postgres = PrivatePostgres::start();
    let url = postgres.database("packs");
    desk.export("--run-id r1");
    let token = policy(&desk);
    desk.write("runpack.yaml", format!("runpacks: {{catalog: '{url}'}}"));
    let start = || Server::begin(desk.command(), "file:store", token.clone());
    let found = |what: &str| desk.line(&format!("catalog search {what}")).expect(0).out;
    let has = |ids: &[&str]| {
        let has_all = || {
            let found = found("--kind metadata --json");
            ids.iter().all(|id| found.contains(id))
        };
        assert!(comes(has_all), "{}", found("--json"));
    };
    let server = start();
    // What was there before it began, and what it commits.
    assert!(comes(|| found("--run-id r1") != "no artifacts\n"));
    execute(&server, EXECUTION);
    has(&[EXECUTION]);
    let (second, third) = ("01JD3M7Z9X8QWERTYASDFGHJK1", "01JD3M7Z9X8QWERTYASDFGHJK2");
    postgres.kill();
    execute(&server, second);
    postgres.start_again();
    has(&[EXECUTION, second]);
    // What comes last is taken up before it ends.
    execute(&server, third);
    assert_eq!(server.stop(), Some(0));
    has(&[third]);
    desk.line("catalog check file:store").expect(0);
}

#[test]
fn trees_are_shipped() {
    let desk = Desk::new();
    let raw = format!("share/bench-1/{EXECUTION}/raw");
    desk.write(format!("{raw}/trace.bin"), [7; 3_000]);
    desk.write(format!("{raw}/stdout.log"), "one\n");
    desk.write(format!("share/bench-1/{EXECUTION}/.complete"), "");
    let ship =
        "ship share --layout executions --organization acme --project hil --to file:store --json";
    let round = desk.line(ship).expect(0).json();
    check("ship", &round);
    let pack_id = text(&round["shipped"][0], "pack_id").to_owned();
    desk.line(&format!(
        "verify file:store --execution-id {EXECUTION} --expect-pack-id {pack_id}"
    ))
    .expect(0);
    let again = desk.line(ship).expect(0).json();
    assert_eq!(
        (
            &again["already"],
            again["shipped"].as_array().unwrap().len()
        ),
        (&json!(1), 0)
    );
    desk.write("records/acme/web/api/r1/payload.json", record("r1"));
    desk.write("records/acme/web/other/r2/payload.json", record("r2"));
    let ship = "ship records --layout records --to file:store --settle 0s --json";
    let round = desk.line(ship).expect(2).json();
    check("ship", &round);
    assert_eq!(round["shipped"].as_array().unwrap().len(), 1, "{round}");
    assert_eq!(round["failed"].as_array().unwrap().len(), 1, "{round}");
}

#[test]
fn what_is_not_fit_to_be_served_is_refused_at_the_start() {
    let desk = Desk::new();
    policy(&desk);
    desk.write(
        "bad.yaml",
        "tokens:\n  - name: ci\n    sha256: \"12\"\n    grants: []\n",
    );
    desk.write(
        "locked.yaml",
        "runpacks:\n  s3:\n    bucket: evidence\n    object_lock: {mode: governance, retain_for: 1d}\n",
    );
    for (line, says) in [
        (
            "serve file:store --access access.yaml --listen 0.0.0.0:0 --admin-listen 127.0.0.1:0",
            "plain HTTP is served on loopback alone",
        ),
        (
            "serve file:store --access nowhere.yaml --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0",
            "the access policy cannot be used",
        ),
        (
            "serve file:store --access bad.yaml --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0",
            "the access policy cannot be used",
        ),
        (
            "serve file:store --access access.yaml --tls-cert nowhere.pem --tls-key nowhere.key",
            "nowhere.pem",
        ),
        (
            "serve --config locked.yaml --access access.yaml",
            "object_lock",
        ),
        ("serve file:store", "--access"),
        (
            "server check-access bad.yaml",
            "the access policy cannot be used",
        ),
        ("server check-audit nowhere", "audit log"),
        (
            "server token --name ci --grant acme",
            "ORGANIZATION/PROJECT:read,write",
        ),
        (
            "logs 01JD3M7Z9X8QWERTYASDFGHJKM --store file:nowhere",
            "nowhere",
        ),
        ("ship nowhere --layout records --to file:store", "nowhere"),
        (
            "ship . --layout executions --to file:store",
            "--organization",
        ),
    ] {
        let said = desk.line(line).expect(2);
        assert!(said.err.contains(says), "{line}: {}", said.err);
        assert!(said.err.contains("help: "), "{line}: {}", said.err);
    }
}
