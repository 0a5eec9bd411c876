//! How the rules of a bucket differ from those that are wanted, and what rules of others do to the store.

use runpack_core::lifecycle::{Rule, is_rule_of, overlaps};
use runpack_core::store::s3::{BucketLifecycle, LiveRule};
use serde_json::{Value, json};

use super::{Wanted, told, whose};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::{Format, Tone};
use crate::table::safe;

/// What becomes of a rule of this store.
enum Change {
    Add(Rule),
    Remove(LiveRule),
    Replace { was: LiveRule, rule: Rule },
    Keep(Rule),
}

/// How the rules of a bucket differ from those that are wanted.
pub(super) struct Difference {
    changes: Vec<Change>,
    /// Rules that are not of this store, and stay.
    foreign: Vec<LiveRule>,
    unknown: Vec<String>,
    cautions: Vec<String>,
}

impl Difference {
    pub(super) fn of(wanted: &Wanted, seen: &BucketLifecycle) -> Self {
        let prefix = wanted.address.prefix.as_str();
        let (mut ours, foreign): (Vec<_>, Vec<_>) = seen
            .rules()
            .into_iter()
            .partition(|live| is_rule_of(prefix, &live.id));
        let mut changes = Vec::new();
        for rule in wanted.rules.iter().cloned() {
            let at = ours.iter().position(|live| live.id == rule.id);
            changes.push(match at.map(|at| ours.remove(at)) {
                None => Change::Add(rule),
                Some(live) if live.is_enabled && live.rule.as_ref() == Some(&rule) => {
                    Change::Keep(rule)
                }
                Some(was) => Change::Replace { was, rule },
            });
        }
        changes.extend(ours.into_iter().map(Change::Remove));
        let mut cautions = wanted.cautions();
        let reaching = foreign
            .iter()
            .filter(|live| live.is_enabled && overlaps(&live.prefix, prefix));
        for live in reaching {
            if live.removes {
                cautions.push(format!(
                    "a rule that is not of this store REMOVES what lies in it: take it away, or give it a prefix that no \
                     pack has, rule=`{}`",
                    live.id
                ));
            } else if live.deeds.iter().any(|deed| deed.starts_with("moves")) {
                cautions.push(format!(
                    "a rule that is not of this store moves what lies in it, also without these rules, rule=`{}`",
                    live.id
                ));
            }
        }
        if !seen.unknown().is_empty() {
            cautions.push(format!(
                "the bucket has rules with parts that this program does not know, so it sets none, elements=`{}`",
                seen.unknown().join(" ")
            ));
        }
        Self {
            changes,
            foreign,
            unknown: seen.unknown().to_vec(),
            cautions,
        }
    }

    pub(super) fn is_none(&self) -> bool {
        let mut changes = self.changes.iter();
        changes.all(|change| matches!(change, Change::Keep(_)))
    }

    pub(super) fn exit(&self) -> Exit {
        if self.is_none() {
            Exit::Success
        } else {
            Exit::Invalid
        }
    }

    /// `done` is what was done about it, where something could have been.
    pub(super) fn print(
        &self,
        context: &Context,
        wanted: &Wanted,
        done: Option<&str>,
    ) -> Result<(), Failure> {
        if context.output.format() == Format::Json {
            let changes: Vec<Value> = self.changes.iter().map(Change::to_json).collect();
            let foreign: Vec<Value> = self.foreign.iter().map(live).collect();
            return context.output.print_json(&json!({
                "store": wanted.address.to_string(),
                "same": self.is_none(),
                "changes": changes,
                "foreign": foreign,
                "unknown_elements": self.unknown,
                "cautions": self.cautions,
                "done": done,
            }));
        }
        let mut text = String::new();
        for change in &self.changes {
            text.push_str(&change.text(context));
        }
        if self.is_none() {
            text.push_str("the bucket has the rules of this store as they are wanted\n");
        }
        if !self.foreign.is_empty() {
            let heading = "rules that are not of this store, and stay as they are";
            add!(text, "\n{}\n", context.output.tone(Tone::Strong, heading));
        }
        for live in &self.foreign {
            text.push_str(&lines("  ", live));
        }
        text.push_str(&told(context, &self.cautions));
        if let Some(done) = done {
            add!(text, "\n{done}\n");
        }
        context.output.print(&text)
    }
}

impl Change {
    fn to_json(&self) -> Value {
        match self {
            Self::Add(rule) => json!({"change": "add", "rule": rule}),
            Self::Keep(rule) => json!({"change": "keep", "rule": rule}),
            Self::Remove(was) => json!({"change": "remove", "was": live(was)}),
            Self::Replace { was, rule } => {
                json!({"change": "replace", "was": live(was), "rule": rule})
            }
        }
    }

    fn text(&self, context: &Context) -> String {
        let (tone, sign) = match self {
            Self::Add(_) => (Tone::Good, "+"),
            Self::Keep(_) => (Tone::Faint, "="),
            Self::Remove(_) => (Tone::Bad, "-"),
            Self::Replace { .. } => (Tone::Open, "~"),
        };
        let sign = context.output.tone(tone, sign);
        let rule = |rule: &Rule| {
            let mut text = format!("{sign} {}\n    {}\n", safe(&rule.id), whose(rule));
            for deed in rule.deeds() {
                add!(text, "    {deed}\n");
            }
            text
        };
        match self {
            Self::Add(one) | Self::Keep(one) => rule(one),
            Self::Remove(was) => lines(&format!("{sign} "), was),
            Self::Replace { was, rule: one } => {
                let mut text = rule(one);
                text.push_str("    now\n");
                for deed in &was.deeds {
                    add!(text, "      {}\n", safe(deed));
                }
                if !was.is_enabled {
                    text.push_str("      disabled\n");
                }
                text
            }
        }
    }
}

fn lines(sign: &str, live: &LiveRule) -> String {
    let reach = match (&live.rule, live.prefix.as_str()) {
        (Some(rule), _) => whose(rule),
        (None, "") => "in the whole bucket, or what else its filter says".to_owned(),
        (None, prefix) => format!("below {}, or what else its filter says", safe(prefix)),
    };
    let state = if live.is_enabled { "" } else { " (disabled)" };
    let mut text = format!("{sign}{}{state}\n    {reach}\n", safe(&live.id));
    for deed in &live.deeds {
        add!(text, "    {}\n", safe(deed));
    }
    text
}

fn live(live: &LiveRule) -> Value {
    json!({
        "id": live.id,
        "prefix": live.prefix,
        "enabled": live.is_enabled,
        "does": live.deeds,
        "removes": live.removes,
    })
}
