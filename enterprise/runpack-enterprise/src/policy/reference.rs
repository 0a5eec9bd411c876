//! The rules of policies once more, as plainly as they can be said, for tests alone: on the JSON itself, by trying
//! everything, with requests of which all is known.

use std::collections::BTreeMap;

use serde_json::Value;

/// Whether a pattern takes a text, by the definition.
pub(super) fn glob(pattern: &str, text: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => text.is_empty(),
        Some('*') => {
            let mut ends = 0..=text.len();
            ends.any(|at| text.get(at..).is_some_and(|text| glob(rest.as_str(), text)))
        }
        Some(part) => {
            let mut found = text.chars();
            found
                .next()
                .is_some_and(|found| part == '?' || part == found)
                && glob(rest.as_str(), found.as_str())
        }
    }
}

/// A request of which all is known.
#[derive(Debug, Clone)]
pub(super) struct Plain {
    /// `None` is anonymous.
    pub(super) arn: Option<String>,
    pub(super) action: String,
    pub(super) resource: String,
    /// Keys that are not here are absent.
    pub(super) context: BTreeMap<String, String>,
}

/// Whether some statement denies the request, and whether some allows it.
pub(super) fn decide(policy: &Value, request: &Plain) -> (bool, bool) {
    let statements = policy["Statement"].as_array().unwrap();
    let of = |effect: &str| {
        statements
            .iter()
            .any(|statement| statement["Effect"] == effect && applies(statement, request))
    };
    (of("Deny"), of("Allow"))
}

fn applies(statement: &Value, request: &Plain) -> bool {
    let texts = |value: &Value| -> Vec<String> {
        match value {
            Value::Array(values) => values
                .iter()
                .map(|value| value.as_str().unwrap().to_owned())
                .collect(),
            value => vec![value.as_str().unwrap().to_owned()],
        }
    };
    let is_principal = |value: &Value| match value {
        Value::String(_) => true,
        value => texts(&value["AWS"]).iter().any(|named| {
            let is_root = request.arn.as_ref().is_some_and(|arn| {
                let account = arn.split(':').nth(4).unwrap();
                *named == format!("arn:aws:iam::{account}:root") || named == account
            });
            named == "*" || request.arn.as_ref() == Some(named) || is_root
        }),
    };
    let is_action = |value: &Value| {
        texts(value)
            .iter()
            .any(|pattern| glob(&pattern.to_lowercase(), &request.action.to_lowercase()))
    };
    let is_resource = |value: &Value| {
        texts(value)
            .iter()
            .any(|pattern| glob(pattern, &request.resource))
    };
    let either = |only: &str, except: &str, is: &dyn Fn(&Value) -> bool| match statement.get(only) {
        Some(value) => is(value),
        None => !is(&statement[except]),
    };
    let mut conditions = statement
        .get("Condition")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    either("Principal", "NotPrincipal", &is_principal)
        && either("Action", "NotAction", &is_action)
        && either("Resource", "NotResource", &is_resource)
        && conditions.all(|(operator, keys)| {
            let mut keys = keys.as_object().unwrap().iter();
            keys.all(|(key, value)| {
                holds(
                    operator,
                    request.context.get(&key.to_lowercase()),
                    &texts(value),
                )
            })
        })
}

fn holds(operator: &str, said: Option<&String>, values: &[String]) -> bool {
    if operator == "Null" {
        return (values[0] == "true") == said.is_none();
    }
    let (base, if_exists) = match operator.strip_suffix("IfExists") {
        Some(base) => (base, true),
        None => (operator, false),
    };
    let Some(said) = said else {
        return if_exists || base.contains("Not");
    };
    let any = |is: &dyn Fn(&str) -> bool| values.iter().any(|value| is(value));
    match base {
        "StringEquals" => any(&|value| value == said),
        "StringNotEquals" => !any(&|value| value == said),
        "StringLike" | "ArnLike" => any(&|value| glob(value, said)),
        "StringNotLike" | "ArnNotLike" => !any(&|value| glob(value, said)),
        "NumericLessThan" => {
            any(&|value| said.parse::<i64>().unwrap() < value.parse::<i64>().unwrap())
        }
        "Bool" => any(&|value| value == said),
        other => panic!("the reference does not know {other}"),
    }
}
