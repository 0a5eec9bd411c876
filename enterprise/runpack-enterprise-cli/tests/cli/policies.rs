//! Bucket policies, made and judged at real buckets.

use runpack_core::store::s3::LockMode;
use runpack_testing::block_on;
use runpack_testing::proxy::{Answer, Fault, FaultProxy, Rule};
use runpack_testing::servers::{BucketKind, Kind};
use serde_json::Value;

use crate::support::Desk;

const OWNER: &str = "arn:aws:iam:::user/main";
const ALT: &str = "arn:aws:iam:::user/alt";

/// The codes of the findings, with how bad each is.
fn codes(report: &Value) -> Vec<(String, String)> {
    let findings = report["findings"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let code = |found: &Value| (text(&found["severity"]), text(&found["code"]));
    findings.iter().map(code).collect()
}

fn has(report: &Value, severity: &str, code: &str) -> bool {
    codes(report).contains(&(severity.to_owned(), code.to_owned()))
}

/// A desk that speaks TLS, which the policies demand.
fn in_tls(kind: BucketKind) -> Desk {
    let desk = Desk::new(Kind::Ceph, kind);
    let server = desk.bucket.server().clone();
    let ca = server.ca_pem.unwrap();
    let ca = format!("    ca_file: {}\n", ca.display());
    desk.configure("{mode: governance, retain_for: 30d}", &ca);
    desk.by_way_of(server.tls_endpoint.unwrap())
}

#[test]
fn l01_l10_an_open_bucket_is_not_sound() {
    let desk = Desk::new(Kind::Ceph, BucketKind::Plain);
    let report = desk.json("policy lint @ --dialect ceph", 1);
    assert_eq!(report["verdict"], "unsound");
    for (severity, code) in [
        ("critical", "lock.absent"),
        ("critical", "versioning.off"),
        ("medium", "policy.absent"),
        ("medium", "policy.version_deletion"),
        ("medium", "replication.absent"),
        ("residual", "risk.operator"),
    ] {
        assert!(has(&report, severity, code), "{code}: {report}");
    }
    let order = ["critical", "high", "medium", "low", "residual"];
    let rank = |severity: &str| order.iter().position(|known| *known == severity).unwrap();
    assert!(codes(&report).is_sorted_by_key(|(severity, _)| rank(severity)));
    let shown = desk.line("policy lint @ --dialect ceph").expect(1);
    assert!(shown.out.contains("critical  lock.absent"), "{}", shown.out);
    let audited = desk.audited("policy.lint");
    assert_eq!(audited.len(), 2);
    assert_eq!(audited[0]["detail"]["verdict"], "unsound");
    desk.line("audit-log verify").expect(0);
}

#[test]
fn the_policy_that_is_made_is_taken_and_leaves_less_to_find() {
    let desk = in_tls(BucketKind::LockedByDefault(LockMode::Governance, 30));
    let roles = format!("--holder {ALT} --administrator {OWNER}");
    let lint = format!("policy lint @ --dialect ceph {roles}");
    let before = desk.json(&lint, 1);
    let grave = [
        "policy.bypass",
        "policy.version_deletion",
        "policy.markers",
        "policy.change",
    ];
    for code in grave {
        assert!(
            codes(&before).iter().any(|found| found.1 == code),
            "{code}: {before}"
        );
    }
    let generate = format!("policy generate @ --dialect ceph --writer {ALT} {roles}");
    let made = desk.line(&generate).expect(0);
    assert!(
        made.err.contains("note: DenyShortRetention"),
        "{}",
        made.err
    );
    serde_json::from_str::<Value>(&made.out).unwrap();
    let as_json = desk.json(&generate, 0);
    assert_eq!(as_json["document"], made.json());
    assert!(!as_json["notes"].as_array().unwrap().is_empty());

    // As a file first, then as the bucket's own: the same judgement.
    desk.line(&format!("{generate} --out policy.json"))
        .expect(0);
    assert_eq!(
        std::fs::read_to_string(desk.path("policy.json")).unwrap(),
        made.out
    );
    let refused = desk
        .line(&format!("{generate} --out policy.json"))
        .expect(2);
    assert!(refused.err.contains("not replaced"), "{}", refused.err);
    let tried = desk
        .line(&format!("{lint} --policy policy.json --json"))
        .json();
    block_on(desk.bucket.set_policy_raw(&made.out));
    let after = desk.line(&format!("{lint} --json")).json();
    assert_eq!(codes(&tried), codes(&after));
    let left = codes(&after);
    assert!(left.len() < codes(&before).len(), "{before}\n{after}");
    for code in [
        "policy.absent",
        "policy.bypass",
        "policy.version_deletion",
        "policy.markers",
    ] {
        assert!(!left.iter().any(|found| found.1 == code), "{code}: {after}");
    }
}

#[test]
fn what_a_store_does_not_tell_is_never_clean() {
    let desk = Desk::new(Kind::Ceph, BucketKind::Locked);
    let proxy = FaultProxy::start(&desk.bucket.server().endpoint);
    let desk = desk.by_way_of(proxy.endpoint());
    for (query, code) in [
        ("policy", "policy.not_observed"),
        ("versioning", "versioning.not_observed"),
        ("object-lock", "lock.not_observed"),
        ("lifecycle", "lifecycle.not_observed"),
        ("replication", "replication.not_observed"),
        ("encryption", "encryption.not_observed"),
        ("publicAccessBlock", "public_access.not_observed"),
        ("logging", "logging.not_observed"),
    ] {
        for (status, why) in [
            (403, "AccessDenied"),
            (404, "NoSuchBucket"),
            (404, "NoSuchKey"),
            (501, "NotImplemented"),
            (405, "MethodNotAllowed"),
        ] {
            proxy.clear();
            let answer = Fault::Answer(Answer::error(status, why));
            proxy.plan(Rule::new(answer).method("GET").query(query).always());
            let said = desk.line("policy lint @ --dialect ceph --json");
            assert_ne!(said.code, Some(0), "{query} {why}: {}", said.out);
            let report = said.json();
            let findings = report["findings"].as_array().unwrap();
            let found = findings.iter().find(|found| found["code"] == code);
            let found = found.unwrap_or_else(|| panic!("{query} {why}: {report}"));
            assert_eq!(found["basis"], "not-observed", "{query} {why}");
        }
    }
}

#[test]
fn the_other_user_sees_nothing_and_is_told_so() {
    let desk = Desk::new(Kind::Ceph, BucketKind::Locked);
    let proxy = FaultProxy::start(&desk.bucket.server().endpoint);
    let answer = Fault::Answer(Answer::error(403, "AccessDenied"));
    proxy.plan(Rule::new(answer).method("GET").always());
    let desk = desk.by_way_of(proxy.endpoint());
    let report = desk.json("policy lint @ --dialect ceph", 2);
    assert_eq!(report["verdict"], "undecided");
    let bases: Vec<_> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| &f["basis"])
        .collect();
    assert_eq!(
        bases
            .iter()
            .filter(|basis| **basis == "not-observed")
            .count(),
        8,
        "{report}"
    );
}

