//! Conditions, as far as their outcome is certain.
//!
//! What a request says under a key is known, known to be absent, or not known. Operators follow the IAM user guide
//! ("Condition operators"): an absent key makes an operator false, a negated operator true, and one with `IfExists`
//! true. An operator that is not in the table below is *maybe*.

use std::collections::BTreeMap;

use super::document::Condition;
use super::pattern::{Case, has_wildcard, matches_text};
use super::principal::{PRINCIPAL_ARN, Principal, Who, account_of};
use super::truth::Truth;

/// What a request says under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// This.
    Known(String),
    /// Nothing: the key is not there.
    Absent,
    /// Nobody knows, or whoever asks may choose.
    Unknown,
    /// Something that fits this pattern, and is none of the values that are named.
    Fitting(String),
    /// Something that is none of the values, and fits none of the patterns, that are named.
    Unnamed,
}

/// Which keys a server understands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Understood {
    /// Those of Amazon S3.
    #[default]
    All,
    /// `aws:SecureTransport` is certain. Ceph takes others and lets a condition on them never act, for which reason
    /// nothing is said of any other here.
    Transport,
}

/// What a request says, by key in lower case. A key that is not in it is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Context {
    said: BTreeMap<String, Said>,
    understood: Understood,
}

impl Context {
    pub(super) fn new(understood: Understood) -> Self {
        Self {
            said: BTreeMap::new(),
            understood,
        }
    }

    pub(super) fn with(mut self, key: &str, said: Said) -> Self {
        self.said.insert(key.to_ascii_lowercase(), said);
        self
    }

    /// The same, with what follows from who asks.
    pub(super) fn asked_by(self, who: &Who, account: Option<&str>) -> Self {
        let known =
            |text: Option<&str>| text.map_or(Said::Unknown, |text| Said::Known(text.to_owned()));
        let (arn, account) = match who {
            Who::Anonymous => (Said::Absent, Said::Absent),
            Who::InAccount => (Said::Unnamed, known(account)),
            Who::Elsewhere => (Said::Unnamed, Said::Unknown),
            // Under this key a session says the ARN of its role.
            Who::Named(Principal::Aws(arn))
                if arn.starts_with("arn:")
                    && !arn.contains(":assumed-role/")
                    && !arn.ends_with(":root") =>
            {
                (Said::Known(arn.clone()), known(account_of(arn)))
            }
            Who::Named(_) => (Said::Unknown, Said::Unknown),
            Who::Fitting(pattern) => (Said::Fitting(pattern.clone()), Said::Unknown),
        };
        self.with(PRINCIPAL_ARN, arn)
            .with("aws:PrincipalAccount", account)
    }

    fn said(&self, key: &str) -> &Said {
        let is_understood = match self.understood {
            Understood::All => true,
            Understood::Transport => key == "aws:securetransport",
        };
        let said = self.said.get(key).filter(|_| is_understood);
        said.unwrap_or(&Said::Unknown)
    }
}

/// Whether the condition holds.
pub(super) fn holds(condition: &Condition, context: &Context) -> Truth {
    let said = context.said(&condition.key);
    if condition.operator == "Null" {
        return is_null(condition, said);
    }
    let (operator, if_exists) = match condition.operator.strip_suffix("IfExists") {
        Some(operator) => (operator, true),
        None => (condition.operator.as_str(), false),
    };
    let Some((is_negated, compare)) = operator_of(operator) else {
        return Truth::Maybe;
    };
    // No value at all: servers differ.
    if condition.values.is_empty() || *said == Said::Unknown {
        return Truth::Maybe;
    }
    if *said == Said::Absent {
        return (is_negated || if_exists).into();
    }
    let found = Truth::any(
        condition
            .values
            .iter()
            .map(|value| equals(compare, said, value)),
    );
    if is_negated { found.negated() } else { found }
}

fn is_null(condition: &Condition, said: &Said) -> Truth {
    let is_absent = match said {
        Said::Absent => Truth::Yes,
        Said::Known(_) | Said::Fitting(_) | Said::Unnamed => Truth::No,
        Said::Unknown => return Truth::Maybe,
    };
    match condition.values.as_slice() {
        [wanted] if wanted.eq_ignore_ascii_case("true") => is_absent,
        [wanted] if wanted.eq_ignore_ascii_case("false") => is_absent.negated(),
        _ => Truth::Maybe,
    }
}

