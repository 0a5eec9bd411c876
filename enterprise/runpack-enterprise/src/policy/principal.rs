//! Who is meant by a policy, and who asks.
//!
//! Nobody knows all who may ask. So the policy is asked about everyone whom it names, about a pattern of names for
//! each that it has, and about three who are named nowhere: somebody in the bucket's account, somebody in another,
//! and nobody in particular. Whoever is not named is treated as those.

use std::collections::BTreeSet;
use std::fmt;

use super::document::{PolicyDocument, Scope};
use super::pattern::has_wildcard;
use super::truth::Truth;
use crate::retention::shown;

/// Whom an element `Principal` names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Principal {
    /// Everybody, also without signature.
    Anyone,
    /// An account, user, role or session by its ARN, number or unique id.
    Aws(String),
    /// A service, an identity provider or a canonical user: kind and name.
    Other(String, String),
}

impl Principal {
    pub(super) fn new(kind: &str, name: String) -> Self {
        match kind {
            "AWS" if name == "*" => Self::Anyone,
            "AWS" => Self::Aws(name),
            _ => Self::Other(kind.to_owned(), name),
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    /// Nobody in particular: a request without signature.
    Anonymous,
    /// Somebody in the bucket's account whom the policy names nowhere.
    InAccount,
    /// Somebody in another account whom the policy names nowhere.
    Elsewhere,
    /// One whom the policy names.
    Named(Principal),
    /// Anybody whose ARN fits a pattern of a condition, and whom the policy does not name otherwise.
    Fitting(String),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anybody without credentials"),
            Self::InAccount => f.write_str("any principal of the account"),
            Self::Elsewhere => f.write_str("principals of other accounts"),
            Self::Named(Principal::Anyone) => f.write_str("everybody"),
            Self::Named(Principal::Aws(name)) => f.write_str(&shown(name)),
            Self::Named(Principal::Other(kind, name)) => write!(f, "{kind} {}", shown(name)),
            Self::Fitting(pattern) => write!(f, "whoever fits {}", shown(pattern)),
        }
    }
}

/// Everyone whom it makes a difference to ask about.
pub(super) fn askers(policy: &PolicyDocument, also: &BTreeSet<String>) -> BTreeSet<Who> {
    let mut askers: BTreeSet<Who> = [Who::Anonymous, Who::InAccount, Who::Elsewhere].into();
    askers.extend(
        also.iter()
            .map(|arn| Who::Named(Principal::Aws(arn.clone()))),
    );
    for statement in policy.statements() {
        let named = statement.principals.named().iter();
        let named = named.filter(|principal| **principal != Principal::Anyone);
        askers.extend(named.cloned().map(Who::Named));
        for condition in &statement.conditions {
            if condition.key != PRINCIPAL_ARN {
                continue;
            }
            askers.extend(condition.values.iter().map(|value| {
                if has_wildcard(value) {
                    Who::Fitting(value.clone())
                } else {
                    Who::Named(Principal::Aws(value.clone()))
                }
            }));
        }
    }
    askers
}

/// The key of a condition that says who asks.
pub(super) const PRINCIPAL_ARN: &str = "aws:principalarn";

/// Whether the statement is about whoever asks. `account` is the bucket's own, where it is known.
pub(super) fn applies_to(scope: &Scope<Principal>, who: &Who, account: Option<&str>) -> Truth {
    let named = |principals: &[Principal]| {
        Truth::any(
            principals
                .iter()
                .map(|principal| is_meant(principal, who, account)),
        )
    };
    match scope {
        Scope::Only(principals) => named(principals),
        Scope::Except(principals) => named(principals).negated(),
    }
}

/// Whether `principal` means whoever asks.
fn is_meant(principal: &Principal, who: &Who, account: Option<&str>) -> Truth {
    let arn = match (principal, who) {
        (Principal::Anyone, _) => return Truth::Yes,
        (_, Who::Named(asking)) if asking == principal => return Truth::Yes,
        (Principal::Aws(arn), _) => arn,
        (Principal::Other(..), _) => return Truth::No,
    };
    let whole = whole_account(arn);
    match who {
        Who::InAccount => match (whole, account) {
            (None, _) => Truth::No,
            (Some(_), None) => Truth::Maybe,
            (Some(named), Some(account)) => (named == account).into(),
        },
        Who::Named(Principal::Aws(asking)) => is_same(arn, whole, asking),
        Who::Anonymous | Who::Elsewhere | Who::Named(_) => Truth::No,
        // Whoever is named is asked about by name; here it is the others.
        Who::Fitting(pattern) => match (whole, account_of(pattern)) {
            (None, _) => Truth::No,
            (Some(named), Some(found)) if !has_wildcard(found) => (named == found).into(),
            (Some(_), _) => Truth::Maybe,
        },
    }
}

/// Whether an element that names `arn` means the asker of another name.
fn is_same(arn: &str, whole: Option<&str>, asking: &str) -> Truth {
    let (asker, asking_whole) = (account_of(asking), whole_account(asking));
    match (whole, asking_whole) {
        // A whole account: whoever is in it.
        (Some(named), _) => match asker.or(asking_whole) {
            Some(found) => (named == found).into(),
            None => Truth::Maybe,
        },
        // The asker stands for a whole account, in which the named one is.
        (None, Some(found)) => match account_of(arn) {
            Some(named) if named != found => Truth::No,
            _ => Truth::Maybe,
        },
        (None, None) if is_other_name(arn) || is_other_name(asking) => Truth::Maybe,
        (None, None) => match (role_of(arn), role_of(asking)) {
            (Some((named, _)), Some((found, _))) if named != found || account_of(arn) != asker => {
                Truth::No
            }
            // A session acts for its role; what names one session does not mean the role's others.
            (Some((_, RolePart::Role)), Some((_, RolePart::Session))) => Truth::Yes,
            (Some((_, RolePart::Session)), Some((_, RolePart::Role))) => Truth::Maybe,
            _ => Truth::No,
        },
    }
}

/// The account that is named as a whole: by its number, or by its root.
fn whole_account(arn: &str) -> Option<&str> {
    if arn.len() == 12 && arn.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(arn);
    }
    account_of(arn).filter(|_| arn.ends_with(":root"))
}

/// The account in an ARN: `arn:PARTITION:iam::ACCOUNT:...`.
pub(super) fn account_of(arn: &str) -> Option<&str> {
    let mut parts = arn.split(':');
    let is_arn = parts.next() == Some("arn");
    parts.nth(3).filter(|_| is_arn)
}

enum RolePart {
    Role,
    Session,
}

/// The name of a role, and whether the ARN is its own or that of a session of it.
fn role_of(arn: &str) -> Option<(&str, RolePart)> {
    let resource = arn.splitn(6, ':').nth(5)?;
    if let Some(path) = resource.strip_prefix("role/") {
        return Some((path.rsplit('/').next()?, RolePart::Role));
    }
    let session = resource.strip_prefix("assumed-role/")?;
    Some((session.split('/').next()?, RolePart::Session))
}

/// What is no ARN: the unique id of a user or role that is gone, or a tenant of Ceph.
fn is_other_name(name: &str) -> bool {
    !name.contains(':')
}
