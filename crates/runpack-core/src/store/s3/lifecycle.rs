//! The lifecycle of a bucket: what it has, and our rules set among those of others.
//!
//! A store takes rules as a whole set and nothing else, and under no condition. Invariants: rules that are not of this store
//! go back exactly as they came; where the answer has an element that the SDK does not know, and would leave out, nothing is
//! sent; what was sent is read back, and where the store keeps our rules otherwise than they were sent (a filter left out
//! would archive manifests), the set that was there before is put back, unless that would undo what somebody else has set
//! meanwhile.
//!
//! What this cannot see: a rule that somebody else sets between our last look and our sending is lost, since no store takes
//! a set under a condition. Whoever is second sees what the first has done, and the first is told when reading back.

mod element;
mod words;

use std::time::Duration;

use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, LifecycleRule as Theirs, TransitionDefaultMinimumObjectSize,
};

use self::element::Elements;
use super::S3Store;
use super::fault::Fault;
use crate::lifecycle::{Rule, is_rule_of};
use crate::store::StoreError;

pub use words::LiveRule;

/// The most rules of a bucket (Amazon S3 user guide, "S3 Lifecycle configuration elements").
pub const LIFECYCLE_RULES_MAX: usize = 1_000;
/// How often the set is read back until it is what was sent: Amazon S3 may take some seconds.
const LOOKS: u32 = 8;
const BETWEEN_LOOKS: Duration = Duration::from_millis(700);

/// What a bucket has.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BucketLifecycle {
    rules: Vec<Theirs>,
    /// From which size on objects move where a rule does not say: it goes with the set.
    minimum: Option<TransitionDefaultMinimumObjectSize>,
    unknown: Vec<String>,
}

/// Why rules were not set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LifecycleFault {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody changed the rules since they were looked at.
    #[error("the rules of the bucket have changed since they were looked at")]
    Changed,
    /// Rules that are not ours have parts that this program does not know.
    #[error(
        "the bucket has rules with parts that this program does not know and would lose, elements=`{elements}`"
    )]
    Unknown {
        /// Which.
        elements: String,
    },
    /// They would be more than a bucket has.
    #[error("a bucket has at most {LIFECYCLE_RULES_MAX} rules, rules=`{rules}`")]
    TooMany {
        /// How many they would be.
        rules: usize,
    },
    /// What is there afterwards is not what was sent.
    #[error(
        "the bucket does not have the rules that were sent: the store leaves something out, or somebody else set others at the same moment; {after}, rules=`{rules}`"
    )]
    NotKept {
        /// Which rules are others.
        rules: String,
        /// What became of the set.
        after: &'static str,
    },
}

impl BucketLifecycle {
    /// The rules, each in our words as far as they go.
    pub fn rules(&self) -> Vec<LiveRule> {
        self.rules.iter().map(LiveRule::of).collect()
    }

    /// Names of elements that this program does not know.
    pub fn unknown(&self) -> &[String] {
        &self.unknown
    }

    /// The same rules but for those of the store at `prefix`, which are `ours`.
    fn with(&self, prefix: &str, ours: &[Rule]) -> Result<Self, StoreError> {
        let is_ours = |rule: &Theirs| is_rule_of(prefix, rule.id().unwrap_or_default());
        let mut rules: Vec<_> = self.rules.iter().filter(|r| !is_ours(r)).cloned().collect();
        for rule in ours {
            rules.push(words::theirs(rule)?);
        }
        let minimum = self.minimum.clone();
        let unknown = Vec::new();
        Ok(Self {
            rules,
            minimum,
            unknown,
        })
    }

    /// Whether putting back what was there `before` would undo what somebody else has set since: a rule that is not of the
    /// store at `prefix` and was not there, or not like this, or that is there no more.
    fn has_others_since(&self, before: &Self, prefix: &str) -> bool {
        let is_ours = |rule: &Theirs| is_rule_of(prefix, rule.id().unwrap_or_default());
        let lacks = |there: &Self, rule: &Theirs| !is_ours(rule) && !there.rules.contains(rule);
        !self.unknown.is_empty()
            || self.rules.iter().any(|rule| lacks(before, rule))
            || before.rules.iter().any(|rule| lacks(self, rule))
    }

    /// The names of rules that only one of the two has.
    fn differing(&self, other: &Self) -> Vec<String> {
        let (mine, theirs) = (self.rules(), other.rules());
        let only = |these: &[LiveRule], those: &[LiveRule]| {
            let only = these.iter().filter(|rule| !those.contains(rule));
            only.map(|rule| rule.id.clone()).collect::<Vec<_>>()
        };
        let mut differing = only(&mine, &theirs);
        differing.extend(only(&theirs, &mine));
        differing.sort_unstable();
        differing.dedup();
        differing
    }
}

