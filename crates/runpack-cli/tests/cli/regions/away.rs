//! Regions that are away, hostile or elsewhere, and whether replicas could take over.

use std::fs;
use std::process::Command;
use std::sync::mpsc;

use runpack_testing::block_on;
use runpack_testing::proxy::{Answer, Call, Fault, FaultProxy, Rule};
use runpack_testing::servers::{BucketKind, Kind, Server, TestBucket, shared};
use serde_json::Value;

use super::{CONFIG, RUN, desk, export, files};
use crate::schema::check;
use crate::support::{Desk, said, text};

/// A bucket at the end of a proxy, as a region of the configuration.
fn store(bucket: &TestBucket, endpoint: &str, more: &str) -> String {
    let region = &bucket.server().region;
    format!(
        "{{endpoint: \"{endpoint}\", bucket: {}, path_prefix: ci, region: {region}, {more}}}",
        bucket.name
    )
}

/// Three regions: `eu` with the replicas that are named, and the routes of `acme` to it.
fn config(eu: &str, others: &[(&str, &str)]) -> String {
    let mut config = format!("runpacks:\n  regions:\n    stores:\n      eu: {eu}\n");
    for (name, store) in others {
        config.push_str(&format!("      {name}: {store}\n"));
    }
    config.push_str("    routes:\n      - {tenant: acme, region: eu}\n");
    config
}

/// The keys of the servers: `eu` has those of the store, the others their own.
fn with_keys<'a>(
    command: &'a mut Command,
    eu: &Server,
    others: &[(&str, &Server)],
) -> &'a mut Command {
    command
        .env("RUNPACK_STORE_ACCESS_KEY", &eu.access_key)
        .env("RUNPACK_STORE_SECRET_KEY", &eu.secret_key);
    for (name, server) in others {
        command
            .env(
                format!("RUNPACK_REGION_{name}_ACCESS_KEY"),
                &server.access_key,
            )
            .env(
                format!("RUNPACK_REGION_{name}_SECRET_KEY"),
                &server.secret_key,
            );
    }
    command
}

const TRUSTED: &str = "location: trusted";

#[test]
fn a_pull_goes_on_from_a_replica_when_its_region_dies_in_the_middle() {
    let (moto, ministack) = (shared(Kind::Moto), shared(Kind::MiniStack));
    let first = block_on(moto.bucket(BucketKind::Plain));
    let second = block_on(ministack.bucket(BucketKind::Plain));
    let proxy = FaultProxy::start(&moto.endpoint);
    let (desk, _) = desk("{}\n");
    desk.write("run/large.bin", vec![5; (30 << 20) + 1]);
    desk.write(
        "runpack.yaml",
        config(
            &store(
                &first,
                &proxy.endpoint(),
                "location: trusted, replicas: [second-site]",
            ),
            &[("second-site", &store(&second, &ministack.endpoint, TRUSTED))],
        ),
    );
    let line = |line: &str| {
        let mut command = desk.command();
        command.args(line.split_whitespace());
        said(with_keys(
            &mut command,
            &moto,
            &[("SECOND_SITE", &ministack)],
        ))
    };
    let exported = line(&format!("{} --json", export("acme", "")))
        .expect(0)
        .json();
    let id = text(&exported, "pack_id");
    line("mirror region:eu region:second-site").expect(0);
    proxy.clear_log();
    let (reached, dies) = mpsc::channel();
    let dying = Call::new(move |_| {
        let _ = reached.send(());
    });
    let rule = Rule::new(Fault::CallBefore(dying))
        .method("GET")
        .key_ends_with("large.bin");
    proxy.plan(rule.nth(2));
    let killer = std::thread::spawn(move || {
        dies.recv().unwrap();
        drop(proxy);
    });
    let pulled = line(&format!("pull {id} out --from region:eu --json"))
        .expect(0)
        .json();
    killer.join().unwrap();
    check("pull", &pulled);
    assert_eq!(pulled["report"]["verdict"], "valid");
    let sources = pulled["read_from"].as_array().unwrap();
    assert_eq!(sources[0]["role"], "primary");
    assert!(sources[0]["readings"].as_u64().unwrap() > 0, "{pulled}");
    assert!(sources[0]["failures"].as_u64().unwrap() > 0, "{pulled}");
    assert!(sources[1]["bytes"].as_u64().unwrap() >= 8 << 20, "{pulled}");
    assert_eq!(
        fs::read(desk.path("out/large.bin")).unwrap(),
        fs::read(desk.path("run/large.bin")).unwrap()
    );
    desk.line(&format!("verify out --no-receipts --expect-pack-id {id}"))
        .expect(0);
    // It is still away: everything is read from the replica, and said to be.
    for command in ["verify", "show"] {
        let result = line(&format!("{command} region:eu --pack-id {id} --json"))
            .expect(0)
            .json();
        check(command, &result);
        assert_eq!(result["read_from"][0]["bytes"], 0, "{result}");
    }
    let listed = line("list region:eu --json").expect(0);
    for row in listed.out.lines() {
        check("list", &serde_json::from_str(row).unwrap());
    }
    assert_eq!(listed.out.lines().count(), 2);
    let said = line(&format!("verify region:eu {RUN}")).expect(0);
    assert!(said.err.contains("region `eu` is away"), "{}", said.err);
    assert!(said.out.contains("replica `second-site`"), "{}", said.out);
    // Nothing is ever written to a replica in its place.
    let before = block_on(second.list_raw()).len();
    line(&export("acme", "").replace("run-42", "other")).expect(2);
    assert_eq!(block_on(second.list_raw()).len(), before);
    // And what the replica does not have may be in the region all the same.
    let absent = crate::support::NO_PACK;
    let said = line(&format!("verify region:eu --pack-id {absent}")).expect(2);
    assert!(
        said.err.contains("its replicas do not have"),
        "{}",
        said.err
    );
    let failed = line("failover test --json");
    let failed = failed.expect(2).json();
    check("failover", &failed);
    assert_eq!(failed["regions"][0]["reached"], false);
    let failed = line(&format!("failover test --pack-id {id} --json"))
        .expect(0)
        .json();
    assert_eq!(
        failed["regions"][0]["replicas"][0]["verified"], 1,
        "{failed}"
    );
}

