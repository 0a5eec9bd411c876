//! Audits as somebody runs them: several programs on one audit, some of which are killed, stopped or cut off.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};

use runpack_testing::proxy::{Call, Fault, FaultProxy, Rule};
use runpack_testing::servers::{BucketKind, Kind, PrivatePostgres};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::s3::Remote;
use crate::schema::check;
use crate::support::{Desk, Said, said, text};

fn lines(said: &Said) -> Vec<Value> {
    let lines = said.out.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The lines of a report: its places, and the audit as a whole.
fn report(desk: &Desk, audit: &str, catalog: &str, code: i32) -> (Vec<Value>, Value) {
    let said = desk.line(&format!("audit report {audit} --json {catalog}"));
    let mut lines = lines(&said.expect(code));
    for line in &lines {
        check("audit", line);
    }
    let whole = lines.pop().unwrap()["audit"].take();
    let places = lines.iter_mut().map(|line| line["place"].take());
    (places.collect(), whole)
}

/// Every key once, each with a conclusion.
fn assert_each_once(places: &[Value], packs: usize) {
    let mut keys: Vec<&str> = places.iter().map(|place| text(place, "key")).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!((keys.len(), places.len()), (packs, packs));
    assert!(
        places.iter().all(|place| place["conclusion"] == "valid"),
        "{places:#?}"
    );
}

/// The name of the audit that a program said it works on.
fn named(audit: &Value) -> String {
    text(&audit["audit"], "id").to_owned()
}

#[test]
fn a_store_is_audited_and_what_is_wrong_is_named() {
    let desk = Desk::with_run();
    for run_id in ["r1", "r2", "r3"] {
        desk.export(&format!("--run-id {run_id}"));
    }
    let first = desk.line("audit run file:store --json").expect(0);
    let first = first.json();
    check("audit", &first);
    let id = named(&first);
    assert_eq!(first["audit"]["standing"]["valid"], 3);
    let (places, whole) = report(&desk, &id, "", 0);
    assert_each_once(&places, 3);
    assert_eq!(whole["standing"]["complete"], true);

    // Without receipts nothing vouches; a signature does.
    desk.line("audit run file:store --no-receipts").expect(3);
    desk.line("audit run file:store --no-receipts --allow-unpinned")
        .expect(0);
    for place in &places {
        let pack_id = text(place, "pack_id");
        let key = text(place, "key").trim_end_matches("/manifest.json");
        desk.line(&format!(
            "sign store/{key} --key key.pem --out {}.sig.json",
            &pack_id[7..]
        ))
        .expect(0);
        let signature = format!("{}.sig.json", &pack_id[7..]);
        desk.write(
            format!("signatures/{signature}"),
            fs::read(desk.path(&signature)).unwrap(),
        );
    }
    let signed = "audit run file:store --no-receipts --key key.pub.pem --signatures signatures";
    desk.line(signed).expect(0);
    let some = fs::read_dir(desk.path("signatures"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    fs::remove_file(some.path()).unwrap();
    desk.line(signed).expect(1);

    // One damaged, one gone, one new.
    let place = |at: usize| text(&places[at], "key").trim_end_matches("/manifest.json");
    let damaged = desk.path(format!("store/{}", place(0)));
    for entry in fs::read_dir(&damaged).unwrap().flatten() {
        let model = entry.path().join("model.bin");
        if model.is_file() {
            fs::write(model, [8; 3_000]).unwrap();
        }
    }
    fs::remove_dir_all(desk.path(format!("store/{}", place(1)))).unwrap();
    desk.export("--run-id r4");
    let said = desk.line("audit run file:store").expect(1);
    for says in ["invalid", "artifact.digest", "place.vanished"] {
        assert!(said.out.contains(says), "{says}: {}", said.out);
    }
    assert!(
        said.err.contains("others join with --audit"),
        "{}",
        said.err
    );
    let listed = lines(&desk.line("audit list --json").expect(0));
    assert_eq!(listed.len(), 6);
    for line in &listed {
        check("audit", line);
    }
    let id = named(&listed[0]);
    let told = desk
        .line(&format!("audit report {id} --html r.html"))
        .expect(1);
    for says in ["artifact.digest", "place.vanished", "2 valid, 2 invalid"] {
        assert!(told.out.contains(says), "{says}: {}", told.out);
    }
    let page = fs::read_to_string(desk.path("r.html")).unwrap();
    assert!(page.contains("<h1>Invalid</h1>") && page.ends_with("</html>\n"));
    assert!(page.contains("place.vanished") && page.contains("Audit of a store"));
    assert!(!page.contains("<script") && page.contains("default-src 'none'"));
    assert!(desk.line("audit list").expect(0).out.contains(&id));
    // What is there already is not replaced, and what a report says is said again.
    desk.line(&format!("audit report {id} --html r.html"))
        .expect(2);
    desk.line(&format!("audit run file:store --audit {id}"))
        .expect(1);
}

#[test]
fn what_cannot_be_audited_is_told() {
    let desk = Desk::with_run();
    desk.export("");
    let id = named(&desk.line("audit run file:store --json").expect(0).json());
    desk.export("--to file:other");
    let nobody = "01JD3M7Z9X8QWERTYASDFGHJKM";
    for (line, says) in [
        (
            format!("audit run file:other --audit {id}"),
            "of another store",
        ),
        (
            format!("audit run file:store --audit {nobody}"),
            "no such audit",
        ),
        (
            format!("audit run file:store --audit {id} --deep"),
            "cannot be used with",
        ),
        (
            format!("audit run file:store --audit {id} --tenant acme"),
            "cannot be used with",
        ),
        (format!("audit report {nobody}"), "no such audit"),
        ("audit report x".to_owned(), "ULID"),
        ("audit run file:nowhere".to_owned(), "nowhere"),
        ("audit run file:store --rate 5".to_owned(), "50MiB/s"),
        ("audit run file:store --workers 0".to_owned(), "0"),
        (
            "audit run file:store --lease 0s".to_owned(),
            "a second is the least",
        ),
        (
            "audit run file:store --key key.pub.pem".to_owned(),
            "--signatures",
        ),
        (
            "audit run file:store --catalog mysql://x".to_owned(),
            "sqlite:PATH",
        ),
    ] {
        let said = desk.line(&line).expect(2);
        assert!(said.err.contains(says), "{line}: {}", said.err);
    }
    let slow = "audit run file:store --rate 1000packs/s --rate 1MiB/s --sample 1 --since 2026-01-01T00:00:00Z";
    desk.line(slow).expect(0);
    let older = "audit run file:store --since 2027-01-01T00:00:00Z --json";
    let older = desk.line(older).expect(2).json();
    assert_eq!(older["audit"]["standing"]["older"], 1);
    // What verified nothing says nothing.
    for nothing in ["--since 2027-01-01T00:00:00Z", "--tenant nobody"] {
        let said = desk.line(&format!("audit run file:store {nothing}"));
        let said = said.expect(2);
        assert!(
            said.out.contains("nothing was verified"),
            "{nothing}: {}",
            said.out
        );
    }
}

/// Packs whose artifacts went by a plan are no damage, and the store's word is not believed by itself.
#[test]
fn what_a_retention_plan_removed_is_told_apart_from_what_was_lost() {
    let desk = Desk::with_run();
    desk.write(
        "runpack.yaml",
        "runpacks: {retention: {policies: [{name: ci, kind: run, keep_for: 30d}]}}\n",
    );
    desk.export("--created-at 2026-01-01T00:00:00Z");
    desk.export("--run-id run-43 --created-at 2026-01-01T00:00:00Z");
    desk.export("--run-id run-44 --created-at 9990-01-01T00:00:00Z");
    desk.line("audit run file:store").expect(0);
    desk.line("retention plan file:store --out plan.json")
        .expect(0);
    desk.line("retention apply plan.json --store file:store --operator maria")
        .expect(0);
    let said = desk.line("audit run file:store --json").expect(1).json();
    check("audit", &said);
    let standing = &said["audit"]["standing"];
    assert_eq!(
        (&standing["removed"], &standing["invalid"]),
        (&2.into(), &0.into())
    );
    let said = desk.line("audit run file:store").expect(1);
    assert!(said.out.contains("as the store says"), "{}", said.out);
    let allowed = "audit run file:store --allow-removed";
    let said = desk.line(allowed).expect(0);
    assert!(said.out.contains("1 valid, 2 removed"), "{}", said.out);

    // One artifact that came back as something else is no removal.
    let audit = named(&lines(&desk.line("audit list --json").expect(0))[0]);
    let (places, _) = report(&desk, &audit, "", 1);
    let removed: Vec<&Value> = places
        .iter()
        .filter(|place| place["conclusion"] == "removed")
        .collect();
    assert_eq!(removed.len(), 2);
    assert_eq!(removed[0]["findings"][0]["code"], "place.removed");
    let key = text(removed[0], "key");
    let manifest = fs::read(desk.path(format!("store/{key}"))).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let artifact = &manifest["artifacts"][0];
    let place = key.trim_end_matches("manifest.json");
    let commitment = text(artifact, "sha256").trim_start_matches("sha256:");
    let name = text(artifact, "name");
    desk.write(
        format!("store/{place}{commitment}/{name}"),
        "something else",
    );
    desk.line(allowed).expect(1);
}

/// A bucket whose objects are served through a proxy, and a database that programs share.
struct Fleet {
    remote: Remote,
    proxy: FaultProxy,
    database: String,
    held: Arc<(Mutex<bool>, Condvar)>,
}

impl Fleet {
    /// `packs` packs, and a catalog.
    fn new(packs: u32, database: String) -> Self {
        let remote = Remote::new(Kind::Moto, BucketKind::Plain);
        let proxy = FaultProxy::start(&remote.server().endpoint);
        let fleet = Self {
            remote,
            proxy,
            database,
            held: Arc::default(),
        };
        for number in 0..packs {
            let line = format!(
                "export run --tenant acme --namespace prod --scenario audit --run-id r{number:03} --spec run/spec.json \
                 --to s3://{}/ci --created-at 2026-11-20T12:00:00Z",
                fleet.remote.bucket.name
            );
            said(fleet.command().args(line.split_whitespace())).expect(0);
        }
        fleet
    }

    fn command(&self) -> Command {
        let mut command = self.remote.command();
        command.env("RUNPACK_STORE_ENDPOINT", self.proxy.endpoint());
        command
    }

    fn audit(&self, more: &str) -> Command {
        let mut command = self.command();
        let line = format!(
            "audit run s3://{}/ci --json --catalog {} {more}",
            self.remote.bucket.name, self.database
        );
        command.args(line.split_whitespace());
        command
    }

    fn start(&self, more: &str) -> Child {
        self.audit(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Whoever reads the large artifact of this run waits until [`Fleet::release`].
    fn hold(&self, run_id: &str) {
        let held = Arc::clone(&self.held);
        let wait = Call::new(move |_| {
            let (is_released, changed) = &*held;
            let released = is_released.lock().unwrap();
            drop(changed.wait_while(released, |released| !*released).unwrap());
        });
        let rule = Rule::new(Fault::CallBefore(wait)).method("GET");
        self.proxy.plan(
            rule.key_contains(&format!("/{run_id}/"))
                .key_ends_with("model.bin"),
        );
    }

    /// Waits until so many requests are held.
    fn wait_for_held(&self, requests: usize) {
        self.proxy.wait_for(|log| {
            let held = log.iter().filter(|one| one.fault == Some("CallBefore"));
            held.count() >= requests
        });
    }

    fn release(&self) {
        *self.held.0.lock().unwrap() = true;
        self.held.1.notify_all();
    }
}

fn signal(id: u32, signal: Signal) {
    let id = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
    kill_process(id, signal).unwrap();
}

/// The audit that was begun.
fn begun(postgres: &PrivatePostgres) -> String {
    let audit = postgres.ask("fleet", "SELECT audit FROM audits");
    audit.trim().to_owned()
}

/// Who holds the place of a run, as the database says: the process.
fn holder(postgres: &PrivatePostgres, run_id: &str) -> u32 {
    let asked = format!(
        "SELECT worker FROM audit_places WHERE key LIKE '%/{run_id}/%' AND conclusion IS NULL"
    );
    let worker = postgres.ask("fleet", &asked);
    let mut parts = worker.trim().rsplit('-');
    parts.nth(1).unwrap().parse().unwrap()
}

#[test]
fn of_four_programs_two_are_killed_in_the_middle_and_nothing_is_lost() {
    let postgres = PrivatePostgres::start();
    let fleet = Fleet::new(24, postgres.database("fleet"));
    for run_id in ["r007", "r015"] {
        fleet.hold(run_id);
    }
    // The first begins it, and the others join when it is in the middle.
    let mut programs = vec![fleet.start("--workers 1 --lease 2s")];
    fleet.wait_for_held(1);
    let id = begun(&postgres);
    let join = format!("--workers 1 --lease 2s --audit {id}");
    programs.extend((0..3).map(|_| fleet.start(&join)));
    fleet.wait_for_held(2);
    let victims = ["r007", "r015"].map(|run_id| holder(&postgres, run_id));
    assert_ne!(victims[0], victims[1]);
    for victim in victims {
        signal(victim, Signal::KILL);
    }
    fleet.release();
    let mut ended = Vec::new();
    for program in programs.drain(..) {
        let is_victim = victims.contains(&program.id());
        let output = program.wait_with_output().unwrap();
        assert_eq!(output.status.success(), !is_victim, "{output:?}");
        ended.push(output);
    }
    let (places, whole) = report(
        &fleet.remote.desk,
        &id,
        &format!("--catalog {}", fleet.database),
        0,
    );
    assert_each_once(&places, 24);
    assert_eq!(whole["standing"]["valid"], 24);
    let taken_over = places.iter().filter(|place| place["attempts"] == 2);
    assert!(taken_over.count() >= 2);
    let workers: std::collections::BTreeSet<&str> =
        places.iter().map(|place| text(place, "worker")).collect();
    assert!(workers.len() >= 2, "{workers:?}");
}

#[test]
fn a_program_that_stood_still_for_longer_than_its_lease_writes_no_second_result() {
    let postgres = PrivatePostgres::start();
    let fleet = Fleet::new(5, postgres.database("fleet"));
    fleet.hold("r002");
    let sleeper = fleet.start("--workers 1 --lease 1s");
    fleet.wait_for_held(1);
    let id = begun(&postgres);
    let join = format!("--workers 1 --lease 1s --audit {id}");
    assert_eq!(holder(&postgres, "r002"), sleeper.id());
    signal(sleeper.id(), Signal::STOP);
    // Another finishes everything, which it can only when the lease has ended.
    let done = said(&mut fleet.audit(&join)).expect(0).json();
    assert_eq!(done["audit"]["standing"]["complete"], true);
    let catalog = format!("--catalog {}", fleet.database);
    let before = report(&fleet.remote.desk, &id, &catalog, 0);
    fleet.release();
    signal(sleeper.id(), Signal::CONT);
    let woken = sleeper.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&woken.stderr).into_owned();
    assert!(woken.status.success(), "{err}");
    assert!(err.contains("1 conclusion came too late"), "{err}");
    assert_eq!(report(&fleet.remote.desk, &id, &catalog, 0), before);
    assert_each_once(&before.0, 5);
    let rows = postgres.ask("fleet", "SELECT COUNT(*) FROM audit_places");
    assert_eq!(rows.trim(), "5");
}

#[test]
fn w19_a_database_that_is_killed_while_programs_work_is_waited_for() {
    let mut postgres = PrivatePostgres::start();
    let fleet = Fleet::new(8, postgres.database("fleet"));
    fleet.hold("r003");
    let program = fleet.start("--workers 2");
    fleet.wait_for_held(1);
    postgres.kill();
    fleet.release();
    // It has read the rest of what it held by then, and has nobody to tell.
    let read = |log: &[runpack_testing::proxy::Exchange]| {
        log.iter().any(|one| {
            one.path.contains("/r003/")
                && one.status == Some(200)
                && one.path.ends_with("model.bin")
        })
    };
    fleet.proxy.wait_for(read);
    postgres.start_again();
    let output = program.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
    let done: Value = serde_json::from_slice(&output.stdout).unwrap();
    let id = named(&done);
    let (places, _) = report(
        &fleet.remote.desk,
        &id,
        &format!("--catalog {}", fleet.database),
        0,
    );
    assert_each_once(&places, 8);
}

#[test]
fn w21_an_audit_in_a_file_is_killed_or_interrupted_and_taken_up_again() {
    for (kind, code) in [
        (Signal::KILL, None),
        (Signal::INT, Some(2)),
        (Signal::TERM, Some(2)),
    ] {
        let fleet = Fleet::new(6, "sqlite:audits.db".to_owned());
        fleet.hold("r004");
        let program = fleet.start("--workers 1 --lease 1s");
        fleet.wait_for_held(1);
        signal(program.id(), kind);
        let output = program.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), code, "{err}");
        fleet.release();
        let id = err.lines().next().unwrap().rsplit(' ').next().unwrap();
        let (_, whole) = report(&fleet.remote.desk, id, "--catalog sqlite:audits.db", 2);
        assert_eq!(whole["standing"]["complete"], false);
        if code.is_some() {
            // It gave back what it held, and says how far it came.
            let said: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(said["audit"]["standing"], whole["standing"]);
        }
        said(&mut fleet.audit(&format!("--audit {id}"))).expect(0);
        let (places, _) = report(&fleet.remote.desk, id, "--catalog sqlite:audits.db", 0);
        assert_each_once(&places, 6);
        let taken = places
            .iter()
            .find(|place| text(place, "key").contains("/r004/"));
        let attempts = if code.is_some() { 1 } else { 2 };
        assert_eq!(taken.unwrap()["attempts"], attempts);
    }
}
