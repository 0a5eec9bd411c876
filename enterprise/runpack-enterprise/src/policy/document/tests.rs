//! Documents that are read, and those that are refused because nobody can be sure what a server makes of them.

use super::*;

const OPEN: &str = r#""Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*""#;

fn refused(text: &str) -> String {
    PolicyDocument::parse(text).unwrap_err().to_string()
}

#[test]
fn every_form_that_means_the_same_is_read_the_same() {
    let one = PolicyDocument::parse(&format!(
        r#"{{"Version":"2012-10-17","Statement":{{{OPEN}}}}}"#
    ))
    .unwrap();
    let other = r#"{"Id":"x","Statement":[{"Effect":"Allow","Principal":{"AWS":["*"]},"Action":["s3:*"],"Resource":["*"]}]}"#;
    assert_eq!(one, PolicyDocument::parse(other).unwrap());
    assert_eq!(
        one.statements()[0].principals,
        Scope::Only(vec![Principal::Anyone])
    );
    let none = PolicyDocument::parse(r#"{"Statement":[]}"#).unwrap();
    assert!(none.statements().is_empty());
}

#[test]
fn what_is_not_understood_is_refused() {
    let with = |more: &str| format!(r#"{{"Statement":[{{{OPEN}{more}}}]}}"#);
    PolicyDocument::parse(&with("")).unwrap();
    for bad in [
        String::new(),
        "[]".to_owned(),
        "null".to_owned(),
        "{}".to_owned(),
        r#"{"Statement":[{}]}"#.to_owned(),
        r#"{"Statement":"x"}"#.to_owned(),
        r#"{"Statement":[],"Version":"2026-01-01"}"#.to_owned(),
        r#"{"Statement":[],"Statements":[]}"#.to_owned(),
        format!(r#"{{"Statement":[{{{OPEN}}}]}} x"#),
        with(r#","effect":"Deny""#),
        with(r#","Sid":1"#),
        with(r#","NotAction":"s3:GetObject""#),
        with(r#","NotPrincipal":{"AWS":"arn:aws:iam::123456789012:root"}"#),
        with(r#","NotResource":"arn:aws:s3:::b""#),
        with(r#","Condition":[]"#),
        with(r#","Condition":{"Bool":"x"}"#),
        with(r#","Condition":{"Bool":{"aws:SecureTransport":{}}}"#),
        with(r#","Condition":{"Bool":{"aws:SecureTransport":"true","AWS:securetransport":"false"}}"#),
        r#"{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#.to_owned(),
        r#"{"Statement":[{"Effect":"allow","Principal":"*","Action":"s3:*","Resource":"*"}]}"#.to_owned(),
        r#"{"Statement":[{"Effect":"Allow","Principal":"me","Action":"s3:*","Resource":"*"}]}"#.to_owned(),
        r#"{"Statement":[{"Effect":"Allow","Principal":{"aws":"*"},"Action":"s3:*","Resource":"*"}]}"#.to_owned(),
        r#"{"Statement":[{"Effect":"Allow","Principal":{},"Action":"s3:*","Resource":"*"}]}"#.to_owned(),
        r#"{"Statement":[{"Effect":"Allow","Principal":{"AWS":[]},"Action":"s3:*","Resource":"*"}]}"#.to_owned(),
        r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":[],"Resource":"*"}]}"#.to_owned(),
        r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":[1],"Resource":"*"}]}"#.to_owned(),
    ] {
        assert!(PolicyDocument::parse(&bad).is_err(), "{bad}");
    }
}

#[test]
fn a_member_that_is_named_twice_is_refused_at_any_depth() {
    for bad in [
        r#"{"Statement":[],"Statement":[]}"#,
        r#"{"Statement":[{"Effect":"Allow","Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"*"}]}"#,
        r#"{"Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"*","Condition":{"Bool":{"a":"1","a":"2"}}}]}"#,
        r#"{"Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"*","Condition":{"Bool":{},"Bool":{}}}]}"#,
    ] {
        assert!(refused(bad).contains("named twice"), "{bad}");
    }
}

#[test]
fn depth_and_length_are_bounded() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(matches!(
        PolicyDocument::parse(&deep),
        Err(PolicyError::Json(_))
    ));
    let long = " ".repeat(BYTES_MAX + 1);
    assert!(matches!(
        PolicyDocument::parse(&long),
        Err(PolicyError::Long { .. })
    ));
}

#[test]
fn messages_show_no_control_characters() {
    let message = refused("{\"Statement\":[],\"a\\nb\":1}");
    assert_eq!(
        message,
        "the policy has no meaning that is known here, correct it, where=`the document, a\\nb` rule=`no member by this name is known`"
    );
}
