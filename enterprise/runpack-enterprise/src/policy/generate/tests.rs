//! The documents that are made: what is in them, what is noted, and that the linter finds nothing that they deny.

use super::*;
use crate::policy::{Inputs, LintCode, Observed, PolicyDocument, Roles, lint};

const HOLDER: &str = "arn:aws:iam::111111111111:role/holder";
const CLEANER: &str = "arn:aws:iam::111111111111:role/cleaner";
const ADMIN: &str = "arn:aws:iam::111111111111:role/admin";
const WRITER: &str = "arn:aws:iam::111111111111:role/writer";

fn principals(arns: &[&str]) -> Vec<PrincipalArn> {
    arns.iter().map(|arn| arn.parse().unwrap()).collect()
}

fn input(dialect: Dialect) -> PolicyInput {
    let mut input = PolicyInput::new("evidence".parse().unwrap(), dialect);
    input.holders = principals(&[HOLDER]);
    input.cleaners = principals(&[CLEANER]);
    input.administrators = principals(&[ADMIN]);
    input.writers = principals(&[WRITER]);
    input.auditors = principals(&["arn:aws:iam::111111111111:role/auditor"]);
    input.retention_days_min = Some(89);
    input
}

fn sids(generated: &Generated) -> Vec<String> {
    let statements = generated.document["Statement"].as_array().unwrap();
    statements
        .iter()
        .map(|statement| statement["Sid"].as_str().unwrap().to_owned())
        .collect()
}

fn statement<'a>(generated: &'a Generated, sid: &str) -> &'a Value {
    let statements = generated.document["Statement"].as_array().unwrap();
    statements
        .iter()
        .find(|statement| statement["Sid"] == sid)
        .unwrap()
}

fn is_noted(generated: &Generated, sid: &str, text: &str) -> bool {
    generated
        .notes
        .iter()
        .any(|note| note.starts_with(sid) && note.contains(text))
}

#[test]
fn amazon_gets_every_statement() {
    let generated = generate(&input(Dialect::Aws));
    let found = sids(&generated);
    for kind in StatementKind::ALL {
        assert!(found.contains(&kind.sid().to_owned()), "{}", kind.sid());
    }
    assert_eq!(
        statement(&generated, "DenyHoldRelease"),
        &json!({
            "Sid": "DenyHoldRelease",
            "Effect": "Deny",
            "Principal": "*",
            "Action": ["s3:PutObjectLegalHold"],
            "NotResource": "arn:aws:s3:::evidence/_runpack/probe/*",
            "Condition": {
                "StringNotEquals": {"s3:object-lock-legal-hold": "ON"},
                "ArnNotEquals": {"aws:PrincipalArn": [HOLDER]},
            },
        })
    );
    assert_eq!(
        statement(&generated, "DenyUnconditionalObjectCreation")["Condition"],
        json!({"Null": {"s3:if-none-match": "true"}, "Bool": {"s3:ObjectCreationOperation": "true"}})
    );
    assert_eq!(
        statement(&generated, "DenyObjectDeletion")["NotResource"],
        "arn:aws:s3:::evidence/_runpack/probe/*"
    );
    assert_eq!(
        statement(&generated, "DenyInsecureTransport")["Condition"],
        json!({"BoolIfExists": {"aws:SecureTransport": "false"}})
    );
    assert_eq!(
        statement(&generated, "DenyShortRetention")["Action"],
        json!(["s3:PutObjectRetention"])
    );
}

#[test]
fn a_short_lock_at_writing_is_forbidden_only_where_nothing_is_locked_shortly_first() {
    let mut input = input(Dialect::Aws);
    input.write_lock = WriteLock::FullAtOnce;
    let generated = generate(&input);
    assert_eq!(
        statement(&generated, "DenyShortRetention")["Action"],
        json!(["s3:PutObjectRetention", "s3:PutObject"])
    );
    input.retention_days_min = None;
    assert!(is_noted(
        &generate(&input),
        "DenyShortRetention",
        "no least retention"
    ));
}

