//! Lifecycle rules as somebody sets them, in buckets of real servers.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, mpsc};

use runpack_core::store::s3::LockMode;
use runpack_testing::block_on;
use runpack_testing::proxy::{Call, Fault, FaultProxy, Rule};
use runpack_testing::servers::{BucketKind, Kind};
use serde_json::{Value, json};

use crate::s3::Remote;
use crate::schema::check;
use crate::support::{Desk, said, text};

const WISHES: &str = "\
runpacks:
  lifecycle:
    transitions:
      - {to: STANDARD_IA, after: 30d}
      - {to: GLACIER, after: 90d}
    aborted_uploads_after: 7d
";
/// What every store has.
const UPLOADS: &str = "runpacks:\n  lifecycle:\n    aborted_uploads_after: 7d\n";
const STORE: &str = "s3://evidence/ci";

fn desk(config: &str) -> Desk {
    let desk = Desk::new();
    desk.write("runpack.yaml", config);
    desk
}

fn remote(kind: Kind, how: BucketKind, config: &str) -> Remote {
    let remote = Remote::new(kind, how);
    remote.desk.write("runpack.yaml", config);
    remote
}

fn ids(rules: &[Value]) -> Vec<String> {
    let ids = rules.iter().map(|rule| text(rule, "id").to_owned());
    ids.collect()
}

#[test]
fn rules_are_printed_without_asking_anybody() {
    let desk = desk(WISHES);
    let said = desk.line(&format!("lifecycle rules {STORE}")).expect(0);
    insta::assert_snapshot!("lifecycle-rules", said.out);
    let rules = desk
        .line(&format!("lifecycle rules {STORE} --json"))
        .expect(0)
        .json();
    check("lifecycle", &rules);
    let hcl = desk.line(&format!("lifecycle terraform {STORE}")).expect(0);
    insta::assert_snapshot!("lifecycle-terraform", hcl.out);
    // What `rules` tells is in the module too.
    let told = desk
        .line(&format!("lifecycle rules {STORE} --json"))
        .expect(0)
        .json();
    let cautions = told["cautions"].as_array().unwrap();
    assert!(!cautions.is_empty());
    for caution in cautions {
        let line = format!("# To know: {}\n", caution.as_str().unwrap());
        assert!(hcl.out.contains(&line), "{line}");
    }
    let whole = desk
        .line("lifecycle terraform s3://evidence --json")
        .expect(0)
        .json();
    check("lifecycle", &whole);
}

#[test]
fn l10_wishes_that_lose_evidence_or_money_are_refused() {
    let rules = |below: &str| {
        let desk = desk(&format!("runpacks:\n  lifecycle:\n    {below}\n"));
        desk.line(&format!("lifecycle rules {STORE}")).expect(2).err
    };
    for (below, said) in [
        (
            "transitions: [{to: STANDARD_IA, after: 7d}]",
            "30 to 36500 days",
        ),
        ("transitions: [{to: GLACIER, after: 36h}]", "whole days"),
        (
            "transitions: [{to: INTELLIGENT_TIERING, after: 30d}]",
            "INTELLIGENT_TIERING",
        ),
        (
            "transitions: [{to: GLACIER, after: 1d}, {to: DEEP_ARCHIVE, after: 30d}]",
            "90 days",
        ),
        ("expiration: 30d", "unknown key"),
        ("archive_larger_than: 64KiB", "archive_larger_than"),
        ("larger_than: 1kb", "KiB"),
        ("archive_larger_than: 99TiB1", "TiB"),
        ("dangerously_remove_noncurrent_after: 7d", "30 to"),
        (
            "{dangerously_remove_noncurrent_after: 400d, archive_larger_than: 1MiB}",
            "the oldest version of a manifest is the commit",
        ),
        ("aborted_uploads_after: 1d", "7 to"),
    ] {
        let err = rules(below);
        assert!(err.contains(said), "{below}: {err}");
    }
    let desk = desk("runpacks:\n  store: file\n");
    assert!(
        desk.line(&format!("lifecycle rules {STORE}"))
            .expect(2)
            .err
            .contains("lifecycle.md")
    );
    desk.write("runpack.yaml", UPLOADS);
    desk.line("lifecycle rules file:store").expect(2);
    desk.line("lifecycle rules").expect(2);
}

