//! Each setting: what is wanted, what there is, and what is sent where it is missing (Amazon S3 API, `GetBucket...` and
//! `PutBucket...`).

use aws_sdk_s3::error::BuildError;
use aws_sdk_s3::types::{
    BucketLoggingStatus, BucketVersioningStatus, LoggingEnabled, ObjectOwnership,
    OwnershipControls, OwnershipControlsRule, PublicAccessBlockConfiguration, ServerSideEncryption,
    ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration, ServerSideEncryptionRule,
    VersioningConfiguration,
};

use super::{Baseline, Encryption, Looked, S3Store, Setting, TlsVersion, policy};
use crate::store::StoreError;
use crate::store::s3::fault::Fault;

/// What is to be sent.
pub(super) enum Change {
    Encryption(ServerSideEncryptionConfiguration),
    Policy(String),
    Versioning,
    PublicAccess(PublicAccessBlockConfiguration),
    Ownership,
    AccessLog(LoggingEnabled),
}

/// Evaluates to the answer to a request, or returns what became of it.
macro_rules! ask {
    ($store:ident, $request:ident, $absent:literal, $action:literal) => {{
        let asked = $store
            .client()?
            .$request()
            .bucket($store.bucket())
            .set_expected_bucket_owner($store.owner())
            .send()
            .await;
        match $store.found(asked, $absent, $action) {
            Ok(found) => found,
            Err(standing) => return Ok(Looked::untold(standing)),
        }
    }};
}

impl S3Store {
    pub(super) fn wanted(&self, setting: Setting, wanted: &Baseline) -> String {
        match setting {
            Setting::Encryption => match &wanted.encryption {
                Encryption::SseKms(Some(key)) => format!("aws:kms with {key}"),
                Encryption::SseKms(None) => "aws:kms".to_owned(),
                Encryption::OfBucket | Encryption::SseS3 => "AES256 or aws:kms".to_owned(),
            },
            Setting::Transport => match self.tls_min(wanted) {
                Some(version) => format!("everything but TLS {version} and newer denied"),
                None => "everything in the clear denied".to_owned(),
            },
            Setting::Versioning => "enabled".to_owned(),
            Setting::PublicAccess => "blocked in all four ways".to_owned(),
            Setting::Ownership => "BucketOwnerEnforced".to_owned(),
            Setting::AccessLog => match &wanted.access_log {
                Some(log) => format!("on, to {}", log.bucket),
                None => "on".to_owned(),
            },
        }
    }

    fn tls_min(&self, wanted: &Baseline) -> Option<TlsVersion> {
        self.is_amazon().then_some(wanted.tls_min)
    }

    pub(super) async fn look(
        &self,
        setting: Setting,
        wanted: &Baseline,
    ) -> Result<Looked, StoreError> {
        match setting {
            Setting::Encryption => self.look_encryption(wanted).await,
            Setting::Transport => {
                let found = ask!(
                    self,
                    get_bucket_policy,
                    "NoSuchBucketPolicy",
                    "reading the bucket policy"
                );
                let text = found.and_then(|found| found.policy);
                let tls_min = self.tls_min(wanted);
                let scope = (self.partition(), self.bucket());
                Ok(policy::looked(scope, tls_min, text.as_deref()))
            }
            Setting::Versioning => self.look_versioning().await,
            Setting::PublicAccess => self.look_public_access().await,
            Setting::Ownership => self.look_ownership().await,
            Setting::AccessLog => self.look_access_log(wanted).await,
        }
    }