#[test]
fn what_a_server_does_not_understand_is_left_out_and_noted() {
    let ceph = generate(&input(Dialect::Ceph));
    let text = ceph.document.to_string();
    for foreign in [
        "s3:if-none-match",
        "object-lock",
        "PrincipalArn",
        "s3:PutEncryptionConfiguration",
        "s3:GetEncryptionConfiguration",
        "s3:UpdateObjectEncryption",
    ] {
        assert!(!text.contains(foreign), "{foreign}");
    }
    assert!(is_noted(
        &ceph,
        "DenyUnconditionalObjectCreation",
        "left out"
    ));
    assert!(is_noted(&ceph, "DenyShortRetention", "left out"));
    assert!(is_noted(&ceph, "DenyHoldRelease", "placing holds"));
    assert_eq!(
        statement(&ceph, "DenyHoldRelease")["NotPrincipal"],
        json!({"AWS": [HOLDER]})
    );

    let minio = generate(&input(Dialect::MinIo));
    let statements = minio.document["Statement"].as_array().unwrap();
    for statement in statements {
        assert!(statement.get("Principal").is_none() && statement.get("NotPrincipal").is_none());
        assert!(statement.get("NotResource").is_none());
        assert_eq!(statement["Effect"], "Deny");
    }
    assert!(is_noted(&minio, "DenyShortRetention", "left out"));
    assert!(is_noted(&minio, "attach this", "without signature"));
    assert!(is_noted(&minio, "DenyObjectDeletion", "no exceptions"));
    assert!(is_noted(&minio, "what a writer may do is left out", ""));
}

#[test]
fn whatever_is_asked_for_is_made_or_noted() {
    for dialect in [Dialect::Aws, Dialect::Ceph, Dialect::MinIo] {
        for kind in StatementKind::ALL {
            for prefix in ["", "team/a"] {
                let mut input = PolicyInput::new("evidence".parse().unwrap(), dialect);
                input.statements = [kind].into();
                input.path_prefix = prefix.parse().unwrap();
                let generated = generate(&input);
                let is_made = sids(&generated).contains(&kind.sid().to_owned());
                assert!(
                    is_made || is_noted(&generated, kind.sid(), "left out"),
                    "{dialect:?} {kind:?}"
                );
            }
        }
    }
}

#[test]
fn below_a_prefix_nobody_elses_objects_are_touched() {
    let mut input = input(Dialect::Aws);
    input.path_prefix = "team/a".parse().unwrap();
    let generated = generate(&input);
    for statement in generated.document["Statement"].as_array().unwrap() {
        assert!(statement.get("NotResource").is_none(), "{statement}");
        let is_for_all = statement["Sid"] == "DenyInsecureTransport";
        let resource = statement["Resource"].to_string();
        assert!(
            is_for_all || !resource.contains("evidence/") || resource.contains("evidence/team/a/*"),
            "{statement}"
        );
    }
    assert!(is_noted(&generated, "probes cannot be excepted", "cleaner"));
}

#[test]
fn the_policy_itself_is_kept_only_where_somebody_may_change_it() {
    let mut nobody = input(Dialect::Aws);
    nobody.administrators = Vec::new();
    let generated = generate(&nobody);
    assert!(
        !generated
            .document
            .to_string()
            .contains("s3:PutBucketPolicy")
    );
    assert!(is_noted(
        &generated,
        "DenyStoreReconfiguration",
        "name an administrator"
    ));
    let somebody = generate(&input(Dialect::Aws));
    let actions = &statement(&somebody, "DenyStoreReconfiguration")["Action"];
    assert!(
        actions
            .as_array()
            .unwrap()
            .contains(&json!("s3:DeleteBucketPolicy"))
    );
}

#[test]
fn a_document_that_is_too_long_is_noted() {
    let mut input = input(Dialect::Aws);
    input.writers = (0..400)
        .map(|number| {
            format!("arn:aws:iam::111111111111:role/writer-{number}")
                .parse()
                .unwrap()
        })
        .collect();
    assert!(is_noted(
        &generate(&input),
        "the document is longer than Amazon S3 takes",
        "20480"
    ));
}

#[test]
fn principals_are_one_user_or_role() {
    for good in [
        HOLDER,
        "arn:aws:iam:::user/alt",
        "arn:aws-cn:iam::111111111111:role/path/to/r",
        "arn:aws:iam::tenant:user/joe@x",
    ] {
        assert_eq!(good.parse::<PrincipalArn>().unwrap().as_str(), good);
    }
    for bad in [
        "",
        "*",
        "111111111111",
        "arn:aws:iam::111111111111:root",
        "arn:aws:iam::111111111111:role/*",
        "arn:aws:iam::*:role/x",
        "arn:aws:iam::1:group/x",
        "arn:aws:sts::1:assumed-role/x/y",
        "arn:aws:iam::1:role/",
        "arn:aws:iam::1:role/${aws:username}",
        "arn:aws:iam::1:role/a\"b",
    ] {
        assert!(bad.parse::<PrincipalArn>().is_err(), "{bad}");
    }
}

