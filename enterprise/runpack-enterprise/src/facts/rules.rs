//! The rules of a bucket's lifecycle and replication, in our words. A rule of which nothing is understood leaves all of
//! them not observed: what it does may be the worst.

#![expect(
    deprecated,
    reason = "rules of the first version of the API name their prefix beside the filter, and still act"
)]

use aws_sdk_s3::types::{
    DeleteMarkerReplicationStatus, ExpirationStatus, LifecycleExpiration,
    LifecycleRule as TheirLifecycle, ReplicationRule as TheirReplication, ReplicationRuleStatus,
    TransitionStorageClass,
};

use super::{Bucket, counted, senseless, then, unasked};
use crate::policy::{
    Destination, Expiration, LifecycleFilter, LifecycleRule, NoncurrentExpiration, Observed,
    Replication, ReplicationRule, Transition,
};

impl Bucket<'_> {
    pub(super) async fn lifecycle(&self) -> Observed<Vec<LifecycleRule>> {
        let client = match self.client() {
            Ok(client) => client,
            Err(error) => return unasked(&error),
        };
        let asked = client
            .get_bucket_lifecycle_configuration()
            .bucket(self.name);
        let asked = asked.set_expected_bucket_owner(self.owner.clone());
        let found = self.answer(
            asked.send().await,
            "reading the lifecycle of the bucket",
            &["NoSuchLifecycleConfiguration"],
        );
        then(found, |found| {
            let rules = found.rules.unwrap_or_default();
            let rules: Option<Vec<_>> = rules.into_iter().map(lifecycle).collect();
            match rules {
                Some(rules) => Observed::Found(rules),
                None => senseless("a rule is not understood, so none is relied on"),
            }
        })
    }

    pub(super) async fn replication(&self) -> Observed<Replication> {
        let client = match self.client() {
            Ok(client) => client,
            Err(error) => return unasked(&error),
        };
        let asked = client.get_bucket_replication().bucket(self.name);
        let asked = asked.set_expected_bucket_owner(self.owner.clone());
        let found = self.answer(
            asked.send().await,
            "reading the replication of the bucket",
            &["ReplicationConfigurationNotFoundError"],
        );
        then(found, |found| {
            let rules = found.replication_configuration.map(|c| c.rules);
            let rules: Option<Vec<_>> = rules
                .unwrap_or_default()
                .into_iter()
                .map(replication)
                .collect();
            match rules {
                Some(rules) => Observed::Found(Replication {
                    rules,
                    failed: senseless("versions are looked at by `replicas verify`"),
                }),
                None => senseless("a rule names no destination, so none is relied on"),
            }
        })
    }
}

/// A rule that acts unless it is said not to. `None` for one that does nothing known.
fn lifecycle(rule: TheirLifecycle) -> Option<LifecycleRule> {
    let expiration = match rule.expiration {
        Some(expiration) => Some(expires(&expiration)?),
        None => None,
    };
    let noncurrent_expiration =
        rule.noncurrent_version_expiration
            .map(|expiration| NoncurrentExpiration {
                // By number of versions alone is as soon as it can be.
                days: counted(expiration.noncurrent_days).unwrap_or(0),
            });
    let abort = rule.abort_incomplete_multipart_upload;
    let abort_incomplete_days =
        abort.map(|abort| counted(abort.days_after_initiation).unwrap_or(0));
    let current = rule.transitions.unwrap_or_default();
    let noncurrent = rule.noncurrent_version_transitions.unwrap_or_default();
    let classes = current.into_iter().map(|to| to.storage_class);
    let classes = classes.chain(noncurrent.into_iter().map(|to| to.storage_class));
    let transitions: Vec<_> = classes.map(transition).collect();
    let does_something = expiration.is_some()
        || noncurrent_expiration.is_some()
        || abort_incomplete_days.is_some()
        || !transitions.is_empty();
    let is_narrowed = rule.filter.as_ref().is_some_and(|filter| {
        let and = filter.and.as_ref();
        filter.tag.is_some()
            || filter.object_size_greater_than.is_some()
            || filter.object_size_less_than.is_some()
            || and.is_some_and(|and| {
                and.tags.is_some()
                    || and.object_size_greater_than.is_some()
                    || and.object_size_less_than.is_some()
            })
    });
    let filter = rule.filter;
    let prefix = filter.and_then(|filter| filter.prefix.or(filter.and.and_then(|and| and.prefix)));
    does_something.then_some(LifecycleRule {
        id: rule.id,
        is_enabled: rule.status != ExpirationStatus::Disabled,
        filter: LifecycleFilter {
            prefix: prefix.or(rule.prefix).unwrap_or_default(),
            is_narrowed,
        },
        expiration,
        noncurrent_expiration,
        transitions,
        abort_incomplete_days,
    })
}

fn expires(expiration: &LifecycleExpiration) -> Option<Expiration> {
    if let Some(days) = expiration.days {
        return counted(Some(days)).map(Expiration::Days);
    }
    if expiration.date.is_some() {
        return Some(Expiration::Date);
    }
    // With neither, markers are all that is left for it to remove.
    (expiration.expired_object_delete_marker == Some(true))
        .then_some(Expiration::ExpiredMarkersOnly)
}

/// Where to; a class that is not told is none in which evidence is known to be readable.
fn transition(class: Option<TransitionStorageClass>) -> Transition {
    Transition {
        storage_class: class.map_or_else(|| "(not told)".to_owned(), |c| c.as_str().to_owned()),
    }
}

/// A rule that replicates only if it is said to. `None` for one that goes nowhere.
fn replication(rule: TheirReplication) -> Option<ReplicationRule> {
    let destination = rule.destination?;
    // Rules of the first version, which have no filter, replicate markers.
    let is_first_version = rule.filter.is_none();
    let is_narrowed = rule.filter.as_ref().is_some_and(|filter| {
        filter.tag.is_some() || filter.and.as_ref().is_some_and(|and| and.tags.is_some())
    });
    let filter = rule.filter;
    let prefix = filter.and_then(|filter| filter.prefix.or(filter.and.and_then(|and| and.prefix)));
    let markers = rule.delete_marker_replication.and_then(|m| m.status);
    Some(ReplicationRule {
        id: rule.id,
        is_enabled: rule.status == ReplicationRuleStatus::Enabled,
        filter: LifecycleFilter {
            prefix: prefix.or(rule.prefix).unwrap_or_default(),
            is_narrowed,
        },
        has_markers: is_first_version || markers == Some(DeleteMarkerReplicationStatus::Enabled),
        destination: Destination {
            bucket: destination.bucket,
            account: destination.account,
            object_lock: senseless("nobody asked"),
        },
    })
}

#[cfg(test)]
mod tests;
