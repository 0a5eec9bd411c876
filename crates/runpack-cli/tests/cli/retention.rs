//! Expiry and deletion by plan, as an operator does it: in a directory, and in buckets of real servers.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use runpack_core::key::Location;
use runpack_core::store::s3::LockMode;
use runpack_core::time::Timestamp;
use runpack_testing::block_on;
use runpack_testing::proxy::{Answer, Call, Fault, FaultProxy, Rule};
use runpack_testing::servers::{BucketKind, Bypass, Kind, RawVersion};
use serde_json::Value;

use crate::s3::Remote;
use crate::schema::check;
use crate::support::{Desk, Said, said, text};

const POLICIES: &str = "runpacks:
  retention:
    classes: {short: 30d}
    policies:
      - {name: ci, tenant: acme, keep_for: short}
      - {name: rest, kind: run, keep_for: forever}
";
/// A pack that expired long ago.
const OLD: &str = "--created-at 2026-01-01T00:00:00Z";
const RUN: &str = "--tenant acme --namespace prod --scenario loan-approval --run-id run-42";

fn lines(said: &Said) -> Vec<Value> {
    let lines = said.out.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Whys of a plan, in order.
fn whys(plan: &Value) -> Vec<&str> {
    let kept = plan["plan"]["kept"].as_array().unwrap();
    kept.iter().map(|kept| text(kept, "why")).collect()
}

fn removals(plan: &Value) -> usize {
    plan["plan"]["removals"].as_array().unwrap().len()
}

fn filled() -> Desk {
    let desk = Desk::with_run();
    desk.write("runpack.yaml", POLICIES);
    desk.export(OLD);
    desk.export("--run-id run-43 --created-at 9990-01-01T00:00:00Z");
    desk.export(&format!("--tenant globex {OLD}"));
    desk
}

fn artifacts_of(desk: &Desk, tenant: &str) -> Vec<PathBuf> {
    fn below(directory: PathBuf, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                below(entry.path(), found);
            } else if entry.file_name() != "manifest.json" {
                found.push(entry.path());
            }
        }
    }
    let mut found = Vec::new();
    let run = "namespace/prod/scenario/loan-approval/run/run-42";
    below(
        desk.path(format!("store/tenant/{tenant}/{run}")),
        &mut found,
    );
    found
}