#[test]
fn a_hostile_replica_is_named_and_never_decides() {
    let (moto, ministack) = (shared(Kind::Moto), shared(Kind::MiniStack));
    let first = block_on(moto.bucket(BucketKind::Plain));
    let second = block_on(ministack.bucket(BucketKind::Plain));
    let away = FaultProxy::start(&moto.endpoint);
    let hostile = FaultProxy::start(&ministack.endpoint);
    let (desk, _) = desk("{}\n");
    desk.write("run/large.bin", vec![5; (9 << 20) + 1]);
    let of_replicas = |replicas: &str, eu: &str| {
        config(
            &store(
                &first,
                eu,
                &format!("location: trusted, replicas: [{replicas}]"),
            ),
            &[
                ("hostile", &store(&second, &hostile.endpoint(), TRUSTED)),
                ("vault", "{root: vault, location: trusted}"),
            ],
        )
    };
    let line = |line: &str| {
        let mut command = desk.command();
        command.args(line.split_whitespace());
        said(with_keys(&mut command, &moto, &[("HOSTILE", &ministack)]))
    };
    desk.write(
        "runpack.yaml",
        of_replicas("hostile, vault", &away.endpoint()),
    );
    let exported = line(&format!("{} --json", export("acme", "")))
        .expect(0)
        .json();
    let id = text(&exported, "pack_id");
    for replica in ["hostile", "vault"] {
        line(&format!("mirror region:eu region:{replica}")).expect(0);
    }
    let flip = Rule::new(Fault::FlipBit(77))
        .method("GET")
        .key_ends_with("large.bin");
    hostile.plan(flip.always());
    // While the region answers nobody asks the replica.
    line(&format!("verify region:eu --pack-id {id}")).expect(0);
    let failed = line("failover test --all --json").expect(1).json();
    check("failover", &failed);
    let replicas = &failed["regions"][0]["replicas"];
    assert_eq!(replicas[0]["takes_over"], "no", "{failed}");
    assert!(
        replicas[0]["faults"][0]
            .as_str()
            .unwrap()
            .contains("artifact.digest"),
        "{failed}"
    );
    assert_eq!(replicas[1]["takes_over"], "yes", "{failed}");
    drop(away);
    let result = line(&format!(
        "verify region:eu --pack-id {id} --no-receipts --json"
    ))
    .expect(0)
    .json();
    check("verify", &result);
    assert_eq!(result["verdict"], "valid");
    let set_aside = result["read_from"][1]["set_aside"].as_str().unwrap();
    assert!(set_aside.contains("artifact.digest large.bin"), "{result}");
    assert!(
        result["read_from"][2]["bytes"].as_u64().unwrap() > 9 << 20,
        "{result}"
    );
    line(&format!("pull {id} out --from region:eu")).expect(0);
    desk.line(&format!("verify out --no-receipts --expect-pack-id {id}"))
        .expect(0);
    // With nothing but a hostile replica it is undecided, and never invalid: the pack was not seen.
    let closed = "http://127.0.0.1:1";
    desk.write("runpack.yaml", of_replicas("hostile", closed));
    let said = line(&format!("verify region:eu --pack-id {id} --no-receipts")).expect(2);
    let told = format!("{}{}", said.out, said.err);
    assert!(
        told.contains("replica `hostile`") && told.contains("set aside"),
        "{told}"
    );
    line(&format!("pull {id} never --from region:eu")).expect(2);
    assert!(!desk.path("never").exists());
}

