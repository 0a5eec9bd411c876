//! The switches of a bucket, as the service has them (Amazon S3 API, `GetBucket...`), in our words.

use aws_sdk_s3::types::{
    BucketVersioningStatus, ObjectLockConfiguration, ObjectLockEnabled, ObjectLockRetentionMode,
    PublicAccessBlockConfiguration, ServerSideEncryption, ServerSideEncryptionByDefault,
};

use super::{Bucket, counted, senseless, then, unasked};
use crate::policy::{
    BucketEncryption, DefaultRetention, Logging, ObjectLockState, Observed, PublicAccessBlock,
    VersioningState,
};
use crate::retention::{LockMode, RetainFor};

impl Bucket<'_> {
    pub(super) async fn policy(&self) -> Observed<String> {
        let client = match self.client() {
            Ok(client) => client,
            Err(error) => return unasked(&error),
        };
        let asked = client.get_bucket_policy().bucket(self.name);
        let asked = asked.set_expected_bucket_owner(self.owner.clone());
        let found = self.answer(
            asked.send().await,
            "reading the bucket policy",
            &["NoSuchBucketPolicy"],
        );
        then(found, |found| match found.policy {
            Some(policy) => Observed::Found(policy),
            None => senseless("the answer has no policy in it"),
        })
    }

    pub(super) async fn versioning(&self) -> Observed<VersioningState> {
        let client = match self.client() {
            Ok(client) => client,
            Err(error) => return unasked(&error),
        };
        let asked = client.get_bucket_versioning().bucket(self.name);
        let asked = asked.set_expected_bucket_owner(self.owner.clone());
        let found = self.answer(
            asked.send().await,
            "asking whether the bucket keeps versions",
            &[],
        );
        then(found, |found| match found.status {
            Some(BucketVersioningStatus::Enabled) => Observed::Found(VersioningState::Enabled),
            Some(BucketVersioningStatus::Suspended) => Observed::Found(VersioningState::Suspended),
            // The answer of a bucket that never kept versions is empty.
            None => Observed::Absent,
            Some(_) => senseless("versioning is in a state that nobody knows"),
        })
    }

    pub(super) async fn object_lock(&self) -> Observed<ObjectLockState> {
        let client = match self.client() {
            Ok(client) => client,
            Err(error) => return unasked(&error),
        };
        let asked = client.get_object_lock_configuration().bucket(self.name);
        let asked = asked.set_expected_bucket_owner(self.owner.clone());
        let found = self.answer(
            asked.send().await,
            "asking whether the bucket locks versions",
            &[
                "ObjectLockConfigurationNotFoundError",
                "NoSuchObjectLockConfiguration",
            ],
        );
        then(found, |found| match found.object_lock_configuration {
            Some(found) => lock(found),
            None => senseless("the answer has no lock in it"),
        })
    }

    pub(super) async fn encryption(&self) -> Observed<BucketEncryption> {
        let client = match self.client() {
            Ok(client) => client,
            Err(error) => return unasked(&error),
        };
        let asked = client.get_bucket_encryption().bucket(self.name);
        let asked = asked.set_expected_bucket_owner(self.owner.clone());
        let found = self.answer(
            asked.send().await,
            "asking how the bucket encrypts",
            &["ServerSideEncryptionConfigurationNotFoundError"],
        );
        then(found, |found| {
            let rules = found
                .server_side_encryption_configuration
                .map(|c| c.rules)
                .unwrap_or_default();
            let mut defaults = rules
                .into_iter()
                .filter_map(|rule| rule.apply_server_side_encryption_by_default);
            match defaults.next() {
                Some(default) => encryption(default),
                None => Observed::Absent,
            }
        })
    }

    pub(super) async fn public_access_block(&self) -> Observed<PublicAccessBlock> {
        let client = match self.client() {
            Ok(client) => client,
            Err(error) => return unasked(&error),
        };
        let asked = client.get_public_access_block().bucket(self.name);
        let asked = asked.set_expected_bucket_owner(self.owner.clone());
        let found = self.answer(
            asked.send().await,
            "asking what blocks public access",
            &["NoSuchPublicAccessBlockConfiguration"],
        );
        then(found, |found| {
            match found.public_access_block_configuration {
                Some(block) => Observed::Found(switches(&block)),
                None => senseless("the answer has no switches in it"),
            }
        })
    }

    pub(super) async fn logging(&self) -> Observed<Logging> {
        let client = match self.client() {
            Ok(client) => client,
            Err(error) => return unasked(&error),
        };
        let asked = client.get_bucket_logging().bucket(self.name);
        let asked = asked.set_expected_bucket_owner(self.owner.clone());
        let found = self.answer(asked.send().await, "asking where requests are logged", &[]);
        // The answer of a bucket that logs nothing is empty.
        then(found, |found| match found.logging_enabled {
            Some(enabled) => Observed::Found(Logging {
                target_bucket: enabled.target_bucket,
            }),
            None => Observed::Absent,
        })
    }
}

fn lock(found: ObjectLockConfiguration) -> Observed<ObjectLockState> {
    if found.object_lock_enabled != Some(ObjectLockEnabled::Enabled) {
        return Observed::Absent;
    }
    let Some(rule) = found.rule else {
        return Observed::Found(ObjectLockState { default: None });
    };
    let default = rule.default_retention.and_then(|default| {
        let mode = match default.mode? {
            ObjectLockRetentionMode::Compliance => LockMode::Compliance,
            ObjectLockRetentionMode::Governance => LockMode::Governance,
            _ => return None,
        };
        let retain_for = match (counted(default.days), counted(default.years)) {
            (Some(days), None) => RetainFor::days(days).ok()?,
            (None, Some(years)) => RetainFor::years(years).ok()?,
            _ => return None,
        };
        Some(DefaultRetention { mode, retain_for })
    });
    match default {
        Some(default) => Observed::Found(ObjectLockState {
            default: Some(default),
        }),
        None => senseless("the default retention is none that anybody knows"),
    }
}

fn encryption(default: ServerSideEncryptionByDefault) -> Observed<BucketEncryption> {
    match default.sse_algorithm {
        ServerSideEncryption::Aes256 => Observed::Found(BucketEncryption::StoreKeys),
        ServerSideEncryption::AwsKms | ServerSideEncryption::AwsKmsDsse => {
            Observed::Found(BucketEncryption::KeyService {
                key: default.kms_master_key_id,
                state: senseless("the key service is not asked from here"),
            })
        }
        _ => senseless("the bucket encrypts in a way that nobody knows"),
    }
}

/// A switch that is not told is off.
fn switches(block: &PublicAccessBlockConfiguration) -> PublicAccessBlock {
    let is_on = |switch: Option<bool>| switch == Some(true);
    PublicAccessBlock {
        block_public_acls: is_on(block.block_public_acls),
        ignore_public_acls: is_on(block.ignore_public_acls),
        block_public_policy: is_on(block.block_public_policy),
        restrict_public_buckets: is_on(block.restrict_public_buckets),
    }
}

#[cfg(test)]
mod tests;