#[test]
fn w23_what_has_expired_goes_by_plan_and_nothing_else() {
    let desk = filled();
    assert_eq!(artifacts_of(&desk, "acme").len(), 4);
    let line = "retention plan file:store --out plan.json --json";
    let plan = desk.line(line).expect(0).json();
    check("retention", &plan);
    assert_eq!((removals(&plan), whys(&plan).len()), (1, 0));
    let written: Value =
        serde_json::from_slice(&fs::read(desk.path("plan.json")).unwrap()).unwrap();
    assert_eq!(written, plan);
    let shown = desk.line("retention plan file:store").expect(0).out;
    assert!(shown.contains("1 pack") && shown.contains("ci"), "{shown}");
    desk.line("retention plan file:store --out plan.json")
        .expect(2);
    let other = desk.line("retention plan file:store --tenant globex --json");
    assert_eq!(removals(&other.expect(0).json()), 0);

    let apply = "retention apply plan.json --store file:store --operator maria --json";
    let applied = desk.line(apply).expect(0);
    for line in lines(&applied) {
        check("retention", &line);
    }
    assert_eq!(lines(&applied)[1]["objects"], 4);
    assert!(artifacts_of(&desk, "acme").is_empty());
    assert_eq!(artifacts_of(&desk, "globex").len(), 4);
    let again = lines(&desk.line(apply).expect(0));
    assert_eq!(
        (&again[0]["outcome"], &again[1]["objects"]),
        (&"done".into(), &0.into())
    );

    // What is left says plainly what became of it, and proves nothing by it.
    let verified = desk
        .line(&format!("verify file:store {RUN} --json"))
        .expect(1)
        .json();
    check("verify", &verified);
    assert_eq!(verified["verdict"], "invalid");
    let notes = verified["notes"].to_string();
    assert!(
        notes.contains("removed by a retention plan, as the store says"),
        "{notes}"
    );
    assert!(notes.contains("by=`maria`"), "{notes}");
    let shown = desk
        .line(&format!("show file:store {RUN} --json"))
        .expect(0)
        .json();
    check("show", &shown);
    assert_eq!(shown["removed"]["policy"], "ci");
    let listed = lines(&desk.line("list file:store --json").expect(0));
    for line in &listed {
        check("list", line);
    }
    let removed = listed.iter().filter(|line| line.get("removed").is_some());
    assert_eq!(removed.count(), 1);
    let listed = desk.line("list file:store").expect(0).out;
    assert!(listed.contains("files, removed"), "{listed}");
    desk.line("verify file:store --tenant globex --namespace prod --scenario loan-approval --run-id run-42")
        .expect(0);
    // The receipt is an object of the store, where its location says.
    let receipt = text(&shown["removed"], "receipt");
    assert!(Location::parse(receipt).is_some());
    assert!(desk.path(format!("store/{receipt}")).is_file());
    // Its manifest stays for its time.
    let later = "retention plan file:store --json";
    assert_eq!(whys(&desk.line(later).expect(0).json()), ["metadata"]);
    let much_later = format!("{later} --at 9000-01-01T00:00:00Z");
    let plan = desk.line(&much_later).expect(0).json();
    let phases = plan["plan"]["removals"].as_array().unwrap();
    assert_eq!(
        phases
            .iter()
            .filter(|one| one["phase"] == "manifest")
            .count(),
        1
    );
}

#[test]
fn w23_a_plan_is_not_carried_out_under_other_policies_in_another_store_or_changed() {
    let desk = filled();
    desk.line("retention plan file:store --out plan.json")
        .expect(0);
    let apply = "retention apply plan.json --store file:store";
    desk.write("runpack.yaml", POLICIES.replace("30d", "31d"));
    let refused = desk.line(apply).expect(2);
    assert!(
        refused.err.contains("the policies are others"),
        "{}",
        refused.err
    );
    desk.write("runpack.yaml", "tenant: acme\n");
    let refused = desk.line(apply).expect(2);
    assert!(
        refused.err.contains("no policies of retention"),
        "{}",
        refused.err
    );
    desk.write("runpack.yaml", POLICIES);
    desk.export("--to file:other");
    let refused = desk
        .line("retention apply plan.json --store file:other")
        .expect(2);
    assert!(refused.err.contains("of another store"), "{}", refused.err);
    let plan = fs::read_to_string(desk.path("plan.json")).unwrap();
    desk.write(
        "plan2.json",
        plan.replace("\"more\":false", "\"more\":true"),
    );
    let refused = desk
        .line("retention apply plan2.json --store file:store")
        .expect(2);
    assert!(
        refused.err.contains("changed after it was made"),
        "{}",
        refused.err
    );
    // A store with a ledger of holds is for whoever can read it.
    desk.write("store/_runpack/holds/0000000000.json", "an entry");
    let kept = desk.line(apply).expect(1);
    assert!(kept.out.contains("enterprise build"), "{}", kept.out);
    fs::remove_file(desk.path("store/_runpack/holds/0000000000.json")).unwrap();
    // What was touched since is not what was planned.
    let artifact = artifacts_of(&desk, "acme").remove(0);
    let later = fs::File::options().write(true).open(&artifact).unwrap();
    let an_hour = std::time::Duration::from_hours(1);
    let modified = later.metadata().unwrap().modified().unwrap();
    later.set_modified(modified + an_hour).unwrap();
    let kept = desk.line(apply).expect(1);
    assert!(kept.out.contains("changed"), "{}", kept.out);
    assert_eq!(artifacts_of(&desk, "acme").len(), 4);
    desk.line("retention plan file:store --out plan3.json")
        .expect(0);
    desk.line("retention apply plan3.json --store file:store")
        .expect(0);
    assert!(artifacts_of(&desk, "acme").is_empty());
}

