//! A rule as the store says it and as we say it. What our words do not say of a rule is never taken for nothing.

#![expect(
    deprecated,
    reason = "rules of the first version of the API name their prefix beside the filter, and still act"
)]

use aws_sdk_s3::error::BuildError;
use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, ExpirationStatus, LifecycleExpiration, LifecycleRule as Theirs,
    LifecycleRuleAndOperator, LifecycleRuleFilter, NoncurrentVersionExpiration,
    NoncurrentVersionTransition, Transition as TheirTransition, TransitionStorageClass,
};

use crate::lifecycle::{Rule, StorageClass, Transition};
use crate::store::StoreError;

/// A rule that a bucket has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LiveRule {
    /// Its name: text of the store.
    pub id: String,
    /// What the names of its objects begin with: text of the store.
    pub prefix: String,
    /// Whether it acts.
    pub is_enabled: bool,
    /// The rule, where our words say all of it.
    pub rule: Option<Rule>,
    /// What it does, a sentence each: text of the store may be in it.
    pub deeds: Vec<String>,
    /// Whether it removes objects or versions: what of packs is in its reach is lost.
    pub removes: bool,
}

impl LiveRule {
    pub(super) fn of(theirs: &Theirs) -> Self {
        let rule = ours(theirs);
        let deeds = match &rule {
            Some(rule) => rule.deeds(),
            None => deeds(theirs),
        };
        Self {
            id: theirs.id().unwrap_or_default().to_owned(),
            prefix: prefix(theirs).to_owned(),
            is_enabled: theirs.status != ExpirationStatus::Disabled,
            rule,
            deeds,
            removes: theirs.noncurrent_version_expiration.is_some()
                || theirs.expiration.as_ref().is_some_and(removes),
        }
    }
}

/// Markers over nothing are all that it may remove without removing an object.
fn removes(expiration: &LifecycleExpiration) -> bool {
    expiration.days.is_some()
        || expiration.date.is_some()
        || expiration.expired_object_delete_marker != Some(true)
}

fn prefix(theirs: &Theirs) -> &str {
    let filter = theirs.filter.as_ref();
    let and = filter.and_then(|filter| filter.and.as_ref());
    filter
        .and_then(|filter| filter.prefix.as_deref())
        .or_else(|| and.and_then(|and| and.prefix.as_deref()))
        .or(theirs.prefix.as_deref())
        .unwrap_or_default()
}

/// The rule in our words; `None` where they do not say all of it.
fn ours(theirs: &Theirs) -> Option<Rule> {
    let filter = theirs.filter.as_ref();
    let and = filter.and_then(|filter| filter.and.as_ref());
    let has_tags = filter.is_some_and(|filter| filter.tag.is_some())
        || and.is_some_and(|and| and.tags.is_some());
    if theirs.expiration.is_some() || has_tags {
        return None;
    }
    let mut rule = Rule::new(theirs.id()?, prefix(theirs));
    let bound = |plain: fn(&LifecycleRuleFilter) -> Option<i64>,
                 both: fn(&LifecycleRuleAndOperator) -> Option<i64>| {
        let bytes = filter.and_then(plain).or_else(|| and.and_then(both));
        bytes.map(u64::try_from).transpose()
    };
    rule.larger_than = bound(
        |f| f.object_size_greater_than,
        |a| a.object_size_greater_than,
    )
    .ok()?;
    rule.smaller_than = bound(|f| f.object_size_less_than, |a| a.object_size_less_than).ok()?;
    for transition in theirs.transitions() {
        let after_days = days(transition.days).filter(|_| transition.date.is_none());
        rule.transitions.push(Transition {
            after_days: after_days?,
            to: class(transition.storage_class.as_ref())?,
        });
    }
    for transition in theirs.noncurrent_version_transitions() {
        if transition
            .newer_noncurrent_versions
            .is_some_and(|kept| kept > 0)
        {
            return None;
        }
        rule.noncurrent_transitions.push(Transition {
            after_days: days(transition.noncurrent_days)?,
            to: class(transition.storage_class.as_ref())?,
        });
    }
    rule.transitions.sort_by_key(|transition| transition.to);
    rule.noncurrent_transitions
        .sort_by_key(|transition| transition.to);
    if let Some(expiration) = &theirs.noncurrent_version_expiration {
        if expiration
            .newer_noncurrent_versions
            .is_some_and(|kept| kept > 0)
        {
            return None;
        }
        rule.noncurrent_expiry_days = Some(days(expiration.noncurrent_days)?);
    }
    if let Some(abort) = &theirs.abort_incomplete_multipart_upload {
        rule.aborted_uploads_days = Some(days(abort.days_after_initiation)?);
    }
    Some(rule)
}

fn days(days: Option<i32>) -> Option<u32> {
    days.and_then(|days| u32::try_from(days).ok())
}

fn class(class: Option<&TransitionStorageClass>) -> Option<StorageClass> {
    class?.as_str().parse().ok()
}