#[test]
fn whose_server_it_is_is_not_guessed() {
    let desk = Desk::new(Kind::Ceph, BucketKind::Plain);
    let refused = desk.line("policy lint @").expect(2);
    assert!(refused.err.contains("--dialect"), "{}", refused.err);
    let refused = desk
        .line("policy generate file:packs --dialect aws")
        .expect(2);
    assert!(
        refused.err.contains("s3://BUCKET/PREFIX"),
        "{}",
        refused.err
    );
    let refused = desk.line("policy generate @ --dialect aws --holder everybody");
    assert_eq!(refused.code, Some(2));
    assert!(refused.err.contains("without wildcards"), "{}", refused.err);
}

#[test]
fn the_least_retention_is_what_packs_are_locked_with() {
    let desk = Desk::new(Kind::Ceph, BucketKind::Plain);
    let days = |made: &Value| {
        let statements = made["document"]["Statement"].as_array().unwrap();
        let short = statements.iter().find(|s| s["Sid"] == "DenyShortRetention");
        short.map(|s| {
            s["Condition"]["NumericLessThan"]["s3:object-lock-remaining-retention-days"].clone()
        })
    };
    let line = "policy generate @ --dialect aws";
    assert_eq!(days(&desk.json(line, 0)), None);
    assert_eq!(
        days(&desk.json(&format!("{line} --retention-days 89"), 0)),
        Some("89".into())
    );
    desk.configure("{mode: governance, retain_for: 30d}", "");
    assert_eq!(days(&desk.json(line, 0)), Some("29".into()));
}