#[test]
fn s22_a_bucket_that_is_elsewhere_or_does_not_say_is_not_written_to() {
    let moto = shared(Kind::Moto);
    let bucket = block_on(moto.bucket(BucketKind::Plain));
    let elsewhere = FaultProxy::start(&moto.endpoint);
    let located = |region: Option<&str>| {
        let header = Fault::SetHeader("x-amz-bucket-region".to_owned(), region.map(str::to_owned));
        let untold = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<LocationConstraint xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"/>";
        vec![
            Rule::new(header).method("HEAD").always(),
            Rule::new(Fault::ReplaceBody(untold.into()))
                .method("GET")
                .query("location")
                .always(),
        ]
    };
    let redirect = Answer::status(307).header("Location", &elsewhere.endpoint());
    let redirected = vec![Rule::new(Fault::Answer(redirect)).method("HEAD").always()];
    let own = moto.region.as_str();
    for (rules, rule, code, why) in [
        (located(Some(own)), "told", 0, "exported"),
        (located(Some("mars-1")), "told", 2, "its_location=`mars-1`"),
        (
            located(Some("mars-1")),
            "trusted",
            2,
            "its_location=`mars-1`",
        ),
        (located(None), "told", 2, "cannot be told"),
        (located(None), "trusted", 0, "is the configuration's word"),
        (
            redirected,
            "trusted",
            2,
            "another region or at another endpoint",
        ),
    ] {
        let proxy = FaultProxy::start(&moto.endpoint);
        for rule in rules {
            proxy.plan(rule);
        }
        let desk = Desk::with_run();
        let eu = store(&bucket, &proxy.endpoint(), &format!("location: {rule}"));
        desk.write("runpack.yaml", config(&eu, &[]));
        let mut command = desk.command();
        let export = export("acme", "").replace("run-42", &format!("{rule}-{code}"));
        command.args(export.split_whitespace());
        let said = said(with_keys(&mut command, &moto, &[])).expect(code);
        let told = format!("{}{}", said.out, said.err);
        assert!(told.contains(why), "{why}: {told}");
        let wrote = proxy.log().iter().any(|exchange| exchange.method == "PUT");
        assert_eq!(wrote, code == 0, "{why}");
    }
    assert!(elsewhere.log().is_empty(), "a redirect was followed");
}

#[test]
fn a_failover_is_tested_by_reading() {
    let (desk, _) = desk(CONFIG);
    for run in ["run-1", "run-2", "run-3"] {
        desk.line(&export("acme", "").replace("run-42", run))
            .expect(0);
    }
    desk.line("push b.tar.gz").expect(0);
    desk.line("mirror region:eu region:eu-2").expect(0);
    let test = |more: &str, code: i32| {
        let said = desk
            .line(&format!("failover test --json {more}"))
            .expect(code);
        check("failover", &said.json());
        said.json()
    };
    let before = files(&desk.path("eu-2"));
    let all = test("--all", 0);
    let region = &all["regions"][0];
    assert_eq!(
        (&region["region"], &region["packs"]),
        (&"eu".into(), &4.into())
    );
    let replica = &region["replicas"][0];
    assert_eq!(replica["verified"], 4, "{all}");
    assert_eq!(region["without_region"]["verified"], 4);
    assert_eq!(
        (&replica["missing"], &replica["place"]),
        (&0.into(), &"trusted".into())
    );
    assert_eq!(test("--sample 2", 0)["regions"][0]["sampled"], 2);
    assert_eq!(
        test("--tenant acme --namespace prod --all", 0)["regions"][0]["packs"],
        3
    );
    assert_eq!(files(&desk.path("eu-2")), before);
    // A pack that is not there yet is on its way, for a while.
    desk.line(&export("acme", "").replace("run-42", "run-4"))
        .expect(0);
    let young = test("--all", 0);
    assert_eq!(young["regions"][0]["replicas"][0]["missing"], 1);
    let late = test("--all --max-behind 0s", 1);
    assert_eq!(late["regions"][0]["replicas"][0]["missing_late"], 1);
    desk.line("mirror region:eu region:eu-2").expect(0);
    test("--all --max-behind 0s", 0);
    // One byte that differs.
    let model = files(&desk.path("eu-2"))
        .into_iter()
        .find(|path| path.ends_with("model.bin"));
    let model = model.unwrap();
    let mut bytes = fs::read(&model).unwrap();
    bytes[1_000] ^= 1;
    fs::remove_file(&model).unwrap();
    fs::write(&model, bytes).unwrap();
    let damaged = test("--all", 1);
    assert_eq!(
        damaged["regions"][0]["replicas"][0]["verified"], 4,
        "{damaged}"
    );
    let table = desk.line("failover test --all").expect(1).out;
    assert!(table.contains("artifact.digest model.bin"), "{table}");
    fs::remove_dir_all(desk.path("eu-2")).unwrap();
    let gone = test("--all", 1);
    assert_eq!(gone["regions"][0]["replicas"][0]["reached"], false);
    let said = desk.line("failover test --region-name us").expect(2);
    assert!(said.err.contains("has no replicas"), "{}", said.err);
}