/// What a rule does that our words do not say.
fn deeds(theirs: &Theirs) -> Vec<String> {
    let mut deeds = Vec::new();
    let told = |number: Option<i32>| number.map_or_else(|| "?".to_owned(), |n| n.to_string());
    if let Some(expiration) = theirs.expiration.as_ref() {
        deeds.push(match (expiration.days, expiration.date) {
            _ if !removes(expiration) => "removes markers over nothing".to_owned(),
            (Some(days), _) => format!("REMOVES objects after {days} days"),
            (None, Some(_)) => "REMOVES objects from a date on".to_owned(),
            (None, None) => "REMOVES objects, it is not told when".to_owned(),
        });
    }
    for transition in theirs.transitions() {
        let to = transition.storage_class.as_ref();
        let to = to.map_or("another class", TransitionStorageClass::as_str);
        let when = told(transition.days);
        deeds.push(format!(
            "moves to {to} after {when} days, or from a date on"
        ));
    }
    for transition in theirs.noncurrent_version_transitions() {
        let to = transition.storage_class.as_ref();
        let to = to.map_or("another class", TransitionStorageClass::as_str);
        let when = told(transition.noncurrent_days);
        deeds.push(format!(
            "moves what another version has lain over for {when} days to {to}"
        ));
    }
    if let Some(expiration) = &theirs.noncurrent_version_expiration {
        let when = told(expiration.noncurrent_days);
        deeds.push(format!(
            "REMOVES what another version has lain over for {when} days, or all but the newest"
        ));
    }
    if let Some(abort) = &theirs.abort_incomplete_multipart_upload {
        let when = told(abort.days_after_initiation);
        deeds.push(format!("gives up uploads in parts after {when} days"));
    }
    if deeds.is_empty() {
        deeds.push("does something that this program does not know".to_owned());
    }
    deeds
}

/// The rule in the store's words.
pub(super) fn theirs(rule: &Rule) -> Result<Theirs, StoreError> {
    let number = |days: u32| i32::try_from(days).unwrap_or(i32::MAX);
    let class = |class: StorageClass| TransitionStorageClass::from(class.as_str());
    let some = |wanted: bool| wanted.then_some(());
    let transitions = rule.transitions.iter().map(|transition| {
        TheirTransition::builder()
            .days(number(transition.after_days))
            .storage_class(class(transition.to))
            .build()
    });
    let noncurrent = rule.noncurrent_transitions.iter().map(|transition| {
        NoncurrentVersionTransition::builder()
            .noncurrent_days(number(transition.after_days))
            .storage_class(class(transition.to))
            .build()
    });
    let expiration = rule.noncurrent_expiry_days.map(|days| {
        NoncurrentVersionExpiration::builder()
            .noncurrent_days(number(days))
            .build()
    });
    let abort = rule.aborted_uploads_days.map(|days| {
        AbortIncompleteMultipartUpload::builder()
            .days_after_initiation(number(days))
            .build()
    });
    Theirs::builder()
        .id(&rule.id)
        .status(ExpirationStatus::Enabled)
        .filter(filter(rule)?)
        .set_transitions(some(!rule.transitions.is_empty()).map(|()| transitions.collect()))
        .set_noncurrent_version_transitions(
            some(!rule.noncurrent_transitions.is_empty()).map(|()| noncurrent.collect()),
        )
        .set_noncurrent_version_expiration(expiration)
        .set_abort_incomplete_multipart_upload(abort)
        .build()
        .map_err(|error| unsayable(&error))
}

/// One predicate stands alone, several stand below `And`, and the empty prefix says nothing beside others.
fn filter(rule: &Rule) -> Result<LifecycleRuleFilter, StoreError> {
    let signed = |bytes: Option<u64>| bytes.map(i64::try_from).transpose();
    let unsayable = |_| StoreError::Unusable {
        reason: "a bound of sizes is larger than any object".to_owned(),
    };
    let larger = signed(rule.larger_than).map_err(unsayable)?;
    let smaller = signed(rule.smaller_than).map_err(unsayable)?;
    let has_prefix = !rule.prefix.is_empty();
    let predicates = [has_prefix, larger.is_some(), smaller.is_some()];
    let builder = LifecycleRuleFilter::builder();
    if predicates.into_iter().filter(|is_there| *is_there).count() > 1 {
        let and = LifecycleRuleAndOperator::builder()
            .set_prefix(has_prefix.then(|| rule.prefix.clone()))
            .set_object_size_greater_than(larger)
            .set_object_size_less_than(smaller);
        return Ok(builder.and(and.build()).build());
    }
    let has_none = larger.is_none() && smaller.is_none();
    Ok(builder
        .set_prefix(has_none.then(|| rule.prefix.clone()))
        .set_object_size_greater_than(larger)
        .set_object_size_less_than(smaller)
        .build())
}

pub(super) fn unsayable(error: &BuildError) -> StoreError {
    StoreError::Unusable {
        reason: format!("a rule could not be put into words: {error}"),
    }
}

#[cfg(test)]
mod tests;
