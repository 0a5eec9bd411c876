//! What an administrator sets a bucket to, beside the store under test.

use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, ExpirationStatus, LifecycleExpiration, LifecycleRule,
    LifecycleRuleFilter, ObjectOwnership, OwnershipControls, OwnershipControlsRule,
};

use super::TestBucket;

impl TestBucket {
    /// Adds a rule that removes what is older below a prefix.
    pub async fn add_lifecycle_rule_raw(&self, id: &str, prefix: &str, days: i32) {
        let there = self
            .client()
            .get_bucket_lifecycle_configuration()
            .bucket(&self.name)
            .send()
            .await;
        let mut rules = there.ok().and_then(|there| there.rules).unwrap_or_default();
        let rule = LifecycleRule::builder()
            .id(id)
            .status(ExpirationStatus::Enabled)
            .filter(LifecycleRuleFilter::builder().prefix(prefix).build())
            .expiration(LifecycleExpiration::builder().days(days).build())
            .build();
        rules.push(rule.unwrap());
        let set = BucketLifecycleConfiguration::builder().set_rules(Some(rules));
        self.client()
            .put_bucket_lifecycle_configuration()
            .bucket(&self.name)
            .lifecycle_configuration(set.build().unwrap())
            .send()
            .await
            .unwrap();
    }

    /// Says who owns objects.
    pub async fn set_ownership_raw(&self, ownership: &str) {
        let rule = OwnershipControlsRule::builder()
            .object_ownership(ObjectOwnership::from(ownership))
            .build();
        let controls = OwnershipControls::builder().rules(rule.unwrap()).build();
        let put = self
            .client()
            .put_bucket_ownership_controls()
            .bucket(&self.name);
        let put = put.ownership_controls(controls.unwrap());
        put.send().await.unwrap();
    }

    /// The bucket's policy.
    pub async fn policy_raw(&self) -> String {
        let asked = self.client().get_bucket_policy().bucket(&self.name);
        asked.send().await.unwrap().policy.unwrap()
    }
}