/// Rules are set, seen, changed and taken away, and those of others stay to the letter.
fn set_among_others(kind: Kind) {
    let remote = remote(kind, BucketKind::Versioned, UPLOADS);
    block_on(remote.bucket.add_lifecycle_rule_raw("theirs", "logs/", 9));

    let before = remote.json("lifecycle diff @", 1);
    check("lifecycle", &before);
    assert_eq!(before["changes"][0]["change"], "add");
    assert_eq!(before["foreign"][0]["id"], "theirs");
    assert_eq!(before["cautions"], json!([]));
    let shown = remote.json("lifecycle apply @", 1);
    assert!(text(&shown, "done").contains("--yes"), "{shown}");
    assert_eq!(remote.json("lifecycle diff @", 1)["same"], false);

    check("lifecycle", &remote.json("lifecycle apply @ --yes", 0));
    let after = remote.json("lifecycle diff @", 0);
    assert_eq!(
        (&after["same"], &after["changes"][0]["change"]),
        (&json!(true), &json!("keep"))
    );
    assert_eq!(after["foreign"], before["foreign"]);
    assert_eq!(
        remote.json("lifecycle apply @ --yes", 0)["done"],
        "nothing to set"
    );

    // Another store in the same bucket has rules of its own.
    let other = format!("s3://{}/prod", remote.bucket.name);
    remote.json(&format!("lifecycle apply {other} --yes"), 0);
    let both = remote.json("lifecycle diff @", 0);
    assert_eq!(ids(both["foreign"].as_array().unwrap()).len(), 2);

    remote
        .desk
        .write("runpack.yaml", UPLOADS.replace("7d", "9d"));
    let changed = remote.json("lifecycle diff @", 1);
    assert_eq!(changed["changes"][0]["change"], "replace");
    assert_eq!(remote.line("lifecycle apply @ --yes").expect(0).err, "");
    remote
        .desk
        .write("runpack.yaml", "runpacks:\n  lifecycle: {}\n");
    assert_eq!(
        remote.json("lifecycle diff @", 1)["changes"][0]["change"],
        "remove"
    );
    remote.json("lifecycle apply @ --yes", 0);
    let rest = remote.json("lifecycle diff @", 0);
    assert_eq!(ids(rest["foreign"].as_array().unwrap()).len(), 2);
    remote.json(&format!("lifecycle apply {other} --yes"), 0);
    let rest = remote.json("lifecycle diff @", 0);
    assert_eq!(rest["foreign"], before["foreign"]);
}

#[test]
fn moto_has_rules_set_among_others() {
    set_among_others(Kind::Moto);
}

#[test]
fn ministack_has_rules_set_among_others() {
    set_among_others(Kind::MiniStack);
}

#[test]
fn ceph_has_rules_set_among_others() {
    set_among_others(Kind::Ceph);
}

#[test]
fn l10_a_foreign_rule_that_removes_packs_is_told() {
    let remote = remote(Kind::Moto, BucketKind::Versioned, UPLOADS);
    block_on(remote.bucket.add_lifecycle_rule_raw("all", "", 30));
    let diff = remote.json("lifecycle diff @", 1);
    let caution = diff["cautions"][0].as_str().unwrap();
    assert!(
        caution.contains("REMOVES") && caution.contains("rule=`all`"),
        "{caution}"
    );
    assert_eq!(diff["foreign"][0]["removes"], true);
}

#[test]
fn ministack_has_the_classes_and_keeps_the_bounds() {
    let remote = remote(Kind::MiniStack, BucketKind::Versioned, WISHES);
    check("lifecycle", &remote.json("lifecycle apply @ --yes", 0));
    let diff = remote.json("lifecycle diff @", 0);
    assert_eq!(diff["changes"].as_array().unwrap().len(), 3);
    assert_eq!(remote.objects(), [""; 0], "the probes are gone");
}