#[test]
fn what_policies_may_be_in_the_file() {
    let desk = Desk::with_run();
    for (policies, says) in [
        ("{name: a, keep_for: 29d}", "30 to 365 days"),
        ("{name: a, keep_for: 366d}", "30 to 365 days"),
        ("{name: a, keep_for: lang}", "keep_for"),
        ("{name: 'a b', keep_for: 30d}", "policies.name"),
        ("{name: a, keep_for: 30d, kind: job}", "policies.kind"),
        ("{name: a, keep_for: 30d, tenant: a/b}", "policies.tenant"),
        (
            "{name: a, keep_for: 30d, tenat: a}",
            "unknown key, key=`tenat`",
        ),
        ("{name: a}", "a key is missing, key=`keep_for`"),
        (
            "{name: a, keep_for: 30d}, {name: a, keep_for: 40d}",
            "one name",
        ),
    ] {
        desk.write(
            "runpack.yaml",
            format!("runpacks: {{retention: {{policies: [{policies}]}}}}"),
        );
        let refused = desk.line("config show").expect(2);
        assert!(refused.err.contains(says), "{policies}: {}", refused.err);
    }
    for (section, says) in [
        ("classes: {forever: 30d}, policies: []", "classes"),
        ("classes: {30d: 40d}, policies: []", "classes"),
        ("classes: {a: x}, policies: []", "classes"),
        ("metadata_for: x, policies: []", "metadata_for"),
        ("keep_inputs: maybe, policies: []", "keep_inputs"),
        ("keep_inputs: true", "a key is missing, key=`policies`"),
    ] {
        desk.write(
            "runpack.yaml",
            format!("runpacks: {{retention: {{{section}}}}}"),
        );
        let refused = desk.line("config show").expect(2);
        assert!(refused.err.contains(says), "{section}: {}", refused.err);
    }
    desk.write("runpack.yaml", POLICIES);
    let shown = desk.line("config show").expect(0).out;
    assert!(shown.contains("ci, rest (sha256:"), "{shown}");
}

impl Remote {
    /// A bucket with a pack that has expired.
    fn expired(kind: Kind, how: BucketKind) -> Self {
        let remote = Self::new(kind, how);
        remote.desk.write("runpack.yaml", POLICIES);
        remote.line(&export("run-42")).expect(0);
        remote
    }

    fn versions(&self) -> Vec<RawVersion> {
        let found = block_on(self.bucket.versions_raw("ci/tenant/"));
        let artifacts = found.into_iter();
        artifacts
            .filter(|one| !one.name.ends_with("manifest.json"))
            .collect()
    }
}

fn export(run_id: &str) -> String {
    format!(
        "export run --tenant acme --namespace prod --scenario loan-approval --run-id {run_id} --spec run/spec.json \
         --to @ {OLD}"
    )
}