impl S3Store {
    /// The lifecycle of the bucket; without rules where there is none.
    ///
    /// # Errors
    /// As the store fails; it is not allowed; the store has no lifecycles.
    pub async fn lifecycle(&self) -> Result<BucketLifecycle, StoreError> {
        let heard = Elements::default();
        let asked = self
            .client()?
            .get_bucket_lifecycle_configuration()
            .bucket(self.bucket())
            .set_expected_bucket_owner(self.owner())
            .customize()
            .interceptor(heard.clone())
            .send()
            .await;
        match asked {
            Ok(found) => Ok(BucketLifecycle {
                rules: found.rules.unwrap_or_default(),
                minimum: found.transition_default_minimum_object_size,
                unknown: heard.unknown(),
            }),
            Err(error) => match Fault::from(error) {
                fault if fault.has_code("NoSuchLifecycleConfiguration") => {
                    Ok(BucketLifecycle::default())
                }
                fault => Err(fault.into_error(self, "reading the lifecycle of the bucket", "")),
            },
        }
    }

    /// Sets the rules of this store among those that were `seen`.
    ///
    /// # Errors
    /// [`LifecycleFault`]. Where the fault is [`LifecycleFault::NotKept`], it says what became of the set; where it is one of
    /// the store, what was sent may be there.
    pub async fn set_lifecycle(
        &self,
        ours: &[Rule],
        seen: &BucketLifecycle,
    ) -> Result<BucketLifecycle, LifecycleFault> {
        let before = self.lifecycle().await?;
        if before != *seen {
            return Err(LifecycleFault::Changed);
        }
        if !before.unknown.is_empty() {
            let elements = before.unknown.join(" ");
            return Err(LifecycleFault::Unknown { elements });
        }
        let prefix = self.settings().path_prefix.as_str();
        let wanted = before.with(prefix, ours)?;
        if wanted.rules.len() > LIFECYCLE_RULES_MAX {
            let rules = wanted.rules.len();
            return Err(LifecycleFault::TooMany { rules });
        }
        self.send_lifecycle(&wanted).await?;
        let there = match self.await_lifecycle(&wanted).await? {
            Ok(there) => return Ok(there),
            Err(there) => there,
        };
        let after = if there.has_others_since(&before, prefix) {
            "rules that are not of this store are others than before, so nothing was put back: look at it now"
        } else {
            self.send_lifecycle(&before).await?;
            match self.await_lifecycle(&before).await? {
                Ok(_) => "the set that was there before is there again",
                Err(_) => "nor does it have the set from before: look at it now",
            }
        };
        let rules = there.differing(&wanted).join(" ");
        Err(LifecycleFault::NotKept { rules, after })
    }

    async fn send_lifecycle(&self, set: &BucketLifecycle) -> Result<(), StoreError> {
        const SETTING: &str = "setting the lifecycle of the bucket";
        if set.rules.is_empty() {
            let removed = self
                .client()?
                .delete_bucket_lifecycle()
                .bucket(self.bucket())
                .set_expected_bucket_owner(self.owner())
                .send()
                .await;
            return removed
                .map(drop)
                .map_err(|error| Fault::from(error).into_error(self, SETTING, ""));
        }
        let rules = BucketLifecycleConfiguration::builder()
            .set_rules(Some(set.rules.clone()))
            .build()
            .map_err(|error| words::unsayable(&error))?;
        self.client()?
            .put_bucket_lifecycle_configuration()
            .bucket(self.bucket())
            .set_expected_bucket_owner(self.owner())
            .set_transition_default_minimum_object_size(set.minimum.clone())
            .lifecycle_configuration(rules)
            .send()
            .await
            .map(drop)
            .map_err(|error| Fault::from(error).into_error(self, SETTING, ""))
    }

    /// Looks until the set is there; what is there at last where it does not come.
    async fn await_lifecycle(
        &self,
        wanted: &BucketLifecycle,
    ) -> Result<Result<BucketLifecycle, BucketLifecycle>, StoreError> {
        let mut looks = 1;
        loop {
            let there = self.lifecycle().await?;
            if there.differing(wanted).is_empty() {
                return Ok(Ok(there));
            }
            if looks >= LOOKS {
                return Ok(Err(there));
            }
            looks = looks.saturating_add(1);
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[(&str, u32)]) -> BucketLifecycle {
        let rule = |(id, days): &(&str, u32)| {
            let mut rule = Rule::new(*id, "p/");
            rule.aborted_uploads_days = Some(*days);
            words::theirs(&rule).unwrap()
        };
        BucketLifecycle {
            rules: ids.iter().map(rule).collect(),
            ..BucketLifecycle::default()
        }
    }

    #[test]
    fn l10_what_others_have_set_or_removed_meanwhile_is_not_undone() {
        let ours = crate::lifecycle::rule_prefix("ci/");
        let ours = format!("{ours}uploads");
        let before = set(&[("a", 7), ("b", 7), (&ours, 7)]);
        for (now, is_others) in [
            (before.clone(), false),
            (set(&[("a", 7), ("b", 7), (&ours, 8)]), false),
            (set(&[("a", 7), ("b", 7)]), false),
            (set(&[("a", 7), ("b", 8), (&ours, 7)]), true),
            (set(&[("a", 7), ("b", 7), ("c", 7)]), true),
            (set(&[("a", 7), (&ours, 7)]), true),
            (set(&[]), true),
        ] {
            assert_eq!(now.has_others_since(&before, "ci/"), is_others, "{now:?}");
        }
    }
}
