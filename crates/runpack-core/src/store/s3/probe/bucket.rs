//! What a bucket says of itself, without writing anything.

use super::{Answer, ObjectLock, Probe, Right, Versioning};

impl Probe<'_> {
    pub(super) async fn may_list(&self) -> Right {
        let list = self.client.list_objects_v2().bucket(&self.bucket);
        let list = list.prefix(self.name("")).max_keys(1);
        Answer::of(list.send().await).0.right()
    }

    pub(super) async fn may_list_versions(&self) -> Right {
        let list = self.client.list_object_versions().bucket(&self.bucket);
        let list = list.prefix(self.name("")).max_keys(1);
        Answer::of(list.send().await).0.right()
    }

    pub(super) async fn location(&self) -> Option<String> {
        let found = self.store.location().await.ok()?;
        found.told().map(str::to_owned)
    }

    pub(super) async fn versioning(&self) -> Versioning {
        use aws_sdk_s3::types::BucketVersioningStatus;
        let asked = self
            .client
            .get_bucket_versioning()
            .bucket(&self.bucket)
            .send();
        match asked.await.map(|answer| answer.status) {
            Ok(Some(BucketVersioningStatus::Enabled)) => Versioning::Enabled,
            Ok(Some(BucketVersioningStatus::Suspended)) => Versioning::Suspended,
            Ok(None) => Versioning::Off,
            Ok(Some(_)) | Err(_) => Versioning::Unknown,
        }
    }

    pub(super) async fn object_lock(&self) -> ObjectLock {
        let asked = self
            .client
            .get_object_lock_configuration()
            .bucket(&self.bucket)
            .send();
        let (answer, found) = Answer::of(asked.await);
        let Some(found) = found else {
            return match answer {
                // `ObjectLockConfigurationNotFoundError`
                Answer::Refused(404, _) => ObjectLock::Off,
                _ => ObjectLock::Unknown,
            };
        };
        let Some(configuration) = found.object_lock_configuration else {
            return ObjectLock::Off;
        };
        let retention = configuration.rule.and_then(|rule| rule.default_retention);
        let default_retention = retention.map(|retention| {
            let mode = retention.mode.as_ref().map_or("?", |mode| mode.as_str());
            match (retention.days, retention.years) {
                (Some(days), _) if days > 0 => format!("{mode} {days} days"),
                (_, Some(years)) if years > 0 => format!("{mode} {years} years"),
                _ => mode.to_owned(),
            }
        });
        ObjectLock::On { default_retention }
    }

    pub(super) async fn encryption(&self) -> Option<String> {
        let asked = self
            .client
            .get_bucket_encryption()
            .bucket(&self.bucket)
            .send();
        let found = asked.await.ok()?.server_side_encryption_configuration?;
        let rule = found.rules.into_iter().next()?;
        let by_default = rule.apply_server_side_encryption_by_default?;
        Some(by_default.sse_algorithm.as_str().to_owned())
    }
}