#[test]
fn l15_locks_and_holds_of_real_servers_keep_what_has_expired() {
    for kind in [Kind::Moto, Kind::Ceph] {
        let remote = Remote::expired(kind, BucketKind::Locked);
        if kind == Kind::Moto {
            // It says of no version that it is neither held nor locked: so nothing of it goes.
            let plan = remote.line("retention plan @ --json").expect(0).json();
            assert_eq!(whys(&plan), ["locked"]);
            continue;
        }
        let plan = remote
            .line("retention plan @ --out plan.json --json")
            .expect(0)
            .json();
        assert_eq!(removals(&plan), 1, "{kind:?} {plan}");
        let one = &remote.versions()[1];
        // Placed after the plan was made, and before another is.
        block_on(remote.bucket.place_hold_raw(&one.name, &one.version)).unwrap();
        let kept = lines(
            &remote
                .line("retention apply plan.json --store @ --json")
                .expect(1),
        );
        assert_eq!(kept[0]["why"], "held", "{kind:?} {kept:?}");
        assert_eq!(remote.versions().len(), 4);
        let plan = remote.line("retention plan @ --json").expect(0).json();
        assert_eq!(whys(&plan), ["held"], "{kind:?}");
        block_on(remote.bucket.clear_hold_raw(&one.name, &one.version)).unwrap();
        let until: Timestamp = "2099-01-01T00:00:00Z".parse().unwrap();
        let lock = (LockMode::Governance, until);
        let retained = remote
            .bucket
            .retain_raw(&one.name, &one.version, lock, Bypass::Not);
        block_on(retained).unwrap();
        let kept = lines(
            &remote
                .line("retention apply plan.json --store @ --json")
                .expect(1),
        );
        assert_eq!(kept[0]["why"], "locked", "{kind:?} {kept:?}");
        assert_eq!(remote.versions().len(), 4);
        let plan = remote.line("retention plan @ --json").expect(0).json();
        assert_eq!(whys(&plan), ["locked"], "{kind:?}");
    }
}

#[test]
fn w23_exactly_the_planned_versions_go_and_no_marker_comes() {
    for (kind, how) in [
        (Kind::Moto, BucketKind::Plain),
        (Kind::Moto, BucketKind::Versioned),
        (Kind::Ceph, BucketKind::Versioned),
        (Kind::Ceph, BucketKind::Plain),
    ] {
        let remote = Remote::expired(kind, how);
        remote.line("retention plan @ --out plan.json").expect(0);
        remote.line("retention apply plan.json --store @").expect(0);
        assert_eq!(remote.versions(), [], "{kind:?} {how:?}");
        let all = block_on(remote.bucket.list_raw());
        // The manifest, its reference, an intent and a receipt.
        assert_eq!(all.len(), 4, "{kind:?} {how:?} {all:?}");
        remote.line("retention apply plan.json --store @").expect(0);
        let verified = remote.line(&format!("verify @ {RUN}")).expect(1).out;
        assert!(
            verified.contains("removed by a retention plan"),
            "{verified}"
        );
    }
}

#[test]
fn w23_a_pack_that_came_again_after_the_plan_stays() {
    let remote = Remote::expired(Kind::Moto, BucketKind::Versioned);
    remote.line("retention plan @ --out plan.json").expect(0);
    // The artifacts are gone and come again, by a push.
    for one in remote.versions() {
        block_on(remote.bucket.delete_version_raw(&one.name, &one.version)).unwrap();
    }
    remote.line(&export("run-42")).expect(0);
    let kept = lines(
        &remote
            .line("retention apply plan.json --store @ --json")
            .expect(1),
    );
    assert_eq!(kept[0]["why"], "changed", "{kept:?}");
    assert_eq!(remote.versions().len(), 4);
    remote.line(&format!("verify @ {RUN}")).expect(0);
}

/// `runpack retention` on the bucket, by way of a proxy: a plan is of the service that it was made at.
fn by_way_of(proxy: &FaultProxy, remote: &Remote, line: &str) -> Command {
    let store = format!("s3://{}/ci", remote.bucket.name);
    let mut command = remote.command();
    command
        .env("RUNPACK_STORE_ENDPOINT", proxy.endpoint())
        .arg("retention")
        .args(
            line.split_whitespace()
                .map(|word| word.replace('@', &store)),
        );
    command
}

const APPLY: &str = "apply plan.json --store @";

