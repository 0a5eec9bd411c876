//! Whether a policy lets a request pass: an explicit deny wins, whatever allows (IAM user guide, "Policy evaluation
//! logic").

use super::condition::{Context, holds};
use super::document::{Effect, PolicyDocument, Scope, Statement};
use super::pattern::{Case, Target, matches};
use super::principal::{Who, applies_to};
use super::truth::Truth;

/// A request, or a set of such.
#[derive(Debug, Clone)]
pub(super) struct Request<'a> {
    pub(super) who: &'a Who,
    pub(super) action: &'a str,
    /// The ARN of what it is about, or how those ARNs begin.
    pub(super) target: &'a Target,
    /// What it says besides who asks.
    pub(super) context: &'a Context,
    /// The bucket's own account.
    pub(super) account: Option<&'a str>,
}

/// What a policy says to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    /// Whether some statement denies it: *yes* where that is so for every request of the set.
    pub(super) denied: Truth,
    /// Whether some statement allows it, apart from what is denied.
    pub(super) allowed: Truth,
}

/// What becomes of a request, seen by somebody who fears the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// It is certainly denied.
    Denied,
    /// The bucket policy does not speak of it: another policy, which nobody looked at, may let it happen.
    Open,
    /// The bucket policy lets it happen, or may.
    Allowed,
}

impl Answer {
    pub(super) fn outcome(self) -> Outcome {
        match self {
            Self {
                denied: Truth::Yes, ..
            } => Outcome::Denied,
            Self {
                allowed: Truth::No, ..
            } => Outcome::Open,
            Self { .. } => Outcome::Allowed,
        }
    }
}

impl PolicyDocument {
    pub(super) fn answer(&self, request: &Request<'_>) -> Answer {
        let context = request
            .context
            .clone()
            .asked_by(request.who, request.account);
        let of = |effect: Effect| {
            let statements = self
                .statements()
                .iter()
                .filter(|statement| statement.effect == effect);
            Truth::any(statements.map(|statement| applies(statement, request, &context)))
        };
        Answer {
            denied: of(Effect::Deny),
            allowed: of(Effect::Allow),
        }
    }
}

/// Whether the statement is about the request. What is dear to find out comes last, and is not asked where the
/// answer is *no* already.
fn applies(statement: &Statement, request: &Request<'_>, context: &Context) -> Truth {
    let action = Target::Exactly(request.action.to_owned());
    let mut found = within(&statement.actions, &action, Case::Insensitive);
    if found != Truth::No {
        found = found.and(applies_to(
            &statement.principals,
            request.who,
            request.account,
        ));
    }
    for condition in &statement.conditions {
        if found != Truth::No {
            found = found.and(holds(condition, context));
        }
    }
    if found != Truth::No {
        found = found.and(within(
            &statement.resources,
            request.target,
            Case::Sensitive,
        ));
    }
    found
}

fn within(scope: &Scope<String>, target: &Target, case: Case) -> Truth {
    let named = |patterns: &[String]| {
        Truth::any(
            patterns
                .iter()
                .map(|pattern| matches(pattern, target, case)),
        )
    };
    match scope {
        Scope::Only(patterns) => named(patterns),
        Scope::Except(patterns) => named(patterns).negated(),
    }
}

#[cfg(test)]
mod tests;
