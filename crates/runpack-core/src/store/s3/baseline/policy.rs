//! The statements of a bucket's policy that keep everything off the clear, and how they come among others.
//!
//! Everybody is denied, the owner too. A statement counts by what it says, whatever its name; one that has our name and says
//! something else is left to people.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use super::{Change, Looked};

/// The oldest TLS that a bucket lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        })
    }
}

impl FromStr for TlsVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "1.2" => Ok(Self::V1_2),
            "1.3" => Ok(Self::V1_3),
            _ => Err("a version of TLS is 1.2 or 1.3".to_owned()),
        }
    }
}

/// The statements for the bucket of this name in a partition of Amazon's (`aws`, `aws-cn`, `aws-us-gov`), which is `aws` at
/// other services. Without `tls_min` only what goes in the clear is denied.
pub fn transport_statements(
    (partition, bucket): (&str, &str),
    tls_min: Option<TlsVersion>,
) -> Vec<Value> {
    let resource = format!("arn:{partition}:s3:::{bucket}");
    let deny = |sid: &str, condition: Value| {
        json!({
            "Sid": sid,
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [resource, format!("{resource}/*")],
            "Condition": condition,
        })
    };
    // With `Bool` alone, servers on which the key is absent over plain HTTP would deny nothing.
    let clear = json!({"BoolIfExists": {"aws:SecureTransport": "false"}});
    let mut statements = vec![deny("RunpackNothingInTheClear", clear)];
    if let Some(version) = tls_min {
        let old = json!({"NumericLessThan": {"s3:TlsVersion": version.to_string()}});
        statements.push(deny("RunpackNoOldTls", old));
    }
    statements
}

/// How a policy stands to the statements that are wanted, and the policy that has them.
pub(super) fn looked(
    scope: (&str, &str),
    tls_min: Option<TlsVersion>,
    policy: Option<&str>,
) -> Looked {
    const BY_HAND: &str = "add the statements of `runpack store baseline terraform` by hand";
    let empty = || json!({"Version": "2012-10-17", "Statement": []});
    let read = policy.map_or_else(|| Ok(empty()), serde_json::from_str::<Value>);
    let Ok(mut document) = read else {
        return Looked::by_hand("a policy that is no JSON", BY_HAND);
    };
    let Some(there) = document.get_mut("Statement") else {
        return Looked::by_hand("a policy without statements", BY_HAND);
    };
    if there.is_object() {
        // One statement may stand without its list.
        *there = Value::Array(vec![there.take()]);
    }
    let Some(statements) = there.as_array_mut() else {
        return Looked::by_hand("a policy whose statements are no list", BY_HAND);
    };
    // A later version of TLS is as good.
    let as_good = |wanted: &Value| {
        let versions = [TlsVersion::V1_2, TlsVersion::V1_3];
        let later = versions.into_iter().filter(|v| Some(*v) >= tls_min);
        let all = later.flat_map(|version| transport_statements(scope, Some(version)));
        let same = all.filter(|one| one.get("Sid") == wanted.get("Sid"));
        same.map(|one| meaning(&one)).collect::<Vec<_>>()
    };
    let mut missing = Vec::new();
    for wanted in transport_statements(scope, tls_min) {
        let good = as_good(&wanted);
        if statements
            .iter()
            .any(|there| good.contains(&meaning(there)))
        {
            continue;
        }
        let sid = wanted.get("Sid");
        if statements.iter().any(|there| there.get("Sid") == sid) {
            let name = sid.and_then(Value::as_str).unwrap_or_default();
            return Looked::by_hand(
                format!("the statement {name}, changed by somebody"),
                format!(
                    "look at the statement, remove it from the policy and apply again, sid=`{name}`"
                ),
            );
        }
        missing.push(wanted);
    }
    let others = statements.len();
    if missing.is_empty() {
        return Looked::good(format!("denied in the policy, {others} statements in all"));
    }
    let found = match policy {
        None => "no policy".to_owned(),
        Some(_) => format!("a policy of {others} statements, of which none or not all deny it"),
    };
    statements.append(&mut missing);
    Looked::missing(found, Change::Policy(document.to_string()))
}

/// What a statement says, whatever its name and in one spelling: a list of one is the one, and `{"AWS": "*"}` everybody.
fn meaning(statement: &Value) -> Value {
    let mut meaning = statement.clone();
    if let Some(members) = meaning.as_object_mut() {
        members.remove("Sid");
    }
    let mut meaning = plain(meaning);
    if let Some(principal) = meaning.get_mut("Principal")
        && *principal == json!({"AWS": "*"})
    {
        *principal = json!("*");
    }
    meaning
}

fn plain(value: Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<Value> = items.into_iter().map(plain).collect();
            items.sort_by_key(Value::to_string);
            match <[Value; 1]>::try_from(items) {
                Ok([one]) => one,
                Err(items) => Value::Array(items),
            }
        }
        Value::Object(members) => {
            Value::Object(members.into_iter().map(|(k, v)| (k, plain(v))).collect())
        }
        // `true` and "true" are one to the services.
        Value::Bool(flag) => Value::String(flag.to_string()),
        Value::Number(number) => Value::String(number.to_string()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