/// Kills `apply` at its `number`th request, before or after the server has done it.
fn killed_at(proxy: &FaultProxy, remote: &Remote, number: u64, is_after: bool) -> bool {
    let (told, pid) = std::sync::mpsc::channel::<u32>();
    let pid = std::sync::Mutex::new(pid);
    let call = Call::new(move |_| {
        let pid = pid.lock().unwrap().recv().unwrap().to_string();
        let kill = Command::new("kill").args(["-KILL", &pid]).status().unwrap();
        assert!(kill.success());
    });
    let fault = if is_after {
        Fault::CallAfter(call)
    } else {
        Fault::CallBefore(call)
    };
    proxy.plan(Rule::new(fault).nth(number));
    let mut child = by_way_of(proxy, remote, APPLY)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    told.send(child.id()).unwrap();
    child.wait().unwrap().code().is_none()
}

#[test]
fn w23_an_apply_that_is_killed_at_any_request_is_gone_on_with() {
    let mut kills = 0;
    for number in 1.. {
        let remote = Remote::expired(Kind::Moto, BucketKind::Versioned);
        let how = format!(
            "{POLICIES}  s3: {{bucket: {}, create_only: conditional}}\n",
            remote.bucket.name
        );
        remote.desk.write("runpack.yaml", how);
        let proxy = FaultProxy::start(&remote.server().endpoint);
        said(&mut by_way_of(&proxy, &remote, "plan @ --out plan.json")).expect(0);
        if !killed_at(&proxy, &remote, number, number % 2 == 0) {
            break;
        }
        kills += 1;
        let records = block_on(remote.bucket.versions_raw("ci/_runpack/audit/"));
        // Nothing goes before there is an intent.
        assert!(
            remote.versions().len() == 4 || !records.is_empty(),
            "{number}"
        );
        said(&mut by_way_of(&proxy, &remote, APPLY)).expect(0);
        assert_eq!(remote.versions(), []);
        let records = block_on(remote.bucket.versions_raw("ci/_runpack/audit/"));
        assert_eq!(records.len(), 2, "{number} {records:?}");
    }
    println!("{kills} removals killed, each gone on with");
    assert!(kills > 20);
}

#[test]
fn w23_two_programs_carry_out_one_plan_at_once() {
    let remote = Remote::expired(Kind::Ceph, BucketKind::Versioned);
    for at in 0..5 {
        remote.line(&export(&format!("run-{at}"))).expect(0);
    }
    remote.line("retention plan @ --out plan.json").expect(0);
    let apply = || {
        let mut command = remote.command();
        command
            .args(["retention", "apply", "plan.json", "--json", "--store"])
            .arg(format!("s3://{}/ci", remote.bucket.name));
        command
    };
    let both = std::thread::scope(|scope| {
        let one = scope.spawn(|| said(&mut apply()));
        let two = scope.spawn(|| said(&mut apply()));
        [one.join().unwrap(), two.join().unwrap()]
    });
    for said in both {
        let lines = lines(&said.expect(0));
        assert_eq!(lines.last().unwrap()["packs"], 6, "{lines:?}");
    }
    assert_eq!(remote.versions(), []);
}

#[test]
fn l15_a_lock_that_may_not_be_read_is_one_and_a_store_that_is_away_is_asked_again() {
    let remote = Remote::expired(Kind::Ceph, BucketKind::Locked);
    let proxy = FaultProxy::start(&remote.server().endpoint);
    said(&mut by_way_of(&proxy, &remote, "plan @ --out plan.json")).expect(0);
    for (answer, plan_code, why, apply_code, outcome) in [
        (Answer::error(403, "AccessDenied"), 0, "locked", 1, "kept"),
        (
            Answer::error(503, "ServiceUnavailable"),
            2,
            "unreadable",
            2,
            "failed",
        ),
    ] {
        proxy.plan(Rule::new(Fault::Answer(answer)).query("retention").always());
        let plan = said(&mut by_way_of(&proxy, &remote, "plan @ --json")).expect(plan_code);
        assert_eq!(whys(&plan.json()), [why]);
        let applied = said(&mut by_way_of(&proxy, &remote, &format!("{APPLY} --json")));
        let applied = lines(&applied.expect(apply_code));
        assert_eq!(applied[0]["outcome"], outcome, "{applied:?}");
        assert_eq!(remote.versions().len(), 4);
        proxy.clear();
    }
    said(&mut by_way_of(&proxy, &remote, APPLY)).expect(0);
    assert_eq!(remote.versions(), []);
}