/// A bucket behind a proxy with a directory as its replica, and one pack in both.
fn with_a_vault(rule: &str) -> (Desk, FaultProxy, TestBucket) {
    let moto = shared(Kind::Moto);
    let bucket = block_on(moto.bucket(BucketKind::Versioned));
    let proxy = FaultProxy::start(&moto.endpoint);
    let (desk, _) = desk("{}\n");
    let eu = store(
        &bucket,
        &proxy.endpoint(),
        &format!("location: {rule}, replicas: [vault]"),
    );
    let vault = ("vault", "{root: vault, location: trusted}");
    desk.write("runpack.yaml", config(&eu, &[vault]));
    (desk, proxy, bucket)
}

#[test]
fn a_failover_test_needs_no_more_than_reading_and_says_what_it_lacks() {
    let (desk, proxy, bucket) = with_a_vault(TRUSTED.trim_start_matches("location: "));
    let line = |line: &str, code: i32| {
        let mut command = desk.command();
        command.args(line.split_whitespace());
        said(with_keys(&mut command, bucket.server(), &[])).expect(code)
    };
    let test = |code: i32| {
        let found = line("failover test --json", code).json();
        check("failover", &found);
        found
    };
    // Nothing is there to be verified.
    assert_eq!(test(2)["takes_over"], "undecided");
    line(&export("acme", ""), 0);
    line("mirror region:eu region:vault", 0);
    let denied = |of: &str| {
        let answer = Fault::Answer(Answer::error(403, "AccessDenied"));
        proxy.plan(Rule::new(answer).method("GET").query(of).always());
    };
    denied("uploads");
    let found = test(0);
    let region = &found["regions"][0];
    assert_eq!(
        (&region["packs"], &region["trouble"]),
        (&1.into(), &Value::Null)
    );
    denied("versions");
    let found = test(2);
    let region = &found["regions"][0];
    assert_eq!(region["takes_over"], "undecided", "{found}");
    assert_eq!(region["replicas"][0]["takes_over"], "undecided", "{found}");
    assert_eq!(
        (&region["reached"], &region["packs"]),
        (&true.into(), &Value::Null)
    );
    let trouble = text(region, "trouble").to_owned();
    assert!(trouble.contains("does not allow listing"), "{trouble}");
    assert!(line("failover test", 2).out.contains(&trouble));
}

#[test]
fn a_failover_test_counts_where_the_region_itself_is() {
    let (desk, proxy, bucket) = with_a_vault("trusted");
    let line = |line: &str, code: i32| {
        let mut command = desk.command();
        command.args(line.split_whitespace());
        said(with_keys(&mut command, bucket.server(), &[])).expect(code)
    };
    line(&export("acme", ""), 0);
    line("mirror region:eu region:vault", 0);
    line("failover test", 0);
    let elsewhere = Fault::SetHeader("x-amz-bucket-region".to_owned(), Some("mars-1".to_owned()));
    proxy.plan(Rule::new(elsewhere).method("HEAD").always());
    let found = line("failover test --json", 1).json();
    let region = &found["regions"][0];
    assert_eq!(
        (&region["place"], &region["takes_over"]),
        (&"wrong".into(), &"no".into())
    );
    assert_eq!(region["replicas"][0]["takes_over"], "yes");
}