    async fn look_encryption(&self, wanted: &Baseline) -> Result<Looked, StoreError> {
        let found = ask!(
            self,
            get_bucket_encryption,
            "ServerSideEncryptionConfigurationNotFoundError",
            "reading the encryption of the bucket"
        );
        let rules = found.and_then(|found| found.server_side_encryption_configuration);
        let rule = rules.and_then(|rules| rules.rules.into_iter().next());
        let there = rule
            .as_ref()
            .and_then(|rule| rule.apply_server_side_encryption_by_default.as_ref());
        let (algorithm, key) = match there {
            Some(there) => (
                Some(there.sse_algorithm.clone()),
                there.kms_master_key_id.clone(),
            ),
            None => (None, None),
        };
        let is_kms = matches!(
            algorithm,
            Some(ServerSideEncryption::AwsKms | ServerSideEncryption::AwsKmsDsse)
        );
        let said = algorithm
            .as_ref()
            .map_or("none", ServerSideEncryption::as_str);
        let said = match &key {
            Some(key) => format!("{said} with {key}"),
            None => said.to_owned(),
        };
        let wants_kms = match &wanted.encryption {
            Encryption::OfBucket | Encryption::SseS3 => None,
            Encryption::SseKms(key) => Some(key.clone()),
        };
        match &wants_kms {
            None if is_kms || algorithm == Some(ServerSideEncryption::Aes256) => {
                return Ok(Looked::good(said));
            }
            Some(wanted) if is_kms => {
                if wanted.is_none() || *wanted == key {
                    return Ok(Looked::good(said));
                }
                let todo = "another key is set: change it by hand, and keep the old one, or what is there cannot be read";
                return Ok(Looked::by_hand(said, todo));
            }
            _ => {}
        }
        let by_default = ServerSideEncryptionByDefault::builder()
            .sse_algorithm(match &wants_kms {
                Some(_) => ServerSideEncryption::AwsKms,
                None => ServerSideEncryption::Aes256,
            })
            .set_kms_master_key_id(wants_kms.clone().flatten())
            .build()
            .map_err(|error| unsayable(&error))?;
        // What else the rule says stays.
        let mut rule = rule.unwrap_or_else(|| ServerSideEncryptionRule::builder().build());
        rule.apply_server_side_encryption_by_default = Some(by_default);
        if wants_kms.is_some() {
            rule.bucket_key_enabled = Some(true);
        }
        let change = ServerSideEncryptionConfiguration::builder()
            .rules(rule)
            .build()
            .map_err(|error| unsayable(&error))?;
        Ok(Looked::missing(said, Change::Encryption(change)))
    }

    async fn look_versioning(&self) -> Result<Looked, StoreError> {
        let found = ask!(
            self,
            get_bucket_versioning,
            "NoSuchVersioningConfiguration",
            "asking whether the bucket keeps versions"
        );
        Ok(match found.and_then(|found| found.status) {
            Some(BucketVersioningStatus::Enabled) => Looked::good("enabled"),
            Some(BucketVersioningStatus::Suspended) => {
                Looked::missing("suspended", Change::Versioning)
            }
            None => Looked::missing("off", Change::Versioning),
            Some(other) => Looked::by_hand(other.as_str(), "look at the bucket's versioning"),
        })
    }

    async fn look_public_access(&self) -> Result<Looked, StoreError> {
        let found = ask!(
            self,
            get_public_access_block,
            "NoSuchPublicAccessBlockConfiguration",
            "asking what is public"
        );
        let block = found.and_then(|found| found.public_access_block_configuration);
        let all = PublicAccessBlockConfiguration::builder()
            .block_public_acls(true)
            .ignore_public_acls(true)
            .block_public_policy(true)
            .restrict_public_buckets(true)
            .build();
        let Some(block) = block else {
            return Ok(Looked::missing("not blocked", Change::PublicAccess(all)));
        };
        let ways = [
            ("BlockPublicAcls", block.block_public_acls),
            ("IgnorePublicAcls", block.ignore_public_acls),
            ("BlockPublicPolicy", block.block_public_policy),
            ("RestrictPublicBuckets", block.restrict_public_buckets),
        ];
        let open = ways.iter().filter(|(_, is_on)| *is_on != Some(true));
        let open: Vec<&str> = open.map(|(name, _)| *name).collect();
        if open.is_empty() {
            return Ok(Looked::good("blocked in all four ways"));
        }
        let found = format!("blocked, but for {}", open.join(", "));
        Ok(Looked::missing(found, Change::PublicAccess(all)))
    }

    async fn look_ownership(&self) -> Result<Looked, StoreError> {
        let found = ask!(
            self,
            get_bucket_ownership_controls,
            "OwnershipControlsNotFoundError",
            "asking who owns objects"
        );
        let rules = found.and_then(|found| found.ownership_controls);
        let rule = rules.and_then(|rules| rules.rules.into_iter().next());
        Ok(match rule.map(|rule| rule.object_ownership) {
            Some(ObjectOwnership::BucketOwnerEnforced) => Looked::good("BucketOwnerEnforced"),
            // Somebody chose it, and whoever writes by a list of access would be shut out.
            Some(other) => Looked::by_hand(
                other.as_str(),
                "see that nobody needs lists of access, then set BucketOwnerEnforced by hand",
            ),
            None => Looked::missing("whoever writes", Change::Ownership),
        })
    }