/// What the linter still finds about who may do what.
fn open_doors(dialect: Dialect, prefix: &str) -> Vec<LintCode> {
    let mut input = input(dialect);
    input.path_prefix = prefix.parse().unwrap();
    let generated = generate(&input);
    let text = generated.document.to_string();
    if dialect != Dialect::MinIo {
        PolicyDocument::parse(&text).unwrap();
    }
    let mut inputs = Inputs::new(input.bucket.clone(), input.path_prefix.clone(), dialect);
    inputs.account = Some("111111111111".to_owned());
    inputs.wanted = Some((
        crate::retention::LockMode::Compliance,
        "90d".parse().unwrap(),
    ));
    inputs.roles = Roles {
        holders: input.holders.iter().cloned().collect(),
        cleaners: input.cleaners.iter().cloned().collect(),
        administrators: input.administrators.iter().cloned().collect(),
    };
    inputs.policy = Observed::Found(text);
    let codes = lint(&inputs).into_iter().map(|finding| finding.code);
    codes
        .filter(|code| code.as_str().starts_with("policy."))
        .collect()
}

#[test]
fn l04_l08_the_linter_finds_no_door_open_that_the_generator_closed() {
    // A key of the writer's own is a matter of the bucket's encryption, and of no statement here.
    for prefix in ["", "team/a"] {
        assert_eq!(
            open_doors(Dialect::Aws, prefix),
            [
                LintCode::PolicyIdentitiesNotObserved,
                LintCode::PolicyCustomerKeys
            ],
        );
        // Nothing at Ceph keeps a writer from a short lock, and so it is found.
        let ceph = open_doors(Dialect::Ceph, prefix);
        assert_eq!(
            ceph,
            [
                LintCode::PolicyIdentitiesNotObserved,
                LintCode::PolicyShortRetention
            ],
            "{prefix}"
        );
    }
}

#[test]
fn without_a_statement_its_door_is_found_open() {
    for (kind, code) in [
        (
            StatementKind::UnconditionalObjectCreation,
            LintCode::PolicyShadowing,
        ),
        (
            StatementKind::ObjectDeletion,
            LintCode::PolicyVersionDeletion,
        ),
        (StatementKind::ObjectDeletion, LintCode::PolicyMarkers),
        (
            StatementKind::ReplicationIntoStore,
            LintCode::PolicyInboundReplication,
        ),
        (
            StatementKind::StoreReconfiguration,
            LintCode::PolicyReconfiguration,
        ),
        (StatementKind::StoreReconfiguration, LintCode::PolicyChange),
        (
            StatementKind::StoreReconfiguration,
            LintCode::PolicyKeyChange,
        ),
        (
            StatementKind::InsecureTransport,
            LintCode::PolicyInsecureTransport,
        ),
        (
            StatementKind::ShortRetention,
            LintCode::PolicyShortRetention,
        ),
        (StatementKind::Bypass, LintCode::PolicyBypass),
        (StatementKind::HoldRelease, LintCode::PolicyHoldRelease),
    ] {
        let mut input = input(Dialect::Aws);
        input.statements.remove(&kind);
        let mut inputs = Inputs::new(
            input.bucket.clone(),
            input.path_prefix.clone(),
            Dialect::Aws,
        );
        inputs.account = Some("111111111111".to_owned());
        inputs.policy = Observed::Found(generate(&input).document.to_string());
        let codes: Vec<_> = lint(&inputs)
            .into_iter()
            .map(|finding| finding.code)
            .collect();
        assert!(codes.contains(&code), "{kind:?} {codes:?}");
    }
}

#[test]
fn what_a_proof_does_with_its_canaries_is_denied_to_nobody() {
    for dialect in [Dialect::Aws, Dialect::Ceph] {
        for write_lock in [WriteLock::ShortFirst, WriteLock::FullAtOnce] {
            let mut input = input(dialect);
            input.write_lock = write_lock;
            let generated = generate(&input);
            for sid in [
                "DenyShortRetention",
                "DenyHoldRelease",
                "DenyObjectDeletion",
            ] {
                if dialect == Dialect::Ceph && sid == "DenyShortRetention" {
                    assert!(is_noted(&generated, sid, "left out"));
                    continue;
                }
                let found = statement(&generated, sid);
                assert_eq!(
                    found["NotResource"], "arn:aws:s3:::evidence/_runpack/probe/*",
                    "{found}"
                );
                assert!(found.get("Resource").is_none(), "{found}");
            }
        }
    }
    let mut below = input(Dialect::Aws);
    below.path_prefix = "team/a".parse().unwrap();
    assert!(is_noted(
        &generate(&below),
        "probes cannot be excepted",
        "`prove`"
    ));
}
