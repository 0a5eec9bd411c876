//! The evaluator against a table of what AWS documents, and against the plain reference.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::condition::{Said, Understood};
use super::super::principal::Principal;
use super::super::reference::{Plain, decide};
use super::*;

const JOE: &str = "arn:aws:iam::111111111111:user/joe";
const ROLE: &str = "arn:aws:iam::111111111111:role/holder";
const SESSION: &str = "arn:aws:sts::111111111111:assumed-role/holder/monday";
const FAR: &str = "arn:aws:iam::222222222222:user/far";
const ACCOUNT: &str = "111111111111";

fn named(arn: &str) -> Who {
    Who::Named(Principal::new("AWS", arn.to_owned()))
}

fn answer(
    statements: &Value,
    who: &Who,
    action: &str,
    target: &Target,
    context: &Context,
) -> Answer {
    let policy = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    let request = Request {
        who,
        action,
        target,
        context,
        account: Some(ACCOUNT),
    };
    PolicyDocument::parse(&policy).unwrap().answer(&request)
}

fn outcome(statements: &Value, who: &Who, action: &str) -> Outcome {
    let target = Target::Below("arn:aws:s3:::b/".to_owned());
    answer(statements, who, action, &target, &Context::default()).outcome()
}

fn deny(more: &Value) -> Value {
    let mut statement = json!({"Effect": "Deny", "Resource": "arn:aws:s3:::b/*"});
    statement
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    json!([{"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "*"}, statement])
}

#[test]
fn an_explicit_deny_wins() {
    let all = deny(&json!({"Principal": "*", "Action": "s3:DeleteObject*"}));
    for who in [Who::Anonymous, Who::InAccount, Who::Elsewhere, named(JOE)] {
        assert_eq!(
            outcome(&all, &who, "s3:DeleteObjectVersion"),
            Outcome::Denied,
            "{who}"
        );
        assert_eq!(
            outcome(&all, &who, "s3:GetObject"),
            Outcome::Allowed,
            "{who}"
        );
    }
    assert_eq!(
        outcome(&json!([]), &Who::InAccount, "s3:GetObject"),
        Outcome::Open
    );
}

#[test]
fn actions_do_not_care_about_capital_letters_and_resources_do() {
    let small = deny(&json!({"Principal": "*", "Action": "S3:deleteobjectversion"}));
    assert_eq!(
        outcome(&small, &Who::InAccount, "s3:DeleteObjectVersion"),
        Outcome::Denied
    );
    let capital = deny(
        &json!({"Principal": "*", "Action": "s3:DeleteObjectVersion", "Resource": "arn:aws:s3:::B/*"}),
    );
    assert_eq!(
        outcome(&capital, &Who::InAccount, "s3:DeleteObjectVersion"),
        Outcome::Allowed
    );
}

#[test]
fn l04_a_deny_that_does_not_reach_all_evidence_is_none() {
    for partial in [
        json!({"Principal": "*", "Action": "s3:DeleteObjectVersion", "Resource": "arn:aws:s3:::b/tenant/*"}),
        json!({"Principal": "*", "Action": "s3:DeleteObjectVersion", "Resource": "arn:aws:s3:::b"}),
        json!({"Principal": "*", "Action": "s3:DeleteObjectVersion", "Resource": "arn:aws:s3:::b/*.json"}),
        json!({"Principal": "*", "Action": "s3:DeleteObject", "Resource": "arn:aws:s3:::b/*"}),
        json!({"Principal": "*", "NotAction": "s3:Delete*", "Resource": "arn:aws:s3:::b/*"}),
        json!({"Principal": "*", "Action": "s3:DeleteObjectVersion", "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}),
        json!({"Principal": "*", "Action": "s3:DeleteObjectVersion", "Condition": {"StringEquals": {"aws:PrincipalTag/team": "x"}}}),
        json!({"Principal": "*", "Action": "s3:DeleteObjectVersion", "Condition": {"ForAllValues:StringEquals": {"aws:TagKeys": "x"}}}),
        json!({"Principal": "*", "Action": "s3:DeleteObjectVersion", "Condition": {"Null": {"aws:MultiFactorAuthAge": "true"}}}),
        json!({"Principal": {"AWS": JOE}, "Action": "s3:DeleteObjectVersion"}),
        json!({"NotPrincipal": {"AWS": ["arn:aws:iam::111111111111:root", JOE]}, "Action": "s3:DeleteObjectVersion"}),
    ] {
        assert_eq!(
            outcome(&deny(&partial), &Who::InAccount, "s3:DeleteObjectVersion"),
            Outcome::Allowed,
            "{partial}"
        );
    }
}

#[test]
fn exceptions_are_seen() {
    for excepted in [
        json!({"NotPrincipal": {"AWS": [ROLE]}, "Action": "s3:*"}),
        json!({"Principal": "*", "Action": "s3:*", "Condition": {"ArnNotEquals": {"aws:PrincipalArn": ROLE}}}),
        json!({"Principal": "*", "Action": "s3:*", "Condition": {"StringNotLike": {"AWS:principalarn": [ROLE]}}}),
        json!({"Principal": "*", "Action": "s3:*", "Condition": {"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::111111111111:role/*"}}}),
    ] {
        let policy = deny(&excepted);
        assert_eq!(
            outcome(&policy, &named(ROLE), "s3:GetObject"),
            Outcome::Allowed,
            "{excepted}"
        );
        assert_eq!(
            outcome(&policy, &named(JOE), "s3:GetObject"),
            Outcome::Denied,
            "{excepted}"
        );
        assert_eq!(
            outcome(&policy, &Who::InAccount, "s3:GetObject"),
            Outcome::Denied,
            "{excepted}"
        );
    }
    // An ARN is absent without credentials, and a negated operator holds then.
    let anonymous = deny(
        &json!({"Principal": "*", "Action": "s3:*", "Condition": {"ArnNotEquals": {"aws:PrincipalArn": ROLE}}}),
    );
    assert_eq!(
        outcome(&anonymous, &Who::Anonymous, "s3:GetObject"),
        Outcome::Denied
    );
    let mixed = json!([
        {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*", "Condition": {"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::1*:role/*"}}},
        {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*", "Condition": {"ArnNotLike": {"aws:PrincipalArn": "*admin*"}}},
    ]);
    // A role that is an administrator fits both exceptions, and no asker is named so.
    let fitting = Who::Fitting("*admin*".to_owned());
    assert_eq!(outcome(&mixed, &fitting, "s3:GetObject"), Outcome::Open);
}

#[test]
fn accounts_roles_and_sessions() {
    let root = "arn:aws:iam::111111111111:root";
    for (element, who, wanted) in [
        (json!({"AWS": root}), named(JOE), Outcome::Denied),
        (json!({"AWS": ACCOUNT}), named(JOE), Outcome::Denied),
        (json!({"AWS": root}), Who::InAccount, Outcome::Denied),
        (json!({"AWS": ACCOUNT}), named(root), Outcome::Denied),
        (json!({"AWS": root}), named(FAR), Outcome::Allowed),
        (json!({"AWS": root}), Who::Elsewhere, Outcome::Allowed),
        (json!({"AWS": root}), Who::Anonymous, Outcome::Allowed),
        (json!({"AWS": JOE}), named(root), Outcome::Allowed),
        (json!({"AWS": ROLE}), named(SESSION), Outcome::Denied),
        (json!({"AWS": SESSION}), named(ROLE), Outcome::Allowed),
        (
            json!({"AWS": "AROAEXAMPLEEXAMPLE123"}),
            named(ROLE),
            Outcome::Allowed,
        ),
        (
            json!({"Service": "s3.amazonaws.com"}),
            named(JOE),
            Outcome::Allowed,
        ),
        (json!({"AWS": "*"}), Who::Anonymous, Outcome::Denied),
    ] {
        let policy = deny(&json!({"Principal": element, "Action": "s3:*"}));
        assert_eq!(
            outcome(&policy, &who, "s3:GetObject"),
            wanted,
            "{element} {who}"
        );
    }
}

#[test]
fn ceph_is_believed_in_one_key_alone() {
    let policy = deny(
        &json!({"Principal": "*", "Action": "s3:*", "Condition": {"ArnNotEquals": {"aws:PrincipalArn": ROLE}}}),
    );
    let target = Target::Below("arn:aws:s3:::b/".to_owned());
    let context = Context::new(Understood::Transport).with("aws:SecureTransport", Said::Absent);
    let found = answer(&policy, &Who::InAccount, "s3:GetObject", &target, &context);
    assert_eq!(found.outcome(), Outcome::Allowed);
    for (operator, wanted) in [
        ("Bool", Outcome::Allowed),
        ("BoolIfExists", Outcome::Denied),
    ] {
        let policy = deny(
            &json!({"Principal": "*", "Action": "s3:*", "Condition": {operator: {"aws:SecureTransport": "false"}}}),
        );
        let found = answer(&policy, &Who::InAccount, "s3:GetObject", &target, &context);
        assert_eq!(found.outcome(), wanted, "{operator}");
    }
}

fn pick(from: &'static [&'static str]) -> impl Strategy<Value = Value> {
    prop::collection::vec(prop::sample::select(from), 1..3).prop_map(|texts| json!(texts))
}

const PRINCIPALS: &[&str] = &[
    "*",
    JOE,
    ROLE,
    FAR,
    "arn:aws:iam::111111111111:root",
    "222222222222",
];
const ACTIONS: &[&str] = &[
    "s3:GetObject",
    "s3:*",
    "*",
    "s3:Delete*",
    "S3:deleteobject",
    "s3:?etObject",
    "s3:PutObject",
];
const RESOURCES: &[&str] = &[
    "*",
    "arn:aws:s3:::b/*",
    "arn:aws:s3:::b",
    "arn:aws:s3:::b/a*",
    "arn:aws:s3:::b/?a",
    "arn:aws:s3:::b/ab",
];
const CONDITIONS: &[&str] = &[
    r#"{"Bool":{"k:bool":"true"}}"#,
    r#"{"BoolIfExists":{"k:bool":"false"}}"#,
    r#"{"Null":{"k:text":"true"}}"#,
    r#"{"Null":{"K:Text":"false"}}"#,
    r#"{"StringEquals":{"k:text":["x","y"]}}"#,
    r#"{"StringNotEquals":{"k:text":["x","y"]}}"#,
    r#"{"StringLike":{"k:text":"x*"}}"#,
    r#"{"StringNotLikeIfExists":{"k:text":"x*"}}"#,
    r#"{"NumericLessThan":{"k:number":"10"}}"#,
    r#"{"NumericLessThan":{"k:number":"10"},"StringEquals":{"k:text":"x","k:bool":"true"}}"#,
    r#"{"ArnNotLike":{"aws:PrincipalArn":["arn:aws:iam::111111111111:role/*"]}}"#,
    r#"{"ArnLike":{"aws:principalArn":["arn:aws:iam::*:user/joe"]}}"#,
];

fn statement() -> impl Strategy<Value = Value> {
    let conditions = prop::option::of(prop::sample::select(CONDITIONS));
    let negated = prop::collection::vec(any::<bool>(), 4);
    (
        pick(PRINCIPALS),
        pick(ACTIONS),
        pick(RESOURCES),
        conditions,
        negated,
    )
        .prop_map(|(principal, action, resource, condition, negated)| {
            let name = |at: usize, name: &str| {
                if negated[at] {
                    format!("Not{name}")
                } else {
                    name.to_owned()
                }
            };
            let mut statement = json!({
                "Effect": if negated[3] { "Deny" } else { "Allow" },
                name(0, "Principal"): {"AWS": principal},
                name(1, "Action"): action,
                name(2, "Resource"): resource,
            });
            if let Some(condition) = condition {
                statement["Condition"] = serde_json::from_str(condition).unwrap();
            }
            statement
        })
}

fn plain() -> impl Strategy<Value = Plain> {
    let arn = prop::option::of(prop::sample::select(
        &[JOE, ROLE, FAR, "arn:aws:iam::111111111111:user/nobody"][..],
    ));
    let action = prop::sample::select(&["s3:GetObject", "s3:DeleteObject", "s3:PutObject"][..]);
    let text = prop::option::of(prop::sample::select(&["x", "y", "xy", "z"][..]));
    let number = prop::option::of(prop::sample::select(&["9", "10", "11"][..]));
    let is = prop::option::of(prop::sample::select(&["true", "false"][..]));
    (arn, action, "[ab]{0,3}", text, number, is).prop_map(|(arn, action, key, text, number, is)| {
        let mut context = BTreeMap::new();
        let pairs = [
            ("k:text", text),
            ("k:number", number),
            ("k:bool", is),
            ("aws:principalarn", arn),
        ];
        context.extend(
            pairs
                .into_iter()
                .filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned()))),
        );
        Plain {
            arn: arn.map(str::to_owned),
            action: action.to_owned(),
            resource: format!("arn:aws:s3:::b/{key}"),
            context,
        }
    })
}

fn who(plain: &Plain) -> Who {
    plain.arn.as_deref().map_or(Who::Anonymous, named)
}

fn full_context(plain: &Plain) -> Context {
    let keys = ["k:text", "k:number", "k:bool"];
    keys.iter().fold(Context::default(), |context, key| {
        let said = plain
            .context
            .get(*key)
            .map_or(Said::Absent, |value| Said::Known(value.clone()));
        context.with(key, said)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn with_all_known_it_is_exactly_the_reference(
        statements in prop::collection::vec(statement(), 0..5),
        plain in plain(),
    ) {
        let (denied, allowed) = decide(&json!({"Statement": statements}), &plain);
        let target = Target::Exactly(plain.resource.clone());
        let found = answer(&json!(statements), &who(&plain), &plain.action, &target, &full_context(&plain));
        prop_assert_eq!(found, Answer { denied: denied.into(), allowed: allowed.into() });
    }

    #[test]
    fn with_little_known_it_is_never_certain_and_wrong(
        statements in prop::collection::vec(statement(), 0..5),
        plain in plain(),
    ) {
        let (denied, allowed) = decide(&json!({"Statement": statements}), &plain);
        let target = Target::Below("arn:aws:s3:::b/".to_owned());
        let found = answer(&json!(statements), &who(&plain), &plain.action, &target, &Context::default());
        prop_assert!(found.denied != Truth::Yes || denied);
        prop_assert!(found.denied != Truth::No || !denied);
        prop_assert!(found.allowed != Truth::Yes || allowed);
        prop_assert!(found.allowed != Truth::No || !allowed);
    }

    #[test]
    fn who_is_named_nowhere_stands_for_all_of_those(
        statements in prop::collection::vec(statement(), 0..5),
        mut plain in plain(),
        arn in prop::sample::select(&["arn:aws:iam::111111111111:user/x", "arn:aws:iam::111111111111:role/y", "arn:aws:iam::111111111111:role/deep/z"][..]),
    ) {
        plain.arn = Some(arn.to_owned());
        plain.context.insert("aws:principalarn".to_owned(), arn.to_owned());
        let (denied, _) = decide(&json!({"Statement": statements}), &plain);
        let text = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
        let policy = PolicyDocument::parse(&text).unwrap();
        let target = Target::Exactly(plain.resource.clone());
        let context = full_context(&plain);
        let is_denied_to_all = super::super::principal::askers(&policy, &BTreeSet::default()).iter().all(|who| {
            let request = Request { who, action: &plain.action, target: &target, context: &context, account: Some(ACCOUNT) };
            policy.answer(&request).denied == Truth::Yes
        });
        prop_assert!(!is_denied_to_all || denied);
    }
}
