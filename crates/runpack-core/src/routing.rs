//! Whose data goes where: an ordered list of tenants and namespaces, of which the first entry that fits counts.
//!
//! The one router. `runpacks.regions` leads to regions with it, and says with it where data may lie at all;
//! `runpacks.policy` of the enterprise program leads to buckets with it. Invariants: what no entry takes goes nowhere;
//! whose data a key holds is read from the key and the subject, never from what a caller says.

mod owner;

use std::fmt;
use std::str::FromStr;

pub use owner::{Attribution, Owner};

use crate::id::{Namespace, Tenant};

/// Which ids an entry takes: one, those that begin so, or any.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pattern {
    /// This id.
    Exactly(Box<str>),
    /// Every id that begins so: `acme-*`.
    Beginning(Box<str>),
    /// Every id, and where there is none.
    Any,
}

/// No pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("write an id, the beginning of one and `*`, or `*` for all, found=`{found}`")]
pub struct PatternError {
    found: String,
}

impl Pattern {
    /// Whether it takes this id. What has none is taken by [`Pattern::Any`] alone.
    pub fn takes(&self, id: Option<&str>) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(exactly) => id == Some(&**exactly),
            Self::Beginning(beginning) => id.is_some_and(|id| id.starts_with(&**beginning)),
        }
    }

    /// Reads one; `is_id` says what an id is.
    fn parse(text: &str, is_id: impl Fn(&str) -> bool) -> Result<Self, PatternError> {
        let pattern = match text.strip_suffix('*') {
            Some("") => Some(Self::Any),
            // What an id may begin with is an id itself.
            Some(beginning) => is_id(beginning).then(|| Self::Beginning(beginning.into())),
            None => is_id(text).then(|| Self::Exactly(text.into())),
        };
        pattern.ok_or_else(|| PatternError {
            found: crate::display::Printable(text).to_string(),
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(id) => f.write_str(id),
            Self::Beginning(beginning) => write!(f, "{beginning}*"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// Whose data an entry takes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    /// Of which tenants.
    pub tenant: Pattern,
    /// In which of their namespaces.
    pub namespace: Pattern,
}

impl Selector {
    /// Reads the two as they are written.
    ///
    /// # Errors
    /// One of them is no pattern.
    pub fn parse(tenant: &str, namespace: &str) -> Result<Self, PatternError> {
        Ok(Self {
            tenant: Pattern::parse(tenant, |id| Tenant::from_str(id).is_ok())?,
            namespace: Pattern::parse(namespace, |id| Namespace::from_str(id).is_ok())?,
        })
    }

    /// Whether it takes data of this owner.
    pub fn takes(&self, owner: &Owner) -> bool {
        self.tenant.takes(owner.tenant()) && self.namespace.takes(owner.namespace())
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tenant=`{}` namespace=`{}`", self.tenant, self.namespace)
    }
}

/// Entries in their order, each for whose data it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routes<T> {
    entries: Vec<(Selector, T)>,
}

impl<T> Routes<T> {
    /// These, in this order.
    pub fn new(entries: impl IntoIterator<Item = (Selector, T)>) -> Self {
        Self {
            entries: entries.into_iter().collect(),
        }
    }

    /// The first that takes data of this owner.
    pub fn first(&self, owner: &Owner) -> Option<&T> {
        self.entries
            .iter()
            .find_map(|(selector, entry)| selector.takes(owner).then_some(entry))
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&Selector, &T)> {
        self.entries
            .iter()
            .map(|(selector, entry)| (selector, entry))
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(tenant: &str, namespace: &str) -> Selector {
        Selector::parse(tenant, namespace).unwrap()
    }

    #[test]
    fn patterns_take_an_id_a_beginning_or_everything() {
        let owner = |tenant, namespace| Owner::new(tenant, namespace);
        let acme = owner(Some("acme"), Some("prod"));
        let acme_eu = owner(Some("acme-eu"), Some("prod"));
        let step = owner(Some("acme"), None);
        let nobody = owner(None, None);
        for (pattern, taken) in [
            (("acme", "prod"), [true, false, false, false]),
            (("acme", "*"), [true, false, true, false]),
            (("acme*", "prod"), [true, true, false, false]),
            (("acme-*", "*"), [false, true, false, false]),
            (("*", "p*"), [true, true, false, false]),
            (("*", "*"), [true; 4]),
            (("ACME", "*"), [false; 4]),
        ] {
            let selector = selector(pattern.0, pattern.1);
            let found = [&acme, &acme_eu, &step, &nobody].map(|owner| selector.takes(owner));
            assert_eq!(found, taken, "{selector}");
            assert_eq!(
                selector,
                Selector::parse(pattern.0, pattern.1).unwrap(),
                "one spelling"
            );
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for wrong in [
            "", "**", "*acme", "ac*me", "acme/*", "a b", "-a", "\u{e9}*", "acme\n",
        ] {
            assert!(Selector::parse(wrong, "*").is_err(), "{wrong}");
            assert!(Selector::parse("*", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_first_entry_that_fits_counts() {
        let routes = Routes::new([
            (selector("acme", "prod"), 1),
            (selector("acme*", "*"), 2),
            (selector("acme", "*"), 3),
        ]);
        for (tenant, namespace, first) in [
            (Some("acme"), Some("prod"), Some(1)),
            (Some("acme"), Some("test"), Some(2)),
            (Some("acme"), None, Some(2)),
            (Some("other"), Some("prod"), None),
            (None, None, None),
        ] {
            let owner = Owner::new(tenant, namespace);
            assert_eq!(routes.first(&owner), first.as_ref(), "{owner}");
        }
    }
}
