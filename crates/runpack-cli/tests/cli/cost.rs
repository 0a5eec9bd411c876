//! What packs cost, as somebody asks it.

use runpack_testing::proxy::FaultProxy;
use runpack_testing::servers::{BucketKind, Kind};
use serde_json::{Value, json};

use crate::s3::Remote;
use crate::schema::check;
use crate::support::{Desk, text};

const PRICES: &str = include_str!("../../../runpack-catalog/src/cost/aws-us-east-1.json");

fn filled() -> Desk {
    let desk = Desk::with_run();
    for (tenant, run_id) in [("acme", "r1"), ("acme", "r2"), ("globex", "r3")] {
        desk.export(&format!("--tenant {tenant} --run-id {run_id}"));
    }
    desk.line("catalog update file:store").expect(0);
    desk
}

#[test]
fn costs_are_told_by_whose_packs_they_are() {
    let desk = filled();
    let at = "--at 2026-11-20T12:00:00Z";
    let said = desk.line(&format!("catalog cost {at}")).expect(0);
    insta::assert_snapshot!("catalog-cost", said.out);
    for by in [
        "store",
        "tenant",
        "namespace",
        "scenario",
        "run",
        "execution",
    ] {
        let report = desk
            .line(&format!("catalog cost {at} --by {by} --json"))
            .expect(0)
            .json();
        check("catalog", &report);
        assert_eq!(report["by"], by);
        assert_eq!(report["cost"]["total"]["packs"], 3);
    }
    let few = desk
        .line(&format!("catalog cost {at} --by run --limit 1 --json"))
        .expect(0)
        .json();
    assert_eq!(few["cost"]["groups"].as_array().unwrap().len(), 1);
    assert_eq!(few["cost"]["groups_in_all"], 3);
    let acme = desk
        .line("catalog cost --tenant acme file:store --json")
        .expect(0)
        .json();
    assert_eq!(acme["cost"]["total"]["packs"], 2);
}

#[test]
fn prices_and_rules_are_replaced() {
    let desk = filled();
    let line = |more: &str, code: i32| {
        desk.line(&format!("catalog cost --json {more}"))
            .expect(code)
    };
    desk.write("double.json", PRICES.replace("\"0.023\"", "\"0.046\""));
    let storage = |report: &Value| text(&report["cost"]["total"], "storage").to_owned();
    let (once, twice) = (line("", 0).json(), line("--prices double.json", 0).json());
    assert_ne!(storage(&once), storage(&twice));
    desk.write("cold.yaml", "transitions: [{to: GLACIER_IR, after: 30d}]\n");
    let report = line("--with-lifecycle cold.yaml --days 365", 0).json();
    check("catalog", &report);
    // Nothing here is large enough to move.
    assert_eq!(report["with_lifecycle"]["saves"], "0.000000000");
    desk.write("bad.json", "{}");
    desk.write("large.json", vec![b' '; (1 << 20) + 1]);
    for (table, why) in [
        ("bad.json", "aws-us-east-1.json"),
        ("large.json", "larger than one can be"),
    ] {
        let said = line(&format!("--prices {table}"), 2);
        let told = format!("{}{}", said.out, said.err);
        assert!(told.contains(why), "{told}");
    }
    desk.write("bad.yaml", "transitions: [{to: STANDARD_IA, after: 1d}]\n");
    for more in [
        "--prices bad.json",
        "--prices nowhere.json",
        "--with-lifecycle bad.yaml",
        "--with-lifecycle nowhere.yaml",
        "--measured",
        "--lifecycle current",
        "--days 0",
        "file:store --measured",
    ] {
        line(more, 2);
    }
}

#[test]
fn a_bucket_is_asked_where_its_objects_lie() {
    let remote = Remote::new(Kind::MiniStack, BucketKind::Versioned);
    let desk = &remote.desk;
    desk.write("run/large.bin", vec![5; 3 << 20]);
    let pack = desk.export("");
    remote.json(&format!("push {} --to @", text(&pack, "pack")), 0);
    remote.json("catalog update @", 0);
    desk.write(
        "runpack.yaml",
        "runpacks:\n  lifecycle:\n    transitions: [{to: DEEP_ARCHIVE, after: 1d}]\n    archive_larger_than: 1MiB\n",
    );
    let seen = remote.json("catalog cost @ --measured", 0);
    check("catalog", &seen);
    // Six objects of the pack, and none beside: a push of files needs no reference.
    assert_eq!(seen["missing"], 0);
    let objects = u64::try_from(remote.objects().len()).unwrap();
    let others = seen["cost"]["others"]["objects"].as_u64().unwrap();
    assert_eq!(
        seen["cost"]["total"]["objects"].as_u64().unwrap() + others,
        objects
    );
    remote.json("lifecycle apply @ --yes", 0);
    let line = "catalog cost @ --lifecycle none --with-lifecycle current --days 365 --verifications 0 --at 2026-11-20T12:00:00Z";
    let compared = remote.json(line, 0);
    check("catalog", &compared);
    assert_eq!(
        compared["with_lifecycle"]["cost"]["total"]["moving"]["requests"],
        1
    );
    assert_ne!(compared["with_lifecycle"]["saves"], "0.000000000");
    assert_eq!(compared["with_lifecycle"]["adds"], "0.000000000");
    let same = remote.json(
        "catalog cost @ --lifecycle current --with-lifecycle configured",
        0,
    );
    assert_eq!(
        same["with_lifecycle"]["saves"],
        same["with_lifecycle"]["adds"]
    );
}

/// The requests that are reckoned are those that the program sends, but for what it asks of a bucket as such.
#[test]
fn the_requests_that_are_reckoned_are_those_that_are_sent() {
    let remote = Remote::new(Kind::Moto, BucketKind::Versioned);
    let desk = &remote.desk;
    for number in 0..20 {
        desk.write(format!("run/many/{number}.txt"), format!("{number}"));
    }
    desk.write("run/large.bin", vec![5; (17 << 20) + 1]);
    let pack = desk.export("");
    // What is measured of the bucket is measured before.
    remote.line("store status @").expect(0);
    let proxy = FaultProxy::start(&remote.server().endpoint);
    let through = |line: &str| {
        let before = proxy.log().len();
        let store = format!("s3://{}/ci", remote.bucket.name);
        let mut command = remote.command();
        command.env("RUNPACK_STORE_ENDPOINT", proxy.endpoint());
        command.args(
            line.split_whitespace()
                .map(|word| word.replace('@', &store)),
        );
        crate::support::said(&mut command).expect(0);
        proxy.log().len() - before
    };
    let stored = through(&format!("push {} --to @", text(&pack, "pack")));
    let verified =
        through("verify @ --tenant acme --namespace prod --scenario loan-approval --run-id run-42");
    remote.json("catalog update @", 0);
    let report = remote.json("catalog cost @", 0);
    let reckoned = |what: &str| report["cost"]["total"][what]["requests"].as_u64().unwrap();
    let near = |sent: usize, reckoned: u64| sent.abs_diff(usize::try_from(reckoned).unwrap()) <= 8;
    assert!(
        near(stored, reckoned("storing")),
        "{stored} {}",
        reckoned("storing")
    );
    assert!(
        near(verified, reckoned("verifying")),
        "{verified} {}",
        reckoned("verifying")
    );
    assert_eq!(report["cautions"], json!([]));
}
