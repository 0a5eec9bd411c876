//! What a bucket says of itself, for an attestation: the store's word, or not observed.

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{BucketVersioningStatus, DefaultRetention, ObjectLockEnabled};
use runpack_core::attestation::{Basis, Bucket, Claim};
use runpack_core::digest::Digest;
use runpack_core::store::StoreError;
use runpack_core::store::s3::{AnswerBody, S3Store};

/// Asks for each setting by itself: one that may not be asked hides none of the others.
pub(super) async fn of(store: &S3Store) -> Result<Bucket, StoreError> {
    let asking = Asking {
        client: store.client()?,
        bucket: store.settings().bucket.to_string(),
        owner: store.owner(),
    };
    let (object_lock, default_retention) = asking.object_lock().await;
    Ok(Bucket {
        default_retention,
        encryption: asking.encryption().await,
        lifecycle_sha256: asking.lifecycle().await,
        object_lock,
        policy_sha256: asking.policy().await,
        replication: asking.replication().await,
        versioning: asking.versioning().await,
    })
}

struct Asking {
    client: Client,
    bucket: String,
    owner: Option<String>,
}

/// One request of each kind, alike but for its name.
macro_rules! ask {
    ($self:ident, $operation:ident) => {
        $self
            .client
            .$operation()
            .bucket(&$self.bucket)
            .set_expected_bucket_owner($self.owner.clone())
    };
}

impl Asking {
    async fn versioning(&self) -> Claim<String> {
        let asked = ask!(self, get_bucket_versioning).send().await;
        match asked.map(|found| found.status) {
            Ok(Some(BucketVersioningStatus::Enabled)) => said("enabled"),
            Ok(Some(BucketVersioningStatus::Suspended)) => said("suspended"),
            Ok(None) => absent(),
            Ok(Some(_)) | Err(_) => Claim::not_observed(),
        }
    }

    async fn object_lock(&self) -> (Claim<String>, Claim<String>) {
        let asked = ask!(self, get_object_lock_configuration).send().await;
        let found = match asked {
            Ok(found) => found.object_lock_configuration,
            Err(error) => return (unless_absent(&error), unless_absent(&error)),
        };
        let Some(found) = found else {
            return (absent(), absent());
        };
        let is_on = found.object_lock_enabled == Some(ObjectLockEnabled::Enabled);
        let retention = found.rule.and_then(|rule| rule.default_retention);
        (
            if is_on { said("enabled") } else { absent() },
            retention.map_or_else(absent, |retention| said(&spelled(&retention))),
        )
    }

    async fn encryption(&self) -> Claim<String> {
        let found = match ask!(self, get_bucket_encryption).send().await {
            Ok(found) => found.server_side_encryption_configuration,
            Err(error) => return unless_absent(&error),
        };
        let rule = found.and_then(|found| found.rules.into_iter().next());
        let how = rule.and_then(|rule| rule.apply_server_side_encryption_by_default);
        how.map_or_else(absent, |how| match how.kms_master_key_id {
            Some(key) => said(&format!("{} {key}", how.sse_algorithm.as_str())),
            None => said(how.sse_algorithm.as_str()),
        })
    }

    async fn policy(&self) -> Claim<Digest> {
        match ask!(self, get_bucket_policy).send().await {
            Ok(found) => found.policy.map_or_else(absent, |policy| {
                Claim::provider_asserted(Digest::of(policy.as_bytes()))
            }),
            Err(error) => unless_absent(&error),
        }
    }

    async fn lifecycle(&self) -> Claim<Digest> {
        let body = AnswerBody::default();
        let asked = ask!(self, get_bucket_lifecycle_configuration)
            .customize()
            .interceptor(body.clone())
            .send()
            .await;
        match asked {
            Ok(found) if found.rules().is_empty() => absent(),
            Ok(_) => body
                .sha256()
                .map_or_else(Claim::not_observed, Claim::provider_asserted),
            Err(error) => unless_absent(&error),
        }
    }

    async fn replication(&self) -> Claim<String> {
        let found = match ask!(self, get_bucket_replication).send().await {
            Ok(found) => found.replication_configuration,
            Err(error) => return unless_absent(&error),
        };
        let rules = found.into_iter().flat_map(|found| found.rules);
        let to = rules.filter_map(|rule| rule.destination);
        let to: Vec<String> = to.map(|destination| destination.bucket).collect();
        if to.is_empty() {
            absent()
        } else {
            said(&to.join(" "))
        }
    }
}

fn spelled(retention: &DefaultRetention) -> String {
    let mode = retention.mode.as_ref().map_or("?", |mode| mode.as_str());
    let (count, unit) = match (retention.days, retention.years) {
        (Some(days), _) if days > 0 => (days, 'd'),
        (_, years) => (years.unwrap_or(0), 'y'),
    };
    format!("{} {count}{unit}", mode.to_ascii_lowercase())
}

fn said(text: &str) -> Claim<String> {
    Claim::provider_asserted(text.to_owned())
}

/// The store says that there is none.
fn absent<T>() -> Claim<T> {
    Claim {
        basis: Basis::ProviderAsserted,
        value: None,
    }
}

/// Not there, where the store says so by its own word for it; else nobody knows.
fn unless_absent<T, E: ProvideErrorMetadata>(error: &SdkError<E>) -> Claim<T> {
    const ABSENT: [&str; 5] = [
        "NoSuchBucketPolicy",
        "NoSuchLifecycleConfiguration",
        "ObjectLockConfigurationNotFoundError",
        "ReplicationConfigurationNotFoundError",
        "ServerSideEncryptionConfigurationNotFoundError",
    ];
    match error.code() {
        Some(code) if ABSENT.contains(&code) => absent(),
        _ => Claim::not_observed(),
    }
}