/// How a value is compared with what was said.
#[derive(Debug, Clone, Copy)]
enum Compare {
    Text(Case),
    Pattern,
    Arn,
    Number(fn(f64, f64) -> bool),
    Bool,
}

/// Whether an operator is negated, and how it compares.
fn operator_of(operator: &str) -> Option<(bool, Compare)> {
    Some(match operator {
        "StringEquals" => (false, Compare::Text(Case::Sensitive)),
        "StringNotEquals" => (true, Compare::Text(Case::Sensitive)),
        "StringEqualsIgnoreCase" => (false, Compare::Text(Case::Insensitive)),
        "StringNotEqualsIgnoreCase" => (true, Compare::Text(Case::Insensitive)),
        "StringLike" => (false, Compare::Pattern),
        "StringNotLike" => (true, Compare::Pattern),
        "ArnLike" | "ArnEquals" => (false, Compare::Arn),
        "ArnNotLike" | "ArnNotEquals" => (true, Compare::Arn),
        "NumericEquals" => (
            false,
            Compare::Number(|said, value| said.total_cmp(&value).is_eq()),
        ),
        "NumericNotEquals" => (
            true,
            Compare::Number(|said, value| said.total_cmp(&value).is_eq()),
        ),
        "NumericLessThan" => (false, Compare::Number(|said, value| said < value)),
        "NumericLessThanEquals" => (false, Compare::Number(|said, value| said <= value)),
        "NumericGreaterThan" => (false, Compare::Number(|said, value| said > value)),
        "NumericGreaterThanEquals" => (false, Compare::Number(|said, value| said >= value)),
        "Bool" => (false, Compare::Bool),
        _ => return None,
    })
}

fn equals(compare: Compare, said: &Said, value: &str) -> Truth {
    let has_variable = value.contains("${");
    let is_pattern = matches!(compare, Compare::Pattern | Compare::Arn) && has_wildcard(value);
    let said = match said {
        Said::Known(said) => said,
        Said::Fitting(pattern) if pattern == value => return Truth::Yes,
        Said::Fitting(_) => {
            return if is_pattern || has_variable {
                Truth::Maybe
            } else {
                Truth::No
            };
        }
        // Whoever fits a pattern is asked about by that pattern; a `*` alone fits everybody.
        Said::Unnamed if has_variable => return Truth::Maybe,
        Said::Unnamed => return (is_pattern && value.bytes().all(|byte| byte == b'*')).into(),
        Said::Absent | Said::Unknown => return Truth::Maybe,
    };
    match compare {
        Compare::Text(_) if has_variable => Truth::Maybe,
        Compare::Text(Case::Sensitive) => (said == value).into(),
        Compare::Text(Case::Insensitive) => said.eq_ignore_ascii_case(value).into(),
        Compare::Pattern => matches_text(value, said, Case::Sensitive),
        Compare::Arn => matches_arn(value, said),
        Compare::Number(compare) => match (said.parse::<f64>(), value.parse::<f64>()) {
            (Ok(said), Ok(value)) => compare(said, value).into(),
            _ => Truth::Maybe,
        },
        Compare::Bool => match value.to_ascii_lowercase().as_str() {
            "true" | "false" => said.eq_ignore_ascii_case(value).into(),
            _ => Truth::Maybe,
        },
    }
}

/// An ARN is compared part by part. Where that differs from comparing it as a whole, nobody should rest on it.
fn matches_arn(pattern: &str, arn: &str) -> Truth {
    let whole = matches_text(pattern, arn, Case::Sensitive);
    let (patterns, parts) = (pattern.splitn(6, ':'), arn.splitn(6, ':'));
    let is_as_long = patterns.clone().count() == parts.clone().count();
    let parts = patterns
        .zip(parts)
        .map(|(pattern, part)| matches_text(pattern, part, Case::Sensitive));
    let by_part = Truth::all(parts).and(is_as_long.into());
    if whole == by_part {
        whole
    } else {
        Truth::Maybe
    }
}
