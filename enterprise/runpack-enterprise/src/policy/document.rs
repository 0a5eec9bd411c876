//! A bucket policy as it is written: strictly read, nothing repaired, nothing overlooked.
//!
//! A document that is not understood whole is refused: a linter that passes over a member that it does not know
//! judges another policy than the server does.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::json::Strict;
use super::principal::Principal;
use crate::retention::shown;

/// The longest document that is read, in bytes. Amazon S3 takes 20 KB.
const BYTES_MAX: usize = 1 << 20;

/// A bucket policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyDocument {
    statements: Vec<Statement>,
}

/// What a statement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It lets happen.
    Allow,
    /// It forbids, whatever lets it happen.
    Deny,
}

/// One statement of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    pub(super) index: usize,
    sid: Option<String>,
    pub(super) effect: Effect,
    pub(super) principals: Scope<Principal>,
    pub(super) actions: Scope<String>,
    pub(super) resources: Scope<String>,
    pub(super) conditions: Vec<Condition>,
}

/// What a statement is about: these, or all but these (`NotAction` and its like).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope<T> {
    Only(Vec<T>),
    Except(Vec<T>),
}

impl<T> Scope<T> {
    pub(super) fn named(&self) -> &[T] {
        match self {
            Self::Only(named) | Self::Except(named) => named,
        }
    }

    pub(super) const fn is_negated(&self) -> bool {
        matches!(self, Self::Except(_))
    }
}

/// One condition: operator, key in lower case, values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) operator: String,
    pub(super) key: String,
    pub(super) values: Vec<String>,
}

/// Why a document is none that can be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Not JSON, or a member named twice.
    #[error("the policy is not JSON that can be relied on, correct it: {0}")]
    Json(String),
    /// Too long.
    #[error("the policy is longer than any server takes, shorten it, bytes=`{bytes}`")]
    Long {
        /// How long it is.
        bytes: usize,
    },
    /// A member that is missing, unknown or of another type.
    #[error(
        "the policy has no meaning that is known here, correct it, where=`{place}` rule=`{rule}`"
    )]
    Schema {
        /// Which part of it.
        place: String,
        /// What would do.
        rule: &'static str,
    },
}

impl PolicyDocument {
    /// Reads a bucket policy.
    ///
    /// # Errors
    /// It is not understood whole.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        if text.len() > BYTES_MAX {
            return Err(PolicyError::Long { bytes: text.len() });
        }
        let Strict(value) =
            serde_json::from_str(text).map_err(|error| PolicyError::Json(error.to_string()))?;
        let mut members = Members::new(value, "the document")?;
        let version = members.take("Version");
        if !matches!(
            version.as_ref().map(Value::as_str),
            None | Some(Some("2012-10-17" | "2008-10-17"))
        ) {
            return Err(members.error("Version is 2012-10-17 or 2008-10-17"));
        }
        if !matches!(members.take("Id"), None | Some(Value::String(_))) {
            return Err(members.error("Id is a text"));
        }
        let statements = match members.take("Statement") {
            Some(Value::Array(statements)) => statements,
            Some(statement @ Value::Object(_)) => vec![statement],
            _ => return Err(members.error("Statement is a list of statements")),
        };
        members.finish()?;
        let statements = statements.into_iter().enumerate();
        let statements = statements.map(|(index, value)| statement(index, value));
        Ok(Self {
            statements: statements.collect::<Result<_, _>>()?,
        })
    }

    /// Its statements, in their order.
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }
}

impl Statement {
    /// Its own name, if it has one. Untrusted text: show it escaped.
    pub fn sid(&self) -> Option<&str> {
        self.sid.as_deref()
    }

    /// What it does.
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// How people find it: its name, or which one it is.
    pub(super) fn label(&self) -> String {
        match &self.sid {
            Some(sid) => shown(sid),
            None => format!("statement {}", self.index.saturating_add(1)),
        }
    }
}