/// This server takes bounds of sizes and leaves them out: such a rule would archive manifests.
#[test]
fn l10_a_store_that_leaves_the_bounds_out_is_found_out_and_put_back() {
    let remote = remote(Kind::Moto, BucketKind::Versioned, WISHES);
    block_on(remote.bucket.add_lifecycle_rule_raw("theirs", "logs/", 9));
    let said = remote.line("lifecycle apply @ --yes").expect(2);
    assert!(
        said.err.contains("was there before is there again"),
        "{}",
        said.err
    );
    let diff = remote.json("lifecycle diff @", 1);
    assert_eq!(ids(diff["foreign"].as_array().unwrap()), ["theirs"]);
    let changes = diff["changes"].as_array().unwrap();
    assert!(changes.iter().all(|change| change["change"] == "add"));
}

/// Putting the former set back would take away what another tool has set in that moment.
#[test]
fn undoing_lifecycle_rules_takes_nobody_elses_away() {
    let remote = remote(Kind::Moto, BucketKind::Versioned, WISHES);
    block_on(remote.bucket.add_lifecycle_rule_raw("theirs", "logs/", 9));
    let proxy = FaultProxy::start(&remote.server().endpoint);
    let (set, was_set) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    let may_go_on = Mutex::new(may_go_on);
    let meanwhile = Call::new(move |_| {
        set.send(()).unwrap();
        may_go_on.lock().unwrap().recv().unwrap();
    });
    let sending = Rule::new(Fault::CallAfter(meanwhile)).method("PUT");
    proxy.plan(sending.query("lifecycle").nth(1));
    let said = std::thread::scope(|scope| {
        let bucket = &remote.bucket;
        scope.spawn(move || {
            was_set.recv().unwrap();
            block_on(bucket.add_lifecycle_rule_raw("another", "x/", 5));
            go_on.send(()).unwrap();
        });
        let mut command = remote.command();
        command.env("RUNPACK_STORE_ENDPOINT", proxy.endpoint());
        let store = format!("s3://{}/ci", remote.bucket.name);
        said(command.args(["lifecycle", "apply", &store, "--yes"]))
    });
    let said = said.expect(2);
    assert!(said.err.contains("nothing was put back"), "{}", said.err);
    let diff = remote.json("lifecycle diff @", 1);
    let foreign = ids(diff["foreign"].as_array().unwrap());
    assert_eq!(foreign, ["theirs", "another"], "{diff}");
}

#[test]
fn a_class_that_a_store_does_not_have_is_refused() {
    let remote = remote(Kind::Ceph, BucketKind::Versioned, WISHES);
    let said = remote.line("lifecycle apply @ --yes").expect(2);
    assert!(
        said.err.contains("does not have the storage class"),
        "{}",
        said.err
    );
    assert_eq!(remote.json("lifecycle diff @", 1)["foreign"], json!([]));
    assert_eq!(remote.objects(), [""; 0]);
}

#[test]
fn l10_versions_are_removed_only_where_they_are_locked() {
    const REMOVING: &str =
        "runpacks:\n  lifecycle:\n    dangerously_remove_noncurrent_after: 400d\n";
    // That versions can be locked does not say that they are.
    for (kind, how) in [
        (Kind::Moto, BucketKind::Versioned),
        (Kind::MiniStack, BucketKind::Locked),
    ] {
        let open = remote(kind, how, REMOVING);
        let said = open.line("lifecycle apply @ --yes").expect(2);
        assert!(said.err.contains("by itself"), "{}", said.err);
        assert_eq!(open.json("lifecycle diff @", 1)["same"], false);
    }
    let locking = BucketKind::LockedByDefault(LockMode::Governance, 1);
    let locked = remote(Kind::MiniStack, locking, REMOVING);
    locked.line("lifecycle apply @ --yes").expect(0);
    let diff = locked.json("lifecycle diff @", 0);
    assert!(
        diff["cautions"][0]
            .as_str()
            .unwrap()
            .contains("of more than 64.0 MiB that others lie over are REMOVED")
    );
}

/// The module in the guide is what the program writes for the configuration beside it.
#[test]
fn the_module_of_the_guide_is_what_the_program_writes() {
    let place =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Docs/operations/deploy/terraform");
    let read = |name: &str| fs::read_to_string(place.join(name)).unwrap();
    let desk = desk(&read("runpack.yaml"));
    for (line, name) in [
        ("lifecycle terraform", "lifecycle.tf"),
        ("store baseline terraform", "baseline.tf"),
    ] {
        let said = desk.line(line).expect(0);
        assert!(
            said.out == read(name),
            "write it anew: runpack {line} > {name}"
        );
    }
}

