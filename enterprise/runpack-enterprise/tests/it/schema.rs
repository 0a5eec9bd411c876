//! Attestations against `Docs/spec/storage-retention-v1.schema.json`. As much of JSON Schema as it uses;
//! a keyword that is not known here is a failure, so that the schema says no more than is checked.

use std::fs;
use std::path::Path;

use runpack_core::attestation::{Claim, LegalHold, Mode};
use serde_json::{Value, json};

use crate::sample;

fn schema() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../Docs/spec/storage-retention-v1.schema.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn validate(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    for (keyword, rule) in schema.as_object().unwrap() {
        let holds = match keyword.as_str() {
            "$schema" | "title" | "description" | "$defs" => true,
            "$ref" => {
                let pointer = rule.as_str().unwrap().strip_prefix('#').unwrap();
                validate(root, root.pointer(pointer).unwrap(), value, at)?;
                true
            }
            "type" => match rule {
                Value::Array(types) => types.iter().any(|one| is_type(one, value)),
                one => is_type(one, value),
            },
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => value.as_u64() >= rule.as_u64(),
            "pattern" => value
                .as_str()
                .is_some_and(|text| matches(rule.as_str().unwrap(), text)),
            "oneOf" => {
                let fits = |one: &&Value| validate(root, one, value, at).is_ok();
                rule.as_array().unwrap().iter().filter(fits).count() == 1
            }
            "required" => {
                let names = rule.as_array().unwrap();
                names
                    .iter()
                    .all(|name| value.get(name.as_str().unwrap()).is_some())
            }
            "properties" => {
                for (name, schema) in rule.as_object().unwrap() {
                    if let Some(member) = value.get(name) {
                        validate(root, schema, member, &format!("{at}/{name}"))?;
                    }
                }
                true
            }
            "additionalProperties" => {
                assert_eq!(*rule, Value::Bool(false));
                let known = schema["properties"].as_object().unwrap();
                let members = value.as_object().into_iter().flatten();
                members
                    .into_iter()
                    .all(|(name, _)| known.contains_key(name))
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    validate(root, rule, item, &format!("{at}/{index}"))?;
                }
                true
            }
            other => panic!("the keyword `{other}` is not checked here"),
        };
        if !holds {
            return Err(format!("{at}: {keyword}"));
        }
    }
    Ok(())
}

fn is_type(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        "null" => value.is_null(),
        other => panic!("the type `{other}` is not known here"),
    }
}

/// `^` (character or class, with `{n}`)* `$`.
fn matches(pattern: &str, text: &str) -> bool {
    let mut pattern = pattern
        .strip_prefix('^')
        .unwrap()
        .strip_suffix('$')
        .unwrap();
    let mut text = text.chars();
    while let Some(first) = pattern.chars().next() {
        let (class, rest) = match first {
            '[' => pattern.strip_prefix('[').unwrap().split_once(']').unwrap(),
            _ => pattern.split_at(1),
        };
        let (count, rest) = match rest.strip_prefix('{') {
            Some(rest) => {
                let (count, rest) = rest.split_once('}').unwrap();
                (count.parse().unwrap(), rest)
            }
            None => (1, rest),
        };
        for _ in 0..count {
            let fits = match (first, text.next()) {
                ('[', Some(found)) => match class {
                    "0-9" => found.is_ascii_digit(),
                    "0-9a-f" => found.is_ascii_digit() || ('a'..='f').contains(&found),
                    other => panic!("the class `{other}` is not known here"),
                },
                (plain, found) => found == Some(plain),
            };
            if !fits {
                return false;
            }
        }
        pattern = rest;
    }
    text.next().is_none()
}

fn judged(value: &Value) -> Result<(), String> {
    let schema = schema();
    validate(&schema, &schema, value, "")
}

#[test]
fn predicates_fit_the_schema() {
    let full = sample::predicate();
    assert_eq!(judged(&serde_json::to_value(&full).unwrap()), Ok(()));
    let mut bare = full;
    bare.enforcement = Claim::not_observed();
    bare.holds = Claim::not_observed();
    bare.store_time = Claim::not_observed();
    bare.retained_until = None;
    bare.observer.operator = None;
    bare.objects[0].mode = Mode::NotObserved;
    bare.objects[0].legal_hold = LegalHold::NotObserved;
    bare.objects[0].retain_until = None;
    bare.objects[0].version_id = None;
    assert_eq!(judged(&serde_json::to_value(&bare).unwrap()), Ok(()));
}

/// Whatever the schema describes, the program writes; and the other way round.
#[test]
fn no_member_more_or_less() {
    fn check(good: &Value, value: &Value, at: &str) {
        match value {
            Value::Object(members) => {
                let above = |changed: Value| {
                    let mut bad = good.clone();
                    *bad.pointer_mut(at).unwrap() = changed;
                    assert!(judged(&bad).is_err(), "{at}");
                };
                let mut more = value.clone();
                more["more"] = json!(1);
                above(more);
                for (name, member) in members {
                    let mut less = value.clone();
                    less.as_object_mut().unwrap().remove(name);
                    above(less);
                    check(good, member, &format!("{at}/{name}"));
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    check(good, item, &format!("{at}/{index}"));
                }
            }
            _ => {
                let mut bad = good.clone();
                *bad.pointer_mut(at).unwrap() = json!([[]]);
                assert!(judged(&bad).is_err(), "{at}");
            }
        }
    }
    let good = serde_json::to_value(sample::predicate()).unwrap();
    check(&good, &good, "");
}