#[test]
fn w23_what_a_delete_marker_hides_in_a_bucket_counts_and_goes_by_version() {
    for kind in [Kind::Moto, Kind::Ceph] {
        let remote = Remote::expired(kind, BucketKind::Versioned);
        let manifest = remote.objects().into_iter();
        let manifest = manifest.filter(|name| name.ends_with("manifest.json"));
        for name in manifest {
            block_on(remote.bucket.delete_raw(&name));
        }
        let plan = remote.line("retention plan @ --out plan.json --json");
        assert_eq!(removals(&plan.expect(0).json()), 1, "{kind:?}");
        remote.line("retention apply plan.json --store @").expect(0);
        assert_eq!(remote.versions(), [], "{kind:?}");
    }
}

#[test]
fn retention_asks_for_no_unfinished_uploads() {
    let remote = Remote::expired(Kind::Moto, BucketKind::Versioned);
    let how = format!(
        "{POLICIES}  s3: {{bucket: {}, create_only: conditional}}\n",
        remote.bucket.name
    );
    remote.desk.write("runpack.yaml", how);
    let proxy = FaultProxy::start(&remote.server().endpoint);
    let denied = Answer::error(403, "AccessDenied");
    proxy.plan(Rule::new(Fault::Answer(denied)).query("uploads").always());
    said(&mut by_way_of(&proxy, &remote, "plan @ --out plan.json")).expect(0);
    said(&mut by_way_of(&proxy, &remote, APPLY)).expect(0);
    assert_eq!(remote.versions(), []);
}

#[test]
fn retention_says_how_many_more_there_are() {
    let desk = Desk::with_run();
    desk.write("runpack.yaml", POLICIES);
    for at in 0..51 {
        desk.export(&format!("--run-id run-{at} {OLD}"));
    }
    desk.line("retention plan file:store --out plan.json")
        .expect(0);
    desk.write("store/_runpack/holds/0000000000.json", "an entry");
    for (line, code) in [
        ("retention apply plan.json --store file:store", 1),
        ("retention plan file:store", 0),
    ] {
        let said = desk.line(line).expect(code).out;
        assert!(said.contains("and 1 more"), "{said}");
    }
}

#[test]
fn w23_an_apply_to_a_directory_that_is_killed_is_gone_on_with() {
    let desk = Desk::with_run();
    desk.write("runpack.yaml", POLICIES);
    for at in 0u8..100 {
        desk.write(format!("run/many/{at}.bin"), [at; 100]);
    }
    desk.export(OLD);
    let all = artifacts_of(&desk, "acme").len();
    // Killed a little later each time, as told by what is left and not by a clock.
    for left in [all, all - 1, all / 2, all / 4, 1, 0] {
        desk.line(&format!("retention plan file:store --out plan-{left}.json"))
            .expect(0);
        let mut child = desk
            .command()
            .args(["retention", "apply", &format!("plan-{left}.json")])
            .args(["--store", "file:store"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while artifacts_of(&desk, "acme").len() > left && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        // It may have ended by itself.
        let _ = child.kill();
        child.wait().unwrap();
        desk.line(&format!(
            "retention apply plan-{left}.json --store file:store"
        ))
        .expect(0);
        assert!(artifacts_of(&desk, "acme").is_empty());
        // The manifest is there, so exporting again makes the pack whole.
        desk.export(OLD);
    }
    let removed = desk.line("retention plan file:store --json").expect(0);
    assert_eq!(removals(&removed.json()), 1);
}
