//! Policies with our statements among others.

use super::*;
use crate::store::s3::baseline::Standing;

const B: (&str, &str) = ("aws", "b");

fn written(looked: &Looked) -> Option<Value> {
    match &looked.change {
        Some(Change::Policy(text)) => Some(serde_json::from_str(text).unwrap()),
        _ => None,
    }
}

#[test]
fn statements_come_among_others_and_replace_none() {
    let theirs = json!({"Sid": "Theirs", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::1:root"},
                        "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"});
    let policy = json!({"Version": "2008-10-17", "Id": "x", "Statement": theirs}).to_string();
    let first = looked(B, Some(TlsVersion::V1_2), Some(&policy));
    assert_eq!(first.standing, Standing::Missing);
    let merged = written(&first).unwrap();
    assert_eq!(merged["Id"], "x");
    assert_eq!(merged["Version"], "2008-10-17");
    assert_eq!(merged["Statement"][0], theirs);
    assert_eq!(merged["Statement"].as_array().unwrap().len(), 3);
    let again = looked(B, Some(TlsVersion::V1_2), Some(&merged.to_string()));
    assert_eq!(again.standing, Standing::Good);
    // Another bucket's statements deny nothing here.
    let other = looked(
        ("aws", "c"),
        Some(TlsVersion::V1_2),
        Some(&merged.to_string()),
    );
    assert!(matches!(other.standing, Standing::ByHand { .. }));
    assert_eq!(looked(B, None, None).standing, Standing::Missing);
}

/// Elsewhere a statement about `arn:aws:` is about no bucket there is.
#[test]
fn statements_are_about_the_bucket_of_its_partition() {
    let china = ("aws-cn", "b");
    let set = written(&looked(china, None, None)).unwrap();
    assert_eq!(
        set["Statement"][0]["Resource"],
        json!(["arn:aws-cn:s3:::b", "arn:aws-cn:s3:::b/*"])
    );
    let text = set.to_string();
    assert_eq!(looked(china, None, Some(&text)).standing, Standing::Good);
    assert_ne!(looked(B, None, Some(&text)).standing, Standing::Good);
}

#[test]
fn a_statement_counts_by_what_it_says() {
    let guide = r#"{"Version":"2012-10-17","Statement":[{"Sid":"NothingInTheClear","Effect":"Deny","Principal":{"AWS":["*"]},
        "Action":["s3:*"],"Resource":["arn:aws:s3:::b/*","arn:aws:s3:::b"],
        "Condition":{"BoolIfExists":{"aws:SecureTransport":false}}}]}"#;
    assert_eq!(looked(B, None, Some(guide)).standing, Standing::Good);
    let stronger = transport_statements(B, Some(TlsVersion::V1_3));
    let stronger = json!({"Version": "2012-10-17", "Statement": stronger}).to_string();
    let old = looked(B, Some(TlsVersion::V1_2), Some(&stronger));
    assert_eq!(old.standing, Standing::Good);
    for weaker in [
        guide.replace("Deny", "Allow"),
        guide.replace("s3:*", "s3:GetObject"),
        guide.replace("arn:aws:s3:::b/*", "arn:aws:s3:::b/x/*"),
        guide.replace("false}", "false},\"StringEquals\":{\"aws:username\":\"x\"}"),
        guide.replace("[\"*\"]", "[\"*\",\"arn:aws:iam::1:root\"]"),
    ] {
        let standing = looked(B, None, Some(&weaker)).standing;
        assert_eq!(standing, Standing::Missing, "{weaker}");
    }
}

#[test]
fn what_would_have_to_be_replaced_is_left_to_people() {
    let weak = transport_statements(B, Some(TlsVersion::V1_2));
    let weak = json!({"Version": "2012-10-17", "Statement": weak}).to_string();
    for policy in [
        weak.as_str(),
        "{",
        "[]",
        "{}",
        r#"{"Statement":"all"}"#,
        r#"{"Statement":[{"Sid":"RunpackNothingInTheClear","Effect":"Allow"}]}"#,
    ] {
        let looked = looked(B, Some(TlsVersion::V1_3), Some(policy));
        assert!(
            matches!(looked.standing, Standing::ByHand { .. }),
            "{policy}"
        );
        assert_eq!(written(&looked), None);
    }
}