fn statement(index: usize, value: Value) -> Result<Statement, PolicyError> {
    let mut members = Members::new(value, format!("statement {}", index.saturating_add(1)))?;
    let sid = match members.take("Sid") {
        None => None,
        Some(Value::String(sid)) => Some(sid),
        Some(_) => return Err(members.error("Sid is a text")),
    };
    let effect = match members.take("Effect").as_ref().and_then(Value::as_str) {
        Some("Allow") => Effect::Allow,
        Some("Deny") => Effect::Deny,
        _ => return Err(members.error("Effect is Allow or Deny")),
    };
    let principals = scope(&mut members, ["Principal", "NotPrincipal"], principals)?;
    let actions = scope(&mut members, ["Action", "NotAction"], texts)?;
    let resources = scope(&mut members, ["Resource", "NotResource"], texts)?;
    let conditions = match members.take("Condition") {
        None => Vec::new(),
        Some(Value::Object(blocks)) => conditions(blocks)
            .ok_or_else(|| members.error("Condition is operators with keys with values"))?,
        Some(_) => return Err(members.error("Condition is operators with keys with values")),
    };
    members.finish()?;
    Ok(Statement {
        index,
        sid,
        effect,
        principals,
        actions,
        resources,
        conditions,
    })
}

/// One of a pair of members, of which exactly one is there.
fn scope<T>(
    members: &mut Members,
    [only, except]: [&'static str; 2],
    read: fn(Value) -> Option<Vec<T>>,
) -> Result<Scope<T>, PolicyError> {
    let found = match (members.take(only), members.take(except)) {
        (Some(value), None) => read(value).map(Scope::Only),
        (None, Some(value)) => read(value).map(Scope::Except),
        _ => return Err(members.error("exactly one of Principal and NotPrincipal, of Action and NotAction, of Resource and NotResource")),
    };
    found.ok_or_else(|| {
        members
            .error("principals, actions and resources are texts or lists of texts, and not empty")
    })
}

fn principals(value: Value) -> Option<Vec<Principal>> {
    let kinds = match value {
        Value::String(text) if text == "*" => return Some(vec![Principal::Anyone]),
        Value::Object(kinds) => kinds,
        _ => return None,
    };
    let mut found = Vec::new();
    for (kind, value) in kinds {
        if !["AWS", "Service", "Federated", "CanonicalUser"].contains(&kind.as_str()) {
            return None;
        }
        found.extend(
            texts(value)?
                .into_iter()
                .map(|name| Principal::new(&kind, name)),
        );
    }
    (!found.is_empty()).then_some(found)
}

fn texts(value: Value) -> Option<Vec<String>> {
    let values = match value {
        Value::String(text) => return (!text.is_empty()).then(|| vec![text]),
        Value::Array(values) => values,
        _ => return None,
    };
    let texts = values.into_iter().map(|value| match value {
        Value::String(text) if !text.is_empty() => Some(text),
        _ => None,
    });
    let texts: Vec<_> = texts.collect::<Option<_>>()?;
    (!texts.is_empty()).then_some(texts)
}

fn conditions(blocks: Map<String, Value>) -> Option<Vec<Condition>> {
    let mut found = Vec::new();
    for (operator, keys) in blocks {
        let Value::Object(keys) = keys else {
            return None;
        };
        // Keys do not care about capital letters, so two spellings of one are one named twice.
        let mut seen = BTreeMap::new();
        for (key, value) in keys {
            let values = match value {
                Value::Array(values) => values,
                one => vec![one],
            };
            let values = values.into_iter().map(|value| match value {
                Value::String(text) => Some(text),
                Value::Bool(value) => Some(value.to_string()),
                Value::Number(value) => Some(value.to_string()),
                _ => None,
            });
            let values = values.collect::<Option<Vec<_>>>()?;
            if seen.insert(key.to_ascii_lowercase(), values).is_some() {
                return None;
            }
        }
        found.extend(seen.into_iter().map(|(key, values)| Condition {
            operator: operator.clone(),
            key,
            values,
        }));
    }
    Some(found)
}

/// The members of an object, taken one by one until none is left.
struct Members {
    place: String,
    members: Map<String, Value>,
}

impl Members {
    fn new(value: Value, place: impl Into<String>) -> Result<Self, PolicyError> {
        let place = place.into();
        match value {
            Value::Object(members) => Ok(Self { place, members }),
            _ => Err(PolicyError::Schema {
                place,
                rule: "an object",
            }),
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.members.remove(name)
    }

    fn error(&self, rule: &'static str) -> PolicyError {
        PolicyError::Schema {
            place: self.place.clone(),
            rule,
        }
    }

    fn finish(self) -> Result<(), PolicyError> {
        match self.members.keys().next() {
            None => Ok(()),
            Some(name) => Err(PolicyError::Schema {
                place: format!("{}, {}", self.place, shown(name)),
                rule: "no member by this name is known",
            }),
        }
    }
}

#[cfg(test)]
mod tests;