/// Terraform reads the same rules as are set.
#[test]
fn terraform_and_apply_cannot_differ() {
    let desk = desk(
        "runpacks:\n  lifecycle:\n    transitions: [{to: STANDARD_IA, after: 30d}, {to: DEEP_ARCHIVE, after: 90d}]\n    \
         noncurrent: [{to: GLACIER_IR, after: 1d}]\n    dangerously_remove_noncurrent_after: 400d\n    \
         aborted_uploads_after: 9d\n",
    );
    for store in ["s3://evidence", "s3://evidence/ci/x"] {
        let rules = desk
            .line(&format!("lifecycle rules {store} --json"))
            .expect(0)
            .json();
        let hcl = desk
            .line(&format!("lifecycle terraform {store}"))
            .expect(0)
            .out;
        let body: Value = hcl::from_str(&hcl).unwrap();
        let resource = &body["resource"]["aws_s3_bucket_lifecycle_configuration"]["runpack"];
        let theirs: Vec<Value> = resource["rule"]
            .as_array()
            .unwrap()
            .iter()
            .map(rule)
            .collect();
        assert_eq!(json!(theirs), rules["rules"], "{hcl}");
    }
}

/// A rule of Terraform in our words.
fn rule(block: &Value) -> Value {
    let filter = match &block["filter"]["and"] {
        Value::Null => &block["filter"],
        and => and,
    };
    assert_eq!(block["status"], "Enabled");
    let mut rule = json!({
        "id": block["id"],
        "prefix": filter.get("prefix").cloned().unwrap_or_else(|| json!("")),
    });
    let mut set = |name: &str, value: Option<&Value>| {
        if let Some(value) = value {
            rule[name] = value.clone();
        }
    };
    set("larger_than", filter.get("object_size_greater_than"));
    set("smaller_than", filter.get("object_size_less_than"));
    let moves = |name: &str, days: &str| {
        let blocks = match block.get(name)? {
            Value::Array(blocks) => blocks.clone(),
            one => vec![one.clone()],
        };
        let moves = blocks
            .iter()
            .map(|one| json!({"after_days": one[days], "to": one["storage_class"]}));
        Some(moves.collect::<Value>())
    };
    set("transitions", moves("transition", "days").as_ref());
    let noncurrent = moves("noncurrent_version_transition", "noncurrent_days");
    set("noncurrent_transitions", noncurrent.as_ref());
    let expiry = block.get("noncurrent_version_expiration");
    set(
        "noncurrent_expiry_days",
        expiry.map(|one| &one["noncurrent_days"]),
    );
    let uploads = block.get("abort_incomplete_multipart_upload");
    set(
        "aborted_uploads_days",
        uploads.map(|one| &one["days_after_initiation"]),
    );
    rule
}

#[test]
fn lifecycle_rules_are_those_of_a_region() {
    let regions = "  regions:
    stores:
      eu: {bucket: evidence-eu, path_prefix: ci, region: eu-central-1}
      vault: {root: vault, location: trusted}
    routes:
      - {tenant: \"*\", region: eu}
";
    let desk = desk(&format!("{UPLOADS}{regions}"));
    let of = |store: &str| {
        let line = format!("lifecycle rules {store} --json");
        desk.line(&line).expect(0).json()
    };
    assert_eq!(of("region:eu"), of("s3://evidence-eu/ci"));
    assert_eq!(text(&of("region:eu"), "store"), "s3://evidence-eu/ci");
    desk.line("lifecycle terraform region:eu").expect(0);
    for none in ["region:vault", "region:mars"] {
        desk.line(&format!("lifecycle rules {none}")).expect(2);
    }
    // Terraform takes no set without a rule.
    desk.write("runpack.yaml", "runpacks:\n  lifecycle: {}\n");
    let said = desk.line(&format!("lifecycle terraform {STORE}")).expect(2);
    assert!(said.err.contains("there are no rules"), "{}", said.err);
}
