//! JSON Schema, as much of it as the schemas of `Docs/cli` use. A keyword that is not known here is a
//! failure, so that no schema says more than is checked.

use std::fs;
use std::path::Path;

use serde_json::Value;

pub(crate) fn load(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../Docs/cli")
        .join(format!("{name}.schema.json"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Holds a value against `Docs/cli/{name}.schema.json`.
#[track_caller]
pub(crate) fn check(name: &str, value: &Value) {
    if let Err(fault) = validate(&load(name), value, "$") {
        panic!("{name}: {fault}\n{value}");
    }
}

pub(crate) fn validate(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let schema = schema.as_object().ok_or("a schema is an object")?;
    for (keyword, rule) in schema {
        let holds = match keyword.as_str() {
            "$schema" | "title" | "description" => true,
            "type" => match rule {
                Value::Array(types) => types
                    .iter()
                    .any(|one| is_type(one.as_str().unwrap(), value)),
                one => is_type(one.as_str().unwrap(), value),
            },
            "const" => value == rule,
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => value
                .as_u64()
                .is_some_and(|value| value >= rule.as_u64().unwrap()),
            "pattern" => value
                .as_str()
                .is_some_and(|text| matches(rule.as_str().unwrap(), text)),
            "oneOf" => {
                let fitting = rule.as_array().unwrap().iter();
                fitting
                    .filter(|one| validate(one, value, at).is_ok())
                    .count()
                    == 1
            }
            "required" => rule
                .as_array()
                .unwrap()
                .iter()
                .all(|name| value.get(name.as_str().unwrap()).is_some()),
            "properties" => {
                for (name, schema) in rule.as_object().unwrap() {
                    if let Some(member) = value.get(name) {
                        validate(schema, member, &format!("{at}.{name}"))?;
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                for (name, member) in value.as_object().into_iter().flatten() {
                    if known.is_some_and(|known| known.contains_key(name)) {
                        continue;
                    }
                    if *rule == Value::Bool(false) {
                        return Err(format!("{at}: `{name}` is not described"));
                    }
                    validate(rule, member, &format!("{at}.{name}"))?;
                }
                true
            }
            "items" => {
                for (index, item) in value.as_array().unwrap().iter().enumerate() {
                    validate(rule, item, &format!("{at}[{index}]"))?;
                }
                true
            }
            other => return Err(format!("the keyword `{other}` is not checked here")),
        };
        if !holds {
            return Err(format!("{at}: `{keyword}` is {rule}, found {value}"));
        }
    }
    Ok(())
}

fn is_type(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("the type `{other}` is not known here"),
    }
}

/// Regular expressions of the form `^` (character or class, with `{n}`, `{n,m}` or `+`)* `$`.
fn matches(pattern: &str, text: &str) -> bool {
    let inner = pattern
        .strip_prefix('^')
        .and_then(|p| p.strip_suffix('$'))
        .unwrap();
    let pattern: Vec<char> = inner.chars().collect();
    let text: Vec<char> = text.chars().collect();
    from(&pattern, &text)
}

fn from(pattern: &[char], text: &[char]) -> bool {
    let Some(first) = pattern.first() else {
        return text.is_empty();
    };
    let (class, rest): (Vec<char>, &[char]) = match first {
        '[' => {
            let end = pattern.iter().position(|c| *c == ']').unwrap();
            (expand(&pattern[1..end]), &pattern[end + 1..])
        }
        '\\' => (vec![pattern[1]], &pattern[2..]),
        plain => (vec![*plain], &pattern[1..]),
    };
    let (least, most, rest) = match rest.first() {
        Some('+') => (1, usize::MAX, &rest[1..]),
        Some('{') => {
            let end = rest.iter().position(|c| *c == '}').unwrap();
            let counts: String = rest[1..end].iter().collect();
            let (least, most) = counts.split_once(',').unwrap_or((&counts, &counts));
            (
                least.parse().unwrap(),
                most.parse().unwrap(),
                &rest[end + 1..],
            )
        }
        _ => (1, 1, rest),
    };
    let run = text
        .iter()
        .take_while(|c| class.contains(c))
        .count()
        .min(most);
    run >= least && (least..=run).rev().any(|taken| from(rest, &text[taken..]))
}

fn expand(class: &[char]) -> Vec<char> {
    let mut expanded = Vec::new();
    let mut at = 0;
    while at < class.len() {
        if class.get(at + 1) == Some(&'-') && at + 2 < class.len() {
            expanded.extend(class[at]..=class[at + 2]);
            at += 3;
        } else {
            expanded.push(class[at]);
            at += 1;
        }
    }
    expanded
}

#[test]
fn the_validator_refuses() {
    let schema = load("sign");
    let good = serde_json::json!({"pack_id": format!("sha256:{}", "a".repeat(64)), "signature": "x", "key_id": "0".repeat(64)});
    validate(&schema, &good, "$").unwrap();
    for (member, bad) in [("pack_id", "sha256:A"), ("key_id", "0"), ("more", "x")] {
        let mut value = good.clone();
        value[member] = bad.into();
        assert!(validate(&schema, &value, "$").is_err(), "{member}");
    }
    assert!(validate(&schema, &serde_json::json!({}), "$").is_err());
    assert!(matches("^a[0-9-]{2,3}\\.b+$", "a1-.bb") && !matches("^a[0-9-]{2,3}\\.b+$", "a1.bb"));
}