    async fn look_access_log(&self, wanted: &Baseline) -> Result<Looked, StoreError> {
        let found = ask!(
            self,
            get_bucket_logging,
            "NoSuchLoggingConfiguration",
            "asking whether access is logged"
        );
        let there = found.and_then(|found| found.logging_enabled);
        let Some(log) = &wanted.access_log else {
            return Ok(match there {
                Some(there) => Looked::good(format!("on, to {}", there.target_bucket)),
                None => Looked::by_hand("off", "name a bucket for the log with --log-bucket"),
            });
        };
        if log.bucket.as_str() == self.bucket() {
            let todo = "log to another bucket: a log of its own writing grows without end";
            return Ok(Looked::by_hand("not looked at", todo));
        }
        match there {
            Some(there) if there.target_bucket == log.bucket.as_str() => {
                Ok(Looked::good(format!("on, to {}", there.target_bucket)))
            }
            Some(there) => Ok(Looked::by_hand(
                format!("on, to {}", there.target_bucket),
                "access is logged elsewhere: change it by hand, or name that bucket",
            )),
            None => {
                let log = LoggingEnabled::builder()
                    .target_bucket(log.bucket.as_str())
                    .target_prefix(&log.prefix)
                    .build()
                    .map_err(|error| unsayable(&error))?;
                Ok(Looked::missing("off", Change::AccessLog(log)))
            }
        }
    }

    pub(super) async fn change(&self, change: Change) -> Result<(), StoreError> {
        let (client, bucket, owner) = (self.client()?, self.bucket(), self.owner());
        let done = match change {
            Change::Encryption(rules) => {
                let put = client.put_bucket_encryption().bucket(bucket);
                let put = put.set_expected_bucket_owner(owner);
                let put = put.server_side_encryption_configuration(rules);
                put.send().await.map(drop).map_err(Fault::from)
            }
            Change::Policy(policy) => {
                let put = client.put_bucket_policy().bucket(bucket);
                let put = put.set_expected_bucket_owner(owner);
                let put = put.policy(policy);
                put.send().await.map(drop).map_err(Fault::from)
            }
            Change::Versioning => {
                let enabled = VersioningConfiguration::builder()
                    .status(BucketVersioningStatus::Enabled)
                    .build();
                let put = client.put_bucket_versioning().bucket(bucket);
                let put = put.set_expected_bucket_owner(owner);
                let put = put.versioning_configuration(enabled);
                put.send().await.map(drop).map_err(Fault::from)
            }
            Change::PublicAccess(block) => {
                let put = client.put_public_access_block().bucket(bucket);
                let put = put.set_expected_bucket_owner(owner);
                let put = put.public_access_block_configuration(block);
                put.send().await.map(drop).map_err(Fault::from)
            }
            Change::Ownership => {
                let rule = OwnershipControlsRule::builder()
                    .object_ownership(ObjectOwnership::BucketOwnerEnforced)
                    .build()
                    .map_err(|error| unsayable(&error))?;
                let rules = OwnershipControls::builder()
                    .rules(rule)
                    .build()
                    .map_err(|error| unsayable(&error))?;
                let put = client.put_bucket_ownership_controls().bucket(bucket);
                let put = put.set_expected_bucket_owner(owner);
                let put = put.ownership_controls(rules);
                put.send().await.map(drop).map_err(Fault::from)
            }
            Change::AccessLog(log) => {
                let status = BucketLoggingStatus::builder().logging_enabled(log).build();
                let put = client.put_bucket_logging().bucket(bucket);
                let put = put.set_expected_bucket_owner(owner);
                let put = put.bucket_logging_status(status);
                put.send().await.map(drop).map_err(Fault::from)
            }
        };
        done.map_err(|fault| fault.into_error(self, "setting up the bucket", ""))
    }
}

fn unsayable(error: &BuildError) -> StoreError {
    StoreError::Unusable {
        reason: format!("a setting could not be put into words: {error}"),
    }
}
