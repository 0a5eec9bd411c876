//! The baseline of a bucket, looked at and set at real servers.

use runpack_core::store::s3::{TlsVersion, transport_statements};
use runpack_testing::block_on;
use runpack_testing::servers::{BucketKind, Kind};
use serde_json::{Value, json};

use crate::s3::Remote;
use crate::schema::check;
use crate::support::{Desk, text};

/// How it stands with each setting.
fn standing(report: &Value) -> Vec<(String, String)> {
    let findings = report["findings"].as_array().unwrap().iter();
    let each = findings.map(|one| (text(one, "setting"), text(&one["standing"], "is")));
    each.map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

fn is(report: &Value, setting: &str) -> String {
    let all = standing(report);
    all.into_iter().find(|(name, _)| name == setting).unwrap().1
}

#[test]
fn what_is_missing_is_set_and_nothing_else_is_touched() {
    let remote = Remote::new(Kind::MiniStack, BucketKind::Plain);
    let theirs = json!({"Version": "2012-10-17", "Statement": [
        {"Sid": "Theirs", "Effect": "Deny", "Principal": "*", "Action": "s3:DeleteBucket",
         "Resource": format!("arn:aws:s3:::{}", remote.bucket.name)},
    ]});
    block_on(remote.bucket.set_policy_raw(&theirs.to_string()));
    let before = remote.json("store baseline check @", 1);
    check("store", &before);
    assert_eq!(is(&before, "versioning"), "missing");
    assert_eq!(is(&before, "transport"), "missing");
    assert_eq!(is(&before, "access-log"), "by-hand");
    let shown = remote.json("store baseline apply @", 1);
    assert!(text(&shown, "done").contains("--yes"));
    assert_eq!(
        standing(&remote.json("store baseline check @", 1)),
        standing(&before)
    );

    let after = remote.json("store baseline apply @ --yes", 1);
    check("store", &after);
    for (setting, is) in standing(&after) {
        let wanted = if setting == "access-log" {
            "by-hand"
        } else {
            "good"
        };
        assert_eq!(is, wanted, "{setting}: {after}");
    }
    let policy: Value = serde_json::from_str(&block_on(remote.bucket.policy_raw())).unwrap();
    assert_eq!(policy["Statement"][0], theirs["Statement"][0]);
    assert_eq!(policy["Statement"].as_array().unwrap().len(), 2);
    remote.line("store baseline apply @ --yes").expect(1);
    let again: Value = serde_json::from_str(&block_on(remote.bucket.policy_raw())).unwrap();
    assert_eq!(again, policy);
}

#[test]
fn what_is_stronger_or_somebody_elses_stays() {
    let remote = Remote::new(Kind::Moto, BucketKind::Versioned);
    remote.desk.write(
        "runpack.yaml",
        "runpacks:\n  s3:\n    sse: aws:kms\n    sse_kms_key: alias/one\n",
    );
    let set = remote.json("store baseline apply @ --yes", 1);
    assert_eq!(is(&set, "encryption"), "good");
    // Keys of the store are weaker than what is there, and another key would be another.
    remote
        .desk
        .write("runpack.yaml", "runpacks:\n  s3:\n    sse: AES256\n");
    assert_eq!(
        is(&remote.json("store baseline check @", 1), "encryption"),
        "good"
    );
    remote.desk.write(
        "runpack.yaml",
        "runpacks:\n  s3:\n    sse: aws:kms\n    sse_kms_key: alias/two\n",
    );
    let other = remote.json("store baseline apply @ --yes", 1);
    assert_eq!(is(&other, "encryption"), "by-hand");
    let same = format!("store baseline check @ --log-bucket {}", remote.bucket.name);
    assert_eq!(is(&remote.json(&same, 1), "access-log"), "by-hand");
    // Somebody lets others own what they write.
    block_on(remote.bucket.set_ownership_raw("ObjectWriter"));
    for _ in 0..2 {
        let set = remote.json("store baseline apply @ --yes", 1);
        assert_eq!(is(&set, "ownership"), "by-hand", "{set}");
    }
}

#[test]
fn ceph_is_told_where_it_has_no_such_function() {
    let remote = Remote::new(Kind::Ceph, BucketKind::Versioned);
    let report = remote.json("store baseline check @", 1);
    check("store", &report);
    assert_eq!(is(&report, "versioning"), "good");
    // It takes the question for another one, and answers with a listing.
    assert_eq!(is(&report, "ownership"), "unknown");
    let after = remote.json("store baseline apply @ --yes", 1);
    assert_eq!(is(&after, "transport"), "good");
    // The harness speaks plain HTTP to Ceph, so from now on it is refused: the statement acts.
    remote.line("store baseline check @").expect(2);
}

#[test]
fn a_bucket_that_cannot_be_asked_is_not_good() {
    let remote = Remote::new(Kind::Ceph, BucketKind::Versioned);
    let server = remote.server();
    let mut command = remote.command();
    command
        .env(
            "RUNPACK_STORE_ACCESS_KEY",
            server.alt_access_key.as_deref().unwrap(),
        )
        .env(
            "RUNPACK_STORE_SECRET_KEY",
            server.alt_secret_key.as_deref().unwrap(),
        )
        .args(["store", "baseline", "check", "--json"])
        .arg(format!("s3://{}", remote.bucket.name));
    let report = crate::support::said(&mut command).expect(2).json();
    assert!(
        standing(&report).iter().all(|(_, is)| is == "unknown"),
        "{report}"
    );
}

#[test]
fn the_module_has_the_statements_that_are_set() {
    let desk = Desk::new();
    let hcl = desk
        .line("store baseline terraform s3://evidence --min-tls 1.3")
        .expect(0)
        .out;
    let body: Value = hcl::from_str(&hcl).unwrap();
    let statements = &body["locals"]["transport_statements"];
    let scope = ("${data.aws_partition.current.partition}", "${var.bucket}");
    let wanted = transport_statements(scope, Some(TlsVersion::V1_3));
    assert_eq!(*statements, Value::Array(wanted));
    assert_eq!(body["variable"]["bucket"]["default"], "evidence");
    desk.line("store baseline terraform file:x").expect(2);
    desk.line("store baseline check file:x").expect(2);
    desk.line("store baseline check s3://evidence --min-tls 1.1")
        .expect(2);
}

/// What the configuration and the options say is what the module does where nobody gives a variable.
#[test]
fn the_baseline_module_has_what_is_configured() {
    let desk = Desk::new();
    let defaults = |line: &str| {
        let hcl = desk.line(&format!("store baseline terraform {line}"));
        let body: Value = hcl::from_str(&hcl.expect(0).out).unwrap();
        let names = [
            "bucket",
            "encryption",
            "kms_key",
            "log_bucket",
            "log_prefix",
        ];
        names.map(|name| body["variable"][name]["default"].clone())
    };
    // The bucket's own encryption may be the stronger one.
    let plain = [
        json!("evidence"),
        json!(null),
        json!(null),
        json!(null),
        json!("access/"),
    ];
    assert_eq!(defaults("s3://evidence"), plain);
    desk.write(
        "runpack.yaml",
        "runpacks:\n  s3:\n    bucket: evidence\n    sse: aws:kms\n    sse_kms_key: alias/one\n",
    );
    assert_eq!(
        defaults("--log-bucket my-logs --log-prefix of/${x}/"),
        [
            json!("evidence"),
            json!("aws:kms"),
            json!("alias/one"),
            json!("my-logs"),
            json!("of/${x}/"),
        ]
    );
    desk.write(
        "runpack.yaml",
        "runpacks:\n  regions:\n    stores:\n      eu: {bucket: evidence-eu, region: eu-central-1, sse: aws:kms}\n      \
         vault: {root: vault, location: trusted}\n    routes:\n      - {tenant: \"*\", region: eu}\n",
    );
    for named in ["region:eu", "s3://evidence-eu"] {
        let [bucket, encryption, key, ..] = defaults(named);
        assert_eq!(
            (bucket, encryption, key),
            (json!("evidence-eu"), json!("aws:kms"), json!(null))
        );
    }
    desk.line("store baseline terraform region:vault").expect(2);
    desk.line("store baseline terraform region:mars").expect(2);
}
